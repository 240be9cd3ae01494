//! What a seed's world is like: swarm testing, so that some worlds have much of one thing and none of another.
//!
//! After Groce, Zhang, Eide, Chen, Regehr, "Swarm Testing" (2012): leaving features out finds what having all hides.

use std::time::Duration;

use partita_protocol::{NodeConfig, message::RunLimits};

use crate::dice::Dice;

/// How large and how hostile worlds are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// A few devices, a minute or two of trouble.
    Small,
    /// Many devices in many contexts at one relay, and little trouble: how cost grows.
    Fleet,
    /// Small, with a relay or members that lie.
    Hostile,
    /// Small, and contexts are closed and opened again while their engine runs; half of the worlds have two relays. The same
    /// seed is the same small world but for that.
    Wide,
}

/// What can go wrong, as a person would say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// A connection breaks; each end notices at its own time, or one of them not at all.
    Cut,
    /// Some machines cannot reach the others for a while.
    Partition,
    /// One direction of a connection stands still for a while.
    OneWay,
    /// One direction of a connection becomes slow.
    Slow,
    /// Frames are lost, doubled, swapped or changed on the way.
    BadWire,
    /// A process ends; what it wrote is there.
    Crash,
    /// The power goes; what was not synced is gone.
    PowerCut,
    /// The power goes; of what was not synced, some is there.
    TornPowerCut,
    /// The power goes in the middle of a commit.
    CutInCommit,
    /// A write or a sync fails.
    DiskError,
    /// The disk is full for a while.
    DiskFull,
    /// A disk takes seconds for a commit.
    SlowDisk,
    /// A clock jumps, by seconds or by years.
    Clock,
    /// An application is closed and opened again.
    Restart,
    /// A device is away for long.
    Away,
    /// An old backup replaces a device's store, and perhaps its keys.
    Backup,
    /// A copy of a device's store and keys runs beside it.
    Copy,
    /// The relay's process is killed, or loses power.
    RelayCrash,
    /// The relay comes back with an empty store.
    RelayWiped,
    /// Another relay takes its place.
    RelayReplaced,
    /// The relay lies: it changes, repeats, forgets and invents.
    RelayLies,
    /// A member writes what is no payload.
    Garbage,
    /// A device asks a relay for a context that it is not in.
    Thief,
    /// Somebody who is in offers what somebody wrote who was shut out.
    Smuggler,
    /// Somebody who is in offers an entry of somebody who never was.
    Forger,
    /// Somebody is shut out by a device that is away and has not seen its latest work, which others have.
    Feud,
    /// A device that wrote before and after a restart, while it was away, offers the later log first, and is cut off.
    Hasty,
    /// A member that is away begins a new key epoch and writes under it, while somebody whom it does not know of is let in and
    /// opens everything.
    Crossing,
    /// Somebody writes a great deal at once, and the connection breaks again and again while that is on its way.
    Torn,
    /// A member claims a checkpoint whose snapshots hold more than what was written, or less, or calls bad what is not.
    Falsifier,
    /// Somebody claims a checkpoint while keys change, and while somebody is away who goes on writing.
    Pruner,
    /// Somebody is away for long, goes on writing, and is declared dormant between two checkpoints.
    Drawer,
    /// Somebody is let in who may not read what there is, and checkpoints are made around it.
    Latecomer,
}

const TROUBLES: &[Trouble] = &[
    Trouble::Cut,
    Trouble::Partition,
    Trouble::OneWay,
    Trouble::Slow,
    Trouble::BadWire,
    Trouble::Crash,
    Trouble::PowerCut,
    Trouble::TornPowerCut,
    Trouble::CutInCommit,
    Trouble::DiskError,
    Trouble::DiskFull,
    Trouble::SlowDisk,
    Trouble::Clock,
    Trouble::Restart,
    Trouble::Away,
    Trouble::Backup,
    Trouble::Copy,
    Trouble::RelayCrash,
    Trouble::RelayWiped,
    Trouble::RelayReplaced,
    Trouble::Thief,
    Trouble::Smuggler,
    Trouble::Forger,
    Trouble::Feud,
    Trouble::Hasty,
    Trouble::Crossing,
    Trouble::Torn,
    Trouble::Falsifier,
    Trouble::Pruner,
    Trouble::Drawer,
    Trouble::Latecomer,
];

