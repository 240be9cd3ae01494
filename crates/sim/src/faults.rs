//! What goes wrong, and how it is over.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use partita_core::{ContextId, Tip};
use partita_testing::{
    MemoryKeystore,
    disk::{Crash, Fault, FaultyDisk},
};

use crate::{
    dice::Dice,
    machine::{Backup, Machine, MachineId},
    mix::Trouble,
    network::LinkId,
    text::Falsehood,
    world::{Happening, World},
};

/// A trouble that lasts until somebody ends it.
#[derive(Debug, Clone)]
pub(crate) enum Lasting {
    Island,
    Held(LinkId, usize),
    FullDisk(MachineId),
    SlowDisk(MachineId),
    Away(MachineId),
    BadWire,
    Copy(MachineId),
    Liar(MachineId),
}

#[derive(Debug)]
pub(crate) struct Faults {
    pub(crate) dice: Dice,
    lasting: Vec<Option<Lasting>>,
    pub(crate) bad_wire: bool,
    /// What a liar remembers.
    pub(crate) heard: Vec<Bytes>,
    pub(crate) count: u64,
    pub(crate) over: bool,
}

impl Faults {
    pub(crate) fn new(dice: Dice) -> Self {
        Self { dice, lasting: Vec::new(), bad_wire: false, heard: Vec::new(), count: 0, over: false }
    }
}

impl World {
    pub(crate) fn last(&mut self, what: Lasting, mean: Duration) {
        let after = self.faults.dice.about(mean);
        self.faults.lasting.push(Some(what));
        let number = self.faults.lasting.len() - 1;
        self.plan(after, Happening::Mend(number));
    }

    fn some_device(&mut self) -> Option<MachineId> {
        let devices = self.machines.iter().enumerate().filter(|(_, machine)| {
            !machine.is_relay && machine.is_up() && !machine.retired && machine.copy_of.is_none()
        });
        let devices: Vec<_> = devices.map(|(at, _)| at).collect();
        self.faults.dice.pick(&devices)
    }

    fn the_relay(&self) -> Option<MachineId> {
        self.machines.iter().position(|machine| machine.is_relay && !machine.retired)
    }

    fn some_link(&mut self) -> Option<LinkId> {
        let links: Vec<_> = self.links.keys().copied().collect();
        self.faults.dice.pick(&links)
    }

    pub(crate) fn strike(&mut self) {
        if self.faults.over {
            return;
        }
        let after = self.faults.dice.about(self.mix.trouble_every);
        self.plan(after, Happening::Strike);
        let troubles = self.mix.troubles.clone();
        let Some(trouble) = self.faults.dice.pick(&troubles) else { return };
        if self.befall(trouble).is_some() {
            self.faults.count += 1;
        }
    }

