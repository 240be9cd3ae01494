//! Checkpoints, as far as they are about documents: making them, and comparing what others claim with what is here. One
//! document after the other; what is read and made of each goes through the store's thread and the worker, so that nothing
//! else waits.

mod adopted;
mod documents;
mod reads;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use partita_core::{ContextId, DocumentId, EntryId, LogId, SnapshotAt, Store, StoreError, Tip};
use partita_crypto::rand_core::Rng;
use partita_protocol::{AppendError, CheckpointBase, CheckpointCheck, CheckpointPlan};
use partita_sync::StoreJob;
use tokio::sync::oneshot;

use super::{Context, EngineHost, commands::Command, contexts::push_waiting};
use crate::{
    error::{CheckpointError, EngineError},
    events::EngineEvent,
};
use documents::{Past, Place};
pub(crate) use reads::{Collected, Survey};
use reads::{survey, survey_plan};

/// What came of asking for a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckpointOutcome {
    /// It was written. What it stands for is pruned once every other writer has attested it.
    Claimed,
    /// Nothing came since the last one, or this replica may not make one here.
    NothingToDo,
}

/// After how long a claim is compared again for which the store could not be read.
const READ_AGAIN: Duration = Duration::from_secs(5);
/// How often the bytes that a claim may have are halved at most.
const MOST_HALVINGS: u32 = 6;

type Answer = oneshot::Sender<Result<CheckpointOutcome, CheckpointError>>;

/// What a checkpoint is for.
enum Aim {
    /// It is made here. Its snapshots that were written so far.
    Make { plan: CheckpointPlan, written: BTreeMap<DocumentId, SnapshotAt>, answers: Vec<Answer> },
    /// Somebody claims it.
    Check(CheckpointCheck),
}

impl Aim {
    fn context(&self) -> ContextId {
        match self {
            Self::Make { plan, .. } => plan.context,
            Self::Check(check) => check.context,
        }
    }

    fn base(&self) -> &Arc<CheckpointBase> {
        match self {
            Self::Make { plan, .. } => &plan.base,
            Self::Check(check) => &check.base,
        }
    }

    /// The entries behind the base, up to what is covered, as far as they are held: of each log the first and the last.
    fn ranges(&self) -> BTreeMap<LogId, (u64, u64)> {
        let cover: Vec<(LogId, u64)> = match self {
            Self::Make { plan, .. } => plan.cover.iter().map(|(log, covered)| (*log, covered.seq())).collect(),
            Self::Check(check) => check.held.iter().map(|(log, held)| (*log, *held)).collect(),
        };
        let ranges = cover.into_iter().map(|(log, to)| (log, (self.base().seq(&log).saturating_add(1), to)));
        ranges.filter(|(_, (from, to))| from <= to).collect()
    }

    /// Whether not all that is claimed is here.
    fn is_partial(&self) -> bool {
        matches!(self, Self::Check(check) if check.partial)
    }

    /// The snapshots that a document is made from.
    fn snapshots(&self, document: &DocumentId) -> Vec<Tip> {
        self.base().snapshots(document).to_vec()
    }
}

struct Task {
    number: u64,
    aim: Aim,
    /// The documents that are still to be looked at.
    documents: VecDeque<DocumentId>,
    bad: Vec<Place>,
    /// The epochs under which the current document was written, and for which entry: its snapshot goes to whoever may read all
    /// of them.
    past: Past,
    /// Entries of documents that this replica may not read: others say whether their bytes are bad.
    withheld: BTreeSet<(LogId, u64)>,
}

/// The checkpoints that are being made or compared: one at a time.
pub(super) struct Tasks {
    number: u64,
    current: Option<Task>,
    waiting: VecDeque<Aim>,
    /// Who waits until there are none.
    quiet: Vec<oneshot::Sender<()>>,
    /// After how many entries one is made by itself.
    after: Option<u64>,
    /// Contexts in which so many came.
    due: BTreeSet<ContextId>,
    /// Contexts with claims for which the store could not be read, and when they are compared again, on the monotonic clock.
    unread: BTreeMap<ContextId, Duration>,
    #[cfg(feature = "simulation")]
    tamper: Option<Tamper>,
}

/// What a liar does to its next checkpoint.
#[cfg(feature = "simulation")]
pub enum Tamper {
    /// Each plain snapshot goes through this.
    Snapshots(Box<dyn Fn(Vec<u8>) -> Vec<u8> + Send>),
    /// The last entry of each document is said to be bad.
    CallBad,
}

