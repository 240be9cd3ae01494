//! Automerge types at an older version by itself.

use automerge::{
    AutomergeError, ChangeHash, ObjId, ObjType, ROOT, ReadDoc as _,
    transaction::{Transactable, Transaction},
};
use partita::{Document, automerge::Automerge};

use super::script::{Script, Seen, Slip, TEXT};
use crate::trace::{Patch, Place};

/// Automerge counts scalar values, as traces do.
pub(crate) struct Pen {
    text: ObjId,
}

/// The version that a transaction made.
pub(crate) type Mark = Vec<ChangeHash>;

impl Script for Automerge {
    const NAME: &'static str = "automerge";

    type Pen = Pen;
    type Mark = Mark;
    type Version = Vec<ChangeHash>;

    fn begin(doc: &Document<Self>, start: &str) -> Result<Mark, Slip> {
        let put = |tx: &mut Transaction<'_>| {
            let text = tx.put_object(ROOT, TEXT, ObjType::Text)?;
            tx.splice_text(&text, 0, 0, start)
        };
        let _ = doc.change(put).map_err(Slip::refused)?.into_value();
        doc.try_read(|doc| doc.get_heads()).map_err(Slip::refused)
    }

    fn pen(doc: &Document<Self>, _: &Mark) -> Result<Pen, Slip> {
        let text = doc.try_read(text).map_err(Slip::refused)?;
        Ok(Pen { text: text.ok_or_else(|| Slip::refused("the text is not in the document"))? })
    }

    fn append(pen: &mut Pen, doc: &Document<Self>, patches: &[Patch]) -> Result<(), Slip> {
        let typed = doc.change(|tx| splice(tx, &pen.text, patches));
        typed.map(|commit| commit.into_value()).map_err(Slip::refused)
    }

    fn insert(
        pen: &mut Pen,
        doc: &Document<Self>,
        seen: Seen<'_, Mark>,
        patches: &[Patch],
        mark: impl FnOnce(Mark),
    ) -> Result<(), Slip> {
        let mut at: Mark = seen.parents.iter().flat_map(|mark| mark.iter().copied()).collect();
        at.sort_unstable();
        at.dedup();
        let mut slip = None;
        let typed = doc.change_with(|doc| {
            let before = doc.heads();
            doc.transact_at(&at, |tx| {
                slip = outside(tx, &pen.text, patches);
                if slip.is_some() { Err(AutomergeError::InvalidIndex(0)) } else { splice(tx, &pen.text, patches) }
            })?;
            let made: Mark = doc.heads().into_iter().filter(|hash| !before.contains(hash)).collect();
            // A transaction that changes nothing is where it began.
            mark(if made.is_empty() { at } else { made });
            Ok(())
        });
        match (typed, slip) {
            (Ok(commit), _) => Ok(commit.into_value()),
            (Err(_), Some(place)) => Err(Slip::Place(place)),
            (Err(error), None) => Err(Slip::refused(error)),
        }
    }

    fn holds(view: &automerge::Automerge, marks: &[&Mark]) -> bool {
        marks.iter().copied().flatten().all(|hash| view.get_change_meta_by_hash(hash).is_some())
    }

    fn version(view: &automerge::Automerge) -> Vec<ChangeHash> {
        let mut heads = view.get_heads();
        heads.sort_unstable();
        heads
    }

    fn text(view: &automerge::Automerge) -> Option<String> {
        view.text(text(view)?).ok()
    }
}

fn text(doc: &automerge::Automerge) -> Option<ObjId> {
    doc.get(ROOT, TEXT).ok()?.filter(|(value, _)| value.is_object()).map(|(_, id)| id)
}

fn splice(tx: &mut Transaction<'_>, text: &ObjId, patches: &[Patch]) -> Result<(), AutomergeError> {
    for patch in patches {
        let deleted = isize::try_from(patch.deleted).map_err(|_| AutomergeError::InvalidIndex(patch.deleted))?;
        tx.splice_text(text, patch.position, deleted, &patch.inserted)?;
    }
    Ok(())
}

/// The first patch outside of the text, if there is one.
fn outside(tx: &Transaction<'_>, text: &ObjId, patches: &[Patch]) -> Option<Place> {
    let mut length = tx.length(text);
    for (patch, change) in patches.iter().enumerate() {
        let (position, deleted) = (change.position, change.deleted);
        let Some(rest) = length.checked_sub(position).and_then(|rest| rest.checked_sub(deleted)) else {
            return Some(Place { patch, position, deleted, length });
        };
        length = position + rest + change.inserted.chars().count();
    }
    None
}
