//! The epoch secrets of one context on a device, and what was boxed to it.

use std::collections::BTreeMap;

use partita_core::{ContextId, DeviceKeys, EpochId, ReplicaId};
use partita_crypto::{BoxSecretKey, EpochKeys, EpochSecret, VerifyingKey};

use crate::{
    epoch::Place,
    held::Held,
    op::{Epoch, Op, Share},
};

/// Secrets, opened from boxes each time that control entries are read: none of them is kept anywhere else.
///
/// Every box is tried, also of ops that do not count: what was sealed under such an epoch may still be vouched for.
#[derive(Debug, Default)]
pub(crate) struct Keyring {
    pub(crate) keys: EpochKeys,
    epochs: BTreeMap<EpochId, (Place, Epoch)>,
    /// Shares to this device whose epoch was not known when they came.
    early: BTreeMap<EpochId, Vec<(Place, Share)>>,
}

impl Keyring {
    /// Opens what a control entry boxes to this device. Says whether a secret is new.
    pub(crate) fn take(&mut self, context: ContextId, entry: &Held, me: ReplicaId, device: &DeviceKeys) -> bool {
        let place = Place { context, author: entry.author };
        let before = self.keys.len();
        for (id, epoch) in entry.epochs() {
            self.insert(id, epoch.open(place, me, &device.boxes));
            for (place, share) in self.early.remove(&id).unwrap_or_default() {
                self.insert(id, share.open(place, epoch, me, &device.boxes));
            }
            self.epochs.entry(id).or_insert_with(|| (place, epoch.clone()));
        }
        for op in &entry.ops {
            let Op::Share(share) = op else { continue };
            if share.recipient != me || self.keys.contains(&share.epoch) {
                continue;
            }
            match self.epochs.get(&share.epoch) {
                Some((_, epoch)) => self.insert(share.epoch, share.open(place, epoch, me, &device.boxes)),
                None => self.early.entry(share.epoch).or_default().push((place, share.clone())),
            }
        }
        self.keys.len() > before
    }

    fn insert(&mut self, id: EpochId, secret: Option<EpochSecret>) {
        if let Some(secret) = secret {
            self.keys.insert(id, secret);
        }
    }

    /// What the holder of the mnemonic can open and this device cannot.
    pub(crate) fn recoverable(&self, owner: &VerifyingKey, key: &BoxSecretKey) -> Vec<(EpochId, EpochSecret)> {
        let lacking = self.epochs.iter().filter(|(id, _)| !self.keys.contains(id));
        lacking.filter_map(|(id, (place, epoch))| Some((*id, epoch.recover(*place, owner, key)?))).collect()
    }
}
