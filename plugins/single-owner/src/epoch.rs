//! Making and opening the boxes of epochs and shares.

use partita_core::{ContextId, CryptoRng, EpochId, ReplicaId, codec::Writer};
use partita_crypto::{
    BoxBinding, BoxPublicKey, BoxSecretKey, EpochError, EpochSecret, VerifyingKey, hash, open_epoch, seal_epoch,
};

use crate::op::{Epoch, EpochBox, Op, Share};

const ID_DOMAIN: &str = "partita 2026 v1 single-owner epoch id";

/// Where an op lies: what its boxes are bound to besides their op.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) context: ContextId,
    /// The device that made the boxes: the author of the entry.
    pub(crate) author: ReplicaId,
}

impl Place {
    fn binding(&self, recipient: [u8; 32], recipient_key: BoxPublicKey) -> BoxBinding {
        let (context, sender) = (*self.context.as_bytes(), *self.author.as_bytes());
        BoxBinding { context, sender, recipient, recipient_key }
    }

    fn seal(
        &self,
        rng: &mut dyn CryptoRng,
        secret: &EpochSecret,
        recipient: [u8; 32],
        key: &BoxPublicKey,
        aad: &[u8],
    ) -> Result<EpochBox, EpochError> {
        let sealed = seal_epoch(rng, secret, key, &self.binding(recipient, *key), aad)?;
        sealed.try_into().map_err(|_| EpochError::Length)
    }
}

impl Epoch {
    /// A new epoch with a random secret, boxed to these devices and to the holder of the mnemonic.
    pub(crate) fn create(
        rng: &mut dyn CryptoRng,
        place: Place,
        covers: Vec<ReplicaId>,
        recipients: &[(ReplicaId, BoxPublicKey)],
        owner: &VerifyingKey,
        recovery: &BoxPublicKey,
    ) -> Result<Self, EpochError> {
        let secret = EpochSecret::random(rng);
        let empty: EpochBox = [0; _];
        let boxes = recipients.iter().map(|(device, _)| (*device, empty)).collect();
        let mut epoch = Self { covers, commitment: secret.commitment(), boxes, recovery: empty };
        let aad = epoch.without_boxes();
        for ((device, sealed), (_, key)) in epoch.boxes.iter_mut().zip(recipients) {
            *sealed = place.seal(rng, &secret, *device.as_bytes(), key, &aad)?;
        }
        epoch.recovery = place.seal(rng, &secret, *owner.as_bytes(), recovery, &aad)?;
        Ok(epoch)
    }

    /// Whoever repeats another's epoch makes another one: the author is under the id, as it is in every box.
    pub(crate) fn id(&self, place: Place) -> EpochId {
        let mut op = Writer::new();
        Op::Epoch(self.clone()).encode(&mut op);
        EpochId(hash(ID_DOMAIN, &[place.context.as_bytes(), place.author.as_bytes(), op.as_slice()]))
    }

    /// Opens the box to this device, if there is one that holds what the op committed to.
    pub(crate) fn open(&self, place: Place, me: ReplicaId, key: &BoxSecretKey) -> Option<EpochSecret> {
        let at = self.boxes.binary_search_by_key(&me, |(device, _)| *device).ok()?;
        let (_, sealed) = self.boxes.get(at)?;
        let binding = place.binding(*me.as_bytes(), key.public());
        open_epoch(key, &binding, &self.without_boxes(), &self.commitment, sealed).ok()
    }

    /// Opens the box to the holder of the mnemonic.
    pub(crate) fn recover(&self, place: Place, owner: &VerifyingKey, key: &BoxSecretKey) -> Option<EpochSecret> {
        let binding = place.binding(*owner.as_bytes(), key.public());
        open_epoch(key, &binding, &self.without_boxes(), &self.commitment, &self.recovery).ok()
    }
}

impl Share {
    /// The secret of an epoch for one more device.
    pub(crate) fn create(
        rng: &mut dyn CryptoRng,
        place: Place,
        epoch: EpochId,
        secret: &EpochSecret,
        (recipient, key): (ReplicaId, BoxPublicKey),
    ) -> Result<Self, EpochError> {
        let mut share = Self { epoch, recipient, sealed: [0; _] };
        share.sealed = place.seal(rng, secret, *recipient.as_bytes(), &key, &share.without_box())?;
        Ok(share)
    }

    /// Opens it, if it is for this device and holds what the epoch committed to.
    pub(crate) fn open(&self, place: Place, of: &Epoch, me: ReplicaId, key: &BoxSecretKey) -> Option<EpochSecret> {
        if self.recipient != me {
            return None;
        }
        let binding = place.binding(*me.as_bytes(), key.public());
        open_epoch(key, &binding, &self.without_box(), &of.commitment, &self.sealed).ok()
    }
}
