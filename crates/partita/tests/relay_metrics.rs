//! What an operator sees of a relay while devices sync through it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use crate::common::{Home, has, patiently, put};
use crate::web::get;
use partita::{
    automerge::Automerge,
    core::{Observation, Observer, StoreError},
};
use partita_relay::{Relay, RelayFailure};
use partita_testing::MemoryStore;
use tokio::sync::watch;

/// Wakes whoever waits for numbers: a relay that has nothing to do samples itself about once a second.
#[derive(Clone)]
struct Beat(Arc<watch::Sender<u64>>);

impl Observer for Beat {
    fn observe(&self, _seen: &Observation) {
        self.0.send_modify(|count| *count += 1);
    }
}

struct Watched {
    relay: Relay,
    address: SocketAddr,
    beat: watch::Receiver<u64>,
    store: Arc<Mutex<Option<Arc<MemoryStore>>>>,
}

impl Watched {
    async fn open(home: &Home, max_context_bytes: u64) -> Self {
        let beat = Beat(Arc::default());
        let seen = beat.0.subscribe();
        let store: Arc<Mutex<Option<Arc<MemoryStore>>>> = Arc::default();
        let made = store.clone();
        let relay = Relay::builder(home.path().join("relay"))
            .transport(home.network.clone())
            .listen("mem://relay")
            .metrics("127.0.0.1:0")
            .observer(beat)
            .max_context_bytes(max_context_bytes)
            .store(move |incarnation| {
                let store = Arc::new(MemoryStore::new(incarnation));
                *made.lock().unwrap() = Some(store.clone());
                Ok(store)
            });
        let relay = relay.open().await.unwrap();
        let address = relay.metrics_address().unwrap();
        Self { relay, address, beat: seen, store }
    }

    async fn numbers(&self) -> BTreeMap<String, f64> {
        let (status, text) = get(self.address, "/metrics").await;
        assert_eq!(status, 200);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(name, value)| (name.into(), value.parse().unwrap()))
            .collect()
    }

    /// Waits until the numbers are as they should be.
    async fn until(&mut self, what: &str, wanted: impl Fn(&dyn Fn(&str) -> f64) -> bool) {
        patiently(what, async {
            loop {
                self.beat.mark_unchanged();
                let numbers = self.numbers().await;
                if wanted(&|name| numbers[&format!("partita_relay_{name}")]) {
                    return;
                }
                self.beat.changed().await.unwrap();
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_move_when_entries_flow_and_go_down_when_devices_leave() {
    let home = Home::new();
    home.enrol("b");
    let mut relay = Watched::open(&home, u64::MAX).await;
    relay.until("nothing", |n| n("connections") == 0.0 && n("entries_taken_total") == 0.0).await;
    let url = relay.relay.url().to_string();
    let (a, b) = (home.open("a", &[&url]).await, home.open("b", &[&url]).await);
    let document = a.notes.create::<Automerge>().await.unwrap();
    let copy = b.get::<Automerge>(document.id()).await;
    for n in 0..10 {
        put(&document, &format!("key {n}"), "value").durable().await.unwrap();
    }
    has(&copy, "key 9").await;
    a.notes.acknowledged().await.unwrap();
    relay
        .until("traffic", |n| {
            n("connections") == 2.0
                && n("sessions") == 2.0
                && n("contexts") == 1.0
                && n("entries_taken_total") >= 11.0
                && n("committed_entries_total") == n("entries_taken_total")
                && n("committed_bytes_total") > 1000.0
                && n("commit_duration_seconds_count") >= 2.0
                && n("commit_duration_seconds_bucket{le=\"+Inf\"}") == n("commit_duration_seconds_count")
                && n("received_frames_total") >= 11.0
                && n("received_bytes_total") > n("committed_bytes_total") / 2.0
                && n("sent_frames_total") >= 11.0
                && n("lag_entries") == 0.0
                && n("outgoing_bytes") == 0.0
                && n("entries_refused_total{reason=\"quota\"}") == 0.0
        })
        .await;
    a.engine.close().await.unwrap();
    b.engine.close().await.unwrap();
    relay.until("silence", |n| n("connections") == 0.0 && n("sessions") == 0.0 && n("connections_total") == 2.0).await;
    relay.relay.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_counted_under_its_reason() {
    let home = Home::new();
    let mut relay = Watched::open(&home, 4096).await;
    let a = home.open("a", &[&relay.relay.url().to_string()]).await;
    let document = a.notes.create::<Automerge>().await.unwrap();
    // Text that does not compress.
    let mut state = 1u64;
    let mut letter = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        char::from(b'0' + u8::try_from(state >> 58).unwrap())
    };
    let long: String = std::iter::repeat_with(&mut letter).take(20_000).collect();
    put(&document, "long", &long).durable().await.unwrap();
    relay.until("a refusal", |n| n("entries_refused_total{reason=\"quota\"}") >= 1.0).await;
    a.engine.close().await.unwrap();
    relay.relay.close().await;
}

/// Failure mode 34: a store that fails is named, and the relay takes no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_store_failed_is_alive_and_not_ready() {
    let home = Home::new();
    let mut relay = Watched::open(&home, u64::MAX).await;
    assert_eq!(get(relay.address, "/readyz").await, (200, "ready\n".into()));
    let store = relay.store.lock().unwrap().clone().unwrap();
    store.fail_next_commit(StoreError::OutOfSpace);
    let a = home.open("a", &[&relay.relay.url().to_string()]).await;
    a.notes.create::<Automerge>().await.unwrap();
    let failure = patiently("the failure", relay.relay.failed()).await;
    assert_eq!(failure, RelayFailure::Store(StoreError::OutOfSpace));
    let (status, why) = get(relay.address, "/readyz").await;
    assert_eq!(status, 503);
    assert!(why.contains("no space left"), "{why}");
    assert_eq!(get(relay.address, "/healthz").await.0, 200);
    relay.until("the failure", |n| n("store_failed") == 1.0 && n("commits_failed_total") == 1.0).await;
    a.engine.close().await.unwrap();
    relay.relay.close().await;
}
