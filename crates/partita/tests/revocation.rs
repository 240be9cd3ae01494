//! A device is stolen: what it writes from then on counts nowhere, and nobody else loses anything.

use crate::common::{self, Home, has, patiently, put, shows, string};
use partita::{EngineEvent, automerge::Automerge, single_owner::SingleOwner};

/// What the thief wrote before the cap stays; what it wrote later, offline and with a clock set back, is excluded on the
/// device that had taken it as well as on one that hears of the revocation first. The others go on under a new epoch.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_revoked_device_writes_later_counts_nowhere() {
    let home = Home::new();
    ["b", "c", "thief"].iter().for_each(|name| home.enrol(name));
    let relay = home.relay("relay").await;
    let relay_url = relay.url().to_string();
    let a = home.open("a", &[&relay_url]).await;
    let b = home.open("b", &[&relay_url]).await;
    let thief = home.open("thief", &[&relay_url]).await;

    let plan = a.notes.create::<Automerge>().await.unwrap();
    put(&plan, "from a", "x").durable().await.unwrap();
    let plan_thief = thief.get::<Automerge>(plan.id()).await;
    has(&plan_thief, "from a").await;
    put(&plan_thief, "before", "x").durable().await.unwrap();
    has(&plan, "before").await;
    let plan_b = b.get::<Automerge>(plan.id()).await;
    has(&plan_b, "before").await;
    thief.notes.acknowledged().await.unwrap();
    let thief_id = thief.replica();
    thief.engine.close().await.unwrap();

    // It goes on offline, and meets only `c`, which has heard nothing yet.
    let thief = home.open("thief", &[]).await;
    let plan_thief = thief.get::<Automerge>(plan.id()).await;
    put(&plan_thief, "later", "x").durable().await.unwrap();
    thief.engine.close().await.unwrap();
    a.revoke(&home, thief_id).await;
    a.notes.acknowledged().await.unwrap();

    let c = common::Device::of(home.builder("c", false).listen("mem://c").open().await.unwrap()).await;
    let c_url = format!("mem://c#{}", c.replica());
    let thief = home.open("thief", &[&c_url]).await;
    let plan_c = c.get::<Automerge>(plan.id()).await;
    has(&plan_c, "later").await;
    thief.engine.close().await.unwrap();
    let c_id = c.replica();
    c.engine.close().await.unwrap();

    // `c` meets the others: it drops what does not count, and the others never take it.
    let c = home.open("c", &[&relay_url]).await;
    assert_eq!(c.replica(), c_id);
    let plan_c = c.get::<Automerge>(plan.id()).await;
    shows(&plan_c, "the later change gone", |doc| string(doc, "later").is_none()).await;
    put(&plan_c, "from c", "x").durable().await.unwrap();
    has(&plan, "from c").await;
    has(&plan_b, "from c").await;
    for document in [&plan, &plan_b, &plan_c] {
        document.read(|doc| {
            assert_eq!(string(doc, "later"), None);
            assert!(string(doc, "before").is_some(), "what it wrote before stays");
        });
    }
    assert_eq!(plan.digest(), plan_c.digest());
    assert_eq!(plan.digest(), plan_b.digest());

    // The relay does not serve it any more.
    let thief = home.builder("thief", false).connect(&relay_url).open().await.unwrap();
    let mut events = thief.events();
    patiently("the relay's refusal", async {
        loop {
            if let Ok(EngineEvent::ContextRefused { why, .. }) = events.recv().await {
                break assert_eq!(why, partita::core::Refusal::Revoked);
            }
        }
    })
    .await;
    thief.close().await.unwrap();
    put(&plan, "now", "x").durable().await.unwrap();
    for device in [a, b, c] {
        device.engine.close().await.unwrap();
    }
    relay.close().await;
    // And it cannot open what is written now, should it get hold of it all the same: here is a whole store, with its own keys.
    std::fs::copy(home.path().join("a"), home.path().join("stolen")).unwrap();
    std::fs::copy(home.path().join("thief.key"), home.path().join("stolen.key")).unwrap();
    let stolen = home.open("stolen", &[]).await;
    let plan = stolen.get::<Automerge>(plan.id()).await;
    has(&plan, "before").await;
    plan.read(|doc| assert_eq!(string(doc, "now"), None));
    stolen.engine.close().await.unwrap();
}

