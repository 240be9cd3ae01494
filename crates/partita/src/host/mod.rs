//! The engine's part of the driver's thread: documents around the node.
//!
//! An application's handle marks its document dirty; the driver takes the local changes and appends them. Entries of
//! others come as notices; the driver hands their payloads to the worker, which opens and applies them.

mod arrivals;
mod checkpoint;
mod commands;
mod contexts;
mod held_up;
mod load;
#[cfg(all(test, feature = "simulation", feature = "yrs"))]
mod load_tests;
mod local;
mod records;
mod unload;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use partita_core::{ContextId, CrdtType, CrdtTypeId, CryptoRng, DeviceKeys, DocumentId, Limits, LogId};
use partita_crypto::AeadKey;
use partita_protocol::{Arrival, Notice};
use partita_sync::{Host, HostContext};
use tokio::sync::broadcast;

use crate::{cell::Cell, events::EngineEvent, rebuild::Types, worker::WorkerHandle};
pub use checkpoint::CheckpointOutcome;
#[cfg(feature = "simulation")]
pub use checkpoint::Tamper;
pub(crate) use commands::Command;
use contexts::ContextState;
pub use contexts::SetAsideStatus;
pub(crate) use load::{Reading, Reply};
pub use records::{Reason, SetAside};

type Context<'a> = HostContext<'a, Command>;
pub(crate) type Name = (ContextId, DocumentId);

/// What the driver knows of a document that is loaded or being loaded.
struct Slot {
    cell: Option<Arc<Cell>>,
    /// While it is being loaded: what arrives meanwhile, and who waits.
    loading: Option<Loading>,
    /// The last arrival that was handed to the worker, or appended.
    through: u64,
    /// Own entries that are not durable yet: the arrival, and the local changes that are then.
    in_flight: VecDeque<(u64, u64)>,
    /// Local changes up to this number were appended.
    taken: u64,
    /// What was added since the last snapshot.
    since_snapshot: Added,
    /// What waits for a key.
    waiting: BTreeMap<u64, Arrival>,
    /// What damaged the document when it was applied, by log and number, since what a checkpoint has from before the document was
    /// created came all at once: left out when it is loaded again.
    poisoned: BTreeSet<(LogId, u64)>,
    /// What may become usable, and how often it was tried.
    set_aside: BTreeMap<u64, u32>,
    /// When it was last used, in rounds.
    used: u64,
    /// When it had last been used, once a snapshot was asked for so that it can be unloaded.
    leaves: Option<u64>,
    /// How many checkpoints the context had come to rely upon when a snapshot was asked for.
    snapshot_of: u64,
}

/// Entries, and the bytes of their payloads.
#[derive(Debug, Default)]
pub(crate) struct Added {
    pub(crate) entries: u64,
    pub(crate) bytes: usize,
}

impl Added {
    fn add(&mut self, payload: usize) {
        self.entries += 1;
        self.bytes += payload;
    }
}

#[derive(Default)]
struct Loading {
    arrivals: BTreeMap<u64, Arrival>,
    replies: Vec<load::Reply>,
    /// Not to use the snapshot: it is damaged, or older than a change of verdicts.
    afresh: bool,
    /// Which of all loads this is: what an earlier one read is out of date.
    number: u64,
}

pub(crate) struct EngineHost {
    types: Types,
    slots: BTreeMap<Name, Slot>,
    /// Documents with local changes to take.
    dirty: BTreeSet<Name>,
    worker: WorkerHandle,
    at_rest: AeadKey,
    contexts: BTreeMap<ContextId, ContextState>,
    ended: Vec<contexts::Ended>,
    asked_acknowledged: Vec<contexts::Asked>,
    checkpoints: checkpoint::Tasks,
    events: broadcast::Sender<EngineEvent>,
    wake: Arc<dyn Fn(Command) + Send + Sync>,
    rounds: u64,
    /// How many loads were begun.
    loads: u64,
    random: Box<dyn CryptoRng + Send>,
    works_anywhere: bool,
    few: Added,
    /// What a single change may be.
    limits: Limits,
    /// Documents to load again, and whether without their snapshots, that were locked when nobody could wait for them.
    reloads: BTreeMap<Name, bool>,
    /// Documents that cannot be changed before another log is begun.
    held_up: BTreeSet<Name>,
    /// The engine is closing: what was changed must be taken, also of documents that are locked now.
    closing: bool,
}

impl Slot {
    /// Whether there are local changes that were not looked at yet, or wait for their document.
    fn has_untaken(&self) -> bool {
        self.cell.as_ref().is_some_and(|cell| cell.is_dirty() || cell.waits_with_changes())
    }
}

pub(crate) struct HostParts {
    pub(crate) types: BTreeMap<CrdtTypeId, Arc<dyn CrdtType>>,
    pub(crate) keys: Arc<DeviceKeys>,
    pub(crate) events: broadcast::Sender<EngineEvent>,
    pub(crate) worker: WorkerHandle,
    pub(crate) wake: Arc<dyn Fn(Command) + Send + Sync>,
    pub(crate) random: Box<dyn CryptoRng + Send>,
    /// After how many entries a checkpoint is made by itself; `None`: never.
    pub(crate) checkpoint_after: Option<u64>,
    /// Whether no strategy ever waits for the application.
    pub(crate) works_anywhere: bool,
    /// What a document is loaded of about as fast without a snapshot as with one.
    pub(crate) few: Added,
    /// What the validators of payloads allow.
    pub(crate) limits: Limits,
    /// The most bytes of an entry's payload as it is stored.
    pub(crate) max_payload: u64,
}

