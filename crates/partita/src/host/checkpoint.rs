//! Checkpoints, as far as they are about documents: making them, and comparing what others claim with what is here. One
//! document after the other; what is read and made of each goes through the store's thread and the worker, so that nothing
//! else waits.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::ControlFlow,
    sync::Arc,
};

use partita_core::{
    Bytes, ContextId, Covered, DocumentId, Entry, EntryId, EpochId, Key, LogId, LogSort, SnapshotAt, Store, StoreError,
    Tip,
    planted::{Bug, planted},
};
use partita_crypto::rand_core::Rng;
use partita_protocol::{Arrival, CheckpointBase, CheckpointCheck, CheckpointPlan, reads};
use tokio::sync::oneshot;

use super::{
    Context, EngineHost, Name,
    commands::Command,
    load::Openers,
    records::{Reason, SetAside},
};
use crate::{
    error::{CheckpointError, EngineError},
    events::EngineEvent,
    rebuild::{Part, Partial, Purpose, Rebuild, Rebuilt},
    worker::{ItemKind, Job},
};

/// What came of asking for a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckpointOutcome {
    /// It was written. What it stands for is pruned once every other writer has attested it.
    Claimed,
    /// Nothing came since the last one, or this replica may not make one here.
    NothingToDo,
}

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

    /// The snapshots that a document is made from.
    fn snapshots(&self, document: &DocumentId) -> Vec<Tip> {
        self.base().snapshots(document).to_vec()
    }
}

type Past = Vec<(Option<(LogId, u64, EntryId)>, EpochId)>;

/// The epochs without those of entries whose bytes are bad: these are in no snapshot, and anybody can name any epoch.
fn past_of(past: &Past, bad: &[(LogId, u64, EntryId)]) -> BTreeSet<EpochId> {
    let counts = past.iter().filter(|(place, _)| place.is_none_or(|place| !bad.contains(&place)));
    counts.map(|(_, epoch)| *epoch).collect()
}

struct Task {
    number: u64,
    aim: Aim,
    /// The documents that are still to be looked at.
    documents: VecDeque<DocumentId>,
    bad: Vec<(LogId, u64, EntryId)>,
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
            #[cfg(feature = "simulation")]
            tamper: None,
        }
    }

    fn is_making(&self, context: &ContextId) -> bool {
        let aims = self.waiting.iter().chain(self.current.iter().map(|task| &task.aim));
        aims.into_iter().any(|aim| matches!(aim, Aim::Make { plan, .. } if plan.context == *context))
    }
}

/// Which documents a checkpoint concerns; `None` when what is claimed of a log is not what is held.
pub(crate) type Survey = Option<BTreeSet<DocumentId>>;

/// What a document is made from.
pub(crate) struct Collected {
    base: Vec<(u64, Arc<Entry>)>,
    entries: Vec<(u64, Arc<Entry>)>,
    claimed: Option<(u64, Arc<Entry>)>,
}

fn survey(
    store: &dyn Store,
    context: ContextId,
    ranges: &BTreeMap<LogId, (u64, u64)>,
    base: &CheckpointBase,
    claimed: Option<&BTreeMap<LogId, Covered>>,
) -> Result<Survey, StoreError> {
    let view = store.read()?;
    let mut documents = BTreeSet::new();
    for (log, (from, to)) in ranges {
        let before = base.logs().get(log);
        let covered = claimed.and_then(|claimed| claimed.get(log));
        if let Some(covered) = covered.filter(|covered| covered.seq() == *to)
            && reads::covered_at(&*view, &context, covered.last, before)?.as_ref() != Some(covered)
        {
            return Ok(None);
        }
        reads::log_entries(&*view, &context, log, *from, |_, entry| {
            if entry.header.seq > *to {
                return ControlFlow::Break(());
            }
            documents.extend(entry.header.kind.document());
            ControlFlow::Continue(())
        })?;
    }
    Ok(Some(documents))
}

