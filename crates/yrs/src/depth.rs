//! How deep a document nests shared types.

use yrs::types::text::YChange;
use yrs::{Doc, Map, MapRef, Out, ReadTxn, Text, TextRef, Transact};

/// The deepest visible type; 0 when there are only root types.
pub(crate) fn of(doc: &Doc) -> usize {
    let txn = doc.transact();
    let mut open: Vec<(Out, usize)> = txn.root_refs().map(|(_, root)| (root, 0)).collect();
    let mut deepest = 0;
    while let Some((out, depth)) = open.pop() {
        deepest = deepest.max(depth);
        // Every type is both a list and a map to the library, whatever it is called.
        let Some(branch) = out.try_branch().map(yrs::branch::BranchPtr::from) else {
            continue;
        };
        let (text, map) = (TextRef::from(branch), MapRef::from(branch));
        // As a text, which shows the types of every list: walking text as an array, the library never comes to an end where
        // a character has two code units.
        let list = text.diff(&txn, YChange::identity).into_iter().map(|piece| piece.insert);
        let inside = list.chain(map.iter(&txn).map(|(_, out)| out));
        open.extend(inside.filter(|out| out.try_branch().is_some()).map(|out| (out, depth + 1)));
    }
    deepest
}
