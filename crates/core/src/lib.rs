//! The vocabulary of Partita and the seams of its plugins.
//!
//! Everything else in the project is written against this crate, so it is small and moves slowly. It performs
//! no I/O and knows no clock, no randomness and no runtime: time and randomness are handed in.
//! (`uhlc`, whose timestamp type is used, brings `rand` into the dependency tree; nothing here calls it.)
//!
//! # The words
//!
//! A [`ReplicaId`] is one device's copy. It writes [`Entry`] values into logs ([`LogId`]) inside a security context
//! ([`ContextId`], [`ContextKind`]). A [`Frontier`] says what a node holds. Entries either carry the changes of
//! a document ([`DocumentId`]) or are control entries, which the context's strategy itself understands.
//!
//! # The seams
//!
//! | trait | who implements it | what it decides |
//! | --- | --- | --- |
//! | [`PartitionStrategy`], [`AuthProvider`] | partition plugins | who gets which context, and in what form |
//! | [`CrdtType`], [`CrdtDocument`], [`DocumentType`] | CRDT plugins | what the entries of a document mean |
//! | [`Store`], [`StoreRead`] | stores | where entries live |
//! | [`Transport`], [`Listener`], [`Connection`] | transports | how frames travel |
//! | [`Observer`] | whoever keeps numbers | nothing: it is told |

mod away;
mod checkpoint;
mod clock;
pub mod codec;
mod control;
mod crdt;
mod entry;
mod frontier;
mod ids;
mod keystore;
mod observe;
pub mod planted;
mod standing;
mod store;
mod strategy;
pub mod text;
mod transport;
mod verdict;
mod witness;

pub use away::Away;
pub use checkpoint::{Checkpoint, CheckpointOp, Covered, SnapshotAt, is_checkpoint_op};
pub use clock::{DriftExceeded, HybridClock, Now, Timestamp, timestamp_at};
pub use control::{ControlGraph, MissingParents};
pub use crdt::{
    ActorSeed, Applied, CopyError, CrdtDocument, CrdtError, CrdtType, Digest, DocumentType, Limits, Transact,
    digest_hasher, document_id, flatten,
};
pub use entry::{Entry, EntryHeader, EntryKind, HeaderError, HeaderPrefix, LogSort, LogStart, Stamp};
pub use frontier::{Frontier, SignedTip, Tip};
pub use ids::{
    ContextId, ContextKind, CrdtTypeId, DocumentId, EntryId, IdError, Incarnation, KindError, LogId, ReplicaId,
    SessionId,
};
pub use keystore::{DeviceKeys, Keystore, KeystoreError, NamedKeystore, SealedKeystore};
pub use observe::{Observation, Observer, Sample};
pub use standing::{Loss, Standing};
pub use store::{
    Batch, Durability, EntryRef, Key, Maintained, Op, Store, StoreError, StoreRead, StoredEntry, VisitEntry,
    VisitRecord,
};
pub use strategy::{
    AuthProvider, Brought, Claim, ContextInfo, ContextView, ControlEntry, Grant, Opened, PartitionStrategy,
    PayloadOpener, PeerInfo, RemoteContext, StrategyEffect, StrategyError, Transcript, Turn, Visit, WaitReason,
};
pub use transport::{Connection, FrameSink, FrameSource, Listener, Transport, TransportError};
pub use verdict::{Access, Refusal, Verdict};
pub use witness::Witness;

pub use bytes::Bytes;
pub use partita_crypto::{EpochId, Hash, Signature};
pub use rand_core::CryptoRng;
pub use uhlc::NTP64;
