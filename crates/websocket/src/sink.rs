//! The sending half.

use std::{collections::VecDeque, io::ErrorKind, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use partita_core::{FrameSink, FrameSource, TransportError};
use tokio::{task::coop::consume_budget, time::timeout};
use tungstenite::{
    Error, Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

use crate::{
    connection::{Shared, Source},
    error,
};

/// A message larger than this many bytes travels as several WebSocket fragments. So neither side ever needs a buffer
/// of the size of the largest message that a connection has seen, which it would then keep.
pub(crate) const PIECE: usize = 64 * 1024;

/// How long an orderly end may wait for a remote that does not read.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

pub(crate) struct Sink {
    shared: Arc<Shared>,
    /// What is still to be sent. When a send is given up halfway, the rest goes out with the next one, because a
    /// message must not be cut.
    queue: VecDeque<Bytes>,
    /// Bytes of the first one that have been handed over.
    sent: usize,
    closed: bool,
}

impl Sink {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, queue: VecDeque::new(), sent: 0, closed: false }
    }

    /// Hands over everything and waits until the system has taken it.
    async fn drain(&mut self) -> Result<(), TransportError> {
        loop {
            consume_budget().await;
            match self.turn() {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(Error::Io(failure)) if failure.kind() == ErrorKind::WouldBlock => {
                    let writable = self.shared.stream.writable().await;
                    writable.map_err(|failure| TransportError::Broken(failure.to_string()))?;
                }
                Err(failure) => return Err(error::on_connection(failure)),
            }
        }
    }

    /// Sends what is left and a close frame, unless the remote has said goodbye first.
    async fn say_goodbye(&mut self) -> Result<(), TransportError> {
        if !self.shared.lock().can_write() {
            self.closed = true;
            return Ok(());
        }
        self.drain().await?;
        self.closed = true;
        let result = self.shared.lock().close(None);
        match result {
            Ok(()) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => Ok(()),
            Err(Error::Io(failure)) if failure.kind() == ErrorKind::WouldBlock => self.drain().await,
            Err(failure) => Err(error::on_connection(failure)),
        }
    }

    /// Hands over one piece, after what the system did not take last time; true when there is nothing left.
    fn turn(&mut self) -> Result<bool, Error> {
        let mut socket = self.shared.lock();
        if socket.get_ref().write_blocked() {
            socket.flush()?;
        }
        let Some(message) = self.queue.front() else {
            return socket.flush().map(|()| true);
        };
        let end = message.len().min(self.sent + PIECE);
        let kind = if self.sent == 0 { Data::Binary } else { Data::Continue };
        let last = end == message.len();
        let piece = Frame::message(message.slice(self.sent..end), OpCode::Data(kind), last);
        let result = socket.write(Message::Frame(piece));
        // "Would block" also means that the piece was taken: only the flush is missing.
        if last {
            self.queue.pop_front();
            self.sent = 0;
        } else {
            self.sent = end;
        }
        result.map(|()| false)
    }
}

#[async_trait]
impl FrameSink for Sink {
    async fn send(&mut self, frames: &[Bytes]) -> Result<(), TransportError> {
        if self.closed {
            return Err(error::closed());
        }
        self.queue.extend(frames.iter().cloned());
        self.drain().await
    }

    async fn close(&mut self) -> Result<(), TransportError> {
        if self.closed {
            return Ok(());
        }
        let late = |_elapsed| TransportError::Broken("the remote does not read, so the end was not orderly".into());
        timeout(CLOSE_DEADLINE, self.say_goodbye()).await.map_err(late)??;
        if Arc::strong_count(&self.shared) == 1 {
            // Nobody else reads. A socket dropped with unread bytes is reset, and the remote might lose our last words.
            let mut rest = Source::new(self.shared.clone());
            let answer = async { while let Ok(Some(_)) = rest.receive().await {} };
            // An answer that does not come changes nothing.
            let _ = timeout(CLOSE_DEADLINE, answer).await;
        }
        Ok(())
    }
}
