//! Beginning again with the 24 words alone.

use partita_core::Verdict;
use partita_crypto::Mnemonic;

use super::{losses::three, net::Device};

#[test]
fn the_words_alone_bring_everything_back_when_all_devices_are_gone() {
    let (mut laptop, mut phone, tablet, mnemonic) = three();
    let (header, sealed) = phone.seal(phone.epoch().unwrap(), b"before the fire");
    laptop.revoke(&mnemonic, tablet.replica);
    let (later, sealed_later) = laptop.seal(laptop.epoch().unwrap(), b"after the theft");
    phone.pull(&laptop);
    let entries = phone.entries.clone();
    let (author, late_author) = (phone.replica, laptop.replica);
    drop((laptop, phone));

    let mut fresh = Device::more(&Mnemonic::parse(&mnemonic.phrase()).unwrap(), 9);
    entries.iter().for_each(|sent| assert_eq!(fresh.give(sent), Verdict::Accept));
    assert!(matches!(fresh.open(&header, author, &sealed), partita_core::Opened::Wait(_)));
    let recovered = fresh.turn(|owner, turn| owner.recover(turn, &mnemonic)).unwrap();
    assert!(recovered >= 2);
    assert_eq!(fresh.open(&header, author, &sealed), partita_core::Opened::Plain("before the fire".into()));
    assert_eq!(fresh.open(&later, late_author, &sealed_later), partita_core::Opened::Plain("after the theft".into()));
    assert_eq!(fresh.turn(|owner, turn| owner.recover(turn, &mnemonic)), Ok(0));
    fresh.duties();
    assert!(fresh.epoch().is_some());
}
