//! This replica's own entries: stamped, sealed, signed, published before they are durable.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use partita_core::{
    Bytes, ContextId, ControlGraph, Entry, EntryHeader, EntryId, EntryKind, EpochId, Hash, HeaderPrefix, LogId,
    LogSort, LogStart, Now, Opened, PartitionStrategy, PayloadOpener, Stamp, StoreError, StrategyError, Tip,
};

use super::{Node, context::OwnLog, link::Halt};
use crate::{
    effect::{Appended, Arrival},
    message::MAX_CONTROL,
};

/// How long a writer goes on without asking its strategy what it owes its readers.
const DUTIES_EVERY: Duration = Duration::from_secs(600);

/// The most control heads that an entry states. Others merge them; and a header has a limit, beyond which nobody could read
/// it.
const MOST_HEADS: usize = 1024;

/// Why a local entry was not written. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The context is not loaded.
    #[error("the context {0} is not open in this engine")]
    NoContext(ContextId),
    /// The strategy does not let this replica write now.
    #[error("this replica may not write in the context now: {0}")]
    NotAllowed(StrategyError),
    /// The payload is over the limit.
    #[error("the change has {len} bytes, the limit is {limit}: make it smaller or raise the limit")]
    TooLarge {
        /// Its length.
        len: u64,
        /// The limit.
        limit: u64,
    },
    /// The store failed: the engine has to be opened again.
    #[error(transparent)]
    Store(StoreError),
}

/// The heads that an entry rests on where there are too many to name all: with what gives its author its right, which those
/// have that go on from what it stated before, and otherwise one that says so. Without, its own node would exclude it.
fn some_heads(graph: &ControlGraph, stated: &[EntryId], may_write: impl Fn(&EntryId) -> bool) -> Vec<EntryId> {
    let after = graph.descendants(stated);
    let (mut heads, mut others): (Vec<EntryId>, Vec<_>) =
        graph.heads().into_iter().partition(|head| after.contains(head));
    if heads.is_empty()
        && let Some(at) = others.iter().position(may_write)
    {
        heads.push(others.swap_remove(at));
    }
    heads.extend(others);
    heads.truncate(MOST_HEADS);
    heads.sort_unstable();
    heads
}

fn not_counted(halt: &Halt) -> AppendError {
    AppendError::NotAllowed(StrategyError(format!("the entry would not count: {}", halt.why)))
}

