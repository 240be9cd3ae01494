//! What the control entries of a context say, taken together.
//!
//! A pure function of the *set* of entries held: the order in which they came plays no part, so replicas that hold the
//! same ones agree. Four steps, each resting only on those before it:
//!
//! 1. what the owner signed counts wherever it lies: certificates and revocations;
//! 2. a device's own retirement counts unless a revocation cuts it off;
//! 3. whatever else a lost device says counts as far as its losses leave its control logs standing;
//! 4. vouches lift limits of data, never of control: otherwise a lost device could vouch for its own vouch.

use std::collections::{BTreeMap, BTreeSet};

use partita_core::{
    EntryId, EpochId, Loss, ReplicaId, Signature, SignedTip, Standing, Tip,
    planted::{Bug, planted},
};
use partita_crypto::{BoxPublicKey, EpochFacts};

use crate::{
    held::{AllHeld, Held, Seen},
    op::{Epoch, Op},
    revocation::Revocation,
};

/// Whether a device is one of the owner's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DeviceStanding {
    /// It may read and write.
    Active,
    /// It ended itself; everything that it wrote before counts.
    Retired,
    /// The owner took its right away. For ever: a device that is found again makes a new key.
    Revoked,
}

/// The resolved state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// Every device that was ever certified.
    pub(crate) devices: BTreeMap<ReplicaId, Device>,
    pub(crate) standing: Standing,
    pub(crate) epochs: BTreeMap<EpochId, EpochState>,
    /// The devices for which nobody waits.
    pub(crate) dormant: BTreeSet<ReplicaId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) key: BoxPublicKey,
    pub(crate) standing: DeviceStanding,
}

/// An epoch whose secret every current device should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EpochState {
    pub(crate) author: ReplicaId,
    /// Its maker had the right. Otherwise entries under it count by a vouch alone, and none may be written.
    pub(crate) rightful: bool,
    pub(crate) depth: u64,
    pub(crate) covers: BTreeSet<ReplicaId>,
    /// Who has a box, in the epoch itself or in a share that counts.
    pub(crate) boxed: BTreeSet<ReplicaId>,
}

impl Resolved {
    /// The devices that may read and write, with what is boxed to them.
    pub(crate) fn current(&self) -> impl Iterator<Item = (ReplicaId, BoxPublicKey)> {
        let active = self.devices.iter().filter(|(_, device)| device.standing == DeviceStanding::Active);
        active.map(|(replica, device)| (*replica, device.key))
    }

    pub(crate) fn is_current(&self, replica: &ReplicaId) -> bool {
        self.devices.get(replica).is_some_and(|device| device.standing == DeviceStanding::Active)
    }

    pub(crate) fn has_lost(&self, replica: &ReplicaId) -> bool {
        self.standing.has_lost(replica)
    }

    /// How a device lost its right, if it did. One that was never certified can only have been revoked.
    pub(crate) fn loss_of(&self, replica: &ReplicaId) -> Option<DeviceStanding> {
        let certified = self.devices.get(replica).map(|device| device.standing);
        self.has_lost(replica).then_some(certified.unwrap_or(DeviceStanding::Revoked))
    }

    /// The devices that lost their right, certified or not.
    pub(crate) fn lost(&self) -> impl Iterator<Item = ReplicaId> {
        self.standing.losses.keys().copied()
    }

    /// What is known of an epoch. Its maker knows its secret, and so does whoever was given it later: they count as
    /// recipients.
    pub(crate) fn facts(&self, id: EpochId, epoch: &EpochState, held: bool) -> EpochFacts {
        let current = epoch.boxed.iter().chain([&epoch.author]).all(|device| self.is_current(device));
        let covers = self.lost().all(|device| epoch.covers.contains(&device));
        EpochFacts {
            id,
            depth: epoch.depth,
            held,
            rightful: epoch.rightful,
            recipients_current: current || planted(Bug::KeysKept),
            covers_all_losses: covers || planted(Bug::KeysKept),
        }
    }
}

