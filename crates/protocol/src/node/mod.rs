//! The node: contexts, sessions, logs. `(now, event) -> effects`, deterministic given its inputs.

mod admit;
mod adopt;
mod answers;
mod checkpoint;
mod checkpoints;
mod commit;
mod context;
mod control;
mod cut;
mod ephemeral;
mod fragments;
mod gather;
mod grants;
mod heard;
mod link;
mod load;
mod local;
mod open;
mod opened;
mod positions;
mod probe;
mod quarantine;
mod receive;
mod refusals;
mod refused_opens;
mod sample;
mod send;
mod session;
mod sessions;
mod status;
mod syncing;
mod tail;
mod turns;
mod verdict;
mod weighed;

use std::collections::{BTreeMap, BTreeSet};

use partita_core::{
    ContextId, ContextInfo, ContextKind, CryptoRng, HybridClock, Now, PartitionStrategy, ReplicaId, SessionId,
    StoreError, timestamp_at,
};

use crate::{
    NodeConfig,
    channel::LocalIdentity,
    effect::{Arrival, CloseReason, Effect, Event, Notice},
    reads::{ReadRequest, ReadResult},
};
pub use checkpoint::{CheckpointCheck, CheckpointPlan};
pub use checkpoints::{CheckpointBase, CheckpointTable};
use commit::Commits;
use context::Context;
pub use local::AppendError;
pub use sample::LagCursor;
use sessions::Sessions;
pub use status::{ClaimStatus, ContextStatus, PeerStatus, SessionStatus};
pub use syncing::SendError;

/// What a node is made of.
pub struct NodeParts {
    /// Its limits.
    pub config: NodeConfig,
    /// Who it is.
    pub identity: LocalIdentity,
    /// Its strategies, the first that answers for a kind first.
    pub strategies: Vec<Box<dyn PartitionStrategy>>,
    /// Randomness: nonces, log ids.
    pub rng: Box<dyn CryptoRng + Send>,
}

/// Why a read was asked for.
#[derive(Debug, Clone)]
enum Purpose {
    Load(ContextInfo),
    Send(SessionId, ContextId, partita_core::LogId),
    Fragments(ContextId, partita_core::LogId, partita_core::EntryId),
    Payload(ContextId, partita_core::LogId, partita_core::EntryId, u64),
    BuiltOn(ContextId, partita_core::LogId),
    Rewind(ContextId, partita_core::LogId, u64),
    Adopt(ContextId, adopt::Adopting),
    Readmit(ContextId, partita_core::LogId),
}

/// A store's contents in memory as far as they matter, sessions, and strategies: everything but documents and I/O.
///
/// Call methods, then [`effects`](Self::effects), and perform what it answers in order.
pub struct Node {
    config: NodeConfig,
    identity: LocalIdentity,
    replica: ReplicaId,
    rng: Box<dyn CryptoRng + Send>,
    clock: HybridClock,
    now: Now,
    strategies: Vec<Box<dyn PartitionStrategy>>,
    contexts: BTreeMap<ContextId, Context>,
    /// Contexts that are being loaded, with the `Open`s that wait for them.
    loading: BTreeMap<ContextId, BTreeMap<SessionId, crate::message::Open>>,
    sessions: Sessions,
    /// Sessions that were asked whether they are there, and have not answered.
    probed: BTreeSet<SessionId>,
    reads: BTreeMap<u64, Purpose>,
    next_read: u64,
    /// Large entries on their way out.
    large: link::LargeEntries,
    /// Those that came in, and wait to be put together.
    assembly: fragments::Assembly,
    /// Reads that have to see what is pending: they go out behind its commit.
    reads_after_commit: Vec<(u64, ReadRequest)>,
    commits: Commits,
    /// Contexts whose control entries changed since the last round.
    control_changed: BTreeSet<ContextId>,
    /// Document entries that arrived since then.
    arrived: BTreeMap<ContextId, Vec<Arrival>>,
    /// Logs that grew since then: their subscribers are woken.
    grown: BTreeSet<(ContextId, partita_core::LogId)>,
    /// Contexts whose targets are chosen anew, and sessions for which all their logs are looked at.
    look: BTreeMap<ContextId, BTreeSet<SessionId>>,
    /// Contexts in which the cause of a refusal may have gone, or a remote may have been caught up with.
    review: BTreeSet<ContextId>,
    /// Sessions in which a context was caught up with since the last round.
    caught_up: BTreeSet<SessionId>,
    /// How many topics of ephemeral messages are remembered.
    heard: heard::HeardCounts,
    /// What this node says, as soon as it may say something again.
    saying: BTreeSet<(ContextId, partita_core::DocumentId)>,
    effects: Vec<Effect>,
    /// Bytes that the transports of all sessions have not taken yet.
    outgoing: usize,
    /// Entries of remotes that were taken, ever.
    taken: u64,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("replica", &self.replica)
            .field("contexts", &self.contexts.len())
            .field("sessions", &self.sessions.len())
            .finish_non_exhaustive()
    }
}

