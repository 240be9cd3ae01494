//! Clients that are no WebSocket clients stand in nobody's way.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use common::{frame, listener, raw};
use partita_core::{Listener, Observation, Observer, Transport};
use partita_websocket::WebSocket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn an_honest_client_gets_through(listener: &mut dyn Listener) {
    let address = listener.address();
    let transport = WebSocket::default();
    let (dialled, accepted) = tokio::join!(transport.dial(&address), listener.accept());
    let (mut sink, _keep) = dialled.unwrap().split();
    let (_keep_too, mut source) = accepted.unwrap().split();
    sink.send(&[frame(1, 10)]).await.unwrap();
    assert_eq!(source.receive().await.unwrap(), Some(frame(1, 10)));
}

#[tokio::test]
async fn garbage_silence_and_hanging_up() {
    let mut listener = listener().await;
    let _silent = raw(&*listener).await;
    let mut garbage = raw(&*listener).await;
    garbage.write_all(&[0xff; 1000]).await.unwrap();
    let mut other_protocol = raw(&*listener).await;
    other_protocol.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut half = raw(&*listener).await;
    half.write_all(b"GET / HT").await.unwrap();
    drop(raw(&*listener).await);
    an_honest_client_gets_through(&mut *listener).await;
}

/// Counts those that knocked and never became a connection.
#[derive(Default)]
struct Knocks(AtomicUsize);

impl Observer for Knocks {
    fn observe(&self, seen: &Observation) {
        if matches!(seen, Observation::ConnectionNotOpened) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Whoever watches over a relay saw nothing of them at all.
#[tokio::test]
async fn whoever_never_becomes_a_websocket_is_counted_and_whoever_does_has_an_address() {
    let mut listener = listener().await;
    let knocks = Arc::new(Knocks::default());
    listener.observer(knocks.clone());
    let mut garbage = raw(&*listener).await;
    garbage.write_all(&[0xff; 1000]).await.unwrap();
    drop(raw(&*listener).await);
    while knocks.0.load(Ordering::SeqCst) < 2 {
        common::give_up_on(listener.accept()).await;
    }
    let address = listener.address();
    let transport = WebSocket::default();
    let (dialled, accepted) = tokio::join!(transport.dial(&address), listener.accept());
    let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
    assert_eq!(dialled.remote_address().map(|address| format!("ws://{address}")), Some(address));
    assert!(accepted.remote_address().unwrap().ip().is_loopback());
    assert_eq!(knocks.0.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_crowd_of_silent_clients() {
    let mut listener = listener().await;
    let mut crowd = Vec::new();
    for _ in 0..300 {
        crowd.push(raw(&*listener).await);
        common::give_up_on(listener.accept()).await;
    }
    an_honest_client_gets_through(&mut *listener).await;
    // The first ones had to give way.
    assert_eq!(crowd[0].read(&mut [0; 1]).await.unwrap_or(0), 0);
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_hung_up_on_after_the_deadline() {
    let mut listener = listener().await;
    let mut silent = raw(&*listener).await;
    let mut byte = [0; 1];
    tokio::select! {
        _ = listener.accept() => panic!("nobody came"),
        read = silent.read(&mut byte) => assert_eq!(read.unwrap(), 0),
    }
}

#[tokio::test]
async fn a_handshake_that_has_begun_goes_on_while_nobody_accepts() {
    let mut listener = listener().await;
    let address = listener.address();
    let dialling = tokio::spawn(async move { WebSocket::default().dial(&address).await });
    while !dialling.is_finished() {
        // Accepts now and then, and gives up each time: what has begun is not lost by that.
        tokio::select! {
            biased;
            accepted = listener.accept() => {
                accepted.unwrap();
                dialling.await.unwrap().unwrap();
                return;
            }
            () = tokio::task::yield_now() => {}
        }
    }
    listener.accept().await.unwrap();
}
