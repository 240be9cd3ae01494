//! Two nodes, a network that is not kind, and a stranger: the bytes are a program for them. After a heal both hold the
//! same, and everything that either ever held durably (but what a restored backup took back).

use std::{collections::BTreeMap, time::Duration};

use partita_core::{EntryId, EntryKind, LogId, Store as _, Tip};
use partita_protocol::{
    NodeConfig, Notice,
    message::{Granted, Message, Opened, Run},
    reads::{self, ReadRequest, ReadResult},
};
use partita_testing::{
    MemoryStore,
    fleet::{Fleet, LinkId},
    samples::{self, SampleLog},
    strategy::OpenStrategy,
};

use crate::crdt::patch;

/// The stranger's seed.
const STRANGER: u8 = 66;
/// The most operations of a program, and the most entries that it writes.
const STEPS: usize = 64;

/// How far logs were durable somewhere.
type Promised = BTreeMap<LogId, (u64, EntryId)>;

struct World {
    fleet: Fleet,
    links: Vec<LinkId>,
    stranger: Option<(LinkId, usize)>,
    /// The stranger's own log: one for each, so that it does not fork.
    logs: [SampleLog; 2],
    backups: [Option<(MemoryStore, Promised)>; 2],
    promised: [Promised; 2],
    /// What was said last by one node to the other.
    overheard: Vec<Message>,
}

/// One input.
pub fn run(data: &[u8]) {
    let mut world = World::new();
    let mut program = data.iter().copied();
    for _ in 0..STEPS {
        let Some(step) = program.next() else { break };
        world.step(step, &mut program);
        world.note();
    }
    world.heal();
}

impl World {
    fn new() -> Self {
        let mut fleet = Fleet::new(1);
        // Small, so that pages, fragments, credit and the tail of memory are all met with few bytes.
        let config = NodeConfig { tail_bytes: 2_000, fragment_bytes: 3_000, credit: 40_000, ..NodeConfig::default() };
        for _ in 0..2 {
            fleet.add(config.clone(), OpenStrategy::new(), 1);
        }
        let links = vec![fleet.connect(0, 1)];
        let context = Fleet::context(0).id;
        Self {
            fleet,
            links,
            stranger: None,
            logs: [SampleLog::new(STRANGER, context, 1), SampleLog::new(STRANGER + 1, context, 1)],
            backups: [None, None],
            promised: [Promised::new(), Promised::new()],
            overheard: Vec::new(),
        }
    }

    fn step(&mut self, step: u8, program: &mut impl Iterator<Item = u8>) {
        let member = usize::from(step >> 4 & 1);
        let much = usize::from(step >> 5);
        match step & 15 {
            0..=2 => {
                let length = [3, 40, 300, 1_000, 2_990, 3_010, 9_000, 50_000][much];
                let length = length + usize::from(program.next().unwrap_or(0));
                self.fleet.write(member, step & 3, samples::noise(length as u64, length));
            }
            3 => {
                for _ in 0..=much {
                    self.fleet.step();
                }
            }
            4 => self.fleet.run(),
            5 => self.cut(),
            6 => self.connect(member, much),
            7 => {
                if let Some(link) = self.links.last() {
                    self.fleet.stall(*link, member);
                }
            }
            8 => {
                if let Some(link) = self.links.last() {
                    self.fleet.unstall(*link, member);
                }
            }
            9 => self.fleet.hold_commits_after(member, much),
            10 => self.fleet.release(member),
            11 => {
                self.fleet.crash(member);
                self.fleet.start(member);
            }
            12 => {
                let copy = self.fleet.store(member).copy(samples::incarnation(0));
                self.backups[member] = Some((copy, self.promised[member].clone()));
            }
            13 => {
                if let Some((backup, promised)) = &self.backups[member] {
                    self.fleet.crash(member);
                    self.fleet.notices(member);
                    self.fleet.restore(member, backup);
                    self.promised[member] = promised.clone();
                    self.fleet.start(member);
                }
            }
            14 => self.fleet.pass(Duration::from_millis([1, 5, 11, 50, 700, 5_000, 40_000, 200_000][much])),
            _ => self.estranged(member, much, program),
        }
    }

    fn cut(&mut self) {
        if let Some(link) = self.links.pop() {
            self.overhear(link);
            self.fleet.cut(link);
        }
    }

    fn connect(&mut self, member: usize, slow: usize) {
        if self.links.len() < 3 {
            let link = self.fleet.connect(member, 1 - member);
            self.fleet.delay(link, Duration::from_millis(10 << slow));
            self.links.push(link);
        }
    }

    fn overhear(&mut self, link: LinkId) {
        let said = [self.fleet.said(link, 0), self.fleet.said(link, 1)].concat();
        if !said.is_empty() {
            self.overheard = said;
        }
    }

