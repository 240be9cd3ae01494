//! One context in one session: what was agreed, how far each log went, what holds it back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak},
};

use partita_core::{
    Access, Entry, EntryId, Grant, Hash, LogId, LogSort, Refusal, ReplicaId, Tip,
    planted::{Bug, planted},
};

use super::{
    context::{Context, Successor},
    weighed::{Weighed, Weight},
};
use crate::{NodeConfig, effect::Progress, message::MAX_ITEMS};

/// A large entry on its way out.
#[derive(Debug)]
pub(super) struct LargeOut {
    pub(super) entry: Arc<Entry>,
    /// The next byte to send, once the remote asked.
    pub(super) offset: Option<u64>,
}

/// The large entries that are on their way out. Each session reads its own from the store, and keeps it until the remote has it:
/// those that send the same one share it, or whoever asks for it often enough would fill the memory.
#[derive(Debug, Default)]
pub(super) struct LargeEntries(BTreeMap<EntryId, Weak<Entry>>);

impl LargeEntries {
    pub(super) fn shared(&mut self, entry: Arc<Entry>) -> Arc<Entry> {
        if let Some(known) = self.0.get(&entry.id).and_then(Weak::upgrade) {
            return known;
        }
        self.0.retain(|_, entry| entry.strong_count() > 0);
        self.0.insert(entry.id, Arc::downgrade(&entry));
        entry
    }
}

/// What has to happen here before a refused log is asked for again.
#[derive(Debug, Clone)]
pub(super) enum Until {
    /// Nothing can help in this incarnation.
    Never,
    /// Entries that the log's first one names.
    Held { of: Successor, tips: Vec<Tip> },
    /// These control entries, and more of them than there were.
    Control { heads: Vec<EntryId>, were: usize },
    /// Room for so many bytes.
    Room(LogSort, u64),
    /// A checkpoint that needs it.
    Wanted,
    /// The limit of a log of this author, which was begun in knowledge of these control entries, rises to the refused
    /// entry.
    Lifted { author: ReplicaId, knew: Vec<EntryId> },
    /// The log is no longer being cut back.
    Cut,
    /// The node takes entries again.
    Taking,
    /// The session may offer entries.
    MayOffer,
}

/// Why this node did not take a log's entries.
#[derive(Debug, Clone)]
pub(super) struct Halt {
    pub(super) why: Refusal,
    /// The first entry that was not taken.
    pub(super) seq: u64,
    pub(super) until: Until,
}

impl Halt {
    /// A refusal that nothing here will lift.
    pub(super) fn at(seq: u64, why: Refusal) -> Self {
        let until = Until::Never;
        Self { why, seq, until }
    }

    pub(super) fn until(seq: u64, why: Refusal, until: Until) -> Self {
        Self { why, seq, until }
    }

    /// The control entries that the remote is told to send.
    pub(super) fn heads(&self) -> Vec<EntryId> {
        match &self.until {
            Until::Control { heads, .. } => heads.clone(),
            _ => Vec::new(),
        }
    }

    /// Whether its cause has gone.
    pub(super) fn is_over(&self, log: &LogId, local: &Context, config: &NodeConfig) -> bool {
        if local.excluding.contains(log) {
            return false;
        }
        match &self.until {
            Until::Never | Until::MayOffer => false,
            Until::Held { of, tips } => tips.iter().all(|tip| local.holds_or_cut(tip, of)),
            Until::Control { heads, were } => local.graph.len() > *were && local.graph.missing(heads).is_empty(),
            Until::Wanted => local.checkpoints.wants(log, self.seq),
            Until::Room(sort, bytes) => local.has_room(*sort, log, *bytes, config),
            Until::Lifted { author, knew } => {
                let held = local.logs.get(log).map(|log| log.cap);
                held.unwrap_or_else(|| local.cap_of(author, log, LogSort::Data, knew)) >= self.seq
            }
            Until::Cut => true,
            Until::Taking => config.takes_entries,
        }
    }
}

