//! Invitations, further devices and new keys: who comes in, and with what.

use partita_core::PartitionStrategy as _;

use super::{
    net::{Device, at, invite, keystore, pair, relay, remove, settle},
    world::rng,
};
use crate::{Group, GroupError, History, Membership, Policy, Role, Terms, Uses};

#[test]
fn joining_needs_nobody_but_a_relay_and_rotates_the_keys() {
    let (mut ada, mut ben) = pair();
    let before = ada.epoch();
    let invitation = invite(&mut ada, Terms::new(Role::Write));
    ben.pull(&ada);
    // An epoch that begins while the invitation is open waits for it, too.
    ben.call(|group, turn| group.rotate(turn)).unwrap();
    let while_open = ben.epoch();
    let mut node = relay(ada.context);
    node.pull(&ben);
    let mut cay = Device::invited(&invitation, 3);
    cay.writing = false;
    cay.pull(&node);
    assert!(cay.holds(&before) && cay.holds(&while_open));
    assert_eq!(cay.duties(), 1);
    node.pull(&cay);
    assert_eq!(cay.role_of(&cay), Some(Role::Read));
    ben.pull(&node);
    assert_eq!(ben.duties(), 2, "it confirms, and begins an epoch that the link does not open");
    node.pull(&ben);
    cay.pull(&node);
    assert_eq!(cay.role_of(&cay), Some(Role::Write));
    let after = cay.epoch();
    assert!(after != while_open && cay.holds(&after));
    assert_eq!(settle(&mut [&mut ada, &mut ben, &mut cay]), 0);
    // Whoever finds the link afterwards is nobody, and reads nothing that is written since.
    let mut eve = Device::invited(&invitation, 66);
    eve.pull(&node);
    assert_eq!(eve.duties(), 0);
    assert!(eve.holds(&before) && !eve.holds(&after));
}

#[test]
fn two_devices_that_use_one_invitation_wait_for_an_admin() {
    let (mut ada, mut ben) = pair();
    let invitation = invite(&mut ada, Terms::new(Role::Write));
    let (mut cay, mut eve) = (Device::invited(&invitation, 3), Device::invited(&invitation, 66));
    for device in [&mut cay, &mut eve] {
        device.writing = false;
        device.pull(&ada);
        device.duties();
    }
    let mut node = relay(ada.context);
    node.pull(&ada);
    node.pull(&cay);
    node.pull(&eve);
    ada.pull(&node);
    let suspended = |device: &Device| {
        let members = device.strategy.members().into_iter();
        members.filter(|member| member.membership == Membership::Suspended && member.role.is_none()).count()
    };
    ada.writing = false;
    ada.duties();
    assert_eq!(suspended(&ada), 2);
    assert_eq!(ada.strategy.waiting().len(), 2);
    let epoch = ada.epoch();
    let (yes, no) = (cay.replica, eve.replica);
    ada.call(|group, turn| group.confirm(turn, yes)).unwrap();
    ada.call(|group, turn| group.refuse(turn, no)).unwrap();
    assert_eq!(ada.call(|group, turn| group.refuse(turn, no)), Err(GroupError::NothingPending(no)));
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    eve.pull(&ada);
    assert_eq!((ben.role_of(&cay), ben.role_of(&eve)), (Some(Role::Write), None));
    assert!(cay.holds(&epoch) && !eve.holds(&epoch));
}

#[test]
fn removing_the_inviter_voids_what_nobody_confirmed() {
    let mut ada = Device::founder(1, Policy::default().confirm_by_hand(true));
    let mut ben = Device::added_by(&mut ada, 2, Role::Admin, History::All);
    settle(&mut [&mut ada, &mut ben]);
    let (one, two) = (invite(&mut ben, Terms::new(Role::Write)), invite(&mut ben, Terms::new(Role::Write)));
    let (mut cay, mut dan) = (Device::invited(&one, 3), Device::invited(&two, 4));
    for device in [&mut cay, &mut dan] {
        device.writing = false;
        device.pull(&ben);
        device.duties();
        ada.pull(device);
    }
    ada.pull(&ben);
    ada.pull(&cay);
    ada.pull(&dan);
    let confirmed = cay.replica;
    ada.call(|group, turn| group.confirm(turn, confirmed)).unwrap();
    remove(&mut ada, &ben);
    settle(&mut [&mut ada, &mut cay, &mut dan]);
    assert_eq!((ada.role_of(&cay), ada.role_of(&dan)), (Some(Role::Write), None));
    let epoch = ada.epoch();
    settle(&mut [&mut ada, &mut cay]);
    dan.pull(&ada);
    assert!(cay.holds(&epoch) && !dan.holds(&epoch));
    assert!(ada.strategy.invitations().is_empty());
}

