//! What these tests share.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic)]

use partita_core::{Bytes, FrameSink, FrameSource, Listener, Transport, TransportError};
use partita_websocket::WebSocket;
use tokio::net::TcpStream;

/// Both halves of a connection.
pub(crate) type Halves = (Box<dyn FrameSink>, Box<dyn FrameSource>);

/// A listener on a free port.
pub(crate) async fn listener() -> Box<dyn Listener> {
    WebSocket::default().listen("ws://127.0.0.1:0").await.unwrap()
}

/// A client and a server that are connected.
pub(crate) async fn pair() -> (Halves, Halves) {
    let mut listener = listener().await;
    let (address, transport) = (listener.address(), WebSocket::default());
    let (client, server) = tokio::join!(transport.dial(&address), listener.accept());
    (client.unwrap().split(), server.unwrap().split())
}

/// A plain TCP connection to a listener.
pub(crate) async fn raw(listener: &dyn Listener) -> TcpStream {
    TcpStream::connect(listener.address().strip_prefix("ws://").unwrap()).await.unwrap()
}

/// A TCP connection that has become a WebSocket by hand, and the listener's end of it.
pub(crate) async fn raw_websocket(listener: &mut dyn Listener) -> (TcpStream, Halves) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut tcp = raw(listener).await;
    let request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    tcp.write_all(request.as_bytes()).await.unwrap();
    let accepted = listener.accept().await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(tcp.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"));
    (tcp, accepted.split())
}

/// The error of a dial or a listen that must fail.
pub(crate) fn failure<T: ?Sized>(result: Result<Box<T>, TransportError>) -> TransportError {
    match result {
        Ok(_) => panic!("it should have failed"),
        Err(error) => error,
    }
}

/// A frame of some size, with its number in every byte.
pub(crate) fn frame(number: usize, size: usize) -> Bytes {
    Bytes::from(vec![number as u8; size])
}

/// Polls a future a few times, then drops it: it must not have finished.
pub(crate) async fn give_up_on<T>(future: impl Future<Output = T>) {
    let patience = async {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = future => panic!("it should have had to wait"),
        () = patience => {}
    }
}
