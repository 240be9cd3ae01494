//! What goes into the node and what comes out of it.

use std::sync::Arc;

use bytes::Bytes;
use partita_core::{
    Batch, ContextId, ContextInfo, DocumentId, Entry, EntryId, EpochId, Incarnation, LogId, PeerInfo, Refusal,
    ReplicaId, SessionId, StoreError,
};
use partita_crypto::VerifyingKey;

use crate::reads::{ReadRequest, ReadResult};

/// A remote that proved who it is: what the node needs to know of a channel.
#[derive(Debug, Clone)]
pub struct RemoteSession {
    /// Our number for the connection; never used twice.
    pub session: SessionId,
    /// Who the remote is.
    pub remote: VerifyingKey,
    /// The incarnation of its store.
    pub incarnation: Incarnation,
    /// The handshake's hash.
    pub handshake: [u8; 32],
    /// Whether this side dialled.
    pub dialled: bool,
    /// Whether this side dialled exactly this remote by its id.
    pub pinned: bool,
}

impl RemoteSession {
    /// The remote as strategies see it.
    pub fn peer(&self) -> PeerInfo {
        PeerInfo {
            session: self.session,
            replica: ReplicaId::from_bytes(*self.remote.as_bytes()),
            incarnation: self.incarnation,
            pinned: self.pinned,
        }
    }
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A channel stands.
    Connected(RemoteSession),
    /// A plain frame came over it.
    Received(SessionId, Bytes),
    /// The transport has taken this many bytes of what was sent.
    Sent(SessionId, usize),
    /// The connection is gone.
    Disconnected(SessionId),
    /// The answer to [`Effect::Read`].
    Read(u64, Result<ReadResult, StoreError>),
    /// The answer to [`Effect::Commit`].
    Committed(u64, Result<(), StoreError>),
    /// Ask the remote whether it is still there: a heartbeat goes out now, and without an answer to it the session ends soon:
    /// see [`NodeConfig::probe`](crate::NodeConfig::probe).
    Probe(SessionId),
    /// Time passed. Also right after the start.
    Tick,
    /// The time has come that [`Node::commit_due`](crate::Node::commit_due) named.
    CommitDue,
}

/// What is to be done, in order.
#[derive(Debug)]
pub enum Effect {
    /// Send a plain frame.
    Send(SessionId, Bytes),
    /// Close a connection after what was sent before.
    Close(SessionId, CloseReason),
    /// Read from the store, after every commit that was asked for before, and answer with [`Event::Read`].
    Read(u64, ReadRequest),
    /// Commit durably and answer with [`Event::Committed`]. One at a time.
    Commit(u64, Batch),
    /// Something that an embedder may care about.
    Notice(Notice),
}

/// Why the node closes a connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The remote broke the protocol.
    #[error("the remote broke the protocol: {0}")]
    Protocol(String),
    /// Nothing was heard of it for too long.
    #[error("nothing was heard from the remote for too long")]
    Silent,
    /// It does not read what is sent.
    #[error("the remote does not read what is sent to it")]
    Stalled,
    /// The remote said that it closes.
    #[error("the remote closed: {0}")]
    Remote(String),
    /// The node is shutting down.
    #[error("this node is closing")]
    Closing,
}

/// How far a node has caught up with what a remote held when a context was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// How many of those entries are durable here.
    pub received: u64,
    /// How many were not, at the beginning. The history behind logs that were unknown here is found on the way, so this may
    /// grow.
    pub total: u64,
}

