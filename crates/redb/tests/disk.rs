//! A disk that fills up, fails or loses power costs nothing that was durable.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;

use common::{append, entries, rng, verified};
use partita_core::{Batch, Durability, Entry, Key, Op, Store, StoreError, StoredEntry};
use partita_redb::RedbStore;
use partita_testing::{
    FaultyDisk,
    disk::{Crash, Fault},
    samples::{SampleLog, context, incarnation, noise},
};

/// Failure mode 34: an error of the disk is an error of the commit.
#[test]
fn a_full_disk_is_called_by_its_name_and_what_was_durable_is_there() {
    let disk = FaultyDisk::new();
    let store = RedbStore::with_backend(disk.clone(), incarnation(1)).unwrap();
    let entries = entries(5000);
    disk.room(Some(3 << 20));
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
    disk.mend();
    let store = RedbStore::with_backend(disk, incarnation(3)).unwrap();
    append(&store, durable + 1..durable + 51, &entries).unwrap();
    assert_eq!(verified(&store, &entries).unwrap(), [durable as usize + 50; 3]);
}

/// Commits five entries at a time until one fails or all sixty are there; how many are durable.
fn fill(store: &RedbStore, entries: &[Arc<Entry>]) -> u64 {
    let mut durable = 0;
    while durable < 60 && append(store, durable + 1..durable + 6, entries).is_ok() {
        durable += 5;
    }
    durable
}

/// Whether a store on this disk opens, passes its own check and has every durable batch whole.
fn holds(disk: &FaultyDisk, entries: &[Arc<Entry>], durable: u64) -> Result<(), String> {
    let text = |error: StoreError| error.to_string();
    let store = RedbStore::with_backend(disk.clone(), incarnation(2)).map_err(text)?;
    let [log, arrivals, document] = verified(&store, entries).map_err(text)?;
    // The batch that failed may have arrived as a whole.
    let expected = [durable as usize, durable as usize + 5];
    match log == arrivals && log == document && expected.contains(&log) && store.check().map_err(text)? {
        true => Ok(()),
        false => Err(format!("{log}, {arrivals}, {document} entries of {durable}")),
    }
}

/// How many writes, syncs and changes of length it takes to create a store, and to fill it.
fn operations(entries: &[Arc<Entry>]) -> (u64, u64) {
    let disk = FaultyDisk::new();
    let store = RedbStore::with_backend(disk.clone(), incarnation(1)).unwrap();
    let created = disk.counts().operations();
    assert_eq!(fill(&store, entries), 60);
    (created, disk.counts().operations())
}

/// Failure mode 37: entries and positions are in one file and one transaction: a batch is there as a whole or not at all.
#[test]
fn whatever_operation_a_crash_comes_after_every_durable_commit_is_there() {
    let entries = entries(60);
    let (created, all) = operations(&entries);
    assert!(all - created > 100, "{created} of {all}");
    let mut images = 0;
    for step in 0..all {
        let disk = FaultyDisk::new();
        let store = if step < created {
            disk.fail_after(step, Fault::Io);
            assert!(RedbStore::with_backend(disk.clone(), incarnation(1)).is_err());
            None
        } else {
            let store = RedbStore::with_backend(disk.clone(), incarnation(1)).unwrap();
            disk.fail_after(step - created, Fault::Io);
            Some(store)
        };
        let durable = store.as_ref().map_or(0, |store| fill(store, &entries));
        assert!(durable < 60);
        for kind in Crash::ALL {
            for seed in 0..if kind == Crash::PowerStrict { 1 } else { 4 } {
                let found = holds(&disk.crash(kind, &mut rng(step * 10 + seed)), &entries, durable);
                assert_eq!(found, Ok(()), "{kind:?} after operation {step} of {all}, seed {seed}");
                images += 1;
            }
        }
        // The disk comes back: closing must not spoil what is there either.
        disk.mend();
        drop(store);
        assert_eq!(holds(&disk, &entries, durable), Ok(()), "closed after operation {step}");
    }
    println!("{images} crash images of {all} operations, {created} of them to create the store");
}

