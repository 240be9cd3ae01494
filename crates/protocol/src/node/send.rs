//! What goes out. Live delivery, catch-up, backfill and retry are one loop over one state: for each log of each session,
//! how far it was sent. New entries, acknowledgements, refusals and retries only wake it; a lost wake-up costs latency.

use std::sync::Arc;

use partita_core::{
    Bytes, ContextId, Entry, LogId, LogSort, PeerInfo, Refusal, SessionId, Signature, Tip,
    planted::{Bug, planted},
};

use super::{
    Node, Purpose,
    context::{Context, Log},
    gather::{Gathered, fragment_bytes, gather},
    link::{LargeOut, Link},
};
use crate::{
    effect::{CloseReason, Effect},
    message::{MAX_PART, MAX_RUN_BYTES, Message, Piece, Run},
    reads::ReadRequest,
};

/// How many bytes of a control log are read at a time.
const CONTROL_PAGE: usize = 4096;

/// How many pages of entries read from the store one session may have in memory.
const MOST_PAGES: usize = 8;

/// What a context has for a session.
enum Turn {
    Say(Box<Message>, u64),
    /// Something, once the session has room for a page.
    Later,
    /// Nothing until it is woken.
    Nothing,
}

impl Node {
    /// A log has new entries: every session that may have them is woken.
    pub(super) fn wake(&mut self, context: ContextId, log: LogId) {
        let Self { contexts, sessions, .. } = self;
        let Some(local) = contexts.get(&context) else {
            return;
        };
        if planted(Bug::WakeLost) && local.last_arrival % 5 == 4 {
            return;
        }
        let end = local.logs.get(&log).map_or(0, |log| log.record.seq);
        for id in &local.sessions {
            let waits = |link: &Link| link.may_send() && link.sent(&log) < end;
            if !sessions.link(id, &context).is_some_and(waits) {
                continue;
            }
            if let Some(session) = sessions.get_mut(id)
                && !is_echo_by_author(&session.peer, local, &log)
                && let Some(link) = session.links.get_mut(&context)
                && link.make_ready(local, &log)
            {
                session.work.insert(context);
            }
        }
    }

    /// Looks at every log of a context for a session: after frontiers were compared, after rights changed.
    pub(super) fn wake_link(&mut self, id: SessionId, context: ContextId) {
        let Self { sessions, contexts, .. } = self;
        let (Some(session), Some(local)) = (sessions.get_mut(&id), contexts.get(&context)) else {
            return;
        };
        let link = session.links.get_mut(&context);
        let Some(link) = link.filter(|link| link.may_send()) else {
            return;
        };
        if link.large.values().any(|large| large.offset.is_some()) {
            session.work.insert(context); // it was on its way when the remote was no target for a while
        }
        let mut ask = Vec::new();
        for (log, state) in &local.logs {
            if is_echo_by_author(&session.peer, local, log) {
                continue;
            }
            let is_own = *log == local.own_data.id || *log == local.own_control.id;
            let unsure = link.unknown_tips && link.held(log) == 0 && link.sent(log) == 0;
            if unsure && !is_own && state.durable > 0 && !link.asked.contains(log) {
                // It may hold this as the predecessor of a log that is unknown here: ask before sending it all again.
                link.asked.insert(*log);
                ask.push(Tip { log: *log, seq: state.durable, head: state.durable_head });
            } else if link.make_ready(local, log) {
                session.work.insert(context);
            }
        }
        for tips in ask.chunks(MAX_PART) {
            let tips = tips.to_vec();
            session.out.push(Message::Have { context, tips });
        }
    }

    pub(super) fn on_page(&mut self, id: SessionId, context: ContextId, log: LogId, page: Vec<Arc<Entry>>) {
        let Self { sessions, contexts, .. } = self;
        let (Some(session), Some(local)) = (sessions.get_mut(&id), contexts.get(&context)) else {
            return;
        };
        let link = session.links.get_mut(&context);
        let Some(link) = link.filter(|link| link.reading == Some(log)) else {
            return;
        };
        link.reading = None;
        session.work.insert(context);
        if page.is_empty() {
            session.pages.remove(&(context, log));
        } else {
            link.pages.insert(log, page);
            if !link.make_ready(local, &log) {
                // The remote may have brought it meanwhile: its place is for what is to be sent.
                session.drop_page(context, log);
            }
        }
    }

