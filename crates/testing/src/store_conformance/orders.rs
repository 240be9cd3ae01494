//! Promises about entries and their three orders.

use std::{ops::ControlFlow, sync::Arc};

use partita_core::{Entry, EntryId, EntryKind, Op, Stamp};

use super::{Failure, StoreHarness, append, collect, commit, equal, expected, log, sample_log};
use crate::samples::{SampleLog, context, document, incarnation, noise};

pub(super) fn a_log_is_read_in_order(harness: &dyn StoreHarness) -> Result<(), Failure> {
    let store = harness.open(incarnation(1))?;
    let (mut one, mut two) = (sample_log(1), sample_log(2));
    let mut own: Vec<(u64, Arc<Entry>)> = Vec::new();
    for round in 0..150u64 {
        let entry = one.change(document(1), round.to_be_bytes().to_vec());
        let other = two.control(round.to_be_bytes().to_vec());
        commit(&*store, vec![append(2 * round + 1, &entry), append(2 * round + 2, &other)])?;
        own.push((2 * round + 1, entry));
    }
    let view = store.read()?;
    for from in [0, 1, 2, 100, 150, 151, u64::MAX] {
        let found = collect(|visit| view.log(&context(1), &log(1), from, visit))?;
        let rest = own.iter().filter(|(_, entry)| entry.header.seq >= from).map(|(arrival, entry)| (*arrival, entry));
        equal("the log", found, expected(rest))?;
    }
    equal("another log", collect(|visit| view.log(&context(1), &log(2), 149, visit))?.len(), 2)?;
    equal("an unknown log", collect(|visit| view.log(&context(1), &log(3), 0, visit))?.len(), 0)
}

pub(super) fn a_context_is_read_by_arrival(harness: &dyn StoreHarness) -> Result<(), Failure> {
    let store = harness.open(incarnation(1))?;
    let mut logs: Vec<_> = (1..=3).map(sample_log).collect();
    let mut all = Vec::new();
    // With gaps, and over the places where numbers get another byte.
    let mut arrival = 200;
    for round in 0..200usize {
        arrival += 1 + round as u64 % 3;
        let entry = logs[round % 3].change(document(round as u8 % 5), "x");
        commit(&*store, vec![append(arrival, &entry)])?;
        all.push((arrival, entry));
    }
    let view = store.read()?;
    for after in [0, 200, 201, 255, 256, 300, arrival - 1, arrival, u64::MAX] {
        let found = collect(|visit| view.arrivals(&context(1), after, visit))?;
        let rest = all.iter().filter(|(arrival, _)| *arrival > after).map(|(arrival, entry)| (*arrival, entry));
        equal("the arrivals", found, expected(rest))?;
    }
    equal("the last arrival", view.last_arrival(&context(1))?, arrival)
}

pub(super) fn a_document_is_read_alone(harness: &dyn StoreHarness) -> Result<(), Failure> {
    let store = harness.open(incarnation(1))?;
    let mut one = sample_log(1);
    let mut two = sample_log(2);
    let mut control = sample_log(3);
    let (mut ops, mut own) = (Vec::new(), Vec::new());
    for round in 0..100u64 {
        let entries = [
            if round == 0 { one.append(EntryKind::Create(document(1)), "c") } else { one.change(document(1), "x") },
            two.change(document(2), "y"),
            control.control("z"),
            two.change(document(1), "x"),
        ];
        for (arrival, entry) in (4 * round + 1..).zip(entries) {
            ops.push(append(arrival, &entry));
            if entry.header.kind.document() == Some(document(1)) {
                own.push((arrival, entry));
            }
        }
    }
    commit(&*store, ops)?;
    let view = store.read()?;
    for after in [0, 1, 4, 200, 399, 400, u64::MAX] {
        let found = collect(|visit| view.document(&context(1), &document(1), after, visit))?;
        let rest = own.iter().filter(|(arrival, _)| *arrival > after).map(|(arrival, entry)| (*arrival, entry));
        equal("the document", found, expected(rest))?;
    }
    equal("an unknown document", collect(|visit| view.document(&context(1), &document(9), 0, visit))?.len(), 0)
}

