//! The attacks that groups must survive, by their numbers in the design. Each test says which line is the defence: without
//! that line it fails. Number 2 is in `orders`, 8 in `scenarios` and `together`, 14 in the repository's `fuzz` folder; 9, 10, 12
//! and 17 need stores and relays and are in `crates/partita/tests/group_attacks.rs`.

use bytes::Bytes;
use partita_core::{
    Access, ContextInfo, EpochId, HeaderPrefix, Opened, PartitionStrategy as _, PeerInfo, Refusal, RemoteContext,
    SessionId, Transcript, Verdict,
    codec::{DecodeError, Reader, Writer},
};
use partita_crypto::{EPOCH_BOX_LEN, EpochSecret, Hash};

use super::net::{Device, at, card_of, lacks, relay, settle};
use crate::{
    Card, Group, GroupError, History, MemberId, Policy, Role, Terms,
    epochs::{Maker, epoch_id},
    op::{Add, Epoch, Op, Payload, Remove, Scope, SetRole, Share},
};

fn trio() -> (Device, Device, Device) {
    let mut ada = Device::founder(1, Policy::default());
    let mut ben = Device::added_by(&mut ada, 2, Role::Admin, History::All);
    let mut cay = Device::added_by(&mut ada, 3, Role::Write, History::All);
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    (ada, ben, cay)
}

fn remove(admin: &mut Device, who: &Device) {
    let member = who.member();
    admin.call(|group, turn| group.remove(turn, member)).unwrap();
}

/// The last epoch op that a device's entries hold, and its entry.
fn last_epoch(device: &Device) -> (Epoch, EpochId) {
    let ledger = &device.strategy.state.ledger;
    let found = ledger.entries().iter().rev().find_map(|held| {
        let mut ops = held.ops().iter().enumerate();
        ops.find_map(|(index, op)| match op {
            Op::Epoch(epoch) => Some((epoch.clone(), epoch_id(held, index))),
            _ => None,
        })
    });
    found.unwrap()
}

fn counts(judge: &Device, said: &super::world::Said) -> bool {
    let state = &judge.strategy.state;
    let held = state.ledger.get(&said.id).unwrap();
    held.ops().iter().enumerate().all(|(index, op)| state.resolver().op_counts(held, index, op))
}

/// Defence: `sender` in `BoxBinding::info` (crates/crypto, epochs/envelope.rs).
#[test]
fn attack_01_a_box_said_again_by_another_opens_nowhere() {
    let (mut ada, mut ben, mut cay) = trio();
    ada.call(|group, turn| group.rotate(turn)).unwrap();
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    let (epoch, original) = last_epoch(&ada);
    assert_eq!(epoch.count(), 3, "a box for each of the three");
    let said = cay.say(&[Op::Epoch(epoch)]);
    ben.pull(&cay);
    let held = ben.strategy.state.ledger.get(&said.id).unwrap();
    assert!(ben.holds(&original) && !ben.holds(&epoch_id(held, 0)));
}

/// Defence: `context` in `BoxBinding::info`; the signature of `Accept` covers the context (`message` in invite.rs); and
/// `genesis.founds(context)` in `Op::decode`.
#[test]
fn attack_01_what_was_said_in_one_group_says_nothing_in_another() {
    let mut first = Device::founder(1, Policy::default());
    let second = Group::create(first.strategy.keystore.clone(), &mut first.rng, "another", Policy::default()).unwrap();
    let mut second = Device::of(second, 1);
    second.duties();
    assert_eq!(first.replica, second.replica);
    let mut ben = Device::added_by(&mut first, 2, Role::Write, History::All);
    let card = card_of(&ben);
    second.call(|group, turn| group.add(turn, &card, Role::Write, History::All)).unwrap();
    let ben_too = Group::added(ben.strategy.keystore.clone(), second.context, &card).unwrap();
    let mut ben_too = Device::of(ben_too, 2);
    ben_too.pull(&second);

    // The same device boxes to the same device: only the group differs.
    first.call(|group, turn| group.rotate(turn)).unwrap();
    ben.pull(&first);
    let (epoch, id) = last_epoch(&first);
    assert!(ben.holds(&id));
    let said = second.say(&[Op::Epoch(epoch)]);
    ben_too.pull(&second);
    let held = ben_too.strategy.state.ledger.get(&said.id).unwrap();
    assert!(!ben_too.holds(&epoch_id(held, 0)), "a box of another group opened");

    let invitation = first.call(|group, turn| group.invite(turn, Terms::new(Role::Write))).unwrap();
    let mut cay = Device::invited(&invitation, 3);
    cay.pull(&first);
    cay.duties();
    let accepted = cay.entries.last().unwrap().payload.clone();
    assert!(Payload::decode(&first.context, &accepted).is_ok());
    assert!(Payload::decode(&second.context, &accepted).is_err(), "an acceptance holds in another group");
    let created = first.entries[0].payload.clone();
    assert!(Payload::decode(&second.context, &created).is_err(), "another group's beginning");

    // And an envelope.
    let epoch = first.epoch();
    let (mut header, sealed) = first.seal(epoch, b"secret");
    header.context = second.context;
    let prefix = HeaderPrefix { header: &header, author: first.replica, epoch: Some(epoch) };
    assert_ne!(first.strategy.open(&prefix, &sealed), Opened::Plain(Bytes::from_static(b"secret")));
}

