//! When a connection is dialled, and what its state says meanwhile. In virtual time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is a finding

mod common;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use common::{Answer, Bad, driver, patiently};
use partita_core::{ReplicaId, Transport, TransportError};
use partita_protocol::NodeConfig;
use partita_sync::{ConnectionError, ConnectionEvent, ConnectionState, Dialer, RelayUrl, Retry, Transports};
use tokio::sync::{mpsc, watch};

/// A connection that is kept up to an address that nobody serves well; the events of its life.
fn dial(transport: Arc<dyn Transport>) -> (Dialer, mpsc::UnboundedReceiver<ConnectionEvent>) {
    let mut transports = Transports::default();
    transports.add(transport);
    let url = RelayUrl { address: "bad://relay".into(), replica: Some(ReplicaId::from_bytes([7; 32])) };
    let (events, received) = mpsc::unbounded_channel();
    let report = move |event| {
        let _ = events.send(event);
    };
    let driver = driver(1, NodeConfig::default(), Arc::new(()));
    (Dialer::start(driver, &transports, url, report).unwrap(), received)
}

async fn dialled(count: &mut watch::Receiver<u32>, times: u32) {
    patiently("a dial", count.wait_for(|count| *count >= times)).await.unwrap();
}

/// Lets every task do what it can do without time.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

async fn next_wait(events: &mut mpsc::UnboundedReceiver<ConnectionEvent>) -> (ConnectionError, Retry) {
    loop {
        if let ConnectionState::BackingOff { error, retry } = events.recv().await.unwrap().state {
            return (error, retry);
        }
    }
}

async fn hang(answer: Answer, state: ConnectionState) {
    let (transport, mut dials) = Bad::new(answer);
    let (dialer, _events) = dial(transport);
    dialled(&mut dials, 1).await;
    patiently("the state", dialer.handle().until(|now| *now == state)).await.unwrap();

    tokio::time::advance(Duration::from_millis(500)).await;
    dialer.retry_now();
    settle().await;
    assert_eq!(*dials.borrow(), 1, "an attempt that has only begun is given its time");

    let before = tokio::time::Instant::now();
    dialled(&mut dials, 2).await;
    let waited = before.elapsed().as_millis();
    assert!((495..=505).contains(&waited), "and no more than its time: {waited} ms");

    tokio::time::advance(Duration::from_millis(1_100)).await;
    settle().await;
    assert_eq!(*dials.borrow(), 2, "the network was back before this attempt began");
    let before = tokio::time::Instant::now();
    dialer.retry_now();
    dialled(&mut dials, 3).await;
    assert_eq!(before.elapsed(), Duration::ZERO, "at once");
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_hangs_is_begun_anew_when_the_network_is_back() {
    hang(Answer::Silence, ConnectionState::Connecting).await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_hangs_is_begun_anew_when_the_network_is_back() {
    hang(Answer::Swallows, ConnectionState::Authenticating).await;
}

#[tokio::test(start_paused = true)]
async fn a_dial_and_a_handshake_that_hang_end_by_themselves() {
    let (transport, _) = Bad::new(Answer::Silence);
    let (_dialer, mut events) = dial(transport);
    let (error, _) = next_wait(&mut events).await;
    assert!(matches!(error, ConnectionError::Transport(TransportError::Unreachable { .. })), "{error}");

    let (transport, _) = Bad::new(Answer::Swallows);
    let (_dialer, mut events) = dial(transport);
    let (error, _) = next_wait(&mut events).await;
    assert_eq!(error, ConnectionError::Deadline);
}

#[tokio::test(start_paused = true)]
async fn attempts_become_rarer_up_to_a_cap_and_say_when_the_next_one_is() {
    let (transport, mut dials) = Bad::new(Answer::Error);
    let (dialer, mut events) = dial(transport);
    let mut longest = Duration::ZERO;
    for attempt in 1..=40 {
        let (_, retry) = next_wait(&mut events).await;
        let limit = Duration::from_millis(250 << (attempt - 1).min(7)).min(Duration::from_secs(30));
        assert_eq!(retry.attempts, attempt);
        assert!(retry.after <= limit, "attempt {attempt} waits {:?}, over {limit:?}", retry.after);
        let shown = retry.at.duration_since(SystemTime::now()).unwrap_or_default();
        assert!(shown <= retry.after && shown + Duration::from_secs(10) > retry.after, "{shown:?} {retry:?}");
        longest = longest.max(retry.after);
        let before = tokio::time::Instant::now();
        dialled(&mut dials, attempt + 1).await;
        let waited = before.elapsed();
        assert!(waited + Duration::from_millis(5) > retry.after, "it was dialled after {waited:?}: {retry:?}");
    }
    assert!(longest > Duration::from_secs(5), "33 times the dice stayed under a sixth: {longest:?}");

    next_wait(&mut events).await;
    let before = tokio::time::Instant::now();
    dialer.retry_now();
    let (_, retry) = next_wait(&mut events).await;
    assert_eq!(
        (before.elapsed(), retry.attempts),
        (Duration::ZERO, 1),
        "the network is back: at once, and from the start"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_dropped_is_closed_in_whatever_state_it_was() {
    for answer in [Answer::Silence, Answer::Swallows, Answer::Error] {
        let (transport, mut dials) = Bad::new(answer);
        let (dialer, _events) = dial(transport);
        dialled(&mut dials, 1).await;
        let mut handle = dialer.handle();
        drop(dialer);
        patiently("the end", handle.until(|state| *state == ConnectionState::Closed)).await.unwrap();
        settle().await;
        assert_eq!(*dials.borrow(), 1);
        assert_eq!(handle.until(|state| *state == ConnectionState::Connecting).await, None, "nothing comes after it");
    }
}