#[cfg(feature = "simulation")]
impl std::fmt::Debug for Tamper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Snapshots(_) => "Snapshots",
            Self::CallBad => "CallBad",
        })
    }
}

impl Tasks {
    pub(super) fn new(after: Option<u64>) -> Self {
        Self {
            number: 0,
            current: None,
            waiting: VecDeque::new(),
            quiet: Vec::new(),
            after,
            due: BTreeSet::new(),
            unread: BTreeMap::new(),
            #[cfg(feature = "simulation")]
            tamper: None,
        }
    }

    fn is_making(&self, context: &ContextId) -> bool {
        let aims = self.waiting.iter().chain(self.current.iter().map(|task| &task.aim));
        aims.into_iter().any(|aim| matches!(aim, Aim::Make { plan, .. } if plan.context == *context))
    }
}

impl EngineHost {
    pub(super) fn on_checkpoint(&mut self, context: &mut Context<'_>, id: ContextId, reply: Answer) {
        if !self.contexts.contains_key(&id) {
            let _ = reply.send(Err(EngineError::NoContext(id).into()));
        } else if self.checkpoints.is_making(&id) {
            let _ = reply.send(Err(CheckpointError::Busy));
        } else {
            self.make_checkpoint(context, id, 1, vec![reply]);
        }
    }

    fn make_checkpoint(&mut self, context: &mut Context<'_>, id: ContextId, least: u64, answers: Vec<Answer>) {
        // What was changed here and is in no entry yet is to be in it, too.
        self.take_all(context);
        if let Some(state) = self.contexts.get_mut(&id) {
            state.since_checkpoint = 0;
        }
        if let Some(error) = context.node.failure() {
            for answer in answers {
                let _ = answer.send(Err(error.clone().into()));
            }
            return;
        }
        let halvings = self.contexts.get(&id).map_or(0, |state| state.claim_halvings);
        let Some(plan) = context.node.plan_checkpoint(&id, least, halvings) else {
            for answer in answers {
                let _ = answer.send(Ok(CheckpointOutcome::NothingToDo));
            }
            return;
        };
        self.checkpoints.waiting.push_back(Aim::Make { plan, written: BTreeMap::new(), answers });
        self.next_checkpoint(context);
    }

    /// Entries came in a context: after enough of them a checkpoint is made by itself.
    pub(super) fn note_entries(&mut self, id: ContextId, entries: u64) {
        let Some(state) = self.contexts.get_mut(&id) else { return };
        state.since_checkpoint += entries;
        if self.checkpoints.after.is_some_and(|after| state.since_checkpoint >= after) {
            self.checkpoints.due.insert(id);
        }
    }

    pub(super) fn make_due_checkpoints(&mut self, context: &mut Context<'_>) {
        let Some(after) = self.checkpoints.after else { return };
        if self.checkpoints.current.is_some() {
            return;
        }
        for id in std::mem::take(&mut self.checkpoints.due) {
            // One may have been asked for meanwhile.
            if self.contexts.get(&id).is_none_or(|state| state.since_checkpoint < after) {
                continue;
            }
            // Others have as many: whoever's turn comes first makes it, and the rest find nothing to do.
            if self.random.next_u32().is_multiple_of(8) {
                self.make_checkpoint(context, id, after, Vec::new());
            } else if let Some(state) = self.contexts.get_mut(&id) {
                state.since_checkpoint -= after / 8;
                if state.since_checkpoint >= after {
                    self.checkpoints.due.insert(id);
                }
            }
        }
    }

    pub(super) fn wait_for_quiet(&mut self, reply: oneshot::Sender<()>) {
        push_waiting(&mut self.checkpoints.quiet, reply, oneshot::Sender::is_closed);
    }

    pub(super) fn look_for_quiet(&mut self, context: &mut Context<'_>) {
        let Tasks { current, waiting, quiet, .. } = &mut self.checkpoints;
        if quiet.is_empty() {
            return;
        }
        context.node.hurry_commit();
        if current.is_none() && waiting.is_empty() && context.node.is_settled() {
            let rests = self.contexts.keys().all(|id| !context.node.is_adopting(id));
            if rests || context.node.failure().is_some() {
                quiet.clear();
            }
        }
    }

    pub(super) fn on_claimed(&mut self, context: &mut Context<'_>, id: ContextId, claim: &EntryId) {
        if let Some(check) = context.node.checkpoint_check(&id, claim) {
            self.checkpoints.waiting.push_back(Aim::Check(check));
            self.next_checkpoint(context);
        }
    }

