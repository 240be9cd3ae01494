//! A blind relay: a node that stores and forwards what it cannot read.
//!
//! It holds the relay sides of partition plugins, which know rights and no secrets, and no CRDT library at all. It begins a
//! context when a replica proves its right to it, acknowledges what is durable, and forwards before that.
//!
//! ```no_run
//! # async fn example() -> Result<(), partita_relay::RelayError> {
//! let relay = partita_relay::Relay::builder("relay.partita").listen("ws://0.0.0.0:7400").open().await?;
//! println!("{}", relay.url());
//! relay.close().await;
//! # Ok(()) }
//! ```

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use partita_core::{
    DeviceKeys, Incarnation, Keystore, KeystoreError, PartitionStrategy, ReplicaId, Store, StoreError, Transport,
    TransportError,
};
use partita_crypto::rand_core::Rng as _;
use partita_protocol::{NodeConfig, NodeParts, Notice, channel::LocalIdentity};
use partita_redb::RedbStore;
use partita_single_owner::SingleOwnerRelay;
use partita_sync::{
    Driver, DriverHandle, DriverParts, FileKeystore, FrameTap, Host, HostContext, RelayUrl, SystemRandom, Transports,
    accept_connections,
};
use partita_websocket::WebSocket;
use tokio::{sync::watch, task::JoinHandle};

/// Why a relay could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The relay's key.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The address.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// What a relay is made of.
pub struct Builder {
    path: PathBuf,
    listen: String,
    config: NodeConfig,
    max_connections: usize,
    strategies: Vec<Box<dyn PartitionStrategy>>,
    transports: Transports,
    tap: Option<FrameTap>,
}

/// The relay's part of the driver: it only watches for the store's failure.
struct RelayHost {
    failed: watch::Sender<Option<StoreError>>,
}

impl Host for RelayHost {
    type Command = ();

    fn command(&mut self, _context: &mut HostContext<'_, ()>, (): ()) {}

    fn notice(&mut self, _context: &mut HostContext<'_, ()>, notice: Notice) {
        match notice {
            Notice::StoreFailed(error) => {
                self.failed.send_replace(Some(error));
            }
            Notice::Refused { context, peer, seq, why, .. } => {
                tracing::info!(%context, peer = %peer.replica, seq, %why, "an entry was refused");
            }
            Notice::SessionClosed { peer, reason: Some(reason) } => {
                tracing::info!(peer = %peer.replica, %reason, "a session was closed");
            }
            _ => {}
        }
    }
}

impl Builder {
    /// The address to listen on; port 0 takes a free one. `ws://127.0.0.1:7400` if nothing is said.
    #[must_use]
    pub fn listen(mut self, url: impl Into<String>) -> Self {
        self.listen = url.into();
        self
    }

    /// The most bytes of entries in one context; what is over it is refused and tried again when there is room.
    #[must_use]
    pub fn max_context_bytes(mut self, bytes: u64) -> Self {
        self.config.max_context_bytes = bytes;
        self
    }

    /// The most connections at once.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// The node's limits. A relay accepts contexts whatever they say.
    #[must_use]
    pub fn config(mut self, config: NodeConfig) -> Self {
        self.config = config;
        self
    }

    /// The relay side of another plugin.
    #[must_use]
    pub fn strategy(mut self, strategy: impl PartitionStrategy) -> Self {
        self.strategies.push(Box::new(strategy));
        self
    }

    /// Shows every frame that comes, once its channel was opened: for tests that look for what a relay must not see.
    #[must_use]
    pub fn tap(mut self, tap: impl Fn(&partita_core::Bytes) + Send + Sync + 'static) -> Self {
        self.tap = Some(Arc::new(tap));
        self
    }

    /// Another transport than WebSockets.
    #[must_use]
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.transports.add(Arc::new(transport));
        self
    }

    /// Opens the relay. Its store is made if it is not there, and with it its key, beside it (`<path>.key`); a store without
    /// its key is an error, because a relay with another id is another relay to everyone who pinned it.
    ///
    /// # Errors
    /// [`RelayError`].
    pub async fn open(mut self) -> Result<Relay, RelayError> {
        let keys = relay_keys(&self.path)?;
        let mut bytes = [0; 16];
        SystemRandom.fill_bytes(&mut bytes);
        let incarnation = Incarnation::from_bytes(bytes);
        let path = self.path.clone();
        let store = tokio::task::spawn_blocking(move || RedbStore::open(path, incarnation))
            .await
            .map_err(|_| StoreError::Damaged("opening it panicked".into()))??;
        let store: Arc<dyn Store> = Arc::new(store);
        let listener = self.transports.of(&self.listen)?.listen(&self.listen).await?;
        let address = listener.address();
        self.strategies.push(Box::new(SingleOwnerRelay::new()));
        let node = NodeParts {
            config: NodeConfig { accept_contexts: true, ..self.config },
            identity: LocalIdentity { key: Arc::new(keys.signing), incarnation },
            strategies: self.strategies,
            rng: Box::new(SystemRandom),
        };
        let (failed, failure) = watch::channel(None);
        let driver = Driver::start(DriverParts { node, store, host: RelayHost { failed }, tap: self.tap })?;
        let url = RelayUrl { address, replica: Some(driver.replica()) };
        let accepting = tokio::spawn(accept(driver.clone(), listener, self.max_connections));
        Ok(Relay { driver, url, accepting, failure })
    }
}

async fn accept(driver: DriverHandle<()>, listener: Box<dyn partita_core::Listener>, most: usize) {
    let ended = accept_connections(driver, listener, most).await;
    tracing::error!(%ended, "the listener broke");
}

fn relay_keys(store: &Path) -> Result<DeviceKeys, RelayError> {
    let path = store.with_added_extension("key");
    if path.exists() || store.exists() {
        return Ok(DeviceKeys::load(&FileKeystore::open(path)?)?);
    }
    let keystore: &dyn Keystore = &FileKeystore::create(path)?;
    Ok(DeviceKeys::create(keystore, &mut SystemRandom)?)
}

/// A running relay.
#[derive(Debug)]
pub struct Relay {
    driver: DriverHandle<()>,
    url: RelayUrl,
    accepting: JoinHandle<()>,
    failure: watch::Receiver<Option<StoreError>>,
}

impl Relay {
    /// A relay whose store is the redb file at `path`.
    pub fn builder(path: impl Into<PathBuf>) -> Builder {
        let mut transports = Transports::default();
        transports.add(Arc::new(WebSocket::default()));
        Builder {
            path: path.into(),
            listen: "ws://127.0.0.1:7400".into(),
            config: NodeConfig::default(),
            max_connections: 10_000,
            strategies: Vec::new(),
            transports,
            tap: None,
        }
    }

    /// What devices connect to: the address and the relay's id.
    pub fn url(&self) -> RelayUrl {
        self.url.clone()
    }

    /// The relay's replica id.
    pub fn replica(&self) -> ReplicaId {
        self.driver.replica()
    }

    /// Waits until the store fails: the relay then only serves what it has, and should be closed and opened again.
    pub async fn failed(&self) -> StoreError {
        let mut failure = self.failure.clone();
        let failed = failure.wait_for(Option::is_some).await.ok().and_then(|failure| failure.clone());
        match failed {
            Some(error) => error,
            None => std::future::pending().await, // it was closed
        }
    }

    /// Stores what waits, says goodbye to everyone and closes the store.
    pub async fn close(self) {
        self.accepting.abort();
        self.driver.stop().await;
    }
}
