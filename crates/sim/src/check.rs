//! The end: everything is well again, nobody edits any more, and everybody who may must come to the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    time::Duration,
};

use partita::DocumentError;
use partita_core::{ContextId, Digest, DocumentId, Entry, EntryKind, Key};
use partita_group::Group;
use partita_multi_context::MultiContext;
use partita_protocol::{SessionStatus, reads};

use crate::{
    machine::{Answer, MachineId, Told},
    text::{NOBODYS, Text},
    truth::Kind,
    world::World,
};

/// How long it may take, after the last trouble, until everybody has the same. The longest pause between two dials is
/// half a minute, and an end that is gone is noticed after three quarters of a minute.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often it is looked in between.
const LOOK: Duration = Duration::from_secs(6);

impl World {
    /// Lets the busy time pass, then waits until everybody has the same, and looks whether that stays.
    pub(crate) fn live(&mut self) {
        self.be_busy();
        self.come_to_rest();
        self.look_at_disks();
    }

    /// Lets people and troubles have their time.
    pub(crate) fn be_busy(&mut self) {
        let end = self.now + self.mix.busy;
        self.run_until(end);
        self.people.stop();
    }

    /// Ends all troubles, and waits until everybody has the same.
    pub(crate) fn come_to_rest(&mut self) {
        if self.violation.is_some() {
            return;
        }
        self.heal();
        self.let_in_newcomers();
        let (healed, latest) = (self.now, self.now + PATIENCE);
        loop {
            let next = self.now + LOOK;
            self.run_until(next);
            if self.violation.is_some() {
                return;
            }
            match self.disagreement() {
                None => break,
                Some(why) if self.now >= latest => {
                    self.explain();
                    self.explain_set_aside();
                    return self.violate(format!("{PATIENCE:?} after the last trouble: {why}"));
                }
                Some(_) => {}
            }
            if self.violation.is_some() {
                return;
            }
        }
        self.cost.settled_after = (self.now - healed).as_secs();
        self.note("everybody has the same");
    }

    /// What every session says of itself, for whoever reads the failure.
    fn explain(&mut self) {
        for machine in 0..self.machines.len() {
            let Some(running) = &self.machines[machine].running else { continue };
            let name = self.name(machine);
            let waiting = running.node().context_status().into_iter().filter(|context| !context.claims.is_empty());
            let waiting: Vec<String> = waiting
                .map(|context| {
                    format!("{name} has pruned {} of {:?}: {:?}", context.pruned, context.info.id, context.claims)
                })
                .collect();
            for session in running.node().session_status() {
                let other = self.machines.iter().find(|other| other.replica == session.peer.replica);
                let other = other.map_or("somebody", |other| &other.name);
                let line = format!(
                    "{name} with {other} in {:?}: live {}, access {:?}, pending {}, sent {}, acknowledged {}, paused {:?}, refused {:?}",
                    session.context,
                    session.live,
                    session.access,
                    session.pending,
                    session.sent,
                    session.acknowledged,
                    session.paused,
                    session.refused
                );
                self.note(line);
            }
            waiting.into_iter().for_each(|line| self.note(line));
        }
    }

    /// What every device has set aside, and why.
    fn explain_set_aside(&mut self) {
        for context in self.truth.contexts.keys().copied().collect::<Vec<_>>() {
            let who: Vec<_> = (0..self.machines.len()).filter(|at| !self.machines[*at].is_relay).collect();
            let answers = self.ask(&who, |world, machine, number| {
                let context = world.machines[machine].contexts.get(&context)?.clone();
                Some(Box::pin(async move {
                    let told = context.set_aside().await.map_err(|error| error.to_string());
                    Answer::Told(
                        number,
                        told.map(|all| Told::SetAside(all.iter().map(|one| format!("{one:?}")).collect())),
                    )
                }))
            });
            for (machine, told) in answers {
                if let Ok(Told::SetAside(all)) = told {
                    let name = self.name(machine);
                    for one in all {
                        self.note(format!("{name} has set aside in {context:?}: {one}"));
                    }
                }
            }
        }
    }

