//! Payloads of any size arrive: in pieces, resumed by offset, from whoever has them.

use std::{sync::Arc, time::Duration};

use partita_core::{Bytes, Entry, EntryHeader, Key};
use partita_protocol::{
    CloseReason, NodeConfig,
    message::{Message, Piece, Run},
};
use partita_testing::{fleet::Fleet, samples, strategy::OpenStrategy};

const LARGE: usize = 5 << 20;

fn offsets(messages: &[Message]) -> Vec<u64> {
    let wanted = messages.iter().filter_map(|message| match message {
        Message::Want(piece) => Some(piece.offset),
        _ => None,
    });
    wanted.collect()
}

fn fragments(messages: &[Message]) -> usize {
    let of = |message: &&Message| matches!(message, Message::Fragment { .. });
    messages.iter().filter(of).count()
}

/// Failure mode 44: no size of a change wedges anything.
#[test]
fn several_megabytes_travel_as_fragments_and_hold_up_nobody() {
    let mut fleet = Fleet::new(1);
    let (a, b, relay) = (fleet.replica(), fleet.replica(), fleet.relay());
    fleet.write(a, 1, samples::noise(1, LARGE));
    fleet.write(a, 2, b"behind the large one");
    let link = fleet.connect(a, relay);
    fleet.connect(b, relay);
    fleet.run();
    assert!(fleet.agree(&[a, b, relay]));
    assert!(fragments(&fleet.said(link, 0)) >= LARGE >> 16);
    // Nothing of the pieces stays behind.
    let log = fleet.node(a).own_log(&Fleet::context(0).id).unwrap();
    let view = partita_core::Store::read(fleet.store(relay)).unwrap();
    let mut left = 0;
    view.scan(&Key::fragments(&Fleet::context(0).id, &log, 1), &mut |_, _| {
        left += 1;
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(left, 0);
}

#[test]
fn a_cut_connection_resumes_where_it_was() {
    let mut fleet = Fleet::new(2);
    let (a, b) = (fleet.replica(), fleet.replica());
    fleet.write(a, 1, samples::noise(2, LARGE));
    let link = fleet.connect(a, b);
    fleet.pass(Duration::from_millis(95));
    fleet.cut(link);
    let before = fragments(&fleet.said(link, 0));
    assert!(before > 10 && before < LARGE >> 16, "{before}");
    let link = fleet.connect(a, b);
    fleet.run();
    assert!(fleet.agree(&[a, b]));
    let wanted = offsets(&fleet.said(link, 1));
    assert_eq!(wanted.len(), 1);
    assert!(wanted[0] > 0, "resumed at {wanted:?}");
}

/// A device lost its connection in the middle of a large change and came back. The relay had not noticed that the old one was
/// gone, and waited for it: 45 s, until it fell silent.
#[test]
fn a_sender_that_comes_back_goes_on_at_once_though_its_old_connection_still_seems_to_stand() {
    let mut fleet = Fleet::new(12);
    let (a, relay) = (fleet.replica(), fleet.relay());
    fleet.write(a, 1, samples::noise(12, LARGE));
    let old = fleet.connect(a, relay);
    fleet.pass(Duration::from_millis(95));
    fleet.stall(old, 0);
    fleet.stall(old, 1);
    fleet.pass(Duration::from_secs(1));
    assert!(!fleet.agree(&[a, relay]));
    let new = fleet.connect(a, relay);
    fleet.pass(Duration::from_secs(1));
    assert!(fleet.agree(&[a, relay]));
    assert!(fleet.is_up(old));
    let wanted = offsets(&fleet.said(new, 1));
    assert!(wanted.len() == 1 && wanted[0] > 0, "resumed at {wanted:?}");
}

#[test]
fn a_receiver_that_crashed_resumes_from_its_store() {
    let mut fleet = Fleet::new(3);
    let (a, b) = (fleet.replica(), fleet.replica());
    fleet.write(a, 1, samples::noise(3, LARGE));
    fleet.connect(a, b);
    fleet.pass(Duration::from_millis(95));
    fleet.crash(b);
    fleet.start(b);
    let link = fleet.connect(a, b);
    fleet.run();
    assert!(fleet.agree(&[a, b]));
    let wanted = offsets(&fleet.said(link, 1));
    assert!(wanted.len() == 1 && wanted[0] > 0, "resumed at {wanted:?}");
}

/// A relay whose disk had no room any more refused what was new, and went on storing pieces of what had begun.
#[test]
fn a_node_that_takes_nothing_takes_no_more_pieces_and_goes_on_behind_those_that_it_has() {
    let mut fleet = Fleet::new(13);
    let (a, relay) = (fleet.replica(), fleet.relay());
    fleet.write(a, 1, samples::noise(13, LARGE));
    let link = fleet.connect(a, relay);
    fleet.pass(Duration::from_millis(95));
    fleet.with(relay, |node, now| node.set_takes_entries(now, false));
    fleet.run();
    let kept = stored_pieces(&fleet, relay);
    assert!(kept > 0 && kept < LARGE, "{kept}");
    fleet.said(link, 1);
    fleet.with(relay, |node, now| node.set_takes_entries(now, true));
    fleet.run();
    assert!(fleet.agree(&[a, relay]), "no edit, no reconnect");
    let wanted = offsets(&fleet.said(link, 1));
    assert!(wanted.len() == 1 && wanted[0] > 0, "resumed at {wanted:?}");
}

#[test]
fn two_that_offer_the_same_large_entry_send_it_once_and_stand_in_for_each_other() {
    let mut fleet = Fleet::new(4);
    let (a, b, c) = (fleet.replica(), fleet.replica(), fleet.replica());
    fleet.write(a, 1, samples::noise(4, LARGE));
    fleet.connect(a, b);
    fleet.run();
    let (ac, bc) = (fleet.connect(a, c), fleet.connect(b, c));
    fleet.pass(Duration::from_millis(95));
    let from_b = fragments(&fleet.said(bc, 0));
    assert_eq!(from_b, 0, "one of them is enough");
    fleet.cut(ac);
    fleet.run();
    assert!(fleet.agree(&[a, b, c]));
    let wanted = offsets(&fleet.said(bc, 1));
    assert!(wanted.len() == 1 && wanted[0] > 0, "{wanted:?}");
    fleet.write(a, 1, b"both go on");
    fleet.run();
    assert!(fleet.agree(&[a, b, c]));
}

#[test]
fn a_node_of_another_fragment_size_passes_large_entries_on() {
    let mut fleet = Fleet::new(5);
    let of = |fragment_bytes, accept_contexts| NodeConfig { fragment_bytes, accept_contexts, ..NodeConfig::default() };
    let a = fleet.add(of(200 << 10, false), OpenStrategy::new(), 1);
    let relay = fleet.add(of(1 << 10, true), OpenStrategy::new(), 0);
    let b = fleet.replica();
    for n in 0..30u64 {
        fleet.write(a, 1, samples::noise(n, if n % 3 == 0 { 50_000 } else { 20 }));
    }
    fleet.connect(a, relay);
    fleet.run();
    fleet.connect(b, relay);
    fleet.run();
    assert!(fleet.agree(&[a, relay, b]));
}

/// A puppet that may write, and a large entry of its own.
fn offering(fleet: &mut Fleet, member: usize, seed: u8, entry: &Entry) -> usize {
    let puppet = fleet.puppet(member, seed);
    fleet.run();
    let said = fleet.said(puppet, 0);
    let open = said.into_iter().find(|message| matches!(message, Message::Open(_)));
    let mut header = entry.clone();
    header.payload = Bytes::new();
    let run = Run { withheld: true, ..Run::of(vec![header.into()]).unwrap() };
    fleet.say(puppet, &[open.unwrap(), Message::Entries(run)]);
    puppet
}

fn piece(entry: &Entry, offset: u64, bytes: impl Into<Bytes>) -> Message {
    Message::Fragment {
        piece: Piece { context: entry.header.context, log: entry.header.log, seq: entry.header.seq, offset },
        bytes: bytes.into(),
    }
}

/// How many bytes of pieces are in its store.
fn stored_pieces(fleet: &Fleet, member: usize) -> usize {
    let mut bytes = 0;
    let view = partita_core::Store::read(fleet.store(member)).unwrap();
    let count = &mut |_: &[u8], value: &[u8]| {
        bytes += value.len();
        std::ops::ControlFlow::Continue(())
    };
    view.scan(&Key::all_fragments(&Fleet::context(0).id), count).unwrap();
    bytes
}

/// A large entry of somebody else, which this node holds and nobody else.
fn held_by(fleet: &mut Fleet, member: usize, noise: u64) -> Arc<Entry> {
    let payload = samples::noise(noise, 200_000);
    let mut log = samples::SampleLog::new(60, Fleet::context(0).id, 1);
    let entry = log.change(samples::document(1), payload.clone());
    let source = offering(fleet, member, 62, &entry);
    fleet.say(source, &[piece(&entry, 0, payload.slice(..100_000)), piece(&entry, 100_000, payload.slice(100_000..))]);
    fleet.cut(source);
    assert_eq!(fleet.held(member), [log.tip().unwrap()]);
    entry
}

#[test]
fn garbage_from_one_is_not_stitched_to_the_pieces_of_another() {
    let mut fleet = Fleet::new(6);
    let a = fleet.replica();
    let payload = samples::noise(6, 200_000);
    let mut log = samples::SampleLog::new(60, Fleet::context(0).id, 1);
    let entry = log.change(samples::document(1), payload.clone());
    let hostile = offering(&mut fleet, a, 61, &entry);
    fleet.say(hostile, &[piece(&entry, 0, vec![0; 50_000])]);
    fleet.cut(hostile);
    // The next one is honest: it is asked to go on, then to begin again, and is not blamed.
    let honest = offering(&mut fleet, a, 62, &entry);
    assert_eq!(offsets(&fleet.said(honest, 0)), [50_000]);
    fleet.say(honest, &[piece(&entry, 50_000, payload.slice(50_000..))]);
    assert!(fleet.is_up(honest));
    assert_eq!(offsets(&fleet.said(honest, 0)), [0]);
    fleet.say(honest, &[piece(&entry, 0, payload.slice(..100_000))]);
    fleet.say(honest, &[piece(&entry, 100_000, payload.slice(100_000..))]);
    assert_eq!(fleet.held(a), [log.tip().unwrap()]);
    assert!(fleet.is_up(honest));
}

#[test]
fn who_sends_a_wrong_payload_alone_is_shown_the_door() {
    let mut fleet = Fleet::new(7);
    let a = fleet.replica();
    let mut log = samples::SampleLog::new(60, Fleet::context(0).id, 1);
    let entry = log.change(samples::document(1), samples::noise(7, 100_000));
    let hostile = offering(&mut fleet, a, 61, &entry);
    fleet.say(hostile, &[piece(&entry, 0, vec![0; 100_000])]);
    assert!(!fleet.is_up(hostile));
    assert!(matches!(fleet.closed(a).last().unwrap().1, CloseReason::Protocol(_)));
    assert!(fleet.held(a).is_empty());
}

#[test]
fn a_large_entry_that_also_comes_inside_a_run_is_taken_once() {
    let mut fleet = Fleet::new(8);
    let a = fleet.replica();
    let payload = samples::noise(8, 100_000);
    let mut log = samples::SampleLog::new(60, Fleet::context(0).id, 1);
    let entry = log.change(samples::document(1), payload.clone());
    let next = log.change(samples::document(1), &b"next"[..]);
    let slow = offering(&mut fleet, a, 61, &entry);
    fleet.say(slow, &[piece(&entry, 0, payload.slice(..50_000))]);
    let other = fleet.puppet(a, 62);
    fleet.run();
    let open = fleet.said(other, 0);
    let open = open.into_iter().find(|message| matches!(message, Message::Open(_)));
    let run = Message::Entries(Run::of(vec![entry.clone(), next]).unwrap());
    fleet.said(slow, 0);
    fleet.say(other, &[open.unwrap(), run]);
    assert_eq!(fleet.held(a), [log.tip().unwrap()]);
    fleet.say(slow, &[piece(&entry, 50_000, payload.slice(50_000..))]);
    assert_eq!(fleet.held(a), [log.tip().unwrap()]);
    let said = fleet.said(slow, 0);
    let is_ack = |message: &Message| matches!(message, Message::Ack { .. });
    assert!(said.iter().any(is_ack), "{said:?}");
}

/// Whoever begins large entries and goes away fills no disk with them, and keeps nobody else out.
#[test]
fn pieces_that_nobody_sends_make_room_for_what_somebody_does() {
    let mut fleet = Fleet::new(20);
    let config = NodeConfig { max_context_bytes: 300_000, accept_contexts: true, ..NodeConfig::default() };
    let relay = fleet.add(config, OpenStrategy::new(), 0);
    let b = fleet.replica();
    fleet.connect(b, relay);
    fleet.run();
    let context = Fleet::context(0).id;
    let stored = |fleet: &Fleet| stored_pieces(fleet, relay);
    for seed in 30..40 {
        let mut log = samples::SampleLog::new(seed, context, 1);
        let entry = log.change(samples::document(1), samples::noise(seed.into(), 200_000));
        let puppet = offering(&mut fleet, relay, seed, &entry);
        fleet.say(puppet, &[piece(&entry, 0, vec![0; 100_000])]);
        fleet.cut(puppet);
        if seed == 34 {
            fleet.crash(relay);
            fleet.start(relay);
        }
        fleet.run();
        assert!(stored(&fleet) <= 300_000, "{} after {seed}", stored(&fleet));
    }
    assert!(stored(&fleet) > 0, "what has room waits for whoever goes on");
    fleet.connect(b, relay);
    fleet.write(b, 1, samples::noise(1, 250_000));
    fleet.run();
    assert!(fleet.agree(&[b, relay]));
    assert_eq!(stored(&fleet), 0);
}

/// Whoever begins large entries and does not go on with them keeps nobody else from sending large ones.
#[test]
fn large_entries_that_stand_still_hold_up_no_others() {
    let mut fleet = Fleet::new(21);
    let (b, relay) = (fleet.replica(), fleet.relay());
    fleet.connect(b, relay);
    fleet.run();
    let context = Fleet::context(0).id;
    for seed in 40..44 {
        let mut log = samples::SampleLog::new(seed, context, 1);
        let mut header = log.change(samples::document(1), &b"never"[..]).header.clone();
        header.payload_len = NodeConfig::default().max_payload;
        let mut entry = Entry::new(header, Bytes::new());
        entry.signature = Some(EntryHeader::sign(&entry.id, &samples::signing_key(seed)));
        let puppet = offering(&mut fleet, relay, seed, &entry);
        assert_eq!(offsets(&fleet.said(puppet, 0)), [0], "it may go on, and does not");
    }
    fleet.write(b, 1, samples::noise(21, LARGE));
    fleet.run();
    assert_eq!(fleet.held(b), fleet.held(relay));
}

/// A member who sends large entries from many devices at once fills no memory with them.
#[test]
fn of_large_entries_that_are_whole_at_the_same_time_few_are_in_memory() {
    let mut fleet = Fleet::new(22);
    let a = fleet.replica();
    let len = 10 << 20;
    let payload = samples::noise(22, len);
    let mut puppets = Vec::new();
    for seed in 50..58 {
        let mut log = samples::SampleLog::new(seed, Fleet::context(0).id, 1);
        let entry = log.change(samples::document(1), payload.clone());
        let puppet = offering(&mut fleet, a, seed, &entry);
        let most = len - (64 << 10);
        for at in (0..most).step_by(64 << 10) {
            fleet.say(puppet, &[piece(&entry, at as u64, payload.slice(at..at + (64 << 10)))]);
        }
        puppets.push((puppet, piece(&entry, most as u64, payload.slice(most..))));
    }
    fleet.hold_commits(a);
    for (puppet, last) in &puppets {
        fleet.say(*puppet, std::slice::from_ref(last));
    }
    fleet.release(a);
    fleet.run();
    assert_eq!(fleet.held(a).len(), puppets.len());
    let most = fleet.most_assembled(a);
    assert!((1..=32 << 20).contains(&most), "{most} bytes at once");
}

/// What a store needs for a piece does not depend on its length alone.
#[test]
fn who_sends_a_large_payload_byte_by_byte_is_shown_the_door() {
    let mut fleet = Fleet::new(23);
    let a = fleet.replica();
    let mut log = samples::SampleLog::new(60, Fleet::context(0).id, 1);
    let entry = log.change(samples::document(1), samples::noise(23, 100_000));
    let hostile = offering(&mut fleet, a, 61, &entry);
    let mut sent = 0;
    while fleet.is_up(hostile) && sent < 10_000 {
        fleet.say(hostile, &[piece(&entry, sent, entry.payload.slice(sent as usize..sent as usize + 1))]);
        sent += 1;
    }
    assert!((1_000..5_000).contains(&sent), "{sent}");
    assert!(matches!(fleet.closed(a).last().unwrap().1, CloseReason::Protocol(_)));
}

/// Each of two has room when it begins, and both together have not.
#[test]
fn large_entries_that_come_at_the_same_time_keep_within_the_quota_and_one_of_them_arrives() {
    let mut fleet = Fleet::new(24);
    let config = NodeConfig { max_context_bytes: 300_000, ..NodeConfig::default() };
    let a = fleet.add(config, OpenStrategy::new(), 1);
    let context = Fleet::context(0).id;
    let stored = |fleet: &Fleet| stored_pieces(fleet, a);
    let mut offers = Vec::new();
    for seed in 70..72 {
        let mut log = samples::SampleLog::new(seed, context, 1);
        let entry = log.change(samples::document(1), samples::noise(seed.into(), 200_000));
        let puppet = offering(&mut fleet, a, seed, &entry);
        offers.push((puppet, entry));
    }
    for at in (0..200_000).step_by(20_000) {
        for (puppet, entry) in &offers {
            let bytes = entry.payload.slice(at..at + 20_000);
            fleet.say(*puppet, &[piece(entry, at as u64, bytes)]);
            assert!(stored(&fleet) <= 300_000, "{} at {at}", stored(&fleet));
        }
    }
    assert_eq!(fleet.held(a).len(), 1);
    assert!(offers.iter().all(|(puppet, _)| fleet.is_up(*puppet)), "nobody is to blame");
}

/// Somebody sends a wrong piece first. Who goes on after it is asked to begin anew, once it has sent all of the rest.
#[test]
fn who_goes_on_after_garbage_sends_all_of_it_again() {
    let mut fleet = Fleet::new(25);
    let (a, s) = (fleet.replica(), fleet.replica());
    let entry = held_by(&mut fleet, s, 25);
    let hostile = offering(&mut fleet, a, 61, &entry);
    fleet.say(hostile, &[piece(&entry, 0, vec![0; 50_000])]);
    fleet.cut(hostile);
    let link = fleet.connect(s, a);
    fleet.run();
    assert_eq!(offsets(&fleet.said(link, 1)), [50_000, 0]);
    assert!(fleet.is_up(link) && fleet.agree(&[a, s]));
}

/// What follows a large entry waits until that is taken, and is not sent for nothing.
#[test]
fn what_follows_a_large_entry_is_sent_once() {
    let mut fleet = Fleet::new(26);
    let (a, b) = (fleet.replica(), fleet.replica());
    for n in 0..6u64 {
        fleet.write(a, 1, samples::noise(n, if n % 2 == 0 { 200_000 } else { 1_000 }));
    }
    let link = fleet.connect(a, b);
    fleet.run();
    assert!(fleet.agree(&[a, b]));
    let said = fleet.said(link, 0);
    let entries = said.iter().map(|message| match message {
        Message::Entries(run) => run.entries.len(),
        _ => 0,
    });
    assert_eq!(entries.sum::<usize>(), 6);
}

/// Two have it, and the one that is asked first is silent.
#[test]
fn a_large_entry_comes_from_another_when_who_offered_it_first_does_not_send_it() {
    let mut fleet = Fleet::new(27);
    let (a, s) = (fleet.replica(), fleet.replica());
    let entry = held_by(&mut fleet, s, 27);
    let silent = offering(&mut fleet, a, 61, &entry);
    assert_eq!(offsets(&fleet.said(silent, 0)), [0]);
    fleet.connect(s, a);
    fleet.run();
    assert!(fleet.held(a).is_empty(), "it has time");
    for _ in 0..20 {
        fleet.pass(Duration::from_secs(1));
        let beat = Message::Heartbeat { nonce: 1, clock: 0, reply: false };
        fleet.say(silent, &[beat]);
    }
    assert!(fleet.is_up(silent), "it lives, and sends nothing");
    assert_eq!(fleet.held(a), fleet.held(s));
    assert_eq!(fleet.held(a)[0].head, entry.id);
}
