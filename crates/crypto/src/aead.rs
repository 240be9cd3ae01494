//! Sealing payloads: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03 over RFC 8439) with random nonces.
//!
//! 24 bytes of nonce are enough to draw them at random for ever: no counter has to survive a crash, a restored
//! backup or a copied store, each of which would repeat a counter.
//!
//! Poly1305 does not commit to its key: a ciphertext can be made that opens under two keys. So keys come from epoch
//! secrets, which have commitments, and never from guessing which of several keys opens something.

use std::fmt;

use chacha20poly1305::aead::{AeadInOut as _, KeyInit as _};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use rand_core::CryptoRng;

use crate::Secret;

/// Bytes of the nonce, which stands before the ciphertext.
pub const NONCE_LEN: usize = 24;

/// How much longer sealed bytes are than plain ones: 24 bytes of nonce and 16 bytes of tag.
pub const OVERHEAD: usize = NONCE_LEN + TAG_LEN;

const TAG_LEN: usize = 16;

/// A key that seals and opens. Zeroized when dropped; prints nothing.
#[derive(Clone)]
pub struct AeadKey(XChaCha20Poly1305);

impl AeadKey {
    /// Uses a secret as a key. The secret should be for nothing else: see [`derive()`](crate::derive()).
    pub fn from_secret(secret: &Secret<32>) -> Self {
        Self(XChaCha20Poly1305::new(secret.expose().into()))
    }

    /// Seals `plain` bound to `aad`, with a fresh nonce: `nonce || ciphertext || tag`.
    ///
    /// # Errors
    ///
    /// [`AeadError::TooLong`].
    pub fn seal(&self, rng: &mut dyn CryptoRng, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, AeadError> {
        let mut nonce = [0; NONCE_LEN];
        rng.fill_bytes(&mut nonce);
        let mut sealed = Vec::with_capacity(plain.len() + OVERHEAD);
        sealed.extend_from_slice(&nonce);
        self.append_sealed(&nonce, aad, plain, &mut sealed)?;
        Ok(sealed)
    }

    /// Opens what [`AeadKey::seal`] made, if key and `aad` are the same and no bit has changed.
    ///
    /// # Errors
    ///
    /// [`AeadError::TooShort`] and [`AeadError::Refused`]. Nothing of the plaintext is released then.
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, AeadError> {
        let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(AeadError::TooShort)?;
        self.open_with_nonce(nonce, aad, ciphertext)
    }

    /// Seals under a nonce of the caller's: `ciphertext || tag`. For test vectors; a nonce that repeats gives away the
    /// key that authenticates, so use [`AeadKey::seal`] otherwise.
    ///
    /// # Errors
    ///
    /// [`AeadError::TooLong`].
    pub fn seal_with_nonce(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, AeadError> {
        let mut sealed = Vec::with_capacity(plain.len() + TAG_LEN);
        self.append_sealed(nonce, aad, plain, &mut sealed)?;
        Ok(sealed)
    }

    /// Opens `ciphertext || tag` under a nonce of the caller's.
    ///
    /// # Errors
    ///
    /// [`AeadError::TooShort`] and [`AeadError::Refused`].
    pub fn open_with_nonce(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Result<Vec<u8>, AeadError> {
        let (body, tag) = ciphertext.split_last_chunk::<TAG_LEN>().ok_or(AeadError::TooShort)?;
        let mut plain = body.to_vec();
        // The tag is checked before the first byte is decrypted.
        self.0
            .decrypt_inout_detached(&XNonce::from(*nonce), aad, plain.as_mut_slice().into(), &Tag::from(*tag))
            .map_err(|_| AeadError::Refused)?;
        Ok(plain)
    }

    fn append_sealed(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), AeadError> {
        let start = out.len();
        out.extend_from_slice(plain);
        let body = out.get_mut(start..).unwrap_or_default();
        let tag =
            self.0.encrypt_inout_detached(&XNonce::from(*nonce), aad, body.into()).map_err(|_| AeadError::TooLong)?;
        out.extend_from_slice(&tag);
        Ok(())
    }
}

impl fmt::Debug for AeadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AeadKey(..)")
    }
}

/// Why bytes could not be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AeadError {
    /// More than 256 GiB (RFC 8439, section 2.8). Seal in parts.
    #[error("too long to be sealed in one piece")]
    TooLong,
    /// Shorter than nonce and tag: truncated, or never sealed.
    #[error("too short to be sealed bytes")]
    TooShort,
    /// Another key, another nonce, other associated data, or changed bytes: which of them cannot be known.
    #[error("sealed bytes do not open under this key and associated data")]
    Refused,
}
