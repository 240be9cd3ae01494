//! What is written to a store, and whether it is there.
#![allow(dead_code)]

use std::{ops::ControlFlow, sync::Arc};

use partita_core::{Batch, Durability, Entry, Op, Store, StoreError, StoredEntry};
use partita_testing::samples::{SampleLog, context, document, noise};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;

pub(crate) fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
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
