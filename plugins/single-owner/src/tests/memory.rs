//! What stands around a strategy: a keystore in memory, and what a node knows of logs.

use std::{collections::BTreeMap, sync::Mutex};

use partita_core::{ContextId, ContextInfo, ContextView, Keystore, KeystoreError, LogId, ReplicaId, SignedTip};
use partita_crypto::Zeroizing;

#[derive(Default)]
pub(super) struct Memory(pub(super) Mutex<BTreeMap<String, Vec<u8>>>);

impl Keystore for Memory {
    fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeystoreError> {
        Ok(self.0.lock().unwrap().get(name).cloned().map(Zeroizing::new))
    }

    fn put(&self, name: &str, secret: &[u8]) -> Result<(), KeystoreError> {
        self.0.lock().unwrap().insert(name.into(), secret.to_vec());
        Ok(())
    }
}

/// What the node knows of logs.
#[derive(Default)]
pub(super) struct View(pub(super) BTreeMap<ReplicaId, BTreeMap<LogId, SignedTip>>);

impl ContextView for View {
    fn logs_of(&self, _: &ContextId, replica: &ReplicaId) -> Vec<SignedTip> {
        self.0.get(replica).map(|logs| logs.values().copied().collect()).unwrap_or_default()
    }

    fn contexts(&self) -> Vec<ContextInfo> {
        Vec::new()
    }
}
