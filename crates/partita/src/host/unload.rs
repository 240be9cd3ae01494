//! Snapshots, and documents that nobody uses any more.

use std::sync::Arc;

use partita_core::{Bytes, Key};
use tokio::sync::oneshot;

use super::{Added, Context, EngineHost, Name, Slot, records::Snapshot};
use crate::worker::Job;

/// How many documents that no handle is left of stay loaded.
const KEEP_LOADED: usize = 64;
/// Every so many rounds it is looked whether there are more.
const LOOK_EVERY: u64 = 256;

impl EngineHost {
    /// Asks the worker for a snapshot of everything that was handed to it so far, if that is worth its while.
    pub(super) fn ask_snapshot(&mut self, name: Name) -> bool {
        let Some(slot) = self.slots.get_mut(&name) else { return false };
        let Some(cell) = slot.cell.clone() else { return false };
        let added = &slot.since_snapshot;
        let few = added.entries <= self.few.entries && added.bytes <= self.few.bytes;
        // One that is to be loaded again is no longer what counts, also while somebody has it locked.
        if few || slot.loading.is_some() || self.reloads.contains_key(&name) {
            return false;
        }
        slot.since_snapshot = Added::default();
        slot.snapshot_of = self.contexts.get(&name.0).map_or(0, |state| state.adopted);
        self.worker.send(Job::Snapshot { cell, through: slot.through, taken: slot.taken });
        true
    }

    pub(super) fn on_snapshot_all(&mut self, done: oneshot::Sender<()>) {
        for name in self.slots.keys().copied().collect::<Vec<_>>() {
            self.ask_snapshot(name);
        }
        self.worker.send(Job::Fence(done));
    }

    /// Keeps a snapshot, sealed. It goes into a transaction after the entries that it holds, or into theirs.
    pub(super) fn on_snapshot(&mut self, context: &mut Context<'_>, name: Name, value: &Bytes, through: u64) {
        let Some(cell) = self.slots.get(&name).and_then(|slot| slot.cell.as_ref()) else { return };
        let adopted = self.contexts.get(&name.0).map_or(0, |state| state.adopted);
        // What it was made from may count no more; and what came after it may be pruned, and stands in the checkpoint's.
        let is_old = |slot: &Slot| slot.loading.is_some() || slot.snapshot_of != adopted;
        if self.slots.get(&name).is_some_and(is_old) || self.reloads.contains_key(&name) {
            return;
        }
        let snapshot = Snapshot { crdt: cell.crdt.id(), through, bytes: value.to_vec() };
        if let Some(sealed) = snapshot.seal(&name.0, &name.1, &self.at_rest, &mut *self.random) {
            context.node.put_record(Key::Snapshot(name.0, name.1), sealed);
        }
    }

    pub(super) fn unload_idle(&mut self, _context: &mut Context<'_>) {
        if !self.rounds.is_multiple_of(LOOK_EVERY) || self.slots.len() <= KEEP_LOADED {
            return;
        }
        let mut idle: Vec<(u64, Name)> = self
            .slots
            .iter()
            .filter(|(name, slot)| {
                slot.loading.is_none()
                    && slot.in_flight.is_empty()
                    && !self.dirty.contains(*name)
                    // The slot's own handle is the only one: the worker has none either.
                    && slot.cell.as_ref().is_some_and(|cell| Arc::strong_count(cell) == 1 && !cell.has_unwritten())
            })
            .map(|(name, slot)| (slot.used, *name))
            .collect();
        idle.sort_unstable();
        let most = self.slots.len() - KEEP_LOADED;
        for (used, name) in idle.into_iter().take(most) {
            // First its snapshot; at the next look it goes, also where entries come all the time: they are in the store.
            let leaves = self.slots.get(&name).is_some_and(|slot| slot.leaves == Some(used));
            if leaves || !self.ask_snapshot(name) {
                self.slots.remove(&name);
            } else if let Some(slot) = self.slots.get_mut(&name) {
                slot.leaves = Some(used);
            }
        }
    }
}
