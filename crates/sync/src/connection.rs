//! One connection: handshake, then two tasks that move frames.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use partita_core::{Connection, FrameSink, FrameSource, Observation, ReplicaId, SessionId, TransportError};
use partita_protocol::{
    CloseReason, Event, RemoteSession,
    channel::{Authenticated, ChannelError, Handshake, LocalIdentity, MAX_FRAME, MAX_HANDSHAKE_FRAME, Opener, Sealer},
};
use tokio::sync::{Semaphore, mpsc as frames, oneshot};
use tracing::{Instrument as _, debug, field};

use crate::{
    SystemRandom,
    driver::Input,
    ends::{End, Outgoing},
    handle::DriverHandle,
};

/// From the first byte to the proof of who is there. Traffic does not prolong it.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// How many bytes of received frames wait for the driver before a connection is read no further.
const RECEIVE_BYTES: usize = 2 * MAX_FRAME;
/// What a frame counts for in that at least: its place in the queue, and the work to take it from there. One of no bytes would
/// otherwise wait for nothing, and its sender have millions of them queued.
const LEAST_OF_A_FRAME: usize = 512;
/// A frame of at most so many bytes is worked off where it was received, if the driver has nothing else to do.
const SHORT_FRAME: usize = 4096;
/// How many frames are sealed before they are handed to the transport.
const SEND_TOGETHER: usize = 32;
/// How long a transport that takes nothing holds up the end of its connection.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Session numbers are this process's own and never cross the wire: one counter serves all engines in it.
static NEXT_SESSION: AtomicU64 = AtomicU64::new(1);

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The transport.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The channel.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The remote took too long to prove who it is.
    #[error("the remote did not finish the handshake within {} s", HANDSHAKE_DEADLINE.as_secs())]
    Deadline,
    /// The remote hung up during the handshake.
    #[error("the remote hung up during the handshake")]
    HungUp,
    /// This node closed it.
    #[error(transparent)]
    Closed(#[from] CloseReason),
}

impl ConnectionError {
    /// Whether the same attempt will hardly go better later: somebody has to change an address, a key or a program.
    pub fn is_refusal(&self) -> bool {
        use ChannelError::{Identity, Ourselves, Version, WrongRemote};
        matches!(self, Self::Channel(WrongRemote { .. } | Version(_) | Ourselves | Identity))
    }
}

/// Proves both sides to each other.
async fn handshake(
    identity: &LocalIdentity,
    role: Role,
    sink: &mut dyn FrameSink,
    source: &mut dyn FrameSource,
) -> Result<Authenticated, ConnectionError> {
    source.set_max_frame(MAX_HANDSHAKE_FRAME);
    let mut rng = SystemRandom;
    let mut state = match role {
        Role::Dial(pinned) => {
            let (state, first) = Handshake::dial(identity.clone(), pinned, &mut rng)?;
            sink.send(&[first]).await?;
            state
        }
        Role::Accept => Handshake::accept(identity.clone(), &mut rng)?,
    };
    loop {
        let frame = source.receive().await?.ok_or(ConnectionError::HungUp)?;
        let step = state.receive(&frame)?;
        if !step.send.is_empty() {
            sink.send(&step.send).await?;
        }
        if let Some(channel) = step.done {
            source.set_max_frame(MAX_FRAME);
            return Ok(*channel);
        }
    }
}

/// Which side of a connection this is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Role {
    /// Dialled; the remote must be this replica, if one is given.
    Dial(Option<ReplicaId>),
    Accept,
}

/// A connection for as long as it is there, however it ends: also when its task is dropped.
struct Open<C: Send + 'static> {
    driver: DriverHandle<C>,
    dialled: bool,
    session: Option<SessionId>,
}

impl<C: Send + 'static> Open<C> {
    fn new(driver: DriverHandle<C>, role: Role) -> Self {
        let dialled = matches!(role, Role::Dial(_));
        driver.observer.observe(&Observation::ConnectionOpened { dialled });
        Self { driver, dialled, session: None }
    }
}

