//! A member's program is hostile. It writes changes under another replica's actor: they are set aside on every replica,
//! whichever comes first, and the victim's own changes are applied. (Tried without the validator: automerge refuses, and yrs
//! silently drops, whichever comes second, and honest replicas diverge for good.) Or it writes what fits nowhere, and that
//! holds up nobody.

use std::{
    any::Any,
    sync::{Arc, Mutex},
};

use crate::common::{self, Home, has, patiently, put, string};
use partita::{
    CheckpointOutcome, Context, Reason,
    automerge::Automerge,
    core::{ActorSeed, Applied, CrdtDocument, CrdtError, CrdtType, CrdtTypeId, Digest, DocumentType, Limits, Transact},
    single_owner::SingleOwner,
    yrs::Yrs,
};

/// Payloads to send in the place of honest ones, by whose turn it is to write.
type Forged = Arc<Mutex<Vec<Forgery>>>;
type Forgery = Box<dyn Fn(ActorSeed) -> Vec<u8> + Send>;

/// The tests of this file take turns: what is forged is there once.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
static AUTOMERGE: std::sync::LazyLock<Forged> = std::sync::LazyLock::new(Forged::default);
static YRS: std::sync::LazyLock<Forged> = std::sync::LazyLock::new(Forged::default);

/// A hostile build of a CRDT type: what it hands out as its own changes are the forged payloads.
struct Hostile {
    id: CrdtTypeId,
    forged: Forged,
}

impl Hostile {
    fn automerge() -> Self {
        Self { id: Automerge.id(), forged: AUTOMERGE.clone() }
    }

    fn yrs() -> Self {
        Self { id: Yrs.id(), forged: YRS.clone() }
    }
}

struct HostileDoc(Forged, ActorSeed);

impl CrdtType for Hostile {
    fn id(&self) -> CrdtTypeId {
        self.id
    }
    fn validate(&self, _: &[u8], _: Option<ActorSeed>, _: &Limits) -> Result<(), CrdtError> {
        Ok(())
    }
    fn create(&self, actor: ActorSeed) -> Box<dyn CrdtDocument> {
        Box::new(HostileDoc(self.forged.clone(), actor))
    }
    fn load(&self, _: &[u8], actor: ActorSeed) -> Result<Box<dyn CrdtDocument>, CrdtError> {
        Ok(self.create(actor))
    }
}

