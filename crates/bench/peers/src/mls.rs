//! MLS (RFC 9420), as openmls has it.

use std::{
    error::Error,
    time::{Duration, Instant},
};

use openmls::prelude::{
    BasicCredential, Ciphersuite, CredentialWithKey, KeyPackage, LeafNodeIndex, LeafNodeParameters, MlsGroup,
    MlsGroupCreateConfig, MlsMessageBodyIn, MlsMessageIn, MlsMessageOut, PURE_PLAINTEXT_WIRE_FORMAT_POLICY,
    ProcessedMessageContent, ProtocolMessage, StagedWelcome, tls_codec::DeserializeBytes as _,
};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use openmls_traits::OpenMlsProvider as _;

const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519;

struct Member {
    provider: OpenMlsRustCrypto,
    signer: SignatureKeyPair,
    credential: CredentialWithKey,
}

impl Member {
    fn new(name: String) -> Result<Self, Box<dyn Error>> {
        let signer = SignatureKeyPair::new(SUITE.signature_algorithm())?;
        let credential = BasicCredential::new(name.into_bytes()).into();
        let credential = CredentialWithKey { credential, signature_key: signer.to_public_vec().into() };
        Ok(Self { provider: OpenMlsRustCrypto::default(), signer, credential })
    }
}

fn read(message: &MlsMessageOut) -> Result<MlsMessageBodyIn, Box<dyn Error>> {
    Ok(MlsMessageIn::tls_deserialize_exact_bytes(&message.to_bytes()?)?.extract())
}

/// A commit that removes one of the middle, until it is its author's own state.
pub(crate) fn removals(n: usize, rounds: usize) -> Result<Vec<Duration>, Box<dyn Error>> {
    let config = MlsGroupCreateConfig::builder()
        .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
        .ciphersuite(SUITE)
        .use_ratchet_tree_extension(true)
        .build();
    let admin = Member::new("admin".into())?;
    let mut group = MlsGroup::new(&admin.provider, &admin.signer, &config, admin.credential.clone())?;
    for number in 1..n {
        let member = Member::new(format!("member {number}"))?;
        let card = KeyPackage::builder().build(SUITE, &member.provider, &member.signer, member.credential.clone())?;
        let (_, welcome, _) = group.add_members(&admin.provider, &admin.signer, &[card.key_package().clone()])?;
        group.merge_pending_commit(&admin.provider)?;
        let MlsMessageBodyIn::Welcome(welcome) = read(&welcome)? else {
            return Err("a welcome is none".into());
        };
        let staged = StagedWelcome::new_from_welcome(&member.provider, config.join_config(), welcome, None)?;
        let mut theirs = staged.into_group(&member.provider)?;
        let said = theirs.self_update(&member.provider, &member.signer, LeafNodeParameters::default())?.into_commit();
        let MlsMessageBodyIn::PublicMessage(said) = read(&said)? else {
            return Err("a commit is none".into());
        };
        let heard = group.process_message(&admin.provider, ProtocolMessage::from(said))?;
        let ProcessedMessageContent::StagedCommitMessage(commit) = heard.into_content() else {
            return Err("a commit is none".into());
        };
        group.merge_staged_commit(&admin.provider, *commit)?;
    }
    let mut took = Vec::with_capacity(rounds);
    let id = group.group_id().clone();
    let kept = admin.provider.storage().values.read().map_err(|_| "the storage is poisoned")?.clone();
    for round in 0..rounds {
        *admin.provider.storage().values.write().map_err(|_| "the storage is poisoned")? = kept.clone();
        let mut group = MlsGroup::load(admin.provider.storage(), &id)?.ok_or("the group is not stored")?;
        let gone = LeafNodeIndex::new((n / 2 + round % (n / 4)) as u32);
        let began = Instant::now();
        let made = group.remove_members(&admin.provider, &admin.signer, &[gone])?;
        group.merge_pending_commit(&admin.provider)?;
        took.push(began.elapsed());
        if group.members().count() != n - 1 {
            return Err("nobody was removed".into());
        }
        std::hint::black_box(made);
    }
    Ok(took)
}
