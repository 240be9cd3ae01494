//! One loaded context: its logs, its control graph, how far everybody's logs count.

use std::collections::{BTreeMap, BTreeSet};

use partita_core::{
    ContextInfo, ControlGraph, DocumentId, Entry, EntryId, Frontier, Hash, LogId, ReplicaId, SessionId, Signature,
    Standing, Timestamp, Tip,
};
use partita_crypto::VerifyingKey;

use super::{
    ephemeral::Saying,
    fragments::Incoming,
    heard::{Heard, Topic},
    link::SendOrder,
    tail::Tail,
};
use crate::{
    NodeConfig,
    reads::{ContextState, Quarantined},
    record::LogRecord,
};

#[derive(Debug)]
pub(super) struct Log {
    pub(super) record: LogRecord,
    /// The author's key, parsed once.
    pub(super) key: VerifyingKey,
    /// The last durable entry: what frontiers and acknowledgements speak of.
    pub(super) durable: u64,
    pub(super) durable_head: EntryId,
}

impl Log {
    pub(super) fn order(&self, id: &LogId) -> SendOrder {
        (!self.record.control, self.record.begun, *id)
    }
}

/// The log that this replica writes from this open on. It exists for others only once it has an entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnLog {
    pub(super) id: LogId,
    pub(super) nonce: [u8; 16],
}

impl OwnLog {
    pub(super) fn mint(info: &ContextInfo, replica: &ReplicaId, rng: &mut dyn partita_core::CryptoRng) -> Self {
        let mut nonce = [0; 16];
        rng.fill_bytes(&mut nonce);
        Self { id: LogId::derive(&info.id, replica, &nonce), nonce }
    }
}

#[derive(Debug)]
pub(super) struct Context {
    pub(super) info: ContextInfo,
    /// Which of the node's strategies answers for it.
    pub(super) strategy: usize,
    pub(super) logs: BTreeMap<LogId, Log>,
    pub(super) graph: ControlGraph,
    pub(super) standing: Standing,
    pub(super) last_arrival: u64,
    pub(super) tail: Tail,
    pub(super) own_data: OwnLog,
    pub(super) own_control: OwnLog,
    /// The bytes of the logs of others.
    pub(super) remote_bytes: u64,
    /// Large payloads on their way.
    pub(super) incoming: BTreeMap<LogId, Incoming>,
    /// What is in quarantine of each log.
    pub(super) quarantined: BTreeMap<LogId, Quarantined>,
    /// Logs that are being cut back: nothing of them is taken or sent meanwhile.
    pub(super) excluding: BTreeSet<LogId>,
    /// Whether the store has a record of this context.
    pub(super) recorded: bool,
    /// The sessions that have this context open, or try to.
    pub(super) sessions: BTreeSet<SessionId>,
    /// What was said last by whom about what.
    pub(super) heard: BTreeMap<Topic, Heard>,
    /// When each sender spoke last about what, by its own clock.
    pub(super) spoke: BTreeMap<Topic, Timestamp>,
    /// What this node says about documents.
    pub(super) saying: BTreeMap<DocumentId, Saying>,
    frontier: Option<(Frontier, Hash)>,
}

impl Context {
    pub(super) fn new(info: ContextInfo, strategy: usize, state: &ContextState, own: [OwnLog; 2]) -> Self {
        let [own_data, own_control] = own;
        Self {
            info,
            strategy,
            logs: BTreeMap::new(),
            graph: ControlGraph::default(),
            standing: Standing::default(),
            last_arrival: state.last_arrival,
            tail: Tail::default(),
            own_data,
            own_control,
            remote_bytes: 0,
            incoming: BTreeMap::new(),
            quarantined: state.quarantined.clone(),
            excluding: BTreeSet::new(),
            recorded: !state.logs.is_empty(),
            sessions: BTreeSet::new(),
            heard: BTreeMap::new(),
            spoke: BTreeMap::new(),
            saying: BTreeMap::new(),
            frontier: None,
        }
    }

    /// Takes over a log's record; `None` when its author's key is no key, which no accepted log's is.
    pub(super) fn insert_log(&mut self, id: LogId, record: LogRecord, durable: bool, own: &ReplicaId) -> Option<()> {
        let key = VerifyingKey::parse(record.replica().as_bytes()).ok()?;
        if record.replica() != *own {
            self.remote_bytes += record.bytes;
        }
        let (seq, head) = if durable { (record.seq, record.head) } else { (0, EntryId::NONE) };
        self.logs.insert(id, Log { record, key, durable: seq, durable_head: head });
        self.frontier = None;
        Some(())
    }

    /// The store holds a log so far; less, if it was cut back meanwhile.
    pub(super) fn set_durable(&mut self, log: &LogId, seq: u64, head: EntryId) {
        let Some(log) = self.logs.get_mut(log) else {
            return;
        };
        let (seq, head) = if seq > log.record.seq { (log.record.seq, log.record.head) } else { (seq, head) };
        if seq > log.durable {
            log.durable = seq;
            log.durable_head = head;
            self.frontier = None;
        }
    }

