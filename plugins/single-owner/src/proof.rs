//! The proof of a device's right to open a context: its certificate, and its signature over this very session. A remote
//! that holds the certificate already, among the context's control entries, is shown the signature alone.

use bytes::Bytes;
use partita_core::{
    Access, ContextInfo, DeviceKeys, Grant, Refusal, ReplicaId, Signature, Transcript,
    codec::{Reader, Writer},
};
use partita_crypto::VerifyingKey;

use crate::{certificate::Certificate, modes::Mode, state::ContextState};

const PURPOSE: &str = "partita 2026 v1 single-owner proof";

/// A proof for this transcript, context and kind.
pub(crate) fn prove(
    keys: &DeviceKeys,
    certificate: &Certificate,
    transcript: &Transcript,
    context: &ContextInfo,
) -> Bytes {
    let mut out = Writer::with_capacity(Certificate::LEN + 64);
    certificate.encode(&mut out);
    out.raw(&prove_briefly(keys, transcript, context));
    out.finish()
}

/// The proof without the certificate.
pub(crate) fn prove_briefly(keys: &DeviceKeys, transcript: &Transcript, context: &ContextInfo) -> Bytes {
    let signature = keys.signing.sign(PURPOSE, &transcript.message(context));
    Bytes::copy_from_slice(signature.as_bytes())
}

/// Whether the proof of this remote holds, and whose device it is. `state` is what is known of the context here.
pub(crate) fn verify(
    transcript: &Transcript,
    remote: &VerifyingKey,
    context: &ContextInfo,
    state: Option<&ContextState>,
    proof: &[u8],
) -> Result<Grant, Refusal> {
    let mode = Mode::named(&context.kind).ok_or(Refusal::UnknownKind)?;
    if let Ok(signature) = <[u8; 64]>::try_from(proof) {
        return verify_briefly(transcript, remote, context, state, &Signature::from_bytes(signature));
    }
    let mut input = Reader::new(proof);
    let certificate = Certificate::decode(&mut input).map_err(|_| Refusal::BadProof)?;
    let signature = Signature::from_bytes(input.array().map_err(|_| Refusal::BadProof)?);
    input.end().map_err(|_| Refusal::BadProof)?;
    // The remote's key comes from the session, so somebody else's proof is of no use; the context's id commits to the
    // owner and the kind, so another owner's certificate is of none either.
    let holds = certificate.device_key() == remote
        && Mode::of(&context.id, &certificate.owner()) == Some(mode)
        && remote.verify(PURPOSE, &transcript.message(context), &signature).is_ok();
    if holds { Ok(Grant { access: Access::Both }) } else { Err(Refusal::BadProof) }
}

/// Whoever is certified in a context was certified by its owner, under its kind.
fn verify_briefly(
    transcript: &Transcript,
    remote: &VerifyingKey,
    context: &ContextInfo,
    state: Option<&ContextState>,
    signature: &Signature,
) -> Result<Grant, Refusal> {
    let device = ReplicaId::from_bytes(*remote.as_bytes());
    if !state.is_some_and(|state| state.is(context) && state.resolved().devices.contains_key(&device)) {
        return Err(Refusal::NeedControl);
    }
    match remote.verify(PURPOSE, &transcript.message(context), signature) {
        Ok(()) => Ok(Grant { access: Access::Both }),
        Err(_) => Err(Refusal::BadProof),
    }
}
