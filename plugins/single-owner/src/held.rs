//! The control entries of one context that are held, and what each had seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use partita_core::{Away, EntryId, EpochId, LogId, ReplicaId};

use crate::{
    dormancy::DormancyId,
    epoch::Place,
    op::{Epoch, Op},
};

/// All held control entries of a context.
pub(crate) type AllHeld = BTreeMap<EntryId, Held>;

/// One control entry.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) author: ReplicaId,
    pub(crate) log: LogId,
    pub(crate) seq: u64,
    pub(crate) ops: Vec<Op>,
    /// The ids of the epochs among the ops, in their order.
    epoch_ids: Vec<EpochId>,
    /// What its ancestors say, without itself.
    pub(crate) before: Arc<Seen>,
    /// With itself.
    pub(crate) seen: Arc<Seen>,
}

/// What a control entry and its ancestors say about devices. A pure function of them, and so the same for ever:
/// verdicts rest on nothing else. Kept with each entry, since a catch-up asks for 100,000 of them; entries that change
/// nothing share it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) certified: BTreeSet<ReplicaId>,
    /// Whether or not the loss counts in the end: who has seen it has no excuse.
    pub(crate) lost: BTreeSet<ReplicaId>,
    /// Which devices the owner declared dormant.
    pub(crate) away: Away<DormancyId>,
    /// The greatest depth of an epoch: the longest chain of epochs, each an ancestor of the next.
    pub(crate) epoch_depth: u64,
}

impl Seen {
    /// What several entries have seen together.
    pub(crate) fn union<'a>(parts: impl IntoIterator<Item = &'a Arc<Self>>) -> Arc<Self> {
        let mut parts = parts.into_iter();
        let Some(first) = parts.next() else {
            return Arc::default();
        };
        let mut all = first.clone();
        for part in parts {
            if !all.includes(part) {
                if part.includes(&all) {
                    all = part.clone();
                    continue;
                }
                let all = Arc::make_mut(&mut all);
                all.certified.extend(&part.certified);
                all.lost.extend(&part.lost);
                all.away.add(&part.away);
                all.epoch_depth = all.epoch_depth.max(part.epoch_depth);
            }
        }
        all
    }

    fn includes(&self, other: &Arc<Self>) -> bool {
        self.epoch_depth >= other.epoch_depth
            && self.certified.is_superset(&other.certified)
            && self.lost.is_superset(&other.lost)
            && self.away.includes(&other.away)
    }

    /// With what these ops of an author add.
    fn with(self: &Arc<Self>, author: ReplicaId, ops: &[Op]) -> Arc<Self> {
        let mut all = self.clone();
        for op in ops {
            match op {
                Op::Certify(certificate) if !all.certified.contains(&certificate.device()) => {
                    Arc::make_mut(&mut all).certified.insert(certificate.device());
                }
                Op::Revoke(revocation) if !all.lost.contains(&revocation.device) => {
                    Arc::make_mut(&mut all).lost.insert(revocation.device);
                }
                Op::Retire(_) if !all.lost.contains(&author) => {
                    Arc::make_mut(&mut all).lost.insert(author);
                }
                Op::Dormant(dormancy) if !all.away.has_heard(&dormancy.device, &dormancy.id) => {
                    Arc::make_mut(&mut all).away.declare(dormancy.device, dormancy.id);
                }
                Op::Back if all.away.is_away(&author) => Arc::make_mut(&mut all).away.end(&author),
                Op::Epoch(_) => Arc::make_mut(&mut all).epoch_depth = self.epoch_depth + 1,
                _ => {}
            }
        }
        all
    }
}

impl Held {
    /// An entry whose parents are all held.
    pub(crate) fn new(
        held: &AllHeld,
        place: Place,
        (log, seq): (LogId, u64),
        parents: &[EntryId],
        ops: Vec<Op>,
    ) -> Self {
        let before = Seen::union(parents.iter().filter_map(|parent| held.get(parent)).map(|parent| &parent.seen));
        let seen = before.with(place.author, &ops);
        let mut entry = Self { author: place.author, log, seq, ops, epoch_ids: Vec::new(), before, seen };
        entry.epoch_ids = entry.epoch_ops().map(|epoch| epoch.id(place)).collect();
        entry
    }

    /// The epochs that it announces.
    pub(crate) fn epochs(&self) -> impl Iterator<Item = (EpochId, &Epoch)> {
        self.epoch_ids.iter().copied().zip(self.epoch_ops())
    }

    fn epoch_ops(&self) -> impl Iterator<Item = &Epoch> {
        self.ops.iter().filter_map(|op| if let Op::Epoch(epoch) = op { Some(epoch) } else { None })
    }
}
