//! Many of everything, and one that is slow, busy or wrong among them.

use std::time::Duration;

use partita_core::{ContextId, ContextInfo, ContextKind, DocumentId, EntryKind, timestamp_at};
use partita_protocol::{NodeConfig, Notice, message::RunLimits};
use partita_testing::{
    fleet::{Fleet, Member},
    samples,
    strategy::{OPEN_KIND, OpenStrategy},
};

use super::arrived;

const YEARS: u64 = 5 * 365 * 24 * 3600;

/// Failure mode 7: a device whose clock is years ahead holds up nobody, and drags nobody's clock along.
#[test]
fn a_clock_that_is_years_ahead_holds_up_nobody() {
    let mut fleet = Fleet::new(7);
    let (relay, wrong) = (fleet.relay(), fleet.replica());
    let others = [fleet.replica(), fleet.replica()];
    fleet.skew(wrong, YEARS);
    for member in [wrong, others[0], others[1]] {
        fleet.connect(member, relay);
    }
    fleet.run();
    fleet.write(wrong, 1, b"from the future");
    fleet.run();
    fleet.write(others[0], 1, b"from today");
    fleet.run();
    fleet.write(wrong, 1, b"from the future again");
    fleet.run();
    assert!(fleet.agree(&[relay, wrong, others[0], others[1]]));
    let drift = NodeConfig::default().drift_limit;
    let latest = timestamp_at(fleet.now().wall + drift);
    let mut seen = 0;
    for notice in fleet.notices(others[1]) {
        let Notice::Arrived { entries, .. } = notice else { continue };
        for arrival in entries.iter().filter(|arrival| arrival.author == fleet.id(others[0])) {
            seen += 1;
            let stamped = arrival.entry.header.time;
            assert!(stamped <= latest, "{stamped:?} is after {latest:?}");
        }
    }
    assert_eq!(seen, 1);
}

/// Failure mode 21: who writes all the time catches up all the same.
#[test]
fn a_busy_writer_catches_up() {
    let mut fleet = Fleet::new(21);
    let run = RunLimits { entries: 8, bytes: 4_000 };
    let config = NodeConfig { credit: 8_000, run, ..NodeConfig::default() };
    let busy = fleet.add(config.clone(), OpenStrategy::new(), 1);
    let other = fleet.add(config, OpenStrategy::new(), 1);
    for n in 0..500u32 {
        fleet.write(other, 1, samples::noise(n.into(), 200));
    }
    fleet.connect(busy, other);
    let log = fleet.node(other).own_log(&Fleet::context(0).id).unwrap();
    let has_all = |fleet: &mut Fleet| fleet.held(busy).iter().any(|tip| tip.log == log && tip.seq == 500);
    let mut writes = 0u32;
    while !has_all(&mut fleet) {
        assert!(writes < 2_000, "own writes hold up what others wrote");
        fleet.write(busy, 2, writes.to_be_bytes());
        writes += 1;
        fleet.pass(Duration::from_millis(5));
    }
    assert!(writes > 20, "it was busy all the while: {writes}");
    fleet.run();
    assert!(fleet.agree(&[busy, other]));
}

/// Limits so low that hardly anything fits into memory.
fn narrow() -> NodeConfig {
    let run = RunLimits { entries: 4, bytes: 2_000 };
    NodeConfig { tail_bytes: 500, send_buffer: 2_000, credit: 4_000, run, ..NodeConfig::default() }
}

/// Failure mode 24: a full buffer drops neither the oldest nor the newest.
///
/// Failure mode 43: a slow consumer gets everything later, and nobody waits for it.
#[test]
fn a_slow_consumer_gets_everything_once_it_reads_again() {
    let mut fleet = Fleet::new(43);
    let writer = fleet.add(narrow(), OpenStrategy::new(), 1);
    let (slow, fast) = (fleet.replica(), fleet.replica());
    let link = fleet.connect(writer, slow);
    fleet.connect(writer, fast);
    fleet.run();
    fleet.stall(link, 0);
    let expected: Vec<Vec<u8>> = (0..300u32).map(|n| samples::noise(n.into(), 150).to_vec()).collect();
    for payload in &expected {
        fleet.write(writer, 1, payload);
        fleet.run();
    }
    assert_eq!(arrived(&mut fleet, slow).len(), 0);
    assert_eq!(arrived(&mut fleet, fast), expected, "others do not wait for it");
    fleet.unstall(link, 0);
    fleet.run();
    assert_eq!(arrived(&mut fleet, slow), expected, "all of it, in order, each once");
}

