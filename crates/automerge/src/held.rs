//! Changes that wait for what they build on.
//!
//! The library has such a queue itself, but it hides its length, and drops from it what a local edit contradicts. Here a
//! change goes to the library only when what it builds on is there.
//!
//! A hostile actor can give two changes one number, and let the first wait for somebody else. Were the second applied
//! meanwhile, which of them counts would depend on what came first, and replicas would differ for good. So the first that
//! its log has of a number is the only one, also while it waits. If it fits nowhere, it stays for good, and all that its
//! actor wrote after it waits with it.

use std::collections::{BTreeMap, HashMap};

use automerge::{ActorId, Change, ChangeHash};

/// Whose change it is, and its number among them.
pub(crate) type Place = (ActorId, u64);

pub(crate) fn place(change: &Change) -> Place {
    (change.actor_id().clone(), change.seq())
}

/// What a change waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lacking {
    /// The change with the number before its own.
    Previous,
    Change(ChangeHash),
    /// This actor's operation with this counter.
    Operation(ActorId, u64),
}

#[derive(Debug, Default)]
pub(crate) struct Held {
    waiting: BTreeMap<Place, Change>,
    /// What waits for a change. What fits nowhere is under nothing.
    changes: HashMap<ChangeHash, Vec<Place>>,
    /// What waits for an operation.
    operations: BTreeMap<(ActorId, u64), Vec<Place>>,
}

impl Held {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn get(&self, place: &Place) -> Option<&Change> {
        self.waiting.get(place)
    }

    /// Whether a change of this actor waits.
    pub(crate) fn holds_some_of(&self, actor: &ActorId) -> bool {
        self.waiting.range((actor.clone(), 0)..=(actor.clone(), u64::MAX)).next().is_some()
    }

    /// Keeps a change until there is what it lacks; for good without that.
    pub(crate) fn keep(&mut self, change: Change, lacking: Option<Lacking>) {
        if let Some(lacking) = lacking {
            self.wait(place(&change), lacking);
        }
        self.waiting.insert(place(&change), change);
    }

    /// Has `place` named by [`wake`](Self::wake) when that comes.
    pub(crate) fn wait(&mut self, place: Place, lacking: Lacking) {
        match lacking {
            Lacking::Previous => {} // it is named anyway
            Lacking::Change(hash) => self.changes.entry(hash).or_default().push(place),
            Lacking::Operation(actor, counter) => self.operations.entry((actor, counter)).or_default().push(place),
        }
    }

    pub(crate) fn take(&mut self, place: &Place) -> Option<Change> {
        self.waiting.remove(place)
    }

    /// The places of what may fit now that the document has `change`.
    pub(crate) fn wake(&mut self, change: &Change) -> Vec<Place> {
        let mut woken = self.changes.remove(&change.hash()).unwrap_or_default();
        let (actor, seq) = place(change);
        let reached = (actor.clone(), 0)..=(actor.clone(), change.max_op());
        let reached: Vec<_> = self.operations.range(reached).map(|(key, _)| key.clone()).collect();
        woken.extend(reached.iter().filter_map(|key| self.operations.remove(key)).flatten());
        woken.push((actor, seq + 1));
        woken
    }

    /// All changes, each actor's by number.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Change> {
        self.waiting.values()
    }

    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = Change> + use<> {
        std::mem::take(self).waiting.into_values()
    }
}
