//! One loaded context: its logs, its control graph, how far everybody's logs count.

use std::collections::{BTreeMap, BTreeSet};

use partita_core::{
    ContextInfo, ControlGraph, EntryId, Frontier, Hash, LogId, ReplicaId, Standing, Tip,
};
use partita_crypto::VerifyingKey;

use super::{fragments::Incoming, tail::Tail};
use crate::{effect::Arrival, reads::ContextState, record::LogRecord};

#[derive(Debug)]
pub(super) struct Log {
    pub(super) record: LogRecord,
    /// The author's key, parsed once.
    pub(super) key: VerifyingKey,
    /// The last durable entry: what frontiers and acknowledgements speak of.
    pub(super) durable: u64,
    pub(super) durable_head: EntryId,
    /// How far a later log of the same replica names this one: held no further, it is no tip.
    pub(super) superseded: u64,
}

/// The log that this replica writes from this open on. It exists for others only once it has an entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnLog {
    pub(super) id: LogId,
    pub(super) nonce: [u8; 16],
}

impl OwnLog {
    pub(super) fn mint(
        info: &ContextInfo,
        replica: &ReplicaId,
        rng: &mut dyn partita_core::CryptoRng,
    ) -> Self {
        let mut nonce = [0; 16];
        rng.fill_bytes(&mut nonce);
        Self {
            id: LogId::derive(&info.id, replica, &nonce),
            nonce,
        }
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
    /// The arrivals of this open's own data entries, by number.
    pub(super) own_arrivals: Vec<u64>,
    /// The bytes of the logs of others.
    pub(super) remote_bytes: u64,
    /// Large payloads on their way.
    pub(super) incoming: BTreeMap<LogId, Incoming>,
    /// How many entries of each log are in quarantine.
    pub(super) quarantined: BTreeMap<LogId, u64>,
    /// Logs that are being cut back: nothing of them is taken or sent meanwhile.
    pub(super) excluding: BTreeSet<LogId>,
    /// Document entries that arrived during this event.
    pub(super) arrived: Vec<Arrival>,
    /// Whether the store has a record of this context.
    pub(super) recorded: bool,
    frontier: Option<Frontier>,
}

impl Context {
    pub(super) fn new(
        info: ContextInfo,
        strategy: usize,
        state: &ContextState,
        own: [OwnLog; 2],
    ) -> Self {
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
            own_arrivals: Vec::new(),
            remote_bytes: 0,
            incoming: BTreeMap::new(),
            quarantined: state.quarantined.clone(),
            excluding: BTreeSet::new(),
            arrived: Vec::new(),
            recorded: !state.logs.is_empty(),
            frontier: None,
        }
    }

    /// Takes over a log's record; `None` when its author's key is no key, which no accepted log's is.
    pub(super) fn insert_log(
        &mut self,
        id: LogId,
        record: LogRecord,
        durable: bool,
        own: &ReplicaId,
    ) -> Option<()> {
        let key = VerifyingKey::parse(record.replica().as_bytes()).ok()?;
        for tip in &record.start.tips {
            if let Some(log) = self.logs.get_mut(&tip.log) {
                log.superseded = log.superseded.max(tip.seq);
            }
        }
        let superseded = self
            .logs
            .values()
            .flat_map(|log| &log.record.start.tips)
            .filter(|tip| tip.log == id)
            .map(|tip| tip.seq)
            .max()
            .unwrap_or(0);
        if record.replica() != *own {
            self.remote_bytes += record.bytes;
        }
        let (seq, head) = if durable {
            (record.seq, record.head)
        } else {
            (0, EntryId::NONE)
        };
        self.logs.insert(
            id,
            Log {
                record,
                key,
                durable: seq,
                durable_head: head,
                superseded,
            },
        );
        self.frontier = None;
        Some(())
    }

    pub(super) fn set_durable(&mut self, log: &LogId, seq: u64, head: EntryId) {
        if let Some(log) = self.logs.get_mut(log)
            && seq > log.durable
        {
            log.durable = seq;
            log.durable_head = head;
            self.frontier = None;
        }
    }

    pub(super) fn forget_frontier(&mut self) {
        self.frontier = None;
    }

    /// What is held durably: a predecessor held no further than its successor names drops out.
    pub(super) fn frontier(&mut self) -> &Frontier {
        let Self { frontier, logs, .. } = self;
        frontier.get_or_insert_with(|| {
            let tips = logs.iter().filter(|(_, log)| log.durable > log.superseded);
            Frontier::new(
                tips.map(|(id, log)| Tip {
                    log: *id,
                    seq: log.durable,
                    head: log.durable_head,
                })
                .collect(),
            )
        })
    }

    pub(super) fn frontier_hash(&mut self) -> Hash {
        self.frontier().hash()
    }

    /// The tips of one replica's logs of one sort, in memory: what its next log names.
    pub(super) fn tips_of(&self, replica: &ReplicaId, control: bool) -> Vec<Tip> {
        self.logs
            .iter()
            .filter(|(_, log)| log.record.replica() == *replica && log.record.control == control)
            .filter(|(_, log)| log.record.seq > log.superseded)
            .map(|(id, log)| Tip {
                log: *id,
                seq: log.record.seq,
                head: log.record.head,
            })
            .collect()
    }

    /// How far a log counts; `u64::MAX` without a limit. Control logs are never cut: what counts of them is the
    /// strategy's to resolve.
    pub(super) fn cap(&self, replica: &ReplicaId, log: &LogId, control: bool) -> u64 {
        if control {
            u64::MAX
        } else {
            self.standing.cap(replica, log).unwrap_or(u64::MAX)
        }
    }
}
