//! One document of a checkpoint after the other: read, opened as far as this replica may read it, made again, and saved or
//! compared.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use partita_core::{
    Bytes, ContextId, DocumentId, Entry, EntryId, EpochId, LogId, StoreError,
    planted::{Bug, planted},
};
use partita_protocol::{Arrival, CheckpointCheck};

#[cfg(feature = "simulation")]
use super::Tamper;
use super::{
    super::{Context, EngineHost, Name, commands::Command, load::Openers, records::Reason},
    Aim, Task,
    reads::{Collected, collect},
};
use crate::{
    error::CheckpointError,
    rebuild::{Part, Partial, Purpose, Rebuild, Rebuilt},
    worker::{ItemKind, Job},
};

/// An entry: its log, its number, its id.
pub(super) type Place = (LogId, u64, EntryId);

/// The epochs under which a document was written, each with the entry, or without one where it is a snapshot's.
pub(super) type Past = Vec<(Option<Place>, EpochId)>;

/// The epochs without those of entries whose bytes are bad: these are in no snapshot, and anybody can name any epoch.
fn past_of(past: &Past, bad: &[Place]) -> BTreeSet<EpochId> {
    let counts = past.iter().filter(|(place, _)| place.is_none_or(|place| !bad.contains(&place)));
    counts.map(|(_, epoch)| *epoch).collect()
}

/// What a document is made from, and what is claimed to be its snapshot, each with its author and epoch.
struct Found {
    base: Vec<Arrival>,
    entries: Vec<(EntryId, Arrival)>,
    claimed: Option<Arrival>,
}

impl Found {
    fn of(context: &Context<'_>, id: &ContextId, collected: Collected) -> Self {
        let arrival = |(at, entry): (u64, Arc<Entry>)| Some((entry.id, context.node.arrival(id, at, entry)?));
        Self {
            base: collected.base.into_iter().filter_map(arrival).map(|(_, arrival)| arrival).collect(),
            entries: collected.entries.into_iter().filter_map(arrival).collect(),
            claimed: collected.claimed.and_then(arrival).map(|(_, claimed)| claimed),
        }
    }

    fn past(&self) -> Past {
        let of_base = self.base.iter().filter_map(|arrival| Some((None, arrival.epoch?)));
        let of_entries = self.entries.iter().filter_map(|(id, arrival)| {
            let header = &arrival.entry.header;
            Some((Some((header.log, header.seq, *id)), arrival.epoch?))
        });
        of_base.chain(of_entries).collect()
    }
}

/// The same, opened as far as this replica may read it.
struct Plain {
    base: Result<Vec<Bytes>, Reason>,
    parts: Vec<Part>,
    claimed: Result<Option<Bytes>, Reason>,
}

impl Plain {
    /// Whether the document cannot be made, since this replica may not read all that it is made from.
    fn is_withheld(&self) -> bool {
        is_withheld(self.base.as_ref().err())
            || self.parts.iter().any(|part| is_withheld(part.item.payload.as_ref().err()))
    }

    fn claim_is_withheld(&self) -> bool {
        is_withheld(self.claimed.as_ref().err())
    }

    /// Whether the document is here from its beginning on.
    fn began_here(&self) -> bool {
        self.base.as_ref().is_ok_and(|base| !base.is_empty()) || self.parts.iter().any(is_create)
    }
}

/// What need not be the same, where not all that is claimed is here.
fn partial(check: &CheckpointCheck) -> Option<Partial> {
    check.partial.then(|| Partial { lacking: check.lacking(), beyond: check.beyond() })
}

fn is_withheld(reason: Option<&Reason>) -> bool {
    reason == Some(&Reason::Withheld)
}

fn is_create(part: &Part) -> bool {
    matches!(part.item.kind, ItemKind::Create(_))
}

impl Task {
    /// Whether what is claimed to be the current document's snapshot goes to those who may read what it stands for. Where not
    /// all of that is here, others say so.
    fn is_for_its_readers(&self, context: &Context<'_>, claimed: Option<&Arrival>) -> bool {
        let Aim::Check(check) = &self.aim else { return true };
        let past = past_of(&self.past, &check.bad);
        check.partial || claimed.is_some_and(|claimed| context.node.is_for_same_readers(check, claimed.epoch, &past))
    }

    /// Leaves entries that are said to be bad to those who may read them.
    fn leave_said_bad(&mut self, plain: &mut Plain) {
        let Aim::Check(check) = &self.aim else { return };
        let is_left = |part: &mut Part| {
            let said = check.bad.contains(&(part.item.log, part.item.seq, part.id));
            said && is_withheld(part.item.payload.as_ref().err())
        };
        self.withheld.extend(plain.parts.extract_if(.., is_left).map(|part| (part.item.log, part.item.seq)));
    }
}

