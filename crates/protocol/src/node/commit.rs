//! Group commit: one store transaction takes everything that waits; what it promises is said after it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use partita_core::{
    Batch, Bytes, ContextId, EntryId, Key, LogId, Op, SessionId, StoreError,
    planted::{Bug, planted},
};

use super::{
    Node,
    context::{Context, Log},
};
use crate::{
    effect::{Effect, Notice},
    message::{MAX_PART, Message},
    reads::Quarantined,
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
    acks: BTreeMap<SessionId, BTreeSet<(ContextId, LogId)>>,
    /// Logs that a checkpoint covers from now on: nobody sends what is covered, so everybody who may have the context is told
    /// that it is held, whenever it opened it.
    pub(super) covered: BTreeSet<(ContextId, LogId)>,
    /// Bytes of large payloads that were put together, and leave memory.
    pub(super) assembled: u64,
}

#[derive(Debug, Default)]
pub(super) struct Commits {
    pub(super) pending: Batch,
    pub(super) then: Consequences,
    dirty: BTreeSet<(ContextId, LogId)>,
    in_flight: Option<(u64, Consequences)>,
    next: u64,
    /// When the last one ended, on the monotonic clock.
    ended: Option<Duration>,
    pace: Pace,
    pub(super) failed: Option<StoreError>,
}

/// Whether a commit waits until it is due.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pace {
    #[default]
    Measured,
    /// Somebody waits for the next one.
    Hurried,
    /// The node is closing: none waits any more.
    Closing,
}

impl Commits {
    pub(super) fn put(&mut self, key: Key, value: Bytes) {
        self.pending.ops.push(Op::Put(key, value));
    }

    pub(super) fn delete(&mut self, key: Key) {
        self.pending.ops.push(Op::Delete(key));
    }

    /// Removes what is in quarantine of a log behind `held`.
    pub(super) fn forget_quarantine(&mut self, context: ContextId, log: LogId, held: u64, kept: &Quarantined) {
        for seq in held..=held.saturating_add(kept.entries) {
            self.delete(Key::Quarantine(context, log, seq));
        }
    }

    /// The log's record goes into the next batch, once, however many entries it gets until then.
    pub(super) fn log_changed(&mut self, context: ContextId, log: LogId) {
        self.dirty.insert((context, log));
    }

    /// Somebody waits for what is pending.
    pub(super) fn hurry(&mut self) {
        self.pace = self.pace.max(Pace::Hurried);
    }

    pub(super) fn local(&mut self, context: ContextId, arrival: u64) {
        self.then.local.insert(context, arrival);
    }

    /// Puts the records of changed logs into the pending batch, behind their entries.
    pub(super) fn put_logs(&mut self, contexts: &BTreeMap<ContextId, Context>) {
        for (context, log) in std::mem::take(&mut self.dirty) {
            let Some(state) = contexts.get(&context).and_then(|context| context.logs.get(&log)) else {
                continue;
            };
            self.pending.ops.push(Op::Put(Key::Log(context, log), state.record.encode()));
            self.then.logs.insert((context, log), (state.record.seq, state.record.head));
        }
    }

    /// What [`Bug::HeadsApart`] leaves for the next batch.
    fn heads_apart(&mut self) -> Batch {
        let mut later = Batch::default();
        if self.pending.ops.iter().any(|op| matches!(op, Op::Append(_))) {
            let heads = self.pending.ops.extract_if(.., |op| matches!(op, Op::Put(Key::Log(..), _)));
            later.ops = heads.collect();
        }
        later
    }

    fn is_empty(&self) -> bool {
        self.pending.ops.is_empty() && self.dirty.is_empty() && self.then.credit.is_empty() && self.then.acks.is_empty()
    }
}

impl Node {
    /// Whether everything that was appended or taken is in the store.
    pub fn is_settled(&self) -> bool {
        self.commits.failed.is_some() || (self.commits.in_flight.is_none() && self.commits.is_empty())
    }

    /// Whether something waits for the next transaction, beside what is being committed.
    pub fn has_pending(&self) -> bool {
        self.commits.failed.is_none() && !(self.commits.pending.ops.is_empty() && self.commits.dirty.is_empty())
    }

    /// How many commits, from the first on, it takes until everything is in the store that was appended or taken so far.
    pub fn commits_to_see(&self) -> u64 {
        self.commits.next + u64::from(self.has_pending())
    }

    /// When what is pending goes to the store though nothing else happens, on the monotonic clock: then
    /// [`Event::CommitDue`](crate::Event::CommitDue) is due.
    pub fn commit_due(&self) -> Option<Duration> {
        let waits = self.has_pending() && self.commits.in_flight.is_none();
        let ended = self.commits.ended.map(|ended| ended.saturating_add(self.config.commit_pause));
        waits.then(|| ended.unwrap_or_default())
    }

    /// Lets what is pending go to the store with this round, since somebody waits for it.
    pub fn hurry_commit(&mut self) {
        self.commits.hurry();
    }

