//! Making checkpoints, and saying whether others' hold. What documents are is the embedder's to know: the node says what is
//! to be covered or compared, and writes down what comes of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use partita_core::{
    Checkpoint, CheckpointOp, ContextId, Covered, DocumentId, EntryId, EntryKind, LogId, LogSort, Now, ReplicaId,
    SnapshotAt, StrategyError, Tip,
};

use super::{Node, checkpoints::CheckpointTable, context::OwnLog, local::AppendError};
use crate::effect::{Effect, Notice};

/// What a checkpoint that is made now is to cover. Its snapshots hold exactly what the base's do, and every entry of these
/// logs behind what the base covers.
#[derive(Debug, Clone)]
pub struct CheckpointPlan {
    /// The context.
    pub context: ContextId,
    /// What it goes on from.
    pub base: Option<Arc<CheckpointTable>>,
    /// The logs that are covered further than by the base.
    pub cover: BTreeMap<LogId, Covered>,
    /// Documents whose snapshots are written again though nothing of them changed: most of the log that holds them is of no
    /// use any more, and goes with them.
    pub again: BTreeSet<DocumentId>,
}

/// What to compare before a claim is attested: the snapshots that it names with what is made from this replica's own base
/// and exactly those entries behind it that the claim covers.
#[derive(Debug, Clone)]
pub struct CheckpointCheck {
    /// The context.
    pub context: ContextId,
    /// Who makes the claim.
    pub author: ReplicaId,
    /// What this replica relies on.
    pub base: Option<Arc<CheckpointTable>>,
    /// What is claimed.
    pub table: Arc<CheckpointTable>,
    /// Covered entries that the claim says are in no snapshot, since their bytes are bad: those behind what this replica
    /// relies on.
    pub bad: Vec<(LogId, u64, EntryId)>,
}

fn not_now(why: &str) -> AppendError {
    AppendError::NotAllowed(StrategyError(why.into()))
}

impl Node {
    /// What a checkpoint would cover that this replica makes now. `None` when it may write no data here, its strategy has
    /// no checkpoints, or nothing came since the last one.
    pub fn plan_checkpoint(&self, context: &ContextId) -> Option<CheckpointPlan> {
        let local = self.contexts.get(context)?;
        let strategy = &self.strategies[local.strategy];
        let writers = strategy.writers(context, &local.graph.heads())?;
        let may = writers.contains(&self.replica) && !local.standing.has_lost(&self.replica);
        if !may || local.checkpoints.making.is_some() || local.checkpoints.adopting {
            return None;
        }
        let base = local.checkpoints.base().cloned();
        let data = local.logs.iter().filter(|(_, state)| state.record.sort == LogSort::Data);
        let whole = data.filter(|(log, state)| {
            state.record.seq > state.base && state.record.seq <= state.cap && !local.excluding.contains(log)
        });
        let cover: BTreeMap<_, _> =
            whole.filter_map(|(log, state)| Some((*log, state.record.covered(*log)?))).collect();
        if cover.is_empty() {
            return None;
        }
        let again = base.as_ref().map_or_else(BTreeSet::new, |base| {
            let mut live: BTreeMap<LogId, u64> = BTreeMap::new();
            for at in base.documents.values() {
                *live.entry(at.entry.log).or_default() += at.len;
            }
            let wasteful = |log: &LogId| {
                let held = local.logs.get(log).map_or(0, |state| state.record.bytes);
                live.get(log).is_some_and(|live| held > 2 * live + 4096)
            };
            let stale = base.documents.iter().filter(|(_, at)| wasteful(&at.entry.log));
            stale.map(|(document, _)| *document).collect()
        });
        Some(CheckpointPlan { context: *context, base, cover, again })
    }

    /// Begins to write the snapshots of a plan.
    ///
    /// # Errors
    /// When another checkpoint is being made, or the context was closed.
    pub fn begin_checkpoint(&mut self, plan: &CheckpointPlan) -> Result<(), AppendError> {
        let Self { contexts, replica, rng, .. } = self;
        let local = contexts.get_mut(&plan.context).ok_or(AppendError::NoContext(plan.context))?;
        if local.checkpoints.making.is_some() {
            return Err(not_now("another checkpoint is being made"));
        }
        local.checkpoints.making = Some(OwnLog::mint(&local.info, replica, &mut **rng));
        Ok(())
    }