/// Defence: `prefix.to_bytes()` as associated data in `Group::open` (strategy.rs), and the author in `payload_key`.
#[test]
fn attack_03_an_envelope_opens_in_its_own_place_alone() {
    let (mut ada, mut ben, _) = trio();
    let first = ada.epoch();
    let (header, sealed) = ada.seal(first, b"secret");
    ada.call(|group, turn| group.rotate(turn)).unwrap();
    let second = ada.epoch();
    assert_ne!(first, second);
    ben.pull(&ada);
    let plain = Opened::Plain(Bytes::from_static(b"secret"));
    assert_eq!(ben.open(&header, ada.replica, first, &sealed), plain);
    assert_eq!(ben.open(&header, ben.replica, first, &sealed), Opened::Bad, "another author");
    assert_eq!(ben.open(&header, ada.replica, second, &sealed), Opened::Bad, "another epoch");
    let changes: [fn(&mut partita_core::EntryHeader); 6] = [
        |header| header.seq += 1,
        |header| header.log = partita_core::LogId::from_bytes([1; 16]),
        |header| header.time = partita_core::NTP64(7),
        |header| header.kind = partita_core::EntryKind::Create(partita_core::DocumentId::from_bytes([7; 32])),
        |header| header.stamp = None,
        |header| header.start.as_mut().unwrap().nonce = [5; 16],
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut changed = header.clone();
        change(&mut changed);
        assert_eq!(ben.open(&changed, ada.replica, first, &sealed), Opened::Bad, "field {at}");
    }
    // The backlink is in every header but a log's first.
    let mut later = ada.data_header(2, Some(first));
    let prefix = HeaderPrefix { header: &later, author: ada.replica, epoch: Some(first) };
    let after = ada.strategy.seal(&prefix, b"secret", &mut ada.rng).unwrap();
    assert_eq!(ben.open(&later, ada.replica, first, &after), plain);
    later.backlink = partita_core::EntryId::from_bytes([1; 32]);
    assert_eq!(ben.open(&later, ada.replica, first, &after), Opened::Bad, "another backlink");
    for at in 0..sealed.len() {
        let mut flipped = sealed.to_vec();
        flipped[at] ^= 1;
        assert_eq!(ben.open(&header, ada.replica, first, &flipped.into()), Opened::Bad, "byte {at}");
    }
}

