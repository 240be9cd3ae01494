//! How far the logs of those who lost their right to write still count.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    EntryId, LogId, ReplicaId, Signature, SignedTip, Tip,
    planted::{Bug, planted},
};

/// One loss of the right to write.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Loss {
    /// Every log of the one who loses it that counts, with its last entry that does.
    pub tips: Vec<Tip>,
    /// The loss does not concern logs that were begun in knowledge of one of these control entries (they or their
    /// descendants are named by the log's first entry): begun after the loss itself was known, or by a right given anew.
    /// Whether such a log may be written is `authorize`'s to say. Empty: it concerns every log.
    ///
    /// Each should be the loss itself or descend from it: whoever begins a log in knowledge of it then knows what the
    /// loss cuts off, and rests the log on none of that. See decision 12.
    pub lifted_by: Vec<EntryId>,
}

impl Loss {
    /// A loss that concerns every log, for good.
    pub fn for_good(tips: Vec<Tip>) -> Self {
        Self { tips, lifted_by: Vec::new() }
    }
}

/// What the control entries of a context, resolved, say about how far logs count.
///
/// A loss (revocation, removal, retirement) lists every log of the one who loses the right with the last entry that
/// counts; a log that it does not list counts for nothing, unless it was begun in knowledge of what lifts the loss.
/// Concurrent losses meet at the smaller. A vouch lifts the limit of one log to the entry that it names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// The losses of each replica, each the whole list of what counts.
    pub losses: BTreeMap<ReplicaId, Vec<Loss>>,
    /// Those among them who hold the right again, for new logs.
    pub readmitted: BTreeSet<ReplicaId>,
    /// What remaining writers vouched for, with the signatures of those who wrote it.
    pub vouches: BTreeMap<Tip, Signature>,
    /// The signatures that losses and vouches bring along for what they name: those that do not count as well, for who wrote an
    /// entry does not depend on that. Whoever built on what somebody vouched for who has lost the right since shows it again.
    /// Shared: it only grows, and a standing is asked for after each control entry.
    pub listed: Arc<BTreeMap<Tip, Signature>>,
}

impl Standing {
    /// Whether this replica lost its right to write and does not hold it again: it may neither write nor speak now.
    pub fn has_lost(&self, replica: &ReplicaId) -> bool {
        self.has_loss(replica) && !self.readmitted.contains(replica)
    }

    /// Whether this replica ever lost its right to write: some of its logs may be limited, whatever it holds now.
    pub fn has_loss(&self, replica: &ReplicaId) -> bool {
        self.losses.contains_key(replica)
    }

    fn losses_of(&self, replica: &ReplicaId) -> &[Loss] {
        self.losses.get(replica).map_or(&[], |losses| losses)
    }

    /// Its author's signature over this entry, as a loss or a vouch brought it along: whoever holds the log just so far
    /// shows it to others. See decision 9.
    pub fn signature(&self, tip: &Tip) -> Option<Signature> {
        self.listed.get(tip).or_else(|| self.vouches.get(tip)).copied()
    }

    /// Keeps what a loss lists or a vouch shows in [`listed`](Self::listed). Of two signatures over one entry, all replicas
    /// keep the same.
    pub fn list(&mut self, tips: &[SignedTip]) {
        let listed = Arc::make_mut(&mut self.listed);
        for SignedTip { tip, signature } in tips {
            let kept = listed.entry(*tip).or_insert(*signature);
            *kept = *signature.min(kept);
        }
    }

    /// Whether any loss or vouch names exactly this entry: where a log may end.
    pub fn marks(&self, tip: &Tip) -> bool {
        self.vouches.contains_key(tip) || self.losses.values().flatten().any(|loss| loss.tips.contains(tip))
    }

    /// Whether a loss of the writer or a vouch names an entry at this place of its log, and none names this one: the log
    /// is forked, and this is not the branch that counts.
    pub fn contradicts(&self, writer: &ReplicaId, tip: &Tip) -> bool {
        let losses = self.losses_of(writer);
        let named = losses.iter().flat_map(|loss| &loss.tips).chain(self.vouches.keys().filter(|_| !losses.is_empty()));
        let mut at_place = named.filter(|named| named.log == tip.log && named.seq == tip.seq).peekable();
        at_place.peek().is_some() && at_place.all(|named| named.head != tip.head)
    }

