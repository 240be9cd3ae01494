//! Which epoch may be written under, and what its boxes are bound to.

use partita_core::{PartitionStrategy as _, ReplicaId};
use partita_crypto::{BoxSecretKey, EpochSecret};

use super::net::{Device, rng, settle};
use crate::{
    epoch::Place,
    op::{Epoch, Op, Share},
};

#[test]
fn an_addition_forces_no_rotation_of_those_who_write() {
    let (mut laptop, mnemonic) = Device::first(1);
    laptop.duties();
    let epoch = laptop.epoch();
    let phone = Device::more(&mnemonic, 2);
    laptop.say(&[Op::Certify(phone.strategy.me.certificate.clone())]);
    assert_eq!(laptop.epoch(), epoch);
    assert_eq!(laptop.duties(), 1, "it boxes the epoch for the new device");
    assert_eq!(laptop.epoch(), epoch);
}

#[test]
fn what_a_lost_device_made_or_was_given_is_not_written_under() {
    let (mut laptop, mnemonic) = Device::first(1);
    let (mut phone, mut tablet) = (Device::more(&mnemonic, 2), Device::more(&mnemonic, 3));
    settle(&mut [&mut laptop, &mut phone, &mut tablet]);
    // A thief's epoch says that it covers the phone's own loss, leaves the phone out, and lies within the cap.
    let me = &phone.strategy.me;
    let readers: Vec<_> = laptop.resolved().current().filter(|(device, _)| *device != phone.replica).collect();
    let (place, covers) = (phone.strategy.own[0].place(me), vec![phone.replica]);
    let (owner, recovery) = (me.certificate.owner(), me.certificate.recovery_key());
    let trap = Epoch::create(&mut phone.rng, place, covers.clone(), &readers, &owner, &recovery).unwrap();
    let trap_id = trap.id(place);
    phone.say(&[Op::Epoch(trap)]);
    laptop.pull(&phone);
    laptop.revoke(&mnemonic, phone.replica);
    tablet.pull(&laptop);
    for device in [&laptop, &tablet] {
        assert!(device.holds(&trap_id));
        assert_ne!(device.epoch(), Some(trap_id));
        let facts = device.resolved().facts(trap_id, &device.resolved().epochs[&trap_id], true);
        assert!(facts.rightful && facts.covers_all_losses && !facts.writable(), "its maker knows its secret");
    }
}

#[test]
fn a_garbage_share_gives_no_wrong_key() {
    let (mut laptop, mnemonic) = Device::first(1);
    laptop.duties();
    let epoch = laptop.epoch().unwrap();
    let mut phone = Device::more(&mnemonic, 2);
    let key = phone.strategy.me.certificate.box_key();
    let other = EpochSecret::random(&mut rng(3));
    let place = laptop.strategy.own[0].place(&laptop.strategy.me);
    let lie = Share::create(&mut laptop.rng, place, epoch, &other, (phone.replica, key)).unwrap();
    laptop.say(&[Op::Certify(phone.strategy.me.certificate.clone()), Op::Share(lie)]);
    phone.pull(&laptop);
    assert!(!phone.holds(&epoch), "the secret in it is not the one committed to");
    phone.duties();
    assert!(phone.epoch().is_some(), "it writes under one of its own");
}

#[test]
fn a_share_that_came_before_its_epoch_is_opened_then() {
    let (mut laptop, mnemonic) = Device::first(1);
    let (mut phone, mut tablet) = (Device::more(&mnemonic, 2), Device::more(&mnemonic, 3));
    settle(&mut [&mut laptop, &mut tablet]);
    let epoch = laptop.epoch().unwrap();
    let secret = laptop.strategy.own[0].ring.keys.get(&epoch).unwrap().clone();
    let place = tablet.strategy.own[0].place(&tablet.strategy.me);
    let to = (phone.replica, phone.strategy.me.certificate.box_key());
    let share = Share::create(&mut tablet.rng, place, epoch, &secret, to).unwrap();
    // Its heads name nothing, so it may travel before the epoch.
    let mut early = Device::more(&mnemonic, 3);
    let sent = early.say(&[Op::Certify(tablet.strategy.me.certificate.clone()), Op::Share(share)]);
    phone.give(&sent);
    assert!(!phone.holds(&epoch));
    phone.pull(&laptop);
    assert!(phone.holds(&epoch));
}

