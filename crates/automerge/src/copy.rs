//! What a document shows, written into another one.

use std::collections::VecDeque;

use automerge::marks::{ExpandMark, Mark};
use automerge::transaction::{Transactable, Transaction};
use automerge::{Automerge, AutomergeError, ObjId, ObjType, Prop, ROOT, ReadDoc, ScalarValue, Value};

/// What is not text shows as this character in a text.
const OBJECT: char = '\u{fffc}';

/// Writes what `doc` shows into `tx`. Objects in order of depth, so that nesting costs no stack; of conflicting values
/// the one that wins.
pub(crate) fn into(doc: &Automerge, tx: &mut Transaction<'_>) -> Result<(), AutomergeError> {
    let mut walk = Walk { doc, tx, open: VecDeque::from([(ROOT, ROOT, ObjType::Map)]) };
    while let Some((from, to, kind)) = walk.open.pop_front() {
        match kind {
            ObjType::Map | ObjType::Table => walk.map(&from, &to)?,
            ObjType::List => walk.list(&from, &to)?,
            ObjType::Text => walk.text(&from, &to)?,
        }
    }
    Ok(())
}

struct Walk<'w, 'd> {
    doc: &'w Automerge,
    tx: &'w mut Transaction<'d>,
    /// Objects that are there and empty in the copy, with what belongs into them.
    open: VecDeque<(ObjId, ObjId, ObjType)>,
}

impl Walk<'_, '_> {
    fn map(&mut self, from: &ObjId, to: &ObjId) -> Result<(), AutomergeError> {
        for item in self.doc.map_range(from, ..) {
            let (key, id) = (item.key.to_string(), item.id());
            match item.value.into_value() {
                Value::Object(kind) => {
                    let made = self.tx.put_object(to, key, kind)?;
                    self.open.push_back((id, made, kind));
                }
                Value::Scalar(scalar) => self.tx.put(to, Prop::Map(key), plain(&scalar))?,
            }
        }
        Ok(())
    }

    fn list(&mut self, from: &ObjId, to: &ObjId) -> Result<(), AutomergeError> {
        let mut at = 0;
        let mut run: Vec<ScalarValue> = Vec::new();
        for item in self.doc.list_range(from, ..) {
            let id = item.id();
            match item.value.into_value() {
                Value::Object(kind) => {
                    at = self.values(to, at, &mut run)?;
                    let made = self.tx.insert_object(to, at, kind)?;
                    at += 1;
                    self.open.push_back((id, made, kind));
                }
                Value::Scalar(scalar) => run.push(plain(&scalar)),
            }
        }
        self.values(to, at, &mut run)?;
        Ok(())
    }

    /// Many values at once: each call searches the list.
    fn values(&mut self, to: &ObjId, at: usize, run: &mut Vec<ScalarValue>) -> Result<usize, AutomergeError> {
        let run = std::mem::take(run);
        let end = at + run.len();
        if end > at {
            self.tx.splice(to, at, 0, run)?;
        }
        Ok(end)
    }

    fn text(&mut self, from: &ObjId, to: &ObjId) -> Result<(), AutomergeError> {
        let text = self.doc.text(from)?;
        if text.contains(OBJECT) {
            self.elements(from, to)?;
        } else {
            self.tx.splice_text(to, 0, 0, &text)?;
        }
        let marks = self.doc.marks(from)?;
        if !marks.is_empty() {
            let expand = expansion(self.doc, from, &marks)?;
            for (mark, expand) in marks.into_iter().zip(expand) {
                self.tx.mark(to, mark, expand)?;
            }
        }
        Ok(())
    }

    /// A text with more than characters in it: blocks, other objects, values.
    fn elements(&mut self, from: &ObjId, to: &ObjId) -> Result<(), AutomergeError> {
        let mut run = String::new();
        let mut last = None;
        // The library's iterator over lists gives the ends of marks as if they were values.
        for at in 0..self.doc.length(from) {
            let Some((value, id)) = self.doc.get(from, at)? else { continue };
            if last.replace(id.clone()).is_some_and(|last| last == id) {
                continue; // several characters that were put there as one value
            }
            if let Value::Scalar(scalar) = &value
                && let ScalarValue::Str(piece) = scalar.as_ref()
                && piece.chars().count() == 1
            {
                run.push_str(piece);
                continue;
            }
            self.tx.splice_text(to, self.tx.length(to), 0, &std::mem::take(&mut run))?;
            let end = self.tx.length(to);
            match value {
                Value::Object(kind) => {
                    let made = self.tx.insert_object(to, end, kind)?;
                    self.open.push_back((id, made, kind));
                }
                Value::Scalar(scalar) => self.tx.insert(to, end, plain(scalar.as_ref()))?,
            }
        }
        self.tx.splice_text(to, self.tx.length(to), 0, &run)
    }
}

/// A value without its history: what was added to a counter is in its sum.
fn plain(scalar: &ScalarValue) -> ScalarValue {
    match scalar {
        ScalarValue::Counter(counter) => ScalarValue::counter(i64::from(counter)),
        other => other.clone(),
    }
}

/// Which ends of each mark grow with what is typed there. The library tells nobody; so it is tried, in a draft of the
/// document that is thrown away.
fn expansion(doc: &Automerge, text: &ObjId, marks: &[Mark]) -> Result<Vec<ExpandMark>, AutomergeError> {
    let mut ends: Vec<usize> = marks.iter().flat_map(|mark| [mark.start, mark.end]).collect();
    ends.sort_unstable();
    ends.dedup();
    let mut draft = doc.clone();
    let mut tx = draft.transaction();
    // From the last to the first, so that none moves before its turn.
    for &end in ends.iter().rev() {
        tx.splice_text(text, end, 0, "x")?;
    }
    let grown = tx.marks(text)?; // by name, then from the front
    let grows = |mark: &Mark, end: usize| {
        let typed = end + ends.partition_point(|&other| other < end);
        let after = grown.partition_point(|other| (&other.name, other.start) <= (&mark.name, typed));
        let found = after.checked_sub(1).and_then(|index| grown.get(index));
        found.is_some_and(|found| found.name == mark.name && typed < found.end && found.value == mark.value)
    };
    Ok(marks.iter().map(|mark| ExpandMark::from(grows(mark, mark.start), grows(mark, mark.end))).collect())
}
