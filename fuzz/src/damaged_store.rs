//! A store's file that is not what was written: cut off, overwritten, with pages in other pages' places. Opening, reading in
//! every order, and committing where the file was checked, gives errors or what was written, never a panic, never something else.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    ops::ControlFlow,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use partita_core::{
    Batch, Bytes, ContextId, DocumentId, Durability, Entry, Key, LogId, Op, Store, StoreError, StoreRead, StoredEntry,
};
use partita_redb::{RedbOptions, RedbStore, StorageBackend};
use partita_testing::samples::{SampleLog, context, document, incarnation, noise};

/// A file in memory.
#[derive(Debug, Clone, Default)]
struct Disk(Arc<Mutex<Vec<u8>>>);

impl Disk {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes();
        let found = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)?.get(..out.len()));
        out.copy_from_slice(found.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        // A disk that is full comes before memory that is.
        let len = usize::try_from(len).ok().filter(|len| *len <= 64 << 20).ok_or(ErrorKind::StorageFull)?;
        self.bytes().resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.bytes();
        let place = usize::try_from(offset).ok().and_then(|offset| bytes.get_mut(offset..)?.get_mut(..data.len()));
        place.ok_or(ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        Ok(())
    }
}

/// What was written, once: nothing in it was ever something else, so older pages show it too.
struct Written {
    file: Vec<u8>,
    entries: BTreeMap<(ContextId, u64), Arc<Entry>>,
    logs: Vec<(ContextId, LogId)>,
    documents: Vec<(ContextId, DocumentId)>,
    records: BTreeMap<Bytes, Bytes>,
    next: Arc<Entry>,
}

fn written() -> &'static Written {
    static WRITTEN: OnceLock<Written> = OnceLock::new();
    WRITTEN.get_or_init(write)
}

fn write() -> Written {
    let disk = Disk::default();
    let Ok(store) = RedbStore::with_backend(disk.clone(), incarnation(1)) else { panic!("memory is not full") };
    let (mut entries, mut records, mut logs) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    let mut open: Vec<SampleLog> =
        [(1, 1, 1), (2, 1, 1), (1, 2, 1)].map(|(seed, number, log)| SampleLog::new(seed, context(number), log)).into();
    for round in 0..12u8 {
        let mut ops = Vec::new();
        for log in &mut open {
            let arrival = entries.range((log.context(), 0)..=(log.context(), u64::MAX)).count() as u64 + 1;
            let length = if round % 5 == 4 { 7_000 } else { 30 };
            let entry = log.change(document(round % 2), noise(u64::from(round), length));
            entries.insert((log.context(), arrival), entry.clone());
            ops.push(Op::Append(StoredEntry { arrival, entry }));
        }
        let (in_context, log) = (open[0].context(), open[0].id());
        let keys = [
            Key::Log(in_context, LogId::from_bytes([round; 16])),
            Key::Snapshot(in_context, document(round)),
            Key::SetAside(in_context, document(round), u64::from(round)),
            Key::Fragment(in_context, LogId::from_bytes([9; 16]), 1, u64::from(round)),
            Key::Quarantine(in_context, log, u64::from(round) + 100),
        ];
        for (number, key) in keys.into_iter().enumerate() {
            let value = noise(number as u64 + 1, if number == 1 { 5_000 } else { 60 });
            records.insert(key.to_bytes(), value.clone());
            ops.push(Op::Put(key, value));
        }
        let Ok(()) = store.commit(&Batch { ops }, Durability::Durable) else { panic!("memory is not full") };
    }
    drop(store);
    logs.extend(open.iter().map(|log| (log.context(), log.id())));
    let documents = [(1, 0), (1, 1), (2, 0), (2, 1)].map(|(number, at)| (context(number), document(at))).into();
    let next = open[0].change(document(0), noise(99, 100));
    let file = disk.bytes().clone();
    Written { file, entries, logs, documents, records, next }
}

