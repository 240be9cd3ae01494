//! Opening a relay.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use partita_core::{
    DeviceKeys, Incarnation, Keystore, KeystoreError, Listener, Observer, PartitionStrategy, Store, StoreError,
    Transport,
};
use partita_crypto::rand_core::Rng as _;
use partita_group::GroupRelay;
use partita_protocol::{NodeConfig, NodeParts, channel::LocalIdentity};
use partita_redb::RedbStore;
use partita_single_owner::SingleOwnerRelay;
use partita_sync::{
    Driver, DriverHandle, DriverParts, FileKeystore, FrameTap, RelayUrl, SystemRandom, Tapped, Transports, accept_until,
};
use partita_websocket::WebSocket;
use tokio::sync::{oneshot, watch};

use crate::{
    Relay, RelayError,
    host::{Command, RelayHost, SHORT},
    http::{self, Pages},
    metrics::Metrics,
    ready::Readiness,
    room::{self, FreeSpace, Room},
};

type StoreMaker = Box<dyn FnOnce(Incarnation) -> Result<Arc<dyn Store>, StoreError> + Send>;

/// What a relay is made of.
pub struct Builder {
    path: PathBuf,
    listen: String,
    config: NodeConfig,
    max_connections: usize,
    strategies: Vec<Box<dyn PartitionStrategy>>,
    owners: SingleOwnerRelay,
    transports: Transports,
    tap: Option<FrameTap>,
    store: Option<StoreMaker>,
    min_free_bytes: u64,
    free_space: Option<FreeSpace>,
    observers: Vec<Arc<dyn Observer>>,
    metrics: Option<String>,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("path", &self.path).field("listen", &self.listen).finish_non_exhaustive()
    }
}

impl Builder {
    /// The most connections at once if [`max_connections`](Self::max_connections) says nothing.
    pub const DEFAULT_CONNECTIONS: u32 = 10_000;

    /// How many bytes of the store's disk stay free if [`min_free_bytes`](Self::min_free_bytes) says nothing: 256 MiB.
    pub const DEFAULT_MIN_FREE_BYTES: u64 = 256 << 20;

    pub(crate) fn new(path: PathBuf) -> Self {
        let mut transports = Transports::default();
        transports.add(Arc::new(WebSocket::default()));
        Self {
            path,
            listen: "ws://127.0.0.1:7400".into(),
            config: NodeConfig::default(),
            max_connections: Self::DEFAULT_CONNECTIONS as usize,
            strategies: Vec::new(),
            owners: SingleOwnerRelay::new(),
            transports,
            tap: None,
            store: None,
            min_free_bytes: Self::DEFAULT_MIN_FREE_BYTES,
            free_space: None,
            observers: Vec::new(),
            metrics: None,
        }
    }

    /// The address to listen on; port 0 takes a free one. `ws://127.0.0.1:7400` if nothing is said.
    #[must_use]
    pub fn listen(mut self, url: impl Into<String>) -> Self {
        self.listen = url.into();
        self
    }

    /// The most bytes of entries in one context; what is over it is refused and tried again when there is room. Control entries
    /// and the snapshots of checkpoints, which make room, may take half as much again.
    #[must_use]
    pub fn max_context_bytes(mut self, bytes: u64) -> Self {
        self.config.max_context_bytes = bytes;
        self
    }

    /// The most connections at once; [`DEFAULT_CONNECTIONS`](Self::DEFAULT_CONNECTIONS) if nothing is said. Each takes a file
    /// descriptor.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// The most bytes that wait for all who are connected together; 1 GiB if nothing is said. From half of it on who is slow is
    /// sent less at once, and over it those who have most to read are cut off.
    #[must_use]
    pub fn max_outgoing_bytes(mut self, bytes: usize) -> Self {
        self.config.max_outgoing_bytes = bytes;
        self
    }

    /// How many bytes of the store's disk stay free; [`DEFAULT_MIN_FREE_BYTES`](Self::DEFAULT_MIN_FREE_BYTES) if nothing is said.
    /// With less, entries are refused as by a relay that [drains](Relay::drain), and what is there is served; they are taken again
    /// when an eighth more is free. A disk that fills up all the same is a failure of the store. 0 for no reserve. Looked at is
    /// the file system, on Unix alone, not what a quota leaves.
    #[must_use]
    pub fn min_free_bytes(mut self, bytes: u64) -> Self {
        self.min_free_bytes = bytes;
        self
    }

