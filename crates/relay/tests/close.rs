//! How a relay goes away, over real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is a finding

use std::{sync::Arc, time::Duration};

use partita_core::{Bytes, Incarnation, Observation, Observer};
use partita_crypto::{Secret, SigningKey};
use partita_protocol::{CloseReason, NodeConfig, NodeParts, Notice, channel::LocalIdentity, message::Message};
use partita_relay::Relay;
use partita_sync::{
    ConnectionError, ConnectionState, Dialer, Driver, DriverHandle, DriverParts, Host, HostContext, SystemRandom,
    Tapped, Transports,
};
use partita_testing::MemoryStore;
use partita_websocket::WebSocket;
use tokio::sync::mpsc;

/// Long enough for any honest run, short enough to see a hang.
const PATIENCE: Duration = Duration::from_secs(60);

async fn patiently<R>(what: &str, wanted: impl Future<Output = R>) -> R {
    tokio::time::timeout(PATIENCE, wanted).await.unwrap_or_else(|_| panic!("{what} did not come within {PATIENCE:?}"))
}

/// Passes everything that is seen on.
struct Seen(mpsc::UnboundedSender<Observation>);

impl Observer for Seen {
    fn observe(&self, seen: &Observation) {
        let _ = self.0.send(*seen);
    }
}

/// Adds nothing to its node.
struct Bare;

impl Host for Bare {
    type Command = ();

    fn command(&mut self, _context: &mut HostContext<'_, ()>, (): ()) {}

    fn notice(&mut self, _context: &mut HostContext<'_, ()>, _notice: Notice) {}
}

/// A node that shows the frames which come to it.
fn device() -> (DriverHandle<()>, mpsc::UnboundedReceiver<Bytes>) {
    let (heard, hears) = mpsc::unbounded_channel();
    let incarnation = Incarnation::from_bytes([2; 16]);
    let key = Arc::new(SigningKey::from_seed(&Secret::from_bytes([2; 32])));
    let identity = LocalIdentity { key, incarnation };
    let node =
        NodeParts { config: NodeConfig::default(), identity, strategies: Vec::new(), rng: Box::new(SystemRandom) };
    let store = Arc::new(MemoryStore::new(incarnation));
    let tap = move |tapped: &Tapped<'_>| {
        if !tapped.sent {
            let _ = heard.send(tapped.frame.clone());
        }
    };
    let parts = DriverParts { node, store, host: Bare, tap: Some(Arc::new(tap)), observer: Arc::new(()) };
    (Driver::start(parts).unwrap(), hears)
}

/// Connects a device to a relay, has the relay go away, and says how the connection ended and whether it heard goodbye.
async fn goes_away<F: Future<Output = ()>>(go: impl FnOnce(Relay) -> F) -> (ConnectionError, bool) {
    let folder = tempfile::tempdir().unwrap();
    let (saw, mut sees) = mpsc::unbounded_channel();
    let builder = Relay::builder(folder.path().join("relay")).listen("ws://127.0.0.1:0").observer(Seen(saw));
    let relay = builder.open().await.unwrap();
    let (device, mut hears) = device();
    let mut transports = Transports::default();
    transports.add(Arc::new(WebSocket::default()));
    let (told, mut tells) = mpsc::unbounded_channel();
    let report = move |event: partita_sync::ConnectionEvent| {
        let _ = told.send(event.state);
    };
    let _dialer = Dialer::start(device.clone(), &transports, relay.url(), report).unwrap();
    let session = async { while !matches!(sees.recv().await.unwrap(), Observation::SessionBegan { .. }) {} };
    patiently("a session at the relay", session).await;
    go(relay).await;
    let ended = async {
        loop {
            match tells.recv().await.unwrap() {
                ConnectionState::BackingOff { error, .. } | ConnectionState::Refused { error, .. } => return error,
                _ => {}
            }
        }
    };
    let error = patiently("the end of the connection", ended).await;
    // The connection may be over before the node came to the last frame that was read from it; it does before it stops.
    device.stop().await.unwrap();
    let mut said_goodbye = false;
    while let Ok(frame) = hears.try_recv() {
        said_goodbye |= Message::decode_frame(&frame).unwrap().iter().any(|message| matches!(message, Message::Bye));
    }
    (error, said_goodbye)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_connected_hears_goodbye_when_a_relay_is_closed() {
    let (error, said_goodbye) = goes_away(Relay::close).await;
    assert_eq!(error, ConnectionError::Closed(CloseReason::Remote("orderly".into())));
    assert!(said_goodbye);
}

/// It once went on as if nothing had happened, and nobody could end it any more.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_connected_hears_goodbye_when_a_relay_is_dropped() {
    let (error, said_goodbye) = goes_away(|relay| async move { drop(relay) }).await;
    assert_eq!(error, ConnectionError::Closed(CloseReason::Remote("orderly".into())));
    assert!(said_goodbye);
}
