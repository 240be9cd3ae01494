//! The right to open a context, proved in a session.

use partita_core::{
    Access, AuthProvider as _, ContextInfo, Grant, Incarnation, PartitionStrategy as _, PeerInfo, Refusal,
    RemoteContext, SessionId, Transcript,
};
use partita_crypto::VerifyingKey;

use super::net::{Device, NOW, settle};
use crate::SingleOwnerRelay;

const SESSION: Transcript = Transcript { handshake: [1; 32], prover_dialled: true, remote_pinned: false };

fn sealed(device: &Device) -> ContextInfo {
    device.strategy.contexts().remove(0)
}

fn key(device: &Device) -> VerifyingKey {
    VerifyingKey::parse(device.replica.as_bytes()).unwrap()
}

fn peer(device: &Device, pinned: bool) -> PeerInfo {
    PeerInfo { session: SessionId(7), replica: device.replica, incarnation: Incarnation::default(), pinned }
}

/// Failure mode 4: a proof cannot be made, changed or replayed by whoever has not the key.
#[test]
fn a_proof_holds_in_its_own_session_context_and_direction_alone() {
    let (laptop, mnemonic) = Device::first(1);
    let phone = Device::more(&mnemonic, 2);
    let (phone, laptop) = (Device::of(phone.strategy.with_plain(), 2), Device::of(laptop.strategy.with_plain(), 1));
    let [sealed, plain] = [0, 1].map(|at| phone.strategy.contexts()[at].clone());
    let proof = phone.strategy.prove(&SESSION, &sealed).unwrap();
    let both = Ok(Grant { access: Access::Both });
    let relay = SingleOwnerRelay::new();
    let verifiers: [&dyn partita_core::AuthProvider; 2] = [laptop.strategy.auth(), relay.auth()];
    for verifier in verifiers {
        assert_eq!(verifier.verify(NOW, &SESSION, &key(&phone), &sealed, &proof), both);
        let replayed = Transcript { handshake: [2; 32], ..SESSION };
        assert_eq!(verifier.verify(NOW, &replayed, &key(&phone), &sealed, &proof), Err(Refusal::BadProof));
        let reflected = Transcript { prover_dialled: false, ..SESSION };
        assert_eq!(verifier.verify(NOW, &reflected, &key(&phone), &sealed, &proof), Err(Refusal::BadProof));
        assert_eq!(verifier.verify(NOW, &SESSION, &key(&phone), &plain, &proof), Err(Refusal::BadProof));
        assert_eq!(verifier.verify(NOW, &SESSION, &key(&laptop), &sealed, &proof), Err(Refusal::BadProof));
        assert_eq!(verifier.verify(NOW, &SESSION, &key(&phone), &sealed, &[]), Err(Refusal::BadProof));
        for at in 0..proof.len() {
            let mut bad = proof.to_vec();
            bad[at] ^= 1;
            assert_eq!(
                verifier.verify(NOW, &SESSION, &key(&phone), &sealed, &bad),
                Err(Refusal::BadProof),
                "byte {at}"
            );
        }
    }
    let mislabelled = ContextInfo { id: plain.id, kind: sealed.kind.clone() };
    assert_eq!(relay.verify(NOW, &SESSION, &key(&phone), &mislabelled, &proof), Err(Refusal::BadProof));
}

#[test]
fn a_brief_proof_holds_where_the_certificate_lies_among_the_control_entries() {
    let (mut laptop, mnemonic) = Device::first(1);
    let mut phone = Device::more(&mnemonic, 2);
    let context = sealed(&laptop);
    assert_eq!(phone.strategy.prove_briefly(&SESSION, &context), None, "nobody can have its certificate yet");
    settle(&mut [&mut laptop, &mut phone]);
    let proof = phone.strategy.prove_briefly(&SESSION, &context).unwrap();
    assert_eq!(proof.len(), 64);
    let verify =
        |transcript: &Transcript, proof: &[u8]| laptop.strategy.verify(NOW, transcript, &key(&phone), &context, proof);
    assert_eq!(verify(&SESSION, &proof), Ok(Grant { access: Access::Both }));
    assert_eq!(verify(&Transcript { handshake: [2; 32], ..SESSION }, &proof), Err(Refusal::BadProof));
    assert_eq!(verify(&Transcript { prover_dialled: false, ..SESSION }, &proof), Err(Refusal::BadProof));
    for at in 0..proof.len() {
        let mut bad = proof.to_vec();
        bad[at] ^= 1;
        assert_eq!(verify(&SESSION, &bad), Err(Refusal::BadProof), "byte {at}");
    }
    // A relay that was wiped, and a device that never synced: they are told to be shown the certificate.
    assert_eq!(
        SingleOwnerRelay::new().verify(NOW, &SESSION, &key(&phone), &context, &proof),
        Err(Refusal::NeedControl)
    );
    let newcomer = Device::more(&mnemonic, 3);
    assert_eq!(newcomer.strategy.verify(NOW, &SESSION, &key(&phone), &context, &proof), Err(Refusal::NeedControl));

    laptop.revoke(&mnemonic, phone.replica);
    assert_eq!(laptop.strategy.verify(NOW, &SESSION, &key(&phone), &context, &proof), Err(Refusal::Revoked));
}

