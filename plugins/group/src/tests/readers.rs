//! Who may read what: newcomers, snapshots, epochs.

use std::collections::BTreeSet;

use partita_core::{EpochId, Opened, PartitionStrategy as _};

use super::net::{Device, at, card_of, pair, reads, remove, settle};
use crate::{
    History, Policy, Role,
    epochs::Maker,
    op::{Epoch, Op, Scope},
};

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
fn secrets_that_one_may_not_read_any_more_do_not_stand_for_those_that_are_missing() {
    let (mut ada, mut ben) = pair();
    let mut cay = Device::added_by(&mut ada, 3, Role::Write, History::All);
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    remove(&mut ada, &cay);
    let card = card_of(&cay);
    ada.call(|group, turn| group.add(turn, &card, Role::Write, History::FromNow)).unwrap();
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    assert_eq!(cay.strategy.status().epochs_missing, 0);
    // An epoch whose boxes nobody can open.
    let mut recipients =
        [&ada, &ben, &cay].map(|device| (device.replica, device.strategy.record.boxes[0].public())).to_vec();
    recipients.sort_unstable();
    let maker = Maker { context: *ada.context.as_bytes(), device: ada.replica };
    let (real, _) = Epoch::create(&mut ada.rng, maker, Scope::Live, &recipients).unwrap();
    ada.say(&[Op::Epoch(Epoch { boxes: vec![7; real.boxes.len()].into(), ..real })]);
    cay.pull(&ada);
    assert_eq!(cay.strategy.status().epochs_missing, 1);
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
    assert!(!ben.strategy.state.is_complete(&id), "it has a box too few");
    assert!(!ben.strategy.is_for_same_readers(&ben.context, &ada.replica, Some(id), &[id].into()));
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