impl EngineHost {
    pub(crate) fn new(parts: HostParts) -> Self {
        let mut limits = parts.limits;
        limits.payload_bytes = limits.payload_bytes.min(usize::try_from(parts.max_payload).unwrap_or(usize::MAX));
        Self {
            types: Arc::new(parts.types),
            slots: BTreeMap::new(),
            dirty: BTreeSet::new(),
            worker: parts.worker,
            at_rest: AeadKey::from_secret(&partita_crypto::derive(
                &parts.keys.at_rest,
                "partita 2026 v1 snapshots at rest",
                &[],
            )),
            contexts: BTreeMap::new(),
            ended: Vec::new(),
            asked_acknowledged: Vec::new(),
            checkpoints: checkpoint::Tasks::new(parts.checkpoint_after),
            events: parts.events,
            wake: parts.wake,
            rounds: 0,
            loads: 0,
            random: parts.random,
            works_anywhere: parts.works_anywhere,
            few: parts.few,
            limits,
            reloads: BTreeMap::new(),
            held_up: BTreeSet::new(),
            closing: false,
        }
    }

    fn say(&self, event: EngineEvent) {
        // Nobody may be listening.
        let _ = self.events.send(event);
    }
}

impl Host for EngineHost {
    type Command = Command;

    /// Documents are locked by applications too, but never by a thread that comes here with one.
    fn works_anywhere(&self) -> bool {
        self.works_anywhere
    }

    fn command(&mut self, context: &mut Context<'_>, command: Command) {
        self.on_command(context, command);
    }

    fn notice(&mut self, context: &mut Context<'_>, notice: Notice) {
        match notice {
            Notice::ContextReady(info) => {
                self.on_ready(info);
                self.ask_acknowledged_again(context);
            }
            Notice::Arrived { context: id, entries } => self.on_arrived(context, id, entries),
            Notice::Durable { context: id, arrival } => {
                self.on_durable(id, arrival);
                self.settle_ended(id, arrival);
                self.take_dirty(context); // what waited for that
            }
            Notice::Rebuild { context: id, documents } => self.on_rebuild(context, id, &documents),
            Notice::CheckpointClaimed { context: id, claim } => self.on_claimed(context, id, &claim),
            Notice::CheckpointAdopted { context: id, documents, advanced } => {
                self.on_adopted(context, id, &documents, advanced);
            }
            Notice::KeysArrived(id) => self.on_keys(context, id),
            Notice::NewLog(id) => self.on_new_log(context, id),
            Notice::ControlChanged(id) => self.on_control(id),
            Notice::Acknowledged { context: id, peer } => self.on_acknowledged(context, id, &peer),
            Notice::Live { context: id, peer } => self.on_live(id, &peer),
            Notice::CatchingUp { context: id, peer, progress } => {
                self.say(EngineEvent::CatchingUp { context: id, peer: peer.replica, progress });
            }
            Notice::CaughtUp { context: id, peer } => self.on_caught_up(id, &peer),
            Notice::SessionLive { peer } => self.say(EngineEvent::PeerLive { peer: peer.replica }),
            Notice::Ephemeral { context: id, document, sender, payload } => {
                self.say(EngineEvent::Ephemeral { context: id, document, sender, payload });
            }
            Notice::ContextRefused { context: id, peer, why } => {
                self.say(EngineEvent::ContextRefused { context: id, peer: peer.replica, why });
            }
            Notice::EntryRefused { context: id, peer, log, seq, why } => {
                self.say(EngineEvent::EntryRefused { context: id, peer: peer.replica, log, seq, why });
            }
            Notice::Refused { context: id, peer, log, seq, why } => {
                self.say(EngineEvent::Refused { context: id, peer: peer.replica, log, seq, why });
            }
            Notice::ClockDrift { author, ahead_seconds } => {
                self.say(EngineEvent::ClockDrift { author, ahead_seconds });
            }
            Notice::SessionClosed { peer, .. } => self.on_session_closed(&peer),
            Notice::StoreFailed(error) => self.on_store_failed(context, &error),
            _ => {}
        }
    }

    fn round(&mut self, context: &mut Context<'_>) {
        self.rounds += 1;
        if !context.must_not_wait {
            for (name, afresh) in std::mem::take(&mut self.reloads) {
                self.start_reload(context, name, afresh);
            }
        }
        self.take_dirty(context);
        if !context.must_not_wait {
            self.release_held_up(context);
        }
        self.ask_acknowledged_again(context);
        self.make_due_checkpoints(context);
        self.compare_unread(context);
        self.look_for_quiet(context);
        self.unload_idle(context);
    }

    fn wants_thread(&self) -> bool {
        !self.reloads.is_empty() || !self.held_up.is_empty()
    }

    fn closing(&mut self, context: &mut Context<'_>) {
        if !std::mem::replace(&mut self.closing, true) {
            self.announce_unwritten(|_| true);
        }
        self.take_all(context);
    }

    fn has_closed(&self) -> bool {
        self.dirty.is_empty()
    }
}

impl Drop for EngineHost {
    fn drop(&mut self) {
        let loaded = self.slots.values().filter_map(|slot| slot.cell.as_ref());
        for cell in loaded.chain(self.ended.iter().map(|ended| &ended.cell)) {
            cell.close();
        }
    }
}
