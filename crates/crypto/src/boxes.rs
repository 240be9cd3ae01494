//! Boxes: bytes sealed to one device's public key. HPKE (RFC 9180) in base mode, single shot, with
//! DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and ChaCha20-Poly1305.
//!
//! Base mode says nothing about who sealed: whoever needs that puts the box into something signed and names the
//! sender in `info`.

use std::fmt;

use hpke::{Deserializable as _, OpModeR, OpModeS, Serializable as _};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::{Secret, dh, hex};

type Kem = hpke::kem::X25519HkdfSha256;
type Kdf = hpke::kdf::HkdfSha256;
type Aead = hpke::aead::ChaCha20Poly1305;

/// How much longer a box is than its content: 32 bytes of encapsulated key and 16 bytes of tag.
pub const BOX_OVERHEAD: usize = ENC_LEN + 16;

const ENC_LEN: usize = 32;

/// The secret half of a device's box key. Zeroized when dropped; prints nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct BoxSecretKey(Secret<32>);

impl BoxSecretKey {
    /// A fresh key.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        Self(Secret::random(rng))
    }

    /// The key of 32 secret bytes: any are one, X25519 clamps them (RFC 7748, section 5).
    pub fn from_secret(secret: &Secret<32>) -> Self {
        Self(secret.clone())
    }

    /// The bytes, for a keystore.
    pub fn secret(&self) -> &Secret<32> {
        &self.0
    }

    /// The public half.
    pub fn public(&self) -> BoxPublicKey {
        BoxPublicKey(dh::x25519_public(&self.0))
    }
}

impl fmt::Debug for BoxSecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoxSecretKey(..)")
    }
}

/// A public X25519 key that is canonical and not of low order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BoxPublicKey([u8; 32]);

impl BoxPublicKey {
    /// Checks a key that came from outside.
    ///
    /// # Errors
    ///
    /// [`BoxError::NotCanonical`] and [`BoxError::LowOrder`]: refuse whatever named the key.
    pub fn parse(bytes: &[u8; 32]) -> Result<Self, BoxError> {
        // X25519 ignores the top bit and reduces modulo p (RFC 7748, section 5), so without this one key would have
        // several names.
        if !is_reduced(bytes) {
            return Err(BoxError::NotCanonical);
        }
        // A clamped scalar is a multiple of 8, and no multiple of the large prime orders: it takes exactly the points
        // of low order, on the curve and on its twist, to zero. So any scalar tells, and no list can be incomplete.
        let any = Secret::from_bytes([1; 32]);
        dh::x25519(&any, bytes).map_err(|_| BoxError::LowOrder)?;
        Ok(Self(*bytes))
    }

    /// Its bytes, as they are stored and sent.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl AsRef<[u8]> for BoxPublicKey {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for BoxPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(f, &self.0)
    }
}

/// Whether a little-endian number is below p = 2^255 - 19.
fn is_reduced(bytes: &[u8; 32]) -> bool {
    let [low, middle @ .., high] = bytes;
    *high < 0x7f || (*high == 0x7f && (middle.iter().any(|byte| *byte != 0xff) || *low < 0xed))
}

/// Seals `plain` to a recipient: `enc || ciphertext` (RFC 9180, section 6.1). `info` goes into the keys, `aad` into the tag.
///
/// # Errors
///
/// [`BoxError::TooLong`]; a checked key gives no other.
pub fn seal_box(
    rng: &mut dyn CryptoRng,
    to: &BoxPublicKey,
    info: &[u8],
    aad: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, BoxError> {
    let to = <Kem as hpke::Kem>::PublicKey::from_bytes(&to.0).map_err(|_| BoxError::LowOrder)?;
    let mut rng = rng;
    let (enc, ciphertext) =
        hpke::single_shot_seal_with_rng::<Aead, Kdf, Kem>(&OpModeS::Base, &to, info, plain, aad, &mut rng).map_err(
            |error| match error {
                hpke::HpkeError::EncapError => BoxError::LowOrder,
                _ => BoxError::TooLong,
            },
        )?;
    let mut sealed = Vec::with_capacity(ENC_LEN + ciphertext.len());
    sealed.extend_from_slice(&enc.to_bytes());
    sealed.extend_from_slice(&ciphertext);
    Ok(sealed)
}

/// Opens what [`seal_box`] made for this key, if `info` and `aad` are the same.
///
/// # Errors
///
/// [`BoxError::TooShort`] and [`BoxError::Refused`]. Ask another holder to box again; nobody can be blamed.
pub fn open_box(key: &BoxSecretKey, info: &[u8], aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, BoxError> {
    if sealed.len() < BOX_OVERHEAD {
        return Err(BoxError::TooShort);
    }
    let (enc, ciphertext) = sealed.split_first_chunk::<ENC_LEN>().ok_or(BoxError::TooShort)?;
    let key = <Kem as hpke::Kem>::PrivateKey::from_bytes(key.0.expose()).map_err(|_| BoxError::Refused)?;
    let enc = <Kem as hpke::Kem>::EncappedKey::from_bytes(enc).map_err(|_| BoxError::Refused)?;
    hpke::single_shot_open::<Aead, Kdf, Kem>(&OpModeR::Base, &key, &enc, info, ciphertext, aad)
        .map(Zeroizing::new)
        .map_err(|_| BoxError::Refused)
}

/// Why a box could not be sealed or opened, or a key is none that we accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BoxError {
    /// The public key is of low order: everybody could open its boxes. Nobody has one by accident.
    #[error("an X25519 public key of low order")]
    LowOrder,
    /// A second way to write a public key. Nobody's software does so by accident.
    #[error("an X25519 public key in a non-canonical encoding")]
    NotCanonical,
    /// More than the cipher takes in one piece (256 GiB). Box a key instead, and seal the bytes under that.
    #[error("too long for a box")]
    TooLong,
    /// Shorter than an empty box: truncated, or never a box.
    #[error("too short to be a box")]
    TooShort,
    /// For another key, with another info or associated data, or changed: which of them cannot be known.
    #[error("the box does not open with this key, info and associated data")]
    Refused,
}