    /// Fills the sessions that something happened to, as far as their credit and their transport allow.
    pub(super) fn pump(&mut self) {
        while let Some(id) = self.sessions.next_touched() {
            let mut waiting = 0;
            self.send_frontiers(id);
            self.send_topics(id); // they are small, and late they are worth nothing
            while let Some((message, cost)) = self.next_entries(id) {
                let Some(session) = self.sessions.get_mut(&id) else {
                    break;
                };
                session.credit -= i64::try_from(cost).unwrap_or(i64::MAX);
                session.out.push(message);
                waiting += cost;
                if waiting >= self.config.frame_bytes as u64 {
                    self.send_frames(id);
                    waiting = 0;
                }
            }
            self.send_frames(id);
            self.sessions.untouch(&id);
            let most = self.config.max_send_queue;
            let session = self.sessions.get(&id);
            if session.is_some_and(|session| session.buffered > most) {
                self.end_session(id, Some(CloseReason::Stalled));
            }
            self.give_up_stalled();
        }
    }

    /// What waits for all together has a limit, too: whoever has most to read makes way for the others.
    fn give_up_stalled(&mut self) {
        while self.outgoing > self.config.max_outgoing_bytes {
            let most = self.sessions.iter().max_by_key(|(_, session)| session.buffered);
            let Some(id) = most.map(|(id, _)| *id) else {
                return;
            };
            self.end_session(id, Some(CloseReason::Stalled));
        }
    }

    pub(super) fn send_frames(&mut self, id: SessionId) {
        let most = self.config.frame_bytes;
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.credit_to_return > 0 {
            let credit = std::mem::take(&mut session.credit_to_return);
            session.out.push(Message::Credit(credit));
        }
        for frame in Message::encode_frames(session.out.drain(..), most) {
            session.buffered += frame.len();
            self.outgoing += frame.len();
            self.effects.push(Effect::Send(id, frame));
        }
    }

    /// The frontiers that a session is to be told, as far as its transport takes them.
    fn send_frontiers(&mut self, id: SessionId) {
        let Self { sessions, contexts, config, outgoing, .. } = self;
        let Some(session) = sessions.get_mut(&id) else {
            return;
        };
        let mut room = session.room_to_send(config, *outgoing);
        while room > 0 {
            let Some(context) = session.frontiers.pop_first() else {
                return;
            };
            if let Some(local) = contexts.get_mut(&context) {
                let tips = local.frontier().0.tips();
                room = room.saturating_sub(tips.len() * 50 + 64);
                session.out.extend(Message::frontier(context, tips));
            }
        }
    }

    /// The next run or fragment for a session, from the context whose turn it is.
    fn next_entries(&mut self, id: SessionId) -> Option<(Message, u64)> {
        loop {
            let session = self.sessions.get_mut(&id)?;
            if session.credit <= 0 || session.room_to_send(&self.config, self.outgoing) == 0 {
                return None;
            }
            for _ in session.pages.len()..MOST_PAGES {
                let Some(context) = session.parked.pop_front() else {
                    break;
                };
                session.work.insert(context);
            }
            let context = session.work.next()?;
            match self.next_of_link(id, context) {
                Turn::Say(message, cost) => {
                    self.sessions.get_mut(&id)?.work.served(context, cost);
                    return Some((*message, cost));
                }
                Turn::Later => {
                    // Whoever holds a page is served, and gives it back; then this one is looked at again.
                    let session = self.sessions.get_mut(&id)?;
                    session.work.remove(&context);
                    session.parked.push_back(context);
                }
                Turn::Nothing => {
                    self.sessions.get_mut(&id)?.work.remove(&context);
                }
            }
        }
    }

