//! Sizes that hurt: one huge change, one long document, very many documents.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is a finding

mod common;

use common::{Home, has, noise, patiently, put, string};
use partita::automerge::Automerge;

/// Failure mode 44: no size of a change wedges anything, nor does a bad network with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_50_mb_syncs_over_a_link_that_is_cut_every_5_mb() {
    let home = Home::new();
    home.enrol("b");
    let relay = home.relay("relay").await;
    let url = relay.url().to_string();
    let a = home.open("a", &[]).await;
    let plan = a.notes.create::<Automerge>().await.unwrap();
    let huge = noise(50_000_000);
    put(&plan, "huge", &huge).durable().await.unwrap();
    a.engine.close().await.unwrap();

    home.network.cut_every(5_000_000);
    let a = home.open("a", &[&url]).await;
    let b = home.open("b", &[&url]).await;
    // Connections back off after a cut; the application says each time that the network is back.
    let (again_a, again_b) = (a.engine.clone(), b.engine.clone());
    let (mut events_a, mut events_b) = (a.engine.events(), b.engine.events());
    let awake = tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = events_a.recv() => again_a.network_is_back(),
                _ = events_b.recv() => again_b.network_is_back(),
            }
        }
    });
    let plan_b = b.get::<Automerge>(plan.id()).await;
    has(&plan_b, "huge").await;
    plan_b.read(|doc| assert!(string(doc, "huge").as_deref() == Some(&huge), "it came whole"));
    awake.abort();
    home.network.stop_cutting();
    a.engine.close().await.unwrap();
    b.engine.close().await.unwrap();
    relay.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_of_100_000_entries_syncs() {
    const ENTRIES: u64 = 100_000;
    let home = Home::new();
    home.enrol("b");
    let a = home.open("a", &[]).await;
    let plan = a.notes.create::<Automerge>().await.unwrap();
    let entries = |status: partita::Status| status.contexts.iter().map(|context| context.entries).sum::<u64>();
    let mut number = 0;
    while entries(a.engine.status().await.unwrap()) < ENTRIES {
        // The engine puts a burst into few entries: a question to it, and a change is in one of its own.
        for _ in 0..100 {
            drop(put(&plan, &format!("key {}", number % 1_000), &number.to_string()));
            number += 1;
            a.engine.status().await.unwrap();
        }
    }
    put(&plan, "the last", "x").durable().await.unwrap();
    a.engine.close().await.unwrap();

    let relay = home.relay("relay").await;
    let url = relay.url().to_string();
    let a = home.open("a", &[&url]).await;
    let b = home.open("b", &[&url]).await;
    let plan_b = b.get::<Automerge>(plan.id()).await;
    has(&plan_b, "the last").await;
    assert!(entries(b.engine.status().await.unwrap()) >= ENTRIES);
    let plan = a.get::<Automerge>(plan.id()).await;
    assert_eq!(plan.digest(), plan_b.digest());
    a.engine.close().await.unwrap();
    b.engine.close().await.unwrap();
    relay.close().await;
}

/// Failure mode 45: more documents than are ever in memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_with_10_000_documents_opens_without_loading_them() {
    let home = Home::new();
    let a = home.open("a", &[]).await;
    let first = a.notes.create::<Automerge>().await.unwrap();
    put(&first, "title", "the first").durable().await.unwrap();
    for _ in 1..10_000 {
        drop(a.notes.create::<Automerge>().await.unwrap());
    }
    a.engine.close().await.unwrap();
    let a = patiently("the engine", home.open("a", &[])).await;
    assert_eq!(a.engine.status().await.unwrap().loaded_documents, 0);
    assert_eq!(a.notes.documents().await.unwrap().len(), 10_000);
    let again = a.notes.get::<Automerge>(first.id()).await.unwrap();
    has(&again, "title").await;
    assert_eq!(a.engine.status().await.unwrap().loaded_documents, 1);
    a.engine.close().await.unwrap();
}
