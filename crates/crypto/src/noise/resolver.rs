//! What `snow` is built from: our own primitives and randomness that was handed in.
//!
//! snow's default resolver brings older versions of the same crates and draws its own randomness.

use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};

use super::primitives::{ChaChaPoly, Curve25519, Sha256Hash};
use crate::{Secret, derive};

/// Offers exactly one primitive of each kind.
pub(super) struct Resolver {
    seed: Secret<32>,
}

impl Resolver {
    /// `seed` must be fresh for each handshake: the ephemeral key comes from it.
    pub(super) fn new(seed: Secret<32>) -> Self {
        Self { seed }
    }
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(SeedStream { seed: self.seed.clone(), blocks: 0 }))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::new(Curve25519::default()) as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        matches!(choice, HashChoice::SHA256).then(|| Box::new(Sha256Hash::default()) as Box<dyn Hash>)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        matches!(choice, CipherChoice::ChaChaPoly).then(|| Box::new(ChaChaPoly::default()) as Box<dyn Cipher>)
    }
}

/// Random bytes from a seed: HKDF blocks, counted. snow keeps its random source, so it cannot borrow the caller's; it
/// asks for one ephemeral key per handshake.
struct SeedStream {
    seed: Secret<32>,
    blocks: u64,
}

impl Random for SeedStream {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        for chunk in dest.chunks_mut(32) {
            let block = derive(&self.seed, "partita noise randomness v1", &[&self.blocks.to_le_bytes()]);
            self.blocks = self.blocks.checked_add(1).ok_or(snow::Error::Rng)?;
            chunk.copy_from_slice(block.expose().get(..chunk.len()).ok_or(snow::Error::Rng)?);
        }
        Ok(())
    }
}
