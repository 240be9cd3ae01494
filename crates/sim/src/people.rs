//! What people do: write, create, let in, shut out, go, come back.

use std::{sync::Arc, time::Duration};

use partita_core::{ContextId, Tip};
use partita_group::{Group, History, Invitation, Policy, Role, Terms};
use partita_multi_context::MultiContext;
use partita_protocol::Backoff;
use partita_single_owner::SingleOwner;
use partita_testing::MemoryKeystore;

use crate::{
    dice::Dice,
    machine::{Answer, Change, Line, Machine, MachineId},
    text::Crdt,
    truth::{Kind, Late, Owner, held},
    world::{Happening, World},
};

/// How many found a group together at most; the others are let in as soon as it runs.
const MOST_FOUNDERS: usize = 10;
/// More machines than this do not come to be in a small world.
const MOST_MACHINES: usize = 14;

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
    /// Who is there at the beginning.
    pub(crate) fn settle_down(&mut self, seed: u64) {
        let relay = self.new_machine(seed, "relay", true);
        for owner in 0..self.mix.owners.len() {
            let first = self.new_machine(seed, &format!("owner{owner}"), false);
            self.found_owner(first);
            for _ in 1..self.mix.owners[owner] {
                self.enroll(owner, seed);
            }
        }
        for group in 0..self.mix.groups.len() {
            // Owners' devices may be in groups too.
            let first = match self.machines.len() > 1 && self.people.dice.chance(300) {
                true => self.people.dice.range(1, self.machines.len() - 1),
                false => self.new_machine(seed, &format!("group{group}"), false),
            };
            self.found_group(first, group, seed);
        }
        self.start(relay);
        for machine in 1..self.machines.len() {
            if !self.machines[machine].is_up() {
                self.start(machine);
            }
        }
        if self.mix.direct && self.machines.len() > 2 {
            let last = self.machines.len() - 1;
            let (one, other) = (self.people.dice.range(1, last), self.people.dice.range(1, last));
            if one != other {
                self.add_line(one, other);
                self.redial_all(one);
            }
        }
        for machine in 1..self.machines.len() {
            for (context, newcomer) in std::mem::take(&mut self.machines[machine].lets_in) {
                self.let_in(machine, newcomer, context, Role::Write, History::All);
                self.settle(machine);
            }
        }
        self.plan(Duration::from_millis(300), Happening::Act);
        if !self.mix.troubles.is_empty() {
            let after = self.network.about(self.mix.trouble_every);
            self.plan(after, Happening::Strike);
        }
    }

    fn new_machine(&mut self, seed: u64, name: &str, is_relay: bool) -> MachineId {
        let number = self.machines.len();
        let dice = Dice::of(seed, "machine", number as u64);
        let name = format!("{name}.{number}");
        let machine = Machine::new(name, is_relay, MemoryKeystore::default(), dice, &self.mix);
        let machine = self.add_machine(machine);
        if !is_relay {
            let relays = self.machines.iter().enumerate().filter(|(_, relay)| relay.is_relay && !relay.retired);
            for relay in relays.map(|(at, _)| at).collect::<Vec<_>>() {
                self.add_line(machine, relay);
            }
        }
        machine
    }

    pub(crate) fn add_machine(&mut self, machine: Machine) -> MachineId {
        self.machines.push(machine);
        self.machines.len() - 1
    }

    pub(crate) fn add_line(&mut self, machine: MachineId, target: MachineId) {
        self.machines[machine].lines.insert(target, Line { backoff: Backoff::default(), link: None, due: false });
    }

    fn found_owner(&mut self, machine: MachineId) {
        let plain = self.mix.plain;
        let here = &mut self.machines[machine];
        here.owner_plain = plain;
        let keystore = here.keystore.clone();
        let Ok((owner, words)) = SingleOwner::create(&keystore, here.dice.rng()) else {
            return self.violate("an owner could not be made");
        };
        let number = self.truth.owners.len();
        let (context, plain_context) = (owner.context(), owner.plain_context());
        self.truth.add_context(context, Kind::Owner(number));
        self.truth.allow(&context, machine);
        self.truth.admit(&context, machine, machine, Duration::ZERO);
        if plain {
            self.truth.add_context(plain_context, Kind::Plain(number));
            self.truth.allow(&plain_context, machine);
            self.truth.admit(&plain_context, machine, machine, Duration::ZERO);
        }
        self.truth.owners.push(Owner { words, context, plain: plain.then_some(plain_context) });
    }

    /// One more device for an owner.
    fn enroll(&mut self, owner: usize, seed: u64) -> MachineId {
        let machine = self.new_machine(seed, &format!("owner{owner}"), false);
        let here = &mut self.machines[machine];
        here.owner_plain = self.truth.owners[owner].plain.is_some();
        let keystore = here.keystore.clone();
        let accepted = SingleOwner::request(&keystore, here.dice.rng()).and_then(|request| {
            let certificate = SingleOwner::certify(&self.truth.owners[owner].words, &request);
            SingleOwner::accept(&keystore, &certificate)
        });
        if let Err(error) = accepted {
            self.violate(format!("a device could not be enrolled: {error}"));
        }
        let Owner { context, plain, .. } = self.truth.owners[owner];
        for context in [Some(context), plain].into_iter().flatten() {
            self.truth.allow(&context, machine);
            self.truth.admit(&context, machine, machine, Duration::ZERO);
        }
        machine
    }

    /// Where checkpoints stand for history, one device comes that was never there: it has to come to the same by them.
    pub(crate) fn let_in_newcomers(&mut self) {
        for owner in 0..self.truth.owners.len() {
            let Owner { context, plain, .. } = self.truth.owners[owner];
            let running = self.machines.iter().filter_map(|machine| machine.running.as_ref());
            let relies = |id: ContextId| running.clone().any(|at| !at.node().checkpoint(&id).claims().is_empty());
            if [Some(context), plain].into_iter().flatten().any(relies) {
                let seed = u64::from_le_bytes(self.people.dice.bytes());
                let new = self.enroll(owner, seed);
                let name = self.name(new);
                self.note(format!("{name} is enrolled"));
                self.start(new);
            }
        }
    }

    /// A group with all its founders.
    fn found_group(&mut self, first: MachineId, group: usize, seed: u64) {
        let others: Vec<_> =
            (1..self.mix.groups[group]).map(|_| self.new_machine(seed, &format!("group{group}"), false)).collect();
        let (others, later) = others.split_at(others.len().min(MOST_FOUNDERS));
        let mut cards = Vec::new();
        for other in others {
            let machine = &mut self.machines[*other];
            let keystore = machine.keystore.clone();
            if let Ok(card) = Group::card(&keystore, machine.dice.rng()) {
                cards.push(card);
            }
        }
        let here = &mut self.machines[first];
        let keystore = Arc::new(here.keystore.clone());
        let founded = Group::found(keystore, here.dice.rng(), "a group", Policy::default(), &cards);
        let Ok(founded) = founded else { return self.violate("a group could not be founded") };
        let context = founded.context();
        self.truth.add_context(context, Kind::Group);
        self.truth.allow(&context, first);
        self.truth.admit(&context, first, first, Duration::ZERO);
        for other in later {
            self.machines[first].lets_in.push((context, *other));
        }
        for (other, card) in others.iter().copied().zip(&cards) {
            let keystore = Arc::new(self.machines[other].keystore.clone());
            if let Err(error) = Group::added(keystore, context, card) {
                self.violate(format!("a founder could not open its group: {error}"));
            }
            self.truth.allow(&context, other);
            self.truth.admit(&context, other, first, Duration::ZERO);
        }
    }

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
        if self.machines[machine].copy_of.is_none() && self.people.dice.chance(self.mix.membership) {
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

    pub(crate) fn people_prune(&mut self, machine: MachineId, context: ContextId) {
        self.machines[machine].make_checkpoint(context);
        self.settle(machine);
    }

    pub(crate) fn rotate(&mut self, machine: MachineId, context: ContextId) {
        let rotate = |group: &mut Group, turn: &mut partita_core::Turn<'_>| group.rotate(turn);
        self.with::<Group, _, _>(machine, context, "rotates".into(), Change::None, rotate);
        self.settle(machine);
    }

    pub(crate) fn people_read(&mut self, machine: MachineId, context: ContextId) {
        self.read(machine, context);
        self.settle(machine);
    }

    /// Somebody shuts somebody else out, with whatever right it has.
    pub(crate) fn shut_out(&mut self, machine: MachineId, other: MachineId, context: ContextId) {
        let (lost, name) = (self.machines[other].replica, self.name(other));
        match self.truth.contexts.get(&context).map(|known| known.kind) {
            Some(Kind::Owner(owner) | Kind::Plain(owner)) => {
                let (words, context) = (self.truth.owners[owner].words.clone(), self.truth.owners[owner].context);
                let what = format!("revokes {name}");
                self.with::<SingleOwner, _, _>(machine, context, what, Change::Out(other), move |device, turn| {
                    device.revoke(turn, &words, lost)
                });
            }
            Some(Kind::Group) => {
                let member = partita_group::MemberId(lost);
                let what = format!("removes {name}");
                self.with::<Group, _, _>(machine, context, what, Change::Out(other), move |group, turn| {
                    group.remove(turn, member)
                });
            }
            None => {}
        }
        self.settle(machine);
    }

    /// Somebody says that nobody waits for somebody else, with whatever right it has.
    pub(crate) fn declare_dormant(&mut self, machine: MachineId, other: MachineId, context: ContextId) {
        if self.truth.is_falsified(&context) {
            return; // whoever knows better must be waited for
        }
        if let Some(known) = self.truth.contexts.get_mut(&context) {
            known.does_without = true;
        }
        let (away, what) = (self.machines[other].replica, format!("declares {} dormant", self.name(other)));
        match self.truth.contexts.get(&context).map(|known| known.kind) {
            Some(Kind::Owner(owner) | Kind::Plain(owner)) => {
                let (words, context) = (self.truth.owners[owner].words.clone(), self.truth.owners[owner].context);
                let call = move |device: &mut SingleOwner, turn: &mut partita_core::Turn<'_>| {
                    device.declare_dormant(turn, &words, away)
                };
                self.with::<SingleOwner, _, _>(machine, context, what, Change::None, call);
            }
            Some(Kind::Group) => {
                let call =
                    move |group: &mut Group, turn: &mut partita_core::Turn<'_>| group.declare_dormant(turn, away);
                self.with::<Group, _, _>(machine, context, what, Change::None, call);
            }
            None => {}
        }
        self.settle(machine);
    }

    fn create(&mut self, machine: MachineId, context: ContextId) {
        let crdt = if self.people.dice.chance(500) { Crdt::Automerge } else { Crdt::Yrs };
        let late = self.truth.contexts.get(&context).into_iter().flat_map(|known| &known.late);
        let written = late.filter_map(|(late, about)| Some((*late, about.written.as_ref()?)));
        let known =
            written.filter(|(_, places)| self.holds_all(machine, context, places)).map(|(late, _)| late).collect();
        self.machines[machine].create_document(context, crdt, known);
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

    fn edit(&mut self, machine: MachineId, context: ContextId, much: Much) {
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
        let edit = self.truth.begin_edit(context, document, machine, seen, late);
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
                self.machines[machine].documents.remove(&document);
            }
        }
    }

    /// Whether a machine was shut out of a context, and everybody knows but, perhaps, itself.
    fn all_know_of(&self, context: ContextId, gone: MachineId) -> bool {
        let Some(known) = self.truth.contexts.get(&context) else { return false };
        let Some((_, places)) = known.shut_out.iter().find(|(machine, _)| *machine == gone) else { return false };
        let mut everybody = self.machines.iter().enumerate().filter(|(at, machine)| {
            let concerned = machine.is_relay || known.allowed.contains(at) && !known.gone.contains(at);
            concerned && !machine.retired
        });
        everybody.all(|(at, _)| self.holds_all(at, context, places))
    }

    /// Where an admission is written: in what the one who let somebody in has written by now.
    pub(crate) fn note_admission(&mut self, machine: MachineId, context: ContextId, newcomer: MachineId) {
        let Some(running) = &self.machines[machine].running else { return };
        let tips = running.node().logs_of(&context, &running.node().replica());
        let known = self.truth.contexts.get_mut(&context);
        if let Some(late) = known.and_then(|known| known.late.get_mut(&newcomer)) {
            late.written = Some(tips);
        }
    }

    /// Where a removal is written: in what the one who did it has written by now.
    pub(crate) fn note_removal(&mut self, machine: MachineId, context: ContextId, gone: MachineId) {
        let Some(running) = &self.machines[machine].running else { return };
        let tips = running.node().logs_of(&context, &running.node().replica());
        if let Some(known) = self.truth.contexts.get_mut(&context)
            && machine != gone
        {
            known.shut_out.push((gone, tips));
        }
    }

    /// Somebody was told that an edit is safe.
    pub(crate) fn edit_is_durable(&mut self, machine: MachineId, edit: u64, durable: bool) {
        if !durable {
            return self.note(format!("edit {edit} came to nothing"));
        }
        let context = self.truth.edits[edit as usize].context;
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

    /// Somebody changes who is in.
    fn decide(&mut self, machine: MachineId, context: ContextId) {
        let kind = self.truth.contexts.get(&context).map(|known| known.kind);
        match kind {
            Some(Kind::Owner(owner) | Kind::Plain(owner)) => self.decide_for_owner(machine, owner),
            Some(Kind::Group) => self.decide_in_group(machine, context),
            None => {}
        }
    }

    fn decide_for_owner(&mut self, machine: MachineId, owner: usize) {
        let context = self.truth.owners[owner].context;
        let known = &self.truth.contexts[&context];
        let others: Vec<_> =
            known.allowed.iter().copied().filter(|at| *at != machine && !known.gone.contains(at)).collect();
        if self.people.dice.chance(500) || others.is_empty() {
            if self.machines.len() < MOST_MACHINES {
                let seed = u64::from_le_bytes(self.people.dice.bytes());
                let new = self.enroll(owner, seed);
                let name = self.name(new);
                self.note(format!("{name} is enrolled"));
                self.start(new);
            }
            return;
        }
        let Some(other) = self.people.dice.pick(&others) else { return };
        if !self.people.dice.chance(300) {
            return self.shut_out(machine, other, context);
        }
        let name = self.name(other);
        let call = |device: &mut SingleOwner, turn: &mut partita_core::Turn<'_>| device.retire(turn);
        self.with::<SingleOwner, _, _>(other, context, format!("{name} retires"), Change::Out(other), call);
        self.settle(other);
    }

    fn decide_in_group(&mut self, machine: MachineId, context: ContextId) {
        let members: Vec<_> = {
            let known = &self.truth.contexts[&context];
            known.allowed.iter().copied().filter(|at| *at != machine && !known.gone.contains(at)).collect()
        };
        match self.people.dice.below(7) {
            0 | 1 => {
                let Some(newcomer) = self.newcomer(context) else { return };
                let role = if self.people.dice.chance(300) { Role::Admin } else { Role::Write };
                let history =
                    if self.people.dice.chance(self.mix.latecomers) { History::FromNow } else { History::All };
                self.let_in(machine, newcomer, context, role, history);
            }
            2 | 3 => {
                let Some(engine) =
                    self.machines[machine].running.as_ref().and_then(|running| running.engine()).cloned()
                else {
                    return;
                };
                self.machines[machine].tasks.push(Box::pin(async move {
                    let asked = engine.with_strategy::<MultiContext, _>(move |all, turn| {
                        all.with_strategy_of::<Group, _>(&context, turn, |group, turn| {
                            group.invite(turn, Terms::new(Role::Write))
                        })
                    });
                    let answer = match asked.await {
                        Ok(Ok(Ok(invitation))) => Ok(Box::new(invitation)),
                        Ok(Ok(Err(error))) => Err(error.to_string()),
                        Ok(Err(error)) => Err(error.to_string()),
                        Err(error) => Err(error.to_string()),
                    };
                    Answer::Invited(context, answer)
                }));
            }
            4 => {
                let Some(other) = self.people.dice.pick(&members) else { return };
                self.shut_out(machine, other, context);
            }
            5 => {
                self.with::<Group, _, _>(machine, context, "leaves".into(), Change::Out(machine), |group, turn| {
                    group.leave(turn)
                });
            }
            _ => self.rotate(machine, context),
        }
    }

    /// Somebody adds a device by its card.
    pub(crate) fn let_in(
        &mut self,
        machine: MachineId,
        newcomer: MachineId,
        context: ContextId,
        role: Role,
        history: History,
    ) {
        let here = &mut self.machines[newcomer];
        let keystore = here.keystore.clone();
        let Ok(card) = Group::card(&keystore, here.dice.rng()) else { return };
        if Group::added(Arc::new(keystore), context, &card).is_err() {
            return; // it has been there before
        }
        self.truth.allow(&context, newcomer);
        if history == History::FromNow
            && let Some(known) = self.truth.contexts.get_mut(&context)
        {
            let older = known.documents.iter().map(|(document, _)| *document).collect();
            known.late.insert(newcomer, Late { older, ..Late::default() });
        }
        let what = format!("adds {} as {role:?}, reading {history:?}", self.name(newcomer));
        self.with::<Group, _, _>(machine, context, what, Change::In(newcomer), move |group, turn| {
            group.add(turn, &card, role, history)
        });
        self.reopen(newcomer);
    }

    /// Somebody who is not in the group: a new machine, or one from elsewhere.
    pub(crate) fn newcomer(&mut self, context: ContextId) -> Option<MachineId> {
        let allowed = &self.truth.contexts[&context].allowed;
        let others: Vec<_> = (0..self.machines.len())
            .filter(|at| {
                let machine = &self.machines[*at];
                !machine.is_relay && !machine.retired && machine.copy_of.is_none() && !allowed.contains(at)
            })
            .collect();
        if self.people.dice.chance(400) && !others.is_empty() {
            return self.people.dice.pick(&others);
        }
        if self.machines.len() >= MOST_MACHINES {
            return None;
        }
        let seed = u64::from_le_bytes(self.people.dice.bytes());
        let machine = self.new_machine(seed, "guest", false);
        Some(machine)
    }

    pub(crate) fn invitation_made(&mut self, machine: MachineId, context: ContextId, invitation: Invitation) {
        let gone = &self.truth.contexts[&context].gone;
        let gone: Vec<_> = gone.iter().copied().filter(|at| *at != machine).collect();
        let again = if self.people.dice.chance(300) { self.people.dice.pick(&gone) } else { None };
        let Some(newcomer) = again.or_else(|| self.newcomer(context)) else { return };
        let (host, name) = (self.name(machine), self.name(newcomer));
        self.note(format!("{host} invites {name}"));
        self.truth.allow(&context, newcomer);
        if again.is_some() {
            self.truth.back_again(&context, newcomer);
        }
        let here = &mut self.machines[newcomer];
        let keystore = Arc::new(here.keystore.clone());
        if let Err(error) = Group::join(keystore, here.dice.rng(), &invitation) {
            self.note(format!("{name} cannot join: {error}"));
        }
        self.reopen(newcomer);
    }

    /// The application opens its engine anew, with what is in the keystore now.
    fn reopen(&mut self, machine: MachineId) {
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

    /// Calls into a plugin of a device.
    fn with<P: partita_core::PartitionStrategy, E: ToString + Send + 'static, F>(
        &mut self,
        machine: MachineId,
        context: ContextId,
        what: String,
        change: Change,
        call: F,
    ) where
        F: FnOnce(&mut P, &mut partita_core::Turn<'_>) -> Result<(), E> + Send + 'static,
    {
        let Some(engine) = self.machines[machine].running.as_ref().and_then(|running| running.engine()).cloned() else {
            return;
        };
        let name = self.name(machine);
        let goes = matches!(change, Change::Out(_));
        if goes && self.truth.is_falsified(&context) {
            return; // whoever knows better must stay: a liar among liars is believed
        }
        self.note(format!("{name} decides: {what}"));
        self.machines[machine].tasks.push(Box::pin(async move {
            let asked = engine
                .with_strategy::<MultiContext, _>(move |all, turn| all.with_strategy_of::<P, _>(&context, turn, call));
            let answer = match asked.await {
                Ok(Ok(Ok(()))) => Ok(()),
                Ok(Ok(Err(error))) => Err(error.to_string()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            Answer::Decided(context, what, change, answer)
        }));
    }

    /// A member's program is broken, or hostile: it writes what is no payload, in a document of others.
    pub(crate) fn write_garbage(&mut self, machine: MachineId) -> Option<()> {
        let contexts: Vec<_> = self.machines[machine].contexts.keys().copied().collect();
        let context = self.people.dice.pick(&contexts)?;
        let documents = self.truth.contexts.get(&context)?.documents.clone();
        let (document, _) = self.people.dice.pick(&documents)?;
        let len = self.people.dice.range(1, 60);
        let bytes: Vec<u8> = (0..len).map(|_| self.people.dice.below(256) as u8).collect();
        let name = self.name(machine);
        self.note(format!("{name} writes garbage into {document:?}"));
        self.truth.contexts.get_mut(&context)?.garbage = true;
        self.machines[machine].running.as_ref()?.write_raw(context, document, bytes);
        self.settle(machine);
        Some(())
    }
}
