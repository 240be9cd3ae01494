//! What an application can watch: events as they happen, and the state now.

use std::collections::BTreeMap;

use partita_core::{Bytes, ContextId, ContextInfo, DocumentId, LogId, Refusal, ReplicaId, StoreError};
use partita_protocol::{ContextStatus, PeerStatus, Progress, SessionStatus};
use partita_sync::{ConnectionEvent, ConnectionState};

use crate::{
    error::CheckpointError,
    host::{SetAside, SetAsideStatus},
};

/// Something happened. A reader that is more than 4,096 events behind is told how many it missed
/// ([`RecvError::Lagged`](tokio::sync::broadcast::error::RecvError::Lagged)) and then gets those that are left: go on.
/// [`Engine::status`](crate::Engine::status) has the state now.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum EngineEvent {
    /// A connection's state changed.
    Connection(ConnectionEvent),
    /// A context can be used.
    ContextReady(ContextInfo),
    /// A context was closed by the application.
    ContextClosed(ContextId),
    /// A context is open with a remote in both directions.
    Live {
        /// The context.
        context: ContextId,
        /// The remote.
        peer: ReplicaId,
    },
    /// Some of what a remote held when the context was opened with it is here by now.
    CatchingUp {
        /// The context.
        context: ContextId,
        /// The remote.
        peer: ReplicaId,
        /// How much of it is durable.
        progress: Progress,
    },
    /// Everything that a remote held when the context was opened with it is durable here.
    CaughtUp {
        /// The context.
        context: ContextId,
        /// The remote.
        peer: ReplicaId,
    },
    /// Everything that a remote held is durable here, in all contexts that are open with it by now: what comes from now on
    /// is live.
    PeerLive {
        /// The remote.
        peer: ReplicaId,
    },
    /// A remote holds more of what was written here, durably.
    Acknowledged {
        /// The context.
        context: ContextId,
        /// The remote.
        peer: ReplicaId,
    },
    /// A document was created, here or elsewhere; or it came with a checkpoint, and was not here before.
    DocumentCreated {
        /// The context.
        context: ContextId,
        /// The document.
        document: DocumentId,
    },
    /// Changes of others arrived for a document, and are on their way into it:
    /// [`Document::subscribe`](crate::Document::subscribe) tells when it shows them. Also when they came with a checkpoint.
    DocumentChanged {
        /// The context.
        context: ContextId,
        /// The document.
        document: DocumentId,
    },
    /// Snapshots that everybody who has to has attested stand for the context's older entries from now on, which are pruned.
    CheckpointAdopted {
        /// The context.
        context: ContextId,
    },
    /// Somebody who may write in the context claims that snapshots stand for its older entries, and they do not: this device
    /// does not attest it, so nothing is pruned by it. Its author runs broken or hostile software.
    CheckpointRefuted {
        /// The context.
        context: ContextId,
        /// Who claims it.
        author: ReplicaId,
    },
    /// A checkpoint that was due by itself could not be made. Nothing is lost; nothing is pruned either, until one is made.
    CheckpointFailed {
        /// The context.
        context: ContextId,
        /// Why.
        error: CheckpointError,
    },
    /// Changes of a document count no more, or again: its handles show it as it is now.
    DocumentRebuilt {
        /// The context.
        context: ContextId,
        /// The document.
        document: DocumentId,
    },
    /// An entry cannot be applied.
    SetAside {
        /// The context.
        context: ContextId,
        /// The entry and the reason.
        entry: SetAside,
    },
    /// Keys came: what waited for them in documents that are loaded is tried again. Who was answered
    /// [`DocumentError::NoKey`](crate::DocumentError::NoKey) asks again.
    KeysArrived {
        /// The context.
        context: ContextId,
    },
    /// Control entries came: members, devices or rights can be different now. The context's strategy knows them.
    ControlChanged {
        /// The context.
        context: ContextId,
    },
    /// A remote refused a context.
    ContextRefused {
        /// The context.
        context: ContextId,
        /// The remote.
        peer: ReplicaId,
        /// Why.
        why: Refusal,
    },
    /// A remote refused an entry: its log pauses in that session.
    EntryRefused {
        /// The context.
        context: ContextId,
        /// The remote.
        peer: ReplicaId,
        /// The log.
        log: LogId,
        /// The first entry that was not taken.
        seq: u64,
        /// Why.
        why: Refusal,
    },
    /// An entry of a remote was refused here.
    Refused {
        /// The context.
        context: ContextId,
        /// The remote.
        peer: ReplicaId,
        /// The log.
        log: LogId,
        /// The entry.
        seq: u64,
        /// Why.
        why: Refusal,
    },
    /// Somebody says something about a document that is not kept: see [`Document::say`](crate::Document::say).
    Ephemeral {
        /// The context.
        context: ContextId,
        /// The document.
        document: DocumentId,
        /// Who says it.
        sender: ReplicaId,
        /// What; `None` when it is over.
        payload: Option<Bytes>,
    },
    /// A clock differs by more than the drift limit. Nothing waits for that: it is for people.
    ClockDrift {
        /// Whose clock: the author of entries, or a remote.
        author: ReplicaId,
        /// By how many seconds it is ahead; negative when it is behind.
        ahead_seconds: i64,
    },
    /// The store failed: nothing more is written; close the engine and open it again.
    StoreFailed(StoreError),
}

/// The state now.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Status {
    /// Every connection that is kept up, by its URL.
    pub connections: Vec<(String, ConnectionState)>,
    /// Every context.
    pub contexts: Vec<ContextStatus>,
    /// Every context of every session.
    pub sessions: Vec<SessionStatus>,
    /// Every connected remote: what is under way with it.
    pub peers: Vec<PeerStatus>,
    /// What could not be applied since the engine was opened, by context.
    pub set_aside: BTreeMap<ContextId, SetAsideStatus>,
    /// How many documents are in memory.
    pub loaded_documents: usize,
    /// Why nothing is written any more, if the store failed.
    pub failure: Option<StoreError>,
}
