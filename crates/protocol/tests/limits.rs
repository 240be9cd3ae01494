//! Losses cut logs back, vouches lift limits, and everybody comes to the same end in whatever order it arrives.

use partita_core::{Key, Refusal, Tip};
use partita_protocol::{NodeConfig, Notice, message::Message};
use partita_testing::{fleet::Fleet, samples, strategy::OpenStrategy};

/// The data log's tip after so many entries of a node.
fn tips(fleet: &mut Fleet, writer: usize, count: u8) -> Vec<Tip> {
    (0..count)
        .map(|n| {
            let written = fleet.write(writer, 1, [n; 50]);
            Tip { log: written.log, seq: written.seq, head: written.id }
        })
        .collect()
}

fn seq(fleet: &mut Fleet, member: usize, tip: &Tip) -> u64 {
    let held = fleet.held(member);
    let of_log = held.iter().find(|held| held.log == tip.log);
    of_log.map_or(0, |held| held.seq)
}

fn quarantined(fleet: &mut Fleet, member: usize) -> u64 {
    fleet.node(member).context_status()[0].quarantined
}

fn rebuilds(fleet: &mut Fleet, member: usize) -> usize {
    let notices = fleet.notices(member);
    let found =
        |notice: &&Notice| matches!(notice, Notice::Rebuild { documents, .. } if documents == &[samples::document(1)]);
    notices.iter().filter(found).count()
}

#[test]
fn a_loss_cuts_a_log_back_and_documents_are_rebuilt() {
    let mut fleet = Fleet::new(1);
    let (owner, thief, third) = (fleet.replica(), fleet.replica(), fleet.replica());
    fleet.connect(owner, thief);
    fleet.connect(owner, third);
    fleet.run();
    let written = tips(&mut fleet, thief, 10);
    fleet.run();
    let loss = fleet.loss(thief, &[written[3]]);
    fleet.control(owner, loss);
    fleet.run();
    for member in [owner, thief, third] {
        assert_eq!(seq(&mut fleet, member, &written[0]), 4);
        assert_eq!(quarantined(&mut fleet, member), 6);
        assert_eq!(rebuilds(&mut fleet, member), 1);
    }
    assert!(fleet.agree(&[owner, thief, third]));
    let refused = fleet.try_write(thief, 1, b"once more");
    assert!(refused.is_err(), "who lost the right cannot append");
    // And all of it survives a restart.
    fleet.crash(owner);
    fleet.start(owner);
    assert_eq!(seq(&mut fleet, owner, &written[0]), 4);
    assert_eq!(quarantined(&mut fleet, owner), 6);
}

#[test]
fn a_loss_that_comes_while_a_commit_is_under_way_loses_nothing() {
    let mut fleet = Fleet::new(2);
    let (owner, thief) = (fleet.replica(), fleet.replica());
    fleet.connect(owner, thief);
    fleet.run();
    fleet.hold_commits(owner);
    let first = tips(&mut fleet, thief, 2);
    fleet.run();
    let second = tips(&mut fleet, thief, 4); // pending behind the commit under way
    fleet.run();
    let loss = fleet.loss(thief, &[second[0]]);
    fleet.control(owner, loss);
    fleet.release(owner);
    fleet.run();
    assert_eq!(seq(&mut fleet, owner, &first[0]), 3);
    assert_eq!(quarantined(&mut fleet, owner), 3);
    assert!(fleet.agree(&[owner, thief]));
    let link = fleet.connect(owner, thief);
    fleet.run();
    let entries = |message: &Message| matches!(message, Message::Frontier { .. });
    assert!(!fleet.said(link, 0).iter().any(entries), "what is durable is said rightly: the hashes agree");
}