    /// The last number of this log that counts; `None` when all of it does. `knew` says whether the log was begun in
    /// knowledge of a control entry: whether that is among the heads that its first entry names, or their ancestors.
    pub fn cap(&self, replica: &ReplicaId, log: &LogId, knew: impl Fn(&EntryId) -> bool) -> Option<u64> {
        if planted(Bug::CapsIgnored) {
            return None;
        }
        let concerned = self.losses_of(replica).iter().filter(|loss| !loss.lifted_by.iter().any(&knew));
        let counted =
            |loss: &Loss| loss.tips.iter().filter(|tip| tip.log == *log).map(|tip| tip.seq).max().unwrap_or(0);
        let least = concerned.map(counted).min()?;
        let vouched = self.vouches.keys().filter(|tip| tip.log == *log).map(|tip| tip.seq).max().unwrap_or(0);
        Some(least.max(vouched))
    }

    /// The entry after which this log counts no more, if a loss or a vouch names it at that number.
    pub fn named_at(&self, replica: &ReplicaId, log: &LogId, seq: u64) -> Option<Tip> {
        let named = self.losses_of(replica).iter().flat_map(|loss| &loss.tips).chain(self.vouches.keys());
        let mut at_place = named.filter(|tip| tip.log == *log && tip.seq == seq);
        at_place.next().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THIEF: ReplicaId = ReplicaId::from_bytes([1; 32]);

    fn tip(log: u8, seq: u64) -> Tip {
        Tip { log: LogId::from_bytes([log; 16]), seq, head: EntryId::NONE }
    }

    fn log(n: u8) -> LogId {
        LogId::from_bytes([n; 16])
    }

    fn id(n: u8) -> EntryId {
        EntryId::from_bytes([n; 32])
    }

    #[test]
    fn concurrent_losses_meet_at_the_smaller_and_a_vouch_lifts() {
        let mut standing = Standing::default();
        let cap = |standing: &Standing, n| standing.cap(&THIEF, &log(n), |_| true);
        assert_eq!(cap(&standing, 1), None);
        let losses = vec![Loss::for_good(vec![tip(1, 9), tip(2, 3)]), Loss::for_good(vec![tip(1, 4)])];
        standing.losses.insert(THIEF, losses);
        assert_eq!(cap(&standing, 1), Some(4));
        assert_eq!(cap(&standing, 2), Some(0), "one loss does not list it");
        assert_eq!(cap(&standing, 3), Some(0), "none lists it");
        standing.vouches.insert(tip(1, 7), Signature::from_bytes([0; 64]));
        assert_eq!(cap(&standing, 1), Some(7));
        assert_eq!(standing.cap(&ReplicaId::from_bytes([2; 32]), &log(1), |_| false), None);
    }

    #[test]
    fn a_log_counts_as_far_as_the_losses_that_it_was_not_begun_in_knowledge_of() {
        let first = Loss { tips: vec![tip(1, 4)], lifted_by: vec![id(10), id(11)] };
        let second = Loss { tips: vec![tip(1, 4), tip(2, 6)], lifted_by: vec![id(20)] };
        let mut standing = Standing { losses: [(THIEF, vec![first, second])].into(), ..Standing::default() };
        let knew = |known: &'static [u8]| move |entry: &EntryId| known.iter().any(|n| id(*n) == *entry);
        assert_eq!(standing.cap(&THIEF, &log(2), knew(&[])), Some(0));
        assert_eq!(standing.cap(&THIEF, &log(2), knew(&[11])), Some(6), "the second loss concerns it still");
        assert_eq!(standing.cap(&THIEF, &log(2), knew(&[20])), Some(0), "the first loss concerns it still");
        assert_eq!(standing.cap(&THIEF, &log(2), knew(&[10, 20])), None);
        assert!(standing.has_lost(&THIEF), "what lifts a loss for a log gives no right");
        standing.readmitted.insert(THIEF);
        assert!(!standing.has_lost(&THIEF) && standing.has_loss(&THIEF));
        assert_eq!(standing.cap(&THIEF, &log(1), knew(&[])), Some(4), "and the right gives back no log");
    }
}
