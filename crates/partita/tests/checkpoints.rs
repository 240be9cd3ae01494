//! Checkpoints: history that snapshots stand for, on real stores.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::common::{self, Device, Home, has, patiently, put, string};
use partita::{
    CheckpointOutcome, EngineEvent, NodeConfig,
    automerge::Automerge,
    core::{
        Batch, Bytes, ContextId, DocumentId, Durability, Incarnation, Key, LogId, Store, StoreError, StoreRead, Turn,
        VisitEntry, VisitRecord,
    },
    single_owner::SingleOwner,
    yrs::Yrs,
};
use partita_testing::MemoryStore;

/// How many entries the device holds by snapshots alone.
async fn pruned(device: &Device) -> u64 {
    device.engine.status().await.unwrap().contexts.remove(0).pruned
}

async fn prunes(device: &Device, entries: u64) {
    device.until("a checkpoint", || async { pruned(device).await >= entries }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_device_alone_prunes_at_once_and_reads_everything_again() {
    let home = Home::new();
    let a = home.open("a", &[]).await;
    let plan = a.notes.create::<Automerge>().await.unwrap();
    let text = a.notes.create::<Yrs>().await.unwrap();
    for n in 0..50 {
        put(&plan, &format!("key {n}"), "x").durable().await.unwrap();
    }
    let digests = (plan.digest().unwrap(), text.digest().unwrap());
    assert_eq!(a.notes.checkpoint().await.unwrap(), CheckpointOutcome::Claimed);
    prunes(&a, 52).await;
    assert_eq!(a.notes.checkpoint().await.unwrap(), CheckpointOutcome::NothingToDo);
    put(&plan, "after", "x").durable().await.unwrap();
    let (plan, text, after) = (plan.id(), text.id(), plan.digest().unwrap());
    a.engine.close().await.unwrap();

    let a = home.open("a", &[]).await;
    assert_eq!(pruned(&a).await, 52);
    let plan = a.notes.get::<Automerge>(plan).await.unwrap();
    let text = a.notes.get::<Yrs>(text).await.unwrap();
    assert_eq!((plan.digest().unwrap(), text.digest().unwrap()), (after, digests.1));
    plan.read(|doc| assert!(string(doc, "key 0").is_some() && string(doc, "after").is_some()));
    put(&plan, "and on", "x").durable().await.unwrap();
    assert_eq!(a.notes.checkpoint().await.unwrap(), CheckpointOutcome::Claimed);
    prunes(&a, 54).await;
    let digest = plan.digest().unwrap();
    let id = plan.id();
    a.engine.close().await.unwrap();
    let a = home.open("a", &[]).await;
    assert_eq!(a.notes.get::<Automerge>(id).await.unwrap().digest().unwrap(), digest);
    a.engine.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_and_their_relay_prune_what_both_attest_and_a_new_one_gets_the_snapshot() {
    let home = Home::new();
    let (relay, a, b) = home.pair().await;
    let plan = a.notes.create::<Automerge>().await.unwrap();
    let plan_b = b.get::<Automerge>(plan.id()).await;
    for n in 0..30 {
        put(&plan, &format!("a {n}"), "x").durable().await.unwrap();
        put(&plan_b, &format!("b {n}"), "x").durable().await.unwrap();
    }
    has(&plan, "b 29").await;
    has(&plan_b, "a 29").await;
    assert_eq!(a.notes.checkpoint().await.unwrap(), CheckpointOutcome::Claimed);
    prunes(&a, 61).await;
    prunes(&b, 61).await;
    put(&plan_b, "after", "x").durable().await.unwrap();
    has(&plan, "after").await;
    assert_eq!(plan.digest(), plan_b.digest());

    home.enrol("c");
    let c = home.open("c", &[relay.url().to_string().as_str()]).await;
    let plan_c = c.get::<Automerge>(plan.id()).await;
    has(&plan_c, "after").await;
    has(&plan_c, "a 0").await;
    prunes(&c, 61).await;
    assert_eq!(plan_c.digest(), plan.digest());
    put(&plan_c, "c", "x").durable().await.unwrap();
    has(&plan, "c").await;
    // The next one goes on from there, made by another.
    patiently("the relay", c.notes.acknowledged()).await.unwrap();
    assert_eq!(c.notes.checkpoint().await.unwrap(), CheckpointOutcome::Claimed);
    for device in [&a, &b, &c] {
        prunes(device, 63).await;
    }
    put(&plan, "end", "x").durable().await.unwrap();
    has(&plan_c, "end").await;
    assert_eq!(plan_c.digest(), plan.digest());
    for device in [a, b, c] {
        device.engine.close().await.unwrap();
    }
    relay.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_device_is_told_that_a_document_was_created_also_when_it_comes_by_a_checkpoint() {
    let home = Home::new();
    let (relay, a, b) = home.pair().await;
    let plan = a.notes.create::<Automerge>().await.unwrap();
    put(&plan, "title", "x").durable().await.unwrap();
    has(&b.get::<Automerge>(plan.id()).await, "title").await;
    assert_eq!(a.notes.checkpoint().await.unwrap(), CheckpointOutcome::Claimed);
    prunes(&a, 2).await;
    prunes(&b, 2).await;
    patiently("the relay", b.notes.acknowledged()).await.unwrap();
    home.enrol("c");
    let c = home.open("c", &[]).await;
    let mut events = c.engine.events();
    c.engine.connect(&relay.url().to_string()).unwrap();
    patiently("the document", async {
        loop {
            match events.recv().await.unwrap() {
                EngineEvent::DocumentCreated { document, .. } if document == plan.id() => return,
                EngineEvent::DocumentChanged { document, .. } => panic!("{document} was never here"),
                _ => {}
            }
        }
    })
    .await;
    prunes(&c, 2).await;
    has(&c.notes.get::<Automerge>(plan.id()).await.unwrap(), "title").await;
    for device in [a, b, c] {
        device.engine.close().await.unwrap();
    }
    relay.close().await;
}

/// A store of which a document's entries cannot be read, once, when it is told so.
struct Flaky(MemoryStore, Arc<AtomicBool>);

struct FlakyView<'s>(Box<dyn StoreRead + 's>, &'s AtomicBool);

impl Store for Flaky {
    fn incarnation(&self) -> Incarnation {
        self.0.incarnation()
    }

    fn read(&self) -> Result<Box<dyn StoreRead + '_>, StoreError> {
        Ok(Box::new(FlakyView(self.0.read()?, &self.1)))
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
        self.0.commit(batch, durability)
    }
}

impl StoreRead for FlakyView<'_> {
    fn log(&self, context: &ContextId, log: &LogId, from: u64, visit: VisitEntry<'_>) -> Result<(), StoreError> {
        self.0.log(context, log, from, visit)
    }

    fn arrivals(&self, context: &ContextId, after: u64, visit: VisitEntry<'_>) -> Result<(), StoreError> {
        self.0.arrivals(context, after, visit)
    }

    fn document(
        &self,
        context: &ContextId,
        document: &DocumentId,
        after: u64,
        visit: VisitEntry<'_>,
    ) -> Result<(), StoreError> {
        if self.1.swap(false, Ordering::SeqCst) {
            return Err(StoreError::Io("unplugged".into()));
        }
        self.0.document(context, document, after, visit)
    }

    fn last_arrival(&self, context: &ContextId) -> Result<u64, StoreError> {
        self.0.last_arrival(context)
    }

    fn get(&self, key: &Key) -> Result<Option<Bytes>, StoreError> {
        self.0.get(key)
    }

    fn scan(&self, prefix: &[u8], visit: VisitRecord<'_>) -> Result<(), StoreError> {
        self.0.scan(prefix, visit)
    }

    fn used_bytes(&self) -> Result<u64, StoreError> {
        self.0.used_bytes()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_compared_again_when_the_store_could_not_be_read_for_it() {
    let home = Home::new();
    home.enrol("b");
    let relay = home.relay("relay").await;
    let url = relay.url().to_string();
    let (a, fails) = (home.open("a", &[&url]).await, Arc::new(AtomicBool::new(false)));
    let there = fails.clone();
    let b = home.builder("b", false).connect(&url);
    let b = b.store(move |incarnation| Ok(Arc::new(Flaky(MemoryStore::new(incarnation), there))));
    let b = Device::of(b.open().await.unwrap()).await;
    let plan = a.notes.create::<Automerge>().await.unwrap();
    put(&plan, "title", "x").durable().await.unwrap();
    has(&b.get::<Automerge>(plan.id()).await, "title").await;
    fails.store(true, Ordering::SeqCst);
    assert_eq!(a.notes.checkpoint().await.unwrap(), CheckpointOutcome::Claimed);
    prunes(&a, 2).await;
    assert!(!fails.load(Ordering::SeqCst), "the store was read without fault: the test shows nothing");
    a.engine.close().await.unwrap();
    b.engine.close().await.unwrap();
    relay.close().await;
}

/// However many documents and logs a context has: a claim is one control entry, and those have a limit.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_claim_has_no_room_for_is_covered_by_several() {
    let home = Home::new();
    home.enrol("b");
    let relay = home.relay("relay").await;
    let url = relay.url().to_string();
    let config = NodeConfig { claim_bytes: 2_000, ..NodeConfig::default() };
    let open = async |name: &str| {
        let builder = home.builder(name, false).config(config.clone()).connect(&*url);
        Device::of(builder.open().await.unwrap()).await
    };
    let (a, b) = (open("a").await, open("b").await);
    let mut plans = Vec::new();
    for n in 0..60 {
        let plan = a.notes.create::<Automerge>().await.unwrap();
        put(&plan, "a", "x").durable().await.unwrap();
        if n % 3 == 0 {
            let plan_b = b.get::<Automerge>(plan.id()).await;
            put(&plan_b, "b", "x").durable().await.unwrap();
            has(&plan, "b").await;
        }
        plans.push(plan);
    }
    patiently("the relay", a.notes.acknowledged()).await.unwrap();
    assert_eq!(a.notes.checkpoint().await.unwrap(), CheckpointOutcome::Claimed);
    for device in [&a, &b] {
        prunes(device, 60 * 2 + 20).await;
    }
    home.enrol("c");
    let c = home.open("c", &[&url]).await;
    prunes(&c, 60 * 2 + 20).await;
    for plan in &plans {
        let plan_c = c.get::<Automerge>(plan.id()).await;
        assert_eq!(plan_c.digest(), plan.digest());
    }
    assert_eq!(pruned(&c).await, 60 * 2 + 20);
    for device in [a, b, c] {
        device.engine.close().await.unwrap();
    }
    relay.close().await;
}

/// Nor does it matter how well the bytes of a claim are guessed.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_turns_out_to_be_too_large_is_followed_by_smaller_ones() {
    const DOCUMENTS: usize = 6_300;
    let home = Home::new();
    let config = NodeConfig { claim_bytes: 640 << 10, ..NodeConfig::default() };
    let a = Device::of(home.builder("a", false).config(config).open().await.unwrap()).await;
    for _ in 0..DOCUMENTS {
        drop(a.notes.create::<Automerge>().await.unwrap());
    }
    assert_eq!(a.notes.checkpoint().await.unwrap(), CheckpointOutcome::Claimed);
    prunes(&a, DOCUMENTS as u64).await;
    a.engine.close().await.unwrap();
}

/// Failure mode 14: who has not attested a claim keeps everything from being pruned, and its own unsent work above all.
/// Failure mode 20: a deletion is forgotten with what it deleted, once everybody has compared both.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_pruned_before_the_other_device_attests_and_what_it_wrote_meanwhile_counts() {
    let home = Home::new();
    let (relay, a, b) = home.pair().await;
    let plan = a.notes.create::<Automerge>().await.unwrap();
    let plan_b = b.get::<Automerge>(plan.id()).await;
    put(&plan, "first", "x").durable().await.unwrap();
    has(&plan_b, "first").await;
    let id = plan.id();
    b.engine.close().await.unwrap();

    // It writes without a network, while the others go on and claim.
    let b = home.open("b", &[]).await;
    let plan_b = b.notes.get::<Automerge>(id).await.unwrap();
    put(&plan_b, "offline", "x").durable().await.unwrap();
    put(&plan, "second", "x").durable().await.unwrap();
    assert_eq!(a.notes.checkpoint().await.unwrap(), CheckpointOutcome::Claimed);
    put(&plan, "third", "x").durable().await.unwrap();
    patiently("the relay", a.notes.acknowledged()).await.unwrap();
    assert_eq!(pruned(&a).await, 0);
    b.engine.close().await.unwrap();

    let b = home.open("b", &[relay.url().to_string().as_str()]).await;
    prunes(&b, 3).await;
    prunes(&a, 3).await;
    has(&plan, "offline").await;
    let plan_b = b.notes.get::<Automerge>(id).await.unwrap();
    has(&plan_b, "third").await;
    assert_eq!(plan_b.digest(), plan.digest());
    a.engine.close().await.unwrap();
    b.engine.close().await.unwrap();
    relay.close().await;
}

/// Failure mode 17: snapshots are merged as histories, and none replaces what another one has.
/// Two devices of one owner, each of which claims and prunes before it ever heard of the other.
#[tokio::test(flavor = "multi_thread")]
async fn devices_that_never_met_prune_each_for_itself_and_both_keep_everything() {
    let home = Home::new();
    home.enrol("b");
    let mut documents = Vec::new();
    for name in ["a", "b"] {
        let alone = home.open(name, &[]).await;
        let plan = alone.notes.create::<Automerge>().await.unwrap();
        let text = alone.notes.create::<Yrs>().await.unwrap();
        for n in 0..20 {
            put(&plan, &format!("{name} {n}"), "x").durable().await.unwrap();
        }
        assert_eq!(alone.notes.checkpoint().await.unwrap(), CheckpointOutcome::Claimed);
        prunes(&alone, 22).await;
        documents.push((plan.id(), plan.digest().unwrap()));
        drop(text);
        alone.engine.close().await.unwrap();
    }
    let relay = home.relay("relay").await;
    let url = relay.url().to_string();
    let (a, b) = (home.open("a", &[&url]).await, home.open("b", &[&url]).await);
    for (id, digest) in &documents {
        let (here, there) = (a.get::<Automerge>(*id).await, b.get::<Automerge>(*id).await);
        assert_eq!((here.digest().unwrap(), there.digest().unwrap()), (*digest, *digest));
        put(&here, "both", "x").durable().await.unwrap();
        has(&there, "both").await;
    }
    // The next one stands for the work of both.
    patiently("the relay", a.notes.acknowledged()).await.unwrap();
    assert_eq!(b.notes.checkpoint().await.unwrap(), CheckpointOutcome::Claimed);
    for device in [&a, &b] {
        prunes(device, 46).await;
    }
    for device in [a, b] {
        device.engine.close().await.unwrap();
    }
    relay.close().await;
}

/// Failure mode 13: what conflicts are decided by is in the snapshot, too.
/// What somebody wrote before it knew of a deletion, and brings in after that is pruned, brings nothing back.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_before_a_checkpoint_does_not_come_back_with_late_work() {
    use ::automerge::{ROOT, transaction::Transactable as _};
    let home = Home::new();
    let (relay, a, b) = home.pair().await;
    let plan = a.notes.create::<Automerge>().await.unwrap();
    put(&plan, "secret", "told too early").durable().await.unwrap();
    let plan_b = b.get::<Automerge>(plan.id()).await;
    has(&plan_b, "secret").await;
    plan.change(|tx| tx.delete(ROOT, "secret")).unwrap().durable().await.unwrap();
    common::shows(&plan_b, "the deletion", |doc| string(doc, "secret").is_none()).await;
    let id = plan.id();
    b.engine.close().await.unwrap();

    let b = home.open("b", &[]).await;
    let plan_b = b.notes.get::<Automerge>(id).await.unwrap();
    put(&plan_b, "late", "x").durable().await.unwrap();
    put(&plan, "meanwhile", "x").durable().await.unwrap();
    assert_eq!(a.notes.checkpoint().await.unwrap(), CheckpointOutcome::Claimed);
    patiently("the relay", a.notes.acknowledged()).await.unwrap();
    b.engine.close().await.unwrap();
    let b = home.open("b", &[relay.url().to_string().as_str()]).await;
    prunes(&a, 4).await;
    prunes(&b, 4).await;
    has(&plan, "late").await;
    plan.read(|doc| assert_eq!(string(doc, "secret"), None));
    let plan_b = b.get::<Automerge>(id).await;
    assert_eq!(plan_b.digest(), plan.digest());
    for device in [a, b] {
        device.engine.close().await.unwrap();
    }
    relay.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_makes_the_file_smaller() {
    let home = Home::new();
    let a = home.open("a", &[]).await;
    let plan = a.notes.create::<Automerge>().await.unwrap();
    for n in 0..40 {
        put(&plan, "key", &common::noise(50_000 + n)).durable().await.unwrap();
    }
    // What was overwritten is history, and stays; how it was written does not.
    let maintained = patiently("maintenance", a.engine.maintain()).await.unwrap();
    assert!(maintained.done && maintained.bytes_after < maintained.bytes_before, "{maintained:?}");
    assert_eq!(pruned(&a).await, 41);
    let digest = plan.digest().unwrap();
    let id = plan.id();
    a.engine.close().await.unwrap();
    let a = home.open("a", &[]).await;
    assert_eq!(a.notes.get::<Automerge>(id).await.unwrap().digest().unwrap(), digest);
    a.engine.close().await.unwrap();
}

/// Everybody learns who keeps history from being pruned.
#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_who_has_still_to_attest() {
    let home = Home::new();
    let (relay, a, b) = home.pair().await;
    let plan = a.notes.create::<Automerge>().await.unwrap();
    drop(b.get::<Automerge>(plan.id()).await);
    let (away, context) = (b.replica(), a.notes.id());
    b.engine.close().await.unwrap();
    put(&plan, "key", "x").durable().await.unwrap();
    assert_eq!(a.notes.checkpoint().await.unwrap(), CheckpointOutcome::Claimed);
    a.until("the claim", || async { !a.engine.status().await.unwrap().contexts[0].claims.is_empty() }).await;
    let claims = a.engine.status().await.unwrap().contexts.remove(0).claims;
    assert_eq!(claims.len(), 1);
    assert_eq!((claims[0].author, &claims[0].lacks[..]), (a.replica(), &[away][..]));
    // Once it is no device of the owner's any more, nothing waits for it.
    a.revoke(&home, away).await;
    prunes(&a, 2).await;
    assert_eq!(a.engine.status().await.unwrap().contexts.remove(0).info.id, context);
    a.engine.close().await.unwrap();
    relay.close().await;
}

