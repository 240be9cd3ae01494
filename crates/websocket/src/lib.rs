//! Partita's WebSocket transport: one binary message carries one frame.
//!
//! [`WebSocket`] dials `ws://` and `wss://` addresses and listens on `ws://` ones. A server that wants `wss` stands
//! behind a TLS terminator; nothing is lost by that, because sessions are encrypted and authenticated by themselves.
//!
//! ```no_run
//! # async fn example() -> Result<(), partita_core::TransportError> {
//! use partita_core::{Bytes, Transport};
//! use partita_websocket::WebSocket;
//!
//! let transport = WebSocket::default();
//! let mut listener = transport.listen("ws://127.0.0.1:0").await?;
//! let address = listener.address();
//! let (client, server) = tokio::join!(transport.dial(&address), listener.accept());
//!
//! let (mut sink, _source) = client?.split();
//! let (_sink, mut source) = server?.split();
//! sink.send(&[Bytes::from_static(b"hello")]).await?;
//! assert_eq!(source.receive().await?.as_deref(), Some(&b"hello"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! What a remote can make us hold before anybody knows who it is, is small: a read buffer of 4 KiB, frames of at most
//! [`FIRST_MAX_FRAME`] bytes, and [`HANDSHAKE_DEADLINE`] to become a WebSocket at all.
//! [`FrameSource::set_max_frame`](partita_core::FrameSource::set_max_frame) raises the limit later.

mod address;
mod connection;
mod dial;
mod error;
mod handshake;
mod listen;
mod sink;
mod socket;
mod tls;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use partita_core::{Connection, Listener, Transport, TransportError};

pub use rustls;

/// The largest frame taken from a remote until `set_max_frame` says otherwise, in bytes.
pub const FIRST_MAX_FRAME: usize = 64 * 1024;

/// How long a remote may take for each step of becoming a connection: TCP, TLS and the WebSocket handshake.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// The transport for `ws` and `wss`.
#[derive(Debug, Default)]
pub struct WebSocket {
    /// Made at the first `wss` dial.
    tls: OnceLock<Result<Arc<rustls::ClientConfig>, rustls::Error>>,
}

impl WebSocket {
    /// Dials `wss` with these settings instead of the public roots of the web: for a certificate authority of your
    /// own, or client certificates.
    #[must_use]
    pub fn with_tls(config: Arc<rustls::ClientConfig>) -> Self {
        Self { tls: OnceLock::from(Ok(config)) }
    }
}

#[async_trait]
impl Transport for WebSocket {
    fn schemes(&self) -> &[&str] {
        &["ws", "wss"]
    }

    async fn dial(&self, url: &str) -> Result<Box<dyn Connection>, TransportError> {
        let address = address::Address::parse(url)?;
        let tls = address.secure.then(|| self.tls.get_or_init(tls::public_roots).clone());
        Ok(Box::new(dial::dial(&address, tls).await?))
    }

    async fn listen(&self, url: &str) -> Result<Box<dyn Listener>, TransportError> {
        let address = address::Address::parse(url)?;
        Ok(Box::new(listen::WebSocketListener::bind(&address).await?))
    }
}
