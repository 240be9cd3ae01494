//! Large payloads: a header that was admitted, then pieces, stored durably outside the frontier and resumed by offset.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use partita_core::{
    Bytes, ContextId, Entry, EntryId, Key, LogId, LogSort, Op, Refusal, SessionId,
    planted::{Bug, planted},
};

use super::{
    Node, Purpose,
    context::{Context, most_with},
    link::{Halt, Until},
    weighed::Weight,
};
use crate::{
    NodeConfig,
    message::{Message, Piece},
    reads::{ReadRequest, StoredFragments, pack_fragment},
};

/// A large entry on its way in. Its pieces are in the store, and nothing of them in memory.
#[derive(Debug)]
pub(super) struct Incoming {
    entry: Arc<Entry>,
    state: State,
    /// The only session that sent any of it; `None` when others did, or the store had some.
    source: Option<SessionId>,
    /// Who sends it.
    from: SessionId,
    /// Since when nothing came of it, on the monotonic clock.
    since: Duration,
    /// Who else offered it.
    others: BTreeSet<SessionId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The store is asked what it has.
    Asked,
    /// Pieces come in.
    Taking,
    /// All of it is in the store; it waits until it may be read as a whole.
    Whole,
    /// It is being read as a whole.
    Read,
}

impl Incoming {
    /// What it takes in memory while it is on its way, about, beside its header.
    const COST: u64 = 512;

    fn len(&self) -> u64 {
        self.entry.header.payload_len
    }

    fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.others.iter().copied().chain([self.from])
    }
}

/// The large payloads whose pieces are all here. Each is read as a whole, and is in memory until its entry is stored: few
/// at a time, however many there are.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    waiting: VecDeque<(ContextId, LogId, EntryId)>,
    /// The bytes of those that are in memory.
    bytes: u64,
}

/// The most bytes of large payloads that are in memory as a whole, unless a single one is larger.
const MOST_ASSEMBLED: u64 = 32 << 20;

/// The most pieces of a payload, and one more for each of so many bytes: what a piece takes in a store is not proportional
/// to its length.
const MOST_PIECES: u64 = 4096;
const BYTES_OF_PIECE: u64 = 1024;

impl Node {
    fn incoming(&mut self, context: ContextId, log: LogId) -> Option<&mut Incoming> {
        self.contexts.get_mut(&context)?.incoming.get_mut(&log)
    }

    /// A verified header that follows what is held, without its payload.
    pub(super) fn on_withheld(&mut self, id: SessionId, context: ContextId, entry: Arc<Entry>) {
        let (log, seq) = (entry.header.log, entry.header.seq);
        if entry.header.kind.is_control() {
            // Control entries travel whole.
            return self.refuse(id, context, log, Halt::at(seq, Refusal::Invalid));
        }
        if let Err(halt) = self.judge(&context, &entry) {
            return self.refuse(id, context, log, halt);
        }
        // A remote that comes by a new connection and offers it again has lost the one before: only this side may not know.
        let remote = |session: &SessionId| self.sessions.get(session).map(|session| session.peer.replica);
        let goes_on = |from: &SessionId| {
            self.sessions.link(from, &context).is_some() && (*from >= id || remote(from) != remote(&id))
        };
        let known = self.contexts.get(&context).and_then(|local| {
            let incoming = local.incoming.get(&log)?;
            (incoming.entry.id == entry.id).then(|| incoming.from != id && goes_on(&incoming.from))
        });
        if let Some(others_turn) = known {
            let now = self.now.monotonic;
            let Some(incoming) = self.incoming(context, log) else {
                return;
            };
            if others_turn {
                incoming.others.insert(id);
            } else {
                (incoming.from, incoming.since) = (id, now);
                self.want(context, log);
            }
            return;
        }
        let Some(local) = self.contexts.get_mut(&context) else {
            return;
        };
        let (sort, len) = (entry.header.kind.sort(), entry.header.payload_len);
        if !local.has_room(sort, &log, len, &self.config) {
            let until = Until::Room(sort, len);
            let halt = Halt::until(seq, Refusal::Quota, until);
            return self.refuse(id, context, log, halt);
        }
        self.make_room_for_pieces(context, log, sort, len);
        let of = entry.id;
        let incoming = Incoming {
            entry,
            state: State::Asked,
            source: Some(id),
            from: id,
            since: self.now.monotonic,
            others: BTreeSet::new(),
        };
        if let Some(local) = self.contexts.get_mut(&context) {
            local.incoming.insert(log, incoming);
        }
        self.read_settled(
            Purpose::Fragments(context, log, of),
            ReadRequest::Fragments { context, log, seq, entry: of },
        );
    }

