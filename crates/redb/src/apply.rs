//! Batches become rows.

use bytes::Bytes;
use partita_core::{
    Batch, ContextId, Durability, Entry, Key, LogId, Op, StoredEntry,
    planted::{Bug, planted},
};
use redb::{Database, ReadableTable, Table, WriteTransaction};

use crate::{
    error::Fault,
    names::{Name, Names},
    row,
    tables::{COUNTERS_NAME, DOCUMENTS, ENTRIES, LOGS, META, NAMES, PIECES, Pair, RECORDS, mark_name, pair, place_of},
};

/// Document number of entries that belong to none.
pub(crate) const NO_DOCUMENT: u32 = 0;

/// What the writer keeps between commits.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    /// Numbers for names.
    pub(crate) names: Names,
    /// The last number that a body in pieces got.
    pub(crate) bodies: u64,
    /// Where rows are built.
    row: Vec<u8>,
}

impl Writer {
    /// Goes on after these counters.
    pub(crate) fn new(names: u32, bodies: u64) -> Self {
        Self { names: Names::new(names), bodies, row: Vec::new() }
    }

    /// The counters, as `meta` keeps them.
    pub(crate) fn counters(&self) -> Vec<u8> {
        let mut content = [0; 12];
        content[..4].copy_from_slice(&self.names.last.to_be_bytes());
        content[4..].copy_from_slice(&self.bodies.to_be_bytes());
        row::seal(COUNTERS_NAME.as_bytes(), content)
    }
}

/// Applies a batch in one transaction.
pub(crate) fn apply(
    database: &Database,
    writer: &mut Writer,
    batch: &Batch,
    durability: Durability,
) -> Result<(), Fault> {
    let mut transaction = database.begin_write()?;
    match durability {
        Durability::Durable if planted(Bug::SyncSkipped) => transaction.set_durability(redb::Durability::None)?,
        Durability::Durable => transaction.set_quick_repair(true),
        Durability::Eventual => transaction.set_durability(redb::Durability::None)?,
    }
    if !batch.ops.is_empty() {
        let before = (writer.names.last, writer.bodies);
        let mut tables = Tables::open(&transaction, writer)?;
        for op in &batch.ops {
            tables.apply(op)?;
        }
        drop(tables);
        if before != (writer.names.last, writer.bodies) {
            transaction.open_table(META)?.insert(COUNTERS_NAME, writer.counters().as_slice())?;
        }
    }
    transaction.commit()?;
    Ok(())
}

