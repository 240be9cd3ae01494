//! Relying on a checkpoint: its snapshots stand for what it covers, and that is pruned.

use std::{collections::BTreeMap, sync::Arc};

use partita_core::{
    Bytes, ContextId, DocumentId, EntryId, Key, LogId, Op, Refusal, ReplicaId,
    planted::{Bug, planted},
};

use super::{
    Node, Purpose,
    checkpoints::CheckpointTable,
    context::Context,
    link::{Halt, Until},
};
use crate::{
    effect::{Effect, Notice},
    reads::{ReadRequest, Under},
    record::LogRecord,
};

/// A checkpoint about which the store is asked.
#[derive(Debug, Clone)]
pub(super) struct Adopting {
    table: Arc<CheckpointTable>,
    /// The bytes of each log when the store was asked.
    bytes: BTreeMap<LogId, u64>,
}

impl Node {
    /// What follows for checkpoints from control entries that came, and from entries that are in the store by now: one is
    /// relied upon once it may be and its snapshots are here; a claim is put to the embedder once it can be checked.
    pub(super) fn review_checkpoints(&mut self, context: ContextId) {
        let Self { contexts, strategies, commits, replica, .. } = self;
        let Some(local) = contexts.get_mut(&context) else {
            return;
        };
        if local.checkpoints.is_quiet() || local.checkpoints.adopting || commits.failed.is_some() {
            return;
        }
        let strategy = &*strategies[local.strategy];
        let live = local.checkpoints.live();
        for table in &live {
            if local.may_rely_on(strategy, table, replica)
                && !local.checkpoints.forked.contains(&table.claim)
                && local.holds_snapshots(table)
            {
                let table = table.clone();
                return self.ask_under(context, table);
            }
        }
        for table in live {
            self.put_to_embedder(context, &table);
        }
        // Snapshots of which no claim is of use any more.
        self.sweep_snapshots(context);
    }

    fn ask_under(&mut self, context: ContextId, table: Arc<CheckpointTable>) {
        let Some(local) = self.contexts.get_mut(&context) else {
            return;
        };
        local.checkpoints.adopting = true;
        let covered = table.logs.iter().filter_map(|(log, covered)| Some((local.logs.get(log)?, covered.last.tip)));
        // What the base covers already is pruned, and was looked at.
        let logs = covered.filter(|(state, tip)| state.base < tip.seq);
        let logs = logs.map(|(_, tip)| tip).collect();
        let snapshots = table.documents.iter().map(|(document, at)| (*document, at.entry)).collect();
        let bytes = local.logs.iter().map(|(log, state)| (*log, state.record.bytes)).collect();
        let request = ReadRequest::Under { context, logs, snapshots };
        self.read_settled(Purpose::Adopt(context, Adopting { table, bytes }), request);
    }

    pub(super) fn on_under(&mut self, context: ContextId, adopting: Adopting, under: Under) {
        let Adopting { table, bytes } = adopting;
        let Self { contexts, strategies, replica, .. } = self;
        let Some(local) = contexts.get_mut(&context) else {
            return;
        };
        local.checkpoints.adopting = false;
        let forked = under.logs.values().any(Option::is_none) || under.snapshots.len() < table.documents.len();
        if forked {
            local.checkpoints.forked.insert(table.claim);
            self.review.insert(context);
            return;
        }
        // Control entries may have come, or a log may have begun to be cut back, while the store was asked.
        if local.may_rely_on(&*strategies[local.strategy], &table, replica) {
            self.adopt_checkpoint(context, &table, &bytes, &under);
        }
        self.review.insert(context);
    }

    fn adopt_checkpoint(
        &mut self,
        context: ContextId,
        table: &CheckpointTable,
        bytes: &BTreeMap<LogId, u64>,
        under: &Under,
    ) {
        let Some(local) = self.contexts.get_mut(&context) else {
            return;
        };
        let before = local.checkpoints.base().clone();
        if !local.checkpoints.rely_on(&table.claim) {
            return;
        }
        local.checkpoints.look_at_all();
        let mut advanced: Vec<(LogId, u64)> = Vec::new();
        for (log, covered) in &table.logs {
            let tip = covered.last.tip;
            if local.logs.get(log).is_some_and(|state| state.base >= tip.seq) {
                continue;
            }
            // What came since the store was asked may be covered in part: rather too much is counted than too little.
            let now = local.logs.get(log).map_or(0, |state| state.record.bytes);
            let since = now.saturating_sub(bytes.get(log).copied().unwrap_or(0));
            let behind = under.logs.get(log).copied().flatten().unwrap_or(0) + since;
            let held = local.logs.get(log).map_or(0, |state| state.record.seq);
            if local.advance(log, tip.seq, behind, || LogRecord::of_covered(covered, 0), &self.replica) {
                advanced.push((*log, held));
            }
            let through = if planted(Bug::TailDropped) { u64::MAX } else { tip.seq };
            self.commits.pending.ops.push(Op::Prune { context, log: *log, through });
            self.commits.log_changed(context, *log);
            // Also where it was held so far: who pruned it cannot offer it to find out.
            self.commits.then.covered.insert((context, *log));
        }
        let now = local.checkpoints.base().clone();
        let is_another = |document: &&DocumentId| before.snapshots(document) != now.snapshots(document);
        let changed: Vec<DocumentId> = now.documents().filter(is_another).copied().collect();
        for document in &changed {
            if let Some(arrival) = under.snapshots.get(document) {
                let arrival = Bytes::copy_from_slice(&arrival.to_be_bytes());
                self.commits.put(Key::Document(context, *document), arrival);
            }
            self.commits.delete(Key::Snapshot(context, *document));
        }
        let claims: Vec<u8> = now.claims().iter().flat_map(|claim| *claim.as_bytes()).collect();
        self.commits.put(Key::Base(context), claims.into());
        for (log, held) in &advanced {
            self.on_advanced(context, *log, *held);
        }
        self.sweep_snapshots(context);
        let advanced = !advanced.is_empty();
        self.effects.push(Effect::Notice(Notice::CheckpointAdopted { context, documents: changed, advanced }));
    }

