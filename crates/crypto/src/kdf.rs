//! Deriving keys: HKDF with SHA-256 (RFC 5869).
//!
//! [`derive()`] is what the rest of the code uses; it cannot fail and cannot be called ambiguously. [`hkdf_sha256`] is
//! the bare function, here so that vectors made by others run through the same code.

use hkdf::{Hkdf, HkdfExtract};
use sha2::Sha256;

use crate::{Secret, lengths};

/// Derives a 32-byte key from `ikm` for one purpose.
///
/// `domain` is a constant that names the purpose, `info` what the key is bound to. Domain and parts are length-prefixed,
/// so different lists never meet. The salt is empty: `ikm` is uniformly random or the output of a key exchange, and
/// RFC 5869, section 3.1 makes a salt optional then.
pub fn derive(ikm: &Secret<32>, domain: &'static str, info: &[&[u8]]) -> Secret<32> {
    let (prk, _) = Hkdf::<Sha256>::extract(None, ikm.expose());
    let prk = Secret::from_bytes(prk.into());

    // RFC 5869, section 2.3: one block of output is T(1) = HMAC(PRK, info | 0x01), and by section 2.2 HMAC(key, data) is
    // what extract(salt = key, ikm = data) returns. Said like this there is no error to handle that cannot happen.
    let mut expand = HkdfExtract::<Sha256>::new(Some(prk.expose()));
    for part in std::iter::once(&domain.as_bytes()).chain(info) {
        expand.input_ikm(&lengths::prefix(part));
        expand.input_ikm(part);
    }
    expand.input_ikm(&[1]);
    Secret::from_bytes(expand.finalize().0.into())
}

/// HKDF-SHA256 as in RFC 5869: fills `out` from `ikm`, `salt` and `info`. For test vectors; use [`derive()`] otherwise.
///
/// # Errors
///
/// [`KdfError::TooLong`] when `out` is longer than 8,160 bytes (255 blocks, RFC 5869, section 2.3).
pub fn hkdf_sha256(ikm: &[u8], salt: &[u8], info: &[u8], out: &mut [u8]) -> Result<(), KdfError> {
    // An absent salt is a block of zeros and so is an empty one: HMAC pads its key with zeros.
    Hkdf::<Sha256>::new(Some(salt), ikm).expand(info, out).map_err(|_| KdfError::TooLong)
}

/// Why no key could be derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KdfError {
    /// HKDF gives at most 255 blocks. Ask for less.
    #[error("HKDF-SHA256 cannot give more than 8160 bytes")]
    TooLong,
}
