//! Making checkpoints, and saying whether others' hold. What documents are is the embedder's to know: the node says what is
//! to be covered or compared, and writes down what comes of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use partita_core::{
    Checkpoint, CheckpointOp, ContextId, Covered, DocumentId, EntryId, EntryKind, EpochId, LogId, LogSort, Now,
    ReplicaId, SnapshotAt, StrategyError, Tip,
};

use super::{
    Node,
    checkpoints::{CheckpointBase, CheckpointTable},
    context::{Context, Log, OwnLog},
    local::AppendError,
};
use crate::{
    effect::{Effect, Notice},
    record::LogRecord,
};

/// What a checkpoint that is made now is to cover. Its snapshots hold exactly what the base's do, and every entry of these
/// logs behind what the base covers.
#[derive(Debug, Clone)]
pub struct CheckpointPlan {
    /// The context.
    pub context: ContextId,
    /// What it goes on from.
    pub base: Arc<CheckpointBase>,
    /// The logs that are covered further than by the base.
    pub cover: BTreeMap<LogId, Covered>,
    /// Documents whose snapshots are written again though nothing of them changed: there are several, or most of the log
    /// that holds them is of no use any more, and goes with them.
    pub again: BTreeSet<DocumentId>,
    /// How many bytes its claim may have, beside those documents. What is more is left to the next checkpoint: the embedder
    /// finds out which documents changed, and [narrows](Node::narrow_checkpoint) the plan.
    pub room: usize,
    /// How many bytes of that each covered entry is reckoned to take.
    pub per_entry: usize,
    /// Fewer new entries than this are not worth a checkpoint.
    least: u64,
}

/// What to compare before a claim is attested: the snapshots that it names with what is made from this replica's own base
/// and exactly those entries behind it that the claim covers, as far as they are held here.
#[derive(Debug, Clone)]
pub struct CheckpointCheck {
    /// The context.
    pub context: ContextId,
    /// Who makes the claim.
    pub author: ReplicaId,
    /// What this replica relies on.
    pub base: Arc<CheckpointBase>,
    /// What is claimed.
    pub table: Arc<CheckpointTable>,
    /// How far each log is held that the claim covers, at most as far as that.
    pub held: BTreeMap<LogId, u64>,
    /// Whether the snapshots may hold more than what is made here, by the writers of what [`lacking`](Self::lacking) names:
    /// that may be pruned everywhere, since whoever made the claim did not know that this replica may write.
    pub partial: bool,
    /// Covered entries that the claim says are in no snapshot, since their bytes are bad: those behind what this replica
    /// relies on.
    pub bad: Vec<(LogId, u64, EntryId)>,
    /// Whether no honest replica can have made it, since it covers a log that began otherwise here, or was begun in knowledge
    /// of what the claim had not seen. Who covers a log knows who writes it; or a claim could leave out that it knows
    /// somebody, so that this one would have to take its word for what it covers of that one's own logs.
    pub impossible: bool,
}

impl CheckpointCheck {
    /// The logs that the claim covers further than they are held here.
    pub fn lacking(&self) -> Vec<LogId> {
        let lacks = |(log, covered): &(&LogId, &Covered)| {
            let held = self.held.get(*log).copied().unwrap_or(0);
            held.max(self.base.seq(log)) < covered.seq()
        };
        self.table.logs.iter().filter(lacks).map(|(log, _)| *log).collect()
    }

    /// The logs that this replica relies upon further than the claim covers them: another checkpoint, made apart, stands for
    /// them here.
    pub fn beyond(&self) -> Vec<LogId> {
        let covered = |log: &LogId| self.table.logs.get(log).map_or(0, Covered::seq);
        let beyond = self.base.logs().iter().filter(|(log, base)| base.seq() > covered(log));
        beyond.map(|(log, _)| *log).collect()
    }

    /// Whether it says of entries that are pruned here that they are bad and they were not, or the other way round. Nobody
    /// could tell later, and who compares from further back would refute it, and all that go on from it.
    pub fn contradicts_base(&self) -> bool {
        let covered = |log: &LogId| self.table.logs.get(log).map_or(0, Covered::seq);
        let claimed = self.table.bad.iter().copied().filter(|(log, seq, _)| *seq <= self.base.seq(log));
        !claimed.eq(self.base.bad().filter(|(log, seq, _)| *seq <= covered(log)))
    }
}

