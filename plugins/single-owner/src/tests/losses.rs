//! Devices that are stolen or sold.

use partita_core::{EntryId, LogId, PartitionStrategy as _, Refusal, ReplicaId, Tip, Verdict};
use partita_crypto::{Mnemonic, Secret};

use super::net::{Device, settle};
use crate::{DeviceStanding, OwnerError, op::Op, op::Payload, revocation::Revocation};

/// An owner's three devices, which know of each other and share an epoch.
pub(super) fn three() -> (Device, Device, Device, Mnemonic) {
    let (mut laptop, mnemonic) = Device::first(1);
    let (mut phone, mut tablet) = (Device::more(&mnemonic, 2), Device::more(&mnemonic, 3));
    settle(&mut [&mut laptop, &mut phone, &mut tablet]);
    (laptop, phone, tablet, mnemonic)
}

fn tip(log: u8, seq: u64) -> Tip {
    Tip { log: LogId::from_bytes([log; 16]), seq, head: EntryId::from_bytes([log; 32]) }
}

#[test]
fn only_the_owners_words_revoke_and_only_a_known_other_device() {
    let (mut laptop, phone, _, mnemonic) = three();
    let others = Mnemonic::from_entropy(&Secret::from_bytes([9; 32]));
    let me = laptop.replica;
    let mut revoke = |words: &Mnemonic, device| laptop.turn(|owner, turn| owner.revoke(turn, words, device));
    assert_eq!(revoke(&others, phone.replica), Err(OwnerError::WrongMnemonic));
    let unknown = ReplicaId::from_bytes([5; 32]);
    assert_eq!(revoke(&mnemonic, unknown), Err(OwnerError::UnknownDevice(unknown)));
    assert_eq!(revoke(&mnemonic, me), Err(OwnerError::OwnDevice));
    assert_eq!(revoke(&mnemonic, phone.replica), Ok(()));
    assert_eq!(revoke(&mnemonic, phone.replica), Err(OwnerError::AlreadyRevoked(phone.replica)));
    assert_eq!(laptop.turn(|owner, turn| owner.recover(turn, &others)), Err(OwnerError::WrongMnemonic));
}

