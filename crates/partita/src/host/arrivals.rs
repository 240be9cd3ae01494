//! Entries of other replicas, on their way into documents.

use std::sync::Arc;

use partita_core::{
    ContextId, DocumentId, EntryKind, Key,
    planted::{Bug, planted},
};
use partita_protocol::Arrival;

use super::{
    Context, EngineHost, Name,
    load::Openers,
    records::{Reason, SetAside},
};
use crate::{
    events::EngineEvent,
    worker::{Item, Job},
};

/// After how many entries a loaded document's snapshot is made anew.
const SNAPSHOT_EVERY: u64 = 4096;

impl EngineHost {
    pub(super) fn on_arrived(&mut self, context: &mut Context<'_>, id: ContextId, entries: Vec<Arrival>) {
        let mut by_document: Vec<(DocumentId, Vec<Arrival>)> = Vec::new();
        for arrival in entries {
            let Some(document) = arrival.entry.header.kind.document() else { continue };
            match by_document.iter_mut().rev().take(8).find(|(known, _)| *known == document) {
                Some((_, arrivals)) => arrivals.push(arrival),
                None => by_document.push((document, vec![arrival])),
            }
        }
        let mut openers = Openers::default();
        self.note_entries(id, by_document.iter().map(|(_, arrivals)| arrivals.len() as u64).sum());
        for (document, arrivals) in by_document {
            let created = arrivals.iter().any(|arrival| matches!(arrival.entry.header.kind, EntryKind::Create(_)));
            self.deliver(context, (id, document), arrivals, &mut openers);
            self.say(if created {
                EngineEvent::DocumentCreated { context: id, document }
            } else {
                EngineEvent::DocumentChanged { context: id, document }
            });
        }
    }

    /// Entries of a document that is not loaded stay in the store until it is.
    fn deliver(&mut self, context: &mut Context<'_>, name: Name, arrivals: Vec<Arrival>, openers: &mut Openers) {
        let Some(slot) = self.slots.get_mut(&name) else { return };
        if let Some(loading) = &mut slot.loading {
            loading.arrivals.extend(arrivals.into_iter().map(|arrival| (arrival.arrival, arrival)));
            return;
        }
        let Some(cell) = slot.cell.clone() else { return };
        slot.through = arrivals.last().map_or(slot.through, |last| slot.through.max(last.arrival));
        arrivals.iter().for_each(|arrival| slot.since_snapshot.add(arrival.entry.payload.len()));
        let due = slot.since_snapshot.entries >= SNAPSHOT_EVERY;
        let items: Vec<Item> = arrivals.iter().map(|arrival| self.item(context, name, arrival, openers)).collect();
        for arrival in arrivals {
            self.keep_waiting(name, arrival, items.iter());
        }
        self.worker.send(Job::Apply { cell, items });
        if due {
            self.ask_snapshot(name);
        }
    }

    /// Remembers what waits for a key, so that it is tried again when keys come.
    pub(super) fn keep_waiting<'i>(&mut self, name: Name, arrival: Arrival, mut items: impl Iterator<Item = &'i Item>) {
        let waits =
            |item: &Item| item.arrival == arrival.arrival && matches!(item.payload, Err(reason) if reason.lacks_key());
        if items.any(waits)
            && let Some(slot) = self.slots.get_mut(&name)
        {
            slot.waiting.insert(arrival.arrival, arrival);
        }
    }

    pub(super) fn on_keys(&mut self, context: &mut Context<'_>, id: ContextId) {
        let waiting: Vec<_> = self
            .slots
            .iter_mut()
            .filter(|((context, _), slot)| *context == id && !slot.waiting.is_empty() && !planted(Bug::KeysNotRetried))
            .map(|(name, slot)| (*name, std::mem::take(&mut slot.waiting)))
            .collect();
        let mut openers = Openers::default();
        for (name, arrivals) in waiting {
            self.deliver(context, name, arrivals.into_values().collect(), &mut openers);
        }
        self.try_again(id);
        context.node.retry_checkpoints(id);
        self.say(EngineEvent::KeysArrived { context: id });
    }

    pub(super) fn on_set_aside(&mut self, context: &mut Context<'_>, name: Name, arrival: u64, value: &SetAside) {
        self.put_set_aside(context, name, arrival, value);
        let mut attempts = 1;
        if let Some(slot) = self.slots.get_mut(&name) {
            if value.reason == Reason::Poisoned {
                slot.poisoned.insert((value.log, value.seq));
            }
            if value.reason.is_retried() {
                let tried = slot.set_aside.entry(arrival).or_default();
                *tried += 1;
                attempts = *tried;
            }
        }
        if let Some(state) = self.contexts.get_mut(&name.0) {
            let status = &mut state.set_aside;
            status.entries += u64::from(attempts == 1);
            (status.last, status.attempts) = (Some(value.clone()), attempts);
        }
        self.say(EngineEvent::SetAside { context: name.0, entry: value.clone() });
    }

    /// Entries that were set aside could be applied after all. A snapshot from before that passes over them and does not hold
    /// them, and nobody would look for them behind it any more: it goes with what said that they wait.
    pub(super) fn on_settled(&mut self, context: &mut Context<'_>, name: Name, arrivals: &[u64]) {
        context.node.delete_record(Key::Snapshot(name.0, name.1));
        for arrival in arrivals {
            context.node.delete_record(Key::SetAside(name.0, name.1, *arrival));
            if let Some(slot) = self.slots.get_mut(&name) {
                slot.set_aside.remove(arrival);
            }
            if let Some(state) = self.contexts.get_mut(&name.0) {
                state.set_aside.entries = state.set_aside.entries.saturating_sub(1);
            }
        }
        if let Some(slot) = self.slots.get_mut(&name) {
            // Few or many: without one everything is loaded from the beginning.
            let entries = &mut slot.since_snapshot.entries;
            *entries = self.few.entries.saturating_add(1).max(*entries);
        }
        self.ask_snapshot(name);
    }

    /// Entries count no more, or again: documents are loaded again from those that count.
    pub(super) fn on_rebuild(&mut self, context: &mut Context<'_>, id: ContextId, documents: &[DocumentId]) {
        for document in documents {
            let name = (id, *document);
            if !planted(Bug::StaleSnapshot) {
                context.node.delete_record(Key::Snapshot(id, *document));
            }
            let loaded = self.slots.get(&name).and_then(|slot| slot.cell.as_ref()).map(Arc::clone);
            match loaded {
                Some(cell) => {
                    self.start_reload(context, name, !planted(Bug::StaleSnapshot));
                    cell.say_changed(true, true);
                }
                None => self.load_afresh(context, name),
            }
            self.say(EngineEvent::DocumentRebuilt { context: id, document: *document });
        }
    }
}
