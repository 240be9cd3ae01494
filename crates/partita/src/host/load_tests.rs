//! Loading in every order that matters, with an engine whose parts work when they are told.
#![allow(clippy::unwrap_used, clippy::panic)] // a failure here is a finding

use std::{
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{self, Poll, Waker},
    time::Duration,
};

use partita_core::{
    ActorSeed, Bytes, ContextInfo, CrdtDocument as _, CrdtType as _, DeviceKeys, DocumentId, DocumentType as _,
    EntryKind, Incarnation, Key, Limits, LogId, Now, StoreError, document_id,
};
use partita_protocol::NodeConfig;
use partita_testing::{MemoryKeystore, MemoryStore, fleet::Fleet, strategy::OpenStrategy};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use tokio::sync::oneshot;
use yrs::{GetString as _, ReadTxn as _, Text as _, WriteTxn as _};

use super::{Command, Reply};
use crate::{
    ChangeError, CheckpointOutcome, Context, Document, DocumentError, EngineError, EngineEvent,
    simulation::{SimulatedEngine, SimulatedParts},
    touchy::Touchy,
    yrs::Yrs,
};

struct Desk {
    sim: SimulatedEngine,
    store: MemoryStore,
    keys: Arc<DeviceKeys>,
    context: ContextInfo,
    /// The time, in milliseconds.
    passed: Arc<AtomicU64>,
}

impl Desk {
    /// Opens a store, as after a crash if an engine had it.
    fn open(store: MemoryStore, incarnation: u8, keys: &Arc<DeviceKeys>) -> Self {
        let mut desk = Self::begin(store, incarnation, keys);
        desk.settle();
        desk
    }

    /// The same, with nothing loaded yet.
    fn begin(store: MemoryStore, incarnation: u8, keys: &Arc<DeviceKeys>) -> Self {
        Self::begin_with(store, incarnation, keys, NodeConfig::default())
    }

    fn begin_with(store: MemoryStore, incarnation: u8, keys: &Arc<DeviceKeys>, config: NodeConfig) -> Self {
        let context = Fleet::context(1);
        let incarnation = Incarnation::from_bytes([incarnation; 16]);
        let passed = Arc::new(AtomicU64::new(0));
        let of_sim = passed.clone();
        let sim = SimulatedEngine::open(SimulatedParts {
            store: Arc::new(store.reopen(incarnation)),
            incarnation,
            keys: keys.clone(),
            // It may write, and nobody else: checkpoints wait for nobody.
            strategies: vec![Box::new(OpenStrategy::new().with_authors([keys.replica()]))],
            types: vec![Arc::new(Touchy)],
            contexts: vec![context.clone()],
            config,
            checkpoint_after: None,
            random: Box::new(|| Box::new(ChaCha20Rng::seed_from_u64(1))),
            clock: Box::new(move || {
                let passed = Duration::from_millis(of_sim.load(Ordering::Relaxed));
                Now { monotonic: Duration::from_secs(1) + passed, wall: Duration::from_secs(1_800_000_000) + passed }
            }),
        });
        Self { sim, store, keys: keys.clone(), context, passed }
    }

