//! A relay: any owner's contexts, no secrets, the same verdicts.

use partita_core::{
    Access, AuthProvider as _, EntryKind, Grant, HeaderPrefix, Incarnation, LogId, Opened, PartitionStrategy as _,
    PeerInfo, Refusal, RemoteContext, SessionId, Transcript, Verdict,
};
use partita_crypto::VerifyingKey;

use super::net::{Device, NOW, Peer, header, key_of_a_relay, settle};
use crate::{SingleOwner, SingleOwnerRelay, op::Op, op::Payload};

fn relay(of: &Device) -> Peer<SingleOwnerRelay> {
    Peer::new(SingleOwnerRelay::new(), key_of_a_relay(), of.context, 99)
}

#[test]
fn a_relay_reaches_the_devices_verdicts_without_a_secret() {
    let (mut laptop, mnemonic) = Device::first(1);
    let mut phone = Device::more(&mnemonic, 2);
    settle(&mut [&mut laptop, &mut phone]);
    laptop.revoke(&mnemonic, phone.replica);
    let mut relay = relay(&laptop);
    let entries = laptop.entries.clone();
    entries.iter().for_each(|sent| assert_eq!(relay.give(sent), Verdict::Accept));
    assert_eq!(relay.strategy.standing(&relay.context), laptop.strategy.standing(&laptop.context));

    let context = laptop.strategy.contexts().remove(0);
    let at = |device: &Device| PeerInfo {
        session: SessionId(device.replica.as_bytes()[0].into()),
        replica: device.replica,
        incarnation: Incarnation::default(),
        pinned: false,
    };
    let remote =
        |device: &Device, grant| RemoteContext { id: context.id, kind: context.kind.clone(), peer: at(device), grant };
    let grant = Some(Grant { access: Access::Both });
    let should = |device, grant| relay.strategy.should_sync(&context, &remote(device, grant));
    assert_eq!(should(&laptop, grant), Access::Both);
    assert_eq!(should(&laptop, None), Access::Refused(Refusal::Denied));
    assert_eq!(should(&phone, grant), Access::Refused(Refusal::Revoked));
    let mut out = Vec::new();
    relay.strategy.filter_targets(&context.id, &[at(&phone), at(&laptop)], &mut out);
    assert_eq!(out, [at(&laptop).session]);
    let transcript = Transcript { handshake: [0; 32], prover_dialled: true, remote_pinned: false };
    assert!(relay.strategy.prove(&transcript, &context).unwrap().is_empty());
    let proof = phone.strategy.prove(&transcript, &context).unwrap();
    let key = VerifyingKey::parse(phone.replica.as_bytes()).unwrap();
    assert_eq!(relay.strategy.verify(NOW, &transcript, &key, &context, &proof), Err(Refusal::Revoked));

    let (header, sealed) = laptop.seal(laptop.epoch().unwrap(), b"canary");
    let prefix = HeaderPrefix { header: &header, author: laptop.replica, epoch: laptop.epoch() };
    assert!(matches!(relay.strategy.open(&prefix, &sealed), Opened::Wait(_)));
    assert!(relay.strategy.seal(&prefix, b"", &mut relay.rng).is_err());
    assert!(!format!("{:?}", relay.strategy).contains("canary"));
}

#[test]
fn a_retired_device_still_brings_what_it_wrote_before_and_gets_nothing() {
    let (mut laptop, mnemonic) = Device::first(1);
    let mut phone = Device::more(&mnemonic, 2);
    settle(&mut [&mut laptop, &mut phone]);
    phone.turn(|owner, turn| owner.retire(turn)).unwrap();
    let mut relay = relay(&laptop);
    relay.pull(&laptop);
    // The retirement goes ahead of the data that it makes final.
    relay.pull(&phone);
    laptop.pull(&phone);
    let context = laptop.strategy.contexts().remove(0);
    let peer =
        PeerInfo { session: SessionId(1), replica: phone.replica, incarnation: Incarnation::default(), pinned: false };
    let transcript = Transcript { handshake: [0; 32], prover_dialled: true, remote_pinned: false };
    let proof = phone.strategy.prove(&transcript, &context).unwrap();
    let key = VerifyingKey::parse(phone.replica.as_bytes()).unwrap();
    let sides: [&dyn partita_core::PartitionStrategy; 2] = [&relay.strategy, &laptop.strategy];
    for side in sides {
        let grant = Some(side.auth().verify(NOW, &transcript, &key, &context, &proof).unwrap());
        let remote = RemoteContext { id: context.id, kind: context.kind.clone(), peer: peer.clone(), grant };
        assert_eq!(side.should_sync(&context, &remote), Access::Write);
        let mut out = Vec::new();
        side.filter_targets(&context.id, std::slice::from_ref(&peer), &mut out);
        assert_eq!(out, []);
        let stranger = RemoteContext { grant: None, ..remote };
        assert_eq!(side.should_sync(&context, &stranger), Access::Refused(Refusal::Revoked));
    }
}

