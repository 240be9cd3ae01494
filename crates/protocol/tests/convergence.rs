//! What was written somewhere is everywhere, once the network allows.

use partita_protocol::{NodeConfig, Notice, message::Message};
use partita_testing::{fleet::Fleet, strategy::OpenStrategy};

fn arrived(fleet: &mut Fleet, member: usize) -> Vec<Vec<u8>> {
    let notices = fleet.notices(member).into_iter();
    let entries = notices.filter_map(|notice| match notice {
        Notice::Arrived { entries, .. } => Some(entries),
        _ => None,
    });
    let payloads = entries.flatten().map(|found| found.entry.payload.to_vec());
    payloads.collect()
}

fn count(messages: &[Message], of: impl Fn(&Message) -> bool) -> usize {
    messages.iter().filter(|message| of(message)).count()
}

fn is_entries(message: &Message) -> bool {
    matches!(message, Message::Entries(_))
}

/// Two replicas and a relay, connected.
fn pair() -> (Fleet, [usize; 3], [usize; 2]) {
    let mut fleet = Fleet::new(1);
    let (a, b, relay) = (fleet.replica(), fleet.replica(), fleet.relay());
    let links = [fleet.connect(a, relay), fleet.connect(b, relay)];
    fleet.run();
    (fleet, [a, b, relay], links)
}

#[test]
fn two_nodes_converge_through_a_relay() {
    let (mut fleet, [a, b, relay], _) = pair();
    fleet.write(a, 1, b"from a");
    fleet.run();
    fleet.write(b, 1, b"from b");
    fleet.run();
    assert_eq!(arrived(&mut fleet, b), [b"from a"]);
    assert_eq!(arrived(&mut fleet, a), [b"from b"]);
    assert!(fleet.agree(&[a, b, relay]));
    assert_eq!(fleet.held(a).len(), 2);
}

#[test]
fn edits_made_offline_meet() {
    let mut fleet = Fleet::new(2);
    let (a, b) = (fleet.replica(), fleet.replica());
    for n in 0..10u8 {
        fleet.write(a, 1, [n]);
        fleet.write(b, 2, [n]);
    }
    fleet.connect(a, b);
    fleet.run();
    assert!(fleet.agree(&[a, b]));
    assert_eq!(arrived(&mut fleet, a).len(), 10);
    assert_eq!(arrived(&mut fleet, b).len(), 10);
}

/// Failure mode 39: a heal is enough.
#[test]
fn three_nodes_in_a_chain_converge_without_a_new_edit_after_a_heal() {
    let mut fleet = Fleet::new(3);
    let (a, b, c) = (fleet.replica(), fleet.replica(), fleet.replica());
    let link = fleet.connect(a, b);
    fleet.connect(b, c);
    fleet.run();
    fleet.write(a, 1, b"before");
    fleet.run();
    fleet.cut(link);
    fleet.write(a, 1, b"meanwhile");
    fleet.write(c, 1, b"meanwhile");
    fleet.run();
    assert!(!fleet.agree(&[a, b]));
    fleet.connect(a, b);
    fleet.run();
    assert!(fleet.agree(&[a, b, c]));
}

/// Failure mode 30: echoes are kept back by session, so that no other's change is kept back with them.
#[test]
fn what_came_from_a_session_is_not_sent_back_there() {
    let (mut fleet, [a, _, _], links) = pair();
    fleet.said(links[0], 1);
    fleet.said(links[1], 1);
    fleet.write(a, 1, b"once");
    fleet.run();
    assert_eq!(count(&fleet.said(links[0], 1), is_entries), 0);
    assert_eq!(count(&fleet.said(links[1], 1), is_entries), 1);
}

#[test]
fn an_unchanged_context_costs_one_open_and_one_opened() {
    let (mut fleet, [a, _, relay], links) = pair();
    fleet.write(a, 1, b"something");
    fleet.run();
    fleet.cut(links[0]);
    let link = fleet.connect(a, relay);
    fleet.run();
    let dialer = fleet.said(link, 0);
    assert!(matches!(dialer[..], [Message::Credit(_), Message::Heartbeat { .. }, Message::Open(_)]), "{dialer:?}");
    let acceptor = fleet.said(link, 1);
    assert!(
        matches!(acceptor[..], [Message::Credit(_), Message::Heartbeat { .. }, Message::Opened(_)]),
        "{acceptor:?}"
    );
    let reader = relay_reader(&mut fleet, relay);
    fleet.write(reader, 1, b"and it is open both ways");
    fleet.run();
    assert_eq!(count(&fleet.said(link, 1), is_entries), 1);
    fleet.write(a, 1, b"and back");
    fleet.run();
    assert_eq!(count(&fleet.said(link, 0), is_entries), 1);
}

fn relay_reader(fleet: &mut Fleet, relay: usize) -> usize {
    let reader = fleet.replica();
    fleet.connect(reader, relay);
    fleet.run();
    reader
}

