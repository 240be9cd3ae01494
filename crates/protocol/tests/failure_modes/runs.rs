//! Connections that break inside a batch, and what comes in another order than it was sent.

use std::time::Duration;

use partita_protocol::{NodeConfig, message::RunLimits};
use partita_testing::{fleet::Fleet, samples, strategy::OpenStrategy};

use super::{arrived, entries, guest, run_of};

fn narrow() -> NodeConfig {
    let run = RunLimits { entries: 3, bytes: 1_000 };
    NodeConfig { credit: 3_000, run, tail_bytes: 1_000, fragment_bytes: 2_000, ..NodeConfig::default() }
}

/// Failure mode 27: wherever a batch is cut off, the rest of it comes later, each entry once and in its order.
#[test]
fn a_cut_inside_a_batch_skips_nothing() {
    let mut cut_inside = 0;
    for moment in 1..60 {
        let mut fleet = Fleet::new(27);
        let (a, b) = (fleet.add(narrow(), OpenStrategy::new(), 1), fleet.add(narrow(), OpenStrategy::new(), 1));
        let written: Vec<Vec<u8>> =
            (0..40u64).map(|n| samples::noise(n, if n % 9 == 4 { 5_000 } else { 150 }).to_vec()).collect();
        for payload in &written {
            fleet.write(a, 1, payload);
        }
        let link = fleet.connect(a, b);
        fleet.pass(Duration::from_millis(10 * moment));
        fleet.cut(link);
        let before = arrived(&mut fleet, b);
        cut_inside += usize::from(!before.is_empty() && before.len() < written.len());
        fleet.connect(a, b);
        fleet.run();
        let all: Vec<_> = before.into_iter().chain(arrived(&mut fleet, b)).collect();
        assert_eq!(all, written, "cut after {moment} steps");
        assert!(fleet.agree(&[a, b]));
    }
    assert!(cut_inside > 10, "most cuts are to lie inside: {cut_inside}");
}

/// Failure mode 28: what came too early does not stand for what came before it, also when the connection then breaks.
#[test]
fn an_order_turned_around_and_a_disconnect_lose_nothing() {
    let mut fleet = Fleet::new(28);
    let member = fleet.replica();
    let context = Fleet::context(0).id;
    let mut logs = [61, 62].map(|seed| samples::SampleLog::new(seed, context, 1));
    let [late, whole] = [0, 1].map(|at: usize| -> Vec<_> {
        (0..4u8).map(|n| logs[at].change(samples::document(1), vec![at as u8, n])).collect()
    });
    let remote = guest(&mut fleet, member, 60);
    fleet.say(remote, &[run_of(&[&late[2], &late[3]]), run_of(&whole.iter().collect::<Vec<_>>())]);
    fleet.cut(remote);
    assert_eq!(fleet.held(member), [logs[1].tip().unwrap()], "the lower ones of the other log are not here");
    let remote = guest(&mut fleet, member, 60);
    fleet.say(remote, &[run_of(&late.iter().collect::<Vec<_>>())]);
    assert_eq!(fleet.held(member).len(), 2);
    let heard = arrived(&mut fleet, member);
    assert_eq!(heard.iter().filter(|payload| payload[0] == 0).count(), 4);
    assert_eq!(heard.len(), 8);
}

/// Failure mode 29: what is written during a first copy, in what was already copied, is there in the end: also when the
/// copy breaks off and when the one that copies crashes.
#[test]
fn what_changes_during_a_first_copy_is_not_skipped() {
    for breaks in [None, Some(false), Some(true)] {
        let mut fleet = Fleet::new(29);
        let (a, b) = (fleet.add(narrow(), OpenStrategy::new(), 1), fleet.add(narrow(), OpenStrategy::new(), 1));
        for n in 0..60u64 {
            fleet.write(a, (n / 10) as u8, samples::noise(n, 200));
        }
        let link = fleet.connect(a, b);
        for n in 0..60u8 {
            fleet.pass(Duration::from_millis(10));
            fleet.write(a, 0, [n]);
            if n == 8 {
                let begun = entries(&fleet.said(link, 0));
                assert!(begun > 0 && begun < 60, "in the middle of the copy: {begun}");
                match breaks {
                    Some(true) => fleet.crash(b),
                    Some(false) => fleet.cut(link),
                    None => {}
                }
            }
            if n == 14 && breaks.is_some() {
                if breaks == Some(true) {
                    fleet.start(b);
                }
                fleet.connect(b, a);
            }
        }
        fleet.run();
        assert!(fleet.agree(&[a, b]));
        assert_eq!(fleet.held(b)[0].seq, 120);
    }
}