/// Whoever sends an entry chooses how much that rests on.
impl Weight for Halt {
    fn weight(&self) -> u64 {
        let ids = match &self.until {
            Until::Control { heads: ids, .. } | Until::Lifted { knew: ids, .. } => ids.len(),
            Until::Held { of, tips } => of.knew.len() + 2 * tips.len(),
            _ => 0,
        };
        (LogId::LEN + EntryId::LEN * (1 + ids)) as u64
    }
}

/// The most bytes of what one link has refused.
const MOST_HALTED: u64 = 16 << 20;

/// What a log to send is ordered by: control first, then snapshots, and each by when it began here, so that what a log rests
/// on goes before it. Control logs rest on each other in their middle, too: [`Link::next_ready`] looks closer at them.
pub(super) type SendOrder = (LogSort, u64, LogId);

/// How many control entries are looked through for the next one to send. More lie between only where the remote refused
/// one of the first, and a remote must not make each of many entries cost a look at all of them.
const LOOKED_THROUGH: usize = 256;

/// One context in one session.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// Our right was shown, by an `Open` or in the answer to theirs.
    pub(super) opened: bool,
    /// It was shown by an `Open`: that one is answered, whatever becomes of the answers to theirs.
    pub(super) by_open: bool,
    /// The number of our last `Open`, and the hash of the frontier that it named, until it is answered.
    pub(super) offered: Option<(u64, Hash)>,
    /// Whether the proof of our right was a brief one.
    pub(super) brief: bool,
    /// Whether our frontier went out since positions were compared last.
    pub(super) frontier_said: bool,
    /// Their `Open` was granted, with this access.
    pub(super) granted: Option<(Grant, Access)>,
    /// They granted ours.
    pub(super) accepted: bool,
    /// Whether the strategy names them as a target.
    pub(super) target: bool,
    /// How far they hold each log: by their frontier and their acknowledgements alone. `None` until it is known.
    pub(super) held: Option<BTreeMap<LogId, u64>>,
    /// The parts of their frontier that came so far.
    pub(super) frontier: Vec<Tip>,
    /// Whether their frontier names logs that are unknown here, whose predecessors they may hold.
    pub(super) unknown_tips: bool,
    /// How far each log was sent, or came from there.
    pub(super) sent: BTreeMap<LogId, u64>,
    /// How far logs of others came from there: for samples of lag alone, it is no evidence that they are durable there.
    pub(super) came: BTreeMap<LogId, u64>,
    /// Logs with something to send.
    pub(super) ready: BTreeSet<SendOrder>,
    /// How many of the context's control entries, in the order in which they came, were sent, came from there, or are not
    /// wanted there: what lies behind these has to be looked at.
    control_sent: usize,
    /// Logs of which it was asked whether they hold them.
    pub(super) asked: BTreeSet<LogId>,
    /// Logs of which it was asked how far they hold them, because nothing of what they seem to lack is here: it is pruned.
    pub(super) asked_below: BTreeSet<LogId>,
    /// Logs that they refused, and why.
    pub(super) paused: BTreeMap<LogId, Refusal>,
    /// The log whose entries are being read from the store: nothing behind it in the order overtakes it.
    pub(super) reading: Option<LogId>,
    /// What was read and not sent yet.
    pub(super) pages: BTreeMap<LogId, Vec<Arc<Entry>>>,
    pub(super) large: BTreeMap<LogId, LargeOut>,
    /// Logs that this node refused.
    pub(super) halted: Weighed<Halt>,
    /// What they held when the context was opened and is not durable here yet; `None` once it is.
    pub(super) missing: Option<Vec<Tip>>,
    /// How far that went.
    pub(super) progress: Progress,
    pub(super) live_said: bool,
}

impl Link {
    /// Whether entries may go out.
    pub(super) fn may_send(&self) -> bool {
        self.accepted && self.held.is_some() && self.hears()
    }

    /// Whether the remote is told what is said and not kept.
    pub(super) fn hears(&self) -> bool {
        self.target && self.reads()
    }

    /// Whether the remote may have entries.
    pub(super) fn reads(&self) -> bool {
        self.granted.is_some_and(|(_, access)| access.reads())
    }

