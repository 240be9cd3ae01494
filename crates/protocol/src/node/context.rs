//! One loaded context: its logs, its control graph, how far everybody's logs count.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use partita_core::{
    ContextInfo, ControlGraph, DocumentId, Entry, EntryId, Frontier, Hash, LogId, LogSort, ReplicaId, SessionId,
    Signature, SignedTip, Standing, Timestamp, Tip,
};
use partita_crypto::VerifyingKey;

use super::{
    checkpoints::Checkpoints,
    ephemeral::Saying,
    fragments::Incoming,
    heard::{Heard, Topic},
    link::{Halt, SendOrder},
    tail::Tail,
    weighed::Weighed,
};
use crate::{
    NodeConfig,
    reads::{ContextState, Quarantined, StoredFragments},
    record::LogRecord,
};

#[derive(Debug)]
pub(super) struct Log {
    /// Boxed, like the key: a map has room for eleven logs, and most contexts have a few.
    pub(super) record: Box<LogRecord>,
    /// The author's key, parsed once.
    pub(super) key: Box<VerifyingKey>,
    /// The last durable entry: what frontiers and acknowledgements speak of.
    pub(super) durable: u64,
    pub(super) durable_head: EntryId,
    /// How far it counts; `u64::MAX` without a limit. Reckoned anew when the standing changes.
    pub(super) cap: u64,
    /// The last entry that the checkpoint which this node relies on covers: it and those before it are pruned. 0 for none.
    pub(super) base: u64,
}

impl Log {
    pub(super) fn order(&self, id: &LogId) -> SendOrder {
        (self.record.sort, self.record.begun, *id)
    }
}

/// The log that this replica writes from this open on. It exists for others only once it has an entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnLog {
    pub(super) id: LogId,
    pub(super) nonce: [u8; 16],
}

impl OwnLog {
    /// What [`Bug::SeqReused`] has instead: the same at every open.
    ///
    /// [`Bug::SeqReused`]: partita_core::planted::Bug::SeqReused
    pub(super) fn derived(info: &ContextInfo, replica: &ReplicaId, control: bool) -> Self {
        let nonce = [u8::from(control); 16];
        Self { id: LogId::derive(&info.id, replica, &nonce), nonce }
    }

    pub(super) fn mint(info: &ContextInfo, replica: &ReplicaId, rng: &mut dyn partita_core::CryptoRng) -> Self {
        let mut nonce = [0; 16];
        rng.fill_bytes(&mut nonce);
        Self { id: LogId::derive(&info.id, replica, &nonce), nonce }
    }
}

/// A log that is not held yet and rests on others of its author's.
#[derive(Debug, Clone)]
pub(super) struct Successor {
    pub(super) author: ReplicaId,
    pub(super) sort: LogSort,
    /// The control heads that its first entry names.
    pub(super) knew: Vec<EntryId>,
}

#[derive(Debug)]
pub(super) struct Context {
    pub(super) info: ContextInfo,
    /// Which of the node's strategies answers for it.
    pub(super) strategy: usize,
    pub(super) logs: BTreeMap<LogId, Log>,
    pub(super) graph: ControlGraph,
    /// The log and number of each control entry, in the order in which they came here: what one rests on came before it.
    pub(super) control_arrivals: Vec<(LogId, u64)>,
    pub(super) standing: Standing,
    pub(super) checkpoints: Checkpoints,
    /// How many control entries there were when this replica wrote last, and when that was.
    pub(super) wrote: Option<(usize, Duration)>,
    pub(super) last_arrival: u64,
    pub(super) tail: Tail,
    pub(super) own_data: OwnLog,
    pub(super) own_control: OwnLog,
    /// The bytes of the logs of others.
    pub(super) remote_bytes: u64,
    /// Large payloads on their way.
    pub(super) incoming: BTreeMap<LogId, Incoming>,
    /// What the store has of large entries that are not whole: of each log the pieces of its next one. They stay when whoever
    /// sent them is gone, for the next one to go on, and count towards what remotes may have stored.
    pub(super) pieces: Weighed<StoredFragments>,
    /// What is in quarantine of each log.
    pub(super) quarantined: Weighed<Quarantined>,
    /// Logs of which quarantine holds what counts again, and that rest on what is not here: why they are not taken back.
    pub(super) awaiting: BTreeMap<LogId, Halt>,
    /// Logs that are being cut back: nothing of them is taken or sent meanwhile.
    pub(super) excluding: BTreeSet<LogId>,
    /// The sessions that have this context open, or try to.
    pub(super) sessions: BTreeSet<SessionId>,
    /// Since when nobody has it open, as far as was noticed.
    pub(super) left: Option<Duration>,
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
            control_arrivals: Vec::new(),
            standing: Standing::default(),
            checkpoints: Checkpoints::default(),
            wrote: None,
            last_arrival: state.last_arrival,
            tail: Tail::default(),
            own_data,
            own_control,
            remote_bytes: 0,
            incoming: BTreeMap::new(),
            pieces: state.pieces.clone().into(),
            quarantined: state.quarantined.clone().into(),
            awaiting: BTreeMap::new(),
            excluding: BTreeSet::new(),
            sessions: BTreeSet::new(),
            left: None,
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
        let cap = self.cap_of(&record.replica(), &id, record.sort, &record.knew);
        let (record, key) = (Box::new(record), Box::new(key));
        self.logs.insert(id, Log { record, key, durable: seq, durable_head: head, cap, base: 0 });
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

