//! People who share a group: their stores and keystores, and a relay, over a network in memory.

#![allow(dead_code, unreachable_pub)] // each test file uses its part

use std::{path::Path, sync::Arc};

use partita::{
    Context, Document, DocumentError, Engine, FileKeystore, SystemRandom,
    automerge::Automerge,
    core::{ContextId, DocumentId, ReplicaId, Turn},
    group::{Group, Invitation, Policy, Terms},
};
use partita_relay::Relay;
use partita_testing::network::MemoryNetwork;
use tempfile::TempDir;

use crate::common::patiently;

pub struct Town {
    pub folder: TempDir,
    pub network: MemoryNetwork,
}

pub struct Person {
    pub engine: Engine,
    pub group: Context,
}

impl Town {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), network: MemoryNetwork::default() }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub async fn relay(&self) -> Relay {
        let relay = Relay::builder(self.path().join("relay")).transport(self.network.clone());
        relay.listen("mem://relay").open().await.unwrap()
    }

    pub fn keystore(&self, name: &str) -> Arc<FileKeystore> {
        let path = self.path().join(name).with_extension("key");
        Arc::new(if path.exists() { FileKeystore::open(path).unwrap() } else { FileKeystore::create(path).unwrap() })
    }

    pub fn found(&self, name: &str, policy: Policy) -> Group {
        Group::create(self.keystore(name), &mut SystemRandom, "garden", policy).unwrap()
    }

    pub async fn start(&self, name: &str, group: Group, urls: &[&str]) -> Person {
        let id = group.context();
        let builder = Engine::builder(self.path().join(name)).strategy(group).transport(self.network.clone());
        let builder = urls.iter().fold(builder, |builder, url| builder.connect(*url));
        let engine = builder.open().await.unwrap();
        let group = engine.context(id).await.unwrap();
        Person { engine, group }
    }

    pub async fn again(&self, name: &str, id: ContextId, urls: &[&str]) -> Person {
        let group = Group::open(self.keystore(name), &id).unwrap();
        self.start(name, group, urls).await
    }

    pub async fn join(&self, name: &str, invitation: &str, urls: &[&str]) -> Person {
        let invitation: Invitation = invitation.parse().unwrap();
        let group = Group::join(self.keystore(name), &mut SystemRandom, &invitation).unwrap();
        self.start(name, group, urls).await
    }
}

impl Person {
    pub async fn ask<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Group, &mut Turn<'_>) -> R + Send + 'static,
    ) -> R {
        self.engine.with_strategy::<Group, R>(call).await.unwrap()
    }

    pub async fn invite(&self, terms: Terms) -> String {
        self.ask(move |group, turn| group.invite(turn, terms)).await.unwrap().text().to_string()
    }

    pub fn replica(&self) -> ReplicaId {
        self.engine.replica()
    }

    /// Waits until the group, as it is known here, is as wanted.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Group) -> bool + Clone + Send + 'static) {
        let mut events = self.engine.events();
        patiently(what, async {
            loop {
                let wanted = wanted.clone();
                if self.ask(move |group, _| wanted(group)).await {
                    return;
                }
                let _ = events.recv().await;
            }
        })
        .await;
    }

    pub async fn get(&self, id: DocumentId) -> Document<Automerge> {
        let mut events = self.engine.events();
        patiently("a document", async {
            loop {
                match self.group.get(id).await {
                    Ok(document) => return document,
                    Err(DocumentError::NotFound(_) | DocumentError::NoKey(_)) => {}
                    Err(error) => panic!("{error}"),
                }
                let _ = events.recv().await;
            }
        })
        .await
    }

    pub async fn relayed(&self) {
        patiently("the relay's word", self.engine.acknowledged(None)).await.unwrap();
    }
}
