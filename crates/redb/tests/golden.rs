//! The bytes of a store's tables, format 1, as they lie in people's files. When one changes: raise `FORMAT`, open and move over
//! the old format, and keep these for that (`docs/formats.md`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use bytes::Bytes;
use partita_core::{
    Batch, ContextId, DocumentId, Durability, Entry, EntryHeader, EntryId, EntryKind, Hash, Key, LogId, NTP64, Op,
    Store as _, StoredEntry,
};
use partita_redb::RedbStore;
use partita_testing::samples::incarnation;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use tempfile::TempDir;

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const NAMES: TableDefinition<'_, &[u8], &[u8; 8]> = TableDefinition::new("names");
const ENTRIES: TableDefinition<'_, &[u8; 12], &[u8]> = TableDefinition::new("entries");
const LOGS: TableDefinition<'_, &[u8; 12], &[u8; 8]> = TableDefinition::new("logs");
const DOCUMENTS: TableDefinition<'_, &[u8; 12], ()> = TableDefinition::new("documents");
const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");

const GOLDEN: &[&str] = &[
    "meta counters 000000030000000000000000f7642f0e",
    "meta format 0000000000000001",
    "names 010101010101010101010101010101010101010101010101010101010101010101 0000000137e19c91",
    "names 020000000102020202020202020202020202020202 00000002b51d9f97",
    "names 03000000010404040404040404040404040404040404040404040404040404040404040404 00000003b1c06cdf",
    "entries 000000010000000000000009 e72628b100000000020000000000000003000000030000009d000102010101010101010101010101010101010101010101010101010101010101010102020202020202020202020202020202030505050505050505050505050505050505050505050505050505050505050505000000000000000604040404040404040404040404040404040404040404040404040404040404040708080808080808080808080808080808080808080808080808080808080808087061796c6f6164",
    "logs 000000020000000000000003 0000000000000009",
    "documents 000000030000000000000009 ",
    "records 090101010101010101010101010101010101010101010101010101010101010101 e2d542a4007265636f7264",
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_rows_of_format_1_stay_what_they_are() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let header = EntryHeader {
        context: ContextId::from_bytes([1; 32]),
        log: LogId::from_bytes([2; 16]),
        seq: 3,
        backlink: EntryId::from_bytes([5; 32]),
        time: NTP64(6),
        kind: EntryKind::Change(DocumentId::from_bytes([4; 32])),
        start: None,
        stamp: None,
        payload_len: 7,
        payload_hash: Hash::from_bytes([8; 32]),
    };
    let entry = Arc::new(Entry::new(header, Bytes::from_static(b"payload")));
    let ops = vec![
        Op::Append(StoredEntry { arrival: 9, entry }),
        Op::Put(Key::Base(ContextId::from_bytes([1; 32])), Bytes::from_static(b"record")),
    ];
    let store = RedbStore::open(&path, incarnation(1)).unwrap();
    store.commit(&Batch { ops }, Durability::Durable).unwrap();
    drop(store);

    let database = Database::open(&path).unwrap();
    let read = database.begin_read().unwrap();
    let mut found = Vec::new();
    for row in read.open_table(META).unwrap().iter().unwrap() {
        let (key, value) = row.unwrap();
        found.push(format!("meta {} {}", key.value(), hex(value.value())));
    }
    for row in read.open_table(NAMES).unwrap().iter().unwrap() {
        let (key, value) = row.unwrap();
        found.push(format!("names {} {}", hex(key.value()), hex(value.value())));
    }
    for row in read.open_table(ENTRIES).unwrap().iter().unwrap() {
        let (key, value) = row.unwrap();
        found.push(format!("entries {} {}", hex(key.value()), hex(value.value())));
    }
    for row in read.open_table(LOGS).unwrap().iter().unwrap() {
        let (key, value) = row.unwrap();
        found.push(format!("logs {} {}", hex(key.value()), hex(value.value())));
    }
    for row in read.open_table(DOCUMENTS).unwrap().iter().unwrap() {
        found.push(format!("documents {} ", hex(row.unwrap().0.value())));
    }
    for row in read.open_table(RECORDS).unwrap().iter().unwrap() {
        let (key, value) = row.unwrap();
        found.push(format!("records {} {}", hex(key.value()), hex(value.value())));
    }
    assert_eq!(found, GOLDEN, "the layout changed, and stores hold the old one: see the first lines of this file");
}
