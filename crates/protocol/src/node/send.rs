//! What goes out. Live delivery, catch-up, backfill and retry are one loop over one state: for each log of each session,
//! how far it was sent. New entries, acknowledgements, refusals and retries only wake it; a lost wake-up costs latency.

use std::{collections::BTreeMap, sync::Arc};

use partita_core::{ContextId, Entry, LogId, Refusal, SessionId, Tip};

use super::{
    Node, Purpose,
    context::Context,
    session::{LargeOut, Link, SendOrder},
};
use crate::{
    effect::{Effect, Notice},
    message::{MAX_MESSAGES, Message, Piece, Refused, Run, RunBuilder},
    reads::ReadRequest,
};

/// A frame is sent once its messages hold about so many bytes.
const FRAME_BYTES: u64 = 256 << 10;

fn order(local: &Context, log: &LogId) -> Option<SendOrder> {
    local
        .logs
        .get(log)
        .map(|state| (!state.record.control, state.record.begun, *log))
}

/// Puts a log where the loop finds it, if there is something to send and nothing in the way.
fn make_ready(link: &mut Link, local: &Context, log: &LogId) {
    let Some(state) = local.logs.get(log) else {
        return;
    };
    if link.is_blocked(log) || local.excluding.contains(log) {
        return;
    }
    if link.sent.get(log).copied().unwrap_or(0) < state.record.seq
        && let Some(order) = order(local, log)
    {
        link.ready.insert(order);
    }
}

impl Node {
    /// A log has a new entry: every session that may have it is woken.
    pub(super) fn wake(&mut self, context: ContextId, log: LogId, _seq: u64) {
        let Some(local) = self.contexts.get(&context) else {
            return;
        };
        for session in self.sessions.values_mut() {
            if let Some(link) = session.links.get_mut(&context)
                && link.may_send()
            {
                make_ready(link, local, &log);
            }
        }
    }

    /// Looks at every log of a context for a session: after frontiers were compared, after a refusal's cause has gone.
    pub(super) fn wake_link(&mut self, id: SessionId, context: ContextId) {
        let Self {
            sessions, contexts, ..
        } = self;
        let (Some(session), Some(local)) = (sessions.get_mut(&id), contexts.get(&context)) else {
            return;
        };
        let Some(link) = session
            .links
            .get_mut(&context)
            .filter(|link| link.may_send())
        else {
            return;
        };
        let mut ask = Vec::new();
        for (log, state) in &local.logs {
            let held = link
                .held
                .as_ref()
                .and_then(|held| held.get(log))
                .copied()
                .unwrap_or(0);
            let sent = link.sent.get(log).copied().unwrap_or(0);
            let is_own = *log == local.own_data.id || *log == local.own_control.id;
            if link.unknown_tips
                && held == 0
                && sent == 0
                && !is_own
                && state.durable > 0
                && !link.asked.contains(log)
            {
                // It may hold this as the predecessor of a log that is unknown here: ask before sending it all again.
                link.asked.insert(*log);
                ask.push(Tip {
                    log: *log,
                    seq: state.durable,
                    head: state.durable_head,
                });
            } else {
                make_ready(link, local, log);
            }
        }
        if !ask.is_empty() {
            session.out.push(Message::Have { context, tips: ask });
        }
    }

    pub(super) fn on_have(&mut self, id: SessionId, context: ContextId, tips: &[Tip]) {
        if self.may_offer(id, &context).is_ok() {
            self.acknowledge(id, tips.iter().map(|tip| (context, tip.log)).collect());
        }
    }

    pub(super) fn on_ack(&mut self, id: SessionId, context: ContextId, held: &[(LogId, u64)]) {
        let Self {
            sessions,
            contexts,
            effects,
            ..
        } = self;
        let (Some(session), Some(local)) = (sessions.get_mut(&id), contexts.get(&context)) else {
            return;
        };
        let Some(link) = session.links.get_mut(&context) else {
            return;
        };
        for (log, seq) in held {
            let Some(state) = local.logs.get(log) else {
                continue;
            };
            // Nobody can hold more of a log than its frontier here and what was sent: a larger claim counts for no more.
            let seq = (*seq).min(state.record.seq);
            link.asked.remove(log);
            if let Some(held) = &mut link.held {
                let before = held.entry(*log).or_default();
                *before = seq.max(*before);
            }
            let sent = link.sent.entry(*log).or_default();
            *sent = seq.max(*sent);
            if link
                .large
                .get(log)
                .is_some_and(|large| large.entry.header.seq <= seq)
            {
                link.large.remove(log);
            }
            if link.may_send() {
                make_ready(link, local, log);
            }
            if *log == local.own_data.id
                && let Some(arrival) = usize::try_from(seq)
                    .ok()
                    .and_then(|seq| local.own_arrivals.get(seq.wrapping_sub(1)))
            {
                let notice = Notice::Acknowledged {
                    context,
                    peer: session.peer.clone(),
                    arrival: *arrival,
                };
                effects.push(Effect::Notice(notice));
            }
        }
    }

