//! How systems of this kind have failed, where that could happen in the engine; the numbers are those of
//! `docs/failure-modes.md`.

use std::sync::{
    Arc, Condvar, Mutex,
    atomic::{AtomicBool, Ordering},
};

use crate::common::{Device, Home, has, patiently, put, string};
use partita::{
    CheckpointError, CommitError, EngineError,
    automerge::Automerge,
    core::{Batch, ContextId, Durability, Incarnation, Op, Store, StoreError, StoreRead, Turn},
    single_owner::SingleOwner,
};
use partita_testing::MemoryStore;

/// Failure mode 33: waiting to be caught up ends when everything that a remote has is here, and not for want of a remote.
#[tokio::test(flavor = "multi_thread")]
async fn to_be_caught_up_means_that_somebody_was_met_and_everything_is_here() {
    const DOCUMENTS: usize = 50;
    let home = Home::new();
    home.enrol("b");
    let relay = home.relay("relay").await;
    let url = relay.url().to_string();
    let a = home.open("a", &[&url]).await;
    for n in 0..DOCUMENTS {
        drop(put(&a.notes.create::<Automerge>().await.unwrap(), "title", &n.to_string()));
    }
    a.notes.acknowledged().await.unwrap();
    let b = home.open("b", &[]).await;
    let caught_up = b.notes.caught_up();
    tokio::pin!(caught_up);
    tokio::select! {
        biased; // it is asked before, so it is answered before
        done = &mut caught_up => panic!("it has met nobody: {done:?}"),
        status = b.engine.status() => assert_eq!(status.unwrap().sessions.len(), 0),
    }
    let _connection = b.engine.connect(&url).unwrap();
    patiently("everything", caught_up).await.unwrap();
    assert_eq!(b.notes.documents().await.unwrap().len(), DOCUMENTS, "at once, without waiting any longer");
    a.engine.close().await.unwrap();
    b.engine.close().await.unwrap();
    relay.close().await;
}

/// A store whose commits of entries wait for leave, one by one, once it is told so.
struct Slow(MemoryStore, Gate);

#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<Waiting>, Condvar)>);

#[derive(Default)]
struct Waiting {
    shut: bool,
    leave: usize,
    waits: bool,
}

impl Gate {
    fn set(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    /// Waits until a commit waits here.
    fn waits(&self) {
        let waiting = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(waiting, |waiting| !waiting.waits).unwrap());
    }

    fn pass(&self) {
        self.set(|waiting| waiting.waits = true);
        let waiting = self.0.0.lock().unwrap();
        let mut waiting = self.0.1.wait_while(waiting, |waiting| waiting.shut && waiting.leave == 0).unwrap();
        waiting.waits = false;
        waiting.leave = waiting.leave.saturating_sub(1);
    }
}

impl Store for Slow {
    fn incarnation(&self) -> Incarnation {
        self.0.incarnation()
    }

    fn read(&self) -> Result<Box<dyn StoreRead + '_>, StoreError> {
        self.0.read()
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
        if batch.ops.iter().any(|op| matches!(op, Op::Append(_))) {
            self.1.pass();
        }
        self.0.commit(batch, durability)
    }
}

/// Failure mode 42: that an earlier edit was written says nothing of one that was made while it was.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_made_while_another_is_written_waits_for_its_own_transaction() {
    let (home, gate) = (Home::new(), Gate::default());
    let there = gate.clone();
    let builder = home.builder("a", false);
    let builder = builder.store(move |incarnation| Ok(Arc::new(Slow(MemoryStore::new(incarnation), there))));
    let a = Device::of(builder.open().await.unwrap()).await;
    let document = a.notes.create::<Automerge>().await.unwrap();
    put(&document, "title", "before").durable().await.unwrap();
    gate.set(|waiting| waiting.shut = true);
    let first = put(&document, "first", "being written");
    gate.waits();
    let second = put(&document, "second", "made meanwhile");
    // The engine has taken it: whatever is said of it now is said of this edit.
    a.engine.status().await.unwrap();
    gate.set(|waiting| waiting.leave = 1);
    patiently("the first edit", first.durable()).await.unwrap();
    let second = second.durable();
    tokio::pin!(second);
    tokio::select! {
        biased;
        done = &mut second => panic!("it is not written: {done:?}"),
        () = std::future::ready(()) => {}
    }
    gate.set(|waiting| waiting.shut = false);
    patiently("the second edit", second).await.unwrap();
    a.engine.close().await.unwrap();
}

/// A store whose commits panic once it is told so.
struct Buggy(MemoryStore, Arc<AtomicBool>);

impl Store for Buggy {
    fn incarnation(&self) -> Incarnation {
        self.0.incarnation()
    }

