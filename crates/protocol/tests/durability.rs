//! Only what is durable is acknowledged, nothing is lost in a crash, and no number is used twice.

use std::{cell::Cell, collections::BTreeMap, rc::Rc, time::Duration};

use partita_core::{PartitionStrategy, StoreError};
use partita_protocol::{CloseReason, NodeConfig, Notice, message::Message};
use partita_testing::{fleet::Fleet, samples, strategy::OpenStrategy};

fn acknowledged(fleet: &mut Fleet, member: usize) -> usize {
    let notices = fleet.notices(member);
    let is_ack = |notice: &&Notice| matches!(notice, Notice::Acknowledged { .. });
    notices.iter().filter(is_ack).count()
}

#[test]
fn a_relay_that_lost_what_it_forwarded_gets_it_back() {
    let mut fleet = Fleet::new(1);
    let (a, b, relay) = (fleet.replica(), fleet.replica(), fleet.relay());
    fleet.connect(a, relay);
    fleet.connect(b, relay);
    fleet.run();
    fleet.hold_commits(relay);
    fleet.write(a, 1, b"forwarded before it is durable");
    fleet.run();
    assert!(fleet.agree(&[a, b]), "publishing does not wait for the disk");
    fleet.notices(a);
    fleet.crash(relay);
    fleet.start(relay);
    assert!(fleet.held(relay).is_empty());
    // Only the receiver comes back: what the relay sent it is no evidence that the relay has it.
    fleet.connect(b, relay);
    fleet.run();
    assert!(fleet.agree(&[b, relay]));
    assert_eq!(acknowledged(&mut fleet, a), 0);
    fleet.connect(a, relay);
    fleet.run();
    assert!(acknowledged(&mut fleet, a) > 0, "the frontier says so now");
}

/// What a device wrote reached another one, and then the device and the relay lost it. It comes back over the relay, which
/// knows no reason to acknowledge what it sent: the device asks, and hears of it when it is durable there.
#[test]
fn what_comes_back_to_its_author_is_acknowledged_without_another_edit() {
    for slow in [false, true] {
        let mut fleet = Fleet::new(8);
        let (a, b, relay) = (fleet.replica(), fleet.replica(), fleet.relay());
        fleet.connect(a, relay);
        fleet.connect(b, relay);
        fleet.run();
        fleet.hold_commits(a);
        fleet.hold_commits(relay);
        fleet.write(a, 1, b"lost where it was written");
        fleet.run();
        for lost in [a, relay] {
            fleet.crash(lost);
            fleet.start(lost);
        }
        fleet.connect(a, relay);
        fleet.run();
        if slow {
            fleet.hold_commits(relay);
        }
        fleet.notices(a);
        fleet.connect(b, relay);
        fleet.run();
        assert!(fleet.agree(&[a, b, relay]));
        let context = Fleet::context(0).id;
        let holders = |fleet: &mut Fleet| {
            let tips = fleet.node(a).own_tips(&context);
            fleet.node(a).holders(&context, &tips).len()
        };
        if slow {
            assert_eq!((holders(&mut fleet), acknowledged(&mut fleet, a)), (0, 0), "it is not durable there");
            fleet.release(relay);
            fleet.run();
        }
        assert_eq!(holders(&mut fleet), 1, "slow: {slow}");
        assert!(acknowledged(&mut fleet, a) > 0);
    }
}

/// Failure mode 41: only what is durable is acknowledged.
#[test]
fn acknowledgements_come_after_the_commit() {
    let mut fleet = Fleet::new(2);
    let (a, b) = (fleet.replica(), fleet.replica());
    let link = fleet.connect(a, b);
    fleet.run();
    fleet.hold_commits(b);
    fleet.said(link, 1);
    fleet.write(a, 1, b"one");
    fleet.run();
    fleet.write(a, 1, b"two");
    fleet.run();
    let is_ack = |message: &Message| matches!(message, Message::Ack { .. });
    assert!(!fleet.said(link, 1).iter().any(is_ack));
    fleet.release(b);
    fleet.run();
    assert!(fleet.said(link, 1).iter().any(is_ack));
    assert_eq!(acknowledged(&mut fleet, a), 2);
}

#[test]
fn one_commit_takes_everything_that_waits() {
    let mut fleet = Fleet::new(3);
    let a = fleet.replica();
    let before = fleet.commits(a);
    fleet.hold_commits(a);
    for n in 0..100u8 {
        fleet.write(a, 1, [n]);
    }
    fleet.release(a);
    assert_eq!(fleet.commits(a) - before, 2);
}

