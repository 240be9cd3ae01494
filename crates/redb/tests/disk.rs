//! A disk that fills up or loses power costs nothing that was durable.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Disk, append, entries, verified};
use partita_core::{Batch, Durability, Key, Op, Store, StoreError};
use partita_redb::RedbStore;
use partita_testing::samples::{incarnation, noise};

/// Failure mode 34: an error of the disk is an error of the commit.
#[test]
fn a_full_disk_is_called_by_its_name_and_what_was_durable_is_there() {
    let disk = Disk::default();
    let store = RedbStore::with_backend(disk.clone(), incarnation(1)).unwrap();
    let entries = entries(5000);
    disk.content().room = Some(3 << 20);
    let mut durable = 0;
    let error = loop {
        match append(&store, durable + 1..durable + 51, &entries) {
            Ok(()) => durable += 50,
            Err(error) => break error,
        }
    };
    assert_eq!(error, StoreError::OutOfSpace);
    assert!(durable >= 1000, "{durable}");
    assert_eq!(append(&store, durable + 1..durable + 2, &entries), Err(StoreError::OutOfSpace), "it stays refused");
    // Meanwhile it answers, or says that it must be opened again: redb then serves only what it has cached.
    match verified(&store, &entries) {
        Ok(counts) => assert_eq!(counts, [durable as usize; 3]),
        Err(error) => assert!(matches!(error, StoreError::Io(_)), "{error}"),
    }
    drop(store);

    // The disk is still full: it can be opened and read.
    let store = RedbStore::with_backend(disk.clone(), incarnation(2)).unwrap();
    assert_eq!(verified(&store, &entries).unwrap(), [durable as usize; 3]);
    drop(store);
    disk.content().room = None;
    let store = RedbStore::with_backend(disk, incarnation(3)).unwrap();
    append(&store, durable + 1..durable + 51, &entries).unwrap();
    assert_eq!(verified(&store, &entries).unwrap(), [durable as usize + 50; 3]);
}

/// Power cuts after every commit and in the middle of them, with what was not synced lost, kept, or kept in part.
///
/// Failure mode 37: entries and positions are in one file and one transaction: a batch is there as a whole or not at all.
#[test]
fn a_power_cut_keeps_every_durable_commit() {
    let entries = entries(60);
    for syncs in 0..24 {
        let disk = Disk::default();
        let store = RedbStore::with_backend(disk.clone(), incarnation(1)).unwrap();
        disk.content().syncs = Some(syncs);
        let mut durable = 0;
        while durable < 60 && append(&store, durable + 1..durable + 6, &entries).is_ok() {
            durable += 5;
        }
        for pattern in 0..6u64 {
            let cut = disk.after_power_cut(|number| match pattern {
                0 => false,
                1 => true,
                _ => noise(pattern * 1000 + number as u64, 1)[0] & 1 == 0,
            });
            let store = RedbStore::with_backend(cut, incarnation(2)).unwrap();
            let [log, arrivals, document] = verified(&store, &entries).unwrap();
            assert!(log == arrivals && log == document, "a part of a batch");
            // The batch that failed may have arrived as a whole.
            assert!([durable as usize, durable as usize + 5].contains(&log), "{log} of {durable}, {syncs} syncs");
            assert!(store.check().unwrap());
        }
        // The disk comes back: closing must not spoil what is there either.
        disk.content().syncs = None;
        drop(store);
        let store = RedbStore::with_backend(disk, incarnation(3)).unwrap();
        assert!(verified(&store, &entries).unwrap()[0] >= durable as usize);
    }
}

#[test]
fn what_is_eventual_survives_with_the_next_durable_commit() {
    let disk = Disk::default();
    let store = RedbStore::with_backend(disk.clone(), incarnation(1)).unwrap();
    let put = |value: &'static str| Batch { ops: vec![Op::Put(Key::Meta("x"), value.into())] };
    let after_cut = || {
        let store = RedbStore::with_backend(disk.after_power_cut(|_| false), incarnation(2)).unwrap();
        store.read().unwrap().get(&Key::Meta("x")).unwrap()
    };
    store.commit(&put("durable"), Durability::Durable).unwrap();
    store.commit(&put("eventual"), Durability::Eventual).unwrap();
    assert_eq!(store.read().unwrap().get(&Key::Meta("x")).unwrap().unwrap(), "eventual");
    assert_eq!(after_cut().unwrap(), "durable");
    store.commit(&Batch::default(), Durability::Durable).unwrap();
    assert_eq!(after_cut().unwrap(), "eventual");
}
