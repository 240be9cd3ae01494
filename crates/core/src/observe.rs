//! What an operator can count and measure. No payload, no key and no name that a person gave is in any of it.

use std::{sync::Arc, time::Duration};

use crate::{Refusal, ReplicaId, SessionId};

/// Is told numbers, by the threads that do the work.
///
/// It decides nothing, and it must be quick: an observer that blocks blocks the node. Above all it must wait for no lock that
/// the application may hold when it calls the engine, for it may be told on the very thread that makes a change. `()` is
/// the observer that does nothing; a `Vec` of observers tells each of them.
pub trait Observer: Send + Sync + 'static {
    /// Something was seen. Called often, from any thread, in order within one thread.
    fn observe(&self, _seen: &Observation) {}
}

/// One thing that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Observation {
    /// A dial begins: the first one to an address, or a later attempt. With [`SessionBegan`](Self::SessionBegan) this
    /// counts reconnects.
    Dialling {
        /// How many attempts came before it since the last stable connection.
        attempts: u32,
    },
    /// A connection stands, nobody knows yet who is at the other end.
    ConnectionOpened {
        /// Whether this side dialled.
        dialled: bool,
    },
    /// A connection is gone.
    ConnectionClosed {
        /// Whether this side dialled.
        dialled: bool,
        /// Whether the remote had proved who it is.
        authenticated: bool,
    },
    /// A remote that knocked never became a connection: it did not speak the transport's protocol, took too long, or gave way
    /// to others.
    ConnectionNotOpened,
    /// A connection was dropped at the door: there are as many as are allowed.
    ConnectionTurnedAway,
    /// A remote that proved who it is has a session.
    SessionBegan {
        /// The session.
        session: SessionId,
        /// The remote.
        remote: ReplicaId,
    },
    /// The session is over.
    SessionEnded {
        /// The session.
        session: SessionId,
        /// The remote.
        remote: ReplicaId,
    },
    /// A frame came, once its channel was opened.
    Received {
        /// The bytes that travelled.
        bytes: usize,
    },
    /// The transport took frames.
    Sent {
        /// How many.
        frames: usize,
        /// The bytes that travel.
        bytes: usize,
    },
    /// Entries of remotes were taken: they are on their way to the store.
    Taken {
        /// How many.
        entries: u64,
    },
    /// This node refused an entry of a remote.
    Refused(Refusal),
    /// A remote refused an entry of this node.
    RefusedByRemote(Refusal),
    /// A remote refused to open a context.
    ContextRefused(Refusal),
    /// An entry that counts cannot be applied: it was set aside.
    SetAside,
    /// The store answered a commit.
    Committed {
        /// The entries in it, local and remote.
        entries: usize,
        /// The bytes of their headers and payloads.
        bytes: usize,
        /// How long the store took to make them durable.
        took: Duration,
        /// Whether it did. A failure ends the incarnation.
        ok: bool,
    },
    /// The store failed: nothing more is written.
    StoreFailed,
    /// How far one remote is behind, looked at now and then.
    Lag {
        /// The session.
        session: SessionId,
        /// The remote.
        remote: ReplicaId,
        /// Entries that it lacks, as far as it has acknowledged what it was sent.
        entries: u64,
        /// Bytes that wait for its transport.
        outgoing_bytes: usize,
    },
    /// How things stand, about once a second.
    Sampled(Sample),
}

/// How things stand on the node's thread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sample {
    /// Events and commands that wait for the node.
    pub inbox: usize,
    /// Commits, reads and jobs that wait for the store.
    pub store_queue: usize,
    /// Bytes that wait for transports, all together.
    pub outgoing_bytes: usize,
    /// Bytes that wait for the transport which has most to take.
    pub outgoing_bytes_max: usize,
    /// Sessions.
    pub sessions: usize,
    /// Contexts in memory.
    pub contexts: usize,
    /// Sessions whose remote has not acknowledged everything, as far as each was last looked at.
    pub lagging_sessions: usize,
    /// Entries that remotes have not acknowledged, all together.
    pub lag_entries: u64,
    /// Entries that the remote furthest behind has not acknowledged.
    pub lag_entries_max: u64,
}

impl Observer for () {}

impl Observer for Vec<Arc<dyn Observer>> {
    fn observe(&self, seen: &Observation) {
        for observer in self {
            observer.observe(seen);
        }
    }
}
