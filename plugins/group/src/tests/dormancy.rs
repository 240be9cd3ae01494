//! Devices that are away for long.

use std::collections::BTreeSet;

use partita_core::{PartitionStrategy, ReplicaId};

use super::net::{Device, Peer, lacks, relay, settle};
use crate::{
    Action, GroupError, Policy,
    op::Op,
    role::{History, Role},
};

/// Who is dormant by all that a node knows.
fn dormant<S: PartitionStrategy>(at: &Peer<S>) -> BTreeSet<ReplicaId> {
    at.strategy.dormant(&at.context, &at.graph.heads())
}

/// Two admins and a writer.
fn three() -> (Device, Device, Device) {
    let mut ada = Device::founder(1, Policy::default());
    let mut ben = Device::added_by(&mut ada, 2, Role::Admin, History::All);
    let mut cay = Device::added_by(&mut ada, 3, Role::Write, History::All);
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    (ada, ben, cay)
}

#[test]
fn only_an_admin_declares_a_device_dormant_and_not_its_own() {
    let (mut ada, ben, mut cay) = three();
    let declare = |by: &mut Device, device| by.call(|group, turn| group.declare_dormant(turn, device));
    let (me, unknown) = (ada.replica, ReplicaId::from_bytes([5; 32]));
    assert_eq!(declare(&mut cay, ben.replica), Err(lacks(Role::Admin, Role::Write)));
    assert_eq!(declare(&mut ada, me), Err(GroupError::NotAway));
    assert_eq!(declare(&mut ada, unknown), Err(GroupError::UnknownDevice(unknown)));
    // Said all the same, it does not count.
    cay.say(&[Op::Dormant(ben.replica)]);
    ada.pull(&cay);
    assert!(dormant(&ada).is_empty());
    assert_eq!(declare(&mut ada, ben.replica), Ok(()));
    assert_eq!(dormant(&ada), [ben.replica].into());
}

#[test]
fn a_dormant_device_keeps_its_rights_and_its_return_ends_dormancy_everywhere() {
    let (mut ada, mut ben, mut cay) = three();
    let mut relay = relay(ada.context);
    ada.call(|group, turn| group.declare_dormant(turn, cay.replica)).unwrap();
    ben.pull(&ada);
    relay.pull(&ada);
    let declared = ada.graph.heads();
    assert_eq!((dormant(&ben), dormant(&relay)), ([cay.replica].into(), [cay.replica].into()));
    assert!(relay.strategy.writers(&ada.context, &declared).unwrap().contains(&cay.replica), "it may write as before");
    let away: Vec<ReplicaId> = ben.strategy.members().into_iter().flat_map(|member| member.dormant).collect();
    assert_eq!(away, [cay.replica]);
    let told = |item: &crate::HistoryItem| item.action == Action::DeclaredDormant { device: cay.replica };
    assert!(ben.strategy.history().iter().any(|item| told(item) && item.counts && item.device == ada.replica));

    cay.pull(&ada);
    assert_eq!(cay.duties(), 1, "it says that it is back, and nothing else");
    ben.pull(&cay);
    relay.pull(&cay);
    assert!(dormant(&ben).is_empty() && dormant(&relay).is_empty());
    assert_eq!(ben.strategy.dormant(&ben.context, &declared), [cay.replica].into(), "as these heads had seen it");
    assert_eq!(settle(&mut [&mut ada, &mut ben, &mut cay]), 0);
    ada.pull(&cay);
    ada.call(|group, turn| group.declare_dormant(turn, cay.replica)).unwrap();
    assert_eq!(dormant(&ada), [cay.replica].into(), "it went away again");
}

#[test]
fn what_a_removed_admin_declared_beside_its_removal_does_not_count() {
    let (mut ada, mut ben, cay) = three();
    ben.call(|group, turn| group.declare_dormant(turn, cay.replica)).unwrap();
    let member = ben.member();
    ada.call(|group, turn| group.remove(turn, member)).unwrap();
    ada.pull(&ben);
    ben.pull(&ada);
    assert!(dormant(&ada).is_empty() && dormant(&ben).is_empty());
    ada.call(|group, turn| group.declare_dormant(turn, cay.replica)).unwrap();
    assert_eq!(dormant(&ada), [cay.replica].into(), "an admin's own word counts all the same");
}

#[test]
fn nobody_returns_for_another() {
    let (mut ada, mut ben, cay) = three();
    ada.call(|group, turn| group.declare_dormant(turn, cay.replica)).unwrap();
    ben.pull(&ada);
    ben.say(&[Op::Back]);
    assert_eq!(dormant(&ben), [cay.replica].into());
}

#[test]
fn what_changes_nothing_costs_nothing_whoever_declares_it() {
    let (mut ada, mut ben, mut cay) = three();
    let strangers: Vec<Op> = (0..8).map(|n| Op::Dormant(ReplicaId::from_bytes([100 + n; 32]))).collect();
    for device in [&mut cay, &mut ben] {
        device.say(&strangers[..4]);
        device.say(&[Op::Dormant(ada.replica), Op::Dormant(ada.replica)]);
        device.say(&[Op::Dormant(ada.replica)]);
    }
    for device in [&ben, &cay] {
        ada.pull(device);
    }
    let state = &ada.strategy.state;
    let kept = state.ledger.away_by(&ada.graph.heads());
    assert_eq!(kept.standing().count(), 5, "an admin's, each once");
}
