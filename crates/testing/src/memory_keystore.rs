//! A keystore in memory.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use partita_core::{Keystore, KeystoreError};
use partita_crypto::Zeroizing;

/// Secrets that last as long as the test. Clones are the same keystore.
#[derive(Debug, Clone, Default)]
pub struct MemoryKeystore(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl MemoryKeystore {
    /// Another keystore with the secrets that this one has now: a backup of it, or what somebody copied.
    #[must_use]
    pub fn image(&self) -> Self {
        let secrets = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self(Arc::new(Mutex::new(secrets)))
    }
}

impl Keystore for MemoryKeystore {
    fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeystoreError> {
        let secrets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(secrets.get(name).cloned().map(Zeroizing::new))
    }

    fn put(&self, name: &str, secret: &[u8]) -> Result<(), KeystoreError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.into(), secret.to_vec());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_is_the_same_keystore_and_an_image_is_another() {
        let keystore = MemoryKeystore::default();
        keystore.put("old", b"old").unwrap();
        let (clone, image) = (keystore.clone(), keystore.image());
        keystore.put("new", b"new").unwrap();
        assert!(clone.get("new").unwrap().is_some());
        assert!(image.get("old").unwrap().is_some());
        assert!(image.get("new").unwrap().is_none());
        image.put("other", b"other").unwrap();
        assert!(keystore.get("other").unwrap().is_none());
    }
}
