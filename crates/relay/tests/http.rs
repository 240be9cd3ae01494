//! The relay's HTTP server, over real sockets, with clients that mean well and others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is a finding

use std::{
    net::SocketAddr,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use partita_core::{Observation, Observer, Store, StoreError, Transport as _};
use partita_relay::{Builder, Relay, RelayError, RelayFailure};
use partita_testing::MemoryStore;
use partita_websocket::WebSocket;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Long enough for any honest run, short enough to see a hang.
const PATIENCE: Duration = Duration::from_secs(60);

async fn patiently<R>(what: &str, wanted: impl Future<Output = R>) -> R {
    tokio::time::timeout(PATIENCE, wanted).await.unwrap_or_else(|_| panic!("{what} did not come within {PATIENCE:?}"))
}

async fn open(set: impl FnOnce(Builder) -> Builder) -> (TempDir, Relay, SocketAddr) {
    let folder = tempfile::tempdir().unwrap();
    let builder = Relay::builder(folder.path().join("relay")).listen("ws://127.0.0.1:0").metrics("127.0.0.1:0");
    let builder = builder.store(|incarnation| Ok(Arc::new(MemoryStore::new(incarnation))));
    let relay = set(builder).open().await.unwrap();
    let address = relay.metrics_address().unwrap();
    (folder, relay, address)
}

/// Everything that the server says to this, until it hangs up.
async fn say(address: SocketAddr, request: &[u8]) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(request).await; // it may have hung up already
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    };
    patiently("an answer", exchange).await
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = say(address, format!("GET {path} HTTP/1.1\r\nhost: relay\r\n\r\n").as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer to {path}: {answer:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_are_there_and_nothing_else() {
    let (_folder, relay, address) = open(|builder| builder).await;
    assert_eq!(get(address, "/healthz").await, (200, "alive\n".into()));
    assert_eq!(get(address, "/readyz").await, (200, "ready\n".into()));
    let (status, metrics) = get(address, "/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.contains("# TYPE partita_relay_commit_duration_seconds histogram\n"), "{metrics}");
    assert_eq!(get(address, "/").await.0, 404);
    let posted = say(address, b"POST /metrics HTTP/1.1\r\nhost: relay\r\ncontent-length: 0\r\n\r\n").await;
    assert!(posted.starts_with("HTTP/1.1 405 ") && posted.contains("allow: GET, HEAD"), "{posted}");
    let head = say(address, b"HEAD /healthz HTTP/1.1\r\nhost: relay\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    relay.close().await;
    assert!(TcpStream::connect(address).await.is_err(), "a relay that is closed shows nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_drains_is_not_ready_until_it_stays_after_all() {
    let (_folder, relay, address) = open(|builder| builder).await;
    relay.drain(true);
    let (status, said) = get(address, "/readyz").await;
    assert!(status == 503 && said.contains("draining"), "{status} {said}");
    assert_eq!(get(address, "/healthz").await.0, 200);
    relay.drain(false);
    assert_eq!(get(address, "/readyz").await.0, 200);
    relay.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_without_room_is_ready_and_says_so() {
    let (_folder, relay, address) = open(|builder| builder.min_free_bytes(1000).free_space(|| Some(999))).await;
    let (status, said) = get(address, "/readyz").await;
    assert!(status == 200 && said.contains("too little room"), "{status} {said}");
    let (_, metrics) = get(address, "/metrics").await;
    assert!(metrics.contains("\npartita_relay_short_of_room 1\n"), "{metrics}");
    assert!(metrics.contains("\npartita_relay_free_bytes 999\n"), "{metrics}");
    relay.close().await;

    let (_folder, relay, address) = open(|builder| builder.min_free_bytes(0).free_space(|| Some(0))).await;
    assert_eq!(get(address, "/readyz").await, (200, "ready\n".into()), "no reserve, and no looking after it");
    relay.close().await;

    let (_folder, relay, address) = open(|builder| builder).await;
    let (_, metrics) = get(address, "/metrics").await;
    assert!(metrics.contains("\npartita_relay_short_of_room 0\n"), "{metrics}");
    assert!(!metrics.contains("partita_relay_free_bytes"), "of this store nobody knows");
    relay.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_too_long_is_refused_and_disturbs_nobody() {
    let (_folder, _relay, address) = open(|builder| builder).await;
    for long in [
        format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000)),
        format!("GET /metrics HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(100_000)),
        format!("GET /metrics HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(1_000)),
        "\u{0}\u{1}\u{2}".repeat(10_000),
    ] {
        let answer = say(address, long.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(get(address, "/healthz").await.0, 200);
}

/// More of them than there are places: each gives way when its time is over.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_dawdle_give_way() {
    let (_folder, _relay, address) = open(|builder| builder).await;
    let mut dawdlers = Vec::new();
    for _ in 0..40 {
        let mut dawdler = TcpStream::connect(address).await.unwrap();
        dawdler.write_all(b"GET /metrics HTT").await.unwrap();
        dawdlers.push(dawdler);
    }
    assert_eq!(get(address, "/healthz").await.0, 200, "whoever comes behind them is served in the end");
    let mut rest = Vec::new();
    let _ = patiently("the end of the first one", dawdlers[0].read_to_end(&mut rest)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_cannot_be_had_is_named() {
    let (folder, _relay, address) = open(|builder| builder).await;
    for (metrics, says) in [(address.to_string(), "in use"), ("nonsense".to_owned(), "127.0.0.1:9464")] {
        let builder = Relay::builder(folder.path().join("other")).listen("ws://127.0.0.1:0").metrics(&metrics);
        match builder.open().await {
            Err(error @ RelayError::Metrics { .. }) => {
                let text = error.to_string();
                assert!(text.contains(&metrics) && text.contains(says), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Blocks the thread that tells it of one thing, until it is let go.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<(bool, bool)>, Condvar)>);

impl Gate {
    fn shut(&self, shut: bool) {
        self.0.0.lock().unwrap().0 = shut;
        self.0.1.notify_all();
    }

    /// Waits until a thread is held here.
    fn held(&self) {
        let (state, changed) = &*self.0;
        let (held, late) = changed.wait_timeout_while(state.lock().unwrap(), PATIENCE, |(_, held)| !*held).unwrap();
        assert!(held.1 && !late.timed_out(), "nobody came to the gate");
    }

    fn pass(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        while state.0 {
            state.1 = true;
            changed.notify_all();
            state = changed.wait(state).unwrap();
        }
        state.1 = false;
    }
}

impl Observer for Gate {
    fn observe(&self, seen: &Observation) {
        if matches!(seen, Observation::Sampled(_)) {
            self.pass();
        }
    }
}

/// Failure mode 40: a relay that is up and goes nowhere does not say that it is well.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_stuck_is_not_ready_and_is_again_when_it_goes_on() {
    let gate = Gate::default();
    let (_folder, relay, address) = open(|builder| builder.observer(gate.clone())).await;
    assert_eq!(get(address, "/readyz").await.0, 200);
    gate.shut(true);
    let there = gate.clone();
    tokio::task::spawn_blocking(move || there.held()).await.unwrap();
    // Several at once, and again: they all get an answer, and none makes it worse.
    let all = tokio::join!(get(address, "/readyz"), get(address, "/readyz"), get(address, "/readyz"));
    for (status, why) in [all.0, all.1, all.2, get(address, "/readyz").await] {
        assert_eq!(status, 503);
        assert!(why.contains("the node's thread does not answer"), "{why}");
    }
    assert_eq!(get(address, "/healthz").await.0, 200, "the process is alive");
    assert_eq!(get(address, "/metrics").await.0, 200);
    gate.shut(false);
    assert_eq!(get(address, "/readyz").await, (200, "ready\n".into()));
    relay.close().await;
}

/// Takes the node's thread down once it is told to.
#[derive(Clone, Default)]
struct Fatal(Arc<AtomicBool>);

impl Observer for Fatal {
    fn observe(&self, seen: &Observation) {
        let now = self.0.load(Ordering::SeqCst);
        assert!(!(now && matches!(seen, Observation::Sampled(_))), "a bug takes the node's thread down");
    }
}

/// Failure mode 40: whoever wakes everybody else has died: the relay says so, instead of serving what grows old.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_thread_died_is_not_ready() {
    let fatal = Fatal::default();
    let (_folder, _relay, address) = open(|builder| builder.observer(fatal.clone())).await;
    assert_eq!(get(address, "/readyz").await, (200, "ready\n".into()));
    fatal.0.store(true, Ordering::SeqCst);
    // Its thread ends at the next sample; until then it is ready.
    let died = async {
        loop {
            let (status, why) = get(address, "/readyz").await;
            if status != 200 {
                return (status, why);
            }
        }
    };
    let (status, why) = patiently("the end of readiness", died).await;
    assert_eq!(status, 503, "{why}");
    assert_eq!(get(address, "/readyz").await.0, 503, "and it stays so");
}

/// Takes the task down that accepts connections, at the first one.
struct Fragile;

impl Observer for Fragile {
    fn observe(&self, seen: &Observation) {
        assert!(!matches!(seen, Observation::ConnectionTurnedAway), "a bug takes the accepting task down");
    }
}

/// Failure mode 40: nobody listens any more, and nobody who does could say so.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_accepting_task_died_is_not_ready_and_has_failed() {
    let (_folder, relay, address) = open(|builder| builder.max_connections(0).observer(Fragile)).await;
    assert_eq!(get(address, "/readyz").await, (200, "ready\n".into()));
    let _hung_up = WebSocket::default().dial(&relay.url().address).await; // perhaps before it stood
    assert_eq!(patiently("the failure", relay.failed()).await, RelayFailure::Listener);
    let (status, why) = get(address, "/readyz").await;
    assert!(status == 503 && why.contains("the listener broke"), "{status} {why}");
    relay.close().await;
}

/// A store in memory whose reads can be held up, or made to fail.
struct Ill {
    inner: MemoryStore,
    gate: Gate,
    fails: Arc<AtomicBool>,
}

impl Store for Ill {
    fn incarnation(&self) -> partita_core::Incarnation {
        self.inner.incarnation()
    }

    fn read(&self) -> Result<Box<dyn partita_core::StoreRead + '_>, StoreError> {
        self.gate.pass();
        if self.fails.load(Ordering::SeqCst) {
            Err(StoreError::Io("the disk is on fire".into()))
        } else {
            self.inner.read()
        }
    }

    fn commit(&self, batch: &partita_core::Batch, durability: partita_core::Durability) -> Result<(), StoreError> {
        self.inner.commit(batch, durability)
    }
}

fn ill(gate: &Gate, fails: &Arc<AtomicBool>) -> impl FnOnce(Builder) -> Builder {
    let (gate, fails) = (gate.clone(), fails.clone());
    move |builder| {
        builder.store(move |incarnation| Ok(Arc::new(Ill { inner: MemoryStore::new(incarnation), gate, fails })))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_is_not_ready() {
    let gate = Gate::default();
    let (_folder, relay, address) = open(ill(&gate, &Arc::default())).await;
    assert_eq!(get(address, "/readyz").await.0, 200);
    gate.shut(true);
    let (status, why) = get(address, "/readyz").await;
    assert_eq!(status, 503);
    assert!(why.contains("the store's thread does not answer"), "{why}");
    gate.shut(false);
    assert_eq!(get(address, "/readyz").await.0, 200);
    relay.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_read_is_not_ready() {
    let fails = Arc::new(AtomicBool::new(false));
    let (_folder, _relay, address) = open(ill(&Gate::default(), &fails)).await;
    fails.store(true, Ordering::SeqCst);
    let (status, why) = get(address, "/readyz").await;
    assert_eq!(status, 503);
    assert!(why.contains("the disk is on fire"), "{why}");
}
