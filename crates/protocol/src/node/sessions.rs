//! The connections, and which of them have to be looked at.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use partita_core::{ContextId, Grant, LogId, PeerInfo, SessionId};

use super::{
    heard::{Allowance, Topic},
    link::Link,
    refused_opens::RefusedOpens,
    turns::Turns,
};
use crate::{NodeConfig, effect::RemoteSession, message::Message};

#[derive(Debug)]
pub(super) struct Session {
    pub(super) remote: RemoteSession,
    pub(super) peer: PeerInfo,
    /// Boxed: a map has room for eleven, and most sessions are about one or two contexts.
    pub(super) links: BTreeMap<ContextId, Box<Link>>,
    /// Contexts that may have something to send: the others are not looked at.
    pub(super) work: Turns,
    /// Messages for the next frame.
    pub(super) out: Vec<Message>,
    /// How many bytes of entries the remote will take.
    pub(super) credit: i64,
    /// Bytes of entries from the remote that are in receive memory.
    pub(super) uncredited: u64,
    /// Bytes to give back with the next frame.
    pub(super) credit_to_return: u64,
    /// Bytes that the transport has not taken yet.
    pub(super) buffered: usize,
    /// Logs that are being read from the store for this session, or lie in memory as a page: so many at most.
    pub(super) pages: BTreeSet<(ContextId, LogId)>,
    /// Contexts that wait for room for a page.
    pub(super) parked: VecDeque<ContextId>,
    /// Contexts whose frontier the remote is to be told.
    pub(super) frontiers: BTreeSet<ContextId>,
    /// How many `Open`s were sent.
    pub(super) opens: u64,
    /// What was refused to the remote: looked at again when the context's control entries change.
    pub(super) refused: RefusedOpens,
    /// What it was granted until control entries took the right away.
    pub(super) lapsed: BTreeMap<ContextId, Grant>,
    /// Contexts that it was told are closed: it waits to hear of them.
    pub(super) told_closed: BTreeSet<ContextId>,
    /// Ephemeral messages that the remote is to hear: whose, about what.
    pub(super) topics: BTreeSet<(ContextId, Topic)>,
    /// How many of them it may send.
    pub(super) allowance: Allowance,
    pub(super) heard: Duration,
    pub(super) pinged: Duration,
    /// The number of the heartbeat that waits for its answer; 0 when none does.
    pub(super) ping: u64,
    /// When the remote was asked whether it is there, if it has not answered.
    pub(super) probed: Option<Duration>,
    /// The last measured round trip.
    pub(super) round_trip: Option<Duration>,
    /// By how many milliseconds the remote's clock is ahead of this node's, or behind it.
    pub(super) clock_ahead_ms: Option<i64>,
    pub(super) drift_said: bool,
}

impl Session {
    pub(super) fn new(remote: RemoteSession, now: Duration) -> Self {
        let peer = remote.peer();
        Self {
            remote,
            peer,
            links: BTreeMap::new(),
            work: Turns::default(),
            out: Vec::new(),
            credit: 0,
            uncredited: 0,
            credit_to_return: 0,
            buffered: 0,
            pages: BTreeSet::new(),
            parked: VecDeque::new(),
            frontiers: BTreeSet::new(),
            opens: 0,
            refused: RefusedOpens::default(),
            lapsed: BTreeMap::new(),
            told_closed: BTreeSet::new(),
            topics: BTreeSet::new(),
            allowance: Allowance::default(),
            heard: now,
            pinged: now,
            ping: 0,
            probed: None,
            round_trip: None,
            clock_ahead_ms: None,
            drift_said: false,
        }
    }

    /// How many bytes of what can wait its transport is given now, where so many wait for all transports together. One that has
    /// some to take is looked at again whenever it took some.
    pub(super) fn room_to_send(&self, config: &NodeConfig, outgoing: usize) -> usize {
        if self.buffered > 0 && outgoing >= config.max_outgoing_bytes / 2 {
            return 0;
        }
        config.send_buffer.saturating_sub(self.buffered)
    }

    /// Forgets the page of a log, and that it was asked for.
    pub(super) fn drop_page(&mut self, context: ContextId, log: LogId) {
        self.pages.remove(&(context, log));
        if let Some(link) = self.links.get_mut(&context) {
            link.pages.remove(&log);
            if link.reading == Some(log) {
                link.reading = None;
                self.work.insert(context); // what waited for that page does not any more
            }
        }
    }

    /// Forgets the pages of a context.
    pub(super) fn drop_pages(&mut self, context: ContextId) {
        self.pages.retain(|(of, _)| *of != context);
        if let Some(link) = self.links.get_mut(&context) {
            link.pages.clear();
            link.reading = None;
        }
    }
}

/// All sessions. Whoever reaches for one to change it has it looked at in this round; the others cost nothing.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    all: BTreeMap<SessionId, Session>,
    touched: BTreeSet<SessionId>,
}

impl Sessions {
    pub(super) fn insert(&mut self, id: SessionId, session: Session) {
        self.all.insert(id, session);
        self.touched.insert(id);
    }

    pub(super) fn remove(&mut self, id: &SessionId) -> Option<Session> {
        self.touched.remove(id);
        self.all.remove(id)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn contains(&self, id: &SessionId) -> bool {
        self.all.contains_key(id)
    }

    pub(super) fn get(&self, id: &SessionId) -> Option<&Session> {
        self.all.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &SessionId) -> Option<&mut Session> {
        let session = self.all.get_mut(id)?;
        self.touched.insert(*id);
        Some(session)
    }

    pub(super) fn link(&self, id: &SessionId, context: &ContextId) -> Option<&Link> {
        self.all.get(id)?.links.get(context).map(Box::as_ref)
    }

    pub(super) fn link_mut(&mut self, id: &SessionId, context: &ContextId) -> Option<&mut Link> {
        self.get_mut(id)?.links.get_mut(context).map(Box::as_mut)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&SessionId, &Session)> {
        self.all.iter()
    }

    /// The sessions with this number and higher ones.
    pub(super) fn from(&self, id: SessionId) -> impl Iterator<Item = (&SessionId, &Session)> {
        self.all.range(id..)
    }

    pub(super) fn ids(&self) -> Vec<SessionId> {
        self.all.keys().copied().collect()
    }

    /// It was looked at.
    pub(super) fn untouch(&mut self, id: &SessionId) {
        self.touched.remove(id);
    }

    /// A session that was reached for since it was looked at last.
    pub(super) fn next_touched(&mut self) -> Option<SessionId> {
        self.touched.pop_first()
    }
}
