//! Both sides of the plugin keep what every strategy promises.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is a finding

use std::sync::Arc;

use partita_core::{ContextInfo, ContextKind, DeviceKeys, Keystore};
use partita_group::{Card, GROUP_KIND, Group, GroupRelay, MemberId, Policy};
use partita_testing::{
    MemoryKeystore, samples,
    strategy_conformance::{Side, Subject, assert_conformant},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};

fn keystore(seed: u64) -> (Arc<dyn Keystore>, Card) {
    let keystore: Arc<dyn Keystore> = Arc::new(MemoryKeystore::default());
    let card = Group::card(&*keystore, &mut ChaCha20Rng::seed_from_u64(seed)).unwrap();
    (keystore, card)
}

/// Two founders of one group.
struct Founded {
    first: Side,
    second: Side,
    context: ContextInfo,
}

fn founded(seed: u64) -> Founded {
    let (one, two) = (keystore(seed), keystore(seed + 1));
    let mut rng = ChaCha20Rng::seed_from_u64(seed + 2);
    let id = Group::found(one.0.clone(), &mut rng, "group", Policy::default(), std::slice::from_ref(&two.1))
        .unwrap()
        .context();
    Group::added(two.0.clone(), id, &two.1).unwrap();
    let side = |keystore: Arc<dyn Keystore>| {
        let key = DeviceKeys::load(&*keystore).unwrap().signing;
        Side::new(key, move || Group::open(keystore.clone(), &id).unwrap())
    };
    let context = ContextInfo { id, kind: ContextKind::new(GROUP_KIND).unwrap() };
    Founded { first: side(one.0), second: side(two.0), context }
}

#[test]
fn a_member_keeps_what_every_strategy_promises() {
    let (group, other, third) = (founded(10), founded(20), founded(30));
    let subject = Subject::new(group.first, group.second, other.first, vec![group.context], third.context);
    assert_conformant(&subject.losing(|group: &mut Group, turn, who| group.remove(turn, MemberId(who)).unwrap()));
}

#[test]
fn a_relay_keeps_what_every_strategy_promises() {
    let (group, other, third) = (founded(10), founded(20), founded(30));
    let relay = Side::new(samples::signing_key(1), GroupRelay::new);
    let subject = Subject::new(relay, group.first, other.first, vec![group.context], third.context);
    assert_conformant(&subject.relay().losing(|group: &mut Group, turn, _| group.leave(turn).unwrap()));
}
