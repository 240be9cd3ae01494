//! A damaged file gives errors: never a panic, never wrong data.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::{ops::ControlFlow, sync::Arc};

use common::{append, entries, verified};
use partita_core::{Batch, Durability, Entry, Op, Store, StoreError, StoredEntry};
use partita_redb::{RedbOptions, RedbStore};
use partita_testing::{
    FaultyDisk,
    samples::{SampleLog, context, document, incarnation, noise},
};

/// A closed store of 400 entries, as bytes.
fn written(entries: &[Arc<Entry>]) -> Vec<u8> {
    let disk = FaultyDisk::new();
    let store = RedbStore::with_backend(disk.clone(), incarnation(1)).unwrap();
    for first in (1..401).step_by(40) {
        append(&store, first..first + 40, entries).unwrap();
    }
    drop(store);
    disk.image().to_vec()
}

#[derive(Debug, Default)]
struct Outcomes {
    refused_to_open: usize,
    refused_to_read: usize,
    whole: usize,
    rows_hidden: usize,
}

/// Opens and reads, with and without a check, and goes on writing. `verified` panics at wrong data.
fn examine(bytes: Vec<u8>, entries: &[Arc<Entry>], outcomes: &mut Outcomes) {
    let checked = RedbOptions::new().check_on_open(true).open_backend(FaultyDisk::of(bytes.clone()), incarnation(2));
    if let Ok(store) = checked {
        assert_eq!(
            verified(&store, entries).unwrap(),
            [400; 3],
            "the check found nothing, and yet something is missing"
        );
    }
    let store = match RedbStore::with_backend(FaultyDisk::of(bytes), incarnation(2)) {
        Ok(store) => store,
        Err(_) => return outcomes.refused_to_open += 1,
    };
    match verified(&store, entries) {
        Ok([400, 400, 400]) => outcomes.whole += 1,
        Ok(_) => outcomes.rows_hidden += 1,
        Err(StoreError::Damaged(_) | StoreError::Io(_)) => outcomes.refused_to_read += 1,
        Err(error) => panic!("{error}"),
    }
    let _ = append(&store, 401..402, entries);
    let _ = store.read().and_then(|view| view.used_bytes());
    let _ = store.maintain();
}

#[test]
fn flipped_bits_are_never_read_as_data() {
    let entries = entries(401);
    let bytes = written(&entries);
    let mut outcomes = Outcomes::default();
    for round in 0..400u64 {
        let mut bytes = bytes.clone();
        let random = u64::from_le_bytes(noise(round, 8)[..].try_into().unwrap());
        // Every other one hits the header and the first pages, where the trees' roots are more likely.
        let range = if round % 2 == 0 { bytes.len() } else { 40_000 };
        bytes[random as usize % range] ^= 1 << (random >> 61);
        examine(bytes, &entries, &mut outcomes);
    }
    println!("{outcomes:?}");
    assert!(outcomes.refused_to_open + outcomes.refused_to_read > 20, "{outcomes:?}");
}

#[test]
fn overwritten_pages_are_never_read_as_data() {
    let entries = entries(401);
    let bytes = written(&entries);
    let mut outcomes = Outcomes::default();
    for round in 0..200usize {
        let mut bytes = bytes.clone();
        let page = 4096 * (round % (bytes.len() / 4096));
        match round % 3 {
            0 => bytes[page..page + 4096].fill(0),
            1 => bytes[page..page + 4096].copy_from_slice(&noise(round as u64, 4096)),
            // A page of the same file in another's place: all its checksums inside are right.
            _ => bytes.copy_within(4096 * 40..4096 * 41, page),
        }
        examine(bytes, &entries, &mut outcomes);
    }
    println!("{outcomes:?}");
}

#[test]
fn a_file_that_was_cut_off_is_refused() {
    let entries = entries(401);
    let bytes = written(&entries);
    let mut outcomes = Outcomes::default();
    for length in [1, 8, 9, 64, 319, 320, 4095, 4096, 4097, 100_000, bytes.len() - 4096, bytes.len() - 1] {
        examine(bytes[..length].to_vec(), &entries, &mut outcomes);
    }
    println!("{outcomes:?}");
    assert_eq!(outcomes.whole + outcomes.rows_hidden, 0, "{outcomes:?}");
}

#[test]
fn garbage_behind_the_magic_number_is_refused() {
    for round in 0..50 {
        for length in [400usize, 10_000, 1_100_000] {
            let mut bytes = b"redb\x1A\x0A\xA9\x0D\x0A".to_vec();
            bytes.extend_from_slice(&noise(round, length));
            assert!(RedbStore::with_backend(FaultyDisk::of(bytes), incarnation(1)).is_err());
        }
    }
}

/// The trees of redb are searched by keys that nothing checks while reading. Where one of them was damaged, a search for one
/// context's arrivals began among another's, and showed them as its own: found by the fuzz target `damaged_store`.
#[test]
fn entries_of_one_context_are_never_shown_as_anothers() {
    let disk = FaultyDisk::new();
    let store = RedbStore::with_backend(disk.clone(), incarnation(1)).unwrap();
    let mut logs = [SampleLog::new(1, context(1), 1), SampleLog::new(2, context(2), 1)];
    for arrival in 1..=60 {
        let append = |log: &mut SampleLog| {
            let entry = log.change(document(1), noise(arrival, 200));
            Op::Append(StoredEntry { arrival, entry })
        };
        // The second context comes late: its arrivals lie behind higher ones of the first.
        let ops = logs.iter_mut().take(if arrival > 40 { 2 } else { 1 }).map(append).collect();
        store.commit(&Batch { ops }, Durability::Durable).unwrap();
    }
    drop(store);
    let whole = disk.image().to_vec();
    // A key is a number of 32 bits and one of 64, and both are small: each place in the file that looks like one.
    let is_key = |at: &usize| {
        let key = &whole[*at..*at + 12];
        key[..3] == [0; 3] && (1..8).contains(&key[3]) && key[4..11] == [0; 7] && (1..=60).contains(&key[11])
    };
    let places: Vec<usize> = (0..whole.len() - 12).filter(is_key).collect();
    assert!(places.len() > 100, "{}", places.len());
    let mut refused = 0;
    for (round, at) in places.into_iter().enumerate() {
        let mut bytes = whole.clone();
        bytes[at + 3] = [0, 2, 5, 9, 0xff][round % 5];
        let Ok(store) = RedbStore::with_backend(FaultyDisk::of(bytes), incarnation(2)) else { continue };
        let Ok(view) = store.read() else { continue };
        for asked in [context(1), context(2)] {
            let shown = view.arrivals(&asked, 0, &mut |found| {
                let entry = Entry::from_stored(found.head, found.payload).unwrap();
                assert_eq!(entry.header.context, asked, "arrival {}", found.arrival);
                ControlFlow::Continue(())
            });
            refused += usize::from(shown.is_err());
        }
    }
    assert!(refused > 0, "none of the keys was one that is searched by");
}
