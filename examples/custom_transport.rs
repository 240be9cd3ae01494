//! A transport of one's own: pipes inside one process, which carry bytes, made to carry frames.
//!
//! Over a Unix socket, a serial line or anything else that carries bytes in order it looks the same.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use automerge::{ROOT, ReadDoc as _, transaction::Transactable as _};
use partita::{
    Engine, FileKeystore, SystemRandom,
    automerge::Automerge,
    core::{Bytes, Connection, FrameSink, FrameSource, Listener, Transport, TransportError},
    single_owner::SingleOwner,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf},
    sync::mpsc,
};

/// Everybody who is to meet has a clone of it. Addresses look like `pipe://name`.
#[derive(Clone, Default)]
struct Pipes {
    listeners: Arc<Mutex<BTreeMap<String, mpsc::Sender<DuplexStream>>>>,
}

#[async_trait]
impl Transport for Pipes {
    fn schemes(&self) -> &[&str] {
        &["pipe"]
    }

    async fn dial(&self, url: &str) -> Result<Box<dyn Connection>, TransportError> {
        let unreachable = || TransportError::Unreachable { url: url.into(), reason: "nobody listens there".into() };
        let listener = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).get(url).cloned();
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        listener.ok_or_else(unreachable)?.send(theirs).await.map_err(|_| unreachable())?;
        Ok(Box::new(Pipe(ours)))
    }

    async fn listen(&self, url: &str) -> Result<Box<dyn Listener>, TransportError> {
        let (sender, incoming) = mpsc::channel(16);
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).insert(url.into(), sender);
        Ok(Box::new(End { url: url.into(), incoming }))
    }
}

struct End {
    url: String,
    incoming: mpsc::Receiver<DuplexStream>,
}

#[async_trait]
impl Listener for End {
    fn address(&self) -> String {
        self.url.clone()
    }

    async fn accept(&mut self) -> Result<Box<dyn Connection>, TransportError> {
        let stream = self.incoming.recv().await.ok_or_else(|| TransportError::Broken("the pipes are gone".into()))?;
        Ok(Box::new(Pipe(stream)))
    }
}

struct Pipe(DuplexStream);

impl Connection for Pipe {
    fn split(self: Box<Self>) -> (Box<dyn FrameSink>, Box<dyn FrameSource>) {
        let (read, write) = tokio::io::split(self.0);
        (Box::new(Sink(write)), Box::new(Source { read, buffer: Vec::new(), max_frame: 64 * 1024 }))
    }
}

/// A frame is its length in four bytes, then itself.
struct Sink(WriteHalf<DuplexStream>);

#[async_trait]
impl FrameSink for Sink {
    async fn send(&mut self, frames: &[Bytes]) -> Result<(), TransportError> {
        for frame in frames {
            let length = u32::try_from(frame.len()).map_err(|_| TransportError::FrameTooLarge { limit: 1 << 32 })?;
            self.0.write_all(&length.to_be_bytes()).await.map_err(broken)?;
            self.0.write_all(frame).await.map_err(broken)?;
        }
        self.0.flush().await.map_err(broken)
    }

    async fn close(&mut self) -> Result<(), TransportError> {
        self.0.shutdown().await.map_err(broken)
    }
}

struct Source {
    read: ReadHalf<DuplexStream>,
    /// What was read of a frame so far: it outlives a `receive` that is given up, which makes that cancel-safe.
    buffer: Vec<u8>,
    max_frame: usize,
}

#[async_trait]
impl FrameSource for Source {
    async fn receive(&mut self) -> Result<Option<Bytes>, TransportError> {
        loop {
            if let Some((length, rest)) = self.buffer.split_first_chunk::<4>() {
                let length = u32::from_be_bytes(*length) as usize;
                if length > self.max_frame {
                    return Err(TransportError::FrameTooLarge { limit: self.max_frame });
                }
                if rest.len() >= length {
                    let frame = Bytes::copy_from_slice(&rest[..length]);
                    self.buffer.drain(..4 + length);
                    return Ok(Some(frame));
                }
            }
            if self.read.read_buf(&mut self.buffer).await.map_err(broken)? == 0 {
                let whole = self.buffer.is_empty();
                return if whole { Ok(None) } else { Err(TransportError::Broken("it ended inside a frame".into())) };
            }
        }
    }

    fn set_max_frame(&mut self, bytes: usize) {
        self.max_frame = bytes;
    }
}

fn broken(error: std::io::Error) -> TransportError {
    TransportError::Broken(error.to_string())
}

pub(crate) async fn run() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let folder = tempfile::tempdir()?;
    let pipes = Pipes::default();

    let keys = FileKeystore::create(folder.path().join("laptop.key"))?;
    let (owner, words) = SingleOwner::create(&keys, &mut SystemRandom)?;
    let id = owner.context();
    let laptop = Engine::builder(folder.path().join("laptop")).strategy(owner).transport(pipes.clone());
    let laptop = laptop.listen("pipe://laptop").open().await?;

    let keys = FileKeystore::create(folder.path().join("phone.key"))?;
    let request = SingleOwner::request(&keys, &mut SystemRandom)?;
    SingleOwner::accept(&keys, &SingleOwner::certify(&words, &request))?;
    let phone = Engine::builder(folder.path().join("phone")).strategy(SingleOwner::open(&keys)?).transport(pipes);
    let phone = phone.connect(format!("pipe://laptop#{}", laptop.replica())).open().await?;

    let note = laptop.context(id).await?.create::<Automerge>().await?;
    note.change(|tx| tx.put(ROOT, "title", "carried by a pipe"))?.durable().await?;
    laptop.context(id).await?.acknowledged().await?; // the phone holds it durably

    let note = phone.context(id).await?.get::<Automerge>(note.id()).await?;
    let title = note.read(|doc| doc.get(ROOT, "title").ok()??.0.into_string().ok());
    assert_eq!(title.as_deref(), Some("carried by a pipe"));
    laptop.close().await?;
    phone.close().await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    run().await
}