#[test]
fn another_owners_word_says_nothing_in_this_context() {
    let (mut laptop, mnemonic) = Device::first(1);
    laptop.duties();
    let (mut stranger, strangers_words) = Device::first(2);
    let mut relay = relay(&laptop);
    relay.pull(&laptop);
    stranger.context = laptop.context;
    let certify = Payload::encode(&[Op::Certify(stranger.strategy.me.certificate.clone())]);
    let sent = stranger.write_with(&[], certify);
    assert_eq!(relay.give(&sent), Verdict::Excluded(Refusal::Invalid));
    assert!(relay.strategy.control(super::net::NOW, &sent.entry()).is_err());

    let owner = crate::owner::OwnerKeys::of(&strangers_words);
    let revocation = crate::revocation::Revocation::sign(&owner, &laptop.context, laptop.replica, Vec::new());
    let sent = stranger.write_with(&laptop.graph.heads(), Payload::encode(&[Op::Revoke(revocation)]));
    assert_eq!(relay.give(&sent), Verdict::Excluded(Refusal::Invalid));
    let sent = stranger.write_with(&laptop.graph.heads(), Payload::encode(&[Op::Vouch(Vec::new())]));
    assert_eq!(relay.give(&sent), Verdict::Excluded(Refusal::Denied));
    // The owner's own word is taken from the owner's devices alone: strangers could repeat it in any number of entries, side by
    // side, until nobody can name all heads.
    let mut phone = Device::more(&mnemonic, 3);
    let certify = Payload::encode(&[Op::Certify(phone.strategy.me.certificate.clone())]);
    let sent = stranger.write_with(&laptop.graph.heads(), certify.clone());
    assert_eq!(relay.give(&sent), Verdict::Excluded(Refusal::Denied));
    let sent = laptop.write_with(&laptop.graph.heads(), certify.clone());
    assert_eq!(relay.give(&sent), Verdict::Accept);
    let sent = phone.write_with(&[], certify);
    assert_eq!(relay.give(&sent), Verdict::Accept);
}

#[test]
fn nothing_is_written_before_a_certificate() {
    let (mut laptop, _) = Device::first(1);
    let mut relay = relay(&laptop);
    let sent = laptop.write_with(&[], Payload::encode(&[Op::Vouch(Vec::new())]));
    assert_eq!(relay.give(&sent), Verdict::Excluded(Refusal::Denied));
    let kind = EntryKind::Change(partita_core::DocumentId::default());
    let place = (LogId::default(), 1, partita_core::EntryId::NONE);
    let header = header(laptop.context, laptop.replica, place, kind, (&[], None), b"");
    let claim = partita_core::Claim { header: &header, author: laptop.replica, heads: &[], epoch: None, control: None };
    assert_eq!(relay.strategy.authorize(&claim), Verdict::Excluded(Refusal::Denied));
    laptop.duties();
    let heads = laptop.graph.heads();
    let claim = partita_core::Claim { heads: &heads, ..claim };
    assert_eq!(relay.strategy.authorize(&claim), Verdict::Undecided(heads.clone()));
}

