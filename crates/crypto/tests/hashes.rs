//! Hashes and derived keys mean one thing each.

#![allow(clippy::unwrap_used)]

mod support;

use partita_crypto::{Hash, Hasher, KdfError, Secret, derive, hash, hkdf_sha256};
use support::hex32;

#[test]
fn the_hash_is_blake3_in_key_derivation_mode() {
    // From the test vectors of BLAKE3, for empty input.
    let expected = hex32("2cc39783c223154fea8dfb7c1b1660f2ac2dcbd1c1de8277b0b0dd39b7e50d7d");
    assert_eq!(hash("BLAKE3 2019-12-27 16:29:52 test vectors context", &[]), Hash::from_bytes(expected));
}

#[test]
fn one_input_under_two_domains_has_two_hashes() {
    assert_ne!(hash("test domain a", &[b"x"]), hash("test domain b", &[b"x"]));
}

#[test]
fn cutting_the_input_into_pieces_changes_nothing() {
    let mut streaming = Hasher::new("test");
    streaming.update(b"a");
    streaming.update(b"bc");
    assert_eq!(streaming.finish(), hash("test", &[b"ab", b"", b"c"]));
}

#[test]
fn a_hash_prints_as_hexadecimal() {
    assert_eq!(format!("{:?}", Hash::from_bytes([0xa0; 32])), "a0".repeat(32));
    assert_eq!(Hash::ZERO, Hash::default());
}

#[test]
fn a_derived_key_is_what_rfc_5869_says() {
    let ikm = Secret::from_bytes([7; 32]);
    let mut info = Vec::new();
    for part in [b"test".as_slice(), b"one", b""] {
        info.extend_from_slice(&u64::try_from(part.len()).unwrap().to_le_bytes());
        info.extend_from_slice(part);
    }
    let mut expected = [0; 32];
    hkdf_sha256(ikm.expose(), &[], &info, &mut expected).unwrap();
    assert_eq!(derive(&ikm, "test", &[b"one", b""]).expose(), &expected);
}

#[test]
fn derived_keys_differ_by_secret_by_domain_and_by_where_parts_end() {
    let ikm = Secret::from_bytes([7; 32]);
    let keys = [
        derive(&ikm, "test", &[b"ab", b"c"]),
        derive(&ikm, "test", &[b"a", b"bc"]),
        derive(&ikm, "test", &[b"abc"]),
        derive(&ikm, "test", &[b"abc", b""]),
        derive(&ikm, "testa", &[b"bc"]),
        derive(&Secret::from_bytes([8; 32]), "test", &[b"abc"]),
    ];
    for (index, key) in keys.iter().enumerate() {
        assert!(keys.iter().skip(index + 1).all(|other| other != key), "key {index} came twice");
    }
}

#[test]
fn hkdf_refuses_more_than_it_can_give() {
    assert_eq!(hkdf_sha256(b"ikm", b"", b"", &mut vec![0; 8160]), Ok(()));
    assert_eq!(hkdf_sha256(b"ikm", b"", b"", &mut vec![0; 8161]), Err(KdfError::TooLong));
}
