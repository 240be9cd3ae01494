//! Each law that the node keeps is noticed when it is broken, and ordinary traffic survives that. `--features planted`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{panic::catch_unwind, sync::Arc, time::Duration};

use partita_core::{
    Entry, EntryId, Key, Refusal, Store, Tip,
    planted::{Bug, plant},
};
use partita_protocol::{
    NodeConfig, Notice,
    message::{Granted, Message, Opened, Run},
    reads::{self, ReadRequest, ReadResult},
};
use partita_testing::{
    MemoryStore,
    fleet::{Fleet, LinkId, Member},
    samples::{self, SampleLog},
    strategy::OpenStrategy,
};

/// A story, and whether the law held in it.
type Story = fn() -> bool;

const STORIES: &[(Bug, Story)] = &[
    (Bug::AckBeforeDurable, nothing_is_acknowledged_before_its_commit),
    (Bug::DurableTooEarly, nothing_is_called_durable_before_its_commit),
    (Bug::HeadsApart, no_crash_parts_a_position_from_its_data),
    (Bug::SentIsHeld, what_was_refused_for_want_of_room_comes_when_there_is_room),
    (Bug::RetryLost, what_waited_for_control_entries_is_asked_for_again),
    (Bug::CreditLost, credit_comes_back_for_what_was_not_taken),
    (Bug::GapAccepted, what_is_held_of_a_log_has_no_holes),
    (Bug::WatermarkOverGap, a_gap_is_never_acknowledged),
    (Bug::PredecessorUnchecked, a_log_waits_for_its_predecessor),
    (Bug::WakeLost, every_write_arrives_without_another),
    (Bug::EchoByAuthor, a_device_gets_its_own_work_back),
    (Bug::StaleSnapshot, a_cut_document_loses_its_snapshot),
    (Bug::GrantUnchecked, a_stranger_gets_nothing),
    (Bug::GrantOfAnotherContext, a_grant_is_for_its_context),
    (Bug::JudgeSaysYes, an_author_without_a_right_counts_for_nothing),
    (Bug::CapsIgnored, a_loss_cuts_a_log_back),
    (Bug::VouchForgotten, what_was_built_upon_stays),
    (Bug::FutureRefused, a_clock_that_is_years_ahead_holds_up_nobody),
    (Bug::PastSkipped, what_was_written_before_something_else_arrives_too),
    (Bug::SeqReused, no_number_means_two_entries),
    (Bug::FragmentsMixed, a_large_entry_is_whole_after_a_break),
];

#[test]
fn every_bug_breaks_its_law_and_nothing_else_does() {
    for (bug, story) in STORIES {
        plant(None);
        assert!(story(), "{bug}: the story is wrong");
        plant(Some(*bug));
        let held = catch_unwind(story).unwrap_or(false);
        plant(None);
        assert!(!held, "{bug} changes nothing");
    }
}

#[test]
fn ordinary_traffic_survives_every_bug() {
    for bug in Bug::ALL {
        plant(Some(*bug));
        let fine = ordinary_traffic();
        plant(None);
        assert!(fine, "{bug} would be found without a simulator");
    }
}

/// Two devices write in turn over a relay, and one restarts in an orderly way.
fn ordinary_traffic() -> bool {
    let mut fleet = Fleet::new(1);
    let (a, b, relay) = (fleet.replica(), fleet.replica(), fleet.relay());
    fleet.connect(a, relay);
    fleet.connect(b, relay);
    fleet.run();
    fleet.write(a, 1, b"one");
    fleet.run();
    fleet.write(b, 1, b"two");
    fleet.run();
    fleet.crash(a); // everything is durable
    fleet.start(a);
    fleet.connect(a, relay);
    fleet.write(a, 1, b"three");
    fleet.run();
    fleet.write(b, 2, samples::noise(1, 200_000));
    fleet.run();
    fleet.write(b, 1, b"five");
    fleet.run();
    fleet.write(b, 1, b"six");
    fleet.run();
    fleet.agree(&[a, b, relay]) && entries_of(&mut fleet, relay) == 6
}

fn entries_of(fleet: &mut Fleet, member: Member) -> u64 {
    fleet.held(member).iter().map(|tip| tip.seq).sum()
}

fn tells(fleet: &mut Fleet, member: Member, of: impl Fn(&Notice) -> bool) -> bool {
    fleet.notices(member).iter().any(of)
}

