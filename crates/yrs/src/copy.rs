//! What a document shows, written into another one.
//!
//! To the library every shared type is both a list and a map, whatever it is called, and a root type that came with an
//! update has no kind at all. So what is copied is what is inside: the list, as text or as values, and the map.

use std::collections::VecDeque;
use std::sync::Arc;

use partita_core::{CopyError, CrdtError, Limits};
use yrs::block::{ItemContent, Prelim};
use yrs::branch::{Branch, BranchPtr};
use yrs::types::text::{Diff, YChange};
use yrs::types::{Attrs, Delta, TypeRef};
use yrs::{
    Any, Array, ArrayRef, GetString, Map, MapRef, Out, ReadTxn, Text, TextRef, Transaction, TransactionMut, WriteTxn,
};

/// Writes what `view` shows into `tx`. Types in order of depth, so that nesting costs no stack; roots and keys sorted,
/// so that nothing hangs on the order in which the library keeps them.
pub(crate) fn into(view: &Transaction<'_>, tx: &mut TransactionMut<'_>) -> Result<(), CopyError> {
    let mut roots: Vec<(&str, Out)> = view.root_refs().collect();
    roots.sort_unstable_by_key(|(name, _)| *name);
    let mut open = VecDeque::new();
    for (name, root) in roots {
        let from = branch(&root)?;
        // Otherwise all that it ever had was deleted, and its name goes nowhere.
        if from.content_len() > 0 || MapRef::from(from).len(view) > 0 {
            open.push_back((from, self::root(tx, name, &root), 0));
        }
    }
    // Far above the library's stack and below what others accept in one change.
    let deepest = Limits::default().depth;
    while let Some((from, to, depth)) = open.pop_front() {
        let mut inside = list(view, from, tx, to)?;
        map(view, from, tx, to, &mut inside)?;
        if !inside.is_empty() && depth >= deepest {
            return Err(CrdtError::TooLarge("nesting").into());
        }
        open.extend(inside.into_iter().map(|(from, to)| (from, to, depth + 1)));
    }
    Ok(())
}

/// The same shared type in both documents.
type Pair = (BranchPtr, BranchPtr);

/// A root type of the same kind. The kind is nowhere but in this document: others learn the name alone.
fn root(tx: &mut TransactionMut<'_>, name: &str, like: &Out) -> BranchPtr {
    let inside = |made: &dyn AsRef<Branch>| BranchPtr::from(made.as_ref());
    match like {
        Out::YText(_) => inside(&tx.get_or_insert_text(name)),
        Out::YMap(_) => inside(&tx.get_or_insert_map(name)),
        Out::YXmlFragment(_) => inside(&tx.get_or_insert_xml_fragment(name)),
        _ => inside(&tx.get_or_insert_array(name)),
    }
}

fn branch(out: &Out) -> Result<BranchPtr, CopyError> {
    match out {
        Out::YDoc(_) => Err(CopyError::Holds("a subdocument")),
        out => out.try_branch().map(BranchPtr::from).ok_or(CopyError::Holds("a value of an unknown kind")),
    }
}

/// Copies the list: as text where all of it is text, embeds and shared types, else as values.
fn list(
    view: &Transaction<'_>,
    from: BranchPtr,
    tx: &mut TransactionMut<'_>,
    to: BranchPtr,
) -> Result<Vec<Pair>, CopyError> {
    if from.content_len() == 0 {
        return Ok(Vec::new());
    }
    let text = TextRef::from(from);
    let pieces = text.diff(view, YChange::identity);
    let length = |piece: &Diff<YChange>| match &piece.insert {
        Out::Any(Any::String(text)) => text.encode_utf16().count(),
        _ => 1,
    };
    let shown: usize = pieces.iter().map(length).sum();
    if shown == from.content_len() as usize {
        // The library tells an embedded string from text nowhere but here.
        let strings = pieces.iter().map(|piece| match &piece.insert {
            Out::Any(Any::String(text)) => text.len(),
            _ => 0,
        });
        if strings.sum::<usize>() != text.get_string(view).len() {
            return Err(CopyError::Holds("an embed that is a string"));
        }
        return as_text(pieces, tx, to);
    }
    // Values that text knows nothing of. Text among them cannot be told from values that are strings.
    if pieces.iter().any(|piece| matches!(piece.insert, Out::Any(_)) || piece.attributes.is_some()) {
        return Err(CopyError::Holds("a list that is text in one place and values in another"));
    }
    as_values(ArrayRef::from(from).iter(view).collect(), tx, to)
}