/// Defence in depth, any of which is enough: a box opens with its recipient's key alone (RFC 9180), `recipient` and
/// `recipient_key` in `BoxBinding::info`, the op without its boxes as associated data, and `secret.check` in `open_epoch`.
#[test]
fn attack_03_a_box_moved_to_another_recipient_or_epoch_opens_nothing() {
    let (mut ada, mut ben, mut cay) = trio();
    let recipients = [&ada, &ben, &cay].map(|device| (device.replica, device.strategy.keys.boxes.public()));
    let mut recipients = recipients.to_vec();
    recipients.sort_unstable();
    let maker = Maker { context: *ada.context.as_bytes(), device: ada.replica };
    let make = |ada: &mut Device| Epoch::create(&mut ada.rng, maker, Scope::Live, &recipients).unwrap().0;
    let (one, two) = (make(&mut ada), make(&mut ada));
    let chunk = |epoch: &Epoch, at: usize| epoch.boxes[at * EPOCH_BOX_LEN..(at + 1) * EPOCH_BOX_LEN].to_vec();
    let shifted = Epoch { boxes: [1, 2, 0].map(|at| chunk(&one, at)).concat().into(), ..one.clone() };
    let mixed = Epoch { boxes: two.boxes.clone(), ..one.clone() };
    for bad in [shifted, mixed] {
        let said = ada.say(&[Op::Epoch(bad)]);
        for device in [&mut ben, &mut cay] {
            device.pull(&ada);
            let id = epoch_id(device.strategy.state.ledger.get(&said.id).unwrap(), 0);
            assert!(!device.holds(&id));
        }
    }
    let said = ada.say(&[Op::Epoch(one)]);
    ben.pull(&ada);
    assert!(ben.holds(&epoch_id(ben.strategy.state.ledger.get(&said.id).unwrap(), 0)), "the honest one opens");
}

/// Defence: `secret.check(commitment)` in `open_epoch` and in `open_epochs` (crates/crypto, epochs/envelope.rs).
#[test]
fn attack_04_one_epoch_has_one_secret_for_everybody() {
    let (mut ada, mut ben, mut cay) = trio();
    let mut recipients =
        [&ada, &ben, &cay].map(|device| (device.replica, device.strategy.keys.boxes.public())).to_vec();
    recipients.sort_unstable();
    let maker = Maker { context: *ada.context.as_bytes(), device: ada.replica };
    // Everybody's box is bound to the same op, and ben's holds another secret.
    let (real, secret) = Epoch::create(&mut ada.rng, maker, Scope::Live, &recipients).unwrap();
    let other = EpochSecret::random(&mut ada.rng);
    let mut boxes = real.boxes.to_vec();
    let place = recipients.iter().position(|(id, _)| *id == ben.replica).unwrap();
    let binding = partita_crypto::BoxBinding {
        context: maker.context,
        sender: *ada.replica.as_bytes(),
        recipient: *ben.replica.as_bytes(),
        recipient_key: recipients[place].1,
    };
    let sealed =
        partita_crypto::seal_epoch(&mut ada.rng, &other, &recipients[place].1, &binding, &real.without_boxes())
            .unwrap();
    boxes[place * EPOCH_BOX_LEN..(place + 1) * EPOCH_BOX_LEN].copy_from_slice(&sealed);
    let said = ada.say(&[Op::Epoch(Epoch { boxes: boxes.into(), ..real })]);
    ben.pull(&ada);
    cay.pull(&ada);
    let id = epoch_id(ben.strategy.state.ledger.get(&said.id).unwrap(), 0);
    assert!(cay.holds(&id) && !ben.holds(&id), "ben took a secret that the op does not commit to");
    // Nor by a share.
    let to = recipients[place];
    let share = Share::create(&mut ada.rng, maker, to, &[(id, &other)]).unwrap();
    ada.say(&[Op::Share(share)]);
    ben.pull(&ada);
    assert!(!ben.holds(&id));
    let share = Share::create(&mut ada.rng, maker, to, &[(id, &secret)]).unwrap();
    ada.say(&[Op::Share(share)]);
    ben.pull(&ada);
    assert!(ben.holds(&id));
}

/// Defence: `id != tip.head` in `is_beyond` (resolve.rs): of a forked log the branch counts that the removal names.
#[test]
fn attack_05_of_two_entries_at_one_place_the_one_counts_that_the_removal_names() {
    let (mut ada, ben, mut cay) = trio();
    let heads = ben.graph.heads();
    let add = |name: u64| {
        let card = card_of(&Device::founder(name, Policy::default()));
        Payload::encode(&[Op::Add(Add { card, role: Role::Admin, history: History::All })])
    };
    let (shown, hidden) = (ben.write_with(&heads, add(20)), ben.write_with(&heads, add(21)));
    ada.give(&shown);
    cay.give(&hidden); // a relay shows two views
    assert_eq!(ada.strategy.members().len(), 4);
    assert_eq!(cay.strategy.members().len(), 4);
    remove(&mut ada, &ben);
    // Once everybody has seen everything: ada had seen and named the one.
    ada.give(&hidden);
    cay.pull(&ada);
    assert_eq!(ada.strategy.members(), cay.strategy.members());
    let ids: Vec<MemberId> = ada.strategy.members().iter().map(|member| member.id).collect();
    let of = |name: u64| Device::founder(name, Policy::default()).member();
    assert!(ids.contains(&of(20)) && !ids.contains(&of(21)), "{ids:?}");
}

