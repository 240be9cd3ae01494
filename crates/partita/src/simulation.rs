//! An engine without threads: whoever holds it says when each of its parts works, and what time it is.
//!
//! The parts are the ones that run on threads otherwise: the driver with the engine's book-keeping, the store's work, the
//! worker that applies what others wrote. The [`Engine`] that comes with them is the one that applications use; its futures
//! are polled by hand. For `partita-sim`; no part of the stable interface.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use partita_core::{
    ContextId, ContextInfo, CrdtType, CryptoRng, DeviceKeys, DocumentId, DocumentType, EntryKind, Incarnation, Limits,
    Now, PartitionStrategy, Store,
};
use partita_protocol::{Event, Node, NodeConfig, NodeParts, RemoteSession, channel::LocalIdentity};
use partita_sync::{DriverParts, Stepped, SteppedEnd, StoreWork, Transports};

use crate::{
    Document, Engine,
    builder::{Ways, shipped_types},
    engine::Shared,
    host::{Added, Command, EngineHost, HostParts},
    jobs::Jobs,
    worker::{Job, Worker, WorkerHandle},
};

pub use crate::host::Tamper;

/// What a simulated engine is made of.
pub struct SimulatedParts {
    /// Its store, opened with the incarnation below.
    pub store: Arc<dyn Store>,
    /// The incarnation.
    pub incarnation: Incarnation,
    /// The device's keys.
    pub keys: Arc<DeviceKeys>,
    /// Its strategies.
    pub strategies: Vec<Box<dyn PartitionStrategy>>,
    /// CRDT types beside those that ship with the engine.
    pub types: Vec<Arc<dyn CrdtType>>,
    /// Contexts beside those that the strategies bring along.
    pub contexts: Vec<ContextInfo>,
    /// The node's limits.
    pub config: NodeConfig,
    /// After how many entries a checkpoint is made by itself.
    pub checkpoint_after: Option<u64>,
    /// Makes a generator for each part of the engine.
    pub random: Box<dyn FnMut() -> Box<dyn CryptoRng + Send>>,
    /// What tells the time.
    pub clock: Box<dyn Fn() -> Now + Send + Sync>,
}

impl std::fmt::Debug for SimulatedParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimulatedParts").field("incarnation", &self.incarnation).finish_non_exhaustive()
    }
}

/// See the [module](self). Dropping it is a crash: what its store has not done yet is never done.
pub struct SimulatedEngine {
    engine: Engine,
    driver: Stepped<EngineHost>,
    worker: Worker,
    receiver: mpsc::Receiver<Job>,
    jobs: Jobs,
}

impl std::fmt::Debug for SimulatedEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimulatedEngine").field("driver", &self.driver).finish_non_exhaustive()
    }
}

impl SimulatedEngine {
    /// An engine that has begun to load its contexts, as soon as it gets turns.
    pub fn open(mut parts: SimulatedParts) -> Self {
        let ways = Ways::new();
        let (jobs, receiver) = WorkerHandle::stepped();
        let worker = Worker::new(Limits::default(), parts.store.clone(), ways.wake.clone());
        let mut types = shipped_types();
        types.extend(std::mem::take(&mut parts.types).into_iter().map(|crdt| (crdt.id(), crdt)));
        let host = EngineHost::new(HostParts {
            types,
            keys: parts.keys.clone(),
            events: ways.events.clone(),
            worker: jobs,
            wake: ways.wake.clone(),
            random: (parts.random)(),
            checkpoint_after: parts.checkpoint_after,
            works_anywhere: false, // nobody but the simulator says when it works
            limits: Limits::default(),
            max_payload: parts.config.max_payload,
            few: Added::default(), // its documents are small, and their snapshots are looked at, too
        });
        let node = NodeParts {
            config: parts.config,
            identity: LocalIdentity { key: Arc::new(parts.keys.signing.clone()), incarnation: parts.incarnation },
            strategies: parts.strategies,
            rng: (parts.random)(),
        };
        let store = parts.store.clone();
        let driver = DriverParts { node, store: parts.store, host, tap: None, observer: Arc::new(()) };
        let (driver, handle) = Stepped::new(driver, parts.clock);
        ways.lead_to(&handle);
        let _ = handle.command(Command::Start(parts.contexts));
        let random = (parts.random)();
        let shared = Shared::new(handle, store, ways, Transports::default(), random, Limits::default());
        let engine = Engine { shared };
        Self { engine, driver, worker, receiver, jobs: Jobs::default() }
    }

    /// The engine, as applications use it. Its connections are the simulator's; its futures get on with the turns.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Appends bytes to a document as they are, as a broken or hostile program of a member could.
    pub fn write_raw(&self, context: ContextId, document: DocumentId, bytes: Vec<u8>) {
        let _ = self.engine.shared.driver.command(Command::Node(Box::new(move |node, now| {
            let _ = node.append(now, context, EntryKind::Change(document), &bytes);
        })));
    }

    /// Has the next checkpoint that is made here say what is not so.
    pub fn tamper(&self, how: Tamper) {
        let _ = self.engine.shared.driver.command(Command::Tamper(how));
    }

    /// Tells the driver what happened.
    pub fn event(&self, event: Event) {
        self.driver.event(event);
    }

    /// Tells the driver of a connection.
    pub fn connected(&self, remote: RemoteSession) -> SteppedEnd {
        self.driver.connected(remote)
    }

    /// Whether something happened that no turn has taken yet.
    pub fn has_input(&self) -> bool {
        self.driver.has_input()
    }

    /// When a turn is due though nothing happens.
    pub fn due(&self) -> Duration {
        self.driver.due()
    }

    /// One turn of the driver.
    pub fn turn(&mut self) {
        self.driver.turn();
    }

    /// Whether it was closed, and everything is stored.
    pub fn has_ended(&self) -> bool {
        self.driver.has_ended()
    }

    /// What the store has to do next.
    pub fn store_work(&mut self) -> Option<StoreWork> {
        self.driver.store_work()
    }

    /// Lets the store do it.
    pub fn serve_store(&mut self) {
        self.driver.serve_store();
    }

    /// Whether something waits for the worker.
    pub fn worker_waits(&mut self) -> bool {
        while let Ok(job) = self.receiver.try_recv() {
            self.jobs.push(job);
        }
        !self.jobs.is_empty()
    }

    /// Lets the worker do what waits first.
    pub fn serve_worker(&mut self) {
        if self.worker_waits()
            && let Some(job) = self.jobs.pop()
        {
            self.worker.perform(job);
        }
    }

    /// The node, to look at.
    pub fn node(&self) -> &Node {
        self.driver.node()
    }

    /// The store, to look at.
    pub fn store(&self) -> &Arc<dyn Store> {
        self.driver.store()
    }

    /// How many bytes wait for transports.
    pub fn waiting_bytes(&self) -> usize {
        self.driver.waiting_bytes()
    }
}

impl<T: DocumentType> Document<T> {
    /// Whether it is loaded, or never will be, so that reading and changing it do not wait: with one thread they would wait
    /// for ever.
    pub fn is_settled(&self) -> bool {
        self.cell.is_settled()
    }
}
