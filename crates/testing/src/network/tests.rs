#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::atomic::{AtomicUsize, Ordering};

use partita_core::{FrameSink, FrameSource};

use super::*;

type Halves = (Box<dyn FrameSink>, Box<dyn FrameSource>);

async fn connect(network: &MemoryNetwork, listener: &mut dyn Listener) -> (Halves, Halves) {
    let here = network.dial(&listener.address()).await.unwrap();
    let there = listener.accept().await.unwrap();
    (here.split(), there.split())
}

fn frame(size: usize) -> Bytes {
    Bytes::from(vec![7; size])
}

fn is_broken<T>(result: Result<T, TransportError>) -> bool {
    matches!(result, Err(TransportError::Broken(_)))
}

#[tokio::test]
async fn frames_arrive_in_order_both_ways() {
    let network = MemoryNetwork::default();
    let mut listener = network.listen("mem://relay").await.unwrap();
    let ((mut sink, mut source), (mut there_sink, mut there_source)) = connect(&network, &mut *listener).await;
    sink.send(&[frame(1), frame(2)]).await.unwrap();
    there_sink.send(&[frame(3)]).await.unwrap();
    assert_eq!(there_source.receive().await.unwrap(), Some(frame(1)));
    assert_eq!(there_source.receive().await.unwrap(), Some(frame(2)));
    assert_eq!(source.receive().await.unwrap(), Some(frame(3)));
    assert_eq!(network.connections(), 1);
}

