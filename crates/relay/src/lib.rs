//! A blind relay: a node that stores and forwards what it cannot read.
//!
//! It holds the relay sides of partition plugins, which know rights and no secrets, and no CRDT library at all. It begins a
//! context when a replica proves its right to it, acknowledges what is durable, and forwards before that. It takes the contexts
//! of any owner and of any group. [`Builder::without_plain`] leaves out those of owners that it could read, and
//! [`Builder::strategy`] adds kinds of your own.
//!
//! ```no_run
//! # async fn example() -> Result<(), partita_relay::RelayError> {
//! let relay = partita_relay::Relay::builder("relay.partita").listen("ws://0.0.0.0:7400").open().await?;
//! println!("{}", relay.url());
//! relay.close().await;
//! # Ok(()) }
//! ```
//!
//! # Watching over it
//!
//! [`Builder::metrics`] names an address for an HTTP server:
//!
//! | page | what it says |
//! | --- | --- |
//! | `/metrics` | connections, sessions, bytes, entries taken and refused with reasons, how long commits take, queues, how far remotes are behind; in Prometheus' text format, all names begin with `partita_relay_` |
//! | `/healthz` | 200 while the process lives |
//! | `/readyz` | 200 while the store has not failed, the relay does not [drain](Relay::drain), the listener listens, and a question comes round through the node's thread and the store's within two seconds; otherwise 503 and a sentence that says which of these is not so; a relay [without room](Builder::min_free_bytes) is ready, since it serves what it has, and says that it is short |
//!
//! [`Builder::observer`] hands the same observations to code of one's own. None of them has a payload, a key or a name in it.

mod builder;
mod host;
mod http;
mod metrics;
mod ready;
mod room;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use partita_core::{KeystoreError, ReplicaId, StoreError, TransportError};
use partita_sync::{DriverHandle, RelayUrl};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

pub use builder::Builder;
use host::Command;

/// How long remotes have, at the end, to take what was said to them: a little more than one connection's end may take.
const GOODBYE: Duration = Duration::from_secs(4);

/// Why a relay could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The relay's key.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The address.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The address for the metrics.
    #[error("cannot show metrics on {address}: {reason}")]
    Metrics {
        /// The address.
        address: String,
        /// What the system says, or what an address looks like.
        reason: String,
    },
}

/// Why a running relay should be closed and opened again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RelayFailure {
    /// The store failed: the relay only serves what it has. Everything that it acknowledged is in the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node's thread panicked, which is a bug: the relay serves nothing.
    #[error("the relay's node panicked: what it wrote to standard error says where")]
    Node,
    /// Nobody can connect any more.
    #[error("the listener broke, and nobody can connect: start the relay again")]
    Listener,
}

/// A running relay. Dropping it does what [`close`](Self::close) does, and waits for none of it.
#[derive(Debug)]
pub struct Relay {
    driver: DriverHandle<Command>,
    draining: watch::Sender<bool>,
    url: RelayUrl,
    /// Dropping it ends the listening, and `accepting` once all connections have ended.
    stop: Option<oneshot::Sender<()>>,
    accepting: JoinHandle<()>,
    failure: watch::Receiver<Option<StoreError>>,
    listening: watch::Receiver<bool>,
    serving: Option<JoinHandle<()>>,
    metrics_address: Option<SocketAddr>,
}

impl Relay {
    /// A relay whose store is the redb file at `path`.
    pub fn builder(path: impl Into<PathBuf>) -> Builder {
        Builder::new(path.into())
    }

    /// The address that it listens on, with the port that was taken, and the relay's id. Devices connect to that with a host
    /// that they can reach: where it listens on `0.0.0.0` or behind a TLS terminator, replace the address and keep the id.
    pub fn url(&self) -> RelayUrl {
        self.url.clone()
    }

    /// Where the metrics are shown, with the port that was taken.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// The relay's replica id.
    pub fn replica(&self) -> ReplicaId {
        self.driver.replica()
    }

    /// Waits until the relay cannot do its work any more, and should be closed and opened again: its store failed, its
    /// listener broke, or its node panicked.
    pub async fn failed(&self) -> RelayFailure {
        let (mut failure, mut listening) = (self.failure.clone(), self.listening.clone());
        let node = async move {
            let failed = failure.wait_for(Option::is_some).await.ok().and_then(|failure| failure.clone());
            // The node says so until it is gone, and nobody closed it.
            failed.map_or(RelayFailure::Node, RelayFailure::Store)
        };
        let listener = async move {
            let _ = listening.wait_for(|listens| !*listens).await; // whoever would say so is gone, which says the same
            RelayFailure::Listener
        };
        tokio::select! {
            biased;
            failed = node => failed,
            failed = listener => failed,
        }
    }

    /// Before the relay goes away: from now on it takes no entries and says so, and is not ready; it goes on sending what it
    /// has. Whoever was refused keeps what it has, and sends it to the next relay, or here again if this is ended.
    pub fn drain(&self, on: bool) {
        self.draining.send_replace(on);
        let _ = self.driver.command(Command::TakeEntries(!on)); // a relay that was closed takes nothing anyway
    }

    /// Stores what waits, says goodbye to everyone and closes the store. Whoever does not read what is said is cut off after
    /// four seconds.
    pub async fn close(mut self) {
        // Nobody new is taken. Those who are here hear from the node that it is over, behind what it has to say to them.
        self.stop = None;
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await; // its socket is closed then
        }
        let _ = self.driver.stop().await; // a failure is what `failed` tells
        if timeout(GOODBYE, &mut self.accepting).await.is_err() {
            self.accepting.abort();
            let _ = (&mut self.accepting).await; // its sockets are closed then
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
        self.driver.end();
    }
}
