//! Large payloads: a header that was admitted, then pieces, stored durably outside the frontier and resumed by offset.

use std::{collections::BTreeSet, sync::Arc};

use partita_core::{Bytes, ContextId, Entry, EntryHeader, Key, LogId, Refusal, SessionId};

use super::{Node, Purpose, admit::Stop, session::Halt};
use crate::{
    message::{Message, Piece},
    reads::ReadRequest,
};

/// A large entry on its way in.
#[derive(Debug)]
pub(super) struct Incoming {
    entry: Arc<Entry>,
    /// What is here of the payload; `None` while the store is asked.
    payload: Option<Vec<u8>>,
    /// Who sends it.
    from: SessionId,
    /// Who else offered it.
    others: BTreeSet<SessionId>,
}

impl Node {
    /// A verified header that follows what is held, without its payload.
    pub(super) fn on_withheld(&mut self, id: SessionId, context: ContextId, entry: Arc<Entry>) {
        let (log, seq) = (entry.header.log, entry.header.seq);
        match self.check_withheld(context, &entry) {
            Ok(()) => {}
            Err(Stop::Quarantined) => {
                let halt = Halt {
                    why: Refusal::Excluded,
                    tips: Vec::new(),
                    heads: Vec::new(),
                };
                return self.refuse(id, context, log, seq, halt);
            }
            Err(Stop::Halt(halt)) => return self.refuse(id, context, log, seq, halt),
        }
        let Some(local) = self.contexts.get_mut(&context) else {
            return;
        };
        if let Some(incoming) = local.incoming.get_mut(&log)
            && incoming.entry.id == entry.id
        {
            if self.sessions.contains_key(&incoming.from) && incoming.from != id {
                incoming.others.insert(id);
            } else {
                incoming.from = id;
                self.want(context, log);
            }
            return;
        }
        let waiting: u64 = local
            .incoming
            .values()
            .map(|incoming| incoming.entry.header.payload_len)
            .sum();
        if waiting.saturating_add(entry.header.payload_len)
            > self.config.max_payload.saturating_mul(2)
        {
            let halt = Halt {
                why: Refusal::Quota,
                tips: Vec::new(),
                heads: Vec::new(),
            };
            return self.refuse(id, context, log, seq, halt);
        }
        local.incoming.insert(
            log,
            Incoming {
                entry,
                payload: None,
                from: id,
                others: BTreeSet::new(),
            },
        );
        self.read(
            Purpose::Fragments(context, log),
            ReadRequest::Fragments { context, log, seq },
        );
    }

    pub(super) fn on_fragments_read(&mut self, context: ContextId, log: LogId, stored: Vec<u8>) {
        let Some(incoming) = self
            .contexts
            .get_mut(&context)
            .and_then(|local| local.incoming.get_mut(&log))
        else {
            return;
        };
        let most = usize::try_from(incoming.entry.header.payload_len).unwrap_or(usize::MAX);
        let mut payload = stored;
        payload.truncate(most);
        incoming.payload = Some(payload);
        if !self.complete(context, log) {
            self.want(context, log);
        }
    }

    fn want(&mut self, context: ContextId, log: LogId) {
        let Some(incoming) = self
            .contexts
            .get(&context)
            .and_then(|local| local.incoming.get(&log))
        else {
            return;
        };
        let Some(payload) = &incoming.payload else {
            return;
        };
        let piece = Piece {
            context,
            log,
            seq: incoming.entry.header.seq,
            offset: payload.len() as u64,
        };
        if let Some(session) = self.sessions.get_mut(&incoming.from) {
            session.out.push(Message::Want(piece));
        }
    }

    pub(super) fn on_fragment(&mut self, id: SessionId, piece: Piece, bytes: &Bytes) {
        let Piece {
            context,
            log,
            seq,
            offset,
        } = piece;
        if !self.take_into_memory(id, bytes.len() as u64) {
            return;
        }
        *self.commits.then.credit.entry(id).or_default() += bytes.len() as u64;
        if self.may_offer(id, &context).is_err() {
            return;
        }
        let incoming = self
            .contexts
            .get_mut(&context)
            .and_then(|local| local.incoming.get_mut(&log));
        let Some(incoming) =
            incoming.filter(|incoming| incoming.from == id && incoming.entry.header.seq == seq)
        else {
            return; // it was completed or cut off while this was on its way
        };
        let Some(payload) = incoming
            .payload
            .as_mut()
            .filter(|payload| payload.len() as u64 == offset)
        else {
            return;
        };
        if bytes.is_empty() || offset + bytes.len() as u64 > incoming.entry.header.payload_len {
            return self.violation_text(id, "a fragment outside its payload".into());
        }
        payload.extend_from_slice(bytes);
        self.commits
            .put(Key::Fragment(context, log, seq, offset), bytes.clone());
        self.complete(context, log);
    }

    /// Admits the entry once its payload is whole.
    fn complete(&mut self, context: ContextId, log: LogId) -> bool {
        let Some(local) = self.contexts.get_mut(&context) else {
            return true;
        };
        let whole = |incoming: &Incoming| {
            incoming
                .payload
                .as_ref()
                .is_some_and(|payload| payload.len() as u64 == incoming.entry.header.payload_len)
        };
        if !local.incoming.get(&log).is_some_and(whole) {
            return false;
        }
        let Some(incoming) = local.incoming.remove(&log) else {
            return true;
        };
        let mut entry = incoming.entry;
        let payload = Bytes::from(incoming.payload.unwrap_or_default());
        if EntryHeader::hash_payload(&payload) != entry.header.payload_hash {
            self.forget_fragments(context, &entry);
            self.violation_text(
                incoming.from,
                "a large payload that is not the one its header names".into(),
            );
            return true;
        }
        Arc::make_mut(&mut entry).payload = payload;
        let seq = entry.header.seq;
        let sessions = incoming.others.into_iter().chain([incoming.from]);
        match self.admit(context, entry) {
            Ok(()) => {
                for id in sessions {
                    self.note_offered(id, context, log, seq);
                    self.commits
                        .then
                        .acks
                        .entry(id)
                        .or_default()
                        .insert((context, log));
                }
                self.retry_halted(context);
            }
            // The verdict changed while the payload was on its way.
            Err(stop) => {
                let halt = match stop {
                    Stop::Halt(halt) => halt,
                    Stop::Quarantined => Halt {
                        why: Refusal::Excluded,
                        tips: Vec::new(),
                        heads: Vec::new(),
                    },
                };
                for id in sessions {
                    self.refuse(id, context, log, seq, halt.clone());
                }
            }
        }
        true
    }

    fn forget_fragments(&mut self, context: ContextId, entry: &Entry) {
        // Each stored fragment begins where one of the pieces that came did: all multiples are not known, so every
        // possible offset of this node's own making is removed by the next successful append of the entry.
        self.commits.delete(Key::Fragment(
            context,
            entry.header.log,
            entry.header.seq,
            0,
        ));
    }

    /// A session that was sending large payloads is gone: the next one that offered them goes on.
    pub(super) fn hand_over_incoming(&mut self, gone: SessionId) {
        let mut next = Vec::new();
        for (context, local) in &mut self.contexts {
            for (log, incoming) in &mut local.incoming {
                incoming.others.remove(&gone);
                if incoming.from == gone
                    && let Some(other) = incoming.others.pop_first()
                {
                    incoming.from = other;
                    next.push((*context, *log));
                }
            }
        }
        for (context, log) in next {
            self.want(context, log);
        }
    }
}
