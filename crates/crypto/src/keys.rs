//! Signing: Ed25519 (RFC 8032), always under a purpose.
//!
//! A signature covers a purpose label and the message. A device signs many things (entries, handshakes, certificates)
//! with one key; without the label a signature on one could be shown as a signature on another.

use std::fmt;

use ed25519_dalek::Signer as _;
use rand_core::CryptoRng;

use crate::{Secret, VerifyingKey, hex, lengths};

/// A device's or an owner's signing key. Zeroized when dropped; prints nothing secret.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// The key of a seed (RFC 8032, section 5.1.5): any 32 bytes are one.
    pub fn from_seed(seed: &Secret<32>) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed.expose()))
    }

    /// A fresh key.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        Self::from_seed(&Secret::random(rng))
    }

    /// The public half.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey::of_own_key(self.0.verifying_key())
    }

    /// Signs `message` for `purpose`. The same purpose must be named to verify.
    pub fn sign(&self, purpose: &'static str, message: &[u8]) -> Signature {
        Signature(self.0.sign(&labelled(purpose, message)).to_bytes())
    }

    /// The seed, for a keystore.
    pub fn seed(&self) -> Secret<32> {
        Secret::from_bytes(*self.0.as_bytes())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(.., {:?})", self.verifying_key())
    }
}

/// 64 bytes that claim to be an Ed25519 signature. Only [`VerifyingKey::verify`] says whether they are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Signature([u8; 64]);

impl Signature {
    /// How many bytes a signature has.
    pub const LEN: usize = 64;

    /// Any 64 bytes; malformed ones fail when they are verified.
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// Its bytes, as they are stored and sent.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(f, &self.0)
    }
}

/// What is really signed: the label with its length, then the message. The message needs no length: it ends the input.
pub(crate) fn labelled(purpose: &'static str, message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 + purpose.len() + message.len());
    lengths::push(&mut bytes, purpose.as_bytes());
    bytes.extend_from_slice(message);
    bytes
}
