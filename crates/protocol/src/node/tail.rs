//! Recent entries in memory: what is not durable yet, and what live delivery asks for again.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use partita_core::{Entry, LogId};

#[derive(Debug, Default)]
pub(super) struct Tail {
    entries: BTreeMap<(LogId, u64), (u64, Arc<Entry>)>,
    order: VecDeque<(LogId, u64)>,
    bytes: usize,
}

impl Tail {
    pub(super) fn push(&mut self, arrival: u64, entry: Arc<Entry>) {
        let key = (entry.header.log, entry.header.seq);
        self.bytes += entry.size();
        self.order.push_back(key);
        if let Some((_, before)) = self.entries.insert(key, (arrival, entry)) {
            self.bytes -= before.size();
        }
    }

    /// The entries of a log from a number on, as far as they are here without a hole.
    pub(super) fn from(&self, log: LogId, from: u64) -> impl Iterator<Item = &Arc<Entry>> {
        let mut next = from;
        self.entries.range((log, from)..=(log, u64::MAX)).map_while(move |((_, seq), (_, entry))| {
            let follows = *seq == next;
            next += 1;
            follows.then_some(entry)
        })
    }

    /// The latest entries with their arrivals, the last one first, as long as `wanted` names them.
    pub(super) fn latest(&self, wanted: impl Fn(&LogId, u64) -> bool) -> impl Iterator<Item = (u64, &Arc<Entry>)> {
        let latest = self.order.iter().rev().take_while(move |(log, seq)| wanted(log, *seq));
        latest.filter_map(|key| self.entries.get(key)).map(|(arrival, entry)| (*arrival, entry))
    }

    /// Forgets the oldest entries over the limit, but none that `keep` names: those are not in the store yet.
    pub(super) fn trim(&mut self, most_bytes: usize, keep: impl Fn(&LogId, u64) -> bool) {
        while self.bytes > most_bytes {
            let Some(&(log, seq)) = self.order.front() else {
                return;
            };
            if keep(&log, seq) {
                return;
            }
            self.order.pop_front();
            if let Some((_, entry)) = self.entries.remove(&(log, seq)) {
                self.bytes -= entry.size();
            }
        }
    }

    /// Forgets a log's entries from a number on.
    pub(super) fn truncate(&mut self, log: LogId, from: u64) {
        let gone: Vec<_> = self.entries.range((log, from)..=(log, u64::MAX)).map(|(key, _)| *key).collect();
        for key in gone {
            if let Some((_, entry)) = self.entries.remove(&key) {
                self.bytes -= entry.size();
            }
        }
        self.order.retain(|(of, seq)| *of != log || *seq < from);
    }
}