/// Defence: `is_cut` in `judge_op` (resolve.rs). For what it wrote after it knew: `has` there, by what it had seen.
#[test]
fn attack_06_a_removed_member_changes_nothing_at_whatever_time_it_claims() {
    let (mut ada, mut ben, mut cay) = trio();
    remove(&mut ada, &ben);
    let mut said = Vec::new();
    // Ben has not heard of it, or says so: his clock is right, a year behind, ten years ahead.
    for (clock, name) in [(0, 30), (-31_536_000, 31), (315_360_000i64, 32)] {
        ben.now.wall = ben.now.wall.saturating_add_signed(clock);
        let card = card_of(&Device::founder(name, Policy::default()));
        said.push(ben.say(&[Op::Add(Add { card, role: Role::Admin, history: History::All })]));
    }
    cay.pull(&ben);
    cay.pull(&ada);
    ada.pull(&ben);
    for said in &said {
        assert!(!counts(&ada, said) && !counts(&cay, said));
    }
    assert_eq!(ada.strategy.members().len(), 2);
    assert_eq!(ada.strategy.members(), cay.strategy.members());
    // Having heard of it, it is not even taken.
    ben.pull(&ada);
    let late = ben.write_with(
        &ben.graph.heads(),
        Payload::encode(&[Op::Add(Add {
            card: card_of(&Device::founder(33, Policy::default())),
            role: Role::Read,
            history: History::All,
        })]),
    );
    assert_eq!(ada.give(&late), Verdict::Excluded(Refusal::Revoked));
}

trait AddSigned {
    fn saturating_add_signed(self, seconds: i64) -> Self;
}

impl AddSigned for std::time::Duration {
    fn saturating_add_signed(self, seconds: i64) -> Self {
        let by = std::time::Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { self.saturating_sub(by) } else { self.saturating_add(by) }
    }
}

/// Defence: `break_ring` (resolve.rs), which asks for seniority.
#[test]
fn attack_06_a_removed_junior_cannot_remove_its_remover_with_old_parents() {
    let (mut ada, ben, mut cay) = trio();
    let old = ben.graph.heads();
    remove(&mut ada, &ben);
    settle(&mut [&mut ada, &mut cay]);
    ada.epoch();
    let caps = vec![(ada.replica, Vec::new())];
    let revenge = Op::Remove(Remove { member: ada.member(), caps });
    let revenge = ben.write_with(&old, Payload::encode(&[revenge]));
    for device in [&mut ada, &mut cay] {
        assert_eq!(device.give(&revenge), Verdict::Accept, "it rests on what ben could do then");
        assert!(!counts(device, &revenge));
    }
    assert_eq!(cay.role_of(&ada), Some(Role::Admin));
    assert_eq!(cay.role_of(&ben), None);
}

/// Defence: dependence by authority: `stands` and `span` ask for the author's own right, never for the parents'.
#[test]
fn attack_07_an_honest_op_counts_although_its_parent_is_a_removed_members() {
    let (mut ada, mut ben, mut cay) = trio();
    ada.call(|group, turn| group.set_role(turn, cay.member(), Role::Admin)).unwrap();
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    remove(&mut ada, &ben);
    let junk = ben.say(&[Op::SetRole(SetRole { member: ben.member(), role: Role::Admin, caps: Vec::new() })]);
    cay.pull(&ben);
    let dan = Device::added_by(&mut cay, 4, Role::Write, History::All);
    let honest = cay.entries.last().unwrap().clone();
    assert!(honest.parents.contains(&junk.id));
    cay.pull(&ada);
    ada.pull(&cay);
    assert!(counts(&ada, &honest) && !counts(&ada, &junk));
    assert_eq!(ada.role_of(&dan), Some(Role::Write));
}

