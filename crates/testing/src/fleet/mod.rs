//! Nodes in virtual time, connected by links that can be cut, delayed and stalled. Same seed, same run.
//!
//! Frames travel plain: what the channel does is tested with the channel. A test can also play a remote itself
//! ([`Fleet::puppet`]) and say whatever it likes.

#![allow(clippy::panic)] // what a test asks for and cannot be had is a failure of the test

mod drive;
mod links;
mod look;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use partita_core::{
    Batch, ContextId, ContextInfo, ContextKind, EntryKind, Incarnation, Now, PartitionStrategy, ReplicaId, SessionId,
    Store, Tip,
};
use partita_crypto::SigningKey;
use partita_protocol::{
    AppendError, Appended, CloseReason, Node, NodeConfig, NodeParts, Notice,
    channel::LocalIdentity,
    reads::{self, ReadRequest},
};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::{
    MemoryStore, samples,
    strategy::{OPEN_KIND, OpenStrategy},
};

/// How long a frame travels unless a link says otherwise.
const LATENCY: Duration = Duration::from_millis(10);

/// A node of the fleet, by its place.
pub type Member = usize;

/// A connection, by its place.
pub type LinkId = usize;

enum StoreWork {
    Commit(u64, Batch),
    Read(u64, ReadRequest),
}

/// Makes a node's strategy anew at each of its starts.
pub type StrategyMaker = Box<dyn Fn() -> Box<dyn PartitionStrategy>>;

/// One node with its store.
struct Seat {
    key: SigningKey,
    config: NodeConfig,
    strategy: StrategyMaker,
    /// By how many seconds its wall clock is ahead.
    skew: u64,
    node: Option<Node>,
    store: MemoryStore,
    work: VecDeque<StoreWork>,
    /// How many commits go on before they are held back.
    commits_left: Option<usize>,
    commits: usize,
    /// The most bytes of large payloads that it wanted read at once.
    most_assembled: u64,
    notices: Vec<Notice>,
    closed: Vec<(SessionId, CloseReason)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Node(Member, SessionId),
    Puppet,
}

#[derive(Debug)]
struct Link {
    ends: [End; 2],
    handshake: [u8; 32],
    up: bool,
    latency: Duration,
    /// Frames of each end that nobody takes for now.
    stalled: [Option<VecDeque<Bytes>>; 2],
    /// What each end said.
    said: [Vec<Bytes>; 2],
}

/// What is on its way.
struct Delivery {
    link: LinkId,
    from: usize,
    frame: Option<Bytes>,
}

/// Nodes, links and time.
pub struct Fleet {
    now: Duration,
    rng: ChaCha20Rng,
    seats: Vec<Seat>,
    links: Vec<Link>,
    on_the_way: BTreeMap<(Duration, u64), Delivery>,
    next: u64,
    /// Whether commits wait for company as the nodes would have it. The fleet's disks take no time, so nothing is gained.
    pauses: bool,
}

impl Fleet {
    /// An empty fleet.
    pub fn new(seed: u64) -> Self {
        Self {
            now: Duration::from_secs(1),
            rng: ChaCha20Rng::seed_from_u64(seed),
            seats: Vec::new(),
            links: Vec::new(),
            on_the_way: BTreeMap::new(),
            next: 1,
            pauses: false,
        }
    }

    /// A context of the open strategy, by number.
    pub fn context(number: u8) -> ContextInfo {
        let kind = open_kind();
        let id = ContextId::derive(&kind, &[number; 32]);
        ContextInfo { id, kind }
    }

    /// What time it is.
    pub fn now(&self) -> Now {
        Now { monotonic: self.now, wall: Duration::from_secs(1_800_000_000) + self.now }
    }

    /// What time a node believes it is.
    fn now_of(&self, member: Member) -> Now {
        let mut now = self.now();
        now.wall += Duration::from_secs(self.seats[member].skew);
        now
    }

    /// Sets a node's wall clock ahead.
    pub fn skew(&mut self, member: Member, seconds: u64) {
        self.seats[member].skew = seconds;
    }

    /// A node that has the contexts of the numbers 0 to `contexts`.
    pub fn add(&mut self, config: NodeConfig, strategy: OpenStrategy, contexts: u8) -> Member {
        let key = samples::signing_key(self.seats.len() as u8 + 1);
        let member = self.add_with(config, key, Box::new(move || Box::new(strategy.clone())));
        for number in 0..contexts {
            self.open(member, number);
        }
        member
    }

    /// A node of any strategy, which has the contexts that the strategy names.
    pub fn add_with(&mut self, config: NodeConfig, key: SigningKey, strategy: StrategyMaker) -> Member {
        let member = self.seats.len();
        let store = MemoryStore::new(self.incarnation());
        self.seats.push(Seat {
            key,
            config,
            strategy,
            skew: 0,
            node: None,
            store,
            work: VecDeque::new(),
            commits_left: None,
            commits: 0,
            most_assembled: 0,
            notices: Vec::new(),
            closed: Vec::new(),
        });
        self.start(member);
        member
    }

    /// An engine's node with one context.
    pub fn replica(&mut self) -> Member {
        self.add(NodeConfig::default(), OpenStrategy::new(), 1)
    }

