//! A whole saved document, as an import or a snapshot.

use partita_core::CrdtError;

use super::columns::{self, Budget};
use super::reader::{Checked, Reader};

/// Checks that the library can take the document without exceeding the limits.
pub(crate) fn check(body: &[u8], budget: &mut Budget) -> Checked<()> {
    let mut reader = Reader::new(body);
    let actors = reader.count(1)?;
    for _ in 0..actors {
        reader.buffer()?;
    }
    let heads = reader.count(32)?;
    reader.take(heads * 32)?;
    let changes = columns::layout(&mut reader)?;
    let operations = columns::layout(&mut reader)?;
    columns::data(&mut reader, &changes, actors as u64, true, budget)?;
    columns::data(&mut reader, &operations, actors as u64, false, budget)?;
    // Where the heads are among the changes; old documents lack it.
    if !reader.is_empty() {
        for _ in 0..heads {
            reader.unsigned()?;
        }
    }
    if reader.is_empty() { Ok(()) } else { Err(CrdtError::Malformed("trailing bytes")) }
}
