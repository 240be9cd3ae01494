//! A disk in memory that can fill up, lose what was not synced, and be damaged; and what is written to it.
#![allow(dead_code)]

use std::{
    io::{self, ErrorKind},
    ops::ControlFlow,
    sync::{Arc, Mutex, MutexGuard},
};

use partita_core::{Batch, Durability, Entry, Op, Store, StoreError, StoredEntry};
use partita_redb::StorageBackend;
use partita_testing::samples::{SampleLog, context, document, noise};

#[derive(Debug, Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    /// What a power cut leaves.
    pub(crate) synced: Vec<u8>,
    /// Writes since then, which a power cut may keep or lose one by one.
    pub(crate) unsynced: Vec<(usize, Vec<u8>)>,
    /// The disk holds no more than this many bytes.
    pub(crate) room: Option<usize>,
    /// This many syncs work, then they fail.
    pub(crate) syncs: Option<usize>,
}

impl Disk {
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        let disk = Self::default();
        disk.content().synced.clone_from(&bytes);
        disk.content().bytes = bytes;
        disk
    }

    pub(crate) fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap()
    }

    /// The disk after a power cut: of what was not synced, only the writes that `keep` names arrived.
    pub(crate) fn after_power_cut(&self, mut keep: impl FnMut(usize) -> bool) -> Self {
        let content = self.content();
        let mut bytes = content.synced.clone();
        for (number, (offset, data)) in content.unsynced.iter().enumerate() {
            if keep(number) {
                bytes.resize(bytes.len().max(offset + data.len()), 0);
                bytes[*offset..offset + data.len()].copy_from_slice(data);
            }
        }
        Self::of(bytes)
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.content().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let content = self.content();
        let from = content.bytes.get(offset as usize..).and_then(|rest| rest.get(..out.len()));
        out.copy_from_slice(from.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut content = self.content();
        if content.room.is_some_and(|room| len as usize > room.max(content.bytes.len())) {
            return Err(ErrorKind::StorageFull.into());
        }
        content.bytes.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut content = self.content();
        match &mut content.syncs {
            Some(0) => return Err(ErrorKind::Other.into()),
            Some(left) => *left -= 1,
            None => {}
        }
        let bytes = content.bytes.clone();
        content.synced = bytes;
        content.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut content = self.content();
        let offset = offset as usize;
        content.bytes[offset..offset + data.len()].copy_from_slice(data);
        content.unsynced.push((offset, data.to_vec()));
        Ok(())
    }
}

/// Entries of one log and one document, with payloads of many sizes.
pub(crate) fn entries(count: u64) -> Vec<Arc<Entry>> {
    let mut log = SampleLog::new(1, context(1), 1);
    (0..count).map(|number| log.change(document(1), noise(number, if number % 10 == 9 { 7000 } else { 200 }))).collect()
}

pub(crate) fn append(
    store: &dyn Store,
    arrivals: std::ops::Range<u64>,
    entries: &[Arc<Entry>],
) -> Result<(), StoreError> {
    let op = |arrival| Op::Append(StoredEntry { arrival, entry: entries[arrival as usize - 1].clone() });
    store.commit(&Batch { ops: arrivals.map(op).collect() }, Durability::Durable)
}

/// Reads everything in the three orders. Whatever is shown must be what was written there; how many each order shows.
pub(crate) fn verified(store: &dyn Store, entries: &[Arc<Entry>]) -> Result<[usize; 3], StoreError> {
    let view = store.read()?;
    let mut counts = [0; 3];
    let mut verify = |order: usize, arrival: u64, head: &[u8], payload: bytes::Bytes| {
        counts[order] += 1;
        let found = Entry::from_stored(head, payload).unwrap();
        assert!(found == *entries[arrival as usize - 1], "wrong data at arrival {arrival}");
        ControlFlow::Continue(())
    };
    let log = entries[0].header.log;
    view.log(&context(1), &log, 1, &mut |entry| verify(0, entry.arrival, entry.head, entry.payload))?;
    view.arrivals(&context(1), 0, &mut |entry| verify(1, entry.arrival, entry.head, entry.payload))?;
    view.document(&context(1), &document(1), 0, &mut |entry| verify(2, entry.arrival, entry.head, entry.payload))?;
    Ok(counts)
}
