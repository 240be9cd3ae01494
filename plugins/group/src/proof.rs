//! The proof of the right to open a group's context: a signature over this very session, by the device or by the key of an
//! invitation, and for those who may not know the group yet, what the group began with.

use bytes::Bytes;
use partita_core::{
    Access, ContextInfo, DeviceKeys, Grant, Now, Refusal, ReplicaId, Signature, Transcript,
    codec::{Reader, Writer},
};
use partita_crypto::VerifyingKey;

use crate::{
    genesis::{GROUP_KIND, Genesis},
    invite::InviteKeys,
    state::State,
};

const DEVICE: &str = "partita 2026 v1 group proof";
const INVITATION: &str = "partita 2026 v1 group invitation proof";
const OF_DEVICE: u8 = 1;
const OF_INVITATION: u8 = 2;

/// A device's proof for a remote that may not know the group.
pub(crate) fn prove(keys: &DeviceKeys, genesis: &Genesis, transcript: &Transcript, context: &ContextInfo) -> Bytes {
    let mut out = Writer::with_capacity(320);
    out.u8(OF_DEVICE);
    genesis.encode(&mut out);
    out.raw(&prove_briefly(keys, transcript, context));
    out.finish()
}

/// A device's proof for a remote that knows the group.
pub(crate) fn prove_briefly(keys: &DeviceKeys, transcript: &Transcript, context: &ContextInfo) -> Bytes {
    let signature = keys.signing.sign(DEVICE, &transcript.message(context));
    Bytes::copy_from_slice(signature.as_bytes())
}

/// The proof of whoever holds an invitation, for this device alone.
pub(crate) fn prove_invited(
    invite: &InviteKeys,
    device: &ReplicaId,
    transcript: &Transcript,
    context: &ContextInfo,
) -> Bytes {
    let mut out = Writer::with_capacity(97);
    out.u8(OF_INVITATION);
    out.raw(invite.id().as_bytes());
    let signature = invite.signing.sign(INVITATION, &for_device(transcript, context, device));
    out.raw(signature.as_bytes());
    out.finish()
}

/// The invitation that a proof says it rests on.
pub(crate) fn invitation_in(proof: &[u8]) -> Option<ReplicaId> {
    let mut input = Reader::new(proof);
    let of_invitation = input.u8().ok()? == OF_INVITATION && proof.len() != 64;
    of_invitation.then(|| input.array().ok().map(ReplicaId::from_bytes)).flatten()
}

/// Whether the proof of this remote holds, and what it is granted. `state` is what is known of the group here.
pub(crate) fn verify(
    now: Now,
    transcript: &Transcript,
    remote: &VerifyingKey,
    context: &ContextInfo,
    state: Option<&State>,
    proof: &[u8],
) -> Result<Grant, Refusal> {
    if context.kind.as_str() != GROUP_KIND {
        return Err(Refusal::UnknownKind);
    }
    let device = ReplicaId::from_bytes(*remote.as_bytes());
    let state = state.filter(|state| !state.is_empty());
    let known = match state {
        Some(state) if state.view().role(&device).is_some() || state.view().left.contains(&device) => Ok(true),
        Some(state) if state.view().was_removed(&device) => Err(Refusal::Revoked),
        Some(state) if state.view().is_suspended(&device) => Err(Refusal::Denied),
        _ => Ok(false),
    };
    let signed = |signature: [u8; 64]| {
        remote.verify(DEVICE, &transcript.message(context), &Signature::from_bytes(signature)).is_ok()
    };
    if let Ok(signature) = <[u8; 64]>::try_from(proof) {
        return match (signed(signature), known?) {
            (true, true) => Ok(Grant { access: Access::Both }),
            (true, false) => Err(Refusal::NeedControl),
            (false, _) => Err(Refusal::BadProof),
        };
    }
    let mut input = Reader::new(proof);
    match input.u8() {
        Ok(OF_DEVICE) => {
            let genesis = Genesis::decode(&mut input).map_err(|_| Refusal::BadProof)?;
            let signature = input.array().map_err(|_| Refusal::BadProof)?;
            input.end().map_err(|_| Refusal::BadProof)?;
            if !genesis.founds(&context.id) || !signed(signature) {
                return Err(Refusal::BadProof);
            }
            Ok(Grant { access: if known? { Access::Both } else { Access::Write } })
        }
        Ok(OF_INVITATION) => {
            let (invite, signature) = (input.array(), input.array());
            let (Ok(invite), Ok(signature), Ok(())) = (invite, signature, input.end()) else {
                return Err(Refusal::BadProof);
            };
            let key = VerifyingKey::parse(&invite).map_err(|_| Refusal::BadProof)?;
            let message = for_device(transcript, context, &device);
            key.verify(INVITATION, &message, &Signature::from_bytes(signature)).map_err(|_| Refusal::BadProof)?;
            let state = state.ok_or(Refusal::Denied)?;
            state.admits(now, &ReplicaId::from_bytes(invite), &device)?;
            Ok(Grant { access: Access::Both })
        }
        _ => Err(Refusal::BadProof),
    }
}

/// The device is under the signature too: whoever overhears the proof is another device.
fn for_device(transcript: &Transcript, context: &ContextInfo, device: &ReplicaId) -> Bytes {
    let mut out = Writer::with_capacity(160);
    out.raw(&transcript.message(context));
    out.raw(device.as_bytes());
    out.finish()
}
