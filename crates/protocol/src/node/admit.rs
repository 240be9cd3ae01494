//! An entry that was verified and follows what is held of its log is taken.

use std::sync::Arc;

use partita_core::{
    Bytes, ContextId, ControlEntry, Entry, EntryId, EntryKind, Key, LogId, LogSort, Op, Refusal, StoredEntry,
    StrategyEffect,
    planted::{Bug, planted},
};

use super::{Node, context::Context, link::Halt, verdict::Ground};
use crate::{
    effect::{Arrival, Effect, Notice},
    record::LogRecord,
};

impl Node {
    /// Takes an entry, or says why not; an excluded one goes into quarantine.
    pub(super) fn admit(&mut self, context: ContextId, entry: Arc<Entry>) -> Result<(), Halt> {
        let judged = self.judge(&context, &entry);
        if let Err(halt) = &judged
            && halt.why == Refusal::Excluded
        {
            self.quarantine(context, &entry);
        }
        self.accept(context, entry, judged?)?;
        self.taken += 1;
        Ok(())
    }

    pub(super) fn accept(&mut self, context: ContextId, entry: Arc<Entry>, ground: Ground) -> Result<(), Halt> {
        let seq = entry.header.seq;
        if let Err(drift) = self.clock.observe(self.now, entry.header.time)
            && ground.author != self.replica
            && seq == 1
        {
            let ahead_seconds = i64::try_from(drift.ahead.as_secs()).unwrap_or(i64::MAX);
            self.effects.push(Effect::Notice(Notice::ClockDrift { author: ground.author, ahead_seconds }));
        }
        let foreign = ground.author != self.replica;
        if planted(Bug::FutureRefused) && foreign && self.clock.observe(self.now, entry.header.time).is_err() {
            return Err(Halt::at(seq, Refusal::Invalid));
        }
        let past = planted(Bug::PastSkipped) && entry.header.time < self.clock.last();
        let is_control = entry.header.kind.is_control();
        if is_control && !self.give_control(context, &entry, &ground) {
            return Err(Halt::at(seq, Refusal::Invalid));
        }
        let Some(arrival) = self.keep(context, &entry) else {
            return Err(Halt::at(seq, Refusal::Invalid));
        };
        if self.is_being_written(&context, &entry.header.log) {
            self.commits.local(context, arrival);
        } else if entry.header.kind.sort() == LogSort::Data && !past {
            let Ground { author, epoch, .. } = ground;
            self.arrived.entry(context).or_default().push(Arrival { arrival, entry, author, epoch });
        }
        Ok(())
    }

    /// Whether this replica writes this log in this open. Its earlier logs may come back from remotes like anybody's.
    fn is_being_written(&self, context: &ContextId, log: &LogId) -> bool {
        let local = self.contexts.get(context);
        local.is_some_and(|local| *log == local.own_data.id || *log == local.own_control.id)
    }

    /// Puts an entry in its log, in memory and in the pending batch; its subscribers are woken in this round.
    fn keep(&mut self, context: ContextId, entry: &Arc<Entry>) -> Option<u64> {
        let Self { contexts, commits, replica, .. } = self;
        let local = contexts.get_mut(&context)?;
        let log = entry.header.log;
        local.last_arrival += 1;
        let arrival = local.last_arrival;
        match local.logs.get_mut(&log) {
            Some(state) => {
                state.record.extend(entry);
                if state.record.replica() != *replica {
                    local.remote_bytes += entry.size() as u64;
                }
            }
            None => local.insert_log(log, LogRecord::begun(entry, arrival)?, false, replica)?,
        }
        if entry.header.kind.is_control() {
            local.control_arrivals.push((log, entry.header.seq));
        }
        local.tail.push(arrival, entry.clone());
        local.pieces.remove(&log); // the store has the whole entry
        if let EntryKind::Create(document) = entry.header.kind {
            let value = Bytes::copy_from_slice(&arrival.to_be_bytes());
            commits.put(Key::Document(context, document), value);
        }
        commits.pending.ops.push(Op::Append(StoredEntry { arrival, entry: entry.clone() }));
        commits.log_changed(context, log);
        self.grown.insert((context, log));
        self.review.insert(context);
        Some(arrival)
    }

    /// Gives a control entry to the strategy and the graph; false when the strategy does not take it.
    pub(super) fn give_control(&mut self, context: ContextId, entry: &Entry, ground: &Ground) -> bool {
        let Some(local) = self.contexts.get_mut(&context) else {
            return false;
        };
        let parents = parents(entry, ground);
        let given = ControlEntry {
            id: entry.id,
            author: ground.author,
            header: &entry.header,
            parents: &parents,
            payload: &entry.payload,
        };
        let Ok(effects) = self.strategies[local.strategy].control(self.now, &given) else {
            return false;
        };
        if effects.contains(&StrategyEffect::KeysArrived) {
            let notice = Notice::KeysArrived(context);
            self.effects.push(Effect::Notice(notice));
        }
        let inserted = local.note_control(entry, ground);
        self.control_changed.insert(context);
        inserted
    }
}

/// The control entries that a control entry rests on, and the one before it in its log.
fn parents(entry: &Entry, ground: &Ground) -> Vec<EntryId> {
    let mut parents = ground.heads.clone();
    parents.push(entry.header.backlink);
    parents.retain(|parent| *parent != EntryId::NONE);
    parents.sort_unstable();
    parents.dedup();
    parents
}

impl Context {
    /// Puts a control entry into the graph; false when what it rests on is not there.
    pub(super) fn note_control(&mut self, entry: &Entry, ground: &Ground) -> bool {
        let inserted = self.graph.insert(entry.id, parents(entry, ground)).is_ok();
        self.note_checkpoint_op(entry, ground.author);
        inserted
    }
}
