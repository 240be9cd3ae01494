//! The one hash: BLAKE3 in key derivation mode, so that every use has a domain of its own.
//!
//! In that mode (BLAKE3 paper, section 2.3, `derive_key`) the context string is part of the function itself: equal
//! bytes under two domains give unrelated hashes, and no caller can forget to separate them.

use std::fmt;

use crate::hex;

/// 32 bytes of BLAKE3: an id, a backlink, a commitment. Public, and ordered as bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    /// All zeros: "no hash", for instance the backlink of a log's first entry. No input is known to hash to it.
    pub const ZERO: Self = Self([0; 32]);

    /// A hash that somebody else computed.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes, as they are stored and sent.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl AsRef<[u8]> for Hash {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(f, &self.0)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(f, &self.0)
    }
}

/// Hashes `parts`, simply one after the other, under `domain`.
///
/// The parts are *not* told apart: `["ab", "c"]` and `["a", "bc"]` hash alike. Hand in one canonical encoding (in
/// pieces, if that saves a copy), or parts of fixed lengths.
///
/// A domain is a constant of the program, used for one purpose only; its version is part of it.
pub fn hash(domain: &'static str, parts: &[&[u8]]) -> Hash {
    let mut hasher = Hasher::new(domain);
    for part in parts {
        hasher.update(part);
    }
    hasher.finish()
}

/// [`hash()`] for input that arrives in pieces.
#[derive(Clone)]
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// Starts a hash under `domain`.
    pub fn new(domain: &'static str) -> Self {
        Self(blake3::Hasher::new_derive_key(domain))
    }

    /// Takes the next piece. How the input is cut into pieces makes no difference.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The hash of all pieces.
    pub fn finish(self) -> Hash {
        Hash(*self.0.finalize().as_bytes())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The state may have eaten a secret.
        f.write_str("Hasher(..)")
    }
}
