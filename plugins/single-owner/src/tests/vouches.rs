//! Honest work does not vanish with a removed author; a thief's does.

use partita_core::{EntryId, LogId, PartitionStrategy as _, Tip};

use super::net::{Device, settle};
use crate::op::{Op, Payload};

const LOG: LogId = LogId::from_bytes([40; 16]);

fn tip(seq: u64) -> Tip {
    Tip { log: LOG, seq, head: EntryId::from_bytes([seq as u8; 32]) }
}

fn cap(at: &Device, of: &Device) -> Option<u64> {
    at.strategy.standing(&at.context).cap(&of.replica, &LOG)
}

#[test]
fn a_remaining_writer_vouches_for_what_it_had_built_on() {
    let (mut laptop, mnemonic) = Device::first(1);
    let (mut phone, mut tablet) = (Device::more(&mnemonic, 2), Device::more(&mnemonic, 3));
    settle(&mut [&mut laptop, &mut phone, &mut tablet]);
    assert_eq!(tablet.strategy.vouch(&tablet.context, &[tip(7)]), None, "there is no loss to answer");
    laptop.note(phone.replica, tip(5));
    laptop.revoke(&mnemonic, phone.replica);
    tablet.pull(&laptop);
    let payload = tablet.strategy.vouch(&tablet.context, &[tip(6), tip(8), tip(7)]).unwrap();
    tablet.append(payload);
    laptop.pull(&tablet);
    assert_eq!(cap(&laptop, &phone), Some(8));
    assert_eq!(laptop.strategy.vouch(&laptop.context, &[]), None);

    // It still counts when the voucher's phone is sold later, or revoked by one who had heard of it.
    laptop.revoke(&mnemonic, tablet.replica);
    assert_eq!(cap(&laptop, &phone), Some(8));
    phone.pull(&laptop);
    assert_eq!(phone.strategy.vouch(&phone.context, &[tip(9)]), None, "a lost device vouches for nothing");
}

#[test]
fn nobody_vouches_in_advance_or_for_itself() {
    let (mut laptop, mnemonic) = Device::first(1);
    let (mut phone, mut tablet) = (Device::more(&mnemonic, 2), Device::more(&mnemonic, 3));
    settle(&mut [&mut laptop, &mut phone, &mut tablet]);
    phone.say(&[Op::Vouch(vec![tip(u64::MAX)])]);
    tablet.say(&[Op::Vouch(vec![tip(1000)])]);
    laptop.pull(&phone);
    laptop.pull(&tablet);
    laptop.note(phone.replica, tip(5));
    laptop.revoke(&mnemonic, tablet.replica);
    phone.pull(&laptop);
    phone.append(Payload::encode(&[Op::Vouch(vec![tip(2000)])]));
    laptop.pull(&phone);
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
    let vouch = tablet.strategy.vouch(&tablet.context, &[tip(1)]).unwrap();
    tablet.append(vouch);

    let mut watch = Device::more(&mnemonic, 4);
    settle(&mut [&mut tablet, &mut laptop, &mut watch]);
    assert_eq!(watch.open(&header, phone.replica, &sealed), partita_core::Opened::Plain("honest work".into()));
    assert_ne!(watch.epoch(), Some(epoch), "it is for reading alone");
}