#[tokio::test]
async fn a_full_line_holds_up_the_sender() {
    let network = MemoryNetwork::default();
    let mut listener = network.listen("mem://relay").await.unwrap();
    let ((mut sink, _keep), (_keep_too, mut source)) = connect(&network, &mut *listener).await;
    let frames: Vec<Bytes> = (0..100).map(frame).collect();
    let sending = tokio::spawn(async move { sink.send(&frames).await.map(|()| sink) });
    tokio::task::yield_now().await;
    assert!(!sending.is_finished());
    for size in 0..100 {
        assert_eq!(source.receive().await.unwrap(), Some(frame(size)));
    }
    sending.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_orderly_close_is_no_error_on_either_side() {
    let network = MemoryNetwork::default();
    let mut listener = network.listen("mem://relay").await.unwrap();
    let ((mut sink, mut source), (mut there_sink, mut there_source)) = connect(&network, &mut *listener).await;
    sink.send(&[frame(1)]).await.unwrap();
    sink.close().await.unwrap();
    assert!(is_broken(sink.send(&[frame(1)]).await));
    there_sink.send(&[frame(2)]).await.unwrap();
    assert_eq!(there_source.receive().await.unwrap(), Some(frame(1)));
    assert_eq!(there_source.receive().await.unwrap(), None);
    assert_eq!(there_source.receive().await.unwrap(), None);
    assert!(is_broken(there_sink.send(&[frame(1)]).await));
    there_sink.close().await.unwrap();
    assert_eq!(source.receive().await.unwrap(), Some(frame(2)));
    assert_eq!(source.receive().await.unwrap(), None);
    assert_eq!(network.connections(), 0);
}

#[tokio::test]
async fn going_away_without_a_word_is_an_error_after_what_was_sent() {
    let network = MemoryNetwork::default();
    let mut listener = network.listen("mem://relay").await.unwrap();
    let ((mut sink, here_source), (_keep, mut source)) = connect(&network, &mut *listener).await;
    sink.send(&[frame(1)]).await.unwrap();
    drop(sink);
    assert_eq!(source.receive().await.unwrap(), Some(frame(1)));
    drop(here_source);
    assert!(is_broken(source.receive().await));
}

#[tokio::test]
async fn a_cut_breaks_both_ends_and_only_the_address_that_was_meant() {
    let network = MemoryNetwork::default();
    let mut first = network.listen("mem://first").await.unwrap();
    let mut second = network.listen("mem://second").await.unwrap();
    let ((mut sink, mut source), (mut there_sink, mut there_source)) = connect(&network, &mut *first).await;
    let ((mut other_sink, mut other_source), (_keep, mut other_there)) = connect(&network, &mut *second).await;

    sink.send(&[frame(1)]).await.unwrap();
    assert_eq!(network.cut("mem://first"), 1);
    assert!(is_broken(source.receive().await));
    assert!(is_broken(there_source.receive().await));
    assert!(is_broken(there_source.receive().await));
    assert!(is_broken(sink.send(&[frame(1)]).await));
    assert!(is_broken(there_sink.send(&[frame(1)]).await));

    other_sink.send(&[frame(1)]).await.unwrap();
    assert_eq!(other_there.receive().await.unwrap(), Some(frame(1)));
    let (received, cut) = tokio::join!(other_source.receive(), async { network.cut_all() });
    assert!(is_broken(received));
    assert_eq!(cut, 1);
    connect(&network, &mut *first).await;
}

#[tokio::test]
async fn a_cut_wakes_a_sender_that_waits() {
    let network = MemoryNetwork::default();
    let mut listener = network.listen("mem://relay").await.unwrap();
    let ((mut sink, _keep), _there) = connect(&network, &mut *listener).await;
    let frames: Vec<Bytes> = (0..100).map(frame).collect();
    let (sent, _) = tokio::join!(sink.send(&frames), async { network.cut_all() });
    assert!(is_broken(sent));
}

#[tokio::test]
async fn refusing_and_no_longer_refusing() {
    let network = MemoryNetwork::default();
    let mut listener = network.listen("mem://relay").await.unwrap();
    network.refuse("mem://relay", true);
    assert!(matches!(network.dial("mem://relay").await.err(), Some(TransportError::Unreachable { .. })));
    network.refuse("mem://relay", false);
    connect(&network, &mut *listener).await;
}

#[tokio::test]
async fn a_budget_cuts_after_so_many_bytes_and_what_passed_arrives() {
    let network = MemoryNetwork::default();
    network.cut_every(100);
    let mut listener = network.listen("mem://relay").await.unwrap();
    for _ in 0..2 {
        let ((mut sink, mut source), (mut there_sink, mut there_source)) = connect(&network, &mut *listener).await;
        sink.send(&[frame(40)]).await.unwrap();
        there_sink.send(&[frame(60)]).await.unwrap();
        assert!(is_broken(sink.send(&[frame(1)]).await));
        assert_eq!(there_source.receive().await.unwrap(), Some(frame(40)));
        assert!(is_broken(there_source.receive().await));
        assert_eq!(source.receive().await.unwrap(), Some(frame(60)));
        assert!(is_broken(source.receive().await));
    }
    network.stop_cutting();
    let ((mut sink, _keep), (_keep_too, mut source)) = connect(&network, &mut *listener).await;
    sink.send(&[frame(1000)]).await.unwrap();
    assert_eq!(source.receive().await.unwrap(), Some(frame(1000)));
}

#[tokio::test]
async fn a_tap_sees_every_frame() {
    let network = MemoryNetwork::default();
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = seen.clone();
    network.set_tap(move |frame| {
        counter.fetch_add(frame.len(), Ordering::Relaxed);
    });
    let mut listener = network.listen("mem://relay").await.unwrap();
    let ((mut sink, _here), (mut there_sink, _there)) = connect(&network, &mut *listener).await;
    sink.send(&[frame(1), frame(2)]).await.unwrap();
    there_sink.send(&[frame(4)]).await.unwrap();
    assert_eq!(seen.load(Ordering::Relaxed), 7);
}

#[tokio::test]
async fn a_large_frame_is_refused_until_the_limit_is_raised() {
    let network = MemoryNetwork::default();
    let mut listener = network.listen("mem://relay").await.unwrap();
    let ((mut sink, mut source), (mut there_sink, mut there_source)) = connect(&network, &mut *listener).await;
    sink.send(&[frame(FIRST_MAX_FRAME + 1)]).await.unwrap();
    assert_eq!(there_source.receive().await, Err(TransportError::FrameTooLarge { limit: FIRST_MAX_FRAME }));
    source.set_max_frame(FIRST_MAX_FRAME + 1);
    there_sink.send(&[frame(FIRST_MAX_FRAME + 1)]).await.unwrap();
    assert_eq!(source.receive().await.unwrap(), Some(frame(FIRST_MAX_FRAME + 1)));
}

#[tokio::test]
async fn names_are_taken_once_and_freed_and_port_0_is_always_free() {
    let network = MemoryNetwork::default();
    let listener = network.listen("mem://relay").await.unwrap();
    assert!(matches!(network.listen("mem://relay").await.err(), Some(TransportError::CannotListen { .. })));
    drop(listener);
    assert!(matches!(network.dial("mem://relay").await.err(), Some(TransportError::Unreachable { .. })));
    let _relay = network.listen("mem://relay").await.unwrap();
    let one = network.listen("mem://relay:0").await.unwrap();
    let two = network.listen("mem://relay:0").await.unwrap();
    assert_ne!(one.address(), two.address());
    network.dial(&two.address()).await.unwrap();
    assert!(matches!(network.dial("ws://relay").await.err(), Some(TransportError::BadUrl { .. })));
}
