//! Partita's protocol, sans-IO: `(now, event) -> effects`.
//!
//! Every decision that could be wrong lives here, so that a simulator can run it; `partita-sync` only performs effects.
//!
//! - [`channel`]: who is at the other end, proved, and frames that only the two ends can read;
//! - [`message`]: what two nodes say to each other, as bytes;
//! - [`Node`]: contexts, sessions, logs, group commit, verdicts;
//! - [`reads`]: what the node asks of a store;
//! - [`Backoff`]: when to dial again.

mod backoff;
pub mod channel;
mod config;
mod effect;
pub mod message;
mod node;
pub mod reads;
mod record;

pub use backoff::Backoff;
pub use config::NodeConfig;
pub use effect::{Appended, Arrival, CloseReason, Effect, Event, Notice, Progress, RemoteSession};
pub use node::{
    AppendError, CheckpointBase, CheckpointCheck, CheckpointPlan, CheckpointTable, ClaimStatus, ContextStatus,
    LagCursor, Node, NodeParts, PeerStatus, SendError, SessionStatus,
};
pub use record::{LogRecord, SignedPlace};