/// The tables of one transaction, open until it ends.
struct Tables<'t> {
    meta: Table<'t, &'static str, &'static [u8]>,
    names: Table<'t, &'static [u8], &'static [u8; 8]>,
    entries: Table<'t, Pair, &'static [u8]>,
    logs: Table<'t, Pair, &'static [u8; 8]>,
    documents: Table<'t, Pair, ()>,
    records: Table<'t, &'static [u8], &'static [u8]>,
    pieces: Table<'t, Pair, &'static [u8]>,
    writer: &'t mut Writer,
    /// Whether any entry may have fragments: then each new one is asked for its own. Found out when it matters.
    fragments: Option<bool>,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction, writer: &'t mut Writer) -> Result<Self, Fault> {
        Ok(Self {
            meta: transaction.open_table(META)?,
            names: transaction.open_table(NAMES)?,
            entries: transaction.open_table(ENTRIES)?,
            logs: transaction.open_table(LOGS)?,
            documents: transaction.open_table(DOCUMENTS)?,
            records: transaction.open_table(RECORDS)?,
            pieces: transaction.open_table(PIECES)?,
            writer,
            fragments: None,
        })
    }

    fn apply(&mut self, op: &Op) -> Result<(), Fault> {
        match op {
            Op::Append(stored) => self.append(stored),
            Op::Truncate { context, log, from } => self.remove(context, log, (*from, u64::MAX)),
            Op::Prune { context, log, through } => self.remove(context, log, (0, *through)),
            Op::Put(key, value) => self.put(key, value),
            Op::Delete(key) => self.delete(&key.to_bytes()),
        }
    }

    fn append(&mut self, StoredEntry { arrival, entry }: &StoredEntry) -> Result<(), Fault> {
        let Entry { header, payload, .. } = &**entry;
        let context = self.writer.names.number(Name::Context(header.context), &mut self.names)?;
        let log = self.writer.names.number(Name::Log(context, header.log), &mut self.names)?;
        let document = match header.kind.document() {
            Some(document) => self.writer.names.number(Name::Document(context, document), &mut self.names)?,
            None => NO_DOCUMENT,
        };

        let key = pair(context, *arrival);
        let head = entry.head_bytes();
        let row = &mut self.writer.row;
        row::begin(row);
        row.extend_from_slice(&log.to_be_bytes());
        row.extend_from_slice(&header.seq.to_be_bytes());
        row.extend_from_slice(&document.to_be_bytes());
        row.extend_from_slice(&(head.len() as u32).to_be_bytes());
        row.extend_from_slice(&head);
        row.extend_from_slice(payload);
        row::finish(row, &key, &mut self.pieces, &mut self.writer.bodies)?;

        let known = self.entries.insert(&key, row.as_slice())?.is_some()
            | self.logs.insert(&pair(log, header.seq), &arrival.to_be_bytes())?.is_some();
        if known {
            return Err(Fault::damaged("an entry has a place that another one already has"));
        }
        if document != NO_DOCUMENT {
            self.documents.insert(&pair(document, *arrival), ())?;
        }
        self.forget_fragments(&header.context, &header.log, (header.seq, header.seq))
    }

    /// Removes the fragments of entries with these numbers, the first and the last with them.
    fn forget_fragments(&mut self, context: &ContextId, log: &LogId, (from, to): (u64, u64)) -> Result<(), Fault> {
        if self.fragments.is_none() {
            let all = Key::Fragment(ContextId::default(), LogId::default(), 0, 0).to_bytes().slice(..1);
            let first = self.records.range(&all[..]..)?.next().transpose()?;
            self.fragments = Some(first.is_some_and(|(key, _)| key.value().starts_with(&all)));
        }
        if self.fragments == Some(false) {
            return Ok(());
        }
        let first = Key::Fragment(*context, *log, from, 0).to_bytes();
        let last = Key::Fragment(*context, *log, to, u64::MAX).to_bytes();
        let mut names: Vec<Bytes> = Vec::new();
        for record in self.records.range(&first[..]..=&last[..])? {
            names.push(Bytes::copy_from_slice(record?.0.value()));
        }
        names.iter().try_for_each(|name| self.delete(name))
    }

    /// Removes the entries of a log with these numbers, the first and the last with them.
    fn remove(&mut self, context: &ContextId, log: &LogId, range: (u64, u64)) -> Result<(), Fault> {
        self.forget_fragments(context, log, range)?;
        let Some(context) = Name::Context(*context).number(&self.names)? else {
            return Ok(());
        };
        let Some(log) = Name::Log(context, *log).number(&self.names)? else {
            return Ok(());
        };
        let mut last = None;
        while let Some((seq, arrival)) = self.last_of(log, range)? {
            self.logs.remove(&pair(log, seq))?;
            let key = pair(context, arrival);
            let removed = self.entries.remove(&key)?;
            let removed = removed.ok_or_else(|| Fault::damaged("an entry of a log is missing"))?;
            let document = {
                let body = row::open(removed.value(), &key, &self.pieces)?;
                crate::read::EntryRow::parse(body.as_slice())?.document
            };
            self.documents.remove(&pair(document, arrival))?;
            row::forget(removed.value(), &mut self.pieces)?;
            last = last.max(Some(arrival));
        }
        last.map_or(Ok(()), |last| self.mark(context, last))
    }

    /// The last entry of a log with a number in this range.
    fn last_of(&self, log: u32, (from, to): (u64, u64)) -> Result<Option<(u64, u64)>, Fault> {
        let range = self.logs.range::<&[u8; 12]>(&pair(log, from)..=&pair(log, to))?.next_back().transpose()?;
        let found = range.map(|(key, arrival)| Ok((place_of(log, key.value())?, u64::from_be_bytes(*arrival.value()))));
        found.transpose()
    }

    /// Remembers that arrivals up to this one were used, though they are gone.
    fn mark(&mut self, context: u32, arrival: u64) -> Result<(), Fault> {
        let name = mark_name(context);
        let before = match self.meta.get(name.as_str())? {
            Some(mark) => u64::from_be_bytes(row::unseal(name.as_bytes(), mark.value())?),
            None => 0,
        };
        let mark = row::seal(name.as_bytes(), arrival.max(before).to_be_bytes());
        self.meta.insert(name.as_str(), mark.as_slice())?;
        Ok(())
    }

    fn put(&mut self, key: &Key, value: &[u8]) -> Result<(), Fault> {
        if let Key::Fragment(..) = key {
            self.fragments = Some(true);
        }
        let name = key.to_bytes();
        let row = &mut self.writer.row;
        row::begin(row);
        row.extend_from_slice(value);
        row::finish(row, &name, &mut self.pieces, &mut self.writer.bodies)?;
        if let Some(before) = self.records.insert(&name[..], row.as_slice())? {
            row::forget(before.value(), &mut self.pieces)?;
        }
        Ok(())
    }

    fn delete(&mut self, name: &[u8]) -> Result<(), Fault> {
        if let Some(before) = self.records.remove(name)? {
            row::forget(before.value(), &mut self.pieces)?;
        }
        Ok(())
    }
}
