//! What is said and not kept. For each document and sender a context remembers the last message, whom it came from, and
//! forgets it when that session ends, or when nothing was heard for a while. A remote that does not read is sent only
//! what is the last one once it does.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use partita_core::{
    Bytes, Claim, ContextId, DocumentId, EntryHeader, HeaderPrefix, Opened, ReplicaId, SessionId, Verdict, timestamp_at,
};

use super::{Node, context::Context};
use crate::{
    effect::{Effect, Notice},
    message::{Ephemeral, Message},
};

/// After how long without a word a sender counts as gone.
const EXPIRES: Duration = Duration::from_secs(30);
/// How many messages a second are looked at of one session, and how many at once after a pause.
const PER_SECOND: u32 = 500;
const BURST: u32 = 1000;
/// How many senders' topics a context remembers, and how many of one sender.
const MOST: usize = 4096;
const MOST_OF_SENDER: usize = 32;

/// Who speaks about what.
pub(super) type Topic = (DocumentId, ReplicaId);

/// The last message on a topic.
#[derive(Debug)]
pub(super) struct Heard {
    message: Ephemeral,
    /// What it says, where it can be opened; empty once it was taken back.
    plain: Bytes,
    /// From where it came; `None` for what this node says itself.
    via: Option<SessionId>,
    at: Duration,
}

/// How many topics there are of each context, and of all.
#[derive(Debug, Default)]
pub(super) struct HeardCounts {
    all: usize,
    /// Contexts of which there is something: those with most last.
    by_count: BTreeSet<(usize, ContextId)>,
}

impl HeardCounts {
    pub(super) fn change(&mut self, context: ContextId, before: usize, after: usize) {
        self.by_count.remove(&(before, context));
        if after > 0 {
            self.by_count.insert((after, context));
        }
        self.all = self.all.saturating_sub(before) + after;
    }

    /// Whether a context with so many may have one more: whoever fills a node up takes nobody else's room.
    fn has_room(&self, count: usize, most: usize) -> bool {
        self.all < most || self.by_count.last().is_some_and(|(largest, _)| *largest > count + 1)
    }
}

/// A token bucket, for one session.
#[derive(Debug)]
pub(super) struct Allowance {
    left: u32,
    at: Duration,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { left: BURST, at: Duration::ZERO }
    }
}

