//! In real nodes, with virtual time: what writers owe their readers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is a finding

use std::{sync::Arc, time::Duration};

use partita_core::{ContextId, DeviceKeys, EntryKind, EpochId, Keystore, PartitionStrategy, Tip, Turn};
use partita_group::{Card, Group, GroupRelay, History, MemberId, Policy, Role};
use partita_protocol::NodeConfig;
use partita_testing::{
    MemoryKeystore,
    fleet::{Fleet, Member},
    samples,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};

struct Device {
    keystore: Arc<dyn Keystore>,
    card: Card,
}

fn device(seed: u64) -> Device {
    let keystore: Arc<dyn Keystore> = Arc::new(MemoryKeystore::default());
    let card = Group::card(&*keystore, &mut ChaCha20Rng::seed_from_u64(seed)).unwrap();
    Device { keystore, card }
}

fn join(fleet: &mut Fleet, device: &Device, id: ContextId) -> Member {
    let key = DeviceKeys::load(&*device.keystore).unwrap().signing;
    let keystore = device.keystore.clone();
    let make = move || Box::new(Group::open(keystore.clone(), &id).unwrap()) as Box<dyn PartitionStrategy>;
    let member = fleet.add_with(NodeConfig::default(), key, Box::new(make));
    fleet.run();
    member
}

fn found(fleet: &mut Fleet, seed: u64, policy: Policy, others: &[&Device]) -> (Member, ContextId) {
    let first = device(seed);
    let cards: Vec<Card> = others.iter().map(|other| other.card.clone()).collect();
    let mut rng = ChaCha20Rng::seed_from_u64(seed + 1);
    let id = Group::found(first.keystore.clone(), &mut rng, "nodes", policy, &cards).unwrap().context();
    for other in others {
        Group::added(other.keystore.clone(), id, &other.card).unwrap();
    }
    (join(fleet, &first, id), id)
}

fn relay(fleet: &mut Fleet) -> Member {
    let config = NodeConfig { accept_contexts: true, ..NodeConfig::default() };
    fleet.add_with(config, samples::signing_key(9), Box::new(|| Box::new(GroupRelay::new())))
}

