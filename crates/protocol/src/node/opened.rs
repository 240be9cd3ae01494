//! What a remote answers to an `Open`, and what follows from it.

use partita_core::{ContextId, Hash, Refusal, SessionId};

use super::{Node, context::Context};
use crate::{
    effect::{Effect, Notice},
    message::{Granted, Open, Opened},
};

impl Node {
    pub(super) fn on_opened(&mut self, id: SessionId, opened: Opened) {
        let Opened { context, number, outcome } = opened;
        let is_here = self.contexts.contains_key(&context);
        let link = self.sessions.link_mut(&id, &context).filter(|link| link.opened);
        let Some(link) = link else {
            if outcome.is_ok() && !is_here {
                // The answer crossed a close: the remote thinks that the context is open.
                self.refuse_open(id, context, 0, Refusal::Closed);
            }
            return;
        };
        let answers = link.offered.is_some_and(|(offered, _)| offered == number);
        let is_meant = answers || number == 0;
        match outcome {
            Ok(granted) if answers => {
                link.accepted = true;
                self.on_accepted(id, context, granted);
            }
            Err(Refusal::NeedControl) if is_meant && link.brief => {
                // The whole proof goes in an `Open` of its own, also where the brief one was in an answer.
                let offered = link.offered.map(|(_, frontier)| frontier);
                let held = self.contexts.get_mut(&context).map(Context::frontier_hash);
                self.say_open(id, context, offered.or(held).unwrap_or(Hash::ZERO), false);
            }
            Err(why) if is_meant => self.on_open_refused(id, context, why),
            _ => {} // the answer to an earlier one
        }
    }

    fn on_accepted(&mut self, id: SessionId, context: ContextId, answer: Granted) {
        if let Some(proof) = answer.proof {
            let Some(local) = self.contexts.get(&context) else {
                return;
            };
            let open = Open { context, number: 0, kind: local.info.kind.clone(), frontier: Hash::ZERO, proof };
            self.adopt(&context, Some((id, &open)));
            match self.granted(id, &open) {
                Ok(granted) => {
                    if let Some(link) = self.sessions.link_mut(&id, &context) {
                        link.granted = Some(granted);
                    }
                    self.review.insert(context);
                }
                Err(why) => {
                    self.refuse_open(id, context, 0, why);
                    self.remember_refused(id, open);
                }
            }
        }
        let (Some(link), Some(local)) = (self.sessions.link_mut(&id, &context), self.contexts.get_mut(&context)) else {
            return;
        };
        let offered = link.offered.take().map(|(_, frontier)| frontier);
        let known = link.held.is_some();
        if answer.differs {
            self.say_frontier(id, context);
        } else if !known {
            if offered == Some(local.frontier_hash()) {
                self.on_same_frontier(id, context);
            } else {
                self.open_anew(id, context); // more became durable meanwhile: where the remote is has to be told
            }
        }
        self.look_at(context, Some(id));
        self.say_live(id, context);
    }

    fn on_open_refused(&mut self, id: SessionId, context: ContextId, why: Refusal) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if let Some(link) = session.links.get_mut(&context) {
            link.restart();
            link.opened = false;
            link.by_open = false;
            link.accepted = false;
            link.live_said = false;
        }
        let peer = session.peer.clone();
        let notice = Notice::ContextRefused { context, peer, why };
        self.effects.push(Effect::Notice(notice));
        self.let_go(id, context);
    }
}
