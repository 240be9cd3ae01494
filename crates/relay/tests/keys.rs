//! A relay's key is made with its store, once, and never again.

#![allow(clippy::unwrap_used, clippy::panic)] // a failure here is a finding

use std::{path::Path, sync::Arc};

use partita_core::{Batch, Durability, Incarnation, Key, KeystoreError, Op, ReplicaId, Store as _};
use partita_relay::{Relay, RelayError};
use partita_testing::MemoryStore;

/// Opens a relay on a store of its own, and says who it is.
async fn open(path: &Path, disk: &MemoryStore) -> Result<ReplicaId, RelayError> {
    let disk = disk.reopen(disk.incarnation());
    let builder = Relay::builder(path).listen("ws://127.0.0.1:0");
    let relay = builder.store(move |incarnation| Ok(Arc::new(disk.reopen(incarnation)))).open().await?;
    let replica = relay.replica();
    relay.close().await;
    Ok(replica)
}

/// There is no file by which it could be seen that the store is not new.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_ones_own_that_holds_something_is_given_no_new_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay");
    let disk = MemoryStore::new(Incarnation::from_bytes([1; 16]));
    let replica = open(&path, &disk).await.unwrap();
    assert_eq!(open(&path, &disk).await.unwrap(), replica);
    let batch = Batch { ops: vec![Op::Put(Key::Meta("x"), "y".into())] };
    disk.commit(&batch, Durability::Durable).unwrap();
    assert_eq!(open(&path, &disk).await.unwrap(), replica);
    let key = path.with_added_extension("key");
    std::fs::remove_file(&key).unwrap();
    match open(&path, &disk).await {
        Err(RelayError::Keystore(KeystoreError::Missing(_))) => {}
        other => panic!("{other:?}"),
    }
    assert!(!key.exists(), "and none was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_ended_before_its_key_was_in_the_file_is_made_up_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay");
    partita_sync::FileKeystore::create(path.with_added_extension("key")).unwrap();
    let disk = MemoryStore::new(Incarnation::from_bytes([1; 16]));
    let replica = open(&path, &disk).await.unwrap();
    assert_eq!(open(&path, &disk).await.unwrap(), replica);
}
