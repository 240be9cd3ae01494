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
