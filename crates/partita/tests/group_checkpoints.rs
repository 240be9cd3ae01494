//! Checkpoints in a group in which not everybody may read everything: a snapshot goes to exactly those who may.

use std::sync::{Arc, Mutex, atomic::AtomicBool};

use crate::common::{has, patiently, put, string};
use crate::spoiler::Spoiler;
use crate::town::{Person, Town};
use partita::{
    CheckpointError, CheckpointOutcome, DocumentError, Engine, SystemRandom,
    automerge::Automerge,
    core::DocumentId,
    group::{Group, History, Policy, Role},
};

impl Town {
    /// Somebody whom another adds by a card, with as much of the past.
    async fn added(&self, by: &Person, name: &str, history: History, url: &str) -> Person {
        let card = Group::card(&*self.keystore(name), &mut SystemRandom).unwrap();
        let handed = card.clone();
        by.ask(move |group, turn| group.add(turn, &handed, Role::Write, history)).await.unwrap();
        let group = Group::added(self.keystore(name), by.group.id(), &card).unwrap();
        let person = self.start(name, group, &[url]).await;
        person.until("its own admission", |group| group.role().is_some()).await;
        person
    }
}

async fn prunes(person: &Person, entries: u64) {
    let mut events = person.engine.events();
    patiently("a checkpoint", async {
        while person.engine.status().await.unwrap().contexts.remove(0).pruned < entries {
            let _ = events.recv().await;
        }
    })
    .await;
}

