//! Control payloads of groups: a relay meets them from members and from anybody. The input is cut into payloads, each said by
//! one of three devices, after everything or after the beginning alone; whatever comes, members and relay agree on what
//! counts.

use std::sync::Arc;

use partita_core::{Bytes, Keystore, PartitionStrategy, ReplicaId};
use partita_group::{Card, Group, GroupRelay, Policy};
use partita_testing::MemoryKeystore;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};

use crate::control::{Author, asked, play};

/// A group of two founders, the second one's card, and what the first one says to begin it: the same at every call.
pub fn founded(rng: &mut ChaCha8Rng) -> (Group, Card, Bytes) {
    let (ada, ben): (Arc<dyn Keystore>, Arc<dyn Keystore>) =
        (Arc::new(MemoryKeystore::default()), Arc::new(MemoryKeystore::default()));
    let Ok(card) = Group::card(&*ben, rng) else { panic!("memory is not full") };
    let founded = Group::found(ada, rng, "fuzz", Policy::default(), std::slice::from_ref(&card));
    let Ok(mut group) = founded else { panic!("two founders are not too many") };
    let context = group.context();
    let beginning = asked(rng, |turn| drop(group.duties(&context, turn))).pop();
    let Some(beginning) = beginning else { panic!("a founder has something to say") };
    (group, card, beginning)
}

/// One input.
pub fn run(data: &[u8]) {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let (mut group, card, beginning) = founded(&mut rng);
    let context = group.context();
    let mut relay = GroupRelay::new();
    let stranger = ReplicaId::from_bytes([9; 32]);
    let mut authors = [group.device(), card.device(), stranger].map(Author::new);
    play(data, &mut [&mut group, &mut relay], context, &mut authors, &beginning, |sides| {
        let [group, relay] = sides else { return };
        assert_eq!(group.standing(&context), relay.standing(&context));
        asked(&mut rng, |turn| drop(group.duties(&context, turn)));
    });
    let _ = (group.members(), group.status(), group.history(), group.take_events());
}
