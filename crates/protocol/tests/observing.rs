//! What a node tells of how far its remotes are, and how it asks whether they are there.

use std::time::Duration;

use partita_core::SessionId;
use partita_protocol::{CloseReason, Event, LagCursor, message::Message};
use partita_testing::fleet::{Fleet, Member};

/// Every session's lag, in steps of so many logs, and how many steps that took.
fn lags(fleet: &mut Fleet, member: Member, budget: usize) -> (Vec<(SessionId, u64)>, usize) {
    let (mut cursor, mut found, mut steps) = (LagCursor::default(), Vec::new(), 0);
    loop {
        steps += 1;
        assert!(steps < 1000, "it goes round and round");
        let done =
            fleet.node(member).sample_lag(&mut cursor, budget, |peer, entries| found.push((peer.session, entries)));
        if done {
            assert_eq!(cursor, LagCursor::default(), "the next call begins with the first session");
            return (found, steps);
        }
    }
}

#[test]
fn lag_is_the_same_in_whatever_steps_it_is_looked_at() {
    let mut fleet = Fleet::new(1);
    let (relay, writer) = (fleet.relay(), fleet.replica());
    let readers = [fleet.replica(), fleet.replica(), fleet.replica()];
    let to_writer = fleet.connect(writer, relay);
    let links = readers.map(|reader| fleet.connect(reader, relay));
    fleet.run();
    // One of the readers takes nothing from now on.
    fleet.stall(links[1], 1);
    for n in 0..20u8 {
        fleet.write(writer, n, [n; 10]);
    }
    fleet.run();
    assert!(fleet.is_up(to_writer));
    let (whole, steps) = lags(&mut fleet, relay, 10_000);
    assert_eq!(steps, 1);
    let entries: Vec<u64> = whole.iter().map(|(_, entries)| *entries).collect();
    assert_eq!(entries, [0, 0, 20, 0], "the writer, and three readers");
    let (stepwise, steps) = lags(&mut fleet, relay, 1);
    assert_eq!(stepwise, whole);
    assert!(steps >= 4, "a budget of one log goes no further than one context: {steps}");
    assert_eq!((fleet.node(relay).session_count(), fleet.node(relay).context_count()), (4, 1));
    assert!(fleet.node(relay).entries_taken() >= 20);
}

/// Neither of them ever acknowledges what it brought to the other.
#[test]
fn relays_that_bring_each_other_entries_do_not_seem_to_lag() {
    let mut fleet = Fleet::new(4);
    let (one, other) = (fleet.relay(), fleet.relay());
    let (left, right) = (fleet.replica(), fleet.replica());
    fleet.connect(left, one);
    fleet.connect(right, other);
    let between = fleet.connect(one, other);
    fleet.run();
    for n in 0..5u8 {
        fleet.write(left, n, [n; 10]);
        fleet.write(right, n, [n; 10]);
    }
    fleet.run();
    assert!(fleet.is_up(between) && fleet.agree(&[left, right, one, other]));
    for relay in [one, other] {
        let (lags, _) = lags(&mut fleet, relay, 100);
        assert!(lags.len() == 2 && lags.iter().all(|(_, entries)| *entries == 0), "{lags:?}");
    }
}

fn session(fleet: &mut Fleet, member: Member) -> SessionId {
    let mut cursor = LagCursor::default();
    let mut found = None;
    fleet.node(member).sample_lag(&mut cursor, 100, |peer, _| found = Some(peer.session));
    found.unwrap()
}

#[test]
fn whoever_does_not_answer_a_question_is_gone_soon() {
    let mut fleet = Fleet::new(2);
    let member = fleet.replica();
    let puppet = fleet.puppet(member, 9);
    fleet.run();
    let id = session(&mut fleet, member);
    fleet.pass(Duration::from_secs(10));
    fleet.with(member, |node, now| node.handle(now, Event::Probe(id)));
    fleet.pass(Duration::from_millis(300));
    // A second question is no reason to wait longer.
    fleet.with(member, |node, now| node.handle(now, Event::Probe(id)));
    let due = fleet.node(member).tick_due().unwrap();
    assert_eq!(due - fleet.now().monotonic, Duration::from_millis(200));
    assert!(fleet.is_up(puppet));
    fleet.pass(Duration::from_millis(250));
    fleet.run();
    assert!(!fleet.is_up(puppet), "half a second has passed");
    assert_eq!(fleet.closed(member), [(id, CloseReason::Silent)]);
    assert_eq!(fleet.node(member).tick_due(), None);
}

/// Half of a connection was dead: what the relay said came, what it was told did not, and nobody found out for 45 s.
#[test]
fn whoever_talks_and_does_not_answer_is_gone_as_soon() {
    let mut fleet = Fleet::new(4);
    let member = fleet.replica();
    let puppet = fleet.puppet(member, 9);
    fleet.run();
    let id = session(&mut fleet, member);
    fleet.with(member, |node, now| node.handle(now, Event::Probe(id)));
    for _ in 0..6 {
        fleet.say(puppet, &[Message::Credit(0)]);
        // What it answers was asked before the question.
        fleet.say(puppet, &[Message::Heartbeat { nonce: 1, clock: 0, reply: true }]);
        fleet.pass(Duration::from_millis(100));
    }
    assert_eq!(fleet.closed(member), [(id, CloseReason::Silent)]);
}

#[test]
fn whoever_is_far_away_has_more_time_to_answer() {
    let mut fleet = Fleet::new(5);
    let (one, other) = (fleet.replica(), fleet.replica());
    let link = fleet.connect(one, other);
    fleet.delay(link, Duration::from_millis(300));
    fleet.run();
    fleet.pass(Duration::from_secs(20));
    let id = session(&mut fleet, one);
    for _ in 0..10 {
        fleet.with(one, |node, now| node.handle(now, Event::Probe(id)));
        fleet.pass(Duration::from_millis(550));
        assert!(fleet.is_up(link));
    }
}

#[test]
fn whoever_answers_stays() {
    let mut fleet = Fleet::new(3);
    let (one, other) = (fleet.replica(), fleet.replica());
    let link = fleet.connect(one, other);
    fleet.run();
    let id = session(&mut fleet, one);
    fleet.with(one, |node, now| node.handle(now, Event::Probe(id)));
    fleet.run();
    assert_eq!(fleet.node(one).tick_due(), None);
    for _ in 0..30 {
        fleet.pass(Duration::from_secs(1));
        assert!(fleet.is_up(link));
    }
}