fn collect(
    store: &dyn Store,
    (context, document): Name,
    ranges: &BTreeMap<LogId, (u64, u64)>,
    base: &[Tip],
    claimed: Option<Tip>,
) -> Result<Collected, StoreError> {
    let view = store.read()?;
    let at = |tip: &Tip| reads::entry_at(&*view, &context, tip);
    let claimed = claimed.as_ref().map(at).transpose()?.flatten();
    let base: Vec<_> = base.iter().map(at).collect::<Result<_, _>>()?;
    let base = base.into_iter().flatten().collect();
    let mut entries = Vec::new();
    reads::document_entries(&*view, &context, &document, 0, |arrival, entry| {
        let range = ranges.get(&entry.header.log);
        let is_covered = range.is_some_and(|(from, to)| (*from..=*to).contains(&entry.header.seq));
        if is_covered && entry.header.kind.sort() == LogSort::Data {
            entries.push((arrival, Arc::new(entry)));
        }
        ControlFlow::Continue(())
    })?;
    Ok(Collected { base, entries, claimed })
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
        let Some(plan) = context.node.plan_checkpoint(&id, least) else {
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
        self.checkpoints.quiet.push(reply);
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
        let (id, ranges, base) = (aim.context(), aim.ranges(), aim.base().clone());
        let claimed = match &aim {
            Aim::Make { .. } => None,
            Aim::Check(check) => Some(check.table.clone()),
        };
        self.checkpoints.current = Some(Task {
            number,
            aim,
            documents: VecDeque::new(),
            bad: Vec::new(),
            past: Past::new(),
            withheld: BTreeSet::new(),
        });
        context.jobs.push(Box::new(move |store| {
            let claimed = claimed.as_ref().map(|table| &table.logs);
            let result = survey(store, id, &ranges, &base, claimed);
            Command::Surveyed { task: number, result }
        }));
    }

    fn task(&mut self, number: u64) -> Option<&mut Task> {
        self.checkpoints.current.as_mut().filter(|task| task.number == number)
    }

    pub(super) fn on_surveyed(&mut self, context: &mut Context<'_>, number: u64, result: Result<Survey, StoreError>) {
        let Some(task) = self.task(number) else { return };
        let touched = match result {
            Ok(Some(touched)) => touched,
            Ok(None) => return self.refute(context),
            Err(error) => return self.finish_checkpoint(context, Err(error.into())),
        };
        let mut documents = touched;
        match &task.aim {
            Aim::Make { plan, .. } => documents.extend(&plan.again),
            Aim::Check(check) => {
                let same = |document: &DocumentId| {
                    let claimed = check.table.documents.get(document);
                    matches!((check.base.snapshots(document), claimed), ([known], Some(at)) if *known == at.entry)
                };
                if documents.iter().any(same) || lacks_documents(check) {
                    // Something came of it, and the claim says that it is as it was.
                    return self.refute(context);
                }
                documents.extend(check.table.documents.keys().filter(|document| !same(document)));
            }
        }
        task.documents = documents.into_iter().collect();
        self.next_document(context);
    }

    /// Reads what the next document is made from; ends the task after the last one.
    fn next_document(&mut self, context: &mut Context<'_>) {
        let Some(task) = &mut self.checkpoints.current else { return };
        let Some(document) = task.documents.pop_front() else {
            return self.conclude_checkpoint(context);
        };
        let (number, id, ranges) = (task.number, task.aim.context(), task.aim.ranges());
        let base = task.aim.snapshots(&document);
        let claimed = match &task.aim {
            Aim::Make { .. } => None,
            Aim::Check(check) => check.table.documents.get(&document).map(|at| at.entry),
        };
        context.jobs.push(Box::new(move |store| {
            let result = collect(store, (id, document), &ranges, &base, claimed);
            Command::Collected { task: number, document, result }
        }));
    }

    pub(super) fn on_collected(
        &mut self,
        context: &mut Context<'_>,
        number: u64,
        document: DocumentId,
        result: Result<Collected, StoreError>,
    ) {
        let Some(task) = self.task(number) else { return };
        let id = task.aim.context();
        let partial = match &task.aim {
            Aim::Make { .. } => None,
            Aim::Check(check) => {
                Some(check.partial.then(|| Partial { lacking: check.lacking(), beyond: check.beyond() }))
            }
        };
        let collected = match result {
            Ok(collected) => collected,
            Err(error) => return self.finish_checkpoint(context, Err(error.into())),
        };
        if matches!(partial, Some(Some(_))) && collected.base.is_empty() && collected.entries.is_empty() {
            return self.next_document(context); // nothing is known of it that could be missing
        }
        let name = (id, document);
        let arrival = |(at, entry): (u64, Arc<Entry>)| Some((entry.id, context.node.arrival(&id, at, entry)?));
        let base: Vec<Arrival> = collected.base.into_iter().filter_map(arrival).map(|(_, arrival)| arrival).collect();
        let entries: Vec<(EntryId, Arrival)> = collected.entries.into_iter().filter_map(arrival).collect();
        let claimed = collected.claimed.and_then(arrival).map(|(_, claimed)| claimed);
        let place = |id: EntryId, arrival: &Arrival| (arrival.entry.header.log, arrival.entry.header.seq, id);
        task.past = base.iter().filter_map(|arrival| Some((None, arrival.epoch?))).collect();
        task.past.extend(entries.iter().filter_map(|(id, arrival)| Some((Some(place(*id, arrival)), arrival.epoch?))));
        if let Aim::Check(check) = &task.aim
            && !check.partial
        {
            let past = past_of(&task.past, &check.bad);
            let is_good = |claimed: &Arrival| context.node.is_for_same_readers(check, claimed.epoch, &past);
            if !claimed.as_ref().is_some_and(is_good) {
                return self.refute(context);
            }
        }
        let mut openers = Openers::default();
        let mut parts: Vec<Part> = entries
            .into_iter()
            .map(|(id, arrival)| Part { item: self.item(context, name, &arrival, &mut openers), id })
            .collect();
        let mut open = |arrival: &Arrival| self.item(context, name, arrival, &mut openers).plain();
        let base: Result<Vec<Bytes>, Reason> = base.iter().map(&mut open).collect();
        let claimed = claimed.as_ref().map(open).transpose();
        let Some(task) = self.task(number) else { return };
        let is_withheld = |of: Option<&Reason>| of == Some(&Reason::Withheld);
        if let Aim::Check(check) = &task.aim {
            // Those who may read it say whether its bytes are bad.
            let is_said_bad = |part: &mut Part| {
                let said = check.bad.contains(&(part.item.log, part.item.seq, part.id));
                said && is_withheld(part.item.payload.as_ref().err())
            };
            task.withheld.extend(parts.extract_if(.., is_said_bad).map(|part| (part.item.log, part.item.seq)));
        }
        let cannot_make =
            is_withheld(base.as_ref().err()) || parts.iter().any(|part| is_withheld(part.item.payload.as_ref().err()));
        if cannot_make || is_withheld(claimed.as_ref().err()) {
            let is_create = |part: &Part| matches!(part.item.kind, ItemKind::Create(_));
            let began_here = base.as_ref().is_ok_and(|base| !base.is_empty()) || parts.iter().any(is_create);
            match partial {
                None => {
                    let withheld = CheckpointError::NotNow(document, Reason::Withheld);
                    return self.finish_checkpoint(context, Err(withheld));
                }
                // What this replica has read from its beginning on is taken from it.
                Some(Some(_)) if began_here && !cannot_make => return self.refute(context),
                // Those who may read it say whether it holds.
                Some(_) => task.withheld.extend(parts.iter().map(|part| (part.item.log, part.item.seq))),
            }
            return self.next_document(context);
        }
        let (base, claimed) = match (base, claimed) {
            (Ok(base), Ok(claimed)) => (base, claimed),
            (Err(reason), _) | (_, Err(reason)) => {
                return self.finish_checkpoint(context, Err(CheckpointError::NotNow(document, reason)));
            }
        };
        let is_create = |part: &Part| matches!(part.item.kind, ItemKind::Create(_));
        let (mut first, mut rest): (VecDeque<Part>, VecDeque<Part>) = parts.into_iter().partition(is_create);
        first.append(&mut rest);
        let purpose = match partial {
            Some(partial) => Purpose::Compare { claimed, partial },
            None => Purpose::Save,
        };
        let said_bad = match &self.checkpoints.current {
            Some(Task { aim: Aim::Check(check), .. }) if planted(Bug::BadUnchecked) => check.bad.clone(),
            #[cfg(feature = "simulation")]
            Some(Task { aim: Aim::Make { .. }, .. }) if matches!(self.checkpoints.tamper, Some(Tamper::CallBad)) => {
                let last = first.iter().rfind(|part| part.item.kind == ItemKind::Change);
                last.map(|part| (part.item.log, part.item.seq, part.id)).into_iter().collect()
            }
            _ => Vec::new(),
        };
        let (types, bad) = (self.types.clone(), Vec::new());
        let rebuild = Rebuild {
            task: number,
            context: id,
            document,
            types,
            base,
            parts: first,
            purpose,
            bad,
            said_bad,
            doc: None,
        };
        self.worker.send(Job::Rebuild(Box::new(rebuild)));
    }

    #[cfg(feature = "simulation")]
    pub(super) fn tamper(&mut self, how: Tamper) {
        self.checkpoints.tamper = Some(how);
    }

    pub(super) fn on_rebuilt(
        &mut self,
        context: &mut Context<'_>,
        number: u64,
        rebuilt: Rebuilt,
        bad: Vec<(LogId, u64, EntryId)>,
    ) {
        let Some(task) = self.task(number) else { return };
        task.bad.extend(bad);
        match rebuilt {
            Rebuilt::More(rebuild) => {
                // Behind what others wait for.
                self.worker.send(Job::Rebuild(rebuild));
            }
            Rebuilt::Saved(document, plain) => {
                #[cfg(feature = "simulation")]
                let plain = match &self.checkpoints.tamper {
                    Some(Tamper::Snapshots(tamper)) => tamper(plain),
                    _ => plain,
                };
                let Some(task) = &mut self.checkpoints.current else { return };
                let Aim::Make { plan, written, .. } = &mut task.aim else { return };
                let past = past_of(&task.past, &task.bad);
                match context.node.write_snapshot(context.now, plan.context, document, &plain, &past) {
                    Ok(at) => {
                        written.insert(document, at);
                        self.next_document(context);
                    }
                    Err(error) => self.finish_checkpoint(context, Err(error.into())),
                }
            }
            Rebuilt::Compared(true) => self.next_document(context),
            Rebuilt::Compared(false) => self.refute(context),
            Rebuilt::NotNow(document, reason) => {
                self.finish_checkpoint(context, Err(CheckpointError::NotNow(document, reason)));
            }
        }
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
                let claimed = context.node.claim_checkpoint(context.now, plan, written, bad);
                let outcome = claimed.map(|_| CheckpointOutcome::Claimed).map_err(CheckpointError::from);
                self.finish_checkpoint(context, outcome);
            }
            Aim::Check(check) => {
                let known = |one: &&(LogId, u64, EntryId)| !task.withheld.contains(&(one.0, one.1));
                if !check.bad.iter().filter(known).eq(&bad) {
                    return self.refute(context);
                }
                context.node.attest_checkpoint(context.now, check);
                self.finish_checkpoint(context, Ok(CheckpointOutcome::NothingToDo));
            }
        }
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
            && matches!(outcome, Err(CheckpointError::NotNow(..)))
        {
            context.node.postpone_checkpoint(check);
        }
        if let Aim::Make { plan, answers, .. } = aim {
            #[cfg(feature = "simulation")]
            let _ = self.checkpoints.tamper.take();
            if outcome.is_err() {
                context.node.abandon_checkpoint(plan.context);
            }
            for answer in answers {
                let _ = answer.send(outcome.clone());
            }
        }
        self.next_checkpoint(context);
    }

    /// Snapshots stand for what was pruned: documents whose logs went further than was held are loaded again from them.
    pub(super) fn on_adopted(
        &mut self,
        context: &mut Context<'_>,
        id: ContextId,
        documents: &[DocumentId],
        advanced: bool,
    ) {
        if let Some(state) = self.contexts.get_mut(&id) {
            state.adopted += 1;
            state.since_checkpoint = 0;
        }
        let known: Vec<Name> = self.slots.keys().filter(|(of, _)| *of == id).copied().collect();
        for name in known {
            let slot = self.slots.get(&name);
            let loaded = slot.and_then(|slot| slot.cell.clone());
            match loaded {
                Some(cell) if advanced => {
                    self.start_reload(context, name, true);
                    cell.say_changed(true, false);
                }
                _ => self.load_afresh(context, name),
            }
        }
        if advanced {
            for document in documents {
                self.say(EngineEvent::DocumentChanged { context: id, document: *document });
            }
        }
        self.forget_settled(context, id);
        self.say(EngineEvent::CheckpointAdopted { context: id });
    }

    /// What was set aside and is covered is settled: it is in no document, and nobody holds it any more.
    fn forget_settled(&self, context: &mut Context<'_>, id: ContextId) {
        let base = context.node.checkpoint(&id);
        context.jobs.push(Box::new(move |store| {
            let mut settled: Vec<Key> = Vec::new();
            let found = store.read().and_then(|view| {
                SetAside::each(&*view, &id, None, |arrival, set_aside| {
                    if set_aside.seq <= base.seq(&set_aside.log) {
                        settled.push(Key::SetAside(id, set_aside.document, arrival));
                    }
                })
            });
            Command::Node(Box::new(move |node, _| {
                if found.is_ok() {
                    settled.into_iter().for_each(|key| node.delete_record(key));
                }
            }))
        }));
    }
}

/// Whether some document is not in the claim, though it covers everything that this replica relies on.
fn lacks_documents(check: &CheckpointCheck) -> bool {
    let mut known = check.base.documents();
    check.base.is_covered_by(&check.table) && known.any(|document| !check.table.documents.contains_key(document))
}
