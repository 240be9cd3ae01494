//! Large payloads: a header that was admitted, then pieces, stored durably outside the frontier and resumed by offset.

use std::{collections::BTreeSet, sync::Arc};

use partita_core::{
    Bytes, ContextId, Entry, EntryHeader, EntryId, Key, LogId, LogSort, Op, Refusal, SessionId,
    planted::{Bug, planted},
};

use super::{
    Node, Purpose,
    context::{Context, most_with},
    link::{Halt, Until},
};
use crate::{
    NodeConfig,
    message::{Message, Piece},
    reads::{ReadRequest, StoredFragments, pack_fragment},
};

/// A large entry on its way in.
#[derive(Debug)]
pub(super) struct Incoming {
    entry: Arc<Entry>,
    /// What is here of the payload; `None` while the store is asked.
    payload: Option<Vec<u8>>,
    /// The offsets of the pieces in the store: all of them go when they turn out to be wrong.
    offsets: Vec<u64>,
    /// The only session that sent any of it; `None` when others did, or the store had some.
    source: Option<SessionId>,
    /// Who sends it.
    from: SessionId,
    /// Who else offered it.
    others: BTreeSet<SessionId>,
}

impl Incoming {
    pub(super) fn len(&self) -> u64 {
        self.entry.header.payload_len
    }

    fn is_whole(&self) -> bool {
        let here = self.payload.as_ref().map(|payload| payload.len() as u64);
        here == Some(self.len())
    }

    fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.others.iter().copied().chain([self.from])
    }
}

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
            let Some(incoming) = self.incoming(context, log) else {
                return;
            };
            if others_turn {
                incoming.others.insert(id);
            } else {
                incoming.from = id;
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
        // What nobody sends any more has its room only as long as nobody else needs it.
        let abandoned = local.make_room(sort, &log, len, &self.config).into_iter();
        let truncated = abandoned.map(|(log, from)| Op::Truncate { context, log, from });
        self.commits.pending.ops.extend(truncated);
        let of = entry.id;
        let incoming =
            Incoming { entry, payload: None, offsets: Vec::new(), source: Some(id), from: id, others: BTreeSet::new() };
        local.incoming.insert(log, incoming);
        self.read_settled(
            Purpose::Fragments(context, log, of),
            ReadRequest::Fragments { context, log, seq, entry: of },
        );
    }

    pub(super) fn on_fragments_read(&mut self, context: ContextId, log: LogId, of: EntryId, stored: StoredFragments) {
        let incoming = self.incoming(context, log);
        let Some(incoming) = incoming.filter(|found| found.entry.id == of) else {
            return;
        };
        let seq = incoming.entry.header.seq;
        if incoming.payload.is_some() {
            return;
        }
        let here = stored.payload.len() as u64;
        let fits = here <= incoming.len();
        if !fits {
            // Not what this node stores: all of it goes.
            incoming.payload = Some(Vec::new());
            self.delete_fragments(context, log, seq, stored.offsets);
        } else {
            if !stored.payload.is_empty() {
                incoming.source = None;
            }
            incoming.payload = Some(stored.payload);
            incoming.offsets = stored.offsets;
        }
        if let Some(local) = self.contexts.get_mut(&context) {
            local.pieces.set(log, if fits { here } else { 0 });
        }
        self.delete_fragments(context, log, seq, stored.stale);
        if !self.complete(context, log) {
            self.want(context, log);
        }
    }

    fn delete_fragments(&mut self, context: ContextId, log: LogId, seq: u64, offsets: Vec<u64>) {
        for offset in offsets {
            self.commits.delete(Key::Fragment(context, log, seq, offset));
        }
    }

    /// Asks the one who sends it for what is missing.
    fn want(&mut self, context: ContextId, log: LogId) {
        let Some(incoming) = self.incoming(context, log) else {
            return;
        };
        let Some(payload) = &incoming.payload else {
            return;
        };
        let from = incoming.from;
        let offset = if planted(Bug::FragmentsMixed) { 0 } else { payload.len() as u64 };
        let seq = incoming.entry.header.seq;
        if let Some(session) = self.sessions.get_mut(&from) {
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
        let incoming = self.incoming(context, log);
        let Some(incoming) = incoming.filter(|found| found.from == id && found.entry.header.seq == seq) else {
            return; // it was completed or cut off while this was on its way
        };
        let (len, of) = (incoming.len(), incoming.entry.id);
        let Some(payload) =
            incoming.payload.as_mut().filter(|payload| planted(Bug::FragmentsMixed) || payload.len() as u64 == offset)
        else {
            return;
        };
        if bytes.is_empty() || offset.saturating_add(cost) > len {
            return self.violation_text(id, "a fragment outside its payload".into());
        }
        payload.extend_from_slice(bytes);
        if planted(Bug::FragmentsMixed) {
            payload.truncate(len as usize);
        }
        incoming.offsets.push(offset);
        if incoming.source != Some(id) {
            incoming.source = None;
        }
        if let Some(local) = self.contexts.get_mut(&context) {
            local.pieces.change(log, || 0, |bytes| *bytes += cost);
        }
        self.commits.put(Key::Fragment(context, log, seq, offset), pack_fragment(&of, bytes));
        self.complete(context, log);
    }

    /// Admits the entry once its payload is whole; false while something is missing.
    fn complete(&mut self, context: ContextId, log: LogId) -> bool {
        let Some(local) = self.contexts.get_mut(&context) else {
            return true;
        };
        if !local.incoming.get(&log).is_some_and(Incoming::is_whole) {
            return false;
        }
        let Some(mut incoming) = local.incoming.remove(&log) else {
            return true;
        };
        let payload = Bytes::from(incoming.payload.take().unwrap_or_default());
        if EntryHeader::hash_payload(&payload) != incoming.entry.header.payload_hash && !planted(Bug::FragmentsMixed) {
            self.begin_again(context, log, incoming);
            return true;
        }
        let sessions: Vec<_> = incoming.sessions().collect();
        let mut entry = incoming.entry;
        Arc::make_mut(&mut entry).payload = payload;
        let seq = entry.header.seq;
        let admitted = self.admit(context, entry);
        for id in sessions {
            match &admitted {
                Ok(()) => self.took(id, context, log, seq),
                // The verdict changed while the payload was on its way.
                Err(halt) => self.refuse(id, context, log, halt.clone()),
            }
        }
        self.review.insert(context);
        true
    }

    /// The pieces were not what the header names. Who sent all of them did it on purpose; where they came from several,
    /// or from the store, nobody is blamed, and everything is asked for again from one.
    fn begin_again(&mut self, context: ContextId, log: LogId, mut incoming: Incoming) {
        let seq = incoming.entry.header.seq;
        let offsets = std::mem::take(&mut incoming.offsets);
        self.delete_fragments(context, log, seq, offsets);
        incoming.payload = Some(Vec::new());
        let from = incoming.from;
        let blamed = incoming.source == Some(from);
        incoming.source = Some(from);
        if let Some(local) = self.contexts.get_mut(&context) {
            local.pieces.remove(&log);
            local.incoming.insert(log, incoming);
        }
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
        local.incoming.retain(|log, incoming| {
            incoming.others.remove(&gone);
            if incoming.from == gone {
                // The pieces are in the store: nothing is kept in memory for nobody.
                let Some(other) = incoming.others.pop_first() else {
                    return false;
                };
                incoming.from = other;
                if incoming.payload.as_ref().is_some_and(Vec::is_empty) {
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
    /// Forgets the pieces that nobody sends, if so much of this log has no room beside them: of which logs, and of which of
    /// their entries.
    fn make_room(&mut self, sort: LogSort, log: &LogId, bytes: u64, config: &NodeConfig) -> Vec<(LogId, u64)> {
        let Self { pieces, incoming, logs, remote_bytes, .. } = self;
        let stored = remote_bytes.saturating_add(pieces.total() - pieces.get(log).unwrap_or(&0));
        if stored.saturating_add(bytes) <= most_with(sort, config) {
            return Vec::new();
        }
        let is_abandoned = |of: &&LogId| *of != log && !incoming.contains_key(of);
        let abandoned: Vec<LogId> = pieces.all().keys().filter(is_abandoned).copied().collect();
        for log in &abandoned {
            pieces.remove(log);
        }
        let next = |log: LogId| (log, logs.get(&log).map_or(0, |state| state.record.seq) + 1);
        abandoned.into_iter().map(next).collect()
    }
}
