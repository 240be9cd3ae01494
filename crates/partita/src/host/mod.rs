//! The engine's part of the driver's thread: documents around the node.
//!
//! An application's handle marks its document dirty; the driver takes the local changes and appends them. Entries of
//! others come as notices; the driver opens their payloads and hands them to the worker, which applies them.

mod arrivals;
mod commands;
mod load;
mod local;
mod records;
mod unload;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, mpsc},
};

use partita_core::{ContextId, ContextInfo, CrdtType, CrdtTypeId, DeviceKeys, DocumentId, Incarnation, PeerInfo};
use partita_crypto::AeadKey;
use partita_protocol::{Arrival, Notice};
use partita_sync::{Host, HostContext};
use tokio::sync::{broadcast, oneshot};

use crate::{
    cell::Cell,
    error::{CommitError, DocumentError, EngineError},
    events::EngineEvent,
    worker::Job,
};
pub(crate) use commands::Command;
pub(crate) use load::Reply;
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
    /// Entries since the last snapshot.
    since_snapshot: u64,
    /// What waits for a key.
    waiting: BTreeMap<u64, Arrival>,
    /// What damaged the document when it was applied: left out when it is loaded again.
    poisoned: BTreeSet<u64>,
    /// When it was last used, in rounds.
    used: u64,
}

#[derive(Default)]
struct Loading {
    arrivals: BTreeMap<u64, Arrival>,
    replies: Vec<load::Reply>,
    /// Not to use the snapshot: it is damaged, or older than a change of verdicts.
    afresh: bool,
}

pub(crate) struct EngineHost {
    types: BTreeMap<CrdtTypeId, Arc<dyn CrdtType>>,
    slots: BTreeMap<Name, Slot>,
    /// Documents with local changes to take.
    dirty: BTreeSet<Name>,
    worker: mpsc::Sender<Job>,
    at_rest: AeadKey,
    contexts: BTreeMap<ContextId, ContextState>,
    events: broadcast::Sender<EngineEvent>,
    wake: Arc<dyn Fn(Command) + Send + Sync>,
    rounds: u64,
}

/// What the engine knows of a context beyond the node.
#[derive(Default)]
struct ContextState {
    /// Whether the node has loaded it.
    ready: bool,
    waiting: Vec<oneshot::Sender<Result<(), EngineError>>>,
    /// The arrival of the last own entry.
    written: u64,
    /// How far each remote acknowledged own entries.
    acknowledged: BTreeMap<PeerKey, u64>,
    /// Who waits for a remote to acknowledge up to an arrival.
    waiting_acknowledged: Vec<(u64, oneshot::Sender<()>)>,
    /// Remotes of which everything that they held was received.
    caught_up: BTreeSet<PeerKey>,
    waiting_caught_up: Vec<oneshot::Sender<()>>,
    live: BTreeMap<PeerKey, PeerInfo>,
}

type PeerKey = (partita_core::ReplicaId, Incarnation);

fn peer_key(peer: &PeerInfo) -> PeerKey {
    (peer.replica, peer.incarnation)
}

pub(crate) struct HostParts {
    pub(crate) types: BTreeMap<CrdtTypeId, Arc<dyn CrdtType>>,
    pub(crate) keys: Arc<DeviceKeys>,
    pub(crate) events: broadcast::Sender<EngineEvent>,
    pub(crate) worker: mpsc::Sender<Job>,
    pub(crate) wake: Arc<dyn Fn(Command) + Send + Sync>,
}

impl EngineHost {
    pub(crate) fn new(parts: HostParts) -> Self {
        Self {
            types: parts.types,
            slots: BTreeMap::new(),
            dirty: BTreeSet::new(),
            worker: parts.worker,
            at_rest: AeadKey::from_secret(&partita_crypto::derive(
                &parts.keys.at_rest,
                "partita 2026 v1 snapshots at rest",
                &[],
            )),
            contexts: BTreeMap::new(),
            events: parts.events,
            wake: parts.wake,
            rounds: 0,
        }
    }