    /// `None` when there was nobody whom it could befall.
    fn befall(&mut self, trouble: Trouble) -> Option<()> {
        let short = Duration::from_secs(4);
        match trouble {
            Trouble::Cut => {
                let link = self.some_link()?;
                self.note(format!("connection {link} breaks"));
                if self.faults.dice.chance(400) {
                    // Only one end hears of it; the other finds out by silence.
                    let end = self.faults.dice.below(2);
                    let found = self.links.get_mut(&link)?;
                    for wire in &mut found.wires {
                        wire.queue.clear();
                        wire.dead = true;
                    }
                    self.plan(Duration::from_millis(5), Happening::Broken(link, end));
                    let late = self.faults.dice.about(Duration::from_secs(60));
                    self.plan(late, Happening::Broken(link, 1 - end));
                } else {
                    self.break_link(link);
                }
            }
            Trouble::Partition => {
                if !self.island.is_empty() {
                    return None;
                }
                for machine in 0..self.machines.len() {
                    if self.faults.dice.chance(400) {
                        self.island.insert(machine);
                    }
                }
                let names: Vec<_> = self.island.iter().map(|at| self.machines[*at].name.clone()).collect();
                self.note(format!("{names:?} cannot reach the others"));
                let links: Vec<_> =
                    self.links.iter().map(|(id, link)| (*id, link.ends[0].machine, link.ends[1].machine)).collect();
                for (link, one, other) in links {
                    if self.island.contains(&one) != self.island.contains(&other) {
                        for end in 0..2 {
                            self.hold(link, end, short);
                        }
                    }
                }
                self.last(Lasting::Island, short * 2);
            }
            Trouble::OneWay => {
                let link = self.some_link()?;
                let end = self.faults.dice.below(2);
                self.note(format!("connection {link} stands still in one direction"));
                self.hold(link, end, short * 3);
            }
            Trouble::Slow => {
                let link = self.some_link()?;
                let end = self.faults.dice.below(2);
                self.note(format!("connection {link} becomes slow"));
                self.links.get_mut(&link)?.wires[end].bytes_per_second = 2_000;
            }
            Trouble::BadWire => {
                self.note("wires become bad");
                self.faults.bad_wire = true;
                for link in self.links.values_mut() {
                    link.bad = 20;
                }
                self.last(Lasting::BadWire, short * 2);
            }
            Trouble::Crash => self.crash_and_restart(Crash::Process)?,
            Trouble::PowerCut => self.crash_and_restart(Crash::PowerStrict)?,
            Trouble::TornPowerCut => self.crash_and_restart(Crash::PowerTorn)?,
            Trouble::CutInCommit => {
                let machine = match self.faults.dice.chance(300) {
                    true => self.the_relay()?,
                    false => self.some_device()?,
                };
                self.machines[machine].cut_in_commit = Some(self.faults.dice.below(24) as u64);
            }
            Trouble::DiskError => {
                let machine = self.some_device()?;
                let name = self.name(machine);
                self.note(format!("the disk of {name} will fail"));
                let after = self.faults.dice.below(60) as u64;
                let disk = &self.machines[machine].disk;
                match self.faults.dice.below(3) {
                    0 => disk.fail_times_after(after, Fault::Io, 1),
                    1 => disk.fail_syncs_after(after / 10, Some(1)),
                    _ => disk.fail_after(after, Fault::Io),
                }
            }
            Trouble::DiskFull => {
                let machine = self.some_device()?;
                let name = self.name(machine);
                self.note(format!("the disk of {name} is full"));
                self.machines[machine].disk.room(Some(0));
                self.last(Lasting::FullDisk(machine), short * 2);
            }
            Trouble::SlowDisk => {
                let machine = self.some_device()?;
                let name = self.name(machine);
                self.note(format!("the disk of {name} is slow"));
                self.machines[machine].commit_time = Duration::from_millis(1500);
                self.last(Lasting::SlowDisk(machine), short * 2);
            }
            Trouble::Clock => {
                let machine = self.faults.dice.below(self.machines.len());
                let year = 365 * 24 * 3600;
                let skew =
                    self.faults.dice.pick(&[-40 * year, -year, -3600, -30, 0, 1, 30, 299, 301, 3600, year, 90 * year]);
                let (name, skew) = (self.name(machine), skew.unwrap_or(0));
                self.note(format!("the clock of {name} is now wrong by {skew} s"));
                self.machines[machine].skew.store(skew, Ordering::Relaxed);
            }
            Trouble::Restart => {
                let machine = self.some_device()?;
                self.close(machine);
            }
            Trouble::Away => {
                let machine = self.some_device()?;
                let name = self.name(machine);
                self.note(format!("{name} goes offline"));
                self.machines[machine].online = false;
                self.cut_off(machine);
                self.last(Lasting::Away(machine), short * 5);
            }
            Trouble::Backup => {
                let machine = self.some_device()?;
                if self.machines[machine].backup.is_none() || self.faults.dice.chance(300) {
                    let (name, kind) = (self.name(machine), self.faults.dice.pick(&Crash::ALL)?);
                    self.note(format!("{name} is backed up"));
                    let here = &mut self.machines[machine];
                    let disk = here.disk.crash(kind, self.faults.dice.rng()).image();
                    here.backup = Some(Backup { disk, keystore: Some(here.keystore.image()) });
                } else {
                    self.restore(machine)?;
                }
            }
            Trouble::Copy => {
                let machine = self.some_device()?;
                self.copy(machine);
            }
            Trouble::RelayCrash => {
                let relay = self.the_relay().filter(|relay| self.machines[*relay].is_up())?;
                let kind = self.faults.dice.pick(&Crash::ALL)?;
                self.crash(relay, kind);
                self.start_soon(relay);
            }
            Trouble::RelayWiped => {
                let relay = self.the_relay().filter(|relay| self.machines[*relay].is_up())?;
                self.wipe_relay(relay);
            }
            Trouble::RelayReplaced => {
                let relay = self.the_relay()?;
                self.replace_relay(relay);
            }
            Trouble::RelayLies => {
                let relay = self.the_relay().filter(|relay| !self.machines[*relay].lies)?;
                self.note("the relay begins to lie");
                self.machines[relay].lies = true;
                self.last(Lasting::Liar(relay), short * 4);
            }
            Trouble::Thief => {
                let machine = self.some_device()?;
                let foreign = self.truth.contexts.iter().filter(|(_, known)| !known.allowed.contains(&machine));
                let foreign: Vec<_> = foreign.map(|(id, _)| *id).collect();
                let wanted = self.faults.dice.pick(&foreign)?;
                let name = self.name(machine);
                self.note(format!("{name} asks for {wanted:?}, which is none of its business"));
                self.machines[machine].steals = Some(wanted);
            }
            Trouble::Smuggler => {
                let (machine, context) = self.some_insider()?;
                let gone: Vec<_> = self.truth.contexts[&context].gone.iter().copied().collect();
                let gone: Vec<_> = gone.into_iter().filter(|at| self.machines[*at].is_up()).collect();
                let whose = self.faults.dice.pick(&gone)?;
                let (name, other) = (self.name(machine), self.name(whose));
                self.note(format!("{name} carries what {other} writes in {context:?}, which was shut out"));
                self.machines[machine].smuggles = Some((whose, context));
            }
            Trouble::Forger => {
                let (machine, context) = self.some_insider()?;
                let allowed = &self.truth.contexts[&context].allowed;
                let strangers: Vec<_> = (1..self.machines.len())
                    .filter(|at| {
                        !self.machines[*at].is_relay && self.machines[*at].copy_of.is_none() && !allowed.contains(at)
                    })
                    .collect();
                let stranger = self.faults.dice.pick(&strangers)?;
                let (name, other) = (self.name(machine), self.name(stranger));
                self.note(format!("{name} offers in {context:?} what {other} wrote, who never was in it"));
                self.machines[machine].forges = Some((stranger, context));
            }
            Trouble::Feud => self.feud()?,
            Trouble::Hasty => self.hasty()?,
            Trouble::Crossing => self.crossing()?,
            Trouble::Torn => self.torn()?,
            Trouble::Falsifier => self.falsify()?,
            Trouble::Pruner => self.pruner()?,
            Trouble::Drawer => self.drawer()?,
            Trouble::Latecomer => self.latecomer()?,
            Trouble::Garbage => {
                let machine = self.some_device()?;
                self.write_garbage(machine)?;
            }
        }
        Some(())
    }