    /// Asks every device the same and waits a little for the answers.
    fn ask(
        &mut self,
        who: &[MachineId],
        mut question: impl FnMut(&mut Self, MachineId, u64) -> Option<crate::machine::Task>,
    ) -> BTreeMap<MachineId, Result<Told, String>> {
        let mut numbers = BTreeMap::new();
        for machine in who {
            let number = self.new_number();
            if let Some(task) = question(self, *machine, number) {
                self.machines[*machine].tasks.push(task);
                numbers.insert(*machine, number);
                self.settle(*machine);
            }
        }
        let end = self.now + Duration::from_secs(1);
        self.run_until(end);
        numbers.into_iter().filter_map(|(at, number)| Some((at, self.told.remove(&number)?))).collect()
    }

    /// What is not the same everywhere, if anything.
    fn disagreement(&mut self) -> Option<String> {
        let contexts: Vec<_> = self.truth.contexts.keys().copied().collect();
        self.look_at_relays();
        for context in contexts {
            if let Some(why) = self.disagreement_in(context) {
                return Some(why);
            }
            if self.violation.is_some() {
                return None;
            }
        }
        self.unanswered()
    }

    /// Whoever was asked something answers sooner or later. That something may not be done, or not yet, is an answer.
    fn unanswered(&mut self) -> Option<String> {
        for machine in 0..self.machines.len() {
            if !self.machines[machine].tasks.is_empty() {
                self.settle(machine); // there may be an answer that nobody heard yet
            }
            let here = &self.machines[machine];
            if here.is_up() && !here.retired && !here.tasks.is_empty() {
                return Some(format!("{} leaves {} things unanswered that it was asked", here.name, here.tasks.len()));
            }
        }
        None
    }

    fn disagreement_in(&mut self, context: ContextId) -> Option<String> {
        let must = self.truth.must_be_in(&context);
        let (kind, candidates) = {
            let known = &self.truth.contexts[&context];
            // Who was shut out, or let in by somebody who was, is not told what became of it.
            let here = known.allowed.difference(&known.gone).copied().filter(|at| !self.machines[*at].retired);
            (known.kind, here.filter(|at| must.contains(at) || self.is_live(*at, context)).collect::<Vec<_>>())
        };
        for machine in &candidates {
            if !self.machines[*machine].is_up() {
                return Some(format!("{} does not run", self.machines[*machine].name));
            }
        }
        let inside = match kind {
            Kind::Group => self.insiders(context, &candidates),
            Kind::Owner(_) | Kind::Plain(_) => Ok(candidates.clone()),
        };
        let inside: Vec<MachineId> = match inside {
            Ok(inside) => inside,
            Err(why) => return Some(why),
        };
        let missing = must.iter().find(|at| candidates.contains(at) && !inside.contains(at));
        if let Some(missing) = missing {
            return Some(format!("{} was let in to {context:?}, and is not in", self.machines[*missing].name));
        }
        self.inside.insert(context, inside.clone());
        if let Some(why) = self.different_logs(context, &inside) {
            return Some(why);
        }
        self.different_documents(context, &inside)
    }

    /// Looks whom relays let read what.
    fn look_at_relays(&mut self) {
        let relays = self.machines.iter().filter(|relay| relay.is_relay && !relay.retired);
        let sessions = relays.filter_map(|relay| relay.running.as_ref()).flat_map(|at| at.node().session_status());
        let reads = |session: &SessionStatus| session.live && session.access.is_some_and(|access| access.reads());
        self.live = sessions.filter(reads).map(|session| (session.context, session.peer.replica)).collect();
    }

    /// Whether a relay lets a machine read a context.
    fn is_live(&self, machine: MachineId, context: ContextId) -> bool {
        self.live.contains(&(context, self.machines[machine].replica))
    }

