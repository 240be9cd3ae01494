//! Yrs has no edits at an older version: a shadow document holds what the author saw, and nothing else.
//!
//! A transaction is made in the shadow, where its positions mean what they meant to its author. Its update names the
//! neighbours by id, so in the document, which may know more, it lands where it landed in the shadow. Both write as one
//! client: what the shadow made is the next change of this replica, and no other.

use partita::{
    Document,
    yrs::{Error, Yrs},
};
use yrs::{
    Doc, GetString as _, IdSet, OffsetKind, Options, ReadTxn, StateVector, Text as _, TextRef, Transact as _,
    Transaction, TransactionMut, Update, WriteTxn as _,
    block::{EmbedPrelim, ItemContent, Prelim, Unused},
    branch::BranchPtr,
    updates::decoder::Decode as _,
};

use super::{
    offsets::Offsets,
    script::{Script, Seen, Slip, TEXT},
};
use crate::trace::{Patch, Place};

pub(crate) struct Pen {
    /// What the author saw; unused while nobody types at the same time.
    shadow: Doc,
    /// Of the text that is typed in.
    offsets: Offsets,
}

/// What a transaction wrote; as an update, for shadows.
#[derive(Default)]
pub(crate) struct Mark {
    update: Option<Vec<u8>>,
    /// How much of each client was there after it.
    clocks: StateVector,
    deletes: IdSet,
}

impl Mark {
    fn of(tx: &TransactionMut<'_>) -> Self {
        let changed = tx.has_changes();
        Self {
            update: changed.then(|| tx.encode_update_v1()),
            clocks: tx.state_vector(),
            deletes: tx.delete_set().clone(),
        }
    }
}

impl Script for Yrs {
    const NAME: &'static str = "yrs";

    type Pen = Pen;
    type Mark = Mark;
    type Version = yrs::Snapshot;

    fn begin(doc: &Document<Self>, start: &str) -> Result<Mark, Slip> {
        if start.is_empty() {
            return Ok(Mark::default());
        }
        let put = doc.change(|tx| {
            tx.get_or_insert_text(TEXT).insert(tx, 0, start);
            Ok(Mark::of(tx))
        });
        put.map(|commit| commit.into_value()).map_err(Slip::refused)
    }

    fn pen(doc: &Document<Self>, base: &Mark) -> Result<Pen, Slip> {
        let text = doc.try_read(Self::text).map_err(Slip::refused)?.unwrap_or_default();
        // Changes nothing; a view does not know whose it is.
        let client = doc.change_with(|doc| Ok(doc.doc().client_id())).map_err(Slip::refused)?.into_value();
        let options = Options {
            offset_kind: OffsetKind::Utf16,
            skip_gc: true,
            ..Options::with_guid_and_client_id("shadow".into(), client)
        };
        let shadow = Doc::with_options(options);
        see(&shadow, &[base])?;
        Ok(Pen { shadow, offsets: Offsets::of(&text) })
    }

    fn append(pen: &mut Pen, doc: &Document<Self>, patches: &[Patch]) -> Result<(), Slip> {
        let typed = doc.change(|tx| {
            let text = tx.get_or_insert_text(TEXT);
            splice(tx, &text, &mut pen.offsets, patches).map_err(|place| Error::Abort(place.to_string()))
        });
        typed.map(|commit| commit.into_value()).map_err(Slip::refused)
    }

    fn insert(
        pen: &mut Pen,
        doc: &Document<Self>,
        seen: Seen<'_, Mark>,
        patches: &[Patch],
        mark: impl FnOnce(Mark),
    ) -> Result<(), Slip> {
        see(&pen.shadow, seen.news)?;
        let text = pen.shadow.get_or_insert_text(TEXT);
        let mut tx = pen.shadow.transact_mut();
        if !seen.news.is_empty() {
            pen.offsets = Offsets::of(&text.get_string(&tx));
        }
        splice(&mut tx, &text, &mut pen.offsets, patches).map_err(Slip::Place)?;
        let made = Mark::of(&tx);
        drop(tx);
        let Some(update) = &made.update else {
            mark(made);
            return Ok(());
        };
        let update = Update::decode_v1(update).map_err(Slip::refused)?;
        let typed = doc.change(|tx| {
            tx.apply_update(update)?;
            mark(made);
            Ok(())
        });
        typed.map(|commit| commit.into_value()).map_err(Slip::refused)
    }

    fn holds(view: &Transaction<'_>, marks: &[&Mark]) -> bool {
        let clocks = view.state_vector();
        let written = |mark: &&Mark| mark.clocks.iter().all(|(client, clock)| clocks.get(client) >= *clock);
        if !marks.iter().all(written) {
            return false;
        }
        // What a transaction deleted shows in no clock.
        if marks.iter().all(|mark| mark.deletes.is_empty()) {
            return true;
        }
        let gone = view.snapshot().delete_set;
        marks.iter().all(|mark| mark.deletes.diff(&gone).is_empty())
    }

    fn version(view: &Transaction<'_>) -> yrs::Snapshot {
        view.snapshot()
    }

    fn text(view: &Transaction<'_>) -> Option<String> {
        // Without a first change there is no text, which shows as an empty one.
        Some(view.get_text(TEXT).map(|text| text.get_string(view)).unwrap_or_default())
    }
}

/// Brings the shadow to what the author saw.
fn see(shadow: &Doc, news: &[&Mark]) -> Result<(), Slip> {
    let updates: Vec<&Vec<u8>> = news.iter().filter_map(|mark| mark.update.as_ref()).collect();
    if updates.is_empty() {
        return Ok(());
    }
    let mut tx = shadow.transact_mut();
    for update in updates {
        let update = Update::decode_v1(update).map_err(Slip::refused)?;
        tx.apply_update(update).map_err(Slip::refused)?;
    }
    Ok(())
}

/// Characters that stay where they are put. [`Text::insert`](yrs::Text::insert) looks for a place behind what was deleted
/// to the right; whoever did not know of the deletion and typed behind the character while it lived would then have typed
/// in the same place at the same time, and whose text comes first would be chance. Right behind the character to their
/// left, each stays on its own side. Embedding does not look further, and as content these are characters like any others.
struct Keys<'k>(&'k str);

impl<'k> From<Keys<'k>> for EmbedPrelim<Keys<'k>> {
    fn from(keys: Keys<'k>) -> Self {
        Self::Shared(keys)
    }
}

impl Prelim for Keys<'_> {
    type Return = Unused;

    fn into_content(self, _: &mut TransactionMut<'_>) -> (ItemContent, Option<Self>) {
        (ItemContent::String(self.0.into()), None)
    }

    fn integrate(self, _: &mut TransactionMut<'_>, _: BranchPtr) {}
}

fn splice(tx: &mut TransactionMut<'_>, text: &TextRef, offsets: &mut Offsets, patches: &[Patch]) -> Result<(), Place> {
    for (patch, change) in patches.iter().enumerate() {
        let (position, deleted) = (change.position, change.deleted);
        let length = offsets.scalars(text.len(tx) as usize);
        let end = position.checked_add(deleted).filter(|end| *end <= length);
        let outside = Place { patch, position, deleted, length };
        let end = end.ok_or(outside)?;
        // Both lie inside of a text whose length fits.
        let from = u32::try_from(offsets.units(position)).map_err(|_| outside)?;
        let to = u32::try_from(offsets.units(end)).map_err(|_| outside)?;
        if to > from {
            text.remove_range(tx, from, to - from);
        }
        if !change.inserted.is_empty() {
            text.insert_embed(tx, from, Keys(&change.inserted));
        }
        offsets.splice(change);
    }
    Ok(())
}