    pub(super) fn forget_frontier(&mut self) {
        self.frontier = None;
    }

    /// What is held durably: a predecessor held no further than its durable successor names drops out.
    pub(super) fn frontier(&mut self) -> &(Frontier, Hash) {
        let Self { frontier, logs, .. } = self;
        frontier.get_or_insert_with(|| {
            let named = named_by(logs.values().filter(|log| log.durable > 0));
            let tips = logs.iter().filter(|(_, log)| log.durable > 0);
            let tips = tips.map(|(id, log)| Tip { log: *id, seq: log.durable, head: log.durable_head });
            let frontier = Frontier::new(tips.filter(|tip| is_tip(tip, &named)).collect());
            let hash = frontier.hash();
            (frontier, hash)
        })
    }

    pub(super) fn frontier_hash(&mut self) -> Hash {
        self.frontier().1
    }

    /// Every log of one replica with its last entry held.
    pub(super) fn logs_of(&self, replica: &ReplicaId) -> impl Iterator<Item = (Tip, &Log)> {
        let own = self.logs.iter();
        let own = own.filter(move |(_, log)| log.record.replica() == *replica);
        own.filter(|(_, log)| log.record.seq > 0).map(|(id, log)| {
            let (seq, head) = (log.record.seq, log.record.head);
            (Tip { log: *id, seq, head }, log)
        })
    }

    /// The tips of one replica's logs of one sort, in memory: what its next log names.
    pub(super) fn tips_of(&self, replica: &ReplicaId, control: bool) -> Vec<Tip> {
        let own = || self.logs_of(replica).filter(|(_, log)| log.record.control == control);
        let named = named_by(own().map(|(_, log)| log));
        own().map(|(tip, _)| tip).filter(|tip| is_tip(tip, &named)).collect()
    }

    /// Whether a point that a new log names as its predecessor is held as far as it counts. What is cut off wholly will
    /// never come.
    pub(super) fn holds_or_cut(&self, author: &ReplicaId, tip: &Tip) -> bool {
        match self.logs.get(&tip.log) {
            Some(log) => {
                let cap = self.cap(&log.record.replica(), &tip.log, log.record.control);
                log.record.seq >= tip.seq.min(cap)
            }
            None => self.standing.cap(author, &tip.log) == Some(0),
        }
    }

    /// Whether a loss or a vouch names another entry at this place: the log is forked, and this is not the branch that
    /// counts.
    pub(super) fn contradicts(&self, replica: &ReplicaId, tip: &Tip) -> bool {
        let Some(losses) = self.standing.losses.get(replica) else {
            return false;
        };
        let named = losses.iter().flatten().chain(self.standing.vouches.keys());
        let mut at_place = named.filter(|named| named.log == tip.log && named.seq == tip.seq).peekable();
        at_place.peek().is_some() && at_place.all(|named| named.head != tip.head)
    }

    /// The signature over an entry of a log that is held: its own, or the one that a vouch for it brings along.
    pub(super) fn signature(&self, log: &LogId, entry: &Entry) -> Option<Signature> {
        let writer = || self.logs.get(log).map(|log| log.record.replica());
        let tip = Tip { log: *log, seq: entry.header.seq, head: entry.id };
        entry.signature.or_else(|| self.standing.signature(&writer()?, &tip))
    }

    /// Whether a remote's entries of so many bytes fit, on their way and in the store.
    pub(super) fn has_room(&self, bytes: u64, config: &NodeConfig) -> bool {
        let on_their_way: u64 = self.incoming.values().map(Incoming::len).sum();
        self.remote_bytes.saturating_add(bytes) <= config.max_context_bytes
            && on_their_way.saturating_add(bytes) <= config.max_payload.saturating_mul(2)
    }

    /// How far a log counts; `u64::MAX` without a limit. Control logs are never cut: what counts of them is the
    /// strategy's to resolve.
    pub(super) fn cap(&self, replica: &ReplicaId, log: &LogId, control: bool) -> u64 {
        if control { u64::MAX } else { self.standing.cap(replica, log).unwrap_or(u64::MAX) }
    }
}

/// How far the first entries of these logs name others.
fn named_by<'a>(logs: impl Iterator<Item = &'a Log>) -> BTreeMap<LogId, u64> {
    let mut named = BTreeMap::new();
    for tip in logs.flat_map(|log| &log.record.start.tips) {
        let seq = named.entry(tip.log).or_default();
        *seq = tip.seq.max(*seq);
    }
    named
}

fn is_tip(tip: &Tip, named: &BTreeMap<LogId, u64>) -> bool {
    named.get(&tip.log).is_none_or(|named| tip.seq > *named)
}