async fn is_withheld(person: &Person, document: DocumentId) {
    let refused = person.group.get::<Automerge>(document).await.err();
    assert_eq!(refused, Some(DocumentError::Withheld(document)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pruned_stays_readable_for_those_who_may_read_it_and_is_shown_to_nobody_else() {
    let town = Town::new();
    let relay = town.relay().await;
    let url = relay.url().to_string();
    let ada = town.start("ada", town.found("ada", Policy::default()), &[&url]).await;
    let first = ada.group.create::<Automerge>().await.unwrap();
    put(&first, "ada", "x").durable().await.unwrap();
    let cay = town.added(&ada, "cay", History::FromNow, &url).await;
    let second = cay.group.create::<Automerge>().await.unwrap();
    put(&second, "cay", "x").durable().await.unwrap();
    cay.relayed().await;
    has(&ada.get(second.id()).await, "cay").await;
    let dan = town.added(&ada, "dan", History::FromNow, &url).await;
    let third = dan.group.create::<Automerge>().await.unwrap();
    put(&third, "dan", "x").durable().await.unwrap();
    put(&first, "later", "x").durable().await.unwrap();
    has(&cay.get(third.id()).await, "dan").await;
    has(&ada.get(third.id()).await, "dan").await;

    // All three attest, each as far as it may read: seven entries, one of them written by each of them alone.
    assert_eq!(ada.group.checkpoint().await.unwrap(), CheckpointOutcome::Claimed);
    for person in [&ada, &cay, &dan] {
        prunes(person, 7).await;
    }
    let ids = [first.id(), second.id(), third.id()];
    let digests = [first.digest().unwrap(), second.digest().unwrap(), third.digest().unwrap()];
    let id = ada.group.id();
    for person in [ada, cay, dan] {
        person.engine.close().await.unwrap();
    }
    let ada = town.again("ada", id, &[&url]).await;
    let cay = town.again("cay", id, &[&url]).await;
    let dan = town.again("dan", id, &[&url]).await;
    for (person, from) in [(&ada, 0), (&cay, 1), (&dan, 2)] {
        for (document, digest) in ids.iter().zip(digests).skip(from) {
            assert_eq!(person.get(*document).await.digest().unwrap(), digest);
        }
        for document in &ids[..from] {
            is_withheld(person, *document).await;
        }
    }

    // Newcomers take what they may read from the relay, of which nobody who was there has to be online.
    let eve = town.added(&ada, "eve", History::All, &url).await;
    let fay = town.added(&ada, "fay", History::FromNow, &url).await;
    ada.relayed().await;
    prunes(&eve, 7).await;
    for (document, digest) in ids.into_iter().zip(digests) {
        assert_eq!(eve.get(document).await.digest().unwrap(), digest);
        prunes(&fay, 7).await;
        is_withheld(&fay, document).await;
    }

    // Who may read what changed makes the next checkpoint; who may not cannot, and says why.
    put(&cay.get(ids[1]).await, "again", "x").durable().await.unwrap();
    cay.relayed().await;
    has(&ada.get(ids[1]).await, "again").await;
    has(&eve.get(ids[1]).await, "again").await;
    assert_eq!(cay.group.checkpoint().await.unwrap(), CheckpointOutcome::Claimed);
    for person in [&ada, &cay, &dan, &eve, &fay] {
        prunes(person, 8).await;
    }
    put(&ada.get(ids[0]).await, "more", "x").durable().await.unwrap();
    ada.relayed().await;
    has(&eve.get(ids[0]).await, "more").await;
    let mut events = cay.engine.events();
    let refused = patiently("an entry that cay may not read", async {
        loop {
            match cay.group.checkpoint().await {
                Ok(CheckpointOutcome::NothingToDo) => drop(events.recv().await),
                other => return other,
            }
        }
    });
    let refused = refused.await;
    assert!(matches!(refused, Err(CheckpointError::NotNow(document, _)) if document == ids[0]), "{refused:?}");
    assert_eq!(eve.group.checkpoint().await.unwrap(), CheckpointOutcome::Claimed);
    for person in [&ada, &cay, &dan, &eve, &fay] {
        prunes(person, 9).await;
    }
    is_withheld(&cay, ids[0]).await;
    ada.get(ids[1]).await.read(|doc| assert!(string(doc, "again").is_some()));

    // Whoever is removed reads no snapshot that was made since, and the others still do.
    let gone = cay.ask(|group, _| group.member()).await;
    ada.ask(move |group, turn| group.remove(turn, gone)).await.unwrap();
    put(&ada.get(ids[1]).await, "without cay", "x").durable().await.unwrap();
    ada.relayed().await;
    has(&eve.get(ids[1]).await, "without cay").await;
    assert_eq!(eve.group.checkpoint().await.unwrap(), CheckpointOutcome::Claimed);
    for person in [&ada, &dan, &eve, &fay] {
        prunes(person, 10).await;
    }
    for person in [ada, cay, dan, eve, fay] {
        person.engine.close().await.unwrap();
    }
    relay.close().await;
}

/// Anybody who may write can name any epoch: what does not open is in no snapshot, and decides nothing about its readers.
#[tokio::test(flavor = "multi_thread")]
async fn nonsense_under_keys_of_before_takes_a_document_from_nobody() {
    let town = Town::new();
    let relay = town.relay().await;
    let url = relay.url().to_string();
    let ada = town.start("ada", town.found("ada", Policy::default()), &[&url]).await;
    let first = ada.ask(|group, turn| group.rotate(turn)).await;
    first.unwrap();
    let first = ada.ask(|group, _| group.status().epoch).await.unwrap();
    let card = Group::card(&*town.keystore("mallory"), &mut SystemRandom).unwrap();
    let handed = card.clone();
    ada.ask(move |group, turn| group.add(turn, &handed, Role::Write, History::FromNow)).await.unwrap();
    let cay = town.added(&ada, "cay", History::FromNow, &url).await;
    let dan = town.added(&ada, "dan", History::FromNow, &url).await;
    let plan = cay.group.create::<Automerge>().await.unwrap();
    put(&plan, "cay", "x").durable().await.unwrap();
    let plan_a = ada.get(plan.id()).await;
    has(&plan_a, "cay").await;

    let inner = Group::added(town.keystore("mallory"), ada.group.id(), &card).unwrap();
    let spoils = Arc::new(AtomicBool::new(false));
    let mallory = Spoiler { inner, spoils: spoils.clone(), under: Arc::new(Mutex::new(Some(first))) };
    let builder = Engine::builder(town.path().join("mallory")).strategy(mallory).transport(town.network.clone());
    let engine = builder.connect(url.as_str()).open().await.unwrap();
    let group = engine.context(ada.group.id()).await.unwrap();
    let mallory = Person { engine, group };
    let plan_m = mallory.get(plan.id()).await;
    has(&plan_m, "cay").await;
    spoils.store(true, std::sync::atomic::Ordering::SeqCst);
    put(&plan_m, "nonsense", "x").durable().await.unwrap();
    spoils.store(false, std::sync::atomic::Ordering::SeqCst);
    let mut events = ada.engine.events();
    patiently("the nonsense", async {
        while ada.group.set_aside().await.unwrap().is_empty() {
            let _ = events.recv().await;
        }
    })
    .await;

    assert_eq!(ada.group.checkpoint().await.unwrap(), CheckpointOutcome::Claimed);
    for person in [&ada, &cay, &dan, &mallory] {
        prunes(person, 3).await;
    }
    // Nothing of it is left here but the snapshot.
    assert_eq!(dan.get(plan.id()).await.digest().unwrap(), plan_a.digest().unwrap());
    for person in [ada, cay, dan, mallory] {
        person.engine.close().await.unwrap();
    }
    relay.close().await;
}
