//! What somebody may not read is shared as a copy.

use std::{any::Any, convert::Infallible};

use crate::common::{self, Home, has, put, shows, string};
use crate::town::Town;
use automerge::{ROOT, transaction::Transactable};
use partita::{
    DocumentError, SystemRandom,
    automerge::Automerge,
    core::{
        ActorSeed, Applied, CopyError, CrdtDocument, CrdtError, CrdtType, CrdtTypeId, Digest, DocumentType, Limits,
        Transact, digest_hasher,
    },
    group::{Group, History, Policy, Role},
    yrs::Yrs,
};
use yrs::{GetString, ReadTxn, Text, WriteTxn};

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_read_an_old_document_reads_and_edits_a_copy_that_a_member_shares() {
    let town = Town::new();
    let relay = town.relay().await;
    let url = relay.url().to_string();
    let ada = town.start("ada", town.found("ada", Policy::default()), &[&url]).await;
    let old = ada.group.create::<Automerge>().await.unwrap();
    put(&old, "secret", "CANARY").durable().await.unwrap();
    put(&old, "title", "beds").durable().await.unwrap();
    let gone = old.change(|tx| tx.delete(ROOT, "secret")).unwrap();
    gone.durable().await.unwrap();
    let card = Group::card(&*town.keystore("ben"), &mut SystemRandom).unwrap();
    let handed = card.clone();
    ada.ask(move |group, turn| group.add(turn, &handed, Role::Write, History::FromNow)).await.unwrap();
    let group = Group::added(town.keystore("ben"), ada.group.id(), &card).unwrap();
    let ben = town.start("ben", group, &[&url]).await;

    let copy = ada.group.share_copy(&old).await.unwrap();
    assert_ne!(copy.id(), old.id());
    assert_eq!(copy.digest().unwrap(), old.digest().unwrap());
    let copy_b = ben.get(copy.id()).await;
    has(&copy_b, "title").await;
    assert_eq!(copy_b.digest().unwrap(), copy.digest().unwrap());
    let refused = ben.group.get::<Automerge>(old.id()).await.err();
    assert!(matches!(refused, Some(DocumentError::Withheld(_))), "{refused:?}");

    // What ben holds of it is one change of nobody's, without what was deleted.
    copy_b.read(|doc| {
        assert_eq!(doc.get_changes(&[]).len(), 1);
        let bytes = doc.clone().save_nocompress();
        assert!(!bytes.windows(6).any(|window| window == b"CANARY"));
        let authors = old.read(|old| old.get_changes(&[]));
        assert!(authors.iter().all(|change| *change.actor_id() != *doc.get_changes(&[])[0].actor_id()));
    });
    put(&copy_b, "answer", "heard").durable().await.unwrap();
    has(&copy, "answer").await;
    assert_eq!(old.read(|doc| string(doc, "answer")), None);
    put(&old, "later", "in the old one alone").durable().await.unwrap();
    assert_eq!(copy.read(|doc| string(doc, "later")), None);
    for person in [ada, ben] {
        person.engine.close().await.unwrap();
    }

    // Both are still there at the next start.
    let ada = town.again("ada", copy.context(), &[&url]).await;
    has(&ada.get(copy.id()).await, "answer").await;
    has(&ada.get(old.id()).await, "later").await;
    ada.engine.close().await.unwrap();
    relay.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_yrs_document_is_a_document_like_any_other() {
    let home = Home::new();
    let (relay, a, b) = home.pair().await;
    let old = a.notes.create::<Yrs>().await.unwrap();
    let write = |text: &'static str| {
        old.change(|tx| {
            tx.get_or_insert_text("plan").insert(tx, 0, text);
            Ok(())
        })
        .unwrap()
    };
    let _ = write("bread");
    write("milk, ").durable().await.unwrap();
    let copy = a.notes.share_copy(&old).await.unwrap();
    let copy_b = b.get::<Yrs>(copy.id()).await;
    let plan = |tx: &yrs::Transaction<'_>| tx.get_text("plan").map(|plan| plan.get_string(tx)).unwrap_or_default();
    shows(&copy_b, "the copy's text", |tx| plan(tx) == "milk, bread").await;
    let edited = copy_b.change(|tx| {
        tx.get_or_insert_text("plan").push(tx, ", tea");
        Ok(())
    });
    edited.unwrap().durable().await.unwrap();
    shows(&copy, "the edit", |tx| plan(tx) == "milk, bread, tea").await;
    assert_eq!(old.read(plan), "milk, bread");
    for device in [a, b] {
        device.engine.close().await.unwrap();
    }
    relay.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_can_be_no_copy_nothing_is_created() {
    let home = Home::new();
    let engine = home.builder("a", false).crdt(Plain).open().await.unwrap();
    let a = common::Device::of(engine).await;
    let document = a.notes.create::<Plain>().await.unwrap();
    let refused = a.notes.share_copy(&document).await.unwrap_err();
    assert_eq!(refused, DocumentError::Copy(CopyError::Unsupported));
    assert!(refused.to_string().contains("documents of this type cannot be copied"), "{refused}");

    // A document of another context stays there.
    let town = Town::new();
    let ada = town.start("ada", town.found("ada", Policy::default()), &[]).await;
    let foreign = ada.group.create::<Automerge>().await.unwrap();
    let refused = a.notes.share_copy(&foreign).await.unwrap_err();
    assert_eq!(refused, DocumentError::OtherContext(foreign.id(), ada.group.id()));

    // Nor can a document be copied from inside its own closure.
    let inside = foreign.read(|_| {
        let mut copying = Box::pin(ada.group.share_copy(&foreign));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        copying.as_mut().poll(&mut context)
    });
    assert!(matches!(inside, std::task::Poll::Ready(Err(DocumentError::Unreadable(..)))), "{inside:?}");
    assert_eq!(ada.group.documents().await.unwrap(), [foreign.id()]);
    assert_eq!(a.notes.documents().await.unwrap(), [document.id()]);
    a.engine.close().await.unwrap();
    ada.engine.close().await.unwrap();
}

/// A type that has nothing, and no way to copy it.
#[derive(Default)]
struct Plain;

struct Nothing;

impl CrdtType for Plain {
    fn id(&self) -> CrdtTypeId {
        CrdtTypeId(*b"xnil")
    }

    fn validate(&self, _: &[u8], _: Option<ActorSeed>, _: &Limits) -> Result<(), CrdtError> {
        Ok(())
    }

    fn create(&self, _: ActorSeed) -> Box<dyn CrdtDocument> {
        Box::new(Nothing)
    }

    fn load(&self, _: &[u8], _: ActorSeed) -> Result<Box<dyn CrdtDocument>, CrdtError> {
        Ok(Box::new(Nothing))
    }
}

impl CrdtDocument for Nothing {
    fn apply(&mut self, payloads: &[&[u8]]) -> Vec<Result<Applied, CrdtError>> {
        vec![Ok(Applied::Known); payloads.len()]
    }

    fn take_local(&mut self, _: &Limits) -> Result<Option<Vec<u8>>, CrdtError> {
        Ok(None)
    }

    fn snapshot(&self) -> Result<Vec<u8>, CrdtError> {
        Ok(Vec::new())
    }

    fn pending(&self) -> usize {
        0
    }

    fn digest(&self) -> Digest {
        digest_hasher().finish()
    }

    fn same_history(&self, other: &dyn CrdtDocument) -> bool {
        other.as_any().is::<Self>()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl DocumentType for Plain {
    type Doc = Nothing;
    type Tx<'a> = ();
    type View<'a> = ();
    type Error = Infallible;

    fn transact<R>(
        _: &mut Nothing,
        f: impl FnOnce(&mut ()) -> Result<R, Infallible>,
    ) -> Result<R, Transact<Infallible>> {
        f(&mut ()).map_err(Transact::Closure)
    }

    fn view<R>(_: &Nothing, f: impl FnOnce(&()) -> R) -> R {
        f(&())
    }
}
