//! Documents that work offline, never lose a change, and sync with exactly the replicas that may have them.

mod builder;
mod cell;
mod commit;
mod context;
mod document;
mod engine;
mod error;
mod events;
mod host;
mod worker;

pub use builder::Builder;
pub use commit::Commit;
pub use context::Context;
pub use document::{Change, Changes, Document};
pub use engine::Engine;
pub use error::{ChangeError, CommitError, DocumentError, EngineError, OpenError};
pub use events::{EngineEvent, Status};
pub use host::{Reason, SetAside};

pub use partita_core as core;
pub use partita_crypto as crypto;
pub use partita_protocol::{ContextStatus, NodeConfig, SessionStatus};
pub use partita_sync::{ConnectionError, ConnectionState, FileKeystore, RelayUrl, SystemRandom};

#[cfg(feature = "automerge")]
pub use partita_automerge as automerge;
#[cfg(feature = "redb")]
pub use partita_redb as redb;
#[cfg(feature = "single-owner")]
pub use partita_single_owner as single_owner;
#[cfg(feature = "websocket")]
pub use partita_websocket as websocket;
#[cfg(feature = "yrs")]
pub use partita_yrs as yrs;
