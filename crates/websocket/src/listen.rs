//! Accepting connections.

use std::{collections::VecDeque, io, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use partita_core::{Connection, Listener, Observation, Observer, TransportError};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until, timeout},
};

use crate::{HANDSHAKE_DEADLINE, address::Address, connection::WebSocketConnection, error, handshake};

/// Handshakes at a time. When there are more, the oldest gives way: a client that means it needs milliseconds.
const MAX_HANDSHAKES: usize = 256;

/// How long to leave a system alone that has no more sockets to give; doubled up to the maximum.
const PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// A TCP listener, and the handshakes under way.
pub(crate) struct WebSocketListener {
    tcp: TcpListener,
    address: String,
    handshakes: JoinSet<Option<WebSocketConnection>>,
    /// Those of them that can be given up, oldest first.
    running: VecDeque<(SocketAddr, AbortHandle)>,
    observer: Arc<dyn Observer>,
    pause: Option<Pause>,
}

struct Pause {
    until: Instant,
    next: Duration,
}

impl WebSocketListener {
    pub(crate) async fn bind(address: &Address) -> Result<Self, TransportError> {
        let cannot = |reason| TransportError::CannotListen { url: address.url.clone(), reason };
        if address.secure {
            return Err(cannot(
                "wss:// is not served directly; listen on ws:// and put a TLS terminator before it (a reverse proxy)"
                    .into(),
            ));
        }
        let listening = async {
            let tcp = TcpListener::bind((address.host.as_str(), address.port)).await?;
            let local = tcp.local_addr()?;
            io::Result::Ok((tcp, local))
        };
        let (tcp, local) = listening.await.map_err(|error| cannot(error::listen_reason(&error, address.port)))?;
        Ok(Self {
            tcp,
            address: format!("ws://{local}"),
            handshakes: JoinSet::new(),
            running: VecDeque::new(),
            observer: Arc::new(()),
            pause: None,
        })
    }

    fn begin_handshake(&mut self, stream: TcpStream, address: SocketAddr) {
        if self.running.len() >= MAX_HANDSHAKES {
            self.running.retain(|(_, handshake)| !handshake.is_finished());
        }
        if self.running.len() >= MAX_HANDSHAKES
            && let Some((address, oldest)) = self.running.pop_front()
        {
            tracing::debug!(%address, "a WebSocket handshake gave way to others");
            oldest.abort();
        }
        let handshake = async move {
            let opened = timeout(HANDSHAKE_DEADLINE, open(stream, address)).await;
            opened.unwrap_or_else(|_elapsed| {
                tracing::debug!(%address, "a WebSocket handshake took too long");
                None
            })
        };
        self.running.push_back((address, self.handshakes.spawn(handshake)));
    }

    /// One remote's trouble is none of ours; a system out of sockets has some again later.
    fn failed_to_accept(&mut self, error: &io::Error) -> Result<(), TransportError> {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, InvalidInput};
        match error.kind() {
            ConnectionAborted | ConnectionReset | Interrupted => {}
            InvalidInput => {
                return Err(TransportError::Broken(format!("{} no longer listens: {error}", self.address)));
            }
            _ => {
                let wait = self.pause.as_ref().map_or(PAUSE, |pause| pause.next);
                tracing::warn!(address = self.address, %error, ?wait, "cannot accept connections for now");
                self.pause = Some(Pause { until: Instant::now() + wait, next: (wait * 2).min(MAX_PAUSE) });
            }
        }
        Ok(())
    }
}

/// A handshake that fails is only counted: whoever it was learns it from the closed connection.
async fn open(stream: TcpStream, address: SocketAddr) -> Option<WebSocketConnection> {
    stream.set_nodelay(true).ok()?;
    let stream = Arc::new(stream);
    match handshake::server(stream.clone()).await {
        Ok(socket) => Some(WebSocketConnection::new(stream, socket)),
        Err(error) => {
            tracing::debug!(%address, %error, "a WebSocket handshake failed");
            None
        }
    }
}

#[async_trait]
impl Listener for WebSocketListener {
    fn address(&self) -> String {
        self.address.clone()
    }

    fn observer(&mut self, observer: Arc<dyn Observer>) {
        self.observer = observer;
    }

    async fn accept(&mut self) -> Result<Box<dyn Connection>, TransportError> {
        loop {
            let until = self.pause.as_ref().map(|pause| pause.until);
            tokio::select! {
                biased;
                Some(finished) = self.handshakes.join_next() => match finished {
                    Ok(Some(connection)) => return Ok(Box::new(connection)),
                    // It failed, or gave way.
                    _ => self.observer.observe(&Observation::ConnectionNotOpened),
                },
                accepted = accept_after(until, &self.tcp) => match accepted {
                    Ok((stream, address)) => {
                        self.pause = None;
                        self.begin_handshake(stream, address);
                    }
                    Err(error) => self.failed_to_accept(&error)?,
                },
            }
        }
    }
}

async fn accept_after(until: Option<Instant>, tcp: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    if let Some(until) = until {
        sleep_until(until).await;
    }
    tcp.accept().await
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Without a pause, the next `accept` fails at once with the same error, and so on: a core spent on nothing.
    #[tokio::test(start_paused = true)]
    async fn a_system_out_of_sockets_is_asked_again_later_and_ever_less_often() {
        let address = Address::parse("ws://127.0.0.1:0").unwrap();
        let mut listener = WebSocketListener::bind(&address).await.unwrap();
        let too_many_open_files = io::Error::from_raw_os_error(24);
        let begin = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..8 {
            listener.failed_to_accept(&too_many_open_files).unwrap();
            waits.push(listener.pause.as_ref().unwrap().until - begin);
        }
        assert_eq!((waits[0], waits[1], waits[7]), (PAUSE, PAUSE * 2, MAX_PAUSE));

        let client = TcpStream::connect(listener.tcp.local_addr().unwrap()).await.unwrap();
        let until = listener.pause.as_ref().map(|pause| pause.until);
        accept_after(until, &listener.tcp).await.unwrap();
        assert!(Instant::now() - begin >= MAX_PAUSE);
        drop(client);
    }
}