/// Repair is work on the disk like any other: it may be cut short too, as often as the power likes.
#[test]
fn a_crash_while_a_crash_is_repaired_loses_nothing_either() {
    let entries = entries(60);
    let (created, all) = operations(&entries);
    let mut images = 0;
    for step in (created..all).step_by(5) {
        let disk = FaultyDisk::new();
        let store = RedbStore::with_backend(disk.clone(), incarnation(1)).unwrap();
        disk.fail_after(step - created, Fault::Io);
        let durable = fill(&store, &entries);
        for kind in Crash::ALL {
            let left = disk.crash(kind, &mut rng(step)).image();
            for again in 0.. {
                let disk = FaultyDisk::of(left.clone());
                disk.fail_after(again, Fault::Io);
                let opened = RedbStore::with_backend(disk.clone(), incarnation(2));
                let after = disk.crash(Crash::PowerTorn, &mut rng(step * 100 + again));
                let found = holds(&after, &entries, durable);
                assert_eq!(found, Ok(()), "{kind:?} after operation {step}, then after {again} of the repair");
                images += 1;
                if opened.is_ok() {
                    break;
                }
            }
        }
    }
    assert!(images > 150, "{images}");
}

#[test]
fn a_crash_in_the_middle_of_maintenance_loses_nothing() {
    let entries = entries(60);
    let filled = {
        let disk = FaultyDisk::new();
        let store = RedbStore::with_backend(disk.clone(), incarnation(1)).unwrap();
        assert_eq!(fill(&store, &entries), 60);
        let mut doomed = SampleLog::new(2, context(2), 2);
        let doomed_id = doomed.id();
        let batch = (1..=600).map(|arrival| {
            let entry = doomed.control(noise(arrival, 3000));
            Op::Append(StoredEntry { arrival, entry })
        });
        store.commit(&Batch { ops: batch.collect() }, Durability::Durable).unwrap();
        let truncate = Op::Truncate { context: context(2), log: doomed_id, from: 1 };
        store.commit(&Batch { ops: vec![truncate] }, Durability::Durable).unwrap();
        drop(store);
        disk.image()
    };
    let maintained = |fails_after: Option<u64>| {
        let disk = FaultyDisk::of(filled.clone());
        let store = RedbStore::with_backend(disk.clone(), incarnation(2)).unwrap();
        let before = disk.counts().operations();
        if let Some(step) = fails_after {
            disk.fail_after(step, Fault::Io);
        }
        let result = store.maintain();
        (disk.clone(), result, disk.counts().operations() - before)
    };
    let (_, result, all) = maintained(None);
    let result = result.unwrap();
    assert!(result.done && result.bytes_after < result.bytes_before / 2, "{result:?}");
    for step in (0..all).step_by(usize::try_from(all / 60).unwrap().max(1)) {
        let (disk, result, _) = maintained(Some(step));
        assert!(result.is_err());
        for kind in Crash::ALL {
            let found = holds(&disk.crash(kind, &mut rng(step)), &entries, 60);
            assert_eq!(found, Ok(()), "{kind:?} after operation {step} of {all}");
        }
    }
}

#[test]
fn a_disk_that_is_gone_is_an_error_and_not_an_end() {
    let entries = entries(70);
    let disk = FaultyDisk::new();
    fill(&RedbStore::with_backend(disk.clone(), incarnation(1)).unwrap(), &entries);
    for step in 0..40 {
        let disk = FaultyDisk::of(disk.image());
        disk.fail_after(step, Fault::Gone);
        if let Ok(store) = RedbStore::with_backend(disk.clone(), incarnation(2)) {
            let _ = append(&store, 61..66, &entries); // it may have come in time
            if let Err(error) = verified(&store, &entries) {
                assert!(matches!(error, StoreError::Io(_)), "{error}");
            }
        }
        disk.mend();
        assert_eq!(holds(&disk, &entries, 60), Ok(()), "gone after {step} operations");
    }
}

