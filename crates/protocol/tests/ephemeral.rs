//! Presence, cursors: sealed, signed, never stored, the latest alone, gone with the sender.

use std::time::Duration;

use partita_core::{Bytes, ReplicaId};
use partita_protocol::{AppendError, NodeConfig, Notice, message::Message};
use partita_testing::{fleet::Fleet, samples, strategy::OpenStrategy};

/// Replicas that are connected to a relay.
fn at_a_relay(fleet: &mut Fleet, count: usize) -> (Vec<usize>, usize, Vec<usize>) {
    let members: Vec<usize> = (0..count).map(|_| fleet.replica()).collect();
    let relay = fleet.relay();
    let links = members.iter().map(|member| fleet.connect(*member, relay)).collect();
    fleet.run();
    (members, relay, links)
}

fn say(fleet: &mut Fleet, member: usize, what: &'static [u8]) -> Result<(), AppendError> {
    let (context, document) = (Fleet::context(0).id, samples::document(1));
    fleet.with(member, |node, now| node.say_ephemeral(now, context, document, Bytes::from_static(what)))
}

/// Who is heard by a node, and saying what.
fn heard(fleet: &mut Fleet, member: usize) -> Vec<(ReplicaId, Vec<u8>)> {
    let said = fleet.node(member).ephemeral(&Fleet::context(0).id, &samples::document(1));
    said.into_iter().map(|(sender, payload)| (sender, payload.to_vec())).collect()
}

fn told(fleet: &mut Fleet, member: usize) -> Vec<Option<Vec<u8>>> {
    let notices = fleet.notices(member).into_iter();
    let payloads = notices.filter_map(|notice| match notice {
        Notice::Ephemeral { payload, .. } => Some(payload.map(|payload| payload.to_vec())),
        _ => None,
    });
    payloads.collect()
}

#[test]
fn what_is_said_reaches_the_others_through_a_relay_and_is_never_stored() {
    let mut fleet = Fleet::new(1);
    let (members, relay, links) = at_a_relay(&mut fleet, 3);
    let commits: Vec<usize> = (0..=relay).map(|member| fleet.commits(member)).collect();
    say(&mut fleet, members[0], b"here").unwrap();
    fleet.run();
    let from = fleet.id(members[0]);
    for member in &members[1..] {
        assert_eq!(heard(&mut fleet, *member), [(from, b"here".to_vec())]);
        assert_eq!(told(&mut fleet, *member), [Some(b"here".to_vec())]);
    }
    assert_eq!(heard(&mut fleet, members[0]), [], "not one's own");
    let echo = fleet.said(links[0], 1).into_iter().any(|message| matches!(message, Message::Ephemeral(_)));
    assert!(!echo);
    fleet.pass(Duration::from_secs(120));
    assert_eq!(heard(&mut fleet, members[1]).len(), 1, "it is repeated as long as its sender is there");
    assert_eq!(told(&mut fleet, members[1]), [], "and not told again");
    assert_eq!((0..=relay).map(|member| fleet.commits(member)).collect::<Vec<_>>(), commits);
}

#[test]
fn the_latest_wins_and_empty_bytes_take_it_back() {
    let mut fleet = Fleet::new(2);
    let (members, _, _) = at_a_relay(&mut fleet, 2);
    say(&mut fleet, members[0], b"first").unwrap();
    say(&mut fleet, members[0], b"second, too fast").unwrap();
    say(&mut fleet, members[0], b"third").unwrap();
    fleet.pass(Duration::from_secs(2));
    assert_eq!(told(&mut fleet, members[1]), [Some(b"first".to_vec()), Some(b"third".to_vec())]);
    say(&mut fleet, members[0], b"").unwrap();
    fleet.run();
    assert_eq!(told(&mut fleet, members[1]), [None]);
    assert_eq!(heard(&mut fleet, members[1]), []);
    fleet.pass(Duration::from_secs(60));
    assert_eq!(told(&mut fleet, members[1]), []);
}

