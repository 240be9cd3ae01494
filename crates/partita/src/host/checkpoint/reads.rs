//! What a checkpoint is made of or compared with, as the store's thread reads it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::Arc,
};

use partita_core::{ContextId, Covered, DocumentId, Entry, LogId, LogSort, Store, StoreError, Tip};
use partita_protocol::{CheckpointBase, reads};

use super::super::Name;

/// Which documents a checkpoint concerns; `None` when what is claimed of a log is not what is held.
pub(crate) type Survey = Option<BTreeSet<DocumentId>>;

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
