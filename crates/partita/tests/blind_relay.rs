//! The relay carries what it cannot read. The same look finds the canary where payloads are plain, so it can fail.
//! (A relay process's memory is searched in `crates/cli/tests/blind_relay.rs`.)

use std::sync::{Arc, Mutex};

use crate::common::{Device, Home, has, put};
use partita::{automerge::Automerge, single_owner::SingleOwner};
use partita_relay::Relay;

const CANARY: &str = "canary-5f0c8a1e-the-relay-must-not-read-this";

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

/// What a relay saw after its channels were opened, and what its store's file holds in the end.
async fn seen_by_relay(plain: bool) -> (Vec<u8>, Vec<u8>) {
    let home = Home::new();
    home.enrol("b");
    let frames: Arc<Mutex<Vec<u8>>> = Arc::default();
    let tap = frames.clone();
    let relay = Relay::builder(home.path().join("relay"))
        .transport(home.network.clone())
        .listen("mem://relay")
        .tap(move |seen| tap.lock().unwrap().extend_from_slice(seen.frame));
    let relay = relay.open().await.unwrap();
    let url = relay.url().to_string();
    let mut documents = Vec::new();
    let mut devices = Vec::new();
    for name in ["a", "b"] {
        let mut device = Device::of(home.builder(name, plain).connect(&url).open().await.unwrap()).await;
        if plain {
            let id = device.engine.with_strategy::<SingleOwner, _>(|owner, _| owner.plain_context()).await.unwrap();
            device.notes = device.engine.context(id).await.unwrap();
        }
        documents.push(match documents.first() {
            None => device.notes.create::<Automerge>().await.unwrap(),
            Some(first) => device.get::<Automerge>(partita::Document::id(first)).await,
        });
        devices.push(device);
    }
    put(&documents[0], "secret", CANARY).durable().await.unwrap();
    has(&documents[1], "secret").await;
    put(&documents[1], "answer", CANARY).durable().await.unwrap();
    has(&documents[0], "answer").await;
    for device in devices {
        device.notes.acknowledged().await.unwrap();
        device.engine.close().await.unwrap();
    }
    relay.close().await;
    let store = std::fs::read(home.path().join("relay")).unwrap();
    let frames = frames.lock().unwrap().clone();
    (frames, store)
}

/// Failure mode 4: what is to be sealed does not pass through as it is.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_sealed_can_be_read_at_the_relay() {
    let (frames, store) = seen_by_relay(false).await;
    assert!(!frames.is_empty() && !store.is_empty());
    assert!(!contains(&frames, CANARY), "in the frames after decryption");
    assert!(!contains(&store, CANARY), "in the store");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_look_finds_a_plain_payload() {
    let (frames, store) = seen_by_relay(true).await;
    assert!(contains(&frames, CANARY), "in the frames after decryption");
    assert!(contains(&store, CANARY), "in the store");
}