#[test]
fn an_invitation_ends_when_its_time_has_come() {
    let (mut ada, mut ben) = pair();
    let invitation = invite(&mut ada, Terms::new(Role::Write).uses(Uses::Many).expires(1_000_050));
    ben.pull(&ada);
    let before = ben.epoch();
    ada.now = at(49);
    assert_eq!(ada.duties(), 0);
    ada.now = at(50);
    ada.writing = false;
    assert_eq!(ada.duties(), 1);
    settle(&mut [&mut ada, &mut ben]);
    assert!(ben.strategy.invitations().is_empty());
    assert_ne!(ben.epoch(), before, "the link opens the old one");
    let mut late = Device::invited(&invitation, 5);
    late.pull(&ben);
    assert_eq!(late.duties(), 0);
    assert_eq!(late.strategy.role(), None);
}

/// When it joined a device says itself: what counts where its clock is ahead is that the invitation runs here.
#[test]
fn a_newcomer_whose_clock_is_ahead_is_let_in_while_its_invitation_runs() {
    let (mut ada, _) = pair();
    let invitation = invite(&mut ada, Terms::new(Role::Write).uses(Uses::Many).expires(1_000_050));
    let mut newcomer = Device::invited(&invitation, 5);
    newcomer.now = at(7_200);
    newcomer.pull(&ada);
    newcomer.duties();
    ada.now = at(20);
    ada.pull(&newcomer);
    ada.duties();
    newcomer.pull(&ada);
    assert_eq!(newcomer.strategy.role(), Some(Role::Write));
    let mut later = Device::invited(&invitation, 6);
    later.now = at(7_200);
    later.pull(&ada);
    later.duties();
    ada.now = at(60);
    ada.pull(&later);
    ada.duties();
    assert_eq!(ada.role_of(&later), None, "it comes too late here, too");
}

#[test]
fn a_member_has_no_more_devices_than_everybody_counts() {
    let (mut ada, _) = pair();
    for seed in 100..163 {
        drop(ada.further(seed));
    }
    let one_too_many = Group::device_card(&*keystore(), &mut rng(200), ada.member()).unwrap();
    let added = ada.call(|group, turn| group.add_device(turn, &one_too_many));
    assert!(matches!(added, Err(GroupError::TooManyDevices(_, 64))), "{added:?}");
}

#[test]
fn a_member_makes_no_more_links_for_devices_than_can_be_used() {
    let (mut ada, _) = pair();
    for _ in 0..64 {
        ada.call(|group, turn| group.invite_device(turn)).unwrap();
    }
    let one_too_many = ada.call(|group, turn| group.invite_device(turn));
    assert!(matches!(one_too_many, Err(GroupError::TooManyLinks(_, 64))));
    let first = ada.strategy.invitations()[0].id;
    ada.call(|group, turn| group.revoke_invitation(turn, first)).unwrap();
    ada.call(|group, turn| group.invite_device(turn)).unwrap();
}

/// It would accept, the acceptance would be excluded everywhere, and nobody would say so.
#[test]
fn a_first_device_that_was_taken_out_is_told_that_it_needs_new_keys() {
    let (mut ada, mut ben) = pair();
    let mut tablet = ben.further(6);
    settle(&mut [&mut ada, &mut ben, &mut tablet]);
    let (first, keystore) = (ben.replica, ben.strategy.keystore.clone());
    tablet.call(|group, turn| group.remove_device(turn, first)).unwrap();
    let link = tablet.call(|group, turn| group.invite_device(turn)).unwrap();
    let joined = Group::join(keystore.clone(), &mut rng(7), &link);
    assert_eq!(joined.err(), Some(GroupError::FirstDevice(ben.member())));
    let card = Group::device_card(&*keystore, &mut rng(7), ben.member()).unwrap();
    let added = tablet.call(|group, turn| group.add_device(turn, &card));
    assert_eq!(added, Err(GroupError::FirstDevice(ben.member())));
    // With others it comes back as any device does.
    tablet.duties();
    let mut again = Device::invited(&link, 8);
    again.writing = false;
    again.pull(&tablet);
    again.duties();
    settle(&mut [&mut ada, &mut tablet, &mut again]);
    assert_eq!((again.member(), again.strategy.role()), (ben.member(), Some(Role::Admin)));
}

