//! Both sides of the plugin keep what every strategy promises.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is a finding

use partita_core::{ContextId, ContextInfo, ContextKind, DeviceKeys};
use partita_crypto::Mnemonic;
use partita_single_owner::{PLAIN_KIND, SEALED_KIND, SingleOwner, SingleOwnerRelay};
use partita_testing::{
    MemoryKeystore, samples,
    strategy_conformance::{Side, Subject, assert_conformant},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};

/// A device of whoever has these words.
fn device(words: &Mnemonic, seed: u64) -> Side {
    let keystore = MemoryKeystore::default();
    let request = SingleOwner::request(&keystore, &mut ChaCha20Rng::seed_from_u64(seed)).unwrap();
    SingleOwner::accept(&keystore, &SingleOwner::certify(words, &request)).unwrap();
    let key = DeviceKeys::load(&keystore).unwrap().signing;
    Side::new(key, move || SingleOwner::open(&keystore).unwrap().with_plain())
}

fn owner(seed: u64) -> (Mnemonic, Vec<ContextInfo>) {
    let (owner, words) =
        SingleOwner::create(&MemoryKeystore::default(), &mut ChaCha20Rng::seed_from_u64(seed)).unwrap();
    let context = |name: &str| {
        let kind = ContextKind::new(name).unwrap();
        ContextInfo { id: ContextId::derive(&kind, owner.owner().as_bytes()), kind }
    };
    (words, vec![context(SEALED_KIND), context(PLAIN_KIND)])
}

#[test]
fn a_device_keeps_what_every_strategy_promises() {
    let ((words, contexts), (other, _), (_, third)) = (owner(1), owner(2), owner(3));
    let subject = Subject::new(device(&words, 11), device(&words, 12), device(&other, 13), contexts, third[0].clone());
    assert_conformant(
        &subject.losing(move |owner: &mut SingleOwner, turn, who| owner.revoke(turn, &words, who).unwrap()),
    );
}

#[test]
fn a_relay_keeps_what_every_strategy_promises() {
    let ((words, contexts), (other, _), (_, third)) = (owner(1), owner(2), owner(3));
    let relay = Side::new(samples::signing_key(1), SingleOwnerRelay::new);
    let subject = Subject::new(relay, device(&words, 12), device(&other, 13), contexts, third[0].clone());
    assert_conformant(&subject.relay().losing(|owner: &mut SingleOwner, turn, _| owner.retire(turn).unwrap()));
}