fn ask<R>(fleet: &mut Fleet, member: Member, call: impl FnOnce(&mut Group, &mut Turn<'_>) -> R) -> R {
    let answer = fleet.with(member, |node, now| node.with_strategy::<Group, _>(now, call)).unwrap();
    fleet.run();
    answer
}

fn write(fleet: &mut Fleet, member: Member, id: ContextId) {
    let change = EntryKind::Change(samples::document(1));
    fleet.with(member, |node, now| node.append(now, id, change, b"hello")).unwrap();
    fleet.run();
}

fn epoch(fleet: &mut Fleet, member: Member) -> Option<EpochId> {
    ask(fleet, member, |group, _| group.status().epoch)
}

#[test]
fn an_old_epoch_ends_while_a_device_goes_on_writing() {
    let mut fleet = Fleet::new(1);
    let day = Duration::from_secs(86_400);
    let (ada, id) = found(&mut fleet, 1, Policy::default().rotate_after(day), &[]);
    write(&mut fleet, ada, id);
    let first = epoch(&mut fleet, ada).unwrap();
    fleet.pass(day / 2);
    write(&mut fleet, ada, id);
    assert_eq!(epoch(&mut fleet, ada), Some(first));
    fleet.pass(day);
    write(&mut fleet, ada, id);
    assert_ne!(epoch(&mut fleet, ada), Some(first));
}

#[test]
fn whoever_writes_first_boxes_the_key_to_a_newcomer_whose_admin_and_rotator_are_away() {
    let mut fleet = Fleet::new(2);
    let (ben, cay, dan) = (device(20), device(30), device(40));
    let (ada, id) = found(&mut fleet, 1, Policy::default(), &[&ben]);
    let hub = relay(&mut fleet);
    let ada_link = fleet.connect(ada, hub);
    let ben = join(&mut fleet, &ben, id);
    let ben_link = fleet.connect(ben, hub);
    fleet.run();
    write(&mut fleet, ada, id);
    let card = cay.card.clone();
    ask(&mut fleet, ada, |group, turn| group.add(turn, &card, Role::Write, History::All)).unwrap();
    Group::added(cay.keystore.clone(), id, &cay.card).unwrap();
    let cay = join(&mut fleet, &cay, id);
    fleet.connect(cay, hub);
    fleet.run();
    // Ada adds somebody while ben rotates, and then both are away for good.
    fleet.cut(ada_link);
    fleet.cut(ben_link);
    fleet.run();
    let card = dan.card.clone();
    ask(&mut fleet, ada, |group, turn| group.add(turn, &card, Role::Write, History::All)).unwrap();
    ask(&mut fleet, ben, |group, turn| group.rotate(turn)).unwrap();
    for away in [ada, ben] {
        let link = fleet.connect(away, cay);
        fleet.run();
        fleet.cut(link);
        fleet.run();
        fleet.crash(away);
    }
    Group::added(dan.keystore.clone(), id, &dan.card).unwrap();
    let dan = join(&mut fleet, &dan, id);
    fleet.connect(dan, hub);
    fleet.run();
    write(&mut fleet, cay, id);
    let now = epoch(&mut fleet, cay).unwrap();
    assert!(ask(&mut fleet, dan, move |group, _| group.holds(&now)), "cay wrote what dan cannot read");
}

fn held(fleet: &mut Fleet, member: Member, id: ContextId, authors: &[Member]) -> Vec<Tip> {
    let authors: Vec<_> = authors.iter().map(|author| fleet.id(*author)).collect();
    let node = fleet.node(member);
    let mut held: Vec<Tip> = authors.iter().flat_map(|author| node.logs_of(&id, author)).collect();
    held.sort_unstable();
    held
}

/// Found by the simulator: the refusal was forgotten, because there was no context yet to remember it with.
#[test]
fn who_comes_to_a_relay_before_anybody_brought_the_group_is_let_in_when_somebody_does() {
    let mut fleet = Fleet::new(3);
    let ben = device(20);
    let (ada, id) = found(&mut fleet, 1, Policy::default(), &[&ben]);
    let hub = relay(&mut fleet);
    let ben = join(&mut fleet, &ben, id);
    fleet.connect(ben, hub);
    fleet.run();
    assert_eq!(ask(&mut fleet, ben, |group, _| group.role()), None);
    fleet.connect(ada, hub);
    fleet.run();
    assert_eq!(ask(&mut fleet, ben, |group, _| group.role()), Some(Role::Admin));
}

/// Found by the simulator: the second log of somebody who was removed was looked at before the first had come back from
/// quarantine, and then no more; and a remote's answer about a log that was just being cut off was forgotten.
#[test]
fn what_a_removed_member_wrote_over_two_opens_and_others_built_on_comes_back_everywhere() {
    for seed in 0..12 {
        let mut fleet = Fleet::new(seed);
        let (ben, cay) = (device(20 + seed), device(60 + seed));
        let (ada, id) = found(&mut fleet, 100 + seed, Policy::default(), &[&ben, &cay]);
        let hub = relay(&mut fleet);
        let away = fleet.connect(ada, hub);
        let (ben, cay) = (join(&mut fleet, &ben, id), join(&mut fleet, &cay, id));
        fleet.connect(ben, hub);
        fleet.connect(cay, hub);
        fleet.run();
        fleet.cut(away);
        write(&mut fleet, ben, id);
        write(&mut fleet, ben, id);
        fleet.crash(ben);
        fleet.start(ben);
        fleet.connect(ben, hub);
        fleet.run();
        write(&mut fleet, ben, id);
        write(&mut fleet, cay, id);

        let member = MemberId(fleet.id(ben));
        ask(&mut fleet, ada, |group, turn| group.remove(turn, member)).unwrap();
        fleet.connect(ada, hub);
        fleet.run();
        let everybody = [ada, ben, cay];
        let at_cay = held(&mut fleet, cay, id, &everybody);
        let of_ben = held(&mut fleet, cay, id, &[ben]);
        assert!(of_ben.iter().map(|tip| tip.seq).sum::<u64>() >= 3, "cay had built on all of it: {of_ben:?}");
        for other in [ada, hub] {
            assert_eq!(held(&mut fleet, other, id, &everybody), at_cay, "seed {seed}");
        }
    }
}

/// A relay that cut off what cay wrote: ben removed her, who had been removed himself, of which only ada knows. Cay and ada
/// are not connected, so the relay's quarantine is all that there is of it.
struct CutOff {
    fleet: Fleet,
    ada: Member,
    hub: Member,
    cay: Member,
    id: ContextId,
    /// What cay wrote.
    written: Vec<Tip>,
}

impl CutOff {
    fn new() -> Self {
        let mut fleet = Fleet::new(5);
        let (ben, cay) = (device(20), device(30));
        let (ada, id) = found(&mut fleet, 1, Policy::default(), &[&ben, &cay]);
        let hub = relay(&mut fleet);
        let ada_link = fleet.connect(ada, hub);
        let (ben, cay) = (join(&mut fleet, &ben, id), join(&mut fleet, &cay, id));
        let ben_link = fleet.connect(ben, hub);
        let cay_link = fleet.connect(cay, hub);
        fleet.run();
        // Ben has not seen what cay writes, and removes her; ada, who is senior, removed him meanwhile.
        fleet.cut(ada_link);
        fleet.cut(ben_link);
        write(&mut fleet, cay, id);
        let (who, by) = (MemberId(fleet.id(cay)), MemberId(fleet.id(ben)));
        ask(&mut fleet, ben, |group, turn| group.remove(turn, who)).unwrap();
        ask(&mut fleet, ada, |group, turn| group.remove(turn, by)).unwrap();
        let written = held(&mut fleet, cay, id, &[cay]);
        fleet.connect(ben, hub);
        fleet.run();
        assert_ne!(held(&mut fleet, hub, id, &[cay]), written, "it is cut off for now");
        fleet.cut(cay_link);
        Self { fleet, ada, hub, cay, id, written }
    }

    /// Ada comes, and with her what says that ben's word does not count.
    fn ada_comes(&mut self) {
        self.fleet.connect(self.ada, self.hub);
        self.fleet.run();
    }

    fn is_back(&mut self) -> bool {
        let Self { fleet, ada, hub, cay, id, written } = self;
        [*ada, *hub].into_iter().all(|member| held(fleet, member, *id, &[*cay]) == *written)
    }
}

/// Found by the simulator: what a removal had cut off stayed in quarantine when the removal turned out not to count.
#[test]
fn what_was_cut_off_by_a_removal_that_does_not_count_comes_back() {
    let mut scene = CutOff::new();
    scene.ada_comes();
    assert!(scene.is_back());
}

/// It stayed there for good, when the relay's program ended after the news was stored and before it had looked.
#[test]
fn what_was_cut_off_comes_back_at_whichever_commit_the_power_goes() {
    for commits in 0..8 {
        let mut scene = CutOff::new();
        scene.fleet.hold_commits_after(scene.hub, commits);
        scene.ada_comes();
        scene.fleet.crash(scene.hub);
        scene.fleet.start(scene.hub);
        scene.ada_comes();
        assert!(scene.is_back(), "after {commits} commits");
    }
}
