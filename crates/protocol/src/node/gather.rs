//! The next run of a log for one session: from a page that was read, then from memory, cut where it can be verified.

use std::sync::Arc;

use partita_core::{Entry, LogId, LogSort, Signature};

use super::{context::Context, link::Link};
use crate::{
    NodeConfig,
    message::{MAX_FRAGMENT, MAX_RUN_BYTES, MAX_RUN_ENTRIES},
};

/// What a log has for a session.
pub(super) enum Gathered {
    /// A run, and its author's signature over the last entry.
    Run(Vec<Arc<Entry>>, Signature),
    /// One entry whose payload travels as fragments.
    Large(Arc<Entry>, Signature),
    /// The store has what comes next.
    Read,
    /// Nothing yet: what is there cannot be verified before the author's next signature comes.
    Wait,
    /// Nothing ever: more entries without a signature than fit into a frame. No node makes such a log; one that came
    /// as pieces of runs of others might be.
    Never,
}

/// The bytes over which a payload travels as fragments.
pub(super) fn fragment_bytes(config: &NodeConfig) -> usize {
    config.fragment_bytes.clamp(1, MAX_FRAGMENT)
}

struct Cutter<'a> {
    local: &'a Context,
    /// Whether a loss or a vouch can have brought along signatures of entries of this log at all.
    may_be_listed: bool,
    most: (usize, usize),
    fragment_bytes: usize,
    run: Vec<Arc<Entry>>,
    bytes: usize,
    /// How many entries of the run can be verified.
    cut: usize,
    large: bool,
    full: bool,
}

impl Cutter<'_> {
    fn is_proved(&self, entry: &Entry) -> bool {
        entry.signature.is_some() || self.may_be_listed && self.local.signature(entry).is_some()
    }

    /// Takes the next entry; false when the run is over.
    fn take(&mut self, entry: &Arc<Entry>) -> bool {
        let proved = self.is_proved(entry);
        let is_large = entry.payload.len() > self.fragment_bytes && !entry.header.kind.is_control() && proved;
        if is_large && self.cut == self.run.len() {
            // A large entry goes alone. One that only a later signature proves came inside a run, so it fits into one.
            if self.run.is_empty() {
                self.run.push(entry.clone());
                self.large = true;
            }
            return false;
        }
        self.bytes += entry.size();
        let (entries, bytes) = self.most;
        let over = self.bytes > bytes || self.run.len() >= entries;
        if self.cut > 0 && over {
            return false;
        }
        if self.cut == 0
            && !self.run.is_empty()
            && (self.bytes > 2 * MAX_RUN_BYTES - 2 * MAX_FRAGMENT || self.run.len() >= MAX_RUN_ENTRIES)
        {
            self.full = true;
            return false;
        }
        self.run.push(entry.clone());
        if proved {
            self.cut = self.run.len();
        }
        true
    }
}

/// What a log has for a session from a number on. Where memory has no end that can be verified, the store is asked, whose
/// pages end at one or at the log's last durable entry; behind that memory goes on.
pub(super) fn gather(link: &Link, local: &Context, log: LogId, from: u64, config: &NodeConfig) -> Gathered {
    let Some(state) = local.logs.get(&log) else {
        return Gathered::Wait;
    };
    if from <= state.base || !local.may_send_snapshots(&log, state) {
        // The remote gets there by the checkpoint that covers it, and says so; or the claim is still to be written.
        return Gathered::Wait;
    }
    let mut cutter = Cutter {
        local,
        may_be_listed: !local.standing.listed.is_empty() || local.standing.has_loss(&state.record.replica()),
        // Control entries of several logs rest on each other, so a run of them may be taken in part. What is taken must be
        // provable to others by itself: each goes with its own signature.
        most: if state.record.sort == LogSort::Control {
            (1, 0)
        } else {
            (config.run.entries.clamp(1, MAX_RUN_ENTRIES), config.run.bytes.min(MAX_RUN_BYTES))
        },
        fragment_bytes: fragment_bytes(config),
        run: Vec::new(),
        bytes: 0,
        cut: 0,
        large: false,
        full: false,
    };
    let mut next = from;
    let page = link.pages.get(&log).into_iter().flatten();
    let mut going = true;
    for entry in page.skip_while(|entry| entry.header.seq < from) {
        // The page may have been read before the log was cut back.
        if !going || entry.header.seq != next || next > state.record.seq {
            break;
        }
        going = cutter.take(entry);
        next += 1;
    }
    if going {
        for entry in local.tail.from(log, next) {
            next += 1;
            if !cutter.take(entry) {
                break;
            }
        }
    }
    if cutter.large {
        let entry = cutter.run.pop().and_then(|entry| Some((local.signature(&entry)?, entry)));
        return entry.map_or(Gathered::Wait, |(signature, entry)| Gathered::Large(entry, signature));
    }
    cutter.run.truncate(cutter.cut);
    if let Some(signature) = cutter.run.last().and_then(|last| local.signature(last)) {
        return Gathered::Run(cutter.run, signature);
    }
    if cutter.full {
        Gathered::Never
    } else if next <= state.durable {
        Gathered::Read
    } else {
        Gathered::Wait
    }
}