#[test]
fn only_a_pinned_relay_needs_no_proof() {
    let (laptop, _) = Device::first(1);
    let (relay_device, _) = Device::first(2);
    let pinned = Transcript { remote_pinned: true, ..SESSION };
    let context = sealed(&laptop);
    let grant = laptop.strategy.verify(NOW, &pinned, &key(&relay_device), &context, &[]);
    assert_eq!(grant, Ok(Grant { access: Access::Both }));
    assert_eq!(laptop.strategy.verify(NOW, &SESSION, &key(&relay_device), &context, &[]), Err(Refusal::BadProof));
    assert_eq!(
        SingleOwnerRelay::new().verify(NOW, &pinned, &key(&relay_device), &context, &[]),
        Err(Refusal::BadProof)
    );
}

#[test]
fn another_owners_device_has_no_right_here() {
    let (laptop, _) = Device::first(1);
    let (stranger, _) = Device::first(2);
    let (mine, theirs) = (sealed(&laptop), sealed(&stranger));
    assert!(stranger.strategy.prove(&SESSION, &mine).is_err());
    let proof = stranger.strategy.prove(&SESSION, &theirs).unwrap();
    assert_eq!(laptop.strategy.verify(NOW, &SESSION, &key(&stranger), &mine, &proof), Err(Refusal::BadProof));
    assert_eq!(laptop.strategy.verify(NOW, &SESSION, &key(&stranger), &theirs, &proof), Err(Refusal::Denied));
    assert_eq!(SingleOwnerRelay::new().verify(NOW, &SESSION, &key(&stranger), &mine, &proof), Err(Refusal::BadProof));
}

#[test]
fn who_may_sync_changes_with_a_revocation() {
    let (mut laptop, mnemonic) = Device::first(1);
    let mut phone = Device::more(&mnemonic, 2);
    settle(&mut [&mut laptop, &mut phone]);
    let context = sealed(&laptop);
    let remote =
        |grant, pinned| RemoteContext { id: context.id, kind: context.kind.clone(), peer: peer(&phone, pinned), grant };
    let grant = Some(Grant { access: Access::Both });
    let targets = |laptop: &Device, pinned| {
        let mut out = Vec::new();
        laptop.strategy.filter_targets(&context.id, &[peer(&phone, pinned)], &mut out);
        out
    };
    assert_eq!(laptop.strategy.should_sync(&context, &remote(grant, false)), Access::Both);
    assert_eq!(laptop.strategy.should_sync(&context, &remote(None, true)), Access::Both);
    assert_eq!(laptop.strategy.should_sync(&context, &remote(None, false)), Access::Refused(Refusal::Denied));
    assert_eq!(targets(&laptop, false), [SessionId(7)]);
    let plain = Device::first(1).0.strategy.with_plain().contexts().remove(1);
    let other = RemoteContext { id: plain.id, kind: plain.kind.clone(), ..remote(grant, false) };
    assert_eq!(laptop.strategy.should_sync(&plain, &other), Access::Refused(Refusal::UnknownKind));
    let swapped = RemoteContext { id: plain.id, ..remote(grant, true) };
    assert_eq!(laptop.strategy.should_sync(&context, &swapped), Access::Refused(Refusal::Denied));

    laptop.revoke(&mnemonic, phone.replica);
    let revoked = Access::Refused(Refusal::Revoked);
    assert_eq!(laptop.strategy.should_sync(&context, &remote(grant, false)), revoked);
    assert_eq!(laptop.strategy.should_sync(&context, &remote(grant, true)), revoked);
    assert_eq!(targets(&laptop, true), []);
    let proof = phone.strategy.prove(&SESSION, &context).unwrap();
    assert_eq!(laptop.strategy.verify(NOW, &SESSION, &key(&phone), &context, &proof), Err(Refusal::Revoked));
}
