//! Epoch secrets reach their readers, and nobody can pass off one for another.

#![allow(clippy::unwrap_used)]

mod support;

use partita_crypto::{
    BoxBinding, BoxError, BoxSecretKey, EPOCH_BOX_LEN, EpochError, EpochFacts, EpochId, EpochKeys, EpochSecret, Hash,
    choose_epoch, open_epoch, payload_key, seal_box, seal_epoch,
};
use support::rng;

fn binding(key: &BoxSecretKey) -> BoxBinding {
    BoxBinding { context: [1; 32], sender: [2; 32], recipient: [3; 32], recipient_key: key.public() }
}

#[test]
fn a_payload_opens_under_its_epoch_context_and_author_only() {
    let (secret, other) = (EpochSecret::random(&mut rng(1)), EpochSecret::random(&mut rng(2)));
    let sealed = payload_key(&secret, &[1; 32], &[2; 32]).seal(&mut rng(3), b"header", b"payload").unwrap();
    assert_eq!(payload_key(&secret, &[1; 32], &[2; 32]).open(b"header", &sealed).unwrap(), b"payload");
    assert!(payload_key(&other, &[1; 32], &[2; 32]).open(b"header", &sealed).is_err());
    assert!(payload_key(&secret, &[9; 32], &[2; 32]).open(b"header", &sealed).is_err());
    assert!(payload_key(&secret, &[1; 32], &[9; 32]).open(b"header", &sealed).is_err());
    assert!(payload_key(&secret, &[2; 32], &[1; 32]).open(b"header", &sealed).is_err(), "context and author swapped");
    assert!(payload_key(&secret, &[1; 32], &[2; 32]).open(b"headex", &sealed).is_err());
}

#[test]
fn a_commitment_fits_one_secret() {
    let (secret, other) = (EpochSecret::random(&mut rng(1)), EpochSecret::random(&mut rng(2)));
    assert!(secret.check(&secret.commitment()));
    assert!(!other.check(&secret.commitment()));
    assert!(!secret.check(&Hash::ZERO));
    assert_ne!(secret.commitment().as_bytes(), secret.0.expose());
}

#[test]
fn a_boxed_secret_arrives() {
    let (bob, secret) = (BoxSecretKey::generate(&mut rng(1)), EpochSecret::random(&mut rng(2)));
    let sealed = seal_epoch(&mut rng(3), &secret, &bob.public(), &binding(&bob), b"op").unwrap();
    assert_eq!((sealed.len(), EPOCH_BOX_LEN), (80, 80));
    assert_eq!(open_epoch(&bob, &binding(&bob), b"op", &secret.commitment(), &sealed), Ok(secret));
}

#[test]
fn a_box_moved_to_another_recipient_context_sender_or_op_does_not_open() {
    let (bob, eve) = (BoxSecretKey::generate(&mut rng(1)), BoxSecretKey::generate(&mut rng(4)));
    let secret = EpochSecret::random(&mut rng(2));
    let good = binding(&bob);
    let sealed = seal_epoch(&mut rng(3), &secret, &bob.public(), &good, b"op").unwrap();
    let open = |key: &BoxSecretKey, binding: BoxBinding, aad: &[u8]| {
        open_epoch(key, &binding, aad, &secret.commitment(), &sealed)
    };
    let refused = Err(EpochError::Box(BoxError::Refused));
    assert_eq!(open(&bob, BoxBinding { context: [9; 32], ..good }, b"op"), refused);
    assert_eq!(open(&bob, BoxBinding { sender: [9; 32], ..good }, b"op"), refused);
    assert_eq!(open(&bob, BoxBinding { recipient: [9; 32], ..good }, b"op"), refused);
    assert_eq!(open(&bob, BoxBinding { sender: good.recipient, recipient: good.sender, ..good }, b"op"), refused);
    assert_eq!(open(&bob, good, b"another op"), refused);
    assert_eq!(open(&eve, binding(&eve), b"op"), refused);
    assert_eq!(open(&eve, good, b"op"), Err(EpochError::OtherKey));
    assert_eq!(seal_epoch(&mut rng(3), &secret, &eve.public(), &good, b"op"), Err(EpochError::OtherKey));
}

