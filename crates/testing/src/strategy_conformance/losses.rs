//! What control entries say does not depend on the order in which they come, and losses take effect.

use std::collections::{BTreeMap, BTreeSet};

use partita_core::{Access, Claim, ContextId, EntryId, EpochId, Grant, PartitionStrategy, Verdict};
use rand_core::Rng as _;

use super::{
    Findings,
    Rule::{Ancestors, Losses, Standing},
    Subject, Who,
    council::{Council, NOW, Written, begin, rng},
    decisions::{answers, questions, targets_of},
};

const ORDERS: usize = 16;
const PLAIN: &[u8] = b"what the suite writes under old heads";

pub(super) fn check(subject: &Subject, findings: &mut Findings) {
    let mut council = Council::new(subject);
    // What the friend writes under before anybody loses anything: afterwards there may be no epoch for it.
    let epochs = subject.contexts.iter().map(|context| (context.id, council.epoch(Who::Friend, &context.id)));
    let epochs: BTreeMap<ContextId, Option<EpochId>> = epochs.collect();
    if let Some(lose) = &subject.losing {
        let heads: Vec<_> = subject.contexts.iter().map(|context| (context.id, council.heads(&context.id))).collect();
        // Every writer takes the right from the other ones at the same time, without having heard of that.
        let mut concurrent: Vec<(ContextId, Written)> = Vec::new();
        // At a relay the friend gives up its own.
        let whom = if subject.is_relay { Who::Friend } else { Who::Local };
        for (writer, whom) in [(Who::Local, Who::Friend), (Who::Friend, whom)] {
            if !subject.writers.contains(&writer) {
                continue;
            }
            let replica = subject.side(whom).replica();
            for (context, payload) in council.turn(writer, |strategy, turn| lose(strategy, turn, replica)) {
                let own = concurrent
                    .iter()
                    .filter(|(of, one)| *of == context && one.author == subject.side(writer).replica());
                let before: Vec<EntryId> = own.map(|(_, one)| one.entry.id).collect();
                let known = heads.iter().find(|(of, _)| *of == context).map(|(_, heads)| heads.clone());
                let on = before.last().map_or(known.unwrap_or_default(), |last| vec![*last]);
                concurrent.push((context, council.draft_control(writer, context, payload, on)));
            }
        }
        findings.expect(Losses, !concurrent.is_empty(), || "`losing` appended no control entry".into());
        concurrent.into_iter().for_each(|(context, written)| council.give(context, written));
        take_effect(&council, findings);
    }
    are_lifted_by_control(&council, findings);
    rest_on_ancestors(&council, &epochs, findings);
    orders(&council, findings);
    come_again(&council, findings);
}

/// Only who lost the right can hold it again, and only a control entry of the context can lift a loss.
fn are_lifted_by_control(council: &Council<'_>, findings: &mut Findings) {
    for context in &council.subject.contexts {
        let standing = council.local().standing(&context.id);
        let never = standing.readmitted.iter().find(|replica| !standing.has_loss(replica));
        findings.expect(Losses, never.is_none(), || format!("{never:?} holds a right again that it never lost"));
        let written = council.written.get(&context.id).into_iter().flatten();
        let known: BTreeSet<EntryId> = written.map(|one| one.entry.id).collect();
        let lifting = standing.losses.values().flatten().flat_map(|loss| &loss.lifted_by);
        let unknown = lifting.copied().find(|id| !known.contains(id));
        findings.expect(Losses, unknown.is_none(), || format!("a loss is lifted by {unknown:?}, which is not here"));
    }
}

fn take_effect(council: &Council<'_>, findings: &mut Findings) {
    let local = council.local();
    for context in &council.subject.contexts {
        let remote = council.remote(Who::Friend, context, Some(Grant { access: Access::Both }));
        let access = local.should_sync(context, &remote);
        findings
            .expect(Losses, !access.reads(), || format!("the friend lost its right and still may sync: {access:?}"));
        let named = targets_of(council, local, context, &[Who::Friend, Who::Stranger]);
        let named = named.map(|named| named.contains(&council.peer(Who::Friend).session));
        findings.expect(Losses, named == Ok(false), || format!("who lost its right is a target: {named:?}"));
        let counts = council.draft(Who::Friend, &context.id, &b"later"[..]).counts(local);
        findings.expect(Losses, !counts, || "an entry that knows of its author's loss counts".into());
        if !council.subject.writers.contains(&Who::Friend) {
            continue; // it lost no right to write
        }
        // Under heads of before the loss its entries are accepted for ever: nothing but the standing cuts them off.
        let old = council.draft_on(Who::Friend, &context.id, Vec::new(), None, PLAIN);
        let standing = local.standing(&context.id);
        let cap = standing.cap(&old.author, &old.entry.header.log, |_| false);
        let limited = standing.has_lost(&old.author) && cap == Some(0);
        findings.expect(Standing, limited, || {
            format!("the friend lost its right, and a log that no loss lists counts in {context:?} up to {cap:?}")
        });
    }
}

