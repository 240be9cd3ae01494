//! Attacks on groups that need stores and relays; the others are in the plugin's own tests. Numbers are the design's.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use crate::common::{has, patiently, put, shows, string};
use crate::town::{Person, Town};
use partita::{
    DocumentError, Engine, EngineEvent, SystemRandom,
    automerge::Automerge,
    core::{Access, Refusal},
    group::{Group, History, MemberId, Policy, Role, Terms},
    multi_context::MultiContext,
    single_owner::SingleOwner,
};
use partita_relay::Relay;

const CANARY: &str = "canary-77d2-nobody-but-members-may-read-this";

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Two members at a relay.
async fn two(town: &Town, url: &str) -> (Person, Person) {
    let ada = town.start("ada", town.found("ada", Policy::default()), &[url]).await;
    let ben = town.join("ben", &ada.invite(Terms::new(Role::Write)).await, &[url]).await;
    ben.until("ben's confirmation", |group| group.role() == Some(Role::Write)).await;
    (ada, ben)
}

/// Attack 9. Defence: a log lives for one open (its id is minted then), and vouches, caps and verdicts name logs.
#[tokio::test(flavor = "multi_thread")]
async fn attack_09_two_copies_of_one_device_go_on_in_logs_of_their_own_and_both_count() {
    let town = Town::new();
    let relay = town.relay().await;
    let url = relay.url().to_string();
    let (ada, ben) = two(&town, &url).await;
    let plan = ada.group.create::<Automerge>().await.unwrap();
    has_after(&ben, &plan, "x").await;
    let id = ben.group.id();
    ben.engine.close().await.unwrap();
    for end in ["", ".key"] {
        let from = town.path().join("ben").with_extension(end.trim_start_matches('.'));
        let to = town.path().join("twin").with_extension(end.trim_start_matches('.'));
        std::fs::copy(from, to).unwrap();
    }
    // Both run, and write at once, without a network.
    let (one, other) = (town.again("ben", id, &[]).await, town.again("twin", id, &[]).await);
    for (person, key) in [(&one, "one"), (&other, "other")] {
        put(&person.get(plan.id()).await, key, "x").durable().await.unwrap();
        assert_eq!(person.replica(), one.replica());
    }
    one.engine.close().await.unwrap();
    other.engine.close().await.unwrap();
    for name in ["ben", "twin"] {
        let person = town.again(name, id, &[&url]).await;
        person.relayed().await;
        person.engine.close().await.unwrap();
    }
    has(&plan, "one").await;
    has(&plan, "other").await;
    assert!(ada.ask(|group, _| group.members().len() == 2).await, "nobody was blamed");
    ada.engine.close().await.unwrap();
    relay.close().await;
}

async fn has_after(reader: &Person, plan: &partita::Document<Automerge>, key: &str) {
    put(plan, key, "x").durable().await.unwrap();
    has(&reader.get(plan.id()).await, key).await;
}

/// Attacks 12 and 17. Defence: as above; nonces are random and no counter is kept.
#[tokio::test(flavor = "multi_thread")]
async fn attack_12_a_store_that_was_restored_from_a_backup_uses_no_number_twice_and_loses_nothing() {
    let town = Town::new();
    let relay = town.relay().await;
    let url = relay.url().to_string();
    let (ada, ben) = two(&town, &url).await;
    let plan = ada.group.create::<Automerge>().await.unwrap();
    has_after(&ben, &plan, "x").await;
    let id = ben.group.id();
    ben.engine.close().await.unwrap();
    std::fs::copy(town.path().join("ben"), town.path().join("backup")).unwrap();
    let ben = town.again("ben", id, &[&url]).await;
    put(&ben.get(plan.id()).await, "after the backup", "x").durable().await.unwrap();
    ben.relayed().await;
    ben.engine.close().await.unwrap();
    std::fs::copy(town.path().join("backup"), town.path().join("ben")).unwrap();
    let ben = town.again("ben", id, &[&url]).await;
    let plan_b = ben.get(plan.id()).await;
    put(&plan_b, "after the restore", "x").durable().await.unwrap();
    for plan in [&plan, &plan_b] {
        has(plan, "after the backup").await;
        has(plan, "after the restore").await;
    }
    ada.engine.close().await.unwrap();
    ben.engine.close().await.unwrap();
    relay.close().await;
}