/// A world's shape.
#[derive(Debug, Clone)]
pub(crate) struct Mix {
    /// Owners, each with so many devices at the beginning.
    pub(crate) owners: Vec<usize>,
    /// Groups, each with so many members at the beginning.
    pub(crate) groups: Vec<usize>,
    /// Whether owners have a plain context too.
    pub(crate) plain: bool,
    /// Whether devices of one owner or group may also connect to each other.
    pub(crate) direct: bool,
    /// How many relays there are. Each device dials all of them.
    pub(crate) relays: usize,
    /// How long people are busy and things go wrong.
    pub(crate) busy: Duration,
    /// From one thing that somebody does to the next.
    pub(crate) think: Duration,
    /// From one trouble to the next.
    pub(crate) trouble_every: Duration,
    /// What can go wrong.
    pub(crate) troubles: Vec<Trouble>,
    /// How long frames travel.
    pub(crate) latency: Duration,
    /// How fast frames go.
    pub(crate) bytes_per_second: u64,
    /// How long a commit takes.
    pub(crate) commit: Duration,
    /// How many in a thousand things that people do change who is in.
    pub(crate) membership: usize,
    /// How many of those who are let in may read only what is written from then on, in a thousand.
    pub(crate) latecomers: usize,
    /// How many people write text of some length, in a thousand edits.
    pub(crate) long_edits: usize,
    /// How often somebody only opens a document, in a thousand things that people do.
    pub(crate) readers: usize,
    /// How often somebody makes a checkpoint, in a thousand things that people do.
    pub(crate) checkpoints: usize,
    /// After how many entries engines make one by themselves.
    pub(crate) checkpoint_after: Option<u64>,
    /// How often somebody closes a context for a while, in a thousand things that people do.
    pub(crate) closings: usize,
    /// The nodes' limits: small ones bring what otherwise takes megabytes.
    pub(crate) limits: NodeConfig,
}

fn draw_limits(dice: &mut Dice) -> NodeConfig {
    let mut limits = NodeConfig::default();
    let small = |dice: &mut Dice| dice.chance(350);
    if small(dice) {
        limits.credit = dice.range(2_000, 10_000) as u64;
    }
    if small(dice) {
        limits.run = RunLimits { entries: dice.range(1, 8), bytes: dice.range(200, 4_000) };
    }
    if small(dice) {
        limits.fragment_bytes = dice.range(50, 2_000);
    }
    if small(dice) {
        limits.frame_bytes = dice.range(500, 20_000);
    }
    if small(dice) {
        limits.send_buffer = dice.range(500, 20_000);
    }
    if small(dice) {
        limits.tail_bytes = dice.range(0, 5_000);
    }
    if small(dice) {
        limits.heartbeat = Duration::from_secs(dice.range(5, 10) as u64);
    }
    if small(dice) {
        limits.commit_pause = Duration::from_millis(dice.range(0, 400) as u64);
    }
    if small(dice) {
        limits.unload_after = Duration::from_secs(dice.range(1, 20) as u64);
    }
    if small(dice) {
        limits.max_quarantine = dice.range(1, 20) as u64;
    }
    limits
}

/// A large world: what it costs is to be known, so its shape is not drawn.
#[derive(Debug, Clone, Copy)]
pub struct Fleet {
    /// How many devices.
    pub replicas: usize,
    /// How many owners' and groups' contexts they are in, one each.
    pub contexts: usize,
    /// About how many edits people make.
    pub edits: usize,
    /// For how long they do.
    pub hours: usize,
}

impl Default for Fleet {
    fn default() -> Self {
        Self { replicas: 1000, contexts: 50, edits: 5000, hours: 2 }
    }
}

/// What goes wrong in a large world, now and then.
const FLEET_TROUBLES: &[Trouble] = &[
    Trouble::Cut,
    Trouble::Crash,
    Trouble::PowerCut,
    Trouble::TornPowerCut,
    Trouble::Restart,
    Trouble::Away,
    Trouble::Clock,
    Trouble::RelayCrash,
];