#[test]
fn an_invitation_for_many_admits_many() {
    let (mut ada, mut ben) = pair();
    let invitation = invite(&mut ada, Terms::new(Role::Read).uses(Uses::Many));
    let mut joined: Vec<Device> = (10..14).map(|seed| Device::invited(&invitation, seed)).collect();
    for device in &mut joined {
        device.pull(&ada);
        device.writing = false;
        device.duties();
    }
    let mut everybody: Vec<&mut Device> = joined.iter_mut().collect();
    everybody.extend([&mut ada, &mut ben]);
    settle(&mut everybody);
    assert_eq!(ben.strategy.members().len(), 6);
    let active = |member: &crate::MemberInfo| member.membership == Membership::Active;
    assert!(ben.strategy.members().iter().all(active));
}

#[test]
fn a_member_brings_its_own_further_devices_by_card_or_by_link() {
    let (mut ada, _) = pair();
    let mut rea = Device::added_by(&mut ada, 5, Role::Read, History::All);
    let epoch = ada.epoch();
    rea.pull(&ada);
    let mut tablet = rea.further(6);
    assert!(tablet.holds(&epoch));
    let link = rea.call(|group, turn| group.invite_device(turn)).unwrap();
    rea.duties();
    let mut phone = Device::invited(&link, 7);
    phone.pull(&rea);
    phone.writing = false;
    phone.duties();
    assert!(phone.holds(&epoch));
    settle(&mut [&mut ada, &mut rea, &mut tablet, &mut phone]);
    let me = ada.strategy.members().into_iter().find(|member| member.id == rea.member()).unwrap();
    assert_eq!(me.devices.len(), 3);
    assert_eq!(phone.strategy.role(), Some(Role::Read));
    assert_eq!(ada.strategy.waiting(), [], "the member's own device confirmed it");
    // A reader cannot begin an epoch, so the lost device reads until the next writer does.
    let lost = tablet.replica;
    rea.call(|group, turn| group.remove_device(turn, lost)).unwrap();
    settle(&mut [&mut ada, &mut rea, &mut phone]);
    tablet.pull(&rea);
    let after = ada.epoch();
    settle(&mut [&mut ada, &mut rea, &mut phone]);
    tablet.pull(&ada);
    assert!(phone.holds(&after) && !tablet.holds(&after));
    assert_eq!(tablet.strategy.role(), None);
    assert_eq!(rea.strategy.role(), Some(Role::Read));
}

#[test]
fn a_device_key_changes_and_nothing_that_was_readable_is_lost() {
    let (mut ada, mut ben) = pair();
    let old = ada.epoch();
    ben.pull(&ada);
    // A box is on its way when the key changes.
    ada.call(|group, turn| group.rotate(turn)).unwrap();
    let on_its_way = ada.strategy.epoch(&ada.context).unwrap().unwrap();
    ben.call(|group, turn| group.rotate_device_key(turn)).unwrap();
    settle(&mut [&mut ada, &mut ben]);
    assert!(ben.holds(&on_its_way));
    ada.call(|group, turn| group.rotate(turn)).unwrap();
    let new = ada.epoch();
    ben.pull(&ada);
    assert!(ben.holds(&new));
    ben.call(|group, turn| group.rotate_device_key(turn)).unwrap();
    settle(&mut [&mut ada, &mut ben]);
    let again = ben.restarted();
    for epoch in [old, on_its_way, new] {
        assert!(again.holds(&epoch), "a restart finds what no key of today opens");
    }
    let first = &ben.strategy.keys.boxes;
    assert!(ben.strategy.record.boxes.iter().all(|key| key != first), "the key before the last is gone");
}

#[test]
fn who_left_or_was_removed_comes_back_by_another_invitation_with_the_keys_that_it_had() {
    let (mut ada, mut ben) = pair();
    let first = invite(&mut ada, Terms::new(Role::Write));
    let mut cay = Device::invited(&first, 3);
    cay.pull(&ada);
    cay.writing = false;
    cay.duties();
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    remove(&mut ada, &cay);
    let second = invite(&mut ada, Terms::new(Role::Write));
    let again = Group::join(cay.strategy.keystore.clone(), &mut rng(7), &second).unwrap();
    let mut again = Device::of(again, 33);
    assert_eq!(again.replica, cay.replica);
    again.writing = false;
    again.pull(&ada);
    again.duties();
    settle(&mut [&mut ada, &mut ben, &mut again]);
    assert_eq!(ben.role_of(&again), Some(Role::Write));
    let epoch = again.epoch();
    settle(&mut [&mut ada, &mut ben, &mut again]);
    assert!(again.holds(&epoch) && ada.holds(&epoch));
    assert_eq!(Group::all(&*again.strategy.keystore).unwrap().len(), 1);
}
