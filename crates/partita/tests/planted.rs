//! What is planted in documents and plugins changes what they do. `--features planted`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is a finding

mod common;
mod spoiler;
mod town;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use common::{Device, Home, has, put, string};
use partita::{
    Document, Engine, FileKeystore,
    automerge::Automerge,
    core::planted::{Bug, plant_in_all_threads},
    group::Policy,
    single_owner::SingleOwner,
};
use spoiler::Spoiler;
use town::Town;

const CANARY: &str = "canary-e27b0d19-nobody-without-a-key-reads-this";

/// One after the other: the whole process has the bug.
#[tokio::test(flavor = "multi_thread")]
async fn each_bug_of_the_engine_breaks_its_law() {
    assert!(what_cannot_be_opened_holds_up_nothing().await);
    assert!(nothing_is_missing_behind_a_snapshot().await);
    assert!(an_owners_store_is_sealed().await);
    assert!(a_groups_store_is_sealed().await);
    plant_in_all_threads(Some(Bug::SetAsideBlocks));
    assert!(!what_cannot_be_opened_holds_up_nothing().await);
    plant_in_all_threads(Some(Bug::SnapshotAhead));
    assert!(!nothing_is_missing_behind_a_snapshot().await);
    plant_in_all_threads(Some(Bug::SealSkipped));
    assert!(!an_owners_store_is_sealed().await);
    assert!(!a_groups_store_is_sealed().await);
    plant_in_all_threads(None);
}

async fn what_cannot_be_opened_holds_up_nothing() -> bool {
    let home = Home::new();
    home.enrol("b");
    home.enrol("c");
    let relay = home.relay("relay").await;
    let url = relay.url().to_string();
    let spoils = Arc::new(AtomicBool::new(false));
    let inner = SingleOwner::open(&FileKeystore::open(home.path().join("a.key")).unwrap()).unwrap();
    let spoiler = Spoiler { inner, spoils: spoils.clone(), under: Arc::default() };
    let builder = Engine::builder(home.path().join("a")).strategy(spoiler).transport(home.network.clone());
    let a = Device::of(builder.connect(&url).open().await.unwrap()).await;
    let b = home.open("b", &[&url]).await;
    let note = a.notes.create::<Automerge>().await.unwrap();
    put(&note, "before", "x").durable().await.unwrap();
    let at_b = b.get::<Automerge>(note.id()).await;
    has(&at_b, "before").await;
    spoils.store(true, SeqCst);
    put(&note, "spoilt", "x").durable().await.unwrap();
    a.notes.acknowledged().await.unwrap();
    put(&at_b, "behind it", "x").durable().await.unwrap(); // rests on nothing that cannot be opened
    b.notes.acknowledged().await.unwrap();
    let c = home.open("c", &[&url]).await;
    c.notes.caught_up().await.unwrap();
    let at_c = c.get::<Automerge>(note.id()).await; // all of it at once
    let there = at_c.read(|doc| string(doc, "behind it")).is_some();
    for device in [a, b, c] {
        device.engine.close().await.unwrap();
    }
    relay.close().await;
    there
}

/// Enough entries that a snapshot of the document is worth its while.
async fn fill(note: &Document<Automerge>) {
    for n in 0..20 {
        put(note, &n.to_string(), CANARY).durable().await.unwrap();
    }
}

async fn nothing_is_missing_behind_a_snapshot() -> bool {
    let home = Home::new();
    let a = home.open("a", &[]).await;
    let note = a.notes.create::<Automerge>().await.unwrap();
    fill(&note).await;
    a.engine.close().await.unwrap(); // makes one
    let a = home.open("a", &[]).await;
    let note = a.get::<Automerge>(note.id()).await;
    put(&note, "behind it", "x").durable().await.unwrap();
    std::fs::copy(home.path().join("a"), home.path().join("copy")).unwrap(); // as a crash leaves it
    a.engine.close().await.unwrap();
    std::fs::copy(home.path().join("copy"), home.path().join("a")).unwrap();
    let a = home.open("a", &[]).await;
    let note = a.get::<Automerge>(note.id()).await;
    let there = note.read(|doc| string(doc, "behind it")).is_some();
    a.engine.close().await.unwrap();
    there
}

fn is_sealed(file: &std::path::Path) -> bool {
    let stored = std::fs::read(file).unwrap();
    !stored.windows(CANARY.len()).any(|window| window == CANARY.as_bytes())
}

async fn an_owners_store_is_sealed() -> bool {
    let home = Home::new();
    let a = home.open("a", &[]).await;
    let note = a.notes.create::<Automerge>().await.unwrap();
    fill(&note).await;
    put(&note, "secret", CANARY).durable().await.unwrap();
    a.engine.close().await.unwrap();
    is_sealed(&home.path().join("a"))
}

async fn a_groups_store_is_sealed() -> bool {
    let town = Town::new();
    let ada = town.start("ada", town.found("ada", Policy::default()), &[]).await;
    let note = ada.group.create::<Automerge>().await.unwrap();
    fill(&note).await;
    put(&note, "secret", CANARY).durable().await.unwrap();
    ada.engine.close().await.unwrap();
    is_sealed(&town.path().join("ada"))
}