    pub(super) fn on_fragments_read(
        &mut self,
        context: ContextId,
        log: LogId,
        of: EntryId,
        stored: Option<StoredFragments>,
    ) {
        let Some(local) = self.contexts.get_mut(&context) else {
            return;
        };
        let asked = |incoming: &&mut Incoming| incoming.entry.id == of && incoming.state == State::Asked;
        let Some(incoming) = local.incoming.get_mut(&log).filter(asked) else {
            return;
        };
        incoming.state = State::Taking;
        let stored = stored.filter(|stored| stored.bytes <= incoming.len());
        if stored.is_some_and(|stored| stored.bytes > 0) {
            incoming.source = None;
        }
        match stored {
            Some(stored) => local.pieces.set(log, stored),
            None => self.forget_pieces(context, log),
        }
        if !self.complete(context, log) {
            self.want(context, log);
        }
    }

    /// Nothing is kept of the next entry of a log.
    fn forget_pieces(&mut self, context: ContextId, log: LogId) {
        let Some(local) = self.contexts.get_mut(&context) else {
            return;
        };
        local.pieces.remove(&log);
        let from = local.next_of(&log);
        self.commits.pending.ops.push(Op::Truncate { context, log, from });
    }

    /// What nobody sends any more has its room only as long as nobody else needs it.
    fn make_room_for_pieces(&mut self, context: ContextId, log: LogId, sort: LogSort, bytes: u64) {
        let local = self.contexts.get(&context);
        let abandoned = local.map(|local| local.in_the_way(sort, &log, bytes, &self.config));
        for log in abandoned.into_iter().flatten() {
            self.forget_pieces(context, log);
        }
    }

    /// Asks the one who sends it for what is missing.
    fn want(&mut self, context: ContextId, log: LogId) {
        let Some(local) = self.contexts.get(&context) else {
            return;
        };
        let Some(incoming) = local.incoming.get(&log).filter(|incoming| incoming.state == State::Taking) else {
            return;
        };
        let here = local.pieces.get(&log).map_or(0, |pieces| pieces.bytes);
        let offset = if planted(Bug::FragmentsMixed) { 0 } else { here };
        let seq = incoming.entry.header.seq;
        if let Some(session) = self.sessions.get_mut(&incoming.from) {
            session.out.push(Message::Want(Piece { context, log, seq, offset }));
        }
    }

    pub(super) fn on_fragment(&mut self, id: SessionId, piece: Piece, bytes: &Bytes) {
        let Piece { context, log, seq, offset } = piece;
        let cost = bytes.len() as u64;
        if !self.take_into_memory(id, cost) {
            return;
        }
        *self.commits.then.credit.entry(id).or_default() += cost;
        if self.may_offer(id, &context).is_err() {
            return;
        }
        let Some(local) = self.contexts.get_mut(&context) else {
            return;
        };
        let taken = |incoming: &&mut Incoming| {
            incoming.from == id && incoming.entry.header.seq == seq && incoming.state == State::Taking
        };
        let Some(incoming) = local.incoming.get_mut(&log).filter(taken) else {
            return; // it was completed or cut off while this was on its way
        };
        if !self.config.takes_entries {
            // What is here stays, and it goes on behind that when entries are taken again.
            return self.abandon_log(context, log, |seq| Halt::until(seq, Refusal::Draining, Until::Taking));
        }
        let mut here = local.pieces.get(&log).copied().unwrap_or_default();
        if here.bytes != offset && !planted(Bug::FragmentsMixed) {
            return;
        }
        let (len, of, sort) = (incoming.len(), incoming.entry.id, incoming.entry.header.kind.sort());
        let at = here.bytes;
        here.add(cost);
        if bytes.is_empty() || offset.saturating_add(cost) > len {
            return self.violation_text(id, "a fragment outside its payload".into());
        }
        if here.count > MOST_PIECES + len / BYTES_OF_PIECE {
            return self.violation_text(id, "a payload in very many small fragments".into());
        }
        if incoming.source != Some(id) {
            incoming.source = None;
        }
        incoming.since = self.now.monotonic;
        // There was room when it began, and others may have needed it since.
        let bytes_here = here.weight().min(len);
        if !local.has_room(sort, &log, bytes_here, &self.config) {
            return self.abandon_log(context, log, |seq| Halt::until(seq, Refusal::Quota, Until::Room(sort, len)));
        }
        local.pieces.set(log, here);
        self.make_room_for_pieces(context, log, sort, bytes_here);
        self.commits.put(Key::Fragment(context, log, seq, at), pack_fragment(&of, bytes));
        self.complete(context, log);
    }

