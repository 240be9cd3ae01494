//! Partita's strict wrappers around cryptography: the only crate that touches cryptographic libraries.
//!
//! Everything here is a thin layer over well-known crates that takes away their choices: one hash, one signature
//! scheme with one strict verdict, one AEAD, one kind of box, and secrets that print nothing. There is no random
//! source inside: whoever calls hands in a [`rand_core::CryptoRng`], so that the same seed gives the same run.
//!
//! | what | made of | where it is defined |
//! | --- | --- | --- |
//! | [`struct@Hash`], [`hash()`], [`Hasher`] | BLAKE3, key derivation mode | BLAKE3 paper, 2020 |
//! | [`SigningKey`], [`VerifyingKey`], [`Signature`] | Ed25519, strict | RFC 8032 |
//! | [`Secret`] | zeroized bytes | |
//! | [`derive()`], [`hkdf_sha256`] | HKDF-SHA256 | RFC 5869 |
//! | [`AeadKey`] | XChaCha20-Poly1305 | draft-irtf-cfrg-xchacha-03, RFC 8439 |
//! | [`x25519`] | X25519, zero output refused | RFC 7748 |
//! | [`seal_box`], [`open_box`] | HPKE base mode | RFC 9180 |
//! | [`Mnemonic`] | 24 English words | BIP-39 |
//! | [`EpochSecret`], [`EpochKeys`], [`seal_epoch`], [`choose_epoch`] | the above | this crate |
//! | [`NoiseHandshake`], [`NoiseSender`], [`NoiseReceiver`] | Noise XX | Noise, revision 34 |
//!
//! ```
//! use partita_crypto::{AeadKey, Secret, SigningKey, VerifyingKey, derive};
//! # use partita_crypto::rand_core::CryptoRng;
//! # fn run(rng: &mut dyn CryptoRng) -> Result<(), Box<dyn std::error::Error>> {
//! let device = SigningKey::generate(rng);
//! let signature = device.sign("example greeting", b"hello");
//!
//! // What comes from outside is parsed first: weak and non-canonical keys never get further than this.
//! let author = VerifyingKey::parse(device.verifying_key().as_bytes())?;
//! author.verify("example greeting", b"hello", &signature)?;
//!
//! let key = AeadKey::from_secret(&derive(&Secret::random(rng), "example payloads", &[b"context"]));
//! let sealed = key.seal(rng, b"header", b"payload")?;
//! assert_eq!(key.open(b"header", &sealed)?, b"payload");
//! # Ok(()) }
//! ```
//!
//! Nothing here has been audited by a third party. Nothing here is safe against a quantum computer.

mod aead;
mod boxes;
mod dh;
mod epochs;
mod hash;
mod hex;
mod kdf;
mod keys;
mod lengths;
mod mnemonic;
mod noise;
mod secret;
mod verifying;

pub use aead::{AeadError, AeadKey, NONCE_LEN, OVERHEAD};
pub use boxes::{BOX_OVERHEAD, BoxError, BoxPublicKey, BoxSecretKey, open_box, seal_box};
pub use dh::{DhError, x25519};
pub use epochs::{
    BoxBinding, EPOCH_BOX_LEN, EpochError, EpochFacts, EpochId, EpochKeys, EpochSecret, choose_epoch, open_epoch,
    open_epochs, payload_key, seal_epoch, seal_epochs,
};
pub use hash::{Hash, Hasher, hash};
pub use kdf::{KdfError, derive, hkdf_sha256};
pub use keys::{Signature, SigningKey};
pub use mnemonic::{Mnemonic, MnemonicError, WORDS};
pub use noise::{
    MAX_RECORD, MAX_RECORD_PLAIN, NoiseError, NoiseHandshake, NoiseReceiver, NoiseSender, RECORD_OVERHEAD,
};
pub use rand_core;
pub use secret::Secret;
pub use verifying::{KeyError, SignatureError, VerifyingKey};
pub use zeroize::Zeroizing;