    fn read(&self) -> Result<Box<dyn StoreRead + '_>, StoreError> {
        self.0.read()
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
        assert!(!self.1.load(Ordering::SeqCst), "a bug of the store");
        self.0.commit(batch, durability)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_panics_is_a_failure_of_which_everybody_is_told() {
    let (home, panics) = (Home::new(), Arc::new(AtomicBool::new(false)));
    let there = panics.clone();
    let builder = home.builder("a", false);
    let builder = builder.store(move |incarnation| Ok(Arc::new(Buggy(MemoryStore::new(incarnation), there))));
    let a = Device::of(builder.open().await.unwrap()).await;
    let document = a.notes.create::<Automerge>().await.unwrap();
    put(&document, "title", "before").durable().await.unwrap();
    panics.store(true, Ordering::SeqCst);
    let lost = patiently("an answer", put(&document, "title", "lost").durable()).await;
    assert!(matches!(lost, Err(CommitError::Store(StoreError::Damaged(_)))), "{lost:?}");
    let checkpoint = patiently("an answer", a.notes.checkpoint()).await;
    assert!(matches!(checkpoint, Err(CheckpointError::Store(StoreError::Damaged(_)))), "{checkpoint:?}");
    let closed = patiently("the end", a.engine.close()).await;
    assert!(matches!(closed, Err(EngineError::Store(StoreError::Damaged(_)))), "{closed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_a_closure_of_the_application_ended_is_not_said_to_have_closed_well() {
    let home = Home::new();
    let a = home.open("a", &[]).await;
    let document = a.notes.create::<Automerge>().await.unwrap();
    let _on_its_way = put(&document, "title", "x");
    let bug = |owner: &mut SingleOwner, _: &mut Turn<'_>| {
        assert_eq!(owner.context(), ContextId::from_bytes([0; 32]), "a bug of the application");
    };
    assert!(patiently("an answer", a.engine.with_strategy(bug)).await.is_err());
    let closed = patiently("the end", a.engine.close()).await;
    assert!(matches!(closed, Err(EngineError::Store(_))), "{closed:?}");
}

/// Failure mode 42: an edit made while earlier ones are being written is written too, whenever it comes.
#[tokio::test(flavor = "multi_thread")]
async fn no_edit_is_taken_for_written_with_an_earlier_one() {
    const WRITERS: usize = 4;
    const EDITS: usize = 250;
    let home = Home::new();
    let a = home.open("a", &[]).await;
    let document = a.notes.create::<Automerge>().await.unwrap();
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let document = document.clone();
        writers.push(tokio::spawn(async move {
            for edit in 0..EDITS {
                // Each third one waits, so that the others meet a transaction in every state.
                let commit = put(&document, &format!("{writer}"), &edit.to_string());
                if edit % 3 == 0 {
                    patiently("the disk", commit.durable()).await.unwrap();
                }
            }
            patiently("the disk", put(&document, &format!("{writer} done"), "yes").durable()).await.unwrap();
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let id = document.id();
    a.engine.close().await.unwrap();
    let a = home.open("a", &[]).await;
    let document = a.notes.get::<Automerge>(id).await.unwrap();
    for writer in 0..WRITERS {
        let last = document.read(|doc| string(doc, &format!("{writer}")));
        assert_eq!(last, Some((EDITS - 1).to_string()));
        assert!(document.read(|doc| string(doc, &format!("{writer} done"))).is_some());
    }
    a.engine.close().await.unwrap();
}

/// Failure mode 45: more documents than stay loaded, on both sides: the first ones go on as the last ones do.
#[tokio::test(flavor = "multi_thread")]
async fn documents_past_the_size_of_the_cache_go_on() {
    const DOCUMENTS: usize = 2_400;
    let home = Home::new();
    home.enrol("b");
    let relay = home.relay("relay").await;
    let url = relay.url().to_string();
    let (a, b) = (home.open("a", &[&url]).await, home.open("b", &[&url]).await);
    let mut ids = Vec::new();
    for n in 0..DOCUMENTS {
        let document = a.notes.create::<Automerge>().await.unwrap();
        drop(put(&document, "title", &n.to_string()));
        ids.push(document.id());
    }
    // Every document once more, when all of them are there and most are not loaded any more.
    for id in &ids {
        let copy = b.get::<Automerge>(*id).await;
        has(&copy, "title").await;
        drop(put(&copy, "read", "yes"));
    }
    for id in ids {
        let document = a.notes.get::<Automerge>(id).await.unwrap();
        has(&document, "read").await;
    }
    let loaded = a.engine.status().await.unwrap().loaded_documents;
    assert!(loaded < DOCUMENTS / 2, "{loaded} documents are loaded: the test shows nothing");
    a.engine.close().await.unwrap();
    b.engine.close().await.unwrap();
    relay.close().await;
}