    /// Has a payload read as a whole when its turn comes, once all of it is here; false while something is missing.
    fn complete(&mut self, context: ContextId, log: LogId) -> bool {
        let Some(local) = self.contexts.get_mut(&context) else {
            return true;
        };
        let here = local.pieces.get(&log).map_or(0, |pieces| pieces.bytes);
        let Some(incoming) = local.incoming.get_mut(&log) else {
            return true;
        };
        let is_whole = here >= incoming.len();
        if is_whole && incoming.state == State::Taking {
            incoming.state = State::Whole;
            self.assembly.waiting.push_back((context, log, incoming.entry.id));
            self.assemble();
        }
        is_whole
    }

    /// Has payloads read as a whole that may be in memory now.
    pub(super) fn assemble(&mut self) {
        while let Some((context, log, of)) = self.assembly.waiting.front().copied() {
            let waits = |incoming: &&mut Incoming| incoming.entry.id == of && incoming.state == State::Whole;
            let local = self.contexts.get_mut(&context);
            let Some(incoming) = local.and_then(|local| local.incoming.get_mut(&log)).filter(waits) else {
                self.assembly.waiting.pop_front();
                continue;
            };
            let (seq, len, hash) = (incoming.entry.header.seq, incoming.len(), incoming.entry.header.payload_hash);
            if self.assembly.bytes > 0 && self.assembly.bytes.saturating_add(len) > MOST_ASSEMBLED {
                return;
            }
            incoming.state = State::Read;
            self.assembly.waiting.pop_front();
            self.assembly.bytes = self.assembly.bytes.saturating_add(len);
            let request = ReadRequest::Payload { context, log, seq, len, hash };
            self.read_settled(Purpose::Payload(context, log, of, len), request);
        }
    }

    /// What was assembled is in the store, and no longer in memory.
    pub(super) fn assembled(&mut self, bytes: u64) {
        self.assembly.bytes = self.assembly.bytes.saturating_sub(bytes);
        self.assemble();
    }

    /// Admits a large entry, now that its payload is here; `None` when the pieces are not what its header names.
    pub(super) fn on_payload_read(
        &mut self,
        context: ContextId,
        log: LogId,
        of: EntryId,
        len: u64,
        payload: Option<Bytes>,
    ) {
        self.commits.then.assembled += len;
        if self.commits.failed.is_some() {
            return; // its pieces never came there
        }
        let Some(local) = self.contexts.get_mut(&context) else {
            return;
        };
        let is_read = |incoming: &Incoming| incoming.entry.id == of && incoming.state == State::Read;
        if !local.incoming.get(&log).is_some_and(is_read) {
            return; // it came another way, or was cut off
        }
        let Some(payload) = payload else {
            return self.begin_again(context, log);
        };
        let Some(incoming) = local.incoming.remove(&log) else {
            return;
        };
        let sessions: Vec<_> = incoming.sessions().collect();
        let mut entry = incoming.entry;
        Arc::make_mut(&mut entry).payload = payload;
        let seq = entry.header.seq;
        let admitted = self.admit(context, entry);
        self.commits.hurry(); // what follows it in its log waits for that
        for id in sessions {
            match &admitted {
                Ok(()) => self.took(id, context, log, seq),
                // The verdict changed while the payload was on its way.
                Err(halt) => self.refuse(id, context, log, halt.clone()),
            }
        }
        self.review.insert(context);
    }

    /// The pieces were not what the header names. Who sent all of them did it on purpose; where they came from several,
    /// or from the store, nobody is blamed, and everything is asked for again from one.
    fn begin_again(&mut self, context: ContextId, log: LogId) {
        self.forget_pieces(context, log);
        let local = self.contexts.get_mut(&context);
        let Some(incoming) = local.and_then(|local| local.incoming.get_mut(&log)) else {
            return;
        };
        incoming.state = State::Taking;
        let from = incoming.from;
        let blamed = incoming.source == Some(from);
        incoming.source = Some(from);
        if blamed {
            // With the session's end, the next one that offered it is asked.
            self.violation_text(from, "a large payload that is not the one its header names".into());
        } else {
            self.want(context, log);
        }
    }

