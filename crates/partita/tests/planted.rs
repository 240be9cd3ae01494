//! What is planted in documents and plugins changes what they do. `--features planted`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is a finding

mod common;
mod town;

use common::{Home, put, string};
use partita::{
    automerge::Automerge,
    core::planted::{Bug, plant_in_all_threads},
    group::Policy,
};
use town::Town;

const CANARY: &str = "canary-e27b0d19-nobody-without-a-key-reads-this";

/// One after the other: the whole process has the bug.
#[tokio::test(flavor = "multi_thread")]
async fn each_bug_of_the_engine_breaks_its_law() {
    assert!(nothing_is_missing_behind_a_snapshot().await);
    assert!(an_owners_store_is_sealed().await);
    assert!(a_groups_store_is_sealed().await);
    plant_in_all_threads(Some(Bug::SnapshotAhead));
    assert!(!nothing_is_missing_behind_a_snapshot().await);
    plant_in_all_threads(Some(Bug::SealSkipped));
    assert!(!an_owners_store_is_sealed().await);
    assert!(!a_groups_store_is_sealed().await);
    plant_in_all_threads(None);
}

async fn nothing_is_missing_behind_a_snapshot() -> bool {
    let home = Home::new();
    let a = home.open("a", &[]).await;
    let note = a.notes.create::<Automerge>().await.unwrap();
    put(&note, "in the snapshot", "x").durable().await.unwrap();
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
    put(&note, "secret", CANARY).durable().await.unwrap();
    a.engine.close().await.unwrap();
    is_sealed(&home.path().join("a"))
}

async fn a_groups_store_is_sealed() -> bool {
    let town = Town::new();
    let ada = town.start("ada", town.found("ada", Policy::default()), &[]).await;
    let note = ada.group.create::<Automerge>().await.unwrap();
    put(&note, "secret", CANARY).durable().await.unwrap();
    ada.engine.close().await.unwrap();
    is_sealed(&town.path().join("ada"))
}
