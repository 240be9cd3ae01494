//! What cannot be taken pauses its log in its session, says why, and goes on by itself; nothing else waits for it.

use partita_core::{Access, Refusal};
use partita_protocol::{NodeConfig, Notice, message::Message};
use partita_testing::{
    fleet::{Fleet, Member},
    strategy::OpenStrategy,
};

fn refusals(messages: &[Message]) -> Vec<Refusal> {
    let refused = messages.iter().filter_map(|message| match message {
        Message::Refused(refused) => Some(refused.why),
        _ => None,
    });
    refused.collect()
}

/// Failure mode 8: what was refused for want of room is sent when there is room, without a reconnect.
#[test]
fn a_quota_pauses_one_log_and_it_goes_on_when_there_is_room() {
    let mut fleet = Fleet::new(1);
    let (a, b) = (fleet.replica(), fleet.replica());
    let relay = fleet.add(
        NodeConfig { max_context_bytes: 10_000, accept_contexts: true, ..NodeConfig::default() },
        OpenStrategy::new(),
        0,
    );
    let link = fleet.connect(a, relay);
    fleet.connect(b, relay);
    fleet.run();
    fleet.write(a, 1, vec![1; 50_000]);
    fleet.run();
    fleet.write(b, 1, b"small");
    fleet.run();
    assert_eq!(refusals(&fleet.said(link, 1)), [Refusal::Quota]);
    assert_eq!(fleet.held(relay).len(), 1, "the other one's log went on");
    assert!(fleet.notices(a).iter().any(|notice| matches!(notice, Notice::EntryRefused { why: Refusal::Quota, .. })));
    fleet.with(relay, |node, now| node.set_max_context_bytes(now, 1 << 20));
    fleet.run();
    assert!(fleet.agree(&[a, b, relay]));
}

/// Who is shut out, who is let in, and what lets a context shrink: all of that has to get through when it is full.
#[test]
fn a_context_that_is_full_still_takes_control_entries_as_far_as_its_reserve() {
    let mut fleet = Fleet::new(1);
    let (a, quota) = (fleet.replica(), 10_000);
    let config = NodeConfig { max_context_bytes: quota, accept_contexts: true, ..NodeConfig::default() };
    let relay = fleet.add(config, OpenStrategy::new(), 0);
    let link = fleet.connect(a, relay);
    fleet.write(a, 1, vec![1; 9_500]);
    fleet.run();
    fleet.write(a, 1, vec![1; 1_000]);
    fleet.run();
    assert_eq!(refusals(&fleet.said(link, 1)), [Refusal::Quota]);
    let mut said = 0;
    while refusals(&fleet.said(link, 1)).is_empty() {
        let admission = OpenStrategy::admit(partita_testing::samples::replica(said));
        fleet.control(a, admission);
        fleet.run();
        said += 1;
        assert!(said < 100, "the reserve has an end, too");
    }
    assert!(said > 10, "{said} control entries");
}