    /// Who tells how many bytes are free where the store is, or `None` where that cannot be told: for [a store](Self::store) of
    /// one's own, where nobody else knows, or a disk with a quota. Asked once when the relay is opened, and then on the store's
    /// thread, once a second, and up to ten times a second while entries are taken. It must not panic.
    #[must_use]
    pub fn free_space(mut self, free: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Self {
        self.free_space = Some(Arc::new(free));
        self
    }

    /// Takes no plain contexts: whoever runs this relay, or breaks into it, can read nothing of what it carries.
    #[must_use]
    pub fn without_plain(mut self) -> Self {
        self.owners = self.owners.without_plain();
        self
    }

    /// The node's limits, all of them: what [`max_context_bytes`](Self::max_context_bytes) and
    /// [`max_outgoing_bytes`](Self::max_outgoing_bytes) said before counts no more. A relay accepts contexts whatever they say.
    #[must_use]
    pub fn config(mut self, config: NodeConfig) -> Self {
        self.config = config;
        self
    }

    /// The relay side of another plugin. It comes before those of single owners and groups, which every relay has.
    #[must_use]
    pub fn strategy(mut self, strategy: impl PartitionStrategy) -> Self {
        self.strategies.push(Box::new(strategy));
        self
    }

    /// Shows every frame that comes or goes, without its channel's encryption: for tests that look for what a relay must
    /// not see, or must not tell.
    #[must_use]
    pub fn tap(mut self, tap: impl Fn(&Tapped<'_>) + Send + Sync + 'static) -> Self {
        self.tap = Some(Arc::new(tap));
        self
    }

    /// Another transport than WebSockets.
    #[must_use]
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.transports.add(Arc::new(transport));
        self
    }

    /// Another store than the redb file at the path. It is opened with a fresh incarnation. The relay's key stays in the
    /// file beside the path; it is made if it is not there and the store is empty.
    #[must_use]
    pub fn store(
        mut self,
        open: impl FnOnce(Incarnation) -> Result<Arc<dyn Store>, StoreError> + Send + 'static,
    ) -> Self {
        self.store = Some(Box::new(open));
        self
    }

    /// Who is told numbers, beside the metrics. May be called more than once.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observers.push(Arc::new(observer));
        self
    }

    /// An address such as `127.0.0.1:9464` on which an HTTP server shows `/metrics` in Prometheus' text format, `/healthz` and
    /// `/readyz`; port 0 takes a free one. Nothing there is secret and nobody is asked who he is: keep it from strangers.
    #[must_use]
    pub fn metrics(mut self, address: impl Into<String>) -> Self {
        self.metrics = Some(address.into());
        self
    }

