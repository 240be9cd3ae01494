//! A device loses its right to write and gets it again, while its engine stays open and its documents loaded.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is a finding

mod common;

use common::{Device, PATIENCE, has, patiently, put, shows, string};
use partita::{
    CommitError, Document, Engine, FileKeystore, SystemRandom,
    automerge::Automerge,
    core::{Bytes, ContextId, ContextInfo, ContextKind, ContextView, DeviceKeys, PartitionStrategy as _, ReplicaId},
    yrs::Yrs,
};
use partita_testing::{
    network::MemoryNetwork,
    strategy::{OPEN_KIND, OpenStrategy},
};
use tempfile::TempDir;
use yrs::{GetString as _, ReadTxn as _, Text as _, WriteTxn as _};

/// Two devices that share a plain context: the first listens.
struct Pair {
    folder: TempDir,
    network: MemoryNetwork,
    a: Device,
    b: Device,
}

impl Pair {
    async fn new() -> Self {
        Self::with(OpenStrategy::new()).await
    }

    /// With this strategy of the second device.
    async fn with(strategy: OpenStrategy) -> Self {
        let (folder, network) = (tempfile::tempdir().unwrap(), MemoryNetwork::default());
        for name in ["a.key", "b.key"] {
            let keystore = FileKeystore::create(folder.path().join(name)).unwrap();
            DeviceKeys::create(&keystore, &mut SystemRandom).unwrap();
        }
        let a = open(&folder, &network, "a", None, OpenStrategy::new()).await;
        let b = open(&folder, &network, "b", Some(a.replica()), strategy).await;
        Self { folder, network, a, b }
    }

    /// The first device appends what the payload function makes of the logs of the second that it holds.
    async fn decide(&self, payload: impl FnOnce(&dyn ContextView, &ContextId, ReplicaId) -> Bytes + Send + 'static) {
        let (context, device) = (self.a.notes.id(), self.b.replica());
        let decided = self.a.engine.with_strategy::<OpenStrategy, _>(move |_, turn| {
            let payload = payload(turn.view, &context, device);
            turn.append.push((context, payload));
        });
        decided.await.unwrap();
    }

    async fn lose(&self) {
        self.decide(|view, context, device| OpenStrategy::loss(device, view.logs_of(context, &device))).await;
    }

    async fn readmit(&self) {
        self.decide(|_, _, device| OpenStrategy::readmit(device)).await;
    }

    /// Waits until the second device knows whether it may write.
    async fn knows(&self, lost: bool) {
        let (context, device) = (self.b.notes.id(), self.b.replica());
        let mut events = self.b.engine.events();
        patiently("the second device's knowledge", async {
            let asked = || {
                self.b.engine.with_strategy::<OpenStrategy, _>(move |open, _| open.standing(&context).has_lost(&device))
            };
            while asked().await.unwrap() != lost {
                let _ = events.recv().await;
            }
        })
        .await;
    }

    /// Nothing was set aside anywhere: every payload was taken for its author's own.
    async fn close(self) {
        for device in [self.a, self.b] {
            let status = device.engine.status().await.unwrap();
            assert!(status.set_aside.values().all(|status| status.entries == 0), "{:?}", status.set_aside);
            device.engine.close().await.unwrap();
        }
    }
}

async fn open(
    folder: &TempDir,
    network: &MemoryNetwork,
    name: &str,
    to: Option<ReplicaId>,
    strategy: OpenStrategy,
) -> Device {
    let kind = ContextKind::new(OPEN_KIND).unwrap();
    let info = ContextInfo { id: ContextId::derive(&kind, &[1; 32]), kind };
    let builder = Engine::builder(folder.path().join(name)).strategy(strategy);
    let builder = builder.transport(network.clone()).context(info.clone());
    let builder = match to {
        Some(replica) => builder.connect(format!("mem://a#{replica}")),
        None => builder.listen("mem://a"),
    };
    let engine = builder.open().await.unwrap();
    let notes = engine.context(info.id).await.unwrap();
    Device { engine, notes }
}

fn push(document: &Document<Yrs>, text: &str) -> partita::Commit<()> {
    document
        .change(|tx| {
            tx.get_or_insert_text("text").push(tx, text);
            Ok(())
        })
        .unwrap()
}

async fn reads(document: &Document<Yrs>, wanted: &str) {
    shows(document, wanted, |tx| tx.get_text("text").is_some_and(|text| text.get_string(tx).contains(wanted))).await;
}