    fn next_of_link(&mut self, id: SessionId, context: ContextId) -> Turn {
        loop {
            let Self { sessions, contexts, config, large, .. } = self;
            let (Some(session), Some(local)) = (sessions.get_mut(&id), contexts.get(&context)) else {
                return Turn::Nothing;
            };
            let room = session.pages.len() < MOST_PAGES;
            let Some(link) = session.links.get_mut(&context) else {
                return Turn::Nothing;
            };
            if !link.may_send() {
                // It is woken for all of its logs once it may.
                link.ready.clear();
                session.drop_pages(context);
                return Turn::Nothing;
            }
            if let Some((message, cost)) = next_fragment(link, local, context, fragment_bytes(config)) {
                return Turn::Say(Box::new(message), cost);
            }
            if link.reading.is_some() {
                return Turn::Nothing; // the page wakes it
            }
            let Some(order) = link.next_ready(local) else {
                return Turn::Nothing;
            };
            let log = order.2;
            if link.is_blocked(&log) || local.excluding.contains(&log) {
                continue;
            }
            let from = link.sent(&log).saturating_add(1);
            let end = local.logs.get(&log).map_or(0, |state| state.record.seq);
            if from > end {
                session.drop_page(context, log);
                continue;
            }
            match gather(link, local, log, from, config) {
                Gathered::Run(entries, signature) => {
                    let run = Run { context, log, signature, entries, withheld: false };
                    link.sent.insert(log, run.last_seq());
                    let page = link.pages.get(&log);
                    if page.and_then(|page| page.last()).is_some_and(|last| last.header.seq <= run.last_seq()) {
                        link.pages.remove(&log);
                        session.pages.remove(&(context, log));
                    }
                    link.make_ready(local, &log);
                    let cost = run.cost();
                    return Turn::Say(Box::new(Message::Entries(run)), cost);
                }
                Gathered::Large(entry, signature) => {
                    let run = withheld(&entry, signature);
                    link.large.insert(log, LargeOut { entry: large.shared(entry), offset: None });
                    session.drop_page(context, log);
                    let cost = run.cost();
                    return Turn::Say(Box::new(Message::Entries(run)), cost);
                }
                Gathered::Read if !room && !link.pages.contains_key(&log) => {
                    link.ready.insert(order);
                    // Logs whose turn comes later may have filled the session's pages, and would wait for this one.
                    let Some(later) = link.pages.keys().next_back().copied() else {
                        return Turn::Later;
                    };
                    session.drop_page(context, later);
                    if !session.parked.is_empty() {
                        return Turn::Later; // others wait longer
                    }
                }
                Gathered::Read => {
                    link.reading = Some(log);
                    session.pages.insert((context, log));
                    // Control logs take turns, and their pages are read again where they are too many.
                    let bytes = match order.0 {
                        LogSort::Control => CONTROL_PAGE,
                        _ => config.run.bytes.min(MAX_RUN_BYTES) * 4,
                    };
                    self.read(Purpose::Send(id, context, log), ReadRequest::Entries { context, log, from, bytes });
                    return Turn::Nothing;
                }
                Gathered::Wait => {
                    // It holds that by the same checkpoint, and may have said so to an earlier life of this node alone; or it
                    // says so once it does.
                    let state = local.logs.get(&log).filter(|state| from <= state.base);
                    if let Some(state) = state.filter(|_| link.asked_below.insert(log)) {
                        let tip = Tip { log, seq: state.record.seq, head: state.record.head };
                        session.out.push(Message::Have { context, tips: vec![tip] });
                    }
                    session.drop_page(context, log);
                }
                Gathered::Never => {
                    link.paused.insert(log, Refusal::TooLarge);
                    session.drop_page(context, log);
                }
            }
        }
    }
}

/// What [`Bug::EchoByAuthor`] takes for an echo.
fn is_echo_by_author(peer: &PeerInfo, local: &Context, log: &LogId) -> bool {
    let by = |log: &Log| log.record.replica() == peer.replica;
    planted(Bug::EchoByAuthor) && local.logs.get(log).is_some_and(by)
}

/// The run of a large entry: its header alone.
fn withheld(entry: &Entry, signature: Signature) -> Run {
    let mut header = entry.clone();
    header.payload = Bytes::new();
    Run {
        context: entry.header.context,
        log: entry.header.log,
        signature,
        entries: vec![Arc::new(header)],
        withheld: true,
    }
}

/// The next piece of a large payload that the remote asked for.
fn next_fragment(link: &mut Link, local: &Context, context: ContextId, size: usize) -> Option<(Message, u64)> {
    let wanted = |(log, large): &(&LogId, &mut LargeOut)| large.offset.is_some() && !local.excluding.contains(*log);
    let (log, large) = link.large.iter_mut().find(wanted)?;
    let (log, seq, offset) = (*log, large.entry.header.seq, large.offset?);
    let payload = &large.entry.payload;
    let at = usize::try_from(offset).ok()?;
    let end = payload.len().min(at.saturating_add(size));
    let bytes = payload.slice(at.min(end)..end);
    let piece = Piece { context, log, seq, offset };
    // The last one is not the end of it: the remote reads it as a whole before it takes what follows, and may want it again.
    large.offset = (end < payload.len()).then_some(end as u64);
    let cost = bytes.len() as u64;
    Some((Message::Fragment { piece, bytes }, cost))
}
