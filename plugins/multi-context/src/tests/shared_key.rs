//! The shared write key opens sessions where it is switched on, for its owner's contexts, and does nothing else.

use partita_core::{Access, AuthProvider as _, ContextInfo, PartitionStrategy as _, Refusal, Transcript, Verdict};
use partita_crypto::{Mnemonic, Secret, SigningKey, VerifyingKey};
use partita_single_owner::{SEALED_KIND, SingleOwner, SingleOwnerRelay};
use partita_testing::MemoryKeystore;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};

use super::{NOW, TRANSCRIPT, bring, key, kind, memory::Club, remote};
use crate::{MultiContext, SharedKeyCertificate, SharedKeyError, SharedWriteKey, shared_key::PROOF};

const SECRET: [u8; 32] = [0xc3; 32];

struct Owner {
    words: Mnemonic,
    key: VerifyingKey,
    context: ContextInfo,
}

fn owner(seed: u64) -> Owner {
    let (owner, words) =
        SingleOwner::create(&MemoryKeystore::default(), &mut ChaCha20Rng::seed_from_u64(seed)).unwrap();
    let context = ContextInfo { id: owner.context(), kind: kind(SEALED_KIND) };
    Owner { key: owner.owner(), words, context }
}

fn certified(owner: &Owner) -> (SharedWriteKey, SharedKeyCertificate) {
    let shared = SharedWriteKey::new(&Secret::from_bytes(SECRET));
    let statement = SharedKeyCertificate::statement(&shared.public());
    let (by, signature) = SingleOwner::sign_for(&owner.words, SharedKeyCertificate::PURPOSE, &statement).unwrap();
    let certificate = SharedKeyCertificate::new(by, shared.public(), signature).unwrap();
    (shared, certificate)
}

/// A remote without a certificate of its own, which has the key; and what it shows.
fn holder(owner: &Owner) -> (MultiContext, Vec<u8>) {
    let mut multi = MultiContext::new().with(SingleOwnerRelay::new());
    let (shared, certificate) = certified(owner);
    multi.hold_shared_key(shared, certificate).unwrap();
    multi.adopt(&owner.context, None);
    let proof = multi.prove(&TRANSCRIPT, &owner.context).unwrap();
    (multi, proof.to_vec())
}

fn relay() -> MultiContext {
    MultiContext::new().with(SingleOwnerRelay::new())
}

#[test]
fn it_opens_its_owners_contexts_where_it_is_switched_on_and_nowhere_else() {
    let (owner, other) = (owner(1), owner(2));
    let (_, proof) = holder(&owner);
    let verify = |multi: &MultiContext, context| multi.verify(NOW, &TRANSCRIPT, &key(66), context, &proof);
    assert_eq!(verify(&relay(), &owner.context), Err(Refusal::BadProof), "off unless the application says so");
    let for_other = relay().accept_shared_key(other.key);
    assert_eq!(verify(&for_other, &owner.context), Err(Refusal::BadProof), "for another owner");
    let mut on = relay().accept_shared_key(owner.key).accept_shared_key(other.key);
    assert_eq!(verify(&on, &owner.context).unwrap().access, Access::Both);
    assert!(verify(&on, &other.context).is_err(), "the id of that context commits to another owner");
    on.refuse_shared_key(&owner.key);
    assert!(verify(&on, &owner.context).is_err(), "and off again");
}

#[test]
fn the_key_of_one_owner_opens_nothing_of_another_however_well_the_proof_is_made() {
    let (owner, other) = (owner(1), owner(2));
    let forge = |context| {
        let secret = SigningKey::from_seed(&Secret::from_bytes(SECRET));
        let signature = secret.sign(PROOF, &TRANSCRIPT.message(context));
        [&[1], &certified(&owner).1.to_bytes()[..], signature.as_bytes()].concat()
    };
    let on = relay().accept_shared_key(owner.key).accept_shared_key(other.key);
    let verify = |context| on.verify(NOW, &TRANSCRIPT, &key(66), context, &forge(context));
    assert!(verify(&owner.context).is_ok());
    assert_eq!(verify(&other.context), Err(Refusal::BadProof));
}

#[test]
fn it_brings_a_context_to_a_relay() {
    let owner = owner(1);
    let (_, proof) = holder(&owner);
    // Another strategy of the kind, which would not sync it, and a second one that would: the first of the two has it.
    let (another, _) = SingleOwner::create(&MemoryKeystore::default(), &mut ChaCha20Rng::seed_from_u64(9)).unwrap();
    let mut on = MultiContext::new().with(another).with(SingleOwnerRelay::new()).with(SingleOwnerRelay::new());
    on = on.accept_shared_key(owner.key);
    assert!(bring(&mut on, &owner.context, 66, &proof));
    let mut granted = remote(&owner.context, 66);
    assert!(!on.should_sync(&owner.context, &granted).reads(), "nothing without a grant");
    granted.grant = on.verify(NOW, &TRANSCRIPT, &key(66), &owner.context, &proof).ok();
    assert_eq!(on.should_sync(&owner.context, &granted), Access::Both);
}

