//! Partita's runtime: it performs the protocol's effects, and decides nothing.
//!
//! The [`Node`](partita_protocol::Node) lies under a lock: where the host allows it, what happens while it is at rest is
//! taken by the thread that tells it; the rest by a thread of its own. Another thread performs its store's reads and commits
//! in the order in which they were asked for, and tasks on the caller's tokio runtime move frames. What an embedder adds to
//! the node — the engine its documents, a relay nothing — is a [`Host`] beside the node.

mod accept;
mod address;
mod clock;
mod connection;
mod dialer;
mod driver;
mod ends;
mod handle;
mod host;
mod inbox;
#[cfg(test)]
mod inbox_tests;
mod keystore;
mod notices;
mod random;
mod sampler;
mod state;
#[cfg(feature = "simulation")]
mod stepped;
mod store_thread;
mod sync_types;
mod wake;

pub use accept::{accept_connections, accept_until};
pub use address::{RelayUrl, RelayUrlError, Transports};
pub use clock::now;
pub use connection::ConnectionError;
pub use dialer::Dialer;
pub use driver::{Driver, DriverParts, FrameTap, Tapped};
pub use handle::{DriverHandle, Leg, Probe, ProbeError, Stopped};
pub use host::{Host, HostContext, StoreJob};
pub use keystore::FileKeystore;
pub use random::SystemRandom;
pub use state::{ConnectionEvent, ConnectionHandle, ConnectionState, Retry};
#[cfg(feature = "simulation")]
pub use stepped::{Said, Stepped, SteppedEnd, StoreWork};