/// Two nodes whose commits wait for company, right after `b` committed something of `a`'s.
fn waiting_for_company() -> (Fleet, usize, usize) {
    let mut fleet = Fleet::new(11);
    let (a, b) = (fleet.replica(), fleet.replica());
    let link = fleet.connect(a, b);
    fleet.run();
    fleet.pass(Duration::from_secs(1));
    fleet.let_commits_wait();
    fleet.delay(link, Duration::ZERO);
    fleet.write(a, 1, b"committed at once, as nothing was for long");
    fleet.run();
    assert_eq!(acknowledged(&mut fleet, a), 1);
    (fleet, a, b)
}

#[test]
fn what_remotes_bring_in_quick_succession_shares_a_commit() {
    let (mut fleet, a, b) = waiting_for_company();
    let before = fleet.commits(b);
    for n in 0..20u8 {
        fleet.write(a, 1, [n]);
        fleet.run();
    }
    assert!(fleet.agree(&[a, b]), "it waits for the disk alone");
    assert_eq!((fleet.commits(b), acknowledged(&mut fleet, a)), (before, 0), "not durable, and not said to be");
    let due = fleet.node(b).commit_due().unwrap();
    fleet.pass(due - fleet.now().monotonic);
    assert_eq!(fleet.commits(b), before + 1);
    fleet.run();
    assert!(acknowledged(&mut fleet, a) > 0);
    assert_eq!(fleet.node(b).commit_due(), None);
}

#[test]
fn what_this_replica_writes_waits_for_no_company() {
    let (mut fleet, a, b) = waiting_for_company();
    fleet.write(a, 1, b"waits at the other one");
    fleet.run();
    fleet.notices(b);
    let before = fleet.commits(b);
    fleet.write(b, 1, b"its own");
    assert_eq!(fleet.commits(b), before + 1, "and takes along what waits");
    assert!(fleet.notices(b).iter().any(|notice| matches!(notice, Notice::Durable { .. })));
    assert_eq!(fleet.node(b).commit_due(), None);
}

#[test]
fn a_remote_that_has_much_to_send_is_not_held_up_by_the_pause() {
    let (mut fleet, a, b) = waiting_for_company();
    let before = fleet.commits(b);
    for _ in 0..20 {
        fleet.write(a, 1, vec![7; 1 << 20]);
        fleet.run();
    }
    assert!(fleet.agree(&[a, b]), "all of it came through a window of {} bytes", NodeConfig::default().credit);
    assert!(fleet.commits(b) > before);
}

#[test]
fn a_crash_begins_a_new_log_that_names_its_tips() {
    let mut fleet = Fleet::new(4);
    let (a, b) = (fleet.replica(), fleet.replica());
    fleet.write(a, 1, b"durable");
    fleet.hold_commits(a);
    let lost = fleet.write(a, 1, b"lost");
    fleet.crash(a);
    fleet.start(a);
    let after = fleet.write(a, 1, b"after the crash");
    assert_ne!(lost.log, after.log);
    assert_eq!(after.seq, 1);
    fleet.connect(a, b);
    fleet.run();
    let held = fleet.held(b);
    assert_eq!(held.len(), 2);
    assert!(held.iter().all(|tip| tip.seq == 1));
}

#[test]
fn a_restored_backup_uses_no_number_twice_and_gets_its_own_entries_back() {
    let mut fleet = Fleet::new(5);
    let (a, b) = (fleet.replica(), fleet.replica());
    fleet.write(a, 1, b"in the backup");
    let backup = fleet.store(a).copy(partita_testing::samples::incarnation(9));
    fleet.write(a, 1, b"behind the backup");
    let link = fleet.connect(a, b);
    fleet.run();
    fleet.cut(link);
    fleet.crash(a);
    fleet.restore(a, &backup);
    fleet.start(a);
    fleet.write(a, 1, b"after the restore");
    fleet.notices(a);
    fleet.connect(a, b);
    fleet.run();
    assert!(fleet.agree(&[a, b]));
    let mut seen = BTreeMap::new();
    for tip in fleet.held(a) {
        assert!(seen.insert((tip.log, tip.seq), tip.head).is_none());
    }
    let came_back = fleet.notices(a).into_iter().any(|notice| {
        matches!(notice, Notice::Arrived { entries, .. }
            if entries[0].entry.payload == b"behind the backup"[..])
    });
    assert!(came_back, "the application hears of what the backup lacked");
}