#[test]
fn entries_wait_for_the_control_entries_that_decide() {
    let mut fleet = Fleet::new(2);
    let by_admission = || OpenStrategy::new().with_admission();
    let owner = fleet.add(NodeConfig::default(), by_admission(), 1);
    let writer = fleet.add(NodeConfig::default(), by_admission(), 1);
    let reader = fleet.add(NodeConfig::default(), by_admission(), 1);
    assert!(fleet.try_write(writer, 1, b"too early").is_err());
    let admission = OpenStrategy::admit(fleet.id(writer));
    fleet.control(owner, admission.clone());
    fleet.connect(owner, writer);
    fleet.run();
    fleet.write(writer, 1, b"admitted");
    // The reader hears of the entry from one who does not send it the control entry: an old run of a puppet.
    let held = fleet.held(writer);
    let puppet = fleet.puppet(reader, 99);
    fleet.run();
    let open = fleet.said(puppet, 0).into_iter().find(|message| matches!(message, Message::Open(_))).unwrap();
    let link = fleet.puppet(writer, 98);
    fleet.run();
    let their_open = fleet.said(link, 0).into_iter().find(|message| matches!(message, Message::Open(_))).unwrap();
    let empty = match their_open {
        Message::Open(mut open) => {
            open.frontier = partita_core::Frontier::default().hash();
            let context = open.context;
            [
                Message::Open(open),
                Message::Opened(partita_protocol::message::Opened {
                    context,
                    number: 1,
                    outcome: Ok(partita_protocol::message::Granted { differs: true, proof: None }),
                }),
                Message::Frontier { context, tips: Vec::new(), more: false },
                Message::Credit(1 << 20),
            ]
        }
        _ => unreachable!(),
    };
    fleet.say(link, &empty);
    let data = fleet
        .said(link, 0)
        .into_iter()
        .find(|message| {
            matches!(message, Message::Entries(run)
                if !run.entries[0].header.kind.is_control())
        })
        .unwrap();
    fleet.say(puppet, &[open, data.clone()]);
    let said = fleet.said(puppet, 0);
    assert_eq!(refusals(&said), [Refusal::NeedControl]);
    let heads = said.iter().any(|message| matches!(message, Message::Refused(refused) if refused.heads.len() == 1));
    assert!(heads, "it says what it needs");
    // The control entry comes another way; nobody edits anything.
    fleet.connect(owner, reader);
    fleet.run();
    let said = fleet.said(puppet, 0);
    let retried = said.iter().any(|message| matches!(message, Message::Retry { .. }));
    assert!(retried, "{said:?}");
    fleet.say(puppet, &[data]);
    assert_eq!(fleet.held(reader).len(), held.len());
}

#[test]
fn a_log_waits_for_its_predecessor_and_goes_on_by_itself() {
    let mut fleet = Fleet::new(3);
    let (a, relay, b) = (fleet.replica(), fleet.relay(), fleet.replica());
    fleet.write(a, 1, vec![1; 200_000]); // large: it travels as fragments and takes longer
    fleet.crash(a);
    fleet.start(a);
    fleet.write(a, 1, b"a new log that names the first");
    let link = fleet.connect(a, relay);
    fleet.run();
    assert!(refusals(&fleet.said(link, 1)).contains(&Refusal::NeedPredecessor));
    assert!(fleet.agree(&[a, relay]));
    fleet.connect(b, relay);
    fleet.run();
    assert!(fleet.agree(&[a, relay, b]));
}

#[test]
fn a_stranger_gets_nothing_and_can_offer_nothing() {
    let mut fleet = Fleet::new(4);
    let (a, stranger) = (0, 1);
    let friend = partita_testing::samples::replica(3);
    let closed = OpenStrategy::new().with_peers([(friend, Access::Both)]);
    fleet.add(NodeConfig::default(), closed, 1);
    fleet.replica();
    fleet.write(a, 1, b"secret");
    fleet.write(stranger, 1, b"spam");
    let link = fleet.connect(stranger, a);
    fleet.run();
    let said = fleet.said(link, 1);
    let only_refusals = |message: &Message| match message {
        Message::Opened(opened) => opened.outcome == Err(Refusal::Denied),
        Message::Credit(_) | Message::Heartbeat { .. } => true,
        _ => false,
    };
    assert!(said.iter().all(only_refusals), "{said:?}");
    assert_eq!(fleet.held(a).len(), 1);
    assert_eq!(fleet.held(stranger).len(), 1);
    assert!(fleet.is_up(link), "other contexts may be allowed");
}

