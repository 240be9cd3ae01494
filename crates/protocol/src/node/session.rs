//! One connection, and what it has open.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use partita_core::{
    Access, ContextId, Entry, EntryId, Grant, LogId, PeerInfo, Refusal, SessionId, Tip,
    codec::DecodeError,
};

use super::Node;
use crate::{
    effect::{CloseReason, Effect, Notice, RemoteSession},
    message::Message,
};

/// A large entry on its way out.
#[derive(Debug)]
pub(super) struct LargeOut {
    pub(super) entry: Arc<Entry>,
    /// The next byte to send, once the remote asked.
    pub(super) offset: Option<u64>,
}

/// Why this node did not take a log's entries, and what must be here before it tries again.
#[derive(Debug, Clone)]
pub(super) struct Halt {
    pub(super) why: Refusal,
    pub(super) tips: Vec<Tip>,
    pub(super) heads: Vec<EntryId>,
}

/// What a log to send is ordered by: control first, then by when it began here, so that what a log rests on goes before it.
pub(super) type SendOrder = (bool, u64, LogId);

/// One context in one session.
#[derive(Debug)]
pub(super) struct Link {
    /// Our `Open` was sent.
    pub(super) opened: bool,
    /// Their `Open` was granted, with this access.
    pub(super) granted: Option<(Grant, Access)>,
    /// They granted ours.
    pub(super) accepted: bool,
    /// Whether the strategy names them as a target.
    pub(super) target: bool,
    /// How far they hold each log: by their frontier and their acknowledgements alone. `None` until it is known.
    pub(super) held: Option<BTreeMap<LogId, u64>>,
    /// Whether their frontier names logs that are unknown here, whose predecessors they may hold.
    pub(super) unknown_tips: bool,
    /// How far each log was sent, or came from there.
    pub(super) sent: BTreeMap<LogId, u64>,
    /// Logs with something to send.
    pub(super) ready: BTreeSet<SendOrder>,
    /// Logs of which it was asked whether they hold them.
    pub(super) asked: BTreeSet<LogId>,
    /// Logs that they refused, and why.
    pub(super) paused: BTreeMap<LogId, Refusal>,
    /// Logs whose entries are being read from the store.
    pub(super) reading: BTreeSet<LogId>,
    /// What was read and not sent yet.
    pub(super) pages: BTreeMap<LogId, Vec<Arc<Entry>>>,
    pub(super) large: BTreeMap<LogId, LargeOut>,
    /// Logs that this node refused.
    pub(super) halted: BTreeMap<LogId, Halt>,
    /// What they held when the context was opened and is not durable here yet; `None` once it is.
    pub(super) missing: Option<Vec<Tip>>,
    pub(super) live_said: bool,
}

impl Link {
    pub(super) fn new() -> Self {
        Self {
            opened: false,
            granted: None,
            accepted: false,
            target: false,
            held: None,
            unknown_tips: false,
            sent: BTreeMap::new(),
            ready: BTreeSet::new(),
            asked: BTreeSet::new(),
            paused: BTreeMap::new(),
            reading: BTreeSet::new(),
            pages: BTreeMap::new(),
            large: BTreeMap::new(),
            halted: BTreeMap::new(),
            missing: None,
            live_said: false,
        }
    }

    /// Whether entries may go out.
    pub(super) fn may_send(&self) -> bool {
        self.accepted
            && self.target
            && self.held.is_some()
            && self.granted.is_some_and(|(_, access)| access.reads())
    }

    /// Whether something else than credit holds a log back.
    pub(super) fn is_blocked(&self, log: &LogId) -> bool {
        self.asked.contains(log)
            || self.paused.contains_key(log)
            || self.reading.contains(log)
            || self.large.contains_key(log)
    }
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) remote: RemoteSession,
    pub(super) peer: PeerInfo,
    pub(super) links: BTreeMap<ContextId, Link>,
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
    /// The context that was served last: the next one comes first.
    pub(super) served: Option<ContextId>,
    pub(super) heard: Duration,
    pub(super) pinged: Duration,
    /// The last measured round trip.
    pub(super) round_trip: Option<Duration>,
}

