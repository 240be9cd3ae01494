//! What a relay counts: an observer that only adds to numbers, so that it costs the node's thread nothing.

mod histogram;
mod text;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use partita_core::{Observation, Observer, Refusal, Sample};

use histogram::Histogram;

/// Refusals have numbers below this.
const REFUSALS: usize = 32;

/// The numbers since the relay was opened.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    connections_opened: AtomicU64,
    connections_closed: AtomicU64,
    connections_turned_away: AtomicU64,
    handshakes_failed: AtomicU64,
    sessions_begun: AtomicU64,
    sessions_ended: AtomicU64,
    received_frames: AtomicU64,
    received_bytes: AtomicU64,
    sent_frames: AtomicU64,
    sent_bytes: AtomicU64,
    entries_taken: AtomicU64,
    refused: Refusals,
    refused_by_remotes: Refusals,
    contexts_refused: Refusals,
    committed: Histogram,
    commits_failed: AtomicU64,
    committed_entries: AtomicU64,
    committed_bytes: AtomicU64,
    store_failed: AtomicBool,
    room: Room,
    sample: Gauges,
}

/// Counts by reason.
#[derive(Debug, Default)]
struct Refusals([AtomicU64; REFUSALS]);

impl Refusals {
    fn count(&self, why: Refusal) {
        if let Some(counter) = self.0.get(why as usize) {
            add(counter, 1);
        }
    }

    /// Every reason that there is, also those that never came.
    fn all(&self) -> impl Iterator<Item = (Refusal, u64)> {
        let codes = (0..).zip(&self.0);
        codes.filter_map(|(code, counter)| Some((Refusal::from_code(code)?, counter.load(Relaxed))))
    }
}

/// The last sample.
#[derive(Debug, Default)]
struct Gauges {
    inbox: AtomicU64,
    store_queue: AtomicU64,
    outgoing_bytes: AtomicU64,
    outgoing_bytes_max: AtomicU64,
    contexts: AtomicU64,
    lagging_sessions: AtomicU64,
    lag_entries: AtomicU64,
    lag_entries_max: AtomicU64,
}

impl Gauges {
    fn set(&self, sample: &Sample) {
        self.inbox.store(sample.inbox as u64, Relaxed);
        self.store_queue.store(sample.store_queue as u64, Relaxed);
        self.outgoing_bytes.store(sample.outgoing_bytes as u64, Relaxed);
        self.outgoing_bytes_max.store(sample.outgoing_bytes_max as u64, Relaxed);
        self.contexts.store(sample.contexts as u64, Relaxed);
        self.lagging_sessions.store(sample.lagging_sessions as u64, Relaxed);
        self.lag_entries.store(sample.lag_entries, Relaxed);
        self.lag_entries_max.store(sample.lag_entries_max, Relaxed);
    }
}

/// What the last look at the store's disk found.
#[derive(Debug, Default)]
struct Room {
    /// Whether it is known at all how much is free.
    is_known: AtomicBool,
    free_bytes: AtomicU64,
    is_short: AtomicBool,
}

impl Metrics {
    /// It was looked at the store's disk.
    pub(crate) fn room(&self, free: Option<u64>, is_short: bool) {
        if let Some(free) = free {
            self.room.free_bytes.store(free, Relaxed);
        }
        self.room.is_known.store(free.is_some(), Relaxed);
        self.room.is_short.store(is_short, Relaxed);
    }

    /// Whether no entries are taken because the store's disk has too little room.
    pub(crate) fn is_short(&self) -> bool {
        self.room.is_short.load(Relaxed)
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Relaxed);
}

impl Observer for Metrics {
    fn observe(&self, seen: &Observation) {
        match *seen {
            Observation::ConnectionOpened { .. } => add(&self.connections_opened, 1),
            Observation::ConnectionClosed { authenticated, .. } => {
                add(&self.connections_closed, 1);
                add(&self.handshakes_failed, u64::from(!authenticated));
            }
            Observation::ConnectionNotOpened => add(&self.handshakes_failed, 1),
            Observation::ConnectionTurnedAway => add(&self.connections_turned_away, 1),
            Observation::SessionBegan { .. } => add(&self.sessions_begun, 1),
            Observation::SessionEnded { .. } => add(&self.sessions_ended, 1),
            Observation::Received { bytes } => {
                add(&self.received_frames, 1);
                add(&self.received_bytes, bytes as u64);
            }
            Observation::Sent { frames, bytes } => {
                add(&self.sent_frames, frames as u64);
                add(&self.sent_bytes, bytes as u64);
            }
            Observation::Taken { entries } => add(&self.entries_taken, entries),
            Observation::Refused(why) => self.refused.count(why),
            Observation::RefusedByRemote(why) => self.refused_by_remotes.count(why),
            Observation::ContextRefused(why) => self.contexts_refused.count(why),
            Observation::Committed { entries, bytes, took, ok: true } => {
                self.committed.observe(took);
                add(&self.committed_entries, entries as u64);
                add(&self.committed_bytes, bytes as u64);
            }
            Observation::Committed { ok: false, .. } => add(&self.commits_failed, 1),
            Observation::StoreFailed => self.store_failed.store(true, Relaxed),
            Observation::Sampled(sample) => self.sample.set(&sample),
            _ => {}
        }
    }
}