/// How many bytes a bad entry takes in a claim.
const BAD_ENCODED: usize = 16 + 10 + 32;

fn not_now(why: &str) -> AppendError {
    AppendError::NotAllowed(StrategyError(why.into()))
}

impl Node {
    /// What a checkpoint would cover that this replica makes now. `None` when it may write no data here, its strategy has
    /// no checkpoints, or too little came since the last claim: fewer entries than `least`, or, while claims wait to be
    /// attested, than the last of those covers. So whoever is away for a year finds few claims, and not one for each day.
    /// `halvings` says how often the bytes that a claim may have are halved for this one.
    pub fn plan_checkpoint(&self, context: &ContextId, least: u64, halvings: u32) -> Option<CheckpointPlan> {
        let local = self.contexts.get(context)?;
        let strategy = &self.strategies[local.strategy];
        let writers = strategy.writers(context, &local.graph.heads())?;
        let may = writers.contains(&self.replica) && !local.standing.has_lost(&self.replica);
        if !may || local.checkpoints.making.is_some() || local.checkpoints.adopting {
            return None;
        }
        let base = local.checkpoints.base().clone();
        let data = local.logs.iter().filter(|(_, state)| state.record.sort == LogSort::Data);
        let whole = data.filter(|(log, state)| {
            state.record.seq > state.base && state.record.seq <= state.cap && !local.excluding.contains(log)
        });
        let cover = whole.filter_map(|(log, state)| Some((*log, state.record.covered(*log)?))).collect();
        let needed = base.needed();
        let is_wasteful = |log: &LogId| {
            let bytes = local.logs.get(log).map_or(0, |log| log.record.bytes);
            needed.get(log).is_some_and(|needed| bytes > 2 * needed + 4096)
        };
        let (several, single): (Vec<&DocumentId>, Vec<_>) =
            base.documents().partition(|document| base.snapshots(document).len() > 1);
        let wasteful =
            single.into_iter().filter(|document| base.snapshots(document).iter().any(|at| is_wasteful(&at.log)));
        let bytes = self.config.claim_bytes.checked_shr(halvings).unwrap_or(0);
        // Of what several checkpoints say of a document one is written anew, or it would lack what the others hold.
        let most = several.len().max(bytes / 2 / SnapshotAt::ENCODED).max(1);
        let again: BTreeSet<DocumentId> = several.into_iter().chain(wasteful).take(most).copied().collect();
        let room = bytes.saturating_sub(again.len() * SnapshotAt::ENCODED);
        // Many entries may be bad where a claim turned out larger than it was guessed.
        let per_entry = if halvings > 0 { BAD_ENCODED } else { 0 };
        let plan = CheckpointPlan { context: *context, base, cover, again, room, per_entry, least };
        self.is_worth_it(local, &plan).then_some(plan)
    }

    /// Whether enough came since the last claim for another.
    fn is_worth_it(&self, local: &Context, plan: &CheckpointPlan) -> bool {
        // Of what a claim says only what is here is news: a member can claim what nobody will ever hold.
        let beyond = |log: &LogId, seq: u64| {
            let held = local.logs.get(log).map_or(0, |state| state.record.seq);
            seq.min(held).saturating_sub(plan.base.seq(log))
        };
        let new: u64 = plan.cover.iter().map(|(log, covered)| beyond(log, covered.seq())).sum();
        let waits = |table: &CheckpointTable| table.logs.iter().map(|(log, at)| beyond(log, at.seq())).sum::<u64>();
        let dormant = self.strategies[local.strategy].dormant(&plan.context, &local.graph.heads());
        let waiting = local.checkpoints.hopeful(&dormant).map(|table| waits(table)).max().unwrap_or(0);
        new.saturating_sub(waiting) >= plan.least.max(waiting).max(1)
    }