    /// Counts a log as durable up to an entry that is not here: for [`Bug::WatermarkOverGap`] alone.
    ///
    /// [`Bug::WatermarkOverGap`]: partita_core::planted::Bug::WatermarkOverGap
    pub(super) fn claim(&mut self, log: &LogId, seq: u64, head: EntryId) {
        if let Some(log) = self.logs.get_mut(log) {
            (log.durable, log.durable_head) = (seq.max(log.durable), head);
            self.frontier = None;
        }
    }

    /// Whether something is under way that its answer has to find here.
    pub(super) fn is_at_work(&self) -> bool {
        !self.excluding.is_empty()
            || !self.awaiting.is_empty()
            || !self.incoming.is_empty()
            || self.checkpoints.adopting
    }

    pub(super) fn forget_frontier(&mut self) {
        self.frontier = None;
    }

    /// What is held durably: a predecessor held no further than its durable successor names drops out.
    pub(super) fn frontier(&mut self) -> &(Frontier, Hash) {
        let Self { frontier, logs, checkpoints, .. } = self;
        frontier.get_or_insert_with(|| {
            let named = named_by(logs.values().filter(|log| log.durable > 0));
            // Snapshots that nobody claims yet are nobody's to have.
            let is_needed = |id, log: &Log| log.record.sort != LogSort::Snapshot || checkpoints.wanted(id).is_some();
            let tips = logs.iter().filter(|(id, log)| log.durable > 0 && is_needed(*id, log));
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

    /// The tips of one replica's logs of one sort, in memory, as far as they count: what its next log names. What is being
    /// cut off nobody will hold.
    pub(super) fn tips_of(&self, replica: &ReplicaId, sort: LogSort) -> Vec<Tip> {
        let own = || {
            let own = self.logs_of(replica).filter(move |(_, log)| log.record.sort == sort);
            own.filter_map(|(tip, log)| match log.cap {
                cap if cap >= tip.seq => Some((tip, log)),
                cap => Some((self.standing.named_at(replica, &tip.log, cap)?, log)),
            })
        };
        let named = named_by(own().map(|(_, log)| log));
        own().map(|(tip, _)| tip).filter(|tip| is_tip(tip, &named)).collect()
    }

    /// Whether a point that a new log names as its predecessor is held as far as it counts. What is cut off wholly will
    /// never come: of a log that is not held that is known only if it would be, had it been begun in knowledge of all that
    /// the new one was, since it was begun before. Control logs are never cut.
    pub(super) fn holds_or_cut(&self, tip: &Tip, of: &Successor) -> bool {
        match self.logs.get(&tip.log) {
            Some(log) => log.record.seq >= tip.seq.min(log.cap),
            None => self.cap_of(&of.author, &tip.log, of.sort, &of.knew) == 0,
        }
    }

    /// Its author's signature over an entry: its own, or the one that a loss or a vouch brings along.
    pub(super) fn signature(&self, entry: &Entry) -> Option<Signature> {
        let tip = Tip { log: entry.header.log, seq: entry.header.seq, head: entry.id };
        entry.signature.or_else(|| self.standing.signature(&tip))
    }

    /// Every log of one replica with its last entry that counts, as a loss lists them: where it cannot be proved to others,
    /// because a run was taken in part, the last one that can. Where a loss names another entry at that place than the one
    /// held, the log is forked, and the named one counts.
    pub(super) fn counted(&self, replica: &ReplicaId) -> Vec<SignedTip> {
        let lasting = self.logs_of(replica).filter(|(_, log)| log.record.sort != LogSort::Snapshot);
        let counted = lasting.filter_map(|(tip, log)| {
            let named = || self.standing.named_at(replica, &tip.log, tip.seq.min(log.cap));
            let held = (tip.seq <= log.cap).then_some(tip);
            let signed = |tip: Tip| Some(SignedTip { tip, signature: self.standing.signature(&tip)? });
            let before = log.record.signed.filter(|signed| signed.seq <= tip.seq.min(log.cap)).map(|signed| {
                SignedTip { tip: Tip { log: tip.log, seq: signed.seq, head: signed.head }, signature: signed.signature }
            });
            let own = before.filter(|before| Some(before.tip) == held);
            own.or_else(|| held.and_then(signed)).or_else(|| named().and_then(signed)).or(before)
        });
        counted.collect()
    }

    /// How far a log counts whose first entry names these control heads; `u64::MAX` without a limit. Control logs are
    /// never cut: what counts of them is the strategy's to resolve; snapshots count by their checkpoints. Of a log that is
    /// held, [`Log::cap`] says the same.
    pub(super) fn cap_of(&self, replica: &ReplicaId, log: &LogId, sort: LogSort, knew: &[EntryId]) -> u64 {
        if sort != LogSort::Data {
            return u64::MAX;
        }
        self.standing.cap(replica, log, |id| self.graph.descend(knew, id)).unwrap_or(u64::MAX)
    }

    /// Reckons anew how far the logs count that are held, and says it of those of which something is in quarantine.
    pub(super) fn reckon_caps(&mut self) -> BTreeMap<LogId, u64> {
        let Self { logs, graph, standing, quarantined, .. } = self;
        // A replica may have a log for each time that it was opened. Most were begun before what lifts the losses, which
        // is known without walking; for the others the graph is walked once for each entry that lifts.
        let after: RefCell<BTreeMap<EntryId, BTreeSet<EntryId>>> = RefCell::default();
        let knew = |heads: &[EntryId], id: &EntryId| {
            graph.may_descend(heads, id) && {
                let mut after = after.borrow_mut();
                let after = after.entry(*id).or_insert_with(|| graph.descendants(&[*id]));
                heads.iter().any(|head| after.contains(head))
            }
        };
        for (id, log) in logs.iter_mut().filter(|(_, log)| log.record.sort == LogSort::Data) {
            let cap = standing.cap(&log.record.replica(), id, |lifts| knew(&log.record.knew, lifts));
            // What is pruned cannot be cut off any more; decision 16 says why nobody asks for it.
            log.cap = cap.unwrap_or(u64::MAX).max(log.base);
        }
        let caps = quarantined.all().iter().map(|(id, kept)| match logs.get(id) {
            Some(log) => (*id, log.cap),
            None => (*id, standing.cap(&kept.author, id, |lifts| knew(&kept.knew, lifts)).unwrap_or(u64::MAX)),
        });
        caps.collect()
    }

    /// How far a log counts of which something is in quarantine.
    pub(super) fn cap_of_quarantined(&self, log: &LogId, kept: &Quarantined) -> u64 {
        let held = self.logs.get(log).map(|log| log.cap);
        held.unwrap_or_else(|| self.cap_of(&kept.author, log, LogSort::Data, &kept.knew))
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

/// How many bytes of remotes a context may have when another entry of this sort has come to it.
pub(super) fn most_with(sort: LogSort, config: &NodeConfig) -> u64 {
    let reserve = if sort == LogSort::Data { 0 } else { config.max_context_bytes / 2 };
    config.max_context_bytes.saturating_add(reserve)
}
