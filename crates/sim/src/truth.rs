//! What is so, whatever machines believe: who may have what, what was written, what must never be lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use partita_core::{ContextId, ContextKind, DocumentId, EntryId, Key, LogId, Stamp, Store, Tip};
use partita_crypto::Mnemonic;
use partita_protocol::LogRecord;

use crate::{
    machine::{Machine, MachineId},
    text::Crdt,
};

/// What a context is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An owner's, sealed.
    Owner(usize),
    /// An owner's, which anybody on the way can read.
    Plain(usize),
    Group,
}

impl Kind {
    /// The kind by its name.
    pub(crate) fn context_kind(self) -> Option<ContextKind> {
        let name = match self {
            Self::Owner(_) => partita_single_owner::SEALED_KIND,
            Self::Plain(_) => partita_single_owner::PLAIN_KIND,
            Self::Group => partita_group::GROUP_KIND,
        };
        ContextKind::new(name).ok()
    }
}

#[derive(Debug)]
pub(crate) struct ContextTruth {
    pub(crate) kind: Kind,
    /// Whoever was ever named by its strategy: no byte of it reaches anybody else.
    pub(crate) allowed: BTreeSet<MachineId>,
    /// Who was let in, by whom, when: it counts once it is safe on the disk of the one who did it.
    pub(crate) admitted: Vec<(MachineId, MachineId, Duration)>,
    /// Who was shut out, or went.
    pub(crate) gone: BTreeSet<MachineId>,
    /// Whether anybody ever was or did, also if it is back again, or lost its keys.
    pub(crate) somebody_went: bool,
    /// Who was shut out by others, and where that is written.
    pub(crate) shut_out: Vec<(MachineId, Vec<Tip>)>,
    /// Who was shut out by others or went, and where that is written.
    pub(crate) went: Vec<(MachineId, Vec<Tip>)>,
    /// Who came back, also if it went again since.
    pub(crate) came_back: BTreeSet<MachineId>,
    pub(crate) documents: Vec<(DocumentId, Crdt)>,
    /// Whether a member claimed a checkpoint that does not hold.
    pub(crate) falsified: bool,
    /// Whether somebody was declared dormant.
    pub(crate) does_without: bool,
    /// Who was let in to read what is written from then on, and nothing older.
    pub(crate) late: BTreeMap<MachineId, Late>,
}

/// What somebody may read who was let in from now on.
#[derive(Debug, Default)]
pub(crate) struct Late {
    /// Documents that there were before: it must never show one.
    pub(crate) older: BTreeSet<DocumentId>,
    /// Where its admission is written.
    pub(crate) written: Option<Vec<Tip>>,
    /// Documents that were created by somebody who knew of it.
    pub(crate) readable: BTreeSet<DocumentId>,
}

#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) words: Mnemonic,
    pub(crate) context: ContextId,
    pub(crate) plain: Option<ContextId>,
}

#[derive(Debug, Clone)]
pub(crate) struct Edit {
    pub(crate) context: ContextId,
    pub(crate) document: DocumentId,
    pub(crate) machine: MachineId,
    /// In which life of its author's process it was made.
    pub(crate) life: u64,
    /// Its author was not told that it is durable, so its process may show it while nobody else does: what may not be written
    /// yet stays in the document.
    pub(crate) open: bool,
    /// Where it is, once it is durable.
    pub(crate) place: Option<(LogId, u64)>,
    /// Whether its author's own disk has it for sure.
    pub(crate) kept: bool,
    /// Whether it must be found in the end.
    pub(crate) must: bool,
    /// Every disk that held it was lost: nobody can show it, and what was built on it stays without it.
    pub(crate) lost: bool,
    /// What its author saw in the document: honest work does not vanish under those who built on it.
    pub(crate) seen: BTreeSet<u64>,
    /// Its author had been shut out, and everybody knew: it counts nowhere.
    pub(crate) late: bool,
}

impl Edit {
    /// Whether this life of a machine may show a document otherwise than the others do, since it made this edit in it. With
    /// the process goes what it did not write.
    pub(crate) fn may_show_alone(&self, machine: MachineId, life: u64, document: &DocumentId) -> bool {
        self.open && (self.machine, self.life) == (machine, life) && self.document == *document
    }
}

#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) contexts: BTreeMap<ContextId, ContextTruth>,
    pub(crate) owners: Vec<Owner>,
    pub(crate) edits: Vec<Edit>,
    /// What an entry of each context said last of control and keys, as far as it was seen.
    pub(crate) stamps: BTreeMap<ContextId, Stamp>,
    /// The first entry that was seen at each place.
    entries: BTreeMap<(ContextId, LogId, u64), EntryId>,
}