    pub(super) fn on_refused(&mut self, id: SessionId, refused: Refused) {
        let Refused {
            context,
            log,
            seq,
            why,
            ..
        } = refused;
        let Self {
            sessions,
            contexts,
            effects,
            ..
        } = self;
        let (Some(session), Some(local)) = (sessions.get_mut(&id), contexts.get(&context)) else {
            return;
        };
        let peer = session.peer.clone();
        let Some(link) = session.links.get_mut(&context) else {
            return;
        };
        link.large.remove(&log);
        link.pages.remove(&log);
        if let Some(order) = order(local, &log) {
            link.ready.remove(&order);
        }
        if why == Refusal::Gap {
            link.sent.insert(log, seq.saturating_sub(1));
            make_ready(link, local, &log);
            return;
        }
        let first = link.paused.insert(log, why) != Some(why);
        if first {
            effects.push(Effect::Notice(Notice::EntryRefused {
                context,
                peer,
                log,
                seq,
                why,
            }));
        }
    }

    pub(super) fn on_retry(&mut self, id: SessionId, context: ContextId, logs: &[LogId]) {
        let Self {
            sessions, contexts, ..
        } = self;
        let (Some(session), Some(local)) = (sessions.get_mut(&id), contexts.get(&context)) else {
            return;
        };
        let Some(link) = session.links.get_mut(&context) else {
            return;
        };
        for log in logs {
            if link.paused.remove(log).is_some() {
                let held = link
                    .held
                    .as_ref()
                    .and_then(|held| held.get(log))
                    .copied()
                    .unwrap_or(0);
                link.sent.insert(*log, held);
                if link.may_send() {
                    make_ready(link, local, log);
                }
            }
        }
    }

    pub(super) fn on_page(
        &mut self,
        id: SessionId,
        context: ContextId,
        log: LogId,
        page: Vec<Arc<Entry>>,
    ) {
        let Self {
            sessions, contexts, ..
        } = self;
        let (Some(session), Some(local)) = (sessions.get_mut(&id), contexts.get(&context)) else {
            return;
        };
        let Some(link) = session.links.get_mut(&context) else {
            return;
        };
        link.reading.remove(&log);
        if !page.is_empty() {
            link.pages.insert(log, page);
            make_ready(link, local, &log);
        }
    }

    pub(super) fn on_want(&mut self, id: SessionId, piece: Piece) {
        let link = self
            .sessions
            .get_mut(&id)
            .and_then(|session| session.links.get_mut(&piece.context));
        let Some(large) = link.and_then(|link| link.large.get_mut(&piece.log)) else {
            return;
        };
        if large.entry.header.seq == piece.seq && piece.offset <= large.entry.header.payload_len {
            large.offset = Some(piece.offset);
        }
    }

    /// Fills every session as far as its credit and its transport allow, contexts in turn.
    pub(super) fn pump(&mut self) {
        for id in self.sessions.keys().copied().collect::<Vec<_>>() {
            let mut waiting = 0;
            while let Some((message, cost)) = self.next_entries(id) {
                let Some(session) = self.sessions.get_mut(&id) else {
                    break;
                };
                session.credit -= i64::try_from(cost).unwrap_or(i64::MAX);
                session.out.push(message);
                waiting += cost;
                if waiting >= FRAME_BYTES || session.out.len() >= MAX_MESSAGES / 2 {
                    self.send_frame(id);
                    waiting = 0;
                }
            }
            self.send_frame(id);
        }
    }

    fn send_frame(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.credit_to_return > 0 {
            session.out.push(Message::Credit(std::mem::take(
                &mut session.credit_to_return,
            )));
        }
        while !session.out.is_empty() {
            let rest = session.out.split_off(session.out.len().min(MAX_MESSAGES));
            let frame = Message::encode_frame(&std::mem::replace(&mut session.out, rest));
            session.buffered += frame.len();
            self.effects.push(Effect::Send(id, frame));
        }
    }