fn seq(fleet: &mut Fleet, member: Member, tip: &Tip) -> u64 {
    fleet.held(member).iter().find(|found| found.log == tip.log).map_or(0, |found| found.seq)
}

fn write_many(fleet: &mut Fleet, member: Member, count: u8) -> Vec<Tip> {
    let written = (0..count).map(|n| fleet.write(member, 1, [n]));
    written.map(|done| Tip { log: done.log, seq: done.seq, head: done.id }).collect()
}

/// A remote that the test plays, with the context of number 0 open both ways; it holds nothing.
fn guest(fleet: &mut Fleet, member: Member, seed: u8) -> LinkId {
    let guest = fleet.puppet(member, seed);
    fleet.run();
    let opened = fleet.said(guest, 0).into_iter().find_map(|message| match message {
        Message::Open(open) => Some(open),
        _ => None,
    });
    let mut open = opened.unwrap();
    let (context, number) = (open.context, open.number);
    open.frontier = partita_core::Frontier::default().hash();
    fleet.say(
        guest,
        &[
            Message::Open(open),
            Message::Opened(Opened { context, number, outcome: Ok(Granted { differs: true, proof: None }) }),
            Message::Frontier { context, tips: Vec::new(), more: false },
            Message::Credit(1 << 20),
        ],
    );
    fleet.said(guest, 0);
    guest
}

fn run_of(entries: &[&Arc<Entry>]) -> Message {
    Message::Entries(Run::of(entries.iter().map(|entry| (*entry).clone()).collect()).unwrap())
}

fn changes(count: u8) -> Vec<Arc<Entry>> {
    let mut log = SampleLog::new(61, Fleet::context(0).id, 1);
    (0..count).map(|n| log.change(samples::document(1), vec![n])).collect()
}

fn nothing_is_acknowledged_before_its_commit() -> bool {
    let mut fleet = Fleet::new(2);
    let (a, b) = (fleet.replica(), fleet.replica());
    fleet.connect(a, b);
    fleet.run();
    fleet.hold_commits(b);
    fleet.write(a, 1, b"on its way to the disk");
    fleet.run();
    !tells(&mut fleet, a, |notice| matches!(notice, Notice::Acknowledged { .. }))
}

fn nothing_is_called_durable_before_its_commit() -> bool {
    let mut fleet = Fleet::new(2);
    let a = fleet.replica();
    fleet.hold_commits(a);
    fleet.write(a, 1, b"on its way to the disk");
    !tells(&mut fleet, a, |notice| matches!(notice, Notice::Durable { .. }))
}

fn no_crash_parts_a_position_from_its_data() -> bool {
    (0..6).all(|commits| {
        let mut fleet = Fleet::new(3);
        let a = fleet.replica();
        fleet.hold_commits_after(a, commits);
        for n in 0..3u8 {
            fleet.write(a, 1, [n]);
        }
        fleet.crash(a);
        let view = fleet.store(a).read().unwrap();
        let answer = reads::answer(&*view, &ReadRequest::Context(Fleet::context(0).id));
        let Ok(ReadResult::Context(state)) = answer else { panic!("the store cannot be read") };
        state.logs.values().map(|record| record.seq).sum::<u64>() == state.last_arrival
    })
}

fn what_was_refused_for_want_of_room_comes_when_there_is_room() -> bool {
    let mut fleet = Fleet::new(4);
    let a = fleet.replica();
    let small = NodeConfig { max_context_bytes: 10_000, accept_contexts: true, ..NodeConfig::default() };
    let relay = fleet.add(small, OpenStrategy::new(), 0);
    fleet.connect(a, relay);
    fleet.run();
    for n in 0..3u8 {
        fleet.write(a, 1, vec![n; 4_000]); // the third is too much, and nothing comes behind it
        fleet.run();
    }
    fleet.with(relay, |node, now| node.set_max_context_bytes(now, 1 << 20));
    fleet.run();
    fleet.agree(&[a, relay])
}

fn what_waited_for_control_entries_is_asked_for_again() -> bool {
    let mut fleet = Fleet::new(5);
    let reader = fleet.add(NodeConfig::default(), OpenStrategy::new().with_admission(), 1);
    let link = guest(&mut fleet, reader, 60);
    let change = changes(1);
    fleet.say(link, &[run_of(&[&change[0]])]);
    let said = fleet.said(link, 0);
    let undecided = |message: &Message| matches!(message, Message::Refused(it) if it.why == Refusal::NeedControl);
    assert!(said.iter().any(undecided), "{said:?}");
    fleet.control(reader, OpenStrategy::admit(samples::replica(61)));
    fleet.run();
    fleet.said(link, 0).iter().any(|message| matches!(message, Message::Retry { .. }))
}

