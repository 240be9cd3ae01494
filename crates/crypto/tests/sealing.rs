//! Sealed bytes and boxes open where they belong and nowhere else.

#![allow(clippy::unwrap_used)]

mod support;

use partita_crypto::{
    AeadError, AeadKey, BOX_OVERHEAD, BoxError, BoxPublicKey, BoxSecretKey, OVERHEAD, Secret, open_box, seal_box,
    x25519,
};
use support::{hex32, rng};

fn key(seed: u8) -> AeadKey {
    AeadKey::from_secret(&Secret::random(&mut rng(seed)))
}

#[test]
fn sealed_bytes_open_again() {
    for len in [0, 1, 63, 64, 65, 10_000] {
        let plain = vec![7; len];
        let sealed = key(1).seal(&mut rng(2), b"aad", &plain).unwrap();
        assert_eq!(sealed.len(), len + OVERHEAD);
        assert_eq!(key(1).open(b"aad", &sealed), Ok(plain));
    }
    assert_eq!(OVERHEAD, 40);
}

#[test]
fn a_wrong_key_aad_or_nonce_does_not_open() {
    let sealed = key(1).seal(&mut rng(2), b"aad", b"plain").unwrap();
    assert_eq!(key(2).open(b"aad", &sealed), Err(AeadError::Refused));
    assert_eq!(key(1).open(b"aae", &sealed), Err(AeadError::Refused));
    assert_eq!(key(1).open(b"", &sealed), Err(AeadError::Refused));
    assert_eq!(key(1).open_with_nonce(&[0; 24], b"aad", &sealed[24..]), Err(AeadError::Refused));
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let sealed = key(1).seal(&mut rng(2), b"aad", b"plain").unwrap();
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(key(1).open(b"aad", &changed), Err(AeadError::Refused), "bit {bit}");
    }
    for len in 0..sealed.len() {
        let expected = if len < OVERHEAD { AeadError::TooShort } else { AeadError::Refused };
        assert_eq!(key(1).open(b"aad", &sealed[..len]), Err(expected), "{len} bytes");
    }
}

#[test]
fn two_seals_of_one_payload_share_no_nonce() {
    let mut rng = rng(2);
    let (a, b) = (key(1).seal(&mut rng, b"", b"x").unwrap(), key(1).seal(&mut rng, b"", b"x").unwrap());
    assert_ne!(a[..24], b[..24]);
    assert_ne!(a[24..], b[24..]);
}

#[test]
fn low_order_box_keys_are_refused_and_so_is_every_second_name_of_a_key() {
    let canonical = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ]
    .map(hex32);
    for low in canonical {
        assert_eq!(BoxPublicKey::parse(&low), Err(BoxError::LowOrder), "{low:02x?}");
        let mut other_name = low;
        other_name[31] |= 0x80;
        assert_eq!(BoxPublicKey::parse(&other_name), Err(BoxError::NotCanonical), "{other_name:02x?}");
        for name in [low, other_name] {
            assert!(x25519(&Secret::random(&mut rng(1)), &name).is_err(), "{name:02x?}");
        }
    }
    for above in 0xed..=0xff {
        let mut key = [0xff; 32];
        (key[0], key[31]) = (above, 0x7f);
        assert_eq!(BoxPublicKey::parse(&key), Err(BoxError::NotCanonical), "{key:02x?}");
    }
    let honest = BoxSecretKey::generate(&mut rng(1)).public();
    assert_eq!(BoxPublicKey::parse(honest.as_bytes()), Ok(honest));
}

#[test]
fn a_box_opens_for_its_recipient_info_and_aad_only() {
    let (bob, eve) = (BoxSecretKey::generate(&mut rng(1)), BoxSecretKey::generate(&mut rng(2)));
    let sealed = seal_box(&mut rng(3), &bob.public(), b"info", b"aad", b"plain").unwrap();
    assert_eq!(sealed.len(), 5 + BOX_OVERHEAD);
    assert_eq!(open_box(&bob, b"info", b"aad", &sealed).unwrap().as_slice(), b"plain");
    for (key, info, aad) in [(&eve, b"info", b"aad"), (&bob, b"inf0", b"aad"), (&bob, b"info", b"aae")] {
        assert_eq!(open_box(key, info, aad, &sealed), Err(BoxError::Refused));
    }
    assert_eq!(BoxSecretKey::from_secret(bob.secret()).public(), bob.public());
}

#[test]
fn a_damaged_box_is_refused() {
    let bob = BoxSecretKey::generate(&mut rng(1));
    let sealed = seal_box(&mut rng(3), &bob.public(), b"info", b"aad", b"plain").unwrap();
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(open_box(&bob, b"info", b"aad", &changed).is_err(), "bit {bit}");
    }
    for len in 0..sealed.len() {
        assert!(open_box(&bob, b"info", b"aad", &sealed[..len]).is_err(), "{len} bytes");
    }
    // An encapsulated key of low order would make the shared secret public.
    let mut low = sealed;
    low[..32].fill(0);
    assert_eq!(open_box(&bob, b"info", b"aad", &low), Err(BoxError::Refused));
}
