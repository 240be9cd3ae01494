//! How deep an update nests shared types.
//!
//! yrs deletes a type by recursion over what is in it, so a chain of a hundred thousand nested arrays (ten bytes each)
//! and one deletion overflow the stack and abort the process.

use partita_core::CrdtError;

use super::{
    Checked, Id,
    block::{Block, Goes},
};

/// One item and where it hangs.
pub(crate) struct Node {
    pub(crate) id: Id,
    /// It lives where these live.
    pub(crate) siblings: [Option<Id>; 2],
    /// It lives inside this one; `None` without siblings is a root type.
    pub(crate) parent: Option<Id>,
    pub(crate) is_type: bool,
}

impl Node {
    pub(crate) fn new(id: Id, block: &Block<'_>) -> Self {
        let (siblings, parent) = match block.goes {
            Goes::Between(left, right) => ([left, right], None),
            Goes::Inside(parent, _) => ([None, None], Some(parent)),
            Goes::Gone | Goes::Root(..) => ([None, None], None),
        };
        Self { id, siblings, parent, is_type: block.is_type }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Level {
    Unknown,
    Asked,
    Known(usize),
}

/// The deepest type among `nodes`, counted from what the update hangs on. `nodes` come highest client first.
pub(crate) fn depth(nodes: Vec<Node>) -> Checked<usize> {
    // A struct covers several clocks: the last one that starts at or before the clock.
    let find = |(client, clock): Id| {
        let after = nodes.partition_point(|node| node.id.0 > client || (node.id.0 == client && node.id.1 <= clock));
        after.checked_sub(1).filter(|&index| nodes[index].id.0 == client)
    };
    let mut levels = vec![Level::Unknown; nodes.len()];
    let mut deepest = 0;
    let mut stack = Vec::new();
    for start in 0..nodes.len() {
        stack.push(start);
        while let Some(&index) = stack.last() {
            if let Level::Known(_) = levels[index] {
                stack.pop();
                continue;
            }
            let node = &nodes[index];
            let (mut level, mut waits) = (0, false);
            let links = node.siblings.iter().map(|link| (link, 0)).chain([(&node.parent, 1)]);
            for (link, below) in links.filter_map(|(link, below)| Some(((*link)?, below))) {
                let found = find(link);
                match found.map(|found| levels[found]) {
                    // Outside the update: the document adds its own depth.
                    None => level = level.max(below),
                    Some(Level::Known(known)) => level = level.max(known + below),
                    Some(Level::Asked) => {
                        return Err(CrdtError::Malformed("structs wait for each other"));
                    }
                    Some(Level::Unknown) => {
                        waits = true;
                        stack.extend(found);
                    }
                }
                if waits {
                    break;
                }
            }
            if waits {
                levels[index] = Level::Asked;
            } else {
                levels[index] = Level::Known(level);
                if node.is_type {
                    deepest = deepest.max(level + 1);
                }
                stack.pop();
            }
        }
    }
    Ok(deepest)
}
