//! Devices that are away for long.

use std::collections::BTreeSet;

use partita_core::{EntryId, PartitionStrategy, ReplicaId, Verdict};
use partita_crypto::{Mnemonic, Secret};

use super::{
    losses::three,
    net::{Device, Peer, key_of_a_relay, settle},
};
use crate::{OwnerError, SingleOwnerRelay, op::Op};

fn declare(device: &mut Device, words: &Mnemonic, other: ReplicaId) -> Result<(), OwnerError> {
    device.turn(|owner, turn| owner.declare_dormant(turn, words, other))
}

/// Who is dormant by all that a node knows.
fn dormant<S: PartitionStrategy>(at: &Peer<S>) -> BTreeSet<ReplicaId> {
    at.strategy.dormant(&at.context, &at.graph.heads())
}

#[test]
fn only_the_owners_words_declare_and_only_a_known_other_device_that_is_waited_for() {
    let (mut laptop, phone, tablet, mnemonic) = three();
    let others = Mnemonic::from_entropy(&Secret::from_bytes([9; 32]));
    let (me, unknown) = (laptop.replica, ReplicaId::from_bytes([5; 32]));
    assert_eq!(declare(&mut laptop, &others, phone.replica), Err(OwnerError::WrongMnemonic));
    assert_eq!(declare(&mut laptop, &mnemonic, unknown), Err(OwnerError::UnknownDevice(unknown)));
    assert_eq!(declare(&mut laptop, &mnemonic, me), Err(OwnerError::NotAway));
    laptop.revoke(&mnemonic, tablet.replica);
    assert_eq!(declare(&mut laptop, &mnemonic, tablet.replica), Err(OwnerError::NotWaitedFor(tablet.replica)));
    assert_eq!(declare(&mut laptop, &mnemonic, phone.replica), Ok(()));
    assert_eq!(dormant(&laptop), [phone.replica].into());
}

#[test]
fn a_dormant_device_keeps_its_rights_and_its_return_ends_dormancy_everywhere() {
    let (mut laptop, mut phone, mut tablet, mnemonic) = three();
    let mut relay = Peer::new(SingleOwnerRelay::new(), key_of_a_relay(), laptop.context, 9);
    let before = laptop.graph.heads();
    declare(&mut laptop, &mnemonic, phone.replica).unwrap();
    tablet.pull(&laptop);
    relay.pull(&laptop);
    let declared = laptop.graph.heads();
    let (context, heads) = (laptop.context, declared.clone());
    for (node, writers) in [
        (dormant(&tablet), tablet.strategy.writers(&context, &heads)),
        (dormant(&relay), relay.strategy.writers(&context, &heads)),
    ] {
        assert_eq!(node, [phone.replica].into());
        assert!(writers.unwrap().contains(&phone.replica), "it may write as before");
    }
    let listed = tablet.strategy.devices();
    assert!(listed.iter().all(|device| device.dormant == (device.replica == phone.replica)));

    // What it wrote without knowing is no return.
    let unknowing = phone.append(crate::op::Payload::encode(&[Op::Unknown(vec![200].into())]));
    assert_eq!(tablet.give(&unknowing), Verdict::Accept);
    assert_eq!(dormant(&tablet), [phone.replica].into());
    phone.pull(&laptop);
    assert_eq!(phone.duties(), 1, "it says that it is back, and nothing else");
    tablet.pull(&phone);
    relay.pull(&phone);
    assert!(dormant(&tablet).is_empty() && dormant(&relay).is_empty());
    assert_eq!(tablet.strategy.dormant(&context, &declared), [phone.replica].into(), "as these heads had seen it");
    assert!(tablet.strategy.dormant(&context, &before).is_empty());
    assert_eq!(settle(&mut [&mut laptop, &mut phone, &mut tablet]), 0);
}

#[test]
fn nobody_says_an_old_declaration_again() {
    let (mut laptop, mut phone, mut tablet, mnemonic) = three();
    declare(&mut laptop, &mnemonic, phone.replica).unwrap();
    let old = laptop.entries.last().unwrap().payload.clone();
    phone.pull(&laptop);
    phone.duties();
    tablet.pull(&laptop);
    tablet.pull(&phone);
    tablet.append(old);
    assert!(dormant(&tablet).is_empty(), "a thief of the tablet could do without the phone");
    declare(&mut tablet, &mnemonic, phone.replica).unwrap();
    assert_eq!(dormant(&tablet), [phone.replica].into(), "the owner may mean the time after the return");
    phone.pull(&tablet);
    assert_eq!(phone.duties(), 1);
    assert!(dormant(&phone).is_empty());
}

/// A return ends all that was declared before it, also what had changed nothing when it was said.
#[test]
fn nobody_says_again_what_was_declared_of_a_device_that_was_away_already() {
    let (mut laptop, mut phone, mut tablet, mnemonic) = three();
    declare(&mut laptop, &mnemonic, phone.replica).unwrap();
    declare(&mut laptop, &mnemonic, phone.replica).unwrap();
    let second = laptop.entries.last().unwrap().payload.clone();
    phone.pull(&laptop);
    assert_eq!(phone.duties(), 1);
    tablet.pull(&laptop);
    tablet.pull(&phone);
    assert!(dormant(&tablet).is_empty());
    tablet.append(second);
    assert!(dormant(&tablet).is_empty(), "a thief of the tablet could do without the phone");
}

#[test]
fn a_return_ends_the_declarations_that_it_knows_of() {
    let (mut laptop, mut phone, mut tablet, mnemonic) = three();
    declare(&mut laptop, &mnemonic, phone.replica).unwrap();
    declare(&mut tablet, &mnemonic, phone.replica).unwrap();
    phone.pull(&laptop);
    assert_eq!(phone.duties(), 1);
    tablet.pull(&phone);
    assert_eq!(dormant(&tablet), [phone.replica].into(), "one that is not there yet still stands");
    phone.pull(&tablet);
    assert_eq!(phone.duties(), 1);
    assert!(dormant(&phone).is_empty());
}

#[test]
fn nobody_returns_for_another() {
    let (mut laptop, phone, mut tablet, mnemonic) = three();
    declare(&mut laptop, &mnemonic, phone.replica).unwrap();
    tablet.pull(&laptop);
    tablet.say(&[Op::Back]);
    assert_eq!(dormant(&tablet), [phone.replica].into());
    let heads: Vec<EntryId> = Vec::new();
    assert!(tablet.strategy.dormant(&tablet.context, &heads).is_empty());
}
