//! What people do: write, create, let in, shut out, go, come back.

mod closing;
mod deciding;
mod founding;
mod writing;

use partita_core::{ContextId, Tip};

use crate::{
    dice::Dice,
    machine::{Answer, MachineId},
    truth::held,
    world::{Happening, World},
};

/// How much somebody writes.
#[derive(Debug, Clone, Copy)]
enum Much {
    AsDrawn,
    /// Many pieces, in a world where this trouble can happen.
    InPieces,
}

#[derive(Debug)]
pub(crate) struct People {
    dice: Dice,
    over: bool,
}

impl People {
    pub(crate) fn new(dice: Dice) -> Self {
        Self { dice, over: false }
    }

    pub(crate) fn stop(&mut self) {
        self.over = true;
    }
}

impl World {
    pub(crate) fn act(&mut self) {
        if self.people.over {
            return;
        }
        let after = self.people.dice.about(self.mix.think);
        self.plan(after, Happening::Act);
        let devices = self.machines.iter().enumerate().filter(|(_, machine)| {
            !machine.is_relay && machine.is_up() && !machine.retired && !machine.contexts.is_empty()
        });
        let devices: Vec<_> = devices.map(|(at, _)| at).collect();
        let Some(machine) = self.people.dice.pick(&devices) else { return };
        let contexts: Vec<_> = self.machines[machine].contexts.keys().copied().collect();
        let Some(context) = self.people.dice.pick(&contexts) else { return };
        // Where nobody ever does it, nothing is drawn for it.
        if self.mix.closings > 0 && self.people.dice.chance(self.mix.closings) {
            self.close_for_a_while(machine, context);
        } else if self.machines[machine].copy_of.is_none() && self.people.dice.chance(self.mix.membership) {
            self.decide(machine, context);
        } else if self.people.dice.chance(self.mix.readers) {
            self.read(machine, context);
        } else if self.people.dice.chance(self.mix.checkpoints) {
            self.machines[machine].make_checkpoint(context);
        } else if self.people.dice.chance(120) {
            self.create(machine, context);
        } else {
            let burst = if self.people.dice.chance(100) { self.people.dice.range(2, 30) } else { 1 };
            for _ in 0..burst {
                self.edit(machine, context, Much::AsDrawn);
            }
        }
        self.settle(machine);
    }

    pub(crate) fn people_prune(&mut self, machine: MachineId, context: ContextId) {
        self.machines[machine].make_checkpoint(context);
        self.settle(machine);
    }

    pub(crate) fn people_read(&mut self, machine: MachineId, context: ContextId) {
        self.read(machine, context);
        self.settle(machine);
    }

    /// Whether a machine holds what was written at these places, for sure.
    pub(crate) fn holds_all(&self, machine: MachineId, context: ContextId, places: &[Tip]) -> bool {
        let Some(running) = &self.machines[machine].running else { return false };
        places.iter().all(|tip| held(running.store(), &context, &tip.log).is_some_and(|held| held >= tip.seq))
    }

    /// Somebody opens everything there is, and leaves it open.
    fn read(&mut self, machine: MachineId, context: ContextId) {
        let documents = self.truth.contexts.get(&context).map(|known| known.documents.clone()).unwrap_or_default();
        for (document, crdt) in documents {
            self.machines[machine].ask_document(context, document, crdt);
        }
    }

    /// The application opens its engine anew, with what is in the keystore now.
    pub(crate) fn reopen(&mut self, machine: MachineId) {
        self.machines[machine].reopen = true;
        if self.machines[machine].is_up() {
            self.close(machine);
        } else if self.machines[machine].life == 0 {
            self.start(machine);
        }
    }

    pub(crate) fn close(&mut self, machine: MachineId) {
        let Some(engine) = self.machines[machine].running.as_ref().and_then(|running| running.engine()).cloned() else {
            return;
        };
        let name = self.name(machine);
        self.note(format!("{name} is being closed"));
        self.machines[machine].tasks.push(Box::pin(async move {
            let _ = engine.close().await;
            Answer::Closed
        }));
        self.settle(machine);
    }
}
