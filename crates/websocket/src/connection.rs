//! A connection and its receiving half.
//!
//! Both halves work on one state machine, each under a lock that is held only while nothing waits: for one turn of
//! reading, or for one piece of writing. Waiting for the network happens outside.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use partita_core::{Connection, FrameSink, FrameSource, TransportError};
use tokio::{io::Interest, net::TcpStream, task::coop::consume_budget};
use tungstenite::{Error, Message};

use crate::{error, handshake::Ws, sink::Sink};

/// An open WebSocket.
pub(crate) struct WebSocketConnection(Arc<Shared>);

impl WebSocketConnection {
    pub(crate) fn new(stream: Arc<TcpStream>, socket: Ws) -> Self {
        Self(Arc::new(Shared { stream, socket: Mutex::new(socket) }))
    }
}

impl Connection for WebSocketConnection {
    fn remote_address(&self) -> Option<SocketAddr> {
        self.0.stream.peer_addr().ok()
    }

    fn split(self: Box<Self>) -> (Box<dyn FrameSink>, Box<dyn FrameSource>) {
        (Box::new(Sink::new(self.0.clone())), Box::new(Source::new(self.0)))
    }
}

/// What both halves use.
pub(crate) struct Shared {
    /// To wait for.
    pub(crate) stream: Arc<TcpStream>,
    socket: Mutex<Ws>,
}

impl Shared {
    /// For one turn.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Ws> {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        socket.get_mut().begin_turn();
        socket
    }
}

pub(crate) struct Source {
    shared: Arc<Shared>,
    end: Option<Result<(), TransportError>>,
}

/// What one turn of reading came to.
enum Turn {
    Frame(Bytes),
    /// A ping or a pong: there may be more at once.
    Nothing,
    End(Result<(), TransportError>),
    Wait(Interest),
}

impl Source {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, end: None }
    }

    fn turn(&self) -> Turn {
        let mut socket = self.shared.lock();
        if socket.get_ref().write_blocked()
            && let Err(failure) = flush(&mut socket)
        {
            return Turn::End(Err(error::on_connection(failure)));
        }
        let closing = !socket.can_write();
        match socket.read() {
            Ok(Message::Binary(frame)) => Turn::Frame(frame),
            Ok(Message::Ping(_) | Message::Pong(_)) => Turn::Nothing,
            Ok(Message::Close(_)) => {
                // Says goodbye too. Whether it arrives is no longer our concern.
                let _ = socket.flush();
                Turn::End(Ok(()))
            }
            Ok(Message::Text(_) | Message::Frame(_)) => {
                Turn::End(Err(TransportError::Protocol("it sent text where only binary messages are used".into())))
            }
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Turn::Wait(socket.get_ref().interest()),
            // After our own goodbye, a remote that simply hangs up is good enough.
            Err(_) if closing => Turn::End(Ok(())),
            Err(failure) => Turn::End(Err(error::on_connection(failure))),
        }
    }
}

/// Flushes as far as possible at once.
fn flush(socket: &mut Ws) -> Result<(), Error> {
    match socket.flush() {
        Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        Err(Error::ConnectionClosed) => Ok(()),
        other => other,
    }
}

#[async_trait]
impl FrameSource for Source {
    async fn receive(&mut self) -> Result<Option<Bytes>, TransportError> {
        loop {
            if let Some(end) = &self.end {
                return end.clone().map(|()| None);
            }
            consume_budget().await;
            match self.turn() {
                Turn::Frame(frame) => return Ok(Some(frame)),
                Turn::Nothing => {}
                Turn::End(end) => self.end = Some(end),
                Turn::Wait(interest) => {
                    if let Err(failure) = self.shared.stream.ready(interest).await {
                        self.end = Some(Err(TransportError::Broken(failure.to_string())));
                    }
                }
            }
        }
    }

    fn set_max_frame(&mut self, bytes: usize) {
        self.shared.lock().set_config(|config| {
            // A message may also come in one piece, which costs a buffer of its size for as long as the connection lasts. Our own
            // sinks send pieces of 64 KiB; but whoever passes WebSockets on may put them together again (RFC 6455, 5.4), and
            // devices behind such a proxy would never get a large change through.
            config.max_message_size = Some(bytes);
            config.max_frame_size = Some(bytes);
        });
    }
}
