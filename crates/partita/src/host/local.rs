//! Local changes, on their way into the log.

use partita_core::{ActorSeed, ContextId, DocumentId, EntryKind};
use partita_protocol::AppendError;

use super::{Context, EngineHost, Name};
use crate::{
    cell::{Cell, Held, Unwritten},
    error::CommitError,
    events::EngineEvent,
};

/// How many entries of one document may wait for the disk before further changes wait to go into one together.
///
/// One keystroke alone leaves at once; a burst becomes a few entries for each disk write.
const IN_FLIGHT: usize = 8;

/// What became of local changes of a document.
#[derive(Default)]
struct Written {
    entries: u64,
    /// The last arrival.
    last: Option<u64>,
    /// Why the rest was not written, and the rest.
    refused: Option<(AppendError, Vec<Unwritten>)>,
}

/// How much is taken of what was changed in documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Take {
    /// Until enough of a document is in flight, and nothing of one that is being loaded.
    Few,
    /// All that there is: somebody waits for it.
    All,
}

enum Taken {
    /// Nothing is left to take.
    All,
    /// Somebody else has the document, or enough is in flight: it stays dirty.
    Later,
}

impl EngineHost {
    pub(super) fn take_dirty(&mut self, context: &mut Context<'_>) {
        self.take(context, Take::Few);
    }

    /// Takes what there is, however much is in flight.
    pub(super) fn take_all(&mut self, context: &mut Context<'_>) {
        self.take(context, Take::All);
    }

    fn take(&mut self, context: &mut Context<'_>, much: Take) {
        for name in std::mem::take(&mut self.dirty) {
            if matches!(self.take_local(context, name, much), Taken::Later) {
                self.dirty.insert(name);
            }
        }
    }

