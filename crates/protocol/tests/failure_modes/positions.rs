//! What a node believes that it holds, and that others hold.

use partita_core::{Frontier, PeerInfo, Refusal, Tip};
use partita_protocol::{NodeConfig, Notice, message::Message};
use partita_testing::{fleet::Fleet, samples, strategy::OpenStrategy};

use super::{arrived, count, entries, guest, is_ack, run_of};

fn acknowledged(said: &[Message]) -> Vec<u64> {
    let acks = said.iter().filter_map(|message| match message {
        Message::Ack { held, .. } => Some(held.iter().map(|(_, seq)| *seq)),
        _ => None,
    });
    acks.flatten().collect()
}

/// The remotes that hold all that a node wrote, as it knows.
fn holders(fleet: &mut Fleet, member: usize) -> Vec<PeerInfo> {
    let context = Fleet::context(0).id;
    let tips = fleet.node(member).own_tips(&context);
    assert!(!tips.is_empty());
    fleet.node(member).holders(&context, &tips)
}

/// Failure mode 15: where an entry was lost on its way, what follows it is neither taken nor acknowledged.
#[test]
fn a_gap_is_never_acknowledged() {
    let mut fleet = Fleet::new(15);
    let member = fleet.replica();
    let remote = guest(&mut fleet, member, 60);
    let mut log = samples::SampleLog::new(61, Fleet::context(0).id, 1);
    let written: Vec<_> = (0..4u8).map(|n| log.change(samples::document(1), vec![n])).collect();
    fleet.said(remote, 0);
    fleet.say(remote, &[run_of(&[&written[0]]), run_of(&[&written[2], &written[3]])]);
    let said = fleet.said(remote, 0);
    assert_eq!(acknowledged(&said), [1]);
    let gap = |message: &Message| matches!(message, Message::Refused(it) if it.why == Refusal::Gap && it.seq == 2);
    assert_eq!(count(&said, gap), 1, "{said:?}");
    fleet.say(remote, &[run_of(&[&written[1], &written[2], &written[3]])]);
    assert_eq!(acknowledged(&fleet.said(remote, 0)), [4]);
}

/// A remote holds more of others' logs than this node where a checkpoint came there first. It says so once.
#[test]
fn what_a_remote_said_that_it_holds_is_not_sent_to_it_though_it_was_not_here_then() {
    for known in 0..2 {
        let mut fleet = Fleet::new(36);
        let member = fleet.replica();
        let (one, other) = (guest(&mut fleet, member, 60), guest(&mut fleet, member, 61));
        let context = Fleet::context(0).id;
        let mut log = samples::SampleLog::new(62, context, 1);
        let written: Vec<_> = (0..4u8).map(|n| log.change(samples::document(1), vec![n])).collect();
        if known > 0 {
            fleet.say(other, &[run_of(&[&written[0]])]);
        }
        fleet.say(one, &[Message::Ack { context, held: vec![(log.id(), 3)] }]);
        fleet.said(one, 0);
        fleet.say(other, &[run_of(&written.iter().skip(known).collect::<Vec<_>>())]);
        fleet.run();
        assert_eq!(entries(&fleet.said(one, 0)), 1, "the fourth alone");
    }
}

/// Failure mode 18: what a reconnect asks for is answered where it was asked, whoever of the two dials.
#[test]
fn a_reconnect_is_answered_on_its_own_connection_whoever_dials() {
    for first_dials in [true, false] {
        let mut fleet = Fleet::new(18);
        let (a, b) = (fleet.replica(), fleet.replica());
        let link = fleet.connect(a, b);
        fleet.write(a, 1, b"before");
        fleet.run();
        fleet.cut(link);
        fleet.write(a, 1, b"of the one");
        fleet.write(b, 1, b"of the other");
        let link = if first_dials { fleet.connect(a, b) } else { fleet.connect(b, a) };
        fleet.run();
        assert!(fleet.agree(&[a, b]));
        for end in 0..2 {
            let said = fleet.said(link, end);
            assert_eq!(entries(&said), 1, "what the other one lacks, on this connection: {said:?}");
            assert!(count(&said, |message| matches!(message, Message::Frontier { .. })) == 1);
        }
    }
}

