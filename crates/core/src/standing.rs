//! How far the logs of those who lost their right to write still count.

use std::collections::BTreeMap;

use crate::{LogId, ReplicaId, Signature, Tip};

/// What the control entries of a context, resolved, say about how far logs count.
///
/// A loss (revocation, removal, retirement) lists every log of the one who loses the right with the last entry that
/// counts; a log that it does not list counts for nothing. Concurrent losses meet at the smaller. A vouch lifts the
/// limit of one log to the entry that it names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// The losses of each replica, each the whole list of what counts.
    pub losses: BTreeMap<ReplicaId, Vec<Vec<Tip>>>,
    /// What remaining writers vouched for, with the signatures of those who wrote it.
    pub vouches: BTreeMap<Tip, Signature>,
}

impl Standing {
    /// Whether this replica lost its right to write.
    pub fn has_lost(&self, replica: &ReplicaId) -> bool {
        self.losses.contains_key(replica)
    }

    /// Whether a loss of the log's own writer names exactly this entry: it is then taken without its author's signature,
    /// because whoever signed the loss named its hash. See decision 9.
    pub fn names(&self, writer: &ReplicaId, tip: &Tip) -> bool {
        self.losses.get(writer).is_some_and(|lists| lists.iter().flatten().any(|named| named == tip))
    }

    /// The author's signature over this entry, as a vouch brings it along, for a log whose writer lost its right.
    pub fn signature(&self, writer: &ReplicaId, tip: &Tip) -> Option<Signature> {
        self.vouches.get(tip).copied().filter(|_| self.has_lost(writer))
    }

    /// Whether any loss or vouch names exactly this entry: where a log may end.
    pub fn marks(&self, tip: &Tip) -> bool {
        self.vouches.contains_key(tip) || self.losses.values().flatten().flatten().any(|named| named == tip)
    }

    /// The last number of this log that counts; `None` when all of it does.
    pub fn cap(&self, replica: &ReplicaId, log: &LogId) -> Option<u64> {
        let counted = |tips: &Vec<Tip>| tips.iter().filter(|tip| tip.log == *log).map(|tip| tip.seq).max().unwrap_or(0);
        let least = self.losses.get(replica)?.iter().map(counted).min()?;
        let vouched = self.vouches.keys().filter(|tip| tip.log == *log).map(|tip| tip.seq).max().unwrap_or(0);
        Some(least.max(vouched))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EntryId;

    fn tip(log: u8, seq: u64) -> Tip {
        Tip { log: LogId::from_bytes([log; 16]), seq, head: EntryId::NONE }
    }

    #[test]
    fn concurrent_losses_meet_at_the_smaller_and_a_vouch_lifts() {
        let thief = ReplicaId::from_bytes([1; 32]);
        let log = |n| LogId::from_bytes([n; 16]);
        let mut standing = Standing::default();
        assert_eq!(standing.cap(&thief, &log(1)), None);
        standing.losses.insert(thief, vec![vec![tip(1, 9), tip(2, 3)], vec![tip(1, 4)]]);
        assert_eq!(standing.cap(&thief, &log(1)), Some(4));
        assert_eq!(standing.cap(&thief, &log(2)), Some(0), "one loss does not list it");
        assert_eq!(standing.cap(&thief, &log(3)), Some(0), "none lists it");
        standing.vouches.insert(tip(1, 7), Signature::from_bytes([0; 64]));
        assert_eq!(standing.cap(&thief, &log(1)), Some(7));
        assert_eq!(standing.cap(&ReplicaId::from_bytes([2; 32]), &log(1)), None);
    }
}