/// A snapshot that was made while something waited for its key passes over it.
#[tokio::test(flavor = "multi_thread")]
async fn what_had_to_wait_for_its_key_is_there_after_every_later_open() {
    let locked = || OpenStrategy::new().with_locked(b"LOCKED");
    let mut pair = Pair::with(locked()).await;
    let text = pair.a.notes.create::<Yrs>().await.unwrap();
    let id = text.id();
    let text_b = pair.b.get::<Yrs>(id).await;
    push(&text, "LOCKED one ").durable().await.unwrap();
    push(&text, "what builds on it ").durable().await.unwrap();
    patiently("what waits for its key", async {
        let mut events = pair.b.engine.events();
        while pair.b.engine.status().await.unwrap().set_aside.values().map(|status| status.entries).sum::<u64>() == 0 {
            let _ = events.recv().await;
        }
    })
    .await;
    // Enough of its own for a snapshot.
    push(&text_b, &"own ".repeat(2_000)).durable().await.unwrap();
    drop(text_b);
    let again = async |pair: &mut Pair| {
        pair.b.engine.clone().close().await.unwrap();
        pair.b = open(&pair.folder, &pair.network, "b", Some(pair.a.replica()), locked()).await;
        pair.b.get::<Yrs>(id).await
    };
    let text_b = again(&mut pair).await;
    reads(&text_b, "own").await;
    pair.decide(|_, _, _| OpenStrategy::unlock()).await;
    reads(&text_b, "LOCKED one what builds on it").await;
    drop(text_b);
    for _ in 0..2 {
        let text_b = again(&mut pair).await;
        let now = text_b.read(|tx| tx.get_text("text").map(|text| text.get_string(tx))).unwrap();
        assert!(now.contains("LOCKED one what builds on it"), "{} letters", now.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_readmitted_device_changes_in_documents_that_stayed_loaded_arrives_elsewhere() {
    let pair = Pair::new().await;
    let (plan, text) = (pair.a.notes.create::<Automerge>().await.unwrap(), pair.a.notes.create::<Yrs>().await.unwrap());
    let closed = pair.a.notes.create::<Automerge>().await.unwrap();
    let (plan_b, text_b) = (pair.b.get::<Automerge>(plan.id()).await, pair.b.get::<Yrs>(text.id()).await);
    put(&plan_b, "before", "x").durable().await.unwrap();
    push(&text_b, "before ").durable().await.unwrap();
    let own = pair.b.notes.create::<Automerge>().await.unwrap();
    put(&own, "before", "x").durable().await.unwrap();
    has(&plan, "before").await;
    reads(&text, "before").await;
    let own_a = pair.a.get::<Automerge>(own.id()).await;
    has(&own_a, "before").await;

    pair.lose().await;
    pair.knows(true).await;
    let refused = put(&plan_b, "without the right", "x").durable().await;
    assert!(matches!(refused, Err(CommitError::Append(_))), "{refused:?}");
    assert!(push(&text_b, "without the right ").durable().await.is_err());
    plan.read(|doc| assert_eq!(string(doc, "without the right"), None));

    pair.readmit().await;
    pair.knows(false).await;
    // What was refused stayed in the documents, and is written now that it may be.
    has(&plan, "without the right").await;
    reads(&text, "without the right").await;
    put(&plan_b, "again", "x").durable().await.unwrap();
    push(&text_b, "again ").durable().await.unwrap();
    put(&own, "again", "x").durable().await.unwrap();
    let closed_b = pair.b.get::<Automerge>(closed.id()).await;
    put(&closed_b, "again", "x").durable().await.unwrap();
    let new = pair.b.notes.create::<Automerge>().await.unwrap();
    put(&new, "again", "x").durable().await.unwrap();
    for document in [&plan, &own_a, &closed, &pair.a.get::<Automerge>(new.id()).await] {
        has(document, "again").await;
    }
    reads(&text, "again").await;
    put(&plan, "answer", "x").durable().await.unwrap();
    has(&plan_b, "answer").await;
    assert_eq!(plan.digest().unwrap(), plan_b.digest().unwrap());
    assert_eq!(text.digest().unwrap(), text_b.digest().unwrap());
    pair.close().await;
}

/// Everything is heard at once: the device wrote between, and what it wrote then is gone on all devices, for good.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_between_is_gone_from_documents_and_what_is_written_then_is_not() {
    let mut pair = Pair::new().await;
    let (plan, text) = (pair.a.notes.create::<Automerge>().await.unwrap(), pair.a.notes.create::<Yrs>().await.unwrap());
    let (plan_b, text_b) = (pair.b.get::<Automerge>(plan.id()).await, pair.b.get::<Yrs>(text.id()).await);
    put(&plan_b, "before", "x").durable().await.unwrap();
    push(&text_b, "before ").durable().await.unwrap();
    has(&plan, "before").await;
    reads(&text, "before").await;

    pair.network.refuse("mem://a", true);
    pair.network.cut_all();
    put(&plan_b, "between", "x").durable().await.unwrap();
    push(&text_b, "between ").durable().await.unwrap();
    pair.lose().await;
    pair.readmit().await;
    pair.network.refuse("mem://a", false);
    pair.b.engine.network_is_back();
    shows(&plan_b, "the change between gone", |doc| string(doc, "between").is_none()).await;
    shows(&text_b, "the change between gone", |tx| {
        tx.get_text("text").is_some_and(|text| !text.get_string(tx).contains("between"))
    })
    .await;
    put(&plan_b, "again", "x").durable().await.unwrap();
    push(&text_b, "again ").durable().await.unwrap();
    has(&plan, "again").await;
    reads(&text, "again").await;

    // It stays so after a restart, which begins another log.
    let a = pair.a.replica();
    pair.b.engine.close().await.unwrap();
    pair.b = open(&pair.folder, &pair.network, "b", Some(a), OpenStrategy::new()).await;
    let (plan_b, text_b) = (pair.b.get::<Automerge>(plan.id()).await, pair.b.get::<Yrs>(text.id()).await);
    put(&plan_b, "once more", "x").durable().await.unwrap();
    has(&plan, "once more").await;
    for document in [&plan, &plan_b] {
        document.read(|doc| {
            assert_eq!(string(doc, "between"), None);
            assert!(string(doc, "before").is_some() && string(doc, "again").is_some());
        });
    }
    assert_eq!(plan.digest().unwrap(), plan_b.digest().unwrap());
    assert_eq!(text.digest().unwrap(), text_b.digest().unwrap());
    pair.close().await;
}

/// The loss leaves nothing of what the other device wrote, and nobody vouches. What was written on top of that waits for it, and no
/// longer holds up what is written after it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_once_something_below_was_cut_off_arrives_elsewhere() {
    let pair = Pair::new().await;
    let (plan, text) = (pair.a.notes.create::<Automerge>().await.unwrap(), pair.a.notes.create::<Yrs>().await.unwrap());
    let untouched = pair.a.notes.create::<Automerge>().await.unwrap();
    put(&plan, "before", "x").durable().await.unwrap();
    push(&text, "before ").durable().await.unwrap();
    let (plan_b, text_b) = (pair.b.get::<Automerge>(plan.id()).await, pair.b.get::<Yrs>(text.id()).await);
    has(&plan_b, "before").await;
    reads(&text_b, "before").await;
    put(&plan_b, "cut off", "x").durable().await.unwrap();
    push(&text_b, "cut off ").durable().await.unwrap();
    has(&plan, "cut off").await;
    reads(&text, "cut off").await;
    put(&plan, "on top", "x").durable().await.unwrap();
    push(&text, "on top ").durable().await.unwrap();

    pair.decide(|_, _, device| OpenStrategy::loss(device, Vec::new())).await;
    let lacks =
        |tx: &yrs::Transaction<'_>| tx.get_text("text").is_some_and(|text| !text.get_string(tx).contains("cut off"));
    for plan in [&plan, &plan_b] {
        shows(plan, "the change that does not count gone", |doc| string(doc, "cut off").is_none()).await;
    }
    for text in [&text, &text_b] {
        shows(text, "the change that does not count gone", lacks).await;
    }
    // It is not lost: should the other one count again, it shows.
    assert_eq!((plan.pending().unwrap(), text.pending().unwrap()), (1, 1));
    put(&plan, "after", "x").durable().await.unwrap();
    push(&text, "after ").durable().await.unwrap();
    put(&untouched, "after", "x").durable().await.unwrap();
    has(&plan_b, "after").await;
    reads(&text_b, "after").await;
    has(&pair.b.get::<Automerge>(untouched.id()).await, "after").await;
    for document in [&plan, &plan_b] {
        document.read(|doc| assert_eq!((string(doc, "cut off"), string(doc, "on top")), (None, None)));
    }
    assert_eq!(plan.digest().unwrap(), plan_b.digest().unwrap());
    assert_eq!(text.digest().unwrap(), text_b.digest().unwrap());
    pair.close().await;
}

/// A change that was being made when the loss came is one for a log that is over: it is refused by name, gone from the
/// document, and never written into another log, where others would take it for a forgery.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_the_loss_overtakes_is_refused_and_harms_nothing() {
    let (tells, told) = std::sync::mpsc::channel();
    let pair = Pair::with(OpenStrategy::new().telling(tells)).await;
    let plan = pair.a.notes.create::<Automerge>().await.unwrap();
    let plan_b = pair.b.get::<Automerge>(plan.id()).await;
    put(&plan_b, "before", "x").durable().await.unwrap();
    has(&plan, "before").await;
    let (begun, is_begun) = tokio::sync::oneshot::channel();
    let document = plan_b.clone();
    let changing = tokio::task::spawn_blocking(move || {
        use automerge::{ROOT, transaction::Transactable as _};
        document.change(|tx| {
            assert!(told.try_recv().is_err(), "nothing was decided before");
            begun.send(()).unwrap();
            // It holds the document until the loss is there; what follows from that comes before what follows from the change.
            told.recv_timeout(PATIENCE).unwrap();
            tx.put(ROOT, "overtaken", "x")
        })
    });
    is_begun.await.unwrap();
    pair.lose().await;
    pair.readmit().await;
    let overtaken = changing.await.unwrap().unwrap().durable().await;
    assert!(matches!(overtaken, Err(CommitError::RightLost)), "{overtaken:?}");
    pair.knows(false).await;
    put(&plan_b, "again", "x").durable().await.unwrap();
    has(&plan, "again").await;
    for document in [&plan, &plan_b] {
        document.read(|doc| assert_eq!(string(doc, "overtaken"), None));
    }
    assert_eq!(plan.digest().unwrap(), plan_b.digest().unwrap());
    pair.close().await;
}
