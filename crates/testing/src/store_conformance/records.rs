//! Promises about records.

use std::ops::ControlFlow;

use bytes::Bytes;
use partita_core::{Key, Op, Store};

use super::{Failure, StoreHarness, append, commit, equal, log, sample_log, scanned};
use crate::samples::{context, document, incarnation, noise};

pub(super) fn records_are_set_replaced_and_deleted(harness: &dyn StoreHarness) -> Result<(), Failure> {
    let store = harness.open(incarnation(1))?;
    let key = Key::Document(context(1), document(1));
    let other = Key::Document(context(1), document(2));
    commit(&*store, vec![Op::Put(key.clone(), "one".into()), Op::Put(other.clone(), Bytes::new())])?;
    equal("set", store.read()?.get(&key)?, Some("one".into()))?;
    equal("set to nothing", store.read()?.get(&other)?, Some(Bytes::new()))?;
    // From small to large and back: what is stored elsewhere must come and go.
    for value in [noise(1, 200_000), noise(2, 100_000), "two".into()] {
        commit(&*store, vec![Op::Put(key.clone(), value.clone())])?;
        equal("replaced", store.read()?.get(&key)? == Some(value), true)?;
    }
    commit(&*store, vec![Op::Delete(key.clone()), Op::Delete(Key::Meta("never set"))])?;
    equal("deleted", store.read()?.get(&key)?, None)?;
    equal("its neighbour", store.read()?.get(&other)?, Some(Bytes::new()))
}

pub(super) fn operations_happen_in_order(harness: &dyn StoreHarness) -> Result<(), Failure> {
    let store = harness.open(incarnation(1))?;
    let (one, two) = (Key::Meta("one"), Key::Meta("two"));
    commit(
        &*store,
        vec![
            Op::Put(one.clone(), "a".into()),
            Op::Delete(one.clone()),
            Op::Delete(two.clone()),
            Op::Put(two.clone(), "a".into()),
            Op::Put(two.clone(), "b".into()),
        ],
    )?;
    equal("set, then deleted", store.read()?.get(&one)?, None)?;
    equal("deleted, then set twice", store.read()?.get(&two)?, Some("b".into()))
}

pub(super) fn records_are_scanned_by_prefix(harness: &dyn StoreHarness) -> Result<(), Failure> {
    let store = harness.open(incarnation(1))?;
    let set_aside = |context, document, arrival| Key::SetAside(context, document, arrival);
    let mut keys: Vec<Key> = Vec::new();
    for arrival in [300, 1, 70_000, 2, 256, u64::MAX] {
        for at in [context(255), context(1), context(2)] {
            keys.push(set_aside(at, document(255), arrival));
            keys.push(set_aside(at, document(3), arrival));
        }
    }
    keys.extend([Key::Meta("z"), Key::Context(context(255)), Key::Log(context(1), log(255))]);
    let value = |key: &Key| -> Bytes { format!("{key:?}").into() };
    commit(&*store, keys.iter().map(|key| Op::Put(key.clone(), value(key))).collect())?;
    let view = store.read()?;
    let prefixes = [
        Key::set_aside(&context(1), Some(&document(3))),
        Key::set_aside(&context(255), None),
        Key::contexts(),
        Bytes::new(),
    ];
    for prefix in prefixes {
        let mut all: Vec<_> = keys.iter().map(|key| (key.to_bytes(), value(key))).collect();
        all.retain(|(name, _)| name.starts_with(&prefix));
        all.sort();
        equal("the records", scanned(&*view, &prefix)?, all)?;
    }
    let mut seen = 0;
    view.scan(&[], &mut |_, _| {
        seen += 1;
        if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    equal("records shown before the visit ended", seen, 3)
}

pub(super) fn records_of_every_size_come_back(harness: &dyn StoreHarness) -> Result<(), Failure> {
    let store = harness.open(incarnation(1))?;
    let mut ops = Vec::new();
    let mut all = Vec::new();
    for (number, size) in (0..).zip([0, 1, 3900, 3901, 4031, 4032, 4096, 65_472, 65_536, 65_537, 131_000, 5_000_000]) {
        let key = Key::Snapshot(context(number), document(1));
        let value = noise(size as u64, size);
        all.push((key.to_bytes(), value.clone()));
        ops.push(Op::Put(key, value));
    }
    commit(&*store, ops)?;
    let view = store.read()?;
    equal("whether they are the same", scanned(&*view, &[])? == all, true)
}

pub(super) fn fragments_go_with_their_entry(harness: &dyn StoreHarness) -> Result<(), Failure> {
    let mut one = sample_log(1);
    let fragment = |log, seq, offset| Key::Fragment(context(1), log, seq, offset);
    let gone = [fragment(log(1), 2, 0), fragment(log(1), 2, 65_536), fragment(log(1), 2, u64::MAX)];
    let kept = [fragment(log(1), 1, 0), fragment(log(1), 3, 0), fragment(log(2), 2, 0)];
    {
        let store = harness.open(incarnation(1))?;
        commit(&*store, vec![append(1, &one.change(document(1), "first"))])?;
        commit(&*store, gone.iter().chain(&kept).map(|key| Op::Put(key.clone(), noise(1, 70_000))).collect())?;
    }
    // They are found also by an open that did not see them come.
    let store = harness.open(incarnation(2))?;
    commit(&*store, vec![append(2, &one.change(document(1), "second"))])?;
    let left: Vec<Bytes> = scanned(&*store.read()?, &[])?.into_iter().map(|(name, _)| name).collect();
    let mut expected: Vec<Bytes> = kept.iter().map(Key::to_bytes).collect();
    expected.sort();
    equal("what is left", left, expected)?;
    let third = one.change(document(1), "third");
    commit(&*store, vec![Op::Put(fragment(log(1), 3, 9), "late".into()), append(3, &third)])?;
    equal("those of the same batch", store.read()?.get(&fragment(log(1), 3, 9))?, None)
}

pub(super) fn fragments_go_with_what_is_cut_or_pruned(harness: &dyn StoreHarness) -> Result<(), Failure> {
    let fragment = |log, seq| Key::Fragment(context(1), log, seq, 65_536);
    let left = |store: &dyn Store| -> Result<Vec<Bytes>, Failure> {
        Ok(scanned(&*store.read()?, &[])?.into_iter().map(|(name, _)| name).collect())
    };
    let store = harness.open(incarnation(1))?;
    // Of a log that has no entry yet, too: its first one is large.
    let all = (1..=4).flat_map(|seq| [fragment(log(1), seq), fragment(log(2), seq)]);
    commit(&*store, all.map(|key| Op::Put(key, noise(1, 70_000))).collect())?;
    commit(&*store, vec![Op::Prune { context: context(1), log: log(1), through: 2 }])?;
    commit(&*store, vec![Op::Truncate { context: context(1), log: log(1), from: 4 }])?;
    let of_other = (1..=4).map(|seq| fragment(log(2), seq));
    let mut expected: Vec<Bytes> = of_other.chain([fragment(log(1), 3)]).map(|key| key.to_bytes()).collect();
    expected.sort();
    equal("what is left", left(&*store)?, expected)
}
