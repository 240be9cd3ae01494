//! Verifying: Ed25519 keys that are checked once, and one verdict on which all replicas agree.
//!
//! RFC 8032 leaves room: libraries differ on low-order keys, on several encodings of one point and on the cofactor.
//! A replica id is a key, and a verdict decides what replicates, so there must be exactly one encoding per key and one
//! answer per signature. Hence: keys are parsed strictly, verification is strict, never in a batch (a batch checks the
//! equation times the cofactor, and can accept what a single check refuses).

use std::cmp::Ordering;
use std::fmt;
use std::hash;

use crate::{Signature, hex, keys};

/// A public Ed25519 key that is neither weak nor written in a second way.
///
/// It keeps its decompressed point, since decompressing costs about a tenth of a verification. Equality, order and
/// hash are those of the 32 bytes.
#[derive(Clone, Copy)]
pub struct VerifyingKey(ed25519_dalek::VerifyingKey);

impl VerifyingKey {
    /// Checks a key that came from outside.
    ///
    /// # Errors
    ///
    /// See [`KeyError`]. There is nothing to repair: refuse whatever named the key.
    pub fn parse(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotAPoint)?;
        if key.is_weak() {
            return Err(KeyError::Weak);
        }
        // The library decodes y >= p and "negative zero" x (RFC 8032, section 5.1.3 forbids both) and keeps the bytes
        // that it was given. Compressing the point again gives the one canonical encoding.
        if key.to_edwards().compress().as_bytes() != bytes {
            return Err(KeyError::NotCanonical);
        }
        Ok(Self(key))
    }

    /// The public half of a key of ours: of prime order and canonical by construction.
    pub(crate) fn of_own_key(key: ed25519_dalek::VerifyingKey) -> Self {
        Self(key)
    }

    /// Its bytes, as they are stored and sent.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Whether this key signed `message` for `purpose`.
    ///
    /// # Errors
    ///
    /// [`SignatureError`]: do not use what was signed.
    pub fn verify(&self, purpose: &'static str, message: &[u8], signature: &Signature) -> Result<(), SignatureError> {
        self.verify_raw(&keys::labelled(purpose, message), signature)
    }

    /// Whether this key signed exactly `message`, without a purpose. For test vectors; use [`VerifyingKey::verify`].
    ///
    /// # Errors
    ///
    /// [`SignatureError`]: the signature is not one under the strict rule.
    pub fn verify_raw(&self, message: &[u8], signature: &Signature) -> Result<(), SignatureError> {
        let signature = ed25519_dalek::Signature::from_bytes(signature.as_bytes());
        self.0.verify_strict(message, &signature).map_err(|_| SignatureError)
    }
}

impl AsRef<[u8]> for VerifyingKey {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq for VerifyingKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for VerifyingKey {}

impl PartialOrd for VerifyingKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for VerifyingKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl hash::Hash for VerifyingKey {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(f, self.as_bytes())
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(f, self.as_bytes())
    }
}

/// Why 32 bytes are not a key that we accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The bytes are no point of the curve: damaged, or not a key at all.
    #[error("not an Ed25519 public key")]
    NotAPoint,
    /// A key of low order: anybody can make signatures for it. Nobody has one by accident.
    #[error("a weak Ed25519 public key")]
    Weak,
    /// A second way to write a key. Nobody's software does so by accident.
    #[error("an Ed25519 public key in a non-canonical encoding")]
    NotCanonical,
}

/// The signature is not this key's on this purpose and message. Whatever it covers must not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct SignatureError;
