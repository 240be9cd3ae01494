//! Answers: stable, about the peers that were named, and never in favour of those who may not.

use partita_core::{Access, ContextId, EntryId, Grant, PartitionStrategy, PeerInfo, SessionId};

use super::{
    Findings,
    Rule::{Stable, Targets, Works, Writers},
    Who,
    council::{Council, NOW, SESSION},
};

const PLAIN: &[u8] = b"what the suite writes";

pub(super) fn check(council: &Council<'_>, findings: &mut Findings) {
    for context in council.subject.contexts.iter().map(|context| context.id) {
        writers(council, &context, findings);
    }
    targets(council, findings);
    stable(council, findings);
}

fn writers(council: &Council<'_>, context: &ContextId, findings: &mut Findings) {
    for who in council.subject.writers.iter().copied() {
        let strategy = council.strategy(who);
        let epoch = strategy.epoch(context);
        findings.expect(Works, epoch.is_ok(), || format!("{who:?} may not write in {context}: {epoch:?}"));
        let draft = council.draft(who, context, PLAIN);
        for judge in [Who::Local, Who::Friend] {
            let verdict = council.strategy(judge).authorize(&draft.claim());
            let counts = draft.counts(council.strategy(judge));
            findings.expect(Works, counts, || format!("an entry of {who:?} does not count for {judge:?}: {verdict:?}"));
        }
        let sealed = council.sealed(who, &draft, PLAIN);
        let prefix = draft.prefix();
        let opened = sealed.as_ref().map(|sealed| strategy.open(&prefix, sealed));
        let same = matches!(&opened, Ok(partita_core::Opened::Plain(plain)) if plain == PLAIN);
        findings.expect(Works, same, || format!("what {who:?} sealed does not open again: {opened:?}"));
        if let Some(opener) = strategy.opener(context, &prefix.author, prefix.epoch) {
            let elsewhere = sealed.as_ref().map(|sealed| opener.open(&prefix, sealed));
            let what = || format!("what {who:?} sealed: `open` says {opened:?}, its opener {elsewhere:?}");
            findings.expect(Works, opened == elsewhere, what);
        }
    }
    for who in council.subject.non_writers() {
        let heads = council.heads(context);
        let epochs = [council.epoch(who, context), None];
        for (heads, epoch) in [(heads, epochs[0]), (Vec::new(), epochs[0]), (Vec::new(), epochs[1])] {
            let draft = council.draft_on(who, context, heads, epoch, PLAIN);
            let counts = draft.counts(council.local());
            findings.expect(Writers, !counts, || format!("an entry of {who:?}, who may not write, counts"));
        }
    }
}

/// The targets that a strategy names among these peers are among them, once each, and none is one that is refused.
pub(super) fn targets_of(
    council: &Council<'_>,
    strategy: &dyn PartitionStrategy,
    context: &partita_core::ContextInfo,
    whom: &[Who],
) -> Result<Vec<SessionId>, String> {
    let peers: Vec<PeerInfo> = whom.iter().map(|who| council.peer(*who)).collect();
    let mut out = Vec::new();
    strategy.filter_targets(&context.id, &peers, &mut out);
    for (at, session) in out.iter().enumerate() {
        let Some(place) = peers.iter().position(|peer| peer.session == *session) else {
            return Err(format!("{session:?} is none of the peers {whom:?}"));
        };
        if out[..at].contains(session) {
            return Err(format!("{:?} is named twice", whom[place]));
        }
        // Were its proof granted in full, would it be refused?
        let granted = council.remote(whom[place], context, Some(Grant { access: Access::Both }));
        if !strategy.should_sync(context, &granted).reads() {
            return Err(format!("{:?} is named as a target and would be refused", whom[place]));
        }
    }
    Ok(out)
}