    /// The next run or fragment for a session, from the context whose turn it is.
    fn next_entries(&mut self, id: SessionId) -> Option<(Message, u64)> {
        let session = self.sessions.get(&id)?;
        if session.credit <= 0 || session.buffered >= self.config.send_buffer {
            return None;
        }
        let has_work = |link: &Link| {
            !link.ready.is_empty() || link.large.values().any(|large| large.offset.is_some())
        };
        let after = session.served;
        let turn: Vec<ContextId> = match after {
            Some(served) => session
                .links
                .range((
                    std::ops::Bound::Excluded(served),
                    std::ops::Bound::Unbounded,
                ))
                .chain(session.links.range(..=served))
                .filter(|(_, link)| has_work(link))
                .map(|(context, _)| *context)
                .collect(),
            None => session
                .links
                .iter()
                .filter(|(_, link)| has_work(link))
                .map(|(context, _)| *context)
                .collect(),
        };
        for context in turn {
            if let Some(found) = self.next_of_link(id, context) {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.served = Some(context);
                }
                return Some(found);
            }
        }
        None
    }

    fn next_of_link(&mut self, id: SessionId, context: ContextId) -> Option<(Message, u64)> {
        let fragment_bytes = self.config.fragment_bytes;
        let builder = RunBuilder {
            limits: self.config.run,
        };
        loop {
            let Self {
                sessions, contexts, ..
            } = self;
            let link = sessions.get_mut(&id)?.links.get_mut(&context)?;
            let local = contexts.get(&context)?;
            if let Some(found) = next_fragment(link, local, context, fragment_bytes) {
                return Some(found);
            }
            let (_, _, log) = link.ready.pop_first()?;
            if !link.may_send() || link.is_blocked(&log) || local.excluding.contains(&log) {
                continue;
            }
            let state = local.logs.get(&log)?;
            let from = link.sent.get(&log).copied().unwrap_or(0) + 1;
            if from > state.record.seq {
                link.pages.remove(&log);
                continue;
            }
            let entries = gather(link, local, log, from, builder);
            let names = |entry: &Entry| {
                local.standing.names(&Tip {
                    log,
                    seq: entry.header.seq,
                    head: entry.id,
                })
            };
            let large = entries
                .first()
                .is_some_and(|entry| entry.payload.len() > fragment_bytes);
            let cut = if large {
                1
            } else {
                builder.cut(&entries, names)
            };
            if cut == 0 {
                if entries.is_empty() || state.durable >= from + entries.len() as u64 {
                    link.reading.insert(log);
                    let bytes = 4 * self.config.run.bytes;
                    self.read(
                        Purpose::Send(id, context, log),
                        ReadRequest::Entries {
                            context,
                            log,
                            from,
                            bytes,
                        },
                    );
                }
                // Otherwise these entries cannot be verified yet: their author's next signature is still to come.
                continue;
            }
            let run = Run {
                context,
                log,
                signature: entries[cut - 1].signature,
                entries: entries[..cut].to_vec(),
                withheld: large,
            };
            if large {
                let entry = entries[0].clone();
                let mut header = run.entries[0].as_ref().clone();
                header.payload = partita_core::Bytes::new();
                link.large.insert(
                    log,
                    LargeOut {
                        entry,
                        offset: None,
                    },
                );
                let cost = header.size() as u64;
                return Some((
                    Message::Entries(Run {
                        entries: vec![Arc::new(header)],
                        ..run
                    }),
                    cost,
                ));
            }
            link.sent.insert(log, run.last_seq());
            make_ready(link, local, &log);
            let cost = run.cost();
            return Some((Message::Entries(run), cost));
        }
    }
}

/// The entries of a log from a number on, from what was read or from memory; a large one ends them.
fn gather(
    link: &mut Link,
    local: &Context,
    log: LogId,
    from: u64,
    builder: RunBuilder,
) -> Vec<Arc<Entry>> {
    let mut found: Vec<Arc<Entry>> = Vec::new();
    let mut bytes = 0;
    let mut take = |entry: &Arc<Entry>| {
        bytes += entry.size();
        found.push(entry.clone());
        // A little more than a run: the cut goes where a signature is.
        bytes < 2 * builder.limits.bytes && found.len() < 2 * builder.limits.entries
    };
    if let Some(page) = link.pages.get_mut(&log) {
        page.retain(|entry| entry.header.seq >= from);
        if page.first().is_some_and(|entry| entry.header.seq == from) {
            page.iter()
                .map_while(|entry| take(entry).then_some(()))
                .for_each(drop);
            return found;
        }
        link.pages.remove(&log);
    }
    local
        .tail
        .from(log, from)
        .map_while(|entry| take(entry).then_some(()))
        .for_each(drop);
    found
}

/// The next piece of a large payload that the remote asked for.
fn next_fragment(
    link: &mut Link,
    local: &Context,
    context: ContextId,
    size: usize,
) -> Option<(Message, u64)> {
    let (log, large) = link
        .large
        .iter_mut()
        .find(|(_, large)| large.offset.is_some())?;
    let (log, seq) = (*log, large.entry.header.seq);
    let offset = large.offset?;
    let at = usize::try_from(offset).ok()?;
    let end = large.entry.payload.len().min(at + size);
    let bytes = large.entry.payload.slice(at..end);
    let piece = Piece {
        context,
        log,
        seq,
        offset,
    };
    if end == large.entry.payload.len() {
        link.large.remove(&log);
        link.sent.insert(log, seq);
        make_ready(link, local, &log);
    } else {
        large.offset = Some(end as u64);
    }
    let cost = bytes.len() as u64;
    (cost > 0).then_some((Message::Fragment { piece, bytes }, cost))
}

/// For the node's status: how far a remote holds what this replica wrote.
pub(super) fn held_of(link: &Link) -> &BTreeMap<LogId, u64> {
    static NONE: BTreeMap<LogId, u64> = BTreeMap::new();
    link.held.as_ref().unwrap_or(&NONE)
}
