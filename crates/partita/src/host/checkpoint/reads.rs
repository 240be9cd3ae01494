//! What a checkpoint is made of or compared with, as the store's thread reads it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::Arc,
};

use partita_core::{
    ContextId, Covered, DocumentId, Entry, EntryKind, LogId, LogSort, SignedTip, SnapshotAt, Store, StoreError,
    StoreRead, Tip,
};
use partita_protocol::{CheckpointBase, CheckpointPlan, reads};

use super::super::Name;

/// Which documents a checkpoint concerns.
pub(crate) enum Survey {
    /// These.
    Documents(BTreeSet<DocumentId>),
    /// These, where it covers no more than this: more has no room in a claim.
    Narrowed(BTreeSet<DocumentId>, BTreeMap<LogId, Covered>),
    /// What is claimed of a log is not what is held.
    Differs,
}

/// What a document is made from.
pub(crate) struct Collected {
    pub(super) base: Vec<(u64, Arc<Entry>)>,
    pub(super) entries: Vec<(u64, Arc<Entry>)>,
    pub(super) claimed: Option<(u64, Arc<Entry>)>,
}

pub(super) fn survey(
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
            return Ok(Survey::Differs);
        }
        let mut differs = false;
        reads::log_entries(&*view, &context, log, *from, |_, entry| {
            if entry.header.seq > *to {
                return ControlFlow::Break(());
            }
            // The author's signature is over the entry, which says its number: a claim can name another one.
            differs |= covered.is_some_and(|at| at.last.tip.head == entry.id && at.seq() != entry.header.seq);
            documents.extend(entry.header.kind.document());
            ControlFlow::Continue(())
        })?;
        if differs {
            return Ok(Survey::Differs);
        }
    }
    Ok(Survey::Documents(documents))
}

/// The same for a checkpoint that is to be made. If its claim would have no room for all, it covers what came first: up to an
/// arrival at which every log was at a signature, since a log is covered up to one, and what creates each document was here; which
/// may never come.
pub(super) fn survey_plan(
    store: &dyn Store,
    plan: &CheckpointPlan,
    ranges: &BTreeMap<LogId, (u64, u64)>,
) -> Result<Survey, StoreError> {
    let CheckpointPlan { context, base, cover, room, per_entry, .. } = plan;
    let Survey::Documents(all) = survey(store, *context, ranges, base, None)? else { return Ok(Survey::Differs) };
    let sizes: BTreeMap<&LogId, usize> = cover.iter().map(|(log, covered)| (log, covered.encoded_len())).collect();
    let entries: u64 = ranges.values().map(|(from, to)| to - from + 1).sum();
    let entries = usize::try_from(entries).unwrap_or(usize::MAX).saturating_mul(*per_entry);
    let whole = all.len() * SnapshotAt::ENCODED + sizes.values().sum::<usize>();
    if whole.saturating_add(entries) <= *room {
        return Ok(Survey::Documents(all));
    }
    let view = store.read()?;
    match last_cut(&*view, plan, ranges, &sizes)? {
        Some(cut) => covered_up_to(&*view, plan, ranges, cut),
        None => Ok(Survey::Documents(all)),
    }
}

fn is_to_cover(ranges: &BTreeMap<LogId, (u64, u64)>, entry: &Entry) -> bool {
    ranges.get(&entry.header.log).is_some_and(|(from, to)| (*from..=*to).contains(&entry.header.seq))
}

/// The last arrival up to which there is room, and one can cover: the last at which each document was created, if there is one. The
/// first one in any case.
fn last_cut(
    view: &dyn StoreRead,
    plan: &CheckpointPlan,
    ranges: &BTreeMap<LogId, (u64, u64)>,
    sizes: &BTreeMap<&LogId, usize>,
) -> Result<Option<u64>, StoreError> {
    let (mut taken, mut cut, mut uncreated_cut) = (0, None, None);
    let (mut documents, mut logs) = (BTreeSet::new(), BTreeSet::new());
    let (mut unsigned, mut uncreated) = (BTreeSet::new(), BTreeSet::new());
    reads::arrivals(view, &plan.context, 0, |arrival, entry| {
        if !is_to_cover(ranges, &entry) {
            return ControlFlow::Continue(());
        }
        let log = entry.header.log;
        if logs.insert(log) {
            taken += sizes.get(&log).copied().unwrap_or_default();
        }
        taken += plan.per_entry;
        if let Some(document) = entry.header.kind.document() {
            let is_create = matches!(entry.header.kind, EntryKind::Create(_));
            if documents.insert(document) {
                taken += SnapshotAt::ENCODED;
                if !is_create && plan.base.snapshots(&document).is_empty() {
                    uncreated.insert(document);
                }
            }
            if is_create {
                uncreated.remove(&document);
            }
        }
        if taken > plan.room && uncreated_cut.is_some() {
            return ControlFlow::Break(());
        }
        if entry.signature.is_some() {
            unsigned.remove(&log)
        } else {
            unsigned.insert(log)
        };
        if unsigned.is_empty() {
            uncreated_cut = Some(arrival);
            if uncreated.is_empty() {
                cut = Some(arrival);
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(cut.or(uncreated_cut))
}

fn covered_up_to(
    view: &dyn StoreRead,
    plan: &CheckpointPlan,
    ranges: &BTreeMap<LogId, (u64, u64)>,
    cut: u64,
) -> Result<Survey, StoreError> {
    let (mut documents, mut tips) = (BTreeSet::new(), BTreeMap::new());
    reads::arrivals(view, &plan.context, 0, |arrival, entry| {
        if arrival > cut {
            return ControlFlow::Break(());
        }
        if is_to_cover(ranges, &entry) {
            documents.extend(entry.header.kind.document());
            let tip = Tip { log: entry.header.log, seq: entry.header.seq, head: entry.id };
            tips.extend(entry.signature.map(|signature| (tip.log, SignedTip { tip, signature })));
        }
        ControlFlow::Continue(())
    })?;
    let mut cover = BTreeMap::new();
    for (log, tip) in tips {
        let covered = reads::covered_at(view, &plan.context, tip, plan.base.logs().get(&log))?;
        cover.extend(covered.map(|covered| (log, covered)));
    }
    Ok(Survey::Narrowed(documents, cover))
}

pub(super) fn collect(
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