fn targets(council: &Council<'_>, findings: &mut Findings) {
    for context in &council.subject.contexts {
        let local = council.local();
        let whom = [&[][..], &[Who::Friend], &[Who::Stranger], &[Who::Friend, Who::Stranger], &Who::ALL];
        for whom in whom {
            if let Err(what) = targets_of(council, local, context, whom) {
                findings.add(Targets, what);
            }
        }
        let proof = council.proof(Who::Friend, context).unwrap_or_default();
        let reads = council.opens(Who::Friend, context, &SESSION, &proof).is_ok_and(Access::reads);
        let named = targets_of(council, local, context, &[Who::Friend]).is_ok_and(|named| named.len() == 1);
        findings.expect(Works, named || !reads, || "the friend may read and is no target".into());
    }
}

type Question<'a> = (String, Box<dyn Fn(&dyn PartitionStrategy) -> String + 'a>);

/// Everything that can be asked, about every side and context.
pub(super) fn questions<'a>(council: &'a Council<'_>) -> Vec<Question<'a>> {
    let mut questions: Vec<Question<'a>> = Vec::new();
    let contexts = council.subject.contexts.iter().chain([&council.subject.foreign]);
    questions.push(("kinds".into(), Box::new(|strategy| format!("{:?} {:?}", strategy.kinds(), strategy.contexts()))));
    for context in contexts {
        let id = context.id;
        questions.push((format!("standing {id:?}"), Box::new(move |s| format!("{:?}", s.standing(&id)))));
        questions.push((format!("epoch {id:?}"), Box::new(move |s| format!("{:?}", s.epoch(&id)))));
        for who in Who::ALL {
            let about = |what: &str| format!("{what} {who:?} {id:?}");
            let proof = council.proof(who, context).unwrap_or_default();
            let verify =
                move |s: &dyn PartitionStrategy| s.auth().verify(NOW, &SESSION, &council.key(who), context, &proof);
            questions.push((about("verify"), Box::new(move |s| format!("{:?}", verify(s)))));
            for grant in [None, Some(Grant { access: Access::Both }), Some(Grant { access: Access::Read })] {
                let remote = council.remote(who, context, grant);
                let ask = move |s: &dyn PartitionStrategy| format!("{:?}", s.should_sync(context, &remote));
                questions.push((about("should_sync"), Box::new(ask)));
            }
            let peers = [council.peer(who), council.peer(Who::Stranger)];
            let targets = move |s: &dyn PartitionStrategy| {
                let mut out = Vec::new();
                s.filter_targets(&id, &peers, &mut out);
                format!("{out:?}")
            };
            questions.push((about("filter_targets"), Box::new(targets)));
            let unknown = vec![EntryId::from_bytes([0x77; 32])];
            for heads in [council.heads(&id), Vec::new(), unknown] {
                let draft = council.draft_on(who, &id, heads, council.epoch(who, &id), PLAIN);
                let sealed = council.sealed(who, &draft, PLAIN).unwrap_or_default();
                let authorize = move |s: &dyn PartitionStrategy| {
                    format!("{:?} {:?}", s.authorize(&draft.claim()), s.open(&draft.prefix(), &sealed))
                };
                questions.push((about("authorize"), Box::new(authorize)));
            }
        }
    }
    questions
}

pub(super) fn answers(questions: &[Question<'_>], strategy: &dyn PartitionStrategy) -> Vec<String> {
    questions.iter().map(|(_, ask)| ask(strategy)).collect()
}

fn stable(council: &Council<'_>, findings: &mut Findings) {
    let questions = questions(council);
    let local = council.local();
    let first = answers(&questions, local);
    let mut differs = |found: &[String], when: &str| {
        let changed = questions.iter().zip(first.iter().zip(found)).find(|(_, (before, after))| before != after);
        if let Some(((what, _), (before, after))) = changed {
            findings.add(Stable, format!("{what} {when}: {before}, then {after}"));
        }
    };
    differs(&answers(&questions, local), "asked again");
    let mut backwards: Vec<_> = questions.iter().rev().map(|(_, ask)| ask(local)).collect();
    backwards.reverse();
    differs(&backwards, "asked after other questions");
    let often: Vec<_> =
        questions.iter().map(|(_, ask)| (0..5).map(|_| ask(local)).last().unwrap_or_default()).collect();
    differs(&often, "asked several times");
}
