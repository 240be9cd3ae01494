//! Group commit: one store transaction takes everything that waits; what it promises is said after it.

use std::collections::{BTreeMap, BTreeSet};

use partita_core::{Batch, Bytes, ContextId, EntryId, Key, LogId, Op, SessionId, StoreError};

use super::Node;
use crate::{
    effect::{Effect, Notice},
    message::Message,
};

/// What follows from a commit.
#[derive(Debug, Default)]
pub(super) struct Consequences {
    /// Logs that the batch changed, with the head that becomes durable.
    logs: BTreeMap<(ContextId, LogId), (u64, EntryId)>,
    /// The last local arrival in each context.
    local: BTreeMap<ContextId, u64>,
    /// Bytes of entries that leave receive memory.
    pub(super) credit: BTreeMap<SessionId, u64>,
    /// What is acknowledged to whom.
    pub(super) acks: BTreeMap<SessionId, BTreeSet<(ContextId, LogId)>>,
}

#[derive(Debug, Default)]
pub(super) struct Commits {
    pub(super) pending: Batch,
    pub(super) then: Consequences,
    dirty: BTreeSet<(ContextId, LogId)>,
    in_flight: Option<(u64, Consequences)>,
    next: u64,
    pub(super) failed: Option<StoreError>,
}

impl Commits {
    pub(super) fn put(&mut self, key: Key, value: Bytes) {
        self.pending.ops.push(Op::Put(key, value));
    }

    pub(super) fn delete(&mut self, key: Key) {
        self.pending.ops.push(Op::Delete(key));
    }

    /// The log's record goes into the next batch, once, however many entries it gets until then.
    pub(super) fn log_changed(&mut self, context: ContextId, log: LogId) {
        self.dirty.insert((context, log));
    }

    pub(super) fn local(&mut self, context: ContextId, arrival: u64) {
        self.then.local.insert(context, arrival);
    }

    fn is_empty(&self) -> bool {
        self.pending.ops.is_empty()
            && self.dirty.is_empty()
            && self.then.credit.is_empty()
            && self.then.acks.is_empty()
    }
}

impl Node {
    /// Whether everything that was appended or taken is in the store.
    pub fn is_settled(&self) -> bool {
        self.commits.failed.is_some()
            || (self.commits.in_flight.is_none() && self.commits.is_empty())
    }

    /// Sets a record of the embedder's own (a document's snapshot, a set-aside entry) in the next transaction, with
    /// the entries that were appended before.
    pub fn put_record(&mut self, key: Key, value: Bytes) {
        self.commits.put(key, value);
    }

    /// Removes such a record in the next transaction.
    pub fn delete_record(&mut self, key: Key) {
        self.commits.delete(key);
    }

    pub(super) fn flush_commit(&mut self) {
        let Self {
            commits, contexts, ..
        } = self;
        if commits.in_flight.is_some() || commits.failed.is_some() || commits.is_empty() {
            return;
        }
        for (context, log) in std::mem::take(&mut commits.dirty) {
            let Some(state) = contexts
                .get(&context)
                .and_then(|context| context.logs.get(&log))
            else {
                continue;
            };
            commits
                .pending
                .ops
                .push(Op::Put(Key::Log(context, log), state.record.encode()));
            commits
                .then
                .logs
                .insert((context, log), (state.record.seq, state.record.head));
        }
        let id = commits.next;
        commits.next += 1;
        commits.in_flight = Some((id, std::mem::take(&mut commits.then)));
        self.effects
            .push(Effect::Commit(id, std::mem::take(&mut commits.pending)));
    }

    pub(super) fn on_committed(&mut self, id: u64) {
        let Some((expected, then)) = self.commits.in_flight.take() else {
            return;
        };
        debug_assert_eq!(id, expected, "commits are answered in order");
        let mut changed = BTreeSet::new();
        for ((context, log), (seq, head)) in then.logs {
            changed.insert(context);
            if let Some(context) = self.contexts.get_mut(&context) {
                context.set_durable(&log, seq, head);
            }
        }
        for id in &changed {
            let Some(context) = self.contexts.get_mut(id) else {
                continue;
            };
            let logs = &context.logs;
            context.tail.trim(self.config.tail_bytes, |log, seq| {
                logs.get(log).is_some_and(|log| seq > log.durable)
            });
        }
        for (context, arrival) in then.local {
            self.effects
                .push(Effect::Notice(Notice::Durable { context, arrival }));
        }
        for (session, bytes) in then.credit {
            self.grant_credit(session, bytes);
        }
        for (session, logs) in then.acks {
            self.acknowledge(session, logs);
        }
        for context in changed {
            self.check_caught_up(context);
        }
        self.flush_commit();
    }

    /// Tells a session how far logs are durable here.
    pub(super) fn acknowledge(&mut self, session: SessionId, logs: BTreeSet<(ContextId, LogId)>) {
        let Some(session) = self.sessions.get_mut(&session) else {
            return;
        };
        let mut held: BTreeMap<ContextId, Vec<(LogId, u64)>> = BTreeMap::new();
        for (context, log) in logs {
            let seq = self
                .contexts
                .get(&context)
                .and_then(|context| context.logs.get(&log))
                .map_or(0, |log| log.durable);
            held.entry(context).or_default().push((log, seq));
        }
        session.out.extend(
            held.into_iter()
                .map(|(context, held)| Message::Ack { context, held }),
        );
    }

    pub(super) fn grant_credit(&mut self, session: SessionId, bytes: u64) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.uncredited = session.uncredited.saturating_sub(bytes);
            session.credit_to_return += bytes;
        }
    }
}