#[test]
fn a_loss_before_the_entries_ends_in_the_same_state_as_after_them() {
    let mut fleet = Fleet::new(3);
    let (owner, thief) = (fleet.replica(), fleet.replica());
    let (early, late) = (fleet.replica(), fleet.replica());
    let written = tips(&mut fleet, thief, 8);
    // One hears of the entries first, one of the loss first.
    let link = fleet.connect(late, thief);
    fleet.run();
    fleet.cut(link);
    let loss = fleet.loss(thief, &[written[4]]);
    fleet.control(owner, loss);
    fleet.connect(early, owner);
    fleet.run();
    fleet.connect(early, thief);
    fleet.connect(late, owner);
    fleet.run();
    for member in [owner, thief, early, late] {
        assert_eq!(seq(&mut fleet, member, &written[0]), 5, "{member}");
    }
    assert!(fleet.agree(&[owner, thief, early, late]));
}

#[test]
fn what_lies_behind_a_limit_is_kept_apart_and_never_served() {
    let mut fleet = Fleet::new(4);
    let (owner, reader) = (fleet.replica(), fleet.replica());
    // A thief with an old plugin, which does not know that it lost its right.
    let mut log = samples::SampleLog::new(77, Fleet::context(0).id, 1);
    let entries: Vec<_> = (0..6u8).map(|n| log.change(samples::document(1), vec![n])).collect();
    let named = Tip { log: log.id(), seq: 2, head: entries[1].id };
    let listed = samples::signed(&samples::signing_key(77), &[named]);
    let loss = OpenStrategy::loss(samples::replica(77), listed);
    fleet.control(owner, loss);
    let puppet = fleet.puppet(owner, 77);
    fleet.run();
    let open = open_of(&mut fleet, puppet);
    fleet.say(puppet, &[open, run(&entries)]);
    assert_eq!(seq(&mut fleet, owner, &named), 2);
    assert_eq!(quarantined(&mut fleet, owner), 4);
    let said = fleet.said(puppet, 0);
    assert!(said.iter().any(|message| matches!(message,
        Message::Refused(refused) if refused.seq == 3 && refused.why == Refusal::Excluded)));
    let link = fleet.connect(owner, reader);
    fleet.run();
    assert_eq!(seq(&mut fleet, reader, &named), 2);
    assert!(fleet.agree(&[owner, reader]));
    for message in fleet.said(link, 0) {
        if let Message::Entries(run) = message {
            assert!(run.log != log.id() || run.last_seq() <= 2);
        }
    }
}

#[test]
fn an_end_in_the_middle_of_a_run_is_proved_by_the_loss_that_names_it() {
    let mut fleet = Fleet::new(5);
    let (owner, thief, relay) = (fleet.replica(), fleet.replica(), fleet.relay());
    let reader = fleet.replica();
    let written = tips(&mut fleet, thief, 100);
    fleet.connect(thief, relay);
    fleet.run(); // the relay has one signature: that of the run's last entry
    fleet.connect(owner, relay);
    fleet.run();
    let loss = fleet.loss(thief, &[written[49]]);
    fleet.control(owner, loss);
    fleet.run();
    fleet.crash(thief);
    fleet.connect(reader, relay);
    fleet.run();
    assert_eq!(seq(&mut fleet, reader, &written[0]), 50);
    assert!(fleet.agree(&[owner, relay, reader]));
}

#[test]
fn a_vouch_lifts_the_limit_everywhere() {
    let mut fleet = Fleet::new(6);
    let vouching = OpenStrategy::new().with_vouching();
    let owner = fleet.replica();
    let worker = fleet.add(NodeConfig::default(), vouching, 1);
    let (removed, newcomer) = (fleet.replica(), fleet.replica());
    let to_worker = fleet.connect(owner, worker);
    fleet.connect(owner, removed);
    fleet.run();
    let written = tips(&mut fleet, removed, 10);
    fleet.run();
    fleet.cut(to_worker);
    fleet.write(worker, 1, b"built on all ten"); // before it knows of the loss
    let loss = fleet.loss(removed, &[written[2]]);
    fleet.control(owner, loss);
    fleet.run();
    assert_eq!(seq(&mut fleet, owner, &written[0]), 3);
    fleet.connect(newcomer, owner);
    fleet.run();
    assert_eq!(seq(&mut fleet, newcomer, &written[0]), 3);
    fleet.connect(owner, worker);
    fleet.run();
    for member in [owner, worker, removed, newcomer] {
        assert_eq!(seq(&mut fleet, member, &written[0]), 10, "{member}");
        assert_eq!(quarantined(&mut fleet, member), 0, "{member}");
    }
    assert!(fleet.agree(&[owner, worker, removed, newcomer]));
}