/// A device in a drawer keeps nobody's history once its owner says so, and loses nothing by that.
#[tokio::test(flavor = "multi_thread")]
async fn a_dormant_device_holds_up_no_pruning_and_brings_its_unsent_work_when_it_returns() {
    let home = Home::new();
    let (relay, a, b) = home.pair().await;
    let url = relay.url().to_string();
    let plan = a.notes.create::<Automerge>().await.unwrap();
    drop(b.get::<Automerge>(plan.id()).await);
    let (away, id) = (b.replica(), plan.id());
    patiently("the relay", b.notes.acknowledged()).await.unwrap();
    b.engine.close().await.unwrap();
    let b = home.open("b", &[]).await;
    put(&b.notes.get::<Automerge>(id).await.unwrap(), "in the drawer", "x").durable().await.unwrap();
    b.engine.close().await.unwrap();

    // A claim that knows of it waits for it, also after its owner says that nobody need.
    put(&plan, "before", "x").durable().await.unwrap();
    assert_eq!(a.notes.checkpoint().await.unwrap(), CheckpointOutcome::Claimed);
    assert_eq!(a.notes.checkpoint().await.unwrap(), CheckpointOutcome::NothingToDo);
    let mnemonic = home.mnemonic.clone();
    let declare = move |owner: &mut SingleOwner, turn: &mut Turn<'_>| owner.declare_dormant(turn, &mnemonic, away);
    a.engine.with_strategy(declare).await.unwrap().unwrap();
    patiently("the relay", a.notes.acknowledged()).await.unwrap();
    let status = a.engine.status().await.unwrap().contexts.remove(0);
    assert_eq!((status.pruned, &status.claims[0].lacks[..]), (0, &[away][..]));
    // One that is made in knowledge of that does not, and nothing new has to be written for it.
    assert_eq!(a.notes.checkpoint().await.unwrap(), CheckpointOutcome::Claimed);
    prunes(&a, 2).await;
    put(&plan, "after", "x").durable().await.unwrap();
    patiently("the relay", a.notes.acknowledged()).await.unwrap();

    // A newcomer relies on it too, while it is away and after it came back.
    home.enrol("c");
    let c = home.open("c", &[&url]).await;
    has(&c.get::<Automerge>(id).await, "after").await;
    let b = home.open("b", &[&url]).await;
    prunes(&b, 2).await;
    let plan_b = b.notes.get::<Automerge>(id).await.unwrap();
    has(&plan_b, "after").await;
    has(&plan_b, "in the drawer").await;
    has(&plan, "in the drawer").await;
    a.until("its return", || async {
        let devices = a.engine.with_strategy::<SingleOwner, _>(|owner, _| owner.devices()).await.unwrap();
        devices.iter().all(|device| !device.dormant)
    })
    .await;
    home.enrol("d");
    let d = home.open("d", &[&url]).await;
    let plan_d = d.get::<Automerge>(id).await;
    has(&plan_d, "in the drawer").await;
    has(&plan_d, "after").await;
    assert_eq!(plan_d.digest(), plan.digest());
    assert_eq!(plan_b.digest(), plan.digest());
    // The next checkpoint waits for all of them again.
    put(&plan_b, "at work", "x").durable().await.unwrap();
    patiently("the relay", b.notes.acknowledged()).await.unwrap();
    assert_eq!(b.notes.checkpoint().await.unwrap(), CheckpointOutcome::Claimed);
    for device in [&a, &b, &c, &d] {
        prunes(device, 5).await;
    }
    for device in [a, b, c, d] {
        device.engine.close().await.unwrap();
    }
    relay.close().await;
}
