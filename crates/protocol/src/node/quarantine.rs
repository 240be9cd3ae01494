//! Excluded entries: kept within bounds, never applied, never served, and taken back when a vouch lifts a limit.

use std::sync::Arc;

use partita_core::{ContextId, Entry, EntryId, Key, LogId, LogSort, Tip};

use super::{Node, Purpose, link::Until, weighed::Weight};
use crate::reads::{Page, Quarantined, ReadRequest, pack};

impl Weight for Quarantined {
    fn weight(&self) -> u64 {
        self.bytes
    }
}

impl Node {
    /// Keeps an excluded entry, if it follows what is held and in quarantine of its log and there is room. Snapshots are nobody's
    /// work: they count by their checkpoints alone, and go with them.
    pub(super) fn quarantine(&mut self, context: ContextId, entry: &Arc<Entry>) {
        let header = &entry.header;
        if header.kind.sort() == LogSort::Snapshot {
            return;
        }
        let Some(local) = self.contexts.get_mut(&context) else {
            return;
        };
        let (held, head, author) = match local.logs.get(&header.log) {
            Some(log) => (log.record.seq, log.record.head, log.record.replica()),
            None => match (&header.start, local.quarantined.get(&header.log)) {
                (Some(start), _) => (0, EntryId::NONE, start.replica),
                (None, Some(kept)) => (0, EntryId::NONE, kept.author),
                (None, None) => return,
            },
        };
        let kept = local.quarantined.get(&header.log);
        let (entries, last) = kept.map_or((0, head), |kept| (kept.entries, kept.head));
        let whole = entry.payload.len() as u64 == header.payload_len;
        let follows = header.seq == held + entries + 1 && header.backlink == last;
        let fits = entries < self.config.max_quarantine
            && local.quarantined.total().saturating_add(entry.size() as u64) <= self.config.max_quarantine_bytes;
        if whole && follows && fits {
            local.quarantined.change(header.log, || Quarantined::none(author), |kept| kept.add(entry));
            self.commits.put(Key::Quarantine(context, header.log, header.seq), pack(entry));
        }
    }

    /// A context was loaded: a loss that had kept something apart may have turned out not to count, just before the program
    /// ended. Nothing tells of it any more, so what is kept of those who have no loss is judged again. What is lifted of
    /// others the standing tells: [`refresh_standing`](Self::refresh_standing) compares it with none.
    pub(super) fn judge_quarantine_again(&mut self, context: ContextId) {
        let Some(local) = self.contexts.get(&context) else {
            return;
        };
        let without_loss = local.quarantined.all().iter().filter(|(_, kept)| !local.standing.has_loss(&kept.author));
        let logs: Vec<LogId> = without_loss.map(|(log, _)| *log).collect();
        for log in logs {
            self.read_settled(Purpose::Readmit(context, log), ReadRequest::Quarantine { context, log });
        }
    }

    /// A limit was lifted: what quarantine holds below the new one counts again, if it leads to what a loss or a vouch
    /// names there, or to what its author signed where the log has no limit any more.
    pub(super) fn on_readmit(&mut self, context: ContextId, log: LogId, page: Page) {
        let Some(local) = self.contexts.get(&context) else {
            return;
        };
        let Some(kept) = local.quarantined.get(&log) else {
            return;
        };
        let (author, cap) = (kept.author, local.cap_of_quarantined(&log, kept));
        let record = local.logs.get(&log).map(|log| &log.record);
        let (held, mut head) = record.map_or((0, EntryId::NONE), |log| (log.seq, log.head));
        let mut chain = Vec::new();
        for entry in page.iter().filter(|entry| entry.header.seq > held) {
            if entry.header.backlink != head || entry.header.seq > cap {
                break;
            }
            head = entry.id;
            chain.push(entry.clone());
        }
        let is_named = |entry: &Entry| {
            let (seq, head) = (entry.header.seq, entry.id);
            local.standing.marks(&Tip { log, seq, head })
        };
        if cap == u64::MAX {
            // What no signature covers could not be verified by others.
            while chain.last().is_some_and(|last| local.signature(last).is_none()) {
                chain.pop();
            }
        }
        let named = chain.last().is_some_and(|last| cap == u64::MAX || is_named(last));
        let mut taken = held;
        if named {
            for entry in chain {
                let seq = entry.header.seq;
                if let Err(halt) = self.admit(context, entry) {
                    // It may rest on another log that is in quarantine too, or still to come; what nothing can help stays.
                    if let Some(local) = self.contexts.get_mut(&context)
                        && !matches!(halt.until, Until::Never)
                    {
                        local.awaiting.insert(log, halt);
                    }
                    break;
                }
                taken = seq;
            }
        }
        // What does not lead there is another branch, or has a hole: the remotes have the rest.
        let keep = if named { taken } else { u64::MAX };
        let mut rest = Quarantined::none(author);
        for entry in &page {
            if entry.header.seq <= keep {
                self.commits.delete(Key::Quarantine(context, log, entry.header.seq));
            } else {
                rest.add(entry);
            }
        }
        if let Some(local) = self.contexts.get_mut(&context) {
            local.quarantined.set(log, rest);
        }
        // A remote may be sending in pieces what was here all the time.
        self.forget_overtaken(context, log);
        self.review.insert(context);
    }
}