impl<C: Send + 'static> Drop for Open<C> {
    fn drop(&mut self) {
        if let Some(session) = self.session {
            let _ = self.driver.sender.leave(Input::Event(Event::Disconnected(session)));
        }
        let (dialled, authenticated) = (self.dialled, self.session.is_some());
        self.driver.observer.observe(&Observation::ConnectionClosed { dialled, authenticated });
    }
}

/// Serves a connection until it ends, and says why it did.
pub(crate) async fn serve<C: Send + 'static>(
    driver: DriverHandle<C>,
    connection: Box<dyn Connection>,
    role: Role,
    connected: impl FnOnce(SessionId, ReplicaId) + Send,
) -> ConnectionError {
    let name = if matches!(role, Role::Dial(_)) { "dialer" } else { "acceptor" };
    let span = tracing::info_span!(
        "connection",
        role = name,
        address = field::Empty,
        session = field::Empty,
        remote = field::Empty
    );
    if let Some(address) = connection.remote_address() {
        span.record("address", field::display(address));
    }
    let served = async move {
        let ended = serve_inside(driver, connection, role, connected).await;
        debug!(%ended, "the connection ended");
        ended
    };
    served.instrument(span).await
}

async fn serve_inside<C: Send + 'static>(
    driver: DriverHandle<C>,
    connection: Box<dyn Connection>,
    role: Role,
    connected: impl FnOnce(SessionId, ReplicaId) + Send,
) -> ConnectionError {
    let mut open = Open::new(driver, role);
    let driver = open.driver.clone();
    let (mut sink, mut source) = connection.split();
    // Boxed, because a connection's task is as large as its largest part for as long as it lives.
    let proving = Box::pin(handshake(&driver.identity, role, &mut *sink, &mut *source));
    let proved = tokio::time::timeout(HANDSHAKE_DEADLINE, proving).await;
    let channel = match proved {
        Ok(Ok(channel)) => channel,
        Ok(Err(error)) => {
            let _ = tokio::time::timeout(LAST_WORDS, sink.close()).await;
            return error;
        }
        Err(_) => return ConnectionError::Deadline,
    };
    let session = SessionId(NEXT_SESSION.fetch_add(1, Ordering::Relaxed));
    let Authenticated { remote, incarnation, handshake, dialled, pinned, sealer, opener } = channel;
    let replica = ReplicaId::from_bytes(*remote.as_bytes());
    tracing::Span::current().record("session", session.0).record("remote", field::debug(replica));
    debug!("the remote proved who it is");
    let (writer, outgoing) = frames::unbounded_channel();
    let (closing, closed) = oneshot::channel();
    let remote = RemoteSession { session, remote, incarnation, handshake, dialled, pinned };
    let end = End::new(remote.peer().replica, writer, closing);
    if driver.sender.leave(Input::Connected(remote, end)).is_err() {
        return CloseReason::Closing.into();
    }
    open.session = Some(session);
    // Whoever hears of it may ask the driver about the session at once.
    connected(session, replica);
    let write = write(sink, sealer, outgoing, session, &driver);
    let mut read = std::pin::pin!(read(source, opener, session, &driver));
    // The reader's end must not cut off what is still to be written, so the writer is given the last word; a transport
    // that takes nothing keeps the writer from ever hearing that it should stop.
    tokio::select! {
        ended = write => match ended {
            // A remote that closed takes nothing more, and what it said before that is still to be read: why, for one.
            ConnectionError::Transport(_) => tokio::time::timeout(LAST_WORDS, read).await.unwrap_or(ended),
            _ => ended,
        },
        ended = &mut read => ended,
        reason = cut_off(closed) => reason.into(),
    }
}

