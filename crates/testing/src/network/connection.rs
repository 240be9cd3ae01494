//! The two ends of a connection, and their halves.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use partita_core::{Connection, FrameSink, FrameSource, TransportError};
use tokio::sync::{mpsc, watch};

use super::{
    FIRST_MAX_FRAME,
    link::{Life, Link},
};

/// Frames under way in one direction before the sender has to wait.
const FRAMES_UNDER_WAY: usize = 16;

/// What travels.
enum Parcel {
    Frame(Bytes),
    Goodbye,
}

/// One end.
pub(super) struct MemoryConnection {
    sink: Sink,
    source: Source,
}

impl MemoryConnection {
    pub(super) fn pair(link: Arc<Link>) -> (Self, Self) {
        let (to_there, from_here) = mpsc::channel(FRAMES_UNDER_WAY);
        let (to_here, from_there) = mpsc::channel(FRAMES_UNDER_WAY);
        (Self::new(&link, to_there, from_there), Self::new(&link, to_here, from_here))
    }

    fn new(link: &Arc<Link>, outgoing: mpsc::Sender<Parcel>, incoming: mpsc::Receiver<Parcel>) -> Self {
        let end = Arc::new(End(link.clone()));
        let sink = Sink { end: end.clone(), life: link.watch(), outgoing: outgoing.clone(), closed: false };
        let source = Source {
            end,
            life: link.watch(),
            incoming,
            _outgoing: outgoing,
            max_frame: FIRST_MAX_FRAME,
            outcome: None,
        };
        Self { sink, source }
    }
}

impl Connection for MemoryConnection {
    fn split(self: Box<Self>) -> (Box<dyn FrameSink>, Box<dyn FrameSource>) {
        (Box::new(self.sink), Box::new(self.source))
    }
}

/// Held by both halves of an end: when both are gone without a goodbye, the connection has broken.
struct End(Arc<Link>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end(Life::Spent);
    }
}

fn broken() -> TransportError {
    TransportError::Broken("the remote went away, or the network was cut".into())
}

struct Sink {
    end: Arc<End>,
    life: watch::Receiver<Life>,
    outgoing: mpsc::Sender<Parcel>,
    closed: bool,
}

impl Sink {
    async fn place(&mut self) -> Result<mpsc::Permit<'_, Parcel>, TransportError> {
        let Self { life, outgoing, .. } = self;
        tokio::select! {
            biased;
            () = ended(life) => Err(broken()),
            permit = outgoing.reserve() => permit.map_err(|_gone| broken()),
        }
    }
}

async fn ended(life: &mut watch::Receiver<Life>) {
    // An error means that the link is gone, which cannot be while a half holds it; it would be an end all the same.
    let _ = life.wait_for(|life| *life != Life::Up).await;
}

#[async_trait]
impl FrameSink for Sink {
    async fn send(&mut self, frames: &[Bytes]) -> Result<(), TransportError> {
        if self.closed {
            return Err(TransportError::Broken("it is closed".into()));
        }
        let link = self.end.0.clone();
        for frame in frames {
            let place = self.place().await?;
            if !link.pass(frame) {
                return Err(broken());
            }
            place.send(Parcel::Frame(frame.clone()));
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<(), TransportError> {
        if self.closed || *self.life.borrow() == Life::Closed {
            self.closed = true;
            return Ok(());
        }
        self.place().await?.send(Parcel::Goodbye);
        self.closed = true;
        Ok(())
    }
}

struct Source {
    end: Arc<End>,
    life: watch::Receiver<Life>,
    incoming: mpsc::Receiver<Parcel>,
    /// A sink that is dropped alone ends nothing.
    _outgoing: mpsc::Sender<Parcel>,
    max_frame: usize,
    outcome: Option<Result<(), TransportError>>,
}

impl Source {
    /// The next parcel: what had passed comes first, unless the line was cut.
    async fn next(&mut self) -> Result<Parcel, Life> {
        let Self { life, incoming, .. } = self;
        tokio::select! {
            biased;
            () = ended(life) => {}
            Some(parcel) = incoming.recv() => return Ok(parcel),
        }
        let how = *life.borrow();
        match incoming.try_recv() {
            Ok(parcel) if how != Life::Cut => Ok(parcel),
            _ => Err(how),
        }
    }
}

#[async_trait]
impl FrameSource for Source {
    async fn receive(&mut self) -> Result<Option<Bytes>, TransportError> {
        if let Some(outcome) = &self.outcome {
            return outcome.clone().map(|()| None);
        }
        let outcome = match self.next().await {
            Ok(Parcel::Frame(frame)) if frame.len() <= self.max_frame => return Ok(Some(frame)),
            Ok(Parcel::Frame(_)) => Err(TransportError::FrameTooLarge { limit: self.max_frame }),
            Ok(Parcel::Goodbye) => {
                self.end.0.end(Life::Closed);
                Ok(())
            }
            Err(Life::Closed) => Ok(()),
            Err(_) => Err(broken()),
        };
        self.outcome = Some(outcome.clone());
        outcome.map(|()| None)
    }

    fn set_max_frame(&mut self, bytes: usize) {
        self.max_frame = bytes;
    }
}