/// Failure mode 22: who acknowledges is who is at the other end, and who wrote an entry is who signed it.
#[test]
fn acknowledgements_and_authorship_come_from_keys_and_not_from_claims() {
    let mut fleet = Fleet::new(22);
    let member = fleet.replica();
    let (one, other) = (guest(&mut fleet, member, 60), guest(&mut fleet, member, 61));
    let written = fleet.write(member, 1, b"mine");
    fleet.run();
    assert_eq!(holders(&mut fleet, member), []);
    fleet.say(one, &[Message::Ack { context: Fleet::context(0).id, held: vec![(written.log, 1)] }]);
    let known: Vec<_> = holders(&mut fleet, member).iter().map(|peer| peer.replica).collect();
    assert_eq!(known, [samples::replica(60)]);
    // A log in another's name, signed by who sends it.
    let context = Fleet::context(0).id;
    let honest = samples::SampleLog::new(62, context, 1).change(samples::document(1), &b"forged"[..]);
    let mut forged = (*honest).clone();
    forged.signature = Some(partita_core::EntryHeader::sign(&forged.id, &samples::signing_key(61)));
    fleet.say(other, &[run_of(&[&forged.into()])]);
    assert!(!fleet.is_up(other));
    assert_eq!(fleet.held(member).len(), 1);
}

/// Failure mode 23: what succeeded is never sent again, and what did not is not forgotten by a restart.
#[test]
fn every_entry_is_sent_once_however_often_connections_and_nodes_break() {
    let mut fleet = Fleet::new(23);
    let (a, b) = (fleet.replica(), fleet.replica());
    let mut sent = 0;
    for round in 0..6u8 {
        for n in 0..10 {
            fleet.write(a, 1, [round, n]);
        }
        if round % 2 == 1 {
            fleet.crash(a);
            fleet.start(a);
        }
        let link = fleet.connect(a, b);
        fleet.run();
        for n in 10..15 {
            fleet.write(a, 1, [round, n]);
            fleet.run();
        }
        fleet.pass(std::time::Duration::from_secs(60));
        sent += entries(&fleet.said(link, 0));
        fleet.cut(link);
    }
    assert_eq!(sent, 6 * 15);
    assert_eq!(arrived(&mut fleet, b).len(), 6 * 15);
    assert!(fleet.agree(&[a, b]));
}

/// Failure mode 30: an own change that comes back hides no other's: each hears of the others' changes, once, and not of
/// its own.
#[test]
fn an_echo_hides_nobody_elses_change() {
    let mut fleet = Fleet::new(30);
    let clients = [fleet.replica(), fleet.replica(), fleet.replica()];
    let config = NodeConfig { accept_contexts: true, send_buffer: 1, ..NodeConfig::default() };
    let relays = [0; 2].map(|_| fleet.add(config.clone(), OpenStrategy::new(), 0));
    let mut links = Vec::new();
    for relay in relays {
        links.extend(clients.map(|client| fleet.connect(client, relay)));
    }
    fleet.connect(relays[0], relays[1]);
    fleet.run();
    for round in 0..20u8 {
        // What a relay has for others waits while it takes what they bring.
        links.iter().for_each(|link| fleet.stall(*link, 1));
        for client in clients {
            fleet.write(client, 1, [client as u8, round]);
            fleet.run();
        }
        if round % 3 == 0 {
            links.iter().for_each(|link| fleet.unstall(*link, 1));
            fleet.run();
        }
    }
    links.iter().for_each(|link| fleet.unstall(*link, 1));
    fleet.run();
    for client in clients {
        let mut heard = arrived(&mut fleet, client);
        heard.sort_unstable();
        let others = clients.iter().filter(|other| **other != client);
        let expected: Vec<_> = others.flat_map(|other| (0..20).map(|round| vec![*other as u8, round])).collect();
        assert_eq!(heard, expected);
    }
}

