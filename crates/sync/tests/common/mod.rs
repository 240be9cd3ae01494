//! Nodes without contexts on real threads, and transports that misbehave.

#![allow(dead_code, unreachable_pub)] // each test file uses its part

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use partita_core::{
    Bytes, Connection, FrameSink, FrameSource, Incarnation, Listener, Observation, Observer, Store, Transport,
    TransportError,
};
use partita_crypto::{Secret, SigningKey};
use partita_protocol::{NodeConfig, NodeParts, Notice, channel::LocalIdentity};
use partita_sync::{Driver, DriverHandle, DriverParts, Host, HostContext, SystemRandom};
use partita_testing::MemoryStore;
use tokio::sync::{mpsc, watch};

/// Long enough for any honest run, short enough to see a hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// Adds nothing to its node.
pub struct Bare;

impl Host for Bare {
    type Command = ();

    fn command(&mut self, _context: &mut HostContext<'_, ()>, (): ()) {}

    fn notice(&mut self, _context: &mut HostContext<'_, ()>, _notice: Notice) {}
}

/// Passes everything that is seen on.
pub struct Seen(mpsc::UnboundedSender<Observation>);

impl Observer for Seen {
    fn observe(&self, seen: &Observation) {
        let _ = self.0.send(*seen);
    }
}

pub fn seen() -> (Arc<Seen>, mpsc::UnboundedReceiver<Observation>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Arc::new(Seen(sender)), receiver)
}

pub fn driver(seed: u8, config: NodeConfig, observer: Arc<dyn Observer>) -> DriverHandle<()> {
    driver_with(seed, config, observer, Bare, Arc::new(memory_store(seed)))
}

pub fn memory_store(seed: u8) -> MemoryStore {
    MemoryStore::new(Incarnation::from_bytes([seed; 16]))
}

/// The same with a host and a store of one's own.
pub fn driver_with<H: Host>(
    seed: u8,
    config: NodeConfig,
    observer: Arc<dyn Observer>,
    host: H,
    store: Arc<dyn Store>,
) -> DriverHandle<H::Command> {
    let key = Arc::new(SigningKey::from_seed(&Secret::from_bytes([seed; 32])));
    let identity = LocalIdentity { key, incarnation: store.incarnation() };
    let node = NodeParts { config, identity, strategies: Vec::new(), rng: Box::new(SystemRandom) };
    Driver::start(DriverParts { node, store, host, tap: None, observer }).unwrap()
}

pub async fn patiently<R>(what: &str, wanted: impl Future<Output = R>) -> R {
    match tokio::time::timeout(PATIENCE, wanted).await {
        Ok(found) => found,
        Err(_) => panic!("{what} did not come within {PATIENCE:?}"),
    }
}

/// What becomes of a dial.
#[derive(Clone, Copy)]
pub enum Answer {
    /// Nothing, ever.
    Silence,
    /// A connection that takes everything and says nothing.
    Swallows,
    /// An error at once.
    Error,
}

/// Answers every dial to `bad://…` in one way, and counts them.
pub struct Bad {
    pub answer: Answer,
    pub dials: watch::Sender<u32>,
}

impl Bad {
    pub fn new(answer: Answer) -> (Arc<Self>, watch::Receiver<u32>) {
        let (dials, counted) = watch::channel(0);
        (Arc::new(Self { answer, dials }), counted)
    }
}

#[async_trait]
impl Transport for Bad {
    fn schemes(&self) -> &[&str] {
        &["bad"]
    }

    async fn dial(&self, url: &str) -> Result<Box<dyn Connection>, TransportError> {
        self.dials.send_modify(|dials| *dials += 1);
        match self.answer {
            Answer::Silence => std::future::pending().await,
            Answer::Swallows => Ok(Box::new(Dead)),
            Answer::Error => Err(TransportError::Unreachable { url: url.into(), reason: "it is not there".into() }),
        }
    }

    async fn listen(&self, url: &str) -> Result<Box<dyn Listener>, TransportError> {
        Err(TransportError::CannotListen { url: url.into(), reason: "nobody does".into() })
    }
}

/// A connection over which nothing ever comes.
pub struct Dead;

impl Connection for Dead {
    fn split(self: Box<Self>) -> (Box<dyn FrameSink>, Box<dyn FrameSource>) {
        (Box::new(Dead), Box::new(Dead))
    }
}

#[async_trait]
impl FrameSink for Dead {
    async fn send(&mut self, _frames: &[Bytes]) -> Result<(), TransportError> {
        Ok(())
    }

    async fn close(&mut self) -> Result<(), TransportError> {
        Ok(())
    }
}

#[async_trait]
impl FrameSource for Dead {
    async fn receive(&mut self) -> Result<Option<Bytes>, TransportError> {
        std::future::pending().await
    }

    fn set_max_frame(&mut self, _bytes: usize) {}
}

/// How a line dies without telling anybody.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// It takes what is sent, and loses it.
    Swallows,
    /// It takes nothing more, as a full socket does.
    Blocks,
}

/// Another transport, whose connections can all be made to go dead.
pub struct Mortal<T> {
    pub inner: T,
    pub dead: Arc<AtomicBool>,
    pub death: Death,
}

#[async_trait]
impl<T: Transport> Transport for Mortal<T> {
    fn schemes(&self) -> &[&str] {
        self.inner.schemes()
    }

    async fn dial(&self, url: &str) -> Result<Box<dyn Connection>, TransportError> {
        if self.dead.load(Ordering::SeqCst) {
            return Err(TransportError::Unreachable { url: url.into(), reason: "the line is dead".into() });
        }
        let (sink, source) = self.inner.dial(url).await?.split();
        Ok(Box::new(MortalConnection { sink, source, dead: self.dead.clone(), death: self.death }))
    }

    async fn listen(&self, url: &str) -> Result<Box<dyn Listener>, TransportError> {
        self.inner.listen(url).await
    }
}

struct MortalConnection {
    sink: Box<dyn FrameSink>,
    source: Box<dyn FrameSource>,
    dead: Arc<AtomicBool>,
    death: Death,
}

struct MortalSink(Box<dyn FrameSink>, Arc<AtomicBool>, Death);

struct MortalSource(Box<dyn FrameSource>, Arc<AtomicBool>);

impl Connection for MortalConnection {
    fn split(self: Box<Self>) -> (Box<dyn FrameSink>, Box<dyn FrameSource>) {
        let sink = MortalSink(self.sink, self.dead.clone(), self.death);
        (Box::new(sink), Box::new(MortalSource(self.source, self.dead)))
    }
}

#[async_trait]
impl FrameSink for MortalSink {
    async fn send(&mut self, frames: &[Bytes]) -> Result<(), TransportError> {
        match (self.1.load(Ordering::SeqCst), self.2) {
            (false, _) => self.0.send(frames).await,
            (true, Death::Swallows) => Ok(()),
            (true, Death::Blocks) => std::future::pending().await,
        }
    }

    async fn close(&mut self) -> Result<(), TransportError> {
        match (self.1.load(Ordering::SeqCst), self.2) {
            (false, _) => self.0.close().await,
            (true, Death::Swallows) => Ok(()),
            (true, Death::Blocks) => std::future::pending().await,
        }
    }
}

#[async_trait]
impl FrameSource for MortalSource {
    async fn receive(&mut self) -> Result<Option<Bytes>, TransportError> {
        let frame = self.0.receive().await;
        if self.1.load(Ordering::SeqCst) {
            return std::future::pending().await;
        }
        frame
    }

    fn set_max_frame(&mut self, bytes: usize) {
        self.0.set_max_frame(bytes);
    }
}
