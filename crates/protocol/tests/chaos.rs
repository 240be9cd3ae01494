//! Whatever happens on the way: after a heal, without a new edit, everybody holds the same.

use std::{collections::BTreeSet, time::Duration};

use partita_core::LogId;
use partita_protocol::{NodeConfig, Notice};
use partita_testing::{fleet::Fleet, samples, strategy::OpenStrategy};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

fn story(seed: u64) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut pick = |n: u32| rng.next_u32() % n;
    let mut fleet = Fleet::new(seed);
    let config = NodeConfig { tail_bytes: 2_000, fragment_bytes: 3_000, credit: 40_000, ..NodeConfig::default() };
    for _ in 0..4 {
        fleet.add(config.clone(), OpenStrategy::new(), 1);
    }
    let mut links = Vec::new();
    let mut durable: BTreeSet<(LogId, u64)> = BTreeSet::new();
    for _ in 0..120 {
        let member = pick(4) as usize;
        match pick(12) {
            0..=4 => {
                for _ in 0..=pick(5) {
                    let len = if pick(8) == 0 { 20_000 } else { pick(300) };
                    let written = fleet.write(member, 1, samples::noise(seed, len as usize));
                    let durably = fleet
                        .notices(member)
                        .into_iter()
                        .any(|notice| matches!(notice, Notice::Durable { arrival, .. } if arrival >= written.arrival));
                    if durably {
                        durable.insert((written.log, written.seq));
                    }
                }
            }
            5 | 6 => links.push(fleet.connect(member, (member + 1) % 4)),
            7 => {
                if let Some(link) = links.pop() {
                    fleet.cut(link);
                }
            }
            8 => {
                fleet.crash(member);
                fleet.start(member);
            }
            9 => fleet.hold_commits(member),
            10 => fleet.release(member),
            _ => fleet.pass(Duration::from_millis(u64::from(pick(60)))),
        }
    }
    for member in 0..4 {
        fleet.release(member);
    }
    for member in 0..4 {
        fleet.connect(member, (member + 1) % 4);
    }
    fleet.run();
    assert!(fleet.agree(&[0, 1, 2, 3]), "seed {seed}");
    let held = fleet.held(0);
    for (log, seq) in durable {
        let tip = held.iter().find(|tip| tip.log == log);
        assert!(tip.is_some_and(|tip| tip.seq >= seq), "seed {seed}: lost");
    }
    for member in 0..4 {
        let closed = fleet.closed(member);
        assert!(closed.is_empty(), "seed {seed}: {closed:?}");
    }
}

/// Failure mode 39: after a heal everybody has everything, without a further edit, whatever happened before.
#[test]
fn everybody_ends_with_the_same_and_nothing_durable_is_lost() {
    for seed in 0..150 {
        story(seed);
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let run = |seed| {
        let mut fleet = Fleet::new(seed);
        let (a, b) = (fleet.replica(), fleet.replica());
        fleet.write(a, 1, b"one");
        let link = fleet.connect(a, b);
        fleet.run();
        (fleet.held(b), format!("{:?}", fleet.said(link, 0)))
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}
