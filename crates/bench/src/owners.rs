//! Many owners who all certified one device.

use std::{collections::BTreeMap, sync::Mutex};

use partita_core::{DeviceKeys, Keystore, KeystoreError};
use partita_crypto::{Mnemonic, Secret, Zeroizing};
use partita_single_owner::SingleOwner;
use rand_core::CryptoRng;

/// A keystore in memory. Two of them may hold the same device.
#[derive(Default)]
struct MemoryKeystore {
    kept: Mutex<BTreeMap<String, Zeroizing<Vec<u8>>>>,
}

impl Keystore for MemoryKeystore {
    fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeystoreError> {
        let kept = self.kept.lock().map_err(|_| KeystoreError::Io("a thread panicked".into()))?;
        Ok(kept.get(name).cloned())
    }

    fn put(&self, name: &str, secret: &[u8]) -> Result<(), KeystoreError> {
        let mut kept = self.kept.lock().map_err(|_| KeystoreError::Io("a thread panicked".into()))?;
        kept.insert(name.into(), Zeroizing::new(secret.to_vec()));
        Ok(())
    }
}

/// The strategies of so many owners on one device, and the device's keys.
pub(crate) fn create(
    count: usize,
    rng: &mut dyn CryptoRng,
) -> Result<(Vec<SingleOwner>, DeviceKeys), Box<dyn std::error::Error>> {
    let device = MemoryKeystore::default();
    let keys = DeviceKeys::create(&device, rng)?;
    let mut owners = Vec::with_capacity(count);
    for _ in 0..count {
        let keystore = MemoryKeystore::default();
        for (name, secret) in device.kept.lock().map_err(|_| "a thread panicked")?.iter() {
            keystore.put(name, secret)?;
        }
        let mnemonic = Mnemonic::from_entropy(&Secret::random(rng));
        let request = SingleOwner::request(&keystore, rng)?;
        SingleOwner::accept(&keystore, &SingleOwner::certify(&mnemonic, &request))?;
        owners.push(SingleOwner::open(&keystore)?);
    }
    Ok((owners, keys))
}
