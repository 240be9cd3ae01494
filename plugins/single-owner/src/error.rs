//! What can go wrong when an application manages the owner's devices.

use partita_core::{KeystoreError, KindError, ReplicaId};
use partita_crypto::EpochError;

/// Why an owner's or a device's affair could not be settled, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OwnerError {
    /// The keystore is missing, damaged or cannot be used.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The device has keys and no certificate.
    #[error(
        "this device is not certified yet: make a request, have it certified with the owner's 24 words, and accept the certificate"
    )]
    NotCertified,
    /// The keystore holds a device of an owner. Another owner needs another keystore.
    #[error("this device belongs to an owner already: open it instead, or use another keystore")]
    Exists,
    /// The certificate names another device or other keys.
    #[error("the certificate is for device {0}, not for this one: have this device's own request certified")]
    OtherDevice(ReplicaId),
    /// What the keystore holds under the name of a certificate is none.
    #[error("the certificate in the keystore is damaged: accept the device's certificate again")]
    Damaged,
    /// The words are a mnemonic, but of somebody else.
    #[error("these 24 words are not those of this owner: look for the right ones")]
    WrongMnemonic,
    /// No certificate of the device is known here.
    #[error("device {0} is not one of this owner's as far as is known here: sync first, or look at the id again")]
    UnknownDevice(ReplicaId),
    /// Revoking cannot be repeated, and cannot be undone either: a device that comes back makes a new key.
    #[error("device {0} is revoked already")]
    AlreadyRevoked(ReplicaId),
    /// A device does not revoke itself.
    #[error("this is the device itself: retire it, or revoke it from another device")]
    OwnDevice,
    /// A device does not declare itself dormant: it is at work.
    #[error("this is the device itself, and it is not away: declare it dormant from another device")]
    NotAway,
    /// No checkpoint needs the word of a device that was revoked or retired.
    #[error("device {0} was revoked or retired: nobody waits for it in any case")]
    NotWaitedFor(ReplicaId),
    /// This device was revoked or retired: what it writes counts no more.
    #[error("this device was revoked or retired: enrol it as a new device, with a new keystore")]
    Lost,
    /// The device has more logs than it can list when it retires.
    #[error("this device has {0} logs, more than it can list: revoke it from another one, where the longest are kept")]
    TooManyLogs(usize),
    /// The words sign certificates and revocations only where these are made.
    #[error("this purpose belongs to the single-owner plugin: use its own calls for certificates and revocations")]
    OwnPurpose,
    /// A secret could not be boxed. Nothing was written.
    #[error(transparent)]
    Box(#[from] EpochError),
    /// Never for the kinds of this crate.
    #[error(transparent)]
    Kind(#[from] KindError),
}
