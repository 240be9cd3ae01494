//! The epoch secrets of one group on a device, and what was boxed to it.

use std::collections::BTreeSet;

use partita_core::{DeviceKeys, EpochId, ReplicaId};
use partita_crypto::{BoxSecretKey, EpochKeys};

use crate::{
    epochs::{Maker, epoch_id, open_share},
    op::Op,
    record::Record,
    state::State,
};

/// Secrets, opened from boxes each time that control entries are read, or taken from the keystore.
///
/// Every box is tried, also of ops that do not count: what was sealed under such an epoch may still be vouched for.
#[derive(Debug, Default)]
pub(crate) struct Keyring {
    pub(crate) keys: EpochKeys,
    /// Epochs of which a box to this device held nothing that fits.
    pub(crate) broken: BTreeSet<EpochId>,
}

/// Who opens: this device, and the invitation by which it joined.
struct Opener<'a> {
    id: ReplicaId,
    keys: Vec<&'a BoxSecretKey>,
}

impl Keyring {
    /// With what the keystore holds.
    pub(crate) fn new(record: &Record) -> Self {
        let mut ring = Self::default();
        for (id, secret) in &record.epochs {
            ring.keys.insert(*id, secret.clone());
        }
        ring
    }

    /// Opens what a control entry boxes to this device. Says whether a secret is new.
    pub(crate) fn take(&mut self, state: &State, at: usize, device: &DeviceKeys, record: &Record) -> bool {
        let me = device.replica();
        let Some(held) = state.ledger.entry(at) else {
            return false;
        };
        let before = self.keys.len();
        let mut openers = vec![Opener { id: me, keys: record.box_keys(device).collect() }];
        for invitation in record.invitation.iter().chain(&record.used) {
            openers.push(Opener { id: invitation.id(), keys: vec![&invitation.keys.boxes] });
        }
        for (index, op) in held.ops().iter().enumerate() {
            match op {
                Op::Epoch(_) => self.take_epoch(state, epoch_id(held, index), &openers, &me),
                Op::Share(share) => {
                    let Some(opener) = openers.iter().find(|opener| opener.id == share.recipient) else {
                        continue;
                    };
                    if share.epochs.iter().all(|id| self.keys.contains(id)) {
                        continue;
                    }
                    let maker = Maker { context: *record.context.as_bytes(), device: held.author };
                    let opened = open_share(share, maker, &opener.keys, |id| state.epochs.commitment(id));
                    for (id, secret) in opened {
                        self.keys.insert(id, secret);
                    }
                    let known = share.epochs.iter().filter(|id| state.epochs.commitment(id).is_some());
                    self.broken.extend(known.filter(|id| !self.keys.contains(id)));
                }
                _ => {}
            }
        }
        self.broken.retain(|id| !self.keys.contains(id));
        self.keys.len() > before
    }

    fn take_epoch(&mut self, state: &State, id: EpochId, openers: &[Opener<'_>], me: &ReplicaId) {
        if self.keys.contains(&id) {
            return;
        }
        let Some(announced) = state.epochs.announced.get(&id).filter(|announced| state.could_begin(announced)) else {
            return;
        };
        let recipients = &state.recipients(announced).ids;
        for opener in openers {
            if let Some(secret) = announced.open(recipients, &opener.id, &opener.keys) {
                self.keys.insert(id, secret);
                return;
            }
        }
        // A share can come before the epoch that it is of.
        for opener in openers {
            for (entry, index, by) in state.epochs.shares_to(&id, &opener.id) {
                let op = state.ledger.entry(entry).and_then(|held| held.ops().get(index));
                let Some(Op::Share(share)) = op else { continue };
                let maker = Maker { context: announced.maker.context, device: by };
                for (id, secret) in open_share(share, maker, &opener.keys, |id| state.epochs.commitment(id)) {
                    self.keys.insert(id, secret);
                }
                self.broken.insert(id);
            }
        }
        // Boxed to this device, or to an invitation that it has: and no box opens.
        let is_boxed = |key: &ReplicaId| recipients.binary_search(key).is_ok();
        if is_boxed(me) || openers.iter().any(|opener| is_boxed(&opener.id)) {
            self.broken.insert(id);
        }
    }
}