#[test]
fn a_reader_may_not_offer_and_a_writer_gets_nothing() {
    let mut fleet = Fleet::new(5);
    let id = partita_testing::samples::replica;
    let rights = [(id(2), Access::Read), (id(3), Access::Write)];
    let a = fleet.add(NodeConfig::default(), OpenStrategy::new().with_peers(rights), 1);
    let (reader, writer) = (fleet.replica(), fleet.replica());
    fleet.write(reader, 1, b"not wanted");
    fleet.write(a, 1, b"mine");
    let link = fleet.connect(reader, a);
    fleet.connect(writer, a);
    fleet.run();
    assert_eq!(refusals(&fleet.said(link, 1)), [Refusal::NotWriter]);
    fleet.write(writer, 1, b"wanted");
    fleet.run();
    assert_eq!(fleet.held(a).len(), 2);
    assert_eq!(fleet.held(reader).len(), 3);
    assert_eq!(fleet.held(writer).len(), 1);
}

#[test]
fn an_author_without_a_right_is_excluded_from_its_first_entry_on() {
    let mut fleet = Fleet::new(6);
    let id = partita_testing::samples::replica;
    let strict = || OpenStrategy::new().with_authors([id(1), id(2)]);
    let a = fleet.add(NodeConfig::default(), strict(), 1);
    let b = fleet.add(NodeConfig::default(), strict(), 1);
    let rogue = fleet.replica();
    for n in 0..10u8 {
        fleet.write(rogue, 1, [n]);
    }
    fleet.write(b, 1, b"fine");
    fleet.connect(rogue, a);
    fleet.connect(b, a);
    fleet.run();
    assert_eq!(fleet.held(a).len(), 1);
    assert!(fleet.agree(&[a, b]));
    assert_eq!(fleet.node(a).context_status()[0].quarantined, 10);
    assert_eq!(fleet.node(b).context_status()[0].quarantined, 0);
    let caught_up = fleet.notices(a);
    let caught_up = caught_up.iter().filter(|notice| matches!(notice, Notice::CaughtUp { .. })).count();
    assert_eq!(caught_up, 2, "what never counts does not hold it up");
}

#[test]
fn a_control_entry_that_its_strategy_refuses_is_refused_once() {
    let mut fleet = Fleet::new(7);
    let (a, b) = (fleet.replica(), fleet.replica());
    let context = Fleet::context(0).id;
    let mut log = partita_testing::samples::SampleLog::new(50, context, 1);
    let entry = log.control(Vec::new());
    let puppet = fleet.puppet(a, 50);
    fleet.run();
    let open = fleet.said(puppet, 0).into_iter().find(|message| matches!(message, Message::Open(_))).unwrap();
    let run = Message::Entries(partita_protocol::message::Run::of(vec![entry]).unwrap());
    fleet.say(puppet, &[open, run]);
    assert_eq!(refusals(&fleet.said(puppet, 0)), [Refusal::Invalid]);
    assert!(fleet.held(a).is_empty());
    fleet.write(b, 1, b"others go on");
    fleet.connect(a, b);
    fleet.run();
    assert!(fleet.agree(&[a, b]));
}

#[test]
fn an_answer_that_crosses_a_withdrawal_ends_no_session() {
    let mut fleet = Fleet::new(8);
    let (a, b) = (fleet.replica(), fleet.replica());
    let link = fleet.connect(a, b);
    fleet.run();
    let context = Fleet::context(0).id;
    let puppet = fleet.puppet(a, 60);
    fleet.run();
    let answer = |outcome| Message::Opened(partita_protocol::message::Opened { context, number: 0, outcome });
    fleet.say(puppet, &[answer(Err(Refusal::Revoked))]);
    let accepted = Ok(partita_protocol::message::Granted { differs: true, proof: None });
    fleet.say(puppet, &[answer(accepted)]);
    assert!(fleet.is_up(puppet) && fleet.is_up(link));
    assert_eq!(refusals(&fleet.said(puppet, 0)), []);
}