#[test]
fn who_leaves_is_gone_at_once_and_who_falls_silent_after_a_while() {
    let mut fleet = Fleet::new(3);
    let (members, relay, links) = at_a_relay(&mut fleet, 3);
    say(&mut fleet, members[0], b"here").unwrap();
    say(&mut fleet, members[1], b"too").unwrap();
    fleet.run();
    told(&mut fleet, members[2]);
    fleet.cut(links[0]);
    fleet.run();
    assert_eq!(told(&mut fleet, members[2]), [None]);
    assert_eq!(heard(&mut fleet, members[2]).len(), 1);
    fleet.stall(links[1], 0); // half-open: no end of the connection is noticed
    fleet.pass(Duration::from_secs(31));
    assert_eq!(heard(&mut fleet, members[2]), []);
    let link = fleet.connect(members[0], relay);
    fleet.run();
    fleet.pass(Duration::from_secs(11));
    assert_eq!(heard(&mut fleet, members[2]).len(), 1, "back with the connection");
    fleet.cut(link);
}

#[test]
fn who_comes_later_hears_what_is_being_said() {
    let mut fleet = Fleet::new(4);
    let (members, relay, _) = at_a_relay(&mut fleet, 1);
    say(&mut fleet, members[0], b"here").unwrap();
    fleet.run();
    let late = fleet.replica();
    fleet.connect(late, relay);
    fleet.run();
    assert_eq!(heard(&mut fleet, late).len(), 1);
}

#[test]
fn a_mesh_passes_each_message_on_once() {
    let mut fleet = Fleet::new(5);
    let members: Vec<usize> = (0..4).map(|_| fleet.replica()).collect();
    let mut links = Vec::new();
    for (at, from) in members.iter().enumerate() {
        for to in &members[at + 1..] {
            links.push(fleet.connect(*from, *to));
        }
    }
    fleet.run();
    for link in &links {
        fleet.said(*link, 0);
        fleet.said(*link, 1);
    }
    say(&mut fleet, members[0], b"once").unwrap();
    fleet.run();
    let mut sent = 0;
    for link in links {
        for end in 0..2 {
            sent += fleet.said(link, end).iter().filter(|message| matches!(message, Message::Ephemeral(_))).count();
        }
    }
    // Each of the three others tells the two that it did not have it from.
    assert!(sent <= 9, "{sent}");
    assert!(members[1..].iter().all(|member| heard(&mut fleet, *member).len() == 1));
}

#[test]
fn only_a_sender_with_the_right_to_write_is_heard_and_nobody_speaks_for_another() {
    let mut fleet = Fleet::new(6);
    let writers = [samples::replica(1), samples::replica(3)];
    let strategy = || OpenStrategy::new().with_authors(writers);
    let a = fleet.add(NodeConfig::default(), strategy(), 1);
    let mute = fleet.add(NodeConfig::default(), OpenStrategy::new(), 1);
    let b = fleet.add(NodeConfig::default(), strategy(), 1);
    fleet.connect(a, b);
    fleet.connect(mute, b);
    fleet.run();
    say(&mut fleet, mute, b"listen").unwrap();
    fleet.run();
    assert_eq!(heard(&mut fleet, b), []);
    let link = fleet.connect(a, mute);
    fleet.run();
    fleet.said(link, 0);
    say(&mut fleet, a, b"mine").unwrap();
    fleet.run();
    assert_eq!(heard(&mut fleet, b).len(), 1);
    let said = fleet.said(link, 0).into_iter().find_map(|message| match message {
        Message::Ephemeral(said) => Some(said),
        _ => None,
    });
    let genuine = said.unwrap();
    let puppet = fleet.puppet(b, 3);
    fleet.run();
    let mut open = fleet.said(puppet, 0).into_iter().filter(|message| matches!(message, Message::Open(_)));
    let open = open.next().unwrap();
    fleet.say(puppet, &[open]);
    fleet.notices(b);
    let mut forged = Vec::new();
    for change in 0..5 {
        let mut said = genuine.clone();
        said.time = partita_core::NTP64(said.time.as_u64() + 1);
        match change {
            0 => said.payload = Bytes::from_static(b"forged"),
            1 => said.sender = writers[1],
            2 => said.document = samples::document(2),
            3 => said.signature = partita_core::Signature::from_bytes([0; 64]),
            _ => {}
        }
        forged.push(Message::Ephemeral(said));
    }
    fleet.say(puppet, &forged);
    assert_eq!(told(&mut fleet, b), []);
    let mut later = genuine.clone();
    later.time = genuine.time;
    fleet.say(puppet, &[Message::Ephemeral(later)]);
    assert_eq!(told(&mut fleet, b), [], "a replay is no news");
    // Nor can a remote end what it did not bring.
    let gone = Message::Gone { context: Fleet::context(0).id, sender: fleet.id(a) };
    fleet.say(puppet, &[gone]);
    assert_eq!(heard(&mut fleet, b).len(), 1);
}

