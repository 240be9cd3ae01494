//! Who is there at the beginning, and how their contexts come to be.

use std::{sync::Arc, time::Duration};

use partita_core::ContextId;
use partita_group::{Group, History, Policy, Role};
use partita_protocol::Backoff;
use partita_single_owner::SingleOwner;
use partita_testing::MemoryKeystore;

use crate::{
    dice::Dice,
    machine::{Line, Machine, MachineId},
    truth::{Kind, Owner},
    world::{Happening, World},
};

/// How many found a group together at most; the others are let in as soon as it runs.
const MOST_FOUNDERS: usize = 10;

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
        for _ in 1..self.mix.relays {
            self.add_relay(seed);
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

    pub(super) fn new_machine(&mut self, seed: u64, name: &str, is_relay: bool) -> MachineId {
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

    /// One more relay, which everybody dials besides the others: whoever is connected to both carries over what one lacks.
    fn add_relay(&mut self, seed: u64) {
        let relay = self.new_machine(seed, "relay", true);
        self.start(relay);
        for machine in 0..relay {
            if !self.machines[machine].is_relay {
                self.add_line(machine, relay);
                self.redial_all(machine);
            }
        }
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
    pub(super) fn enroll(&mut self, owner: usize, seed: u64) -> MachineId {
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
}

#[cfg(test)]
mod tests {
    use partita_testing::disk::Crash;

    use super::*;
    use crate::{Options, Profile, check::tests::wait};

    #[test]
    fn one_relay_of_two_carries_everything_and_the_other_gets_it_when_it_is_back() {
        let mut worlds = (0..400).map(|seed| World::new(seed, &Options::new(Profile::Wide)));
        let fits =
            |world: &World| world.mix.relays == 2 && world.mix.owners.first().is_some_and(|devices| *devices >= 2);
        let mut world = worlds.find(fits).unwrap();
        world.faults.over = true;
        world.people.stop();
        wait(&mut world);
        let context = world.truth.owners[0].context;
        world.crash(0, Crash::Process);
        wait(&mut world);
        world.people_create(1, context);
        wait(&mut world);
        world.people_read(2, context);
        wait(&mut world);
        let (document, _) = world.truth.contexts[&context].documents[0];
        assert!(world.machines[2].documents.contains_key(&document), "it came over the second relay");
        world.come_to_rest();
        assert!(world.violation.is_none(), "{:?}", world.violation);
        assert!(world.machines[0].is_up(), "it was compared with the others");
    }
}
