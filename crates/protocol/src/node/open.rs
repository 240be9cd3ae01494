//! Opening contexts in a session: rights, proofs, frontiers.

use std::collections::BTreeMap;

use partita_core::{
    Access, ContextId, ContextInfo, Key, LogId, Refusal, RemoteContext, SessionId, Tip, Transcript,
};

use super::{
    Node, Purpose,
    context::{Context, OwnLog},
    session::{Link, Session},
};
use crate::{
    effect::{Effect, Notice},
    message::{Message, NeedFrontier, Open, Opened},
    reads::{ContextState, ReadRequest},
};

/// What the remote's proofs (`theirs`) or ours are bound to.
fn transcript(session: &Session, theirs: bool) -> Transcript {
    Transcript {
        handshake: session.remote.handshake,
        prover_dialled: session.remote.dialled != theirs,
        remote_pinned: session.remote.pinned,
    }
}

impl Node {
    /// Offers a context to a session if its strategy allows that before any proof of the remote's.
    pub(super) fn offer_context(&mut self, id: SessionId, context: ContextId) {
        let (Some(session), Some(local)) = (self.sessions.get(&id), self.contexts.get(&context))
        else {
            return;
        };
        let remote = RemoteContext {
            id: context,
            kind: local.info.kind.clone(),
            peer: session.peer.clone(),
            grant: session
                .links
                .get(&context)
                .and_then(|link| link.granted)
                .map(|(grant, _)| grant),
        };
        if !matches!(
            self.strategies[local.strategy].should_sync(&local.info, &remote),
            Access::Refused(_)
        ) {
            self.send_open(id, context);
        }
    }

    fn send_open(&mut self, id: SessionId, context: ContextId) {
        let Self {
            sessions,
            contexts,
            strategies,
            ..
        } = self;
        let (Some(session), Some(local)) = (sessions.get_mut(&id), contexts.get_mut(&context))
        else {
            return;
        };
        if session.links.get(&context).is_some_and(|link| link.opened) {
            return;
        }
        let Ok(proof) = strategies[local.strategy]
            .auth()
            .prove(&transcript(session, false), &local.info)
        else {
            return;
        };
        session
            .links
            .entry(context)
            .or_insert_with(Link::new)
            .opened = true;
        let open = Open {
            context,
            kind: local.info.kind.clone(),
            frontier: local.frontier_hash(),
            proof,
        };
        session.out.push(Message::Open(open));
    }

    pub(super) fn on_open(&mut self, id: SessionId, open: Open) {
        if let Some(waiting) = self.loading.get_mut(&open.context) {
            if waiting.len() < self.config.max_session_contexts {
                waiting.push((id, open));
            }
            return;
        }
        if !self.contexts.contains_key(&open.context) {
            return self.on_unknown_context(id, open);
        }
        match self.granted(id, &open) {
            Ok((grant, access)) => self.on_granted(id, &open, (grant, access)),
            Err(why) => self.refuse_open(id, open.context, why),
        }
    }