    pub(crate) fn some_insider(&mut self) -> Option<(MachineId, ContextId)> {
        let machine = self.some_device()?;
        let inside = self
            .truth
            .contexts
            .iter()
            .filter(|(_, known)| known.allowed.contains(&machine) && !known.gone.contains(&machine));
        let inside: Vec<_> = inside.map(|(id, _)| *id).collect();
        Some((machine, self.faults.dice.pick(&inside)?))
    }

    /// A member claims what is not so, and somebody is there who knows better.
    fn falsify(&mut self) -> Option<()> {
        let everybody = self.truth.contexts.iter().flat_map(|(id, known)| {
            let inside = known.allowed.difference(&known.gone);
            inside.map(|machine| (*machine, *id))
        });
        let could: Vec<_> = everybody.filter(|(machine, context)| self.could_falsify(*machine, *context)).collect();
        let (machine, context) = self.faults.dice.pick(&could)?;
        let how = self.faults.dice.pick(&[Falsehood::More, Falsehood::Less, Falsehood::Altered, Falsehood::Bad])?;
        let name = self.name(machine);
        self.note(format!("{name} claims a false checkpoint of {context:?}: {how:?}"));
        self.truth.contexts.get_mut(&context)?.falsified = true;
        self.machines[machine].running.as_ref()?.falsify(how);
        self.people_prune(machine, context);
        Some(())
    }

