//! `Open`s of a remote that were refused: what comes later may give the right, and then the remote need not ask again.

use std::collections::BTreeMap;

use partita_core::{Bytes, ContextId};

use crate::message::Open;

/// How many bytes of them are remembered for one session: the largest proofs of 256 contexts, or any sensible ones of thousands.
const MOST: usize = 4 << 20;
/// What one takes beside its proof, about.
const EACH: usize = 1024;

/// Those of one session.
#[derive(Debug, Default)]
pub(super) struct RefusedOpens {
    of: BTreeMap<ContextId, Open>,
    bytes: usize,
}

fn weight(open: &Open) -> usize {
    EACH + open.kind.as_str().len() + open.proof.len()
}

impl RefusedOpens {
    /// Remembers one instead of an earlier one of its context. False where there is no room: then the remote has to connect again
    /// to be asked.
    pub(super) fn remember(&mut self, mut open: Open) -> bool {
        let bytes = self.bytes - self.of.get(&open.context).map_or(0, weight) + weight(&open);
        let has_room = bytes <= MOST;
        if has_room {
            // A proof shares the memory of the frame that it came in.
            open.proof = Bytes::copy_from_slice(&open.proof);
            self.of.insert(open.context, open);
            self.bytes = bytes;
        }
        has_room
    }

    pub(super) fn get(&self, context: &ContextId) -> Option<&Open> {
        self.of.get(context)
    }

    pub(super) fn contains(&self, context: &ContextId) -> bool {
        self.of.contains_key(context)
    }

    pub(super) fn remove(&mut self, context: &ContextId) {
        self.bytes -= self.of.remove(context).as_ref().map_or(0, weight);
    }
}

#[cfg(test)]
mod tests {
    use partita_core::{ContextKind, Hash};

    use super::*;

    fn open(number: u16, proof: usize) -> Open {
        let kind = ContextKind::new("test/open").unwrap();
        let mut root = [0; 32];
        root[..2].copy_from_slice(&number.to_be_bytes());
        let context = ContextId::derive(&kind, &root);
        Open { context, number: 1, kind, frontier: Hash::ZERO, proof: vec![7; proof].into() }
    }

    fn remembered(refused: &mut RefusedOpens, proof: usize) -> usize {
        (0..5000).filter(|number| refused.remember(open(*number, proof))).count()
    }

    /// From the 257th on they were forgotten, and a device in many groups was not asked for those until it connected again.
    #[test]
    fn a_remote_in_many_contexts_is_remembered_in_all_of_them() {
        assert!(remembered(&mut RefusedOpens::default(), 300) > 3000);
    }

    #[test]
    fn the_largest_proofs_take_no_more_room_than_others() {
        let mut refused = RefusedOpens::default();
        let count = remembered(&mut refused, 16 << 10);
        assert!((200..=256).contains(&count), "{count}");
        assert!(!refused.remember(open(0, 64 << 10)), "nor does a larger one instead of a smaller");
        assert!(refused.remember(open(0, 100)), "a smaller one does");
        for number in 0..5000 {
            refused.remove(&open(number, 0).context);
        }
        assert_eq!(refused.bytes, 0);
        assert_eq!(remembered(&mut refused, 16 << 10), count, "what was let go of has its room again");
    }
}
