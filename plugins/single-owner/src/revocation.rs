//! The owner's word that a device is lost.

use partita_core::{
    ContextId, ReplicaId, Signature, SignedTip,
    codec::{DecodeError, Reader, Writer},
};
use partita_crypto::VerifyingKey;

use crate::{op::MAX_TIPS, owner::OwnerKeys};

const PURPOSE: &str = "partita 2026 v1 single-owner revocation";

/// An owner-signed revocation of a device in one context. It names its owner, so that whoever holds nothing else can
/// check it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Revocation {
    pub(crate) owner: VerifyingKey,
    pub(crate) device: ReplicaId,
    /// Every log of the device that the revoker held, with the last entry that counts, by rising log id.
    pub(crate) caps: Vec<SignedTip>,
    signature: Signature,
}

impl Revocation {
    pub(crate) fn sign(owner: &OwnerKeys, context: &ContextId, device: ReplicaId, caps: Vec<SignedTip>) -> Self {
        let signature = owner.signing.sign(PURPOSE, &message(context, &device, &caps));
        Self { owner: owner.owner(), device, caps, signature }
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        out.raw(self.owner.as_bytes());
        out.raw(self.device.as_bytes());
        SignedTip::encode_all(&self.caps, out);
        out.raw(self.signature.as_bytes());
    }

    /// Reads one and checks its signature for this context.
    pub(crate) fn decode(context: &ContextId, input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let owner = VerifyingKey::parse(&input.array()?).map_err(|_| DecodeError::Invalid("Ed25519 key"))?;
        let device = ReplicaId::from_bytes(input.array()?);
        let caps = SignedTip::decode_all(input, &device, MAX_TIPS)?;
        let signature = Signature::from_bytes(input.array()?);
        let holds = owner.verify(PURPOSE, &message(context, &device, &caps), &signature);
        holds.map_err(|_| DecodeError::Invalid("owner's signature"))?;
        Ok(Self { owner, device, caps, signature })
    }
}

/// The context is under the signature: what is cut off in one context says nothing about another.
fn message(context: &ContextId, device: &ReplicaId, caps: &[SignedTip]) -> bytes::Bytes {
    let mut out = Writer::with_capacity(128 + SignedTip::MAX_ENCODED * caps.len());
    out.raw(context.as_bytes());
    out.raw(device.as_bytes());
    SignedTip::encode_all(caps, &mut out);
    out.finish()
}
