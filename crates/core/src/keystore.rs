//! Where a device keeps its keys: outside the store.

use std::sync::{Arc, Mutex, PoisonError};

use partita_crypto::{AeadKey, BoxSecretKey, Secret, SigningKey, Zeroizing, derive};
use rand_core::CryptoRng;

use crate::ReplicaId;

/// The name under which [`DeviceKeys`] are kept.
const DEVICE: &str = "device";

/// Why keys cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeystoreError {
    /// There is no keystore, or it lacks this secret. It is never made anew by itself: that would be another device.
    #[error("{0} is missing: put the keystore back, or enrol this device again as a new one")]
    Missing(String),
    /// It would be overwritten.
    #[error("{0} exists already: open it instead of creating it")]
    Exists(String),
    /// The content is not what it should be.
    #[error("the keystore is damaged: {0}")]
    Damaged(String),
    /// It is sealed under another key than the one given.
    #[error("the keystore does not open with this key: give the one that it was sealed with")]
    Locked,
    /// What it holds is sealed, and was asked for without the [`SealedKeystore`] around it.
    #[error(
        "the keystore's secrets are sealed: open it as a SealedKeystore, and hand that to the engine (Builder::keystore)"
    )]
    Sealed,
    /// The file can be read by other users of the machine.
    #[error("{0} can be read by others: allow its owner alone (chmod 600)")]
    Exposed(String),
    /// The operating system reports a failure.
    #[error("the keystore cannot be used: {0}")]
    Io(String),
}

/// Named secrets, kept durably. A small trait, so that applications can use their platform's own.
pub trait Keystore: Send + Sync {
    /// The secret of this name; `None` when there is none.
    ///
    /// # Errors
    /// [`KeystoreError`] when the keystore itself cannot be read.
    fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeystoreError>;

    /// Keeps a secret: it survives a crash when this returns.
    ///
    /// # Errors
    /// [`KeystoreError`] when it cannot be kept.
    fn put(&self, name: &str, secret: &[u8]) -> Result<(), KeystoreError>;
}

/// So that a plugin and the engine can have the same one.
impl<K: Keystore + ?Sized> Keystore for Arc<K> {
    fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeystoreError> {
        (**self).get(name)
    }

    fn put(&self, name: &str, secret: &[u8]) -> Result<(), KeystoreError> {
        (**self).put(name, secret)
    }
}

/// A part of a keystore, by name: the device's own keys are the same in every part, everything else is the part's own.
///
/// For a device that belongs to several owners: the keystore itself for the first, a named part for each other.
pub struct NamedKeystore<'a> {
    whole: &'a dyn Keystore,
    name: String,
}

impl<'a> NamedKeystore<'a> {
    /// The part of this name.
    pub fn new(whole: &'a dyn Keystore, name: impl Into<String>) -> Self {
        Self { whole, name: name.into() }
    }

    fn place(&self, name: &str) -> String {
        if name == DEVICE { name.into() } else { format!("{}/{name}", self.name) }
    }
}

impl std::fmt::Debug for NamedKeystore<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NamedKeystore").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Keystore for NamedKeystore<'_> {
    fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeystoreError> {
        self.whole.get(&self.place(name))
    }

    fn put(&self, name: &str, secret: &[u8]) -> Result<(), KeystoreError> {
        self.whole.put(&self.place(name), secret)
    }
}

/// How a sealed secret begins.
const SEALED: &[u8; 8] = b"sealed 1";
/// Bytes that say which key sealed it.
const CHECK: usize = 16;

/// A keystore whose secrets are sealed under a key of the application's: from the platform's own keystore, or stretched
/// from a passphrase.
///
/// Each secret is bound to its name, so that whoever can write to the keystore underneath cannot put one in another's place.
/// It can still put an older one back, or remove one. Names are kept in clear.
pub struct SealedKeystore<K> {
    inner: K,
    key: AeadKey,
    check: [u8; CHECK],
    rng: Mutex<Box<dyn CryptoRng + Send>>,
}

