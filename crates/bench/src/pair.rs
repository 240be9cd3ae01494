//! Two nodes and a wire between them, without sockets: every byte that would be sent is counted, every round too.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use partita_core::{Batch, ContextInfo, Durability, Incarnation, Now, PartitionStrategy, SessionId, Store};
use partita_crypto::SigningKey;
use partita_protocol::{
    Effect, Event, Node, NodeConfig, NodeParts, Notice, RemoteSession,
    channel::{Handshake, LocalIdentity, Opener, Sealer},
    message::Message,
    reads::{self, ReadRequest},
};
use partita_testing::MemoryStore;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

type Failure = Box<dyn std::error::Error>;

enum Work {
    Commit(u64, Batch),
    Read(u64, ReadRequest),
}

/// A node on its store.
pub(crate) struct End {
    pub(crate) node: Node,
    store: Box<dyn Store>,
    identity: LocalIdentity,
    /// How often the store was read.
    pub(crate) reads: usize,
    pub(crate) notices: Vec<Notice>,
    out: Vec<Bytes>,
}

/// The next incarnation of a store.
pub(crate) fn incarnation(rng: &mut ChaCha20Rng) -> Incarnation {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    Incarnation::from_bytes(bytes)
}

/// Randomness of its own.
pub(crate) fn fork(rng: &mut ChaCha20Rng) -> ChaCha20Rng {
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    ChaCha20Rng::from_seed(seed)
}

pub(crate) fn now(seconds: u64) -> Now {
    Now { monotonic: Duration::from_secs(seconds), wall: Duration::from_secs(1_800_000_000 + seconds) }
}

impl End {
    pub(crate) fn new(seed: u64, key: Arc<SigningKey>, config: NodeConfig, strategy: impl PartitionStrategy) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let store = Box::new(MemoryStore::new(incarnation(&mut rng)));
        Self::with(store, rng, key, config, Box::new(strategy))
    }

    /// On a store that may hold something already.
    pub(crate) fn with(
        store: Box<dyn Store>,
        rng: ChaCha20Rng,
        key: Arc<SigningKey>,
        config: NodeConfig,
        strategy: Box<dyn PartitionStrategy>,
    ) -> Self {
        let identity = LocalIdentity { key, incarnation: store.incarnation() };
        let strategies = vec![strategy];
        let parts = NodeParts { config, identity: identity.clone(), strategies, rng: Box::new(rng) };
        Self { node: Node::new(now(1), parts), store, identity, reads: 0, notices: Vec::new(), out: Vec::new() }
    }

    pub(crate) fn open(&mut self, contexts: impl IntoIterator<Item = ContextInfo>) -> Result<(), Failure> {
        for info in contexts {
            if !self.node.open_context(now(1), info) {
                return Err("no strategy answers for a context of the benchmark".into());
            }
        }
        self.settle()
    }

    pub(crate) fn handle(&mut self, event: Event) -> Result<(), Failure> {
        self.node.handle(now(1), event);
        self.settle()
    }

    /// Performs what the node asks for until nothing is left; frames wait in `out`.
    pub(crate) fn settle(&mut self) -> Result<(), Failure> {
        let mut work = VecDeque::new();
        loop {
            self.node.hurry_commit(); // nobody else is at work
            for effect in self.node.effects() {
                match effect {
                    Effect::Send(_, frame) => self.out.push(frame),
                    Effect::Close(_, reason) => return Err(reason.into()),
                    Effect::Commit(id, batch) => work.push_back(Work::Commit(id, batch)),
                    Effect::Read(id, request) => work.push_back(Work::Read(id, request)),
                    Effect::Notice(notice) => self.notices.push(notice),
                }
            }
            let event = match work.pop_front() {
                None => return Ok(()),
                Some(Work::Commit(id, batch)) => Event::Committed(id, self.store.commit(&batch, Durability::Durable)),
                Some(Work::Read(id, request)) => {
                    self.reads += 1;
                    Event::Read(id, self.store.read().and_then(|view| reads::answer(&*view, &request)))
                }
            };
            self.node.handle(now(1), event);
        }
    }

    pub(crate) fn take_out(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.out)
    }
}

/// What went over a wire.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Sealed bytes, both ways together, without the handshake.
    pub(crate) bytes: usize,
    /// How often frames went one way, or both ways at once.
    pub(crate) trips: usize,
    /// How many entries.
    pub(crate) entries: usize,
}

