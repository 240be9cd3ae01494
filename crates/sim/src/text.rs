//! What people write: documents of both CRDT types, each edit with a mark that can be found again.

use std::collections::BTreeSet;

use automerge::{ObjType, ROOT, ReadDoc as _, transaction::Transactable as _};
use partita::{ChangeError, Commit, Document, automerge::Automerge, yrs::Yrs};
use partita_core::{ActorSeed, CrdtDocument as _, CrdtType as _, Digest, DocumentId, DocumentType as _, Limits, LogId};
use yrs::{Map as _, ReadTxn as _, Text as _, WriteTxn as _};

use crate::dice::Dice;

/// What every mark begins with. No sealed byte may show it to a relay.
pub(crate) const NEEDLE: &str = "oPeN-sEcReT-";

/// A document's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crdt {
    Automerge,
    Yrs,
}

/// An open document of either type.
#[derive(Debug, Clone)]
pub(crate) enum Text {
    Automerge(Document<Automerge>),
    Yrs(Document<Yrs>),
}

fn mark(edit: u64) -> String {
    format!("{NEEDLE}{edit}")
}

fn edit_of(key: &str) -> Option<u64> {
    key.strip_prefix(NEEDLE)?.parse().ok()
}

/// How a snapshot is falsified.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Falsehood {
    /// It holds an edit that nobody made.
    More,
    /// Its last change is missing.
    Less,
    /// One of its edits says something else than its author wrote.
    Altered,
    /// The last entry of each document is said to be bad, and missing.
    Bad,
}

/// An edit that nobody ever makes.
pub(crate) const NOBODYS: u64 = 1 << 40;

/// A plain snapshot that holds what is not so; one in which there is nothing to change stays as it is.
pub(crate) fn falsify(plain: Vec<u8>, how: Falsehood) -> Vec<u8> {
    let falsified = || {
        let (id, snapshot) = plain.split_first_chunk::<4>()?;
        let falsified = match id {
            b"amrg" => falsify_automerge(snapshot, how)?,
            b"yrs1" => falsify_yrs(snapshot, how)?,
            _ => return None,
        };
        Some([&id[..], &falsified].concat())
    };
    falsified().unwrap_or(plain)
}

fn falsify_automerge(snapshot: &[u8], how: Falsehood) -> Option<Vec<u8>> {
    let mut doc = automerge::AutoCommit::load(snapshot).ok()?;
    doc.set_actor(automerge::ActorId::from([7; 16]));
    match how {
        Falsehood::More => doc.put(ROOT, mark(NOBODYS), 1).ok()?,
        Falsehood::Less => {
            let mut changes = doc.get_changes(&[]);
            changes.pop()?;
            doc = automerge::AutoCommit::new();
            doc.apply_changes(changes).ok()?;
        }
        // Heads are hashes of what was written: what is altered has others.
        Falsehood::Altered => {
            let mut changes = doc.get_changes(&[]);
            let mut last = changes.pop()?.decode();
            last.message = Some("altered".into());
            changes.push(last.into());
            doc = automerge::AutoCommit::new();
            doc.apply_changes(changes).ok()?;
        }
        Falsehood::Bad => {}
    }
    Some(doc.save())
}

/// Works on the bytes, as a forger would: the library writes under no client's name but its own.
fn falsify_yrs(snapshot: &[u8], how: Falsehood) -> Option<Vec<u8>> {
    let mut snapshot = snapshot.to_vec();
    match how {
        Falsehood::More => {
            let mut doc = Yrs.load(&snapshot, ActorSeed::derive(&LogId::default(), &DocumentId::default())).ok()?;
            let doc: &mut partita::yrs::YrsDoc = doc.as_any_mut().downcast_mut()?;
            let write = |tx: &mut yrs::TransactionMut<'_>| {
                tx.get_or_insert_map("marks").insert(tx, mark(NOBODYS), 1);
                Ok(())
            };
            Yrs::transact(doc, write).ok()?;
            return doc.snapshot().ok();
        }
        // One digit of a mark's key: as long as before, at the same clock.
        Falsehood::Altered => {
            let at = snapshot.windows(NEEDLE.len()).position(|bytes| bytes == NEEDLE.as_bytes())? + NEEDLE.len();
            let digit = snapshot.get_mut(at).filter(|byte| byte.is_ascii_digit())?;
            *digit = if *digit == b'9' { b'8' } else { *digit + 1 };
        }
        Falsehood::Less | Falsehood::Bad => {}
    }
    Some(snapshot)
}

