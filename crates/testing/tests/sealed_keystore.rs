//! Secrets sealed under a key of the application's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use partita_core::{DeviceKeys, Keystore as _, KeystoreError, NamedKeystore, SealedKeystore};
use partita_crypto::Secret;
use partita_testing::MemoryKeystore;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

const SECRET: &[u8] = b"a secret that nobody else should read";

fn sealed(inner: &MemoryKeystore, key: u8) -> SealedKeystore<MemoryKeystore> {
    let rng = Box::new(ChaCha20Rng::from_seed([key; 32]));
    SealedKeystore::new(inner.clone(), &Secret::from_bytes([key; 32]), rng)
}

#[test]
fn what_was_put_comes_back_under_the_same_key() {
    let inner = MemoryKeystore::default();
    let keystore = sealed(&inner, 1);
    assert_eq!(keystore.get("name").unwrap(), None);
    keystore.put("name", SECRET).unwrap();
    keystore.put("empty", b"").unwrap();
    let again = sealed(&inner, 1);
    assert_eq!(&again.get("name").unwrap().unwrap()[..], SECRET);
    assert_eq!(&again.get("empty").unwrap().unwrap()[..], b"");
    keystore.put("name", b"another").unwrap();
    assert_eq!(&again.get("name").unwrap().unwrap()[..], b"another");
}

#[test]
fn a_device_keeps_its_keys_in_it_and_a_part_of_it_is_sealed_too() {
    let inner = MemoryKeystore::default();
    let keystore = sealed(&inner, 1);
    let made = DeviceKeys::create(&keystore, &mut ChaCha20Rng::from_seed([9; 32])).unwrap();
    let part = NamedKeystore::new(&keystore, "work");
    part.put("certificate", SECRET).unwrap();
    let again = sealed(&inner, 1);
    assert_eq!(DeviceKeys::load(&again).unwrap().replica(), made.replica());
    assert_eq!(&NamedKeystore::new(&again, "work").get("certificate").unwrap().unwrap()[..], SECRET);
    let bare = inner.get("work/certificate").unwrap().unwrap();
    assert!(!bare.windows(8).any(|window| SECRET.starts_with(window)));
}

#[test]
fn a_plugin_and_the_engine_can_have_the_same_one() {
    let inner = MemoryKeystore::default();
    let keystore = std::sync::Arc::new(sealed(&inner, 1));
    let made = DeviceKeys::create(&keystore, &mut ChaCha20Rng::from_seed([9; 32])).unwrap();
    assert_eq!(DeviceKeys::load(&keystore.clone()).unwrap().replica(), made.replica());
}

#[test]
fn whoever_forgets_the_seal_is_told_so() {
    let inner = MemoryKeystore::default();
    let keystore = sealed(&inner, 1);
    DeviceKeys::create(&keystore, &mut ChaCha20Rng::from_seed([9; 32])).unwrap();
    assert_eq!(DeviceKeys::load(&inner).unwrap_err(), KeystoreError::Sealed);
    let (bare, sealed) = (MemoryKeystore::default(), |bare: &MemoryKeystore| sealed(bare, 1));
    DeviceKeys::create(&bare, &mut ChaCha20Rng::from_seed([9; 32])).unwrap();
    let error = DeviceKeys::load(&sealed(&bare)).unwrap_err().to_string();
    assert!(error.contains("is not sealed"), "{error}");
}

#[test]
fn nothing_of_a_secret_is_in_the_keystore_underneath() {
    let inner = MemoryKeystore::default();
    sealed(&inner, 1).put("name", SECRET).unwrap();
    let kept = inner.get("name").unwrap().unwrap();
    for piece in SECRET.windows(4) {
        assert!(!kept.windows(4).any(|window| window == piece));
    }
    sealed(&inner, 2).put("name", SECRET).unwrap();
    let other = inner.get("name").unwrap().unwrap();
    assert_ne!(kept, other);
    // Two secrets that are alike do not look alike.
    let keystore = sealed(&inner, 1);
    keystore.put("one", SECRET).unwrap();
    keystore.put("two", SECRET).unwrap();
    let (one, two) = (inner.get("one").unwrap().unwrap(), inner.get("two").unwrap().unwrap());
    assert!(!one[24..].windows(16).any(|window| two[24..].windows(16).any(|other| window == other)));
}

#[test]
fn a_wrong_key_is_told_from_damage() {
    let inner = MemoryKeystore::default();
    sealed(&inner, 1).put("name", SECRET).unwrap();
    let refused = sealed(&inner, 2).get("name").unwrap_err();
    assert_eq!(refused, KeystoreError::Locked);
    assert!(refused.to_string().contains("does not open with this key"));
    assert!(matches!(DeviceKeys::load(&sealed(&inner, 2)), Err(KeystoreError::Missing(_))));
    inner.put("plain", SECRET).unwrap();
    assert!(matches!(sealed(&inner, 1).get("plain"), Err(KeystoreError::Damaged(_))));
}

#[test]
fn a_secret_under_another_name_does_not_open() {
    let inner = MemoryKeystore::default();
    let keystore = sealed(&inner, 1);
    keystore.put("one", SECRET).unwrap();
    keystore.put("two", b"another").unwrap();
    let (one, two) = (inner.get("one").unwrap().unwrap(), inner.get("two").unwrap().unwrap());
    inner.put("one", &two).unwrap();
    inner.put("two", &one).unwrap();
    for name in ["one", "two"] {
        assert!(matches!(keystore.get(name), Err(KeystoreError::Damaged(_))), "{name}");
    }
}

#[test]
fn a_changed_byte_or_a_cut_end_is_noticed() {
    let inner = MemoryKeystore::default();
    let keystore = sealed(&inner, 1);
    keystore.put("name", SECRET).unwrap();
    let kept = inner.get("name").unwrap().unwrap();
    for at in 0..kept.len() {
        let mut changed = kept.to_vec();
        changed[at] ^= 1;
        inner.put("name", &changed).unwrap();
        let refused = keystore.get("name");
        assert!(matches!(refused, Err(KeystoreError::Damaged(_) | KeystoreError::Locked)), "byte {at}");
        inner.put("name", &kept[..at]).unwrap();
        assert!(matches!(keystore.get("name"), Err(KeystoreError::Damaged(_))), "cut at {at}");
    }
}