/// Defence: `vouches` in state/losses.rs; and the check there that who vouches had seen a loss and does not vouch for itself.
#[test]
fn attack_07_what_an_honest_change_built_on_counts_by_a_vouch() {
    let (mut ada, mut ben, mut cay) = trio();
    let (one, nine) = (cay.witness(1), cay.witness(9));
    ben.note(cay.replica, cay.signed(one.tip()));
    remove(&mut ben, &cay);
    assert_eq!(cay.cap_at(&ben), Some(1));
    // In advance, by cay for itself, or by somebody without the right: nothing.
    cay.say(&[Op::Vouch(vec![nine.clone()])]);
    ada.pull(&cay);
    let early = ada.strategy.vouch(&ada.context, std::slice::from_ref(&nine));
    assert_eq!(early, None, "there is no loss to answer");
    ada.say(&[Op::Vouch(vec![nine.clone()])]);
    ada.pull(&ben);
    assert_eq!(cay.cap_at(&ada), Some(1));
    let vouch = ada.strategy.vouch(&ada.context, &[nine]).unwrap();
    ada.append(vouch);
    ben.pull(&ada);
    assert_eq!((cay.cap_at(&ada), cay.cap_at(&ben)), (Some(9), Some(9)));
}

/// Defence: `answered_by` in state/losses.rs.
#[test]
fn attack_07_the_removal_of_somebody_else_is_no_occasion_to_vouch_in_advance() {
    let (mut ada, mut ben, mut cay) = trio();
    let dan = Device::added_by(&mut ada, 4, Role::Write, History::All);
    remove(&mut ada, &dan);
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    let (one, nine) = (cay.witness(1), cay.witness(9));
    ben.say(&[Op::Vouch(vec![cay.witness(u64::MAX)])]);
    ada.pull(&ben);
    ada.note(cay.replica, cay.signed(one.tip()));
    remove(&mut ada, &cay);
    ben.pull(&ada);
    assert_eq!((cay.cap_at(&ada), cay.cap_at(&ben)), (Some(1), Some(1)));
    // What ben had built on counts by his word now.
    let vouch = ben.strategy.vouch(&ben.context, &[nine]).unwrap();
    ben.append(vouch);
    ada.pull(&ben);
    assert_eq!((cay.cap_at(&ada), cay.cap_at(&ben)), (Some(9), Some(9)));
}

/// Defence: `VerifyingKey::parse`, `BoxPublicKey::parse` and the signature in `Card::decode` (card.rs).
#[test]
fn attack_11_a_card_with_a_weak_key_or_anothers_signature_is_none() {
    let ada = Device::founder(1, Policy::default());
    let mut bytes = Writer::new();
    card_of(&ada).encode(&mut bytes);
    let good = bytes.finish();
    let read = |bytes: &[u8]| Card::decode(&mut Reader::new(bytes));
    assert!(read(&good).is_ok());
    for at in 0..good.len() {
        let mut flipped = good.to_vec();
        flipped[at] ^= 1;
        assert!(read(&flipped).is_err(), "byte {at}");
    }
    let low_order = [
        [0; 32],
        {
            let mut one = [0; 32];
            one[0] = 1;
            one
        },
        [
            0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
            0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
        ],
    ];
    for weak in low_order {
        let keys = &ada.strategy.keys;
        // Signed well, so that the key alone can be the reason.
        let mut message = [*keys.signing.verifying_key().as_bytes(), weak, *keys.replica().as_bytes()].concat();
        let signature = keys.signing.sign("partita 2026 v1 group card", &message);
        message.extend_from_slice(signature.as_bytes());
        assert_eq!(read(&message), Err(DecodeError::Invalid("X25519 key")));
        let mut message = [weak, *keys.boxes.public().as_bytes(), weak].concat();
        message.extend_from_slice(&[0; 64]);
        assert!(matches!(read(&message), Err(DecodeError::Invalid(_))));
    }
}

