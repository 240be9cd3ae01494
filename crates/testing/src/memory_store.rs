//! A store in memory, for tests and the simulator.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    ops::{Bound, ControlFlow, RangeInclusive},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use partita_core::{
    Batch, ContextId, DocumentId, Durability, Entry, EntryRef, Incarnation, Key, LogId, Op, Store, StoreError,
    StoreRead, StoredEntry, VisitEntry,
};

/// A store in memory.
///
/// It has no file, but it can be reopened as after a clean close, as after a crash, and be copied as a backup is; and
/// its next commit or view can be made to fail. Views cost nothing; a commit while a view is open copies the maps (not the
/// payloads).
#[derive(Debug)]
pub struct MemoryStore {
    disk: Arc<Mutex<Disk>>,
    incarnation: Incarnation,
}

#[derive(Debug, Default, Clone)]
struct Disk {
    now: Arc<State>,
    /// What a crash leaves, while that is less than `now`.
    durable: Option<Arc<State>>,
    fail: Option<StoreError>,
    fail_read: Option<StoreError>,
}

#[derive(Debug, Default, Clone)]
struct State {
    contexts: BTreeMap<ContextId, Context>,
    records: BTreeMap<Bytes, Bytes>,
}

#[derive(Debug, Default, Clone)]
struct Context {
    arrivals: BTreeMap<u64, Arc<Entry>>,
    logs: BTreeMap<(LogId, u64), u64>,
    documents: BTreeMap<(DocumentId, u64), ()>,
    /// The last arrival ever: also when a truncation took it away.
    last: u64,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(incarnation: Incarnation) -> Self {
        Self { disk: Arc::default(), incarnation }
    }

    /// The same store as after a clean close: everything committed is there.
    ///
    /// Nothing stops the old handle from going on. A file would be locked: tests that use both at once test nothing.
    #[must_use]
    pub fn reopen(&self, incarnation: Incarnation) -> Self {
        let mut disk = self.disk();
        disk.durable = None;
        (disk.fail, disk.fail_read) = (None, None);
        Self { disk: self.disk.clone(), incarnation }
    }

    /// The same store as after a power cut: what was not durable is gone.
    #[must_use]
    pub fn crash(&self, incarnation: Incarnation) -> Self {
        let mut disk = self.disk();
        if let Some(durable) = disk.durable.take() {
            disk.now = durable;
        }
        (disk.fail, disk.fail_read) = (None, None);
        Self { disk: self.disk.clone(), incarnation }
    }

    /// A store of its own with what this one holds: a backup that was restored, or a copied file.
    #[must_use]
    pub fn copy(&self, incarnation: Incarnation) -> Self {
        let now = self.disk().now.clone();
        Self { disk: Arc::new(Mutex::new(Disk { now, ..Disk::default() })), incarnation }
    }

    /// Makes the next commit fail with this error. Nothing of its batch is applied.
    pub fn fail_next_commit(&self, error: StoreError) {
        self.disk().fail = Some(error);
    }

    /// Makes the next view fail with this error.
    pub fn fail_next_read(&self, error: StoreError) {
        self.disk().fail_read = Some(error);
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    fn read(&self) -> Result<Box<dyn StoreRead + '_>, StoreError> {
        let mut disk = self.disk();
        disk.fail_read.take().map_or(Ok(()), Err)?;
        Ok(Box::new(View(disk.now.clone())))
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
        let mut disk = self.disk();
        if let Some(error) = disk.fail.take() {
            return Err(error);
        }
        match durability {
            Durability::Durable => disk.durable = None,
            Durability::Eventual if disk.durable.is_none() => disk.durable = Some(disk.now.clone()),
            Durability::Eventual => {}
        }
        let state = Arc::make_mut(&mut disk.now);
        // An error here is the caller's, who gave a place twice: what the store then holds is of no use to anybody.
        batch.ops.iter().try_for_each(|op| state.apply(op))
    }
}

impl State {
    fn apply(&mut self, op: &Op) -> Result<(), StoreError> {
        match op {
            Op::Append(StoredEntry { arrival, entry }) => {
                let header = &entry.header;
                let context = self.contexts.entry(header.context).or_default();
                let taken = context.arrivals.insert(*arrival, entry.clone()).is_some()
                    | context.logs.insert((header.log, header.seq), *arrival).is_some();
                if taken {
                    return Err(StoreError::Damaged("an entry has a place that another one already has".into()));
                }
                if let Some(document) = header.kind.document() {
                    context.documents.insert((document, *arrival), ());
                }
                context.last = context.last.max(*arrival);
                self.forget_fragments(&header.context, &header.log, header.seq..=header.seq);
            }
            Op::Truncate { context, log, from } => self.remove(context, log, *from..=u64::MAX),
            Op::Prune { context, log, through } => self.remove(context, log, 0..=*through),
            Op::Put(key, value) => {
                self.records.insert(key.to_bytes(), value.clone());
            }
            Op::Delete(key) => {
                self.records.remove(&key.to_bytes());
            }
        }
        Ok(())
    }