    /// Who is in a group, if all who believe that they are agree.
    fn insiders(&mut self, context: ContextId, candidates: &[MachineId]) -> Result<Vec<MachineId>, String> {
        let answers = self.ask(candidates, |world, machine, number| {
            let engine = world.machines[machine].running.as_ref()?.engine()?.clone();
            Some(Box::pin(async move {
                let asked = engine.with_strategy::<MultiContext, _>(move |all, turn| {
                    all.with_strategy_of::<Group, _>(&context, turn, |group, _| {
                        let members: Vec<_> = group.members().iter().map(|member| format!("{member:?}")).collect();
                        Told::Members(group.role().is_some_and(|role| role.reads()), members.join("\n"))
                    })
                });
                Answer::Told(
                    number,
                    match asked.await {
                        Ok(Ok(told)) => Ok(told),
                        Ok(Err(error)) => Err(error.to_string()),
                        Err(error) => Err(error.to_string()),
                    },
                )
            }))
        });
        let mut inside = Vec::new();
        let mut view: Option<(MachineId, String)> = None;
        for machine in candidates {
            let name = self.machines[*machine].name.clone();
            match answers.get(machine) {
                Some(Ok(Told::Members(is_in, members))) => {
                    if !is_in {
                        continue;
                    }
                    inside.push(*machine);
                    match &view {
                        None => view = Some((*machine, members.clone())),
                        Some((other, known)) if known != members => {
                            let other = self.machines[*other].name.clone();
                            return Err(format!(
                                "{name} and {other} do not agree who is in {context:?}:\n{members}\n---\n{known}"
                            ));
                        }
                        Some(_) => {}
                    }
                }
                other => return Err(format!("{name} does not say who is in {context:?}: {other:?}")),
            }
        }
        Ok(inside)
    }

    /// Everybody holds every log equally far.
    fn different_logs(&mut self, context: ContextId, inside: &[MachineId]) -> Option<String> {
        let authors: Vec<_> =
            self.machines.iter().map(|machine| machine.replica).collect::<BTreeSet<_>>().into_iter().collect();
        let relays = self.machines.iter().enumerate().filter(|(_, machine)| machine.is_relay && !machine.retired);
        let relays: Vec<_> = relays.map(|(at, _)| at).collect();
        let allowed = &self.truth.contexts[&context].allowed;
        let members: BTreeSet<_> = allowed.iter().map(|at| self.machines[*at].replica).collect();
        let strangers: Vec<_> = authors.iter().filter(|author| !members.contains(*author)).copied().collect();
        let mut first: Option<(MachineId, Vec<_>)> = None;
        let everybody: Vec<_> =
            if inside.is_empty() { Vec::new() } else { inside.iter().chain(&relays).copied().collect() };
        for machine in everybody {
            let here = &self.machines[machine];
            let Some(running) = &here.running else { return Some(format!("{} does not run", here.name)) };
            for stranger in &strangers {
                if !running.node().logs_of(&context, stranger).is_empty() {
                    return Some(format!("{} holds entries of {stranger:?}, who never was in {context:?}", here.name));
                }
            }
            let mut held: Vec<_> = authors.iter().flat_map(|author| running.node().logs_of(&context, author)).collect();
            held.sort_unstable();
            match &first {
                None => first = Some((machine, held)),
                Some((other, known)) if *known != held => {
                    let other = &self.machines[*other].name;
                    let only: Vec<_> = held.iter().filter(|tip| !known.contains(tip)).collect();
                    let missing: Vec<_> = known.iter().filter(|tip| !held.contains(tip)).collect();
                    return Some(format!(
                        "{} and {other} do not hold the same of {context:?}: only the first {only:?}, only the second {missing:?}",
                        here.name
                    ));
                }
                Some(_) => {}
            }
        }
        None
    }

    /// Everybody shows the same, and all that must be there.
    fn different_documents(&mut self, context: ContextId, inside: &[MachineId]) -> Option<String> {
        let documents = self.truth.contexts[&context].documents.clone();
        for machine in inside {
            for (document, crdt) in &documents {
                self.machines[*machine].ask_document(context, *document, *crdt);
            }
            self.settle(*machine);
        }
        let end = self.now + Duration::from_secs(1);
        self.run_until(end);
        let mut shown: BTreeMap<DocumentId, (MachineId, Option<Digest>)> = BTreeMap::new();
        for machine in inside {
            let name = self.machines[*machine].name.clone();
            for (document, _) in &documents {
                // Whoever may not write yet sees what it would have written.
                let life = self.machines[*machine].life;
                if self.truth.edits.iter().any(|edit| edit.may_show_alone(*machine, life, document)) {
                    continue;
                }
                let text = self.machines[*machine].documents.get(document);
                let digest = match text {
                    Some(text) if text.is_settled() => text.digest().ok(),
                    Some(_) => return Some(format!("{name} does not come to an end loading {document:?}")),
                    None => None,
                };
                if digest.is_none() {
                    // What created it may have been cut off, and may count again: the next look asks anew.
                    self.machines[*machine].documents.remove(document);
                }
                if self.truth.may_lack(&context, *machine, document) {
                    continue;
                }
                if digest.is_none()
                    && let Some(why) = self.should_load(*machine, context, document)
                {
                    return Some(why);
                }
                match shown.get(document) {
                    None => {
                        shown.insert(*document, (*machine, digest));
                    }
                    Some((other, known)) if *known != digest => {
                        let marks = |at: MachineId| {
                            let text = self.machines[at].documents.get(document);
                            text.and_then(|text| text.marks().ok()).unwrap_or_default()
                        };
                        let (here, there) = (marks(*machine), marks(*other));
                        let other = &self.machines[*other].name;
                        return Some(format!(
                            "{name} and {other} do not show the same of {document:?}: only {name} edits {:?}, only {other} {:?}",
                            here.difference(&there).collect::<Vec<_>>(),
                            there.difference(&here).collect::<Vec<_>>()
                        ));
                    }
                    Some(_) => {}
                }
            }
        }
        self.missing_edits(context, inside)
    }

