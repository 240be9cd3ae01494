//! In real nodes: whose a brought context is, before and after a restart.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is a finding

use partita_core::{ContextId, ContextInfo, ContextKind, DeviceKeys, EntryKind, PartitionStrategy, ReplicaId};
use partita_crypto::SigningKey;
use partita_multi_context::MultiContext;
use partita_protocol::NodeConfig;
use partita_single_owner::{SingleOwner, SingleOwnerRelay};
use partita_testing::{
    MemoryKeystore,
    fleet::{Fleet, Member},
    samples,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};

fn device(seed: u64) -> (MemoryKeystore, SigningKey, ContextId) {
    let keystore = MemoryKeystore::default();
    let (owner, _) = SingleOwner::create(&keystore, &mut ChaCha20Rng::seed_from_u64(seed)).unwrap();
    let key = DeviceKeys::load(&keystore).unwrap().signing;
    (keystore, key, owner.context())
}

fn add(
    fleet: &mut Fleet,
    key: SigningKey,
    strategy: impl Fn() -> MultiContext + 'static,
    accept_contexts: bool,
) -> (Member, ReplicaId) {
    let config = NodeConfig { accept_contexts, ..NodeConfig::default() };
    let replica = ReplicaId::from_bytes(*key.verifying_key().as_bytes());
    let make = move || Box::new(strategy()) as Box<dyn PartitionStrategy>;
    (fleet.add_with(config, key, Box::new(make)), replica)
}

#[test]
fn a_device_of_one_owner_that_is_a_relay_for_others_stays_both_after_a_restart() {
    let mut fleet = Fleet::new(1);
    let ((hub_keys, hub_key, hub_context), (keys, key, context)) = (device(1), device(2));
    let both = move || MultiContext::new().with(SingleOwner::open(&hub_keys).unwrap()).with(SingleOwnerRelay::new());
    let (hub, hub_replica) = add(&mut fleet, hub_key, both, true);
    let one = move || MultiContext::new().with(SingleOwner::open(&keys).unwrap());
    let (phone, replica) = add(&mut fleet, key, one, false);
    fleet.connect(phone, hub);
    fleet.run();
    let change = EntryKind::Change(samples::document(1));
    let write = |fleet: &mut Fleet, member, context| {
        fleet.with(member, |node, now| node.append(now, context, change, b"hello")).unwrap();
        fleet.run();
    };
    let held = |fleet: &mut Fleet, member: Member, context: &ContextId, replica: &ReplicaId| -> Vec<u64> {
        fleet.node(member).logs_of(context, replica).iter().map(|tip| tip.seq).collect()
    };
    write(&mut fleet, phone, context);
    write(&mut fleet, hub, hub_context);
    assert_eq!(held(&mut fleet, hub, &context, &replica), held(&mut fleet, phone, &context, &replica));

    fleet.crash(hub);
    fleet.start(hub);
    fleet.connect(phone, hub);
    fleet.run();
    write(&mut fleet, phone, context);
    write(&mut fleet, hub, hub_context);
    let (there, own) = (held(&mut fleet, phone, &context, &replica), held(&mut fleet, hub, &hub_context, &hub_replica));
    assert!(there.contains(&2) && own.len() > 1, "{there:?} {own:?}");
    assert_eq!(held(&mut fleet, hub, &context, &replica), there);
    assert_eq!(held(&mut fleet, phone, &hub_context, &hub_replica), [0; 0], "and nothing of the hub's own goes out");
}

#[test]
fn a_kind_that_only_a_later_plugin_knows_is_refused_by_name_and_the_rest_goes_on() {
    use partita_core::{Hash, Refusal};
    use partita_protocol::message::{Message, Open, Opened};
    let mut fleet = Fleet::new(2);
    let relay = || MultiContext::new().with(SingleOwnerRelay::new());
    let (hub, _) = add(&mut fleet, samples::signing_key(1), relay, true);
    let (keys, key, context) = device(2);
    let (phone, replica) =
        add(&mut fleet, key, move || MultiContext::new().with(SingleOwner::open(&keys).unwrap()), false);
    let link = fleet.connect(phone, hub);
    fleet.run();

    let caller = fleet.caller(hub, samples::signing_key(7).verifying_key());
    let later = ContextKind::new("of-a-later-plugin").unwrap();
    let info = ContextInfo { id: ContextId::derive(&later, &[1; 32]), kind: later };
    let proof = samples::noise(1, 300);
    fleet.say(
        caller,
        &[Message::Open(Open { context: info.id, number: 1, kind: info.kind, frontier: Hash::ZERO, proof })],
    );
    let refused = Message::Opened(Opened { context: info.id, number: 1, outcome: Err(Refusal::UnknownKind) });
    assert!(fleet.said(caller, 0).contains(&refused));
    assert!(fleet.is_up(caller) && fleet.is_up(link));

    let change = EntryKind::Change(samples::document(1));
    fleet.with(phone, |node, now| node.append(now, context, change, b"hello")).unwrap();
    fleet.run();
    assert!(!fleet.node(hub).logs_of(&context, &replica).is_empty());
    let found = fleet.with(phone, |node, now| node.with_strategy::<SingleOwner, _>(now, |owner, _| owner.context()));
    assert_eq!(found.unwrap(), context, "found inside the other");
}