    /// Lets time pass, and all parts do what there is to do.
    fn settle(&mut self) {
        self.passed.fetch_add(100, Ordering::Relaxed);
        self.sim.turn(); // a commit may have waited for that
        for _ in 0..100_000 {
            if self.sim.has_input() {
                self.sim.turn();
            } else if self.sim.store_work().is_some() {
                self.sim.serve_store();
            } else if self.sim.worker_waits() {
                self.sim.serve_worker();
            } else {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// Lets all parts but the store do what there is to do, for somebody who gets no answer by that.
    fn keeps_waiting<R: std::fmt::Debug>(&mut self, mut waiting: Pin<&mut impl Future<Output = R>>) {
        loop {
            let answer = waiting.as_mut().poll(&mut task::Context::from_waker(Waker::noop()));
            assert!(answer.is_pending(), "the store has not answered: {answer:?}");
            if self.sim.has_input() {
                self.sim.turn();
            } else if self.sim.worker_waits() {
                self.sim.serve_worker();
            } else {
                return;
            }
        }
    }

    fn until<R>(&mut self, future: impl Future<Output = R>) -> R {
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(answer) = future.as_mut().poll(&mut task::Context::from_waker(Waker::noop())) {
                return answer;
            }
            self.settle();
        }
    }

    fn notes(&mut self) -> Context {
        let (engine, id) = (self.sim.engine().clone(), self.context.id);
        self.until(engine.context(id)).unwrap()
    }

    /// How many entries of the context are pruned.
    fn pruned(&mut self) -> u64 {
        let engine = self.sim.engine().clone();
        self.until(engine.status()).unwrap().contexts.remove(0).pruned
    }

    fn ask(&self, command: Command) {
        self.sim.engine().shared.driver.command(command).unwrap();
    }

    /// Asks for a document to be loaded again, and lets the driver begin with it.
    fn reload(&mut self, document: &Document<Yrs>) {
        self.ask(Command::Reload(document.cell.clone()));
        self.sim.turn();
    }
}

fn keys() -> Arc<DeviceKeys> {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    Arc::new(DeviceKeys::create(&MemoryKeystore::default(), &mut rng).unwrap())
}

fn desk() -> (Desk, Document<Yrs>) {
    let mut desk = Desk::open(MemoryStore::new(Incarnation::default()), 1, &keys());
    let notes = desk.notes();
    let document = desk.until(notes.create::<Yrs>()).unwrap();
    desk.settle();
    write(&document, "a");
    desk.settle();
    (desk, document)
}

fn insert(text: &str) -> impl FnOnce(&mut yrs::TransactionMut<'_>) -> Result<(), crate::yrs::Error> {
    move |tx| {
        tx.get_or_insert_text("text").insert(tx, 0, text);
        Ok(())
    }
}

fn write(document: &Document<Yrs>, text: &str) {
    drop(document.change(insert(text)).unwrap());
}

fn text(document: &Document<Yrs>) -> String {
    assert!(document.is_settled());
    document.read(|tx| tx.get_text("text").map(|text| text.get_string(tx)).unwrap_or_default())
}

#[test]
fn a_change_that_is_written_while_its_document_is_read_again_is_in_it() {
    let (mut desk, document) = desk();
    let notes = desk.notes();
    write(&document, "b");
    // The library cannot undo a transaction: the document is dropped, with a change that was not written yet.
    assert!(document.change(|_| Err::<(), _>(crate::yrs::Error::Abort("a closure failed".into()))).is_err());
    let mut acknowledged = pin!(notes.acknowledged());
    assert!(acknowledged.as_mut().poll(&mut task::Context::from_waker(Waker::noop())).is_pending());
    desk.sim.turn(); // begins to read it again, then writes what there is
    desk.sim.serve_worker(); // reads, before the store has it
    desk.settle();
    assert_eq!(text(&document), "ba");
}

#[test]
fn a_change_that_is_written_while_its_document_is_made_again_is_in_it() {
    let (mut desk, document) = desk();
    let notes = desk.notes();
    write(&document, "b");
    assert!(document.change(|_| Err::<(), _>(crate::yrs::Error::Abort("a closure failed".into()))).is_err());
    desk.sim.turn(); // begins to read it again
    desk.sim.serve_worker(); // reads
    desk.sim.turn(); // hands over what was read
    desk.ask(Command::Dirty { cell: document.cell.clone(), here: false }); // as when a full disk has room again
    let mut acknowledged = pin!(notes.acknowledged());
    assert!(acknowledged.as_mut().poll(&mut task::Context::from_waker(Waker::noop())).is_pending());
    desk.sim.turn(); // writes what there is
    while desk.sim.worker_waits() {
        desk.sim.serve_worker(); // would make the document without the change
    }
    assert!(!document.is_settled());
    desk.settle();
    assert_eq!(text(&document), "ba");
}

#[test]
fn a_load_that_was_overtaken_makes_no_document() {
    let (mut desk, document) = desk();
    desk.reload(&document);
    desk.sim.serve_worker(); // reads
    desk.sim.turn(); // hands over what was read
    desk.reload(&document);
    desk.sim.serve_worker(); // would make the document of that
    assert!(!document.is_settled());
    desk.settle();
    assert_eq!(text(&document), "a");
}

#[test]
fn what_was_read_before_a_document_was_to_be_read_again_is_not_used() {
    let (mut desk, document) = desk();
    desk.reload(&document);
    desk.reload(&document);
    desk.sim.serve_worker(); // reads for the first
    desk.sim.turn();
    while desk.sim.worker_waits() {
        desk.sim.serve_worker();
    }
    assert!(!document.is_settled());
    desk.settle();
    assert_eq!(text(&document), "a");
}

#[test]
fn a_document_whose_snapshot_is_damaged_is_made_of_its_entries() {
    let (mut desk, document) = desk();
    let key = Key::Snapshot(desk.context.id, document.id());
    let mut damaged = vec![0; 100];
    damaged[11] = 1; // it says that it stands for everything up to arrival 256
    let damaged = Bytes::from(damaged);
    desk.ask(Command::Node(Box::new(move |node, _| node.put_record(key, damaged))));
    desk.settle();
    let mut again = Desk::open(desk.store, 2, &desk.keys);
    let notes = again.notes();
    let found = again.until(notes.get::<Yrs>(document.id())).unwrap();
    assert_eq!(text(&found), "a");
}

#[test]
fn a_document_that_is_read_again_when_the_store_fails_is_there_afterwards() {
    let (mut desk, document) = desk();
    write(&document, "b");
    desk.sim.turn(); // the change is on its way to the store
    desk.store.fail_next_commit(StoreError::OutOfSpace);
    desk.reload(&document);
    desk.settle();
    assert!(desk.sim.node().failure().is_some());
    assert_eq!(text(&document), "ba");
}

#[test]
fn a_change_of_a_document_that_can_be_read_no_more_is_durable_all_the_same() {
    let (mut desk, document) = desk();
    let notes = desk.notes();
    let commit = document.change(insert("b")).unwrap();
    assert!(document.change(|_| Err::<(), _>(crate::yrs::Error::Abort("a closure failed".into()))).is_err());
    let mut acknowledged = pin!(notes.acknowledged());
    assert!(acknowledged.as_mut().poll(&mut task::Context::from_waker(Waker::noop())).is_pending());
    desk.sim.turn(); // begins to read it again, then writes what there is
    desk.store.fail_next_read(StoreError::Io("unplugged".into()));
    desk.sim.serve_worker(); // reads
    desk.sim.turn();
    assert!(document.is_settled());
    assert!(matches!(document.try_read(|_| ()), Err(ChangeError::Unusable(_))));
    desk.until(commit.durable()).unwrap();
}

#[test]
fn what_is_written_in_a_document_that_nobody_created_is_in_checkpoints_and_shows_once_it_is_created() {
    let (mut desk, _) = desk();
    let (context, notes) = (desk.context.id, desk.notes());
    let create: Vec<u8> = [&Yrs.id().0[..], &[7; 16]].concat();
    let id = document_id(&context, &create);
    let log = desk.sim.node().own_log(&context).unwrap();
    let mut elsewhere = Yrs::open(ActorSeed::derive(&log, &id));
    Yrs::transact(&mut elsewhere, insert("early")).unwrap();
    let payload = elsewhere.take_local(&Limits::default()).unwrap().unwrap();
    desk.sim.write_raw(context, id, payload);
    desk.sim.write_raw(context, id, b"no payload".to_vec());
    desk.settle();
    for _ in 0..2 {
        // The second goes on from the first: what nobody created yet may change too.
        assert_eq!(desk.until(notes.checkpoint()).unwrap(), CheckpointOutcome::Claimed);
        desk.sim.write_raw(context, id, b"no payload either".to_vec());
        desk.settle();
    }
    let before = desk.pruned();
    assert!(before >= 5, "{before}");
    assert!(matches!(desk.until(notes.get::<Yrs>(id)), Err(DocumentError::NotFound(_))));

    desk.ask(Command::Node(Box::new(move |node, now| {
        node.append(now, context, EntryKind::Create(id), &create).unwrap();
    })));
    desk.settle();
    let document = desk.until(notes.get::<Yrs>(id)).unwrap();
    assert_eq!(text(&document), "early");
    assert_eq!(desk.until(notes.checkpoint()).unwrap(), CheckpointOutcome::Claimed);
    desk.settle();
    assert!(desk.pruned() > before);
    let mut again = Desk::open(desk.store, 2, &desk.keys);
    let notes = again.notes();
    assert_eq!(text(&again.until(notes.get::<Yrs>(id)).unwrap()), "early");
}

/// A hostile member can write in documents that nobody creates, before anything else of a context that is too large for one claim.
#[test]
fn what_nobody_creates_keeps_no_large_context_from_being_covered_claim_by_claim() {
    let config = NodeConfig { claim_bytes: 2_000, ..NodeConfig::default() };
    let mut desk = Desk::begin_with(MemoryStore::new(Incarnation::default()), 1, &keys(), config);
    desk.settle();
    let (context, notes) = (desk.context.id, desk.notes());
    desk.sim.write_raw(context, DocumentId::from_bytes([9; 32]), b"no payload".to_vec());
    desk.settle();
    for _ in 0..60 {
        drop(desk.until(notes.create::<Yrs>()).unwrap());
        desk.settle();
    }
    let mut events = desk.sim.engine().events();
    assert_eq!(desk.until(notes.checkpoint()).unwrap(), CheckpointOutcome::Claimed);
    desk.settle();
    assert_eq!(desk.pruned(), 61);
    let heard = std::iter::from_fn(|| events.try_recv().ok());
    let adopted = heard.filter(|event| matches!(event, EngineEvent::CheckpointAdopted { .. })).count();
    assert!(adopted > 1, "one claim has no room for all");
}

/// What it was built on was cut off, as far as the document can tell. In another document something is changed just then.
#[test]
fn a_document_in_which_an_own_change_waits_is_changed_again_and_no_other_one_loses_anything() {
    let (mut desk, other) = desk();
    let (context, notes) = (desk.context.id, desk.notes());
    let document = desk.until(notes.create::<Yrs>()).unwrap();
    desk.settle();
    let log = desk.sim.node().own_log(&context).unwrap();
    let mut somebody = Yrs::open(ActorSeed::derive(&LogId::from_bytes([9; 16]), &document.id()));
    Yrs::transact(&mut somebody, insert("cut off")).unwrap();
    let below = somebody.take_local(&Limits::default()).unwrap().unwrap();
    let mut elsewhere = Yrs::open(ActorSeed::derive(&log, &document.id()));
    assert!(elsewhere.apply(&[&below[..]])[0].is_ok());
    Yrs::transact(&mut elsewhere, insert("on top")).unwrap();
    let payload = elsewhere.take_local(&Limits::default()).unwrap().unwrap();
    desk.sim.write_raw(context, document.id(), payload);
    desk.settle();

    desk.reload(&document);
    desk.sim.serve_worker(); // reads
    desk.sim.turn(); // hands over what was read
    desk.sim.serve_worker(); // finds the change that waits
    let made = other.change(insert("b")).unwrap();
    desk.settle();
    desk.until(made.durable()).unwrap();
    assert_ne!(desk.sim.node().own_log(&context), Some(log));
    assert_eq!((text(&document), document.pending().unwrap()), (String::new(), 1));
    write(&document, "after");
    write(&other, "c");
    desk.settle();
    assert_eq!((text(&document), text(&other)), ("after".into(), "cba".into()));

    let mut again = Desk::open(desk.store, 2, &desk.keys);
    let notes = again.notes();
    for (id, shown) in [(document.id(), "after"), (other.id(), "cba")] {
        assert_eq!(text(&again.until(notes.get::<Yrs>(id)).unwrap()), shown);
    }
}

/// What a document of that type shows.
fn touchy(desk: &mut Desk, document: DocumentId) -> Vec<u8> {
    let (reply, answer) = oneshot::channel();
    desk.ask(Command::Get { context: desk.context.id, document, reply: Reply(reply) });
    let cell = desk.until(answer).unwrap().unwrap();
    desk.settle(); // it is loaded again where something damaged it
    let held = cell.hold_any();
    held.doc.as_ref().unwrap().snapshot().unwrap()
}

/// All that a checkpoint has from before a document was created came with one entry.
#[test]
fn what_a_library_panics_over_is_left_out_also_of_what_was_written_before_its_document_was_created() {
    let (mut desk, _) = desk();
    let (context, notes) = (desk.context.id, desk.notes());
    let create: Vec<u8> = [&Touchy.id().0[..], &[7; 16]].concat();
    let id = document_id(&context, &create);
    for payload in [&b"a"[..], b"c", b"d", b"c", b"e"] {
        desk.sim.write_raw(context, id, payload.to_vec());
    }
    desk.settle();
    assert_eq!(desk.until(notes.checkpoint()).unwrap(), CheckpointOutcome::Claimed);
    desk.settle();
    desk.ask(Command::Node(Box::new(move |node, now| {
        node.append(now, context, EntryKind::Create(id), &create).unwrap();
    })));
    desk.settle();
    assert_eq!(touchy(&mut desk, id), b"ade");
    let mut again = Desk::open(desk.store, 2, &desk.keys);
    again.notes();
    assert_eq!(touchy(&mut again, id), b"ade");
}

/// What is to be covered was counted, and read before all of it was in the store.
#[test]
fn a_checkpoint_lacks_nothing_that_was_written_while_other_things_were_being_stored() {
    let (mut desk, document) = desk();
    let notes = desk.notes();
    let other = desk.until(notes.create::<Yrs>()).unwrap();
    desk.settle();
    assert_eq!(desk.until(notes.checkpoint()).unwrap(), CheckpointOutcome::Claimed);
    desk.settle();
    write(&document, "b");
    desk.sim.turn(); // goes to the store
    write(&document, "c");
    desk.sim.turn(); // waits for that
    desk.sim.serve_store();
    // All of this is taken in one turn: the end of the commit, a change that waits for the next, and the checkpoint.
    write(&other, "d");
    let mut asked = pin!(notes.checkpoint());
    assert!(asked.as_mut().poll(&mut task::Context::from_waker(Waker::noop())).is_pending());
    desk.settle();
    assert_eq!(desk.until(asked).unwrap(), CheckpointOutcome::Claimed);
    desk.settle();

    let mut again = Desk::open(desk.store, 2, &desk.keys);
    let notes = again.notes();
    let found = again.until(notes.get::<Yrs>(other.id())).unwrap();
    assert_eq!(text(&found), "d");
}

#[test]
fn a_close_says_that_what_was_changed_last_is_not_stored() {
    let (mut desk, document) = desk();
    write(&document, "lost");
    desk.store.fail_next_commit(StoreError::OutOfSpace);
    let engine = desk.sim.engine().clone();
    let closed = desk.until(engine.close());
    assert_eq!(closed, Err(EngineError::Store(StoreError::OutOfSpace)));
}

/// The second one asks while the last commit of the first is on its way.
#[test]
fn whoever_closes_an_engine_that_is_being_closed_hears_the_same() {
    let (mut desk, document) = desk();
    write(&document, "lost");
    desk.store.fail_next_commit(StoreError::OutOfSpace);
    let engine = desk.sim.engine().clone();
    let mut first = pin!(engine.clone().close());
    desk.keeps_waiting(first.as_mut());
    let mut second = pin!(engine.close());
    desk.keeps_waiting(second.as_mut());
    assert_eq!(desk.until(first), Err(EngineError::Store(StoreError::OutOfSpace)));
    assert_eq!(desk.until(second), Err(EngineError::Store(StoreError::OutOfSpace)));
}

#[test]
fn who_waits_for_a_document_whose_context_is_closed_hears_that_and_not_that_the_engine_is() {
    let (desk, document) = desk();
    let mut again = Desk::open(desk.store, 2, &desk.keys);
    let (notes, engine, context) = (again.notes(), again.sim.engine().clone(), again.context.id);
    let mut getting = pin!(notes.get::<Yrs>(document.id()));
    assert!(getting.as_mut().poll(&mut task::Context::from_waker(Waker::noop())).is_pending());
    again.sim.turn(); // begins to read it
    again.until(engine.close_context(context)).unwrap();
    let answer = again.until(getting).err();
    assert_eq!(answer, Some(DocumentError::Engine(EngineError::NoContext(context))));
}

#[test]
fn nothing_is_acknowledged_while_what_was_written_before_is_being_loaded() {
    let (desk, _) = desk();
    let mut again = Desk::begin(desk.store, 2, &desk.keys);
    let engine = again.sim.engine().clone();
    let mut acknowledged = pin!(engine.acknowledged(None));
    for _ in 0..20 {
        let answer = acknowledged.as_mut().poll(&mut task::Context::from_waker(Waker::noop()));
        assert!(answer.is_pending(), "nobody holds it: {answer:?}");
        again.settle();
    }
}

#[test]
fn a_document_that_somebody_watches_stays_though_no_handle_is_left() {
    let (mut desk, document) = desk();
    let notes = desk.notes();
    let id = document.id();
    let ((), mut changes) = document.subscribe(|_| ()).unwrap();
    drop(document);
    for _ in 0..300 {
        drop(desk.until(notes.create::<Yrs>()).unwrap());
        desk.settle();
    }
    let document = desk.until(notes.get::<Yrs>(id)).unwrap();
    write(&document, "b");
    assert!(desk.until(changes.next()).is_some());
}
