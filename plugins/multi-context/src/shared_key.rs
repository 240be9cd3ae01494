//! The shared write key of an older scheme: it opens sessions, and does nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use bytes::Bytes;
use partita_core::{
    Access, ContextId, ContextInfo, Grant, Signature, Transcript,
    codec::{DecodeError, Reader, Writer},
};
use partita_crypto::{Secret, SigningKey, VerifyingKey};

pub(crate) const PROOF: &str = "partita 2026 v1 multi-context shared write key proof";
const VERSION: u8 = 1;

/// The secret that everybody who may write for an owner has in the older scheme: 32 bytes, the seed of an Ed25519 key.
///
/// It opens sessions. It signs no entry, and never leaves this process. Zeroized when dropped; prints nothing secret.
pub struct SharedWriteKey(SigningKey);

impl SharedWriteKey {
    /// The key of these bytes. Erase your own copy.
    pub fn new(secret: &Secret<32>) -> Self {
        Self(SigningKey::from_seed(secret))
    }

    /// The public half: what the owner certifies.
    pub fn public(&self) -> VerifyingKey {
        self.0.verifying_key()
    }
}

impl fmt::Debug for SharedWriteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedWriteKey(.., {:?})", self.public())
    }
}

/// Why a shared write key is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SharedKeyError {
    /// The owner did not sign this.
    #[error("the owner's signature on the shared write key does not hold: have the key certified again")]
    Signature,
    /// The certificate is another key's.
    #[error("the certificate is not this shared write key's: use the one that was made for it")]
    OtherKey,
    /// The bytes are no certificate.
    #[error("these bytes are not the certificate of a shared write key: look where they come from")]
    Damaged,
}

/// The owner's word that whoever has the shared write key may open sessions for the owner's contexts. Nothing secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedKeyCertificate {
    owner: VerifyingKey,
    key: VerifyingKey,
    signature: Signature,
}

impl SharedKeyCertificate {
    /// The purpose under which the owner signs [`statement`](Self::statement).
    pub const PURPOSE: &'static str = "partita 2026 v1 multi-context shared write key certificate";

    /// How many bytes the encoding has.
    const LEN: usize = 2 * 32 + 64;

    /// What the owner signs for this key. With the single-owner plugin: `SingleOwner::sign_for`.
    pub fn statement(key: &VerifyingKey) -> [u8; 32] {
        *key.as_bytes()
    }

    /// A certificate from the owner's signature.
    ///
    /// # Errors
    /// [`SharedKeyError::Signature`] when the owner did not sign this key.
    pub fn new(owner: VerifyingKey, key: VerifyingKey, signature: Signature) -> Result<Self, SharedKeyError> {
        let holds = owner.verify(Self::PURPOSE, &Self::statement(&key), &signature);
        holds.map(|()| Self { owner, key, signature }).map_err(|_| SharedKeyError::Signature)
    }

    /// Whose contexts it is for.
    pub fn owner(&self) -> VerifyingKey {
        self.owner
    }

    /// Its bytes, to be kept beside the secret.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Writer::with_capacity(Self::LEN);
        self.encode(&mut out);
        out.finish()
    }

    /// A certificate from its bytes.
    ///
    /// # Errors
    /// [`SharedKeyError::Damaged`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SharedKeyError> {
        let mut input = Reader::new(bytes);
        let certificate = Self::decode(&mut input).map_err(|_| SharedKeyError::Damaged)?;
        input.end().map_err(|_| SharedKeyError::Damaged)?;
        Ok(certificate)
    }

    fn encode(&self, out: &mut Writer) {
        out.raw(self.owner.as_bytes());
        out.raw(self.key.as_bytes());
        out.raw(self.signature.as_bytes());
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let key = |bytes| VerifyingKey::parse(&bytes).map_err(|_| DecodeError::Invalid("Ed25519 key"));
        let (owner, shared) = (key(input.array()?)?, key(input.array()?)?);
        let signature = Signature::from_bytes(input.array()?);
        Self::new(owner, shared, signature).map_err(|_| DecodeError::Invalid("owner's signature"))
    }
}

/// The shared keys that this device has, and the owners for whom they are taken from others.
#[derive(Debug, Default)]
pub(crate) struct SharedKeys {
    held: BTreeMap<VerifyingKey, (SharedWriteKey, SharedKeyCertificate)>,
    accepted: BTreeSet<VerifyingKey>,
}

impl SharedKeys {
    pub(crate) fn hold(&mut self, key: SharedWriteKey, by: SharedKeyCertificate) -> Result<(), SharedKeyError> {
        if key.public() != by.key {
            return Err(SharedKeyError::OtherKey);
        }
        self.held.insert(by.owner, (key, by));
        Ok(())
    }

    pub(crate) fn accept(&mut self, owner: VerifyingKey) {
        self.accepted.insert(owner);
    }

    pub(crate) fn refuse(&mut self, owner: &VerifyingKey) {
        self.accepted.remove(owner);
    }

    /// A proof with the key for the owner of this context, if there is one here.
    pub(crate) fn prove(&self, transcript: &Transcript, context: &ContextInfo) -> Option<Bytes> {
        let (key, by) = self.held.values().find(|(_, by)| governs(&by.owner, context))?;
        let signature = key.0.sign(PROOF, &transcript.message(context));
        let mut out = Writer::with_capacity(1 + SharedKeyCertificate::LEN + 64);
        out.u8(VERSION);
        by.encode(&mut out);
        out.raw(signature.as_bytes());
        Some(out.finish())
    }

    /// What a proof with a shared key is granted; `None` when it is none, or its owner is not one for whom it is taken.
    pub(crate) fn verify(&self, transcript: &Transcript, context: &ContextInfo, proof: &[u8]) -> Option<Grant> {
        let mut input = Reader::new(proof);
        if self.accepted.is_empty() || input.u8().ok()? != VERSION {
            return None;
        }
        let by = SharedKeyCertificate::decode(&mut input).ok()?;
        let signature = Signature::from_bytes(input.array().ok()?);
        input.end().ok()?;
        let holds = self.accepted.contains(&by.owner)
            && governs(&by.owner, context)
            && by.key.verify(PROOF, &transcript.message(context), &signature).is_ok();
        holds.then_some(Grant { access: Access::Both })
    }
}

/// The context's id commits to its owner and its kind: nobody else's word counts for it.
fn governs(owner: &VerifyingKey, context: &ContextInfo) -> bool {
    ContextId::derive(&context.kind, owner.as_bytes()) == context.id
}
