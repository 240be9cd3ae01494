//! The API on one page: an owner, documents of two CRDT libraries, a subscription, and another day.

use automerge::{ROOT, ReadDoc as _, transaction::Transactable as _};
use partita::{Engine, FileKeystore, SystemRandom, automerge::Automerge, single_owner::SingleOwner, yrs::Yrs};
use yrs::{GetString as _, ReadTxn as _, Text as _, WriteTxn as _};

pub(crate) async fn run() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let folder = tempfile::tempdir()?;
    let (file, keys) = (folder.path().join("notes.partita"), folder.path().join("notes.partita.key"));

    // Once: this device becomes the first one of a new owner. The owner writes the words down; nothing keeps them.
    let (owner, words) = SingleOwner::create(&FileKeystore::create(&keys)?, &mut SystemRandom)?;
    println!("whoever has these {} words is the owner", words.phrase().split(' ').count());
    let id = owner.context();

    // With `.connect("wss://relay.example.org#<relay id>")` it would meet the owner's other devices.
    let engine = Engine::builder(&file).strategy(owner).open().await?;
    let notes = engine.context(id).await?;

    let plan = notes.create::<Automerge>().await?;
    plan.change(|tx| tx.put(ROOT, "title", "Plan"))?.durable().await?; // now it survives a power cut

    let list = notes.create::<Yrs>().await?;
    let (before, mut changes) = list.subscribe(|tx| tx.get_text("list").map(|list| list.get_string(tx)))?;
    assert_eq!(before, None);
    let commit = list.change(|tx| {
        let text = tx.get_or_insert_text("list");
        text.push(tx, "milk, bread");
        Ok(())
    })?;
    changes.next().await.ok_or("the engine is open")?; // changes of other devices come the same way
    commit.durable().await?;
    engine.close().await?;

    // Another day: the keys say which device this is.
    let owner = SingleOwner::open(&FileKeystore::open(&keys)?)?;
    let engine = Engine::builder(&file).strategy(owner).open().await?;
    let notes = engine.context(id).await?;
    assert_eq!(notes.documents().await?.len(), 2);
    let plan = notes.get::<Automerge>(plan.id()).await?;
    let title = plan.read(|doc| doc.get(ROOT, "title").ok()??.0.into_string().ok());
    let list = notes.get::<Yrs>(list.id()).await?;
    let list = list.read(|tx| tx.get_text("list").map(|list| list.get_string(tx)));
    assert_eq!((title.as_deref(), list.as_deref()), (Some("Plan"), Some("milk, bread")));
    engine.close().await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    run().await
}
