//! Bytes from outside never panic, and what is refused changes nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use partita_core::{Claim, ContextInfo};

use super::{
    Findings,
    Rule::Garbage,
    Subject, Who,
    council::{Council, NOW, SESSION},
    decisions::{answers, questions},
};
use crate::samples;

/// The most places at which an honest payload is changed.
const MOST_PLACES: usize = 64;

/// Noise of many lengths, lists that claim to be long, and honest payloads with a change in them.
fn garbage(honest: &[Bytes]) -> Vec<Bytes> {
    let mut all = vec![Bytes::new()];
    for len in (1..40).chain([100, 1000, 5000]) {
        all.push(samples::noise(len as u64, len));
        all.push(Bytes::from(vec![0xff; len]));
        all.push(Bytes::from(vec![0; len]));
        all.push([&[1, 0xff, 0xff, 0xff, 0xff, 0x0f], &samples::noise(len as u64, len)[..]].concat().into());
    }
    for payload in honest {
        for at in (0..payload.len()).step_by(payload.len() / MOST_PLACES + 1) {
            let mut changed = payload.to_vec();
            changed[at] ^= 0x80;
            all.push(changed.into());
            all.push(payload.slice(..at));
        }
        all.push([&payload[..], payload].concat().into());
    }
    all
}

pub(super) fn check(subject: &Subject, findings: &mut Findings) {
    for context in &subject.contexts {
        let asked = Council::new(subject);
        let questions = questions(&asked);
        let payloads = asked.written.get(&context.id).into_iter().flatten().map(|one| one.entry.payload.clone());
        let mut proofs = Vec::from_iter(asked.proof(Who::Friend, context).ok());
        proofs.push(Bytes::from_static(b"proof"));
        for payload in garbage(&proofs) {
            never_panics(findings, "a proof", &payload, || {
                let _ = asked.local().auth().verify(NOW, &SESSION, &asked.key(Who::Friend), context, &payload);
                let draft = asked.draft(Who::Friend, &context.id, payload.clone());
                asked.local().open(&draft.prefix(), &payload);
                asked.local().authorize(&Claim { control: Some(&payload), ..draft.claim() });
            });
        }
        let mut council = Council::new(subject);
        let mut before = answers(&questions, council.local());
        for payload in garbage(&payloads.collect::<Vec<_>>()) {
            let taken = take(&mut council, context, &payload, findings);
            let after = answers(&questions, council.local());
            findings.expect(Garbage, taken || after == before, || {
                format!("a control entry of {} bytes was refused and changed an answer", payload.len())
            });
            before = after;
        }
    }
}

/// Gives local a control entry of the stranger's; whether it was taken.
fn take(council: &mut Council<'_>, context: &ContextInfo, payload: &Bytes, findings: &mut Findings) -> bool {
    let heads = council.heads(&context.id);
    let written = council.draft_control(Who::Stranger, context.id, payload.clone(), heads);
    let mut taken = false;
    never_panics(findings, "a control entry", payload, || {
        taken = council.strategy_mut(Who::Local).control(NOW, &written.given()).is_ok();
    });
    taken
}

fn never_panics(findings: &mut Findings, what: &str, bytes: &[u8], call: impl FnOnce()) {
    let outcome = catch_unwind(AssertUnwindSafe(call));
    let start = &bytes[..bytes.len().min(16)];
    findings.expect(Garbage, outcome.is_ok(), || format!("{what} of {} bytes panics: {start:02x?}...", bytes.len()));
}
