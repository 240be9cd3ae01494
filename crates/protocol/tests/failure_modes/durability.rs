//! What a disk has and what is said about it.

use std::time::Duration;

use partita_core::{Store as _, StoreError, Timestamp};
use partita_protocol::{
    Notice,
    reads::{self, ReadRequest, ReadResult},
};
use partita_testing::{
    fleet::{Fleet, Member},
    samples,
};

use super::{arrived, count, is_ack};

fn tells(fleet: &mut Fleet, member: Member, of: impl Fn(&Notice) -> bool) -> usize {
    fleet.notices(member).iter().filter(|notice| of(notice)).count()
}

/// Failure mode 16: stamps rise when the clock is set back, and after a restart: the store is what the clock goes on
/// from, as far as a clock follows anybody.
#[test]
fn stamps_rise_over_a_restart_with_the_clock_set_back() {
    let mut fleet = Fleet::new(16);
    let (a, b) = (fleet.replica(), fleet.replica());
    fleet.skew(a, 200); // within the drift limit
    fleet.write(a, 1, b"minutes ahead");
    fleet.skew(a, 0);
    fleet.write(a, 1, b"set back");
    fleet.crash(a);
    fleet.start(a);
    fleet.write(a, 1, b"after the restart");
    fleet.connect(a, b);
    fleet.run();
    let mut stamps: Vec<Timestamp> = Vec::new();
    for notice in fleet.notices(b) {
        let Notice::Arrived { entries, .. } = notice else { continue };
        stamps.extend(entries.iter().map(|arrival| arrival.entry.header.time));
    }
    assert_eq!(stamps.len(), 3);
    assert!(stamps.is_sorted_by(|earlier, later| earlier < later), "{stamps:?}");
}

/// Failure mode 32: a position does not move when what it stands for could not be stored.
#[test]
fn what_could_not_be_stored_comes_again() {
    let mut fleet = Fleet::new(32);
    let (a, b) = (fleet.replica(), fleet.replica());
    fleet.connect(a, b);
    fleet.run();
    fleet.write(a, 1, b"stored");
    fleet.run();
    fleet.store(b).fail_next_commit(StoreError::Io("the disk is gone".into()));
    fleet.write(a, 1, b"not stored");
    fleet.run();
    fleet.write(a, 1, b"behind it");
    fleet.run();
    fleet.crash(b);
    fleet.start(b);
    assert_eq!(fleet.held(b)[0].seq, 1);
    fleet.notices(b);
    fleet.connect(a, b);
    fleet.run();
    assert_eq!(arrived(&mut fleet, b), [&b"not stored"[..], b"behind it"]);
    assert!(fleet.agree(&[a, b]));
}

/// Failure mode 34: a store that reports an error acknowledges nothing, to nobody, and the node says that it failed.
#[test]
fn a_store_that_reports_an_error_acknowledges_nothing() {
    let mut fleet = Fleet::new(34);
    let (a, b) = (fleet.replica(), fleet.replica());
    let link = fleet.connect(a, b);
    fleet.run();
    fleet.said(link, 1);
    fleet.store(b).fail_next_commit(StoreError::Io("the disk is gone".into()));
    for n in 0..5u8 {
        fleet.write(a, 1, [n]);
        fleet.run();
    }
    fleet.pass(Duration::from_secs(60));
    assert_eq!(count(&fleet.said(link, 1), is_ack), 0);
    assert_eq!(tells(&mut fleet, a, |notice| matches!(notice, Notice::Acknowledged { .. })), 0);
    assert_eq!(tells(&mut fleet, b, |notice| matches!(notice, Notice::StoreFailed(_))), 1);
    // Also a local writer hears of it, instead of a success.
    fleet.store(a).fail_next_commit(StoreError::OutOfSpace);
    fleet.notices(a);
    fleet.write(a, 1, b"lost");
    assert_eq!(tells(&mut fleet, a, |notice| matches!(notice, Notice::Durable { .. })), 0);
    assert_eq!(fleet.node(a).failure(), Some(&StoreError::OutOfSpace));
    assert!(fleet.try_write(a, 1, b"and no more").is_err());
}

