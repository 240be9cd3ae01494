//! How deep a change nests objects: applications and the library walk documents by recursion.

use std::collections::HashMap;

use automerge::ExpandedChange;
use automerge::legacy::{ObjectId, OpType};

/// The deepest object that `change` makes, counted from what was there before it.
pub(crate) fn within(change: &ExpandedChange) -> usize {
    let mut depths: HashMap<u64, usize> = HashMap::new();
    let mut deepest = 0;
    for (counter, op) in (change.start_op.get()..).zip(&change.operations) {
        if let OpType::Make(_) = op.action {
            let outer = match &op.obj {
                ObjectId::Id(id) if id.1 == change.actor_id => depths.get(&id.0).copied().unwrap_or(0),
                _ => 0,
            };
            depths.insert(counter, outer + 1);
            deepest = deepest.max(outer + 1);
        }
    }
    deepest
}