/// Attack 10. Defence: `seal` in the plugin, and names and keys that stay where they are. The same look finds what a relay
/// may see: so it can fail. (The memory of a relay's process is searched in `crates/cli/tests/blind_relay.rs`.)
#[tokio::test(flavor = "multi_thread")]
async fn attack_10_a_relay_sees_no_name_no_key_and_no_payload() {
    let town = Town::new();
    let frames: Arc<Mutex<Vec<u8>>> = Arc::default();
    let tap = frames.clone();
    let relay = Relay::builder(town.path().join("relay"))
        .transport(town.network.clone())
        .listen("mem://relay")
        .tap(move |seen| tap.lock().unwrap().extend_from_slice(seen.frame));
    let relay = relay.open().await.unwrap();
    let url = relay.url().to_string();
    let group = Group::create(town.keystore("ada"), &mut SystemRandom, CANARY, Policy::default()).unwrap();
    let ada = town.start("ada", group, &[&url]).await;
    let invitation = ada.invite(Terms::new(Role::Write)).await;
    let ben = town.join("ben", &invitation, &[&url]).await;
    ben.until("ben's confirmation", |group| group.role() == Some(Role::Write)).await;
    let plan = ada.group.create::<Automerge>().await.unwrap();
    put(&plan, "canary", CANARY).durable().await.unwrap();
    has(&ben.get(plan.id()).await, "canary").await;
    assert_eq!(ben.ask(|group, _| group.name()).await.as_deref(), Some(CANARY));
    let public = *ben.replica().as_bytes();
    for person in [ada, ben] {
        person.relayed().await;
        person.engine.close().await.unwrap();
    }
    relay.close().await;
    let store = std::fs::read(town.path().join("relay")).unwrap();
    let frames = frames.lock().unwrap().clone();
    let keystores = ["ada.key", "ben.key"].map(|file| std::fs::read(town.path().join(file)).unwrap());
    for (what, place) in [("store", &store), ("frames", &frames)] {
        assert!(!contains(place, CANARY.as_bytes()), "in the {what}");
        assert!(contains(place, &public), "a member's public key is in the {what}");
        for secret in keystores.iter().flat_map(|file| file.windows(24)).filter(|part| is_random(part)) {
            assert!(!contains(place, secret), "a secret in the {what}");
        }
    }
}

/// Not part of a label or of zeros.
fn is_random(part: &[u8]) -> bool {
    part.iter().collect::<BTreeSet<_>>().len() > 18 && !part.is_ascii()
}

/// Attack 10. Defence: entries are judged by signatures and hashes; what a relay holds back another brings.
#[tokio::test(flavor = "multi_thread")]
async fn attack_10_members_who_meet_another_relay_agree_although_the_first_kept_things_back() {
    let town = Town::new();
    let relay = town.relay().await;
    let url = relay.url().to_string();
    let (ada, ben) = two(&town, &url).await;
    let plan = ada.group.create::<Automerge>().await.unwrap();
    has_after(&ben, &plan, "x").await;
    // The relay is cut off from ada, as if it kept her words from ben.
    let id = ada.group.id();
    ada.engine.close().await.unwrap();
    let ada = town.again("ada", id, &[]).await;
    let plan = ada.get(plan.id()).await;
    put(&plan, "kept back", "x").durable().await.unwrap();
    let who = MemberId(ben.replica());
    let cay = {
        let card = Group::card(&*town.keystore("cay"), &mut SystemRandom).unwrap();
        let handed = card.clone();
        ada.ask(move |group, turn| group.add(turn, &handed, Role::Write, History::All)).await.unwrap();
        ada.ask(move |group, turn| group.set_role(turn, who, Role::Read)).await.unwrap();
        Group::added(town.keystore("cay"), id, &card).unwrap()
    };
    put(&ben.get(plan.id()).await, "by ben meanwhile", "x").durable().await.unwrap();
    ada.engine.close().await.unwrap();
    let honest = Relay::builder(town.path().join("honest")).transport(town.network.clone());
    let honest = honest.listen("mem://honest").open().await.unwrap();
    let there = honest.url().to_string();
    let ada = town.again("ada", id, &[&there]).await;
    ben.engine.close().await.unwrap();
    let ben = town.again("ben", id, &[&url, &there]).await;
    let cay = town.start("cay", cay, &[&there]).await;
    for person in [&ada, &ben, &cay] {
        person.until("everybody", |group| group.members().len() == 3).await;
        person
            .until("ben's new role", move |group| {
                group.members().iter().any(|member| member.id == who && member.role == Some(Role::Read))
            })
            .await;
        let plan = person.get(plan.id()).await;
        has(&plan, "kept back").await;
        // Ben had lost the right: what he shows himself is taken back as well.
        shows(&plan, "ben's loss", |doc| string(doc, "by ben meanwhile").is_none()).await;
    }
    for person in [ada, ben, cay] {
        person.engine.close().await.unwrap();
    }
    relay.close().await;
    honest.close().await;
}

