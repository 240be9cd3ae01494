//! The wire bytes of version 1.

use bytes::Bytes;
use partita_core::{ContextId, EntryHeader, EntryId, EpochId, Hash, LogId, ReplicaId, SignedTip, Tip};
use partita_crypto::{EPOCH_BOX_LEN, Secret, SigningKey};

use super::world::keys_of;
use crate::{
    Policy,
    card::Card,
    genesis::Genesis,
    invite::{Accept, Invitation, Invite, InviteKeys, Terms, Uses},
    op::{Add, Decide, Epoch, Name, Op, Payload, Remove, RemoveDevice, Scope, SetRole, Share},
    role::{History, MemberId, Role},
};

fn genesis() -> Genesis {
    let founders = ["ada", "ben"].map(|name| Card::new(&keys_of(name), None)).to_vec();
    let policy = Policy::default().confirm_by_hand(true).pad(true).rotate_after(std::time::Duration::from_secs(86_400));
    Genesis { founders, policy, nonce: [9; 32] }
}

fn invite_keys() -> InviteKeys {
    InviteKeys::of(Secret::from_bytes([4; 32]))
}

/// Every op, each alone in a payload.
fn ops() -> (ContextId, Vec<Op>) {
    let context = genesis().context().unwrap().id;
    let id = |n: u8| ReplicaId::from_bytes([n; 32]);
    let mut capped = ["dan", "eve"].map(keys_of);
    capped.sort_unstable_by_key(|keys| keys.replica());
    let tip = |of: usize, n: u8| {
        let tip = Tip { log: LogId::from_bytes([n; 16]), seq: u64::from(n), head: EntryId::from_bytes([n; 32]) };
        SignedTip { tip, signature: EntryHeader::sign(&tip.head, &capped[of].signing) }
    };
    let epoch = |n: u8| EpochId(Hash::from_bytes([n; 32]));
    let caps = || vec![(capped[0].replica(), vec![tip(0, 1), tip(0, 2)]), (capped[1].replica(), Vec::new())];
    let member = MemberId(id(1));
    let cay = keys_of("cay");
    let second = Card::new(&keys_of("ada.2"), Some(MemberId(keys_of("ada").replica())));
    let terms = Terms::new(Role::Write).history(History::FromNow).uses(Uses::Many).expires(1_800_000_000);
    let inviter = keys_of("ada").replica();
    let key: SigningKey = keys_of("ben").signing;
    let witness = super::world::witness(context, &key, 3);
    let ops = vec![
        Op::Create(genesis()),
        Op::Add(Add { card: Card::new(&cay, None), role: Role::Write, history: History::All }),
        Op::Remove(Remove { member, caps: caps() }),
        Op::SetRole(SetRole { member, role: Role::Read, caps: caps() }),
        Op::AddDevice(second),
        Op::RemoveDevice(RemoveDevice { device: capped[1].replica(), caps: vec![tip(1, 1)] }),
        Op::DeviceKey(cay.boxes.public()),
        Op::Epoch(Epoch {
            scope: Scope::Archive(vec![MemberId(id(1)), MemberId(id(2))]),
            commitment: Hash::from_bytes([5; 32]),
            boxes: vec![6; 2 * EPOCH_BOX_LEN].into(),
        }),
        Op::Share(Share { recipient: id(1), epochs: vec![epoch(1), epoch(2)], sealed: vec![7; 48 + 64].into() }),
        Op::Complain(epoch(1)),
        Op::Invite(Box::new(Invite::sign(&context, &inviter, &invite_keys(), Some(member), terms))),
        Op::RevokeInvite(id(3)),
        Op::Accept(Box::new(Accept::sign(&context, &invite_keys().signing, Card::new(&cay, None)))),
        Op::Decide(Decide { invite: id(3), device: id(4), admit: true }),
        Op::Leave(caps()),
        Op::Vouch(vec![witness]),
        Op::Name(Name { epoch: Some(epoch(1)), sealed: Bytes::from_static(&[8; 44]) }),
        Op::Merge,
        Op::Dormant(id(5)),
        Op::Back,
        Op::Unknown(Bytes::from_static(&[200, 1, 2, 3])),
    ];
    (context, ops)
}

pub(super) fn payloads() -> Vec<(ContextId, Bytes)> {
    let (context, ops) = ops();
    ops.into_iter().map(|op| (context, Payload::encode(&[op]))).collect()
}

/// Length and hash: enough to see that nothing changed.
fn golden(bytes: &[u8]) -> String {
    format!("{} {}", bytes.len(), partita_crypto::hash("partita test golden bytes", &[bytes]))
}

#[test]
fn every_op_reads_back_as_it_was_written() {
    let (context, ops) = ops();
    for op in ops {
        let payload = Payload::encode(std::slice::from_ref(&op));
        assert_eq!(Payload::decode(&context, &payload).unwrap().ops, [op]);
    }
}

/// Entries and keystores hold these bytes: `docs/formats.md` says what to do when this fails.
#[test]
fn the_golden_bytes_of_version_1_do_not_change() {
    let mut found: Vec<String> = payloads().iter().map(|(_, payload)| golden(payload)).collect();
    found.push(genesis().context().unwrap().id.to_string());
    let (context, _) = ops();
    let mut link = Invitation::new(context, None, &mut super::world::rng(5)).at("wss://relay.example.org#aa");
    link.keys = invite_keys();
    found.push(link.text().to_string());
    found.push(Card::new(&keys_of("ada"), None).to_string());
    let expected: Vec<&str> = include_str!("golden.txt").lines().collect();
    assert_eq!(found, expected, "entries hold the old bytes: see docs/formats.md; now\n{}\n", found.join("\n"));
}

#[test]
fn texts_that_people_hand_around_read_back_and_mistyped_ones_do_not() {
    let (context, _) = ops();
    let link = Invitation::new(context, None, &mut super::world::rng(5)).at("wss://relay.example.org#aa");
    let text = link.text();
    let read: Invitation = text.parse().unwrap();
    assert_eq!((read.context(), read.id(), read.relay()), (link.context(), link.id(), link.relay()));
    assert!(!format!("{read:?}").contains(&text[20..60]), "it prints nothing of its secret");
    let card = Card::new(&keys_of("ada"), None);
    assert_eq!(card.to_string().parse(), Ok(card.clone()));
    for text in [text.to_string(), card.to_string()] {
        for at in 0..text.len() {
            let mut typed = text.clone().into_bytes();
            typed[at] = if typed[at] == b'a' { b'b' } else { b'a' };
            let typed = String::from_utf8(typed).unwrap();
            assert!(typed.parse::<Invitation>().is_err() && typed.parse::<Card>().is_err(), "character {at}");
        }
    }
}
