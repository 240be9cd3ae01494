//! Many contexts in one engine, each with its own strategy; real files and sockets.

use std::path::Path;

use automerge::{ROOT, ReadDoc as _, transaction::Transactable as _};
use partita::{
    Context, Document, Engine, FileKeystore, SystemRandom,
    automerge::Automerge,
    core::{ContextId, DocumentId, NamedKeystore},
    multi_context::MultiContext,
    single_owner::{Mnemonic, SingleOwner},
};
use partita_relay::Relay;

const WORK: &str = "work";

fn keystore(folder: &Path) -> FileKeystore {
    let path = folder.join("notes.key");
    FileKeystore::open(&path).or_else(|_| FileKeystore::create(&path)).unwrap()
}

/// What `name` says in a document.
fn said(document: &Document<Automerge>, name: &str) -> Option<String> {
    document.read(|doc| doc.get(ROOT, name).unwrap().map(|(value, _)| value.into_string().unwrap()))
}

async fn write(document: &Document<Automerge>, name: &str, value: &str) {
    document.change(|tx| tx.put(ROOT, name, value)).unwrap().durable().await.unwrap();
}

/// The document with what `name` says in it, once both are here.
async fn arrived(engine: &Engine, context: &Context, document: DocumentId, name: &str) -> String {
    let mut events = engine.events();
    loop {
        if let Ok(document) = context.get::<Automerge>(document).await {
            let (mut found, mut changes) = document
                .subscribe(|doc| doc.get(ROOT, name).unwrap().map(|(value, _)| value.into_string().unwrap()))
                .unwrap();
            while found.is_none() {
                changes.next().await;
                found = said(&document, name);
            }
            return found.unwrap();
        }
        let _ = events.recv().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_store_of_one_owner_opens_unchanged_as_one_of_many() {
    let folder = tempfile::tempdir().unwrap();
    let (store, keys) = (folder.path().join("notes"), keystore(folder.path()));
    let (owner, _) = SingleOwner::create(&keys, &mut SystemRandom).unwrap();
    let private = owner.context();
    let alone = Engine::builder(&store).strategy(owner).open().await.unwrap();
    let plan = alone.context(private).await.unwrap().create::<Automerge>().await.unwrap();
    write(&plan, "title", "Plan").await;
    let id = plan.id();
    drop(plan);
    alone.close().await.unwrap();

    let part = NamedKeystore::new(&keys, WORK);
    let (owner, _) = SingleOwner::create(&part, &mut SystemRandom).unwrap();
    let work = owner.context();
    let many = MultiContext::new().with(SingleOwner::open(&keys).unwrap()).with(owner);
    let many = Engine::builder(&store).strategy(many).open().await.unwrap();
    let plan = many.context(private).await.unwrap().get::<Automerge>(id).await.unwrap();
    assert_eq!(said(&plan, "title").as_deref(), Some("Plan"));
    write(&plan, "more", "as one of many").await;
    let report = many.context(work).await.unwrap().create::<Automerge>().await.unwrap();
    write(&report, "title", "Report").await;
    assert!(many.context(private).await.unwrap().get::<Automerge>(report.id()).await.is_err(), "not in that context");

    // The plugin is still found, the first of the type; and each of the two by its context.
    let found = many.with_strategy::<SingleOwner, _>(|owner, _| owner.context()).await.unwrap();
    assert_eq!(found, private);
    for context in [private, work] {
        let found = many.with_strategy::<MultiContext, _>(move |multi, turn| {
            multi
                .with_strategy_of::<SingleOwner, _>(&context, turn, |owner, _| (owner.context(), owner.devices().len()))
        });
        assert_eq!(found.await.unwrap(), Ok((context, 1)));
    }
    drop((plan, report));
    many.close().await.unwrap();

    let owner = SingleOwner::open(&keys).unwrap();
    let alone = Engine::builder(&store).strategy(owner).open().await.unwrap();
    let plan = alone.context(private).await.unwrap().get::<Automerge>(id).await.unwrap();
    assert_eq!(said(&plan, "more").as_deref(), Some("as one of many"), "and back");
    drop(plan);
    alone.close().await.unwrap();
}

/// A device: its own owner's, and the firm's where it has the words.
fn device(folder: &Path, private: Option<&Mnemonic>, work: Option<&Mnemonic>) -> (MultiContext, Vec<ContextId>) {
    let keys = keystore(folder);
    let part = NamedKeystore::new(&keys, WORK);
    let (mut multi, mut contexts) = (MultiContext::new(), Vec::new());
    for (words, keys) in [(private, &keys as &dyn partita::core::Keystore), (work, &part)] {
        let Some(words) = words else { continue };
        let request = SingleOwner::request(keys, &mut SystemRandom).unwrap();
        SingleOwner::accept(keys, &SingleOwner::certify(words, &request)).unwrap();
        let owner = SingleOwner::open(keys).unwrap();
        contexts.push(owner.context());
        multi = multi.with(owner);
    }
    (multi, contexts)
}

fn words() -> Mnemonic {
    let folder = tempfile::tempdir().unwrap();
    SingleOwner::create(&keystore(folder.path()), &mut SystemRandom).unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn over_one_connection_each_owners_devices_get_that_owners_context_alone() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::builder(folder.path().join("relay")).listen("ws://127.0.0.1:0").open().await.unwrap();
    let (private_words, work_words) = (words(), words());
    let mut engines = Vec::new();
    let mut ids = Vec::new();
    for (name, private, work) in [
        ("both", Some(&private_words), Some(&work_words)),
        ("home", Some(&private_words), None),
        ("office", None, Some(&work_words)),
    ] {
        let folder = folder.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        let (strategy, contexts) = device(&folder, private, work);
        ids.push(contexts);
        let builder = Engine::builder(folder.join("notes")).strategy(strategy);
        engines.push(builder.connect(relay.url().to_string()).open().await.unwrap());
    }
    let [both, home, office] = &engines[..] else { panic!("three engines") };
    let (private, work) = (ids[0][0], ids[0][1]);
    assert_eq!((&ids[1][..], &ids[2][..]), (&[private][..], &[work][..]));

    let plan = both.context(private).await.unwrap().create::<Automerge>().await.unwrap();
    let report = both.context(work).await.unwrap().create::<Automerge>().await.unwrap();
    write(&plan, "title", "Plan").await;
    write(&report, "title", "Report").await;
    let (at_home, at_work) = (home.context(private).await.unwrap(), office.context(work).await.unwrap());
    assert_eq!(arrived(home, &at_home, plan.id(), "title").await, "Plan");
    assert_eq!(arrived(office, &at_work, report.id(), "title").await, "Report");
    assert!(home.context(work).await.is_err() && office.context(private).await.is_err());
    for engine in engines {
        engine.close().await.unwrap();
    }
    relay.close().await;
}
