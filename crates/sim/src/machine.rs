//! A machine: a disk, keys, a clock, and the process that runs on it, if one does.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use partita::{
    Context, DocumentError,
    simulation::{SimulatedEngine, SimulatedParts},
};
use partita_core::{
    ContextId, DeviceKeys, DocumentId, Incarnation, Now, PartitionStrategy, ReplicaId, SessionId, StoreError,
};
use partita_group::{Group, GroupRelay, Invitation};
use partita_multi_context::MultiContext;
use partita_protocol::{Backoff, NodeConfig, NodeParts, channel::LocalIdentity};
use partita_redb::RedbOptions;
use partita_single_owner::{SingleOwner, SingleOwnerRelay};
use partita_sync::DriverParts;
use partita_testing::{
    MemoryKeystore,
    disk::{FaultyDisk, Image},
};

use crate::{
    dice::Dice,
    mix::Mix,
    network::LinkId,
    running::{Quiet, Running},
    text::{Crdt, Text},
};

/// A machine, by its place.
pub(crate) type MachineId = usize;

/// When the simulation begins, by a clock that is right.
const EPOCH: Duration = Duration::from_secs(1_800_000_000);

/// What a decision changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    In(MachineId),
    Out(MachineId),
    None,
}

/// What somebody asked of a process, and what came of it.
#[derive(Debug)]
pub(crate) enum Answer {
    Context(ContextId, Option<Context>),
    Document(DocumentId, Result<Text, DocumentError>),
    /// With those who were let in from now on and whom its author knew.
    Created(ContextId, Crdt, Vec<MachineId>, Result<(DocumentId, Text), String>),
    /// An edit is durable, or will never be.
    Durable(u64, bool),
    /// Somebody decided something about who is in.
    Decided(ContextId, String, Change, Result<(), String>),
    Invited(ContextId, Result<Box<Invitation>, String>),
    Closed,
    ContextClosed(ContextId, Result<(), String>),
    /// Somebody wanted a checkpoint.
    Checkpoint(ContextId, String),
    /// For checks: whatever was asked.
    Told(u64, Result<Told, String>),
}

/// What a process says of itself when it is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// Whether this device is in, and who is, as far as it knows.
    Members(bool, String),
    SetAside(Vec<String>),
}

pub(crate) type Task = Pin<Box<dyn Future<Output = Answer>>>;

/// An earlier state of a device.
#[derive(Debug)]
pub(crate) struct Backup {
    pub(crate) disk: Image,
    /// `None` where the keys of then would not open what it was given since, and nobody would give it again.
    pub(crate) keystore: Option<MemoryKeystore>,
}

/// One that a device dials.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) backoff: Backoff,
    pub(crate) link: Option<LinkId>,
    /// A dial is on the calendar.
    pub(crate) due: bool,
}

pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) is_relay: bool,
    pub(crate) replica: ReplicaId,
    pub(crate) keystore: MemoryKeystore,
    pub(crate) owner_plain: bool,
    pub(crate) disk: FaultyDisk,
    pub(crate) running: Option<Running>,
    /// Counts starts and ends: what was planned for an earlier life does not happen.
    pub(crate) life: u64,
    /// By how many seconds its wall clock is wrong.
    pub(crate) skew: Arc<AtomicI64>,
    pub(crate) dice: Dice,
    pub(crate) tasks: Vec<Task>,
    pub(crate) contexts: BTreeMap<ContextId, Context>,
    pub(crate) documents: BTreeMap<DocumentId, Text>,
    /// Documents that are being loaded or created.
    pub(crate) loading: BTreeSet<DocumentId>,
    /// Documents that could not be loaded when they were asked for last, and why.
    pub(crate) unloadable: BTreeMap<DocumentId, DocumentError>,
    pub(crate) sessions: BTreeMap<SessionId, (LinkId, usize)>,
    pub(crate) lines: BTreeMap<MachineId, Line>,
    pub(crate) online: bool,
    /// What is on the calendar.
    pub(crate) store_planned: bool,
    pub(crate) worker_planned: bool,
    pub(crate) turn_planned: Option<Duration>,
    pub(crate) commit_time: Duration,
    pub(crate) limits: NodeConfig,
    pub(crate) checkpoint_after: Option<u64>,
    /// At the next commit, the power goes after so many operations.
    pub(crate) cut_in_commit: Option<u64>,
    pub(crate) backup: Option<Backup>,
    /// Groups that are in the keystore, and not yet in the running engine.
    pub(crate) reopen: bool,
    /// Whom it lets in at the beginning.
    pub(crate) lets_in: Vec<(ContextId, MachineId)>,
    /// It says what is not so.
    pub(crate) lies: bool,
    /// A context that is not its own and that it asks for.
    pub(crate) steals: Option<ContextId>,
    /// Whose late entries of a context it offers.
    pub(crate) smuggles: Option<(MachineId, ContextId)>,
    /// Somebody else in whose name it offers an entry, made with that one's own key.
    pub(crate) forges: Option<(MachineId, ContextId)>,
    /// It no longer takes part: sold, or copied for a while.
    pub(crate) retired: bool,
    /// Whose copy it is.
    pub(crate) copy_of: Option<MachineId>,
}

