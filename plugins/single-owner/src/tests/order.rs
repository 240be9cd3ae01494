//! The resolved state is a function of the set of control entries, never of their order.

use std::collections::{BTreeMap, BTreeSet};

use partita_core::{EntryId, PartitionStrategy as _};
use partita_crypto::{Mnemonic, rand_core::Rng as _};

use super::net::{Device, Sent, rng};
use crate::{modes::Mode, op::Op, state::ContextState};

/// Inserts the entries in every order in which parents come first, and compares the states of equal sets.
fn all_orders(context: partita_core::ContextId, entries: &[Sent]) -> usize {
    assert!(entries.len() <= 6);
    let mut states: BTreeMap<BTreeSet<EntryId>, Vec<u8>> = BTreeMap::new();
    let mut orders = 0;
    let mut open: Vec<Vec<usize>> = vec![Vec::new()];
    while let Some(order) = open.pop() {
        let mut state = ContextState::new(context, None);
        let mut set = BTreeSet::new();
        for at in &order {
            state.insert(&entries[*at].entry()).unwrap();
            // Asked in between: a state that remembers what it was asked would show here.
            state.resolved();
            set.insert(entries[*at].id);
        }
        let bytes = format!("{:?}", state.resolved()).into_bytes();
        assert_eq!(states.entry(set.clone()).or_insert_with(|| bytes.clone()), &bytes);
        orders += usize::from(order.len() == entries.len());
        for at in (0..entries.len()).filter(|at| !order.contains(at)) {
            let parents = entries[at].parents.iter().filter(|parent| **parent != EntryId::NONE);
            if parents.into_iter().all(|parent| set.contains(parent)) {
                open.push(order.iter().copied().chain([at]).collect());
            }
        }
    }
    orders
}

fn union(devices: &[&Device]) -> Vec<Sent> {
    let mut all: Vec<Sent> = Vec::new();
    for sent in devices.iter().flat_map(|device| &device.entries) {
        if !all.contains(sent) {
            all.push(sent.clone());
        }
    }
    all
}

/// Three devices that know of each other by one entry.
fn three() -> (Device, Device, Device, Mnemonic) {
    let (mut a, mnemonic) = Device::first(1);
    let (mut b, mut c) = (Device::more(&mnemonic, 2), Device::more(&mnemonic, 3));
    let certificates = [&a, &b, &c].map(|device| Op::Certify(device.strategy.me.certificate.clone()));
    a.say(&certificates);
    b.pull(&a);
    c.pull(&a);
    (a, b, c, mnemonic)
}

#[test]
fn mutual_revocations_with_epochs_and_later_words() {
    let (mut a, mut b, mut c, mnemonic) = three();
    a.revoke(&mnemonic, b.replica);
    b.revoke(&mnemonic, a.replica);
    c.turn(|owner, turn| owner.retire(turn)).unwrap();
    let (of_c, of_b) = (c.witness(9), b.witness(8));
    b.say(&[Op::Vouch(vec![of_c])]);
    let shared = a.epoch().unwrap();
    a.say(&[
        Op::Vouch(vec![of_b]),
        Op::Share(crate::op::Share { epoch: shared, recipient: c.replica, sealed: [0; _] }),
    ]);
    assert!(all_orders(a.context, &union(&[&a, &b, &c])) > 10);
}

#[test]
fn concurrent_enrolments_rotations_and_a_revocation() {
    let (mut a, mut b, mut c, mnemonic) = three();
    a.duties();
    b.duties();
    c.revoke(&mnemonic, a.replica);
    b.pull(&a);
    b.duties();
    let mut d = Device::more(&mnemonic, 4);
    d.duties();
    let all = union(&[&a, &b, &c, &d]);
    assert!(all_orders(a.context, &all[..all.len().min(6)]) > 10);
}

