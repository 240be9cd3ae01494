//! What becomes of a connection that is kept up.

use std::time::{Duration, SystemTime};

use partita_core::ReplicaId;
use tokio::sync::watch;

use crate::connection::ConnectionError;

/// The state of a connection that is kept up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// It is being dialled.
    Connecting,
    /// Somebody answered, and has to prove who it is.
    Authenticating,
    /// The remote proved who it is.
    Connected(ReplicaId),
    /// It broke, or could not be made; it is dialled again by itself.
    BackingOff {
        /// What happened.
        error: ConnectionError,
        /// When it is dialled again.
        retry: Retry,
    },
    /// Trying again will hardly help: somebody else answers at the address, or the versions do not fit, or it is this
    /// very device. The error says what to do. It is tried again all the same, but rarely.
    Refused {
        /// Why.
        error: ConnectionError,
        /// When it is dialled again.
        retry: Retry,
    },
    /// It is not kept up any more.
    Closed,
}

/// The next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// How many attempts were made since the last stable connection.
    pub attempts: u32,
    /// How long it takes from the moment when this was said.
    pub after: Duration,
    /// When that is by the machine's clock: to show, not to compute with.
    pub at: SystemTime,
}

impl Retry {
    pub(crate) fn after(attempts: u32, after: Duration) -> Self {
        let now = SystemTime::now();
        Self { attempts, after, at: now.checked_add(after).unwrap_or(now) }
    }
}

/// A change of a connection's state, for status and events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionEvent {
    /// Which connection.
    pub url: String,
    /// Its new state.
    pub state: ConnectionState,
}

/// Shows the state of one connection, also after its end. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ConnectionHandle {
    pub(crate) url: String,
    pub(crate) state: watch::Receiver<ConnectionState>,
}

impl ConnectionHandle {
    /// Where it leads, with the id of the replica that must answer there.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The state now.
    pub fn state(&self) -> ConnectionState {
        self.state.borrow().clone()
    }

    /// Waits until the state is one that was asked for, and says which. A state that did not last may be missed. `None` once
    /// the connection is closed and no other state can come.
    pub async fn until(&mut self, mut wanted: impl FnMut(&ConnectionState) -> bool + Send) -> Option<ConnectionState> {
        self.state.wait_for(|state| wanted(state)).await.ok().map(|state| state.clone())
    }
}
