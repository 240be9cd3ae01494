//! Over real nodes: a remote that was refused is sent nothing, and nothing is taken from it.

use bytes::Bytes;
use partita_core::{ContextInfo, ContextKind, EntryKind, Hash, Stamp, Transcript};
use partita_protocol::{
    NodeConfig,
    message::{Granted, Message, Open, Opened, Run},
};

use super::{
    Findings,
    Rule::{NothingSent, Works},
    Side, Subject, Who,
    council::begin,
};
use crate::{
    fleet::{Fleet, LinkId, Member, StrategyMaker},
    samples::{self, SampleLog},
};

/// The sides as nodes.
struct World<'s> {
    subject: &'s Subject,
    fleet: Fleet,
    local: Member,
    friend: Member,
}

/// A strategy like this side's, for a node of its own.
fn maker(side: &Side) -> StrategyMaker {
    // A node makes its strategy when it is added, once: no node of this suite crashes.
    let made = std::cell::RefCell::new(Some((side.strategy)()));
    Box::new(move || match made.borrow_mut().take() {
        Some(strategy) => strategy,
        None => panic!("the nodes of this suite do not start again"),
    })
}

impl<'s> World<'s> {
    fn new(subject: &'s Subject) -> Self {
        let mut fleet = Fleet::new(0x5eed);
        let config = NodeConfig { accept_contexts: subject.is_relay, ..NodeConfig::default() };
        let local = fleet.add_with(config, subject.local.key.clone(), maker(&subject.local));
        let friend = fleet.add_with(NodeConfig::default(), subject.friend.key.clone(), maker(&subject.friend));
        let mut world = Self { subject, fleet, local, friend };
        if !subject.is_relay {
            world.open(local);
        }
        world.open(friend);
        if let Some(first) = &subject.first {
            (first.in_node)(&mut world.fleet, if first.who == Who::Local { local } else { friend });
        }
        world
    }

    fn open(&mut self, member: Member) {
        for context in &self.subject.contexts {
            self.fleet.with(member, |node, now| node.open_context(now, context.clone()));
        }
    }

    /// Everybody who may write does so in each context.
    fn write(&mut self, findings: &mut Findings) {
        for who in self.subject.writers.clone() {
            let member = if who == Who::Local { self.local } else { self.friend };
            for context in &self.subject.contexts {
                let change = EntryKind::Change(samples::document(1));
                let done = self.fleet.with(member, |node, now| node.append(now, context.id, change, b"canary"));
                findings.expect(Works, done.is_ok(), || format!("{who:?} cannot write in a real node: {done:?}"));
            }
            self.fleet.run();
        }
    }

    fn holds(&mut self, member: Member, who: Who, context: &ContextInfo) -> Vec<partita_core::Tip> {
        let replica = self.subject.side(who).replica();
        self.fleet.node(member).logs_of(&context.id, &replica)
    }

    /// A connection of somebody who calls itself by the stranger's key and says these proofs for every context.
    fn intrude(&mut self, proofs: impl Fn(&Transcript, &ContextInfo) -> Option<Bytes>) -> LinkId {
        let link = self.fleet.caller(self.local, self.subject.stranger.key.verifying_key());
        let handshake = self.fleet.handshake(link);
        let transcript = Transcript { handshake, prover_dialled: true, remote_pinned: false };
        let mut unknown = self.subject.contexts.clone();
        for context in &mut unknown {
            context.kind = match ContextKind::new("conformance/unknown") {
                Ok(kind) => kind,
                Err(_) => continue,
            };
        }
        let all = self.subject.contexts.iter().chain([&self.subject.foreign]).chain(&unknown);
        for ContextInfo { id, kind } in all {
            let info = ContextInfo { id: *id, kind: kind.clone() };
            let mut said = Vec::new();
            if let Some(proof) = proofs(&transcript, &info) {
                said.push(Message::Open(Open {
                    context: *id,
                    number: 1,
                    kind: info.kind,
                    frontier: Hash::ZERO,
                    proof,
                }));
            }
            said.push(Message::Opened(Opened {
                context: *id,
                number: 1,
                outcome: Ok(Granted { differs: true, proof: None }),
            }));
            said.push(Message::Frontier { context: *id, tips: Vec::new(), more: false });
            let mut log = SampleLog::of(self.subject.stranger.key.clone(), *id, 7);
            log.state(Stamp::default());
            let entry = log.change(samples::document(1), &b"intruder"[..]);
            said.extend(Run::of(vec![entry]).map(Message::Entries));
            said.push(Message::Credit(1 << 30));
            self.fleet.say(link, &said);
        }
        link
    }
}

/// What a refused remote must not be sent, if it is that.
fn leak(message: &Message) -> Option<&'static str> {
    match message {
        Message::Entries(_) | Message::Fragment { .. } => Some("entries"),
        Message::Frontier { .. } | Message::Have { .. } => Some("what is held here"),
        Message::Opened(Opened { outcome: Ok(_), .. }) => Some("that a context is open"),
        Message::Want(_) | Message::Ack { .. } => Some("that something of it was taken"),
        _ => None,
    }
}

pub(super) fn check(subject: &Subject, findings: &mut Findings) {
    let mut world = World::new(subject);
    world.fleet.connect(world.friend, world.local);
    world.fleet.run();
    world.write(findings);
    for context in &subject.contexts {
        for who in subject.writers.iter().copied() {
            let (here, there) = (world.holds(world.local, who, context), world.holds(world.friend, who, context));
            let same = !here.is_empty() && here == there;
            findings.expect(Works, same, || format!("what {who:?} wrote did not arrive: {here:?} and {there:?}"));
        }
    }

    let (friend, stranger) = (begin(&subject.friend, &subject.contexts), begin(&subject.stranger, &subject.contexts));
    let old = Transcript { handshake: [1; 32], prover_dialled: true, remote_pinned: false };
    let mut links = vec![
        ("no proof", world.intrude(|_, _| None)),
        ("an empty proof", world.intrude(|_, _| Some(Bytes::new()))),
        ("noise", world.intrude(|_, _| Some(samples::noise(1, 256)))),
        ("its own proof", world.intrude(|session, context| stranger.auth().prove(session, context).ok())),
        ("the friend's old proof", world.intrude(|_, context| friend.auth().prove(&old, context).ok())),
        ("the friend's proof", world.intrude(|session, context| friend.auth().prove(session, context).ok())),
    ];
    world.write(findings); // live, while they listen
    for (with, link) in links.drain(..) {
        for message in world.fleet.said(link, 0) {
            let leaks = leak(&message);
            findings.expect(NothingSent, leaks.is_none(), || {
                format!("a stranger with {with} was told {}", leaks.unwrap_or_default())
            });
        }
    }
    let key = subject.stranger.key.clone();
    let visitor = world.fleet.add_with(NodeConfig::default(), key, maker(&subject.stranger));
    world.open(visitor);
    world.fleet.connect(visitor, world.local);
    world.fleet.run();
    for context in subject.contexts.iter().chain([&subject.foreign]) {
        let taken = world.holds(world.local, Who::Stranger, context);
        findings.expect(NothingSent, taken.is_empty(), || "an entry of a stranger was taken".into());
        for who in subject.writers.iter().copied() {
            let got = world.holds(visitor, who, context);
            findings.expect(NothingSent, got.is_empty(), || format!("a stranger's node got what {who:?} wrote"));
        }
    }
}
