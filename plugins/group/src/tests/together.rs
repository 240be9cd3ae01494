//! Honest people at the same time: who gets which keys, who is in, what settles.

use std::collections::BTreeSet;

use partita_core::{EpochId, Opened, PartitionStrategy as _, Verdict};
use rand_chacha::rand_core::Rng as _;

use super::{
    net::{Device, at, card_of, relay, settle},
    world::rng,
};
use crate::{
    Action, Group, GroupError, GroupEvent, History, Membership, Policy, Role, Terms, Uses,
    epochs::Maker,
    op::{Epoch, Op, Scope},
};

fn pair() -> (Device, Device) {
    let mut ada = Device::founder(1, Policy::default());
    let mut ben = Device::added_by(&mut ada, 2, Role::Admin, History::All);
    settle(&mut [&mut ada, &mut ben]);
    (ada, ben)
}

fn remove(admin: &mut Device, who: &Device) {
    let member = who.member();
    admin.call(|group, turn| group.remove(turn, member)).unwrap();
}

fn invite(admin: &mut Device, terms: Terms) -> crate::Invitation {
    let invitation = admin.call(|group, turn| group.invite(turn, terms)).unwrap();
    admin.duties();
    invitation
}

/// What a device can read of an entry that another seals now.
fn reads(reader: &Device, writer: &mut Device, epoch: EpochId) -> bool {
    let (header, sealed) = writer.seal(epoch, b"x");
    matches!(reader.open(&header, writer.replica, epoch, &sealed), Opened::Plain(_))
}

#[test]
fn who_is_added_while_another_rotates_gets_the_new_key_too() {
    let (mut ada, mut ben) = pair();
    let mut cay = Device::added_by(&mut ada, 3, Role::Write, History::All);
    ben.call(|group, turn| group.rotate(turn)).unwrap();
    let rotated = ben.epoch();
    assert!(!cay.holds(&rotated));
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    assert!(cay.holds(&rotated));
}

#[test]
fn a_rotation_that_has_not_seen_a_removal_is_not_written_under() {
    let (mut ada, mut ben) = pair();
    let mut cay = Device::added_by(&mut ada, 3, Role::Write, History::All);
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    remove(&mut ada, &cay);
    // Deeper than the removal's own epoch, and with the removed as a recipient.
    for _ in 0..3 {
        ben.call(|group, turn| group.rotate(turn)).unwrap();
    }
    let stale = ben.strategy.epoch(&ben.context).unwrap().unwrap();
    cay.pull(&ben);
    assert!(cay.holds(&stale));
    settle(&mut [&mut ada, &mut ben]);
    cay.pull(&ben);
    let (by_ada, by_ben) = (ada.epoch(), ben.epoch());
    assert!(by_ada == by_ben && by_ada != stale && !cay.holds(&by_ada));
}

#[test]
fn two_removals_at_once_lead_to_an_epoch_that_neither_of_the_removed_gets() {
    let (mut ada, mut ben) = pair();
    let mut cay = Device::added_by(&mut ada, 3, Role::Write, History::All);
    let mut dan = Device::added_by(&mut ada, 4, Role::Write, History::All);
    settle(&mut [&mut ada, &mut ben, &mut cay, &mut dan]);
    remove(&mut ada, &cay);
    remove(&mut ben, &dan);
    settle(&mut [&mut ada, &mut ben]);
    let epoch = ada.epoch();
    settle(&mut [&mut ada, &mut ben]);
    assert_eq!(ben.epoch(), epoch);
    for gone in [&mut cay, &mut dan] {
        gone.pull(&ada);
        gone.duties();
        assert!(!gone.holds(&epoch) && !reads(gone, &mut ada, epoch));
    }
}

#[test]
fn who_is_removed_and_added_again_writes_and_reads_on() {
    let (mut ada, mut ben) = pair();
    let mut cay = Device::added_by(&mut ada, 3, Role::Write, History::All);
    let first = ada.epoch();
    remove(&mut ada, &cay);
    let between = ada.epoch();
    cay.pull(&ada);
    assert_eq!(cay.strategy.epoch(&cay.context).unwrap_err().to_string(), GroupError::Removed.to_string());
    assert!(ada.strategy.standing(&ada.context).has_lost(&cay.replica));
    let card = card_of(&cay);
    ada.call(|group, turn| group.add(turn, &card, Role::Write, History::All)).unwrap();
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    assert!(cay.holds(&first) && cay.holds(&between));
    let epoch = cay.epoch();
    assert_eq!(cay.verdict_at(&ada, epoch), Verdict::Accept);
    let standing = ada.strategy.standing(&ada.context);
    assert!(!standing.has_lost(&cay.replica) && standing.has_loss(&cay.replica));
    assert_eq!(standing.cap(&cay.replica, &cay.data_log(), |_| false), Some(0), "its old log counts no further");
    assert_eq!(standing.cap(&cay.replica, &cay.data_log(), |_| true), None, "a log begun in knowledge of it does");
}