/// What a machine's clocks say, given the world's time.
pub(crate) fn clock(time: &Arc<AtomicU64>, skew: &Arc<AtomicI64>) -> impl Fn() -> Now + Send + Sync + 'static {
    let (time, skew) = (time.clone(), skew.clone());
    move || {
        let monotonic = Duration::from_nanos(time.load(Ordering::Relaxed));
        let skew = skew.load(Ordering::Relaxed);
        let right = EPOCH + monotonic;
        let wrong = Duration::from_secs(skew.unsigned_abs());
        let wall = if skew < 0 { right.saturating_sub(wrong) } else { right.saturating_add(wrong) };
        Now { monotonic, wall }
    }
}

impl Machine {
    pub(crate) fn new(name: String, is_relay: bool, keystore: MemoryKeystore, mut dice: Dice, mix: &Mix) -> Self {
        let keys = DeviceKeys::load(&keystore).or_else(|_| DeviceKeys::create(&keystore, dice.rng()));
        let replica = keys.map(|keys| keys.replica()).unwrap_or_default();
        Self {
            name,
            is_relay,
            replica,
            keystore,
            owner_plain: false,
            disk: FaultyDisk::default(),
            running: None,
            life: 0,
            skew: Arc::default(),
            dice,
            tasks: Vec::new(),
            contexts: BTreeMap::new(),
            documents: BTreeMap::new(),
            loading: BTreeSet::new(),
            unloadable: BTreeMap::new(),
            sessions: BTreeMap::new(),
            lines: BTreeMap::new(),
            online: true,
            store_planned: false,
            worker_planned: false,
            turn_planned: None,
            commit_time: mix.commit,
            limits: mix.limits.clone(),
            checkpoint_after: mix.checkpoint_after,
            cut_in_commit: None,
            backup: None,
            reopen: false,
            lets_in: Vec::new(),
            lies: false,
            steals: None,
            smuggles: None,
            forges: None,
            retired: false,
            copy_of: None,
        }
    }

    fn strategies(&self) -> Vec<Box<dyn PartitionStrategy>> {
        if self.is_relay {
            return vec![Box::new(SingleOwnerRelay::new()), Box::new(GroupRelay::new())];
        }
        let mut all = MultiContext::new();
        if let Ok(owner) = SingleOwner::open(&self.keystore) {
            all = all.with(if self.owner_plain { owner.with_plain() } else { owner });
        }
        for group in Group::all(&self.keystore).unwrap_or_default() {
            if let Ok(group) = Group::open(Arc::new(self.keystore.clone()), &group) {
                all = all.with(group);
            }
        }
        vec![Box::new(all)]
    }

