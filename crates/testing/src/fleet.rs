//! Nodes in virtual time, connected by links that can be cut, delayed and stalled. Same seed, same run.
//!
//! Frames travel plain: what the channel does is tested with the channel. A test can also play a remote itself
//! ([`Fleet::puppet`]) and say whatever it likes.

#![allow(clippy::panic)] // what a test asks for and cannot be had is a failure of the test

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use partita_core::{
    Batch, ContextId, ContextInfo, ContextKind, Durability, EntryKind, Incarnation, Now, PartitionStrategy, ReplicaId,
    SessionId, Store, StoreError, Tip, Witness,
};
use partita_crypto::{SigningKey, VerifyingKey};
use partita_protocol::{
    AppendError, Appended, CloseReason, Effect, Event, Node, NodeConfig, NodeParts, Notice, RemoteSession,
    channel::LocalIdentity,
    message::Message,
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

    /// Its store.
    pub fn store(&self, member: Member) -> &MemoryStore {
        &self.seats[member].store
    }

    /// How many commits its store was asked for since it was added.
    pub fn commits(&self, member: Member) -> usize {
        self.seats[member].commits
    }

    /// Takes the notices so far.
    pub fn notices(&mut self, member: Member) -> Vec<Notice> {
        std::mem::take(&mut self.seats[member].notices)
    }

    /// The sessions that a node ended, and why.
    pub fn closed(&self, member: Member) -> &[(SessionId, CloseReason)] {
        &self.seats[member].closed
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

    /// Connects two nodes; the first one dials.
    pub fn connect(&mut self, dialer: Member, acceptor: Member) -> LinkId {
        let handshake = self.bytes();
        let sessions = [self.session(), self.session()];
        let link = self.links.len();
        self.links.push(Link {
            ends: [End::Node(dialer, sessions[0]), End::Node(acceptor, sessions[1])],
            handshake,
            up: true,
            latency: LATENCY,
            stalled: [None, None],
            said: [Vec::new(), Vec::new()],
        });
        for (at, here, there) in [(0, dialer, acceptor), (1, acceptor, dialer)] {
            let remote = RemoteSession {
                session: sessions[at],
                remote: self.seats[there].key.verifying_key(),
                incarnation: self.seats[there].store.incarnation(),
                handshake,
                dialled: at == 0,
                pinned: at == 0,
            };
            self.event(here, Event::Connected(remote));
        }
        link
    }

    /// Connects a node to the test itself, which plays the replica of this seed and was dialled.
    pub fn puppet(&mut self, member: Member, seed: u8) -> LinkId {
        self.puppet_with(member, samples::signing_key(seed).verifying_key(), samples::incarnation(seed), true)
    }

    /// Connects a node to the test itself, which plays the replica of this key and dialled the node.
    pub fn caller(&mut self, member: Member, remote: VerifyingKey) -> LinkId {
        let incarnation = self.incarnation();
        self.puppet_with(member, remote, incarnation, false)
    }

    fn puppet_with(&mut self, member: Member, remote: VerifyingKey, incarnation: Incarnation, dialled: bool) -> LinkId {
        let handshake = self.bytes();
        let session = self.session();
        let link = self.links.len();
        self.links.push(Link {
            ends: [End::Node(member, session), End::Puppet],
            handshake,
            up: true,
            latency: LATENCY,
            stalled: [None, None],
            said: [Vec::new(), Vec::new()],
        });
        let remote = RemoteSession { session, remote, incarnation, handshake, dialled, pinned: dialled };
        self.event(member, Event::Connected(remote));
        link
    }

    /// The hash of a link's handshake.
    pub fn handshake(&self, link: LinkId) -> [u8; 32] {
        self.links[link].handshake
    }

    /// Says a frame to a puppet's node, and lets everything come to rest.
    pub fn say_frame(&mut self, puppet: LinkId, frame: Bytes) {
        if let End::Node(member, session) = self.links[puppet].ends[0]
            && self.links[puppet].up
        {
            self.event(member, Event::Received(session, frame));
        }
        self.run();
    }

    /// Says messages to a puppet's node, and lets everything come to rest.
    pub fn say(&mut self, puppet: LinkId, messages: &[Message]) {
        self.say_frame(puppet, Message::encode_frame(messages));
    }

    /// What an end of a link said (0 dialled, 1 accepted) since it was asked last.
    pub fn said(&mut self, link: LinkId, end: usize) -> Vec<Message> {
        std::mem::take(&mut self.links[link].said[end])
            .iter()
            .flat_map(|frame| Message::decode_frame(frame).unwrap_or_default())
            .collect()
    }

    /// Whether a link is up.
    pub fn is_up(&self, link: LinkId) -> bool {
        self.links[link].up
    }

    /// How long frames travel on a link.
    pub fn delay(&mut self, link: LinkId, latency: Duration) {
        self.links[link].latency = latency;
    }

    /// Nobody takes what this end (0 dialled, 1 accepted) sends any more.
    pub fn stall(&mut self, link: LinkId, end: usize) {
        self.links[link].stalled[end].get_or_insert_default();
    }

    /// What was stalled goes on its way, later frames behind it.
    pub fn unstall(&mut self, link: LinkId, end: usize) {
        for frame in self.links[link].stalled[end].take().unwrap_or_default() {
            self.send(link, end, frame);
        }
    }

    /// Cuts a link: what is on its way is lost, both ends notice.
    pub fn cut(&mut self, link: LinkId) {
        if !std::mem::take(&mut self.links[link].up) {
            return;
        }
        self.on_the_way.retain(|_, delivery| delivery.link != link);
        for end in self.links[link].ends {
            if let End::Node(member, session) = end
                && self.seats[member].node.is_some()
            {
                self.event(member, Event::Disconnected(session));
            }
        }
    }

    /// From here on commits wait for company until the nodes say that they are due, which [`pass`](Self::pass) lets come.
    pub fn let_commits_wait(&mut self) {
        self.pauses = true;
    }

    /// Holds a node's commits back, and the reads behind them, until [`release`](Self::release).
    pub fn hold_commits(&mut self, member: Member) {
        self.hold_commits_after(member, 0);
    }

    /// The same after so many more commits.
    pub fn hold_commits_after(&mut self, member: Member, commits: usize) {
        self.seats[member].commits_left = Some(commits);
    }

    /// Lets them happen.
    pub fn release(&mut self, member: Member) {
        self.seats[member].commits_left = None;
        self.perform(member);
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

    /// Lets everything that is on its way arrive, and what follows from it, until nothing is.
    pub fn run(&mut self) {
        while let Some(((at, _), delivery)) = self.on_the_way.pop_first() {
            self.now = self.now.max(at);
            self.deliver(delivery);
        }
    }

    /// Lets the next frame that is on its way arrive; false when there is none.
    pub fn step(&mut self) -> bool {
        let Some(((at, _), delivery)) = self.on_the_way.pop_first() else {
            return false;
        };
        self.now = self.now.max(at);
        self.deliver(delivery);
        true
    }

    /// Lets time pass, with a tick every second.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            let tick = (self.now + Duration::from_secs(1)).min(end);
            while let Some(entry) = self.on_the_way.first_entry()
                && entry.key().0 <= tick
            {
                let ((at, _), delivery) = entry.remove_entry();
                self.now = self.now.max(at);
                self.deliver(delivery);
            }
            self.now = tick;
            for member in 0..self.seats.len() {
                if self.seats[member].node.is_some() {
                    self.event(member, Event::Tick);
                    self.event(member, Event::CommitDue);
                }
            }
        }
    }

    /// How far a node holds each log of the context of number 0, by rising log id; cut-off logs are left out.
    pub fn held(&mut self, member: Member) -> Vec<Tip> {
        self.held_in(member, 0)
    }

    /// How far a node holds each log of a context.
    pub fn held_in(&mut self, member: Member, context: u8) -> Vec<Tip> {
        let context = Self::context(context).id;
        let members: Vec<_> = (0..=u8::MAX).map(samples::replica).collect();
        let node = self.node(member);
        let mut held: Vec<Tip> = members.iter().flat_map(|replica| node.logs_of(&context, replica)).collect();
        held.sort_unstable();
        held
    }

    /// An entry that a node holds in the context of number 0, as a proof of who wrote it.
    ///
    /// # Panics
    /// When the node does not hold it, or without a signature.
    pub fn witness(&self, member: Member, tip: &Tip) -> Witness {
        let context = Self::context(0).id;
        let ask = |request| self.seats[member].store.read().and_then(|view| reads::answer(&*view, &request));
        let page = ask(ReadRequest::Entries { context, log: tip.log, from: tip.seq, bytes: 1 });
        let state = ask(ReadRequest::Context(context));
        let (Ok(reads::ReadResult::Entries(page)), Ok(reads::ReadResult::Context(state))) = (page, state) else {
            panic!("the store cannot be read");
        };
        let start = state.logs.get(&tip.log).map(|record| &record.start);
        let witness = page.first().zip(start).and_then(|(entry, start)| Witness::of(entry, start));
        match witness.filter(|witness| witness.tip() == *tip) {
            Some(witness) => witness,
            None => panic!("the node does not hold {tip:?} with a signature"),
        }
    }

    /// Whether all these nodes hold the same in the context of number 0.
    pub fn agree(&mut self, members: &[Member]) -> bool {
        let held: Vec<_> = members.iter().map(|member| self.held(*member)).collect();
        held.windows(2).all(|pair| pair[0] == pair[1])
    }

    fn session(&mut self) -> SessionId {
        self.next += 1;
        SessionId(self.next)
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

    fn send(&mut self, link: LinkId, from: usize, frame: Bytes) {
        let end = &mut self.links[link];
        if !end.up {
            return;
        }
        if let Some(stalled) = &mut end.stalled[from] {
            return stalled.push_back(frame);
        }
        let at = self.now + end.latency;
        self.push(at, link, from, Some(frame));
    }

    fn push(&mut self, at: Duration, link: LinkId, from: usize, frame: Option<Bytes>) {
        self.next += 1;
        let delivery = Delivery { link, from, frame };
        self.on_the_way.insert((at, self.next), delivery);
    }

    fn deliver(&mut self, delivery: Delivery) {
        let Delivery { link, from, frame } = delivery;
        if !self.links[link].up {
            return;
        }
        let Some(frame) = frame else {
            return self.cut(link);
        };
        let bytes = frame.len();
        if let End::Node(member, session) = self.links[link].ends[1 - from] {
            self.event(member, Event::Received(session, frame));
        }
        if let End::Node(member, session) = self.links[link].ends[from]
            && self.links[link].up
        {
            self.event(member, Event::Sent(session, bytes));
        }
    }

    fn event(&mut self, member: Member, event: Event) {
        let now = self.now_of(member);
        if let Some(node) = &mut self.seats[member].node {
            node.handle(now, event);
            self.perform(member);
        }
    }

    fn perform(&mut self, member: Member) {
        loop {
            let Some(node) = &mut self.seats[member].node else {
                return;
            };
            if !self.pauses && node.commit_due().is_some() {
                node.hurry_commit();
            }
            let effects = node.effects();
            let idle = effects.is_empty();
            for effect in effects {
                self.effect(member, effect);
            }
            if !self.serve_store(member) && idle {
                return;
            }
        }
    }

    fn effect(&mut self, member: Member, effect: Effect) {
        let seat = &mut self.seats[member];
        match effect {
            Effect::Commit(id, batch) => {
                seat.commits += 1;
                seat.work.push_back(StoreWork::Commit(id, batch));
            }
            Effect::Read(id, request) => seat.work.push_back(StoreWork::Read(id, request)),
            Effect::Notice(notice) => seat.notices.push(notice),
            Effect::Send(session, frame) => {
                if let Some((link, end)) = self.place(member, session) {
                    self.links[link].said[end].push(frame.clone());
                    self.send(link, end, frame);
                }
            }
            Effect::Close(session, reason) => {
                seat.closed.push((session, reason));
                if let Some((link, end)) = self.place(member, session) {
                    let at = self.now + self.links[link].latency;
                    self.push(at, link, end, None);
                }
            }
        }
    }

    /// One piece of a store's work; false when there is none, or it is held back.
    fn serve_store(&mut self, member: Member) -> bool {
        let now = self.now_of(member);
        let seat = &mut self.seats[member];
        if matches!(seat.work.front(), Some(StoreWork::Commit(..)))
            && let Some(left) = &mut seat.commits_left
        {
            let Some(less) = left.checked_sub(1) else {
                return false;
            };
            *left = less;
        }
        let event = match seat.work.pop_front() {
            None => return false,
            Some(StoreWork::Commit(id, batch)) => Event::Committed(id, seat.store.commit(&batch, Durability::Durable)),
            Some(StoreWork::Read(id, request)) => {
                let view: Result<_, StoreError> = seat.store.read();
                let answer = view.and_then(|view| reads::answer(&*view, &request));
                Event::Read(id, answer)
            }
        };
        if let Some(node) = &mut seat.node {
            node.handle(now, event);
        }
        true
    }

    fn place(&self, member: Member, session: SessionId) -> Option<(LinkId, usize)> {
        self.links.iter().enumerate().find_map(|(at, link)| {
            let end = End::Node(member, session);
            let end = link.ends.iter().position(|found| *found == end)?;
            Some((at, end))
        })
    }
}

fn open_kind() -> ContextKind {
    match ContextKind::new(OPEN_KIND) {
        Ok(kind) => kind,
        Err(error) => panic!("{error}"),
    }
}
