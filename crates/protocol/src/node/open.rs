//! Opening contexts in a session: who offers, what a proof is granted.

use partita_core::{
    Access, Brought, Bytes, ContextId, ContextInfo, Grant, Hash, Refusal, RemoteContext, SessionId, Transcript,
    planted::{Bug, planted},
};

use super::{Node, context::Context, sessions::Session};
use crate::{
    effect::{Effect, Notice},
    message::{Granted, Message, Open, Opened},
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
    /// Whether this node opens contexts in a session by itself. A node that takes whatever contexts remotes bring
    /// leaves that to those who dial it.
    pub(super) fn offers(&self, id: &SessionId) -> bool {
        self.sessions.get(id).is_some_and(|session| self.offers_to(session))
    }

    fn offers_to(&self, session: &Session) -> bool {
        session.remote.dialled || !self.config.accept_contexts
    }

    /// The sessions in which a context might be offered, or that wait to hear of it. Nobody is reached for to find out: a
    /// relay has thousands of sessions, and looks for each context of each of them.
    pub(super) fn might_offer(&self, context: &ContextId) -> Vec<SessionId> {
        let might = |session: &Session| self.offers_to(session) || session.told_closed.contains(context);
        self.sessions.iter().filter(|(_, session)| might(session)).map(|(id, _)| *id).collect()
    }

    /// Offers a context to a session if its strategy allows that before any proof of the remote's.
    pub(super) fn offer_context(&mut self, id: SessionId, context: ContextId) {
        let (Some(session), Some(local)) = (self.sessions.get(&id), self.contexts.get(&context)) else {
            return;
        };
        let link = session.links.get(&context);
        let remote = RemoteContext {
            id: context,
            kind: local.info.kind.clone(),
            peer: session.peer.clone(),
            grant: link.and_then(|link| link.granted).map(|(grant, _)| grant),
        };
        let strategy = &self.strategies[local.strategy];
        if !matches!(strategy.should_sync(&local.info, &remote), Access::Refused(_)) {
            self.send_open(id, context);
        }
    }

    /// Opens a context with a session, unless it was opened already.
    pub(super) fn send_open(&mut self, id: SessionId, context: ContextId) {
        if !self.sessions.link(&id, &context).is_some_and(|link| link.opened) {
            self.open_again(id, context);
        }
    }

    /// Opens a context with a session, whether or not it was opened before.
    pub(super) fn open_again(&mut self, id: SessionId, context: ContextId) {
        if let Some(local) = self.contexts.get_mut(&context) {
            let frontier = local.frontier_hash();
            self.say_open(id, context, frontier, true);
        }
    }

    /// Shows this replica's right to a context, and what it holds of it.
    pub(super) fn say_open(&mut self, id: SessionId, context: ContextId, frontier: Hash, brief: bool) {
        let Some((proof, brief)) = self.proof(id, &context, brief) else {
            return;
        };
        let Self { sessions, contexts, .. } = self;
        let (Some(session), Some(local)) = (sessions.get_mut(&id), contexts.get_mut(&context)) else {
            return;
        };
        local.sessions.insert(id);
        session.drop_pages(context);
        session.opens += 1;
        let number = session.opens;
        let link = session.links.entry(context).or_default();
        link.restart(); // positions are compared anew, on both sides
        link.opened = true;
        link.by_open = true;
        link.brief = brief;
        link.offered = Some((number, frontier));
        let kind = local.info.kind.clone();
        session.out.push(Message::Open(Open { context, number, kind, frontier, proof }));
    }

    /// The proof of this replica's right in a session, and whether it is a brief one; `None` when it has no right to show.
    fn proof(&self, id: SessionId, context: &ContextId, brief: bool) -> Option<(Bytes, bool)> {
        let (session, local) = (self.sessions.get(&id)?, self.contexts.get(context)?);
        let (auth, transcript) = (self.strategies[local.strategy].auth(), transcript(session, false));
        let short = if brief { auth.prove_briefly(&transcript, &local.info) } else { None };
        match short {
            Some(proof) => Some((proof, true)),
            None => Some((auth.prove(&transcript, &local.info).ok()?, false)),
        }
    }

    /// Compares positions with a session from nothing, whatever was known: nothing that is held is lost or sent twice.
    pub(super) fn open_anew(&mut self, id: SessionId, context: ContextId) {
        if self.sessions.link(&id, &context).is_some_and(|link| link.opened) {
            // No frontier has this hash: the remote sends its own, and asks for this one.
            self.say_open(id, context, Hash::ZERO, true);
        }
    }

    pub(super) fn on_open(&mut self, id: SessionId, open: Open) {
        if let Some(waiting) = self.loading.get_mut(&open.context) {
            waiting.insert(id, open);
            return;
        }
        if !self.contexts.contains_key(&open.context) {
            return self.on_unknown_context(id, open);
        }
        self.adopt(&open.context, Some((id, &open)));
        self.settle_control();
        match self.granted(id, &open) {
            Ok(granted) => self.on_granted(id, &open, granted),
            Err(why) => {
                self.refuse_open(id, open.context, open.number, why);
                self.remember_refused(id, open);
            }
        }
    }

    /// Tells the strategy that this context is here, and which remote brought it, if one did.
    pub(super) fn adopt(&mut self, context: &ContextId, brought: Option<(SessionId, &Open)>) {
        let Self { sessions, contexts, strategies, now, .. } = self;
        let Some(local) = contexts.get(context) else {
            return;
        };
        let brought = brought.and_then(|(id, open)| Some((sessions.get(&id)?, open)));
        let brought = brought.filter(|(_, open)| open.kind == local.info.kind).map(|(session, open)| Brought {
            now: *now,
            transcript: transcript(session, true),
            remote: session.remote.remote,
            peer: &session.peer,
            proof: &open.proof,
        });
        if strategies[local.strategy].adopt(&local.info, brought.as_ref()) {
            self.control_changed.insert(*context);
        }
    }

    /// Refuses an `Open`, by its number, or what was granted before (0).
    pub(super) fn refuse_open(&mut self, id: SessionId, context: ContextId, number: u64, why: Refusal) {
        let most = self.config.max_session_contexts;
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if why == Refusal::Closed && session.told_closed.len() < most {
            session.told_closed.insert(context);
        }
        session.out.push(Message::Opened(Opened { context, number, outcome: Err(why) }));
    }

    /// Control entries may come that allow it: then the remote need not ask again.
    pub(super) fn remember_refused(&mut self, id: SessionId, open: Open) {
        let context = open.context;
        if self.sessions.get_mut(&id).is_some_and(|session| session.refused.remember(open)) {
            self.await_right(id, context);
        }
    }

    /// Has what was refused to a session looked at when the context's control entries change, if the context is here.
    pub(super) fn await_right(&mut self, id: SessionId, context: ContextId) {
        let (Some(session), Some(local)) = (self.sessions.get_mut(&id), self.contexts.get_mut(&context)) else {
            return;
        };
        if session.refused.contains(&context) {
            session.links.entry(context).or_default();
            local.sessions.insert(id);
        }
    }

    /// A context that is not loaded here: a relay begins it when the remote proves its right.
    fn on_unknown_context(&mut self, id: SessionId, open: Open) {
        let Some(strategy) = self.strategy_for(&open.kind) else {
            return self.refuse_open(id, open.context, open.number, Refusal::UnknownKind);
        };
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let info = ContextInfo { id: open.context, kind: open.kind.clone() };
        let full = session.links.len() >= self.config.max_session_contexts;
        let proved = self.strategies[strategy].auth().verify(
            self.now,
            &transcript(session, true),
            &session.remote.remote,
            &info,
            &open.proof,
        );
        match proved {
            Ok(_) if !self.config.accept_contexts => {
                self.refuse_open(id, open.context, open.number, Refusal::Closed);
            }
            Ok(_) if full => self.refuse_open(id, open.context, open.number, Refusal::Quota),
            Ok(_) => {
                self.load(info, [(id, open)].into());
            }
            Err(why) => {
                // Somebody else may bring the context, and with it what shows the right.
                self.refuse_open(id, open.context, open.number, why);
                self.remember_refused(id, open);
            }
        }
    }

    /// What the remote's `Open` is granted by the proof, then by the strategy.
    pub(super) fn granted(&self, id: SessionId, open: &Open) -> Result<(Grant, Access), Refusal> {
        let session = self.sessions.get(&id).ok_or(Refusal::Denied)?;
        let local = self.contexts.get(&open.context).ok_or(Refusal::Denied)?;
        if local.info.kind != open.kind {
            return Err(Refusal::BadProof);
        }
        if session.links.len() >= self.config.max_session_contexts && !session.links.contains_key(&open.context) {
            return Err(Refusal::Quota);
        }
        let of_another = || session.links.values().any(|link| link.granted.is_some());
        if planted(Bug::GrantUnchecked) || planted(Bug::GrantOfAnotherContext) && of_another() {
            return Ok((Grant { access: Access::Both }, Access::Both));
        }
        let grant = self.strategies[local.strategy].auth().verify(
            self.now,
            &transcript(session, true),
            &session.remote.remote,
            &local.info,
            &open.proof,
        )?;
        Ok((grant, self.access(session, local, grant)?))
    }

    pub(super) fn access(&self, session: &Session, local: &Context, grant: Grant) -> Result<Access, Refusal> {
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

    fn on_granted(&mut self, id: SessionId, open: &Open, granted: (Grant, Access)) {
        let context = open.context;
        let shown = self.sessions.link(&id, &context).is_some_and(|link| link.by_open);
        let proof = if shown { None } else { self.proof(id, &context, true) };
        let (Some(session), Some(local)) = (self.sessions.get_mut(&id), self.contexts.get_mut(&context)) else {
            return;
        };
        session.refused.remove(&context);
        session.drop_pages(context);
        local.sessions.insert(id);
        let differs = open.frontier != local.frontier_hash();
        session.lapsed.remove(&context);
        session.told_closed.remove(&context);
        let link = session.links.entry(context).or_default();
        link.restart(); // positions are compared anew, and what was refused before is offered again
        link.granted = Some(granted);
        self.review.insert(context);
        if let Some((_, brief)) = &proof {
            // What it is sent before it says otherwise it may refuse: the right to have it was proved.
            link.opened = true;
            link.accepted = true;
            link.brief = *brief;
        }
        let proof = proof.map(|(proof, _)| proof);
        let outcome = Ok(Granted { differs, proof });
        session.out.push(Message::Opened(Opened { context, number: open.number, outcome }));
        if differs {
            self.say_frontier(id, context);
        } else {
            self.on_same_frontier(id, context);
        }
        self.look_at(context, Some(id));
        self.say_live(id, context);
    }

    /// What is held durably goes out once, each time that positions are compared.
    pub(super) fn say_frontier(&mut self, id: SessionId, context: ContextId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let link = session.links.entry(context).or_default();
        if !std::mem::replace(&mut link.frontier_said, true) {
            session.frontiers.insert(context);
        }
    }

    /// The remote holds exactly what is durable here.
    pub(super) fn on_same_frontier(&mut self, id: SessionId, context: ContextId) {
        let Some(local) = self.contexts.get(&context) else {
            return;
        };
        let held = local.logs.iter().map(|(log, state)| (*log, state.durable)).collect();
        self.on_positions(id, context, held, Vec::new(), false);
    }

    pub(super) fn say_live(&mut self, id: SessionId, context: ContextId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(link) = session.links.get_mut(&context) else {
            return;
        };
        if link.accepted && link.granted.is_some() && !link.live_said {
            link.live_said = true;
            let peer = session.peer.clone();
            let notice = Notice::Live { context, peer };
            self.effects.push(Effect::Notice(notice));
        }
    }
}
