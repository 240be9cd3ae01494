//! Connecting to a server.

use std::{future::Future, io, net::SocketAddr, sync::Arc};

use partita_core::TransportError;
use rustls::ClientConfig;
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use crate::{
    HANDSHAKE_DEADLINE, address::Address, connection::WebSocketConnection, error, handshake, socket::Socket, tls,
};

/// Dials; `tls` is there for `wss`.
pub(crate) async fn dial(
    address: &Address,
    tls: Option<Result<Arc<ClientConfig>, rustls::Error>>,
) -> Result<WebSocketConnection, TransportError> {
    let unreachable = |reason: String| TransportError::Unreachable { url: address.url.clone(), reason };

    let stream = Arc::new(connect(address).await.map_err(unreachable)?);
    let mut socket = Socket::plain(stream.clone());
    if let Some(config) = tls {
        let config = config.map_err(|error| unreachable(format!("TLS cannot be set up: {error}")))?;
        let client = tls::client(config, &address.host).map_err(|error| unreachable(format!("TLS failed: {error}")))?;
        socket = Socket::over_tls(stream.clone(), client);
        in_time("TLS handshake", handshake::tls(&stream, &mut socket)).await.map_err(unreachable)?.map_err(
            |error| {
                unreachable(format!("TLS failed: {error}; check the name, the certificate, and whether ws:// is meant"))
            },
        )?;
    }
    let socket = in_time("WebSocket handshake", handshake::client(&stream, socket, &address.uri))
        .await
        .map_err(unreachable)?
        .map_err(|error| unreachable(error::handshake_reason(&error)))?;
    Ok(WebSocketConnection::new(stream, socket))
}

/// Tries the addresses of a name one after the other; says what became of the last one.
async fn connect(address: &Address) -> Result<TcpStream, String> {
    let found = lookup_host((address.host.as_str(), address.port)).await;
    let candidates: Vec<SocketAddr> = found.map_err(|error| unknown_name(address, &error.to_string()))?.collect();
    let mut reason = unknown_name(address, "it has no addresses");
    for candidate in candidates {
        match in_time("TCP handshake", connect_to(candidate)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => reason = error::connect_reason(&error),
            Err(late) => reason = late,
        }
    }
    Err(reason)
}

async fn connect_to(candidate: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(candidate).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn unknown_name(address: &Address, reason: &str) -> String {
    format!("the name {} was not found ({reason}); check its spelling and that this machine is online", address.host)
}

async fn in_time<F: Future>(what: &str, step: F) -> Result<F::Output, String> {
    timeout(HANDSHAKE_DEADLINE, step).await.map_err(|_elapsed| {
        format!("no {what} within {} s; check the address, the network and firewalls", HANDSHAKE_DEADLINE.as_secs())
    })
}