impl Node {
    /// A node without contexts and sessions.
    pub fn new(now: Now, parts: NodeParts) -> Self {
        let NodeParts { config, identity, strategies, rng } = parts;
        Self {
            clock: HybridClock::new(timestamp_at(std::time::Duration::ZERO), config.drift_limit),
            replica: identity.replica(),
            config,
            identity,
            rng,
            now,
            strategies,
            contexts: BTreeMap::new(),
            loading: BTreeMap::new(),
            sessions: Sessions::default(),
            probed: BTreeSet::new(),
            reads: BTreeMap::new(),
            next_read: 0,
            large: link::LargeEntries::default(),
            assembly: fragments::Assembly::default(),
            reads_after_commit: Vec::new(),
            commits: Commits::default(),
            control_changed: BTreeSet::new(),
            arrived: BTreeMap::new(),
            grown: BTreeSet::new(),
            look: BTreeMap::new(),
            review: BTreeSet::new(),
            caught_up: BTreeSet::new(),
            heard: heard::HeardCounts::default(),
            saying: BTreeSet::new(),
            effects: Vec::new(),
            outgoing: 0,
            taken: 0,
        }
    }

    /// This node's replica id.
    pub fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// What this node is to the channels that are made for it.
    pub fn identity(&self) -> &LocalIdentity {
        &self.identity
    }

    /// The contexts that the strategies bring along.
    pub fn strategy_contexts(&self) -> Vec<ContextInfo> {
        self.strategies.iter().flat_map(|strategy| strategy.contexts()).collect()
    }

    /// Why nothing is written any more, if the store failed.
    pub fn failure(&self) -> Option<&StoreError> {
        self.commits.failed.as_ref()
    }

    /// Loads a context, or begins an empty one; [`Notice::ContextReady`] tells when it is usable. A kind that no
    /// strategy answers for is not loaded.
    pub fn open_context(&mut self, now: Now, info: ContextInfo) -> bool {
        self.now = now;
        if self.strategy_for(&info.kind).is_none() {
            return false;
        }
        if !self.contexts.contains_key(&info.id) && !self.loading.contains_key(&info.id) {
            self.load(info, BTreeMap::new());
        }
        true
    }

