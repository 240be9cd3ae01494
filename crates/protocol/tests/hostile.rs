//! Bytes from outside never crash a node, never allocate without bound, and cost their own session alone.

use partita_core::{Bytes, ContextKind, Hash, LogId, Refusal, Tip};
use partita_protocol::{
    CloseReason, NodeConfig,
    message::{Granted, Message, Open, Opened, Piece, Refused, Run},
};
use partita_testing::{fleet::Fleet, samples, strategy::OpenStrategy};

/// A node with an entry, an honest neighbour, and a puppet that has the context open.
fn besieged(seed: u64) -> (Fleet, [usize; 2], usize, usize) {
    let mut fleet = Fleet::new(seed);
    let (a, b) = (fleet.replica(), fleet.replica());
    let link = fleet.connect(a, b);
    fleet.write(a, 1, b"something");
    let puppet = fleet.puppet(a, 66);
    fleet.run();
    let open = fleet.said(puppet, 0).into_iter();
    let open = open.filter(|message| matches!(message, Message::Open(_))).collect::<Vec<_>>();
    let accepted = Message::Opened(Opened {
        context: Fleet::context(0).id,
        number: 1,
        outcome: Ok(Granted { differs: false, proof: None }),
    });
    fleet.say(puppet, &[open[0].clone(), accepted, Message::Credit(1 << 20)]);
    fleet.said(puppet, 0);
    (fleet, [a, b], link, puppet)
}

/// The neighbour noticed nothing.
fn others_go_on(fleet: &mut Fleet, [a, b]: [usize; 2], link: usize) {
    assert!(fleet.is_up(link));
    fleet.write(a, 1, b"afterwards");
    fleet.write(b, 1, b"afterwards");
    fleet.run();
    assert!(fleet.agree(&[a, b]));
}

fn raw(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![tag];
    let mut out = partita_core::codec::Writer::new();
    out.bytes(body);
    frame.extend_from_slice(out.as_slice());
    frame
}

#[test]
fn garbage_closes_its_own_session_only() {
    let heartbeat = Message::Heartbeat { nonce: 1, clock: 0, reply: false };
    let whole = Message::encode_frame(&[heartbeat]);
    let frames: Vec<Bytes> = vec![
        vec![0xff; 300].into(),
        whole.slice(..whole.len() - 1), // truncated
        [&whole[..], &[12]].concat().into(),
        raw(63, b"must be understood").into(),
        raw(0, b"").into(),
        raw(14, b"a longer goodbye").into(),
        raw(12, &[0, 0, 0, 0, 0, 0, 0, 1, 7]).into(),
        raw(8, &[&[0; 32][..], &[0xff; 9], &[1]].concat()).into(),
        raw(64, b"skippable").repeat(2)[..13].to_vec().into(),
    ];
    for frame in frames {
        let (mut fleet, nodes, link, puppet) = besieged(1);
        fleet.say_frame(puppet, frame.clone());
        assert!(!fleet.is_up(puppet), "{frame:?}");
        let said = fleet.said(puppet, 0);
        assert!(matches!(said.last(), Some(Message::Error { code: 1, .. })));
        others_go_on(&mut fleet, nodes, link);
    }
}

#[test]
fn what_may_be_skipped_is_skipped() {
    let (mut fleet, nodes, link, puppet) = besieged(2);
    let mut frame = raw(100, b"from a later version");
    frame.extend(raw(200, &[0; 5000]));
    let heartbeat = Message::Heartbeat { nonce: 5, clock: 0, reply: false };
    frame.extend_from_slice(&Message::encode_frame(&[heartbeat]));
    fleet.say_frame(puppet, frame.into());
    let said = fleet.said(puppet, 0);
    assert!(matches!(said[..], [Message::Heartbeat { nonce: 5, reply: true, .. }]), "{said:?}");
    others_go_on(&mut fleet, nodes, link);
}