impl EngineHost {
    /// Reads what the next document is made from; ends the task after the last one.
    pub(super) fn next_document(&mut self, context: &mut Context<'_>) {
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

    pub(in crate::host) fn on_collected(
        &mut self,
        context: &mut Context<'_>,
        number: u64,
        document: DocumentId,
        result: Result<Collected, StoreError>,
    ) {
        let Some(task) = self.task(number) else { return };
        let collected = match result {
            Ok(collected) => collected,
            Err(error) => return self.finish_checkpoint(context, Err(error.into())),
        };
        if task.aim.is_partial() && collected.base.is_empty() && collected.entries.is_empty() {
            return self.next_document(context); // nothing is known of it that could be missing
        }
        let id = task.aim.context();
        let found = Found::of(context, &id, collected);
        task.past = found.past();
        if !task.is_for_its_readers(context, found.claimed.as_ref()) {
            return self.refute(context);
        }
        let mut plain = self.open_found(context, (id, document), found);
        let Some(task) = self.task(number) else { return };
        task.leave_said_bad(&mut plain);
        if plain.is_withheld() || plain.claim_is_withheld() {
            return self.on_withheld(context, document, &plain);
        }
        match (plain.base, plain.claimed) {
            (Ok(base), Ok(claimed)) => self.rebuild(document, base, plain.parts, claimed),
            (Err(reason), _) | (_, Err(reason)) => {
                self.finish_checkpoint(context, Err(CheckpointError::NotNow(document, reason)));
            }
        }
    }

    fn open_found(&self, context: &Context<'_>, name: Name, found: Found) -> Plain {
        let mut openers = Openers::default();
        let part =
            |(id, arrival): (EntryId, Arrival)| Part { item: self.item(context, name, &arrival, &mut openers), id };
        let parts = found.entries.into_iter().map(part).collect();
        let mut open = |arrival: &Arrival| self.item(context, name, arrival, &mut openers).plain();
        let base = found.base.iter().map(&mut open).collect();
        Plain { base, parts, claimed: found.claimed.as_ref().map(open).transpose() }
    }

    /// Something of the current document is not for this replica.
    fn on_withheld(&mut self, context: &mut Context<'_>, document: DocumentId, plain: &Plain) {
        let Some(task) = &mut self.checkpoints.current else { return };
        match &task.aim {
            Aim::Make { .. } => {
                let withheld = CheckpointError::NotNow(document, Reason::Withheld);
                return self.finish_checkpoint(context, Err(withheld));
            }
            // What this replica has read from its beginning on is taken from it.
            Aim::Check(check) if check.partial && plain.began_here() && !plain.is_withheld() => {
                return self.refute(context);
            }
            // Those who may read it say whether it holds.
            Aim::Check(_) => task.withheld.extend(plain.parts.iter().map(|part| (part.item.log, part.item.seq))),
        }
        self.next_document(context);
    }

    /// Has the worker make the current document again.
    fn rebuild(&mut self, document: DocumentId, base: Vec<Bytes>, parts: Vec<Part>, claimed: Option<Bytes>) {
        let Some(task) = &self.checkpoints.current else { return };
        let (mut first, mut rest): (VecDeque<Part>, VecDeque<Part>) = parts.into_iter().partition(is_create);
        first.append(&mut rest);
        let purpose = match &task.aim {
            Aim::Make { .. } => Purpose::Save,
            Aim::Check(check) => Purpose::Compare { claimed, partial: partial(check) },
        };
        let said_bad = match &task.aim {
            Aim::Check(check) if planted(Bug::BadUnchecked) => check.bad.clone(),
            #[cfg(feature = "simulation")]
            Aim::Make { .. } if matches!(self.checkpoints.tamper, Some(Tamper::CallBad)) => {
                let last = first.iter().rfind(|part| part.item.kind == ItemKind::Change);
                last.map(|part| (part.item.log, part.item.seq, part.id)).into_iter().collect()
            }
            _ => Vec::new(),
        };
        self.worker.send(Job::Rebuild(Box::new(Rebuild {
            task: task.number,
            context: task.aim.context(),
            document,
            types: self.types.clone(),
            base,
            parts: first,
            purpose,
            bad: Vec::new(),
            said_bad,
            uncreated: BTreeSet::new(),
            doc: None,
        })));
    }

    pub(in crate::host) fn on_rebuilt(
        &mut self,
        context: &mut Context<'_>,
        number: u64,
        rebuilt: Rebuilt,
        bad: Vec<Place>,
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
}
