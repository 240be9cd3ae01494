//! Opening an engine.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use partita_core::{
    ContextInfo, CrdtType, CrdtTypeId, DeviceKeys, Incarnation, Keystore, Limits, Observer, PartitionStrategy, Store,
    Transport,
};
use partita_protocol::{NodeConfig, NodeParts, channel::LocalIdentity};
use partita_sync::{Driver, DriverHandle, DriverParts, FileKeystore, RelayUrl, SystemRandom, Transports};
use tokio::sync::broadcast;

use crate::{
    engine::{Engine, Shared},
    error::OpenError,
    events::EngineEvent,
    host::{Added, Command, EngineHost, HostParts},
    worker::{Worker, WorkerHandle},
};

/// So few entries with so few bytes are applied about as fast as a snapshot is loaded, which would have to be stored first.
const FEW: Added = Added { entries: 16, bytes: 4096 };

/// How many events wait for a slow reader before it misses some.
const EVENTS: usize = 4096;

/// What an engine is made of. See [`Engine::builder`].
pub struct Builder {
    path: PathBuf,
    store: Option<StoreMaker>,
    keystore: Option<Box<dyn Keystore>>,
    strategies: Vec<Box<dyn PartitionStrategy>>,
    types: BTreeMap<CrdtTypeId, Arc<dyn CrdtType>>,
    transports: Transports,
    connect: Vec<String>,
    listen: Vec<String>,
    contexts: Vec<ContextInfo>,
    config: NodeConfig,
    limits: Limits,
    observer: Arc<dyn Observer>,
    checkpoint_after: Option<u64>,
}

/// After how many entries a checkpoint is made by itself: see [`Builder::checkpoint_after`].
const CHECKPOINT_AFTER: u64 = 20_000;

type StoreMaker = Box<dyn FnOnce(Incarnation) -> Result<Arc<dyn Store>, partita_core::StoreError> + Send>;

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("path", &self.path).field("connect", &self.connect).finish_non_exhaustive()
    }
}

impl Builder {
    pub(crate) fn new(path: PathBuf) -> Self {
        let builder = Self {
            path,
            store: None,
            keystore: None,
            strategies: Vec::new(),
            types: shipped_types(),
            transports: Transports::default(),
            connect: Vec::new(),
            listen: Vec::new(),
            contexts: Vec::new(),
            config: NodeConfig::default(),
            limits: Limits::default(),
            observer: Arc::new(()),
            checkpoint_after: Some(CHECKPOINT_AFTER),
        };
        #[cfg(feature = "websocket")]
        let builder = builder.transport(partita_websocket::WebSocket::default());
        builder
    }

    /// Another store than the redb file at the path. It is opened with a fresh incarnation.
    #[must_use]
    pub fn store(
        mut self,
        open: impl FnOnce(Incarnation) -> Result<Arc<dyn Store>, partita_core::StoreError> + Send + 'static,
    ) -> Self {
        self.store = Some(Box::new(open));
        self
    }

    /// Another keystore than the file beside the store (its path with `.key`).
    #[must_use]
    pub fn keystore(mut self, keystore: impl Keystore + 'static) -> Self {
        self.keystore = Some(Box::new(keystore));
        self
    }

    /// A partition strategy. The first one that answers for a context's kind decides.
    #[must_use]
    pub fn strategy(mut self, strategy: impl PartitionStrategy) -> Self {
        self.strategies.push(Box::new(strategy));
        self
    }

    /// A CRDT type of your own. Automerge and yrs are there when their features are on.
    #[must_use]
    pub fn crdt(mut self, crdt: impl CrdtType) -> Self {
        self.types.insert(crdt.id(), Arc::new(crdt));
        self
    }

