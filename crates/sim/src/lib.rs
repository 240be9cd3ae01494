//! Whole fleets of Partita's replicas, simulated from one seed.
//!
//! What runs here is what runs anywhere: the protocol, the plugins, the CRDT types, redb, the engine and its driver. Only
//! time, threads, disks and the network are this crate's. One seed decides everything, so the same seed is the same run.

mod check;
mod dice;
mod disks;
mod faults;
mod keys;
mod machine;
mod mix;
mod network;
mod people;
mod running;
mod see;
mod stories;
mod text;
mod trace;
mod truth;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use mix::{Fleet, Profile};

/// What to run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How large and hostile.
    pub profile: Profile,
    /// How many replicas there are about at most in one owner's or group's context.
    pub replicas: Option<usize>,
    /// Print what happens.
    pub trace: bool,
    /// The shape of a large world.
    pub fleet: Fleet,
    /// Every disk says that it has synced, and has not: a negative control, which must be noticed.
    pub lying_disks: bool,
}

impl Options {
    /// The usual ones of a profile.
    pub fn new(profile: Profile) -> Self {
        Self { profile, replicas: None, trace: false, fleet: Fleet::default(), lying_disks: false }
    }
}

/// What a run took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Frames that were sent.
    pub frames: u64,
    /// Their bytes, sealed.
    pub bytes: u64,
    /// Of these, frames and bytes that relays sent.
    pub relay_bytes: u64,
    /// Durable commits of all stores.
    pub commits: u64,
    /// Turns of all drivers.
    pub turns: u64,
    /// Edits that people made.
    pub edits: u64,
    /// Seconds of the world's time from the last trouble until everybody was seen to have the same.
    pub settled_after: u64,
}

/// What became of one seed.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What law was broken; with the latest lines of the trace.
    pub failure: Option<(String, Vec<String>)>,
    /// Frames that arrived, and other steps.
    pub events: u64,
    /// Processes that ended without a word.
    pub crashes: u64,
    /// Troubles of all kinds.
    pub faults: u64,
    /// How long it took, in the world's time, in seconds.
    pub virtual_seconds: f64,
    /// What it took.
    pub cost: Cost,
    /// Of everything that happened.
    pub digest: [u8; 32],
}

/// Runs one seed. A panic anywhere in it is its failure.
pub fn run(seed: u64, options: &Options) -> Outcome {
    let none = Outcome {
        seed,
        failure: None,
        events: 0,
        crashes: 0,
        faults: 0,
        virtual_seconds: 0.0,
        cost: Cost::default(),
        digest: [0; 32],
    };
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let mut world = world::World::new(seed, options);
        world.live();
        let failure = world.violation.take().map(|violation| (violation.0, world.trace.last_lines()));
        Outcome {
            failure,
            events: world.trace.events,
            crashes: world.crashes,
            faults: world.faults.count,
            virtual_seconds: world.now.as_secs_f64(),
            cost: Cost { edits: world.truth.edits.len() as u64, ..world.cost },
            digest: world.trace.digest(),
            ..none.clone()
        }
    }));
    ran.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Outcome { failure: Some((format!("a panic: {}", said.unwrap_or("of no words")), Vec::new())), ..none }
    })
}
