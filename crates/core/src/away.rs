//! Who is away: what strategies keep for [`PartitionStrategy::dormant`](crate::PartitionStrategy::dormant).

use std::collections::BTreeSet;

use crate::ReplicaId;

/// Declarations that replicas are dormant, each by a name of its own, and which of them a return has ended: what one control
/// entry and its ancestors say, or several together.
///
/// A return ends the declarations that it knows of. Others of the same replica stand: whoever makes them does not know of
/// the return, or means the time after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Away<D> {
    declared: BTreeSet<(ReplicaId, D)>,
    ended: BTreeSet<(ReplicaId, D)>,
}

impl<D> Default for Away<D> {
    fn default() -> Self {
        Self { declared: BTreeSet::new(), ended: BTreeSet::new() }
    }
}

impl<D: Ord + Copy> Away<D> {
    /// Nobody waits for a replica any more.
    pub fn declare(&mut self, replica: ReplicaId, declaration: D) {
        self.declared.insert((replica, declaration));
    }

    /// Whether this very declaration was made before: said again it changes nothing. One that is made while the replica is
    /// away by another is kept all the same, for its return to end it: else it could be said again after that.
    pub fn has_heard(&self, replica: &ReplicaId, declaration: &D) -> bool {
        self.declared.contains(&(*replica, *declaration))
    }

    /// Whether nobody waits for a replica.
    pub fn is_away(&self, replica: &ReplicaId) -> bool {
        self.standing().any(|(declared, _)| declared == *replica)
    }

    /// It is back.
    pub fn end(&mut self, replica: &ReplicaId) {
        let of_replica = self.declared.iter().filter(|(declared, _)| declared == replica);
        self.ended.extend(of_replica.copied());
    }

    /// Takes over what another one says.
    pub fn add(&mut self, other: &Self) {
        self.declared.extend(&other.declared);
        self.ended.extend(&other.ended);
    }

    /// Whether another one says nothing that this one does not.
    pub fn includes(&self, other: &Self) -> bool {
        self.declared.is_superset(&other.declared) && self.ended.is_superset(&other.ended)
    }

    /// The declarations that no return has ended.
    pub fn standing(&self) -> impl Iterator<Item = (ReplicaId, D)> {
        self.declared.difference(&self.ended).copied()
    }

    /// The replicas that are away.
    pub fn replicas(&self) -> BTreeSet<ReplicaId> {
        self.standing().map(|(replica, _)| replica).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_return_ends_what_it_knows_of_and_nothing_else() {
        let [one, other] = [1, 2].map(|byte| ReplicaId::from_bytes([byte; 32]));
        let mut here = Away::default();
        here.declare(one, 1);
        here.declare(other, 2);
        let (mut returns, mut beside) = (here.clone(), here);
        returns.end(&one);
        assert_eq!(returns.replicas(), [other].into());
        assert!(!beside.includes(&returns) && returns.includes(&beside));
        beside.declare(one, 3);
        returns.add(&beside);
        assert_eq!(returns.replicas(), [one, other].into(), "declared by somebody who did not know of the return");
        returns.declare(one, 1);
        returns.end(&one);
        assert_eq!(returns.replicas(), [other].into());
        assert!(returns.has_heard(&one, &3) && !returns.has_heard(&other, &3));
        returns.declare(one, 1);
        assert_eq!(returns.replicas(), [other].into(), "said again, it is the same declaration, and over");
    }
}
