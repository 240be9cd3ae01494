//! What happens to a context while its session runs: closed, opened again, compared anew, drained; what can be asked.

use std::time::Duration;

use partita_core::{Access, ContextId, ContextInfo, PartitionStrategy as _, Refusal, SessionId};
use partita_protocol::{
    NodeConfig, Notice, Progress, SendError,
    message::{Message, RunLimits},
};
use partita_testing::{fleet::Fleet, strategy::OpenStrategy};

fn entries(said: &[Message]) -> usize {
    said.iter().filter(|message| matches!(message, Message::Entries(_))).count()
}

fn refused_contexts(fleet: &mut Fleet, member: usize) -> Vec<Refusal> {
    let notices = fleet.notices(member).into_iter();
    let why = notices.filter_map(|notice| match notice {
        Notice::ContextRefused { why, .. } => Some(why),
        _ => None,
    });
    why.collect()
}

/// A replica, a relay, a replica; the links of the replicas to the relay.
fn trio(seed: u64) -> (Fleet, [usize; 3], [usize; 2]) {
    let mut fleet = Fleet::new(seed);
    let (a, b, relay) = (fleet.replica(), fleet.replica(), fleet.relay());
    let links = [fleet.connect(a, relay), fleet.connect(b, relay)];
    fleet.run();
    (fleet, [a, b, relay], links)
}

#[test]
fn a_context_that_is_closed_gets_nothing_and_goes_on_where_it_was_without_a_reconnect() {
    let (mut fleet, [a, b, relay], links) = trio(1);
    let context = Fleet::context(0);
    fleet.write(b, 1, b"before");
    fleet.with(b, |node, now| node.close_context(now, context.id));
    fleet.run();
    assert_eq!(refused_contexts(&mut fleet, relay), [Refusal::Closed]);
    fleet.said(links[1], 1);
    fleet.write(a, 1, b"meanwhile");
    fleet.run();
    assert_eq!(entries(&fleet.said(links[1], 1)), 0);
    fleet.open(b, 0);
    fleet.run();
    assert!(fleet.agree(&[a, b, relay]));
    assert_eq!(fleet.held(b).len(), 2);
    fleet.write(b, 1, b"after");
    fleet.run();
    assert!(fleet.agree(&[a, b, relay]));
    assert!(fleet.is_up(links[1]));
}

/// Failure mode 42: what was written behind a running transaction is stored as well.
#[test]
fn what_was_written_right_before_a_close_is_there_after_it() {
    let mut fleet = Fleet::new(2);
    let a = fleet.replica();
    let context = Fleet::context(0);
    fleet.write(a, 1, b"durable");
    fleet.hold_commits(a);
    fleet.write(a, 1, b"on its way to the disk");
    fleet.write(a, 1, b"waits for the next transaction");
    fleet.with(a, |node, now| node.close_context(now, context.id));
    fleet.with(a, |node, now| node.open_context(now, context.clone()));
    fleet.release(a);
    let held = fleet.held(a);
    assert_eq!(held.iter().map(|tip| tip.seq).collect::<Vec<_>>(), [3]);
    fleet.write(a, 1, b"in a log of its own");
    assert_eq!(fleet.held(a).len(), 2);
    fleet.crash(a);
    fleet.start(a);
    assert_eq!(fleet.held(a).iter().map(|tip| tip.seq).sum::<u64>(), 4);
}

#[test]
fn comparing_anew_sends_nothing_that_is_held_and_everything_that_is_not() {
    let (mut fleet, [a, b, relay], links) = trio(3);
    let context = Fleet::context(0).id;
    for n in 0..50u8 {
        fleet.write(a, 1, [n]);
        fleet.write(b, 1, [n]);
    }
    fleet.run();
    for link in links {
        fleet.said(link, 0);
        fleet.said(link, 1);
    }
    fleet.with(a, |node, _| node.reset_sync(context)).unwrap();
    fleet.write(a, 1, b"while positions are compared");
    fleet.write(b, 1, b"there as well");
    fleet.run();
    assert!(fleet.agree(&[a, b, relay]));
    let sent = entries(&fleet.said(links[0], 0));
    assert_eq!(sent, 1, "only the new entry");
    assert_eq!(entries(&fleet.said(links[0], 1)), 1);
    // Also from the relay's side, and from both at once.
    fleet.with(relay, |node, _| node.reset_sync(context)).unwrap();
    fleet.with(b, |node, _| node.reset_sync(context)).unwrap();
    fleet.write(b, 1, b"again");
    fleet.run();
    assert!(fleet.agree(&[a, b, relay]));
    assert_eq!(entries(&fleet.said(links[0], 0)), 0);
    assert!(entries(&fleet.said(links[0], 1)) <= 1);
}