#[test]
fn absurd_claims_are_counted_for_no_more_than_they_can_be() {
    let (mut fleet, nodes, link, puppet) = besieged(3);
    let context = Fleet::context(0).id;
    let own = fleet.node(nodes[0]).own_log(&context).unwrap();
    let unknown = LogId::from_bytes([9; 16]);
    let tip = |log| Tip { log, seq: u64::MAX, head: partita_core::EntryId::from_bytes([1; 32]) };
    let mut tips = vec![tip(own), tip(unknown)];
    tips.sort_unstable();
    let piece = |seq, offset| Piece { context, log: own, seq, offset };
    let refused = |log, seq, why| Message::Refused(Refused { context, log, seq, why, heads: Vec::new() });
    let hostile = [
        Message::Ack { context, held: vec![(own, u64::MAX), (unknown, 3), (own, 0)] },
        Message::Frontier { context, tips, more: false },
        Message::Ack { context, held: vec![(own, u64::MAX)] },
        Message::Want(piece(1, u64::MAX)),
        Message::Want(piece(u64::MAX, 0)),
        Message::Fragment { piece: piece(1, 0), bytes: Bytes::from_static(b"not asked for") },
        Message::Fragment { piece: piece(u64::MAX, u64::MAX), bytes: Bytes::from_static(b"not asked for") },
        refused(own, u64::MAX, Refusal::Gap),
        refused(own, 0, Refusal::Gap),
        refused(unknown, 1, Refusal::Quota),
        Message::Retry { context, logs: vec![own, unknown] },
        Message::Credit(u64::MAX),
        Message::Credit(u64::MAX),
        Message::Heartbeat { nonce: u64::MAX, clock: u64::MAX, reply: true },
        Message::Have { context, tips: vec![tip(own)] },
    ];
    for message in hostile {
        fleet.say(puppet, &[message]);
    }
    fleet.node(nodes[0]).session_status();
    assert!(fleet.is_up(puppet));
    others_go_on(&mut fleet, nodes, link);
}

#[test]
fn a_flood_of_opens_is_answered_and_kept_within_bounds() {
    let mut fleet = Fleet::new(4);
    let relay = fleet.add(
        NodeConfig { accept_contexts: true, max_session_contexts: 10, ..NodeConfig::default() },
        OpenStrategy::new(),
        0,
    );
    let puppet = fleet.puppet(relay, 66);
    let open = |n: u32, kind: &str| {
        let kind = ContextKind::new(kind).unwrap();
        let mut root = [0; 32];
        root[..4].copy_from_slice(&n.to_be_bytes());
        Message::Open(Open {
            context: partita_core::ContextId::derive(&kind, &root),
            number: 1,
            kind,
            frontier: Hash::ZERO,
            proof: Bytes::from_static(&[0; 100]),
        })
    };
    for round in 0..5 {
        let opens: Vec<_> = (0..200).map(|n| open(round * 200 + n, "open/plain")).collect();
        fleet.say(puppet, &opens);
        fleet.say(puppet, &[open(round, "unheard/of")]);
    }
    let contexts = fleet.node(relay).context_status().len();
    // Those of one frame are on their way to being loaded together.
    assert!(contexts <= 210, "{contexts}");
    let refused = |message: &&Message| {
        matches!(message, Message::Opened(opened)
            if matches!(opened.outcome, Err(Refusal::Quota | Refusal::UnknownKind)))
    };
    assert!(fleet.said(puppet, 0).iter().filter(refused).count() >= 800);
    assert!(fleet.is_up(puppet));
}

#[test]
fn entries_that_are_not_what_they_say_are_not_taken() {
    let context = Fleet::context(0).id;
    let mut log = samples::SampleLog::new(66, context, 1);
    let first = log.change(samples::document(1), &b"first"[..]);
    let second = log.change(samples::document(1), &b"second"[..]);
    let run = |entries: &[&std::sync::Arc<partita_core::Entry>], signature| {
        let run = Run::of(entries.iter().map(|entry| (*entry).clone()).collect()).unwrap();
        Message::Entries(Run { signature, ..run })
    };
    // A signature of another entry.
    let (mut fleet, nodes, link, puppet) = besieged(5);
    fleet.say(puppet, &[run(&[&first], second.signature.unwrap())]);
    assert!(!fleet.is_up(puppet));
    others_go_on(&mut fleet, nodes, link);
    // A log that begins in its middle is a gap, and a replay is acknowledged and nothing else.
    let (mut fleet, nodes, link, puppet) = besieged(6);
    fleet.say(puppet, &[run(&[&second], second.signature.unwrap())]);
    let gap = fleet.said(puppet, 0);
    assert!(gap.iter().any(|message| matches!(message,
        Message::Refused(refused) if refused.why == Refusal::Gap && refused.seq == 1)));
    for _ in 0..3 {
        fleet.say(puppet, &[run(&[&first, &second], second.signature.unwrap())]);
    }
    assert_eq!(fleet.held(nodes[0]).len(), 2);
    // Another entry at a place that is taken: that log alone stops, in that session alone.
    let mut fork = samples::SampleLog::new(66, context, 1);
    fork.change(samples::document(1), &b"another first"[..]);
    let third = fork.change(samples::document(1), &b"another second"[..]);
    let fourth = fork.change(samples::document(1), &b"another third"[..]);
    fleet.said(puppet, 0);
    fleet.say(puppet, &[run(&[&third, &fourth], fourth.signature.unwrap())]);
    let said = fleet.said(puppet, 0);
    assert!(
        said.iter().any(|message| matches!(message,
        Message::Refused(refused) if refused.why == Refusal::Fork)),
        "{said:?}"
    );
    assert!(fleet.is_up(puppet));
    others_go_on(&mut fleet, nodes, link);
}

