//! The default store keeps every promise of a store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;

use partita_core::{Incarnation, Store, StoreError};
use partita_redb::RedbStore;
use partita_testing::store_conformance::{StoreHarness, store_conformance};
use tempfile::TempDir;

struct Harness(TempDir);

impl Harness {
    fn path(&self) -> PathBuf {
        self.0.path().join("store.partita")
    }
}

impl StoreHarness for Harness {
    fn open(&self, incarnation: Incarnation) -> Result<Box<dyn Store>, StoreError> {
        Ok(Box::new(RedbStore::open(self.path(), incarnation)?))
    }
}

#[test]
fn keeps_every_promise_of_a_store() {
    store_conformance(&|| Box::new(Harness(TempDir::new().unwrap()))).unwrap();
}