/// Defence: the checks of order and length in `Op::decode` (op.rs), and `Reader` itself.
#[test]
fn attack_13_a_payload_has_one_encoding() {
    let mut ada = Device::founder(1, Policy::default());
    let context = ada.context;
    for payload in super::bytes::payloads() {
        let (context, payload) = payload;
        assert!(Payload::decode(&context, &payload).is_ok());
        let mut longer = payload.to_vec();
        longer.push(0);
        assert!(Payload::decode(&context, &longer).is_err(), "trailing bytes");
        for len in 0..payload.len() {
            assert!(Payload::decode(&context, &payload[..len]).is_err(), "cut at {len}");
        }
    }
    let (a, b) = (partita_core::ReplicaId::from_bytes([1; 32]), partita_core::ReplicaId::from_bytes([2; 32]));
    let caps = |devices: [_; 2]| {
        let caps = devices.map(|device| (device, Vec::new())).to_vec();
        Payload::encode(&[Op::Leave(caps)])
    };
    assert!(Payload::decode(&context, &caps([a, b])).is_ok());
    assert!(Payload::decode(&context, &caps([b, a])).is_err());
    assert!(Payload::decode(&context, &caps([a, a])).is_err());
    // A list of what counts of somebody's logs holds with that somebody's signatures alone.
    let cay = Device::added_by(&mut ada, 77, Role::Write, History::All);
    let tip = cay.witness(3).tip();
    for (signed, counts) in [(cay.signed(tip), true), (ada.signed(tip), false)] {
        let caps = vec![(cay.replica, vec![signed])];
        let remove = Op::Remove(crate::op::Remove { member: cay.member(), caps: caps.clone() });
        let demote = Op::SetRole(crate::op::SetRole { member: cay.member(), role: Role::Read, caps: caps.clone() });
        let device = Op::RemoveDevice(crate::op::RemoveDevice { device: cay.replica, caps: vec![signed] });
        for op in [remove, demote, device, Op::Leave(caps)] {
            assert_eq!(Payload::decode(&context, &Payload::encode(&[op])).is_ok(), counts);
        }
    }
    let share = |epochs: [u8; 2]| {
        let epochs = epochs.map(|n| EpochId(Hash::from_bytes([n; 32]))).to_vec();
        Payload::encode(&[Op::Share(Share { recipient: a, epochs, sealed: vec![0; 48 + 64].into() })])
    };
    assert!(Payload::decode(&context, &share([1, 2])).is_ok());
    assert!(Payload::decode(&context, &share([2, 1])).is_err());
    assert!(Payload::decode(&context, &share([1, 1])).is_err());
    // A length with a needless byte.
    let mut payload = Payload::encode(&[Op::Leave(Vec::new())]).to_vec();
    assert_eq!(payload, [1, 1, 2, 15, 0]);
    payload.splice(1..2, [0x81, 0x00]);
    assert!(Payload::decode(&context, &payload).is_err());
}

/// Defence: `Op::Complain` in `fulfil` (duties.rs), and `wants_share` (epochs.rs).
#[test]
fn attack_15_who_was_boxed_garbage_complains_and_another_boxes_again() {
    let (mut ada, mut ben, mut cay) = trio();
    let mut recipients =
        [&ada, &ben, &cay].map(|device| (device.replica, device.strategy.keys.boxes.public())).to_vec();
    recipients.sort_unstable();
    let maker = Maker { context: *ada.context.as_bytes(), device: ada.replica };
    let place = recipients.iter().position(|(id, _)| *id == cay.replica).unwrap();
    let (real, _) = Epoch::create(&mut ada.rng, maker, Scope::Live, &recipients).unwrap();
    let mut boxes = real.boxes.to_vec();
    boxes[place * EPOCH_BOX_LEN..(place + 1) * EPOCH_BOX_LEN].fill(7);
    let said = ada.say(&[Op::Epoch(Epoch { boxes: boxes.into(), ..real })]);
    cay.pull(&ada);
    let id = epoch_id(cay.strategy.state.ledger.get(&said.id).unwrap(), 0);
    assert!(!cay.holds(&id));
    cay.writing = false;
    assert_eq!(cay.duties(), 1, "one complaint");
    assert_eq!(cay.duties(), 0, "and no second one");
    ben.pull(&ada);
    ben.pull(&cay);
    ben.duties();
    cay.pull(&ben);
    assert!(cay.holds(&id));
    assert_eq!(ben.duties(), 0);
    // A complaint takes nobody's right.
    assert_eq!(ben.role_of(&ada), Some(Role::Admin));
}

