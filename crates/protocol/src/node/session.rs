//! The life of a connection: it begins, says something, falls silent, ends.

use std::time::Duration;

use partita_core::{ContextId, SessionId, codec::DecodeError};

use super::{Node, sessions::Session};
use crate::{
    effect::{CloseReason, Effect, Notice, RemoteSession},
    message::Message,
};

/// Broken rules, by number, in [`Message::Error`].
const PROTOCOL: u8 = 1;

impl Node {
    pub(super) fn on_connected(&mut self, remote: RemoteSession) {
        let (id, dialled) = (remote.session, remote.dialled);
        let mut session = Session::new(remote, self.now.monotonic);
        session.out.push(Message::Credit(self.config.credit));
        self.sessions.insert(id, session);
        if dialled {
            self.ping(id);
        }
        if self.offers(&id) {
            for context in self.contexts.keys().copied().collect::<Vec<_>>() {
                self.offer_context(id, context);
            }
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
                    if !self.sessions.contains(&id) {
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
            Message::Frontier { context, tips, more } => self.on_frontier(id, context, tips, more),
            Message::Have { context, tips } => self.on_have(id, context, &tips),
            Message::Entries(run) => self.on_run(id, run),
            Message::Want(piece) => self.on_want(id, piece),
            Message::Fragment { piece, bytes } => self.on_fragment(id, piece, &bytes),
            Message::Ack { context, held } => self.on_ack(id, context, &held),
            Message::Refused(refused) => self.on_refused(id, refused),
            Message::Retry { context, logs } => self.on_retry(id, context, &logs),
            Message::Credit(bytes) => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
                    session.credit = session.credit.saturating_add(bytes);
                }
            }
            Message::Heartbeat { nonce, clock, reply } => self.on_heartbeat(id, nonce, clock, reply),
            Message::Error { text, .. } => self.end_session(id, Some(CloseReason::Remote(text))),
            Message::Ephemeral(message) => self.on_ephemeral(id, message),
            Message::Gone { context, sender } => self.on_gone(id, context, sender),
            Message::Bye => self.end_session(id, Some(CloseReason::Remote("orderly".into()))),
        }
    }

    fn on_heartbeat(&mut self, id: SessionId, nonce: u64, clock: u64, reply: bool) {
        let here = millis(self.now.wall);
        let limit = self.config.drift_limit;
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if !reply {
            session.out.push(Message::Heartbeat { nonce, clock: here, reply: true });
            return;
        }
        let then = Duration::from_nanos(nonce);
        self.probe_answered(id, then);
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(took) = self.now.monotonic.checked_sub(then).filter(|_| nonce != 0 && nonce == session.ping) else {
            return; // no answer to what was asked last
        };
        session.ping = 0;
        session.round_trip = Some(took);
        let clock = i128::from(clock) + took.as_millis() as i128 / 2;
        let ahead = i64::try_from(clock - i128::from(here)).unwrap_or(if clock > 0 { i64::MAX } else { i64::MIN });
        session.clock_ahead_ms = Some(ahead);
        let drifts = u128::from(ahead.unsigned_abs()) > limit.as_millis();
        if drifts && !std::mem::replace(&mut session.drift_said, drifts) {
            let (peer, ahead_seconds) = (session.peer.replica, ahead / 1000);
            self.effects.push(Effect::Notice(Notice::ClockDrift { author: peer, ahead_seconds }));
        }
    }

    /// The remote broke the protocol: it is told, and the session ends. Nobody else is touched.
    pub(super) fn violation(&mut self, id: SessionId, what: DecodeError) {
        self.violation_text(id, what.to_string());
    }

    pub(super) fn violation_text(&mut self, id: SessionId, text: String) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.out.push(Message::Error { code: PROTOCOL, text: text.clone() });
        }
        self.drop_session(id, CloseReason::Protocol(text));
    }

    /// Sends what waits, then closes.
    pub(super) fn drop_session(&mut self, id: SessionId, reason: CloseReason) {
        self.send_frames(id);
        self.end_session(id, Some(reason));
    }

    pub(super) fn end_session(&mut self, id: SessionId, reason: Option<CloseReason>) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        self.outgoing -= session.buffered;
        self.probed.remove(&id);
        if let Some(reason) = &reason {
            self.effects.push(Effect::Close(id, reason.clone()));
        }
        self.effects.push(Effect::Notice(Notice::SessionClosed { peer: session.peer, reason }));
        for context in session.links.into_keys() {
            if let Some(local) = self.contexts.get_mut(&context) {
                local.sessions.remove(&id);
            }
            self.let_go(id, context);
            // Its strategy may now name others as targets.
            self.look_at(context, None);
        }
    }

    /// A session is over, or shares the context no more: what was on its way to or from there is given up or goes on
    /// elsewhere.
    pub(super) fn let_go(&mut self, id: SessionId, context: ContextId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.drop_pages(context);
        }
        self.hand_over_incoming(id, context);
        self.forget_heard_from(id, context);
    }

    pub(super) fn on_tick(&mut self) {
        let now = self.now.monotonic;
        let beat = self.config.heartbeat;
        let (mut silent, mut due) = (self.probes_unanswered(), Vec::new());
        for (id, session) in self.sessions.iter() {
            let unheard = now.saturating_sub(session.heard);
            // Who dialled asks in any case, so that the round trip is known; who was dialled only when it gets quiet.
            let asks = session.remote.dialled || unheard >= beat;
            if unheard >= beat.saturating_mul(3) {
                silent.push(*id);
            } else if asks && now.saturating_sub(session.pinged) >= beat {
                due.push(*id);
            }
        }
        for id in due {
            self.ping(id);
        }
        for id in silent {
            self.drop_session(id, CloseReason::Silent);
        }
        self.repeat_ephemeral();
        self.forget_silent();
        self.pass_over_idle_senders();
        self.unload_left();
    }

    /// Asks a remote whether it is there.
    pub(super) fn ping(&mut self, id: SessionId) {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.pinged = now.monotonic;
        session.ping = u64::try_from(now.monotonic.as_nanos()).unwrap_or(u64::MAX).max(1);
        let (nonce, clock) = (session.ping, millis(now.wall));
        session.out.push(Message::Heartbeat { nonce, clock, reply: false });
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