    /// Whether something else than credit holds a log back.
    pub(super) fn is_blocked(&self, log: &LogId) -> bool {
        self.asked.contains(log)
            || self.paused.contains_key(log)
            || self.reading == Some(*log)
            || self.large.contains_key(log)
    }

    pub(super) fn sent(&self, log: &LogId) -> u64 {
        self.sent.get(log).copied().unwrap_or(0)
    }

    pub(super) fn held(&self, log: &LogId) -> u64 {
        if planted(Bug::SentIsHeld) {
            return self.sent(log);
        }
        let held = self.held.as_ref().and_then(|held| held.get(log));
        held.copied().unwrap_or(0)
    }

    /// The remote says that it holds a log so far. It says so of as many logs as a frontier has at most.
    pub(super) fn note_held(&mut self, log: LogId, seq: u64) {
        let known = self.sent.contains_key(&log) || self.held.as_ref().is_some_and(|held| held.contains_key(&log));
        if !known && self.sent.len() >= MAX_ITEMS {
            return;
        }
        if let Some(held) = &mut self.held {
            let before = held.entry(log).or_default();
            *before = seq.max(*before);
        }
        self.note_offered(log, seq);
    }

    /// What came from there need not be sent back: echoes are filtered by session. That it came from there is no
    /// evidence that it is durable there.
    pub(super) fn note_offered(&mut self, log: LogId, seq: u64) {
        let sent = self.sent.entry(log).or_default();
        *sent = seq.max(*sent);
    }

    /// The remote lacks what comes after this entry, though it was sent.
    pub(super) fn send_again(&mut self, local: &Context, log: LogId, after: u64) {
        self.sent.insert(log, after);
        if local.logs.get(&log).is_some_and(|state| state.record.sort == LogSort::Control) {
            let first = local.control_arrivals.iter().position(|(of, seq)| *of == log && *seq > after);
            self.control_sent = self.control_sent.min(first.unwrap_or(usize::MAX));
        }
    }

    /// Takes out the log that has to be sent next. Of control logs that is the one whose next entry came here first: sent
    /// log by log, entries would be refused for what they rest on in another one, and sent again.
    pub(super) fn next_ready(&mut self, local: &Context) -> Option<SendOrder> {
        let first = *self.ready.first()?;
        let next = if first.0 == LogSort::Control { self.next_control(local).unwrap_or(first) } else { first };
        self.ready.remove(&next);
        Some(next)
    }

    fn next_control(&mut self, local: &Context) -> Option<SendOrder> {
        let arrivals = &local.control_arrivals;
        let was_sent = |(log, seq): &(LogId, u64)| self.sent(log) >= *seq;
        let is_over = |entry: &&(LogId, u64)| was_sent(entry) || self.paused.contains_key(&entry.0);
        let sent = arrivals.iter().skip(self.control_sent).take_while(is_over).count();
        let from = self.control_sent + sent;
        let ready = |(log, _): &(LogId, u64)| {
            let order = local.logs.get(log)?.order(log);
            (self.ready.contains(&order) && !self.is_blocked(log)).then_some(order)
        };
        let near = arrivals.iter().skip(from).take(LOOKED_THROUGH);
        let next = near.filter(|entry| !was_sent(entry)).find_map(ready);
        self.control_sent = from;
        next
    }

    /// Puts a log where the loop finds it, if there is something to send and nothing in the way.
    pub(super) fn make_ready(&mut self, local: &Context, log: &LogId) -> bool {
        let Some(state) = local.logs.get(log) else {
            return false;
        };
        let is_ready = !self.is_blocked(log) && !local.excluding.contains(log) && self.sent(log) < state.record.seq;
        if is_ready {
            self.ready.insert(state.order(log));
        }
        is_ready
    }

    /// Forgets a log that is here no more. Should it come back, the remote may have forgotten it, too.
    pub(super) fn forget_log(&mut self, log: &LogId) {
        self.large.remove(log);
        self.sent.remove(log);
        self.came.remove(log);
        self.paused.remove(log);
        if let Some(held) = &mut self.held {
            held.remove(log);
        }
    }