    /// A log is held further than it was, by a checkpoint: what was on its way of it is over, and the remotes are told.
    fn on_advanced(&mut self, context: ContextId, log: LogId, held: u64) {
        self.abandon_log(context, log, |seq| Halt::until(seq, Refusal::NeedControl, Until::Cut));
        let Some(local) = self.contexts.get_mut(&context) else {
            return;
        };
        local.pieces.remove(&log);
        if let Some(kept) = local.quarantined.remove(&log) {
            // What counts of it is covered, or comes again.
            self.commits.forget_quarantine(context, log, held, &kept);
        }
        for id in &local.sessions {
            if let Some(session) = self.sessions.get_mut(id) {
                session.drop_page(context, log);
            }
        }
        self.grown.insert((context, log));
    }

    /// Forgets the logs of snapshots that no checkpoint needs.
    pub(super) fn sweep_snapshots(&mut self, context: ContextId) {
        let Some(local) = self.contexts.get_mut(&context) else {
            return;
        };
        let unwanted = local.unwanted_snapshots();
        if unwanted.is_empty() {
            return;
        }
        for log in unwanted {
            let Some(state) = local.logs.remove(&log) else {
                continue;
            };
            if state.record.replica() != self.replica {
                local.remote_bytes = local.remote_bytes.saturating_sub(state.record.bytes);
            }
            if let Some(kept) = local.quarantined.remove(&log) {
                // Earlier versions put snapshots there.
                self.commits.forget_quarantine(context, log, state.record.seq, &kept);
            }
            local.tail.truncate(log, 0);
            local.pieces.remove(&log);
            self.commits.pending.ops.push(Op::Truncate { context, log, from: 0 });
            self.commits.delete(Key::Log(context, log));
            for id in &local.sessions {
                if let Some(session) = self.sessions.get_mut(id) {
                    session.drop_page(context, log);
                    if let Some(link) = session.links.get_mut(&context) {
                        link.forget_log(&log);
                    }
                }
            }
        }
        local.forget_frontier();
    }

    /// Goes on relying on what the store says was relied upon; false when its control entries do not have that.
    pub(super) fn rely_again(&mut self, context: ContextId, claims: &[EntryId]) -> bool {
        let Some(local) = self.contexts.get_mut(&context) else {
            return true;
        };
        if !claims.iter().all(|claim| local.checkpoints.rely_on(claim)) {
            return false;
        }
        local.checkpoints.look_at_all();
        let Context { checkpoints, logs, .. } = local;
        for (log, covered) in checkpoints.base().logs() {
            if let Some(state) = logs.get_mut(log) {
                state.base = covered.seq();
                state.cap = state.cap.max(state.base);
            }
        }
        true
    }
}

impl Context {
    /// Counts a log as held up to what a checkpoint covers of it, with so many bytes behind that; true when it was held
    /// less far.
    fn advance(
        &mut self,
        log: &LogId,
        seq: u64,
        behind: u64,
        covered: impl Fn() -> LogRecord,
        own: &ReplicaId,
    ) -> bool {
        let known = self.logs.get(log).map(|state| (state.record.seq, state.record.bytes, state.record.begun));
        let is_own = |record: &LogRecord| record.replica() == *own;
        let advances = known.is_none_or(|(held, ..)| held < seq) || planted(Bug::TailDropped);
        if let Some((_, bytes, begun)) = known {
            let Some(state) = self.logs.get_mut(log) else {
                return false;
            };
            if !is_own(&state.record) {
                self.remote_bytes = self.remote_bytes.saturating_sub(bytes) + behind;
            }
            if advances {
                *state.record = LogRecord { begun, ..covered() };
            }
            if state.record.seq == seq {
                state.record.signed = covered().signed;
            }
            state.record.bytes = behind;
        } else if self.insert_log(*log, LogRecord { begun: self.last_arrival, ..covered() }, false, own).is_none() {
            return false;
        }
        if let Some(state) = self.logs.get_mut(log) {
            state.base = seq;
            state.cap = state.cap.max(seq);
        }
        self.forget_frontier();
        advances
    }
}