    /// Takes what was changed in a context that is about to be closed, also in documents that others have locked right now.
    pub(super) fn take_context(&mut self, context: &mut Context<'_>, id: ContextId) {
        self.announce_unwritten(|(of, _)| *of == id);
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

    fn take_local(&mut self, context: &mut Context<'_>, name: Name, much: Take) -> Taken {
        let Some(slot) = self.slots.get_mut(&name) else { return Taken::All };
        let Some(cell) = slot.cell.clone() else { return Taken::All };
        if !Self::is_of_own_log(context, name, &cell) {
            if slot.loading.is_none() {
                self.start_reload(context, name, false);
            }
            return Taken::All; // it is told again once it is loaded
        }
        if much == Take::Few && slot.in_flight.len() >= IN_FLIGHT {
            return Taken::Later; // a durable entry wakes it
        }
        // Whoever has it says so again when it is given back, if there is something to take.
        let Some(mut held) = cell.try_hold() else {
            return if self.closing && cell.is_dirty() { Taken::Later } else { Taken::All };
        };
        cell.clear_dirty();
        if held.doc.is_none() && held.broken.is_none() && much == Take::Few {
            // It is being loaded, from what was stored when that began: what waits is put into it, and taken from there.
            return Taken::All;
        }
        let was_loaded = held.doc.is_some();
        held.set_local_aside();
        let made = held.made;
        let unwritten = std::mem::take(&mut held.backlog);
        // What is being made of it was read before this is written, and lacks it.
        let is_stale = was_loaded || !unwritten.is_empty(); // it could not give back what was changed in it, or lacks it
        let must_load = is_stale && held.doc.is_none() && held.broken.is_none();
        if must_load {
            cell.await_no_load();
        }
        // On a thread that must not wait it stays locked, so that what cannot be written can be given back. Elsewhere a strategy
        // may want what the application has locked.
        let mut held = Some(held).filter(|_| context.must_not_wait);
        let Written { entries, last, refused } = self.write(context, name, unwritten);
        self.note_entries(name.0, entries);
        match refused {
            None => {
                if let Some(slot) = self.slots.get_mut(&name) {
                    slot.taken = made; // also what came to nothing
                }
            }
            Some((AppendError::TooLarge { len, limit }, _)) => {
                self.abandon(context, name, held.take(), AppendError::TooLarge { len, limit }.into());
            }
            Some((error, kept)) => {
                cell.fail(made, error.into());
                let mut held = held.take().unwrap_or_else(|| cell.hold_any());
                held.backlog.splice(0..0, kept); // tried again when keys come, and at the next change
            }
        }
        drop(held);
        let Some(slot) = self.slots.get_mut(&name) else { return Taken::All };
        match (last, slot.in_flight.back_mut()) {
            (Some(arrival), _) => {
                slot.in_flight.push_back((arrival, slot.taken));
            }
            // What came to nothing is as durable as what was before it.
            (None, Some((_, number))) => *number = slot.taken.max(*number),
            (None, None) => say_durable(&cell, slot.taken),
        }
        if must_load || slot.loading.is_some() {
            self.add_to_load(context, name);
        }
        Taken::All
    }

    /// Appends local changes up to the first that is refused.
    fn write(&mut self, context: &mut Context<'_>, name: Name, unwritten: Vec<Unwritten>) -> Written {
        let mut written = Written::default();
        let mut rest = unwritten.into_iter();
        while let Some(Unwritten { payload, through }) = rest.next() {
            match context.node.append(context.now, name.0, EntryKind::Change(name.1), &payload) {
                Ok(appended) => {
                    written.last = Some(appended.arrival);
                    written.entries += 1;
                    if let Some(slot) = self.slots.get_mut(&name) {
                        slot.since_snapshot.add(payload.len());
                        slot.taken = through.max(slot.taken);
                    }
                }
                Err(error) => {
                    let kept = std::iter::once(Unwritten { payload, through }).chain(rest);
                    written.refused = Some((error, kept.collect()));
                    break;
                }
            }
        }
        written
    }

    /// Some of what was changed in a document can never be written: it must not stay there either, nor what was made after
    /// it, which is based on it. The document is loaded again without.
    fn abandon(&mut self, context: &mut Context<'_>, name: Name, held: Option<Held<'_>>, error: CommitError) {
        let Some(slot) = self.slots.get_mut(&name) else { return };
        let Some(cell) = slot.cell.clone() else { return };
        let mut held = held.unwrap_or_else(|| cell.hold_any());
        slot.taken = held.abandon(slot.taken, error);
        drop(held);
        self.start_reload(context, name, false);
    }

    /// What waits in a context's documents may be written now.
    pub(super) fn try_again(&mut self, id: ContextId) {
        self.announce_unwritten(|(context, _)| *context == id);
    }

    /// What could not be written is to be looked at again; whoever has such a document locked right now says so when it gives it
    /// back.
    pub(super) fn announce_unwritten(&mut self, of: impl Fn(&Name) -> bool) {
        for (name, slot) in self.slots.iter().filter(|(name, _)| of(name)) {
            if let Some(cell) = slot.cell.as_ref().filter(|cell| cell.has_unwritten()) {
                cell.mark_dirty();
            }
            self.dirty.insert(*name);
        }
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
        Self::own_actor(context, name).is_none_or(|actor| actor == cell.actor())
    }

    /// Whose changes are made in a document now.
    pub(super) fn own_actor(context: &Context<'_>, name: Name) -> Option<ActorSeed> {
        context.node.own_log(&name.0).map(|log| ActorSeed::derive(&log, &name.1))
    }

    pub(super) fn on_durable(&mut self, id: ContextId, arrival: u64) {
        let from = (id, DocumentId::from_bytes([0; 32]));
        for (_, slot) in self.slots.range_mut(from..).take_while(|((context, _), _)| *context == id) {
            let mut reached = None;
            while let Some((at, number)) = slot.in_flight.pop_front_if(|(at, _)| *at <= arrival) {
                reached = Some(number);
                // Not before: entries of others may have come ahead of it and be told behind it.
                slot.through = slot.through.max(at);
            }
            if let (Some(number), Some(cell)) = (reached, &slot.cell) {
                say_durable(cell, number);
            }
        }
    }
}

fn say_durable(cell: &Cell, number: u64) {
    cell.progress.send_modify(|progress| progress.durable = number.max(progress.durable));
}