    fn refuse_open(&mut self, id: SessionId, context: ContextId, why: Refusal) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.out.push(Message::Opened(Opened {
                context,
                outcome: Err(why),
            }));
        }
    }

    /// A context that is not loaded here: a relay begins it when the remote proves its right.
    fn on_unknown_context(&mut self, id: SessionId, open: Open) {
        let Some(strategy) = self.strategy_for(&open.kind) else {
            return self.refuse_open(id, open.context, Refusal::UnknownKind);
        };
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let info = ContextInfo {
            id: open.context,
            kind: open.kind.clone(),
        };
        let proved = self.strategies[strategy].auth().verify(
            &transcript(session, true),
            &session.remote.remote,
            &info,
            &open.proof,
        );
        match proved {
            Ok(_) if self.config.accept_contexts => {
                self.loading.insert(open.context, vec![(id, open)]);
                self.read(Purpose::Load(info.clone()), ReadRequest::Context(info.id));
            }
            Ok(_) => self.refuse_open(id, open.context, Refusal::Denied),
            Err(why) => self.refuse_open(id, open.context, why),
        }
    }

    /// What the remote's `Open` is granted by the proof, then by the strategy.
    fn granted(
        &self,
        id: SessionId,
        open: &Open,
    ) -> Result<(partita_core::Grant, Access), Refusal> {
        let session = self.sessions.get(&id).ok_or(Refusal::Denied)?;
        let local = self.contexts.get(&open.context).ok_or(Refusal::Denied)?;
        if local.info.kind != open.kind {
            return Err(Refusal::BadProof);
        }
        if session.links.len() >= self.config.max_session_contexts
            && !session.links.contains_key(&open.context)
        {
            return Err(Refusal::Quota);
        }
        let strategy = &self.strategies[local.strategy];
        let transcript = transcript(session, true);
        let grant = strategy.auth().verify(
            &transcript,
            &session.remote.remote,
            &local.info,
            &open.proof,
        )?;
        let access = self.access(session, local, grant)?;
        Ok((grant, access))
    }

    fn access(
        &self,
        session: &Session,
        local: &Context,
        grant: partita_core::Grant,
    ) -> Result<Access, Refusal> {
        let remote = RemoteContext {
            id: local.info.id,
            kind: local.info.kind.clone(),
            peer: session.peer.clone(),
            grant: Some(grant),
        };
        match self.strategies[local.strategy].should_sync(&local.info, &remote) {
            Access::Refused(why) => Err(why),
            access => Ok(access),
        }
    }

    fn on_granted(&mut self, id: SessionId, open: &Open, granted: (partita_core::Grant, Access)) {
        self.send_open(id, open.context);
        let Self {
            sessions, contexts, ..
        } = self;
        let (Some(session), Some(local)) = (sessions.get_mut(&id), contexts.get_mut(&open.context))
        else {
            return;
        };
        let differs = open.frontier != local.frontier_hash();
        let link = session.links.entry(open.context).or_insert_with(Link::new);
        link.granted = Some(granted);
        session.out.push(Message::Opened(Opened {
            context: open.context,
            outcome: Ok(NeedFrontier(differs)),
        }));
        if !differs {
            let held = local
                .logs
                .iter()
                .map(|(log, state)| (*log, state.durable))
                .collect();
            self.on_positions(id, open.context, held, Vec::new(), false);
        }
        self.choose_targets(open.context);
        self.say_live(id, open.context);
    }

    pub(super) fn on_opened(&mut self, id: SessionId, opened: Opened) {
        let Self {
            sessions, contexts, ..
        } = self;
        let Some(session) = sessions.get_mut(&id) else {
            return;
        };
        let peer = session.peer.clone();
        let Some(link) = session
            .links
            .get_mut(&opened.context)
            .filter(|link| link.opened)
        else {
            return self.violation_text(id, "an answer to an Open that was not sent".into());
        };
        match opened.outcome {
            Ok(NeedFrontier(need)) => {
                link.accepted = true;
                if need && let Some(local) = contexts.get_mut(&opened.context) {
                    let tips = local.frontier().tips().to_vec();
                    session.out.push(Message::Frontier {
                        context: opened.context,
                        tips,
                    });
                }
                self.say_live(id, opened.context);
            }
            Err(why) => {
                link.opened = false;
                link.accepted = false;
                self.effects.push(Effect::Notice(Notice::ContextRefused {
                    context: opened.context,
                    peer,
                    why,
                }));
            }
        }
    }

    fn say_live(&mut self, id: SessionId, context: ContextId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(link) = session.links.get_mut(&context) else {
            return;
        };
        if link.accepted && link.granted.is_some() && !link.live_said {
            link.live_said = true;
            self.effects.push(Effect::Notice(Notice::Live {
                context,
                peer: session.peer.clone(),
            }));
        }
    }

    /// The remote's frontier: what it holds is what the tips name, and what they rest on.
    pub(super) fn on_frontier(&mut self, id: SessionId, context: ContextId, tips: Vec<Tip>) {
        let Some(local) = self.contexts.get(&context) else {
            return;
        };
        let granted = |session: &Session| {
            session
                .links
                .get(&context)
                .is_some_and(|link| link.granted.is_some())
        };
        if !self.sessions.get(&id).is_some_and(granted) {
            return;
        }
        let mut held: BTreeMap<LogId, u64> = BTreeMap::new();
        let mut unknown = false;
        let mut open: Vec<(LogId, u64)> = tips.iter().map(|tip| (tip.log, tip.seq)).collect();
        while let Some((log, seq)) = open.pop() {
            let before = held.get(&log).copied().unwrap_or(0);
            if seq <= before {
                continue;
            }
            held.insert(log, seq);
            match local.logs.get(&log) {
                Some(state) => {
                    open.extend(state.record.start.tips.iter().map(|tip| (tip.log, tip.seq)))
                }
                None => unknown = true,
            }
        }
        let missing: Vec<_> = tips
            .into_iter()
            .filter(|tip| {
                local
                    .logs
                    .get(&tip.log)
                    .is_none_or(|log| log.durable < tip.seq)
            })
            .collect();
        self.on_positions(id, context, held, missing, unknown);
    }

    fn on_positions(
        &mut self,
        id: SessionId,
        context: ContextId,
        held: BTreeMap<LogId, u64>,
        missing: Vec<Tip>,
        unknown_tips: bool,
    ) {
        if let Some(link) = self
            .sessions
            .get_mut(&id)
            .and_then(|session| session.links.get_mut(&context))
        {
            link.sent = held.clone();
            link.held = Some(held);
            link.missing = Some(missing);
            link.unknown_tips = unknown_tips;
        }
        self.choose_targets(context);
        self.check_caught_up(context);
    }

    /// Asks the strategy which of the sessions get what the context has to send.
    pub(super) fn choose_targets(&mut self, context: ContextId) {
        let Some(local) = self.contexts.get(&context) else {
            return;
        };
        let candidates: Vec<_> = self
            .sessions
            .values()
            .filter(|session| {
                session
                    .links
                    .get(&context)
                    .is_some_and(|link| link.granted.is_some())
            })
            .map(|session| session.peer.clone())
            .collect();
        let mut targets = Vec::with_capacity(candidates.len());
        self.strategies[local.strategy].filter_targets(&context, &candidates, &mut targets);
        for (id, session) in &mut self.sessions {
            if let Some(link) = session.links.get_mut(&context) {
                link.target = targets.contains(id);
            }
        }
        for peer in candidates {
            self.wake_link(peer.session, context);
        }
    }

    /// Says once that everything that the remote held when the context was opened is durable here.
    pub(super) fn check_caught_up(&mut self, context: ContextId) {
        let Some(local) = self.contexts.get(&context) else {
            return;
        };
        for session in self.sessions.values_mut() {
            let Some(link) = session.links.get_mut(&context) else {
                continue;
            };
            let Some(missing) = &mut link.missing else {
                continue;
            };
            missing.retain(|tip| match local.logs.get(&tip.log) {
                Some(log) => {
                    log.durable
                        < tip.seq.min(local.cap(
                            &log.record.replica(),
                            &tip.log,
                            log.record.control,
                        ))
                }
                // Excluded from its first entry on: it will never be here.
                None => !local.quarantined.contains_key(&tip.log),
            });
            if missing.is_empty() {
                link.missing = None;
                self.effects.push(Effect::Notice(Notice::CaughtUp {
                    context,
                    peer: session.peer.clone(),
                }));
            }
        }
    }

    pub(super) fn on_loaded(&mut self, info: ContextInfo, state: ContextState) {
        let waiting = self.loading.remove(&info.id).unwrap_or_default();
        let Some(strategy) = self.strategy_for(&info.kind) else {
            return;
        };
        let mut mint = || OwnLog::mint(&info, &self.replica, &mut *self.rng);
        let own = [mint(), mint()];
        let mut context = Context::new(info.clone(), strategy, &state, own);
        for (log, record) in state.logs {
            // Later than every stamp in the store, as far as the clock follows anybody.
            let _ = self.clock.observe(self.now, record.time);
            if context
                .insert_log(log, record, true, &self.replica)
                .is_none()
            {
                return self.fail(partita_core::StoreError::Damaged(format!(
                    "the author of log {log} is no key"
                )));
            }
        }
        if !context.recorded {
            let kind = partita_core::Bytes::copy_from_slice(info.kind.as_str().as_bytes());
            self.commits.put(Key::Context(info.id), kind);
        }
        self.contexts.insert(info.id, context);
        self.replay_control(info.id, state.control);
        self.effects
            .push(Effect::Notice(Notice::ContextReady(info.clone())));
        self.control_changed.insert(info.id);
        self.settle_control();
        for id in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.offer_context(id, info.id);
        }
        for (id, open) in waiting {
            if self.sessions.contains_key(&id) {
                self.on_open(id, open);
            }
        }
    }

    /// After control entries: every grant in every session is asked for again, and a refusal takes effect at once.
    pub(super) fn review_grants(&mut self, context: ContextId) {
        let Some(local) = self.contexts.get(&context) else {
            return;
        };
        let mut lost = Vec::new();
        for (id, session) in &self.sessions {
            let Some((grant, _)) = session.links.get(&context).and_then(|link| link.granted) else {
                continue;
            };
            lost.push((*id, grant, self.access(session, local, grant)));
        }
        for (id, grant, access) in lost {
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            match access {
                Ok(access) => {
                    if let Some(link) = session.links.get_mut(&context) {
                        link.granted = Some((grant, access));
                    }
                }
                Err(why) => {
                    session.links.remove(&context);
                    session.out.push(Message::Opened(Opened {
                        context,
                        outcome: Err(why),
                    }));
                }
            }
        }
        for id in self.sessions.keys().copied().collect::<Vec<_>>() {
            let offered = self.sessions[&id]
                .links
                .get(&context)
                .is_some_and(|link| link.opened);
            if !offered {
                self.offer_context(id, context);
            }
        }
        self.choose_targets(context);
    }
}