    /// Whether there is something to claim, and another who holds all of it and may read it.
    fn could_falsify(&self, machine: MachineId, context: ContextId) -> bool {
        let known = &self.truth.contexts[&context];
        let here = &self.machines[machine];
        let Some(liar) = here.running.as_ref().filter(|_| !here.retired && here.copy_of.is_none()) else {
            return false;
        };
        if self.mix.closings > 0 && !here.contexts.contains_key(&context) {
            return false; // it is closed, and the next checkpoint that it makes is another context's
        }
        if self.truth.does_without(&context) || liar.node().plan_checkpoint(&context, 1, 0).is_none() {
            return false; // whoever knows better may be the one for whom nobody waits
        }
        let authors: Vec<_> = self.machines.iter().map(|machine| machine.replica).collect();
        let held = |at: MachineId| -> Vec<Tip> {
            let running = self.machines[at].running.as_ref();
            let logs = |author| running.map_or(Vec::new(), |running| running.node().logs_of(&context, author));
            authors.iter().flat_map(logs).collect()
        };
        let covered = held(machine);
        let knows = |at: MachineId| {
            let held = held(at);
            covered.iter().all(|tip| held.iter().any(|held| held.log == tip.log && held.seq >= tip.seq))
        };
        known.allowed.difference(&known.gone).copied().any(|at| {
            let other = &self.machines[at];
            let is_other =
                at != machine && other.copy_of.is_none() && !other.retired && other.replica != liar.identity.replica();
            is_other && knows(at) && !known.late.contains_key(&at)
        })
    }

    fn hold(&mut self, link: LinkId, end: usize, mean: Duration) {
        if let Some(found) = self.links.get_mut(&link)
            && !found.wires[end].held
        {
            found.wires[end].held = true;
            self.last(Lasting::Held(link, end), mean);
        }
    }

