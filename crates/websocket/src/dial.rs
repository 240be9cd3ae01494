//! Connecting to a server.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

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

/// How long one of several addresses of a name has: one that answers nothing must leave time for the others.
const EACH: Duration = Duration::from_secs(3);

/// Tries the addresses of a name one after the other; says what became of the last one.
async fn connect(address: &Address) -> Result<TcpStream, String> {
    let found = lookup_host((address.host.as_str(), address.port)).await;
    let candidates: Vec<SocketAddr> = found.map_err(|error| unknown_name(address, &error.to_string()))?.collect();
    let mut reason = unknown_name(address, "it has no addresses");
    let deadline = if candidates.len() > 1 { EACH } else { HANDSHAKE_DEADLINE };
    for candidate in in_turns(candidates) {
        match within(deadline, "TCP handshake", connect_to(candidate)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => reason = error::connect_reason(&error),
            Err(late) => reason = late,
        }
    }
    Err(reason)
}

/// One of each family after the other: where one family leads nowhere, as IPv6 often does, the other has its turn early.
fn in_turns(candidates: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let is_first_family =
        |candidate: &SocketAddr| candidates.first().map(SocketAddr::is_ipv4) == Some(candidate.is_ipv4());
    let (first, second): (Vec<SocketAddr>, Vec<_>) = candidates.iter().copied().partition(is_first_family);
    let most = first.len().max(second.len());
    (0..most).flat_map(|at| first.get(at).into_iter().chain(second.get(at))).copied().collect()
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
    within(HANDSHAKE_DEADLINE, what, step).await
}

async fn within<F: Future>(deadline: Duration, what: &str, step: F) -> Result<F::Output, String> {
    timeout(deadline, step).await.map_err(|_elapsed| {
        format!("no {what} within {} s; check the address, the network and firewalls", deadline.as_secs())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_a_name_are_tried_in_turns_of_their_families() {
        let [v6, more_v6, v4, more_v4] =
            ["[::1]:1", "[::2]:1", "127.0.0.1:1", "127.0.0.2:1"].map(|text| text.parse().unwrap());
        assert_eq!(in_turns(vec![v6, more_v6, v4, more_v4]), [v6, v4, more_v6, more_v4]);
        assert_eq!(in_turns(vec![v4, v6, more_v6]), [v4, v6, more_v6]);
        assert_eq!(in_turns(vec![v4]), [v4]);
    }
}
