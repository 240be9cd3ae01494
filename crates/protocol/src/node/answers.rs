//! What a remote answers to what it was sent: it holds it, it refuses it, it wants it again.

use partita_core::{ContextId, LogId, Refusal, SessionId, Tip};

use super::Node;
use crate::{
    effect::{Effect, Notice},
    message::{Piece, Refused},
};

impl Node {
    pub(super) fn on_have(&mut self, id: SessionId, context: ContextId, tips: &[Tip]) {
        if self.may_offer(id, &context).is_err() {
            return;
        }
        if self.commits.failed.is_some() {
            // Nothing becomes durable any more.
            return self.acknowledge(id, tips.iter().map(|tip| (context, tip.log)).collect());
        }
        // What is asked about may be on its way to the disk, and nobody asks twice.
        for tip in tips {
            self.acknowledge_later(id, context, tip.log);
        }
    }

    pub(super) fn on_ack(&mut self, id: SessionId, context: ContextId, held: &[(LogId, u64)]) {
        let Self { sessions, contexts, replica, .. } = self;
        let (Some(session), Some(local)) = (sessions.get_mut(&id), contexts.get(&context)) else {
            return;
        };
        let Some(link) = session.links.get_mut(&context) else {
            return;
        };
        let (mut of_own, mut over) = (false, Vec::new());
        for (log, seq) in held {
            // That is the answer also where the log was cut off meanwhile: it may come back.
            link.asked.remove(log);
            let known = local.logs.get(log);
            // Nobody can hold more of this replica's log than there is: a larger claim counts for no more. Of others' logs a
            // remote may hold more than this node, by a checkpoint that came there first, and may not say so again.
            let own = known.filter(|state| state.record.replica() == *replica);
            let seq = own.map_or(*seq, |state| state.record.seq.min(*seq));
            link.note_held(*log, seq);
            let Some(state) = known else {
                continue;
            };
            let large = link.large.get(log);
            if large.is_some_and(|large| large.entry.header.seq <= seq) {
                link.large.remove(log);
            }
            if link.may_send() && link.make_ready(local, log) {
                session.work.insert(context);
            }
            if link.sent(log) >= state.record.seq && (link.pages.contains_key(log) || link.reading == Some(*log)) {
                over.push(*log);
            }
            of_own |= state.record.replica() == *replica && seq > 0;
        }
        // What was read to be sent and came there another way, by a checkpoint for instance, would keep its place for ever.
        for log in over {
            session.drop_page(context, log);
            session.work.insert(context);
        }
        if of_own {
            self.say_acknowledged(id, context);
        }
    }

    pub(super) fn on_refused(&mut self, id: SessionId, refused: Refused) {
        let Refused { context, log, seq, why, .. } = refused;
        let Self { sessions, contexts, effects, .. } = self;
        let (Some(session), Some(local)) = (sessions.get_mut(&id), contexts.get(&context)) else {
            return;
        };
        let Some(state) = local.logs.get(&log) else {
            return; // it was cut off meanwhile
        };
        session.drop_page(context, log);
        let Some(link) = session.links.get_mut(&context) else {
            return;
        };
        link.large.remove(&log);
        link.ready.remove(&state.order(&log));
        if why == Refusal::Gap {
            link.send_again(local, log, seq.saturating_sub(1));
            if link.may_send() && link.make_ready(local, &log) {
                session.work.insert(context);
            }
            return;
        }
        if !link.ready.is_empty() {
            session.work.insert(context); // it may have waited for a page of this log
        }
        if link.paused.insert(log, why) != Some(why) {
            effects.push(Effect::Notice(Notice::EntryRefused { context, peer: session.peer.clone(), log, seq, why }));
        }
    }

    pub(super) fn on_retry(&mut self, id: SessionId, context: ContextId, logs: &[LogId]) {
        let Self { sessions, contexts, .. } = self;
        let (Some(session), Some(local)) = (sessions.get_mut(&id), contexts.get(&context)) else {
            return;
        };
        let Some(link) = session.links.get_mut(&context) else {
            return;
        };
        for log in logs {
            if link.paused.remove(log).is_some() {
                link.send_again(local, *log, link.held(log));
                if link.may_send() && link.make_ready(local, log) {
                    session.work.insert(context);
                }
            }
        }
    }

    pub(super) fn on_want(&mut self, id: SessionId, piece: Piece) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let link = session.links.get_mut(&piece.context);
        let Some(large) = link.and_then(|link| link.large.get_mut(&piece.log)) else {
            return;
        };
        if large.entry.header.seq == piece.seq && piece.offset < large.entry.header.payload_len {
            large.offset = Some(piece.offset);
            session.work.insert(piece.context);
        }
    }
}