impl Node {
    /// Appends changes of a document to this replica's log. They go to the network at once, and are durable when
    /// [`Notice::Durable`](crate::Notice::Durable) says so.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn append(
        &mut self,
        now: Now,
        context: ContextId,
        kind: EntryKind,
        plain: &[u8],
    ) -> Result<Appended, AppendError> {
        self.now = now;
        let epoch = self.epoch_to_write(context, |strategy| strategy.epoch(&context), &BTreeSet::new())?;
        self.write(context, kind, plain, epoch)
    }

    /// The epoch that the strategy says. What a writer owes its readers (keys for those who lack them, a new epoch in time) it
    /// does before it writes: when control entries came since it wrote last, and now and then.
    pub(super) fn epoch_to_write(
        &mut self,
        context: ContextId,
        epoch: impl Fn(&dyn PartitionStrategy) -> Result<Option<EpochId>, StrategyError>,
        past: &BTreeSet<EpochId>,
    ) -> Result<Option<EpochId>, AppendError> {
        let local = self.contexts.get(&context).ok_or(AppendError::NoContext(context))?;
        if local.standing.has_lost(&self.replica) {
            let why = "its right to write was taken away or given up";
            return Err(AppendError::NotAllowed(StrategyError(why.into())));
        }
        let (strategy, now) = (local.strategy, self.now.monotonic);
        let due =
            local.wrote.is_none_or(|(known, at)| known != local.graph.len() || now >= at.saturating_add(DUTIES_EVERY));
        if due || epoch(&*self.strategies[strategy]).is_err() {
            self.run_duties(context, true, past);
            if let Some(local) = self.contexts.get_mut(&context) {
                local.wrote = Some((local.graph.len(), now));
            }
        }
        epoch(&*self.strategies[strategy]).map_err(AppendError::NotAllowed)
    }

    /// Appends a control entry to this replica's control log.
    pub(super) fn append_control(&mut self, context: ContextId, payload: &[u8]) -> Result<Appended, AppendError> {
        self.write(context, EntryKind::Control, payload, None)
    }

    pub(super) fn write(
        &mut self,
        context: ContextId,
        kind: EntryKind,
        plain: &[u8],
        epoch: Option<EpochId>,
    ) -> Result<Appended, AppendError> {
        if let Some(error) = &self.commits.failed {
            return Err(AppendError::Store(error.clone()));
        }
        let limit = if kind.is_control() { MAX_CONTROL } else { self.config.max_payload };
        if plain.len() as u64 > limit {
            return Err(AppendError::TooLarge { len: plain.len() as u64, limit });
        }
        let time = self.clock.tick(self.now);
        let Self { contexts, strategies, rng, replica, .. } = self;
        let local = contexts.get(&context).ok_or(AppendError::NoContext(context))?;
        let control = kind.is_control();
        let sort = kind.sort();
        let own = match (sort, local.checkpoints.making) {
            (LogSort::Control, _) => local.own_control,
            (LogSort::Data, _) => local.own_data,
            (LogSort::Snapshot, Some(making)) => making,
            (LogSort::Snapshot, None) => return Err(AppendError::NoContext(context)),
        };
        let before = local.logs.get(&own.id).map(|log| &log.record);
        let mut heads = local.graph.heads();
        if heads.len() > MOST_HEADS {
            // Somebody writes very many control entries side by side. Control entries merge some at a time; other entries
            // rest on what their log stated before, until few enough are left.
            match before.filter(|_| !control) {
                Some(record) => heads.clone_from(&record.heads),
                None => {
                    let stated: Vec<EntryId> =
                        local.logs_of(replica).flat_map(|(_, log)| &log.record.heads).copied().collect();
                    let writers = |head: &EntryId| strategies[local.strategy].writers(&context, &[*head]);
                    let may_write = |head: &EntryId| writers(head).is_some_and(|writers| writers.contains(replica));
                    heads = some_heads(&local.graph, &stated, may_write);
                }
            }
            if let Some(last) = before.filter(|_| control).map(|record| record.head)
                && !local.graph.descend(&heads, &last)
            {
                heads.push(last);
                heads.sort_unstable();
            }
        }
        let restated = before.is_none_or(|record| record.heads != heads || record.epoch() != epoch);
        let mut header = EntryHeader {
            context,
            log: own.id,
            seq: before.map_or(1, |record| record.seq + 1),
            backlink: before.map_or(EntryId::NONE, |record| record.head),
            time,
            kind,
            start: before.is_none().then(|| LogStart {
                replica: *replica,
                nonce: own.nonce,
                // Logs of snapshots come and go by themselves.
                tips: if sort == LogSort::Snapshot { Vec::new() } else { local.tips_of(replica, sort) },
            }),
            stamp: restated.then_some(Stamp { heads, epoch }),
            payload_len: 0,
            payload_hash: Hash::ZERO,
        };
        let payload = if control {
            Bytes::copy_from_slice(plain)
        } else {
            let prefix = HeaderPrefix { header: &header, author: *replica, epoch };
            strategies[local.strategy].seal(&prefix, plain, &mut **rng).map_err(AppendError::NotAllowed)?
        };
        let len = payload.len() as u64;
        if len > limit {
            return Err(AppendError::TooLarge { len, limit });
        }
        header.payload_len = len;
        header.payload_hash = EntryHeader::hash_payload(&payload);
        let mut entry = Entry::new(header, payload);
        let header_len = entry.encoded.len();
        if header_len > EntryHeader::MAX_ENCODED {
            // Nobody could read it, and neither could this replica once it has restarted.
            return Err(AppendError::TooLarge { len: header_len as u64, limit: EntryHeader::MAX_ENCODED as u64 });
        }
        entry.signature = Some(EntryHeader::sign(&entry.id, &self.identity.key));
        let (log, seq, id) = (own.id, entry.header.seq, entry.id);
        let entry = Arc::new(entry);
        // One verdict: what others would exclude is not written here either.
        let ground = self.judge(&context, &entry).map_err(|halt| not_counted(&halt))?;
        self.accept(context, entry, ground).map_err(|halt| not_counted(&halt))?;
        let arrival = self.contexts.get(&context).map_or(0, |local| local.last_arrival);
        Ok(Appended { arrival, log, seq, id })
    }

    /// The log that this replica writes documents in from this open on: actors are derived from it.
    pub fn own_log(&self, context: &ContextId) -> Option<partita_core::LogId> {
        self.contexts.get(context).map(|local| local.own_data.id)
    }

    /// Begins another log to write documents in, as an open does: for an embedder whose changes under the present one's actor would
    /// be of no use. What was made for that one is to be appended before. `None` when nothing is written in it, when the context is not
    /// loaded, or when the store failed.
    pub fn begin_log(&mut self, context: &ContextId) -> Option<LogId> {
        let Self { contexts, commits, replica, rng, .. } = self;
        let local = contexts.get_mut(context).filter(|_| commits.failed.is_none())?;
        if !local.logs.contains_key(&local.own_data.id) {
            return None;
        }
        local.own_data = OwnLog::mint(&local.info, replica, &mut **rng);
        Some(local.own_data.id)
    }

    /// The plain payload of an entry.
    pub fn open_payload(&self, context: &ContextId, arrival: &Arrival) -> Opened {
        let Some(local) = self.contexts.get(context) else {
            return Opened::Bad;
        };
        let prefix = HeaderPrefix { header: &arrival.entry.header, author: arrival.author, epoch: arrival.epoch };
        self.strategies[local.strategy].open(&prefix, &arrival.entry.payload)
    }

    /// What opens the payload of an entry, and of others of its author under its epoch, on another thread. `None`: ask
    /// [`Node::open_payload`].
    pub fn opener(&self, context: &ContextId, arrival: &Arrival) -> Option<Arc<dyn PayloadOpener>> {
        let strategy = &self.strategies[self.contexts.get(context)?.strategy];
        strategy.opener(context, &arrival.author, arrival.epoch)
    }

    /// The changes of a document that may not be in the store yet, by arrival; others may be among them.
    pub fn recent(&self, context: &ContextId, document: &partita_core::DocumentId) -> Vec<Arrival> {
        let Some(local) = self.contexts.get(context) else {
            return Vec::new();
        };
        // They become durable in the order in which they came, so what may not be is at the end.
        let is_pending = |log: &LogId, seq| local.logs.get(log).is_none_or(|log| seq > log.durable);
        let mut found: Vec<_> = local
            .tail
            .latest(is_pending)
            .filter(|(_, entry)| entry.header.kind.document() == Some(*document))
            .filter(|(_, entry)| entry.header.kind.sort() == LogSort::Data)
            .filter_map(|(arrival, entry)| self.arrival(context, arrival, entry.clone()))
            .collect();
        found.sort_by_key(|found| found.arrival);
        found
    }

    /// Makes an entry ready to be opened. `None` when its log is not here: it was cut off meanwhile.
    pub fn arrival(&self, context: &ContextId, arrival: u64, entry: Arc<Entry>) -> Option<Arrival> {
        let record = &self.contexts.get(context)?.logs.get(&entry.header.log)?.record;
        let (author, epoch) = (record.replica(), record.epoch_at(entry.header.seq));
        (entry.header.seq <= record.seq).then_some(Arrival { arrival, entry, author, epoch })
    }

    /// Who writes a log of a context.
    pub fn log_author(&self, context: &ContextId, log: &partita_core::LogId) -> Option<partita_core::ReplicaId> {
        Some(self.contexts.get(context)?.logs.get(log)?.record.replica())
    }

    /// Every log of one replica with its last entry held, but for those of snapshots, which come and go.
    pub fn logs_of(&self, context: &ContextId, replica: &partita_core::ReplicaId) -> Vec<Tip> {
        self.contexts.get(context).map_or_else(Vec::new, |local| {
            let lasting = local.logs_of(replica).filter(|(_, log)| log.record.sort != LogSort::Snapshot);
            lasting.map(|(tip, _)| tip).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever may say anything can say it very often, with ids below all others: what its right rests on is not among the first.
    #[test]
    fn among_very_many_heads_are_those_that_a_writers_right_rests_on() {
        let id = |n: u16| EntryId::from_bytes(std::array::from_fn(|at| n.to_be_bytes().get(at).copied().unwrap_or(0)));
        let mut graph = ControlGraph::default();
        let (admission, since) = (id(9_000), id(9_001));
        (0..2_000).for_each(|n| graph.insert(id(n), []).unwrap());
        graph.insert(admission, []).unwrap();
        let found = some_heads(&graph, &[], |head| *head == admission);
        assert!(found.len() == MOST_HEADS && found.contains(&admission), "before it wrote");
        graph.insert(since, [admission]).unwrap();
        let found = some_heads(&graph, &[admission], |_| false);
        assert!(found.len() == MOST_HEADS && found.contains(&since) && found.is_sorted(), "and afterwards");
    }
}
