//! The owner's word that nobody waits for a device for now.
//!
//! A device that lies in a drawer would keep all history, since checkpoints wait for the word of each. A declaration
//! takes nothing from the device, and its return ends it: see [`PartitionStrategy::dormant`].
//!
//! [`PartitionStrategy::dormant`]: partita_core::PartitionStrategy::dormant

use partita_core::{
    ContextId, CryptoRng, ReplicaId, Signature, Turn,
    codec::{DecodeError, Reader, Writer},
};
use partita_crypto::{Mnemonic, VerifyingKey};

use crate::{device::SingleOwner, error::OwnerError, loss::append, op::Op, owner::OwnerKeys};

const PURPOSE: &str = "partita 2026 v1 single-owner dormancy";

/// What tells one declaration from another, so that none can be said again once the device came back.
pub(crate) type DormancyId = [u8; 16];

/// An owner-signed declaration in one context. It names its owner, so that whoever holds nothing else can check it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dormancy {
    pub(crate) owner: VerifyingKey,
    pub(crate) device: ReplicaId,
    pub(crate) id: DormancyId,
    signature: Signature,
}

impl Dormancy {
    pub(crate) fn sign(owner: &OwnerKeys, context: &ContextId, device: ReplicaId, rng: &mut dyn CryptoRng) -> Self {
        let mut id = DormancyId::default();
        rng.fill_bytes(&mut id);
        let signature = owner.signing.sign(PURPOSE, &message(context, &device, &id));
        Self { owner: owner.owner(), device, id, signature }
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        out.raw(self.owner.as_bytes());
        out.raw(self.device.as_bytes());
        out.raw(&self.id);
        out.raw(self.signature.as_bytes());
    }

    /// Reads one and checks its signature for this context.
    pub(crate) fn decode(context: &ContextId, input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let owner = VerifyingKey::parse(&input.array()?).map_err(|_| DecodeError::Invalid("Ed25519 key"))?;
        let (device, id) = (ReplicaId::from_bytes(input.array()?), input.array()?);
        let signature = Signature::from_bytes(input.array()?);
        let holds = owner.verify(PURPOSE, &message(context, &device, &id), &signature);
        holds.map_err(|_| DecodeError::Invalid("owner's signature"))?;
        Ok(Self { owner, device, id, signature })
    }
}

fn message(context: &ContextId, device: &ReplicaId, id: &DormancyId) -> bytes::Bytes {
    let mut out = Writer::with_capacity(80);
    out.raw(context.as_bytes());
    out.raw(device.as_bytes());
    out.raw(id);
    out.finish()
}

impl SingleOwner {
    /// Says that nobody waits for a device for now (the tablet lies in a drawer): checkpoints that are made from here on do
    /// without its word, so that history can be pruned. It keeps its right, and what it wrote and did not send yet counts when
    /// it comes; with its return the device is waited for again.
    ///
    /// Concerns each of the owner's contexts that this strategy was opened for.
    ///
    /// # Errors
    /// [`OwnerError::WrongMnemonic`], [`OwnerError::UnknownDevice`], [`OwnerError::NotWaitedFor`],
    /// [`OwnerError::NotAway`].
    pub fn declare_dormant(
        &mut self,
        turn: &mut Turn<'_>,
        mnemonic: &Mnemonic,
        device: ReplicaId,
    ) -> Result<(), OwnerError> {
        let owner = self.owner_keys(mnemonic)?;
        if device == self.device() {
            return Err(OwnerError::NotAway);
        }
        if !self.own.iter().any(|own| own.state.resolved().devices.contains_key(&device)) {
            return Err(OwnerError::UnknownDevice(device));
        }
        let concerned: Vec<_> = self.own.iter().filter(|own| own.state.resolved().is_current(&device)).collect();
        if concerned.is_empty() {
            return Err(OwnerError::NotWaitedFor(device));
        }
        for own in concerned {
            let context = own.info.id;
            // A lost device may carry its owner's word, but has none of its own.
            let mut ops = match own.state.resolved().has_lost(&self.device()) {
                true => Vec::new(),
                false => own.introduction(&self.me),
            };
            ops.push(Op::Dormant(Dormancy::sign(&owner, &context, device, turn.rng)));
            append(turn, context, &ops);
        }
        Ok(())
    }
}