#[test]
fn a_remote_that_does_not_read_is_sent_the_last_message_alone() {
    let mut fleet = Fleet::new(7);
    let config = NodeConfig { send_buffer: 600, accept_contexts: true, ..NodeConfig::default() };
    let (a, b) = (fleet.replica(), fleet.replica());
    let relay = fleet.add(config, OpenStrategy::new(), 0);
    fleet.connect(a, relay);
    let link = fleet.connect(b, relay);
    fleet.run();
    fleet.stall(link, 1);
    for what in [b"one", b"two", b"3rd", b"4th", b"5th", b"6th"] {
        say(&mut fleet, a, what).unwrap();
        fleet.pass(Duration::from_secs(1));
    }
    fleet.said(link, 1);
    fleet.unstall(link, 1);
    fleet.run();
    let said = fleet.said(link, 1);
    let said = said.iter().filter(|message| matches!(message, Message::Ephemeral(_))).count();
    assert!(said <= 1, "{said} after the first, which was on its way");
    let from = fleet.id(a);
    assert_eq!(heard(&mut fleet, b), [(from, b"6th".to_vec())]);
}

#[test]
fn a_flood_is_not_passed_on() {
    let mut fleet = Fleet::new(8);
    let (members, relay, _) = at_a_relay(&mut fleet, 1);
    let puppet = fleet.puppet(relay, 9);
    fleet.run();
    let flooder = fleet.replica();
    let link = fleet.connect(flooder, relay);
    fleet.run();
    let (context, document) = (Fleet::context(0).id, samples::document(1));
    for n in 0..3000u32 {
        let now = fleet.now();
        // Twenty a second is what a node says; this one says all of it within the same second.
        let mut later = now;
        later.monotonic += Duration::from_millis(u64::from(n) * 60);
        let payload = Bytes::copy_from_slice(&n.to_be_bytes());
        fleet.node(flooder).say_ephemeral(later, context, document, payload).unwrap();
        fleet.with(flooder, |_, _| ());
        if n % 200 == 0 {
            fleet.run(); // its transport takes no more at once
        }
    }
    fleet.run();
    let said = fleet.said(link, 0).into_iter().filter(|message| matches!(message, Message::Ephemeral(_))).count();
    assert!(said > 2000, "{said} were offered");
    let told = told(&mut fleet, members[0]).len();
    assert!((1..=1500).contains(&told), "{told} were passed on");
    let _ = puppet;
}

#[test]
fn taking_back_what_was_said_of_one_document_leaves_the_others() {
    let mut fleet = Fleet::new(9);
    let (members, _, _) = at_a_relay(&mut fleet, 2);
    let context = Fleet::context(0).id;
    let about = |fleet: &mut Fleet, document: u8, what: &'static [u8]| {
        let document = samples::document(document);
        let say = |node: &mut partita_protocol::Node, now| {
            node.say_ephemeral(now, context, document, Bytes::from_static(what))
        };
        fleet.with(members[0], say).unwrap();
        fleet.run();
    };
    about(&mut fleet, 1, b"here");
    about(&mut fleet, 2, b"and there");
    told(&mut fleet, members[1]);
    fleet.pass(Duration::from_secs(1));
    about(&mut fleet, 2, b"");
    assert_eq!(told(&mut fleet, members[1]), [None]);
    fleet.pass(Duration::from_secs(120));
    assert_eq!(told(&mut fleet, members[1]), [], "it never left the first");
    assert_eq!(heard(&mut fleet, members[1]).len(), 1);
}

