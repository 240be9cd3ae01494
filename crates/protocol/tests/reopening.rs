//! Opens, answers, closes and rights that cross each other on the way: whatever the order, everything comes right by itself.

use std::time::Duration;

use partita_core::{Access, Hash, Refusal};
use partita_protocol::{
    NodeConfig, Notice,
    message::{Message, Open, RunLimits},
};
use partita_testing::{
    fleet::{Fleet, LinkId},
    samples,
    strategy::OpenStrategy,
};

/// A replica, a relay, a replica; the links of the replicas to the relay.
fn trio(seed: u64) -> (Fleet, [usize; 3], [LinkId; 2]) {
    let mut fleet = Fleet::new(seed);
    let (a, b, relay) = (fleet.replica(), fleet.replica(), fleet.relay());
    let links = [fleet.connect(a, relay), fleet.connect(b, relay)];
    fleet.run();
    (fleet, [a, b, relay], links)
}

fn close(fleet: &mut Fleet, member: usize) {
    fleet.with(member, |node, now| node.close_context(now, Fleet::context(0).id));
}

#[test]
fn a_hundred_contexts_with_long_logs_in_the_store_all_come() {
    let mut fleet = Fleet::new(1);
    let run = RunLimits { entries: 8, bytes: 64 << 10 };
    let config = NodeConfig { run, tail_bytes: 0, ..NodeConfig::default() };
    let (from, to) = (fleet.add(config.clone(), OpenStrategy::new(), 100), fleet.add(config, OpenStrategy::new(), 100));
    for context in 0..100 {
        for n in 0..40u8 {
            fleet.try_write_in(from, context, 1, &[n]).unwrap();
        }
    }
    fleet.crash(from);
    fleet.start(from);
    fleet.connect(to, from);
    fleet.run();
    for context in 0..100 {
        let held: u64 = fleet.held_in(to, context).iter().map(|tip| tip.seq).sum();
        assert_eq!(held, 40, "context {context}");
    }
}

#[test]
fn what_was_on_its_way_to_a_context_that_was_just_closed_comes_after_it_is_open_again() {
    let (mut fleet, [a, b, relay], links) = trio(2);
    fleet.delay(links[1], Duration::from_millis(40));
    fleet.write(a, 1, b"on its way");
    fleet.pass(Duration::from_millis(15)); // at the relay, not at `b`
    close(&mut fleet, b);
    fleet.run();
    fleet.open(b, 0);
    fleet.run();
    assert!(fleet.agree(&[a, b, relay]));
    fleet.write(a, 1, b"and what comes later");
    fleet.run();
    assert!(fleet.agree(&[a, b, relay]));
}

/// The same when it is opened again at once: what was on its way comes there before the right to it is shown again.
#[test]
fn what_comes_to_a_context_before_its_right_is_shown_again_is_asked_for_later() {
    for wait in 0..12 {
        let (mut fleet, [a, b, relay], links) = trio(2);
        fleet.delay(links[1], Duration::from_millis(40));
        fleet.write(a, 1, b"on its way");
        fleet.pass(Duration::from_millis(15)); // at the relay, not at `b`
        close(&mut fleet, b);
        fleet.open(b, 0);
        fleet.pass(Duration::from_millis(10 * wait));
        fleet.write(a, 1, b"and more");
        fleet.run();
        assert!(fleet.agree(&[a, b, relay]), "after {} ms", 10 * wait);
    }
}

#[test]
fn the_answer_to_an_earlier_open_is_not_taken_for_that_to_a_later_one() {
    let (mut fleet, [a, _, relay], links) = trio(3);
    let context = Fleet::context(0);
    fleet.write(a, 1, b"both have this");
    fleet.run();
    fleet.cut(links[0]);
    fleet.connect(a, relay);
    // The first `Open` is on its way; all of this happens before its answer.
    fleet.write(a, 1, b"the relay has never seen this");
    close(&mut fleet, a);
    fleet.open(a, 0);
    let tips = fleet.node(a).own_tips(&context.id);
    while !fleet.agree(&[a, relay]) {
        assert_eq!(fleet.node(a).holders(&context.id, &tips), [], "nobody has said that it holds it");
        assert!(fleet.step(), "nothing is on its way, and the relay lacks an entry");
    }
    fleet.run();
    assert_eq!(fleet.node(a).holders(&context.id, &tips).len(), 1);
}

#[test]
fn a_device_that_was_dialled_and_closed_a_context_opens_it_again() {
    let mut fleet = Fleet::new(4);
    let waiting = || OpenStrategy::new().waiting_for_proofs();
    let dialer = fleet.add(NodeConfig::default(), waiting(), 1);
    let dialled = fleet.add(NodeConfig::default(), waiting(), 1);
    let late = fleet.add(NodeConfig::default(), waiting(), 0);
    fleet.connect(dialer, dialled);
    fleet.connect(dialer, late);
    fleet.run();
    close(&mut fleet, dialled);
    fleet.run();
    fleet.write(dialer, 1, b"meanwhile");
    fleet.open(dialled, 0);
    fleet.open(late, 0);
    fleet.run();
    assert!(fleet.agree(&[dialer, dialled, late]));
    fleet.write(late, 1, b"both ways");
    fleet.run();
    assert!(fleet.agree(&[dialer, dialled, late]));
}