    /// The store may be read again by now.
    pub(super) fn compare_unread(&mut self, context: &mut Context<'_>) {
        let now = context.now.monotonic;
        for (id, _) in self.checkpoints.unread.extract_if(.., |_, due| *due <= now) {
            context.node.retry_checkpoints(id);
        }
    }

    fn next_checkpoint(&mut self, context: &mut Context<'_>) {
        if self.checkpoints.current.is_some() {
            return;
        }
        let Some(aim) = self.checkpoints.waiting.pop_front() else { return };
        if let Aim::Make { plan, .. } = &aim
            && let Err(error) = context.node.begin_checkpoint(plan)
        {
            return self.end_checkpoint(context, aim, Err(error.into()));
        }
        self.checkpoints.number += 1;
        let number = self.checkpoints.number;
        let ranges = aim.ranges();
        let job: StoreJob<Command> = match &aim {
            Aim::Make { plan, .. } => {
                let plan = plan.clone();
                Box::new(move |store| Command::Surveyed { task: number, result: survey_plan(store, &plan, &ranges) })
            }
            Aim::Check(check) => {
                let (id, base, table) = (check.context, check.base.clone(), check.table.clone());
                let survey = move |store: &dyn Store| survey(store, id, &ranges, &base, Some(&table.logs));
                Box::new(move |store| Command::Surveyed { task: number, result: survey(store) })
            }
        };
        self.checkpoints.current = Some(Task {
            number,
            aim,
            documents: VecDeque::new(),
            bad: Vec::new(),
            past: Past::new(),
            withheld: BTreeSet::new(),
        });
        context.jobs.push(job);
    }

    fn task(&mut self, number: u64) -> Option<&mut Task> {
        self.checkpoints.current.as_mut().filter(|task| task.number == number)
    }

    pub(super) fn on_surveyed(&mut self, context: &mut Context<'_>, number: u64, result: Result<Survey, StoreError>) {
        let Some(task) = self.task(number) else { return };
        let (mut documents, narrowed) = match result {
            Ok(Survey::Documents(documents)) => (documents, None),
            Ok(Survey::Narrowed(documents, cover)) => (documents, Some(cover)),
            Ok(Survey::Differs) => return self.refute(context),
            Err(error) => return self.finish_checkpoint(context, Err(error.into())),
        };
        if let Aim::Make { plan, .. } = &mut task.aim {
            let (id, is_part) = (plan.context, narrowed.is_some());
            let is_worth_it = narrowed.is_none_or(|cover| context.node.narrow_checkpoint(plan, cover));
            if let Some(state) = self.contexts.get_mut(&id) {
                state.more_to_cover = is_part;
            }
            if !is_worth_it {
                return self.finish_checkpoint(context, Ok(CheckpointOutcome::NothingToDo));
            }
        }
        let Some(task) = self.task(number) else { return };
        match &task.aim {
            Aim::Make { plan, .. } => documents.extend(&plan.again),
            Aim::Check(check) => {
                let same = |document: &DocumentId| {
                    let claimed = check.table.documents.get(document);
                    matches!((check.base.snapshots(document), claimed), ([known], Some(at)) if *known == at.entry)
                };
                if documents.iter().any(same) || lacks_documents(check) || check.contradicts_base() || check.impossible
                {
                    // Something came of it, and the claim says that it is as it was.
                    return self.refute(context);
                }
                documents.extend(check.table.documents.keys().filter(|document| !same(document)));
            }
        }
        task.documents = documents.into_iter().collect();
        self.next_document(context);
    }

    #[cfg(feature = "simulation")]
    pub(super) fn tamper(&mut self, how: Tamper) {
        self.checkpoints.tamper = Some(how);
    }

    /// All documents were looked at.
    fn conclude_checkpoint(&mut self, context: &mut Context<'_>) {
        let Some(task) = &mut self.checkpoints.current else { return };
        task.bad.sort_unstable();
        task.bad.dedup();
        let bad = std::mem::take(&mut task.bad);
        match &mut task.aim {
            Aim::Make { plan, written, .. } => {
                let written = std::mem::take(written);
                let id = plan.context;
                let claimed = context.node.claim_checkpoint(context.now, plan, written, bad);
                if matches!(claimed, Err(AppendError::TooLarge { .. })) && self.try_smaller_claim(context) {
                    return;
                }
                if let (Ok(claim), Some(state)) = (&claimed, self.contexts.get_mut(&id)) {
                    state.own_claim = Some(*claim);
                }
                let outcome = claimed.map(|_| CheckpointOutcome::Claimed).map_err(CheckpointError::from);
                self.finish_checkpoint(context, outcome);
            }
            Aim::Check(check) => {
                let known = |one: &&Place| !task.withheld.contains(&(one.0, one.1));
                if !check.bad.iter().filter(known).eq(&bad) {
                    return self.refute(context);
                }
                context.node.attest_checkpoint(context.now, check);
                self.finish_checkpoint(context, Ok(CheckpointOutcome::NothingToDo));
            }
        }
    }

