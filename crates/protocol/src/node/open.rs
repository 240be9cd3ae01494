//! Opening contexts in a session: who offers, what a proof is granted.

use partita_core::{Access, Bytes, ContextId, ContextInfo, Grant, Refusal, RemoteContext, SessionId, Transcript};

use super::{Node, Purpose, context::Context, sessions::Session};
use crate::{
    effect::{Effect, Notice},
    message::{Message, NeedFrontier, Open, Opened},
    reads::ReadRequest,
};

/// How many refused `Open`s of a session are remembered, to be looked at again.
const MOST_REFUSED: usize = 256;

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
        let session = self.sessions.get(id);
        session.is_some_and(|session| session.remote.dialled || !self.config.accept_contexts)
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

    pub(super) fn send_open(&mut self, id: SessionId, context: ContextId) {
        let Self { sessions, contexts, strategies, .. } = self;
        let Some(local) = contexts.get_mut(&context) else {
            return;
        };
        if sessions.link(&id, &context).is_some_and(|link| link.opened) {
            return;
        }
        let Some(session) = sessions.get_mut(&id) else {
            return;
        };
        let Ok(proof) = strategies[local.strategy].auth().prove(&transcript(session, false), &local.info) else {
            return;
        };
        local.sessions.insert(id);
        session.links.entry(context).or_default().opened = true;
        session.out.push(Message::Open(Open {
            context,
            kind: local.info.kind.clone(),
            frontier: local.frontier_hash(),
            proof,
        }));
    }

    pub(super) fn on_open(&mut self, id: SessionId, open: Open) {
        if let Some(waiting) = self.loading.get_mut(&open.context) {
            waiting.insert(id, open);
            return;
        }
        if !self.contexts.contains_key(&open.context) {
            return self.on_unknown_context(id, open);
        }
        match self.granted(id, &open) {
            Ok(granted) => self.on_granted(id, &open, granted),
            Err(why) => {
                self.refuse_open(id, open.context, why);
                self.remember_refused(id, open);
            }
        }
    }

    fn refuse_open(&mut self, id: SessionId, context: ContextId, why: Refusal) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.out.push(Message::Opened(Opened { context, outcome: Err(why) }));
        }
    }

    /// Control entries may come that allow it: then the remote need not ask again.
    fn remember_refused(&mut self, id: SessionId, mut open: Open) {
        let (Some(session), Some(local)) = (self.sessions.get_mut(&id), self.contexts.get_mut(&open.context)) else {
            return;
        };
        if session.refused.len() < MOST_REFUSED || session.refused.contains_key(&open.context) {
            // A proof shares the memory of the frame that it came in.
            open.proof = Bytes::copy_from_slice(&open.proof);
            session.links.entry(open.context).or_default();
            local.sessions.insert(id);
            session.refused.insert(open.context, open);
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
        let info = ContextInfo { id: open.context, kind: open.kind.clone() };
        let full = session.links.len() >= self.config.max_session_contexts;
        let proved = self.strategies[strategy].auth().verify(
            &transcript(session, true),
            &session.remote.remote,
            &info,
            &open.proof,
        );
        match proved {
            Ok(_) if !self.config.accept_contexts => {
                self.refuse_open(id, open.context, Refusal::Denied);
            }
            Ok(_) if full => self.refuse_open(id, open.context, Refusal::Quota),
            Ok(_) => {
                self.loading.insert(open.context, [(id, open)].into());
                self.read(Purpose::Load(info.clone()), ReadRequest::Context(info.id));
            }
            Err(why) => self.refuse_open(id, open.context, why),
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
        let grant = self.strategies[local.strategy].auth().verify(
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
        self.send_open(id, context);
        let (Some(session), Some(local)) = (self.sessions.get_mut(&id), self.contexts.get_mut(&context)) else {
            return;
        };
        session.refused.remove(&context);
        session.drop_pages(context);
        local.sessions.insert(id);
        let differs = open.frontier != local.frontier_hash();
        let link = session.links.entry(context).or_default();
        if link.held.is_some() {
            link.restart(); // it opens the context again: positions are compared anew
        }
        link.granted = Some(granted);
        session.out.push(Message::Opened(Opened { context, outcome: Ok(NeedFrontier(differs)) }));
        if !differs {
            let durable = local.logs.iter().map(|(log, state)| (*log, state.durable));
            let held = durable.collect();
            self.on_positions(id, context, held, Vec::new(), false);
        }
        self.look_at(context, Some(id));
        self.say_live(id, context);
    }

    pub(super) fn on_opened(&mut self, id: SessionId, opened: Opened) {
        let context = opened.context;
        let Self { sessions, contexts, .. } = self;
        let Some(session) = sessions.get_mut(&id) else {
            return;
        };
        // The answer may cross a change here after which the context is not open any more.
        let Some(link) = session.links.get_mut(&context).filter(|link| link.opened) else {
            return;
        };
        match opened.outcome {
            Ok(NeedFrontier(need)) => {
                link.accepted = true;
                if need && let Some(local) = contexts.get_mut(&context) {
                    let tips = local.frontier().0.tips();
                    session.out.extend(Message::frontier(context, tips));
                }
                self.look_at(context, Some(id));
                self.say_live(id, context);
            }
            Err(why) => {
                link.restart();
                link.opened = false;
                link.accepted = false;
                link.live_said = false;
                session.drop_pages(context);
                let peer = session.peer.clone();
                let notice = Notice::ContextRefused { context, peer, why };
                self.effects.push(Effect::Notice(notice));
                self.hand_over_incoming(id, context);
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
            let peer = session.peer.clone();
            let notice = Notice::Live { context, peer };
            self.effects.push(Effect::Notice(notice));
        }
    }
}