#[test]
fn a_node_that_drains_takes_nothing_and_goes_on_by_itself_when_it_stays() {
    let (mut fleet, [a, b, relay], _) = trio(4);
    fleet.write(a, 1, b"before");
    fleet.run();
    fleet.with(relay, |node, now| node.set_takes_entries(now, false));
    fleet.write(a, 1, b"refused for now");
    fleet.run();
    let notices = fleet.notices(a);
    let told = notices.iter().filter(|notice| matches!(notice, Notice::EntryRefused { why: Refusal::Draining, .. }));
    assert_eq!(told.count(), 1);
    assert!(!fleet.agree(&[a, relay]));
    fleet.with(relay, |node, now| node.set_takes_entries(now, true));
    fleet.run();
    assert!(fleet.agree(&[a, b, relay]), "no edit, no reconnect");
}

/// Failure mode 15: whoever has never acknowledged anything holds nothing.
#[test]
fn who_holds_what_this_replica_ever_wrote_is_known_across_its_restarts() {
    let (mut fleet, [a, _, relay], _) = trio(5);
    let context = Fleet::context(0).id;
    let holders = |fleet: &mut Fleet| {
        let tips = fleet.node(a).own_tips(&context);
        assert!(!tips.is_empty());
        fleet.node(a).holders(&context, &tips).len()
    };
    fleet.hold_commits(relay);
    fleet.write(a, 1, b"forwarded, not yet durable at the relay");
    fleet.run();
    assert_eq!(holders(&mut fleet), 0);
    fleet.release(relay);
    fleet.run();
    assert_eq!(holders(&mut fleet), 1);
    fleet.crash(a);
    fleet.start(a);
    assert_eq!(holders(&mut fleet), 0, "nobody is connected");
    let empty = fleet.relay();
    fleet.hold_commits(empty);
    fleet.connect(a, empty);
    fleet.run();
    assert_eq!(holders(&mut fleet), 0, "the earlier open's entries count");
    fleet.connect(a, relay);
    fleet.run();
    assert_eq!(holders(&mut fleet), 1, "by its frontier, though nothing was written in this open");
    fleet.release(empty);
    fleet.run();
    assert_eq!(holders(&mut fleet), 2);
}

#[test]
fn what_may_sync_with_whom_can_be_asked_and_a_context_that_is_not_shared_is_named() {
    let mut fleet = Fleet::new(6);
    let a = fleet.add(NodeConfig::default(), OpenStrategy::new(), 3);
    let b = fleet.add(NodeConfig::default(), OpenStrategy::new(), 1);
    let stranger = fleet.replica();
    let friend = fleet.id(b);
    let closed = fleet.add(NodeConfig::default(), OpenStrategy::new().with_peers([(friend, Access::Both)]), 1);
    fleet.connect(a, b);
    fleet.connect(stranger, closed);
    fleet.run();
    let session = |fleet: &mut Fleet, member: usize| fleet.node(member).peer_status()[0].peer.session;
    let (to_b, to_stranger) = (session(&mut fleet, a), session(&mut fleet, closed));
    let all = fleet.node(a).syncable_contexts(to_b);
    assert_eq!(all.len(), 3);
    assert_eq!(fleet.node(a).send_for_context(Fleet::context(0).id, Some(to_b)), Ok(()));
    let unshared = Fleet::context(1).id;
    let expected = Err(SendError::NotShared { context: unshared, session: to_b.0 });
    assert_eq!(fleet.node(a).send_for_context(unshared, Some(to_b)), expected);
    let unknown = Fleet::context(9).id;
    assert_eq!(fleet.node(a).send_for_context(unknown, None), Err(SendError::NoContext(unknown)));
    let nobody = SessionId(u64::MAX);
    let expected = Err(SendError::NoSession(nobody.0));
    assert_eq!(fleet.node(a).send_for_context(Fleet::context(0).id, Some(nobody)), expected);
    assert_eq!(fleet.node(closed).syncable_contexts(to_stranger), []);
    fleet.node(a).send_for_all_contexts();
}

