//! How systems of this kind have failed with owners and their devices; the numbers are those of `docs/failure-modes.md`.

use std::collections::BTreeSet;

use partita_core::{
    AuthProvider as _, ContextInfo, EntryKind, LogId, PartitionStrategy as _, Refusal, Transcript, Verdict,
};
use partita_crypto::VerifyingKey;

use super::net::{Device, NOW, Peer, header, key_of_a_relay, settle};
use crate::{
    SingleOwnerRelay,
    op::{Op, Payload},
};

/// Failure mode 2: two devices of one owner are two replicas: what they write alike, at one time, is told apart.
#[test]
fn devices_of_one_owner_are_told_apart() {
    let (laptop, mnemonic) = Device::first(1);
    let devices = [laptop, Device::more(&mnemonic, 2), Device::more(&mnemonic, 3)];
    let (mut replicas, mut logs, mut entries) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for device in &devices {
        assert_eq!(device.context, devices[0].context, "one owner");
        // The same nonce, number, time and payload: nothing differs but the device.
        let log = LogId::derive(&device.context, &device.replica, &[0; 16]);
        let place = (log, 1, partita_core::EntryId::NONE);
        let header = header(device.context, device.replica, place, EntryKind::Control, (&[], None), b"the same");
        replicas.insert(device.replica);
        logs.insert(log);
        entries.insert(header.id());
    }
    assert_eq!([replicas.len(), logs.len(), entries.len()], [3; 3]);
}

/// Failure mode 5: a change of keys makes no other context: the owner's contexts and what was sealed before stay.
#[test]
fn a_new_epoch_is_no_new_context() {
    let (laptop, mnemonic) = Device::first(1);
    let mut laptop = Device::of(laptop.strategy.with_plain(), 1);
    let mut phone = Device::more(&mnemonic, 2);
    settle(&mut [&mut laptop, &mut phone]);
    let (contexts, before) = (laptop.strategy.contexts(), laptop.epoch().unwrap());
    let (sealed_header, sealed) = laptop.seal(before, b"from before");
    laptop.revoke(&mnemonic, phone.replica);
    assert_ne!(laptop.epoch(), Some(before), "the keys did change");
    assert_eq!(laptop.strategy.contexts(), contexts);
    let opened = laptop.open(&sealed_header, laptop.replica, &sealed);
    assert!(matches!(&opened, partita_core::Opened::Plain(plain) if plain[..] == *b"from before"), "{opened:?}");
    let mut tablet = Device::more(&mnemonic, 3);
    assert_eq!(tablet.strategy.contexts()[0], contexts[0], "whenever a device comes");
    settle(&mut [&mut laptop, &mut tablet]);
    assert!(tablet.holds(&before));
}

/// Failure mode 6: a fresh relay believes nobody who comes first: a context is its owner's by its id.
#[test]
fn who_comes_first_to_a_fresh_relay_cannot_claim_a_foreign_owner() {
    let (laptop, _) = Device::first(1);
    let (mut stranger, _) = Device::first(2);
    let mine: ContextInfo = laptop.strategy.contexts().remove(0);
    let theirs: ContextInfo = stranger.strategy.contexts().remove(0);
    let session = Transcript { handshake: [1; 32], prover_dialled: true, remote_pinned: false };
    let key = VerifyingKey::parse(stranger.replica.as_bytes()).unwrap();
    let relay = SingleOwnerRelay::new();
    let honest = stranger.strategy.prove(&session, &theirs).unwrap();
    assert!(relay.verify(NOW, &session, &key, &theirs, &honest).is_ok(), "in its own context it counts");
    // It knows the context's id and kind, as every reader does, and signs for that context with what rights it has.
    let proof = crate::proof::prove(&stranger.strategy.me.keys, &stranger.strategy.me.certificate, &session, &mine);
    assert_eq!(relay.verify(NOW, &session, &key, &mine, &proof), Err(Refusal::BadProof));
    // Nor does it become the owner by writing first.
    let mut relay = Peer::new(relay, key_of_a_relay(), mine.id, 99);
    stranger.context = mine.id;
    let certify = Payload::encode(&[Op::Certify(stranger.strategy.me.certificate.clone())]);
    let first = stranger.write_with(&[], certify);
    assert!(matches!(relay.give(&first), Verdict::Excluded(_)));
    assert_eq!(relay.strategy.verify(NOW, &session, &key, &mine, &proof), Err(Refusal::BadProof));
    // The owner's own device is let in afterwards.
    let proof = laptop.strategy.prove(&session, &mine).unwrap();
    let key = VerifyingKey::parse(laptop.replica.as_bytes()).unwrap();
    assert!(relay.strategy.verify(NOW, &session, &key, &mine, &proof).is_ok());
}