/// Ends a little after the driver wants the connection closed; at once if there is nobody to hear last words, so that the
/// next connection need not wait for them.
async fn cut_off(closed: oneshot::Receiver<CloseReason>) -> CloseReason {
    let reason = closed.await.unwrap_or(CloseReason::Closing); // the driver is gone
    if !matches!(reason, CloseReason::Silent | CloseReason::Stalled) {
        tokio::time::sleep(LAST_WORDS).await;
    }
    reason
}

async fn write<C: Send + 'static>(
    mut sink: Box<dyn FrameSink>,
    mut sealer: Sealer,
    mut outgoing: frames::UnboundedReceiver<Outgoing>,
    session: SessionId,
    driver: &DriverHandle<C>,
) -> ConnectionError {
    let mut ended = None;
    while ended.is_none() {
        let Some(first) = outgoing.recv().await else {
            return CloseReason::Closing.into();
        };
        let (mut sealed, mut plain_bytes): (Vec<Bytes>, usize) = (Vec::new(), 0);
        let mut next = Some(first);
        while let Some(item) = next {
            match item {
                Outgoing::Frame(frame) => {
                    plain_bytes += frame.len();
                    match sealer.seal(&frame) {
                        Ok(frame) => sealed.push(frame),
                        Err(error) => ended = Some(error.into()),
                    }
                }
                Outgoing::Close(reason) => ended = Some(reason.into()),
            }
            next = if ended.is_none() && sealed.len() < SEND_TOGETHER { outgoing.try_recv().ok() } else { None };
        }
        if let Err(error) = sink.send(&sealed).await {
            return error.into();
        }
        let bytes = sealed.iter().map(Bytes::len).sum();
        driver.observer.observe(&Observation::Sent { frames: sealed.len(), bytes });
        let _ = driver.sender.tell(Input::Event(Event::Sent(session, plain_bytes)));
    }
    let _ = sink.close().await;
    ended.unwrap_or(CloseReason::Closing.into())
}

/// What an opened frame takes of [`RECEIVE_BYTES`].
fn room_for(plain: &Bytes) -> u32 {
    u32::try_from(plain.len().clamp(LEAST_OF_A_FRAME, RECEIVE_BYTES)).unwrap_or(u32::MAX)
}

async fn read<C: Send + 'static>(
    mut source: Box<dyn FrameSource>,
    mut opener: Opener,
    session: SessionId,
    driver: &DriverHandle<C>,
) -> ConnectionError {
    let room = Arc::new(Semaphore::new(RECEIVE_BYTES));
    loop {
        let frame = match source.receive().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return CloseReason::Remote("orderly".into()).into(),
            Err(error) => return error.into(),
        };
        let plain = match opener.open(&frame) {
            Ok(plain) => plain,
            Err(error) => return error.into(),
        };
        driver.observer.observe(&Observation::Received { bytes: frame.len() });
        let Ok(permit) = room.clone().acquire_many_owned(room_for(&plain)).await else {
            return CloseReason::Closing.into();
        };
        let short = plain.len() <= SHORT_FRAME;
        let frame = Input::Frame(session, plain, permit);
        // What may take long must not hold up other tasks of the runtime.
        let told = if short { driver.sender.tell(frame) } else { driver.sender.leave(frame) };
        if told.is_err() {
            // The driver is gone. What it said last is still to be written, and whoever writes it ends the connection.
            return std::future::pending().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames without content were once read without end, however far behind the driver was.
    #[test]
    fn a_frame_takes_room_also_when_it_holds_nothing() {
        let frame = |bytes: usize| Bytes::from(vec![0; bytes]);
        assert_eq!(room_for(&frame(0)), 512);
        assert_eq!(room_for(&frame(2)), 512);
        assert_eq!(room_for(&frame(513)), 513);
        assert_eq!(room_for(&frame(3 * MAX_FRAME)) as usize, RECEIVE_BYTES, "it would wait for ever otherwise");
    }

    #[test]
    fn what_the_least_frame_counts_for_covers_its_place_in_the_queue() {
        assert!(size_of::<Input<()>>() <= LEAST_OF_A_FRAME, "{} bytes", size_of::<Input<()>>());
    }
}