    pub(crate) fn cut_off(&mut self, machine: MachineId) {
        let links = self.links.iter().filter(|(_, link)| link.ends.iter().any(|end| end.machine == machine));
        for link in links.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.break_link(link);
        }
    }

    fn crash_and_restart(&mut self, kind: Crash) -> Option<()> {
        let machine = self.some_device()?;
        self.crash(machine, kind);
        self.start_soon(machine);
        Some(())
    }

    fn start_soon(&mut self, machine: MachineId) {
        let life = self.machines[machine].life;
        let after = self.faults.dice.about(Duration::from_secs(3));
        self.plan(after, Happening::Start(machine, life));
    }

    /// An old backup takes the place of what is on a device's disk, and now and then of its keys.
    fn restore(&mut self, machine: MachineId) -> Option<()> {
        let Backup { disk, keystore } = self.machines[machine].backup.take()?;
        self.crash(machine, Crash::Process);
        self.machines[machine].disk = FaultyDisk::of(disk);
        if let Some(keystore) = keystore
            && self.faults.dice.chance(400)
        {
            self.restore_keys(machine, keystore);
        }
        let name = self.name(machine);
        let given_up = self.truth.lost_disk(machine, &self.machines);
        self.note(format!("{name} is restored from its backup; {given_up} edits were nowhere else"));
        self.start_soon(machine);
        Some(())
    }

    /// What a device was let in to since then, it has no keys of.
    fn restore_keys(&mut self, machine: MachineId, keystore: MemoryKeystore) {
        let before = self.machines[machine].named_contexts();
        self.machines[machine].keystore = keystore;
        let left = self.machines[machine].named_contexts();
        let name = self.name(machine);
        self.note(format!("{name} gets its keys of then back"));
        for context in before.into_iter().filter(|context| !left.contains(context)) {
            self.note(format!("{name} has no keys of {context:?} any more"));
            self.truth.lost_keys(&context, machine);
        }
    }

    /// Somebody copies a device, keys and all, and runs both.
    fn copy(&mut self, original: MachineId) {
        let name = format!("copy of {}", self.name(original));
        self.note(format!("a {name} runs beside it"));
        let image = self.machines[original].disk.crash(Crash::Process, self.faults.dice.rng()).image();
        let number = self.machines.len() as u64;
        let dice = Dice::of(u64::from_le_bytes(self.faults.dice.bytes()), "copy", number);
        let here = &self.machines[original];
        let mut machine = Machine::new(name, false, here.keystore.image(), dice, &self.mix);
        machine.owner_plain = here.owner_plain;
        machine.copy_of = Some(original);
        machine.disk = FaultyDisk::of(image);
        let relays: Vec<_> = here.lines.keys().copied().filter(|at| self.machines[*at].is_relay).collect();
        let copy = self.add_machine(machine);
        for relay in relays {
            self.add_line(copy, relay);
        }
        self.start(copy);
        self.last(Lasting::Copy(copy), Duration::from_secs(20));
    }

    pub(crate) fn wipe_relay(&mut self, relay: MachineId) {
        self.crash(relay, Crash::Process);
        self.machines[relay].disk = FaultyDisk::default();
        self.machines[relay].lies = false;
        let given_up = self.truth.lost_disk(relay, &self.machines);
        self.note(format!("the relay's store is lost; {given_up} edits were nowhere else"));
        self.start_soon(relay);
    }

    /// Another relay, with another key, at another address: people tell their devices.
    pub(crate) fn replace_relay(&mut self, relay: MachineId) {
        let number = self.machines.len() as u64;
        let dice = Dice::of(u64::from_le_bytes(self.faults.dice.bytes()), "relay", number);
        let name = format!("relay {number}");
        self.crash(relay, Crash::Process);
        self.machines[relay].retired = true;
        let given_up = self.truth.lost_disk(relay, &self.machines);
        self.note(format!("{name} takes the relay's place; {given_up} edits were nowhere else"));
        let machine = Machine::new(name, true, MemoryKeystore::default(), dice, &self.mix);
        let new = self.add_machine(machine);
        for at in 0..self.machines.len() {
            if self.machines[at].lines.remove(&relay).is_some() {
                self.add_line(at, new);
            }
        }
        self.start(new);
        for at in 0..self.machines.len() {
            self.redial_all(at);
        }
    }

    pub(crate) fn mend(&mut self, number: usize) {
        let Some(lasting) = self.faults.lasting.get_mut(number).and_then(Option::take) else { return };
        match lasting {
            Lasting::Island => {
                self.note("everybody can reach everybody");
                self.island.clear();
            }
            Lasting::Held(link, end) => self.release(link, end),
            Lasting::FullDisk(machine) => self.machines[machine].disk.mend(),
            Lasting::SlowDisk(machine) => self.machines[machine].commit_time = self.mix.commit,
            Lasting::Away(machine) => {
                let name = self.name(machine);
                self.note(format!("{name} is online again"));
                self.machines[machine].online = true;
            }
            Lasting::BadWire => {
                self.faults.bad_wire = false;
                for link in self.links.values_mut() {
                    link.bad = 0;
                }
            }
            Lasting::Copy(copy) => {
                let name = self.name(copy);
                self.crash(copy, Crash::Process);
                self.machines[copy].retired = true;
                let given_up = self.truth.lost_disk(copy, &self.machines);
                self.note(format!("the {name} is gone; {given_up} edits were nowhere else"));
            }
            Lasting::Liar(relay) => {
                if self.machines[relay].lies && !self.machines[relay].retired {
                    self.replace_relay(relay);
                }
            }
        }
    }

    /// Every trouble ends. Clocks stay wrong.
    pub(crate) fn heal(&mut self) {
        self.note("everything is well again");
        self.faults.over = true;
        for number in 0..self.faults.lasting.len() {
            self.mend(number);
        }
        for machine in 0..self.machines.len() {
            self.machines[machine].disk.mend();
            self.machines[machine].cut_in_commit = None;
            // Who offers what it does not hold is not sent it: whoever did so begins anew, and honestly.
            if self.machines[machine].smuggles.take().is_some() {
                self.cut_off(machine);
            }
        }
        for link in self.links.values_mut() {
            for wire in &mut link.wires {
                wire.bytes_per_second = wire.bytes_per_second.max(self.mix.bytes_per_second);
            }
        }
        for machine in 0..self.machines.len() {
            if !self.machines[machine].retired && !self.machines[machine].is_up() {
                let life = self.machines[machine].life;
                self.plan(Duration::from_millis(100), Happening::Start(machine, life));
            }
        }
    }
}
