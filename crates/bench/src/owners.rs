//! Many owners who all certified one device.

use partita_core::{DeviceKeys, NamedKeystore};
use partita_crypto::{Mnemonic, Secret};
use partita_single_owner::SingleOwner;
use partita_testing::MemoryKeystore;
use rand_core::CryptoRng;

/// The strategies of so many owners on one device, and the device's keys.
pub(crate) fn create(
    count: usize,
    rng: &mut dyn CryptoRng,
) -> Result<(Vec<SingleOwner>, DeviceKeys), Box<dyn std::error::Error>> {
    let device = MemoryKeystore::default();
    let keys = DeviceKeys::create(&device, rng)?;
    let mut owners = Vec::with_capacity(count);
    for number in 0..count {
        let part = NamedKeystore::new(&device, format!("owner {number}"));
        let mnemonic = Mnemonic::from_entropy(&Secret::random(rng));
        let request = SingleOwner::request(&part, rng)?;
        SingleOwner::accept(&part, &SingleOwner::certify(&mnemonic, &request))?;
        owners.push(SingleOwner::open(&part)?);
    }
    Ok((owners, keys))
}
