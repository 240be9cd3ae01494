//! How systems of this kind have failed before: each test names its line of `docs/failure-modes.md`.
mod crowds;
mod durability;
mod limits;
mod positions;
mod runs;

use std::sync::Arc;

use partita_core::Entry;
use partita_protocol::{
    Notice,
    message::{Granted, Message, Opened, Run},
};
use partita_testing::fleet::{Fleet, LinkId, Member};

/// The payloads of what a node took from others since it was asked last.
fn arrived(fleet: &mut Fleet, member: Member) -> Vec<Vec<u8>> {
    let notices = fleet.notices(member).into_iter();
    let entries = notices.filter_map(|notice| match notice {
        Notice::Arrived { entries, .. } => Some(entries),
        _ => None,
    });
    entries.flatten().map(|found| found.entry.payload.to_vec()).collect()
}

/// How many entries these messages carry.
fn entries(said: &[Message]) -> usize {
    let carried = said.iter().map(|message| match message {
        Message::Entries(run) => run.entries.len(),
        _ => 0,
    });
    carried.sum()
}

fn count(said: &[Message], of: impl Fn(&Message) -> bool) -> usize {
    said.iter().filter(|message| of(message)).count()
}

fn is_ack(message: &Message) -> bool {
    matches!(message, Message::Ack { .. })
}

fn run_of(entries: &[&Arc<Entry>]) -> Message {
    Message::Entries(Run::of(entries.iter().map(|entry| (*entry).clone()).collect()).unwrap())
}

/// A remote that the test plays: it has the context of number 0 open both ways and holds nothing of it.
fn guest(fleet: &mut Fleet, member: Member, seed: u8) -> LinkId {
    let guest = fleet.puppet(member, seed);
    fleet.run();
    let said = fleet.said(guest, 0);
    let open = said.into_iter().find(|message| matches!(message, Message::Open(_)));
    let context = Fleet::context(0).id;
    let opened = Opened { context, number: 1, outcome: Ok(Granted { differs: true, proof: None }) };
    let frontier = Message::Frontier { context, tips: Vec::new(), more: false };
    fleet.say(guest, &[open.expect("the node opens what it has"), Message::Opened(opened), frontier]);
    fleet.say(guest, &[Message::Credit(1 << 20)]);
    guest
}