#[test]
fn more_than_the_credit_is_a_breach() {
    let (mut fleet, nodes, link, puppet) = besieged(7);
    fleet.hold_commits(nodes[0]);
    let mut log = samples::SampleLog::new(66, Fleet::context(0).id, 1);
    for _ in 0..20 {
        let entry = log.change(samples::document(1), vec![1; 500_000]);
        fleet.say(puppet, &[Message::Entries(Run::of(vec![entry]).unwrap())]);
    }
    assert!(!fleet.is_up(puppet));
    fleet.release(nodes[0]);
    others_go_on(&mut fleet, nodes, link);
}

#[test]
fn a_remote_that_asks_and_never_reads_is_given_up() {
    let mut fleet = Fleet::new(8);
    let config = NodeConfig { max_send_queue: 100_000, ..NodeConfig::default() };
    let a = fleet.add(config, OpenStrategy::new(), 1);
    let puppet = fleet.puppet(a, 66);
    fleet.stall(puppet, 0);
    let heartbeat = Message::Heartbeat { nonce: 1, clock: 0, reply: false };
    for _ in 0..20 {
        fleet.say(puppet, &vec![heartbeat.clone(); 4000]);
    }
    assert_eq!(fleet.closed(a).last().unwrap().1, CloseReason::Stalled);
}

/// Each had 64 MiB of its own: a few hundred took all memory that there was.
#[test]
fn remotes_that_never_read_share_one_limit_and_who_has_most_to_read_is_given_up() {
    let mut fleet = Fleet::new(9);
    let config = NodeConfig { max_outgoing_bytes: 100_000, ..NodeConfig::default() };
    let a = fleet.add(config, OpenStrategy::new(), 1);
    let b = fleet.replica();
    let link = fleet.connect(a, b);
    let puppets = [66, 67, 68].map(|seed| fleet.puppet(a, seed));
    fleet.run();
    let heartbeat = Message::Heartbeat { nonce: 1, clock: 0, reply: false };
    for puppet in puppets {
        fleet.stall(puppet, 0);
        fleet.say(puppet, &vec![heartbeat.clone(); 500]);
    }
    assert!(fleet.closed(a).is_empty());
    for _ in 0..20 {
        fleet.say(puppets[2], &vec![heartbeat.clone(); 1000]);
    }
    let closed: Vec<_> = fleet.closed(a).iter().map(|(_, reason)| reason.clone()).collect();
    assert_eq!(closed, [CloseReason::Stalled]);
    assert!(fleet.is_up(puppets[0]) && fleet.is_up(puppets[1]));
    others_go_on(&mut fleet, [a, b], link);
}

/// Of a run that is taken in part, what was taken could be proved to nobody: not even the honest could pass it on, and what
/// they write rests on it.
#[test]
fn control_entries_come_one_by_one_or_not_at_all() {
    let (mut fleet, nodes, link, puppet) = besieged(12);
    let mut log = samples::SampleLog::new(66, Fleet::context(0).id, 1);
    let (first, second) = (log.control(&b"?"[..]), log.control(&b"?"[..]));
    let before = fleet.held(nodes[0]);
    fleet.say(puppet, &[Message::Entries(Run::of(vec![first.clone(), second.clone()]).unwrap())]);
    let said = fleet.said(puppet, 0);
    let refused = |message: &Message| matches!(message, Message::Refused(refused) if refused.why == Refusal::Invalid);
    assert!(said.iter().any(refused), "{said:?}");
    assert_eq!(fleet.held(nodes[0]), before);
    for entry in [first, second] {
        fleet.say(puppet, &[Message::Entries(Run::of(vec![entry]).unwrap())]);
    }
    assert_eq!(fleet.held(nodes[1]).len(), before.len() + 1, "the neighbour has them, too");
    others_go_on(&mut fleet, nodes, link);
}