impl<K: Keystore> SealedKeystore<K> {
    /// Seals what this keystore keeps from now on, and opens what it holds. `rng` is for nonces.
    pub fn new(inner: K, key: &Secret<32>, rng: Box<dyn CryptoRng + Send>) -> Self {
        let mut check = [0; CHECK];
        let whole = derive(key, "partita 2026 v1 sealed keystore check", &[]);
        // To tell a wrong key from a damaged secret, which the seal itself cannot; and one secret opens under one key only.
        check.iter_mut().zip(whole.expose()).for_each(|(check, byte)| *check = *byte);
        let key = AeadKey::from_secret(&derive(key, "partita 2026 v1 sealed keystore", &[]));
        Self { inner, key, check, rng: Mutex::new(rng) }
    }

    fn bound_to(name: &str) -> Vec<u8> {
        [&b"partita 2026 v1 sealed keystore\0"[..], name.as_bytes()].concat()
    }
}

impl<K> std::fmt::Debug for SealedKeystore<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedKeystore").finish_non_exhaustive()
    }
}

impl<K: Keystore> Keystore for SealedKeystore<K> {
    fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeystoreError> {
        let Some(kept) = self.inner.get(name)? else {
            return Ok(None);
        };
        let sealed = kept.strip_prefix(SEALED).and_then(|rest| rest.split_first_chunk::<CHECK>());
        let Some((check, sealed)) = sealed else {
            return Err(KeystoreError::Damaged(format!(
                "what it holds under {name} is not sealed: it was put there without"
            )));
        };
        if *check != self.check {
            return Err(KeystoreError::Locked);
        }
        let opened = self.key.open(&Self::bound_to(name), sealed);
        let opened = opened.map_err(|_| {
            KeystoreError::Damaged(format!("what it holds under {name} was changed, or belongs to another name"))
        })?;
        Ok(Some(Zeroizing::new(opened)))
    }

    fn put(&self, name: &str, secret: &[u8]) -> Result<(), KeystoreError> {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let sealed = self.key.seal(&mut **rng, &Self::bound_to(name), secret);
        drop(rng);
        let sealed = sealed.map_err(|error| KeystoreError::Io(error.to_string()))?;
        self.inner.put(name, &[&SEALED[..], &self.check, &sealed].concat())
    }
}

/// One device's own keys. The replica id is the verifying key of the first.
#[derive(Debug)]
pub struct DeviceKeys {
    /// Signs entries and handshakes.
    pub signing: SigningKey,
    /// Opens what is boxed to this device.
    pub boxes: BoxSecretKey,
    /// Seals local snapshots at rest.
    pub at_rest: Secret<32>,
}

impl DeviceKeys {
    /// Makes new keys and keeps them.
    ///
    /// # Errors
    /// [`KeystoreError::Exists`] when the keystore holds a device already.
    pub fn create(keystore: &dyn Keystore, rng: &mut dyn CryptoRng) -> Result<Self, KeystoreError> {
        if keystore.get(DEVICE)?.is_some() {
            return Err(KeystoreError::Exists("the device's key".into()));
        }
        let mut bytes = Zeroizing::new(vec![0u8; 96]);
        rng.fill_bytes(&mut bytes);
        keystore.put(DEVICE, &bytes)?;
        Self::load(keystore)
    }

    /// The keys that the keystore holds.
    ///
    /// # Errors
    /// [`KeystoreError::Missing`] when it holds none, [`KeystoreError::Sealed`] when it is what a [`SealedKeystore`] kept.
    pub fn load(keystore: &dyn Keystore) -> Result<Self, KeystoreError> {
        let bytes = keystore.get(DEVICE)?.ok_or_else(|| KeystoreError::Missing("the device's key".into()))?;
        if bytes.starts_with(SEALED) {
            return Err(KeystoreError::Sealed);
        }
        let part = |n: usize| -> Result<Secret<32>, KeystoreError> {
            let (parts, rest) = bytes.as_chunks::<32>();
            match (parts.get(n), parts.len(), rest) {
                (Some(part), 3, []) => Ok(Secret::from_bytes(*part)),
                _ => Err(KeystoreError::Damaged("the device's key has a wrong length".into())),
            }
        };
        Ok(Self {
            signing: SigningKey::from_seed(&part(0)?),
            boxes: BoxSecretKey::from_secret(&part(1)?),
            at_rest: part(2)?,
        })
    }

    /// The device's replica id.
    pub fn replica(&self) -> ReplicaId {
        ReplicaId::from_bytes(*self.signing.verifying_key().as_bytes())
    }
}