#[test]
fn a_vouch_a_retirement_and_a_revocation_that_cuts_it_off() {
    let (mut a, mut b, mut c, mnemonic) = three();
    a.note(b.replica, b.signed(b.witness(3).tip()));
    a.revoke(&mnemonic, b.replica);
    let last = b.signed(b.witness(7).tip());
    b.note(b.replica, last);
    b.turn(|owner, turn| owner.retire(turn)).unwrap();
    c.pull(&a);
    let witness = b.witness(5);
    c.say(&[Op::Vouch(vec![witness])]);
    a.revoke(&mnemonic, c.replica);
    assert_eq!(union(&[&a, &b, &c]).len(), 5);
    assert!(all_orders(a.context, &union(&[&a, &b, &c])) >= 5);
}

#[test]
fn the_same_revocation_in_two_logs_is_one_loss() {
    let (mut a, mut b, c, mnemonic) = three();
    a.revoke(&mnemonic, c.replica);
    let payload = crate::op::Payload::decode(&a.context, &a.replica, &a.entries.last().unwrap().payload).unwrap();
    let revocation: Vec<Op> = payload.ops.into_iter().filter(Op::is_owner_signed).collect();
    b.say(&revocation);
    b.pull(&a);
    assert_eq!(b.resolved().standing.losses[&c.replica].len(), 1);
    all_orders(a.context, &union(&[&a, &b]));
}

/// What devices do at random, with what they know of each other at random.
#[test]
fn whatever_three_devices_do_in_six_entries() {
    let mut orders = 0;
    for seed in 0..60 {
        let (a, b, c, mnemonic) = three();
        let mut devices = [a, b, c];
        let mut random = rng(seed);
        let mut pick = |n: u32| (random.next_u32() % n) as usize;
        for _ in 0..40 {
            if union(&devices.each_ref()).len() == 6 {
                break;
            }
            let (at, other) = (pick(3), pick(3));
            let [me, it] = [&devices[at], &devices[other]].map(|device| device.replica);
            let gone = devices[at].resolved().has_lost(&me);
            match pick(7) {
                0 | 1 => {
                    let entries = devices[other].entries.clone();
                    entries.iter().for_each(|sent| {
                        devices[at].give(sent);
                    });
                }
                2 | 3 if at != other => {
                    let tip = devices[other].signed(devices[other].witness(1 + pick(9) as u64).tip());
                    devices[at].note(it, tip);
                    let _ = devices[at].turn(|owner, turn| owner.revoke(turn, &mnemonic, it));
                }
                4 if !gone => devices[at].turn(|owner, turn| owner.retire(turn)).unwrap(),
                5 if !gone => {
                    let witness = devices[other].witness(1 + pick(9) as u64);
                    devices[at].say(&[Op::Vouch(vec![witness])]);
                }
                _ => {
                    let context = devices[at].context;
                    devices[at].turn(|owner, turn| owner.duties(&context, turn)).unwrap();
                }
            }
        }
        let all = union(&devices.each_ref());
        orders += all_orders(devices[0].context, &all[..all.len().min(6)]);
    }
    assert!(orders > 500, "{orders}");
}

#[test]
fn a_verdict_stays_what_it_was_whatever_comes_later() {
    let (mut a, mut b, mut c, mnemonic) = three();
    a.duties();
    b.pull(&a);
    c.pull(&a);
    b.revoke(&mnemonic, c.replica);
    let witness = b.witness(1);
    c.say(&[Op::Vouch(vec![witness])]);
    a.turn(|owner, turn| owner.retire(turn)).unwrap();
    let all = union(&[&a, &b, &c]);
    let mut watcher = Device::more(&mnemonic, 7);
    let mut given: Vec<(Sent, partita_core::Verdict)> = Vec::new();
    for sent in &all {
        let verdict = watcher.give(sent);
        given.push((sent.clone(), verdict));
        for (earlier, verdict) in &given {
            assert_eq!(&watcher.strategy.authorize(&earlier.claim()), verdict);
            assert_eq!(&watcher.strategy.authorize(&earlier.claim()), verdict);
        }
    }
    assert_eq!(ContextState::new(a.context, Some(Mode::Sealed)).authorize(&all[0].claim()), given[0].1);
}