    /// Forgets what was on its way out: the remote begins anew.
    pub(super) fn restart(&mut self) {
        *self = Self {
            opened: self.opened,
            by_open: self.by_open,
            offered: self.offered,
            brief: self.brief,
            granted: self.granted,
            accepted: self.accepted,
            target: self.target,
            live_said: self.live_said,
            halted: std::mem::take(&mut self.halted),
            ..Self::default()
        };
    }

    /// Whether a refusal's cause has gone.
    pub(super) fn is_over(&self, log: &LogId, halt: &Halt, local: &Context, config: &NodeConfig) -> bool {
        match halt.until {
            Until::MayOffer => self.granted.is_some_and(|(_, access)| access.writes()),
            _ => halt.is_over(log, local, config),
        }
    }

    /// The logs of which nothing more comes from there: those that were refused for good, and those that rest on such ones.
    pub(super) fn never_come(&self) -> BTreeSet<LogId> {
        let halted = self.halted.all().iter();
        let mut open: Vec<LogId> = halted.filter(|(_, halt)| halt.why.is_final()).map(|(log, _)| *log).collect();
        let mut never = BTreeSet::new();
        if open.is_empty() {
            return never;
        }
        let mut resting: BTreeMap<LogId, Vec<LogId>> = BTreeMap::new();
        for (log, halt) in self.halted.all() {
            if let Until::Held { tips, .. } = &halt.until {
                tips.iter().for_each(|tip| resting.entry(tip.log).or_default().push(*log));
            }
        }
        while let Some(log) = open.pop() {
            if never.insert(log) {
                open.extend(resting.remove(&log).unwrap_or_default());
            }
        }
        never
    }

    /// Remembers a refusal; false when the remote had more refused than anybody has. Whoever wrote them chose how large they are,
    /// and the remote need not be to blame: the largest are forgotten, and come again with the next connection.
    pub(super) fn halt(&mut self, log: LogId, halt: Halt) -> bool {
        self.halted.set(log, halt);
        while self.halted.total() > MOST_HALTED {
            let largest = self.halted.all().iter().max_by_key(|(_, halt)| halt.weight()).map(|(log, _)| *log);
            let Some(largest) = largest else { break };
            self.halted.remove(&largest);
        }
        self.halted.all().len() <= MAX_ITEMS
    }
}

#[cfg(test)]
mod tests {
    use partita_core::{ContextId, DocumentId};
    use partita_testing::samples::SampleLog;

    use super::*;

    #[test]
    fn what_is_remembered_of_refusals_takes_no_more_than_its_room() {
        let mut link = Link::default();
        for number in 0..200 {
            let heads = vec![EntryId::NONE; 4_000];
            let until = Until::Control { heads, were: 0 };
            let log = LogId::from_bytes([number; 16]);
            assert!(link.halt(log, Halt::until(1, Refusal::NeedControl, until)));
            assert!(link.halt(LogId::from_bytes([250; 16]), Halt::at(1, Refusal::Invalid)));
            assert!(link.halted.total() <= MOST_HALTED);
        }
        assert!(link.halted.all().len() > 100, "most of it is");
        assert!(link.halted.get(&LogId::from_bytes([250; 16])).is_some(), "what is small stays");
    }

    #[test]
    fn a_large_entry_that_several_sessions_send_is_in_memory_once() {
        let read = || SampleLog::new(1, ContextId::default(), 1).change(DocumentId::default(), vec![7; 1000]);
        let (one, other) = (read(), read());
        assert!(one.id == other.id && !Arc::ptr_eq(&one, &other), "each read its own");
        let mut large = LargeEntries::default();
        let (one, other) = (large.shared(one), large.shared(other));
        assert!(Arc::ptr_eq(&one, &other));
        drop((one, other));
        large.shared(SampleLog::new(2, ContextId::default(), 1).change(DocumentId::default(), vec![8; 1000]));
        assert_eq!(large.0.len(), 1, "what nobody sends any more is forgotten");
    }
}