/// Two who have seen different amounts of a third's work remove it. Whoever built on it after the first loss holds a log that
/// was cut in the middle of a run, where nobody but the author ever had a signature: the loss brings it along, or there is
/// nothing to vouch with against the second.
#[test]
fn what_was_built_on_behind_one_loss_is_vouched_for_against_a_second_that_says_less() {
    // Who builds on it: the one that cut its own copy, or one that was given no more.
    for itself in [true, false] {
        let mut fleet = Fleet::new(9);
        let vouching = || OpenStrategy::new().with_vouching();
        let (one, two, removed) = (fleet.replica(), fleet.replica(), fleet.replica());
        let carrier = fleet.add(NodeConfig::default(), vouching(), 1);
        let worker = fleet.add(NodeConfig::default(), vouching(), 1);
        let written = tips(&mut fleet, removed, 10);
        fleet.connect(removed, carrier); // one run, and one signature
        fleet.run();
        let (more, less) = (fleet.loss(removed, &[written[5]]), fleet.loss(removed, &[written[2]]));
        fleet.control(one, more);
        fleet.control(two, less);
        fleet.connect(one, carrier);
        fleet.run();
        fleet.crash(removed);
        fleet.connect(carrier, worker);
        fleet.run();
        assert_eq!(seq(&mut fleet, worker, &written[0]), 6);
        let builder = if itself { carrier } else { worker };
        fleet.write(builder, 1, b"built on all six");
        fleet.connect(two, builder);
        fleet.run();
        let newcomer = fleet.replica();
        fleet.connect(newcomer, two);
        fleet.run();
        for member in [one, two, carrier, worker, newcomer] {
            assert_eq!(seq(&mut fleet, member, &written[0]), 6, "{member}");
        }
        assert!(fleet.agree(&[one, two, carrier, worker, newcomer]));
    }
}

/// A run is taken as far as it can be. Its author's signature stands at its end, so whoever holds it in part lists the log
/// up to where others can believe it, rather than not at all: what is not listed counts for nothing.
#[test]
fn a_log_that_is_held_in_part_of_a_run_is_listed_as_far_as_it_can_be_proved() {
    let mut fleet = Fleet::new(10);
    let owner = fleet.replica();
    let context = Fleet::context(0).id;
    let mut log = samples::SampleLog::new(77, context, 1);
    let change = |log: &mut samples::SampleLog| log.change(samples::document(1), &b"a change"[..]);
    let first = [change(&mut log), change(&mut log)];
    let mut second = vec![change(&mut log), change(&mut log)];
    let unknown = partita_core::EntryId::from_bytes([5; 32]);
    log.state(partita_core::Stamp { heads: vec![unknown], epoch: None });
    second.push(change(&mut log));
    let puppet = fleet.puppet(owner, 77);
    fleet.run();
    let open = open_of(&mut fleet, puppet);
    fleet.say(puppet, &[open, run(&first), run(&second)]);
    let listed = |fleet: &mut Fleet| {
        let now = fleet.now();
        fleet
            .node(owner)
            .with_strategy::<OpenStrategy, _>(now, |_, turn| turn.view.logs_of(&context, &samples::replica(77)))
            .unwrap()
    };
    let held = fleet.held(owner);
    assert_eq!(held.iter().map(|tip| tip.seq).collect::<Vec<_>>(), [4], "the third rests on what is not here");
    let found = listed(&mut fleet);
    assert_eq!(found.iter().map(|listed| listed.tip.seq).collect::<Vec<_>>(), [2]);
    assert_eq!(found, samples::signed(&samples::signing_key(77), &[found[0].tip]));
    assert_eq!(found[0].tip.head, first[1].id);
    fleet.crash(owner);
    fleet.start(owner);
    assert_eq!(listed(&mut fleet), found, "and after a restart");
}