#[test]
fn a_plain_context_cannot_pass_for_a_sealed_one() {
    let (laptop, _) = Device::first(1);
    let mut laptop = Device::of(laptop.strategy.with_plain(), 1);
    laptop.duties();
    let mut at_relay = relay(&laptop);
    at_relay.pull(&laptop);
    let heads = laptop.graph.heads();
    let verdict = |relay: &Peer<SingleOwnerRelay>, device: &Device, epoch| {
        let heads = device.graph.heads();
        let header = device.data_header(LogId::default(), &heads, epoch);
        relay.strategy.authorize(&partita_core::Claim {
            header: &header,
            author: device.replica,
            heads: &heads,
            epoch,
            control: None,
        })
    };
    let epoch = laptop.epoch();
    assert_eq!(verdict(&at_relay, &laptop, epoch), Verdict::Accept);
    assert_eq!(
        verdict(&at_relay, &laptop, None),
        Verdict::Excluded(Refusal::Invalid),
        "plain bytes in a sealed context"
    );
    let header = laptop.data_header(LogId::default(), &heads, None);
    let prefix = HeaderPrefix { header: &header, author: laptop.replica, epoch: None };
    assert!(laptop.strategy.seal(&prefix, b"plain", &mut laptop.rng).is_err());
    assert_eq!(laptop.strategy.open(&prefix, &"plain".into()), Opened::Bad);

    let Device { strategy, .. } = laptop;
    let mut plain = Device::of(strategy, 1);
    plain.context = plain.strategy.plain_context();
    plain.duties();
    assert_eq!(plain.epoch(), None);
    let mut at_relay = relay(&plain);
    at_relay.pull(&plain);
    assert_eq!(verdict(&at_relay, &plain, None), Verdict::Accept);
    assert_eq!(verdict(&at_relay, &plain, epoch), Verdict::Excluded(Refusal::Invalid));
    let rotation = plain.strategy.own[0].new_epoch(&plain.strategy.me, None, &mut plain.rng).unwrap();
    let sent = plain.write_with(&plain.graph.heads(), Payload::encode(&[rotation]));
    assert_eq!(at_relay.give(&sent), Verdict::Excluded(Refusal::Invalid));
    let header = plain.data_header(LogId::default(), &plain.graph.heads(), None);
    let prefix = HeaderPrefix { header: &header, author: plain.replica, epoch: None };
    assert_eq!(plain.strategy.seal(&prefix, b"plain", &mut plain.rng).unwrap(), "plain");
    let sealed = HeaderPrefix { epoch, ..prefix };
    assert!(plain.strategy.seal(&sealed, b"plain", &mut plain.rng).is_err());
    assert_eq!(plain.strategy.open(&sealed, &"plain".into()), Opened::Bad);
}

#[test]
fn a_relay_for_sealed_contexts_alone_refuses_plain_ones() {
    let plain = Device::first(1).0.strategy.with_plain().contexts().remove(1);
    let relay = SingleOwnerRelay::new().without_plain();
    assert_eq!(SingleOwnerRelay::default().kinds().len(), 2);
    assert_eq!(relay.kinds().iter().map(|kind| kind.as_str()).collect::<Vec<_>>(), [crate::SEALED_KIND]);
    let transcript = Transcript { handshake: [0; 32], prover_dialled: true, remote_pinned: false };
    let key = VerifyingKey::parse(Device::first(1).0.replica.as_bytes()).unwrap();
    assert_eq!(relay.verify(NOW, &transcript, &key, &plain, &[]), Err(Refusal::UnknownKind));
}

#[test]
fn a_plugin_is_found_again_by_its_type() {
    let (mut laptop, _) = Device::first(1);
    let strategy: &mut dyn partita_core::PartitionStrategy = &mut laptop.strategy;
    assert!(strategy.as_any_mut().downcast_mut::<SingleOwner>().is_some());
}

#[test]
fn what_a_relay_forgets_when_a_context_is_unloaded_follows_again_from_its_control_entries() {
    let (mut laptop, mnemonic) = Device::first(1);
    let mut phone = Device::more(&mnemonic, 2);
    settle(&mut [&mut laptop, &mut phone]);
    laptop.revoke(&mnemonic, phone.replica);
    let mut relay = relay(&laptop);
    relay.pull(&laptop);
    let (context, heads) = (laptop.context, laptop.graph.heads());
    let known = |relay: &Peer<SingleOwnerRelay>| {
        let strategy = &relay.strategy;
        (strategy.standing(&context), strategy.writers(&context, &heads))
    };
    let before = known(&relay);
    assert!(before.0.has_lost(&phone.replica));
    relay.strategy.forget(&context);
    let (standing, writers) = known(&relay);
    assert!(standing.losses.is_empty() && writers.is_none());
    for sent in &relay.entries {
        relay.strategy.control(NOW, &sent.entry()).unwrap();
    }
    assert_eq!(known(&relay), before);
}
