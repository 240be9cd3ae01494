//! Bytes on the wire: one encoding, which does not change by itself, and no bytes that crash.

use bytes::Bytes;
use partita_core::{
    ContextId, EntryHeader, EntryId, EpochId, Hash, LogId, ReplicaId, SignedTip, Tip, Witness, codec::DecodeError,
    codec::Writer,
};
use partita_crypto::{Mnemonic, Secret, SigningKey, rand_core::Rng as _};

use super::{
    memory::Memory,
    net::{rng, witness},
};
use crate::{
    SingleOwner,
    dormancy::Dormancy,
    epoch::Place,
    modes::Mode,
    op::{Epoch, MAX_OPS, Op, Payload, Share},
    owner::OwnerKeys,
    revocation::Revocation,
};

fn key() -> SigningKey {
    SigningKey::from_seed(&Secret::from_bytes([3; 32]))
}

/// Whose control entries these are.
fn author() -> ReplicaId {
    ReplicaId::from_bytes(*key().verifying_key().as_bytes())
}

/// The end of a log of the author's.
fn tip(n: u8) -> SignedTip {
    let tip = Tip { log: LogId::from_bytes([n; 16]), seq: 300, head: EntryId::from_bytes([n; 32]) };
    SignedTip { tip, signature: EntryHeader::sign(&tip.head, &key()) }
}

/// Two entries of one log.
fn witnesses(context: ContextId) -> Vec<Witness> {
    let key = SigningKey::from_seed(&Secret::from_bytes([11; 32]));
    [1, 2].map(|seq| witness(context, &key, seq)).into()
}

/// One op of each sort, made from fixed bytes.
fn ops() -> (ContextId, Vec<Op>) {
    let mnemonic = Mnemonic::from_entropy(&Secret::from_bytes([7; 32]));
    let owner = OwnerKeys::of(&mnemonic);
    let context = Mode::Sealed.context(&owner.owner()).unwrap().id;
    let request = SingleOwner::request(&Memory::default(), &mut rng(1)).unwrap();
    let [first, second] = [3, 4].map(|n| ReplicaId::from_bytes([n; 32]));
    let ops = vec![
        Op::Certify(SingleOwner::certify(&mnemonic, &request)),
        Op::Revoke(Revocation::sign(&owner, &context, author(), vec![tip(1), tip(2)])),
        Op::Epoch(Epoch {
            covers: vec![first],
            commitment: Hash::from_bytes([5; 32]),
            boxes: vec![(first, [6; _]), (second, [7; _])],
            recovery: [8; _],
        }),
        Op::Share(Share { epoch: EpochId(Hash::from_bytes([9; 32])), recipient: second, sealed: [10; _] }),
        Op::Retire(vec![tip(1)]),
        Op::Vouch(witnesses(context)),
        Op::Unknown(Bytes::from_static(b"\x63later")),
    ];
    (context, ops)
}

fn fingerprint(bytes: &[u8]) -> String {
    format!("{} {}", bytes.len(), partita_crypto::hash("partita test golden bytes", &[bytes]))
}

/// Those that came later.
fn later_ops() -> (ContextId, Vec<Op>) {
    let owner = OwnerKeys::of(&Mnemonic::from_entropy(&Secret::from_bytes([7; 32])));
    let context = Mode::Sealed.context(&owner.owner()).unwrap().id;
    (context, vec![Op::Dormant(Dormancy::sign(&owner, &context, author(), &mut rng(5))), Op::Back])
}

/// Entries and keystores hold these bytes: `docs/formats.md` says what to do when this fails.
#[test]
fn the_golden_bytes_of_version_1_do_not_change() {
    let (context, ops) = ops();
    let payload = Payload::encode(&ops);
    assert_eq!(Payload::decode(&context, &author(), &payload).unwrap().ops, ops);
    assert_eq!(fingerprint(&payload), "1760 8b9cb851b78b94e2a44da9680ea16d335bfbda1663f1b24bf490320078e0816c");
    let (_, later) = later_ops();
    let payload = Payload::encode(&later);
    assert_eq!(Payload::decode(&context, &author(), &payload).unwrap().ops, later);
    assert_eq!(fingerprint(&payload), "151 c698d403624e92ccef379c181ef4ccf94c277c759caa82bf339ffb5848f85d91");
    // Small enough to be read here: version, count, length, tag, count, log, number, head, signature.
    let retire = Payload::encode(&[Op::Retire(vec![tip(1)])]);
    let mut expected = vec![1, 1, 116, 5, 1];
    expected.extend([1; 16]);
    expected.extend([0xac, 0x02]);
    expected.extend([1; 32]);
    expected.extend(tip(1).signature.as_bytes());
    assert_eq!(retire, expected);
    let place = Place { context, author: ReplicaId::from_bytes([3; 32]) };
    let Op::Epoch(epoch) = &ops[2] else { panic!() };
    assert_eq!(epoch.id(place).0.to_string(), "e0639b8afc0e6ab65b8485e5b59dae98b43543336c2082a0d9826f0e16c10756");
    let Op::Certify(certificate) = &ops[0] else { panic!() };
    assert_eq!(
        fingerprint(certificate.to_string().as_bytes()),
        "334 29c53867e935d355699a4d8931b0de1d45ae2fbe51839b11f8edddce2352e721"
    );
    assert_eq!(context.to_string(), "3ada5eb2c8aa9d23be9e7a71da4843abb2db755d892fe33a133faee1abd07b75");
}