    fn say(&self, event: EngineEvent) {
        // Nobody may be listening.
        let _ = self.events.send(event);
    }

    fn open_contexts(&mut self, context: &mut Context<'_>, contexts: Vec<ContextInfo>) {
        for info in contexts {
            self.contexts.entry(info.id).or_default();
            context.node.open_context(context.now, info);
        }
    }

    fn on_ready(&mut self, info: ContextInfo) {
        let state = self.contexts.entry(info.id).or_default();
        state.ready = true;
        for reply in state.waiting.drain(..) {
            let _ = reply.send(Ok(()));
        }
        self.say(EngineEvent::ContextReady(info));
    }

    fn on_acknowledged(&mut self, context: ContextId, peer: &PeerInfo, arrival: u64) {
        let state = self.contexts.entry(context).or_default();
        let reached = state.acknowledged.entry(peer_key(peer)).or_default();
        *reached = arrival.max(*reached);
        let reached = *reached;
        for (_, reply) in state.waiting_acknowledged.extract_if(.., |(wanted, _)| *wanted <= reached) {
            let _ = reply.send(());
        }
    }

    fn on_session_closed(&mut self, peer: &PeerInfo) {
        for state in self.contexts.values_mut() {
            if state.live.get(&peer_key(peer)).is_some_and(|live| live.session == peer.session) {
                state.live.remove(&peer_key(peer));
                state.caught_up.remove(&peer_key(peer));
            }
        }
    }

    fn on_store_failed(&mut self, error: &partita_core::StoreError) {
        for slot in self.slots.values_mut() {
            if let Some(cell) = &slot.cell {
                cell.fail(u64::MAX, CommitError::Store(error.clone()));
            }
            for reply in slot.loading.take().into_iter().flat_map(|loading| loading.replies) {
                reply.answer(Err(DocumentError::from(error.clone())));
            }
        }
        self.say(EngineEvent::StoreFailed(error.clone()));
    }
}

impl Host for EngineHost {
    type Command = Command;

    fn command(&mut self, context: &mut Context<'_>, command: Command) {
        self.on_command(context, command);
    }

    fn notice(&mut self, context: &mut Context<'_>, notice: Notice) {
        match notice {
            Notice::ContextReady(info) => self.on_ready(info),
            Notice::Arrived { context: id, entries } => self.on_arrived(context, id, entries),
            Notice::Durable { context: id, arrival } => self.on_durable(id, arrival),
            Notice::Rebuild { context: id, documents } => self.on_rebuild(context, id, &documents),
            Notice::KeysArrived(id) => self.on_keys(context, id),
            Notice::Acknowledged { context: id, peer, arrival } => {
                self.on_acknowledged(id, &peer, arrival);
                self.say(EngineEvent::Acknowledged { context: id, peer: peer.replica });
            }
            Notice::Live { context: id, peer } => {
                self.contexts.entry(id).or_default().live.insert(peer_key(&peer), peer.clone());
                self.say(EngineEvent::Live { context: id, peer: peer.replica });
            }
            Notice::CaughtUp { context: id, peer } => {
                let state = self.contexts.entry(id).or_default();
                state.caught_up.insert(peer_key(&peer));
                for reply in state.waiting_caught_up.drain(..) {
                    let _ = reply.send(());
                }
                self.say(EngineEvent::CaughtUp { context: id, peer: peer.replica });
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
            Notice::StoreFailed(error) => self.on_store_failed(&error),
            _ => {}
        }
    }

    fn round(&mut self, context: &mut Context<'_>) {
        self.rounds += 1;
        self.take_dirty(context);
        self.unload_idle(context);
    }

    fn closing(&mut self, context: &mut Context<'_>) {
        self.dirty = self.slots.keys().copied().collect();
        self.take_all(context);
    }
}

impl Drop for EngineHost {
    fn drop(&mut self) {
        for cell in self.slots.values().filter_map(|slot| slot.cell.as_ref()) {
            cell.close();
        }
    }
}
