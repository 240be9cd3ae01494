//! Stores that earlier versions wrote, each with its keys and what was in it. Users trust this with years of their notes: a
//! store that was ever written opens, reads as it did, and is written on.
//!
//! The stores lie in `old_stores/`, one folder each, and are never changed; `old_stores/write.rs` makes a new one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is a finding

#[path = "old_stores/look.rs"]
mod look;

use std::{fs, path::PathBuf};

use automerge::{ROOT, transaction::Transactable as _};
use look::{copy, look, open};
use partita::automerge::Automerge;

fn kept() -> Vec<PathBuf> {
    let all = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/old_stores")).unwrap();
    let mut kept: Vec<PathBuf> = all.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    kept.sort_unstable();
    assert!(!kept.is_empty(), "there are no old stores: see old_stores/write.rs");
    kept
}

#[tokio::test(flavor = "multi_thread")]
async fn every_store_that_was_ever_written_opens_and_reads_as_it_did() {
    for store in kept() {
        let name = store.display();
        let expected = fs::read_to_string(store.join("expected.txt")).unwrap();
        let expected: Vec<&str> = expected.lines().collect();
        let folder = tempfile::tempdir().unwrap();
        copy(&store, folder.path()).unwrap();
        let (engine, contexts) = open(folder.path()).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let found = look(&engine, &contexts).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(found, expected, "{name}");

        // And it goes on: in each context, through another open.
        let mut written = Vec::new();
        for id in contexts {
            let context = engine.context(id).await.unwrap();
            let plan = context.create::<Automerge>().await.unwrap();
            plan.change(|tx| tx.put(ROOT, "new", "of today")).unwrap().durable().await.unwrap();
            written.push(format!("{id} {} new of today", plan.id()));
        }
        engine.close().await.unwrap();
        let (engine, contexts) = open(folder.path()).await.unwrap();
        let found = look(&engine, &contexts).await.unwrap();
        for line in expected.iter().map(|line| (*line).to_owned()).chain(written) {
            assert!(found.contains(&line), "{name}: {line} is gone");
        }
        engine.close().await.unwrap();
    }
}
