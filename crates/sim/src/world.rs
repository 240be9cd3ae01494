//! The world: machines, connections, a calendar, and what happens next.

mod dialing;
mod drive;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use partita_core::{ContextId, ReplicaId};

use crate::{
    Cost, Options,
    dice::Dice,
    faults::Faults,
    machine::{Machine, MachineId},
    mix::Mix,
    network::{Link, LinkId},
    people::People,
    stories::Story,
    trace::Trace,
    truth::Truth,
};

/// What is on the calendar. A machine's life tells whether it still matters.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Happening {
    /// A driver has to look at the time.
    Turn(MachineId, u64),
    /// A store is done with what it does.
    Store(MachineId, u64),
    /// A worker is.
    Worker(MachineId, u64),
    /// Something arrives over a connection, from this end of it.
    Arrive(LinkId, usize),
    /// A handshake takes too long.
    Deadline(LinkId),
    /// An end of a connection notices that it is broken.
    Broken(LinkId, usize),
    /// A machine dials another.
    Dial(MachineId, MachineId, u64),
    /// Somebody does something.
    Act,
    /// Something goes wrong.
    Strike,
    /// A trouble is over.
    Mend(usize),
    /// A story goes on.
    Tell(Story, u64),
    /// A process is started.
    Start(MachineId, u64),
    /// A context that was closed is opened again.
    Open(MachineId, ContextId, u64),
}

/// What went wrong with the engine itself: the seed has failed.
#[derive(Debug, Clone)]
pub(crate) struct Violation(pub(crate) String);

pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) time: Arc<AtomicU64>,
    pub(crate) mix: Mix,
    calendar: BTreeMap<(Duration, u64), Happening>,
    next: u64,
    pub(crate) machines: Vec<Machine>,
    pub(crate) links: BTreeMap<LinkId, Link>,
    pub(crate) network: Dice,
    pub(crate) people: People,
    pub(crate) faults: Faults,
    pub(crate) truth: Truth,
    pub(crate) trace: Trace,
    /// Machines that cannot reach the others.
    pub(crate) island: BTreeSet<MachineId>,
    pub(crate) violation: Option<Violation>,
    /// Answers to what checks asked.
    pub(crate) told: BTreeMap<u64, Result<crate::machine::Told, String>>,
    pub(crate) crashes: u64,
    pub(crate) cost: Cost,
    lying_disks: bool,
    /// Whom relays let read what, when it was looked last.
    pub(crate) live: BTreeSet<(ContextId, ReplicaId)>,
    /// Who is in each context, when it was looked last.
    pub(crate) inside: BTreeMap<ContextId, Vec<MachineId>>,
    /// Turns at one and the same moment: many mean that something runs in circles.
    turns: (Duration, u64),
}

/// More turns than this without time passing are a circle.
const MOST_TURNS: u64 = 200_000;
/// More calendar entries than this in one run are a circle too.
const MOST_HAPPENINGS: u64 = 500_000_000;

impl World {
    pub(crate) fn new(seed: u64, options: &Options) -> Self {
        let dice = &mut Dice::of(seed, "mix", 0);
        let mix = Mix::draw(options.profile, dice, options.replicas, &options.fleet);
        let mut trace = Trace::new(options.trace);
        trace.say(Duration::ZERO, format!("seed {seed}: {mix:?}"));
        let now = Duration::from_secs(1);
        let time = Arc::new(AtomicU64::new(now.as_nanos() as u64));
        let mut world = Self {
            now,
            time,
            calendar: BTreeMap::new(),
            next: 0,
            machines: Vec::new(),
            links: BTreeMap::new(),
            network: Dice::of(seed, "network", 0),
            people: People::new(Dice::of(seed, "people", 0)),
            faults: Faults::new(Dice::of(seed, "faults", 0)),
            truth: Truth::default(),
            trace,
            island: BTreeSet::new(),
            violation: None,
            told: BTreeMap::new(),
            crashes: 0,
            cost: Cost::default(),
            lying_disks: options.lying_disks,
            live: BTreeSet::new(),
            inside: BTreeMap::new(),
            turns: (now, 0),
            mix,
        };
        world.settle_down(seed);
        world
    }

    pub(crate) fn plan(&mut self, after: Duration, what: Happening) {
        self.plan_at(self.now + after, what);
    }

    pub(crate) fn plan_at(&mut self, at: Duration, what: Happening) {
        self.next += 1;
        self.calendar.insert((at.max(self.now), self.next), what);
    }

    /// Lets everything happen up to a moment.
    pub(crate) fn run_until(&mut self, end: Duration) {
        while self.violation.is_none() {
            let Some(entry) = self.calendar.first_entry() else { break };
            let (at, _) = *entry.key();
            if at > end {
                break;
            }
            let happening = entry.remove();
            self.set_time(at);
            self.happen(happening);
            if self.next > MOST_HAPPENINGS {
                self.violate("more happens than could be of use: something runs in circles");
            }
        }
        self.set_time(end.max(self.now));
    }

    fn set_time(&mut self, now: Duration) {
        self.now = now;
        self.time.store(now.as_nanos() as u64, Ordering::Relaxed);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Turn(machine, life) => {
                if self.lives(machine, life) {
                    self.machines[machine].turn_planned = None;
                    self.turn(machine);
                    self.settle(machine);
                }
            }
            Happening::Store(machine, life) => {
                if self.lives(machine, life) {
                    self.machines[machine].store_planned = false;
                    self.serve_store(machine);
                }
            }
            Happening::Worker(machine, life) => {
                if self.lives(machine, life) {
                    self.machines[machine].worker_planned = false;
                    if let Some(running) = &mut self.machines[machine].running {
                        running.serve_worker();
                    }
                    self.settle(machine);
                }
            }
            Happening::Arrive(link, from) => self.arrive(link, from),
            Happening::Deadline(link) => self.handshake_deadline(link),
            Happening::Broken(link, end) => self.lose_end(link, end),
            Happening::Dial(machine, target, life) => {
                if self.lives(machine, life) {
                    self.dial(machine, target);
                }
            }
            Happening::Act => self.act(),
            Happening::Strike => self.strike(),
            Happening::Mend(trouble) => self.mend(trouble),
            Happening::Tell(story, step) => self.go_on(story, step),
            Happening::Start(machine, life) => {
                if self.machines[machine].life == life && !self.machines[machine].is_up() {
                    self.start(machine);
                }
            }
            Happening::Open(machine, context, life) => {
                if self.lives(machine, life) {
                    self.open_again_in(machine, context);
                }
            }
        }
    }

    pub(crate) fn lives(&self, machine: MachineId, life: u64) -> bool {
        self.machines[machine].life == life && self.machines[machine].is_up()
    }

    pub(crate) fn violate(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.trace.say(self.now, format!("VIOLATION: {what}"));
        self.violation.get_or_insert(Violation(what));
    }

    pub(crate) fn name(&self, machine: MachineId) -> String {
        self.machines[machine].name.clone()
    }

    pub(crate) fn note(&mut self, line: impl AsRef<str>) {
        self.trace.say(self.now, line);
    }
}