fn credit_comes_back_for_what_was_not_taken() -> bool {
    let mut fleet = Fleet::new(6);
    let member = fleet.replica();
    let link = guest(&mut fleet, member, 60);
    let change = changes(1);
    (0..2).all(|_| {
        fleet.say(link, &[run_of(&[&change[0]])]);
        fleet.said(link, 0).iter().any(|message| matches!(message, Message::Credit(_)))
    })
}

/// What a node says to entries 1, 3 and 4 of a log, and how far it holds the log then.
fn with_a_gap() -> (Vec<Message>, u64) {
    let mut fleet = Fleet::new(7);
    let member = fleet.replica();
    let link = guest(&mut fleet, member, 60);
    let written = changes(4);
    fleet.say(link, &[run_of(&[&written[0]]), run_of(&[&written[2], &written[3]])]);
    (fleet.said(link, 0), entries_of(&mut fleet, member))
}

fn what_is_held_of_a_log_has_no_holes() -> bool {
    with_a_gap().1 == 1
}

fn a_gap_is_never_acknowledged() -> bool {
    let acknowledged = with_a_gap().0.into_iter().filter_map(|message| match message {
        Message::Ack { held, .. } => held.iter().map(|(_, seq)| *seq).max(),
        _ => None,
    });
    acknowledged.max() == Some(1)
}

fn a_log_waits_for_its_predecessor() -> bool {
    let mut fleet = Fleet::new(8);
    let member = fleet.replica();
    let link = guest(&mut fleet, member, 60);
    let missing = Tip { log: samples::log(61, Fleet::context(0).id, 1), seq: 9, head: EntryId::from_bytes([9; 32]) };
    let mut next = SampleLog::new(61, Fleet::context(0).id, 2).after(vec![missing]);
    fleet.say(link, &[run_of(&[&next.change(samples::document(1), "rests on what is not here")])]);
    entries_of(&mut fleet, member) == 0
}

fn every_write_arrives_without_another() -> bool {
    let mut fleet = Fleet::new(9);
    let (a, b) = (fleet.replica(), fleet.replica());
    fleet.connect(a, b);
    fleet.run();
    (0..10u8).all(|n| {
        fleet.write(a, 1, [n]);
        fleet.run();
        fleet.agree(&[a, b])
    })
}

fn a_device_gets_its_own_work_back() -> bool {
    let mut fleet = Fleet::new(10);
    let (a, relay) = (fleet.replica(), fleet.relay());
    fleet.connect(a, relay);
    fleet.write(a, 1, b"before the disk was lost");
    fleet.run();
    fleet.crash(a);
    fleet.restore(a, &MemoryStore::new(samples::incarnation(9)));
    fleet.start(a);
    fleet.open(a, 0);
    fleet.connect(a, relay);
    fleet.run();
    fleet.agree(&[a, relay])
}

fn a_cut_document_loses_its_snapshot() -> bool {
    let mut fleet = Fleet::new(11);
    let (owner, thief) = (fleet.replica(), fleet.replica());
    fleet.connect(owner, thief);
    let written = write_many(&mut fleet, thief, 5);
    fleet.run();
    let key = Key::Snapshot(Fleet::context(0).id, samples::document(1));
    fleet.with(owner, |node, _| node.put_record(key.clone(), "with all five".into()));
    fleet.run();
    let loss = fleet.loss(thief, &[written[2]]);
    fleet.control(owner, loss);
    fleet.run();
    let view = fleet.store(owner).read().unwrap();
    view.get(&key).unwrap().is_none()
}

fn a_stranger_gets_nothing() -> bool {
    let mut fleet = Fleet::new(12);
    let closed = OpenStrategy::new().with_peers([]);
    let a = fleet.add(NodeConfig::default(), closed, 1);
    let stranger = fleet.replica();
    fleet.write(a, 1, b"secret");
    fleet.connect(stranger, a);
    fleet.run();
    fleet.held(stranger).is_empty()
}