/// What a second program would write first in a document, under the same name as the first.
pub(crate) fn contradiction(crdt: Crdt, log: &LogId, document: &DocumentId) -> Option<Vec<u8>> {
    let actor = ActorSeed::derive(log, document);
    let written = match crdt {
        Crdt::Automerge => {
            let mut doc = Automerge::open(actor);
            Automerge::transact(&mut doc, |tx| tx.put(ROOT, mark(NOBODYS), 1)).ok()?;
            doc.take_local(&Limits::default())
        }
        Crdt::Yrs => {
            let mut doc = Yrs::open(actor);
            let write = |tx: &mut yrs::TransactionMut<'_>| {
                tx.get_or_insert_map("marks").insert(tx, mark(NOBODYS), 1);
                Ok(())
            };
            Yrs::transact(&mut doc, write).ok()?;
            doc.take_local(&Limits::default())
        }
    };
    written.ok().flatten()
}

impl Text {
    pub(crate) fn is_settled(&self) -> bool {
        match self {
            Self::Automerge(document) => document.is_settled(),
            Self::Yrs(document) => document.is_settled(),
        }
    }

    /// Writes an edit's mark and so many letters, which do not compress well.
    pub(crate) fn edit(&self, edit: u64, dice: &mut Dice, letters: usize) -> Result<Commit<()>, String> {
        let words = dice.letters(letters);
        let (place, erase) = (dice.below(1 << 20), dice.chance(200));
        match self {
            Self::Automerge(document) => document
                .change(|tx| {
                    tx.put(ROOT, mark(edit), edit)?;
                    let text = match tx.get(ROOT, "text")? {
                        Some((_, text)) => text,
                        None => tx.put_object(ROOT, "text", ObjType::Text)?,
                    };
                    let len = tx.length(&text);
                    let place = place % (len + 1);
                    let erase = isize::from(erase && place < len);
                    tx.splice_text(&text, place, erase, &words)
                })
                .map_err(|error: ChangeError<_>| error.to_string()),
            Self::Yrs(document) => document
                .change(|tx| {
                    let map = tx.get_or_insert_map("marks");
                    map.insert(tx, mark(edit), edit as i64);
                    let text = tx.get_or_insert_text("text");
                    let len = text.len(tx);
                    let place = place as u32 % (len + 1);
                    if erase && place < len {
                        text.remove_range(tx, place, 1);
                    }
                    text.insert(tx, place, &words);
                    Ok(())
                })
                .map_err(|error: ChangeError<_>| error.to_string()),
        }
    }

    /// The edits that show.
    pub(crate) fn marks(&self) -> Result<BTreeSet<u64>, String> {
        match self {
            Self::Automerge(document) => document
                .try_read(|doc| doc.keys(ROOT).filter_map(|key| edit_of(&key)).collect())
                .map_err(|error| error.to_string()),
            Self::Yrs(document) => document
                .try_read(|tx| {
                    tx.get_map("marks").map_or_else(BTreeSet::new, |map| map.keys(tx).filter_map(edit_of).collect())
                })
                .map_err(|error| error.to_string()),
        }
    }

    pub(crate) fn digest(&self) -> Result<Digest, String> {
        match self {
            Self::Automerge(document) => document.digest().map_err(|error| error.to_string()),
            Self::Yrs(document) => document.digest().map_err(|error| error.to_string()),
        }
    }
}