#[test]
fn a_box_with_another_secret_than_the_op_committed_to_is_refused() {
    let (bob, secret) = (BoxSecretKey::generate(&mut rng(1)), EpochSecret::random(&mut rng(2)));
    let lie = EpochSecret::random(&mut rng(5));
    let sealed = seal_epoch(&mut rng(3), &lie, &bob.public(), &binding(&bob), b"op").unwrap();
    assert_eq!(open_epoch(&bob, &binding(&bob), b"op", &secret.commitment(), &sealed), Err(EpochError::Commitment));
}

#[test]
fn garbage_is_no_epoch_box() {
    let (bob, secret) = (BoxSecretKey::generate(&mut rng(1)), EpochSecret::random(&mut rng(2)));
    let commitment = secret.commitment();
    for len in [0, 31, 32, 48, 79, 81, 4096] {
        assert_eq!(
            open_epoch(&bob, &binding(&bob), b"op", &commitment, &vec![7; len]),
            Err(EpochError::Length),
            "{len} bytes"
        );
    }
    assert_eq!(open_epoch(&bob, &binding(&bob), b"op", &commitment, &[7; 80]), Err(EpochError::Box(BoxError::Refused)));
    // A box for the right key that was not made as an epoch box.
    let other = seal_box(&mut rng(3), &bob.public(), b"", b"op", secret.0.expose()).unwrap();
    assert!(open_epoch(&bob, &binding(&bob), b"op", &commitment, &other).is_err());
}

fn facts(id: u8, depth: u64, bits: [bool; 4]) -> EpochFacts {
    let [held, rightful, recipients_current, covers_all_losses] = bits;
    let id = EpochId(Hash::from_bytes([id; 32]));
    EpochFacts { id, depth, held, rightful, recipients_current, covers_all_losses }
}

#[test]
fn the_epoch_to_write_under_is_the_deepest_good_one_then_the_lowest_id() {
    const GOOD: [bool; 4] = [true; 4];
    let chosen = |id: u8| Some(EpochId(Hash::from_bytes([id; 32])));

    // Nothing, or nothing good, means: rotate first. Each of the four reasons is enough by itself.
    assert_eq!(choose_epoch(&[]), None);
    for bits in 0..16_u8 {
        let candidate = facts(1, 1, [bits & 1 != 0, bits & 2 != 0, bits & 4 != 0, bits & 8 != 0]);
        assert_eq!(choose_epoch(&[candidate]), if bits == 15 { chosen(1) } else { None }, "{candidate:?}");
    }

    let table: &[(&[EpochFacts], Option<EpochId>)] = &[
        (&[facts(1, 1, GOOD), facts(2, 2, GOOD)], chosen(2)),
        (&[facts(2, 1, GOOD), facts(1, 1, GOOD), facts(3, 1, GOOD)], chosen(1)),
        (&[facts(9, 7, GOOD), facts(1, 6, GOOD), facts(8, 7, GOOD)], chosen(8)),
        (&[facts(1, 9, [true, true, true, false]), facts(2, 1, GOOD)], chosen(2)),
        (&[facts(1, 9, [false, true, true, true]), facts(2, 9, [true, false, true, true])], None),
    ];
    for (candidates, expected) in table {
        assert_eq!(choose_epoch(candidates), *expected, "{candidates:?}");
        let reversed: Vec<_> = candidates.iter().rev().copied().collect();
        assert_eq!(choose_epoch(&reversed), *expected, "the order must not matter: {candidates:?}");
    }
}

#[test]
fn the_ring_gives_keys_for_what_it_holds_and_keeps_the_first_secret() {
    let (id, missing) = (EpochId(Hash::from_bytes([1; 32])), EpochId::default());
    let (first, second) = (EpochSecret::random(&mut rng(1)), EpochSecret::random(&mut rng(2)));
    let mut ring = EpochKeys::new();
    assert!(ring.insert(id, first.clone()));
    assert!(!ring.insert(id, second));
    assert_eq!((ring.get(&id), ring.len(), ring.contains(&missing)), (Some(&first), 1, false));
    assert!(ring.payload_key(&missing, &[0; 32], &[0; 32]).is_none());

    // More authors than the cache holds, twice: each key is still its own author's.
    for author in (0..200).chain(0..200) {
        let sealed = payload_key(&first, &[7; 32], &[author; 32]).seal(&mut rng(3), b"", &[author]).unwrap();
        let key = ring.payload_key(&id, &[7; 32], &[author; 32]).unwrap();
        assert_eq!(key.open(b"", &sealed), Ok(vec![author]));
    }
}
