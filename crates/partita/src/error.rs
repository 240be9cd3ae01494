//! What can go wrong, one enum for each thing that an application does.

use partita_core::{
    ContextId, ContextKind, CopyError, CrdtError, CrdtTypeId, DocumentId, KeystoreError, ReplicaId, StoreError,
    StrategyError, TransportError,
};
use partita_protocol::{AppendError, SendError};
use partita_sync::{RelayUrlError, Stopped};

use crate::host::Reason;

/// Why an address cannot be connected to. One where nobody answers is no error: it is dialled again and again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// It is not an address with an id.
    #[error(transparent)]
    Url(#[from] RelayUrlError),
    /// No transport has it.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// Why an engine could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The device's keys.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// A relay's URL.
    #[error(transparent)]
    Url(#[from] RelayUrlError),
    /// A transport.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// Nothing to open: neither a path with the feature `redb`, nor a store.
    #[error("the engine has no store: enable the feature `redb`, or hand in a store")]
    NoStore,
}

/// Why something asked of an open engine was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The engine was closed.
    #[error("the engine is closed: open it again")]
    Closed,
    /// No strategy has this context, or answers for its kind.
    #[error("the context {0} is not one of this engine's: register the strategy that it belongs to")]
    NoContext(ContextId),
    /// No strategy answers for this kind.
    #[error("no strategy of this engine answers for contexts of the kind {0}: register the plugin for it")]
    NoStrategy(ContextKind),
    /// No such remote is connected.
    #[error("the replica {0} is not connected: connect to it, or to a relay that it uses")]
    NotConnected(ReplicaId),
    /// There is nothing to send to.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The strategy.
    #[error(transparent)]
    Strategy(#[from] StrategyError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Stopped> for EngineError {
    fn from(_: Stopped) -> Self {
        Self::Closed
    }
}

/// Why no checkpoint was made. Nothing is lost by that, and nothing is pruned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Another one is being made in this context.
    #[error("another checkpoint of the context is being made: wait for it")]
    Busy,
    /// Some entry cannot be applied for now.
    #[error("an entry of the document {0} cannot be applied yet ({1}): a checkpoint must not stand for it")]
    NotNow(DocumentId, Reason),
    /// It could not be written.
    #[error("the checkpoint could not be written: {0}")]
    Append(#[from] AppendError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a document could not be created or loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Its `Create` entry is not here (yet), or counts no more.
    #[error("the document {0} is not here: wait until it was synced")]
    NotFound(DocumentId),
    /// It is of another CRDT type than asked for.
    #[error("the document is of the type {found}, not {asked}")]
    WrongType {
        /// What was asked for.
        asked: CrdtTypeId,
        /// What it is.
        found: CrdtTypeId,
    },
    /// No CRDT type of this engine is the document's.
    #[error("this engine has no CRDT type {0}: register it")]
    UnknownType(CrdtTypeId),
    /// The key that opens it is not here yet. Ask again when [`EngineEvent::KeysArrived`](crate::EngineEvent::KeysArrived) says so.
    #[error(
        "the key that opens the document {0} is not here yet: it comes when another device is online; ask again then"
    )]
    NoKey(DocumentId),
    /// This replica may not read it: it began before this replica was let in, or was written for others.
    #[error(
        "this replica may not read the document {0}: it is older than its membership. Whoever may can share a copy"
    )]
    Withheld(DocumentId),
    /// What creates it cannot be read.
    #[error("the document {0} was created by broken or hostile software: {1}")]
    Bad(DocumentId, String),
    /// What was to be imported cannot be. Nothing was created.
    #[error("the history cannot be imported: {0}")]
    History(CrdtError),
    /// The document to copy is of another context. Whoever may read one need not be allowed to read the other.
    #[error("the document {0} is of the context {1}, not of this one: share the copy there")]
    OtherContext(DocumentId, ContextId),
    /// The document to copy cannot be read now.
    #[error("the document {0} cannot be copied now: {1}")]
    Unreadable(DocumentId, String),
    /// The document cannot be copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// It could not be written.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl From<Stopped> for DocumentError {
    fn from(_: Stopped) -> Self {
        Self::Engine(EngineError::Closed)
    }
}

impl From<StoreError> for DocumentError {
    fn from(error: StoreError) -> Self {
        Self::Engine(EngineError::Store(error))
    }
}

/// Why a change did not happen. The document is as it was before.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError<E: std::error::Error + 'static> {
    /// The closure returned this error.
    #[error(transparent)]
    Closure(E),
    /// Every other replica would refuse the change: it is over a limit, or the type has no way to replicate it.
    #[error("other replicas would refuse this change: {0}")]
    Refused(CrdtError),
    /// The closure used the same document again: use the transaction that it was given.
    #[error("the document is being changed or read by this very thread: use the transaction inside the closure")]
    Reentrant,
    /// The closure of another document used this one, which another thread had locked for five seconds: these two may have
    /// waited for each other. Use one document after the other, or lock them everywhere in the same order.
    #[error(
        "another thread has the document locked, and may wait for the one that this thread has: \
         use one after the other, or lock them everywhere in the same order"
    )]
    Busy,
    /// The document could not be loaded again after an earlier failure, or the engine is closed.
    #[error("the document cannot be used any more: {0}")]
    Unusable(String),
}

/// Why a change did not become durable. What may be allowed later ([`AppendError::NotAllowed`]) stays in the document and is
/// tried again, with the next change or when keys come; what can never be written is taken out of it, with what was changed
/// after it. A change that was made in the same instant as one that cannot be written may be named with it though it stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// It could not be written.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The store failed. What was durable before is safe; open the engine again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The right to write was taken away or given up before the change was written.
    #[error(
        "the right to write was taken away or given up before the change was written: it is taken out of the document"
    )]
    RightLost,
    /// Others would refuse it, or the CRDT library did not give it back.
    #[error("the change cannot be handed to others, and is taken out of the document: {0}")]
    Refused(CrdtError),
    /// The document cannot be used any more.
    #[error("the document cannot be used any more: {0}")]
    Unusable(#[from] DocumentError),
    /// The engine was closed, or dropped, before.
    #[error("the engine was closed before the change was durable")]
    Closed,
}