/// How far the store says that each log goes, and how far it does.
fn recorded_and_stored(fleet: &Fleet, member: Member) -> Vec<(u64, u64)> {
    let context = Fleet::context(0).id;
    let view = fleet.store(member).read().unwrap();
    let Ok(ReadResult::Context(state)) = reads::answer(&*view, &ReadRequest::Context(context)) else {
        panic!("the store cannot be read");
    };
    let mut found = Vec::new();
    for (log, record) in &state.logs {
        let mut stored = 0;
        view.log(&context, log, 1, &mut |_| {
            stored += 1;
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
        found.push((record.seq, stored));
    }
    found
}

/// Failure mode 37: how far a log is held lies in the transaction of its entries: no crash parts them.
#[test]
fn a_crash_never_parts_a_position_from_its_data() {
    let mut seen = 0;
    for commits in 0..40 {
        let mut fleet = Fleet::new(37);
        let (a, b) = (fleet.replica(), fleet.replica());
        fleet.connect(a, b);
        fleet.run();
        fleet.hold_commits_after(b, commits); // what comes after them is lost
        for n in 0..10u8 {
            fleet.write(a, 1, [n]);
            fleet.write(b, 2, [n]);
            fleet.pass(Duration::from_millis(5));
        }
        fleet.run();
        fleet.crash(b);
        for (recorded, stored) in recorded_and_stored(&fleet, b) {
            assert_eq!(recorded, stored, "after {commits} commits");
            seen += 1;
        }
        fleet.start(b);
        fleet.connect(b, a);
        fleet.run();
        assert!(fleet.agree(&[a, b]));
    }
    assert!(seen > 30, "{seen} logs were looked at");
}

/// Failure mode 41: a heartbeat says that somebody is there, and nothing about what is durable.
#[test]
fn heartbeats_acknowledge_nothing() {
    let mut fleet = Fleet::new(41);
    let (a, b) = (fleet.replica(), fleet.replica());
    let link = fleet.connect(a, b);
    fleet.run();
    fleet.hold_commits(b);
    fleet.write(a, 1, b"in memory alone");
    fleet.said(link, 1);
    fleet.pass(Duration::from_secs(120));
    let said = fleet.said(link, 1);
    let is_heartbeat = |message: &partita_protocol::message::Message| {
        matches!(message, partita_protocol::message::Message::Heartbeat { .. })
    };
    assert!(count(&said, is_heartbeat) >= 4, "they went on");
    assert_eq!(count(&said, is_ack), 0);
    let context = Fleet::context(0).id;
    let tips = fleet.node(a).own_tips(&context);
    assert_eq!(fleet.node(a).holders(&context, &tips), []);
    fleet.crash(b);
    fleet.start(b);
    fleet.notices(b);
    fleet.connect(a, b);
    fleet.run();
    assert_eq!(arrived(&mut fleet, b), [b"in memory alone"]);
}

/// Failure mode 42: what is written while an earlier transaction is under way is not taken for written with it.
#[test]
fn an_edit_made_during_a_commit_is_durable_with_the_next_one() {
    let mut fleet = Fleet::new(42);
    let a = fleet.replica();
    fleet.notices(a);
    fleet.hold_commits(a);
    let first = fleet.write(a, 1, b"under way");
    let second = fleet.write(a, 1, b"made meanwhile");
    fleet.release(a);
    let notices = fleet.notices(a);
    let durable: Vec<u64> = notices
        .iter()
        .filter_map(|notice| match notice {
            Notice::Durable { arrival, .. } => Some(*arrival),
            _ => None,
        })
        .collect();
    assert_eq!(durable, [first.arrival, second.arrival], "each after its own transaction");
    // With a crash between the two, the second one was never said to be durable.
    fleet.write(a, 1, samples::noise(42, 100));
    fleet.hold_commits(a);
    fleet.write(a, 1, b"under way");
    fleet.write(a, 1, b"lost with the power");
    assert_eq!(tells(&mut fleet, a, |notice| matches!(notice, Notice::Durable { .. })), 1);
    fleet.crash(a);
    fleet.start(a);
    assert_eq!(fleet.held(a)[0].seq, 3);
}
