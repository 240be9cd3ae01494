//! How a connection ends, and what each side is told.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{frame, pair, raw_websocket};
use partita_core::TransportError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn an_orderly_close_is_no_error_on_either_side() {
    let ((mut client_sink, mut client_source), (mut server_sink, mut server_source)) = pair().await;
    client_sink.send(&[frame(1, 10)]).await.unwrap();
    client_sink.close().await.unwrap();
    client_sink.close().await.unwrap();
    assert!(matches!(client_sink.send(&[frame(2, 1)]).await, Err(TransportError::Broken(_))));

    assert_eq!(server_source.receive().await.unwrap(), Some(frame(1, 10)));
    assert_eq!(server_source.receive().await.unwrap(), None);
    assert_eq!(server_source.receive().await.unwrap(), None);
    assert!(matches!(server_sink.send(&[frame(3, 1)]).await, Err(TransportError::Broken(_))));
    server_sink.close().await.unwrap();
    drop((server_sink, server_source));

    assert_eq!(client_source.receive().await.unwrap(), None);
}

#[tokio::test]
async fn a_server_can_close_too_and_what_was_on_its_way_still_arrives() {
    let ((mut client_sink, mut client_source), (mut server_sink, mut server_source)) = pair().await;
    server_sink.close().await.unwrap();
    client_sink.send(&[frame(1, 10)]).await.unwrap();
    assert_eq!(client_source.receive().await.unwrap(), None);
    assert_eq!(server_source.receive().await.unwrap(), Some(frame(1, 10)));
    assert_eq!(server_source.receive().await.unwrap(), None);
}

#[tokio::test]
async fn last_words_arrive_even_when_nobody_reads_the_answer() {
    let ((mut client_sink, client_source), (mut server_sink, mut server_source)) = pair().await;
    server_sink.send(&[frame(9, 1000)]).await.unwrap();
    drop(client_source);
    client_sink.send(&[frame(1, 10)]).await.unwrap();
    let (closed, ()) = tokio::join!(client_sink.close(), async {
        assert_eq!(server_source.receive().await.unwrap(), Some(frame(1, 10)));
        assert_eq!(server_source.receive().await.unwrap(), None);
    });
    closed.unwrap();
}

#[tokio::test]
async fn a_connection_that_breaks_is_an_error() {
    let ((client_sink, client_source), (_keep, mut server_source)) = pair().await;
    drop((client_sink, client_source));
    assert!(matches!(server_source.receive().await, Err(TransportError::Broken(_))));

    let mut listener = common::listener().await;
    let (mut tcp, (_keep, mut source)) = raw_websocket(&mut *listener).await;
    tcp.write_all(&[0x82, 0x84, 0, 0]).await.unwrap();
    drop(tcp);
    assert!(matches!(source.receive().await, Err(TransportError::Broken(_))));
}

#[tokio::test]
async fn text_breaks_the_protocol() {
    let mut listener = common::listener().await;
    let (mut tcp, (_keep, mut source)) = raw_websocket(&mut *listener).await;
    tcp.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).await.unwrap();
    assert!(matches!(source.receive().await, Err(TransportError::Protocol(_))));
}

#[tokio::test]
async fn closing_does_not_wait_for_ever_for_a_remote_that_does_not_read() {
    let mut listener = common::listener().await;
    let (mut tcp, (mut sink, _keep)) = raw_websocket(&mut *listener).await;
    common::give_up_on(sink.send(&[frame(1, 64 << 20)])).await;
    tokio::time::pause(); // not before: a socket that is slow is no deadline
    assert!(matches!(sink.close().await, Err(TransportError::Broken(_))));
    drop((sink, _keep));
    let mut rest = Vec::new();
    // It is over, in whichever way the system tells it.
    let _ = tcp.read_to_end(&mut rest).await;
}
