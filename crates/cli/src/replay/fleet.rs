//! One owner's replicas and a relay, in a temporary folder.

use std::{path::PathBuf, sync::Arc};

use partita::{
    Context, Document, DocumentError, Engine, FileKeystore, SystemRandom,
    single_owner::{Mnemonic, SingleOwner},
};
use partita_core::{ContextId, DocumentId, Incarnation, Store as _};
use partita_redb::RedbStore;
use partita_relay::Relay;
use tempfile::TempDir;

use super::{
    counting::{Counting, Wire},
    script::{Script, unusable},
};
use crate::error::CliError;

/// The open replicas, each connected to the relay.
pub(crate) struct Fleet {
    folder: TempDir,
    relay: Relay,
    engines: Vec<Engine>,
    pub(crate) context: ContextId,
    pub(crate) wire: Arc<Wire>,
}

/// Closed replicas and what they left on disk.
pub(crate) struct Closed {
    folder: TempDir,
    replicas: usize,
}

impl Fleet {
    pub(crate) async fn open(replicas: usize) -> Result<Self, CliError> {
        let folder = tempfile::tempdir().map_err(CliError::io("cannot make a temporary folder"))?;
        let (listen, store) = ("ws://127.0.0.1:0", folder.path().join("relay"));
        let relay = Relay::builder(&store).listen(listen).open().await;
        let relay = relay.map_err(|error| CliError::Relay { listen: listen.to_owned(), store, error })?;
        let wire = Arc::new(Wire::default());
        let mut engines = Vec::with_capacity(replicas);
        let mut words = None;
        for replica in 0..replicas {
            let path = store_path(&folder, replica);
            let owner = enrol(&path, &mut words)?;
            let builder = Engine::builder(path).strategy(owner).transport(Counting::new(wire.clone()));
            engines.push(builder.connect(relay.url().to_string()).open().await?);
        }
        let own = engines.first().ok_or_else(|| CliError::Change("there are no replicas".into()))?;
        let context = own.with_strategy::<SingleOwner, _>(|owner, _| owner.context()).await?;
        Ok(Self { folder, relay, engines, context, wire })
    }

    /// Makes a document with the text on the first replica, and waits until all have it.
    pub(crate) async fn share<S: Script>(&self, start: &str) -> Result<(Vec<Document<S>>, S::Mark), CliError> {
        let mut docs: Vec<Document<S>> = Vec::with_capacity(self.engines.len());
        let mut base = None;
        for engine in &self.engines {
            let context = engine.context(self.context).await?;
            if let (Some(first), Some(base)) = (docs.first(), &base) {
                let doc = arrive::<S>(engine, &context, first.id()).await?;
                let ((), mut changes) = doc.subscribe(|_| ()).map_err(unusable)?;
                while !doc.try_read(|view| S::holds(view, &[base])).map_err(unusable)? {
                    changes.next().await;
                }
                docs.push(doc);
            } else {
                let doc = context.create::<S>().await?;
                base = Some(S::begin(&doc, start)?);
                docs.push(doc);
            }
        }
        base.map(|base| (docs, base)).ok_or_else(|| CliError::Change("there are no replicas".into()))
    }

    /// How many entries the context has.
    pub(crate) async fn entries(&self) -> Result<u64, CliError> {
        let Some(engine) = self.engines.first() else { return Ok(0) };
        let status = engine.status().await?;
        let context = status.contexts.iter().find(|context| context.info.id == self.context);
        Ok(context.map_or(0, |context| context.entries))
    }

    pub(crate) async fn close(self) -> Result<Closed, CliError> {
        let replicas = self.engines.len();
        for engine in self.engines {
            engine.close().await?;
        }
        self.relay.close().await;
        Ok(Closed { folder: self.folder, replicas })
    }
}

impl Closed {
    /// The replicas again, from their files alone: they connect to nobody.
    pub(crate) async fn reopen(&self) -> Result<Vec<Engine>, CliError> {
        let mut engines = Vec::with_capacity(self.replicas);
        for replica in 0..self.replicas {
            let path = store_path(&self.folder, replica);
            let owner = SingleOwner::open(&FileKeystore::open(path.with_added_extension("key"))?)?;
            engines.push(Engine::builder(path).strategy(owner).open().await?);
        }
        Ok(engines)
    }

    /// What each replica's store uses, without the free space in its file.
    pub(crate) fn store_bytes(&self) -> Result<Vec<u64>, CliError> {
        let used = |replica| {
            // Nobody writes under it.
            let store = RedbStore::open(store_path(&self.folder, replica), Incarnation::from_bytes([0; 16]))?;
            Ok(store.read()?.used_bytes()?)
        };
        (0..self.replicas).map(used).collect()
    }
}

fn store_path(folder: &TempDir, replica: usize) -> PathBuf {
    folder.path().join(format!("replica-{replica}"))
}

/// The first device begins with an owner, the others are certified by the owner's words.
fn enrol(path: &std::path::Path, words: &mut Option<Mnemonic>) -> Result<SingleOwner, CliError> {
    let keystore = FileKeystore::create(path.with_added_extension("key"))?;
    let Some(words) = words else {
        let (owner, mnemonic) = SingleOwner::create(&keystore, &mut SystemRandom)?;
        *words = Some(mnemonic);
        return Ok(owner);
    };
    let request = SingleOwner::request(&keystore, &mut SystemRandom)?;
    SingleOwner::accept(&keystore, &SingleOwner::certify(words, &request))?;
    Ok(SingleOwner::open(&keystore)?)
}

/// Waits until a document has come, with the key that opens it.
async fn arrive<S: Script>(engine: &Engine, context: &Context, id: DocumentId) -> Result<Document<S>, CliError> {
    let mut events = engine.events();
    loop {
        match context.get::<S>(id).await {
            Err(DocumentError::NotFound(_) | DocumentError::NoKey(_)) => {}
            found => return Ok(found?),
        }
        // Having missed some is as good a reason to look again.
        let _ = events.recv().await;
    }
}
