//! One change.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::legacy::{ElementId, Key, ObjectId, Op, OpId, OpType};
use automerge::{Change, ExpandedChange};
use partita_core::CrdtError;

use super::columns::{self, Budget, MAX_COUNTER};
use super::nesting;
use super::reader::{Checked, Reader};

/// Checks the body of a change before the library parses it. `actor` is the only one that may have written it.
pub(crate) fn check(body: &[u8], actor: Option<&[u8]>, budget: &mut Budget) -> Checked<()> {
    let mut reader = Reader::new(body);
    let deps = reader.count(32)?;
    reader.take(deps * 32)?;
    let author = reader.buffer()?;
    if actor.is_some_and(|actor| actor != author) {
        return Err(CrdtError::ForeignActor);
    }
    let sequence = reader.unsigned()?;
    let start = reader.unsigned()?;
    let time = reader.signed()?;
    if sequence == 0 || start == 0 || sequence > MAX_COUNTER || start > MAX_COUNTER || time.unsigned_abs() > 1 << 53 {
        return Err(CrdtError::Malformed("number out of range"));
    }
    std::str::from_utf8(reader.buffer()?).map_err(|_| CrdtError::Malformed("invalid UTF-8"))?;
    let others = reader.count(1)?;
    for _ in 0..others {
        reader.buffer()?;
    }
    let layout = columns::layout(&mut reader)?;
    // What follows the columns is for the application.
    columns::data(&mut reader, &layout, others as u64 + 1, false, budget)
}

/// Parses a chunk whose body was checked, and refuses what the library could not write out again: it keeps operations
/// and not bytes, so such a change would get another hash, and the document could be saved but never loaded.
pub(crate) fn parse_strictly(bytes: &[u8], checksum: [u8; 4], depth: usize) -> Checked<Change> {
    let change = parse(bytes, checksum)?;
    let attempt = catch_unwind(AssertUnwindSafe(|| {
        let expanded = change.decode();
        plausible(&expanded, depth)?;
        Ok(Change::from(expanded))
    }));
    match attempt {
        Ok(Ok(again)) if again.raw_bytes() == change.raw_bytes() => Ok(change),
        Ok(Err(error)) => Err(error),
        Ok(Ok(_)) | Err(_) => Err(CrdtError::Malformed("not the encoding that the library writes")),
    }
}

/// Parses a chunk that holds one change.
pub(crate) fn parse(bytes: &[u8], checksum: [u8; 4]) -> Checked<Change> {
    let parsed = catch_unwind(|| Change::from_bytes(bytes.to_vec()));
    match parsed {
        Ok(Ok(change)) if change.hash().0[..4] == checksum => Ok(change),
        Ok(Ok(_)) => Err(CrdtError::Malformed("wrong checksum")),
        Ok(Err(_)) | Err(_) => Err(CrdtError::Malformed("unreadable to the library")),
    }
}

/// What the library writes, and panics at later when it is otherwise.
fn plausible(change: &ExpandedChange, depth: usize) -> Checked<()> {
    let deps: HashSet<_> = change.deps.iter().collect();
    if deps.len() < change.deps.len() {
        return Err(CrdtError::Malformed("the same dependency twice"));
    }
    if change.author.is_some() && change.seq != 1 {
        return Err(CrdtError::Malformed("author after the first change"));
    }
    let start = change.start_op.get();
    if start + change.operations.len() as u64 > MAX_COUNTER {
        return Err(CrdtError::Malformed("number out of range"));
    }
    let mut previous: Option<&Op> = None;
    for (counter, op) in (start..).zip(&change.operations) {
        // Only what was there before: the operation's own change up to it, and other actors' up to its change.
        let earlier = |id: &OpId| id.0 > 0 && id.0 < if id.1 == change.actor_id { counter } else { start };
        if !operation(op, earlier) {
            return Err(CrdtError::Malformed("impossible operation"));
        }
        // The library takes the operation before the end of a mark for its beginning, and loads no document in which it is not.
        let begins = |before: &Op| matches!(before.action, OpType::MarkBegin(_)) && before.obj == op.obj;
        if matches!(op.action, OpType::MarkEnd(_)) && !previous.is_some_and(begins) {
            return Err(CrdtError::Malformed("end of a mark without its beginning"));
        }
        previous = Some(op);
    }
    if nesting::within(change) > depth { Err(CrdtError::TooLarge("nesting")) } else { Ok(()) }
}

fn operation(op: &Op, earlier: impl Fn(&OpId) -> bool) -> bool {
    let object = match &op.obj {
        ObjectId::Root => true,
        ObjectId::Id(id) => earlier(id),
    };
    let (key, sequence) = match &op.key {
        Key::Map(_) => (!op.insert, false),
        Key::Seq(ElementId::Head) => (op.insert, true),
        Key::Seq(ElementId::Id(id)) => (earlier(id), true),
    };
    // Preds are sorted, so equal ones are neighbours.
    let mut previous = None;
    let preds = op.pred.iter().all(|id| earlier(id) && previous.replace(id) != Some(id));
    let shape = match op.action {
        OpType::Delete | OpType::Increment(_) => !op.insert && !op.pred.is_empty(),
        OpType::MarkBegin(_) | OpType::MarkEnd(_) => op.insert && sequence && op.pred.is_empty(),
        OpType::Make(_) | OpType::Put(_) => !op.insert || op.pred.is_empty(),
    };
    object && key && preds && shape
}