#[test]
fn whom_the_strategy_shuts_out_by_name_it_does_not_let_in() {
    let owner = owner(1);
    let (_, proof) = holder(&owner);
    let says = |why| Club::new(b'a', SEALED_KIND, []).with(Access::Both, why, Verdict::Accept);
    let verify = |why| {
        let multi = MultiContext::new().with(says(why).naming(owner.context.clone())).accept_shared_key(owner.key);
        multi.verify(NOW, &TRANSCRIPT, &key(66), &owner.context, &proof)
    };
    assert!(verify(Refusal::Denied).is_ok());
    assert_eq!(verify(Refusal::Revoked), Err(Refusal::Revoked));
}

#[test]
fn its_proof_is_good_for_one_session_one_direction_and_one_context() {
    let owner = owner(1);
    let (holder, proof) = holder(&owner);
    let on = relay().accept_shared_key(owner.key);
    let another = Transcript { handshake: [8; 32], ..TRANSCRIPT };
    let reflected = Transcript { prover_dialled: false, ..TRANSCRIPT };
    for transcript in [another, reflected] {
        assert_eq!(on.verify(NOW, &transcript, &key(66), &owner.context, &proof), Err(Refusal::BadProof));
    }
    let plain = kind("single-owner/plain");
    let plain = ContextInfo { id: partita_core::ContextId::derive(&plain, owner.key.as_bytes()), kind: plain };
    assert!(on.verify(NOW, &TRANSCRIPT, &key(66), &plain, &proof).is_err(), "the owner's other context");
    let for_plain = holder.prove(&TRANSCRIPT, &plain).unwrap();
    assert!(on.verify(NOW, &TRANSCRIPT, &key(66), &plain, &for_plain).is_ok());
    for at in 0..proof.len() {
        let mut changed = proof.clone();
        changed[at] ^= 1;
        assert!(on.verify(NOW, &TRANSCRIPT, &key(66), &owner.context, &changed).is_err(), "byte {at}");
        assert!(on.verify(NOW, &TRANSCRIPT, &key(66), &owner.context, &proof[..at]).is_err(), "cut at {at}");
    }
    assert!(on.verify(NOW, &TRANSCRIPT, &key(66), &owner.context, &[&proof[..], b"x"].concat()).is_err());
}

#[test]
fn the_registered_provider_comes_first() {
    let keystore = MemoryKeystore::default();
    let (owner, words) = SingleOwner::create(&keystore, &mut ChaCha20Rng::seed_from_u64(1)).unwrap();
    let context = ContextInfo { id: owner.context(), kind: kind(SEALED_KIND) };
    let registered = owner.prove(&TRANSCRIPT, &context).unwrap();
    let (shared, certificate) = certified(&Owner { words, key: owner.owner(), context: context.clone() });
    let mut multi = MultiContext::new().with(owner);
    multi.hold_shared_key(shared, certificate).unwrap();
    assert_eq!(multi.prove(&TRANSCRIPT, &context).unwrap(), registered, "a certified device shows its certificate");
}

#[test]
fn it_writes_nothing_and_its_secret_is_in_nothing_that_leaves() {
    let owner = owner(1);
    let (holder, proof) = holder(&owner);
    assert!(holder.epoch(&owner.context.id).is_err(), "there is no writing with it");
    let text = format!("{holder:?}");
    let half = |bytes: &[u8]| SECRET.windows(8).any(|part| bytes.windows(8).any(|found| found == part));
    assert!(!half(&proof) && !half(&certified(&owner).1.to_bytes()));
    assert!(!text.contains("c3c3c3") && !text.contains("195, 195"), "{text}");
}

#[test]
fn a_certificate_is_the_owners_for_this_key() {
    let (owner, other) = (owner(1), owner(2));
    let (shared, certificate) = certified(&owner);
    let bytes = certificate.to_bytes();
    assert_eq!(SharedKeyCertificate::from_bytes(&bytes), Ok(certificate.clone()));
    assert_eq!(SharedKeyCertificate::from_bytes(&bytes[1..]), Err(SharedKeyError::Damaged));
    let statement = SharedKeyCertificate::statement(&shared.public());
    let (_, signature) = SingleOwner::sign_for(&other.words, SharedKeyCertificate::PURPOSE, &statement).unwrap();
    let forged = SharedKeyCertificate::new(owner.key, shared.public(), signature);
    assert_eq!(forged, Err(SharedKeyError::Signature));
    let another = SharedWriteKey::new(&Secret::from_bytes([1; 32]));
    assert_eq!(relay().hold_shared_key(another, certificate), Err(SharedKeyError::OtherKey));
    let own = SingleOwner::sign_for(&owner.words, "partita 2026 v1 single-owner certificate", &[0; 128]);
    assert!(own.is_err(), "the owner's words certify devices in their own way only");
}
