//! What handles, the store's thread and the worker ask of the driver.

use std::{collections::BTreeMap, sync::Arc};

use partita_core::{
    Bytes, ContextId, ContextInfo, CrdtType, DocumentId, EntryId, EntryKind, Key, LogId, Now, ReplicaId, StoreError,
    document_id,
};
use partita_protocol::Node;
use tokio::sync::oneshot;

use super::{
    Context, EngineHost, SetAsideStatus, Slot,
    checkpoint::{CheckpointOutcome, Collected, Survey},
    load::{Loaded, Reading, Reply, import_item},
    records::SetAside,
};
use crate::{
    cell::Cell,
    error::{CheckpointError, DocumentError, EngineError},
    rebuild::Rebuilt,
    worker::{DocumentParts, Job},
};

/// A call with the node and the time.
pub(crate) type NodeCall = Box<dyn FnOnce(&mut Node, Now) + Send>;

pub(crate) enum Command {
    /// Open the strategies' contexts, and these.
    Start(Vec<ContextInfo>),
    /// Open a context.
    OpenContext(ContextInfo, oneshot::Sender<Result<(), EngineError>>),
    /// Close one.
    CloseContext(ContextId, oneshot::Sender<Result<(), EngineError>>),
    /// A context is wanted: is it there?
    Context(ContextId, oneshot::Sender<Result<(), EngineError>>),
    /// Create a document.
    Create { context: ContextId, crdt: Arc<dyn CrdtType>, nonce: [u8; 16], import: Vec<u8>, reply: Reply },
    /// Load a document.
    Get { context: ContextId, document: DocumentId, reply: Reply },
    /// What is on its way to the store when a document is wanted is in it: the document can be read.
    Read(Box<Reading>),
    /// The worker has read it. Whether the worker may take this here, if the driver has nothing else to do.
    Loaded { loaded: Box<Loaded>, here: bool },
    /// There are local changes. Whether they may be taken by the thread that says so, if the driver has nothing else to do.
    Dirty { cell: Arc<Cell>, here: bool },
    /// It was dropped and is to be loaded again.
    Reload(Arc<Cell>),
    /// Its snapshot is damaged, or it went bad: load it again from its entries alone.
    ReloadAfresh(Arc<Cell>),
    /// What this replica wrote in a document waits for what was cut off. The load that found it, which made no document of it.
    HeldUp { cell: Arc<Cell>, number: u64 },
    /// The worker could not use a payload.
    SetAside(ContextId, DocumentId, u64, SetAside),
    /// What was set aside before could be applied.
    Settled(ContextId, DocumentId, Vec<u64>),
    /// The worker made a snapshot of everything up to this arrival.
    Snapshot { context: ContextId, document: DocumentId, value: Bytes, through: u64 },
    /// A slice of making a document for a checkpoint is done: what became of it, and which entries were bad.
    Rebuilt { task: u64, rebuilt: Rebuilt, bad: Vec<(LogId, u64, EntryId)> },
    /// The store's thread found out which documents a checkpoint concerns.
    Surveyed { task: u64, result: Result<Survey, StoreError> },
    /// The store's thread read what a document is made from for a checkpoint.
    Collected { task: u64, document: DocumentId, result: Result<Collected, StoreError> },
    /// A checkpoint came to be relied upon that goes further than what was here: documents that were not here before, and others
    /// of which there is more.
    Advanced { context: ContextId, created: Vec<DocumentId>, changed: Vec<DocumentId> },
    /// The reply is dropped once everything is stored and no checkpoint is on its way.
    Quiet(oneshot::Sender<()>),
    /// Make a checkpoint of a context.
    Checkpoint(ContextId, oneshot::Sender<Result<CheckpointOutcome, CheckpointError>>),
    /// Let the next checkpoint that is made here say what is not so.
    #[cfg(feature = "simulation")]
    Tamper(super::checkpoint::Tamper),
    /// The contexts of this engine, also those that are being loaded.
    Contexts(oneshot::Sender<Vec<ContextId>>),
    /// Make snapshots of all loaded documents that changed; the reply is dropped when they are on their way.
    SnapshotAll(oneshot::Sender<()>),
    /// The worker did everything that was asked before: the reply is dropped.
    Fence(oneshot::Sender<()>),
    /// Wait until a remote, or this one, holds everything that was ever written here in the context.
    Acknowledged(ContextId, Option<ReplicaId>, oneshot::Sender<Result<(), EngineError>>),
    /// Wait until everything that some connected remote held is here.
    CaughtUp(ContextId, oneshot::Sender<Result<(), EngineError>>),
    /// How many documents are loaded, and what is set aside?
    Documents(oneshot::Sender<(usize, BTreeMap<ContextId, SetAsideStatus>)>),
    /// Call this with the node.
    Node(NodeCall),
    /// Ask the store something, then answer.
    Store(partita_sync::StoreJob<Command>),
}