#[test]
fn of_a_demotion_and_a_promotion_at_once_the_demotion_holds() {
    let (mut ada, mut ben) = pair();
    let mut cay = Device::added_by(&mut ada, 3, Role::Write, History::All);
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    let who = cay.member();
    ada.call(|group, turn| group.set_role(turn, who, Role::Read)).unwrap();
    ben.call(|group, turn| group.set_role(turn, who, Role::Admin)).unwrap();
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    for device in [&ada, &ben, &cay] {
        assert_eq!(device.role_of(&cay), Some(Role::Read));
    }
    ada.call(|group, turn| group.set_role(turn, who, Role::Write)).unwrap();
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    assert_eq!(ben.role_of(&cay), Some(Role::Write), "and whoever knows of both decides anew");
}

#[test]
fn the_last_admin_stays_until_it_names_another() {
    let mut ada = Device::founder(1, Policy::default());
    let mut ben = Device::added_by(&mut ada, 2, Role::Write, History::All);
    let (me, other) = (ada.member(), ben.member());
    let last = GroupError::LastAdmin;
    assert!(last.to_string().contains("make another member an admin first"));
    assert_eq!(ada.call(|group, turn| group.leave(turn)), Err(last.clone()));
    assert_eq!(ada.call(|group, turn| group.remove(turn, me)), Err(last.clone()));
    assert_eq!(ada.call(|group, turn| group.set_role(turn, me, Role::Write)), Err(last.clone()));
    let device = ada.replica;
    assert_eq!(ada.call(|group, turn| group.remove_device(turn, device)), Err(last));
    ada.call(|group, turn| group.set_role(turn, other, Role::Admin)).unwrap();
    ada.call(|group, turn| group.leave(turn)).unwrap();
    settle(&mut [&mut ada, &mut ben]);
    assert_eq!((ben.role_of(&ada), ben.role_of(&ben)), (None, Some(Role::Admin)));
    // What it wrote before counts; its departure is no reason to refuse what it still brings.
    let tip = ada.view_tip();
    assert_eq!(ben.strategy.standing(&ben.context).cap(&ada.replica, &tip.log, |_| false), Some(tip.seq));
    let epoch = ben.epoch();
    ada.pull(&ben);
    assert!(!ada.holds(&epoch));
}

#[test]
fn two_admins_who_leave_at_once_leave_the_senior_behind() {
    let (mut ada, mut ben) = pair();
    let mut cay = Device::added_by(&mut ada, 3, Role::Write, History::All);
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    ada.call(|group, turn| group.leave(turn)).unwrap();
    ben.call(|group, turn| group.leave(turn)).unwrap();
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    for device in [&ada, &ben, &cay] {
        assert_eq!(device.role_of(&ada), Some(Role::Admin));
        assert_eq!(device.role_of(&ben), None);
    }
}

#[test]
fn a_newcomer_from_now_on_opens_nothing_older_and_everybody_reads_what_it_writes() {
    let (mut ada, mut ben) = pair();
    let old = ada.epoch();
    let mut cay = Device::added_by(&mut ada, 3, Role::Write, History::FromNow);
    // At the same time somebody rotates who has not heard of it: nobody writes under that.
    ben.call(|group, turn| group.rotate(turn)).unwrap();
    let unaware = ben.strategy.epoch(&ben.context).unwrap().unwrap();
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    assert!(!cay.holds(&old) && !cay.holds(&unaware));
    assert_eq!(cay.strategy.status().epochs_missing, 0);
    let (now, theirs) = (cay.epoch(), ben.epoch());
    assert_eq!(now, theirs);
    assert!(reads(&ada, &mut cay, now) && reads(&cay, &mut ben, now));
    // Not by asking for it either.
    cay.say(&[Op::Complain(old)]);
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    assert!(!cay.holds(&old));
    assert_eq!(cay.strategy.name().as_deref(), Some("garden"));
}