    /// Says so if a machine has a document in its list and all that it takes to load it, and does not: that nobody can load it
    /// is no agreement.
    fn should_load(&self, machine: MachineId, context: ContextId, document: &DocumentId) -> Option<String> {
        let here = &self.machines[machine];
        let view = here.running.as_ref()?.store().read().ok()?;
        let listed = view.get(&Key::Document(context, *document)).ok()??;
        let error = here.unloadable.get(document);
        if self.truth.contexts[&context].somebody_went {
            // Whoever went may have been the only one to have the key.
            if matches!(error, Some(DocumentError::NoKey(_) | DocumentError::Withheld(_))) {
                return None;
            }
            // And what created the document may not count, while others' changes stand in a checkpoint until it does.
            let arrival = listed.first_chunk::<8>().map_or(0, |arrival| u64::from_be_bytes(*arrival));
            let mut created = false;
            let look = |_: u64, entry: Entry| {
                created = entry.header.kind == EntryKind::Create(*document);
                ControlFlow::Break(())
            };
            reads::arrivals(&*view, &context, arrival.saturating_sub(1), look).ok()?;
            if !created {
                return None;
            }
        }
        let why = error.map_or("it does not say why".into(), ToString::to_string);
        Some(format!("{} has {document:?} in its list, and cannot load it: {why}", here.name))
    }

    /// Whether a machine holds what says that another was shut out: whoever else knew it may be gone.
    fn knows_of_removal(&self, machine: MachineId, context: ContextId, gone: MachineId) -> bool {
        let shut_out = &self.truth.contexts[&context].shut_out;
        let places = shut_out.iter().filter(|(at, _)| *at == gone).map(|(_, places)| places);
        places.into_iter().any(|places| self.holds_all(machine, context, places))
    }

    /// A document that a machine has open, once it is loaded.
    fn shown(&self, machine: MachineId, document: &DocumentId) -> Option<&Text> {
        self.machines[machine].documents.get(document).filter(|text| text.is_settled())
    }