#[test]
fn many_opens_leave_one_tip() {
    let mut fleet = Fleet::new(6);
    let (a, b) = (fleet.replica(), fleet.replica());
    for n in 0..20u8 {
        fleet.write(a, 1, [n]);
        fleet.crash(a);
        fleet.start(a);
    }
    fleet.write(a, 1, b"last");
    fleet.connect(a, b);
    fleet.run();
    assert!(fleet.agree(&[a, b]));
    assert_eq!(fleet.held(b).len(), 21);
    let link = fleet.connect(b, a);
    fleet.write(b, 1, b"makes the hashes differ");
    fleet.run();
    for end in 0..2 {
        for message in fleet.said(link, end) {
            if let Message::Frontier { tips, .. } = message {
                assert!(tips.len() <= 2, "{tips:?}");
            }
        }
    }
}

#[test]
fn a_full_disk_refuses_what_is_new_and_blocks_nobody_else() {
    let mut fleet = Fleet::new(7);
    let (a, b, c) = (fleet.replica(), fleet.replica(), fleet.replica());
    fleet.connect(a, b);
    fleet.connect(a, c);
    fleet.run();
    fleet.store(b).fail_next_commit(StoreError::OutOfSpace);
    fleet.write(a, 1, b"too much for b");
    fleet.run();
    fleet.write(a, 1, b"and more");
    fleet.run();
    assert!(fleet.node(b).failure().is_some());
    assert!(fleet.try_write(b, 1, b"no").is_err());
    assert!(fleet.agree(&[a, c]));
}

