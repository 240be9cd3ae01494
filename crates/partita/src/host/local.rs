//! Local changes, on their way into the log.

use std::panic::{AssertUnwindSafe, catch_unwind};

use partita_core::{ActorSeed, ContextId, EntryKind};
use partita_protocol::AppendError;

use super::{Context, EngineHost, Name};
use crate::{cell::Cell, error::CommitError, events::EngineEvent};

/// How many entries of one document may wait for the disk before further changes wait to go into one together.
///
/// One keystroke alone leaves at once; a burst becomes a few entries for each disk write.
const IN_FLIGHT: usize = 8;

enum Taken {
    /// Nothing is left to take.
    All,
    /// Somebody else has the document, or enough is in flight: it stays dirty.
    Later,
}

impl EngineHost {
    pub(super) fn take_dirty(&mut self, context: &mut Context<'_>) {
        for name in std::mem::take(&mut self.dirty) {
            if matches!(self.take_local(context, name, IN_FLIGHT), Taken::Later) {
                self.dirty.insert(name);
            }
        }
    }

    /// Takes what there is, however much is in flight.
    pub(super) fn take_all(&mut self, context: &mut Context<'_>) {
        for name in std::mem::take(&mut self.dirty) {
            if matches!(self.take_local(context, name, usize::MAX), Taken::Later) {
                self.dirty.insert(name);
            }
        }
    }

    /// Takes what was changed in a context that is about to be closed, also in documents that others have locked right now.
    pub(super) fn take_context(&mut self, context: &mut Context<'_>, id: ContextId) {
        // Somebody may lock one again in between, and change it: that is then as late as any change after this.
        for _ in 0..2 {
            for slot in self.slots.iter().filter(|((of, _), _)| *of == id).map(|(_, slot)| slot) {
                if let Some(cell) = slot.cell.as_ref().filter(|cell| cell.is_dirty()) {
                    drop(cell.hold_any());
                }
            }
            self.dirty.extend(self.slots.keys().filter(|(of, _)| *of == id));
            self.take_all(context);
        }
    }

    fn take_local(&mut self, context: &mut Context<'_>, name: Name, in_flight: usize) -> Taken {
        let Some(slot) = self.slots.get_mut(&name) else { return Taken::All };
        let Some(cell) = slot.cell.clone() else { return Taken::All };
        if !Self::is_of_own_log(context, name, &cell) {
            if slot.loading.is_none() {
                self.start_reload(context, name, false);
            }
            return Taken::All; // it is told again once it is loaded
        }
        if slot.in_flight.len() >= in_flight {
            return Taken::Later; // a durable entry wakes it
        }
        // Whoever has it says so again when it is given back, if there is something to take.
        let Some(mut held) = cell.try_hold() else {
            return if self.closing && cell.is_dirty() { Taken::Later } else { Taken::All };
        };
        cell.clear_dirty();
        if held.doc.is_none() && held.broken.is_none() && in_flight != usize::MAX {
            // It is being loaded, from what was stored when that began: what waits is put into it, and taken from there.
            return Taken::All;
        }
        let is_loaded = held.doc.is_some();
        let made = held.made;
        let mut payloads = std::mem::take(&mut held.backlog);
        let mut poisoned = false;
        if let Some(doc) = &mut held.doc {
            match catch_unwind(AssertUnwindSafe(|| doc.take_local())) {
                Ok(local) => payloads.extend(local),
                Err(_) => poisoned = true,
            }
        }
        // On a thread that must not wait it stays locked, so that what cannot be written can be given back. Elsewhere a strategy
        // may want what the application has locked.
        let mut held = Some(held).filter(|_| context.must_not_wait);
        if poisoned {
            cell.fail(made, CommitError::Closed);
            self.start_reload(context, name, false);
        }
        let (mut last, mut failed) = (None, poisoned);
        let mut rest = payloads.into_iter();
        for payload in rest.by_ref() {
            match context.node.append(context.now, name.0, EntryKind::Change(name.1), &payload) {
                Ok(appended) => {
                    last = Some(appended.arrival);
                    if let Some(slot) = self.slots.get_mut(&name) {
                        slot.since_snapshot.add(payload.len());
                    }
                }
                Err(error @ AppendError::TooLarge { .. }) => {
                    // It can never be written: it must not stay in the document either.
                    cell.fail(made, error.into());
                    failed = true;
                    self.start_reload(context, name, false);
                }
                Err(error) => {
                    cell.fail(made, error.into());
                    let mut held = held.take().unwrap_or_else(|| cell.hold_any());
                    let kept = std::iter::once(payload).chain(rest).collect::<Vec<_>>();
                    held.backlog.splice(0..0, kept);
                    return Taken::All; // tried again when keys come, and at the next change
                }
            }
        }
        drop(held);
        let Some(slot) = self.slots.get_mut(&name) else { return Taken::All };
        match last {
            Some(arrival) => {
                slot.through = slot.through.max(arrival);
                slot.in_flight.push_back((arrival, made));
            }
            None if failed => {}
            // The change came to nothing: it is as durable as what was before it.
            None => match slot.in_flight.back_mut() {
                Some((_, number)) => *number = made.max(*number),
                None => say_durable(&cell, made),
            },
        }
        if let Some(slot) = self.slots.get_mut(&name) {
            slot.taken = made.max(slot.taken);
            if last.is_some() && (!is_loaded || slot.loading.is_some()) {
                self.add_to_load(context, name);
            }
        }
        self.note_entries(name.0, 1);
        Taken::All
    }

    /// What waits in a context's documents may be written now.
    pub(super) fn try_again(&mut self, id: ContextId) {
        self.dirty.extend(self.slots.keys().filter(|(context, _)| *context == id));
    }

    /// Who may do what can be different now.
    pub(super) fn on_control(&mut self, id: ContextId) {
        self.try_again(id);
        self.say(EngineEvent::ControlChanged { context: id });
    }

    /// Actors are derived from logs: what is changed from now on is another actor's.
    pub(super) fn on_new_log(&mut self, context: &mut Context<'_>, id: ContextId) {
        let of_context = self.slots.iter().filter(|((context, _), slot)| *context == id && slot.cell.is_some());
        let names: Vec<Name> = of_context.map(|(name, _)| *name).collect();
        for name in names {
            self.start_reload(context, name, false);
        }
    }

    /// Whether a document makes its changes for the log that this replica writes now.
    pub(super) fn is_of_own_log(context: &Context<'_>, name: Name, cell: &Cell) -> bool {
        let log = context.node.own_log(&name.0);
        log.is_none_or(|log| ActorSeed::derive(&log, &name.1) == cell.actor())
    }

    pub(super) fn on_durable(&mut self, id: ContextId, arrival: u64) {
        for ((_, document), slot) in self
            .slots
            .range_mut((id, partita_core::DocumentId::from_bytes([0; 32]))..)
            .take_while(|((context, _), _)| *context == id)
        {
            let mut reached = None;
            while let Some((_, number)) = slot.in_flight.pop_front_if(|(at, _)| *at <= arrival) {
                reached = Some(number);
            }
            if let (Some(number), Some(cell)) = (reached, &slot.cell) {
                say_durable(cell, number);
                let _ = document;
            }
        }
    }
}

fn say_durable(cell: &crate::cell::Cell, number: u64) {
    cell.progress.send_modify(|progress| progress.durable = number.max(progress.durable));
}
