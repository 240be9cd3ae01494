//! The key epochs of a group: who was given which secret, and which may be written under.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
};

use partita_core::{CryptoRng, EpochId, ReplicaId};
use partita_crypto::{
    BoxBinding, BoxPublicKey, BoxSecretKey, EPOCH_BOX_LEN, EpochError, EpochSecret, Hash, hash, open_epoch,
    open_epochs, seal_epoch, seal_epochs,
};

use crate::{
    bits::Bits,
    ledger::Held,
    op::{Epoch, Op, Scope, Share},
};

const ID_DOMAIN: &str = "partita 2026 v1 group epoch id";
/// Where an op's boxes belong: the context, and the device that made them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Maker {
    pub(crate) context: [u8; 32],
    pub(crate) device: ReplicaId,
}

impl Maker {
    fn binding(&self, recipient: &ReplicaId, key: BoxPublicKey) -> BoxBinding {
        let (context, sender, recipient) = (self.context, *self.device.as_bytes(), *recipient.as_bytes());
        BoxBinding { context, sender, recipient, recipient_key: key }
    }
}

impl Epoch {
    /// A new epoch with a random secret, boxed to these recipients, which come by rising id.
    pub(crate) fn create(
        rng: &mut dyn CryptoRng,
        maker: Maker,
        scope: Scope,
        recipients: &[(ReplicaId, BoxPublicKey)],
    ) -> Result<(Self, EpochSecret), EpochError> {
        let secret = EpochSecret::random(rng);
        let commitment = secret.commitment();
        let bound = Self::bound(&scope, &commitment, recipients.len());
        let mut boxes = Vec::with_capacity(recipients.len() * EPOCH_BOX_LEN);
        for (recipient, key) in recipients {
            boxes.extend(seal_epoch(rng, &secret, key, &maker.binding(recipient, *key), &bound)?);
        }
        Ok((Self { scope, commitment, boxes: boxes.into() }, secret))
    }

    /// Opens the box at this place.
    fn open(&self, maker: Maker, at: usize, me: &ReplicaId, key: &BoxSecretKey) -> Option<EpochSecret> {
        let sealed = self.boxes.get(at * EPOCH_BOX_LEN..(at + 1) * EPOCH_BOX_LEN)?;
        open_epoch(key, &maker.binding(me, key.public()), &self.without_boxes(), &self.commitment, sealed).ok()
    }
}

impl Share {
    /// These secrets in one box.
    pub(crate) fn create(
        rng: &mut dyn CryptoRng,
        maker: Maker,
        (recipient, key): (ReplicaId, BoxPublicKey),
        secrets: &[(EpochId, &EpochSecret)],
    ) -> Result<Self, EpochError> {
        let mut secrets = secrets.to_vec();
        secrets.sort_unstable_by_key(|(id, _)| *id);
        let (epochs, secrets): (Vec<EpochId>, Vec<&EpochSecret>) = secrets.into_iter().unzip();
        let bound = Self::bound(&recipient, &epochs);
        let sealed = seal_epochs(rng, &secrets, &key, &maker.binding(&recipient, key), &bound)?;
        Ok(Self { recipient, epochs, sealed: sealed.into() })
    }

    /// The secrets in it that fit the commitments of their epochs.
    fn open(
        &self,
        maker: Maker,
        key: &BoxSecretKey,
        commitment: impl Fn(&EpochId) -> Option<Hash>,
    ) -> Vec<(EpochId, EpochSecret)> {
        let commitments: Vec<Option<Hash>> = self.epochs.iter().map(commitment).collect();
        let binding = maker.binding(&self.recipient, key.public());
        let opened = open_epochs(key, &binding, &self.without_box(), &commitments, &self.sealed);
        let opened = opened.unwrap_or_default();
        self.epochs.iter().copied().zip(opened).filter_map(|(id, secret)| Some((id, secret?))).collect()
    }
}

/// An epoch that some control entry announced.
#[derive(Debug)]
pub(crate) struct Announced {
    /// Its entry's place in the ledger, and the op's in the entry.
    pub(crate) entry: usize,
    pub(crate) index: usize,
    pub(crate) maker: Maker,
    pub(crate) depth: u64,
    pub(crate) op: Epoch,
    /// The recipients, once somebody asked.
    recipients: OnceLock<Recipients>,
}