pub(super) fn a_visit_ends_when_it_says_so(harness: &dyn StoreHarness) -> Result<(), Failure> {
    let store = harness.open(incarnation(1))?;
    let mut one = sample_log(1);
    commit(&*store, (1..=9).map(|arrival| append(arrival, &one.change(document(1), "x"))).collect())?;
    let view = store.read()?;
    for most in [1, 4] {
        let mut seen = [0; 3];
        let stop = |seen: &mut usize| {
            *seen += 1;
            if *seen == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        view.log(&context(1), &log(1), 1, &mut |_| stop(&mut seen[0]))?;
        view.arrivals(&context(1), 0, &mut |_| stop(&mut seen[1]))?;
        view.document(&context(1), &document(1), 0, &mut |_| stop(&mut seen[2]))?;
        equal("how many were shown", seen, [most; 3])?;
    }
    Ok(())
}

pub(super) fn contexts_do_not_see_each_other(harness: &dyn StoreHarness) -> Result<(), Failure> {
    let store = harness.open(incarnation(1))?;
    // The same ids of documents, and the same arrivals, in each context.
    let entries: Vec<Arc<Entry>> =
        (0..=255).map(|number| SampleLog::new(1, context(number), 1).change(document(1), vec![number])).collect();
    commit(&*store, entries.iter().map(|entry| append(7, entry)).collect())?;
    commit(&*store, vec![Op::Truncate { context: context(99), log: entries[99].header.log, from: 1 }])?;
    let view = store.read()?;
    for (number, entry) in (0..=255).zip(&entries) {
        let own = if number == 99 { Vec::new() } else { expected([(7, entry)]) };
        let context = context(number);
        equal("its log", collect(|visit| view.log(&context, &entry.header.log, 1, visit))?, own.clone())?;
        equal("its document", collect(|visit| view.document(&context, &document(1), 0, visit))?, own.clone())?;
        equal("its arrivals", collect(|visit| view.arrivals(&context, 0, visit))?, own)?;
    }
    Ok(())
}

pub(super) fn a_truncated_log_can_grow_again(harness: &dyn StoreHarness) -> Result<(), Failure> {
    let store = harness.open(incarnation(1))?;
    let (mut cut, mut kept) = (sample_log(1), sample_log(2));
    let mut branch = None;
    let mut left = Vec::new();
    for round in 0..20u64 {
        // Some are large, so that what lies outside the row goes too.
        let size = if round % 4 == 0 { 9000 } else { 10 };
        let entries = [cut.change(document(1), noise(round, size)), kept.change(document(1), noise(round, size))];
        commit(&*store, vec![append(2 * round + 1, &entries[0]), append(2 * round + 2, &entries[1])])?;
        let [first, second] = entries;
        if round < 12 {
            left.push((2 * round + 1, first));
            branch = Some(cut.clone());
        }
        left.push((2 * round + 2, second));
    }
    commit(&*store, vec![Op::Truncate { context: context(1), log: log(1), from: 13 }])?;
    commit(&*store, vec![Op::Truncate { context: context(1), log: log(9), from: 1 }])?;
    let whole = |left: &[(u64, Arc<Entry>)]| expected(left.iter().map(|(arrival, entry)| (*arrival, entry)));
    {
        let view = store.read()?;
        equal("the log", collect(|visit| view.log(&context(1), &log(1), 13, visit))?.len(), 0)?;
        equal("the arrivals", collect(|visit| view.arrivals(&context(1), 0, visit))?, whole(&left))?;
        equal("the document", collect(|visit| view.document(&context(1), &document(1), 0, visit))?, whole(&left))?;
    }
    let Some(mut branch) = branch else {
        return Ok(());
    };
    let again = branch.change(document(2), "another way");
    commit(&*store, vec![append(41, &again)])?;
    left.push((41, again.clone()));
    let view = store.read()?;
    equal("the log", collect(|visit| view.log(&context(1), &log(1), 13, visit))?, expected([(41, &again)]))?;
    equal("the arrivals", collect(|visit| view.arrivals(&context(1), 0, visit))?, whole(&left))
}

pub(super) fn a_pruned_log_keeps_what_comes_after(harness: &dyn StoreHarness) -> Result<(), Failure> {
    let (mut pruned, mut other) = (sample_log(1), sample_log(2));
    let mut left = Vec::new();
    {
        let store = harness.open(incarnation(1))?;
        for round in 0..20u64 {
            let size = if round % 4 == 0 { 9000 } else { 10 };
            let entries =
                [pruned.change(document(1), noise(round, size)), other.change(document(1), noise(round, size))];
            commit(&*store, vec![append(2 * round + 1, &entries[0]), append(2 * round + 2, &entries[1])])?;
            let [first, second] = entries;
            left.extend((round >= 12).then_some((2 * round + 1, first)));
            left.push((2 * round + 2, second));
        }
        for through in [5, 12, 12, 3] {
            commit(&*store, vec![Op::Prune { context: context(1), log: log(1), through }])?;
        }
        commit(&*store, vec![Op::Prune { context: context(1), log: log(9), through: 7 }])?;
    }
    let store = harness.open(incarnation(2))?;
    let next = pruned.change(document(1), "next");
    commit(&*store, vec![append(41, &next)])?;
    left.push((41, next));
    let view = store.read()?;
    let own = left.iter().filter(|(arrival, _)| arrival % 2 == 1).map(|(arrival, entry)| (*arrival, entry));
    let own = expected(own);
    equal("the log", collect(|visit| view.log(&context(1), &log(1), 1, visit))?, own.clone())?;
    equal("its end", collect(|visit| view.log(&context(1), &log(1), 13, visit))?, own)?;
    let whole = expected(left.iter().map(|(arrival, entry)| (*arrival, entry)));
    equal("the arrivals", collect(|visit| view.arrivals(&context(1), 0, visit))?, whole.clone())?;
    equal("the document", collect(|visit| view.document(&context(1), &document(1), 0, visit))?, whole)
}

pub(super) fn the_last_arrival_never_goes_back(harness: &dyn StoreHarness) -> Result<(), Failure> {
    let mut one = sample_log(1);
    {
        let store = harness.open(incarnation(1))?;
        commit(&*store, vec![append(4, &one.control("a")), append(9, &one.control("b"))])?;
        commit(&*store, vec![Op::Truncate { context: context(1), log: log(1), from: 2 }])?;
        equal("after a truncation", store.read()?.last_arrival(&context(1))?, 9)?;
        commit(&*store, vec![Op::Truncate { context: context(1), log: log(1), from: 1 }])?;
    }
    // Somebody may remember to have seen everything up to 9: the next arrival must lie above it.
    let store = harness.open(incarnation(2))?;
    equal("in the next incarnation", store.read()?.last_arrival(&context(1))?, 9)?;
    equal("elsewhere", store.read()?.last_arrival(&context(2))?, 0)
}

pub(super) fn entries_come_back_byte_for_byte(harness: &dyn StoreHarness) -> Result<(), Failure> {
    let store = harness.open(incarnation(1))?;
    let mut long = sample_log(1);
    let heads = (0..200u8).map(|number| EntryId::from_bytes([number; 32])).collect();
    long.state(Stamp { heads, epoch: None });
    let mut entries = vec![long.control(""), long.append(EntryKind::Create(document(1)), "payload")];
    let mut unsigned = Entry::clone(&long.change(document(1), "no signature"));
    unsigned.signature = None;
    entries.push(Arc::new(unsigned));
    commit(&*store, (1..).zip(&entries).map(|(arrival, entry)| append(arrival, entry)).collect())?;
    let view = store.read()?;
    let found = collect(|visit| view.arrivals(&context(1), 0, visit))?;
    equal("the entries", found, expected((1..).zip(&entries)))
}

pub(super) fn payloads_of_every_size_come_back(harness: &dyn StoreHarness) -> Result<(), Failure> {
    let mut one = sample_log(1);
    // Around the sizes of pages, and one as large as a picture.
    let around =
        (9..=18).flat_map(|power| [-300, -64, -1, 0, 1, 64].map(|by| (1usize << power).saturating_add_signed(by)));
    let sizes: Vec<usize> = (3600..4200).step_by(37).chain(around).chain([5_000_000]).collect();
    let entries: Vec<_> = sizes.iter().map(|size| one.change(document(1), noise(*size as u64, *size))).collect();
    {
        let store = harness.open(incarnation(1))?;
        commit(&*store, (1..).zip(&entries).map(|(arrival, entry)| append(arrival, entry)).collect())?;
    }
    let store = harness.open(incarnation(2))?;
    let found = collect(|visit| store.read()?.log(&context(1), &log(1), 1, visit))?;
    equal("how many", found.len(), entries.len())?;
    for ((_, found), entry) in found.iter().zip(&entries) {
        equal("the size", found.payload.len(), entry.payload.len())?;
        equal("whether it is the same", found == &**entry, true)?;
    }
    Ok(())
}