    fn forget_fragments(&mut self, context: &ContextId, log: &LogId, seqs: RangeInclusive<u64>) {
        let first = Key::Fragment(*context, *log, *seqs.start(), 0).to_bytes();
        let last = Key::Fragment(*context, *log, *seqs.end(), u64::MAX).to_bytes();
        let names: Vec<Bytes> = self.records.range(first..=last).map(|(name, _)| name.clone()).collect();
        for name in names {
            self.records.remove(&name);
        }
    }

    fn remove(&mut self, context: &ContextId, log: &LogId, seqs: RangeInclusive<u64>) {
        self.forget_fragments(context, log, seqs.clone());
        let places = (*log, *seqs.start())..=(*log, *seqs.end());
        let Some(context) = self.contexts.get_mut(context) else {
            return;
        };
        let gone: Vec<_> = context.logs.range(places).map(|(place, arrival)| (*place, *arrival)).collect();
        for (place, arrival) in gone {
            context.logs.remove(&place);
            let entry = context.arrivals.remove(&arrival);
            if let Some(document) = entry.and_then(|entry| entry.header.kind.document()) {
                context.documents.remove(&(document, arrival));
            }
        }
    }

    fn records<'s>(&'s self, prefix: &'s [u8]) -> impl Iterator<Item = (&'s Bytes, &'s Bytes)> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        self.records.range::<[u8], _>(from).take_while(move |(name, _)| name.starts_with(prefix))
    }
}

impl Context {
    /// Shows the entries with these arrivals.
    fn show(&self, arrivals: impl Iterator<Item = u64>, visit: VisitEntry<'_>) -> Result<(), StoreError> {
        for arrival in arrivals {
            let entry = self.arrivals.get(&arrival);
            let entry = entry.ok_or_else(|| StoreError::Damaged("two entries were given one place".into()))?;
            let shown = EntryRef { arrival, head: &entry.head_bytes(), payload: entry.payload.clone() };
            if visit(shown).is_break() {
                break;
            }
        }
        Ok(())
    }
}

struct View(Arc<State>);

impl StoreRead for View {
    fn log(&self, context: &ContextId, log: &LogId, from: u64, visit: VisitEntry<'_>) -> Result<(), StoreError> {
        let Some(context) = self.0.contexts.get(context) else {
            return Ok(());
        };
        context.show(context.logs.range((*log, from)..=(*log, u64::MAX)).map(|(_, arrival)| *arrival), visit)
    }

    fn arrivals(&self, context: &ContextId, after: u64, visit: VisitEntry<'_>) -> Result<(), StoreError> {
        let Some(context) = self.0.contexts.get(context) else {
            return Ok(());
        };
        let range = (Bound::Excluded(after), Bound::Unbounded);
        context.show(context.arrivals.range(range).map(|(arrival, _)| *arrival), visit)
    }

    fn document(
        &self,
        context: &ContextId,
        document: &DocumentId,
        after: u64,
        visit: VisitEntry<'_>,
    ) -> Result<(), StoreError> {
        let Some(context) = self.0.contexts.get(context) else {
            return Ok(());
        };
        let Some(first) = after.checked_add(1) else {
            return Ok(());
        };
        let range = (*document, first)..=(*document, u64::MAX);
        context.show(context.documents.range(range).map(|((_, arrival), ())| *arrival), visit)
    }

    fn last_arrival(&self, context: &ContextId) -> Result<u64, StoreError> {
        Ok(self.0.contexts.get(context).map_or(0, |context| context.last))
    }

    fn get(&self, key: &Key) -> Result<Option<Bytes>, StoreError> {
        Ok(self.0.records.get(&key.to_bytes()).cloned())
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<(), StoreError> {
        for (name, value) in self.0.records(prefix) {
            if visit(name, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn used_bytes(&self) -> Result<u64, StoreError> {
        let entries = self.0.contexts.values().flat_map(|context| context.arrivals.values());
        let entries: usize = entries.map(|entry| entry.size()).sum();
        let records: usize = self.0.records.iter().map(|(name, value)| name.len() + value.len()).sum();
        Ok((entries + records) as u64)
    }
}
