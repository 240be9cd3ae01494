//! What there is of some logs, with what it weighs altogether.

use std::collections::BTreeMap;

use partita_core::LogId;

use crate::reads::StoredFragments;

/// What counts towards a limit.
pub(super) trait Weight {
    /// In bytes; nothing that is kept weighs nothing.
    fn weight(&self) -> u64;
}

/// What a piece takes in a store beside its bytes, about: nobody fills a disk with pieces of one byte.
const PIECE: u64 = 128;

impl Weight for StoredFragments {
    fn weight(&self) -> u64 {
        self.bytes.saturating_add(self.count.saturating_mul(PIECE))
    }
}

/// Something of each of some logs. What it weighs altogether is kept beside: limits ask for it with every entry, and remotes
/// choose how many logs there are.
#[derive(Debug)]
pub(super) struct Weighed<V> {
    of: BTreeMap<LogId, V>,
    total: u64,
}

impl<V> Default for Weighed<V> {
    fn default() -> Self {
        Self { of: BTreeMap::new(), total: 0 }
    }
}

impl<V: Weight> From<BTreeMap<LogId, V>> for Weighed<V> {
    fn from(of: BTreeMap<LogId, V>) -> Self {
        Self { total: of.values().map(V::weight).sum(), of }
    }
}

impl<V: Weight> Weighed<V> {
    pub(super) fn all(&self) -> &BTreeMap<LogId, V> {
        &self.of
    }

    pub(super) fn get(&self, log: &LogId) -> Option<&V> {
        self.of.get(log)
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// What there is of a log from now on; what weighs nothing is not there.
    pub(super) fn set(&mut self, log: LogId, value: V) {
        self.remove(&log);
        if value.weight() > 0 {
            self.total += value.weight();
            self.of.insert(log, value);
        }
    }

    pub(super) fn remove(&mut self, log: &LogId) -> Option<V> {
        let value = self.of.remove(log)?;
        self.total -= value.weight();
        Some(value)
    }

    /// Changes what there is of a log, which begins as `new` says.
    pub(super) fn change(&mut self, log: LogId, new: impl FnOnce() -> V, change: impl FnOnce(&mut V)) {
        let value = self.of.entry(log).or_insert_with(new);
        let before = value.weight();
        change(value);
        self.total = self.total - before + value.weight();
    }
}