fn as_text(pieces: Vec<Diff<YChange>>, tx: &mut TransactionMut<'_>, to: BranchPtr) -> Result<Vec<Pair>, CopyError> {
    let mut sources = Vec::new();
    let mut delta: Vec<Delta<Piece>> = Vec::with_capacity(pieces.len());
    for Diff { insert, attributes, .. } in pieces {
        let piece = match insert {
            Out::Any(Any::String(text)) => Piece::Text(text),
            Out::Any(value) => Piece::Embed(value),
            shared => {
                let from = branch(&shared)?;
                sources.push(from);
                Piece::Shared(kind(from)?)
            }
        };
        delta.push(Delta::Inserted(piece, attributes.map(|attributes| Box::new(Attrs::clone(&attributes)))));
    }
    let text = TextRef::from(to);
    text.apply_delta(tx, delta);
    if sources.is_empty() {
        return Ok(Vec::new());
    }
    let made = text.diff(tx, YChange::identity);
    let made = made.iter().filter_map(|piece| piece.insert.try_branch()).map(BranchPtr::from);
    Ok(sources.into_iter().zip(made).collect())
}

/// From the last to the first, each before all others: the library walks to wherever else one inserts.
fn as_values(values: Vec<Out>, tx: &mut TransactionMut<'_>, to: BranchPtr) -> Result<Vec<Pair>, CopyError> {
    let array = ArrayRef::from(to);
    let mut pairs = Vec::new();
    let mut run = VecDeque::new();
    for value in values.into_iter().rev() {
        match value {
            Out::Any(value) => run.push_front(value),
            shared => {
                array.insert_range(tx, 0, std::mem::take(&mut run));
                let from = branch(&shared)?;
                let made = array.insert(tx, 0, Piece::Shared(kind(from)?));
                pairs.push((from, branch(&made)?));
            }
        }
    }
    array.insert_range(tx, 0, run);
    Ok(pairs)
}

fn map(
    view: &Transaction<'_>,
    from: BranchPtr,
    tx: &mut TransactionMut<'_>,
    to: BranchPtr,
    inside: &mut Vec<Pair>,
) -> Result<(), CopyError> {
    let (source, target) = (MapRef::from(from), MapRef::from(to));
    let mut entries: Vec<(&str, Out)> = source.iter(view).collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    for (key, value) in entries {
        match value {
            Out::Any(value) => {
                target.insert(tx, key, value);
            }
            shared => {
                let from = branch(&shared)?;
                let made = target.insert(tx, key, Piece::Shared(kind(from)?));
                inside.push((from, branch(&made)?));
            }
        }
    }
    Ok(())
}

/// The kinds that are replicated.
fn kind(of: BranchPtr) -> Result<TypeRef, CopyError> {
    match of.type_ref() {
        kind @ (TypeRef::Array
        | TypeRef::Map
        | TypeRef::Text
        | TypeRef::XmlElement(_)
        | TypeRef::XmlFragment
        | TypeRef::XmlText) => Ok(kind.clone()),
        TypeRef::SubDoc => Err(CopyError::Holds("a subdocument")),
        _ => Err(CopyError::Holds("a shared type of an unknown kind")),
    }
}

/// What is inserted, as exactly that: the library's own values become text or an embed by what is in them.
enum Piece {
    Text(Arc<str>),
    Embed(Any),
    /// An empty one; it is filled when its turn comes.
    Shared(TypeRef),
}

impl Prelim for Piece {
    type Return = Out;

    fn into_content(self, _: &mut TransactionMut<'_>) -> (ItemContent, Option<Self>) {
        let content = match self {
            Self::Text(text) => ItemContent::String((&*text).into()),
            Self::Embed(value) => ItemContent::Embed(value),
            Self::Shared(kind) => ItemContent::Type(Branch::new(kind)),
        };
        (content, None)
    }

    fn integrate(self, _: &mut TransactionMut<'_>, _: BranchPtr) {}
}