    /// A claim had no room for what it was to name: another one covers less. False when it is as small as it gets.
    fn try_smaller_claim(&mut self, context: &mut Context<'_>) -> bool {
        let Some(Task { aim: Aim::Make { plan, .. }, .. }) = &self.checkpoints.current else { return false };
        let Some(state) = self.contexts.get_mut(&plan.context) else { return false };
        if state.claim_halvings >= MOST_HALVINGS {
            return false;
        }
        state.claim_halvings += 1;
        if let Some(Task { aim: Aim::Make { plan, answers, .. }, .. }) = self.checkpoints.current.take() {
            self.make_checkpoint(context, plan.context, 1, answers);
        }
        self.next_checkpoint(context);
        true
    }

    /// What is claimed is not what is here.
    fn refute(&mut self, context: &mut Context<'_>) {
        if let Some(Task { aim: Aim::Check(check), .. }) = &self.checkpoints.current
            && context.node.reject_checkpoint(check)
        {
            self.say(EngineEvent::CheckpointRefuted { context: check.context, author: check.author });
        }
        self.finish_checkpoint(context, Ok(CheckpointOutcome::NothingToDo));
    }

    /// The store failed: none is written any more, and the store may never answer what it was asked for one.
    pub(super) fn give_up_checkpoints(&mut self, context: &mut Context<'_>, error: &StoreError) {
        let current = self.checkpoints.current.take().map(|task| task.aim);
        for aim in current.into_iter().chain(std::mem::take(&mut self.checkpoints.waiting)) {
            let Aim::Make { plan, answers, .. } = aim else { continue };
            context.node.abandon_checkpoint(plan.context);
            for answer in answers {
                let _ = answer.send(Err(error.clone().into()));
            }
        }
    }

    fn finish_checkpoint(&mut self, context: &mut Context<'_>, outcome: Result<CheckpointOutcome, CheckpointError>) {
        if let Some(task) = self.checkpoints.current.take() {
            self.end_checkpoint(context, task.aim, outcome);
        }
    }

    fn end_checkpoint(
        &mut self,
        context: &mut Context<'_>,
        aim: Aim,
        outcome: Result<CheckpointOutcome, CheckpointError>,
    ) {
        if let Aim::Check(check) = &aim
            && matches!(outcome, Err(CheckpointError::NotNow(..) | CheckpointError::Store(_)))
        {
            context.node.postpone_checkpoint(check);
            if matches!(outcome, Err(CheckpointError::Store(_))) {
                // Keys, for which others wait, would not help.
                let due = context.now.monotonic.saturating_add(READ_AGAIN);
                self.checkpoints.unread.entry(check.context).or_insert(due);
            }
        }
        if let Aim::Make { plan, answers, .. } = aim {
            #[cfg(feature = "simulation")]
            let _ = self.checkpoints.tamper.take();
            if outcome != Ok(CheckpointOutcome::Claimed) {
                context.node.abandon_checkpoint(plan.context);
            }
            if outcome.is_err() && context.node.checkpoint(&plan.context) != plan.base {
                // Another one was relied upon meanwhile: it goes on from there.
                self.make_checkpoint(context, plan.context, 1, answers);
                return self.next_checkpoint(context);
            }
            if let (Err(error), []) = (&outcome, answers.as_slice()) {
                self.say(EngineEvent::CheckpointFailed { context: plan.context, error: error.clone() });
            }
            for answer in answers {
                let _ = answer.send(outcome.clone());
            }
        }
        self.next_checkpoint(context);
    }
}

/// Whether some document is not in the claim, though it covers everything that this replica relies on.
fn lacks_documents(check: &CheckpointCheck) -> bool {
    let mut known = check.base.documents();
    check.base.is_covered_by(&check.table) && known.any(|document| !check.table.documents.contains_key(document))
}