/// What an embedder may care about: the engine's documents, the status, the events.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Notice {
    /// A context is loaded and usable.
    ContextReady(ContextInfo),
    /// Entries of documents arrived from a remote and count. They are on their way to the store.
    Arrived {
        /// The context.
        context: ContextId,
        /// The entries by arrival, each with its place in the arrival order.
        entries: Vec<Arrival>,
    },
    /// Local entries up to this place in the arrival order are durable.
    Durable {
        /// The context.
        context: ContextId,
        /// The arrival of the last one.
        arrival: u64,
    },
    /// Entries that counted do not any more, or the other way round: these documents are to be loaded again.
    Rebuild {
        /// The context.
        context: ContextId,
        /// The documents.
        documents: Vec<DocumentId>,
    },
    /// Keys came: what was set aside for want of one may open now.
    KeysArrived(ContextId),
    /// What this replica writes from now on goes into another log: nothing more would count in the one before.
    /// [`Node::own_log`](crate::Node::own_log) is the new one, and payloads have to be made for it.
    NewLog(ContextId),
    /// Control entries came: who may do what can be different now, and what waits for a right may be written.
    ControlChanged(ContextId),
    /// A claim is here with all that it covers and rests on, and waits for this replica to say whether it holds:
    /// [`Node::checkpoint_check`](crate::Node::checkpoint_check) says what is to be compared.
    CheckpointClaimed {
        /// The context.
        context: ContextId,
        /// The control entry that makes the claim.
        claim: EntryId,
    },
    /// Snapshots stand for what was pruned from now on.
    CheckpointAdopted {
        /// The context.
        context: ContextId,
        /// The documents whose snapshot is another one than before.
        documents: Vec<DocumentId>,
        /// Whether logs are covered further than they were held: documents are to be loaded again, and some may be new.
        advanced: bool,
    },
    /// A remote and this node have a context open with each other.
    Live {
        /// The context.
        context: ContextId,
        /// The remote.
        peer: PeerInfo,
    },
    /// Everything that the remote held when the context was opened is here.
    CaughtUp {
        /// The context.
        context: ContextId,
        /// The remote.
        peer: PeerInfo,
    },
    /// Everything that the remote held is here, in all contexts that are open with it by now.
    SessionLive {
        /// The remote.
        peer: PeerInfo,
    },
    /// A remote holds more than was known of what this replica wrote, durably: [`Node::holders`](crate::Node::holders) says
    /// how much.
    Acknowledged {
        /// The context.
        context: ContextId,
        /// The remote.
        peer: PeerInfo,
    },
    /// Some of what the remote held when the context was opened is here by now.
    CatchingUp {
        /// The context.
        context: ContextId,
        /// The remote.
        peer: PeerInfo,
        /// How much of it is durable.
        progress: Progress,
    },
    /// The remote refused a context.
    ContextRefused {
        /// The context.
        context: ContextId,
        /// The remote.
        peer: PeerInfo,
        /// Why.
        why: Refusal,
    },
    /// The remote refused an entry: its log pauses in this session.
    EntryRefused {
        /// The context.
        context: ContextId,
        /// The remote.
        peer: PeerInfo,
        /// The log.
        log: LogId,
        /// The first entry that it did not take.
        seq: u64,
        /// Why.
        why: Refusal,
    },
    /// An entry was refused here.
    Refused {
        /// The context.
        context: ContextId,
        /// The remote that offered it.
        peer: PeerInfo,
        /// The log.
        log: LogId,
        /// The entry's number.
        seq: u64,
        /// Why.
        why: Refusal,
    },
    /// Somebody says something about a document that is not kept: presence, a cursor.
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
    /// A peer's clock differs by more than the drift limit. Nothing waits for that: it is for people.
    ClockDrift {
        /// Whose clock: the author of entries, or a remote.
        author: ReplicaId,
        /// By how many seconds it is ahead; negative when it is behind.
        ahead_seconds: i64,
    },
    /// The session ended.
    SessionClosed {
        /// The remote.
        peer: PeerInfo,
        /// Why, when this node ended it.
        reason: Option<CloseReason>,
    },
    /// The store failed: nothing more is written, the incarnation is over.
    StoreFailed(StoreError),
}

/// An entry of a document that counts, and what is needed to open it.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Its place in the context's arrival order.
    pub arrival: u64,
    /// The entry.
    pub entry: Arc<Entry>,
    /// Who writes its log.
    pub author: ReplicaId,
    /// The epoch in force.
    pub epoch: Option<EpochId>,
}

/// Where a local entry went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its place in the arrival order: durable when [`Notice::Durable`] reaches it.
    pub arrival: u64,
    /// The log.
    pub log: LogId,
    /// Its number.
    pub seq: u64,
    /// Its id.
    pub id: EntryId,
}