/// A program that opens its store every five minutes has so many logs after two weeks.
#[test]
fn a_device_of_very_many_logs_is_revoked_too_and_its_longest_count() {
    let (mut laptop, mut phone, tablet, mnemonic) = three();
    let log = |number: u64| {
        let mut id = [0xee; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        LogId::from_bytes(id)
    };
    for number in 0..5_000 {
        let seq = if number == 4_321 { 100 } else { 1 };
        let tip = Tip { log: log(number), seq, head: EntryId::from_bytes([1; 32]) };
        let signed = phone.signed(tip);
        laptop.note(phone.replica, signed);
        phone.note(phone.replica, signed);
    }
    let retired = phone.turn(|owner, turn| owner.retire(turn));
    assert!(matches!(retired, Err(OwnerError::TooManyLogs(logs)) if logs >= 5_000));
    laptop.revoke(&mnemonic, phone.replica);
    let longest = laptop.entries.iter().map(|sent| sent.payload.len()).max().unwrap();
    assert!((350_000..500_000).contains(&longest), "{longest} bytes");
    let standing = laptop.strategy.standing(&laptop.context);
    assert_eq!(standing.cap(&phone.replica, &log(4_321), |_| false), Some(100));
    assert!(laptop.epoch().is_some() && tablet.epoch() != laptop.epoch());
}

#[test]
fn a_revocation_caps_every_log_and_begins_an_epoch_that_the_thief_cannot_open() {
    let (mut laptop, mut phone, mut tablet, mnemonic) = three();
    let before = laptop.epoch().unwrap();
    laptop.note(phone.replica, phone.signed(tip(40, 9)));
    laptop.note(phone.replica, phone.signed(tip(41, 3)));
    laptop.revoke(&mnemonic, phone.replica);
    let after = laptop.epoch().unwrap();
    assert_ne!(before, after);

    tablet.pull(&laptop);
    phone.pull(&laptop);
    assert_eq!(tablet.epoch(), Some(after));
    assert!(!phone.holds(&after));
    assert!(phone.strategy.epoch(&phone.context).is_err());
    let standing = tablet.strategy.standing(&tablet.context);
    assert_eq!(standing.cap(&phone.replica, &LogId::from_bytes([40; 16]), |_| false), Some(9));
    assert_eq!(standing.cap(&phone.replica, &LogId::from_bytes([41; 16]), |_| false), Some(3));
    assert_eq!(standing.cap(&phone.replica, &LogId::from_bytes([42; 16]), |_| false), Some(0));
    assert_eq!(standing.cap(&tablet.replica, &LogId::from_bytes([42; 16]), |_| false), None);
    assert_eq!(settle(&mut [&mut laptop, &mut tablet]), 0, "the revocation did everything");
    assert_eq!(phone.duties(), 0, "a lost device has no duties");
}

#[test]
fn two_concurrent_revocations_end_in_one_new_epoch_that_neither_opens() {
    let (mut laptop, mut phone, mut tablet, mnemonic) = three();
    let mut watch = Device::more(&mnemonic, 4);
    settle(&mut [&mut laptop, &mut phone, &mut tablet, &mut watch]);
    laptop.revoke(&mnemonic, phone.replica);
    tablet.revoke(&mnemonic, watch.replica);
    let old = [laptop.epoch().unwrap(), tablet.epoch().unwrap()];

    let theirs = tablet.entries.clone();
    theirs.iter().for_each(|sent| assert_eq!(laptop.give(sent), Verdict::Accept));
    assert!(laptop.strategy.epoch(&laptop.context).is_err(), "no old epoch covers both losses");
    assert!(settle(&mut [&mut laptop, &mut tablet]) > 0);
    let new = laptop.epoch().unwrap();
    assert_eq!(tablet.epoch(), Some(new));
    assert!(!old.contains(&new));
    for lost in [&mut phone, &mut watch] {
        lost.pull(&laptop);
        assert!(!lost.holds(&new));
        assert_eq!(lost.duties(), 0);
    }
    // Each of the two epochs of the revocations was boxed to the device that the other one revoked; only new ones are
    // written under.
    assert!(!phone.holds(&old[0]) && !watch.holds(&old[1]));
}

#[test]
fn two_devices_that_revoke_each_other_are_both_lost_on_every_node() {
    let (mut laptop, mut phone, mut tablet, mnemonic) = three();
    laptop.revoke(&mnemonic, phone.replica);
    phone.revoke(&mnemonic, laptop.replica);
    let (of_laptop, of_phone) = (laptop.entries.clone(), phone.entries.clone());
    let mut newcomer = Device::more(&mnemonic, 4);
    of_laptop.iter().chain(&of_phone).for_each(|sent| assert_eq!(tablet.give(sent), Verdict::Accept));
    of_phone.iter().chain(&of_laptop).for_each(|sent| assert_eq!(newcomer.give(sent), Verdict::Accept));
    for device in [&tablet, &newcomer] {
        let states = device.resolved();
        assert_eq!(states.devices[&laptop.replica].standing, DeviceStanding::Revoked);
        assert_eq!(states.devices[&phone.replica].standing, DeviceStanding::Revoked);
    }
    settle(&mut [&mut tablet, &mut newcomer]);
    assert_eq!(tablet.epoch(), newcomer.epoch());
    laptop.pull(&tablet);
    assert!(!laptop.holds(&tablet.epoch().unwrap()));
}

/// Who wrote under it did not know that the epoch's author would turn out to have been revoked at the same time.
#[test]
fn a_newcomer_reads_what_was_written_in_good_faith_under_an_epoch_of_a_revoked_device() {
    let (mut laptop, mut phone, mut tablet, mnemonic) = three();
    laptop.revoke(&mnemonic, phone.replica);
    let epoch = phone.strategy.own[0].new_epoch(&phone.strategy.me, None, &mut phone.rng).unwrap();
    phone.say(&[epoch]);
    tablet.pull(&phone);
    let in_good_faith = tablet.epoch().unwrap();
    assert!(phone.holds(&in_good_faith));

    let mut watch = Device::more(&mnemonic, 4);
    settle(&mut [&mut laptop, &mut tablet, &mut watch]);
    assert!(watch.holds(&in_good_faith));
    assert_ne!(watch.epoch(), Some(in_good_faith), "nobody writes under it any more");
}

#[test]
fn a_device_enrolled_while_another_is_revoked_gets_the_new_key() {
    let (mut laptop, phone, mut tablet, mnemonic) = three();
    let mut watch = Device::more(&mnemonic, 4);
    watch.pull(&tablet);
    watch.duties();
    tablet.pull(&watch);
    laptop.revoke(&mnemonic, phone.replica);
    let new = laptop.epoch().unwrap();
    assert!(!laptop.resolved().is_current(&watch.replica));
    settle(&mut [&mut laptop, &mut tablet, &mut watch]);
    assert!(watch.holds(&new));
    assert_eq!(watch.epoch(), laptop.epoch());
    assert_eq!(watch.epoch(), tablet.epoch());
}

#[test]
fn a_backdated_entry_is_authorised_by_its_heads_and_cut_off_by_the_standing() {
    let (mut laptop, phone, tablet, mnemonic) = three();
    let old_heads = phone.graph.heads();
    let epoch = phone.epoch();
    laptop.note(phone.replica, phone.signed(tip(40, 2)));
    laptop.revoke(&mnemonic, phone.replica);
    let log = LogId::from_bytes([40; 16]);
    let header = phone.data_header(log, &old_heads, epoch);
    let claim = |heads| partita_core::Claim { header: &header, author: phone.replica, heads, epoch, control: None };
    let verdict = laptop.strategy.authorize(&claim(&old_heads));
    assert_eq!(verdict, Verdict::Accept, "its heads know of no loss");
    assert_eq!(laptop.strategy.standing(&laptop.context).cap(&phone.replica, &log, |_| false), Some(2));
    assert_eq!(tablet.strategy.authorize(&claim(&old_heads)), verdict, "whoever has not heard says the same");
    let new_heads = laptop.graph.heads();
    assert_eq!(laptop.strategy.authorize(&claim(&new_heads)), Verdict::Excluded(Refusal::Revoked));
}

#[test]
fn what_a_revoked_device_says_later_counts_nowhere() {
    let (mut laptop, mut phone, mut tablet, mnemonic) = three();
    laptop.revoke(&mnemonic, phone.replica);
    let before = laptop.resolved().clone();
    // It has heard nothing yet, or says so: epoch, share, vouch and retirement under its old heads.
    let shared = phone.epoch().unwrap();
    let (place, secret) = (phone.strategy.own[0].place(&phone.strategy.me), Secret::from_bytes([3; 32]));
    let key = laptop.strategy.me.keys.boxes.public();
    let secret = partita_crypto::EpochSecret(secret);
    let share = crate::op::Share::create(&mut phone.rng, place, shared, &secret, (laptop.replica, key)).unwrap();
    let epoch = phone.strategy.own[0].new_epoch(&phone.strategy.me, None, &mut phone.rng).unwrap();
    let seen = tablet.witness(1000);
    let last = phone.signed(tip(40, 1000));
    phone.say(&[epoch, Op::Share(share), Op::Vouch(vec![seen]), Op::Retire(vec![last])]);
    let writable = laptop.epoch();
    laptop.pull(&phone);
    assert_eq!(laptop.resolved().devices, before.devices);
    let (after, before_it) = (&laptop.resolved().standing, &before.standing);
    assert_eq!((&after.losses, &after.vouches), (&before_it.losses, &before_it.vouches));
    // The epoch is known, since somebody may have written under it in good faith. Nobody does from here on.
    assert!(laptop.resolved().epochs.iter().all(|(id, epoch)| before.epochs.contains_key(id) || !epoch.rightful));
    assert_eq!(laptop.epoch(), writable);

    // And once it has heard, not even its heads help.
    let payload = Payload::encode(&[Op::Vouch(vec![tablet.witness(1)])]);
    phone.pull(&laptop);
    let late = phone.write_with(&phone.graph.heads(), payload);
    assert_eq!(tablet.strategy.authorize(&late.claim()), Verdict::Undecided(late.heads().to_vec()));
    assert_eq!(laptop.give(&late), Verdict::Excluded(Refusal::Revoked));
    tablet.pull(&laptop);
    assert_eq!(tablet.give(&late), Verdict::Excluded(Refusal::Revoked));
}

#[test]
fn the_owners_word_counts_inside_a_revoked_devices_log() {
    let (mut laptop, mut phone, mut tablet, mnemonic) = three();
    let watch = Device::more(&mnemonic, 4);
    laptop.revoke(&mnemonic, phone.replica);
    let before = laptop.resolved().standing.clone();
    // The words were typed on the phone before it was stolen; nobody had heard of it.
    phone.say(&[Op::Certify(watch.strategy.me.certificate.clone())]);
    phone.revoke(&mnemonic, tablet.replica);
    laptop.pull(&phone);
    assert!(laptop.resolved().is_current(&watch.replica));
    assert_eq!(laptop.resolved().devices[&tablet.replica].standing, DeviceStanding::Revoked);
    assert_eq!(laptop.resolved().standing.losses[&phone.replica], before.losses[&phone.replica]);

    // And typed on it after it has heard: it carries the owner's word, and nothing of its own.
    phone.pull(&laptop);
    phone.revoke(&mnemonic, watch.replica);
    tablet.pull(&phone);
    assert_eq!(tablet.resolved().devices[&watch.replica].standing, DeviceStanding::Revoked);
}

#[test]
fn a_revoked_device_is_not_certified_again() {
    let (mut laptop, phone, mut tablet, mnemonic) = three();
    laptop.revoke(&mnemonic, phone.replica);
    tablet.pull(&laptop);
    tablet.say(&[Op::Certify(phone.strategy.me.certificate.clone())]);
    assert_eq!(tablet.resolved().devices[&phone.replica].standing, DeviceStanding::Revoked);
}

#[test]
fn a_retired_device_keeps_its_work_and_leaves_no_key_behind_it() {
    let (mut laptop, mut phone, mut tablet, mnemonic) = three();
    let last = phone.signed(tip(40, 9));
    phone.note(phone.replica, last);
    phone.turn(|owner, turn| owner.retire(turn)).unwrap();
    let last = phone.entries.last().unwrap().clone();
    assert_eq!(phone.turn(|owner, turn| owner.retire(turn)), Err(OwnerError::Lost));
    settle(&mut [&mut laptop, &mut tablet, &mut phone]);
    assert_eq!(laptop.resolved().devices[&phone.replica].standing, DeviceStanding::Retired);
    let standing = laptop.strategy.standing(&laptop.context);
    assert_eq!(standing.cap(&phone.replica, &LogId::from_bytes([40; 16]), |_| false), Some(9));
    assert_eq!(
        standing.cap(&phone.replica, &phone.log(), |_| false),
        Some(last.header.seq),
        "up to the retirement itself"
    );
    let new = laptop.epoch().unwrap();
    assert_eq!(tablet.epoch(), Some(new));
    assert!(!phone.holds(&new));

    // Whoever buys it digs up the key: the owner can still revoke, and the smaller limit counts.
    laptop.note(phone.replica, phone.signed(tip(40, 5)));
    laptop.revoke(&mnemonic, phone.replica);
    assert_eq!(
        laptop.strategy.standing(&laptop.context).cap(&phone.replica, &LogId::from_bytes([40; 16]), |_| false),
        Some(5)
    );
    assert_eq!(laptop.resolved().devices[&phone.replica].standing, DeviceStanding::Revoked);
}

#[test]
fn a_retirement_beyond_the_owners_cap_does_not_count() {
    let (mut laptop, mut phone, tablet, mnemonic) = three();
    laptop.note(phone.replica, phone.signed(tip(40, 9)));
    laptop.revoke(&mnemonic, phone.replica);
    // The thief would rather have nothing of the phone's work count.
    phone.say(&[Op::Retire(Vec::new())]);
    laptop.pull(&phone);
    assert_eq!(
        laptop.strategy.standing(&laptop.context).cap(&phone.replica, &LogId::from_bytes([40; 16]), |_| false),
        Some(9)
    );
    drop(tablet);
}

/// The owner may take a device's right away. It cannot put words into its mouth: what a loss lists is taken from anybody
/// who brings it.
#[test]
fn nobody_lists_what_the_lost_device_did_not_sign() {
    let (mut laptop, phone, mut tablet, mnemonic) = three();
    let owner = crate::owner::OwnerKeys::of(&mnemonic);
    let invented = laptop.signed(tip(40, 9));
    let revocation = |caps| Op::Revoke(Revocation::sign(&owner, &laptop.context, phone.replica, caps));
    let forged = Payload::encode(&[revocation(vec![invented])]);
    assert!(Payload::decode(&laptop.context, &laptop.replica, &forged).is_err());
    let honest = Payload::encode(&[revocation(vec![phone.signed(tip(40, 9))])]);
    assert!(Payload::decode(&laptop.context, &laptop.replica, &honest).is_ok());
    let sent = laptop.write_with(&laptop.graph.heads(), forged);
    assert_ne!(tablet.give(&sent), Verdict::Accept);

    let retired =
        |by: &Device, last| Payload::decode(&by.context, &by.replica, &Payload::encode(&[Op::Retire(vec![last])]));
    assert!(retired(&phone, invented).is_err());
    assert!(retired(&phone, phone.signed(tip(40, 9))).is_ok());
}

#[test]
fn a_revocation_concerns_the_plain_context_too() {
    let (laptop, phone, _, mnemonic) = three();
    let entries = laptop.entries.clone();
    let mut laptop = Device::of(laptop.strategy.with_plain(), 1);
    let mut appended = Vec::new();
    entries.iter().for_each(|sent| {
        laptop.give(sent);
    });
    laptop.turn(|owner, turn| {
        owner.revoke(turn, &mnemonic, phone.replica).unwrap();
        appended = std::mem::take(&mut turn.append);
    });
    let plain = laptop.strategy.plain_context();
    assert_eq!(appended.iter().map(|(context, _)| *context).collect::<Vec<_>>(), [laptop.context, plain]);
    // One context's revocation says nothing in the other.
    assert!(Payload::decode(&plain, &phone.replica, &appended[0].1).is_err());
    let ops = Payload::decode(&plain, &phone.replica, &appended[1].1).unwrap().ops;
    assert!(!ops.iter().any(|op| matches!(op, Op::Epoch(_))), "a plain context has no epochs");
}