#[test]
fn progress_of_a_first_sync_is_told_and_ends_at_everything() {
    let mut fleet = Fleet::new(7);
    let run = RunLimits { entries: 8, bytes: 128 << 10 };
    let config = NodeConfig { credit: 8 << 10, run, ..NodeConfig::default() };
    let a = fleet.add(config.clone(), OpenStrategy::new(), 1);
    let b = fleet.add(config, OpenStrategy::new(), 1);
    for n in 0..200u8 {
        fleet.write(a, 1, [n; 1000]);
    }
    fleet.connect(b, a);
    fleet.run();
    let notices = fleet.notices(b);
    let progress: Vec<Progress> = notices
        .iter()
        .filter_map(|notice| match notice {
            Notice::CatchingUp { progress, .. } => Some(*progress),
            _ => None,
        })
        .collect();
    assert!(progress.len() > 5, "{progress:?}");
    assert!(progress.windows(2).all(|pair| pair[0].received < pair[1].received), "{progress:?}");
    assert!(progress.iter().all(|progress| progress.total == 200));
    let at = |wanted: fn(&Notice) -> bool| notices.iter().position(wanted).unwrap();
    let caught_up = at(|notice| matches!(notice, Notice::CaughtUp { .. }));
    assert_eq!(notices.iter().filter(|notice| matches!(notice, Notice::CaughtUp { .. })).count(), 1);
    assert!(at(|notice| matches!(notice, Notice::SessionLive { .. })) > caught_up);
}

/// In a mesh everybody has several ways to everybody.
#[test]
fn a_mesh_of_relays_and_replicas_sends_an_entry_over_a_connection_once() {
    let mut fleet = Fleet::new(9);
    let replicas: Vec<usize> = (0..4).map(|_| fleet.replica()).collect();
    let relays: Vec<usize> = (0..3).map(|_| fleet.relay()).collect();
    let mut links = Vec::new();
    for replica in &replicas {
        for relay in &relays {
            links.push(fleet.connect(*replica, *relay));
        }
    }
    links.push(fleet.connect(replicas[0], replicas[1]));
    fleet.run();
    for round in 0..25u8 {
        for replica in &replicas {
            fleet.write(*replica, 1, [round; 10]);
        }
        fleet.run();
    }
    let all: Vec<usize> = replicas.iter().chain(&relays).copied().collect();
    assert!(fleet.agree(&all));
    let mut sent = 0;
    for link in &links {
        for end in 0..2 {
            for message in fleet.said(*link, end) {
                if let Message::Entries(run) = message {
                    sent += run.entries.len();
                }
            }
        }
    }
    // Each of 100 entries, over each connection: once, or in both directions where they met on the way.
    assert!(sent <= 100 * links.len() * 2, "{sent} over {} connections", links.len());
    // And as few when all of them come back.
    for link in links {
        fleet.cut(link);
    }
    let mut links = Vec::new();
    for replica in &replicas {
        for relay in &relays {
            links.push(fleet.connect(*replica, *relay));
        }
    }
    fleet.run();
    let again: usize = links.iter().map(|link| entries(&fleet.said(*link, 0)) + entries(&fleet.said(*link, 1))).sum();
    assert_eq!(again, 0);
}

