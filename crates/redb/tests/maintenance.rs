//! Space comes back, and nobody waits for ever.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{append, entries, verified};
use partita_core::{Batch, Durability, Key, Op, Store};
use partita_redb::{RedbOptions, RedbStore};
use partita_testing::{
    FaultyDisk,
    samples::{SampleLog, context, incarnation, noise},
};
use tempfile::TempDir;

#[test]
fn the_file_shrinks_after_mass_deletion_and_keeps_the_rest() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let store = RedbStore::open(&path, incarnation(1)).unwrap();
    let kept = entries(100);
    let mut doomed = SampleLog::new(2, context(2), 2);
    let batch = (1..=3000).map(|arrival| {
        let entry = doomed.control(noise(arrival, 3000));
        Op::Append(partita_core::StoredEntry { arrival, entry })
    });
    store.commit(&Batch { ops: batch.collect() }, Durability::Durable).unwrap();
    append(&store, 1..101, &kept).unwrap();
    let truncate = Op::Truncate { context: context(2), log: doomed.id(), from: 1 };
    store.commit(&Batch { ops: vec![truncate] }, Durability::Durable).unwrap();

    let maintained = store.maintain().unwrap();
    assert!(maintained.done);
    assert!(maintained.bytes_before > 9_000_000, "{maintained:?}");
    assert!(maintained.bytes_after < 2_000_000, "{maintained:?}");
    assert_eq!(verified(&store, &kept).unwrap(), [100; 3]);
    assert!(store.check().unwrap());
    drop(store);
    let store = RedbOptions::new().check_on_open(true).open(&path, incarnation(2)).unwrap();
    assert_eq!(verified(&store, &kept).unwrap(), [100; 3]);
}

#[test]
fn maintenance_gives_up_while_a_view_is_open_and_blocks_nobody_meanwhile() {
    let dir = TempDir::new().unwrap();
    let store = RedbStore::open(dir.path().join("store"), incarnation(1)).unwrap();
    let entries = entries(300);
    append(&store, 1..101, &entries).unwrap();
    let view = store.read().unwrap();
    std::thread::scope(|scope| {
        let maintenance = scope.spawn(|| store.maintain().unwrap());
        for number in 101..301 {
            append(&store, number..number + 1, &entries).unwrap();
            assert_eq!(store.read().unwrap().last_arrival(&context(1)).unwrap(), number);
        }
        assert!(!maintenance.join().unwrap().done);
    });
    drop(view);
    assert!(store.maintain().unwrap().done);
    assert_eq!(verified(&store, &entries).unwrap(), [300; 3]);
}

/// redb alone would take 128 KiB for 65.
#[test]
fn values_of_any_size_waste_little() {
    let store = RedbStore::with_backend(FaultyDisk::new(), incarnation(1)).unwrap();
    let used = || store.read().unwrap().used_bytes().unwrap();
    for size in [5_000usize, 8_200, 16_400, 33_000, 65_536, 66_560, 131_073, 1_000_000] {
        let before = used();
        let ops = vec![Op::Put(Key::Meta("value"), noise(1, size))];
        store.commit(&Batch { ops }, Durability::Durable).unwrap();
        let taken = used() - before;
        assert!(taken as usize <= size + size / 50 + 2 * 4096, "{size} bytes take {taken}");
        store.commit(&Batch { ops: vec![Op::Delete(Key::Meta("value"))] }, Durability::Durable).unwrap();
    }
}
