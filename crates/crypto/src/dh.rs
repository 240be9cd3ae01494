//! X25519 (RFC 7748), with the check that the RFC leaves to the caller.

use crate::Secret;

/// The shared secret of a secret scalar and a public point, both as 32 bytes.
///
/// For the Noise handshake, for key checks and for test vectors; boxes have their own key schedule around it.
///
/// # Errors
///
/// [`DhError`] when the result is all zeros, which is so exactly for points of low order: the "shared" secret would be
/// known to everybody (RFC 7748, section 6.1).
pub fn x25519(secret: &Secret<32>, public: &[u8; 32]) -> Result<Secret<32>, DhError> {
    let shared = x25519_dalek::StaticSecret::from(*secret.expose()).diffie_hellman(&(*public).into());
    if shared.was_contributory() { Ok(Secret::from_bytes(shared.to_bytes())) } else { Err(DhError) }
}

/// The public point of a secret scalar.
pub(crate) fn x25519_public(secret: &Secret<32>) -> [u8; 32] {
    x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from(*secret.expose())).to_bytes()
}

/// The other side's point is of low order: it takes no part in the secret. Refuse whatever named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an X25519 public key of low order")]
pub struct DhError;
