//! The tables and the forms of their keys.

use redb::TableDefinition;

use crate::error::Fault;

/// A number of 32 bits and one of 64: most tables have such keys. Fixed width saves four bytes of every row.
pub(crate) type Pair = &'static [u8; 12];

pub(crate) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
pub(crate) const NAMES: TableDefinition<'_, &[u8], &[u8; 8]> = TableDefinition::new("names");
pub(crate) const ENTRIES: TableDefinition<'_, Pair, &[u8]> = TableDefinition::new("entries");
pub(crate) const LOGS: TableDefinition<'_, Pair, &[u8; 8]> = TableDefinition::new("logs");
pub(crate) const DOCUMENTS: TableDefinition<'_, Pair, ()> = TableDefinition::new("documents");
pub(crate) const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
pub(crate) const PIECES: TableDefinition<'_, Pair, &[u8]> = TableDefinition::new("pieces");

/// The version of the layout. A change of anything in this crate's front page raises it.
pub(crate) const FORMAT: u64 = 1;
/// In `meta`: the version of the layout, eight bytes big-endian. Every version must be able to read this.
pub(crate) const FORMAT_NAME: &str = "format";
/// In `meta`: how many names and bodies were numbered.
pub(crate) const COUNTERS_NAME: &str = "counters";

/// In `meta`: the last arrival of a context that a truncation took away. Numbers of arrivals are not used twice.
pub(crate) fn mark_name(context: u32) -> String {
    format!("arrival {context:08x}")
}

/// A key: which context, log or document, then the place in it.
pub(crate) fn pair(number: u32, place: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&number.to_be_bytes());
    key[4..].copy_from_slice(&place.to_be_bytes());
    key
}

/// The place in a key.
pub(crate) fn place(key: &[u8; 12]) -> u64 {
    let [_, _, _, _, place @ ..] = *key;
    u64::from_be_bytes(place)
}

/// The place in a key that a search for `number` found. Nothing checks what trees are searched by, so in a damaged file a
/// search can end among the rows of another context, log or document.
pub(crate) fn place_of(number: u32, key: &[u8; 12]) -> Result<u64, Fault> {
    if key[..4] == number.to_be_bytes() {
        Ok(place(key))
    } else {
        Err(Fault::damaged("a row lies among those of another context, log or document"))
    }
}

/// The key of a piece: the body, then the index. A body's number has 64 bits, an index 32.
pub(crate) fn piece(body: u64, index: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&body.to_be_bytes());
    key[8..].copy_from_slice(&index.to_be_bytes());
    key
}