#[test]
fn a_refused_open_is_looked_at_again_when_control_entries_come() {
    let mut fleet = Fleet::new(9);
    let gated = || OpenStrategy::new().with_gate();
    let owner = fleet.add(NodeConfig::default(), gated(), 1);
    let relay = fleet.add(NodeConfig { accept_contexts: true, ..NodeConfig::default() }, gated(), 1);
    let device = fleet.replica();
    let owners = OpenStrategy::admit(fleet.id(owner));
    let relays = OpenStrategy::admit(fleet.id(relay));
    fleet.control(owner, owners.clone());
    fleet.control(owner, relays);
    fleet.control(relay, owners); // as a relay's configuration would
    fleet.connect(device, relay);
    fleet.run();
    fleet.write(device, 1, b"waits for its admission");
    fleet.run();
    assert_eq!(fleet.held(device).len(), 1);
    fleet.connect(owner, relay);
    let devices = OpenStrategy::admit(fleet.id(device));
    fleet.control(owner, devices);
    fleet.run();
    assert!(fleet.agree(&[owner, relay, device]), "without a reconnect");
}

/// Each writer's control entry rests on the one before, which another wrote.
fn write_control_in_turns(fleet: &mut Fleet, writers: &[Member], rounds: usize) {
    for writer in std::iter::repeat_n(writers, rounds).flatten() {
        let admission = OpenStrategy::admit(fleet.id(*writer));
        fleet.control(*writer, admission);
        fleet.run();
    }
}

/// Control entries of several replicas rest on each other in the middle of their logs: they go out in the order in which they
/// came, so that nobody refuses any for want of another, and each goes once.
#[test]
fn control_entries_that_rest_on_each_other_are_sent_once() {
    let mut fleet = Fleet::new(6);
    let relay = fleet.relay();
    // More logs than a session may have pages of.
    let writers: Vec<_> = (0..12).map(|_| fleet.replica()).collect();
    let links: Vec<_> = writers.iter().map(|writer| fleet.connect(*writer, relay)).collect();
    fleet.run();
    write_control_in_turns(&mut fleet, &writers, 4);
    for link in links {
        fleet.cut(link);
    }
    for from_store in [false, true] {
        if from_store {
            fleet.crash(relay);
            fleet.start(relay);
        }
        let new = fleet.replica();
        let link = fleet.connect(new, relay);
        fleet.run();
        assert!(fleet.agree(&[new, relay]));
        assert_eq!(refusals(&fleet.said(link, 0)), [], "from the store: {from_store}");
        let runs = fleet.said(link, 1).into_iter().filter(|message| matches!(message, Message::Entries(_)));
        assert_eq!(runs.count(), 4 * writers.len(), "from the store: {from_store}");
    }
}

/// A context whose control logs need more pages than a session may have does not keep others from theirs.
#[test]
fn many_control_logs_of_one_context_hold_up_no_other_context() {
    let mut fleet = Fleet::new(7);
    // It sends a little at a time.
    let config = NodeConfig { accept_contexts: true, send_buffer: 1024, frame_bytes: 1024, ..NodeConfig::default() };
    let (relay, other) = (fleet.add(config, OpenStrategy::new(), 0), Fleet::context(1).id);
    let writers: Vec<_> = (0..12).map(|_| fleet.add(NodeConfig::default(), OpenStrategy::new(), 2)).collect();
    let links: Vec<_> = writers.iter().map(|writer| fleet.connect(*writer, relay)).collect();
    fleet.run();
    write_control_in_turns(&mut fleet, &writers, 40);
    for writer in &writers {
        fleet.try_write_in(*writer, 1, 1, b"in the other context").unwrap();
    }
    fleet.run();
    for link in links {
        fleet.cut(link);
    }
    fleet.crash(relay); // nothing is in memory any more
    fleet.start(relay);
    let new = fleet.replica();
    let link = fleet.connect(new, relay);
    let mut runs = Vec::new();
    let mut is_open = false;
    while fleet.step() {
        runs.extend(fleet.said(link, 1).into_iter().filter_map(|message| match message {
            Message::Entries(run) => Some(run.context == other),
            _ => None,
        }));
        // The first context has all the pages that it can have by then.
        if runs.len() >= 20 && !std::mem::replace(&mut is_open, true) {
            fleet.open(new, 1);
        }
    }
    let last = runs.iter().rposition(|is_other| *is_other).unwrap();
    assert!(last < runs.len() / 2, "{last} of {}", runs.len());
}