    /// Covers less than was planned, since the claim would have no room for all. False when that would be no more than what
    /// was claimed already and waits to be attested.
    pub fn narrow_checkpoint(&self, plan: &mut CheckpointPlan, cover: BTreeMap<LogId, Covered>) -> bool {
        plan.cover = cover;
        plan.least = 1;
        self.contexts.get(&plan.context).is_some_and(|local| self.is_worth_it(local, plan))
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

    /// Writes a document's snapshot for the checkpoint that is being made: of what was written under these epochs, and goes
    /// to whoever may read all of that. It is sent once the claim is.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn write_snapshot(
        &mut self,
        now: Now,
        context: ContextId,
        document: DocumentId,
        plain: &[u8],
        past: &BTreeSet<EpochId>,
    ) -> Result<SnapshotAt, AppendError> {
        self.now = now;
        let local = self.contexts.get(&context).ok_or(AppendError::NoContext(context))?;
        if local.checkpoints.making.is_none() {
            return Err(not_now("no checkpoint is being made"));
        }
        let epoch = self.epoch_to_write(context, |strategy| strategy.snapshot_epoch(&context, past), past)?;
        let appended = self.write(context, EntryKind::Snapshot(document), plain, epoch)?;
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
        let same_base = *local.checkpoints.base() == plan.base;
        if !same_base || !plan.cover.iter().all(|(log, covered)| local.counts(log, covered.seq())) {
            return Err(not_now("what the checkpoint was to cover changed meanwhile"));
        }
        let claim = delta(plan, documents, bad);
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
        let Some(lacks) = local.lacks(&*strategies[local.strategy], &claim, replica) else {
            return;
        };
        if !lacks.contains(replica) || local.standing.has_lost(replica) {
            return;
        }
        // Who made the claim knew that this replica may write, and did not do without it, and so did everybody who pruned by
        // it: then all of it is to be had. Otherwise it may be gone, and what is here is compared.
        let strategy = &strategies[local.strategy];
        let knew = strategy.writers(&context, &[claim]).is_some_and(|all| all.contains(replica))
            && !strategy.dormant(&context, &[claim]).contains(replica);
        let base = local.checkpoints.base();
        let whole = base.is_covered_by(table) && local.holds_covered(table);
        if (whole || !knew) && local.holds_snapshots(table) {
            local.checkpoints.decided.insert(claim);
            self.effects.push(Effect::Notice(Notice::CheckpointClaimed { context, claim }));
        }
    }

    /// What is to be compared before [`attest_checkpoint`](Self::attest_checkpoint); `None` when the claim is of no interest
    /// any more.
    pub fn checkpoint_check(&self, context: &ContextId, claim: &EntryId) -> Option<CheckpointCheck> {
        let local = self.contexts.get(context)?;
        let table = local.checkpoints.live().into_iter().find(|table| table.claim == *claim)?;
        let base = local.checkpoints.base().clone();
        let held = |(log, covered): (&LogId, &Covered)| {
            let held = local.logs.get(log).map_or(0, |state| state.durable.min(state.cap));
            (*log, held.min(covered.seq()))
        };
        let held: BTreeMap<LogId, u64> = table.logs.iter().map(held).collect();
        let is_held = |log: &LogId, seq: u64| held.get(log).is_some_and(|held| *held >= seq);
        let bad = table.bad.iter();
        let bad = bad.filter(|(log, seq, _)| *seq > base.seq(log) && is_held(log, *seq)).copied().collect();
        let partial = !(base.is_covered_by(&table) && local.holds_covered(&table));
        let seen = local.graph.ancestors(&[*claim]);
        let impossible = table.logs.iter().any(|(log, covered)| {
            let began_otherwise = |state: &Log| {
                let LogRecord { knew, .. } = &*state.record;
                // Of a log that was begun long ago it may not be known here.
                *knew != covered.knew && !knew.is_empty()
            };
            !covered.knew.iter().all(|head| seen.contains(head)) || local.logs.get(log).is_some_and(began_otherwise)
        }) || !local.is_possible(&table);
        Some(CheckpointCheck {
            context: *context,
            author: local.checkpoints.author(claim)?,
            base,
            table,
            held,
            partial,
            bad,
            impossible,
        })
    }

    /// Whether a snapshot under this epoch, of a claim that is compared, goes to exactly those who may read all that it stands
    /// for, which was written under `past`, and the author of the claim is one of them.
    pub fn is_for_same_readers(
        &self,
        check: &CheckpointCheck,
        snapshot: Option<EpochId>,
        past: &BTreeSet<EpochId>,
    ) -> bool {
        let CheckpointCheck { context, author, .. } = check;
        self.contexts
            .get(context)
            .is_some_and(|local| self.strategies[local.strategy].is_for_same_readers(context, author, snapshot, past))
    }

