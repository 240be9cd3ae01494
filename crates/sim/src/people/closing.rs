//! Contexts that are closed while their engine runs on, and opened again.

use std::time::Duration;

use partita_core::{ContextId, ContextInfo};

use crate::{
    machine::{Answer, MachineId},
    world::{Happening, World},
};

impl World {
    /// An application closes a context, and opens it again a little later, whatever waits to be written or loaded.
    pub(super) fn close_for_a_while(&mut self, machine: MachineId, context: ContextId) {
        // What an owner decides is written in both contexts of the owner. Where one is closed, it is told that it failed, and
        // the other one has it.
        let has_twin = self.truth.owners.iter().any(|owner| {
            let is_one = owner.context == context || owner.plain == Some(context);
            is_one && owner.plain.is_some()
        });
        let engine = self.machines[machine].running.as_ref().and_then(|running| running.engine()).cloned();
        let Some(engine) = engine.filter(|_| !has_twin) else { return };
        let name = self.name(machine);
        self.note(format!("{name} closes {context:?}"));
        let here = &mut self.machines[machine];
        here.contexts.remove(&context);
        here.tasks.push(Box::pin(async move {
            let closed = engine.close_context(context).await;
            Answer::ContextClosed(context, closed.map_err(|error| error.to_string()))
        }));
        let life = here.life;
        self.forget_documents(machine, context);
        let after = self.people.dice.about(Duration::from_secs(4));
        self.plan(after, Happening::Open(machine, context, life));
        self.settle(machine);
    }

    /// What was loaded just before has ended too, and what could not be written went with it.
    pub(crate) fn context_is_closed(&mut self, machine: MachineId, context: ContextId) {
        self.forget_documents(machine, context);
        for edit in self.truth.edits.iter_mut().filter(|edit| (edit.context, edit.machine) == (context, machine)) {
            edit.open = false;
        }
    }

    /// The handles of a context that is closed end.
    fn forget_documents(&mut self, machine: MachineId, context: ContextId) {
        let Some(known) = self.truth.contexts.get(&context) else { return };
        let here = &mut self.machines[machine];
        for (document, _) in &known.documents {
            here.documents.remove(document);
            here.unloadable.remove(document);
        }
    }

    pub(crate) fn open_again_in(&mut self, machine: MachineId, context: ContextId) {
        let kind = self.truth.contexts.get(&context).and_then(|known| known.kind.context_kind());
        let engine = self.machines[machine].running.as_ref().and_then(|running| running.engine()).cloned();
        let (Some(kind), Some(engine)) = (kind, engine) else { return };
        let name = self.name(machine);
        self.note(format!("{name} opens {context:?} again"));
        self.machines[machine].tasks.push(Box::pin(async move {
            let opened = engine.open_context(ContextInfo { id: context, kind }).await;
            Answer::Context(context, opened.ok())
        }));
        self.settle(machine);
    }
}

#[cfg(test)]
mod tests {
    use crate::check::tests::{calm, wait};

    #[test]
    fn a_context_that_was_closed_is_opened_again_and_everybody_has_the_same() {
        let (mut world, context) = calm();
        let known = world.truth.owners.iter_mut().find(|owner| owner.context == context);
        known.unwrap().plain = None; // nobody decides anything here
        world.people_create(1, context);
        wait(&mut world);
        world.close_for_a_while(1, context);
        assert!(!world.machines[1].contexts.contains_key(&context));
        assert!(world.machines[1].documents.is_empty());
        world.people_create(2, context);
        wait(&mut world);
        assert!(world.machines[1].contexts.contains_key(&context));
        world.people_create(1, context);
        wait(&mut world);
        assert_eq!(world.truth.contexts[&context].documents.len(), 3);
        world.come_to_rest();
        world.look_at_disks();
        assert!(world.violation.is_none(), "{:?}", world.violation);
    }
}