/// Failure mode 36: a client that is busy with its disk and its own edits takes every batch that comes meanwhile.
#[test]
fn a_busy_client_drops_no_batch() {
    let mut fleet = Fleet::new(36);
    let busy = fleet.add(narrow(), OpenStrategy::new(), 1);
    let others = [fleet.replica(), fleet.replica()];
    for other in others {
        fleet.connect(other, busy);
    }
    fleet.run();
    fleet.hold_commits(busy);
    for n in 0..100u32 {
        fleet.write(others[n as usize % 2], 1, samples::noise(n.into(), 150));
        fleet.write(busy, 1, n.to_be_bytes());
        fleet.run();
    }
    fleet.release(busy);
    fleet.run();
    assert!(fleet.agree(&[busy, others[0], others[1]]));
    assert_eq!(arrived(&mut fleet, busy).len(), 100);
}

fn numbered(number: u32) -> ContextInfo {
    let kind = ContextKind::new(OPEN_KIND).unwrap();
    let mut root = [0; 32];
    root[..4].copy_from_slice(&number.to_be_bytes());
    ContextInfo { id: ContextId::derive(&kind, &root), kind }
}

fn document(number: u32) -> DocumentId {
    let mut id = [7; 32];
    id[..4].copy_from_slice(&number.to_be_bytes());
    DocumentId::from_bytes(id)
}

fn write(fleet: &mut Fleet, member: Member, context: &ContextInfo, number: u32) {
    let kind = EntryKind::Change(document(number));
    fleet.with(member, |node, now| node.append(now, context.id, kind, &number.to_be_bytes())).unwrap();
}

fn open_all(fleet: &mut Fleet, member: Member, contexts: &[ContextInfo]) {
    for context in contexts {
        assert!(fleet.with(member, |node, now| node.open_context(now, context.clone())));
    }
}

/// Failure mode 45: no number of documents and contexts is one too many: all of them go on.
#[test]
fn thousands_of_documents_and_contexts_all_go_on() {
    const MANY: u32 = 2_400;
    let mut fleet = Fleet::new(45);
    let contexts: Vec<_> = (0..MANY).map(numbered).collect();
    let [a, b] = [0; 2].map(|_| fleet.add(NodeConfig::default(), OpenStrategy::new(), 0));
    for member in [a, b] {
        open_all(&mut fleet, member, &contexts);
    }
    // In between is one that learns of them all from the connections.
    let relay = fleet.relay();
    fleet.connect(a, relay);
    fleet.connect(b, relay);
    fleet.run();
    assert_eq!(fleet.node(relay).context_count(), MANY as usize);
    // As many documents in one context as contexts.
    for number in 0..MANY {
        write(&mut fleet, a, &contexts[0], number);
        write(&mut fleet, a, &contexts[number as usize], number);
    }
    fleet.run();
    assert_eq!(arrived(&mut fleet, b).len(), 2 * MANY as usize);
    // The first and the last ones as well as any between, in both directions.
    for number in [0, 1, 1_023, 1_024, 1_025, MANY - 1] {
        write(&mut fleet, b, &contexts[number as usize], number);
        write(&mut fleet, b, &contexts[0], number);
    }
    fleet.run();
    assert_eq!(arrived(&mut fleet, a).len(), 12);
}

/// Failure mode 46: what a reconnect costs goes by contexts, not by documents: about one message each way for each.
#[test]
fn fifty_clients_with_a_thousand_documents_reconnect_with_a_message_for_each_context() {
    const CLIENTS: usize = 50;
    const CONTEXTS: u32 = 10;
    let mut fleet = Fleet::new(46);
    let contexts: Vec<_> = (0..CONTEXTS).map(numbered).collect();
    let relay = fleet.relay();
    let clients: Vec<Member> = (0..CLIENTS).map(|_| fleet.add(NodeConfig::default(), OpenStrategy::new(), 0)).collect();
    for client in &clients {
        open_all(&mut fleet, *client, &contexts);
    }
    for number in 0..1_000u32 {
        let client = clients[number as usize % CLIENTS];
        write(&mut fleet, client, &contexts[(number % CONTEXTS) as usize], number);
    }
    let links: Vec<_> = clients.iter().map(|client| fleet.connect(*client, relay)).collect();
    fleet.run();
    for (client, number) in clients.iter().zip(0..) {
        let own = (0..1_000).filter(|document| document % CLIENTS == number).count();
        assert_eq!(arrived(&mut fleet, *client).len(), 1_000 - own);
    }
    for link in links {
        fleet.cut(link);
    }
    let links: Vec<_> = clients.iter().map(|client| fleet.connect(*client, relay)).collect();
    fleet.run();
    let mut all = 0;
    for link in links {
        for end in 0..2 {
            let said = fleet.said(link, end).len();
            all += said;
            // Credit, a heartbeat and its answer, and one for each context.
            assert!(said <= CONTEXTS as usize + 3, "{said} messages");
        }
    }
    assert!(all <= 2 * CLIENTS * (CONTEXTS as usize + 3), "{all} messages");
}