/// One input: how to open, then damages of six bytes each.
pub fn run(data: &[u8]) {
    let [how, damages @ ..] = data else { return };
    let written = written();
    let mut file = written.file.clone();
    for damage in damages.as_chunks::<6>().0.iter().take(32) {
        apply(&mut file, damage);
    }
    crate::crdt::quiet();
    let options = RedbOptions::new().cache_bytes(64 << 10).check_on_open(how & 1 == 1);
    let disk = Disk(Arc::new(Mutex::new(file)));
    let Ok(store) = options.open_backend(disk.clone(), incarnation(2)) else { return };
    let before = examine(&store, written, None);
    if how & 1 == 1 {
        // An earlier commit may be current again, but as a whole.
        let Ok(shown) = before else { panic!("the check found nothing, and reading does") };
        assert_eq!(shown[0], shown[1], "the check found nothing, and the logs show other entries than the context");
        assert_eq!(shown[0], shown[2], "the check found nothing, and the documents show other entries");
    }
    if how & 1 == 0 {
        // Neither written to nor ever closed: where damage hit redb's own lists of free pages, its commits panic, and once more
        // while they unwind, which ends the process and which no boundary catches. So memory grows: long runs go in pieces.
        *disk.bytes() = Vec::new();
        static KEPT: Mutex<Vec<RedbStore>> = Mutex::new(Vec::new());
        KEPT.lock().unwrap_or_else(PoisonError::into_inner).push(store);
        return;
    }
    let last = store.read().and_then(|view| view.last_arrival(&context(1)));
    let Ok(arrival) = last.map(|last| last.saturating_add(1)) else { return };
    let op = Op::Append(StoredEntry { arrival, entry: written.next.clone() });
    if store.commit(&Batch { ops: vec![op] }, Durability::Durable).is_ok() {
        drop(examine(&store, written, Some(arrival)));
    }
    drop(store.read().and_then(|view| view.used_bytes()));
    if how & 2 == 2 {
        drop(store.maintain());
        drop(examine(&store, written, Some(arrival)));
    }
}

/// Where, what, how much.
fn apply(file: &mut Vec<u8>, damage: &[u8; 6]) {
    let [what, a, b, c, d, e] = *damage;
    // Half of the damage hits the header and the first pages, where the roots of trees are more likely.
    let whole = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
    let at = if what & 0x80 == 0 { whole } else { whole % 40_960 } % file.len().max(1);
    let end = (at + (usize::from(d) + 1) * if what & 0x40 == 0 { 1 } else { 64 }).min(file.len());
    match what & 7 {
        0..=2 => {
            if let Some(byte) = file.get_mut(at) {
                *byte ^= d.max(1);
            }
        }
        3 => file[at..end].fill(e),
        4 => {
            let noise = noise(u64::from(e), end - at);
            file[at..end].copy_from_slice(&noise);
        }
        5 => {
            // A page in the place of another: all checksums inside are right.
            let (pages, from) = (file.len() / 4096, usize::from(d) << 8 | usize::from(e));
            if pages > 0 {
                let (from, to) = (from % pages * 4096, at / 4096 % pages * 4096);
                file.copy_within(from..from + 4096, to);
            }
        }
        6 => file.truncate(at),
        _ => file.resize((file.len() + whole % 100_000).min(4 << 20), e),
    }
}

type Shown = std::collections::BTreeSet<(ContextId, u64)>;

/// Reads everything: whatever is shown is what was written there.
fn examine(store: &RedbStore, written: &Written, next: Option<u64>) -> Result<[Shown; 3], StoreError> {
    let view = store.read()?;
    let mut shown = [Shown::new(), Shown::new(), Shown::new()];
    let mut failed = None;
    let mut note = |result: Result<(), StoreError>| failed = failed.take().or(result.err());
    for (context, log) in &written.logs {
        note(view.log(context, log, 1, &mut |found| see(&mut shown[0], context, &found, written, next)));
    }
    for context in [context(1), context(2)] {
        note(view.arrivals(&context, 0, &mut |found| see(&mut shown[1], &context, &found, written, next)));
    }
    for (context, document) in &written.documents {
        note(view.document(context, document, 0, &mut |found| see(&mut shown[2], context, &found, written, next)));
    }
    note(records(&*view, written));
    failed.map_or(Ok(shown), Err)
}

fn see(
    shown: &mut Shown,
    context: &ContextId,
    found: &partita_core::EntryRef<'_>,
    written: &Written,
    next: Option<u64>,
) -> ControlFlow<()> {
    // Where damage hid the last arrivals, the new entry was given the place of an old one: then it may be either.
    let next = (Some(found.arrival) == next && *context == written.next.header.context).then_some(&written.next);
    let expected = [written.entries.get(&(*context, found.arrival)), next];
    let same = Entry::from_stored(found.head, found.payload.clone())
        .is_ok_and(|entry| expected.iter().flatten().any(|expected| entry == ***expected));
    assert!(same, "wrong data at arrival {}", found.arrival);
    assert!(shown.insert((*context, found.arrival)), "shown twice");
    ControlFlow::Continue(())
}

fn records(view: &dyn StoreRead, written: &Written) -> Result<(), StoreError> {
    view.scan(&[], &mut |name, value| {
        assert_eq!(written.records.get(name).map(|value| &value[..]), Some(value), "a wrong record");
        ControlFlow::Continue(())
    })?;
    let key = Key::Snapshot(context(1), document(3));
    if let Some(found) = view.get(&key)? {
        assert_eq!(written.records.get(&key.to_bytes()), Some(&found));
    }
    Ok(())
}
