//! Honest work does not vanish with a removed author; a thief's does.

use partita_core::{PartitionStrategy as _, Signature, codec::Writer};

use super::net::{Device, settle};
use crate::op::{Op, Payload};

fn cap(at: &Device, of: &Device) -> Option<u64> {
    at.strategy.standing(&at.context).cap(&of.replica, &of.data_log(), |_| false)
}

#[test]
fn a_remaining_writer_vouches_for_what_it_had_built_on() {
    let (mut laptop, mnemonic) = Device::first(1);
    let (mut phone, mut tablet) = (Device::more(&mnemonic, 2), Device::more(&mnemonic, 3));
    settle(&mut [&mut laptop, &mut phone, &mut tablet]);
    assert_eq!(tablet.strategy.vouch(&tablet.context, &[phone.witness(7)]), None, "there is no loss to answer");
    laptop.note(phone.replica, phone.signed(phone.witness(5).tip()));
    laptop.revoke(&mnemonic, phone.replica);
    tablet.pull(&laptop);
    let seen = [6, 8, 7].map(|seq| phone.witness(seq));
    let payload = tablet.strategy.vouch(&tablet.context, &seen).unwrap();
    tablet.append(payload);
    laptop.pull(&tablet);
    assert_eq!(cap(&laptop, &phone), Some(8));
    assert_eq!(laptop.strategy.vouch(&laptop.context, &[]), None);

    // It still counts when the voucher's phone is sold later, or revoked by one who had heard of it.
    laptop.revoke(&mnemonic, tablet.replica);
    assert_eq!(cap(&laptop, &phone), Some(8));
    phone.pull(&laptop);
    assert_eq!(phone.strategy.vouch(&phone.context, &[tablet.witness(9)]), None, "a lost device vouches for nothing");
}

#[test]
fn nobody_vouches_in_advance_or_for_itself() {
    let (mut laptop, mnemonic) = Device::first(1);
    let (mut phone, mut tablet) = (Device::more(&mnemonic, 2), Device::more(&mnemonic, 3));
    settle(&mut [&mut laptop, &mut phone, &mut tablet]);
    let in_advance = phone.witness(u64::MAX);
    phone.say(&[Op::Vouch(vec![in_advance.clone()])]);
    tablet.say(&[Op::Vouch(vec![in_advance])]);
    laptop.pull(&phone);
    laptop.pull(&tablet);
    laptop.note(phone.replica, phone.signed(phone.witness(5).tip()));
    laptop.revoke(&mnemonic, tablet.replica);
    phone.pull(&laptop);
    let own = phone.witness(2000);
    phone.append(Payload::encode(&[Op::Vouch(vec![own])]));
    laptop.pull(&phone);
    laptop.revoke(&mnemonic, phone.replica);
    assert_eq!(cap(&laptop, &phone), Some(5));
}

/// Two are stolen together, after somebody else was lost: that one's loss is no occasion to vouch for each other.
#[test]
fn a_loss_of_somebody_else_is_no_occasion_to_vouch_in_advance() {
    let (mut laptop, mnemonic) = Device::first(1);
    let (mut phone, mut tablet) = (Device::more(&mnemonic, 2), Device::more(&mnemonic, 3));
    let mut old = Device::more(&mnemonic, 4);
    settle(&mut [&mut laptop, &mut phone, &mut tablet, &mut old]);
    laptop.revoke(&mnemonic, old.replica);
    settle(&mut [&mut laptop, &mut phone, &mut tablet]);
    tablet.say(&[Op::Vouch(vec![phone.witness(u64::MAX)])]);
    laptop.pull(&tablet);
    laptop.note(phone.replica, phone.signed(phone.witness(5).tip()));
    laptop.revoke(&mnemonic, tablet.replica);
    laptop.revoke(&mnemonic, phone.replica);
    assert_eq!(cap(&laptop, &phone), Some(5));
}

#[test]
fn an_epoch_beyond_the_cap_reaches_newcomers_when_its_entries_were_vouched_for() {
    let (mut laptop, mnemonic) = Device::first(1);
    let (mut phone, mut tablet) = (Device::more(&mnemonic, 2), Device::more(&mnemonic, 3));
    settle(&mut [&mut laptop, &mut phone, &mut tablet]);
    // Phone and tablet are together and offline: the phone rotates and writes, the tablet builds on it.
    let epoch = phone.strategy.own[0].new_epoch(&phone.strategy.me, None, &mut phone.rng).unwrap();
    phone.say(&[epoch]);
    let epoch = phone.epoch().unwrap();
    let (header, sealed) = phone.seal(epoch, b"honest work");
    tablet.pull(&phone);
    laptop.revoke(&mnemonic, phone.replica);
    let owned = laptop.entries.clone();
    owned.iter().for_each(|sent| {
        tablet.give(sent);
    });
    let vouch = tablet.strategy.vouch(&tablet.context, &[phone.witness(1)]).unwrap();
    tablet.append(vouch);

    let mut watch = Device::more(&mnemonic, 4);
    settle(&mut [&mut tablet, &mut laptop, &mut watch]);
    assert_eq!(watch.open(&header, phone.replica, &sealed), partita_core::Opened::Plain("honest work".into()));
    assert_ne!(watch.epoch(), Some(epoch), "it is for reading alone");
}

/// A remaining device may be hostile, too: it cannot put words into a removed author's mouth.
#[test]
fn nobody_vouches_for_what_its_author_did_not_sign() {
    let (mut laptop, mnemonic) = Device::first(1);
    let (mut phone, mut tablet) = (Device::more(&mnemonic, 2), Device::more(&mnemonic, 3));
    settle(&mut [&mut laptop, &mut phone, &mut tablet]);
    laptop.note(phone.replica, phone.signed(phone.witness(5).tip()));
    laptop.revoke(&mnemonic, phone.replica);
    tablet.pull(&laptop);
    let mut genuine = Writer::new();
    phone.witness(8).encode(&mut genuine);
    let genuine = genuine.finish();
    let payload = tablet.strategy.vouch(&tablet.context, &[phone.witness(8)]).unwrap();
    let at = payload.windows(genuine.len()).position(|part| part == &genuine[..]).unwrap();
    for offset in 0..genuine.len() {
        let mut forged = payload.to_vec();
        forged[at + offset] ^= 1;
        assert!(Payload::decode(&laptop.context, &tablet.replica, &forged).is_err(), "byte {offset}");
    }
    assert!(Payload::decode(&laptop.context, &tablet.replica, &payload).is_ok());
    let mut unsigned = payload.to_vec();
    unsigned[at + genuine.len() - 64..at + genuine.len()].copy_from_slice(Signature::from_bytes([0; 64]).as_bytes());
    assert!(Payload::decode(&laptop.context, &tablet.replica, &unsigned).is_err());
    assert!(
        Payload::decode(&partita_core::ContextId::from_bytes([1; 32]), &tablet.replica, &payload).is_err(),
        "elsewhere"
    );
}