    /// A session is gone, or may not offer any more: the next one that offered its large entries goes on.
    pub(super) fn hand_over_incoming(&mut self, gone: SessionId, context: ContextId) {
        let Some(local) = self.contexts.get_mut(&context) else {
            return;
        };
        let mut next = Vec::new();
        let Context { incoming, pieces, .. } = local;
        incoming.retain(|log, incoming| {
            incoming.others.remove(&gone);
            if incoming.from == gone {
                // The pieces stay in the store: nothing is kept in memory for nobody.
                let Some(other) = incoming.others.pop_first() else {
                    return false;
                };
                incoming.from = other;
                if incoming.state == State::Taking && pieces.get(log).is_none() {
                    incoming.source = Some(other);
                }
                next.push(*log);
            }
            true
        });
        self.review.insert(context);
        for log in next {
            self.want(context, log);
        }
    }

    /// Who offered a large entry and does not send it makes way for others who have it.
    pub(super) fn pass_over_idle_senders(&mut self) {
        let (now, patience) = (self.now.monotonic, self.config.heartbeat);
        let mut next = Vec::new();
        for (context, local) in &mut self.contexts {
            for (log, incoming) in &mut local.incoming {
                let is_idle = incoming.state == State::Taking && now.saturating_sub(incoming.since) >= patience;
                if is_idle && let Some(other) = incoming.others.pop_first() {
                    incoming.others.insert(std::mem::replace(&mut incoming.from, other));
                    incoming.since = now;
                    if local.pieces.get(log).is_none() {
                        incoming.source = Some(other);
                    }
                    next.push((*context, *log));
                }
            }
        }
        for (context, log) in next {
            self.want(context, log);
        }
    }

    /// Nothing more of a log is taken for now: those who send a large entry of it are told.
    pub(super) fn abandon_log(&mut self, context: ContextId, log: LogId, why: impl Fn(u64) -> Halt) {
        let local = self.contexts.get_mut(&context);
        let Some(incoming) = local.and_then(|local| local.incoming.remove(&log)) else {
            return;
        };
        for id in incoming.sessions() {
            self.refuse(id, context, log, why(incoming.entry.header.seq));
        }
    }

    /// A large entry came another way, as a part of a run: its pieces are not needed.
    pub(super) fn forget_overtaken(&mut self, context: ContextId, log: LogId) {
        let Some(local) = self.contexts.get_mut(&context) else {
            return;
        };
        let held = local.logs.get(&log).map_or(0, |log| log.record.seq);
        let overtaken = |incoming: &Incoming| incoming.entry.header.seq <= held;
        if !local.incoming.get(&log).is_some_and(overtaken) {
            return;
        }
        if let Some(incoming) = local.incoming.remove(&log) {
            for id in incoming.sessions() {
                self.acknowledge_later(id, context, log);
            }
            self.review.insert(context);
        }
    }
}

impl Context {
    /// The number of the next entry of a log.
    fn next_of(&self, log: &LogId) -> u64 {
        self.logs.get(log).map_or(0, |state| state.record.seq) + 1
    }

    /// What large entries take that are on their way, beside their pieces.
    fn on_their_way(&self) -> u64 {
        self.incoming.values().map(|incoming| Incoming::COST + incoming.entry.encoded.len() as u64).sum()
    }

    /// Whether a remote's entries of so many bytes in a log fit, on their way and in the store. Pieces that nobody sends any more
    /// make room.
    pub(super) fn has_room(&self, sort: LogSort, log: &LogId, bytes: u64, config: &NodeConfig) -> bool {
        let most = most_with(sort, config);
        let fits = |stored: u64| stored.saturating_add(bytes) <= most;
        let of = |log: &LogId| self.pieces.get(log).map_or(0, |pieces| pieces.weight());
        let stored = self.remote_bytes.saturating_add(self.on_their_way());
        fits(stored.saturating_add(self.pieces.total() - of(log))) || {
            let others = self.incoming.keys().filter(|other| *other != log);
            fits(others.map(of).fold(stored, u64::saturating_add))
        }
    }

    /// The logs of which pieces are kept that nobody sends, if so much of this log has no room beside them.
    fn in_the_way(&self, sort: LogSort, log: &LogId, bytes: u64, config: &NodeConfig) -> Vec<LogId> {
        let own = self.pieces.get(log).map_or(0, |pieces| pieces.weight());
        let stored = [self.on_their_way(), self.pieces.total() - own, bytes];
        if stored.into_iter().fold(self.remote_bytes, u64::saturating_add) <= most_with(sort, config) {
            return Vec::new();
        }
        let is_abandoned = |of: &&LogId| *of != log && !self.incoming.contains_key(of);
        self.pieces.all().keys().filter(is_abandoned).copied().collect()
    }
}