impl Node {
    pub(super) fn on_connected(&mut self, remote: RemoteSession) {
        let (id, peer) = (remote.session, remote.peer());
        let session = Session {
            remote,
            peer,
            links: BTreeMap::new(),
            out: Vec::new(),
            credit: i64::try_from(self.config.credit).unwrap_or(i64::MAX),
            uncredited: 0,
            credit_to_return: 0,
            buffered: 0,
            served: None,
            heard: self.now.monotonic,
            pinged: self.now.monotonic,
            round_trip: None,
        };
        self.sessions.insert(id, session);
        for context in self.contexts.keys().copied().collect::<Vec<_>>() {
            self.offer_context(id, context);
        }
    }

    pub(super) fn on_frame(&mut self, id: SessionId, frame: &partita_core::Bytes) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.heard = self.now.monotonic;
        match Message::decode_frame(frame) {
            Ok(messages) => {
                for message in messages {
                    if !self.sessions.contains_key(&id) {
                        return; // an earlier message of this frame ended the session
                    }
                    self.on_message(id, message);
                }
            }
            Err(error) => self.violation(id, error),
        }
    }

    fn on_message(&mut self, id: SessionId, message: Message) {
        match message {
            Message::Open(open) => self.on_open(id, open),
            Message::Opened(opened) => self.on_opened(id, opened),
            Message::Frontier { context, tips } => self.on_frontier(id, context, tips),
            Message::Have { context, tips } => self.on_have(id, context, &tips),
            Message::Entries(run) => self.on_run(id, run),
            Message::Want(piece) => self.on_want(id, piece),
            Message::Fragment { piece, bytes } => self.on_fragment(id, piece, &bytes),
            Message::Ack { context, held } => self.on_ack(id, context, &held),
            Message::Refused(refused) => self.on_refused(id, refused),
            Message::Retry { context, logs } => self.on_retry(id, context, &logs),
            Message::Credit(bytes) => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    // Never more than was granted at first: credit comes back, it is not made.
                    let most = i64::try_from(self.config.credit).unwrap_or(i64::MAX);
                    session.credit = session
                        .credit
                        .saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX))
                        .min(most);
                }
            }
            Message::Heartbeat {
                nonce,
                reply: false,
            } => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.out.push(Message::Heartbeat { nonce, reply: true });
                }
            }
            Message::Heartbeat { nonce, reply: true } => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    let then = Duration::from_nanos(nonce);
                    session.round_trip = self.now.monotonic.checked_sub(then);
                }
            }
            Message::Error { text, .. } => self.end_session(id, Some(CloseReason::Remote(text))),
            Message::Bye => self.end_session(id, Some(CloseReason::Remote("orderly".into()))),
        }
    }

    /// The remote broke the protocol: it is told, and the session ends. Nobody else is touched.
    pub(super) fn violation(&mut self, id: SessionId, what: DecodeError) {
        self.violation_text(id, what.to_string());
    }

    pub(super) fn violation_text(&mut self, id: SessionId, text: String) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.out.push(Message::Error {
                code: 1,
                text: text.clone(),
            });
        }
        self.drop_session(id, CloseReason::Protocol(text));
    }

    /// Sends what waits, then closes.
    pub(super) fn drop_session(&mut self, id: SessionId, reason: CloseReason) {
        if let Some(session) = self.sessions.get_mut(&id) {
            let out = std::mem::take(&mut session.out);
            if !out.is_empty() {
                self.effects
                    .push(Effect::Send(id, Message::encode_frame(&out)));
            }
        }
        self.end_session(id, Some(reason));
    }

    pub(super) fn end_session(&mut self, id: SessionId, reason: Option<CloseReason>) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        if let Some(reason) = &reason {
            self.effects.push(Effect::Close(id, reason.clone()));
        }
        self.effects.push(Effect::Notice(Notice::SessionClosed {
            peer: session.peer,
            reason,
        }));
        self.hand_over_incoming(id);
    }

    pub(super) fn on_tick(&mut self) {
        let now = self.now.monotonic;
        let beat = self.config.heartbeat;
        let mut silent = Vec::new();
        for (id, session) in &mut self.sessions {
            let quiet = now.saturating_sub(session.heard);
            if quiet >= 3 * beat {
                silent.push(*id);
            } else if quiet >= beat && now.saturating_sub(session.pinged) >= beat {
                session.pinged = now;
                let nonce = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
                session.out.push(Message::Heartbeat {
                    nonce,
                    reply: false,
                });
            }
        }
        for id in silent {
            self.drop_session(id, CloseReason::Silent);
        }
    }
}
