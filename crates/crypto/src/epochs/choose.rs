//! The rule which epoch may be written under: a pure function, so that it can be read, tested and argued about.

use super::EpochId;

/// What a strategy knows of one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochFacts {
    /// The epoch.
    pub id: EpochId,
    /// How many epochs the longest chain has that ends in it, each known to the author of the next.
    pub depth: u64,
    /// Its secret is here, and was checked against its commitment.
    pub held: bool,
    /// Its creator had the right to create it.
    pub rightful: bool,
    /// Each of its recipients may still read: nobody else would be let in on what is written.
    pub recipients_current: bool,
    /// It was made in knowledge of every loss of reading that is known here (a removal, a revocation, a demotion).
    pub covers_all_losses: bool,
}

impl EpochFacts {
    /// Whether new payloads may be sealed under it. One reason against it is enough.
    pub fn writable(&self) -> bool {
        self.held && self.rightful && self.recipients_current && self.covers_all_losses
    }
}

/// The epoch to write under, or `None`: then rotate before writing.
///
/// Among several that will do it is the deepest, then the one with the lowest id: whoever knows the same epochs
/// chooses the same one, in whatever order they came.
pub fn choose_epoch(candidates: &[EpochFacts]) -> Option<EpochId> {
    candidates
        .iter()
        .filter(|epoch| epoch.writable())
        .max_by(|a, b| a.depth.cmp(&b.depth).then_with(|| b.id.cmp(&a.id)))
        .map(|epoch| epoch.id)
}
