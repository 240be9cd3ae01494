//! Documents: created, edited, spoiled.

use partita_core::{ContextId, DocumentId, LogId};

use super::Much;
use crate::{
    machine::{Answer, MachineId},
    text::{Crdt, contradiction},
    world::World,
};

impl World {
    pub(crate) fn people_edit(&mut self, machine: MachineId, context: ContextId) {
        self.people_write(machine, context, Much::AsDrawn);
    }

    pub(crate) fn people_create(&mut self, machine: MachineId, context: ContextId) {
        if self.machines[machine].contexts.contains_key(&context) {
            self.create(machine, context);
            self.settle(machine);
        }
    }

    /// So much that it travels in many pieces.
    pub(crate) fn people_write_much(&mut self, machine: MachineId, context: ContextId) {
        self.people_write(machine, context, Much::InPieces);
    }

    fn people_write(&mut self, machine: MachineId, context: ContextId, much: Much) {
        if self.machines[machine].contexts.contains_key(&context) {
            self.edit(machine, context, much);
            self.settle(machine);
        }
    }

    pub(super) fn create(&mut self, machine: MachineId, context: ContextId) {
        let crdt = if self.people.dice.chance(500) { Crdt::Automerge } else { Crdt::Yrs };
        let late = self.truth.contexts.get(&context).into_iter().flat_map(|known| &known.late);
        let written = late.filter_map(|(late, about)| Some((*late, about.written.as_ref()?)));
        let known =
            written.filter(|(_, places)| self.holds_all(machine, context, places)).map(|(late, _)| late).collect();
        self.machines[machine].create_document(context, crdt, known);
    }

    pub(super) fn edit(&mut self, machine: MachineId, context: ContextId, much: Much) {
        let documents = self.truth.contexts.get(&context).map(|known| known.documents.clone()).unwrap_or_default();
        let Some((document, crdt)) = self.people.dice.pick(&documents) else {
            return self.create(machine, context);
        };
        let Some(text) = self.machines[machine].documents.get(&document).cloned() else {
            self.machines[machine].ask_document(context, document, crdt);
            return;
        };
        if !text.is_settled() {
            return;
        }
        let seen = text.marks().unwrap_or_default();
        let late = self.all_know_of(context, machine);
        let author = (machine, self.machines[machine].life);
        let edit = self.truth.begin_edit(context, document, author, seen, late);
        let letters = match much {
            Much::InPieces => self.people.dice.range(8_000, 16_000),
            Much::AsDrawn if self.people.dice.chance(self.mix.long_edits) => self.people.dice.range(200, 6_000),
            Much::AsDrawn => self.people.dice.range(0, 20),
        };
        match text.edit(edit, &mut self.people.dice, letters) {
            Ok(commit) => {
                let name = self.name(machine);
                self.note(format!("{name} makes edit {edit} in {document:?}"));
                let task = async move { Answer::Durable(edit, commit.durable().await.is_ok()) };
                self.machines[machine].tasks.push(Box::pin(task));
            }
            Err(error) => {
                let name = self.name(machine);
                self.note(format!("{name} cannot edit {document:?}: {error}"));
                self.truth.edits[edit as usize].open = false;
                self.machines[machine].documents.remove(&document);
            }
        }
    }

    /// Somebody was told that an edit is safe.
    pub(crate) fn edit_is_durable(&mut self, machine: MachineId, edit: u64, durable: bool) {
        if !durable {
            return self.note(format!("edit {edit} came to nothing"));
        }
        let known = &mut self.truth.edits[edit as usize];
        known.open = false;
        let context = known.context;
        let Some(running) = &self.machines[machine].running else { return };
        let node = running.node();
        let Some(log) = node.own_log(&context) else { return };
        let tip = node.logs_of(&context, &node.replica()).into_iter().find(|tip| tip.log == log);
        // Its place is at most the end of the log by now; what is not in the log by now went another way.
        let Some(tip) = tip else { return };
        let known = &mut self.truth.edits[edit as usize];
        known.place = Some((log, tip.seq));
        known.kept = true;
        known.must = true;
        self.trace.step(self.now, &edit.to_le_bytes(), || format!("edit {edit} is durable"));
    }

    /// A member's program is broken, or hostile: it writes what is no payload, in a document of others or in one that nobody
    /// ever created. Or it runs twice, and what the second one writes contradicts what the first one wrote.
    pub(crate) fn write_garbage(&mut self, machine: MachineId) -> Option<()> {
        let contexts: Vec<_> = self.machines[machine].contexts.keys().copied().collect();
        let context = self.people.dice.pick(&contexts)?;
        let documents = self.truth.contexts.get(&context)?.documents.clone();
        let (document, crdt) = self.people.dice.pick(&documents)?;
        let len = self.people.dice.range(1, 60);
        let bytes: Vec<u8> = (0..len).map(|_| self.people.dice.below(256) as u8).collect();
        let name = self.name(machine);
        let running = self.machines[machine].running.as_ref()?;
        let log = running.node().own_log(&context);
        let wrote = |log: &LogId| {
            let mut edits = self.truth.edits.iter().filter(|edit| edit.document == document);
            edits.any(|edit| edit.place.is_some_and(|(place, _)| place == *log))
        };
        let twice = log.filter(|log| bytes[0] < 128 && wrote(log));
        match twice.and_then(|log| contradiction(crdt, &log, &document)) {
            Some(payload) => {
                running.write_raw(context, document, payload);
                self.note(format!("{name} contradicts itself in {document:?}"));
            }
            None => {
                let nobodys = DocumentId::from_bytes(*blake3::hash(&bytes).as_bytes());
                let document = if bytes[0] < 160 { document } else { nobodys };
                running.write_raw(context, document, bytes);
                self.note(format!("{name} writes garbage into {document:?}"));
            }
        }
        self.settle(machine);
        Some(())
    }
}
