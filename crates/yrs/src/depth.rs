//! How deep a document nests shared types.

use yrs::{Array, ArrayRef, Doc, Map, MapRef, Out, ReadTxn, Transact};

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
        let (list, map) = (ArrayRef::from(branch), MapRef::from(branch));
        let inside = list.iter(&txn).chain(map.iter(&txn).map(|(_, out)| out));
        open.extend(inside.filter(|out| out.try_branch().is_some()).map(|out| (out, depth + 1)));
    }
    deepest
}
