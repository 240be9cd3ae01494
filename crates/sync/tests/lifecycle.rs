//! The life of connections between real nodes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is a finding

mod common;

use std::{
    future::ready,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use common::{Death, Mortal, driver, driver_with, memory_store, patiently, seen};
use partita_core::{
    Batch, Durability, Incarnation, Observation, Observer, ReplicaId, Store, StoreError, StoreRead, Transport,
    TransportError,
};
use partita_protocol::{CloseReason, NodeConfig, Notice, channel::ChannelError};
use partita_sync::{
    ConnectionError, ConnectionHandle, ConnectionState, Dialer, DriverHandle, Host, HostContext, RelayUrl, Retry,
    Transports, accept_connections, accept_until,
};
use partita_testing::{MemoryStore, network::MemoryNetwork};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

const ADDRESS: &str = "mem://relay";

async fn listen(network: &MemoryNetwork, driver: &DriverHandle<()>) -> JoinHandle<TransportError> {
    let listener = network.listen(ADDRESS).await.unwrap();
    tokio::spawn(accept_connections(driver.clone(), listener, 10))
}

fn dial(driver: &DriverHandle<()>, transport: impl Transport, replica: ReplicaId) -> Dialer {
    let mut transports = Transports::default();
    transports.add(Arc::new(transport));
    let url = RelayUrl { address: ADDRESS.into(), replica: Some(replica) };
    Dialer::start(driver.clone(), &transports, url, |_| {}).unwrap()
}

fn quiet() -> Arc<dyn Observer> {
    Arc::new(())
}

async fn connected(handle: &mut ConnectionHandle) {
    patiently("the connection", handle.until(|state| matches!(state, ConnectionState::Connected(_)))).await.unwrap();
}

async fn ended(handle: &mut ConnectionHandle) -> ConnectionError {
    let over =
        |state: &ConnectionState| matches!(state, ConnectionState::BackingOff { .. } | ConnectionState::Refused { .. });
    match patiently("the end", handle.until(over)).await {
        Some(ConnectionState::BackingOff { error, .. } | ConnectionState::Refused { error, .. }) => error,
        state => panic!("{state:?}"),
    }
}

async fn refused(dialer: &Dialer) -> (ConnectionError, Retry) {
    let mut handle = dialer.handle();
    match patiently("the refusal", handle.until(|state| matches!(state, ConnectionState::Refused { .. }))).await {
        Some(ConnectionState::Refused { error, retry }) => (error, retry),
        state => panic!("{state:?}"),
    }
}

/// Waits until this was seen.
async fn until(
    seen: &mut mpsc::UnboundedReceiver<Observation>,
    what: &str,
    mut wanted: impl FnMut(&Observation) -> bool,
) {
    patiently(what, async { while !wanted(&seen.recv().await.expect("the node is there")) {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_whom_the_address_names_is_refused_and_asked_again_slowly() {
    let network = MemoryNetwork::default();
    let (relay, device) = (driver(1, NodeConfig::default(), quiet()), driver(2, NodeConfig::default(), quiet()));
    let _accepting = listen(&network, &relay).await;
    let expected = ReplicaId::from_bytes([7; 32]);
    let (error, retry) = refused(&dial(&device, network.clone(), expected)).await;
    let found = relay.replica();
    assert_eq!(error, ConnectionError::Channel(ChannelError::WrongRemote { expected, found }));
    assert!(retry.after >= Duration::from_secs(15) && retry.after <= Duration::from_secs(30), "{retry:?}");
    assert_eq!(retry.attempts, 1);

    // One's own id, as with a copied key.
    let (error, _) = refused(&dial(&relay, network, relay.replica())).await;
    assert_eq!(error, ConnectionError::Channel(ChannelError::Ourselves));
}

#[test]
fn another_version_is_a_refusal_and_a_broken_line_is_none() {
    assert!(ConnectionError::Channel(ChannelError::Version(2)).is_refusal());
    for error in [ConnectionError::Deadline, ConnectionError::HungUp, ChannelError::Noise.into()] {
        assert!(!error.is_refusal(), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_not_wanted_any_more_ends_its_session_on_both_sides() {
    let network = MemoryNetwork::default();
    let ((at_relay, mut relay_saw), (at_device, mut device_saw)) = (seen(), seen());
    let (relay, device) = (driver(1, NodeConfig::default(), at_relay), driver(2, NodeConfig::default(), at_device));
    let _accepting = listen(&network, &relay).await;
    let dialer = dial(&device, network, relay.replica());
    let mut handle = dialer.handle();
    connected(&mut handle).await;
    until(&mut relay_saw, "a session", |seen| matches!(seen, Observation::SessionBegan { .. })).await;
    drop(dialer);
    patiently("the end", handle.until(|state| *state == ConnectionState::Closed)).await.unwrap();
    let over = |seen: &Observation| matches!(seen, Observation::SessionEnded { .. });
    let gone = |seen: &Observation| matches!(seen, Observation::ConnectionClosed { authenticated: true, .. });
    for (side, saw) in [("relay", &mut relay_saw), ("device", &mut device_saw)] {
        // The node's thread tells of the one, the connection's task of the other: either may be first.
        let (mut session, mut connection) = (false, false);
        let both = |seen: &Observation| {
            session |= over(seen);
            connection |= gone(seen);
            session && connection
        };
        until(saw, &format!("the {side}'s end of the session and the connection"), both).await;
    }
}

/// The node would otherwise hold the session until it is silent for too long.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_task_is_dropped_leaves_no_session_behind() {
    let network = MemoryNetwork::default();
    let (at_relay, mut relay_saw) = seen();
    let (relay, device) = (driver(1, NodeConfig::default(), at_relay), driver(2, NodeConfig::default(), quiet()));
    let accepting = listen(&network, &relay).await;
    let dialer = dial(&device, network, relay.replica());
    connected(&mut dialer.handle()).await;
    until(&mut relay_saw, "a session", |seen| matches!(seen, Observation::SessionBegan { .. })).await;
    let before = Instant::now();
    accepting.abort();
    until(&mut relay_saw, "its end", |seen| matches!(seen, Observation::SessionEnded { .. })).await;
    assert!(before.elapsed() < Duration::from_secs(30), "silence would have ended it after 45 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_says_goodbye_before_its_connections_end() {
    let network = MemoryNetwork::default();
    let (at_relay, mut relay_saw) = seen();
    let (relay, device) = (driver(1, NodeConfig::default(), at_relay), driver(2, NodeConfig::default(), quiet()));
    let listener = network.listen(ADDRESS).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let accepting = tokio::spawn(accept_until(relay.clone(), listener, 10, stopped));
    let dialer = dial(&device, network, relay.replica());
    let mut handle = dialer.handle();
    connected(&mut handle).await;
    until(&mut relay_saw, "a session", |seen| matches!(seen, Observation::SessionBegan { .. })).await;
    drop(stop);
    relay.stop().await.unwrap();
    let goodbye = ConnectionError::Closed(CloseReason::Remote("orderly".into()));
    assert_eq!(ended(&mut handle).await, goodbye);
    let _ = patiently("the end of accepting", accepting).await.unwrap().unwrap();
}

/// It would otherwise be waited for as long as its handshake may take.
#[tokio::test(start_paused = true)]
async fn a_stranger_holds_up_no_end() {
    let network = MemoryNetwork::default();
    let (at_relay, mut relay_saw) = seen();
    let relay = driver(1, NodeConfig::default(), at_relay);
    let listener = network.listen(ADDRESS).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let accepting = tokio::spawn(accept_until(relay.clone(), listener, 10, stopped));
    let _stranger = network.dial(ADDRESS).await.unwrap();
    until(&mut relay_saw, "the stranger", |seen| matches!(seen, Observation::ConnectionOpened { .. })).await;
    let began = tokio::time::Instant::now();
    drop(stop);
    let _ = accepting.await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

/// A line goes dead without a word. How long it takes until the dialer is told.
async fn dies(death: Death, heartbeat: Duration, network_is_back: bool) -> (ConnectionError, Duration) {
    let network = MemoryNetwork::default();
    let config = NodeConfig { heartbeat, ..NodeConfig::default() };
    let (relay, device) = (driver(1, config.clone(), quiet()), driver(2, config, quiet()));
    let _accepting = listen(&network, &relay).await;
    let dead = Arc::new(AtomicBool::new(false));
    let began = Instant::now(); // nothing was heard before
    let dialer = dial(&device, Mortal { inner: network, dead: dead.clone(), death }, relay.replica());
    let mut handle = dialer.handle();
    connected(&mut handle).await;
    dead.store(true, Ordering::SeqCst);
    if network_is_back {
        dialer.retry_now();
    }
    let error = ended(&mut handle).await;
    (error, began.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_swallows_everything_is_found_dead_after_three_heartbeats() {
    let (error, took) = dies(Death::Swallows, Duration::from_millis(200), false).await;
    assert_eq!(error, ConnectionError::Closed(CloseReason::Silent));
    assert!(took >= Duration::from_millis(500), "a heartbeat that is late is no death: {took:?}");
}

/// The writer then waits for ever in the transport, and never hears of the close behind what it writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_takes_nothing_more_is_found_dead_too() {
    let (error, _) = dies(Death::Blocks, Duration::from_millis(200), false).await;
    assert_eq!(error, ConnectionError::Closed(CloseReason::Silent));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_network_is_back_a_dead_line_is_found_sooner() {
    let (error, took) = dies(Death::Swallows, Duration::from_secs(9), true).await;
    assert_eq!(error, ConnectionError::Closed(CloseReason::Silent));
    assert!(took < Duration::from_secs(20), "three heartbeats take 27 s; it took {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_well_survives_the_question() {
    let network = MemoryNetwork::default();
    let config =
        NodeConfig { heartbeat: Duration::from_secs(3), probe: Duration::from_secs(4), ..NodeConfig::default() };
    let (at_device, mut device_saw) = seen();
    let (relay, device) = (driver(1, config.clone(), quiet()), driver(2, config, at_device));
    let _accepting = listen(&network, &relay).await;
    let dialer = dial(&device, network, relay.replica());
    connected(&mut dialer.handle()).await;
    dialer.retry_now();
    for _ in 0..5 {
        // About a second each: beyond the two seconds that an answer is waited for.
        until(&mut device_saw, "a tick", |seen| matches!(seen, Observation::Sampled(_))).await;
        assert_eq!(dialer.handle().state(), ConnectionState::Connected(relay.replica()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_over_is_dialled_from_no_more() {
    let network = MemoryNetwork::default();
    let (relay, device) = (driver(1, NodeConfig::default(), quiet()), driver(2, NodeConfig::default(), quiet()));
    let _accepting = listen(&network, &relay).await;
    let dialer = dial(&device, network, relay.replica());
    connected(&mut dialer.handle()).await;
    device.stop().await.unwrap();
    patiently("the end", dialer.handle().until(|state| *state == ConnectionState::Closed)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_comes_round_and_a_stopped_node_says_so() {
    let node = driver(1, NodeConfig::default(), quiet());
    patiently("the probe", node.probe().unwrap().home()).await.unwrap();
    node.stop().await.unwrap();
    if let Ok(mut probe) = node.probe() {
        patiently("an answer", probe.home()).await.unwrap_err();
    }
}

/// Says what it takes, and holds up the end until it is told otherwise.
struct HoldsUp {
    takes: mpsc::UnboundedSender<&'static str>,
    closed: Arc<AtomicBool>,
}

impl Host for HoldsUp {
    type Command = ();

    fn command(&mut self, _context: &mut HostContext<'_, ()>, (): ()) {
        let _ = self.takes.send("a command");
    }

    fn notice(&mut self, _context: &mut HostContext<'_, ()>, _notice: Notice) {}

    fn closing(&mut self, _context: &mut HostContext<'_, ()>) {
        let _ = self.takes.send("the end");
    }

    fn has_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_stops_a_node_that_is_ending_waits_for_its_end_too() {
    let (takes, mut taken) = mpsc::unbounded_channel();
    let closed = Arc::new(AtomicBool::new(false));
    let host = HoldsUp { takes, closed: closed.clone() };
    let node = driver_with(1, NodeConfig::default(), quiet(), host, Arc::new(memory_store(1)));
    let first = node.clone();
    let first = tokio::spawn(async move { first.stop().await });
    patiently("the end", async { while taken.recv().await.expect("the node is there") != "the end" {} }).await;
    let mut second = pin!(node.stop());
    tokio::select! {
        biased; // it asks
        ended = &mut second => panic!("it is not over: {ended:?}"),
        () = ready(()) => {}
    }
    node.command(()).unwrap();
    // What was asked before that was taken before.
    patiently("a command", async { while taken.recv().await.expect("the node is there") != "a command" {} }).await;
    tokio::select! {
        biased;
        ended = &mut second => panic!("it is not over: {ended:?}"),
        () = ready(()) => {}
    }
    closed.store(true, Ordering::SeqCst);
    node.command(()).unwrap();
    assert_eq!(patiently("the second end", second).await, Ok(()));
    assert_eq!(first.await.unwrap(), Ok(()));
    assert_eq!(patiently("a later end", node.stop()).await, Ok(()), "it ended well, whoever asks");
}

/// Panics over everything that it is told.
struct Panics;

impl Host for Panics {
    type Command = ();

    fn command(&mut self, _context: &mut HostContext<'_, ()>, (): ()) {
        panic!("a bug of the host")
    }

    fn notice(&mut self, _context: &mut HostContext<'_, ()>, _notice: Notice) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_panicked_is_never_said_to_have_ended_well() {
    let node = driver_with(1, NodeConfig::default(), quiet(), Panics, Arc::new(memory_store(1)));
    node.command(()).unwrap();
    for _ in 0..2 {
        let ended = patiently("an answer", node.stop()).await;
        assert!(matches!(ended, Err(StoreError::Io(_))), "{ended:?}");
    }
}

/// A store with a bug: it panics when it is read.
struct Buggy(MemoryStore);

impl Store for Buggy {
    fn incarnation(&self) -> Incarnation {
        self.0.incarnation()
    }

    fn read(&self) -> Result<Box<dyn StoreRead + '_>, StoreError> {
        panic!("a bug of the store")
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
        self.0.commit(batch, durability)
    }
}

/// Passes on that the store failed.
struct HearsOfFailure(mpsc::UnboundedSender<StoreError>);

impl Host for HearsOfFailure {
    type Command = ();

    fn command(&mut self, _context: &mut HostContext<'_, ()>, (): ()) {}

    fn notice(&mut self, _context: &mut HostContext<'_, ()>, notice: Notice) {
        if let Notice::StoreFailed(error) = notice {
            let _ = self.0.send(error);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_panics_has_failed_and_nobody_waits_for_it() {
    let (hears, mut heard) = mpsc::unbounded_channel();
    let store = Arc::new(Buggy(memory_store(1)));
    let node = driver_with(1, NodeConfig::default(), quiet(), HearsOfFailure(hears), store);
    patiently("an answer", node.probe().unwrap().home()).await.unwrap_err();
    let failure = patiently("the failure", heard.recv()).await.unwrap();
    assert!(matches!(failure, StoreError::Damaged(_)), "{failure}");
    assert_eq!(patiently("the end", node.stop()).await, Err(failure));
}