impl CrdtDocument for HostileDoc {
    fn apply(&mut self, payloads: &[&[u8]]) -> Vec<Result<Applied, CrdtError>> {
        payloads.iter().map(|_| Ok(Applied::Done)).collect()
    }
    fn take_local(&mut self, _: &Limits) -> Result<Option<Vec<u8>>, CrdtError> {
        Ok(self.0.lock().unwrap().pop().map(|forge| forge(self.1)))
    }
    fn snapshot(&self) -> Result<Vec<u8>, CrdtError> {
        Ok(Vec::new())
    }
    fn pending(&self) -> usize {
        0
    }
    fn digest(&self) -> Digest {
        Digest::ZERO
    }
    fn same_history(&self, _: &dyn CrdtDocument) -> bool {
        false
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// The typed halves, so that the hostile member can say "changed" about its document.
macro_rules! hostile_type {
    ($name:ident, $new:ident) => {
        #[derive(Default)]
        struct $name;
        impl CrdtType for $name {
            fn id(&self) -> CrdtTypeId {
                Hostile::$new().id
            }
            fn validate(&self, _: &[u8], _: Option<ActorSeed>, _: &Limits) -> Result<(), CrdtError> {
                Ok(())
            }
            fn create(&self, actor: ActorSeed) -> Box<dyn CrdtDocument> {
                Hostile::$new().create(actor)
            }
            fn load(&self, snapshot: &[u8], actor: ActorSeed) -> Result<Box<dyn CrdtDocument>, CrdtError> {
                Hostile::$new().load(snapshot, actor)
            }
        }
        impl DocumentType for $name {
            type Doc = HostileDoc;
            type Tx<'a> = ();
            type View<'a> = ();
            type Error = std::fmt::Error;
            fn transact<R>(
                _: &mut HostileDoc,
                f: impl FnOnce(&mut ()) -> Result<R, std::fmt::Error>,
            ) -> Result<R, Transact<std::fmt::Error>> {
                f(&mut ()).map_err(Transact::Closure)
            }
            fn view<R>(_: &HostileDoc, f: impl FnOnce(&()) -> R) -> R {
                f(&())
            }
        }
    };
}
hostile_type!(HostileAutomerge, automerge);
hostile_type!(HostileYrs, yrs);

async fn foreign_actors(notes: &Context) -> usize {
    let set_aside = notes.set_aside().await.unwrap();
    set_aside.iter().filter(|entry| entry.reason == Reason::ForeignActor).count()
}

fn forge_automerge(seed: ActorSeed) -> Vec<u8> {
    let mut doc = Automerge.create(seed);
    let doc = doc.as_any_mut().downcast_mut::<partita::automerge::AutomergeDoc>().unwrap();
    use automerge::{ROOT, transaction::Transactable as _};
    Automerge::transact(doc, |tx| tx.put(ROOT, "forged", "x")).unwrap();
    doc.take_local(&Limits::default()).unwrap().unwrap()
}

fn forge_yrs(seed: ActorSeed) -> Vec<u8> {
    use yrs::{Text as _, WriteTxn as _};
    let mut doc = Yrs.create(seed);
    let doc = doc.as_any_mut().downcast_mut::<partita::yrs::YrsDoc>().unwrap();
    Yrs::transact(doc, |tx| {
        let text = tx.get_or_insert_text("text");
        text.insert(tx, 0, "forged");
        Ok(())
    })
    .unwrap();
    doc.take_local(&Limits::default()).unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_under_anothers_actor_are_set_aside_and_the_victims_own_are_applied() {
    use yrs::{GetString as _, ReadTxn as _, Text as _, WriteTxn as _};
    let _turn = TURN.lock().await;
    let home = Home::new();
    ["b", "mallory"].iter().for_each(|name| home.enrol(name));
    let relay = home.relay("relay").await;
    let url = relay.url().to_string();
    let victim = home.open("a", &[&url]).await;
    let reader = home.open("b", &[&url]).await;
    let mallory = home.builder("mallory", false).crdt(Hostile::automerge()).crdt(Hostile::yrs()).connect(&url);
    let mallory = common::Device::of(mallory.open().await.unwrap()).await;

    let plan = victim.notes.create::<Automerge>().await.unwrap();
    let text = victim.notes.create::<Yrs>().await.unwrap();
    put(&victim.notes.create::<Automerge>().await.unwrap(), "so that the log", "exists").durable().await.unwrap();

    // The victim's actors are known to everyone who has entries of its logs. All of them, so that the right one is hit.
    let logs = victim
        .engine
        .with_strategy::<SingleOwner, _>(|owner, turn| turn.view.logs_of(&owner.context(), &owner.device()))
        .await
        .unwrap();
    for tip in &logs {
        let automerge = forge_automerge(ActorSeed::derive(&tip.tip.log, &plan.id()));
        let yrs = forge_yrs(ActorSeed::derive(&tip.tip.log, &text.id()));
        AUTOMERGE.lock().unwrap().push(Box::new(move |_| automerge.clone()));
        YRS.lock().unwrap().push(Box::new(move |_| yrs.clone()));
    }
    let hostile_plan = mallory.get::<HostileAutomerge>(plan.id()).await;
    let hostile_text = mallory.get::<HostileYrs>(text.id()).await;
    for _ in &logs {
        hostile_plan.change(|_| Ok(())).unwrap().durable().await.unwrap();
        hostile_text.change(|_| Ok(())).unwrap().durable().await.unwrap();
    }
    // On the reader the forgeries come first: its documents are loaded, so they are applied, or not, as they come.
    let plan_b = reader.get::<Automerge>(plan.id()).await;
    let text_b = reader.get::<Yrs>(text.id()).await;
    let forged = 2 * logs.len();
    reader.until("the forgeries on the reader", || async { foreign_actors(&reader.notes).await == forged }).await;

    put(&plan, "honest", "x").durable().await.unwrap();
    text.change(|tx| {
        let text = tx.get_or_insert_text("text");
        text.insert(tx, 0, "honest");
        Ok(())
    })
    .unwrap()
    .durable()
    .await
    .unwrap();
    has(&plan_b, "honest").await;
    common::shows(&text_b, "the honest text", |tx| {
        tx.get_text("text").is_some_and(|text| text.get_string(tx) == "honest")
    })
    .await;
    victim.until("the forgeries on the victim", || async { foreign_actors(&victim.notes).await == forged }).await;

    // A third replica gets everything in one go, in whatever order the logs come.
    home.enrol("c");
    let late = home.open("c", &[&url]).await;
    let plan_c = late.get::<Automerge>(plan.id()).await;
    let text_c = late.get::<Yrs>(text.id()).await;
    has(&plan_c, "honest").await;
    common::shows(&text_c, "the honest text", |tx| {
        tx.get_text("text").is_some_and(|text| text.get_string(tx) == "honest")
    })
    .await;
    late.until("the forgeries on the newcomer", || async { foreign_actors(&late.notes).await == forged }).await;
    for document in [&plan, &plan_b, &plan_c] {
        document.read(|doc| assert_eq!(string(doc, "forged"), None));
        assert_eq!(document.digest().unwrap(), plan.digest().unwrap());
    }
    for document in [&text_b, &text_c] {
        assert_eq!(document.digest().unwrap(), text.digest().unwrap());
    }
    patiently("the close", async {
        for device in [victim, reader, mallory, late] {
            device.engine.close().await.unwrap();
        }
        relay.close().await;
    })
    .await;
}

/// A struct inside of the first one of `parent`, which is no type. yrs refuses it when half of the update is applied.
fn inside_of_text(client: u64, parent: u64) -> Vec<u8> {
    use yrs::encoding::write::Write as _;
    // One client with one struct from clock 0 on: a string of one letter, in what has clock 0 of the other one. Nothing is deleted.
    let mut update = vec![1, 1];
    update.write_var(client);
    update.extend([0, 4, 0]);
    update.write_var(parent);
    update.extend([0, 1, b'x', 0]);
    update
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fits_nowhere_keeps_nobody_from_writing_and_from_checkpoints() {
    use yrs::{GetString as _, ReadTxn as _, Text as _, WriteTxn as _};
    let _turn = TURN.lock().await;
    let home = Home::new();
    home.enrol("mallory");
    let relay = home.relay("relay").await;
    let url = relay.url().to_string();
    let a = home.open("a", &[&url]).await;
    let text = a.notes.create::<Yrs>().await.unwrap();
    let write = |letters: &'static str| {
        text.change(|tx| {
            tx.get_or_insert_text("text").insert(tx, 0, letters);
            Ok(())
        })
    };
    write("honest").unwrap().durable().await.unwrap();

    let mallory = home.builder("mallory", false).crdt(Hostile::yrs()).connect(&url);
    let mallory = common::Device::of(mallory.open().await.unwrap()).await;
    let hostile = mallory.get::<HostileYrs>(text.id()).await;
    let writer = text.read(|tx| tx.state_vector().iter().next().unwrap().0.get());
    YRS.lock().unwrap().push(Box::new(move |own| inside_of_text(Yrs::client_id(own), writer)));
    hostile.change(|_| Ok(())).unwrap().durable().await.unwrap();
    patiently("the relay", mallory.notes.acknowledged()).await.unwrap();
    mallory.engine.close().await.unwrap();

    // The same device with an honest program: both make checkpoints, of all that was written.
    let honest = home.open("mallory", &[&url]).await;
    let text_b = honest.get::<Yrs>(text.id()).await;
    patiently("what fits nowhere", async {
        let (_, mut changes) = text.subscribe(|_| ()).unwrap();
        while text.pending().unwrap() == 0 {
            let _ = changes.next().await;
        }
    })
    .await;
    write("still ").unwrap().durable().await.unwrap();
    for text in [&text, &text_b] {
        common::shows(text, "the text", |tx| {
            tx.get_text("text").is_some_and(|text| text.get_string(tx) == "still honest")
        })
        .await;
        assert_eq!(text.pending().unwrap(), 1);
    }
    patiently("the relay", a.notes.acknowledged()).await.unwrap();
    assert_eq!(a.notes.checkpoint().await.unwrap(), CheckpointOutcome::Claimed);
    for device in [&a, &honest] {
        let pruned = || async { device.engine.status().await.unwrap().contexts.remove(0).pruned > 0 };
        device.until("a checkpoint", pruned).await;
        assert!(device.notes.set_aside().await.unwrap().is_empty());
    }
    patiently("the close", async {
        for device in [a, honest] {
            device.engine.close().await.unwrap();
        }
        relay.close().await;
    })
    .await;
}
