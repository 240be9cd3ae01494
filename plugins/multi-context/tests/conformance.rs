//! Many strategies in one keep what every strategy promises.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is a finding

use partita_core::{Access, ContextId, ContextInfo, ContextKind, DeviceKeys, NamedKeystore, ReplicaId};
use partita_crypto::{Mnemonic, Secret, VerifyingKey};
use partita_multi_context::{AllOf, ByKind, FirstOf, MultiContext, SharedKeyCertificate, SharedWriteKey};
use partita_single_owner::{PLAIN_KIND, SEALED_KIND, SingleOwner, SingleOwnerRelay};
use partita_testing::{
    MemoryKeystore, samples,
    strategy::OpenStrategy,
    strategy_conformance::{Side, Subject, assert_conformant},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};

/// Two owners: their words, keys and contexts.
struct World {
    words: Vec<Mnemonic>,
    owners: Vec<VerifyingKey>,
}

impl World {
    fn new() -> Self {
        let create = |seed| {
            let (owner, words) =
                SingleOwner::create(&MemoryKeystore::default(), &mut ChaCha20Rng::seed_from_u64(seed)).unwrap();
            (words, owner.owner())
        };
        let (words, owners) = [1, 2, 3, 4].map(create).into_iter().unzip();
        Self { words, owners }
    }

    fn context(&self, owner: usize, name: &str) -> ContextInfo {
        let kind = ContextKind::new(name).unwrap();
        ContextInfo { id: ContextId::derive(&kind, self.owners[owner].as_bytes()), kind }
    }

    /// A device that belongs to several owners.
    fn device(&self, seed: u64, owners: &[usize]) -> (DeviceKeys, Vec<NamedPart>) {
        let keystore = MemoryKeystore::default();
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        for owner in owners {
            let part = NamedKeystore::new(&keystore, owner.to_string());
            let request = SingleOwner::request(&part, &mut rng).unwrap();
            SingleOwner::accept(&part, &SingleOwner::certify(&self.words[*owner], &request)).unwrap();
        }
        let parts = owners.iter().map(|owner| NamedPart(keystore.clone(), owner.to_string()));
        (DeviceKeys::load(&keystore).unwrap(), parts.collect())
    }

    fn side(&self, seed: u64, owners: &[usize]) -> Side {
        let (keys, parts) = self.device(seed, owners);
        Side::new(keys.signing, move || {
            parts.iter().fold(MultiContext::new(), |multi, part| multi.with(part.open().with_plain()))
        })
    }

    /// The contexts of the first two owners, and one of the third, whom nobody here has.
    fn contexts(&self) -> (Vec<ContextInfo>, ContextInfo) {
        let all = [(0, SEALED_KIND), (1, SEALED_KIND), (0, PLAIN_KIND), (1, PLAIN_KIND)];
        (all.map(|(owner, kind)| self.context(owner, kind)).to_vec(), self.context(2, SEALED_KIND))
    }
}

#[derive(Clone)]
struct NamedPart(MemoryKeystore, String);

impl NamedPart {
    fn open(&self) -> SingleOwner {
        SingleOwner::open(&NamedKeystore::new(&self.0, self.1.clone())).unwrap()
    }
}

#[test]
fn two_owners_on_one_device_keep_what_every_strategy_promises() {
    let world = World::new();
    let (contexts, foreign) = world.contexts();
    let words = [0, 1].map(|owner| (world.owners[owner], Mnemonic::parse(&world.words[owner].phrase()).unwrap()));
    let subject =
        Subject::new(world.side(11, &[0, 1]), world.side(12, &[0, 1]), world.side(13, &[3]), contexts.clone(), foreign);
    assert_conformant(&subject.losing(move |multi: &mut MultiContext, turn, who: ReplicaId| {
        for context in &contexts[..2] {
            let revoked = multi.with_strategy_of::<SingleOwner, _>(&context.id, turn, |owner, turn| {
                let (_, words) = words.iter().find(|(key, _)| *key == owner.owner()).unwrap();
                owner.revoke(turn, words, who)
            });
            assert_eq!(revoked, Ok(Ok(())));
        }
    }));
}

