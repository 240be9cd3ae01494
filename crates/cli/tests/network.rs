//! A network that cuts, delays, halves and stalls connections: after its last heal all replicas are equal in 2 s, and the
//! relay's memory is bounded, though a reader stalls all the time.
//!
//! A real relay and six real clients, each a process on real files, each behind its own TCP proxy. Five edit all the time;
//! the sixth reads next to nothing from the relay until the end. `PARTITA_SEED=n` draws the same faults again.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is a finding

mod common;
mod storm;

use std::{sync::Arc, time::Duration};

use common::{Relay, dice::Dice};
use partita::NodeConfig;
use serde_json::json;
use storm::{
    faults::{last_faults, storm},
    fleet::{CLIENTS, Fleet},
    memory::{Most, Watch, resident},
    proxy::{Flow, Proxy},
};
use tokio::{runtime::Runtime, time::Instant};

/// After the last heal, on a machine that does nothing else.
const PROMISE: Duration = Duration::from_secs(2);
/// For what has no promise of its own: the first sync, and everything for the one that read nothing.
const PATIENCE: Duration = Duration::from_secs(300);
/// A reader that stalls gets so far in each connection: past the handshake.
const STALLS_AFTER: u64 = 64 << 10;
/// How many send buffers may wait for one transport: the frame over which one is full is in it as a whole, and so is what answers
/// the remote, which waits for no room. A twentieth of what the reader that stalls lacks.
const SEND_BUFFERS: u64 = 8;
/// What the relay's store may keep of its pages in memory: redb's cache as the store sets it.
const STORE_CACHE: u64 = 64 << 20;
const BLOB: u64 = 60 << 10;
/// Over the size at which a payload travels in fragments.
const LARGE_BLOB: u64 = 1 << 20;
/// Of all that a client pours, so much is in large blobs.
const LARGE_PART: u64 = 4;

#[test]
fn twelve_seconds_of_a_bad_network() {
    run(Duration::from_secs(12), 15 << 20);
}

#[test]
#[ignore = "takes two minutes: SLOW=1 .ci/run runs it"]
fn two_minutes_of_a_bad_network() {
    run(Duration::from_secs(120), 105 << 20);
}

fn run(lasts: Duration, poured_bytes: u64) {
    let mut dice = Dice::thrown();
    let folder = tempfile::tempdir().unwrap();
    let (relay, metrics) = Relay::start_with_metrics("127.0.0.1:0", &folder.path().join("relay"));
    let metrics = metrics.strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap().to_owned();
    let (address, id) = (relay.address(), relay.url.split_once('#').unwrap().1.to_owned());
    let runtime = Runtime::new().unwrap();
    let start = |_| Arc::new(runtime.block_on(Proxy::start(address.clone(), dice.next())));
    let proxies: Vec<Arc<Proxy>> = (0..=CLIENTS).map(start).collect();
    let mut fleet = Fleet::meet(folder.path(), &proxies, &id);
    warm_up(&mut fleet);
    let baseline = resident(relay.process());
    let watch = Watch::start(relay.process(), metrics);

    proxies[CLIENTS].flow([Flow::Clear, Flow::StallAfter(STALLS_AFTER)]);
    let edits = begin_editing(&mut fleet, lasts, poured_bytes);
    let last = last_faults(&mut dice);
    let end = Instant::now() + lasts;
    let storms: Vec<_> =
        (0..CLIENTS).map(|at| runtime.spawn(storm(proxies[at].clone(), dice.split(), last[at], end))).collect();
    for (number, storm) in storms.into_iter().enumerate() {
        let began = runtime.block_on(storm).unwrap();
        println!("client {number}: {began:?}, {:?} until the heal", last[number]);
    }
    let poured = rest(&mut fleet, edits);
    let most = watch.most();
    check_queue(&most);
    check_memory(baseline, &most);
    assert!(poured >= poured_bytes, "only {poured} bytes were written");

    let heal = std::time::Instant::now();
    for proxy in &proxies[..CLIENTS] {
        proxy.heal();
    }
    // What an application does when the system says so: a dialer may be waiting for its next attempt, and a connection may
    // be half of one.
    fleet.ask(CLIENTS, &json!({"do": "network_is_back"}));
    fleet.agree(CLIENTS, promise().saturating_sub(heal.elapsed()));
    println!("equal {:.3} s after the last heal", heal.elapsed().as_secs_f64());

    let statuses = fleet.ask(CLIENTS + 1, &json!({"do": "status"}));
    let bytes = |number: usize| statuses[number]["status"]["entry_bytes"].as_u64().unwrap();
    let behind = bytes(0) - bytes(CLIENTS);
    println!("the stalled reader lacks {:.1} MB", behind as f64 / 1e6);
    assert!(behind > poured / 4, "it read all the time");

    // Nothing was lost for the one that stalled either.
    let heal = std::time::Instant::now();
    proxies[CLIENTS].heal();
    fleet.ask(CLIENTS + 1, &json!({"do": "network_is_back"}));
    fleet.agree(CLIENTS + 1, PATIENCE);
    println!("the stalled reader has everything {:.3} s after its heal", heal.elapsed().as_secs_f64());
    for status in fleet.ask(CLIENTS + 1, &json!({"do": "status"})) {
        assert_eq!(status["status"]["set_aside"], 0, "nothing was set aside: {status}");
    }
}