/// Defence: `is_complete` in `fulfil` (duties.rs), which asks what whoever began the epoch could do then.
#[test]
fn attack_15_who_was_boxed_garbage_by_somebody_who_was_removed_since_gets_the_key_all_the_same() {
    let (mut ada, mut ben, mut cay) = trio();
    let mut recipients =
        [&ada, &ben, &cay].map(|device| (device.replica, device.strategy.keys.boxes.public())).to_vec();
    recipients.sort_unstable();
    let maker = Maker { context: *ben.context.as_bytes(), device: ben.replica };
    let place = recipients.iter().position(|(id, _)| *id == cay.replica).unwrap();
    let (real, _) = Epoch::create(&mut ben.rng, maker, Scope::Live, &recipients).unwrap();
    let mut boxes = real.boxes.to_vec();
    boxes[place * EPOCH_BOX_LEN..(place + 1) * EPOCH_BOX_LEN].fill(7);
    let said = ben.say(&[Op::Epoch(Epoch { boxes: boxes.into(), ..real })]);
    // Ada has not heard of it when she removes him. Others may have, and have written under it.
    remove(&mut ada, &ben);
    for device in [&mut ada, &mut cay] {
        device.pull(&ben);
    }
    cay.pull(&ada);
    let id = epoch_id(cay.strategy.state.ledger.get(&said.id).unwrap(), 0);
    assert!(ada.holds(&id) && !cay.holds(&id) && !counts(&ada, &said));
    cay.writing = false;
    assert_eq!(cay.duties(), 1, "one complaint");
    settle(&mut [&mut ada, &mut cay]);
    assert!(cay.holds(&id));
}

/// Defence: `holds(id)` in `State::facts` (state/keys.rs), twice: nobody writes under what it does not hold.
#[test]
fn attack_15_garbage_for_everyone_costs_an_epoch_and_nothing_else() {
    let (mut ada, mut ben, mut cay) = trio();
    let mut recipients =
        [&ada, &ben, &cay].map(|device| (device.replica, device.strategy.keys.boxes.public())).to_vec();
    recipients.sort_unstable();
    let maker = Maker { context: *ada.context.as_bytes(), device: ada.replica };
    let (real, _) = Epoch::create(&mut ada.rng, maker, Scope::Live, &recipients).unwrap();
    let said = ada.say(&[Op::Epoch(Epoch { boxes: vec![7; real.boxes.len()].into(), ..real })]);
    settle(&mut [&mut ada, &mut ben, &mut cay]);
    let bad = epoch_id(ben.strategy.state.ledger.get(&said.id).unwrap(), 0);
    for device in [&mut ada, &mut ben, &mut cay] {
        let epoch = device.epoch();
        assert!(epoch != bad && device.holds(&epoch));
    }
}

/// Defence: the needed roles in `judge_op` (resolve.rs), and `need` in manage.rs, which says so.
#[test]
fn attack_16_who_lacks_the_right_to_add_adds_nobody() {
    let (mut ada, _, mut cay) = trio();
    let card = card_of(&Device::founder(40, Policy::default()));
    let refused = cay.call(|group, turn| group.add(turn, &card, Role::Read, History::All));
    assert_eq!(refused, Err(lacks(Role::Admin, Role::Write)));
    let said = cay.say(&[Op::Add(Add { card, role: Role::Read, history: History::All })]);
    ada.pull(&cay);
    assert!(!counts(&ada, &said));
    assert_eq!(ada.strategy.members().len(), 3);
}

/// Defence: `role.writes()` in `authorize_data` (state/verdict.rs).
#[test]
fn attack_16_a_reader_writes_nothing_that_counts() {
    let (mut ada, _, _) = trio();
    let mut rea = Device::added_by(&mut ada, 5, Role::Read, History::All);
    let epoch = ada.epoch();
    rea.pull(&ada);
    assert!(rea.holds(&epoch));
    assert_eq!(rea.verdict_at(&ada, epoch), Verdict::Excluded(Refusal::Denied));
    assert!(rea.strategy.epoch(&rea.context).unwrap_err().to_string().contains("needs the role write"));
    let rotated = rea.call(|group, turn| group.rotate(turn));
    assert_eq!(rotated, Err(lacks(Role::Write, Role::Read)));
    assert_eq!(ada.verdict_at(&ada, epoch), Verdict::Accept);
    assert_eq!(rea.verdict_at(&relay(ada.context), epoch), Verdict::Undecided(rea.graph.heads()));
    let mut node = relay(ada.context);
    node.pull(&ada);
    assert_eq!(rea.verdict_at(&node, epoch), Verdict::Excluded(Refusal::Denied));
}

