//! Frames arrive in order, whole, and within the limits.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{frame, give_up_on, pair, raw_websocket};
use partita_core::{Bytes, FrameSink, FrameSource, TransportError};
use partita_websocket::FIRST_MAX_FRAME;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn frames_arrive_in_order_both_ways() {
    let ((mut client_sink, mut client_source), (mut server_sink, mut server_source)) = pair().await;
    let frames: Vec<Bytes> = (0..100).map(|number| frame(number, number * 7)).collect();
    client_sink.send(&frames).await.unwrap();
    server_sink.send(&frames).await.unwrap();
    for expected in &frames {
        assert_eq!(server_source.receive().await.unwrap().as_ref(), Some(expected));
        assert_eq!(client_source.receive().await.unwrap().as_ref(), Some(expected));
    }
}

#[tokio::test]
async fn sending_nothing_and_sending_an_empty_frame_are_different() {
    let ((mut sink, _keep), (_keep_too, mut source)) = pair().await;
    sink.send(&[]).await.unwrap();
    sink.send(&[Bytes::new(), frame(1, 1)]).await.unwrap();
    assert_eq!(source.receive().await.unwrap(), Some(Bytes::new()));
    assert_eq!(source.receive().await.unwrap(), Some(frame(1, 1)));
}

#[tokio::test]
async fn a_large_frame_is_refused_until_the_limit_is_raised() {
    for size in [FIRST_MAX_FRAME + 1, 10 * FIRST_MAX_FRAME] {
        let ((mut sink, _keep), (_keep_too, mut source)) = pair().await;
        sink.send(&[frame(1, FIRST_MAX_FRAME), frame(2, size)]).await.unwrap();
        assert_eq!(source.receive().await.unwrap(), Some(frame(1, FIRST_MAX_FRAME)));
        let refused = Err(TransportError::FrameTooLarge { limit: FIRST_MAX_FRAME });
        assert_eq!(source.receive().await, refused);
        assert_eq!(source.receive().await, refused, "an error is final");

        let ((mut sink, _keep), (_keep_too, mut source)) = pair().await;
        source.set_max_frame(size);
        sink.send(&[frame(2, size)]).await.unwrap();
        assert_eq!(source.receive().await.unwrap(), Some(frame(2, size)));
        source.set_max_frame(100);
        sink.send(&[frame(3, 101)]).await.unwrap();
        assert_eq!(source.receive().await, Err(TransportError::FrameTooLarge { limit: 100 }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_can_send_more_than_the_network_holds() {
    async fn send(mut sink: Box<dyn FrameSink>) -> Box<dyn FrameSink> {
        for number in 0..32 {
            sink.send(&[frame(number, 1 << 20)]).await.unwrap();
        }
        sink
    }
    async fn receive(mut source: Box<dyn FrameSource>) {
        source.set_max_frame(1 << 20);
        for number in 0..32 {
            assert_eq!(source.receive().await.unwrap(), Some(frame(number, 1 << 20)));
        }
    }
    let ((client_sink, client_source), (server_sink, server_source)) = pair().await;
    let senders = [tokio::spawn(send(client_sink)), tokio::spawn(send(server_sink))];
    let receivers = [tokio::spawn(receive(client_source)), tokio::spawn(receive(server_source))];
    for receiver in receivers {
        receiver.await.unwrap();
    }
    for sender in senders {
        sender.await.unwrap();
    }
}

#[tokio::test]
async fn a_receive_that_is_given_up_loses_nothing() {
    let mut listener = common::listener().await;
    let (mut tcp, (_keep, mut source)) = raw_websocket(&mut *listener).await;
    // A masked binary message of 4 bytes, mask 0, a byte at a time.
    for byte in [0x82, 0x84, 0, 0, 0, 0, b'a', b'b', b'c'] {
        tcp.write_all(&[byte]).await.unwrap();
        give_up_on(source.receive()).await;
    }
    tcp.write_all(b"d").await.unwrap();
    assert_eq!(source.receive().await.unwrap().as_deref(), Some(&b"abcd"[..]));
}

#[tokio::test]
async fn a_send_that_is_given_up_still_arrives_whole() {
    const SIZE: usize = 32 << 20;
    let ((mut sink, _keep), (_keep_too, mut source)) = pair().await;
    source.set_max_frame(SIZE);
    let large = [frame(1, SIZE)];
    give_up_on(sink.send(&large)).await;
    let small = [frame(2, 10)];
    let (sent, received) =
        tokio::join!(sink.send(&small), async { [source.receive().await.unwrap(), source.receive().await.unwrap(),] });
    sent.unwrap();
    assert!(received == [Some(frame(1, SIZE)), Some(frame(2, 10))]);
}

#[tokio::test]
async fn pings_are_answered() {
    use tokio::io::AsyncReadExt;
    let mut listener = common::listener().await;
    let (mut tcp, (_keep, mut source)) = raw_websocket(&mut *listener).await;
    tcp.write_all(&[0x89, 0x82, 0, 0, 0, 0, b'h', b'i', 0x82, 0x81, 0, 0, 0, 0, b'!']).await.unwrap();
    assert_eq!(source.receive().await.unwrap().as_deref(), Some(&b"!"[..]));
    let mut pong = [0; 4];
    tcp.read_exact(&mut pong).await.unwrap();
    assert_eq!(pong, [0x8a, 2, b'h', b'i']);
}
