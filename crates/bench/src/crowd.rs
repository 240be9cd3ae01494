//! The limit of a fan-out: a WebSocket relay in a process of its own that does nothing but hand on 200 bytes to a crowd.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{broadcast, mpsc},
    task::JoinSet,
};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use crate::{
    devices::Failure,
    fanout::{Arrivals, deliver},
    relay_process::Server,
    wire,
};

/// How many messages the relay keeps for a connection that is late.
const ROOM: usize = 1024;

/// Is the relay: says its address, and hands on what comes to all other connections.
pub(crate) fn serve() -> crate::Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let (tell, _) = broadcast::channel(ROOM);
        let mut number = 0_u64;
        loop {
            let (stream, _) = listener.accept().await?;
            number += 1;
            tokio::spawn(hand_on(stream, number, tell.clone(), tell.subscribe()));
        }
    })
}

async fn hand_on(
    stream: TcpStream,
    number: u64,
    tell: broadcast::Sender<(u64, Bytes)>,
    mut told: broadcast::Receiver<(u64, Bytes)>,
) -> Result<(), Failure> {
    let mut socket = wire::accept(stream).await?;
    loop {
        tokio::select! {
            message = socket.next() => {
                if let Message::Binary(bytes) = message.ok_or("it hung up")?? {
                    let _ = tell.send((number, bytes)); // there may be nobody else
                }
            }
            message = told.recv() => {
                let (from, bytes) = message?;
                if from != number {
                    socket.send(Message::Binary(bytes)).await?;
                }
            }
        }
    }
}

/// A writer and its subscribers at such a relay.
pub(crate) struct Crowd {
    pub(crate) server: Server,
    writer: WebSocketStream<TcpStream>,
    arrivals: Arrivals,
    next: u64,
    n: usize,
    /// Dropping it ends them.
    _subscribers: JoinSet<Result<(), Failure>>,
}

impl Crowd {
    pub(crate) async fn gather(n: usize) -> Result<Self, Failure> {
        let mut server = Server::start(&["serve-bare-relay".as_ref()])?;
        let address = server.line()?.parse()?;
        let (arrived, arrivals) = mpsc::unbounded_channel();
        let mut subscribers = JoinSet::new();
        for _ in 0..n {
            let mut socket = wire::dial(address).await?;
            let arrived = arrived.clone();
            subscribers.spawn(async move {
                while let Some(message) = socket.next().await {
                    let (message, now) = (message?.into_data(), Instant::now());
                    let (number, _) = message.split_first_chunk().ok_or("a message is too short")?;
                    arrived.send((u64::from_be_bytes(*number), now))?;
                }
                Ok(())
            });
        }
        let writer = wire::dial(address).await?;
        Ok(Self { server, writer, arrivals, next: 0, n, _subscribers: subscribers })
    }

    /// So many messages, each after everybody has the one before.
    pub(crate) async fn round(&mut self, messages: usize) -> Result<Vec<Vec<Duration>>, Failure> {
        let mut took = Vec::with_capacity(messages);
        for _ in 0..messages {
            self.next += 1;
            let mut payload = vec![7; wire::BYTES];
            payload[..8].copy_from_slice(&self.next.to_be_bytes());
            let writer = &mut self.writer;
            let send = async { Ok(writer.send(Message::Binary(payload.into())).await?) };
            took.push(deliver(self.next, self.n, send, &mut self.arrivals).await?);
        }
        Ok(took)
    }
}
