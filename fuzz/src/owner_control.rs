//! Control payloads of single-owner: a relay meets them from the owner's devices and from anybody. The input is cut into
//! payloads, each said by one of three devices, after everything or after the beginning alone; whatever comes, devices and
//! relay agree on what counts.

use partita_core::{Bytes, PartitionStrategy, ReplicaId};
use partita_single_owner::{Mnemonic, SingleOwner, SingleOwnerRelay};
use partita_testing::MemoryKeystore;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};

use crate::control::{Author, asked, play};

/// An owner's first device, the mnemonic, a second device, and what the first one says to begin with: the same at every
/// call.
pub fn owned(rng: &mut ChaCha8Rng) -> (SingleOwner, Mnemonic, SingleOwner, Vec<Bytes>) {
    let Ok((mut device, mnemonic)) = SingleOwner::create(&MemoryKeystore::default(), rng) else {
        panic!("memory is not full")
    };
    let second = MemoryKeystore::default();
    let request = SingleOwner::request(&second, rng);
    let accepted = request.and_then(|request| SingleOwner::accept(&second, &SingleOwner::certify(&mnemonic, &request)));
    let Ok(second) = accepted.and_then(|()| SingleOwner::open(&second)) else { panic!("it was certified") };
    let context = device.context();
    let beginning = asked(rng, |turn| drop(device.duties(&context, turn)));
    (device, mnemonic, second, beginning)
}

/// One input.
pub fn run(data: &[u8]) {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let (mut device, _, second, beginning) = owned(&mut rng);
    let context = device.context();
    let mut relay = SingleOwnerRelay::new();
    let stranger = ReplicaId::from_bytes([9; 32]);
    let mut authors = [device.device(), second.device(), stranger].map(Author::new);
    play(data, &mut [&mut device, &mut relay], context, &mut authors, &beginning[0], |sides| {
        let [device, relay] = sides else { return };
        assert_eq!(device.standing(&context), relay.standing(&context));
        asked(&mut rng, |turn| drop(device.duties(&context, turn)));
    });
    let _ = device.devices();
}
