//! Transports: they dial or accept connections that carry frames, and know nothing else.

use std::{net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;

use crate::Observer;

/// Why a connection could not be made or went away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The address cannot be used by this transport.
    #[error("{url} is not an address that can be used here: {reason}")]
    BadUrl {
        /// The address.
        url: String,
        /// What is wrong with it, and what one looks like.
        reason: String,
    },
    /// Nobody answers there.
    #[error("cannot connect to {url}: {reason}")]
    Unreachable {
        /// The address.
        url: String,
        /// What the system says.
        reason: String,
    },
    /// The address to listen on is taken or not ours.
    #[error("cannot listen on {url}: {reason}")]
    CannotListen {
        /// The address.
        url: String,
        /// What the system says, and what to do.
        reason: String,
    },
    /// A frame is larger than the limit in force.
    #[error("the remote sent a frame over the limit of {limit} bytes")]
    FrameTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The remote broke the transport's own protocol.
    #[error("the remote broke the transport's protocol: {0}")]
    Protocol(String),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
}

/// Dials or accepts connections for some URL schemes.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// The schemes that it answers for, such as `ws` and `wss`.
    fn schemes(&self) -> &[&str];

    /// Connects to an address (without the `#fragment`). Dropping the future gives up.
    ///
    /// # Errors
    /// [`TransportError`].
    async fn dial(&self, url: &str) -> Result<Box<dyn Connection>, TransportError>;

    /// Listens on an address; port 0 takes a free one.
    ///
    /// # Errors
    /// [`TransportError`].
    async fn listen(&self, url: &str) -> Result<Box<dyn Listener>, TransportError>;
}

/// Accepts connections.
#[async_trait]
pub trait Listener: Send {
    /// The address that others dial, with the port that was taken.
    fn address(&self) -> String;

    /// Who is told of each remote that knocks and never becomes a connection
    /// ([`ConnectionNotOpened`](crate::Observation::ConnectionNotOpened)). Called at most once, before the first `accept`. Nothing is
    /// told by a listener that has nothing to tell, as this one.
    fn observer(&mut self, _observer: Arc<dyn Observer>) {}

    /// The next connection. Cancel-safe. One remote that misbehaves must not make it fail: an error means that the
    /// listener itself is broken.
    ///
    /// # Errors
    /// [`TransportError`].
    async fn accept(&mut self) -> Result<Box<dyn Connection>, TransportError>;
}

/// One connection that carries frames in both directions, in order, each whole or not at all.
pub trait Connection: Send {
    /// The remote's network address, for whoever reads the log; `None` where it has none. It proves nothing: a proxy may stand
    /// between.
    fn remote_address(&self) -> Option<SocketAddr> {
        None
    }

    /// Its two halves, which may be used from different tasks.
    fn split(self: Box<Self>) -> (Box<dyn FrameSink>, Box<dyn FrameSource>);
}

/// The sending half.
#[async_trait]
pub trait FrameSink: Send {
    /// Sends frames together; returns when the system has taken them.
    ///
    /// # Errors
    /// [`TransportError`].
    async fn send(&mut self, frames: &[Bytes]) -> Result<(), TransportError>;

    /// Ends the connection in an orderly way.
    ///
    /// # Errors
    /// [`TransportError`].
    async fn close(&mut self) -> Result<(), TransportError>;
}

/// The receiving half.
#[async_trait]
pub trait FrameSource: Send {
    /// The next frame; `Ok(None)` is an orderly end. Cancel-safe.
    ///
    /// # Errors
    /// [`TransportError`].
    async fn receive(&mut self) -> Result<Option<Bytes>, TransportError>;

    /// The largest frame to take from here on: small before the remote is known, larger after.
    fn set_max_frame(&mut self, bytes: usize);
}
