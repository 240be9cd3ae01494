//! The disk fails as it says.

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;

use super::*;

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// Three pages of `a`, safe; then a page of `b` over the middle, and a fourth page of `c`.
fn half_written() -> FaultyDisk {
    let disk = FaultyDisk::of(vec![b'a'; 3 * 4096]);
    disk.write(4096, &[b'b'; 4096]).unwrap();
    disk.set_len(4 * 4096).unwrap();
    disk.write(3 * 4096, &[b'c'; 4096]).unwrap();
    disk
}

fn read(disk: &FaultyDisk) -> Vec<u8> {
    let mut bytes = vec![0; disk.len().unwrap() as usize];
    disk.read(0, &mut bytes).unwrap();
    assert_eq!(bytes, disk.image().to_vec());
    bytes
}

#[test]
fn a_process_reads_what_it_wrote_and_a_dead_one_leaves_it() {
    let disk = half_written();
    let expected = [vec![b'a'; 4096], vec![b'b'; 4096], vec![b'a'; 4096], vec![b'c'; 4096]].concat();
    assert_eq!(read(&disk), expected);
    assert_eq!(read(&disk.crash(Crash::Process, &mut rng(1))), expected);
}

#[test]
fn a_power_cut_leaves_what_was_synced() {
    let disk = half_written();
    assert_eq!(read(&disk.crash(Crash::PowerStrict, &mut rng(1))), [b'a'; 3 * 4096]);
    disk.sync_data().unwrap();
    assert!(!disk.is_dirty());
    for kind in Crash::ALL {
        assert_eq!(read(&disk.crash(kind, &mut rng(1))), read(&disk));
    }
}

#[test]
fn a_torn_image_keeps_some_sectors_and_invents_none() {
    let disk = half_written();
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let bytes = read(&disk.crash(Crash::PowerTorn, &mut rng(seed)));
        assert!([3, 4].contains(&(bytes.len() / 4096)) && bytes.len().is_multiple_of(4096));
        for (number, sector) in bytes.chunks(512).enumerate() {
            let allowed = [b"a", &b"ab"[..], b"a", b"\0c"][number / 8];
            assert!(allowed.contains(&sector[0]) && sector.iter().all(|byte| *byte == sector[0]), "{number}");
        }
        seen.insert(bytes);
    }
    assert!(seen.len() > 50, "{}", seen.len());
    let twice = [0, 0].map(|_| read(&disk.crash(Crash::PowerTorn, &mut rng(7))));
    assert_eq!(twice[0], twice[1], "the same randomness gives the same image");
}

#[test]
fn of_two_writes_to_one_place_either_may_be_left() {
    let disk = FaultyDisk::of(vec![0; 512]);
    disk.write(0, &[1; 512]).unwrap();
    disk.write(0, &[2; 512]).unwrap();
    let left: BTreeSet<u8> = (0..100).map(|seed| read(&disk.crash(Crash::PowerTorn, &mut rng(seed)))[0]).collect();
    assert_eq!(left, [0, 1, 2].into());
}

#[test]
fn what_was_cut_off_does_not_come_back() {
    let disk = FaultyDisk::of(vec![7; 3 * 4096]);
    disk.set_len(100).unwrap();
    disk.set_len(3 * 4096).unwrap();
    let expected = [vec![7; 100], vec![0; 3 * 4096 - 100]].concat();
    assert_eq!(read(&disk), expected);
    disk.sync_data().unwrap();
    assert_eq!(read(&disk.crash(Crash::PowerStrict, &mut rng(1))), expected);
}

#[test]
fn operations_fail_when_their_number_has_come() {
    let disk = FaultyDisk::of(vec![0; 4096]);
    disk.fail_after(2, Fault::Io);
    disk.write(0, &[1; 512]).unwrap();
    disk.sync_data().unwrap();
    assert!(disk.write(0, &[2; 1024]).is_err());
    assert!(disk.sync_data().is_err() && disk.set_len(0).is_err() && disk.set_len(8192).is_err());
    assert_eq!(read(&disk)[0], 1, "what the kernel has can be read");
    let counts = disk.counts();
    assert_eq!((counts.writes, counts.syncs, counts.set_lens, counts.bytes, counts.failed), (2, 2, 2, 512, 4));
    assert_eq!(counts.operations(), 6);
    // The write that was stopped may be there in part.
    let begun = |seed| read(&disk.crash(Crash::Process, &mut rng(seed)));
    let left: BTreeSet<_> = (0..50).map(begun).map(|bytes| (bytes[0], bytes[512])).collect();
    assert_eq!(left, [(1, 0), (2, 0), (2, 2)].into());

    disk.fail_after(0, Fault::Gone);
    assert!(disk.read(0, &mut [0]).is_err());
    disk.mend();
    disk.fail_times_after(0, Fault::NoSpace, 1);
    disk.sync_data().unwrap();
    assert_eq!(disk.write(0, &[3]).unwrap_err().kind(), ErrorKind::StorageFull);
    disk.write(0, &[3]).unwrap();
    disk.fail_syncs_after(0, None);
    disk.write(0, &[4]).unwrap();
    assert!(disk.sync_data().is_err());
}

#[test]
fn a_full_disk_does_not_grow() {
    let disk = FaultyDisk::new();
    disk.room(Some(4096));
    disk.set_len(4096).unwrap();
    assert_eq!(disk.set_len(4097).unwrap_err().kind(), ErrorKind::StorageFull);
    let after = disk.crash(Crash::Process, &mut rng(1));
    assert!(after.set_len(4097).is_err(), "it is still full");
    disk.mend();
    disk.set_len(4097).unwrap();
}

#[test]
fn a_lying_sync_makes_nothing_safe() {
    let disk = half_written();
    disk.lie(true);
    disk.sync_data().unwrap();
    assert_eq!(read(&disk.crash(Crash::PowerStrict, &mut rng(1))), [b'a'; 3 * 4096]);
}

#[test]
fn a_failed_sync_may_lose_what_a_later_one_reports_as_safe() {
    for forgets in [false, true] {
        let disk = FaultyDisk::of(vec![0; 2 * 4096]);
        disk.forget_on_failed_sync(forgets);
        disk.fail_syncs_after(0, Some(1));
        disk.write(0, &[1; 4096]).unwrap();
        assert!(disk.sync_data().is_err());
        disk.write(4096, &[2; 4096]).unwrap();
        disk.sync_data().unwrap();
        assert_eq!(read(&disk)[0], 1, "the process still reads it");
        let safe = read(&disk.crash(Crash::PowerTorn, &mut rng(1)));
        assert_eq!((safe[0], safe[4096]), (if forgets { 0 } else { 1 }, 2));
    }
}