/// Attack 6, at the relay. Defence: `access` in the plugin's state/verdict.rs, asked again after every control entry.
#[tokio::test(flavor = "multi_thread")]
async fn attack_06_the_session_of_a_removed_member_is_refused_at_once() {
    let town = Town::new();
    let relay = town.relay().await;
    let url = relay.url().to_string();
    let (ada, ben) = two(&town, &url).await;
    let mut events = ben.engine.events();
    let who = MemberId(ben.replica());
    ada.ask(move |group, turn| group.remove(turn, who)).await.unwrap();
    patiently("the refusal", async {
        loop {
            if let EngineEvent::ContextRefused { why, .. } = events.recv().await.unwrap() {
                assert_eq!(why, Refusal::Revoked);
                return;
            }
        }
    })
    .await;
    let syncable = ben.engine.sync().syncable_contexts(relay.replica()).await.unwrap();
    assert!(syncable.iter().all(|(_, access)| matches!(access, Access::Both | Access::Write)), "{syncable:?}");
    for person in [ada, ben] {
        person.engine.close().await.unwrap();
    }
    relay.close().await;
}

/// Everything that was written later, with every key that the removed ever had.
#[tokio::test(flavor = "multi_thread")]
async fn a_removed_members_replica_opens_nothing_of_what_came_later() {
    let town = Town::new();
    let relay = town.relay().await;
    let url = relay.url().to_string();
    let (ada, ben) = two(&town, &url).await;
    let plan = ada.group.create::<Automerge>().await.unwrap();
    has_after(&ben, &plan, "before").await;
    let who = MemberId(ben.replica());
    ada.ask(move |group, turn| group.remove(turn, who)).await.unwrap();
    let secret = ada.group.create::<Automerge>().await.unwrap();
    put(&secret, "secret", "x").durable().await.unwrap();
    put(&plan, "later", "x").durable().await.unwrap();
    let id = ada.group.id();
    ada.relayed().await;
    ada.engine.close().await.unwrap();
    ben.engine.close().await.unwrap();
    relay.close().await;
    // He gets hold of all ciphertext: ada's whole store, with his own keystore.
    std::fs::copy(town.path().join("ada"), town.path().join("stolen")).unwrap();
    std::fs::copy(town.path().join("ben.key"), town.path().join("stolen.key")).unwrap();
    let stolen = town.again("stolen", id, &[]).await;
    let documents = stolen.group.documents().await.unwrap();
    assert_eq!(documents.len(), 2);
    // What he could read he can read still: it is not that nothing opens here.
    let plan = stolen.group.get::<Automerge>(plan.id()).await.unwrap();
    has(&plan, "before").await;
    // Neither what came later, nor what ada's device had put aside under keys of its own.
    plan.read(|doc| assert_eq!(string(doc, "later"), None));
    let closed = stolen.group.get::<Automerge>(secret.id()).await.err();
    assert!(matches!(closed, Some(DocumentError::NoKey(_) | DocumentError::Withheld(_))), "{closed:?}");
    stolen.engine.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_with_an_owner_and_two_groups_syncs_each_with_its_own() {
    let town = Town::new();
    let relay = town.relay().await;
    let url = relay.url().to_string();
    let keystore = town.keystore("ada");
    let (owner, _) = SingleOwner::create(&*keystore, &mut SystemRandom).unwrap();
    let own = owner.context();
    let group = |name: &str| Group::create(town.keystore("ada"), &mut SystemRandom, name, Policy::default()).unwrap();
    let (garden, choir) = (group("garden"), group("choir"));
    let ids = [garden.context(), choir.context()];
    let many = MultiContext::new().with(owner).with(garden).with(choir);
    let engine = Engine::builder(town.path().join("ada")).strategy(many).transport(town.network.clone());
    let engine = engine.connect(&url).open().await.unwrap();
    let mut links = Vec::new();
    for id in ids {
        engine.context(id).await.unwrap();
        let invite = move |many: &mut MultiContext, turn: &mut partita::core::Turn<'_>| {
            many.with_strategy_of::<Group, _>(&id, turn, |group, turn| group.invite(turn, Terms::new(Role::Write)))
        };
        let made = engine.with_strategy::<MultiContext, _>(invite).await.unwrap().unwrap().unwrap();
        links.push(made.text().to_string());
    }
    let mut documents = Vec::new();
    for id in [own, ids[0], ids[1]] {
        let context = engine.context(id).await.unwrap();
        let document = context.create::<Automerge>().await.unwrap();
        put(&document, "x", "x").durable().await.unwrap();
        documents.push(document);
    }
    for (name, at) in [("ben", 0), ("cay", 1)] {
        let person = town.join(name, &links[at], &[&url]).await;
        has(&person.get(documents[at + 1].id()).await, "x").await;
        assert_eq!(person.group.id(), ids[at]);
        assert_eq!(person.group.documents().await.unwrap().len(), 1);
        person.engine.close().await.unwrap();
    }
    engine.close().await.unwrap();
    relay.close().await;
}
