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
    /// How many entries lie on the longest way back from each: more than on that of any of its ancestors.
    depths: BTreeMap<EntryId, u64>,
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
        let depth = parents.iter().filter_map(|parent| self.depths.get(parent)).max().map_or(1, |depth| depth + 1);
        self.depths.insert(id, depth);
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

    /// Whether some of `heads` could be `id` or descend from it, by what is known without walking: what lies no deeper
    /// cannot.
    pub fn may_descend(&self, heads: &[EntryId], id: &EntryId) -> bool {
        let depth = self.depths.get(id);
        let deeper = |head: &EntryId| self.depths.get(head) > depth;
        depth.is_some() && heads.iter().any(|head| head == id || deeper(head))
    }

    /// Whether some of `heads` is `id` or descends from it.
    pub fn descend(&self, heads: &[EntryId], id: &EntryId) -> bool {
        let mut seen = BTreeSet::new();
        let mut open: Vec<EntryId> = heads.to_vec();
        while let Some(at) = open.pop() {
            if at == *id {
                return self.contains(id);
            }
            if self.may_descend(&[at], id) && seen.insert(at) {
                open.extend(self.parents.get(&at).into_iter().flatten());
            }
        }
        false
    }

    /// The heads of what the graph holds beside an entry and its descendants: what there would be had it not been written.
    pub fn heads_beside(&self, id: &EntryId) -> Vec<EntryId> {
        let after = self.descendants(&[*id]);
        let mut heads: BTreeSet<EntryId> = self.parents.keys().filter(|id| !after.contains(*id)).copied().collect();
        for parents in self.parents.iter().filter(|(child, _)| !after.contains(*child)).map(|(_, parents)| parents) {
            parents.iter().for_each(|parent| {
                heads.remove(parent);
            });
        }
        heads.into_iter().collect()
    }

    /// Those of `ids` that the graph holds, and everything that descends from them.
    pub fn descendants(&self, ids: &[EntryId]) -> BTreeSet<EntryId> {
        let mut children: BTreeMap<EntryId, Vec<EntryId>> = BTreeMap::new();
        for (child, parents) in &self.parents {
            for parent in parents {
                children.entry(*parent).or_default().push(*child);
            }
        }
        let mut seen = BTreeSet::new();
        let mut open: Vec<EntryId> = ids.iter().filter(|id| self.contains(id)).copied().collect();
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                open.extend(children.get(&id).into_iter().flatten());
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
        assert!(
            graph.descend(&[id(2)], &id(1))
                && graph.descend(&[id(2)], &id(2))
                && graph.descend(&[id(3), id(2)], &id(2))
        );
        assert!(!graph.descend(&[id(2)], &id(3)) && !graph.descend(&[id(1)], &id(2)) && !graph.descend(&[], &id(1)));
        assert!(!graph.descend(&[id(2), id(9)], &id(9)), "nothing is said of what is not here");
        assert!(!graph.may_descend(&[id(1), id(3)], &id(2)), "they lie no deeper");
        assert_eq!(graph.descendants(&[id(1)]), [id(1), id(2), id(3)].into());
        assert_eq!(graph.descendants(&[id(3), id(9)]), [id(3)].into(), "what is not here has no descendants");
        assert_eq!(graph.insert(id(5), [id(4)]), Err(MissingParents(vec![id(4)])));
    }
}
