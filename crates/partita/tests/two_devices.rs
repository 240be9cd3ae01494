//! One owner's two devices, a real relay, real files and sockets.

use partita::{
    Engine, FileKeystore, SystemRandom,
    automerge::Automerge,
    single_owner::{Mnemonic, SingleOwner},
    yrs::Yrs,
};
use partita_relay::Relay;
use std::path::Path;

async fn first(folder: &Path, url: &str) -> (Engine, Mnemonic) {
    let keystore = FileKeystore::create(folder.join("a.key")).unwrap();
    let (owner, mnemonic) = SingleOwner::create(&keystore, &mut SystemRandom).unwrap();
    let engine = Engine::builder(folder.join("a")).strategy(owner).connect(url).open().await.unwrap();
    (engine, mnemonic)
}

async fn another(folder: &Path, url: &str, mnemonic: &Mnemonic) -> Engine {
    let keystore = FileKeystore::create(folder.join("b.key")).unwrap();
    let request = SingleOwner::request(&keystore, &mut SystemRandom).unwrap();
    SingleOwner::accept(&keystore, &SingleOwner::certify(mnemonic, &request)).unwrap();
    let owner = SingleOwner::open(&keystore).unwrap();
    Engine::builder(folder.join("b")).strategy(owner).connect(url).open().await.unwrap()
}

/// Failure mode 3: real ids, texts and keys, all the way from one device to the other; nothing is mocked.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_device_writes_the_other_reads() {
    use automerge::{ROOT, ReadDoc as _, transaction::Transactable as _};
    use yrs::{GetString as _, ReadTxn as _, Text as _, WriteTxn as _};
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::builder(folder.path().join("relay")).listen("ws://127.0.0.1:0").open().await.unwrap();
    let url = relay.url().to_string();
    let (a, mnemonic) = first(folder.path(), &url).await;
    let b = another(folder.path(), &url, &mnemonic).await;
    let id = a.with_strategy::<SingleOwner, _>(|owner, _| owner.context()).await.unwrap();
    let (notes_a, notes_b) = (a.context(id).await.unwrap(), b.context(id).await.unwrap());

    let plan = notes_a.create::<Automerge>().await.unwrap();
    plan.change(|tx| tx.put(ROOT, "title", "Plan")).unwrap().durable().await.unwrap();
    let text = notes_a.create::<Yrs>().await.unwrap();
    text.change(|tx| {
        let t = tx.get_or_insert_text("text");
        t.insert(tx, 0, "hello");
        Ok(())
    })
    .unwrap()
    .durable()
    .await
    .unwrap();
    notes_a.acknowledged().await.unwrap();

    let mut events = b.events();
    let plan_b = loop {
        match notes_b.get::<Automerge>(plan.id()).await {
            Ok(document) => break document,
            Err(error) => {
                eprintln!("{error}");
                eprintln!("{:?}", events.recv().await);
            }
        }
    };
    let (mut title, mut changes) =
        plan_b.subscribe(|doc| doc.get(ROOT, "title").unwrap().map(|(v, _)| v.to_string())).unwrap();
    while title.is_none() {
        eprintln!("{:?} {:?}", changes.next().await, b.status().await);
        title = plan_b.read(|doc| doc.get(ROOT, "title").unwrap().map(|(v, _)| v.to_string()));
    }
    let text_b = loop {
        match notes_b.get::<Yrs>(text.id()).await {
            Ok(document) => break document,
            Err(error) => {
                eprintln!("{error}");
                eprintln!("{:?}", events.recv().await);
            }
        }
    };
    let (mut hello, mut changes) = text_b.subscribe(|tx| tx.get_text("text").map(|t| t.get_string(tx))).unwrap();
    while hello.is_none() {
        changes.next().await;
        hello = text_b.read(|tx| tx.get_text("text").map(|t| t.get_string(tx)));
    }
    assert_eq!(hello.as_deref(), Some("hello"));
    assert_eq!(plan.digest(), plan_b.digest());
    a.close().await.unwrap();
    b.close().await.unwrap();
    relay.close().await;
}
