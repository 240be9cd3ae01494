//! What is larger than a limit.

use partita_core::Refusal;
use partita_protocol::{AppendError, NodeConfig, Notice};
use partita_testing::{fleet::Fleet, samples, strategy::OpenStrategy};

/// Failure mode 44: a change over the maximum is refused before anything is kept, and the next one goes out.
#[test]
fn a_change_over_the_maximum_is_refused_at_once_and_the_next_one_syncs() {
    const MOST: usize = 100_000;
    let config = NodeConfig { max_payload: MOST as u64, ..NodeConfig::default() };
    let mut fleet = Fleet::new(44);
    let [a, b] = [0; 2].map(|_| fleet.add(config.clone(), OpenStrategy::new(), 1));
    fleet.connect(a, b);
    fleet.run();
    fleet.write(a, 1, b"before");
    let refused = fleet.try_write(a, 1, &samples::noise(1, MOST + 1));
    assert!(matches!(refused, Err(AppendError::TooLarge { .. })), "{refused:?}");
    fleet.write(a, 1, samples::noise(2, MOST));
    fleet.write(a, 1, b"after");
    fleet.run();
    assert!(fleet.agree(&[a, b]));
    assert_eq!(fleet.held(b)[0].seq, 3);
}

/// Failure mode 44: a change that is too large for a remote alone stops its own log there, by name, and nothing else.
#[test]
fn a_change_that_one_remote_finds_too_large_stops_its_log_there_and_nothing_else() {
    let mut fleet = Fleet::new(144);
    let strict = NodeConfig { max_payload: 100_000, accept_contexts: true, ..NodeConfig::default() };
    let relay = fleet.add(strict, OpenStrategy::new(), 0);
    let (a, b, c) = (fleet.replica(), fleet.replica(), fleet.replica());
    for member in [a, b, c] {
        fleet.connect(member, relay);
    }
    fleet.connect(a, c);
    fleet.run();
    fleet.write(a, 1, b"before");
    fleet.run();
    fleet.notices(a);
    fleet.write(a, 1, samples::noise(1, 200_000));
    fleet.write(a, 1, b"behind it");
    fleet.write(b, 1, b"of somebody else");
    fleet.run();
    let told = |notice: &&Notice| matches!(notice, Notice::EntryRefused { why: Refusal::TooLarge, seq: 2, .. });
    assert_eq!(fleet.notices(a).iter().filter(told).count(), 1, "its writer hears why");
    assert!(fleet.agree(&[a, c]), "a remote that takes it has it");
    assert!(fleet.agree(&[b, relay]), "others go on");
    let held: Vec<u64> = fleet.held(relay).iter().map(|tip| tip.seq).collect();
    assert_eq!(held, [1, 1]);
}
