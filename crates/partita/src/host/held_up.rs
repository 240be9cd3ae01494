//! Documents that are held up by what was cut off.
//!
//! What this replica wrote on top of something that is cut off afterwards waits for that, in everybody's document; and so would all
//! that it wrote after it as the same actor. Actors are derived from logs: it writes on in another log, as after an open. What waits
//! is kept, and shows should what it builds on count again.

use std::{collections::BTreeSet, sync::Arc};

use partita_core::{ActorSeed, ContextId};

use super::{Context, EngineHost, Name};
use crate::cell::Cell;

/// Whether another log was begun.
enum Begun {
    Yes,
    /// Somebody has one of the context's documents right now, or changed it: whoever does says so.
    Soon,
    /// Something is to be written first that cannot be written now.
    Later,
    /// It would help nobody: nothing is written in the present one, or the store failed.
    No,
}

impl EngineHost {
    /// A document was not shown to anybody, since it could not be changed.
    pub(super) fn on_held_up(&mut self, context: &mut Context<'_>, cell: &Arc<Cell>, number: u64) {
        if !cell.awaits(number) {
            return; // it is loaded anew
        }
        self.held_up.insert((cell.context, cell.id));
        // What was changed in the context so far was made for the present log.
        self.announce_unwritten(|(of, _)| *of == cell.context);
        self.take_all(context);
    }

    /// Lets documents be changed again. Until that can be they are shown all the same, after a moment.
    pub(super) fn release_held_up(&mut self, context: &mut Context<'_>) {
        let Self { held_up, slots, .. } = self;
        held_up.retain(|name| slots.contains_key(name));
        let contexts: BTreeSet<ContextId> = held_up.iter().map(|(id, _)| *id).collect();
        for id in contexts {
            match self.begin_log(context, id) {
                Begun::Yes => {
                    self.held_up.retain(|(of, _)| *of != id);
                    self.on_new_log(context, id);
                }
                Begun::Soon => {}
                Begun::Later => self.show_held_up(context, id),
                Begun::No => {
                    self.show_held_up(context, id);
                    self.held_up.retain(|(of, _)| *of != id);
                }
            }
        }
    }

    /// Begins another log once every change of the context is in the present one. All its documents are locked meanwhile, and are
    /// loaded again for the new one: nobody makes a change in between that would be no log's.
    fn begin_log(&self, context: &mut Context<'_>, id: ContextId) -> Begun {
        let slots = self.slots.iter().filter(|((of, _), _)| *of == id);
        let cells: Vec<Arc<Cell>> = slots.filter_map(|(_, slot)| slot.cell.clone()).collect();
        let mut all = Vec::with_capacity(cells.len());
        for cell in &cells {
            let held = cell.try_hold().or_else(|| {
                cell.mark_dirty(); // whoever has it says so when it is given back, or has given it back just now
                cell.try_hold()
            });
            match held {
                Some(held) if !held.backlog.is_empty() => return Begun::Later,
                Some(held) if !held.has_unwritten() => all.push(held),
                _ => return Begun::Soon,
            }
        }
        let Some(log) = context.node.begin_log(&id) else { return Begun::No };
        for (cell, held) in cells.iter().zip(&mut all) {
            // What is being made of it is another actor's.
            cell.await_no_load();
            held.take_out();
            cell.set_actor(ActorSeed::derive(&log, &cell.id));
            cell.show_held_up(false);
        }
        Begun::Yes
    }

    fn show_held_up(&mut self, context: &mut Context<'_>, id: ContextId) {
        let names: Vec<Name> = self.held_up.iter().filter(|(of, _)| *of == id).copied().collect();
        for name in names {
            let cell = self.slots.get(&name).and_then(|slot| slot.cell.as_ref());
            if cell.is_some_and(|cell| cell.show_held_up(true)) {
                self.start_reload(context, name, false);
            }
        }
    }
}