/// Defence: `role.reads()` in `View::recipients` and in `State::lacking`.
#[test]
fn attack_16_a_relay_gets_no_key_however_it_asks() {
    let (mut ada, mut ben, mut cay) = trio();
    let mut rel = Device::added_by(&mut ada, 6, Role::Relay, History::All);
    ada.call(|group, turn| group.rotate(turn)).unwrap();
    let (_, epoch) = last_epoch(&ada);
    rel.pull(&ada);
    rel.say(&[Op::Complain(epoch)]);
    settle(&mut [&mut ada, &mut ben, &mut cay, &mut rel]);
    assert_eq!(rel.strategy.status().epochs_held, 0);
    assert!(cay.holds(&epoch));
    // It may fetch, and pass on.
    let peer = PeerInfo {
        session: SessionId(1),
        replica: rel.replica,
        incarnation: partita_core::Incarnation::default(),
        pinned: false,
    };
    let info = ContextInfo { id: ada.context, kind: ada.strategy.kinds()[0].clone() };
    let remote = |peer| RemoteContext { id: info.id, kind: info.kind.clone(), peer, grant: None };
    assert_eq!(ada.strategy.should_sync(&info, &remote(peer.clone())), Access::Both);
    let stranger = PeerInfo { replica: partita_core::ReplicaId::from_bytes([9; 32]), ..peer };
    assert_eq!(ada.strategy.should_sync(&info, &remote(stranger)), Access::Refused(Refusal::Denied));
}

/// Defence: `for_device` and the transcript in proof.rs, and `admits` (state/joining.rs) with its clock.
#[test]
fn an_invitation_opens_the_relay_for_its_holder_in_time_and_for_nobody_who_overheard_it() {
    let mut ada = Device::founder(1, Policy::default());
    let terms = Terms::new(Role::Write).expires(1_000_100);
    let invitation = ada.call(|group, turn| group.invite(turn, terms)).unwrap();
    ada.duties();
    let mut node = relay(ada.context);
    node.pull(&ada);
    let (ben, eve) = (Device::invited(&invitation, 2), Device::founder(7, Policy::default()));
    let transcript = Transcript { handshake: [1; 32], prover_dialled: true, remote_pinned: false };
    let proof = ben.proof(&transcript);
    let info = ContextInfo { id: ada.context, kind: ada.strategy.kinds()[0].clone() };
    let key = |device: &Device| device.strategy.keys.signing.verifying_key();
    let verify = |now, transcript: &Transcript, who: &Device, node: &super::net::Peer<crate::GroupRelay>| {
        node.strategy.auth().verify(now, transcript, &key(who), &info, &proof).map(|grant| grant.access)
    };
    assert_eq!(verify(at(0), &transcript, &ben, &node), Ok(Access::Both));
    assert_eq!(verify(at(0), &transcript, &eve, &node), Err(Refusal::BadProof));
    let other = Transcript { handshake: [2; 32], ..transcript };
    assert_eq!(verify(at(0), &other, &ben, &node), Err(Refusal::BadProof));
    let reflected = Transcript { prover_dialled: false, ..transcript };
    assert_eq!(verify(at(0), &reflected, &ben, &node), Err(Refusal::BadProof));
    assert_eq!(verify(at(100), &transcript, &ben, &node), Err(Refusal::Revoked), "expired");
    ada.call(|group, turn| group.revoke_invitation(turn, invitation.id())).unwrap();
    node.pull(&ada);
    assert_eq!(verify(at(0), &transcript, &ben, &node), Err(Refusal::Revoked));
    assert_eq!(
        ada.call(|group, turn| group.revoke_invitation(turn, invitation.id())),
        Err(GroupError::UnknownInvitation(invitation.id()))
    );
}