/// Nothing more is written, and nobody waits for a commit that never comes: what is there can still be read.
#[test]
fn what_is_asked_of_a_store_that_failed_is_answered_from_what_it_has() {
    let mut fleet = Fleet::new(15);
    let (a, b) = (fleet.replica(), fleet.replica());
    fleet.write(a, 1, b"stored");
    fleet.run();
    fleet.store(a).fail_next_commit(StoreError::OutOfSpace);
    fleet.write(a, 1, b"lost");
    fleet.run();
    assert_eq!(fleet.node(a).failure(), Some(&StoreError::OutOfSpace));
    fleet.with(a, |node, now| node.close_context(now, Fleet::context(0).id));
    fleet.notices(a);
    fleet.open(a, 0);
    fleet.run();
    let is_ready = |notice: &Notice| matches!(notice, Notice::ContextReady(_));
    assert!(fleet.notices(a).iter().any(is_ready), "it was read behind what was never committed");
    fleet.connect(b, a);
    fleet.run();
    assert_eq!(fleet.held(b).iter().map(|tip| tip.seq).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_remote_that_fell_silent_is_given_up_after_three_heartbeats() {
    let mut fleet = Fleet::new(8);
    let (a, b) = (fleet.replica(), fleet.replica());
    let link = fleet.connect(a, b);
    fleet.pass(Duration::from_secs(300));
    assert!(fleet.is_up(link), "heartbeats keep an idle connection up");
    fleet.stall(link, 1); // half open: what b says reaches nobody
    fleet.pass(Duration::from_secs(25));
    assert!(fleet.is_up(link));
    fleet.pass(Duration::from_secs(30));
    assert!(!fleet.is_up(link));
    assert_eq!(fleet.closed(a).last().unwrap().1, CloseReason::Silent);
}

/// Failure mode 31: without acknowledgements the stream stops, instead of running on.
#[test]
fn a_reader_that_stalls_is_sent_no_more_than_its_credit() {
    let mut fleet = Fleet::new(9);
    let (a, b) = (fleet.replica(), fleet.replica());
    let link = fleet.connect(a, b);
    fleet.run();
    fleet.hold_commits(b); // what arrives stays in receive memory
    for _ in 0..200 {
        fleet.write(a, 1, vec![7; 60_000]);
        fleet.run();
    }
    let sent: u64 = fleet
        .said(link, 0)
        .iter()
        .map(|message| match message {
            Message::Entries(run) => run.cost(),
            _ => 0,
        })
        .sum();
    assert!(sent <= (4 << 20) + (1 << 20), "{sent} bytes");
    fleet.release(b);
    fleet.run();
    assert!(fleet.agree(&[a, b]), "the credit came back by itself");
}

/// Failure mode 24: what does not fit into a buffer is not put there, so nothing is dropped from it.
#[test]
fn a_transport_that_takes_nothing_is_not_filled() {
    let mut fleet = Fleet::new(10);
    let (a, b) = (fleet.replica(), fleet.replica());
    let link = fleet.connect(a, b);
    fleet.run();
    fleet.stall(link, 0);
    for _ in 0..100 {
        fleet.write(a, 1, vec![7; 60_000]);
    }
    let entries = |messages: &[Message]| {
        let of = |message: &&Message| matches!(message, Message::Entries(_));
        messages.iter().filter(of).count()
    };
    let said = fleet.said(link, 0);
    assert!(entries(&said) * 60_000 < 1 << 20, "{}", entries(&said));
    fleet.unstall(link, 0);
    fleet.run();
    assert!(fleet.agree(&[a, b]));
}

/// Readers that are slow are not given up for what they were sent by this node's own choice.
#[test]
fn many_transports_that_take_nothing_are_filled_less() {
    let mut fleet = Fleet::new(11);
    let config = NodeConfig { max_outgoing_bytes: 500_000, ..NodeConfig::default() };
    let a = fleet.add(config, OpenStrategy::new(), 1);
    let readers = [fleet.replica(), fleet.replica(), fleet.replica()];
    let links = readers.map(|reader| fleet.connect(a, reader));
    fleet.run();
    for link in links {
        fleet.stall(link, 0);
    }
    for _ in 0..20 {
        fleet.write(a, 1, vec![7; 60_000]);
    }
    assert!(fleet.closed(a).is_empty(), "{:?}", fleet.closed(a));
    for link in links {
        fleet.unstall(link, 0);
    }
    fleet.run();
    assert!(fleet.agree(&[a, readers[0], readers[1], readers[2]]));
}

/// A checkpoint's snapshots went with it while one that counts nowhere was kept apart, and nobody could open the store again.
#[test]
fn a_quarantined_entry_whose_log_is_gone_damages_nothing() {
    let mut fleet = Fleet::new(30);
    let a = fleet.replica();
    fleet.write(a, 1, b"kept");
    let context = Fleet::context(0).id;
    let mut log = samples::SampleLog::new(77, context, 1);
    log.change(samples::document(1), &b"first"[..]);
    let second = log.change(samples::document(1), &b"second"[..]);
    let mut record = partita_core::codec::Writer::new();
    record.bytes(&second.head_bytes());
    record.raw(&second.payload);
    let key = partita_core::Key::Quarantine(context, log.id(), 2);
    fleet.with(a, |node, _| node.put_record(key, record.finish()));
    fleet.run();
    fleet.crash(a);
    fleet.start(a);
    fleet.run();
    assert_eq!(fleet.node(a).failure(), None);
    assert_eq!(fleet.held(a).len(), 1);
}

/// A later version of a strategy may refuse what an earlier one took. Others rest on it all the same: it keeps its place among the
/// control entries, and what comes behind it counts.
#[test]
fn what_rests_on_a_control_entry_that_a_later_strategy_refuses_is_taken_all_the_same() {
    let mut fleet = Fleet::new(31);
    let is_later = Rc::new(Cell::new(false));
    let version = is_later.clone();
    let maker = move || -> Box<dyn PartitionStrategy> {
        let strategy = OpenStrategy::new();
        Box::new(if version.get() { strategy.refusing(b"old") } else { strategy })
    };
    let member = fleet.add_with(NodeConfig::default(), samples::signing_key(1), Box::new(maker));
    fleet.open(member, 0);
    let other = fleet.replica();
    fleet.control(member, b"old".to_vec().into());
    let link = fleet.connect(member, other);
    fleet.run();
    fleet.cut(link);
    fleet.write(other, 1, b"rests on it");
    fleet.control(other, b"and so does this".to_vec().into());
    let control_entries = |fleet: &mut Fleet| fleet.node(member).context_status()[0].control_entries;
    is_later.set(true);
    for expected in [1, 2] {
        // The second time its own store has what rests on it.
        fleet.crash(member);
        fleet.start(member);
        assert_eq!(fleet.node(member).failure(), None);
        assert_eq!(control_entries(&mut fleet), expected);
        let link = fleet.connect(member, other);
        fleet.run();
        assert!(fleet.agree(&[member, other]));
        fleet.cut(link);
    }
    assert_eq!(fleet.held(member).len(), 3);
    fleet.write(member, 1, b"and it writes on");
    fleet.connect(member, other);
    fleet.run();
    assert!(fleet.agree(&[member, other]));
}
