//! An epoch's secret on its way to one reader: a box bound to where it belongs, checked when it is opened.
//!
//! The binding is HPKE's `info`, so a box moved to another context, sender, recipient or key does not open. The `aad` is
//! the announcing op without boxes and signature, so a box moved to another op does not open either. And whatever a box
//! holds must fit the op's commitment: a wrong box costs a retry, never a wrong key.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::EpochSecret;
use crate::{BOX_OVERHEAD, BoxError, BoxPublicKey, BoxSecretKey, Hash, Secret, lengths, open_box, seal_box};

/// The length of every epoch box: 80 bytes.
pub const EPOCH_BOX_LEN: usize = BOX_OVERHEAD + 32;

const INFO: &[u8] = b"partita epoch box v1";

/// Where an epoch box belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoxBinding {
    /// The security context.
    pub context: [u8; 32],
    /// The device that boxes: its verifying key.
    pub sender: [u8; 32],
    /// The device that opens: its verifying key.
    pub recipient: [u8; 32],
    /// The recipient's box key; a device may have had others.
    pub recipient_key: BoxPublicKey,
}

impl BoxBinding {
    /// The domain and each field, length-prefixed.
    fn info(&self) -> Vec<u8> {
        let mut info = Vec::with_capacity(5 * 8 + INFO.len() + 4 * 32);
        lengths::push(&mut info, INFO);
        lengths::push(&mut info, &self.context);
        lengths::push(&mut info, &self.sender);
        lengths::push(&mut info, &self.recipient);
        lengths::push(&mut info, self.recipient_key.as_bytes());
        info
    }
}

/// Boxes an epoch's secret to one reader.
///
/// # Errors
///
/// [`EpochError::OtherKey`] when `to` is not the key that the binding names: the box would open for nobody.
pub fn seal_epoch(
    rng: &mut dyn CryptoRng,
    secret: &EpochSecret,
    to: &BoxPublicKey,
    binding: &BoxBinding,
    aad: &[u8],
) -> Result<Vec<u8>, EpochError> {
    if *to != binding.recipient_key {
        return Err(EpochError::OtherKey);
    }
    Ok(seal_box(rng, to, &binding.info(), aad, secret.0.expose())?)
}

/// Opens a box that [`seal_epoch`] made for this device, and checks the secret in it against the op's commitment.
///
/// # Errors
///
/// See [`EpochError`]. In each case the secret may still come in another box, from another holder.
pub fn open_epoch(
    key: &BoxSecretKey,
    binding: &BoxBinding,
    aad: &[u8],
    commitment: &Hash,
    sealed: &[u8],
) -> Result<EpochSecret, EpochError> {
    if sealed.len() != EPOCH_BOX_LEN {
        return Err(EpochError::Length);
    }
    if key.public() != binding.recipient_key {
        return Err(EpochError::OtherKey);
    }
    let plain = open_box(key, &binding.info(), aad, sealed)?;
    let bytes = plain.first_chunk::<32>().ok_or(EpochError::Length)?;
    let secret = EpochSecret(Secret::from_bytes(*bytes));
    if secret.check(commitment) { Ok(secret) } else { Err(EpochError::Commitment) }
}

/// Boxes the secrets of several epochs to one reader, one after the other.
///
/// # Errors
///
/// [`EpochError::OtherKey`] when `to` is not the key that the binding names: the box would open for nobody.
pub fn seal_epochs(
    rng: &mut dyn CryptoRng,
    secrets: &[&EpochSecret],
    to: &BoxPublicKey,
    binding: &BoxBinding,
    aad: &[u8],
) -> Result<Vec<u8>, EpochError> {
    if *to != binding.recipient_key {
        return Err(EpochError::OtherKey);
    }
    let mut plain = Zeroizing::new(Vec::with_capacity(32 * secrets.len()));
    secrets.iter().for_each(|secret| plain.extend_from_slice(secret.0.expose()));
    Ok(seal_box(rng, to, &binding.info(), aad, &plain)?)
}

/// Opens a box that [`seal_epochs`] made for this device. Each secret is checked against the commitment of its epoch; one that
/// does not fit, or whose commitment is not known, is `None`.
///
/// # Errors
///
/// See [`EpochError`]. In each case the secrets may still come in another box, from another holder.
pub fn open_epochs(
    key: &BoxSecretKey,
    binding: &BoxBinding,
    aad: &[u8],
    commitments: &[Option<Hash>],
    sealed: &[u8],
) -> Result<Vec<Option<EpochSecret>>, EpochError> {
    if key.public() != binding.recipient_key {
        return Err(EpochError::OtherKey);
    }
    let plain = open_box(key, &binding.info(), aad, sealed)?;
    let (secrets, rest) = plain.as_chunks::<32>();
    if secrets.len() != commitments.len() || !rest.is_empty() {
        return Err(EpochError::Length);
    }
    let fits = |(bytes, commitment): (&[u8; 32], &Option<Hash>)| {
        let secret = EpochSecret(Secret::from_bytes(*bytes));
        commitment.filter(|commitment| secret.check(commitment)).map(|_| secret)
    };
    Ok(secrets.iter().zip(commitments).map(fits).collect())
}

/// Why an epoch's secret could not be boxed or taken from a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EpochError {
    /// The binding names another box key than the one in hand. Look for the key that it names.
    #[error("the epoch box is for another box key")]
    OtherKey,
    /// Not the length of a box for so many epochs. Complain, and wait for another holder to box again.
    #[error("not an epoch box: it has a wrong length")]
    Length,
    /// The box does not open. Complain, and wait for another holder to box again.
    #[error(transparent)]
    Box(#[from] BoxError),
    /// The box held another secret than the op committed to. Complain, and wait for another holder to box again.
    #[error("the epoch box holds another secret than its op committed to")]
    Commitment,
}