#[test]
fn a_snapshot_goes_to_exactly_those_who_may_read_all_that_it_stands_for() {
    let (mut ada, mut ben) = pair();
    let first = ada.epoch();
    let mut cay = Device::added_by(&mut ada, 3, Role::Write, History::FromNow);
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    let second = ada.epoch();
    let mut dan = Device::added_by(&mut ben, 4, Role::Write, History::FromNow);
    settle(&mut [&mut ada, &mut ben, &mut cay, &mut dan]);
    let third = ada.epoch();
    let everybody = |ada: &Device, ben: &Device, cay: &Device, dan: &Device, epoch: &EpochId| {
        [ada, ben, cay, dan].map(|device| device.holds(epoch))
    };

    // What all read is sealed like what is written now.
    assert_eq!(ada.snapshot_epoch(&[third]), third);
    let live = everybody(&ada, &ben, &cay, &dan, &third);
    assert_eq!(live, [true; 4]);

    // What is older than some goes under an epoch from before they came, or one of its own.
    let old = ada.snapshot_epoch(&[first, second, third]);
    let between = ada.snapshot_epoch(&[second, third]);
    settle(&mut [&mut ada, &mut ben, &mut cay, &mut dan]);
    assert_eq!(everybody(&ada, &ben, &cay, &dan, &old), [true, true, false, false]);
    assert_eq!(everybody(&ada, &ben, &cay, &dan, &between), [true, true, true, false]);
    assert_eq!(ben.snapshot_epoch(&[first]), old);
    assert_eq!(cay.snapshot_epoch(&[second]), between, "whoever may read it makes snapshots, too");
    assert_eq!(ben.epoch(), third, "nothing else is written under them");
    assert_eq!(settle(&mut [&mut ada, &mut ben, &mut cay, &mut dan]), 0);

    // Everybody finds out who is shown too much or too little, also those who may not read it.
    let author = ada.replica;
    for device in [&ada, &cay, &dan] {
        let is_for = |epoch: EpochId, past: &[EpochId]| {
            let past: BTreeSet<EpochId> = past.iter().copied().collect();
            device.strategy.is_for_same_readers(&device.context, &author, Some(epoch), &past)
        };
        assert!(is_for(old, &[first, third]) && is_for(between, &[second]) && is_for(third, &[third]));
        assert!(is_for(old, &[old, third]) && is_for(between, &[between]), "what stands for it stands for its readers");
        assert!(!is_for(third, &[first]) && !is_for(between, &[first]), "shown");
        assert!(!is_for(old, &[second]) && !is_for(between, &[third]), "taken away");
    }

    // Who comes later reads them if it may read all history; who goes ends them, and others are begun without it.
    let mut eve = Device::added_by(&mut ada, 5, Role::Write, History::All);
    settle(&mut [&mut ada, &mut ben, &mut cay, &mut dan, &mut eve]);
    assert!(eve.holds(&old) && eve.holds(&between));
    remove(&mut ada, &eve);
    settle(&mut [&mut ada, &mut ben, &mut cay, &mut dan]);
    let (old_again, between_again) = (ben.snapshot_epoch(&[old]), ben.snapshot_epoch(&[between, third]));
    assert!(old_again != old && between_again != between);
    settle(&mut [&mut ada, &mut ben, &mut cay, &mut dan]);
    eve.pull(&ada);
    assert_eq!(everybody(&ada, &ben, &cay, &dan, &old_again), [true, true, false, false]);
    assert_eq!(everybody(&ada, &ben, &cay, &dan, &between_again), [true, true, true, false]);
    assert!(!eve.holds(&old_again) && !eve.holds(&between_again));
    assert_eq!(ada.snapshot_epoch(&[first]), old_again, "begun once");
    assert_eq!(cay.snapshot_epoch(&[second]), between_again);
    let mut flo = Device::added_by(&mut ben, 6, Role::Read, History::All);
    settle(&mut [&mut ada, &mut ben, &mut cay, &mut dan, &mut flo]);
    assert!(flo.holds(&old_again) && flo.holds(&between_again));
    assert!(ada.epoch() != old_again && ada.epoch() != between_again, "nothing else is written under them");
}

/// With the right to read again it gets the secrets of all epochs since its admission.
#[test]
fn a_snapshot_is_for_nobody_who_may_not_read_just_now_and_could_not_before() {
    let (mut ada, mut ben) = pair();
    let first = ada.epoch();
    let mut cay = Device::added_by(&mut ada, 3, Role::Write, History::FromNow);
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    let member = cay.member();
    ada.call(|group, turn| group.set_role(turn, member, Role::Relay)).unwrap();
    let live = ada.epoch();
    let snapshot = ada.snapshot_epoch(&[first]);
    ada.call(|group, turn| group.set_role(turn, member, Role::Write)).unwrap();
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    assert!(cay.holds(&live) && !cay.holds(&snapshot));
    let past = [first].into();
    assert!(cay.strategy.is_for_same_readers(&cay.context, &ada.replica, Some(snapshot), &past));
    // Nobody takes its word for what it cannot know.
    assert!(!ben.strategy.is_for_same_readers(&cay.context, &cay.replica, Some(snapshot), &past));
    assert!(!ben.strategy.is_for_same_readers(&cay.context, &cay.replica, Some(first), &past));
}