#[test]
fn heartbeats_measure_the_round_trip_and_how_far_clocks_differ() {
    let mut fleet = Fleet::new(8);
    let (a, b) = (fleet.replica(), fleet.replica());
    fleet.skew(b, 3600);
    let link = fleet.connect(a, b);
    fleet.delay(link, Duration::from_millis(40));
    fleet.run();
    fleet.pass(Duration::from_secs(20));
    fleet.run();
    let status = fleet.node(a).peer_status().remove(0);
    assert_eq!(status.round_trip, Some(Duration::from_millis(80)));
    assert!(status.clock_ahead_ms.unwrap().abs_diff(3_600_000) <= 40, "{status:?}");
    let drifts = |fleet: &mut Fleet| {
        let notices = fleet.notices(a).into_iter();
        notices.filter(|notice| matches!(notice, Notice::ClockDrift { ahead_seconds: 3599..=3600, .. })).count()
    };
    assert_eq!(drifts(&mut fleet), 1);
    fleet.pass(Duration::from_secs(60));
    assert_eq!(drifts(&mut fleet), 0, "it is said once in a session");
    fleet.write(b, 1, b"and nothing waits for that");
    fleet.run();
    assert!(fleet.agree(&[a, b]));
}

/// A relay sees more contexts in its time than it has memory for.
#[test]
fn a_strategy_forgets_what_is_unloaded_and_knows_it_again_when_it_is_loaded() {
    let mut fleet = Fleet::new(78);
    let relay = fleet.relay();
    let (owner, device) = (fleet.replica(), fleet.replica());
    fleet.write(device, 1, "cut off later");
    let links = [fleet.connect(owner, relay), fleet.connect(device, relay)];
    fleet.run();
    let loss = fleet.loss(device, &[]);
    fleet.control(owner, loss);
    fleet.run();
    let knows = |fleet: &mut Fleet| {
        let context = Fleet::context(0).id;
        let standing = fleet.with(relay, |node, now| {
            node.with_strategy::<OpenStrategy, _>(now, |strategy, _| strategy.standing(&context))
        });
        !standing.unwrap().losses.is_empty()
    };
    assert!(knows(&mut fleet));
    for link in links {
        fleet.cut(link);
    }
    fleet.run();
    fleet.pass(NodeConfig::default().unload_after * 3);
    assert_eq!(fleet.node(relay).context_status().len(), 0);
    assert!(!knows(&mut fleet), "what nobody has open takes no memory");
    fleet.connect(owner, relay);
    fleet.run();
    assert!(knows(&mut fleet), "all of it is in the store");
    assert!(fleet.agree(&[owner, relay]));
}

#[test]
fn a_relay_unloads_what_nobody_has_open_and_has_it_again_for_the_next_one() {
    let mut fleet = Fleet::new(77);
    let relay = fleet.relay();
    let (a, b) = (fleet.replica(), fleet.replica());
    let link = fleet.connect(a, relay);
    fleet.write(a, 1, "kept");
    fleet.run();
    let after = NodeConfig::default().unload_after;
    fleet.pass(after + after);
    assert_eq!(fleet.node(relay).context_status().len(), 1, "somebody has it open");
    fleet.cut(link);
    fleet.run();
    fleet.pass(after / 2);
    assert_eq!(fleet.node(relay).context_status().len(), 1, "not so soon");
    fleet.pass(after + after);
    assert_eq!(fleet.node(relay).context_status().len(), 0);
    fleet.connect(b, relay);
    fleet.run();
    assert_eq!(fleet.held(b), fleet.held(a));
}

/// Each takes its time, and others wait meanwhile.
#[test]
fn of_very_many_contexts_that_nobody_has_open_some_are_unloaded_at_once() {
    const MANY: u16 = 600;
    let mut fleet = Fleet::new(78);
    let kind = Fleet::context(0).kind;
    let (relay, client) = (fleet.relay(), fleet.add(NodeConfig::default(), OpenStrategy::new(), 0));
    for number in 0..MANY {
        let mut root = [0; 32];
        root[..2].copy_from_slice(&number.to_be_bytes());
        let info = ContextInfo { id: ContextId::derive(&kind, &root), kind: kind.clone() };
        assert!(fleet.with(client, |node, now| node.open_context(now, info)));
    }
    let link = fleet.connect(client, relay);
    fleet.run();
    fleet.cut(link);
    let mut counts = vec![fleet.node(relay).context_count()];
    for _ in 0..=NodeConfig::default().unload_after.as_secs() + 3 {
        fleet.pass(Duration::from_secs(1));
        counts.push(fleet.node(relay).context_count());
    }
    counts.dedup();
    assert_eq!(counts, [600, 344, 88, 0]);
}