    /// What was reported durable, by somebody who is still in, is there.
    fn missing_edits(&mut self, context: ContextId, inside: &[MachineId]) -> Option<String> {
        for machine in inside {
            let mut marks: BTreeMap<DocumentId, BTreeSet<u64>> = BTreeMap::new();
            for (number, edit) in self.truth.edits.iter().enumerate() {
                let author = self.machines[edit.machine].copy_of.unwrap_or(edit.machine);
                if edit.context != context {
                    continue;
                }
                let text = self.shown(*machine, &edit.document);
                if text.is_some_and(|text| text.marks().unwrap_or_default().contains(&NOBODYS)) {
                    let name = &self.machines[*machine].name;
                    return Some(format!("{name} shows in {:?} what nobody wrote", edit.document));
                }
                if edit.late
                    && !self.is_live(edit.machine, context)
                    && self.knows_of_removal(*machine, context, edit.machine)
                {
                    let text = self.shown(*machine, &edit.document);
                    if text.is_some_and(|text| text.marks().unwrap_or_default().contains(&(number as u64))) {
                        let (name, author) = (&self.machines[*machine].name, &self.machines[edit.machine].name);
                        return Some(format!("{name} shows edit {number} of {author}, who had been shut out"));
                    }
                }
                if !edit.must || !inside.contains(&author) || self.truth.may_lack(&context, *machine, &edit.document) {
                    continue;
                }
                // What a copy built on, it would have to vouch for, and it is gone; and so would whoever lost its disk before it
                // heard of a removal.
                let cannot_vouch = author != edit.machine || !edit.kept;
                if cannot_vouch && !self.truth.contexts[&context].gone.is_empty() {
                    continue;
                }
                let name = &self.machines[*machine].name;
                let Some(text) = self.shown(*machine, &edit.document) else {
                    return Some(format!("{name} does not have {:?}, with edit {number} in it", edit.document));
                };
                let found = marks.entry(edit.document).or_insert_with(|| text.marks().unwrap_or_default());
                let is_there = |seen: &u64| found.contains(seen) || self.truth.edits[*seen as usize].lost;
                if let Some(missing) = edit.seen.iter().find(|seen| !is_there(seen)) {
                    let author = &self.machines[edit.machine].name;
                    return Some(format!(
                        "{name} does not show edit {missing}, which {author} had seen in {:?} when it made edit {number}",
                        edit.document
                    ));
                }
                if !found.contains(&(number as u64)) {
                    let author = &self.machines[edit.machine].name;
                    return Some(format!(
                        "{name} does not show edit {number} of {author} in {:?}, which was durable at {:?}",
                        edit.document, edit.place
                    ));
                }
            }
        }
        None
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use partita_core::{Batch, Bytes, Durability, Op};

    use super::*;
    use crate::{Options, Profile, text::Crdt};

    /// A world that ended well, and a context of it with those who are in.
    pub(crate) fn at_rest() -> (World, ContextId, Vec<MachineId>) {
        let mut worlds = (0..40).filter_map(|seed| {
            let mut world = World::new(seed, &Options::new(Profile::Small));
            world.be_busy();
            world.come_to_rest();
            let is_lively = |context: &ContextId| !world.truth.contexts[context].documents.is_empty();
            let mut lively = world.inside.iter().filter(|(context, inside)| !inside.is_empty() && is_lively(context));
            let (context, inside) = lively.next().map(|(context, inside)| (*context, inside.clone()))?;
            world.violation.is_none().then_some((world, context, inside))
        });
        worlds.next().unwrap()
    }

    /// A world without troubles in which nobody does anything by itself, and the sealed context of an owner whose first two
    /// devices, the machines 1 and 2, know each other.
    pub(crate) fn calm() -> (World, ContextId) {
        let mut worlds = (0..200).map(|seed| World::new(seed, &Options::new(Profile::Small)));
        let has_two = |world: &World| world.mix.owners.first().is_some_and(|devices| *devices >= 2);
        let mut world = worlds.find(has_two).unwrap();
        world.faults.over = true;
        world.people.stop();
        wait(&mut world);
        let context = world.truth.owners[0].context;
        (world, context)
    }

    /// Lets half a minute of the world's time pass.
    pub(crate) fn wait(world: &mut World) {
        let end = world.now + Duration::from_secs(30);
        world.run_until(end);
    }

    #[test]
    fn what_is_never_answered_is_noticed() {
        let mut world = World::new(0, &Options::new(Profile::Small));
        world.be_busy();
        for machine in world.machines.iter_mut().filter(|machine| machine.is_up()) {
            machine.tasks.push(Box::pin(std::future::pending::<Answer>()));
        }
        world.come_to_rest();
        let why = world.violation.unwrap().0;
        assert!(why.contains("unanswered"), "{why}");
    }

    #[test]
    fn a_document_that_is_listed_and_loads_nowhere_is_noticed() {
        let (mut world, context, inside) = at_rest();
        let lost = DocumentId::from_bytes([9; 32]);
        for machine in &inside {
            let store = world.machines[*machine].running.as_ref().unwrap().store();
            let record = Op::Put(Key::Document(context, lost), Bytes::copy_from_slice(&1u64.to_be_bytes()));
            store.commit(&Batch { ops: vec![record] }, Durability::Durable).unwrap();
        }
        assert_eq!(world.different_documents(context, &inside), None);
        let known = world.truth.contexts.get_mut(&context).unwrap();
        known.documents.push((lost, Crdt::Yrs));
        known.somebody_went = false;
        let why = world.different_documents(context, &inside).unwrap();
        assert!(why.contains("cannot load"), "{why}");
    }
}