/// [`PROMISE`] times what else wants to run for each processor: what is promised is not how fast a busy machine is.
fn promise() -> Duration {
    let load = std::fs::read_to_string("/proc/loadavg").ok();
    let load: f64 = load.and_then(|line| line.split(' ').next()?.parse().ok()).unwrap_or(0.0);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    PROMISE.mul_f64((load / processors as f64).max(1.0))
}

/// Some of each kind of traffic, so that what is allocated once is allocated.
fn warm_up(fleet: &mut Fleet) {
    let document = fleet.blobs[0].id.clone();
    for bytes in [BLOB, LARGE_BLOB] {
        fleet.clients[0].ask(
            json!({"do": "pour", "document": document, "key": "warm", "bytes": bytes, "times": (4 << 20) / bytes, "pause_us": 0}),
        );
    }
    fleet.agree(CLIENTS + 1, PATIENCE);
}

/// A request under way: the client, its number, the bytes of each change.
type Edit = (usize, u64, u64);

/// Every client types into every text all the time, and pours blobs in the first half: half of a connection may go unnoticed
/// for 45 s, and what is promised after the heal is not how fast such a client's processor takes in all the blobs of that time.
fn begin_editing(fleet: &mut Fleet, lasts: Duration, poured_bytes: u64) -> Vec<Edit> {
    let mut edits = Vec::new();
    let (texts, blobs) = (&fleet.texts, &fleet.blobs);
    let each = poured_bytes / CLIENTS as u64;
    for (number, client) in fleet.clients[..CLIENTS].iter_mut().enumerate() {
        for text in texts {
            let ask = json!({"do": "edit", "document": text.id, "part": number, "pause_us": 250_000});
            edits.push((number, client.begin(ask), 0));
        }
        let large = each / LARGE_PART;
        for (key, size, bytes) in [("large", LARGE_BLOB, large), ("small", BLOB, each - large)] {
            let times = bytes.div_ceil(size);
            let pause = lasts / 2 / u32::try_from(times).unwrap();
            let ask = json!({"do": "pour", "document": blobs[number].id, "key": key, "bytes": size, "times": times,
                "pause_us": pause.as_micros() as u64});
            edits.push((number, client.begin(ask), size));
        }
    }
    edits
}

/// Ends all editing, once everything is poured: how many bytes that was.
fn rest(fleet: &mut Fleet, edits: Vec<Edit>) -> u64 {
    let (pours, typing): (Vec<Edit>, Vec<Edit>) = edits.into_iter().partition(|(_, _, bytes)| *bytes > 0);
    let count = |client: usize, id| fleet.clients[client].answer(id)["count"].as_u64().unwrap();
    let poured: u64 = pours.into_iter().map(|(client, id, bytes)| count(client, id) * bytes).sum();
    fleet.ask(CLIENTS, &json!({"do": "rest"}));
    let count = |client: usize, id| fleet.clients[client].answer(id)["count"].as_u64().unwrap();
    let words: u64 = typing.into_iter().map(|(client, id, _)| count(client, id)).sum();
    println!("{words} words and {:.1} MB of blobs were written", poured as f64 / 1e6);
    poured
}

/// What waits for the one that reads next to nothing is bounded, and is far less than what it lacks.
fn check_queue(most: &Most) {
    let waiting = most.waiting.expect("the relay's metrics say what waits");
    let bound = SEND_BUFFERS * NodeConfig::default().send_buffer as u64;
    println!("at most {waiting} bytes waited for one transport, bound {bound}");
    assert!(waiting <= bound, "what waits for a reader that stalls is not bounded");
}

/// The bound: what was there, the store's cache, and for each client what may wait for it and what it may have on its way. In
/// twelve seconds not much more than that is poured at all, so there only [`check_queue`] can see something grow; in two
/// minutes this does, wherever it grows.
fn check_memory(baseline: Option<u64>, &Most { resident: most, samples, .. }: &Most) {
    let Some(baseline) = baseline else {
        println!("SKIPPED: this system has no /proc, so the relay's memory was not measured");
        return;
    };
    let config = NodeConfig::default();
    let waits = (CLIENTS as u64 + 1) * (config.send_buffer as u64 + config.credit);
    let bound = baseline + STORE_CACHE + waits;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "the relay's memory: {:.1} MiB before, at most {:.1} MiB in {samples} samples, bound {:.1} MiB",
        mib(baseline),
        mib(most),
        mib(bound)
    );
    assert!(most <= bound, "the relay's memory is not bounded");
}
