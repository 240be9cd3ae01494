//! Who may open a context.

use partita_core::{Access, ContextId, ContextInfo, ContextKind, Grant, Refusal, Transcript};

use super::{
    Findings,
    Rule::{BoundToContext, BoundToRemote, BoundToTranscript, EmptyProof, FlippedBits, ForeignContext, Strangers},
    Rule::{UnknownKind, Works},
    Who,
    council::{Council, NOW, SESSION},
};

/// The most places of a proof at which it is changed.
const MOST_PLACES: usize = 512;

pub(super) fn check(council: &Council<'_>, findings: &mut Findings) {
    for context in &council.subject.contexts {
        let proof = match council.proof(Who::Friend, context) {
            Ok(proof) => proof,
            Err(error) => {
                findings.add(Works, format!("the friend has no proof for {context:?}: {error}"));
                continue;
            }
        };
        let opens = council.opens(Who::Friend, context, &SESSION, &proof);
        findings.expect(Works, opens.is_ok(), || format!("the friend cannot open {context:?}: {opens:?}"));
        let brief = council.brief_proof(Who::Friend, context);
        if let Some(brief) = &brief {
            let opens = council.opens(Who::Friend, context, &SESSION, brief);
            let works = opens.is_ok() || opens == Err(Refusal::NeedControl);
            findings.expect(Works, works, || format!("the friend's brief proof does not open {context:?}: {opens:?}"));
        }
        // What is left out of a brief proof is what the remote holds already; it is bound to as much as the whole one.
        for proof in [&proof].into_iter().chain(&brief) {
            kinds(council, context, proof, findings);
            elsewhere(council, context, proof, findings);
            changed(council, context, proof, findings);
            strangers(council, context, proof, findings);
        }
    }
}

fn kinds(council: &Council<'_>, context: &ContextInfo, proof: &[u8], findings: &mut Findings) {
    let unknown = ContextKind::new("conformance/unknown").into_iter();
    let known = council.local().kinds().iter().cloned();
    for kind in unknown.chain(known).filter(|kind| *kind != context.kind) {
        let id_of_kind = ContextId::derive(&kind, context.id.as_bytes());
        for id in [context.id, id_of_kind] {
            let other = ContextInfo { id, kind: kind.clone() };
            if id == id_of_kind && council.local().kinds().contains(&kind) {
                continue; // a context like any other
            }
            let opens = council.opens(Who::Friend, &other, &SESSION, proof);
            findings.expect(UnknownKind, opens.is_err(), || format!("{other:?} was opened as {opens:?}"));
            let verified = council.local().auth().verify(NOW, &SESSION, &council.key(Who::Friend), &other, proof);
            findings.expect(UnknownKind, verified.is_err(), || format!("the proof for {context:?} held for {other:?}"));
        }
        let remote = council.remote(Who::Friend, &ContextInfo { id: context.id, kind }, None);
        let access = council.local().should_sync(context, &remote);
        let refused = matches!(access, Access::Refused(_));
        findings
            .expect(UnknownKind, refused, || format!("{context:?} may sync with the kind {}: {access:?}", remote.kind));
    }
}

fn elsewhere(council: &Council<'_>, context: &ContextInfo, proof: &[u8], findings: &mut Findings) {
    let foreign = &council.subject.foreign;
    for other in council.subject.contexts.iter().filter(|other| *other != context).chain([foreign]) {
        let opens = council.opens(Who::Friend, other, &SESSION, proof);
        // An empty proof is nobody's: it opens whatever the friend may open.
        if !proof.is_empty() || other == foreign {
            findings.expect(BoundToContext, opens.is_err(), || format!("the proof for {context:?} opened {other:?}"));
        }
        let both = Some(Grant { access: Access::Both });
        let access = council.local().should_sync(context, &council.remote(Who::Friend, other, both));
        let what = || format!("{context:?} may sync with another context, {other:?}: {access:?}");
        findings.expect(ForeignContext, matches!(access, Access::Refused(_)), what);
    }
    if let Ok(own) = council.proof(Who::Friend, foreign) {
        let opens = council.opens(Who::Friend, foreign, &SESSION, &own);
        let what = || format!("a context that is nobody's was opened: {foreign:?}");
        findings.expect(ForeignContext, opens.is_err() || council.subject.is_relay, what);
    }
}

fn changed(council: &Council<'_>, context: &ContextInfo, proof: &[u8], findings: &mut Findings) {
    let opens = |transcript: &Transcript, proof: &[u8]| council.opens(Who::Friend, context, transcript, proof).is_ok();
    findings.expect(EmptyProof, !opens(&SESSION, &[]), || format!("an empty proof opened {context:?}"));
    let another = Transcript { handshake: [0xa5; 32], ..SESSION };
    let reflected = Transcript { prover_dialled: !SESSION.prover_dialled, ..SESSION };
    findings.expect(BoundToTranscript, !opens(&another, proof), || "a proof of another session held".into());
    findings.expect(BoundToTranscript, !opens(&reflected, proof), || "a proof that was sent back held".into());
    for at in (0..proof.len()).step_by(proof.len() / MOST_PLACES + 1) {
        let mut flipped = proof.to_vec();
        flipped[at] ^= 1 << (at % 8);
        findings.expect(FlippedBits, !opens(&SESSION, &flipped), || format!("a proof held with byte {at} changed"));
        let cut = at > 0 && opens(&SESSION, &proof[..at]); // wholly cut it is the empty proof
        findings.expect(FlippedBits, !cut, || format!("a proof held when cut at byte {at}"));
    }
    let longer = [proof, b"!"].concat();
    findings.expect(FlippedBits, !opens(&SESSION, &longer), || "a proof held with a byte behind it".into());
}

fn strangers(council: &Council<'_>, context: &ContextInfo, proof: &[u8], findings: &mut Findings) {
    let opens = |proof: &[u8]| council.opens(Who::Stranger, context, &SESSION, proof).is_ok();
    findings.expect(BoundToRemote, !opens(proof), || format!("the friend's proof opened {context:?} for a stranger"));
    if let Ok(own) = council.proof(Who::Stranger, context) {
        findings.expect(Strangers, !opens(&own), || format!("a stranger's own proof opened {context:?}"));
    }
    if let Some(own) = council.brief_proof(Who::Stranger, context) {
        findings.expect(Strangers, !opens(&own), || format!("a stranger's own brief proof opened {context:?}"));
    }
    findings.expect(Strangers, !opens(&[]), || format!("a stranger without a proof opened {context:?}"));
    let access = council.local().should_sync(context, &council.remote(Who::Stranger, context, None));
    let refused = matches!(access, Access::Refused(_));
    findings.expect(Strangers, refused, || format!("a stranger without a grant may sync {context:?}: {access:?}"));
}