/// A connection of two ends that were connected before under the same number or not.
pub(crate) struct Wire<'a> {
    ends: [&'a mut End; 2],
    sealing: [(Sealer, Opener); 2],
    sessions: [SessionId; 2],
    pub(crate) traffic: Traffic,
    /// What each end took to work off what it received, its store's commits included.
    pub(crate) busy: [Duration; 2],
    /// What it took to count what went over it: no real wire does that.
    pub(crate) counting: Duration,
}

impl<'a> Wire<'a> {
    /// Connects them through a real handshake; the first one dials and pins the other.
    pub(crate) fn connect(number: u64, dialer: &'a mut End, acceptor: &'a mut End) -> Result<Self, Failure> {
        let mut rng = ChaCha20Rng::seed_from_u64(number);
        let (mut dial, first) = Handshake::dial(dialer.identity.clone(), Some(acceptor.node.replica()), &mut rng)?;
        let mut accept = Handshake::accept(acceptor.identity.clone(), &mut rng)?;
        let (mut to_acceptor, mut to_dialer) = (vec![first], Vec::new());
        let mut channels = [None, None];
        while channels.iter().any(Option::is_none) {
            for frame in std::mem::take(&mut to_acceptor) {
                let step = accept.receive(&frame)?;
                to_dialer.extend(step.send);
                channels[1] = channels[1].take().or(step.done);
            }
            for frame in std::mem::take(&mut to_dialer) {
                let step = dial.receive(&frame)?;
                to_acceptor.extend(step.send);
                channels[0] = channels[0].take().or(step.done);
            }
        }
        let sessions = [SessionId(2 * number), SessionId(2 * number + 1)];
        let ends = [dialer, acceptor];
        let mut sealing = Vec::new();
        for (at, channel) in channels.into_iter().enumerate() {
            let channel = *channel.ok_or("the handshake did not end")?;
            ends[at].node.handle(
                now(1),
                Event::Connected(RemoteSession {
                    session: sessions[at],
                    remote: channel.remote,
                    incarnation: channel.incarnation,
                    handshake: channel.handshake,
                    dialled: channel.dialled,
                    pinned: channel.pinned,
                }),
            );
            sealing.push((channel.sealer, channel.opener));
        }
        let sealing = sealing.try_into().map_err(|_| "a connection has two ends")?;
        let [dialer, acceptor] = ends;
        dialer.settle()?;
        acceptor.settle()?;
        let traffic = Traffic::default();
        Ok(Self {
            ends: [dialer, acceptor],
            sealing,
            sessions,
            traffic,
            busy: [Duration::ZERO; 2],
            counting: Duration::ZERO,
        })
    }

    /// Lets frames go one way, both ways at once; false when there were none.
    pub(crate) fn trip(&mut self) -> Result<bool, Failure> {
        let mut sealed = [Vec::new(), Vec::new()];
        for (at, sealed) in sealed.iter_mut().enumerate() {
            for frame in self.ends[at].take_out() {
                let began = Instant::now();
                let entries = Message::decode_frame(&frame)?.into_iter().map(|message| match message {
                    Message::Entries(run) => run.entries.len(),
                    _ => 0,
                });
                self.traffic.entries += entries.sum::<usize>();
                self.counting += began.elapsed();
                let bytes = frame.len();
                let frame = self.sealing[at].0.seal(&frame)?;
                self.traffic.bytes += frame.len();
                sealed.push(frame);
                self.ends[at].node.handle(now(1), Event::Sent(self.sessions[at], bytes));
            }
        }
        let any = sealed.iter().any(|frames| !frames.is_empty());
        self.traffic.trips += usize::from(any);
        for (at, frames) in sealed.into_iter().enumerate() {
            let there = 1 - at;
            for frame in frames {
                let frame = self.sealing[there].1.open(&frame)?;
                let began = Instant::now();
                self.ends[there].node.handle(now(1), Event::Received(self.sessions[there], frame));
                self.busy[there] += began.elapsed();
            }
        }
        for (end, busy) in self.ends.iter_mut().zip(&mut self.busy) {
            let began = Instant::now();
            end.settle()?;
            *busy += began.elapsed();
        }
        Ok(any)
    }

    /// Until nothing is said any more.
    pub(crate) fn run(&mut self) -> Result<(), Failure> {
        while self.trip()? {}
        Ok(())
    }

    pub(crate) fn end(&self, at: usize) -> &End {
        self.ends[at]
    }

    pub(crate) fn end_mut(&mut self, at: usize) -> &mut End {
        self.ends[at]
    }

    pub(crate) fn disconnect(mut self) -> Result<Traffic, Failure> {
        for (end, session) in self.ends.iter_mut().zip(self.sessions) {
            end.handle(Event::Disconnected(session))?;
            end.take_out();
        }
        Ok(self.traffic)
    }
}
