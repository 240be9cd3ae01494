//! The owner's own keys: derived from the mnemonic each time that somebody types it, and dropped at once.

use partita_crypto::{BoxPublicKey, BoxSecretKey, Mnemonic, SigningKey, VerifyingKey, derive};

const SIGNING: &str = "partita single-owner signing key v1";
const RECOVERY: &str = "partita single-owner recovery key v1";

/// What the mnemonic stands for. Lives as long as one call.
pub(crate) struct OwnerKeys {
    pub(crate) signing: SigningKey,
    pub(crate) recovery: BoxSecretKey,
}

impl OwnerKeys {
    pub(crate) fn of(mnemonic: &Mnemonic) -> Self {
        let entropy = mnemonic.entropy();
        Self {
            signing: SigningKey::from_seed(&derive(&entropy, SIGNING, &[])),
            recovery: BoxSecretKey::from_secret(&derive(&entropy, RECOVERY, &[])),
        }
    }

    pub(crate) fn owner(&self) -> VerifyingKey {
        self.signing.verifying_key()
    }

    pub(crate) fn recovery_public(&self) -> BoxPublicKey {
        self.recovery.public()
    }
}