    /// Writes a document's snapshot for the checkpoint that is being made. It is sent once the claim is.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn write_snapshot(
        &mut self,
        now: Now,
        context: ContextId,
        document: DocumentId,
        plain: &[u8],
    ) -> Result<SnapshotAt, AppendError> {
        let making = self.contexts.get(&context).and_then(|local| local.checkpoints.making);
        if making.is_none() {
            return Err(not_now("no checkpoint is being made"));
        }
        let appended = self.append(now, context, EntryKind::Snapshot(document), plain)?;
        let entry = Tip { log: appended.log, seq: appended.seq, head: appended.id };
        Ok(SnapshotAt { entry, len: plain.len() as u64 })
    }

    /// Claims that these snapshots stand for what the plan covers.
    ///
    /// # Errors
    /// When what was planned is no longer so, or the claim cannot be written: it is given up.
    pub fn claim_checkpoint(
        &mut self,
        now: Now,
        plan: &CheckpointPlan,
        documents: BTreeMap<DocumentId, SnapshotAt>,
        bad: Vec<(LogId, u64, EntryId)>,
    ) -> Result<EntryId, AppendError> {
        self.now = now;
        let context = plan.context;
        let claimed = self.write_claim(plan, documents, bad);
        if let Some(local) = self.contexts.get_mut(&context) {
            local.checkpoints.making = None;
        }
        match &claimed {
            Ok(_) => {
                // Now its snapshots may go out.
                let local = self.contexts.get(&context);
                let snapshots = local.into_iter().flat_map(|local| &local.logs);
                let snapshots = snapshots.filter(|(_, state)| state.record.sort == LogSort::Snapshot);
                let logs: Vec<LogId> = snapshots.map(|(log, _)| *log).collect();
                self.grown.extend(logs.into_iter().map(|log| (context, log)));
                self.review.insert(context);
                self.settle_control();
            }
            Err(_) => self.sweep_snapshots(context),
        }
        claimed
    }

    fn write_claim(
        &mut self,
        plan: &CheckpointPlan,
        documents: BTreeMap<DocumentId, SnapshotAt>,
        bad: Vec<(LogId, u64, EntryId)>,
    ) -> Result<EntryId, AppendError> {
        let local = self.contexts.get(&plan.context).ok_or(AppendError::NoContext(plan.context))?;
        let same_base = local.checkpoints.base().map(|base| base.claim) == plan.base.as_ref().map(|base| base.claim);
        let counts = |(log, covered): (&LogId, &Covered)| {
            let state = local.logs.get(log);
            state.is_some_and(|state| {
                state.record.seq >= covered.seq() && state.cap >= covered.seq() && !local.excluding.contains(log)
            })
        };
        if !same_base || !plan.cover.iter().all(counts) {
            return Err(not_now("what the checkpoint was to cover changed meanwhile"));
        }
        let previous = plan.base.as_ref().map(|base| base.claim);
        let claim = Checkpoint { previous, logs: plan.cover.clone(), documents, bad };
        let appended = self.append_control(plan.context, &CheckpointOp::Claim(claim).encode())?;
        Ok(appended.id)
    }

    /// Gives up the checkpoint that is being made.
    pub fn abandon_checkpoint(&mut self, context: ContextId) {
        if let Some(local) = self.contexts.get_mut(&context) {
            local.checkpoints.making = None;
        }
        self.sweep_snapshots(context);
    }

    /// Tells the embedder of a claim that can be checked and that waits for this replica.
    pub(super) fn put_to_embedder(&mut self, context: ContextId, table: &CheckpointTable) {
        let Self { contexts, strategies, replica, .. } = self;
        let Some(local) = contexts.get_mut(&context) else {
            return;
        };
        let claim = table.claim;
        if local.checkpoints.decided.contains(&claim) || local.checkpoints.has_said(&claim, replica) {
            return;
        }
        let Some(lacks) = local.lacks(&*strategies[local.strategy], &claim) else {
            return;
        };
        if !lacks.contains(replica) || local.standing.has_lost(replica) {
            return;
        }
        if local.is_fresh(replica) {
            // It holds nothing to compare with, and what is covered may be pruned everywhere.
            if lacks.len() == 1 {
                local.checkpoints.decided.insert(claim);
                self.say_of_claim(context, &CheckpointOp::Waive(claim));
            }
            return;
        }
        let goes_on = local.checkpoints.base().is_none_or(|base| table.covers(base));
        if goes_on && local.holds_covered(table) && local.holds_snapshots(table) {
            local.checkpoints.decided.insert(claim);
            self.effects.push(Effect::Notice(Notice::CheckpointClaimed { context, claim }));
        }
    }

    /// What is to be compared before [`attest_checkpoint`](Self::attest_checkpoint); `None` when the claim is of no interest
    /// any more.
    pub fn checkpoint_check(&self, context: &ContextId, claim: &EntryId) -> Option<CheckpointCheck> {
        let local = self.contexts.get(context)?;
        let table = local.checkpoints.live().into_iter().find(|table| table.claim == *claim)?;
        let base = local.checkpoints.base().cloned();
        let beyond = |log: &LogId| base.as_ref().map_or(0, |base| base.seq(log));
        let bad = &local.checkpoints.claim(claim)?.bad;
        let bad = bad.iter().filter(|(log, seq, _)| *seq > beyond(log)).copied().collect();
        Some(CheckpointCheck { context: *context, author: local.checkpoints.author(claim)?, base, table, bad })
    }

    /// Says that a claim was checked and holds.
    pub fn attest_checkpoint(&mut self, now: Now, check: &CheckpointCheck) {
        self.now = now;
        let Some(local) = self.contexts.get(&check.context) else {
            return;
        };
        // Something of it may have been cut off while it was compared, or another checkpoint may be relied upon by now.
        let same_base = local.checkpoints.base().map(|base| base.claim) == check.base.as_ref().map(|base| base.claim);
        if same_base && local.holds_covered(&check.table) && !local.standing.has_lost(&self.replica) {
            self.say_of_claim(check.context, &CheckpointOp::Attest(check.table.claim));
        }
    }

    fn say_of_claim(&mut self, context: ContextId, op: &CheckpointOp) {
        // Where it cannot be written, the claim stays as it is.
        let _ = self.append_control(context, &op.encode());
        self.settle_control();
    }

    /// The checkpoint that this node relies on.
    pub fn checkpoint(&self, context: &ContextId) -> Option<Arc<CheckpointTable>> {
        self.contexts.get(context)?.checkpoints.base().cloned()
    }
}