#[test]
fn who_still_has_old_keys_but_no_right_to_them_begins_no_epoch_for_a_snapshot() {
    let (mut ada, mut ben) = pair();
    let mut cay = Device::added_by(&mut ada, 3, Role::Write, History::All);
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    let first = ada.epoch();
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    remove(&mut ada, &cay);
    let card = card_of(&cay);
    ada.call(|group, turn| group.add(turn, &card, Role::Write, History::FromNow)).unwrap();
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    assert!(cay.holds(&first), "what it had it has");
    cay.past = [first].into();
    assert_eq!(cay.duties(), 0);
    assert!(cay.strategy.snapshot_epoch(&cay.context, &cay.past).is_err());
}

#[test]
fn an_epoch_leaves_out_nobody_who_may_read_all_history() {
    let (mut ada, mut ben) = pair();
    // Somebody who would keep the others from reading what it seals.
    let (epoch, _) = Epoch::create(
        &mut ada.rng,
        Maker { context: *ada.context.as_bytes(), device: ada.replica },
        Scope::Archive(vec![ben.member()]),
        &[(ada.replica, ada.strategy.record.boxes[0].public())],
    )
    .unwrap();
    ada.say(&[Op::Epoch(epoch)]);
    let id = *ada.strategy.state.epochs.announced.keys().find(|id| !ada.holds(id)).unwrap();
    settle(&mut [&mut ada, &mut ben]);
    assert!(!ben.strategy.state.announces(&id), "it has a box too few");
    assert!(!ben.strategy.is_for_same_readers(&ben.context, &ada.replica, Some(id), &[id].into()));
}

