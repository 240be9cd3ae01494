//! What an application may rely on when it changes documents.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Barrier, Mutex},
};

use crate::common::{self, Home, put, string};
use automerge::{AutomergeError, ROOT, transaction::Transactable as _};
use partita::{
    ChangeError, Document, DocumentError, Engine, EngineError, FileKeystore, OpenError,
    automerge::Automerge,
    core::{
        AuthProvider, Bytes, Claim, ContextKind, CryptoRng, HeaderPrefix, Opened, PartitionStrategy, StoreError,
        StrategyError, Verdict,
    },
    multi_context::AllOf,
    single_owner::SingleOwner,
    yrs::Yrs,
};
use partita_testing::strategy::OpenStrategy;
use yrs::{GetString as _, ReadTxn as _, Text as _, WriteTxn as _};

fn insert(tx: &mut yrs::TransactionMut<'_>, text: &str) -> Result<(), partita::yrs::Error> {
    let root = tx.get_or_insert_text("text");
    root.insert(tx, 0, text);
    Ok(())
}

fn text(tx: &yrs::Transaction<'_>) -> String {
    tx.get_text("text").map(|text| text.get_string(tx)).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closure_that_fails_or_panics_leaves_nothing_behind() {
    let home = Home::new();
    let a = home.open("a", &[]).await;
    let plan = a.notes.create::<Automerge>().await.unwrap();
    put(&plan, "kept", "x").durable().await.unwrap();
    let failed = plan.change(|tx| {
        tx.put(ROOT, "gone", "x")?;
        Err::<(), _>(AutomergeError::Fail)
    });
    assert!(matches!(failed, Err(ChangeError::Closure(_))));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        plan.change(|tx| -> Result<(), AutomergeError> {
            tx.put(ROOT, "gone", "x")?;
            panic!("mine")
        })
    }));
    assert_eq!(*panicked.unwrap_err().downcast_ref::<&str>().unwrap(), "mine");
    plan.read(|doc| assert_eq!((string(doc, "gone"), string(doc, "kept")), (None, Some("x".into()))));
    put(&plan, "after", "x").durable().await.unwrap();

    let note = a.notes.create::<Yrs>().await.unwrap();
    note.change(|tx| insert(tx, "kept")).unwrap().durable().await.unwrap();
    // Not durable yet when the next one fails: it must not go with it.
    let unwritten = note.change(|tx| insert(tx, "also ")).unwrap();
    let failed = note.change(|tx| {
        insert(tx, "gone ")?;
        Err::<(), _>(partita::yrs::Error::Abort("no".into()))
    });
    assert!(matches!(failed, Err(ChangeError::Closure(_))));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        note.change(|tx| -> Result<(), partita::yrs::Error> {
            insert(tx, "gone ")?;
            panic!("mine")
        })
    }));
    assert_eq!(*panicked.unwrap_err().downcast_ref::<&str>().unwrap(), "mine");
    assert_eq!(note.read(text), "also kept");
    unwritten.durable().await.unwrap();
    note.change(|tx| insert(tx, "and ")).unwrap().durable().await.unwrap();
    let (plan_id, note_id) = (plan.id(), note.id());
    let digests = (plan.digest().unwrap(), note.digest().unwrap());
    a.engine.close().await.unwrap();

    let a = home.open("a", &[]).await;
    let plan = a.get::<Automerge>(plan_id).await;
    let note = a.get::<Yrs>(note_id).await;
    assert_eq!(note.read(text), "and also kept");
    assert_eq!((plan.digest().unwrap(), note.digest().unwrap()), digests);
    a.engine.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nested_change_is_an_error_and_no_deadlock() {
    let home = Home::new();
    let a = home.open("a", &[]).await;
    let (plan, other) = (a.notes.create::<Automerge>().await.unwrap(), a.notes.create::<Automerge>().await.unwrap());
    plan.change(|tx| {
        assert!(matches!(plan.change(|_| Ok(())), Err(ChangeError::Reentrant)));
        assert!(matches!(plan.try_read(|_| ()), Err(ChangeError::Reentrant)));
        drop(other.change(|tx| tx.put(ROOT, "another document", "is fine")).unwrap());
        tx.put(ROOT, "outer", "x")
    })
    .unwrap()
    .durable()
    .await
    .unwrap();
    put(&plan, "after", "x").durable().await.unwrap();
    a.engine.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_never_opened_as_another_type() {
    let home = Home::new();
    let a = home.open("a", &[]).await;
    let plan = a.notes.create::<Automerge>().await.unwrap();
    assert!(matches!(a.notes.get::<Yrs>(plan.id()).await, Err(DocumentError::WrongType { .. })));
    let unknown = partita::core::DocumentId::from_bytes([9; 32]);
    assert!(matches!(a.notes.get::<Yrs>(unknown).await, Err(DocumentError::NotFound(_))));
    a.engine.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_imported_history_syncs_and_goes_on() {
    let home = Home::new();
    home.enrol("b");
    let relay = home.relay("relay").await;
    let url = relay.url().to_string();
    let mut old = automerge::AutoCommit::new();
    old.put(ROOT, "old", "x").unwrap();
    let a = home.open("a", &[&url]).await;
    let b = home.open("b", &[&url]).await;
    let plan = a.notes.import::<Automerge>(old.save()).await.unwrap();
    put(&plan, "new", "x").durable().await.unwrap();
    let plan_b = b.get::<Automerge>(plan.id()).await;
    common::has(&plan_b, "new").await;
    plan_b.read(|doc| assert!(string(doc, "old").is_some()));
    put(&plan_b, "from b", "x").durable().await.unwrap();
    common::has(&plan, "from b").await;
    a.engine.close().await.unwrap();
    b.engine.close().await.unwrap();
    relay.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_whole_history_is_not_imported() {
    use yrs::{ReadTxn as _, Text as _, Transact as _, WriteTxn as _};
    let home = Home::new();
    let a = home.open("a", &[]).await;
    let refused = |imported: Result<partita::Document<Automerge>, DocumentError>| match imported {
        Err(DocumentError::History(_)) => {}
        other => panic!("{other:?}"),
    };
    refused(a.notes.import(b"no history".to_vec()).await);
    let doc = yrs::Doc::with_client_id(7);
    let insert = |text: &str| {
        let mut tx = doc.transact_mut();
        let at = tx.get_or_insert_text("text");
        at.push(&mut tx, text);
        tx.state_vector()
    };
    let before = insert("missing");
    insert("here");
    let (whole, rest) =
        (doc.transact().encode_diff_v1(&yrs::StateVector::default()), doc.transact().encode_diff_v1(&before));
    assert!(matches!(a.notes.import::<Yrs>(rest).await, Err(DocumentError::History(_))), "it lacks what it builds on");
    refused(a.notes.import(whole.clone()).await);
    assert_eq!(a.notes.documents().await.unwrap(), []);
    a.notes.import::<Yrs>(whole).await.unwrap();
    a.engine.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_of_a_closed_engine_answer_with_errors_and_never_hang() {
    let home = Home::new();
    let a = home.open("a", &[]).await;
    let plan = a.notes.create::<Automerge>().await.unwrap();
    put(&plan, "kept", "x").durable().await.unwrap();
    let notes = a.notes.clone();
    a.engine.clone().close().await.unwrap();
    assert!(notes.documents().await.is_err());
    let late = plan.change(|tx| tx.put(ROOT, "late", "x"));
    if let Ok(late) = late {
        assert!(common::patiently("an answer", late.durable()).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_a_closure_spoils_after_the_close_is_an_error_and_never_hangs() {
    let home = Home::new();
    let a = home.open("a", &[]).await;
    let note = a.notes.create::<Yrs>().await.unwrap();
    note.change(|tx| insert(tx, "kept")).unwrap().durable().await.unwrap();
    a.engine.close().await.unwrap();
    assert!(note.change(|_| Err::<(), _>(partita::yrs::Error::Abort("mine".into()))).is_err());
    // Nobody loads it again.
    let (answer, reading) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || answer.send(note.try_read(text)));
    let read = common::patiently("an answer", reading).await.unwrap();
    assert!(matches!(read, Err(ChangeError::Unusable(_))), "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_watches_a_document_is_told_of_the_close_whenever_it_asks_and_whenever_it_began() {
    let home = Home::new();
    let a = home.open("a", &[]).await;
    let plan = a.notes.create::<Automerge>().await.unwrap();
    put(&plan, "kept", "x").durable().await.unwrap();
    let ((), before) = plan.subscribe(|_| ()).unwrap();
    a.engine.close().await.unwrap();
    let ((), after) = plan.subscribe(|_| ()).unwrap();
    for mut changes in [before, after] {
        for _ in 0..2 {
            assert_eq!(common::patiently("the end", changes.next()).await, None);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_keystore_is_an_error_and_never_a_new_identity() {
    let home = Home::new();
    home.open("a", &[]).await.engine.close().await.unwrap();
    std::fs::remove_file(home.path().join("a.key")).unwrap();
    let error = Engine::builder(home.path().join("a")).open().await.unwrap_err();
    assert!(matches!(error, OpenError::Keystore(partita::core::KeystoreError::Missing(_))), "{error}");
    assert!(matches!(FileKeystore::open(home.path().join("a.key")), Err(partita::core::KeystoreError::Missing(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_in_use_and_a_wrong_url_are_named() {
    let home = Home::new();
    let a = home.open("a", &[]).await;
    let error = home.builder("a", false).open().await.unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
    for url in ["wss://relay.example.org", "relay", "ws://relay#12", &format!("gopher://relay#{}", "ab".repeat(32))] {
        let error = home.builder("a", false).connect(url).open().await.unwrap_err();
        assert!(matches!(error, OpenError::Url(_) | OpenError::Transport(_)), "{url}: {error}");
    }
    a.engine.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_dropped_stores_what_was_changed_and_lets_go_of_its_file() {
    let home = Home::new();
    let a = home.open("a", &[]).await;
    let plan = a.notes.create::<Automerge>().await.unwrap();
    let id = plan.id();
    let _on_its_way = put(&plan, "kept", "x");
    drop((plan, a));
    let again = common::patiently("the file", async {
        loop {
            match home.builder("a", false).open().await {
                Ok(engine) => return engine,
                Err(OpenError::Store(StoreError::InUse(_))) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    });
    let again = common::Device::of(again.await).await;
    let plan = again.notes.get::<Automerge>(id).await.unwrap();
    plan.read(|doc| assert_eq!(string(doc, "kept"), Some("x".into())));
    again.engine.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_engine_has_let_go_of_its_file_whatever_was_being_loaded() {
    let home = Home::new();
    let a = home.open("a", &[]).await;
    let mut ids = Vec::new();
    for _ in 0..50 {
        let plan = a.notes.create::<Automerge>().await.unwrap();
        drop(put(&plan, "kept", "x"));
        ids.push(plan.id());
    }
    a.engine.close().await.unwrap();
    for round in 0..20 {
        let a = home.open("a", &[]).await; // in use, if the last one still reads
        let loading: Vec<_> = ids
            .iter()
            .map(|id| {
                let (notes, id) = (a.notes.clone(), *id);
                tokio::spawn(async move { notes.get::<Automerge>(id).await.map(drop) })
            })
            .collect();
        tokio::task::yield_now().await;
        a.engine.close().await.unwrap();
        for answer in loading {
            let answer = answer.await.unwrap();
            let closed = matches!(answer, Err(DocumentError::Engine(EngineError::Closed)));
            assert!(answer.is_ok() || closed, "round {round}: {answer:?}");
        }
    }
}

/// Lets nobody write while the application has something locked: a rule that asks the application's own state.
struct AsksTheApplication {
    rest: OpenStrategy,
    state: Arc<Mutex<()>>,
}

impl PartitionStrategy for AsksTheApplication {
    fn kinds(&self) -> &[ContextKind] {
        self.rest.kinds()
    }
    fn auth(&self) -> &dyn AuthProvider {
        self.rest.auth()
    }
    fn authorize(&self, _: &Claim<'_>) -> Verdict {
        let _state = self.state.lock().unwrap();
        Verdict::Accept
    }
    fn seal(&self, _: &HeaderPrefix<'_>, _: &[u8], _: &mut dyn CryptoRng) -> Result<Bytes, StrategyError> {
        Err(StrategyError("a guard seals nothing".into()))
    }
    fn open(&self, _: &HeaderPrefix<'_>, _: &Bytes) -> Opened {
        Opened::Bad
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_does_not_wait_for_a_strategy_that_waits_for_the_application() {
    let home = Home::new();
    let state = Arc::new(Mutex::new(()));
    let rule = AsksTheApplication { rest: OpenStrategy::new(), state: state.clone() };
    let keystore = FileKeystore::open(home.path().join("a.key")).unwrap();
    let owner = SingleOwner::open(&keystore).unwrap();
    let context = owner.context();
    let engine = Engine::builder(home.path().join("a")).strategy(AllOf::new(owner).and(rule)).open().await.unwrap();
    let plan = engine.context(context).await.unwrap().create::<Automerge>().await.unwrap();
    put(&plan, "before", "x").durable().await.unwrap();
    let (state, changed) = (state.clone(), plan.clone());
    let changing = tokio::task::spawn_blocking(move || {
        let _state = state.lock().unwrap();
        put(&changed, "while it is locked", "x")
    });
    let commit = common::patiently("a change of a thread that has locked what the strategy asks for", changing).await;
    commit.unwrap().durable().await.unwrap();
    engine.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_can_be_changed_inside_the_closure_of_another() {
    let home = Home::new();
    let a = home.open("a", &[]).await;
    let (plan, index) = (a.notes.create::<Automerge>().await.unwrap(), a.notes.create::<Automerge>().await.unwrap());
    let (outer, inner) = (plan.clone(), index.clone());
    let changing = tokio::task::spawn_blocking(move || {
        let mut commits = Vec::new();
        for n in 0..50 {
            let nested = outer.change(|tx| {
                tx.put(ROOT, "n", n)?;
                Ok(put(&inner, "last", &n.to_string()))
            });
            commits.push(nested.unwrap());
        }
        commits
    });
    for commit in common::patiently("changes inside changes", changing).await.unwrap() {
        commit.durable().await.unwrap().durable().await.unwrap();
    }
    index.read(|doc| assert_eq!(string(doc, "last"), Some("49".into())));
    a.engine.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::result_large_err)] // the library's own error
async fn threads_that_change_two_documents_inside_each_other_crosswise_do_not_wait_for_ever() {
    let home = Home::new();
    let a = home.open("a", &[]).await;
    let (plan, index) = (a.notes.create::<Automerge>().await.unwrap(), a.notes.create::<Automerge>().await.unwrap());
    let both_have_one = Arc::new(Barrier::new(2));
    let crosswise = |outer: &Document<Automerge>, inner: &Document<Automerge>| {
        let (outer, inner, both_have_one) = (outer.clone(), inner.clone(), both_have_one.clone());
        tokio::task::spawn_blocking(move || {
            let mut nested = None;
            let changed = outer.change(|tx| {
                both_have_one.wait();
                nested = Some(inner.change(|tx| tx.put(ROOT, "inner", "x")).map(drop));
                tx.put(ROOT, "outer", "x")
            });
            drop(changed.unwrap());
            nested.unwrap()
        })
    };
    let (one, other) = (crosswise(&plan, &index), crosswise(&index, &plan));
    let answers = common::patiently("an end", async { [one.await.unwrap(), other.await.unwrap()] }).await;
    let is_busy = |answer: &Result<(), ChangeError<AutomergeError>>| matches!(answer, Err(ChangeError::Busy));
    assert!(
        answers.iter().any(is_busy) && answers.iter().all(|answer| answer.is_ok() || is_busy(answer)),
        "{answers:?}"
    );
    for document in [plan, index] {
        assert_eq!(document.read(|doc| string(doc, "outer")), Some("x".into()));
        put(&document, "after", "x").durable().await.unwrap();
    }
    a.engine.close().await.unwrap();
}

/// A closure of the application may wait for what it has locked elsewhere, so no thread but the driver's runs it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_the_application_asks_of_its_strategy_runs_on_one_thread_whatever_others_do_meanwhile() {
    let home = Home::new();
    let (relay, a, b) = home.pair().await;
    let plan = a.notes.create::<Automerge>().await.unwrap();
    drop(b.get::<Automerge>(plan.id()).await);
    let writer = plan.clone();
    let writing = tokio::task::spawn_blocking(move || {
        for n in 0..400 {
            let _on_its_way = put(&writer, "n", &n.to_string());
        }
    });
    for _ in 0..400 {
        let thread = a.engine.with_strategy::<SingleOwner, _>(|_, _| std::thread::current().name().map(str::to_owned));
        assert_eq!(thread.await.unwrap().as_deref(), Some("partita-node"));
    }
    writing.await.unwrap();
    a.engine.close().await.unwrap();
    b.engine.close().await.unwrap();
    relay.close().await;
}