/// Whoever waits until it has everything would wait for what never comes.
#[test]
fn what_is_refused_for_good_last_of_all_keeps_nobody_from_having_caught_up() {
    let cases = [NodeConfig { max_payload: 1_000, ..NodeConfig::default() }, NodeConfig::default()];
    for (config, excludes) in cases.into_iter().zip([false, true]) {
        let mut fleet = Fleet::new(12);
        let strategy = OpenStrategy::new();
        let strict = || OpenStrategy::new().with_authors([partita_testing::samples::replica(1)]);
        let a = fleet.add(config, if excludes { strict() } else { strategy }, 1);
        let rogue = fleet.replica();
        fleet.write(rogue, 1, vec![7; 5_000]);
        fleet.connect(rogue, a);
        fleet.run();
        assert_eq!(fleet.held(a).len(), 0);
        let notices = fleet.notices(a);
        let caught_up = notices.iter().filter(|notice| matches!(notice, Notice::CaughtUp { .. })).count();
        assert_eq!(caught_up, 1, "excluded: {excludes}");
    }
}

/// Each open of a store begins a log that rests on the one before.
#[test]
fn what_rests_on_what_is_refused_for_good_keeps_nobody_from_having_caught_up() {
    let mut fleet = Fleet::new(14);
    let a = fleet.add(NodeConfig { max_payload: 1_000, ..NodeConfig::default() }, OpenStrategy::new(), 1);
    let other = fleet.replica();
    fleet.write(other, 1, vec![7; 5_000]);
    for _ in 0..2 {
        fleet.run();
        fleet.crash(other);
        fleet.start(other);
        fleet.write(other, 1, b"rests on it");
    }
    let link = fleet.connect(other, a);
    fleet.run();
    let refused = refusals(&fleet.said(link, 1));
    assert!(refused.contains(&Refusal::TooLarge) && refused.contains(&Refusal::NeedPredecessor), "{refused:?}");
    assert_eq!(fleet.held(a).len(), 0);
    let notices = fleet.notices(a);
    let caught_up = notices.iter().filter(|notice| matches!(notice, Notice::CaughtUp { .. })).count();
    assert_ne!(caught_up, 0);
}

/// Whoever sends an entry says what it rests on, and that is kept until it is here.
#[test]
fn who_passes_on_very_much_that_is_refused_is_not_to_blame_for_it() {
    let mut fleet = Fleet::new(13);
    let (a, b) = (fleet.replica(), fleet.replica());
    let context = Fleet::context(0).id;
    let puppet = fleet.puppet(a, 50);
    fleet.run();
    let open = fleet.said(puppet, 0).into_iter().find(|message| matches!(message, Message::Open(_))).unwrap();
    fleet.say(puppet, &[open]);
    let unknown: Vec<_> = (0..4_000).map(unknown_head).collect();
    for number in 0..200u8 {
        let mut log = partita_testing::samples::SampleLog::new(51, context, number);
        log.state(partita_core::Stamp { heads: unknown.clone(), epoch: None });
        let entry = log.change(partita_testing::samples::document(1), &b"x"[..]);
        fleet.say(puppet, &[Message::Entries(partita_protocol::message::Run::of(vec![entry]).unwrap())]);
    }
    assert!(fleet.is_up(puppet), "it may only pass on what somebody else wrote");
    fleet.write(b, 1, b"and others go on");
    fleet.connect(b, a);
    fleet.run();
    assert!(fleet.agree(&[a, b]));
}

fn unknown_head(n: u16) -> partita_core::EntryId {
    let mut bytes = [9; 32];
    bytes[..2].copy_from_slice(&n.to_be_bytes());
    partita_core::EntryId::from_bytes(bytes)
}
