//! Errors say what happened and what to do.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{failure, listener};
use partita_core::{Transport, TransportError};
use partita_websocket::WebSocket;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

fn assert_says(error: &TransportError, words: &[&str]) {
    for word in words {
        assert!(error.to_string().contains(word), "{word:?} is missing in: {error}");
    }
}

#[tokio::test]
async fn a_port_in_use_is_named_with_what_to_do() {
    let listener = listener().await;
    let error = failure(WebSocket::default().listen(&listener.address()).await);
    assert!(matches!(error, TransportError::CannotListen { .. }));
    assert_says(&error, &[&listener.address(), "in use by another program", "choose another port"]);
}

#[tokio::test]
async fn who_listens_on_wss_is_told_of_a_terminator() {
    let error = failure(WebSocket::default().listen("wss://127.0.0.1:0").await);
    assert!(matches!(error, TransportError::CannotListen { .. }));
    assert_says(&error, &["ws://", "TLS terminator"]);
}

#[tokio::test]
async fn where_nobody_listens_the_port_is_to_be_checked() {
    let address = listener().await.address();
    let error = failure(WebSocket::default().dial(&address).await);
    assert!(matches!(error, TransportError::Unreachable { .. }));
    assert_says(&error, &[&address, "refused", "check the port"]);
}

#[tokio::test]
async fn a_name_that_nobody_has_is_named() {
    let error = failure(WebSocket::default().dial("ws://no-such-name.invalid:9000").await);
    assert!(matches!(error, TransportError::Unreachable { .. }));
    assert_says(&error, &["ws://no-such-name.invalid:9000", "was not found", "spelling"]);
}

#[tokio::test]
async fn an_address_of_another_kind_is_refused_with_an_example() {
    let error = failure(WebSocket::default().dial("http://localhost").await);
    assert!(matches!(error, TransportError::BadUrl { .. }));
    assert_says(&error, &["http://localhost", "must begin with ws:// or wss://"]);
}

/// A server that reads a request and answers with these bytes.
async fn server_that_answers(answer: &'static [u8]) -> String {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = tcp.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await.unwrap();
        stream.write_all(answer).await.unwrap();
    });
    address.to_string()
}

#[tokio::test]
async fn a_web_server_that_is_no_relay_is_told_by_its_status() {
    let address = server_that_answers(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
    let error = failure(WebSocket::default().dial(&format!("ws://{address}/x")).await);
    assert_says(&error, &[&address, "HTTP 404", "check the path"]);
}

#[tokio::test]
async fn a_server_that_hangs_up_or_speaks_something_else_is_told_apart() {
    let address = server_that_answers(b"").await;
    let error = failure(WebSocket::default().dial(&format!("ws://{address}")).await);
    assert_says(&error, &[&address, "hung up"]);
    let address = server_that_answers(b"SSH-2.0-x\r\n").await;
    let error = failure(WebSocket::default().dial(&format!("ws://{address}")).await);
    assert_says(&error, &[&address, "no WebSocket server"]);
}

#[tokio::test]
async fn wss_to_a_server_without_tls_says_that_tls_failed() {
    let address = server_that_answers(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let error = failure(WebSocket::default().dial(&format!("wss://{address}")).await);
    assert_says(&error, &[&address, "TLS failed", "ws://"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_up_after_ten_seconds() {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap().to_string();
    let error = failure(WebSocket::default().dial(&format!("ws://{address}")).await);
    assert_says(&error, &[&address, "within 10 s"]);
}
