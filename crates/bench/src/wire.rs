//! The limit: a WebSocket relay that does nothing but hand on 200 bytes.

use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async, tungstenite::Message};

use crate::devices::Failure;

pub(crate) const BYTES: usize = 200;

pub(crate) async fn accept(stream: TcpStream) -> Result<WebSocketStream<TcpStream>, Failure> {
    stream.set_nodelay(true)?;
    Ok(accept_async(stream).await?)
}

pub(crate) async fn dial(address: std::net::SocketAddr) -> Result<WebSocketStream<TcpStream>, Failure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(client_async(format!("ws://{address}/"), stream).await?.0)
}

/// How long each of so many messages takes from one client through the relay to the other.
pub(crate) async fn times(messages: usize) -> Result<Vec<Duration>, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let relay = tokio::spawn(async move {
        let mut from = accept(listener.accept().await?.0).await?;
        let mut to = accept(listener.accept().await?.0).await?;
        while let Some(message) = from.next().await {
            let message = message?;
            if message.is_binary() {
                to.send(message).await?;
            }
        }
        Ok::<_, Failure>(())
    });
    let (mut a, mut b) = (dial(address).await?, dial(address).await?);
    let (tell, mut told) = tokio::sync::mpsc::channel(1);
    let reader = tokio::spawn(async move {
        while let Some(Ok(message)) = b.next().await {
            if message.is_binary() && tell.send(message.len()).await.is_err() {
                return;
            }
        }
    });
    let payload = bytes::Bytes::from(vec![7; BYTES]);
    let mut took = Vec::with_capacity(messages);
    for _ in 0..messages {
        let began = Instant::now();
        a.send(Message::Binary(payload.clone())).await?;
        if told.recv().await != Some(BYTES) {
            return Err("the bare relay lost a message".into());
        }
        took.push(began.elapsed());
    }
    reader.abort();
    relay.abort();
    Ok(took)
}