#[test]
fn an_op_of_a_later_version_is_kept_and_passed_over() {
    let (context, _) = ops();
    let found = Payload::decode(&context, &author(), &[1, 1, 3, 99, 1, 2]).unwrap();
    assert_eq!(found.ops, [Op::Unknown(Bytes::from_static(&[99, 1, 2]))]);
    assert!(!found.ops[0].is_owner_signed());
    assert_eq!(Payload::decode(&context, &author(), &[2, 1, 1, 99]), Err(DecodeError::Unknown("payload version")));
}

#[test]
fn a_payload_has_one_to_sixteen_ops_and_nothing_after() {
    let (context, _) = ops();
    assert!(Payload::decode(&context, &author(), &[1, 0]).is_err());
    assert!(Payload::decode(&context, &author(), &[]).is_err());
    let retire = Op::Retire(vec![tip(1)]);
    let full = Payload::encode(&vec![retire.clone(); MAX_OPS]);
    assert!(Payload::decode(&context, &author(), &full).is_ok());
    assert!(Payload::decode(&context, &author(), &Payload::encode(&vec![retire.clone(); MAX_OPS + 1])).is_err());
    let mut trailing = Payload::encode(&[retire]).to_vec();
    trailing.push(0);
    assert_eq!(Payload::decode(&context, &author(), &trailing), Err(DecodeError::Trailing));
    let mut out = Writer::new();
    out.raw(&[1, 1, 2, 6, 0x80]);
    assert!(Payload::decode(&context, &author(), out.as_slice()).is_err());
}

#[test]
fn lists_out_of_order_are_refused() {
    let (context, ops) = ops();
    let Op::Epoch(epoch) = &ops[2] else { panic!() };
    let mut swapped = epoch.clone();
    swapped.boxes.swap(0, 1);
    let doubled = Epoch { covers: vec![epoch.covers[0]; 2], ..epoch.clone() };
    let swapped_witnesses = witnesses(context).into_iter().rev().collect();
    for bad in [Op::Epoch(swapped), Op::Epoch(doubled), Op::Vouch(swapped_witnesses), Op::Retire(vec![tip(1); 2])] {
        assert_eq!(Payload::decode(&context, &author(), &Payload::encode(&[bad])), Err(DecodeError::NotCanonical));
    }
}

#[test]
fn a_changed_word_of_the_owner_is_none() {
    let ((context, ops), (_, later)) = (ops(), later_ops());
    for op in ops[..2].iter().chain(&later[..1]) {
        let payload = Payload::encode(std::slice::from_ref(op));
        for at in 0..payload.len() {
            let mut bad = payload.to_vec();
            bad[at] ^= 1;
            match Payload::decode(&context, &author(), &bad) {
                Err(_) => {}
                // Another tag makes it an op of a later version, which says nothing.
                Ok(found) => assert!(matches!(found.ops[..], [Op::Unknown(_)]), "byte {at}"),
            }
        }
        let other = ContextId::from_bytes([1; 32]);
        assert!(Payload::decode(&other, &author(), &payload).is_err());
    }
}

#[test]
fn no_bytes_crash_the_decoder_and_what_it_takes_it_writes_again() {
    let (context, mut ops) = ops();
    ops.extend(later_ops().1);
    let whole = Payload::encode(&ops);
    let mut random = rng(42);
    for end in 0..whole.len() {
        assert!(Payload::decode(&context, &author(), &whole[..end]).is_err());
    }
    // Without the owner-signed ops a mutation is not caught by a signature, and goes deeper.
    let device_signed = Payload::encode(&ops[2..]);
    for round in 0..20_000 {
        let mut bytes = if round % 10 == 0 { whole.to_vec() } else { device_signed.to_vec() };
        for _ in 0..1 + random.next_u32() % 4 {
            let at = random.next_u32() as usize % bytes.len();
            match random.next_u32() % 4 {
                0 => bytes[at] = random.next_u32() as u8,
                1 => bytes[at] ^= 1 << (random.next_u32() % 8),
                2 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, random.next_u32() as u8),
            }
        }
        if let Ok(found) = Payload::decode(&context, &author(), &bytes) {
            assert_eq!(Payload::encode(&found.ops), bytes);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(text.parse::<crate::Request>().is_err() && text.parse::<crate::Certificate>().is_err());
    }
}
