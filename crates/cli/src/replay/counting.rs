//! A transport that counts.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use partita::websocket::WebSocket;
use partita_core::{Bytes, Connection, FrameSink, FrameSource, Listener, Transport, TransportError};

/// The bytes of all frames that crossed the replicas' sockets, in both directions: handshakes and sealed records, as they
/// are in WebSocket messages. The few bytes that WebSocket, TCP and IP put around them are not in it.
#[derive(Debug, Default)]
pub(crate) struct Wire(AtomicU64);

impl Wire {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn count(&self, frame: &Bytes) {
        self.0.fetch_add(frame.len() as u64, Ordering::Relaxed);
    }
}

/// WebSockets whose frames are counted.
#[derive(Debug)]
pub(crate) struct Counting {
    sockets: WebSocket,
    wire: Arc<Wire>,
}

impl Counting {
    pub(crate) fn new(wire: Arc<Wire>) -> Self {
        Self { sockets: WebSocket::default(), wire }
    }
}

#[async_trait]
impl Transport for Counting {
    fn schemes(&self) -> &[&str] {
        self.sockets.schemes()
    }

    async fn dial(&self, url: &str) -> Result<Box<dyn Connection>, TransportError> {
        let inner = self.sockets.dial(url).await?;
        Ok(Box::new(Counted { inner, wire: self.wire.clone() }))
    }

    async fn listen(&self, url: &str) -> Result<Box<dyn Listener>, TransportError> {
        // Replicas only dial; what comes in would be counted by those who dialled.
        self.sockets.listen(url).await
    }
}

struct Counted<T> {
    inner: T,
    wire: Arc<Wire>,
}

impl Connection for Counted<Box<dyn Connection>> {
    fn split(self: Box<Self>) -> (Box<dyn FrameSink>, Box<dyn FrameSource>) {
        let (sink, source) = self.inner.split();
        let counted = Counted { inner: source, wire: self.wire.clone() };
        (Box::new(Counted { inner: sink, wire: self.wire }), Box::new(counted))
    }
}

#[async_trait]
impl FrameSink for Counted<Box<dyn FrameSink>> {
    async fn send(&mut self, frames: &[Bytes]) -> Result<(), TransportError> {
        self.inner.send(frames).await?;
        frames.iter().for_each(|frame| self.wire.count(frame));
        Ok(())
    }

    async fn close(&mut self) -> Result<(), TransportError> {
        self.inner.close().await
    }
}

#[async_trait]
impl FrameSource for Counted<Box<dyn FrameSource>> {
    async fn receive(&mut self) -> Result<Option<Bytes>, TransportError> {
        let frame = self.inner.receive().await?;
        frame.iter().for_each(|frame| self.wire.count(frame));
        Ok(frame)
    }

    fn set_max_frame(&mut self, bytes: usize) {
        self.inner.set_max_frame(bytes);
    }
}
