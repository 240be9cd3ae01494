//! `wss`, against a server with a certificate of its own.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::{net::TcpListener, sync::Arc, thread};

use common::{failure, frame};
use partita_core::{Transport, TransportError};
use partita_websocket::{
    WebSocket,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer},
    },
};
use tungstenite::Message;

/// An echo server with plain blocking sockets; its address and its certificate.
fn echo_server() -> (String, CertificateDer<'static>) {
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = identity.cert.der().clone();
    let key = PrivateKeyDer::try_from(identity.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let listener = TcpListener::bind("localhost:0").unwrap();
    let address = format!("wss://localhost:{}", listener.local_addr().unwrap().port());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let tls = ServerConnection::new(Arc::new(config.clone())).unwrap();
            let Ok(mut socket) = tungstenite::accept(StreamOwned::new(tls, stream.unwrap())) else {
                continue;
            };
            while let Ok(message) = socket.read() {
                if let Message::Binary(_) = message {
                    socket.send(message).unwrap();
                }
            }
        }
    });
    (address, certificate)
}

fn trusting(certificate: CertificateDer<'static>) -> WebSocket {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    WebSocket::with_tls(Arc::new(config))
}

#[tokio::test]
async fn frames_travel_over_tls() {
    let (address, certificate) = echo_server();
    let (mut sink, mut source) = trusting(certificate).dial(&address).await.unwrap().split();
    source.set_max_frame(8 << 20);
    for size in [0, 1, 100_000, 8 << 20] {
        let (sent, received) = tokio::join!(
            async {
                sink.send(&[frame(1, size)]).await?;
                sink.send(&[frame(2, 10)]).await
            },
            async { [source.receive().await.unwrap(), source.receive().await.unwrap(),] }
        );
        sent.unwrap();
        assert!(received == [Some(frame(1, size)), Some(frame(2, 10))], "{size}");
    }
    sink.close().await.unwrap();
    assert_eq!(source.receive().await.unwrap(), None);
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let (address, _) = echo_server();
    let error = failure(WebSocket::default().dial(&address).await);
    assert!(matches!(error, TransportError::Unreachable { .. }));
    assert!(error.to_string().contains("TLS failed") && error.to_string().contains("certificate"), "{error}");
}
