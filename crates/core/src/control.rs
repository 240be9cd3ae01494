//! The graph of a context's control entries: who descends from whom.

use std::collections::{BTreeMap, BTreeSet};

use crate::EntryId;

/// Parents that the graph does not hold: their child was not added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} control entries that this one rests on are missing", .0.len())]
pub struct MissingParents(pub Vec<EntryId>);

/// Control entries by id with their parents: the heads and the previous entry of the log that each names.
///
/// Used by the node, and by strategies whose verdicts ask what an entry had seen.
#[derive(Debug, Clone, Default)]
pub struct ControlGraph {
    parents: BTreeMap<EntryId, Vec<EntryId>>,
    heads: BTreeSet<EntryId>,
}

impl ControlGraph {
    /// Adds an entry after its parents. Adding one twice changes nothing.
    ///
    /// # Errors
    /// [`MissingParents`] when some parent is not in the graph.
    pub fn insert(&mut self, id: EntryId, parents: impl IntoIterator<Item = EntryId>) -> Result<(), MissingParents> {
        if self.parents.contains_key(&id) {
            return Ok(());
        }
        let mut parents: Vec<_> = parents.into_iter().filter(|parent| *parent != EntryId::NONE).collect();
        parents.sort_unstable();
        parents.dedup();
        let missing = self.missing(&parents);
        if !missing.is_empty() {
            return Err(MissingParents(missing));
        }
        for parent in &parents {
            self.heads.remove(parent);
        }
        self.heads.insert(id);
        self.parents.insert(id, parents);
        Ok(())
    }

    /// Whether the entry is in the graph.
    pub fn contains(&self, id: &EntryId) -> bool {
        self.parents.contains_key(id)
    }

    /// How many entries the graph holds.
    pub fn len(&self) -> usize {
        self.parents.len()
    }

    /// Whether the graph holds none.
    pub fn is_empty(&self) -> bool {
        self.parents.is_empty()
    }

    /// Which of these are not in the graph.
    pub fn missing(&self, ids: &[EntryId]) -> Vec<EntryId> {
        ids.iter().filter(|id| !self.contains(id)).copied().collect()
    }

    /// The entries that no other names as a parent, by rising id.
    pub fn heads(&self) -> Vec<EntryId> {
        self.heads.iter().copied().collect()
    }

    /// `heads` and everything that they descend from.
    pub fn ancestors(&self, heads: &[EntryId]) -> BTreeSet<EntryId> {
        let mut seen = BTreeSet::new();
        let mut open: Vec<EntryId> = heads.to_vec();
        while let Some(id) = open.pop() {
            if let Some(parents) = self.parents.get(&id)
                && seen.insert(id)
            {
                open.extend(parents);
            }
        }
        seen
    }

    /// Whether everything that `older` names is among the ancestors of `newer`: heads never go backwards along a log.
    pub fn advances(&self, older: &[EntryId], newer: &[EntryId]) -> bool {
        if older.iter().all(|id| newer.contains(id)) {
            return true;
        }
        let seen = self.ancestors(newer);
        older.iter().all(|id| seen.contains(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> EntryId {
        EntryId::from_bytes([n; 32])
    }

    #[test]
    fn heads_are_what_nobody_names_and_never_go_backwards() {
        let mut graph = ControlGraph::default();
        graph.insert(id(1), []).unwrap();
        graph.insert(id(2), [id(1)]).unwrap();
        graph.insert(id(3), [id(1)]).unwrap();
        assert_eq!(graph.heads(), [id(2), id(3)]);
        assert!(graph.advances(&[id(1)], &[id(2)]));
        assert!(graph.advances(&[], &[id(1)]));
        assert!(!graph.advances(&[id(2)], &[id(3)]));
        assert!(!graph.advances(&[id(2)], &[id(1)]));
        assert_eq!(graph.insert(id(5), [id(4)]), Err(MissingParents(vec![id(4)])));
    }
}
