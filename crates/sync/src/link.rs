//! Dialling and accepting: who is connected to whom, and when it is tried again.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use partita_core::{Listener, ReplicaId, Transport, TransportError};
use partita_protocol::Backoff;
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinHandle,
};

pub use crate::connection::ConnectionError;
use crate::{
    SystemRandom,
    connection::{Role, serve},
    driver::DriverHandle,
};

/// How long a dial may take.
const DIAL_DEADLINE: Duration = Duration::from_secs(15);

/// An address and the replica that must answer there: `ws://host:port#<replica id>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayUrl {
    /// The address without the id.
    pub address: String,
    /// Who must answer; `None` accepts anybody, whom no strategy then trusts as a relay.
    pub replica: Option<ReplicaId>,
}

/// Why a text is no relay's URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{url} is not a relay's URL ({reason}): it looks like wss://relay.example.org#<64 hexadecimal digits>, as the relay prints it"
)]
pub struct RelayUrlError {
    url: String,
    reason: String,
}

impl std::str::FromStr for RelayUrl {
    type Err = RelayUrlError;

    fn from_str(url: &str) -> Result<Self, RelayUrlError> {
        let bad = |reason: &str| RelayUrlError { url: url.into(), reason: reason.into() };
        let (address, id) = url.split_once('#').ok_or_else(|| bad("the relay's id after a # is missing"))?;
        if !address.contains("://") {
            return Err(bad("the scheme is missing"));
        }
        let replica = id.parse().map_err(|error: partita_core::IdError| bad(&error.to_string()))?;
        Ok(Self { address: address.into(), replica: Some(replica) })
    }
}

impl std::fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.replica {
            Some(replica) => write!(f, "{}#{replica}", self.address),
            None => f.write_str(&self.address),
        }
    }
}

/// Transports by URL scheme.
#[derive(Clone, Default)]
pub struct Transports {
    by_scheme: BTreeMap<String, Arc<dyn Transport>>,
}

impl Transports {
    /// Adds a transport for its schemes, in the place of an earlier one.
    pub fn add(&mut self, transport: Arc<dyn Transport>) {
        for scheme in transport.schemes() {
            self.by_scheme.insert((*scheme).to_owned(), transport.clone());
        }
    }

    /// The transport for an address.
    ///
    /// # Errors
    /// [`TransportError::BadUrl`] when there is none.
    pub fn of(&self, url: &str) -> Result<&Arc<dyn Transport>, TransportError> {
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
        self.by_scheme.get(scheme).ok_or_else(|| {
            let known: Vec<_> = self.by_scheme.keys().map(String::as_str).collect();
            let reason = format!("no transport for its scheme; this program has {}", known.join(", "));
            TransportError::BadUrl { url: url.into(), reason }
        })
    }
}

impl std::fmt::Debug for Transports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.by_scheme.keys()).finish()
    }
}

/// The state of a connection that is kept up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// It is being dialled.
    Connecting,
    /// The remote proved who it is.
    Connected(ReplicaId),
    /// It broke, or could not be made; it is dialled again.
    BackingOff {
        /// What happened.
        error: ConnectionError,
        /// After how long it is dialled again.
        retry_in: Duration,
    },
}

/// A change of a connection's state, for status and events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionEvent {
    /// Which connection.
    pub url: String,
    /// Its new state.
    pub state: ConnectionState,
}

/// A connection that is dialled, served, and dialled again, until this is dropped.
#[derive(Debug)]
pub struct Dialer {
    task: JoinHandle<()>,
    wake: Arc<Notify>,
}

impl Dialer {
    /// Keeps a connection to this address up.
    ///
    /// # Errors
    /// When no transport has the address's scheme.
    pub fn start<C: Send + 'static>(
        driver: DriverHandle<C>,
        transports: &Transports,
        url: RelayUrl,
        report: impl Fn(ConnectionEvent) + Send + Sync + 'static,
    ) -> Result<Self, TransportError> {
        let transport = transports.of(&url.address)?.clone();
        let wake = Arc::new(Notify::new());
        let task = tokio::spawn(keep_up(driver, transport, url, wake.clone(), report));
        Ok(Self { task, wake })
    }

    /// The network is back: dials at once if it was waiting to.
    pub fn retry_now(&self) {
        self.wake.notify_one();
    }
}

impl Drop for Dialer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep_up<C: Send + 'static>(
    driver: DriverHandle<C>,
    transport: Arc<dyn Transport>,
    url: RelayUrl,
    wake: Arc<Notify>,
    report: impl Fn(ConnectionEvent) + Send + Sync + 'static,
) {
    let mut backoff = Backoff::default();
    let say = |state| report(ConnectionEvent { url: url.to_string(), state });
    loop {
        say(ConnectionState::Connecting);
        let mut since = None;
        let error = match tokio::time::timeout(DIAL_DEADLINE, transport.dial(&url.address)).await {
            Ok(Ok(connection)) => {
                let role = Role::Dial(url.replica);
                serve(driver.clone(), connection, role, |remote| {
                    since = Some(Instant::now());
                    say(ConnectionState::Connected(remote));
                })
                .await
            }
            Ok(Err(error)) => error.into(),
            Err(_) => TransportError::Unreachable {
                url: url.address.clone(),
                reason: format!("no answer within {} s", DIAL_DEADLINE.as_secs()),
            }
            .into(),
        };
        let lived = since.map_or(Duration::ZERO, |since: Instant| since.elapsed());
        let retry_in = backoff.next(lived, &mut SystemRandom);
        say(ConnectionState::BackingOff { error, retry_in });
        tokio::select! {
            () = tokio::time::sleep(retry_in) => {}
            () = wake.notified() => backoff.reset(),
        }
    }
}

/// Serves every connection that a listener accepts, so many at once, until the task is aborted. Ends only when the
/// listener breaks.
pub async fn accept_connections<C: Send + 'static>(
    driver: DriverHandle<C>,
    mut listener: Box<dyn Listener>,
    most: usize,
) -> TransportError {
    let room = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = tasks.join_next() => continue,
        };
        let connection = match accepted {
            Ok(connection) => connection,
            Err(error) => return error,
        };
        // Over the limit a connection is dropped at once: its dialer backs off and comes again.
        let Ok(permit) = room.clone().try_acquire_owned() else {
            continue;
        };
        let driver = driver.clone();
        tasks.spawn(async move {
            let ended = serve(driver, connection, Role::Accept, |_| {}).await;
            tracing::debug!(%ended, "connection ended");
            drop(permit);
        });
    }
}
