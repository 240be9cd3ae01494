//! One owner's devices and a relay, on real stores, over a network in memory that tests can cut.

#![allow(dead_code, unreachable_pub)] // each test file uses its part

use std::{future::Future, path::Path, time::Duration};

use partita::{
    Builder, Context, Document, DocumentError, Engine, FileKeystore, SystemRandom,
    automerge::Automerge,
    core::{DocumentId, DocumentType, ReplicaId},
    single_owner::{Mnemonic, SingleOwner},
};
use partita_relay::Relay;
use partita_testing::network::MemoryNetwork;
use tempfile::TempDir;

/// Long enough for any honest run, short enough to see a hang.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A folder, a network and an owner.
pub struct Home {
    pub folder: TempDir,
    pub network: MemoryNetwork,
    pub mnemonic: Mnemonic,
}

/// One device: its name is its file's.
pub struct Device {
    pub engine: Engine,
    pub notes: Context,
}

impl Home {
    /// An owner whose first device is called `a`.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keystore = FileKeystore::create(folder.path().join("a.key")).unwrap();
        let (_, mnemonic) = SingleOwner::create(&keystore, &mut SystemRandom).unwrap();
        Self { folder, network: MemoryNetwork::default(), mnemonic }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Enrols another device, without any network.
    pub fn enrol(&self, name: &str) {
        let keystore = FileKeystore::create(self.path().join(name).with_extension("key")).unwrap();
        let request = SingleOwner::request(&keystore, &mut SystemRandom).unwrap();
        SingleOwner::accept(&keystore, &SingleOwner::certify(&self.mnemonic, &request)).unwrap();
    }

    pub async fn relay(&self, name: &str) -> Relay {
        let relay = Relay::builder(self.path().join(name)).transport(self.network.clone());
        relay.listen(format!("mem://{name}")).open().await.unwrap()
    }

    pub fn builder(&self, name: &str, plain: bool) -> Builder {
        let owner =
            SingleOwner::open(&FileKeystore::open(self.path().join(name).with_extension("key")).unwrap()).unwrap();
        let owner = if plain { owner.with_plain() } else { owner };
        Engine::builder(self.path().join(name)).strategy(owner).transport(self.network.clone())
    }

    /// Two devices of the owner at a relay.
    pub async fn pair(&self) -> (Relay, Device, Device) {
        self.enrol("b");
        let relay = self.relay("relay").await;
        let url = relay.url().to_string();
        let (a, b) = (self.open("a", &[&url]).await, self.open("b", &[&url]).await);
        (relay, a, b)
    }

    /// Opens an enrolled device that stays connected to these addresses.
    pub async fn open(&self, name: &str, urls: &[&str]) -> Device {
        let builder = urls.iter().fold(self.builder(name, false), |builder, url| builder.connect(*url));
        Device::of(builder.open().await.unwrap()).await
    }
}

impl Device {
    pub async fn of(engine: Engine) -> Self {
        let id = engine.with_strategy::<SingleOwner, _>(|owner, _| owner.context()).await.unwrap();
        let notes = engine.context(id).await.unwrap();
        Self { engine, notes }
    }

    pub fn replica(&self) -> ReplicaId {
        self.engine.replica()
    }

    /// Waits until a document is here and loads it.
    pub async fn get<T: DocumentType>(&self, id: DocumentId) -> Document<T> {
        let mut events = self.engine.events();
        patiently("a document", async {
            loop {
                match self.notes.get(id).await {
                    Ok(document) => return document,
                    Err(DocumentError::NotFound(_) | DocumentError::NoKey(_)) => {}
                    Err(error) => panic!("{error}"),
                }
                let _ = events.recv().await;
            }
        })
        .await
    }

    /// Waits until an event of the engine makes `wanted` true.
    pub async fn until<F: Future<Output = bool>>(&self, what: &str, mut wanted: impl FnMut() -> F) {
        let mut events = self.engine.events();
        patiently(what, async {
            while !wanted().await {
                let _ = events.recv().await;
            }
        })
        .await;
    }

    pub async fn revoke(&self, home: &Home, device: ReplicaId) {
        let mnemonic = home.mnemonic.clone();
        self.engine
            .with_strategy::<SingleOwner, _>(move |owner, turn| owner.revoke(turn, &mnemonic, device))
            .await
            .unwrap()
            .unwrap();
    }
}

pub async fn patiently<R>(what: &str, wanted: impl Future<Output = R>) -> R {
    match tokio::time::timeout(PATIENCE, wanted).await {
        Ok(found) => found,
        Err(_) => panic!("{what} did not come within {PATIENCE:?}"),
    }
}

/// Waits until a document shows what it should.
pub async fn shows<T: DocumentType>(document: &Document<T>, what: &str, wanted: impl Fn(&T::View<'_>) -> bool) {
    let (mut now, mut changes) = document.subscribe(&wanted).unwrap();
    patiently(what, async {
        while !now {
            changes.next().await.expect("the engine is open");
            now = document.read(&wanted);
        }
    })
    .await;
}

/// The string under a key of an automerge document.
pub fn string(doc: &automerge::Automerge, key: &str) -> Option<String> {
    use automerge::{ROOT, ReadDoc as _};
    doc.get(ROOT, key).unwrap().map(|(value, _)| value.into_string().unwrap())
}

pub fn put(document: &Document<Automerge>, key: &str, value: &str) -> partita::Commit<()> {
    use automerge::{ROOT, transaction::Transactable as _};
    document.change(|tx| tx.put(ROOT, key, value)).unwrap()
}

pub async fn has(document: &Document<Automerge>, key: &str) {
    shows(document, key, |doc| string(doc, key).is_some()).await;
}

/// Incompressible text, so that the change is as large on the wire as in memory.
pub fn noise(bytes: usize) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..bytes).map(|_| char::from(b' ' + (next() % 95) as u8)).collect()
}