impl Allowance {
    fn take(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.at).as_millis().min(10_000) as u64;
        let more = u32::try_from(passed * u64::from(PER_SECOND) / 1000).unwrap_or(BURST);
        if more > 0 {
            self.left = self.left.saturating_add(more).min(BURST);
            self.at = now;
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

impl Node {
    /// Whether its sender could write an entry now.
    pub(super) fn may_speak(&self, message: &Ephemeral, header: &EntryHeader) -> bool {
        let Some(local) = self.contexts.get(&message.context) else {
            return false;
        };
        let heads = local.graph.heads();
        let claim = Claim { header, author: message.sender, heads: &heads, epoch: message.epoch, control: None };
        !local.standing.has_lost(&message.sender)
            && self.strategies[local.strategy].authorize(&claim) == Verdict::Accept
    }

    pub(super) fn on_ephemeral(&mut self, id: SessionId, message: Ephemeral) {
        let now = self.now.monotonic;
        let (context, topic) = (message.context, (message.document, message.sender));
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let shared = session.links.get(&context).is_some_and(|link| link.granted.is_some());
        let Some(local) = self.contexts.get(&context).filter(|_| shared && message.sender != self.replica) else {
            return;
        };
        // A recording of what was said before is no news, even after its sender was forgotten; a clock that is far ahead would
        // make everything that is said later look like one.
        let is_news = local.spoke.get(&topic).is_none_or(|time| *time < message.time);
        let latest = timestamp_at(self.now.wall.saturating_add(self.config.drift_limit).saturating_add(EXPIRES));
        let is_known = local.heard.contains_key(&topic);
        let count = local.heard.len();
        let has_room = is_known || (count < MOST && self.heard.has_room(count, self.config.max_heard));
        let may_be = is_news && has_room && message.time <= latest;
        if !may_be || !session.allowance.take(now) || !message.is_signed() {
            return;
        }
        let header = message.header();
        if !self.may_speak(&message, &header) {
            return;
        }
        self.make_room(context, topic);
        let Some(local) = self.contexts.get(&context) else {
            return;
        };
        let prefix = HeaderPrefix { header: &header, author: message.sender, epoch: message.epoch };
        let plain = match self.strategies[local.strategy].open(&prefix, &message.payload) {
            Opened::Plain(plain) => Bytes::copy_from_slice(&plain),
            Opened::Wait(_) => Bytes::new(), // a relay's, or a key that is not here yet: the sender repeats it
            Opened::Bad => return,
        };
        let before = local.heard.get(&topic).map_or(&[][..], |heard| &heard.plain);
        if *before != plain {
            let payload = (!plain.is_empty()).then(|| plain.clone());
            let (document, sender) = topic;
            self.effects.push(Effect::Notice(Notice::Ephemeral { context, document, sender, payload }));
        }
        self.pass_on(message, plain, Some(id));
    }

    /// A sender who speaks about too much is forgotten about what it spoke of longest ago, and so is the context in which most
    /// is said, where all together say too much.
    fn make_room(&mut self, context: ContextId, topic: Topic) {
        let Some(local) = self.contexts.get(&context).filter(|local| !local.heard.contains_key(&topic)) else {
            return;
        };
        let of_sender = local.heard.iter().filter(|((_, sender), _)| *sender == topic.1);
        let (count, oldest) = of_sender.fold((0, None::<(Duration, Topic)>), |(count, oldest), (topic, heard)| {
            let this = (heard.at, *topic);
            (count + 1, Some(oldest.map_or(this, |oldest| oldest.min(this))))
        });
        if let Some((_, oldest)) = oldest.filter(|_| count >= MOST_OF_SENDER) {
            self.forget_heard(context, |topic, _| *topic == oldest);
        }
        if self.heard.all < self.config.max_heard {
            return;
        }
        let Some(largest) = self.heard.by_count.last().map(|(_, context)| *context) else {
            return;
        };
        // What this node says itself is not heard from anybody.
        let local = self.contexts.get(&largest);
        let of_others = local.into_iter().flat_map(|local| &local.heard).filter(|(_, heard)| heard.via.is_some());
        if let Some((_, oldest)) = of_others.map(|(topic, heard)| (heard.at, *topic)).min() {
            self.forget_heard(largest, |topic, _| *topic == oldest);
        }
    }

    /// Remembers a message and has it sent to the others.
    pub(super) fn pass_on(&mut self, mut message: Ephemeral, plain: Bytes, via: Option<SessionId>) {
        let (context, topic) = (message.context, (message.document, message.sender));
        // It may share the memory of the frame that it came in.
        message.payload = Bytes::copy_from_slice(&message.payload);
        let at = self.now.monotonic;
        let Some(local) = self.contexts.get_mut(&context) else {
            return;
        };
        if local.spoke.len() >= 2 * MOST {
            let Context { spoke, heard, .. } = local;
            spoke.retain(|topic, _| heard.contains_key(topic));
        }
        local.spoke.insert(topic, message.time);
        let before = local.heard.len();
        local.heard.insert(topic, Heard { message, plain, via, at });
        self.heard.change(context, before, local.heard.len());
        for id in local.sessions.clone() {
            if Some(id) != via
                && let Some(session) = self.sessions.get_mut(&id)
                && session.links.get(&context).is_some_and(|link| link.hears())
                && session.peer.replica != topic.1
            {
                session.topics.insert((context, topic));
            }
        }
    }

    /// What a session is to hear from the beginning: it has the context open now.
    pub(super) fn tell_topics(&mut self, id: SessionId, context: ContextId) {
        let (Some(session), Some(local)) = (self.sessions.get_mut(&id), self.contexts.get(&context)) else {
            return;
        };
        let others =
            local.heard.iter().filter(|((_, sender), heard)| *sender != session.peer.replica && heard.via != Some(id));
        session.topics.extend(others.map(|(topic, _)| (context, *topic)));
    }

    /// The messages that a session is to hear, as far as its transport takes them.
    pub(super) fn send_topics(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let mut room = session.room_to_send(&self.config, self.outgoing);
        while room > 0 {
            let Some((context, topic)) = session.topics.pop_first() else {
                return;
            };
            let may = session.links.get(&context).is_some_and(|link| link.hears());
            let heard = self.contexts.get(&context).and_then(|local| local.heard.get(&topic));
            if let Some(heard) = heard.filter(|_| may) {
                room = room.saturating_sub(heard.message.payload.len() + 256);
                session.out.push(Message::Ephemeral(heard.message.clone()));
            }
        }
    }

    /// Time passed: who was not heard for long is gone.
    pub(super) fn forget_silent(&mut self) {
        let now = self.now.monotonic;
        let expired = |heard: &Heard| now.saturating_sub(heard.at) >= EXPIRES;
        let has_expired = |local: &&Context| local.heard.values().any(expired);
        let contexts: Vec<ContextId> = self.contexts.values().filter(has_expired).map(|local| local.info.id).collect();
        for context in contexts {
            self.forget_heard(context, |_, heard| expired(heard));
        }
    }

    pub(super) fn on_gone(&mut self, id: SessionId, context: ContextId, sender: ReplicaId) {
        self.forget_heard(context, |topic, heard| topic.1 == sender && heard.via == Some(id));
    }

    /// A session is over, or has the context no more: so is what was heard from there.
    pub(super) fn forget_heard_from(&mut self, id: SessionId, context: ContextId) {
        self.forget_heard(context, |_, heard| heard.via == Some(id));
    }

    /// Nobody who lost the right to write goes on being heard.
    pub(super) fn forget_unheard_of(&mut self, context: ContextId) {
        let Some(local) = self.contexts.get(&context) else {
            return;
        };
        let lost: BTreeSet<ReplicaId> =
            local.heard.keys().map(|(_, sender)| *sender).filter(|sender| local.standing.has_lost(sender)).collect();
        if !lost.is_empty() {
            self.forget_heard(context, |topic, _| lost.contains(&topic.1));
        }
    }

    fn forget_heard(&mut self, context: ContextId, over: impl Fn(&Topic, &Heard) -> bool) {
        let Some(local) = self.contexts.get_mut(&context) else {
            return;
        };
        let gone: Vec<Topic> =
            local.heard.iter().filter(|(topic, heard)| over(topic, heard)).map(|(topic, _)| *topic).collect();
        let before = local.heard.len();
        let mut senders = BTreeMap::new();
        for topic in gone {
            let Some(heard) = local.heard.remove(&topic) else {
                continue;
            };
            let (document, sender) = topic;
            senders.insert(sender, heard.via);
            if sender != self.replica && !heard.plain.is_empty() {
                let notice = Notice::Ephemeral { context, document, sender, payload: None };
                self.effects.push(Effect::Notice(notice));
            }
        }
        self.heard.change(context, before, local.heard.len());
        // Who is still heard about something else is not gone; each node forgets single topics by itself.
        senders.retain(|sender, _| !local.heard.keys().any(|(_, of)| of == sender));
        for (sender, via) in senders {
            for id in local.sessions.clone() {
                if Some(id) != via
                    && let Some(session) = self.sessions.get_mut(&id)
                    && session.links.get(&context).is_some_and(|link| link.hears())
                {
                    session.out.push(Message::Gone { context, sender });
                }
            }
        }
    }

    /// What others say about a document now, as far as it can be opened here.
    pub fn ephemeral(&self, context: &ContextId, document: &DocumentId) -> Vec<(ReplicaId, Bytes)> {
        let Some(local) = self.contexts.get(context) else {
            return Vec::new();
        };
        let first = (*document, ReplicaId::from_bytes([0; 32]));
        let of_document = local.heard.range(first..).take_while(|((of, _), _)| of == document);
        let others = of_document.filter(|((_, sender), heard)| *sender != self.replica && !heard.plain.is_empty());
        others.map(|((_, sender), heard)| (*sender, heard.plain.clone())).collect()
    }
}