/// Resolves all held control entries of a context.
pub(crate) fn resolve(held: &AllHeld) -> Resolved {
    let mut certified: BTreeMap<ReplicaId, BoxPublicKey> = BTreeMap::new();
    // Sets, since the same revocation may lie in several logs.
    let mut losses: BTreeMap<ReplicaId, BTreeSet<Vec<Tip>>> = BTreeMap::new();
    for (_, _, op) in ops(held) {
        match op {
            Op::Certify(certificate) => {
                // An owner who certifies a device twice with two box keys means one of them: any rule will do that
                // everybody follows.
                let key = certified.entry(certificate.device()).or_insert(certificate.box_key());
                *key = certificate.box_key().min(*key);
            }
            Op::Revoke(revocation) => {
                losses.entry(revocation.device).or_default().insert(tips(&revocation.caps));
            }
            _ => {}
        }
    }
    let revoked: BTreeSet<ReplicaId> = losses.keys().copied().collect();

    let by_owner = standing_of(&losses);
    for (id, entry, op) in ops(held) {
        if let Op::Retire(caps) = op
            && counts(&certified, &by_owner, entry)
        {
            losses.entry(entry.author).or_default().insert(final_tips(id, entry, caps));
        }
    }
    let mut standing = standing_of(&losses);

    let devices = certified.iter().map(|(replica, key)| {
        let standing = match (revoked.contains(replica), losses.contains_key(replica)) {
            (true, _) => DeviceStanding::Revoked,
            (false, true) => DeviceStanding::Retired,
            (false, false) => DeviceStanding::Active,
        };
        (*replica, Device { key: *key, standing })
    });
    let devices = devices.collect();

    let counting = |entry: &Held| counts(&certified, &standing, entry);
    let epochs = epochs(held, &counting);
    standing.vouches = vouches(held, &counting);
    for (_, _, op) in ops(held) {
        match op {
            Op::Revoke(Revocation { caps, .. }) | Op::Retire(caps) => standing.list(caps),
            Op::Vouch(witnesses) => witnesses.iter().for_each(|witness| standing.list(&[witness.signed_tip()])),
            _ => {}
        }
    }
    let dormant = Seen::union(held.values().map(|entry| &entry.seen)).away.replicas();
    Resolved { devices, standing, epochs, dormant }
}

fn ops(held: &AllHeld) -> impl Iterator<Item = (EntryId, &Held, &Op)> {
    held.iter().flat_map(|(id, entry)| entry.ops.iter().map(move |op| (*id, entry, op)))
}

fn tips(listed: &[SignedTip]) -> Vec<Tip> {
    listed.iter().map(|listed| listed.tip).collect()
}

fn standing_of(losses: &BTreeMap<ReplicaId, BTreeSet<Vec<Tip>>>) -> Standing {
    // For good: nobody is readmitted, a device that is found again makes a new key.
    let for_good = |lists: &BTreeSet<Vec<Tip>>| lists.iter().cloned().map(Loss::for_good).collect();
    let losses = losses.iter().map(|(replica, lists)| (*replica, for_good(lists)));
    Standing { losses: losses.collect(), ..Standing::default() }
}

/// Whether what a device says in this entry by its own right counts.
fn counts(certified: &BTreeMap<ReplicaId, BoxPublicKey>, standing: &Standing, entry: &Held) -> bool {
    certified.contains_key(&entry.author)
        && standing.cap(&entry.author, &entry.log, |_| false).is_none_or(|cap| entry.seq <= cap)
}

/// A retirement cannot name itself, so its own log counts up to it by rule.
fn final_tips(id: EntryId, entry: &Held, caps: &[SignedTip]) -> Vec<Tip> {
    let mut tips = tips(caps);
    tips.retain(|tip| tip.log != entry.log);
    tips.push(Tip { log: entry.log, seq: entry.seq, head: id });
    tips.sort_unstable();
    tips
}

/// A vouch answers a loss: one that had seen none of that author was made in advance, by somebody who expected to be revoked.
/// And nobody vouches for itself.
fn vouches(held: &AllHeld, counting: &impl Fn(&Held) -> bool) -> BTreeMap<Tip, Signature> {
    let mut vouched = BTreeMap::new();
    for (_, entry, op) in ops(held) {
        if let Op::Vouch(witnesses) = op
            && counting(entry)
        {
            let answers = |author: ReplicaId| author != entry.author && entry.before.lost.contains(&author);
            for witness in witnesses.iter().filter(|witness| answers(witness.author())) {
                // Of two signatures over one entry, all replicas keep the same.
                let kept = vouched.entry(witness.tip()).or_insert(witness.signature());
                if witness.signature().as_bytes() < kept.as_bytes() {
                    *kept = witness.signature();
                }
            }
        }
    }
    vouched
}

/// Every epoch that was made, also where its author turned out to have lost its right: whoever wrote before hearing of that
/// may have sealed under it, and newcomers get its secret to read that. Nobody writes under it any more.
fn epochs(held: &AllHeld, counting: &impl Fn(&Held) -> bool) -> BTreeMap<EpochId, EpochState> {
    let mut epochs: BTreeMap<EpochId, EpochState> = BTreeMap::new();
    for entry in held.values() {
        let rightful = counting(entry);
        for (epoch_id, epoch) in entry.epochs() {
            let state = epochs.entry(epoch_id).or_insert_with(|| state_of(entry, epoch, rightful));
            // Its author may repeat the op: it is where it was first.
            state.depth = state.depth.min(entry.before.epoch_depth + 1);
            state.rightful |= rightful;
        }
    }
    for (_, entry, op) in ops(held) {
        if let Op::Share(share) = op
            && counting(entry)
            && let Some(epoch) = epochs.get_mut(&share.epoch)
        {
            epoch.boxed.insert(share.recipient);
        }
    }
    epochs
}

fn state_of(entry: &Held, epoch: &Epoch, rightful: bool) -> EpochState {
    EpochState {
        author: entry.author,
        rightful,
        depth: entry.before.epoch_depth + 1,
        covers: epoch.covers.iter().copied().collect(),
        boxed: epoch.boxes.iter().map(|(device, _)| *device).collect(),
    }
}