    /// Takes notice of what happened.
    pub fn handle(&mut self, now: Now, event: Event) {
        self.now = now;
        match event {
            Event::Connected(remote) => self.on_connected(remote),
            Event::Received(session, frame) => self.on_frame(session, &frame),
            Event::Sent(session, bytes) => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    let bytes = bytes.min(session.buffered);
                    session.buffered -= bytes;
                    self.outgoing -= bytes;
                }
            }
            Event::Disconnected(session) => self.end_session(session, None),
            Event::Probe(session) => self.on_probe(session),
            Event::Read(id, Ok(result)) => self.on_read(id, result),
            Event::Read(_, Err(error)) | Event::Committed(_, Err(error)) => self.fail(error),
            Event::Committed(id, Ok(())) => self.on_committed(id),
            Event::Tick => self.on_tick(),
            Event::CommitDue => {} // it goes out with this round
        }
    }

    /// What is to be done, in order: commits, frames, notices.
    pub fn effects(&mut self) -> Vec<Effect> {
        self.settle();
        std::mem::take(&mut self.effects)
    }

    /// Draws the consequences of what happened in this round.
    fn settle(&mut self) {
        self.settle_control();
        for (context, entries) in std::mem::take(&mut self.arrived) {
            let notice = Notice::Arrived { context, entries };
            self.effects.push(Effect::Notice(notice));
        }
        self.flush_commit();
        while let Some(context) = self.review.pop_first() {
            self.review_checkpoints(context);
            self.retry_halted(context);
            self.check_caught_up(context);
        }
        self.say_sessions_live();
        while let Some((context, log)) = self.grown.pop_first() {
            self.wake(context, log);
        }
        while let Some((context, sessions)) = self.look.pop_first() {
            self.choose_targets(context, sessions);
        }
        self.say_due();
        self.pump();
    }

    /// Has the targets of a context chosen anew, and all of its logs looked at for a session.
    fn look_at(&mut self, context: ContextId, session: Option<SessionId>) {
        self.look.entry(context).or_default().extend(session);
    }

    /// The limit of what remotes may have stored in one context, from now on.
    pub fn set_max_context_bytes(&mut self, now: Now, bytes: u64) {
        self.now = now;
        self.config.max_context_bytes = bytes;
        self.review.extend(self.contexts.keys());
    }

    /// Whether entries of remotes are taken from now on. A node that is about to go away takes none, and goes on sending
    /// what it has; those who offer some are told, and asked again if it stays after all.
    pub fn set_takes_entries(&mut self, now: Now, takes: bool) {
        self.now = now;
        self.config.takes_entries = takes;
        self.review.extend(self.contexts.keys());
    }

    fn strategy_for(&self, kind: &ContextKind) -> Option<usize> {
        self.strategies.iter().position(|strategy| strategy.kinds().contains(kind))
    }

    fn read(&mut self, purpose: Purpose, request: ReadRequest) {
        let id = self.next_read;
        self.next_read += 1;
        self.reads.insert(id, purpose);
        self.effects.push(Effect::Read(id, request));
    }

    /// A read that has to see everything that was taken or written so far.
    fn read_settled(&mut self, purpose: Purpose, request: ReadRequest) {
        let id = self.next_read;
        self.next_read += 1;
        self.reads.insert(id, purpose);
        self.reads_after_commit.push((id, request));
        self.commits.hurry();
        self.flush_commit();
    }

    fn on_read(&mut self, id: u64, result: ReadResult) {
        let Some(purpose) = self.reads.remove(&id) else {
            return;
        };
        match (purpose, result) {
            (Purpose::Load(info), ReadResult::Context(state)) => self.on_loaded(info, *state),
            (Purpose::Send(session, context, log), ReadResult::Entries(page)) => {
                self.on_page(session, context, log, page);
            }
            (Purpose::Fragments(context, log, entry), ReadResult::Fragments(stored)) => {
                self.on_fragments_read(context, log, entry, stored);
            }
            (Purpose::Payload(context, log, entry, len), ReadResult::Payload(payload)) => {
                self.on_payload_read(context, log, entry, len, payload);
            }
            (Purpose::BuiltOn(context, log), ReadResult::BuiltOn(entry)) => self.on_built_on(context, log, entry),
            (Purpose::Rewind(context, log, keep), ReadResult::Rewind(rewound)) => {
                self.on_rewound(context, log, keep, *rewound);
            }
            (Purpose::Readmit(context, log), ReadResult::Entries(page)) => self.on_readmit(context, log, page),
            (Purpose::Adopt(context, adopting), ReadResult::Under(under)) => self.on_under(context, adopting, under),
            (purpose, result) => {
                // The embedder mixed up two answers: nothing that a remote can cause.
                debug_assert!(false, "answer {result:?} to {purpose:?}");
            }
        }
    }

    fn fail(&mut self, error: StoreError) {
        if self.commits.failed.is_none() {
            self.effects.push(Effect::Notice(Notice::StoreFailed(error.clone())));
            self.commits.failed = Some(error);
        }
    }

    /// Ends every session in an orderly way.
    pub fn close(&mut self, now: Now) {
        self.now = now;
        for id in self.sessions.ids() {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.out.push(crate::message::Message::Bye);
            }
            self.drop_session(id, CloseReason::Closing);
        }
    }
}