    /// Opens the relay. Its store is made if it is not there, and with it its key, beside it (`<path>.key`); a store without
    /// its key is an error, because a relay with another id is another relay to everyone who pinned it. Where the store is
    /// [another](Self::store), that is one that holds something.
    ///
    /// # Errors
    /// [`RelayError`].
    pub async fn open(mut self) -> Result<Relay, RelayError> {
        let mut bytes = [0; 16];
        SystemRandom.fill_bytes(&mut bytes);
        let incarnation = Incarnation::from_bytes(bytes);
        let (path, maker) = (self.path.clone(), self.store.take());
        let free_space = self.free_space.take().or_else(|| maker.is_none().then(|| room::beside(&path)));
        let mut room = Room::new(self.min_free_bytes, free_space);
        let opening = move || -> Result<_, RelayError> {
            let (keys, store) = open_files(&path, maker, incarnation)?;
            let free = room.look();
            Ok((keys, store, room, free))
        };
        let (keys, store, room, free) = tokio::task::spawn_blocking(opening)
            .await
            .map_err(|_| StoreError::Damaged("opening it panicked".into()))??;
        let listener = self.transports.of(&self.listen)?.listen(&self.listen).await?;
        let address = listener.address();
        let http = match &self.metrics {
            Some(address) => Some(http::bind(address).await?),
            None => None,
        };
        let metrics = Arc::new(Metrics::default());
        if http.is_some() {
            self.observers.push(metrics.clone());
        }
        metrics.room(free, room.is_short());
        if room.is_short() {
            tracing::warn!(free, reserve = room.reserve(), "{SHORT}");
        }
        self.strategies.push(Box::new(self.owners));
        self.strategies.push(Box::new(GroupRelay::new()));
        let drains = !self.config.takes_entries;
        let takes_entries = !drains && !room.is_short();
        let node = NodeParts {
            config: NodeConfig { accept_contexts: true, takes_entries, ..self.config },
            identity: LocalIdentity { key: Arc::new(keys.signing), incarnation },
            strategies: self.strategies,
            rng: Box::new(SystemRandom),
        };
        let (failed, failure) = watch::channel(None);
        let host = RelayHost::new(failed, room, drains, metrics.clone());
        let observer: Arc<dyn Observer> = Arc::new(self.observers);
        let driver = Driver::start(DriverParts { node, store, host, tap: self.tap, observer })?;
        let url = RelayUrl { address, replica: Some(driver.replica()) };
        let (listens, listening) = watch::channel(true);
        let (stop, stopped) = oneshot::channel();
        let accepting = tokio::spawn(accept(driver.clone(), listener, self.max_connections, stopped, Listens(listens)));
        let (draining, draining_now) = watch::channel(false);
        let mut metrics_address = None;
        let serving = http.map(|server| {
            metrics_address = Some(server.address());
            let readiness = Readiness::new(driver.clone(), failure.clone(), draining_now, listening.clone());
            tokio::spawn(server.serve(Arc::new(Pages { metrics, readiness })))
        });
        let stop = Some(stop);
        Ok(Relay { driver, draining, url, stop, accepting, failure, listening, serving, metrics_address })
    }
}

/// The relay's keys and its store. Blocks.
fn open_files(
    path: &Path,
    maker: Option<StoreMaker>,
    incarnation: Incarnation,
) -> Result<(DeviceKeys, Arc<dyn Store>), RelayError> {
    let Some(maker) = maker else {
        let is_new = !path.exists();
        let keys = relay_keys(path, || Ok(is_new))?;
        let store: Arc<dyn Store> = Arc::new(RedbStore::open(path, incarnation)?);
        return Ok((keys, store));
    };
    // Nothing but the store itself says whether it is new.
    let store = maker(incarnation)?;
    let keys = relay_keys(path, || is_empty(&*store))?;
    Ok((keys, store))
}

fn is_empty(store: &dyn Store) -> Result<bool, StoreError> {
    let mut is_empty = true;
    store.read()?.scan(&[], &mut |_name, _record| {
        is_empty = false;
        ControlFlow::Break(())
    })?;
    Ok(is_empty)
}

/// Says that nobody listens any more when it is dropped: however that came about, also where the task panicked.
struct Listens(watch::Sender<bool>);

impl Drop for Listens {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

async fn accept(
    driver: DriverHandle<Command>,
    listener: Box<dyn Listener>,
    most: usize,
    stopped: oneshot::Receiver<()>,
    _listens: Listens,
) {
    // Stopped is also what a relay is that was dropped.
    if let Err(error) = accept_until(driver, listener, most, stopped).await {
        tracing::error!(%error, "the listener broke");
    }
}

/// The key beside the store; made with the store, and only then.
fn relay_keys(store: &Path, is_new: impl FnOnce() -> Result<bool, StoreError>) -> Result<DeviceKeys, RelayError> {
    let path = store.with_added_extension("key");
    let missing = match FileKeystore::open(&path).and_then(|keystore| DeviceKeys::load(&keystore)) {
        Err(missing @ KeystoreError::Missing(_)) => missing,
        keys => return Ok(keys?),
    };
    if !is_new()? {
        return Err(missing.into());
    }
    let fill = |keystore: &dyn Keystore| DeviceKeys::create(keystore, &mut SystemRandom).map(drop);
    if path.exists() {
        // An earlier version's first start ended between the file and what goes into it. Nobody has seen a key yet.
        fill(&FileKeystore::open(&path)?)?;
    } else if let Err(error) = FileKeystore::create_with(&path, fill)
        && !matches!(error, KeystoreError::Exists(_))
    {
        return Err(error.into());
    }
    // Another start may have been faster: then its key is the relay's.
    Ok(DeviceKeys::load(&FileKeystore::open(&path)?)?)
}
