//! Key epochs: the secrets under which payloads are sealed, one after the other, as readers come and go.
//!
//! Single-owner and group contexts use the same pieces. An epoch is announced by a control entry that names a
//! commitment to its secret and carries a box for each reader. The epoch's id is the hash of that entry, so one id has
//! one commitment, and a commitment has one secret: nobody can give two readers different secrets for one epoch.
//!
//! - [`EpochSecret`]: the secret, its commitment, the payload keys that come from it;
//! - [`seal_epoch`], [`open_epoch`]: boxes for readers; [`seal_epochs`], [`open_epochs`]: many secrets in one;
//! - [`choose_epoch`]: the rule which epoch may be written under;
//! - [`EpochKeys`]: the secrets that a device holds.

mod choose;
mod envelope;
mod ring;

use rand_core::CryptoRng;

pub use choose::{EpochFacts, choose_epoch};
pub use envelope::{BoxBinding, EPOCH_BOX_LEN, EpochError, open_epoch, open_epochs, seal_epoch, seal_epochs};
pub use ring::EpochKeys;

use crate::{AeadKey, Hash, Secret, derive, hash};

const COMMITMENT: &str = "partita 2026 epoch secret commitment v1";
const PAYLOAD_KEY: &str = "partita payload key v1";

/// The id of an epoch: the hash of the op that announced it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpochId(pub Hash);

/// The secret of an epoch: 32 random bytes, never derived from another epoch. Zeroized when dropped; prints nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochSecret(pub Secret<32>);

impl EpochSecret {
    /// A fresh secret.
    pub fn random(rng: &mut dyn CryptoRng) -> Self {
        Self(Secret::random(rng))
    }

    /// What the announcing op says about the secret: it binds to one secret and tells nothing about it.
    ///
    /// BLAKE3 under a domain of its own: finding two secrets with one commitment is finding a collision, and 256 random
    /// bits cannot be guessed from it. Poly1305 alone would not bind: one ciphertext can open under two keys.
    pub fn commitment(&self) -> Hash {
        hash(COMMITMENT, &[self.0.expose()])
    }

    /// Whether this is the secret that the op committed to.
    pub fn check(&self, commitment: &Hash) -> bool {
        self.commitment() == *commitment
    }
}

/// The key of one author's payloads in one context and epoch: HKDF over the epoch's secret.
///
/// A key per author, so that no two devices draw nonces for the same key, and a ciphertext moved to another author or
/// context does not open.
pub fn payload_key(secret: &EpochSecret, context: &[u8; 32], author: &[u8; 32]) -> AeadKey {
    AeadKey::from_secret(&derive(&secret.0, PAYLOAD_KEY, &[context, author]))
}