    /// From here on every commit goes out as soon as it can.
    pub fn hurry_commits(&mut self) {
        self.commits.pace = Pace::Closing;
    }

    /// Whether the pending commit waits for company.
    fn commit_waits(&self) -> bool {
        let Commits { then, pace, .. } = &self.commits;
        let crowded = then.credit.values().any(|bytes| *bytes >= self.config.credit / 4);
        let early = self.commit_due().is_some_and(|due| self.now.monotonic < due);
        early && *pace == Pace::Measured && then.local.is_empty() && !crowded
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
        let commits = &mut self.commits;
        if commits.failed.is_some() {
            // Nothing more is stored. What is there can still be read, and somebody waits for it.
            commits.pending = Batch::default();
            return self.read_after_commit();
        }
        if commits.in_flight.is_some() {
            return;
        }
        if commits.pending.ops.is_empty() && commits.dirty.is_empty() {
            // Everything is in the store: what waits for that need not wait for another commit.
            let then = std::mem::take(&mut commits.then);
            self.conclude(then);
            return self.read_after_commit();
        }
        if self.commit_waits() {
            return;
        }
        let Self { commits, contexts, .. } = self;
        if commits.pace == Pace::Hurried {
            commits.pace = Pace::Measured;
        }
        commits.put_logs(contexts);
        let later = if planted(Bug::HeadsApart) { commits.heads_apart() } else { Batch::default() };
        let id = commits.next;
        commits.next += 1;
        if planted(Bug::DurableTooEarly) {
            let early = std::mem::take(&mut commits.then.local).into_iter();
            self.effects.extend(early.map(|(context, arrival)| Effect::Notice(Notice::Durable { context, arrival })));
        }
        commits.in_flight = Some((id, std::mem::take(&mut commits.then)));
        self.effects.push(Effect::Commit(id, std::mem::replace(&mut commits.pending, later)));
        self.read_after_commit();
    }

    /// Asks the store what waited to be asked behind what is pending.
    fn read_after_commit(&mut self) {
        let reads = std::mem::take(&mut self.reads_after_commit);
        self.effects.extend(reads.into_iter().map(|(id, request)| Effect::Read(id, request)));
    }

    pub(super) fn on_committed(&mut self, id: u64) {
        let Some((expected, then)) = self.commits.in_flight.take() else {
            return;
        };
        debug_assert_eq!(id, expected, "commits are answered in order");
        self.commits.ended = Some(self.now.monotonic);
        self.conclude(then);
        self.flush_commit();
    }

    /// Says what a commit allows to be said.
    fn conclude(&mut self, then: Consequences) {
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
            context.tail.trim(self.config.tail_bytes, |log, seq| logs.get(log).is_some_and(|log| seq > log.durable));
        }
        for (context, arrival) in then.local {
            self.effects.push(Effect::Notice(Notice::Durable { context, arrival }));
        }
        for (session, bytes) in then.credit {
            self.grant_credit(session, bytes);
        }
        // A message for each log and session would be millions where many have a context of many logs.
        let mut covered: BTreeMap<ContextId, BTreeSet<(ContextId, LogId)>> = BTreeMap::new();
        for (context, log) in then.covered {
            covered.entry(context).or_default().insert((context, log));
        }
        for (context, logs) in covered {
            let sessions = self.contexts.get(&context).map(|local| local.sessions.clone());
            for session in sessions.into_iter().flatten() {
                self.acknowledge(session, logs.clone());
            }
        }
        for (session, logs) in then.acks {
            self.acknowledge(session, logs);
        }
        self.review.extend(changed);
        if then.assembled > 0 {
            self.assembled(then.assembled);
        }
    }

    /// Tells a session how far a log is durable here, once everything that was taken so far is.
    pub(super) fn acknowledge_later(&mut self, session: SessionId, context: ContextId, log: LogId) {
        if planted(Bug::AckBeforeDurable) {
            return self.acknowledge(session, [(context, log)].into());
        }
        let acks = self.commits.then.acks.entry(session).or_default();
        acks.insert((context, log));
    }

    /// Tells a session how far logs are durable here.
    pub(super) fn acknowledge(&mut self, session: SessionId, logs: BTreeSet<(ContextId, LogId)>) {
        let Some(session) = self.sessions.get_mut(&session) else {
            return;
        };
        let mut held: BTreeMap<ContextId, Vec<(LogId, u64)>> = BTreeMap::new();
        for (context, log) in logs {
            let log_here = self.contexts.get(&context).and_then(|context| context.logs.get(&log));
            let durable = |log: &Log| if planted(Bug::AckBeforeDurable) { log.record.seq } else { log.durable };
            let seq = log_here.map_or(0, durable);
            held.entry(context).or_default().push((log, seq));
        }
        for (context, held) in held {
            for held in held.chunks(MAX_PART) {
                let held = held.to_vec();
                session.out.push(Message::Ack { context, held });
            }
        }
    }

    pub(super) fn grant_credit(&mut self, session: SessionId, bytes: u64) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.uncredited = session.uncredited.saturating_sub(bytes);
            session.credit_to_return += bytes;
        }
    }
}