#[test]
fn a_vouch_asks_for_what_was_refused_and_not_kept() {
    let mut fleet = Fleet::new(7);
    let small = NodeConfig { max_quarantine: 2, ..NodeConfig::default() };
    let (owner, holder) = (fleet.replica(), fleet.replica());
    let forgetful = fleet.add(small, OpenStrategy::new(), 1);
    let written = tips(&mut fleet, holder, 10);
    let witness = fleet.witness(holder, &written[9]);
    let loss = fleet.loss(holder, &[written[2]]);
    fleet.control(owner, loss);
    fleet.connect(owner, forgetful);
    fleet.run();
    let link = fleet.connect(holder, forgetful);
    fleet.run();
    assert_eq!(seq(&mut fleet, forgetful, &written[0]), 3);
    fleet.control(owner, OpenStrategy::vouch_for(&[witness]));
    fleet.run();
    assert_eq!(seq(&mut fleet, forgetful, &written[0]), 10);
    assert!(fleet.is_up(link));
    assert!(fleet.agree(&[owner, holder, forgetful]));
}

#[test]
fn a_predecessor_that_a_loss_cut_off_hides_nothing_in_the_frontier() {
    let mut fleet = Fleet::new(8);
    let (owner, thief) = (fleet.replica(), fleet.replica());
    let first = tips(&mut fleet, thief, 3);
    fleet.crash(thief);
    fleet.start(thief);
    tips(&mut fleet, thief, 2); // a second log, which names the first
    fleet.connect(owner, thief);
    fleet.run();
    let loss = fleet.loss(thief, &[first[2]]);
    fleet.control(owner, loss);
    fleet.run();
    let fresh = fleet.replica();
    let link = fleet.connect(fresh, owner);
    fleet.run();
    assert_eq!(seq(&mut fleet, fresh, &first[0]), 3);
    fleet.cut(link);
    let link = fleet.connect(fresh, owner);
    fleet.run();
    assert!(!fleet.said(link, 0).iter().any(|message| matches!(message, Message::Frontier { .. })));
}

/// The store can be asked for a log before it has heard that the log was cut back: then it answers with what was cut off, too.
#[test]
fn what_was_read_of_a_log_before_it_was_cut_back_is_not_sent_afterwards() {
    let mut fleet = Fleet::new(11);
    let in_the_store = NodeConfig { tail_bytes: 0, ..NodeConfig::default() };
    let (writer, reader) = (fleet.add(in_the_store, OpenStrategy::new(), 1), fleet.replica());
    let written = tips(&mut fleet, writer, 10);
    fleet.hold_commits(writer);
    let loss = fleet.loss(writer, &[written[3]]);
    fleet.control(writer, loss);
    let link = fleet.connect(reader, writer);
    fleet.run();
    // This is under way to the disk when the log is cut, and the cut waits behind it.
    let key = Key::Snapshot(Fleet::context(0).id, samples::document(9));
    fleet.with(writer, |node, _| node.put_record(key, "something else".into()));
    fleet.release(writer);
    fleet.run();
    let runs = fleet.said(link, 1).into_iter().filter_map(|message| match message {
        Message::Entries(run) if run.log == written[0].log => Some(run),
        _ => None,
    });
    assert_eq!(runs.map(|run| run.last_seq()).max(), Some(4));
    assert_eq!(seq(&mut fleet, reader, &written[0]), 4);
    assert!(fleet.agree(&[writer, reader]));
}

/// The puppet opens the context as the node did.
fn open_of(fleet: &mut Fleet, puppet: usize) -> Message {
    let said = fleet.said(puppet, 0);
    said.into_iter().find(|message| matches!(message, Message::Open(_))).unwrap()
}

fn run(entries: &[std::sync::Arc<partita_core::Entry>]) -> Message {
    Message::Entries(partita_protocol::message::Run::of(entries.to_vec()).unwrap())
}