#[test]
fn a_box_opens_only_where_it_was_made_for() {
    let (device, _) = Device::first(1);
    let mut rng = rng(5);
    let (mine, theirs) = (BoxSecretKey::generate(&mut rng), BoxSecretKey::generate(&mut rng));
    let [me, them, author] = [1, 2, 3].map(|n| ReplicaId::from_bytes([n; 32]));
    let place = Place { context: device.context, author };
    let (owner, recovery) = (device.strategy.owner(), BoxSecretKey::generate(&mut rng));
    let recipients = [(me, mine.public()), (them, theirs.public())];
    let mut make = |covers| Epoch::create(&mut rng, place, covers, &recipients, &owner, &recovery.public()).unwrap();
    let (epoch, other) = (make(vec![]), make(vec![author]));
    assert!(epoch.open(place, me, &mine).is_some());
    assert!(epoch.recover(place, &owner, &recovery).is_some());
    assert_eq!(epoch.open(place, me, &mine), epoch.recover(place, &owner, &recovery));

    assert!(epoch.open(place, me, &theirs).is_none(), "another's key");
    assert!(epoch.open(place, author, &mine).is_none(), "no recipient");
    let elsewhere = Place { context: device.strategy.plain_context(), author };
    assert!(epoch.open(elsewhere, me, &mine).is_none(), "another context");
    assert!(epoch.open(Place { author: them, ..place }, me, &mine).is_none(), "another sender");
    let mut moved = epoch.clone();
    moved.boxes[0].1 = epoch.boxes[1].1;
    assert!(moved.open(place, me, &mine).is_none(), "another recipient's box");
    let mut moved = epoch.clone();
    moved.boxes[0].1 = other.boxes[0].1;
    assert!(moved.open(place, me, &mine).is_none(), "another epoch's box");
    let mut changed = epoch.clone();
    changed.covers = vec![author];
    assert!(changed.open(place, me, &mine).is_none(), "another op around it");
    let mut moved = epoch.clone();
    moved.recovery = other.recovery;
    assert!(moved.recover(place, &owner, &recovery).is_none(), "another epoch's recovery box");

    let secret = epoch.open(place, me, &mine).unwrap();
    let (id, other_id) = (epoch.id(place), other.id(place));
    assert_ne!(id, epoch.id(elsewhere));
    assert_ne!(id, epoch.id(Place { author: them, ..place }));
    let share = Share::create(&mut super::net::rng(6), place, id, &secret, (me, mine.public())).unwrap();
    assert_eq!(share.open(place, &epoch, me, &mine), Some(secret));
    assert!(share.open(place, &epoch, them, &theirs).is_none());
    assert!(Share { recipient: them, ..share.clone() }.open(place, &epoch, them, &theirs).is_none());
    assert!(Share { epoch: other_id, ..share.clone() }.open(place, &epoch, me, &mine).is_none());
    assert!(share.open(place, &other, me, &mine).is_none(), "another commitment");
}

#[test]
fn many_missing_keys_are_shared_in_few_entries() {
    let (mut laptop, mnemonic) = Device::first(1);
    laptop.duties();
    for _ in 0..39 {
        let epoch = laptop.strategy.own[0].new_epoch(&laptop.strategy.me, None, &mut laptop.rng).unwrap();
        laptop.say(&[epoch]);
    }
    let phone = Device::more(&mnemonic, 2);
    laptop.say(&[Op::Certify(phone.strategy.me.certificate.clone())]);
    assert_eq!(laptop.duties(), 3, "40 shares, 16 to an entry");
    let deepest = laptop.epoch().unwrap();
    assert_eq!(laptop.resolved().epochs[&deepest].depth, 40);
    assert!(laptop.strategy.kinds().len() == 1);
}
