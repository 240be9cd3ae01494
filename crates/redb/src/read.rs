//! A consistent view.

use std::{ops::ControlFlow, sync::Arc};

use bytes::Bytes;
use partita_core::{ContextId, DocumentId, EntryRef, Key, LogId, StoreError, StoreRead, VisitEntry};
use redb::{ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTableMetadata};

use crate::{
    error::{Fault, guarded},
    names::Name,
    row::{self, Body},
    store::Handle,
    tables::{DOCUMENTS, ENTRIES, LOGS, META, NAMES, PIECES, Pair, RECORDS, mark_name, pair, place, place_of},
};

/// The front of an entry's row.
pub(crate) struct EntryRow {
    log: u32,
    seq: u64,
    /// The number of its document.
    pub(crate) document: u32,
    head: usize,
}

impl EntryRow {
    const LEN: usize = 20;

    /// Reads the front of a row's body.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Fault> {
        let front = body.split_first_chunk::<{ Self::LEN }>().map(|(front, _)| front);
        let Some([l0, l1, l2, l3, s0, s1, s2, s3, s4, s5, s6, s7, d0, d1, d2, d3, h0, h1, h2, h3]) = front.copied()
        else {
            return Err(Fault::damaged("an entry's row is too short"));
        };
        let row = Self {
            log: u32::from_be_bytes([l0, l1, l2, l3]),
            seq: u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
            document: u32::from_be_bytes([d0, d1, d2, d3]),
            head: u32::from_be_bytes([h0, h1, h2, h3]) as usize,
        };
        if body.len() - Self::LEN < row.head {
            return Err(Fault::damaged("an entry's row is too short"));
        }
        Ok(row)
    }
}

/// What an index says about an entry, which its row must confirm.
enum Expect {
    Log(u32, u64),
    Document(u32),
    Anything,
}

/// A view of everything committed before it was made. Compaction waits for it to be dropped.
pub(crate) struct View {
    names: ReadOnlyTable<&'static [u8], &'static [u8; 8]>,
    entries: ReadOnlyTable<Pair, &'static [u8]>,
    pieces: ReadOnlyTable<Pair, &'static [u8]>,
    transaction: ReadTransaction,
    // Dropped last: the database must not close before its transaction.
    _database: Arc<Handle>,
}

impl View {
    pub(crate) fn new(database: Arc<Handle>) -> Result<Self, Fault> {
        let transaction = database.0.begin_read()?;
        Ok(Self {
            names: transaction.open_table(NAMES)?,
            entries: transaction.open_table(ENTRIES)?,
            pieces: transaction.open_table(PIECES)?,
            transaction,
            _database: database,
        })
    }

    fn context(&self, context: &ContextId) -> Result<Option<u32>, Fault> {
        Name::Context(*context).number(&self.names)
    }

    /// Checks one entry's row and shows it.
    fn show(
        &self,
        key: &[u8; 12],
        row: &[u8],
        expect: Expect,
        visit: VisitEntry<'_>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let (body, entry): (Body<'_>, EntryRow) = guarded(|| {
            let body = row::open(row, key, &self.pieces)?;
            let entry = EntryRow::parse(body.as_slice())?;
            Ok((body, entry))
        })?;
        let confirmed = match expect {
            Expect::Log(log, seq) => (entry.log, entry.seq) == (log, seq),
            Expect::Document(document) => entry.document == document,
            Expect::Anything => true,
        };
        if !confirmed {
            return Err(StoreError::Damaged("an index points at another entry".into()));
        }
        let payload = body.tail(EntryRow::LEN + entry.head);
        let head = &body.as_slice()[EntryRow::LEN..EntryRow::LEN + entry.head];
        Ok(visit(EntryRef { arrival: place(key), head, payload }))
    }

    /// Finds the entry that an index names, and shows it.
    fn show_at(&self, key: &[u8; 12], expect: Expect, visit: VisitEntry<'_>) -> Result<ControlFlow<()>, StoreError> {
        let row = guarded(|| Ok(self.entries.get(key)?))?;
        let row = row.ok_or_else(|| StoreError::Damaged("an index points at no entry".into()))?;
        let row = guarded(|| Ok(row.value()))?;
        self.show(key, row, expect, visit)
    }
}

/// Places must rise: out of order, a search would have missed some.
fn rising(last: &mut u64, next: u64) -> Result<(), Fault> {
    if next <= *last {
        return Err(Fault::damaged("rows are out of order"));
    }
    *last = next;
    Ok(())
}

impl StoreRead for View {
    fn log(&self, context: &ContextId, log: &LogId, from: u64, visit: VisitEntry<'_>) -> Result<(), StoreError> {
        let found = guarded(|| {
            let Some(context) = self.context(context)? else {
                return Ok(None);
            };
            let Some(log) = Name::Log(context, *log).number(&self.names)? else {
                return Ok(None);
            };
            let logs = self.transaction.open_table(LOGS)?;
            let rows = logs.range::<&[u8; 12]>(&pair(log, from)..=&pair(log, u64::MAX))?;
            Ok(Some((context, log, rows)))
        })?;
        let Some((context, log, mut rows)) = found else {
            return Ok(());
        };
        let mut last = None;
        loop {
            let next = guarded(|| {
                let Some((key, arrival)) = rows.next().transpose()? else {
                    return Ok(None);
                };
                let seq = place_of(log, key.value())?;
                if last.is_some_and(|last: u64| last.checked_add(1) != Some(seq)) {
                    return Err(Fault::damaged("a log has a hole"));
                }
                Ok(Some((seq, u64::from_be_bytes(*arrival.value()))))
            })?;
            let Some((seq, arrival)) = next else {
                return Ok(());
            };
            last = Some(seq);
            if self.show_at(&pair(context, arrival), Expect::Log(log, seq), visit)?.is_break() {
                return Ok(());
            }
        }
    }