/// Failure mode 31: an acknowledgement of an earlier entry satisfies nobody who waits for a later one.
#[test]
fn an_old_acknowledgement_is_none_of_what_came_later() {
    let mut fleet = Fleet::new(31);
    let member = fleet.replica();
    let remote = guest(&mut fleet, member, 60);
    let context = Fleet::context(0).id;
    let log = fleet.write(member, 1, b"one").log;
    let ack = |seq| [Message::Ack { context, held: vec![(log, seq)] }];
    fleet.say(remote, &ack(1));
    assert_eq!(holders(&mut fleet, member).len(), 1);
    fleet.write(member, 1, b"two");
    fleet.write(member, 1, b"three");
    for _ in 0..3 {
        fleet.say(remote, &ack(1));
        assert_eq!(holders(&mut fleet, member), []);
    }
    fleet.say(remote, &ack(2));
    assert_eq!(holders(&mut fleet, member), []);
    fleet.say(remote, &ack(3));
    assert_eq!(holders(&mut fleet, member).len(), 1);
}

/// Failure mode 35: that a remote holds my writes says nothing of how far I have what others wrote there.
#[test]
fn an_acknowledgement_of_own_writes_moves_nothing_that_was_read() {
    let mut fleet = Fleet::new(35);
    let member = fleet.replica();
    let context = Fleet::context(0).id;
    let mut log = samples::SampleLog::new(61, context, 1);
    let theirs: Vec<_> = (0..5u8).map(|n| log.change(samples::document(1), vec![n])).collect();
    let remote = guest(&mut fleet, member, 60);
    let own = fleet.write(member, 1, b"mine");
    // The remote has both. What others wrote before it comes behind the acknowledgement, and the connection breaks there.
    let held = vec![(own.log, own.seq), (log.id(), 5)];
    fleet.say(remote, &[Message::Ack { context, held }]);
    assert_eq!(holders(&mut fleet, member).len(), 1);
    fleet.say(remote, &[run_of(&[&theirs[0], &theirs[1]])]);
    assert_eq!(arrived(&mut fleet, member).len(), 2);
    fleet.cut(remote);
    let remote = fleet.puppet(member, 60);
    fleet.run();
    let said = fleet.said(remote, 0);
    let mine = Tip { log: own.log, seq: own.seq, head: own.id };
    let read = Tip { log: log.id(), seq: 2, head: theirs[1].id };
    let expected = Frontier::new(vec![mine, read]).hash();
    let asks = |message: &Message| matches!(message, Message::Open(open) if open.frontier == expected);
    assert_eq!(count(&said, asks), 1, "it asks for all that it does not hold: {said:?}");
    let open = said.into_iter().find(asks).unwrap();
    fleet.say(remote, &[open, run_of(&theirs.iter().collect::<Vec<_>>())]);
    assert_eq!(arrived(&mut fleet, member).len(), 3);
}

/// Failure mode 33: nobody is caught up before positions were compared and everything is durable.
#[test]
fn caught_up_is_said_after_the_comparison_and_the_commit_and_not_before() {
    let mut fleet = Fleet::new(33);
    let config = NodeConfig { credit: 4_000, ..NodeConfig::default() };
    let (a, b) = (fleet.replica(), fleet.add(config, OpenStrategy::new(), 1));
    for n in 0..50u32 {
        fleet.write(a, 1, samples::noise(n.into(), 200));
    }
    let caught_up = |fleet: &mut Fleet| {
        let notices = fleet.notices(b);
        notices.iter().filter(|notice| matches!(notice, Notice::CaughtUp { .. })).count()
    };
    fleet.pass(std::time::Duration::from_secs(30));
    assert_eq!(caught_up(&mut fleet), 0, "nobody is connected");
    let link = fleet.connect(a, b);
    fleet.stall(link, 0);
    fleet.pass(std::time::Duration::from_secs(5));
    assert_eq!(caught_up(&mut fleet), 0, "the other one said nothing yet");
    fleet.hold_commits(b);
    fleet.unstall(link, 0);
    fleet.run();
    assert_eq!(caught_up(&mut fleet), 0, "not everything is here");
    fleet.release(b);
    fleet.run();
    assert_eq!(caught_up(&mut fleet), 1);
    assert!(fleet.agree(&[a, b]));
    assert!(count(&fleet.said(link, 1), is_ack) > 0);
}