fn a_grant_is_for_its_context() -> bool {
    let mut fleet = Fleet::new(13);
    let a = fleet.add(NodeConfig::default(), OpenStrategy::new().with_gate(), 2);
    let guest = fleet.replica();
    let admission = OpenStrategy::admit(fleet.id(guest));
    fleet.control(a, admission); // in the context of number 0
    fleet.try_write_in(a, 0, 1, b"shared").unwrap();
    fleet.try_write_in(a, 1, 1, b"secret").unwrap();
    fleet.connect(guest, a);
    fleet.run();
    assert!(!fleet.held_in(guest, 0).is_empty());
    fleet.open(guest, 1);
    fleet.run();
    fleet.held_in(guest, 1).is_empty()
}

fn an_author_without_a_right_counts_for_nothing() -> bool {
    let mut fleet = Fleet::new(14);
    let strict = OpenStrategy::new().with_authors([samples::replica(1)]);
    let a = fleet.add(NodeConfig::default(), strict, 1);
    let rogue = fleet.replica();
    fleet.write(rogue, 1, b"not allowed");
    fleet.connect(rogue, a);
    fleet.run();
    fleet.held(a).is_empty()
}

fn a_loss_cuts_a_log_back() -> bool {
    let mut fleet = Fleet::new(15);
    let (owner, thief) = (fleet.replica(), fleet.replica());
    fleet.connect(owner, thief);
    let written = write_many(&mut fleet, thief, 10);
    fleet.run();
    let loss = fleet.loss(thief, &[written[3]]);
    fleet.control(owner, loss);
    fleet.run();
    seq(&mut fleet, owner, &written[0]) == 4
}

fn what_was_built_upon_stays() -> bool {
    let mut fleet = Fleet::new(16);
    let owner = fleet.replica();
    let worker = fleet.add(NodeConfig::default(), OpenStrategy::new().with_vouching(), 1);
    let removed = fleet.replica();
    let to_worker = fleet.connect(owner, worker);
    fleet.connect(owner, removed);
    let written = write_many(&mut fleet, removed, 5);
    fleet.run();
    fleet.cut(to_worker);
    fleet.write(worker, 1, b"built on all five");
    let loss = fleet.loss(removed, &[written[1]]);
    fleet.control(owner, loss);
    fleet.run();
    fleet.connect(owner, worker);
    fleet.run();
    seq(&mut fleet, owner, &written[0]) == 5
}

fn a_clock_that_is_years_ahead_holds_up_nobody() -> bool {
    let mut fleet = Fleet::new(17);
    let (a, b) = (fleet.replica(), fleet.replica());
    fleet.skew(a, 100_000_000);
    fleet.write(a, 1, b"from the future");
    fleet.connect(a, b);
    fleet.run();
    fleet.agree(&[a, b])
}

fn what_was_written_before_something_else_arrives_too() -> bool {
    let mut fleet = Fleet::new(18);
    let (early, late, reader) = (fleet.replica(), fleet.replica(), fleet.replica());
    fleet.write(early, 1, b"early");
    fleet.pass(Duration::from_secs(60));
    fleet.write(late, 1, b"late");
    fleet.connect(late, reader);
    fleet.run();
    fleet.connect(early, reader);
    fleet.run();
    let arrived = fleet.notices(reader).into_iter().map(|notice| match notice {
        Notice::Arrived { entries, .. } => entries.len(),
        _ => 0,
    });
    arrived.sum::<usize>() == 2
}

fn no_number_means_two_entries() -> bool {
    let mut fleet = Fleet::new(19);
    let (a, b) = (fleet.replica(), fleet.replica());
    let link = fleet.connect(a, b);
    fleet.write(a, 1, b"durable");
    fleet.run();
    fleet.hold_commits(a);
    fleet.write(a, 1, b"published, and lost here");
    fleet.run();
    fleet.cut(link);
    fleet.crash(a);
    fleet.start(a);
    fleet.write(a, 1, b"after the crash");
    fleet.connect(a, b);
    fleet.run();
    fleet.agree(&[a, b])
}

fn a_large_entry_is_whole_after_a_break() -> bool {
    let mut fleet = Fleet::new(20);
    let (a, b) = (fleet.replica(), fleet.replica());
    let payload = samples::noise(2, 5 << 20);
    fleet.write(a, 1, &payload);
    let link = fleet.connect(a, b);
    fleet.pass(Duration::from_millis(95));
    fleet.cut(link);
    fleet.connect(a, b);
    fleet.run();
    let arrived = fleet.notices(b).into_iter().find_map(|notice| match notice {
        Notice::Arrived { entries, .. } => Some(entries[0].entry.payload.clone()),
        _ => None,
    });
    arrived == Some(payload)
}