/// A replica that holds no more than what an entry rests on says the same of it as one that holds everything: else two
/// replicas disagree for as long as one has not heard of something.
fn rest_on_ancestors(council: &Council<'_>, epochs: &BTreeMap<ContextId, Option<EpochId>>, findings: &mut Findings) {
    let local = council.local();
    for context in &council.subject.contexts {
        let (id, epoch) = (context.id, epochs.get(&context.id).copied().flatten());
        let written: &[Written] = council.written.get(&id).map_or(&[], Vec::as_slice);
        for heads in written.iter().map(|last| vec![last.entry.id]).chain([Vec::new()]) {
            let less = knowing(council, written, &heads);
            for who in Who::ALL {
                for epoch in [epoch, None] {
                    let draft = council.draft_on(who, &id, heads.clone(), epoch, PLAIN);
                    let (few, all) = (less.authorize(&draft.claim()), local.authorize(&draft.claim()));
                    findings.expect(Ancestors, same(&few, &all), || {
                        format!("an entry of {who:?}: {few:?} by what it rests on, {all:?} by more than that")
                    });
                }
            }
            if heads.is_empty() {
                continue; // of nothing nobody says anything
            }
            let asked = |of: &dyn PartitionStrategy| (of.writers(&id, &heads), of.dormant(&id, &heads));
            let (few, all) = (asked(&*less), asked(local));
            findings.expect(Ancestors, few == all, || {
                format!("writers and who is dormant: {few:?} by what {heads:?} rest on, {all:?} by more than that")
            });
        }
        for one in written {
            let less = knowing(council, written, &one.parents);
            let heads = one.entry.header.stamp.as_ref().map_or(&[][..], |stamp| &stamp.heads);
            let (header, author, control) = (&one.entry.header, one.author, Some(&one.entry.payload[..]));
            let claim = Claim { header, author, heads, epoch: None, control };
            let (few, all) = (less.authorize(&claim), local.authorize(&claim));
            findings.expect(Ancestors, same(&few, &all), || {
                format!("a control entry: {few:?} by what it rests on, {all:?} by more than that")
            });
        }
    }
}

/// Whether an entry's fate is the same. The reason for which it is excluded is told to nobody.
fn same(one: &Verdict, other: &Verdict) -> bool {
    matches!((one, other), (Verdict::Excluded(_), Verdict::Excluded(_))) || one == other
}

/// A strategy like local's that holds these control entries of a context and what they descend from, and no others.
fn knowing(council: &Council<'_>, written: &[Written], heads: &[EntryId]) -> Box<dyn PartitionStrategy> {
    let mut known: BTreeSet<EntryId> = heads.iter().copied().collect();
    // Parents come first, so backwards each is met before what it rests on.
    for one in written.iter().rev() {
        if known.contains(&one.entry.id) {
            known.extend(&one.parents);
        }
    }
    let mut strategy = begin(&council.subject.local, &council.subject.contexts);
    for one in written.iter().filter(|one| known.contains(&one.entry.id)) {
        let _ = strategy.control(NOW, &one.given());
    }
    strategy
}

/// A node that unloaded the contexts gives all control entries again when it loads them.
fn come_again(council: &Council<'_>, findings: &mut Findings) {
    let subject = council.subject;
    let questions = questions(council);
    let mut again = begin(&subject.local, &subject.contexts);
    let give = |strategy: &mut dyn PartitionStrategy| {
        for one in council.written.values().flatten() {
            let _ = strategy.control(NOW, &one.given());
        }
    };
    give(&mut *again);
    for context in &subject.contexts {
        again.forget(&context.id);
        again.adopt(context, None);
    }
    give(&mut *again);
    let (expected, found) = (answers(&questions, council.local()), answers(&questions, &*again));
    let changed = questions.iter().zip(expected.iter().zip(&found)).find(|(_, (one, two))| one != two);
    if let Some(((what, _), (one, two))) = changed {
        findings.add(Losses, format!("{what} is another once its context was unloaded and loaded: {one}, then {two}"));
    }
}

/// The same control entries in other orders, parents first.
fn orders(council: &Council<'_>, findings: &mut Findings) {
    let subject = council.subject;
    let questions = questions(council);
    let expected = answers(&questions, council.local());
    let mut rng = rng();
    for _ in 0..ORDERS {
        let mut other = begin(&subject.local, &subject.contexts);
        let mut left: Vec<&Written> = council.written.values().flatten().collect();
        let all: BTreeSet<EntryId> = left.iter().map(|one| one.entry.id).collect();
        let mut given: BTreeSet<EntryId> = BTreeSet::new();
        while !left.is_empty() {
            let ready = |one: &&Written| one.parents.iter().all(|id| given.contains(id) || !all.contains(id));
            let ready: Vec<usize> = left.iter().enumerate().filter(|(_, one)| ready(one)).map(|(at, _)| at).collect();
            let Some(at) = ready.get(rng.next_u32() as usize % ready.len().max(1)) else {
                return;
            };
            let next = left.remove(*at);
            given.insert(next.entry.id);
            let _ = other.control(NOW, &next.given());
        }
        let found = answers(&questions, &*other as &dyn PartitionStrategy);
        let changed = questions.iter().zip(expected.iter().zip(&found)).find(|(_, (one, two))| one != two);
        if let Some(((what, _), (one, two))) = changed {
            findings.add(Losses, format!("{what} depends on the order of control entries: {one}, or {two}"));
            return;
        }
    }
}
