//! A device writes a change that was not sealed for what its header says: it is set aside wherever it comes, and what was
//! written before and after it is applied.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use crate::common::{Device, Home, has, put, string};
use crate::spoiler::Spoiler;
use partita::{Context, Engine, FileKeystore, Reason, automerge::Automerge, single_owner::SingleOwner};

async fn reasons(notes: &Context) -> Vec<Reason> {
    notes.set_aside().await.unwrap().iter().map(|entry| entry.reason).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_does_not_open_is_set_aside_and_those_around_it_are_applied() {
    let home = Home::new();
    home.enrol("b");
    home.enrol("c");
    let relay = home.relay("relay").await;
    let url = relay.url().to_string();
    let spoils = Arc::new(AtomicBool::new(false));
    let inner = SingleOwner::open(&FileKeystore::open(home.path().join("a.key")).unwrap()).unwrap();
    let spoiler = Spoiler { inner, spoils: spoils.clone(), under: Arc::default() };
    let builder = Engine::builder(home.path().join("a")).strategy(spoiler).transport(home.network.clone());
    let a = Device::of(builder.connect(&url).open().await.unwrap()).await;
    let b = home.open("b", &[&url]).await;

    let note = a.notes.create::<Automerge>().await.unwrap();
    put(&note, "before", "x").durable().await.unwrap();
    let at_b = b.get::<Automerge>(note.id()).await;
    has(&at_b, "before").await;
    spoils.store(true, SeqCst);
    put(&note, "spoilt", "x").durable().await.unwrap();
    spoils.store(false, SeqCst);

    // While the document is loaded.
    b.until("the spoilt change", || async { !reasons(&b.notes).await.is_empty() }).await;
    assert_eq!(reasons(&b.notes).await, [Reason::BadSeal]);

    // On a device that gets everything at once.
    let c = home.open("c", &[&url]).await;
    let at_c = c.get::<Automerge>(note.id()).await;
    c.until("the spoilt change", || async { !reasons(&c.notes).await.is_empty() }).await;
    assert_eq!(reasons(&c.notes).await, [Reason::BadSeal]);

    put(&at_b, "after", "x").durable().await.unwrap();
    for at in [&at_b, &at_c] {
        has(at, "before").await;
        has(at, "after").await;
        assert_eq!(at.read(|doc| string(doc, "spoilt")), None);
    }
    // When the document is loaded again from what the store holds.
    b.engine.close().await.unwrap();
    let b = home.open("b", &[]).await;
    let at_b = b.get::<Automerge>(note.id()).await;
    has(&at_b, "before").await;
    assert_eq!(at_b.read(|doc| string(doc, "spoilt")), None);
    assert_eq!(reasons(&b.notes).await, [Reason::BadSeal]);
}