impl Mix {
    fn fleet(fleet: &Fleet) -> Self {
        let contexts = fleet.contexts.max(1);
        let size = |at: usize| fleet.replicas * (at + 1) / contexts - fleet.replicas * at / contexts;
        let (mut owners, mut groups) = (Vec::new(), Vec::new());
        for at in 0..contexts {
            if at % 2 == 0 { owners.push(size(at).max(1)) } else { groups.push(size(at).max(1)) }
        }
        let busy = Duration::from_secs(3600 * fleet.hours as u64);
        Self {
            owners,
            groups,
            plain: false,
            direct: false,
            relays: 1,
            busy,
            think: busy / fleet.edits.max(1) as u32,
            trouble_every: busy / 200,
            troubles: FLEET_TROUBLES.to_vec(),
            latency: Duration::from_millis(40),
            bytes_per_second: 4 << 20,
            commit: Duration::from_millis(3),
            membership: 0,
            latecomers: 0,
            long_edits: 5,
            readers: 20,
            checkpoints: 0,
            checkpoint_after: Some(64),
            closings: 0,
            limits: NodeConfig::default(),
        }
    }

    pub(crate) fn draw(profile: Profile, dice: &mut Dice, replicas: Option<usize>, fleet: &Fleet) -> Self {
        if profile == Profile::Fleet {
            return Self::fleet(&Fleet { replicas: replicas.unwrap_or(fleet.replicas), ..*fleet });
        }
        let most = replicas.unwrap_or(5).max(1);
        let owners = dice.below(3);
        let groups = if owners == 0 { dice.range(1, 2) } else { dice.below(3) };
        let busy = Duration::from_secs(dice.range(20, 90) as u64);
        let actions = dice.range(10, 60) as u32;
        let share = dice.range(100, 600);
        let mut troubles: Vec<Trouble> = TROUBLES.iter().copied().filter(|_| dice.chance(share)).collect();
        if profile == Profile::Hostile {
            troubles.extend([Trouble::RelayLies, Trouble::Garbage].into_iter().filter(|_| dice.chance(700)));
        } else if dice.chance(100) {
            troubles.push(Trouble::Garbage);
        }
        let strikes = dice.range(0, 15) as u32;
        let mut limits = draw_limits(dice);
        if troubles.contains(&Trouble::Torn) {
            // What is large is a matter of the limit: text of real size would only take time. And what is sent at once must be
            // through before the connection breaks, or nothing is there to go on from.
            limits.fragment_bytes = limits.fragment_bytes.min(1_000);
            limits.frame_bytes = limits.frame_bytes.min(2_000);
        }
        let mut mix = Self {
            owners: (0..owners).map(|_| dice.range(1, most.min(4))).collect(),
            groups: (0..groups).map(|_| dice.range(1, most.min(4))).collect(),
            plain: dice.chance(300),
            direct: dice.chance(250),
            relays: 1,
            busy,
            think: busy / actions,
            trouble_every: busy / strikes.max(1),
            troubles: if strikes == 0 { Vec::new() } else { troubles },
            latency: Duration::from_millis(dice.range(1, 120) as u64),
            commit: Duration::from_micros(dice.range(100, 30_000) as u64),
            membership: if dice.chance(700) { dice.range(20, 300) } else { 0 },
            latecomers: dice.range(0, 500),
            bytes_per_second: dice.pick(&[20_000, 100_000, 4 << 20]).unwrap_or(4 << 20),
            long_edits: if dice.chance(400) { dice.range(50, 300) } else { 0 },
            readers: dice.range(0, 300),
            checkpoints: if dice.chance(500) { dice.range(10, 200) } else { 0 },
            checkpoint_after: if dice.chance(400) { Some(dice.range(5, 60) as u64) } else { None },
            closings: 0,
            limits,
        };
        if profile == Profile::Hostile && dice.chance(350) {
            mix.limits.claim_bytes = dice.range(200, 2_000);
        }
        if profile == Profile::Wide {
            // Behind everything else, so that the rest is drawn as ever.
            mix.closings = dice.range(20, 200);
            mix.relays = dice.range(1, 2);
        }
        mix
    }
}