    /// A claim does not hold. False when it has to be compared again, because what it was compared with is not so any more.
    pub fn reject_checkpoint(&mut self, check: &CheckpointCheck) -> bool {
        if !self.is_as_compared(check) {
            self.check_again(check);
            return false;
        }
        if let Some(local) = self.contexts.get_mut(&check.context) {
            local.checkpoints.rejected.insert(check.table.claim);
        }
        true
    }

    /// A claim could not be compared for now: it is put to the embedder again when
    /// [`retry_checkpoints`](Self::retry_checkpoints) says so.
    pub fn postpone_checkpoint(&mut self, check: &CheckpointCheck) {
        if !self.is_as_compared(check) {
            return self.check_again(check);
        }
        if let Some(local) = self.contexts.get_mut(&check.context) {
            local.checkpoints.postponed.insert(check.table.claim);
        }
    }

    /// What kept claims from being compared may have gone.
    pub fn retry_checkpoints(&mut self, context: ContextId) {
        if let Some(local) = self.contexts.get_mut(&context) {
            for claim in std::mem::take(&mut local.checkpoints.postponed) {
                local.checkpoints.decided.remove(&claim);
            }
            self.review.insert(context);
        }
    }

    /// Says that a claim was checked and holds.
    pub fn attest_checkpoint(&mut self, now: Now, check: &CheckpointCheck) {
        self.now = now;
        let Some(local) = self.contexts.get(&check.context) else {
            return;
        };
        if !self.is_as_compared(check) {
            return self.check_again(check);
        }
        if !local.standing.has_lost(&self.replica) {
            self.say_of_claim(check.context, &CheckpointOp::Attest(check.table.claim));
        }
    }

    /// Whether what a claim was compared with is still so: something of it may have been cut off meanwhile, or another
    /// checkpoint may be relied upon by now, and more be pruned.
    fn is_as_compared(&self, check: &CheckpointCheck) -> bool {
        self.contexts.get(&check.context).is_some_and(|local| {
            let same_base = *local.checkpoints.base() == check.base;
            same_base && check.held.iter().all(|(log, seq)| local.counts(log, *seq))
        })
    }

    /// What a claim was compared with is not so any more: it is put to the embedder anew if it still matters.
    fn check_again(&mut self, check: &CheckpointCheck) {
        if let Some(local) = self.contexts.get_mut(&check.context) {
            local.checkpoints.decided.remove(&check.table.claim);
            self.review.insert(check.context);
        }
    }

    fn say_of_claim(&mut self, context: ContextId, op: &CheckpointOp) {
        // Where it cannot be written, the claim stays as it is.
        let _ = self.append_control(context, &op.encode());
        self.settle_control();
    }

    /// Whether the store is being asked what lies under a claim that is about to be relied upon.
    pub fn is_adopting(&self, context: &ContextId) -> bool {
        self.contexts.get(context).is_some_and(|local| local.checkpoints.adopting)
    }

    /// What this node relies on in a context; nothing is covered before the first checkpoint.
    pub fn checkpoint(&self, context: &ContextId) -> Arc<CheckpointBase> {
        self.contexts.get(context).map(|local| local.checkpoints.base().clone()).unwrap_or_default()
    }
}

/// The claim of what a plan covers and of these snapshots, as what is new since one of those that it goes on from.
fn delta(
    plan: &CheckpointPlan,
    documents: BTreeMap<DocumentId, SnapshotAt>,
    bad: Vec<(LogId, u64, EntryId)>,
) -> Checkpoint {
    let (mut logs, mut snapshots) = (plan.base.logs().clone(), BTreeMap::new());
    logs.extend(plan.cover.iter().map(|(log, covered)| (*log, covered.clone())));
    for part in plan.base.parts() {
        snapshots.extend(part.documents.iter().map(|(document, at)| (*document, *at)));
    }
    // Of what several say, one is written anew.
    snapshots.extend(documents);
    let mut bad: BTreeSet<_> = bad.into_iter().collect();
    bad.extend(plan.base.bad());
    let previous = plan.base.parts().first();
    if let Some(previous) = previous {
        bad.retain(|place| !previous.bad.contains(place));
        logs.retain(|log, covered| previous.logs.get(log) != Some(covered));
        snapshots.retain(|document, at| previous.documents.get(document) != Some(at));
    }
    let bad = bad.into_iter().collect();
    Checkpoint { previous: previous.map(|previous| previous.claim), logs, documents: snapshots, bad }
}
