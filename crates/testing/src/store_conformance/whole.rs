//! Promises about batches, views and opens.

use partita_core::{Batch, Durability, Key, Op, Store, StoreError};

use super::{Failure, StoreHarness, append, collect, commit, equal, expected, log, sample_log, scanned};
use crate::samples::{SampleLog, context, document, incarnation, noise};

pub(super) fn a_new_store_is_empty(harness: &dyn StoreHarness) -> Result<(), Failure> {
    let store = harness.open(incarnation(1))?;
    commit(&*store, Vec::new())?;
    let view = store.read()?;
    equal("its entries", collect(|visit| view.arrivals(&context(1), 0, visit))?.len(), 0)?;
    equal("its last arrival", view.last_arrival(&context(1))?, 0)?;
    equal("its records", scanned(&*view, &[])?, Vec::new())
}

pub(super) fn the_incarnation_is_that_of_the_open(harness: &dyn StoreHarness) -> Result<(), Failure> {
    for number in [1, 2] {
        let store = harness.open(incarnation(number))?;
        equal("the incarnation", store.incarnation(), incarnation(number))?;
    }
    Ok(())
}

/// One batch with everything in it.
fn mixed(one: &mut SampleLog, arrival: u64, tag: &str) -> Vec<Op> {
    vec![
        append(arrival, &one.change(document(1), tag.to_owned())),
        Op::Put(Key::Meta("last"), tag.to_owned().into()),
        append(arrival + 1, &one.change(document(2), tag.to_owned())),
    ]
}

/// What [`mixed`] changes: entries, the length of each order, and the record.
fn seen(store: &dyn Store) -> Result<([usize; 4], Option<String>), Failure> {
    let view = store.read()?;
    let entries = collect(|visit| view.arrivals(&context(1), 0, visit))?.len();
    let log = collect(|visit| view.log(&context(1), &log(1), 1, visit))?.len();
    let documents = [1, 2].map(|number| collect(|visit| view.document(&context(1), &document(number), 0, visit)));
    let [first, second] = documents;
    let record = view.get(&Key::Meta("last"))?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(([entries, log, first?.len(), second?.len()], record))
}

pub(super) fn a_batch_is_seen_as_a_whole(harness: &dyn StoreHarness) -> Result<(), Failure> {
    let store = harness.open(incarnation(1))?;
    let mut one = sample_log(1);
    let batches: Vec<Vec<Op>> = (0..50).map(|round| mixed(&mut one, 2 * round + 1, &round.to_string())).collect();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| batches.into_iter().try_for_each(|ops| commit(&*store, ops)));
        loop {
            // Before the view is made, so that the last round sees everything.
            let finished = writer.is_finished();
            let (counts, record) = seen(&*store)?;
            let rounds = counts[2];
            equal("the orders", counts, [2 * rounds, 2 * rounds, rounds, rounds])?;
            equal("the record", record, rounds.checked_sub(1).map(|round| round.to_string()))?;
            if finished {
                writer.join().map_err(|_| Failure::Wrong("a commit panicked".into()))??;
                return equal("the rounds", rounds, 50);
            }
        }
    })
}

pub(super) fn a_view_does_not_change(harness: &dyn StoreHarness) -> Result<(), Failure> {
    let store = harness.open(incarnation(1))?;
    let mut one = sample_log(1);
    let entry = one.change(document(1), noise(1, 100_000));
    commit(&*store, vec![append(1, &entry), Op::Put(Key::Meta("x"), noise(2, 100_000))])?;
    let before = store.read()?;
    for durability in [Durability::Eventual, Durability::Durable] {
        let ops = vec![Op::Truncate { context: context(1), log: log(1), from: 1 }, Op::Delete(Key::Meta("x"))];
        store.commit(&Batch { ops }, durability)?;
    }
    let mut two = sample_log(2);
    commit(&*store, (0..50).map(|round| append(2 + round, &two.change(document(1), noise(round, 5000)))).collect())?;
    equal("the log", collect(|visit| before.log(&context(1), &log(1), 1, visit))?, expected([(1, &entry)]))?;
    equal("the document", collect(|visit| before.document(&context(1), &document(1), 0, visit))?.len(), 1)?;
    equal("the last arrival", before.last_arrival(&context(1))?, 1)?;
    equal("the record", before.get(&Key::Meta("x"))? == Some(noise(2, 100_000)), true)?;
    equal("what a new view sees", store.read()?.last_arrival(&context(1))?, 51)
}

pub(super) fn commits_go_on_while_a_view_is_read(harness: &dyn StoreHarness) -> Result<(), Failure> {
    let store = harness.open(incarnation(1))?;
    let mut one = sample_log(1);
    commit(&*store, (1..=3).map(|arrival| append(arrival, &one.control("x"))).collect())?;
    let mut result: Result<(), StoreError> = Ok(());
    let mut arrival = 3;
    let view = store.read()?;
    let found = collect(|visit| {
        view.arrivals(&context(1), 0, &mut |entry| {
            arrival += 1;
            if let Err(error) = commit(&*store, vec![append(arrival, &one.control("y"))]) {
                result = Err(error);
            }
            visit(entry)
        })
    })?;
    result?;
    equal("entries in the view", found.len(), 3)?;
    equal("the last arrival now", store.read()?.last_arrival(&context(1))?, 6)
}

pub(super) fn everything_survives_a_clean_close(harness: &dyn StoreHarness) -> Result<(), Failure> {
    let mut one = sample_log(1);
    let durabilities = [Durability::Durable, Durability::Eventual, Durability::Durable, Durability::Eventual];
    for (round, durability) in (0..).zip(durabilities) {
        let store = harness.open(incarnation(round as u8))?;
        equal("from the open before", seen(&*store)?.0[0] as u64, 2 * round)?;
        store.commit(&Batch { ops: mixed(&mut one, 2 * round + 1, &round.to_string()) }, durability)?;
    }
    let store = harness.open(incarnation(9))?;
    equal("in the end", seen(&*store)?, ([8, 8, 4, 4], Some("3".into())))
}

pub(super) fn used_bytes_follow_what_is_stored(harness: &dyn StoreHarness) -> Result<(), Failure> {
    let store = harness.open(incarnation(1))?;
    let empty = store.read()?.used_bytes()?;
    let mut one = sample_log(1);
    let ops = (0..1000).map(|round| append(1 + round, &one.change(document(1), noise(round, 1000))));
    commit(&*store, ops.collect())?;
    let full = store.read()?.used_bytes()?;
    let grown = full.saturating_sub(empty);
    if !(1_000_000..4_000_000).contains(&grown) {
        return Err(Failure::Wrong(format!("1,000 entries of 1,000 bytes take {grown} bytes")));
    }
    commit(&*store, vec![Op::Truncate { context: context(1), log: log(1), from: 1 }])?;
    let left = store.read()?.used_bytes()?.saturating_sub(empty);
    if left > 200_000 {
        return Err(Failure::Wrong(format!("{left} bytes are still used when all entries are gone")));
    }
    Ok(())
}
