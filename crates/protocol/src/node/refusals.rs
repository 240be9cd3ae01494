//! What this node refuses, and asks for again when the cause has gone.

use partita_core::{
    ContextId, LogId, Refusal, SessionId,
    planted::{Bug, planted},
};

use super::{Node, Purpose, link::Halt};
use crate::{
    effect::{Effect, Notice},
    message::{MAX_PART, Message, Refused},
    reads::ReadRequest,
};

impl Node {
    /// Tells a session that an entry of a log was not taken. The log pauses there; nothing else does.
    pub(super) fn refuse(&mut self, id: SessionId, context: ContextId, log: LogId, halt: Halt) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let (why, seq) = (halt.why, halt.seq);
        session.out.push(Message::Refused(Refused { context, log, seq, why, heads: halt.heads() }));
        let link = session.links.get_mut(&context);
        if (why.is_final() || why == Refusal::NeedPredecessor)
            && let Some(link) = &link
            && link.missing.is_some()
        {
            self.review.insert(context); // it may have been the last one, or what that one rests on
        }
        let remembered = match link {
            Some(link) => link.halt(log, halt),
            None => true,
        };
        if why != Refusal::Gap {
            let peer = session.peer.clone();
            self.effects.push(Effect::Notice(Notice::Refused { context, peer, log, seq, why }));
        }
        if !remembered {
            self.violation_text(id, "more than is allowed had to be refused".into());
        }
    }

    pub(super) fn is_halted(&self, id: SessionId, context: &ContextId, log: &LogId) -> bool {
        let link = self.sessions.link(&id, context);
        link.is_some_and(|link| link.halted.get(log).is_some())
    }

    /// Asks for refused logs again whose cause has gone, and takes back from quarantine what waited for the same.
    pub(super) fn retry_halted(&mut self, context: ContextId) {
        self.retry_awaiting(context);
        let Self { contexts, sessions, config, .. } = self;
        let Some(local) = contexts.get(&context) else {
            return;
        };
        for id in &local.sessions {
            let Some(link) = sessions.link(id, &context) else {
                continue;
            };
            let lost = |halt: &Halt| planted(Bug::RetryLost) && halt.why == Refusal::NeedControl;
            let halted = link.halted.all().iter().filter(|(_, halt)| !lost(halt));
            let over: Vec<LogId> =
                halted.filter(|(log, halt)| link.is_over(log, halt, local, config)).map(|(log, _)| *log).collect();
            if over.is_empty() {
                continue;
            }
            let Some(session) = sessions.get_mut(id) else {
                continue;
            };
            if let Some(link) = session.links.get_mut(&context) {
                for log in &over {
                    link.halted.remove(log);
                }
            }
            for logs in over.chunks(MAX_PART) {
                let logs = logs.to_vec();
                session.out.push(Message::Retry { context, logs });
            }
        }
    }

    fn retry_awaiting(&mut self, context: ContextId) {
        let Self { contexts, config, .. } = self;
        let Some(local) = contexts.get_mut(&context) else {
            return;
        };
        let over = local.awaiting.iter().filter(|(log, halt)| halt.is_over(log, local, config));
        let over: Vec<LogId> = over.map(|(log, _)| *log).collect();
        local.awaiting.retain(|log, _| !over.contains(log));
        for log in over {
            self.read_settled(Purpose::Readmit(context, log), ReadRequest::Quarantine { context, log });
        }
    }
}