#[test]
fn one_sender_takes_nobody_elses_room() {
    let mut fleet = Fleet::new(10);
    let (members, _, _) = at_a_relay(&mut fleet, 3);
    let context = Fleet::context(0).id;
    for n in 0..200u8 {
        let say = |node: &mut partita_protocol::Node, now| {
            node.say_ephemeral(now, context, samples::document(n), Bytes::from_static(b"noise"))
        };
        fleet.with(members[0], say).unwrap();
        fleet.run();
    }
    let known = (0..200u8).filter(|n| !fleet.node(members[2]).ephemeral(&context, &samples::document(*n)).is_empty());
    assert!(known.count() <= 32);
    say(&mut fleet, members[1], b"heard all the same").unwrap();
    fleet.run();
    let from = fleet.id(members[1]);
    assert!(heard(&mut fleet, members[2]).iter().any(|(sender, _)| *sender == from));
}

/// Whoever filled a relay with what he said in a context of his own muted everybody in all others.
#[test]
fn one_context_takes_no_other_ones_room() {
    let mut fleet = Fleet::new(12);
    let (a, b) = (fleet.replica(), fleet.replica());
    let loud = fleet.add(NodeConfig::default(), OpenStrategy::new(), 2);
    let config = NodeConfig { max_heard: 30, accept_contexts: true, ..NodeConfig::default() };
    let relay = fleet.add(config, OpenStrategy::new(), 0);
    for member in [a, b, loud] {
        fleet.connect(member, relay);
    }
    fleet.run();
    for n in 0..40u8 {
        let say = |node: &mut partita_protocol::Node, now| {
            node.say_ephemeral(now, Fleet::context(1).id, samples::document(n), Bytes::from_static(b"noise"))
        };
        fleet.with(loud, say).unwrap();
        fleet.run();
    }
    say(&mut fleet, a, b"heard all the same").unwrap();
    fleet.run();
    assert_eq!(heard(&mut fleet, b), [(fleet.id(a), b"heard all the same".to_vec())]);
}

#[test]
fn a_recording_is_no_news_after_its_sender_has_gone_and_a_clock_years_ahead_mutes_nobody() {
    let mut fleet = Fleet::new(11);
    let a = fleet.replica();
    let b = fleet.replica();
    let link = fleet.connect(a, b);
    fleet.run();
    fleet.skew(a, 3600 * 24 * 365);
    say(&mut fleet, a, b"from next year").unwrap();
    fleet.run();
    let recorded = fleet.said(link, 0).into_iter().filter(|message| matches!(message, Message::Ephemeral(_)));
    let recorded: Vec<Message> = recorded.collect();
    assert_eq!(recorded.len(), 1);
    assert_eq!(heard(&mut fleet, b), [], "its order could not be told from what comes later");
    fleet.skew(a, 0);
    fleet.crash(a);
    fleet.start(a);
    let link = fleet.connect(a, b);
    fleet.run();
    say(&mut fleet, a, b"with the right time").unwrap();
    fleet.run();
    assert_eq!(heard(&mut fleet, b).len(), 1);
    let mut later = recorded;
    later.extend(fleet.said(link, 0).into_iter().filter(|message| matches!(message, Message::Ephemeral(_))));
    fleet.cut(link);
    fleet.pass(Duration::from_secs(40));
    assert_eq!(heard(&mut fleet, b), []);
    told(&mut fleet, b);
    let puppet = fleet.puppet(b, 9);
    fleet.run();
    let open = fleet.said(puppet, 0).into_iter().find(|message| matches!(message, Message::Open(_))).unwrap();
    fleet.say(puppet, &[open]);
    fleet.say(puppet, &later);
    assert_eq!(told(&mut fleet, b), [], "ghosts");
}