/// The remote's answer says that it holds what was offered; what became durable here since then is not among that.
#[test]
fn entries_written_while_a_context_is_opened_are_sent() {
    let (mut fleet, [a, _, relay], links) = pair();
    fleet.write(a, 1, b"before");
    fleet.run();
    fleet.cut(links[0]);
    fleet.connect(a, relay);
    for n in 0..5u8 {
        fleet.write(a, 1, [n]); // durable at once: the answer is still on its way
    }
    fleet.run();
    assert!(fleet.agree(&[a, relay]));
}

#[test]
fn five_thousand_entries_are_caught_up_with_from_the_store() {
    let mut fleet = Fleet::new(4);
    let config = NodeConfig { tail_bytes: 1000, ..NodeConfig::default() };
    let a = fleet.add(config.clone(), OpenStrategy::new(), 1);
    let relay = fleet.add(NodeConfig { accept_contexts: true, ..config }, OpenStrategy::new(), 0);
    let b = fleet.replica();
    for n in 0..5000u32 {
        fleet.write(a, (n % 7) as u8, n.to_be_bytes());
    }
    fleet.connect(a, relay);
    fleet.run();
    fleet.connect(b, relay);
    fleet.run();
    assert!(fleet.agree(&[a, b, relay]));
    let payloads = arrived(&mut fleet, b);
    let expected: Vec<_> = (0..5000u32).map(|n| n.to_be_bytes().to_vec()).collect();
    assert_eq!(payloads, expected, "in order, each once");
}

/// Failure mode 9: what is missing is sent, and not the range that it lies in.
#[test]
fn one_missing_entry_among_many_costs_that_entry() {
    let (mut fleet, [a, _, relay], links) = pair();
    for n in 0..500u32 {
        fleet.write(a, 1, n.to_be_bytes());
    }
    fleet.run();
    fleet.cut(links[0]);
    fleet.write(a, 1, b"the missing one");
    let link = fleet.connect(a, relay);
    fleet.run();
    let sent: usize = fleet
        .said(link, 0)
        .iter()
        .map(|message| match message {
            Message::Entries(run) => run.entries.len(),
            _ => 0,
        })
        .sum();
    assert_eq!(sent, 1);
}

#[test]
fn a_predecessor_that_a_frontier_does_not_list_is_asked_for_rather_than_sent_again() {
    let mut fleet = Fleet::new(5);
    let (a, b, c) = (fleet.replica(), fleet.replica(), fleet.replica());
    for n in 0..100u32 {
        fleet.write(a, 1, n.to_be_bytes());
    }
    let (ab, ac) = (fleet.connect(a, b), fleet.connect(a, c));
    fleet.run();
    fleet.cut(ac);
    fleet.cut(ab);
    // A new open, so a new log; only b hears of it.
    fleet.crash(a);
    fleet.start(a);
    fleet.write(a, 1, b"the new log");
    fleet.connect(a, b);
    fleet.run();
    let bc = fleet.connect(c, b);
    fleet.run();
    let said = fleet.said(bc, 0);
    assert_eq!(count(&said, is_entries), 0, "{said:?}");
    assert_eq!(count(&said, |message| matches!(message, Message::Have { .. })), 1);
    assert!(fleet.agree(&[a, b, c]));
}

/// Failure mode 1: all contexts are sent, not the first of them alone.
#[test]
fn every_context_gets_its_turn() {
    let mut fleet = Fleet::new(6);
    let config = NodeConfig { tail_bytes: 100, ..NodeConfig::default() };
    let a = fleet.add(config.clone(), OpenStrategy::new(), 60);
    let b = fleet.add(config, OpenStrategy::new(), 60);
    for context in 0..60 {
        for n in 0..20u8 {
            fleet.try_write_in(a, context, 1, &[n; 300]).unwrap();
        }
    }
    fleet.connect(a, b);
    fleet.run();
    for context in 0..60 {
        assert_eq!(fleet.held_in(a, context), fleet.held_in(b, context));
        assert_eq!(fleet.held_in(b, context)[0].seq, 20);
    }
}

#[test]
fn when_a_target_leaves_another_one_takes_its_place() {
    let mut fleet = Fleet::new(7);
    let a = fleet.add(NodeConfig::default(), OpenStrategy::new().with_targets(1), 1);
    let (b, c) = (fleet.replica(), fleet.replica());
    let first = fleet.connect(a, b);
    fleet.connect(a, c);
    fleet.run();
    fleet.write(a, 1, b"for one");
    fleet.run();
    assert!(fleet.agree(&[a, b]));
    assert!(fleet.held(c).is_empty());
    fleet.cut(first);
    fleet.run();
    assert!(fleet.agree(&[a, c]));
}

#[test]
fn what_is_written_while_an_open_is_on_its_way_is_sent() {
    for head_start in 0..8 {
        let mut fleet = Fleet::new(8);
        let (a, b) = (fleet.replica(), fleet.replica());
        fleet.connect(a, b);
        for _ in 0..head_start {
            fleet.pass(std::time::Duration::from_millis(5));
        }
        fleet.write(a, 1, b"meanwhile");
        fleet.write(b, 1, b"meanwhile");
        fleet.run();
        assert!(fleet.agree(&[a, b]));
    }
}