    fn arrivals(&self, context: &ContextId, after: u64, visit: VisitEntry<'_>) -> Result<(), StoreError> {
        let Some(first) = after.checked_add(1) else {
            return Ok(());
        };
        let found = guarded(|| {
            let Some(context) = self.context(context)? else {
                return Ok(None);
            };
            Ok(Some((context, self.entries.range::<&[u8; 12]>(&pair(context, first)..=&pair(context, u64::MAX))?)))
        })?;
        let Some((context, mut rows)) = found else { return Ok(()) };
        let mut last = after;
        loop {
            let next = guarded(|| {
                let Some((key, row)) = rows.next().transpose()? else {
                    return Ok(None);
                };
                let key = *key.value();
                rising(&mut last, place_of(context, &key)?)?;
                Ok(Some((key, row)))
            })?;
            let Some((key, row)) = next else {
                return Ok(());
            };
            let row = guarded(|| Ok(row.value()))?;
            if self.show(&key, row, Expect::Anything, visit)?.is_break() {
                return Ok(());
            }
        }
    }

    fn document(
        &self,
        context: &ContextId,
        document: &DocumentId,
        after: u64,
        visit: VisitEntry<'_>,
    ) -> Result<(), StoreError> {
        let Some(first) = after.checked_add(1) else {
            return Ok(());
        };
        let found = guarded(|| {
            let Some(context) = self.context(context)? else {
                return Ok(None);
            };
            let Some(document) = Name::Document(context, *document).number(&self.names)? else {
                return Ok(None);
            };
            let documents = self.transaction.open_table(DOCUMENTS)?;
            let rows = documents.range::<&[u8; 12]>(&pair(document, first)..=&pair(document, u64::MAX))?;
            Ok(Some((context, document, rows)))
        })?;
        let Some((context, document, mut rows)) = found else {
            return Ok(());
        };
        let mut last = after;
        loop {
            let next = guarded(|| {
                let Some((key, ())) = rows.next().transpose()?.map(|(key, _)| (key, ())) else {
                    return Ok(None);
                };
                let arrival = place_of(document, key.value())?;
                rising(&mut last, arrival)?;
                Ok(Some(arrival))
            })?;
            let Some(arrival) = next else { return Ok(()) };
            if self.show_at(&pair(context, arrival), Expect::Document(document), visit)?.is_break() {
                return Ok(());
            }
        }
    }

    fn last_arrival(&self, context: &ContextId) -> Result<u64, StoreError> {
        guarded(|| {
            let Some(context) = self.context(context)? else {
                return Ok(0);
            };
            let last = self
                .entries
                .range::<&[u8; 12]>(&pair(context, 0)..=&pair(context, u64::MAX))?
                .next_back()
                .transpose()?;
            let last = last.map_or(Ok(0), |(key, _)| place_of(context, key.value()))?;
            let name = mark_name(context);
            let mark = match self.transaction.open_table(META)?.get(name.as_str())? {
                Some(mark) => u64::from_be_bytes(row::unseal(name.as_bytes(), mark.value())?),
                None => 0,
            };
            Ok(last.max(mark))
        })
    }

    fn get(&self, key: &Key) -> Result<Option<Bytes>, StoreError> {
        guarded(|| {
            let name = key.to_bytes();
            let Some(row) = self.transaction.open_table(RECORDS)?.get(&name[..])? else {
                return Ok(None);
            };
            Ok(Some(row::open(row.value(), &name, &self.pieces)?.tail(0)))
        })
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<(), StoreError> {
        let mut rows = guarded(|| Ok(self.transaction.open_table(RECORDS)?.range(prefix..)?))?;
        loop {
            let next = guarded(|| Ok(rows.next().transpose()?))?;
            let Some((name, row)) = next else {
                return Ok(());
            };
            let (name, body) = guarded(|| {
                let name = name.value();
                if !name.starts_with(prefix) {
                    return Ok((name, None));
                }
                Ok((name, Some(row::open(row.value(), name, &self.pieces)?)))
            })?;
            let Some(body) = body else { return Ok(()) };
            if visit(name, body.as_slice()).is_break() {
                return Ok(());
            }
        }
    }

    fn used_bytes(&self) -> Result<u64, StoreError> {
        // The transaction's own tables, page by page: it takes a while in a large store, but no writer waits for it.
        guarded(|| {
            let stats = [
                self.transaction.open_table(META)?.stats()?,
                self.names.stats()?,
                self.entries.stats()?,
                self.transaction.open_table(LOGS)?.stats()?,
                self.transaction.open_table(DOCUMENTS)?.stats()?,
                self.transaction.open_table(RECORDS)?.stats()?,
                self.pieces.stats()?,
            ];
            Ok(stats.iter().map(|table| table.stored_bytes() + table.metadata_bytes() + table.fragmented_bytes()).sum())
        })
    }
}