#[test]
fn a_remote_that_has_one_owners_right_has_none_in_the_others_context() {
    let world = World::new();
    // The stranger is a device of the second owner; the contexts tried are those of the first.
    let contexts = vec![world.context(0, SEALED_KIND), world.context(0, PLAIN_KIND)];
    let (local, friend, stranger) = (world.side(11, &[0, 1]), world.side(12, &[0]), world.side(13, &[1]));
    assert_conformant(&Subject::new(local, friend, stranger, contexts, world.context(2, SEALED_KIND)));
}

#[test]
fn a_relay_of_several_strategies_keeps_what_every_strategy_promises() {
    let world = World::new();
    let (contexts, foreign) = world.contexts();
    let relay = Side::new(samples::signing_key(1), || MultiContext::new().with(SingleOwnerRelay::new()));
    let subject = Subject::new(relay, world.side(12, &[0, 1]), world.side(13, &[3]), contexts, foreign);
    assert_conformant(&subject.relay());
}

#[test]
fn a_relay_that_takes_the_shared_key_gives_strangers_nothing_more() {
    let world = World::new();
    let (contexts, foreign) = world.contexts();
    let (one, two) = (world.owners[0], world.owners[1]);
    let relay = Side::new(samples::signing_key(1), move || {
        MultiContext::new().with(SingleOwnerRelay::new()).accept_shared_key(one).accept_shared_key(two)
    });
    // The stranger has a shared key too, of an owner for whom it is not taken.
    let words = Mnemonic::parse(&world.words[3].phrase()).unwrap();
    let stranger = Side::new(samples::signing_key(3), move || {
        let mut multi = MultiContext::new().with(SingleOwnerRelay::new());
        let key = SharedWriteKey::new(&Secret::from_bytes([7; 32]));
        let statement = SharedKeyCertificate::statement(&key.public());
        let (owner, signature) = SingleOwner::sign_for(&words, SharedKeyCertificate::PURPOSE, &statement).unwrap();
        let by = SharedKeyCertificate::new(owner, key.public(), signature).unwrap();
        multi.hold_shared_key(key, by).unwrap();
        multi
    });
    assert_conformant(&Subject::new(relay, world.side(12, &[0, 1]), stranger, contexts, foreign).relay());
}

#[test]
fn composed_strategies_keep_what_every_strategy_promises() {
    let world = World::new();
    let (contexts, foreign) =
        (vec![world.context(0, SEALED_KIND), world.context(0, PLAIN_KIND)], world.context(2, SEALED_KIND));
    let friend = || world.side(12, &[0]);
    let (keys, parts) = world.device(11, &[0]);
    let (friends, all) = (world.device(12, &[0]).0.replica(), keys.replica());
    let guard = move || {
        let kind = ContextKind::new(SEALED_KIND).unwrap();
        let may = [friends, all].map(|who| (who, Access::Both));
        OpenStrategy::new().of_kind(kind).with_peers(may).with_authors([friends, all])
    };
    let owner = move || parts[0].open().with_plain();
    let one = owner.clone();
    let all_of = Side::new(keys.signing.clone(), move || AllOf::new(one()).and(guard()));
    assert_conformant(&Subject::new(all_of, friend(), world.side(13, &[3]), contexts.clone(), foreign.clone()));
    let one = owner.clone();
    let by_kind = Side::new(keys.signing.clone(), move || ByKind::new().with(one()).with(SingleOwnerRelay::new()));
    assert_conformant(&Subject::new(by_kind, friend(), world.side(13, &[3]), contexts.clone(), foreign.clone()));
    // The second way in is that of another owner's device: it opens nothing of the first's.
    let (_, others) = world.device(11, &[0, 1]);
    let first_of = Side::new(keys.signing, move || FirstOf::new(owner()).or(others[1].open().with_plain()));
    assert_conformant(&Subject::new(first_of, friend(), world.side(13, &[3]), contexts, foreign));
}