    /// The stranger comes, or says something: repeated, changed, or of his own.
    fn estranged(&mut self, member: usize, much: usize, program: &mut impl Iterator<Item = u8>) {
        let stranger = self.stranger.filter(|(link, _)| self.fleet.is_up(*link));
        let Some((link, at)) = stranger else {
            let link = self.fleet.puppet(member, STRANGER);
            self.stranger = Some((link, member));
            self.fleet.run();
            let context = Fleet::context(0).id;
            let said = self.fleet.said(link, 0).into_iter();
            let Some(open) = said.into_iter().find(|message| matches!(message, Message::Open(_))) else { return };
            let outcome = Ok(Granted { differs: much & 1 == 1, proof: None });
            let opened = Message::Opened(Opened { context, number: 1, outcome });
            return self.fleet.say(link, &[open, opened, Message::Credit(1 << 20)]);
        };
        match much {
            0..=1 => {
                // An honest run of his own log; or one of which some entries are missing.
                let log = &mut self.logs[at];
                let entries: Vec<_> = (0..=program.next().unwrap_or(0) % 4)
                    .map(|number| log.append(EntryKind::Change(samples::document(1)), vec![number; 50]))
                    .collect();
                let sent = entries.into_iter().skip(usize::from(much == 1)).collect();
                if let Some(run) = Run::of(sent) {
                    self.fleet.say(link, &[Message::Entries(run)]);
                }
            }
            2..=4 => {
                if let Some(real) = self.links.last().copied() {
                    self.overhear(real);
                }
                let which = usize::from(program.next().unwrap_or(0));
                let Some(message) = self.overheard.get(which % self.overheard.len().max(1)) else { return };
                let mut frame = Message::encode_frame(std::slice::from_ref(message)).to_vec();
                let changes: Vec<u8> = program.take(if much == 2 { 0 } else { 3 * (much - 2) }).collect();
                patch(&mut frame, &changes);
                self.fleet.say_frame(link, frame.into());
            }
            5 => {
                let length = usize::from(program.next().unwrap_or(0));
                let frame: Vec<u8> = program.take(length).collect();
                self.fleet.say_frame(link, frame.into());
            }
            6 => self.fleet.cut(link),
            _ => {
                let context = Fleet::context(0).id;
                let log = self.fleet.node(at).logs_of(&context, &samples::replica(1));
                let held = log.iter().map(|tip| (tip.log, tip.seq + u64::from(program.next().unwrap_or(0)))).collect();
                self.fleet.say(link, &[Message::Ack { context, held }]);
            }
        }
    }

    /// What is in the stores now was promised; what a notice says is in them.
    fn note(&mut self) {
        let context = Fleet::context(0).id;
        for member in 0..2 {
            let Ok(view) = self.fleet.store(member).read() else { panic!("memory can be read") };
            let (last, state) = (view.last_arrival(&context), reads::answer(&*view, &ReadRequest::Context(context)));
            drop(view);
            let (Ok(last), Ok(ReadResult::Context(state))) = (last, state) else { panic!("memory can be read") };
            for notice in self.fleet.notices(member) {
                if let Notice::Durable { arrival, .. } = notice {
                    assert!(arrival <= last, "said to be durable, and not in the store");
                }
            }
            for (log, record) in state.logs {
                let promised = self.promised[member].entry(log).or_default();
                assert!(promised.0 <= record.seq, "the store holds less of a log than it did");
                *promised = (record.seq, record.head);
            }
        }
    }

    fn heal(&mut self) {
        for member in 0..2 {
            self.fleet.release(member);
        }
        if let Some((link, _)) = self.stranger {
            self.fleet.cut(link);
        }
        while !self.links.is_empty() {
            self.cut();
        }
        self.fleet.connect(0, 1);
        self.fleet.run();
        self.fleet.pass(Duration::from_secs(3));
        self.fleet.run();
        self.note();
        let held = [self.held(0), self.held(1)];
        assert_eq!(held[0], held[1], "after a heal both hold the same");
        for (log, (seq, head)) in self.promised.iter().flatten() {
            let tip = held[0].iter().find(|tip| tip.log == *log);
            let kept = tip.is_some_and(|tip| tip.seq > *seq || (tip.seq == *seq && tip.head == *head));
            assert!(kept, "{log:?} was durable up to {seq}, and now is {tip:?}");
        }
        let before = held[0].iter().map(|tip| tip.seq).sum::<u64>();
        self.fleet.write(0, 1, b"and they go on");
        self.fleet.run();
        let after = self.held(1).iter().map(|tip| tip.seq).sum::<u64>();
        assert_eq!(after, before + 1);
    }

    fn held(&mut self, member: usize) -> Vec<Tip> {
        let context = Fleet::context(0).id;
        let authors = [self.fleet.id(0), self.fleet.id(1), self.logs[0].replica(), self.logs[1].replica()];
        let node = self.fleet.node(member);
        let mut held: Vec<Tip> = authors.iter().flat_map(|author| node.logs_of(&context, author)).collect();
        held.sort_unstable();
        held
    }
}
