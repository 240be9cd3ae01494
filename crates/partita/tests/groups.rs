//! People who share a group, on real stores, through a relay that can read nothing.

use crate::common::{has, put, string};
use crate::town::Town;
use partita::{
    DocumentError, SystemRandom,
    automerge::Automerge,
    group::{Group, GroupError, History, Membership, Policy, Role, Terms},
};

#[tokio::test(flavor = "multi_thread")]
async fn somebody_joins_by_an_invitation_while_the_inviter_is_away() {
    let town = Town::new();
    let relay = town.relay().await;
    let url = relay.url().to_string();
    let ada = town.start("ada", town.found("ada", Policy::default()), &[&url]).await;
    let plan = ada.group.create::<Automerge>().await.unwrap();
    put(&plan, "title", "beds").durable().await.unwrap();
    let invitation = ada.invite(Terms::new(Role::Write)).await;
    let id = ada.group.id();
    ada.relayed().await;
    ada.engine.close().await.unwrap();

    // Nobody but the relay is there: everything that was written can be read.
    let ben = town.join("ben", &invitation, &[&url]).await;
    let plan_b = ben.get(plan.id()).await;
    has(&plan_b, "title").await;
    ben.until("ben's own acceptance", |group| group.role() == Some(Role::Read)).await;
    let early = put(&plan_b, "early", "written before anybody confirmed it");
    let refused = early.durable().await.unwrap_err();
    assert!(refused.to_string().contains("needs the role write"), "{refused}");
    ben.relayed().await;

    // Ada comes back: her device confirms, and what waited is written.
    let ada = town.again("ada", id, &[&url]).await;
    ben.until("the confirmation", |group| group.role() == Some(Role::Write)).await;
    let plan = ada.get(plan.id()).await;
    has(&plan, "early").await;
    let name = ben.ask(|group, _| group.name()).await;
    assert_eq!(name.as_deref(), Some("garden"));
    ada.engine.close().await.unwrap();
    ben.engine.close().await.unwrap();
    relay.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_removed_reads_nothing_that_is_written_afterwards_and_what_it_writes_counts_nowhere() {
    let town = Town::new();
    let relay = town.relay().await;
    let url = relay.url().to_string();
    let ada = town.start("ada", town.found("ada", Policy::default()), &[&url]).await;
    let plan = ada.group.create::<Automerge>().await.unwrap();
    let (for_ben, for_cay) = (ada.invite(Terms::new(Role::Write)).await, ada.invite(Terms::new(Role::Write)).await);
    let ben = town.join("ben", &for_ben, &[&url]).await;
    let cay = town.join("cay", &for_cay, &[&url]).await;
    ben.until("ben's confirmation", |group| group.role() == Some(Role::Write)).await;
    cay.until("cay's confirmation", |group| group.role() == Some(Role::Write)).await;
    let (plan_b, plan_c) = (ben.get(plan.id()).await, cay.get(plan.id()).await);
    put(&plan_b, "by ben", "while he is in").durable().await.unwrap();
    has(&plan_c, "by ben").await;
    has(&plan, "by ben").await;

    let who = partita::group::MemberId(ben.replica());
    ada.ask(move |group, turn| group.remove(turn, who)).await.unwrap();
    cay.until("the removal", move |group| group.members().iter().all(|member| member.id != who)).await;
    put(&plan_c, "after", "ben's removal").durable().await.unwrap();
    has(&plan, "after").await;
    // He may not have heard of it, and goes on.
    let _ = put(&plan_b, "by ben, later", "counts nowhere").durable().await;
    put(&plan, "last", "x").durable().await.unwrap();
    has(&plan_c, "last").await;
    for plan in [&plan, &plan_c] {
        assert!(plan.read(|doc| string(doc, "by ben").is_some() && string(doc, "by ben, later").is_none()));
    }
    assert!(plan_b.read(|doc| string(doc, "after").is_none()));
    for person in [ada, ben, cay] {
        person.engine.close().await.unwrap();
    }
    relay.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_was_wiped_is_filled_again_by_any_member() {
    let town = Town::new();
    let relay = town.relay().await;
    let url = relay.url().to_string();
    let ada = town.start("ada", town.found("ada", Policy::default()), &[&url]).await;
    let plan = ada.group.create::<Automerge>().await.unwrap();
    put(&plan, "title", "beds").durable().await.unwrap();
    let invitation = ada.invite(Terms::new(Role::Write)).await;
    let ben = town.join("ben", &invitation, &[&url]).await;
    ben.until("ben's confirmation", |group| group.role() == Some(Role::Write)).await;
    has(&ben.get(plan.id()).await, "title").await;
    let second = ada.invite(Terms::new(Role::Read)).await;
    let id = ada.group.id();
    ben.until("the second invitation", |group| group.invitations().len() == 1).await;
    ada.engine.close().await.unwrap();
    ben.engine.close().await.unwrap();
    relay.close().await;
    std::fs::remove_file(town.path().join("relay")).unwrap();

    // Ada never comes back; ben did not found the group.
    let relay = town.relay().await;
    let url = relay.url().to_string();
    let ben = town.again("ben", id, &[&url]).await;
    ben.relayed().await;
    let cay = town.join("cay", &second, &[&url]).await;
    has(&cay.get(plan.id()).await, "title").await;
    for person in [ben, cay] {
        person.engine.close().await.unwrap();
    }
    relay.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_from_now_on_reads_what_is_written_from_now_on_alone() {
    let town = Town::new();
    let relay = town.relay().await;
    let url = relay.url().to_string();
    let ada = town.start("ada", town.found("ada", Policy::default()), &[&url]).await;
    let old = ada.group.create::<Automerge>().await.unwrap();
    put(&old, "old", "before").durable().await.unwrap();
    let card = Group::card(&*town.keystore("ben"), &mut SystemRandom).unwrap();
    let handed = card.clone();
    ada.ask(move |group, turn| group.add(turn, &handed, Role::Write, History::FromNow)).await.unwrap();
    let group = Group::added(town.keystore("ben"), ada.group.id(), &card).unwrap();
    let ben = town.start("ben", group, &[&url]).await;
    let new = ada.group.create::<Automerge>().await.unwrap();
    put(&new, "new", "since").durable().await.unwrap();
    let new_b = ben.get(new.id()).await;
    has(&new_b, "new").await;
    put(&new_b, "answer", "heard").durable().await.unwrap();
    has(&new, "answer").await;
    let refused = ben.group.get::<Automerge>(old.id()).await.err();
    assert!(matches!(refused, Some(DocumentError::Withheld(_))), "{refused:?}");
    for person in [ada, ben] {
        person.engine.close().await.unwrap();
    }
    relay.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_demoted_and_promoted_again_with_the_same_device() {
    let town = Town::new();
    let relay = town.relay().await;
    let url = relay.url().to_string();
    let ada = town.start("ada", town.found("ada", Policy::default()), &[&url]).await;
    let plan = ada.group.create::<Automerge>().await.unwrap();
    let ben = town.join("ben", &ada.invite(Terms::new(Role::Write)).await, &[&url]).await;
    ben.until("ben's confirmation", |group| group.role() == Some(Role::Write)).await;
    let plan_b = ben.get(plan.id()).await;
    put(&plan_b, "one", "x").durable().await.unwrap();
    has(&plan, "one").await;
    let who = partita::group::MemberId(ben.replica());
    ada.ask(move |group, turn| group.set_role(turn, who, Role::Read)).await.unwrap();
    ben.until("the demotion", |group| group.role() == Some(Role::Read)).await;
    put(&plan, "for readers", "x").durable().await.unwrap();
    has(&plan_b, "for readers").await;
    let refused = put(&plan_b, "two", "x").durable().await.unwrap_err();
    assert!(refused.to_string().contains("right"), "{refused}");
    ada.ask(move |group, turn| group.set_role(turn, who, Role::Write)).await.unwrap();
    ben.until("the promotion", |group| group.role() == Some(Role::Write)).await;
    put(&plan_b, "three", "x").durable().await.unwrap();
    has(&plan, "three").await;
    for person in [ada, ben] {
        person.engine.close().await.unwrap();
    }
    relay.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_admins_confirm_by_hand_a_newcomer_waits_for_one() {
    let town = Town::new();
    let relay = town.relay().await;
    let url = relay.url().to_string();
    let ada = town.start("ada", town.found("ada", Policy::default().confirm_by_hand(true)), &[&url]).await;
    let plan = ada.group.create::<Automerge>().await.unwrap();
    let ben = town.join("ben", &ada.invite(Terms::new(Role::Admin)).await, &[&url]).await;
    let device = ben.replica();
    ada.until("ben's acceptance", move |group| group.waiting().iter().any(|(who, _)| *who == device)).await;
    let pending = |group: &Group| group.members().iter().any(|member| member.membership == Membership::Pending);
    ada.until("ben pending", pending).await;
    let lacks = ben.ask(|group, turn| group.rotate(turn)).await.unwrap_err();
    assert_eq!(lacks, GroupError::Lacks { needed: Role::Write, has: Some(Role::Read) });
    ada.ask(move |group, turn| group.confirm(turn, device)).await.unwrap();
    ben.until("ben's confirmation", |group| group.role() == Some(Role::Admin)).await;
    put(&ben.get(plan.id()).await, "by ben", "x").durable().await.unwrap();
    has(&plan, "by ben").await;
    for person in [ada, ben] {
        person.engine.close().await.unwrap();
    }
    relay.close().await;
}
