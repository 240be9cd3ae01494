//! One owner's devices at a relay: real engines, sockets and files, in this process.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use partita::{Context, Document, Engine, FileKeystore, SystemRandom, single_owner::SingleOwner};
use partita_core::{ContextId, DocumentId, DocumentType, Incarnation, Observation, Observer, Store as _};
use partita_crypto::Mnemonic;
use partita_redb::RedbStore;
use partita_relay::Relay;
use tempfile::TempDir;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How long a step of a benchmark may take before it is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Counts the bytes that a device's connections carry, sealed, both ways together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traffic(Arc<AtomicU64>);

impl Traffic {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Observer for Traffic {
    fn observe(&self, seen: &Observation) {
        if let Observation::Received { bytes } | Observation::Sent { bytes, .. } = seen {
            self.0.fetch_add(*bytes as u64, Ordering::Relaxed);
        }
    }
}

/// A relay, the words of an owner, and a folder for everybody's files.
pub(crate) struct Household {
    folder: TempDir,
    relay: Relay,
    words: Mnemonic,
    pub(crate) context: ContextId,
}

impl Household {
    /// A relay and an owner's first device, which is connected to it.
    pub(crate) async fn found() -> Result<(Self, Engine), Failure> {
        let folder = tempfile::tempdir()?;
        let relay = Relay::builder(folder.path().join("relay")).listen("ws://127.0.0.1:0").open().await?;
        let keystore = FileKeystore::create(folder.path().join("a.key"))?;
        let (owner, words) = SingleOwner::create(&keystore, &mut SystemRandom)?;
        let household = Self { context: owner.context(), folder, relay, words };
        let first = household.open("a", Traffic::default()).await?;
        Ok((household, first))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// One more device's keys: it is certified and has never been opened.
    pub(crate) fn enroll(&self, name: &str) -> Result<(), Failure> {
        let keystore = FileKeystore::create(self.path(&format!("{name}.key")))?;
        let request = SingleOwner::request(&keystore, &mut SystemRandom)?;
        SingleOwner::accept(&keystore, &SingleOwner::certify(&self.words, &request))?;
        Ok(())
    }

    /// Opens a device that has keys.
    pub(crate) async fn open(&self, name: &str, traffic: Traffic) -> Result<Engine, Failure> {
        let owner = SingleOwner::open(&FileKeystore::open(self.path(&format!("{name}.key")))?)?;
        let builder = Engine::builder(self.path(name)).strategy(owner).connect(self.relay.url().to_string());
        Ok(builder.observer(traffic).open().await?)
    }

    /// The bytes that a closed device's store holds, and those of its file.
    pub(crate) fn size_of(&self, name: &str) -> Result<(u64, u64), Failure> {
        let store = RedbStore::open(self.path(name), Incarnation::from_bytes([0; 16]))?;
        Ok((store.read()?.used_bytes()?, store.file_bytes()?))
    }

    pub(crate) async fn close(self) {
        self.relay.close().await;
    }
}

/// A document as soon as a device has it.
pub(crate) async fn wait_for<T: DocumentType>(
    engine: &Engine,
    context: &Context,
    document: DocumentId,
) -> Result<Document<T>, Failure> {
    let mut events = engine.events();
    let found = async {
        loop {
            match context.get::<T>(document).await {
                Ok(found) => return found,
                // Whatever comes next may be it, or its key.
                Err(_) => drop(tokio::time::timeout(Duration::from_millis(100), events.recv()).await),
            }
        }
    };
    Ok(tokio::time::timeout(PATIENCE, found).await?)
}

/// Waits until a document shows something, and not longer than is sensible.
pub(crate) async fn until<T: DocumentType>(
    document: &Document<T>,
    shows: impl Fn(&T::View<'_>) -> bool,
) -> Result<(), Failure> {
    let (mut done, mut changes) = document.subscribe(&shows)?;
    while !done {
        tokio::time::timeout(PATIENCE, changes.next()).await?.ok_or("the engine closed")?;
        done = document.read(&shows);
    }
    Ok(())
}