    /// Starts its process from its disk.
    pub(crate) fn start(&mut self, time: &Arc<AtomicU64>) -> Result<(), StoreError> {
        let keys = DeviceKeys::load(&self.keystore).map_err(|error| StoreError::Io(error.to_string()))?;
        let incarnation = Incarnation::from_bytes(self.dice.bytes());
        let store = RedbOptions::new().cache_bytes(1 << 20).open_backend(self.disk.clone(), incarnation)?;
        let store = Arc::new(store);
        let identity = LocalIdentity { key: Arc::new(keys.signing.clone()), incarnation };
        let clock = clock(time, &self.skew);
        self.running = Some(if self.is_relay {
            let config = NodeConfig { accept_contexts: true, ..self.limits.clone() };
            let (strategies, rng) = (self.strategies(), self.dice.split());
            let node = NodeParts { config, identity: identity.clone(), strategies, rng };
            let parts = DriverParts { node, store, host: Quiet, tap: None, observer: Arc::new(()) };
            Running::relay(identity, parts, clock)
        } else {
            let mut dice = self.dice.fork();
            let parts = SimulatedParts {
                store,
                incarnation,
                keys: Arc::new(keys),
                strategies: self.strategies(),
                types: Vec::new(),
                contexts: Vec::new(),
                config: self.limits.clone(),
                checkpoint_after: self.checkpoint_after,
                random: Box::new(move || dice.split()),
                clock: Box::new(clock),
            };
            Running::device(identity, SimulatedEngine::open(parts))
        });
        self.life += 1;
        self.reopen = false;
        for context in self.named_contexts() {
            self.ask_context(context);
        }
        Ok(())
    }

    /// The contexts that its keys are for.
    pub(crate) fn named_contexts(&self) -> Vec<ContextId> {
        if self.is_relay {
            return Vec::new();
        }
        let mut found = Group::all(&self.keystore).unwrap_or_default();
        if let Ok(owner) = SingleOwner::open(&self.keystore) {
            found.push(owner.context());
            if self.owner_plain {
                found.push(owner.plain_context());
            }
        }
        found
    }

    pub(crate) fn ask_context(&mut self, id: ContextId) {
        let Some(engine) = self.running.as_ref().and_then(Running::engine).cloned() else { return };
        self.tasks.push(Box::pin(async move { Answer::Context(id, engine.context(id).await.ok()) }));
    }

    /// The process is gone, and everything that was its own.
    pub(crate) fn end(&mut self) {
        self.life += 1;
        self.tasks.clear();
        self.contexts.clear();
        self.documents.clear();
        self.loading.clear();
        self.unloadable.clear();
        self.running = None;
        self.store_planned = false;
        self.worker_planned = false;
        self.turn_planned = None;
        self.cut_in_commit = None;
        for line in self.lines.values_mut() {
            line.due = false;
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.running.is_some()
    }

    /// Loads a document, unless it is there or on its way.
    pub(crate) fn ask_document(&mut self, context: ContextId, id: DocumentId, crdt: Crdt) {
        if self.documents.contains_key(&id) || self.loading.contains(&id) {
            return;
        }
        let Some(context) = self.contexts.get(&context).cloned() else { return };
        self.loading.insert(id);
        self.tasks.push(Box::pin(async move {
            let text = match crdt {
                Crdt::Automerge => context.get(id).await.map(Text::Automerge),
                Crdt::Yrs => context.get(id).await.map(Text::Yrs),
            };
            Answer::Document(id, text)
        }));
    }

    pub(crate) fn make_checkpoint(&mut self, id: ContextId) {
        let Some(context) = self.contexts.get(&id).cloned() else { return };
        self.tasks.push(Box::pin(async move {
            let outcome = context.checkpoint().await;
            Answer::Checkpoint(id, outcome.map_or_else(|error| error.to_string(), |outcome| format!("{outcome:?}")))
        }));
    }

    pub(crate) fn create_document(&mut self, context: ContextId, crdt: Crdt, known: Vec<MachineId>) {
        let Some(handle) = self.contexts.get(&context).cloned() else { return };
        self.tasks.push(Box::pin(async move {
            let text = match crdt {
                Crdt::Automerge => handle.create().await.map(|text| (text.id(), Text::Automerge(text))),
                Crdt::Yrs => handle.create().await.map(|text| (text.id(), Text::Yrs(text))),
            };
            Answer::Created(context, crdt, known, text.map_err(|error| error.to_string()))
        }));
    }
}
