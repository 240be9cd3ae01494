//! Changes that wait for their dependencies.
//!
//! The library has such a queue itself, but it hides its length, and drops from it what a local edit contradicts. Here a
//! change goes to the library only when its dependencies are there.

use std::collections::HashMap;

use automerge::{ActorId, Change, ChangeHash};
use partita_core::CrdtError;

#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Each change under the first dependency that it lacks.
    waiting: HashMap<ChangeHash, Vec<Change>>,
    /// What waits, by who wrote it as which change.
    known: HashMap<(ActorId, u64), ChangeHash>,
}

impl Held {
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// Keeps `change` until `lacking` is there. False if it was kept already.
    pub(crate) fn keep(&mut self, lacking: ChangeHash, change: Change) -> Result<bool, CrdtError> {
        match self.known.insert((change.actor_id().clone(), change.seq()), change.hash()) {
            None => {}
            Some(hash) if hash == change.hash() => return Ok(false),
            Some(hash) => {
                self.known.insert((change.actor_id().clone(), change.seq()), hash);
                return Err(CrdtError::Malformed("two changes with the same actor and number"));
            }
        }
        self.waiting.entry(lacking).or_default().push(change);
        Ok(true)
    }

    /// Takes out what waited for `hash`.
    pub(crate) fn wake(&mut self, hash: &ChangeHash) -> Vec<Change> {
        let woken = self.waiting.remove(hash).unwrap_or_default();
        for change in &woken {
            self.known.remove(&(change.actor_id().clone(), change.seq()));
        }
        woken
    }

    /// Takes out everything.
    pub(crate) fn take(&mut self) -> Vec<Change> {
        self.known.clear();
        std::mem::take(&mut self.waiting).into_values().flatten().collect()
    }

    /// All changes, in an order that depends on them alone.
    pub(crate) fn sorted(&self) -> Vec<&Change> {
        let mut all: Vec<&Change> = self.waiting.values().flatten().collect();
        all.sort_by_key(|change| change.hash());
        all
    }
}
