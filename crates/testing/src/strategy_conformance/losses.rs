//! What control entries say does not depend on the order in which they come, and losses take effect.

use std::collections::BTreeSet;

use partita_core::{Access, ContextId, EntryId, Grant, PartitionStrategy};
use rand_core::Rng as _;

use super::{
    Findings,
    Rule::Losses,
    Subject, Who,
    council::{Council, NOW, Written, begin, rng},
    decisions::{answers, questions, targets_of},
};

const ORDERS: usize = 16;

pub(super) fn check(subject: &Subject, findings: &mut Findings) {
    let mut council = Council::new(subject);
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
    orders(&council, findings);
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
