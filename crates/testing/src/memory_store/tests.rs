use super::*;
use crate::{
    samples::incarnation,
    store_conformance::{StoreHarness, store_conformance},
};

struct Harness(MemoryStore);

impl StoreHarness for Harness {
    fn open(&self, incarnation: Incarnation) -> Result<Box<dyn Store>, StoreError> {
        Ok(Box::new(self.0.reopen(incarnation)))
    }
}

#[test]
fn keeps_every_promise_of_a_store() {
    store_conformance(&|| Box::new(Harness(MemoryStore::new(incarnation(0))))).unwrap();
}

fn put(store: &MemoryStore, value: &'static str, durability: Durability) -> Result<(), StoreError> {
    store.commit(&Batch { ops: vec![Op::Put(Key::Meta("x"), value.into())] }, durability)
}

fn value(store: &MemoryStore) -> Option<Bytes> {
    store.read().unwrap().get(&Key::Meta("x")).unwrap()
}

#[test]
fn a_crash_takes_what_was_not_durable() {
    let store = MemoryStore::new(incarnation(1));
    put(&store, "kept", Durability::Durable).unwrap();
    put(&store, "lost", Durability::Eventual).unwrap();
    put(&store, "lost too", Durability::Eventual).unwrap();
    assert_eq!(value(&store).unwrap(), "lost too");
    let store = store.crash(incarnation(2));
    assert_eq!(value(&store).unwrap(), "kept");
    put(&store, "carried along", Durability::Eventual).unwrap();
    store.commit(&Batch::default(), Durability::Durable).unwrap();
    assert_eq!(value(&store.crash(incarnation(3))).unwrap(), "carried along");
}

#[test]
fn a_failed_commit_changes_nothing_and_a_copy_goes_its_own_way() {
    let store = MemoryStore::new(incarnation(1));
    put(&store, "before", Durability::Durable).unwrap();
    store.fail_next_commit(StoreError::OutOfSpace);
    assert_eq!(put(&store, "after", Durability::Durable), Err(StoreError::OutOfSpace));
    let copy = store.copy(incarnation(2));
    put(&store, "original", Durability::Durable).unwrap();
    assert_eq!(value(&copy).unwrap(), "before");
    assert_eq!((store.incarnation(), copy.incarnation()), (incarnation(1), incarnation(2)));
}