    /// A transport of your own. WebSockets are there when their feature is on.
    #[must_use]
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.transports.add(Arc::new(transport));
        self
    }

    /// A relay, or another device, to keep a connection to: `wss://relay.example.org#<relay id>`.
    #[must_use]
    pub fn connect(mut self, url: impl Into<String>) -> Self {
        self.connect.push(url.into());
        self
    }

    /// An address on which other replicas may connect to this engine.
    #[must_use]
    pub fn listen(mut self, url: impl Into<String>) -> Self {
        self.listen.push(url.into());
        self
    }

    /// A context beside those that the strategies bring along.
    #[must_use]
    pub fn context(mut self, info: ContextInfo) -> Self {
        self.contexts.push(info);
        self
    }

    /// The node's limits.
    #[must_use]
    pub fn config(mut self, config: NodeConfig) -> Self {
        self.config = config;
        self
    }

    /// What the validators of payloads allow.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Who is told numbers: commits, queues, bytes, refusals, how far remotes are behind.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Arc::new(observer);
        self
    }

    /// After about how many entries of a context a checkpoint of it is made by itself, by one of those who may write there;
    /// `None`: only [`Context::checkpoint`](crate::Context::checkpoint) and [`Engine::maintain`] make any. What others claim
    /// is compared and attested in any case.
    #[must_use]
    pub fn checkpoint_after(mut self, entries: Option<u64>) -> Self {
        self.checkpoint_after = entries;
        self
    }

    /// Opens the engine. Call it inside a tokio runtime: connections live there.
    ///
    /// # Errors
    /// [`OpenError`]. Nothing is running then, and nothing that was durable is touched.
    pub async fn open(self) -> Result<Engine, OpenError> {
        let urls = self.connect.iter().map(|url| url.parse::<RelayUrl>()).collect::<Result<Vec<_>, _>>()?;
        for url in &urls {
            self.transports.of(&url.address)?;
        }
        let keystore: Box<dyn Keystore> = match self.keystore {
            Some(keystore) => keystore,
            None => Box::new(FileKeystore::open(self.path.with_added_extension("key"))?),
        };
        let keys = Arc::new(DeviceKeys::load(&*keystore)?);
        let mut bytes = [0; 16];
        partita_crypto::rand_core::Rng::fill_bytes(&mut SystemRandom, &mut bytes);
        let incarnation = Incarnation::from_bytes(bytes);
        let (path, maker) = (self.path.clone(), self.store);
        let opened = tokio::task::spawn_blocking(move || open_store(path, maker, incarnation)).await;
        let store = opened.map_err(|_| partita_core::StoreError::Damaged("opening it panicked".into()))??;

        let mut listeners = Vec::new();
        for url in &self.listen {
            listeners.push(self.transports.of(url)?.listen(url).await?);
        }
        let ways = Ways::new();
        let worker = WorkerHandle::start(Worker::new(self.limits, store.clone(), ways.wake.clone()))?;
        let host = EngineHost::new(HostParts {
            types: self.types,
            keys: keys.clone(),
            events: ways.events.clone(),
            worker,
            wake: ways.wake.clone(),
            random: Box::new(SystemRandom),
            checkpoint_after: self.checkpoint_after,
            few: FEW,
            limits: self.limits,
            max_payload: self.config.max_payload,
            works_anywhere: self.strategies.iter().all(|strategy| strategy.never_waits()),
        });
        let node = NodeParts {
            config: self.config,
            identity: LocalIdentity { key: Arc::new(keys.signing.clone()), incarnation },
            strategies: self.strategies,
            rng: Box::new(SystemRandom),
        };
        let parts = DriverParts { node, store: store.clone(), host, tap: None, observer: self.observer };
        let driver = Driver::start(parts)?;
        ways.lead_to(&driver);
        let _ = driver.command(Command::Start(self.contexts));

        let shared = Shared::new(driver, store, ways, self.transports, Box::new(SystemRandom), self.limits);
        for listener in listeners {
            shared.accept(listener);
        }
        for url in urls {
            shared.connect(url)?;
        }
        Ok(Engine { shared })
    }
}

fn open_store(path: PathBuf, maker: Option<StoreMaker>, incarnation: Incarnation) -> Result<Arc<dyn Store>, OpenError> {
    if let Some(maker) = maker {
        return Ok(maker(incarnation)?);
    }
    #[cfg(feature = "redb")]
    {
        Ok(Arc::new(partita_redb::RedbStore::open(path, incarnation)?))
    }
    #[cfg(not(feature = "redb"))]
    {
        let _ = path;
        Err(OpenError::NoStore)
    }
}

/// The ways between an engine's parts, made before the driver that some of them lead to.
pub(crate) struct Ways {
    pub(crate) events: Events,
    /// From documents and their worker to the driver.
    pub(crate) wake: Arc<dyn Fn(Command) + Send + Sync>,
    /// The driver that `wake` leads to, once there is one.
    pub(crate) late: Arc<Mutex<Option<DriverHandle<Command>>>>,
}

impl Ways {
    pub(crate) fn new() -> Self {
        let late: Arc<Mutex<Option<DriverHandle<Command>>>> = Arc::default();
        let to_driver = late.clone();
        let wake = Arc::new(move |command| {
            let driver = to_driver.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(driver) = driver {
                let here = matches!(command, Command::Dirty { here: true, .. } | Command::Loaded { here: true, .. });
                let _ = if here { driver.command_here(command) } else { driver.command(command) };
            }
        });
        Self { events: broadcast::channel(EVENTS).0, wake, late }
    }

    pub(crate) fn lead_to(&self, driver: &DriverHandle<Command>) {
        *self.late.lock().unwrap_or_else(PoisonError::into_inner) = Some(driver.clone());
    }
}

/// The CRDT types that this build has.
pub(crate) fn shipped_types() -> BTreeMap<CrdtTypeId, Arc<dyn CrdtType>> {
    let types: [Arc<dyn CrdtType>; _] = [
        #[cfg(feature = "automerge")]
        Arc::new(partita_automerge::Automerge),
        #[cfg(feature = "yrs")]
        Arc::new(partita_yrs::Yrs),
    ];
    types.into_iter().map(|crdt| (crdt.id(), crdt)).collect()
}

pub(crate) type Events = broadcast::Sender<EngineEvent>;
