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
        doc.change(put).map_err(Slip::refused)?.into_value();
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

    #[expect(clippy::result_large_err, reason = "the library's own error, handed on as it is")]
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
                let typed = type_inside(tx, &pen.text, patches);
                slip = typed.err();
                if slip.is_some() { Err(AutomergeError::InvalidIndex(0)) } else { Ok(()) }
            })?;
            let made: Mark = doc.heads().into_iter().filter(|hash| !before.contains(hash)).collect();
            // A transaction that changes nothing is where it began.
            mark(if made.is_empty() { at } else { made });
            Ok(())
        });
        match (typed, slip) {
            // When it is durable is for the end to see.
            (Ok(_), _) => Ok(()),
            (Err(_), Some(slip)) => Err(slip),
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

/// Types patches of which nobody knows yet whether they lie inside of the text. To ask for its length first would double
/// the time: at an older version the library counts anew. It refuses to insert outside, but not to delete.
fn type_inside(tx: &mut Transaction<'_>, text: &ObjId, patches: &[Patch]) -> Result<(), Slip> {
    for (patch, change) in patches.iter().enumerate() {
        let before = tx.pending_ops();
        let typed = splice(tx, text, std::slice::from_ref(change));
        let inserted = if typed.is_ok() { change.inserted.chars().count() } else { 0 };
        // One operation for each character that came or went.
        let gone = (tx.pending_ops() - before).saturating_sub(inserted);
        if typed.is_err() || gone != change.deleted {
            let (position, deleted) = (change.position, change.deleted);
            let length = (tx.length(text) + gone).saturating_sub(inserted);
            return Err(Slip::Place(Place { patch, position, deleted, length }));
        }
    }
    Ok(())
}