/// A remaining device that had built on the thief's later change before it knew vouches for it by itself: honest work does
/// not vanish with the one who was removed.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_remaining_device_had_built_on_is_vouched_for() {
    let home = Home::new();
    ["c", "thief"].iter().for_each(|name| home.enrol(name));
    let relay = home.relay("relay").await;
    let relay_url = relay.url().to_string();
    let a = home.open("a", &[&relay_url]).await;
    let thief = home.open("thief", &[&relay_url]).await;
    let (plan, other) = (a.notes.create::<Automerge>().await.unwrap(), a.notes.create::<Automerge>().await.unwrap());
    put(&plan, "from a", "x").durable().await.unwrap();
    put(&other, "from a", "x").durable().await.unwrap();
    let thief_id = thief.replica();
    has(&thief.get::<Automerge>(plan.id()).await, "from a").await;
    has(&thief.get::<Automerge>(other.id()).await, "from a").await;
    thief.engine.close().await.unwrap();

    // Offline, the thief writes in both documents; `c` takes it and builds on the first.
    let c = common::Device::of(home.builder("c", false).listen("mem://c").open().await.unwrap()).await;
    let c_url = format!("mem://c#{}", c.replica());
    let thief = home.open("thief", &[&c_url]).await;
    let plan_thief = thief.get::<Automerge>(plan.id()).await;
    put(&plan_thief, "later", "x").durable().await.unwrap();
    let plan_c = c.get::<Automerge>(plan.id()).await;
    has(&plan_c, "later").await;
    put(&plan_c, "on top of it", "x").durable().await.unwrap();
    let other_thief = thief.get::<Automerge>(other.id()).await;
    put(&other_thief, "later", "x").durable().await.unwrap();
    has(&c.get::<Automerge>(other.id()).await, "later").await;
    thief.engine.close().await.unwrap();
    c.engine.close().await.unwrap();

    a.revoke(&home, thief_id).await;
    a.notes.acknowledged().await.unwrap();
    let c = home.open("c", &[&relay_url]).await;
    let (plan_c, other_c) = (c.get::<Automerge>(plan.id()).await, c.get::<Automerge>(other.id()).await);
    has(&plan, "on top of it").await;
    has(&plan, "later").await;
    shows(&other_c, "the change nobody built on gone", |doc| string(doc, "later").is_none()).await;
    other.read(|doc| assert_eq!(string(doc, "later"), None));
    shows(&plan_c, "the vouched change", |doc| string(doc, "later").is_some()).await;
    assert_eq!(plan.digest(), plan_c.digest());
    assert_eq!(other.digest(), other_c.digest());
    a.engine.close().await.unwrap();
    c.engine.close().await.unwrap();
    relay.close().await;
}

/// A device enrolled while another revokes gets the new epoch, from whoever meets both.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_enrolled_concurrently_gets_the_new_epoch() {
    let home = Home::new();
    ["b", "thief"].iter().for_each(|name| home.enrol(name));
    let relay = home.relay("relay").await;
    let relay_url = relay.url().to_string();
    let a = home.open("a", &[&relay_url]).await;
    let thief = home.open("thief", &[&relay_url]).await;
    let plan = a.notes.create::<Automerge>().await.unwrap();
    put(&plan, "old", "x").durable().await.unwrap();
    has(&thief.get::<Automerge>(plan.id()).await, "old").await;

    a.revoke(&home, thief.replica()).await; // knows nothing of `b`
    put(&plan, "new", "x").durable().await.unwrap();
    a.notes.acknowledged().await.unwrap();

    let b = home.open("b", &[&relay_url]).await;
    let plan_b = b.get::<Automerge>(plan.id()).await;
    has(&plan_b, "new").await;
    put(&plan_b, "from b", "x").durable().await.unwrap();
    has(&plan, "from b").await;

    let devices = a.engine.with_strategy::<SingleOwner, _>(|owner, _| owner.devices()).await.unwrap();
    assert_eq!(devices.len(), 3);
    let plan_thief = thief.get::<Automerge>(plan.id()).await;
    plan_thief.read(|doc| {
        assert!(string(doc, "old").is_some());
        assert_eq!(string(doc, "new"), None, "the revoked device cannot open the new epoch");
    });
    for device in [a, b, thief] {
        device.engine.close().await.unwrap();
    }
    relay.close().await;
}