/// How far a store holds a log, durably.
pub(crate) fn held(store: &Arc<dyn Store>, context: &ContextId, log: &LogId) -> Option<u64> {
    let view = store.read().ok()?;
    let record = view.get(&Key::Log(*context, *log)).ok()??;
    Some(LogRecord::decode(&record).ok()?.seq)
}

impl Truth {
    pub(crate) fn add_context(&mut self, id: ContextId, kind: Kind) {
        self.contexts.entry(id).or_insert_with(|| ContextTruth {
            kind,
            allowed: BTreeSet::new(),
            admitted: Vec::new(),
            gone: BTreeSet::new(),
            somebody_went: false,
            shut_out: Vec::new(),
            went: Vec::new(),
            came_back: BTreeSet::new(),
            documents: Vec::new(),
            falsified: false,
            does_without: false,
            late: BTreeMap::new(),
        });
    }

    /// Whether somebody claimed a checkpoint that does not hold, here or in the other context of the same owner.
    pub(crate) fn is_falsified(&self, id: &ContextId) -> bool {
        self.with_twin(id).any(|known| known.falsified)
    }

    /// Whether somebody was declared dormant, here or in the other context of the same owner.
    pub(crate) fn does_without(&self, id: &ContextId) -> bool {
        self.with_twin(id).any(|known| known.does_without)
    }

    /// A context, and the other one of the same owner.
    fn with_twin(&self, id: &ContextId) -> impl Iterator<Item = &ContextTruth> {
        let owner = self.owners.iter().find(|owner| owner.context == *id || owner.plain == Some(*id));
        let both = [Some(*id), owner.map(|owner| owner.context), owner.and_then(|owner| owner.plain)];
        both.into_iter().flatten().filter_map(|id| self.contexts.get(&id))
    }

    /// Whether a machine need not show a document: it was let in later, and whoever created the document did not know of
    /// it, or somebody went meanwhile, so that admissions may have come to count or not behind others' backs.
    pub(crate) fn may_lack(&self, id: &ContextId, machine: MachineId, document: &DocumentId) -> bool {
        let Some(context) = self.contexts.get(id) else { return false };
        let late = context.late.get(&machine);
        late.is_some_and(|late| !late.readable.contains(document) || !context.gone.is_empty())
    }

    /// Somebody who was let in from now on may read a document: its author knew of it.
    pub(crate) fn note_readable(&mut self, id: &ContextId, late: MachineId, document: DocumentId) {
        if let Some(late) = self.contexts.get_mut(id).and_then(|context| context.late.get_mut(&late)) {
            late.readable.insert(document);
        }
    }

    /// Whether a machine must not show a document: it is older than its membership.
    pub(crate) fn must_lack(&self, machine: MachineId, document: &DocumentId) -> bool {
        let late = self.contexts.values().filter_map(|context| context.late.get(&machine));
        late.into_iter().any(|late| late.older.contains(document))
    }

    pub(crate) fn allow(&mut self, id: &ContextId, machine: MachineId) {
        if let Some(context) = self.contexts.get_mut(id) {
            context.allowed.insert(machine);
        }
    }

    pub(crate) fn admit(&mut self, id: &ContextId, newcomer: MachineId, by: MachineId, now: Duration) {
        if let Some(context) = self.contexts.get_mut(id) {
            context.admitted.push((newcomer, by, now));
        }
    }

    /// Who must be in: let in from the beginning, or by somebody who must be, and neither shut out nor gone.
    pub(crate) fn must_be_in(&self, id: &ContextId) -> BTreeSet<MachineId> {
        let Some(context) = self.contexts.get(id) else { return BTreeSet::new() };
        let mut found = BTreeSet::new();
        loop {
            let before = found.len();
            for (newcomer, by, at) in &context.admitted {
                if !context.gone.contains(newcomer) && (at.is_zero() || found.contains(by)) {
                    found.insert(*newcomer);
                }
            }
            if found.len() == before {
                return found;
            }
        }
    }

    /// Somebody is shut out, or goes: what becomes of its edits depends on who knew what.
    pub(crate) fn gone(&mut self, id: &ContextId, machine: MachineId) {
        let owner = self.owners.iter().find(|owner| owner.context == *id);
        // Whom an owner shuts out is shut out of both contexts.
        let both = [Some(*id), owner.and_then(|owner| owner.plain)];
        for id in both.into_iter().flatten() {
            if let Some(context) = self.contexts.get_mut(&id) {
                context.gone.insert(machine);
                context.somebody_went = true;
            }
        }
    }