/// The negative control: with a sync that does nothing, the same check must find losses.
#[test]
fn a_disk_that_lies_about_its_syncs_is_found_out() {
    let entries = entries(60);
    for kind in [Crash::PowerStrict, Crash::PowerTorn] {
        let found = (0..20).filter(|seed| {
            let disk = FaultyDisk::new();
            let store = RedbStore::with_backend(disk.clone(), incarnation(1)).unwrap();
            disk.lie(true);
            let durable = fill(&store, &entries);
            holds(&disk.crash(kind, &mut rng(*seed)), &entries, durable).is_err()
        });
        let found = found.count();
        assert!(found >= if kind == Crash::PowerStrict { 20 } else { 15 }, "{kind:?}: {found} of 20");
    }
}

/// The store cannot know what arrived: only a new incarnation, which reads it, can go on.
#[test]
fn a_fault_that_passes_ends_the_incarnation_all_the_same() {
    let entries = entries(60);
    let (created, all) = operations(&entries);
    for (step, fault) in (created..all - 1).flat_map(|step| [(step, Fault::Io), (step, Fault::NoSpace)]) {
        let disk = FaultyDisk::new();
        let store = RedbStore::with_backend(disk.clone(), incarnation(1)).unwrap();
        disk.fail_times_after(step - created, fault, 1);
        let durable = fill(&store, &entries);
        if durable == 60 {
            assert_eq!(fault, Fault::NoSpace, "only a sync needs no space");
            continue;
        }
        assert!(append(&store, durable + 1..durable + 6, &entries).is_err(), "{fault:?} at {step}");
        drop(store);
        assert_eq!(holds(&disk, &entries, durable), Ok(()), "{fault:?} at {step}");
    }
}

/// After a sync that failed, Linux shows what it may never write. A store that is opened upon it must not take that for
/// durable: what it has when it is open, it has after a power cut.
#[test]
fn what_a_store_has_after_a_failed_sync_survives_the_next_power_cut() {
    let entries = entries(70);
    let syncs = {
        let disk = FaultyDisk::new();
        let store = RedbStore::with_backend(disk.clone(), incarnation(1)).unwrap();
        let before = disk.counts().syncs;
        fill(&store, &entries);
        disk.counts().syncs - before
    };
    for sync in 0..syncs {
        let disk = FaultyDisk::new();
        disk.forget_on_failed_sync(true);
        let store = RedbStore::with_backend(disk.clone(), incarnation(1)).unwrap();
        disk.fail_syncs_after(sync, Some(1));
        let durable = fill(&store, &entries);
        assert!(durable < 60);
        drop(store);

        let store = RedbStore::with_backend(disk.clone(), incarnation(2)).unwrap();
        let [shown, ..] = verified(&store, &entries).unwrap();
        let shown = shown as u64;
        assert!([durable, durable + 5].contains(&shown));
        for kind in [Crash::PowerStrict, Crash::PowerTorn] {
            let found = holds(&disk.crash(kind, &mut rng(sync)), &entries, shown);
            assert_eq!(found, Ok(()), "{kind:?} when opened after sync {sync} failed, {durable} durable");
        }
        append(&store, shown + 1..shown + 6, &entries).unwrap();
        for kind in [Crash::PowerStrict, Crash::PowerTorn] {
            let found = holds(&disk.crash(kind, &mut rng(sync)), &entries, shown + 5);
            assert_eq!(found, Ok(()), "{kind:?} after the next commit, sync {sync} failed");
        }
    }
}

#[test]
fn what_is_eventual_survives_with_the_next_durable_commit() {
    let disk = FaultyDisk::new();
    let store = RedbStore::with_backend(disk.clone(), incarnation(1)).unwrap();
    let put = |value: &'static str| Batch { ops: vec![Op::Put(Key::Meta("x"), value.into())] };
    let after_cut = || {
        let store = RedbStore::with_backend(disk.crash(Crash::PowerStrict, &mut rng(0)), incarnation(2)).unwrap();
        store.read().unwrap().get(&Key::Meta("x")).unwrap()
    };
    store.commit(&put("durable"), Durability::Durable).unwrap();
    store.commit(&put("eventual"), Durability::Eventual).unwrap();
    assert_eq!(store.read().unwrap().get(&Key::Meta("x")).unwrap().unwrap(), "eventual");
    assert_eq!(after_cut().unwrap(), "durable");
    store.commit(&Batch::default(), Durability::Durable).unwrap();
    assert_eq!(after_cut().unwrap(), "eventual");
}