#[test]
fn a_close_that_comes_while_the_remote_loads_the_context_is_not_forgotten() {
    let (mut fleet, [a, b, relay], _) = trio(5);
    fleet.write(a, 1, b"before");
    fleet.run();
    fleet.crash(relay);
    fleet.start(relay);
    close(&mut fleet, relay); // it has not loaded it yet, as after a restart
    fleet.hold_commits(relay);
    let other = fleet.add(NodeConfig::default(), OpenStrategy::new(), 2);
    fleet.connect(other, relay);
    fleet.run();
    let _ = fleet.try_write_in(other, 1, 1, b"a commit that takes its time");
    fleet.run();
    close(&mut fleet, relay);
    fleet.connect(a, relay);
    fleet.run();
    close(&mut fleet, a);
    fleet.run();
    fleet.release(relay);
    fleet.run();
    fleet.open(a, 0);
    fleet.run();
    fleet.write(a, 1, b"after");
    fleet.connect(b, relay);
    fleet.run();
    assert!(fleet.agree(&[a, b, relay]));
}

#[test]
fn a_right_that_comes_back_works_in_both_directions() {
    let mut fleet = Fleet::new(6);
    let gated = || OpenStrategy::new().with_gate();
    let owner = fleet.add(NodeConfig::default(), gated(), 1);
    let dialer = fleet.add(NodeConfig::default(), gated(), 1);
    let open = fleet.replica();
    let admission = OpenStrategy::admit(fleet.id(owner));
    fleet.control(dialer, admission);
    fleet.connect(owner, dialer);
    fleet.run();
    fleet.write(open, 1, b"of the dialled");
    fleet.write(dialer, 1, b"of the dialer");
    fleet.connect(dialer, open);
    fleet.run();
    assert!(!fleet.agree(&[dialer, open]), "the dialer does not let it in yet");
    for member in [dialer, open] {
        let admission = OpenStrategy::admit(fleet.id(member));
        fleet.control(owner, admission);
    }
    fleet.run();
    let admission = OpenStrategy::admit(fleet.id(dialer));
    fleet.control(owner, admission);
    fleet.run();
    assert!(fleet.agree(&[owner, dialer, open]));
    fleet.write(open, 1, b"and on");
    fleet.write(dialer, 1, b"both");
    fleet.run();
    assert!(fleet.agree(&[owner, dialer, open]));
}

#[test]
fn an_open_that_is_repeated_does_not_queue_the_frontier_as_often() {
    let mut fleet = Fleet::new(7);
    let victim = fleet.replica();
    let context = Fleet::context(0);
    let full = fleet.replica();
    for _ in 0..200 {
        fleet.write(full, 1, b"a log of its own");
        fleet.crash(full);
        fleet.start(full);
    }
    fleet.connect(full, victim);
    fleet.run();
    let puppet = fleet.puppet(victim, 9);
    fleet.run();
    fleet.said(puppet, 0);
    let open = |number| {
        Message::Open(Open {
            context: context.id,
            number,
            kind: context.kind.clone(),
            frontier: Hash::ZERO,
            proof: partita_core::Bytes::new(),
        })
    };
    let empty = || Message::Frontier { context: context.id, tips: Vec::new(), more: false };
    let frame: Vec<Message> = (1..=2000).flat_map(|number| [open(number), empty()]).collect();
    fleet.say(puppet, &frame);
    let said = fleet.said(puppet, 0);
    let frontiers = said.iter().filter(|message| matches!(message, Message::Frontier { .. })).count();
    assert!((1..=2).contains(&frontiers), "{frontiers}");
}

#[test]
fn a_refused_log_does_not_hold_up_the_others_of_its_context() {
    let mut fleet = Fleet::new(8);
    let run = RunLimits { entries: 8, bytes: 64 << 10 };
    let config = NodeConfig { run, tail_bytes: 0, ..NodeConfig::default() };
    let from = fleet.add(config.clone(), OpenStrategy::new(), 1);
    let others: Vec<usize> = (0..3).map(|_| fleet.add(config.clone(), OpenStrategy::new(), 1)).collect();
    for writer in &others {
        for n in 0..100u8 {
            fleet.write(*writer, 1, [n]);
        }
        fleet.connect(*writer, from);
        fleet.run();
    }
    let refused = fleet.id(others[0]);
    // It takes one author's entries from nobody.
    let authors = others[1..].iter().map(|writer| fleet.id(*writer)).collect::<Vec<_>>();
    let picky = fleet.add(config, OpenStrategy::new().with_authors(authors), 1);
    fleet.connect(from, picky);
    fleet.run();
    let held: u64 = fleet.held(picky).iter().map(|tip| tip.seq).sum();
    assert_eq!(held, 200);
    let notices = fleet.notices(from);
    let told = notices.iter().any(|notice| matches!(notice, Notice::EntryRefused { why: Refusal::Excluded, .. }));
    assert!(told, "{refused:?}");
}

#[test]
fn a_right_to_write_that_is_added_lets_what_was_refused_come() {
    let mut fleet = Fleet::new(9);
    let writer = fleet.add(NodeConfig::default(), OpenStrategy::new(), 1);
    let reads = OpenStrategy::new().with_peers([(samples::replica(1), Access::Read)]);
    let picky = fleet.add(NodeConfig::default(), reads, 1);
    fleet.write(writer, 1, b"not allowed");
    fleet.connect(writer, picky);
    fleet.run();
    assert_eq!(fleet.held(picky), []);
}