/// Who gets an epoch's secret, by the control entries that its author knew.
#[derive(Debug, Default)]
pub(crate) struct Recipients {
    /// By rising id.
    pub(crate) ids: Vec<ReplicaId>,
    pub(crate) numbers: Bits,
}

/// A share of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Shared {
    by: ReplicaId,
    entry: usize,
    index: usize,
}

/// The id of an epoch: of its entry, so it commits to everything that the entry names, its parents too.
pub(crate) fn epoch_id(held: &Held, index: usize) -> EpochId {
    EpochId(hash(ID_DOMAIN, &[held.id.as_bytes(), &[index as u8]]))
}

/// Every epoch, share and complaint that is held, whether or not it counts.
#[derive(Debug, Default)]
pub(crate) struct Epochs {
    pub(crate) announced: BTreeMap<EpochId, Announced>,
    /// The same, the deepest last.
    by_depth: BTreeSet<(u64, EpochId)>,
    /// By the epoch and the recipient: every reader is asked about for each epoch.
    shares: BTreeMap<(EpochId, ReplicaId), Vec<Shared>>,
    complaints: BTreeMap<EpochId, BTreeMap<ReplicaId, usize>>,
}

impl Epochs {
    /// Takes what an entry says of epochs.
    pub(crate) fn note(&mut self, context: [u8; 32], entry: usize, held: &Held) {
        let maker = Maker { context, device: held.author };
        for (index, op) in held.ops().iter().enumerate() {
            match op {
                Op::Epoch(epoch) => {
                    let (id, depth, op) = (epoch_id(held, index), held.epoch_depth, epoch.clone());
                    self.by_depth.insert((depth, id));
                    self.announced
                        .insert(id, Announced { entry, index, maker, depth, op, recipients: OnceLock::new() });
                }
                Op::Share(share) => {
                    let shared = Shared { by: held.author, entry, index };
                    for epoch in &share.epochs {
                        self.shares.entry((*epoch, share.recipient)).or_default().push(shared);
                    }
                }
                Op::Complain(epoch) => {
                    self.complaints.entry(*epoch).or_default().entry(held.author).or_insert(entry);
                }
                _ => {}
            }
        }
    }

    pub(crate) fn deepest_first(&self) -> impl Iterator<Item = (u64, EpochId)> {
        self.by_depth.iter().rev().copied()
    }

    pub(crate) fn commitment(&self, id: &EpochId) -> Option<Hash> {
        self.announced.get(id).map(|announced| announced.op.commitment)
    }

    /// The shares of an epoch to somebody: each its place, and who made it.
    pub(crate) fn shares_to(
        &self,
        id: &EpochId,
        recipient: &ReplicaId,
    ) -> impl Iterator<Item = (usize, usize, ReplicaId)> {
        let to = self.shares.get(&(*id, *recipient)).into_iter().flatten();
        to.map(|shared| (shared.entry, shared.index, shared.by))
    }

    /// Whether a device has complained about its box.
    pub(crate) fn has_complained(&self, id: &EpochId, device: &ReplicaId) -> bool {
        self.complaints.get(id).is_some_and(|complaints| complaints.contains_key(device))
    }

    pub(crate) fn complained(&self, id: &EpochId) -> bool {
        self.complaints.contains_key(id)
    }
}

impl Announced {
    pub(crate) fn recipients(&self, find: impl FnOnce() -> Recipients) -> &Recipients {
        self.recipients.get_or_init(find)
    }

    /// Opens the box for `me` with one of these keys. An op with another number of boxes than recipients is nobody's.
    pub(crate) fn open(&self, recipients: &[ReplicaId], me: &ReplicaId, keys: &[&BoxSecretKey]) -> Option<EpochSecret> {
        if recipients.len() != self.op.count() {
            return None;
        }
        let at = recipients.binary_search(me).ok()?;
        keys.iter().find_map(|key| self.op.open(self.maker, at, me, key))
    }
}

/// Opens what a share holds for one of these keys.
pub(crate) fn open_share(
    share: &Share,
    maker: Maker,
    keys: &[&BoxSecretKey],
    commitment: impl Fn(&EpochId) -> Option<Hash>,
) -> Vec<(EpochId, EpochSecret)> {
    let mut opened = Vec::new();
    for key in keys {
        opened = share.open(maker, key, &commitment);
        if !opened.is_empty() {
            break;
        }
    }
    opened
}
