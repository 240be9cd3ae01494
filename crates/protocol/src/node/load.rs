//! A context comes from the store.

use std::{collections::BTreeMap, sync::Arc};

use partita_core::{
    Bytes, ContextId, ContextInfo, Entry, EntryId, Key, LogId, Refusal, SessionId, StoreError,
    planted::{Bug, planted},
};

use super::{
    Node, Purpose,
    context::{Context, OwnLog},
    verdict::Ground,
};
use crate::{
    effect::{Effect, Notice},
    message::Open,
    reads::{ContextState, ReadRequest},
};

/// How many contexts are unloaded at once: others wait meanwhile.
const MOST_UNLOADED: usize = 256;

impl Node {
    /// Has a context read from the store, after everything that was taken or written before: it may have been closed a
    /// moment ago.
    pub(super) fn load(&mut self, info: ContextInfo, waiting: BTreeMap<SessionId, Open>) {
        self.loading.insert(info.id, waiting);
        let request = ReadRequest::Context(info.id);
        self.read_settled(Purpose::Load(info), request);
    }

    pub(super) fn on_loaded(&mut self, info: ContextInfo, state: ContextState) {
        let Some(waiting) = self.loading.remove(&info.id) else {
            return; // it was closed meanwhile
        };
        let Some(strategy) = self.strategy_for(&info.kind) else {
            return;
        };
        let mut mint = || OwnLog::mint(&info, &self.replica, &mut *self.rng);
        let mut own = [mint(), mint()];
        if planted(Bug::SeqReused) {
            own = [false, true].map(|control| OwnLog::derived(&info, &self.replica, control));
        }
        let mut context = Context::new(info.clone(), strategy, &state, own);
        let is_recorded = !state.logs.is_empty();
        for (log, record) in state.logs {
            // Later than every stamp in the store, as far as the clock follows anybody.
            let _ = self.clock.observe(self.now, record.time);
            if context.insert_log(log, record, true, &self.replica).is_none() {
                let what = format!("the author of log {log} is no key");
                return self.fail(StoreError::Damaged(what));
            }
        }
        if !is_recorded {
            let kind = Bytes::copy_from_slice(info.kind.as_str().as_bytes());
            self.commits.put(Key::Context(info.id), kind);
        }
        self.contexts.insert(info.id, context);
        self.adopt(&info.id, None);
        for (id, open) in &waiting {
            self.adopt(&info.id, Some((*id, open)));
        }
        self.replay_control(info.id, state.control);
        if !self.rely_again(info.id, &state.base) {
            let what = "the claim of the checkpoint that stands for what was pruned is missing".into();
            return self.fail(StoreError::Damaged(what));
        }
        // What was being written when the program ended is claimed by nobody.
        self.sweep_snapshots(info.id);
        self.effects.push(Effect::Notice(Notice::ContextReady(info.clone())));
        // Sessions that this is nothing to are not reached for: a relay loads a context for each of thousands.
        let refused = self.sessions.iter().filter(|(_, session)| session.refused.contains(&info.id));
        for id in refused.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.await_right(id, info.id);
        }
        self.control_changed.insert(info.id);
        self.settle_control();
        self.judge_quarantine_again(info.id);
        for id in self.might_offer(&info.id) {
            let awaited = self.sessions.get_mut(&id).is_some_and(|session| session.told_closed.remove(&info.id));
            if awaited {
                self.send_open(id, info.id); // the remote named it, and was told that it is closed
            } else if self.offers(&id) {
                self.offer_context(id, info.id);
            }
        }
        for (id, open) in waiting {
            if self.sessions.contains(&id) {
                self.on_open(id, open);
            }
        }
    }

    /// A node that takes whatever contexts remotes bring forgets those that nobody has open any more. What they hold is in the
    /// store.
    pub(super) fn unload_left(&mut self) {
        if !self.config.accept_contexts || self.commits.failed.is_some() {
            return;
        }
        let (now, after) = (self.now.monotonic, self.config.unload_after);
        let mut left = Vec::new();
        for (id, local) in &mut self.contexts {
            if !local.sessions.is_empty() || local.is_at_work() {
                local.left = None;
            } else if now.saturating_sub(*local.left.get_or_insert(now)) >= after {
                left.push(*id);
            }
        }
        if left.is_empty() {
            return;
        }
        self.settle(); // what was written last leaves first
        for context in left.into_iter().take(MOST_UNLOADED) {
            self.forget_context(context);
        }
    }

    /// Forgets a context until it is opened again: its sessions are told, what was written or taken is stored all the
    /// same.
    pub fn close_context(&mut self, now: partita_core::Now, context: ContextId) {
        self.now = now;
        for (id, open) in self.loading.remove(&context).into_iter().flatten() {
            self.refuse_open(id, context, open.number, Refusal::Closed);
        }
        self.settle(); // what was written last leaves first
        self.forget_context(context);
    }

    /// Only the sessions that have it open, or wait for it, are reached for: each that is is looked at again.
    fn forget_context(&mut self, context: ContextId) {
        let sessions = self.contexts.get(&context).map(|local| local.sessions.clone());
        for id in sessions.into_iter().flatten() {
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            session.drop_pages(context);
            session.refused.remove(&context);
            session.lapsed.remove(&context);
            if session.links.remove(&context).is_some_and(|link| link.opened || link.granted.is_some()) {
                self.refuse_open(id, context, 0, Refusal::Closed);
            }
            self.hand_over_incoming(id, context);
        }
        self.commits.put_logs(&self.contexts);
        if let Some(local) = self.contexts.remove(&context) {
            self.heard.change(context, local.heard.len(), 0);
            self.strategies[local.strategy].forget(&context);
        }
    }

    /// Gives the stored control entries to the strategy again.
    fn replay_control(&mut self, context: ContextId, entries: Vec<Arc<Entry>>) {
        let mut heads: BTreeMap<LogId, Vec<EntryId>> = BTreeMap::new();
        for entry in entries {
            let log = entry.header.log;
            if let Some(local) = self.contexts.get_mut(&context) {
                local.control_arrivals.push((log, entry.header.seq));
            }
            if let Some(stamp) = &entry.header.stamp {
                heads.insert(log, stamp.heads.clone());
            }
            let Some(author) = self.log_author(&context, &log) else {
                continue;
            };
            let ground = Ground { author, heads: heads.get(&log).cloned().unwrap_or_default(), epoch: None };
            // It was taken once. A later version of the strategy may not understand it any more: others rest on it all the same.
            if !self.give_control(context, &entry, &ground)
                && let Some(local) = self.contexts.get_mut(&context)
            {
                local.note_control(&entry, &ground);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use partita_core::{ContextKind, Hash, Now};
    use partita_testing::{
        samples,
        strategy::{OPEN_KIND, OpenStrategy},
    };
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;

    use super::*;
    use crate::{
        NodeConfig, NodeParts,
        channel::LocalIdentity,
        effect::{Event, RemoteSession},
        message::Message,
        reads::ReadResult,
    };

    const NOW: Now = Now { monotonic: Duration::from_secs(1), wall: Duration::from_secs(1_800_000_000) };

    fn info(number: u8) -> ContextInfo {
        let kind = ContextKind::new(OPEN_KIND).unwrap();
        ContextInfo { id: ContextId::derive(&kind, &[number; 32]), kind }
    }

    /// A relay's node, which these sessions dialled.
    fn relay(sessions: &[SessionId]) -> Node {
        let identity =
            LocalIdentity { key: Arc::new(samples::signing_key(200)), incarnation: samples::incarnation(200) };
        let mut node = Node::new(
            NOW,
            NodeParts {
                config: NodeConfig { accept_contexts: true, ..NodeConfig::default() },
                identity,
                strategies: vec![Box::new(OpenStrategy::new())],
                rng: Box::new(ChaCha20Rng::from_seed([1; 32])),
            },
        );
        for (session, seed) in sessions.iter().zip(1..) {
            let remote = RemoteSession {
                session: *session,
                remote: samples::signing_key(seed).verifying_key(),
                incarnation: samples::incarnation(seed),
                handshake: [seed; 32],
                dialled: false,
                pinned: false,
            };
            node.handle(NOW, Event::Connected(remote));
        }
        settle(&mut node);
        node
    }

    /// Does what the node asks for, of a store that knows nothing.
    fn settle(node: &mut Node) {
        loop {
            let effects = node.effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Commit(id, _) => node.handle(NOW, Event::Committed(id, Ok(()))),
                    Effect::Read(id, ReadRequest::Context(_)) => {
                        node.handle(NOW, Event::Read(id, Ok(ReadResult::Context(Box::default()))));
                    }
                    _ => {}
                }
            }
            node.hurry_commit();
        }
    }

    fn open(node: &mut Node, session: SessionId, ContextInfo { id: context, kind }: ContextInfo) {
        let open = Open { context, number: 1, kind, frontier: Hash::ZERO, proof: Bytes::new() };
        node.handle(NOW, Event::Received(session, Message::encode_frame(&[Message::Open(open)])));
        settle(node);
    }

    fn touched(node: &mut Node) -> Vec<SessionId> {
        std::iter::from_fn(|| node.sessions.next_touched()).collect()
    }

    /// A relay has thousands of sessions, and each that it reaches for is looked at again.
    #[test]
    fn a_context_that_is_closed_or_unloaded_reaches_for_those_sessions_alone_that_have_it() {
        let sessions = [1, 2, 3, 4].map(SessionId);
        let mut node = relay(&sessions);
        open(&mut node, sessions[0], info(1));
        open(&mut node, sessions[2], info(1));
        open(&mut node, sessions[1], info(2));
        assert_eq!(touched(&mut node), [], "all were looked at");
        node.close_context(NOW, info(1).id);
        assert_eq!(touched(&mut node), [sessions[0], sessions[2]]);
        assert_eq!(node.context_count(), 1);
        // What the others have open stays as it is.
        assert!(node.sessions.link(&sessions[1], &info(2).id).is_some_and(|link| link.opened));
        node.handle(NOW, Event::Disconnected(sessions[1]));
        settle(&mut node);
        let later = |seconds| Now { monotonic: NOW.monotonic + Duration::from_secs(seconds), ..NOW };
        // Not by a tick, which would end the silent sessions as well.
        for seconds in [0, NodeConfig::default().unload_after.as_secs()] {
            node.now = later(seconds);
            node.unload_left();
        }
        assert_eq!(node.context_count(), 0);
        assert_eq!(touched(&mut node), [], "nobody had it");
    }

    #[test]
    fn a_context_that_is_loaded_reaches_for_those_sessions_alone_that_wait_for_it() {
        let sessions = [1, 2, 3].map(SessionId);
        let mut node = relay(&sessions);
        open(&mut node, sessions[0], info(1));
        node.close_context(NOW, info(1).id); // and the first one is told
        settle(&mut node);
        assert!(node.open_context(NOW, info(1)));
        touched(&mut node);
        let read = node.reads.first_key_value().map(|(id, _)| *id).unwrap();
        node.handle(NOW, Event::Read(read, Ok(ReadResult::Context(Box::default()))));
        assert_eq!(touched(&mut node), [sessions[0]]);
    }
}
