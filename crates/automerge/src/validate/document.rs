//! A whole saved document, as an import or a snapshot.

use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::Automerge;
use partita_core::CrdtError;

use super::columns::{self, Budget, Layout, MAX_COUNTER};
use super::reader::{Checked, Reader};
use super::{chunk, nesting};
use crate::deep::with_stack_for;

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

/// Checks a document that comes from outside once the library has loaded it: what it shows is what its changes make, none of
/// them nests deeper than `depth`, and others can go on behind it.
pub(crate) fn within(doc: &Automerge, depth: usize) -> Checked<()> {
    let changes = doc.get_changes(&[]);
    if changes.iter().any(|change| change.max_op() >= MAX_COUNTER) {
        return Err(CrdtError::Malformed("number out of range"));
    }
    let nests = || changes.iter().any(|change| nesting::within(&change.decode()) > depth);
    match catch_unwind(AssertUnwindSafe(nests)) {
        Ok(false) if is_made_of_its_changes(doc) => Ok(()),
        Ok(true) => Err(CrdtError::TooLarge("nesting")),
        Ok(false) | Err(_) => Err(CrdtError::Malformed("a document that is not what its changes make")),
    }
}

/// Whether a document's operations are those of its changes, and no others.
///
/// A saved document has both, and the library believes it where they differ: an operation that is in no change, or the mark that
/// one was overwritten, is shown, and never given back. Heads do not tell, since they are hashes of changes.
pub(crate) fn is_made_of_its_changes(doc: &Automerge) -> bool {
    let changes = doc.get_changes(&[]);
    let count = changes.len() as u64;
    let made = || {
        let mut made = Automerge::new().with_actor(doc.get_actor().clone());
        made.apply_changes(changes).ok()?;
        // The order of changes beside each other depends on how they came; that of operations does not.
        let (made, doc) = (made.save_nocompress(), doc.save_nocompress());
        Some(operations(&made).ok()? == operations(&doc).ok()?)
    };
    with_stack_for(count, || catch_unwind(AssertUnwindSafe(made))).ok().flatten().unwrap_or(false)
}

/// The operations of a saved document.
#[derive(PartialEq)]
struct Operations<'s> {
    actors: Vec<&'s [u8]>,
    layout: Layout,
    columns: &'s [u8],
}

/// The operations of a saved document that is not compressed.
fn operations(saved: &[u8]) -> Checked<Operations<'_>> {
    let chunks = chunk::split(saved)?;
    let mut reader = Reader::new(chunks.first().map_or(&[], |chunk| chunk.body));
    let actors = (0..reader.count(1)?).map(|_| reader.buffer()).collect::<Checked<_>>()?;
    let heads = reader.count(32)?;
    reader.take(heads * 32)?;
    let changes = columns::layout(&mut reader)?;
    let layout = columns::layout(&mut reader)?;
    let length = |layout: &Layout| layout.iter().map(|(_, length)| length).sum();
    reader.take(length(&changes))?;
    let columns = reader.take(length(&layout))?;
    Ok(Operations { actors, layout, columns })
}
