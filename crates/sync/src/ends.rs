//! The connections' writers, as the driver sees them.

use std::collections::BTreeMap;

use bytes::Bytes;
use partita_core::{ReplicaId, SessionId};
use partita_protocol::CloseReason;
use tokio::sync::{mpsc, oneshot};

/// What a connection's writer is told.
pub(crate) enum Outgoing {
    Frame(Bytes),
    Close(CloseReason),
}

/// The driver's end of a connection.
pub(crate) struct End {
    remote: ReplicaId,
    writer: mpsc::UnboundedSender<Outgoing>,
    /// Past the frames: a writer that the transport holds up would never read of the close behind them.
    closing: oneshot::Sender<CloseReason>,
    /// Bytes that the transport has not taken.
    waiting: usize,
}

impl End {
    pub(crate) fn new(
        remote: ReplicaId,
        writer: mpsc::UnboundedSender<Outgoing>,
        closing: oneshot::Sender<CloseReason>,
    ) -> Self {
        Self { remote, writer, closing, waiting: 0 }
    }
}

/// All of them.
#[derive(Default)]
pub(crate) struct Ends {
    by_session: BTreeMap<SessionId, End>,
    waiting: usize,
}

impl Ends {
    pub(crate) fn insert(&mut self, session: SessionId, end: End) {
        self.by_session.insert(session, end);
    }

    pub(crate) fn send(&mut self, session: &SessionId, frame: Bytes) {
        if let Some(end) = self.by_session.get_mut(session) {
            end.waiting += frame.len();
            self.waiting += frame.len();
            let _ = end.writer.send(Outgoing::Frame(frame)); // if it is gone, its Disconnected is on its way
        }
    }

    /// Who is at the other end.
    pub(crate) fn remote(&self, session: &SessionId) -> Option<ReplicaId> {
        self.by_session.get(session).map(|end| end.remote)
    }

    /// The transport has taken so many bytes.
    pub(crate) fn sent(&mut self, session: &SessionId, bytes: usize) {
        if let Some(end) = self.by_session.get_mut(session) {
            let bytes = bytes.min(end.waiting);
            end.waiting -= bytes;
            self.waiting -= bytes;
        }
    }

    /// Ends a connection behind what was sent, or soon if the transport takes nothing.
    pub(crate) fn close(&mut self, session: &SessionId, reason: CloseReason) {
        if let Some(end) = self.take(session) {
            let _ = end.writer.send(Outgoing::Close(reason.clone()));
            let _ = end.closing.send(reason);
        }
    }

    pub(crate) fn forget(&mut self, session: &SessionId) {
        self.take(session);
    }

    fn take(&mut self, session: &SessionId) -> Option<End> {
        let end = self.by_session.remove(session)?;
        self.waiting -= end.waiting;
        Some(end)
    }

    pub(crate) fn waiting_for(&self, session: &SessionId) -> usize {
        self.by_session.get(session).map_or(0, |end| end.waiting)
    }

    /// Bytes that wait: all together, and the most in one connection.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.waiting, self.by_session.values().map(|end| end.waiting).max().unwrap_or(0))
    }
}
