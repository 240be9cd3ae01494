//! Partita's runtime: it performs the protocol's effects, and decides nothing.
//!
//! One thread drives the [`Node`](partita_protocol::Node), one performs its store's reads and commits in the order in
//! which they were asked for, and tasks on the caller's tokio runtime move frames. What an embedder adds to the node —
//! the engine its documents, a relay nothing — is a [`Host`] on the driver's thread.

mod clock;
mod connection;
mod driver;
mod host;
mod keystore;
mod link;
mod random;
mod store_thread;

pub use clock::now;
pub use driver::{Driver, DriverHandle, DriverParts, FrameTap, Stopped};
pub use host::{Host, HostContext, StoreJob};
pub use keystore::FileKeystore;
pub use link::{
    ConnectionError, ConnectionEvent, ConnectionState, Dialer, RelayUrl, RelayUrlError, Transports, accept_connections,
};
pub use random::SystemRandom;