impl EngineHost {
    pub(super) fn on_command(&mut self, context: &mut Context<'_>, command: Command) {
        match command {
            Command::Start(mut contexts) => {
                contexts.extend(context.node.strategy_contexts());
                self.open_contexts(context, contexts);
            }
            Command::OpenContext(info, reply) => {
                let _ = reply.send(self.open_context(context, info));
            }
            Command::CloseContext(id, reply) => {
                let _ = reply.send(self.close_context(context, id));
            }
            Command::Context(id, reply) => self.on_context(context, id, reply),
            Command::Create { context: id, crdt, nonce, import, reply } => {
                self.on_create(context, id, crdt, nonce, &import, reply);
            }
            Command::Get { context: id, document, reply } => self.on_get(context, (id, document), reply),
            Command::Read(reading) => self.read(reading),
            Command::Loaded { loaded, .. } => self.on_loaded(context, loaded),
            Command::Dirty { cell, .. } => {
                self.dirty.insert((cell.context, cell.id));
            }
            Command::Reload(cell) => self.start_reload(context, (cell.context, cell.id), false),
            Command::ReloadAfresh(cell) => {
                context.node.delete_record(Key::Snapshot(cell.context, cell.id));
                self.start_reload(context, (cell.context, cell.id), true);
            }
            Command::HeldUp { cell, number } => self.on_held_up(context, &cell, number),
            Command::SetAside(id, document, arrival, set_aside) => {
                self.on_set_aside(context, (id, document), arrival, &set_aside);
            }
            Command::Settled(id, document, arrivals) => self.on_settled(context, (id, document), &arrivals),
            Command::Snapshot { context: id, document, value, through } => {
                self.on_snapshot(context, (id, document), &value, through);
            }
            Command::Rebuilt { task, rebuilt, bad } => self.on_rebuilt(context, task, rebuilt, bad),
            Command::Surveyed { task, result } => self.on_surveyed(context, task, result),
            Command::Collected { task, document, result } => self.on_collected(context, task, document, result),
            Command::Advanced { context: id, created, changed } => self.on_advanced(id, created, changed),
            Command::Quiet(reply) => self.wait_for_quiet(reply),
            Command::Checkpoint(id, reply) => self.on_checkpoint(context, id, reply),
            #[cfg(feature = "simulation")]
            Command::Tamper(how) => self.tamper(how),
            Command::SnapshotAll(done) => self.on_snapshot_all(done),
            Command::Fence(done) => drop(done),
            Command::Acknowledged(id, by, reply) => self.on_wait_acknowledged(context, id, by, reply),
            Command::Contexts(reply) => {
                let _ = reply.send(self.contexts.keys().copied().collect());
            }
            Command::CaughtUp(id, reply) => self.on_wait_caught_up(context, id, reply),
            Command::Documents(reply) => {
                let _ = reply.send((self.slots.len(), self.set_aside_status()));
            }
            Command::Node(call) => call(context.node, context.now),
            Command::Store(job) => context.jobs.push(job),
        }
    }

    fn on_create(
        &mut self,
        context: &mut Context<'_>,
        id: ContextId,
        crdt: Arc<dyn CrdtType>,
        nonce: [u8; 16],
        import: &[u8],
        reply: Reply,
    ) {
        let plain = [&crdt.id().0[..], &nonce, import].concat();
        let document = document_id(&id, &plain);
        let appended = match context.node.append(context.now, id, EntryKind::Create(document), &plain) {
            Ok(appended) => appended,
            Err(error) => return reply.answer(Err(error.into())),
        };
        let Some(log) = context.node.own_log(&id) else {
            return reply.answer(Err(DocumentError::Engine(EngineError::NoContext(id))));
        };
        let cell = self.new_cell(id, document, crdt, &log);
        let slot = Slot::new(cell.clone(), appended.arrival);
        self.slots.insert((id, document), slot);
        let items = vec![import_item(&plain, document, appended)];
        self.loads += 1;
        cell.await_load(self.loads);
        let parts = DocumentParts { cell: cell.clone(), number: self.loads, snapshot: None, items };
        self.worker.send(Job::Load { parts, replies: Vec::new() });
        reply.answer(Ok(cell));
        self.say(crate::events::EngineEvent::DocumentCreated { context: id, document });
    }

    pub(super) fn new_cell(
        &self,
        context: ContextId,
        document: DocumentId,
        crdt: Arc<dyn CrdtType>,
        log: &partita_core::LogId,
    ) -> Arc<Cell> {
        let wake = self.wake.clone();
        let actor = partita_core::ActorSeed::derive(log, &document);
        Cell::new(context, document, crdt, actor, self.limits, move |command| wake(command))
    }

    pub(super) fn put_set_aside(&self, context: &mut Context<'_>, name: super::Name, arrival: u64, value: &SetAside) {
        context.observer.observe(&partita_core::Observation::SetAside);
        context.node.put_record(Key::SetAside(name.0, name.1, arrival), value.encode());
    }
}