/// Who built on it before can show it to others, and vouch itself.
#[test]
fn what_somebody_vouched_for_stays_proved_when_the_vouch_counts_no_more() {
    let (mut ada, mut ben) = pair();
    let cay = Device::added_by(&mut ada, 3, Role::Write, History::All);
    settle(&mut [&mut ada, &mut ben]);
    let witness = super::world::witness(ada.context, &cay.strategy.keys.signing, 3);
    remove(&mut ada, &cay);
    settle(&mut [&mut ada, &mut ben]);
    // Beside his own removal.
    ben.say(&[Op::Vouch(vec![witness.clone()])]);
    assert!(ben.strategy.standing(&ben.context).vouches.contains_key(&witness.tip()));
    remove(&mut ada, &ben);
    ada.pull(&ben);
    let standing = ada.strategy.standing(&ada.context);
    assert!(!standing.vouches.contains_key(&witness.tip()));
    assert_eq!(standing.signature(&witness.tip()), Some(witness.signature()));
}

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
fn a_device_that_starts_again_knows_what_it_knew() {
    let (mut ada, mut ben) = pair();
    let invitation = invite(&mut ada, Terms::new(Role::Write));
    let mut cay = Device::invited(&invitation, 3);
    cay.pull(&ada);
    cay.writing = false;
    cay.duties();
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    for device in [&ada, &ben, &cay] {
        let again = device.restarted();
        assert_eq!(again.members(), device.strategy.members());
        assert_eq!(again.status(), device.strategy.status());
        assert_eq!(again.name().as_deref(), Some("garden"));
        assert_eq!(Group::all(&*device.strategy.keystore).unwrap(), [device.context]);
    }
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

#[test]
fn an_old_epoch_is_followed_by_another_when_the_policy_says_so() {
    let day = std::time::Duration::from_secs(86_400);
    let mut ada = Device::founder(1, Policy::default().rotate_after(day));
    let first = ada.epoch();
    ada.now = at(86_400);
    assert_eq!(ada.epoch(), first);
    ada.now = at(86_402);
    ada.writing = false;
    assert_eq!(ada.duties(), 0, "only for something to write");
    let second = ada.epoch();
    assert_ne!(second, first);
    ada.now = at(10); // a clock that goes back makes none
    assert_eq!(ada.epoch(), second);
}

#[test]
fn padded_groups_hide_lengths_and_read_the_same() {
    let mut ada = Device::founder(1, Policy::default().pad(true));
    let mut ben = Device::added_by(&mut ada, 2, Role::Write, History::All);
    let epoch = ada.epoch();
    ben.pull(&ada);
    let mut lengths = std::collections::BTreeSet::new();
    for len in 0..31 {
        let plain = vec![7; len];
        let (header, sealed) = ada.seal(epoch, &plain);
        assert_eq!(ben.open(&header, ada.replica, epoch, &sealed), Opened::Plain(plain.into()));
        lengths.insert(sealed.len());
    }
    assert_eq!(lengths.len(), 1);
}

#[test]
fn what_changed_is_told_once_and_who_did_it_stays_in_the_history() {
    let (mut ada, mut ben) = pair();
    ben.strategy.take_events();
    let cay = Device::added_by(&mut ada, 3, Role::Write, History::All);
    ben.pull(&ada);
    let joined = GroupEvent::Joined { member: cay.member(), role: Some(Role::Write), membership: Membership::Active };
    assert_eq!(ben.strategy.take_events(), [joined]);
    assert_eq!(ben.strategy.take_events(), []);
    remove(&mut ada, &cay);
    ada.call(|group, turn| group.rename(turn, "orchard")).unwrap();
    ben.pull(&ada);
    let events = ben.strategy.take_events();
    assert!(events.contains(&GroupEvent::Gone { member: cay.member() }), "{events:?}");
    assert!(events.contains(&GroupEvent::Renamed { name: Some("orchard".into()) }), "{events:?}");
    assert!(events.iter().any(|event| matches!(event, GroupEvent::Rotated { epoch: Some(_) })), "{events:?}");
    let history = ben.strategy.history();
    let removal = history.iter().find(|item| item.action == Action::Removed { member: cay.member() }).unwrap();
    assert!(removal.counts && removal.device == ada.replica);
}

/// Everything is lost, doubled and reordered for a while; then it heals.
#[test]
fn after_any_weather_everybody_agrees_without_another_word() {
    for seed in 0..20 {
        let mut rng = rng(seed);
        let mut below = |n: usize| (rng.next_u64() % n as u64) as usize;
        let mut ada = Device::founder(1, Policy::default());
        let ben = Device::added_by(&mut ada, 2, Role::Admin, History::All);
        let cay = Device::added_by(&mut ada, 3, Role::Admin, History::All);
        let dan = Device::added_by(&mut ada, 4, Role::Write, History::All);
        let mut all = [ada, ben, cay, dan];
        for step in 0..14 {
            let (actor, other) = (below(4), below(4));
            let (who, role) = (all[other].member(), [Role::Read, Role::Write, Role::Admin][below(3)]);
            let device = &mut all[actor];
            // Whoever may not is told so, and nothing is written.
            match below(6) {
                0 => drop(device.call(|group, turn| group.rotate(turn))),
                1 | 2 => drop(device.call(|group, turn| group.set_role(turn, who, role))),
                3 => drop(device.call(|group, turn| group.remove(turn, who))),
                4 => drop(device.call(|group, turn| group.invite(turn, Terms::new(role)))),
                _ => {
                    device.writing = step % 2 == 0;
                    device.duties();
                }
            }
            // Some of it arrives, some twice, in pieces.
            let (from, to) = (below(4), below(4));
            if from != to {
                let entries = all[from].entries.clone();
                let keep = below(entries.len() + 1);
                for said in entries.iter().take(keep).chain(entries.iter().take(keep / 2)) {
                    let heads = &said.header.stamp.as_ref().unwrap().heads;
                    if all[to].graph.missing(heads).is_empty() {
                        all[to].give(said);
                    }
                }
            }
        }
        let mut everybody: Vec<&mut Device> = all.iter_mut().collect();
        settle(&mut everybody);
        let first = &all[0];
        for device in &all[1..] {
            assert_eq!(device.strategy.members(), first.strategy.members(), "seed {seed}");
            assert_eq!(
                device.strategy.standing(&device.context),
                first.strategy.standing(&first.context),
                "seed {seed}"
            );
        }
        // And whoever may write agrees on the key, which whoever was removed lacks.
        let writers: Vec<usize> = (0..4).filter(|at| all[*at].strategy.role().is_some_and(Role::writes)).collect();
        let epochs: Vec<EpochId> =
            writers.iter().map(|at| all[*at].strategy.epoch(&all[*at].context).unwrap().unwrap()).collect();
        assert!(epochs.windows(2).all(|two| two[0] == two[1]), "seed {seed}");
        for device in all.iter().filter(|device| device.strategy.role().is_none()) {
            assert!(!device.holds(&epochs[0]), "seed {seed}: a removed device holds the key");
        }
    }
}