    /// A device has its keys of a time before it was let in: the others count it as one of them, and it knows of nothing.
    pub(crate) fn lost_keys(&mut self, id: &ContextId, machine: MachineId) {
        if let Some(context) = self.contexts.get_mut(id) {
            context.admitted.retain(|(newcomer, ..)| *newcomer != machine);
            context.somebody_went = true;
        }
    }

    /// Somebody is let in again who was shut out. What it wrote before counts as far as it did, and nobody here keeps
    /// account of how far that was.
    pub(crate) fn back_again(&mut self, id: &ContextId, machine: MachineId) {
        if let Some(context) = self.contexts.get_mut(id) {
            context.gone.remove(&machine);
            context.came_back.insert(machine);
            context.shut_out.retain(|(gone, _)| *gone != machine);
            context.admitted.retain(|(newcomer, ..)| *newcomer != machine);
            context.late.remove(&machine); // whoever comes by an invitation may read everything
        }
        for edit in self.edits.iter_mut().filter(|edit| edit.context == *id && edit.machine == machine) {
            (edit.must, edit.late) = (false, false);
        }
    }

    pub(crate) fn add_document(&mut self, context: ContextId, id: DocumentId, crdt: Crdt) -> usize {
        let Some(context) = self.contexts.get_mut(&context) else { return 0 };
        context.documents.push((id, crdt));
        context.documents.len()
    }

    pub(crate) fn begin_edit(
        &mut self,
        context: ContextId,
        document: DocumentId,
        (machine, life): (MachineId, u64),
        seen: BTreeSet<u64>,
        late: bool,
    ) -> u64 {
        self.edits.push(Edit {
            context,
            document,
            machine,
            life,
            open: true,
            place: None,
            kept: false,
            must: false,
            lost: false,
            seen,
            late,
        });
        self.edits.len() as u64 - 1
    }

    /// An entry was seen at this place; an error when it is not the one that was seen there before.
    pub(crate) fn see_entry(&mut self, place: (ContextId, LogId, u64), id: EntryId) -> Result<(), EntryId> {
        let known = *self.entries.entry(place).or_insert(id);
        if known == id { Ok(()) } else { Err(known) }
    }

    /// A process ended: what it decided since then may not have been durable.
    pub(crate) fn forget_decisions(&mut self, machine: MachineId, since: Duration) {
        for context in self.contexts.values_mut() {
            context.admitted.retain(|(_, by, at)| *by != machine || *at < since || at.is_zero());
        }
    }

    /// A machine's disk is another now, or it will never come back: what must be found is what others hold durably, or what
    /// it holds still.
    pub(crate) fn lost_disk(&mut self, machine: MachineId, machines: &[Machine]) -> usize {
        let mut given_up = 0;
        self.forget_decisions(machine, Duration::ZERO);
        for edit in &mut self.edits {
            let Some((log, seq)) = edit.place else { continue };
            if edit.machine == machine {
                edit.kept = false;
            }
            if !edit.must || edit.kept {
                continue;
            }
            let holds = |machine: &Machine| {
                let store = machine.running.as_ref().map(|running| running.store());
                !machine.lies
                    && store.and_then(|store| held(store, &edit.context, &log)).is_some_and(|held| held >= seq)
            };
            edit.must = machines.iter().enumerate().any(|(at, other)| at != machine && holds(other));
            edit.lost = !edit.must;
            given_up += usize::from(edit.lost);
        }
        given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crash with an edit in flight once excused a machine from showing what the others show, for ever.
    #[test]
    fn only_the_life_that_waits_for_an_edit_may_show_a_document_alone() {
        let (context, document) = (ContextId::default(), DocumentId::from_bytes([1; 32]));
        let mut truth = Truth::default();
        truth.begin_edit(context, document, (3, 7), BTreeSet::new(), false);
        let edit = &mut truth.edits[0];
        assert!(edit.may_show_alone(3, 7, &document));
        assert!(!edit.may_show_alone(3, 9, &document), "its process ended, and what it had not written with it");
        assert!(!edit.may_show_alone(4, 7, &document));
        assert!(!edit.may_show_alone(3, 7, &DocumentId::from_bytes([2; 32])));
        edit.open = false;
        assert!(!edit.may_show_alone(3, 7, &document), "it is written: everybody shows it");
    }

    #[test]
    fn who_lost_the_keys_need_not_be_in() {
        let context = ContextId::default();
        let mut truth = Truth::default();
        truth.add_context(context, Kind::Group);
        truth.admit(&context, 1, 1, Duration::ZERO);
        truth.admit(&context, 2, 1, Duration::from_secs(9));
        assert_eq!(truth.must_be_in(&context), [1, 2].into());
        truth.lost_keys(&context, 2);
        assert_eq!(truth.must_be_in(&context), [1].into());
        assert!(truth.contexts[&context].somebody_went);
    }
}
