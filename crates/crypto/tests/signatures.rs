//! One encoding per key, one verdict per signature.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use partita_crypto::{KeyError, Signature, SigningKey, VerifyingKey};
use support::{hex32, rng};

/// The canonical encodings of the 8 points of low order.
const LOW_ORDER: [&str; 8] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
];

#[test]
fn the_eight_low_order_keys_are_refused_as_weak() {
    for key in LOW_ORDER {
        assert_eq!(VerifyingKey::parse(&hex32(key)), Err(KeyError::Weak), "{key}");
    }
}

/// Every encoding that RFC 8032, section 5.1.3 forbids although it may decode: y from p to 2^255 - 1 with both signs,
/// and "negative zero" x, which only y = 1 and y = -1 have.
fn non_canonical() -> Vec<[u8; 32]> {
    let mut keys = Vec::new();
    for low in 0xed..=0xff {
        for high in [0x7f, 0xff] {
            let mut key = [0xff; 32];
            (key[0], key[31]) = (low, high);
            keys.push(key);
        }
    }
    for y in [LOW_ORDER[0], LOW_ORDER[1]] {
        let mut key = hex32(y);
        key[31] |= 0x80;
        keys.push(key);
    }
    keys
}

#[test]
fn every_non_canonical_key_is_refused_also_those_that_the_library_takes() {
    let mut taken_by_library = 0;
    let mut not_even_weak = 0;
    for bytes in non_canonical() {
        let verdict = VerifyingKey::parse(&bytes);
        assert!(verdict.is_err(), "{bytes:02x?}");
        if let Ok(key) = ed25519_dalek::VerifyingKey::from_bytes(&bytes) {
            taken_by_library += 1;
            if !key.is_weak() {
                not_even_weak += 1;
                assert_eq!(verdict, Err(KeyError::NotCanonical), "{bytes:02x?}");
            }
        }
    }
    println!("non-canonical keys: 40, decoded by the library: {taken_by_library}, of these not weak: {not_even_weak}");
    // If these change, the library has: look again at what our own check must do.
    assert_eq!((taken_by_library, not_even_weak), (26, 20));
}

#[test]
fn bytes_that_are_no_point_are_refused() {
    assert_eq!(VerifyingKey::parse(&[2; 32]).is_err(), ed25519_dalek::VerifyingKey::from_bytes(&[2; 32]).is_err());
    let no_point =
        (0..=255).map(|byte| [byte; 32]).find(|bytes| ed25519_dalek::VerifyingKey::from_bytes(bytes).is_err());
    assert_eq!(VerifyingKey::parse(&no_point.unwrap()), Err(KeyError::NotAPoint));
}

#[test]
fn our_own_keys_parse_and_keep_their_bytes() {
    for seed in 0..32 {
        let key = SigningKey::generate(&mut rng(seed)).verifying_key();
        assert_eq!(VerifyingKey::parse(key.as_bytes()), Ok(key));
    }
}

#[test]
fn a_key_survives_its_seed() {
    let key = SigningKey::generate(&mut rng(1));
    assert_eq!(SigningKey::from_seed(&key.seed()).verifying_key(), key.verifying_key());
}

#[test]
fn rfc_8032_test_1_verifies() {
    let key = VerifyingKey::parse(&hex32("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")).unwrap();
    let signature = support::hex(
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    );
    assert_eq!(key.verify_raw(b"", &Signature::from_bytes(signature.try_into().unwrap())), Ok(()));
}

#[test]
fn a_signature_counts_for_its_key_purpose_and_message_only() {
    let (key, other) = (SigningKey::generate(&mut rng(1)), SigningKey::generate(&mut rng(2)));
    let signature = key.sign("test purpose", b"message");
    let public = key.verifying_key();
    assert_eq!(public.verify("test purpose", b"message", &signature), Ok(()));
    assert!(public.verify("test purposes", b"message", &signature).is_err());
    assert!(public.verify("test purpose", b"messages", &signature).is_err());
    // Moving the border between purpose and message does not help.
    assert!(public.verify("test purposem", b"essage", &signature).is_err());
    assert!(public.verify_raw(b"message", &signature).is_err());
    assert!(public.verify_raw(b"test purposemessage", &signature).is_err());
    assert!(other.verifying_key().verify("test purpose", b"message", &signature).is_err());
}

#[test]
fn every_flipped_bit_breaks_a_signature() {
    let key = SigningKey::generate(&mut rng(3));
    let signature = key.sign("test", b"message");
    for bit in 0..512 {
        let mut bytes = *signature.as_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(key.verifying_key().verify("test", b"message", &Signature::from_bytes(bytes)).is_err(), "bit {bit}");
    }
}

#[test]
fn a_signature_with_s_of_l_or_more_is_refused() {
    // L = 2^252 + 27742317777372353535851937790883648493, little-endian.
    const L: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let key = SigningKey::generate(&mut rng(4));
    let mut bytes = *key.sign("test", b"message").as_bytes();
    let mut carry = 0;
    for (byte, add) in bytes[32..].iter_mut().zip(hex32(L)) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = u8::try_from(sum & 0xff).unwrap();
        carry = sum >> 8;
    }
    assert_eq!(carry, 0, "S + L fits into 32 bytes");
    assert!(key.verifying_key().verify("test", b"message", &Signature::from_bytes(bytes)).is_err());
}

#[test]
fn strict_verification_refuses_every_edge_case_of_cctv_that_it_must() {
    let Some(cases) = support::vectors("cctv-ed25519.json") else {
        return;
    };
    let tolerated = BTreeSet::from(["low_order_component_A", "low_order_component_R"]);
    let (mut refused, mut accepted) = (0, 0);
    for case in cases.as_array().unwrap() {
        let flags: BTreeSet<&str> =
            case["flags"].as_array().into_iter().flatten().map(|flag| flag.as_str().unwrap()).collect();
        let signature: [u8; 64] = support::hex(case["sig"].as_str().unwrap()).try_into().unwrap();
        let verdict = VerifyingKey::parse(&hex32(case["key"].as_str().unwrap())).is_ok_and(|key| {
            key.verify_raw(case["msg"].as_str().unwrap().as_bytes(), &Signature::from_bytes(signature)).is_ok()
        });
        assert_eq!(verdict, flags.is_subset(&tolerated), "case {} with {flags:?}", case["number"]);
        if verdict { accepted += 1 } else { refused += 1 }
    }
    println!("cctv ed25519: {refused} refused, {accepted} accepted");
    assert!(refused > 0);
}
