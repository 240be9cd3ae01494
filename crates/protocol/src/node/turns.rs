//! Whose turn it is in a session: contexts share it by bytes.
//!
//! Start-time fair queueing (Goyal, Vin, Cheng, 1996) without weights: who was served least comes next. A context that had
//! nothing to send begins where the others are, neither with a debt nor with savings.

use std::collections::{BTreeMap, BTreeSet};

use partita_core::ContextId;

/// The contexts of one session that may have something to send.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The contexts by the bytes that they were served.
    order: BTreeSet<(u64, ContextId)>,
    /// What each of them was served, and those that left while they were ahead of the others.
    served: BTreeMap<ContextId, u64>,
    /// What the context in service was served before its turn.
    floor: u64,
}

impl Turns {
    /// A context may have something to send.
    pub(super) fn insert(&mut self, context: ContextId) {
        let served = self.served.entry(context).or_insert(self.floor);
        if !self.order.contains(&(*served, context)) {
            *served = self.floor.max(*served);
            self.order.insert((*served, context));
        }
    }

    /// It has nothing any more.
    pub(super) fn remove(&mut self, context: &ContextId) {
        let Some(served) = self.served.get(context).copied() else {
            return;
        };
        self.order.remove(&(served, *context));
        if served <= self.floor {
            self.served.remove(context);
        }
        if self.order.is_empty() {
            // Nobody waits: what was served is of no account any more.
            self.served.clear();
        }
    }

    /// The context whose turn it is.
    pub(super) fn next(&self) -> Option<ContextId> {
        self.order.first().map(|(_, context)| *context)
    }

    /// It had its turn, of so many bytes.
    pub(super) fn served(&mut self, context: ContextId, bytes: u64) {
        let Some(served) = self.served.get_mut(&context) else {
            return;
        };
        self.floor = (*served).max(self.floor);
        if self.order.remove(&(*served, context)) {
            *served += bytes.max(1);
            self.order.insert((*served, context));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BIG: ContextId = ContextId::from_bytes([1; 32]);
    const SMALL: ContextId = ContextId::from_bytes([2; 32]);

    #[test]
    fn contexts_share_a_session_by_bytes_and_not_by_messages() {
        let mut turns = Turns::default();
        turns.insert(BIG);
        turns.insert(SMALL);
        let mut bytes = BTreeMap::from([(BIG, 0), (SMALL, 0)]);
        for _ in 0..1010 {
            let context = turns.next().unwrap_or(BIG);
            let cost = if context == BIG { 100_000 } else { 1_000 };
            *bytes.entry(context).or_default() += cost;
            turns.served(context, cost);
        }
        assert!(bytes[&BIG].abs_diff(bytes[&SMALL]) <= 100_000, "{bytes:?}");
    }

    #[test]
    fn a_context_that_comes_late_is_next_and_has_no_savings() {
        let mut turns = Turns::default();
        turns.insert(BIG);
        turns.insert(ContextId::from_bytes([3; 32]));
        for _ in 0..10 {
            let context = turns.next().unwrap_or(BIG);
            turns.served(context, 100);
        }
        turns.insert(SMALL);
        turns.insert(SMALL);
        assert_eq!(turns.next(), Some(SMALL));
        turns.served(SMALL, 150);
        assert_ne!(turns.next(), Some(SMALL));
    }

    #[test]
    fn leaving_and_coming_back_is_no_way_to_be_served_more() {
        let mut turns = Turns::default();
        turns.insert(BIG);
        turns.insert(SMALL);
        let mut bytes = BTreeMap::from([(BIG, 0_u64), (SMALL, 0)]);
        for _ in 0..1000 {
            let context = turns.next().unwrap_or(BIG);
            turns.served(context, 10);
            *bytes.entry(context).or_default() += 10;
            if context == BIG {
                turns.remove(&BIG);
                turns.insert(BIG);
            }
        }
        assert!(bytes[&BIG].abs_diff(bytes[&SMALL]) <= 20, "{bytes:?}");
    }
}