    /// A relay's node, which takes what contexts it is brought.
    pub fn relay(&mut self) -> Member {
        let config = NodeConfig { accept_contexts: true, ..NodeConfig::default() };
        self.add(config, OpenStrategy::new(), 0)
    }

    /// Opens a context on a node.
    pub fn open(&mut self, member: Member, number: u8) {
        let now = self.now();
        self.node(member).open_context(now, Self::context(number));
        self.perform(member);
    }

    /// The replica id of a node.
    pub fn id(&self, member: Member) -> ReplicaId {
        ReplicaId::from_bytes(*self.seats[member].key.verifying_key().as_bytes())
    }

    /// The payload of a control entry that takes the right to write from a node, except for what these tips name.
    pub fn loss(&self, member: Member, counts: &[Tip]) -> Bytes {
        OpenStrategy::loss(self.id(member), samples::signed(&self.seats[member].key, counts))
    }

    /// A node that runs.
    ///
    /// # Panics
    /// When it has crashed.
    pub fn node(&mut self, member: Member) -> &mut Node {
        match &mut self.seats[member].node {
            Some(node) => node,
            None => panic!("the node has crashed"),
        }
    }

    /// Calls a node, then performs what it asks for.
    pub fn with<R>(&mut self, member: Member, call: impl FnOnce(&mut Node, Now) -> R) -> R {
        let now = self.now_of(member);
        let answer = call(self.node(member), now);
        self.perform(member);
        answer
    }

    /// Writes a change of a document, by number, in the context of number 0.
    ///
    /// # Errors
    /// What the node says.
    pub fn try_write(&mut self, member: Member, document: u8, payload: &[u8]) -> Result<Appended, AppendError> {
        self.try_write_in(member, 0, document, payload)
    }

    /// Writes a change of a document in a context, both by number.
    ///
    /// # Errors
    /// What the node says.
    pub fn try_write_in(
        &mut self,
        member: Member,
        context: u8,
        document: u8,
        payload: &[u8],
    ) -> Result<Appended, AppendError> {
        let context = Self::context(context).id;
        let kind = EntryKind::Change(samples::document(document));
        self.with(member, |node, now| node.append(now, context, kind, payload))
    }

    /// Writes a change that must be possible.
    ///
    /// # Panics
    /// When it is not.
    pub fn write(&mut self, member: Member, document: u8, payload: impl AsRef<[u8]>) -> Appended {
        match self.try_write(member, document, payload.as_ref()) {
            Ok(appended) => appended,
            Err(error) => panic!("cannot write: {error}"),
        }
    }

    /// Appends a control entry in the context of number 0.
    pub fn control(&mut self, member: Member, payload: Bytes) {
        let context = Self::context(0).id;
        let done = self.with(member, |node, now| {
            node.with_strategy::<OpenStrategy, _>(now, |_, turn| {
                turn.append.push((context, payload));
            })
        });
        debug_assert!(done.is_ok());
    }

    /// A power cut: the node is gone, and so is what its store had not committed. Its links break.
    pub fn crash(&mut self, member: Member) {
        self.seats[member].node = None;
        self.seats[member].work.clear();
        self.seats[member].commits_left = None;
        for link in 0..self.links.len() {
            let of_member = |end: &End| matches!(end, End::Node(of, _) if *of == member);
            if self.links[link].ends.iter().any(of_member) {
                self.cut(link);
            }
        }
        let incarnation = self.incarnation();
        let seat = &mut self.seats[member];
        seat.store = seat.store.crash(incarnation);
    }

    /// Gives a node's store another content, as a backup that is restored does. The node must have crashed.
    pub fn restore(&mut self, member: Member, backup: &MemoryStore) {
        let incarnation = self.incarnation();
        self.seats[member].store = backup.copy(incarnation);
    }

    /// Starts a node from its store, with the contexts that it knows.
    pub fn start(&mut self, member: Member) {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let now = self.now();
        let seat = &mut self.seats[member];
        let identity = LocalIdentity { key: Arc::new(seat.key.clone()), incarnation: seat.store.incarnation() };
        let mut node = Node::new(
            now,
            NodeParts {
                config: seat.config.clone(),
                identity,
                strategies: vec![(seat.strategy)()],
                rng: Box::new(ChaCha20Rng::from_seed(seed)),
            },
        );
        for info in node.strategy_contexts() {
            node.open_context(now, info);
        }
        let known = seat.store.read().and_then(|view| reads::answer(&*view, &ReadRequest::Contexts));
        if let Ok(reads::ReadResult::Contexts(known)) = known {
            for (id, kind) in known {
                node.open_context(now, ContextInfo { id, kind });
            }
        }
        seat.node = Some(node);
        self.perform(member);
    }

    fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    fn incarnation(&mut self) -> Incarnation {
        let mut bytes = [0; 16];
        self.rng.fill_bytes(&mut bytes);
        Incarnation::from_bytes(bytes)
    }
}

fn open_kind() -> ContextKind {
    match ContextKind::new(OPEN_KIND) {
        Ok(kind) => kind,
        Err(error) => panic!("{error}"),
    }
}
