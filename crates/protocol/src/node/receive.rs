//! Entries from a remote: runs, verified once, admitted one by one.

use std::{collections::BTreeSet, sync::Arc};

use partita_core::{
    ContextId, Entry, EntryHeader, EntryId, LogId, LogStart, Refusal, SessionId, Tip,
};
use partita_crypto::VerifyingKey;

use super::{Node, admit::Stop, session::Halt};
use crate::{
    effect::{Effect, Notice},
    message::{Message, Refused, Run},
};

impl Node {
    pub(super) fn on_run(&mut self, id: SessionId, run: Run) {
        let cost = run.cost();
        if !self.take_into_memory(id, cost) {
            return;
        }
        self.take_run(id, run);
        // Either it was dropped, or it is in the pending batch: the credit goes back with that batch's commit.
        *self.commits.then.credit.entry(id).or_default() += cost;
    }

    /// Counts bytes against the credit that the remote was given; a remote that overdraws it ends its session.
    pub(super) fn take_into_memory(&mut self, id: SessionId, cost: u64) -> bool {
        let allowed = self.config.credit + 2 * crate::channel::MAX_FRAME as u64;
        let Some(session) = self.sessions.get_mut(&id) else {
            return false;
        };
        session.uncredited += cost;
        if session.uncredited > allowed {
            self.violation_text(id, "more entries than the credit given allows".into());
            return false;
        }
        true
    }

    /// Whether this session may offer entries in this context now.
    pub(super) fn may_offer(&self, id: SessionId, context: &ContextId) -> Result<(), Refusal> {
        let link = self
            .sessions
            .get(&id)
            .and_then(|session| session.links.get(context));
        match link.and_then(|link| link.granted) {
            Some((_, access)) if access.writes() => Ok(()),
            Some(_) => Err(Refusal::NotWriter),
            None => Err(Refusal::Denied),
        }
    }

    fn take_run(&mut self, id: SessionId, run: Run) {
        let Run { context, log, .. } = run;
        let (first, last) = (run.first_seq(), run.last_seq());
        if let Err(why) = self.may_offer(id, &context) {
            return self.refuse(
                id,
                context,
                log,
                first,
                Halt {
                    why,
                    tips: Vec::new(),
                    heads: Vec::new(),
                },
            );
        }
        let Some(local) = self.contexts.get(&context) else {
            return;
        };
        let (held, head) = local
            .logs
            .get(&log)
            .map_or((0, EntryId::NONE), |log| (log.record.seq, log.record.head));
        if last <= held {
            self.note_offered(id, context, log, last);
            self.commits
                .then
                .acks
                .entry(id)
                .or_default()
                .insert((context, log));
            return;
        }
        if first > held + 1 {
            if self.is_halted(id, &context, &log) {
                return; // it was in flight when the log was refused
            }
            let halt = Halt {
                why: Refusal::Gap,
                tips: Vec::new(),
                heads: Vec::new(),
            };
            return self.refuse(id, context, log, held + 1, halt);
        }
        if local.excluding.contains(&log) {
            let halt = Halt {
                why: Refusal::NeedControl,
                tips: Vec::new(),
                heads: Vec::new(),
            };
            return self.refuse(id, context, log, held + 1, halt);
        }
        let entries = &run.entries[(held + 1 - first) as usize..];
        let Some(next) = entries.first() else { return };
        if next.header.backlink != head {
            let halt = Halt {
                why: Refusal::Fork,
                tips: Vec::new(),
                heads: Vec::new(),
            };
            return self.refuse(id, context, log, held + 1, halt);
        }
        let author = match self.author(&context, &log, next) {
            Ok(author) => author,
            Err(text) => return self.violation_text(id, text.into()),
        };
        let Some(end) = entries.last() else { return };
        let end_tip = Tip {
            log,
            seq: end.header.seq,
            head: end.id,
        };
        match &run.signature {
            Some(signature) => {
                if EntryHeader::verify(&end.id, &author, signature).is_err() {
                    return self.violation_text(id, "a run whose signature does not hold".into());
                }
            }
            None if local.standing.names(&end_tip) => {}
            None => return self.violation_text(id, "a run without a signature".into()),
        }
        if let Some(session) = self.sessions.get_mut(&id)
            && let Some(link) = session.links.get_mut(&context)
        {
            link.halted.remove(&log);
        }
        let mut entries: Vec<Arc<Entry>> = entries.to_vec();
        if let (Some(last), Some(signature)) = (entries.last_mut(), run.signature) {
            Arc::make_mut(last).signature = Some(signature);
        }
        if run.withheld {
            return self.on_withheld(id, context, entries.swap_remove(0));
        }
        self.admit_all(id, context, log, entries);
    }

    /// Admits entries that are verified and follow what is held; stops at the first that cannot be taken.
    fn admit_all(
        &mut self,
        id: SessionId,
        context: ContextId,
        log: LogId,
        entries: Vec<Arc<Entry>>,
    ) {
        let mut taken = 0;
        for entry in entries {
            let seq = entry.header.seq;
            match self.admit(context, entry) {
                Ok(()) => taken = seq,
                Err(Stop::Quarantined) => {
                    // The rest of the run follows into quarantine, as far as there is room.
                    if self.note_refused_once(id, context, log) {
                        let halt = Halt {
                            why: Refusal::Excluded,
                            tips: Vec::new(),
                            heads: Vec::new(),
                        };
                        self.refuse(id, context, log, seq, halt);
                    }
                }
                Err(Stop::Halt(halt)) => {
                    self.refuse(id, context, log, seq, halt);
                    break;
                }
            }
        }
        if taken > 0 {
            self.note_offered(id, context, log, taken);
            self.commits
                .then
                .acks
                .entry(id)
                .or_default()
                .insert((context, log));
            self.retry_halted(context);
        }
    }

    fn note_refused_once(&self, id: SessionId, context: ContextId, log: LogId) -> bool {
        !self.is_halted(id, &context, &log)
    }

    fn is_halted(&self, id: SessionId, context: &ContextId, log: &LogId) -> bool {
        let link = self
            .sessions
            .get(&id)
            .and_then(|session| session.links.get(context));
        link.is_some_and(|link| link.halted.contains_key(log))
    }

    fn author(
        &self,
        context: &ContextId,
        log: &LogId,
        next: &Entry,
    ) -> Result<VerifyingKey, &'static str> {
        let known = self
            .contexts
            .get(context)
            .and_then(|local| local.logs.get(log));
        match (known, &next.header.start) {
            (Some(known), _) => Ok(known.key),
            (None, Some(LogStart { replica, .. })) => VerifyingKey::parse(replica.as_bytes())
                .map_err(|_| "a log whose author's key is weak or not canonical"),
            (None, None) => Err("a log that begins in its middle"),
        }
    }

    /// What came from a session need not be sent back there: echoes are filtered by session. That it came from there
    /// is no evidence that it is durable there.
    pub(super) fn note_offered(&mut self, id: SessionId, context: ContextId, log: LogId, seq: u64) {
        if let Some(link) = self
            .sessions
            .get_mut(&id)
            .and_then(|session| session.links.get_mut(&context))
        {
            let sent = link.sent.entry(log).or_default();
            *sent = seq.max(*sent);
        }
    }

    pub(super) fn refuse(
        &mut self,
        id: SessionId,
        context: ContextId,
        log: LogId,
        seq: u64,
        halt: Halt,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let (why, heads) = (halt.why, halt.heads.clone());
        if let Some(link) = session.links.get_mut(&context) {
            if why != Refusal::Gap {
                link.halted.insert(log, halt);
            }
        }
        session.out.push(Message::Refused(Refused {
            context,
            log,
            seq,
            why,
            heads,
        }));
        if why != Refusal::Gap {
            let peer = session.peer.clone();
            self.effects.push(Effect::Notice(Notice::Refused {
                context,
                peer,
                log,
                seq,
                why,
            }));
        }
    }

    /// Asks for refused logs again whose cause has gone.
    pub(super) fn retry_halted(&mut self, context: ContextId) {
        let Some(local) = self.contexts.get(&context) else {
            return;
        };
        for session in self.sessions.values_mut() {
            let Some(link) = session.links.get_mut(&context) else {
                continue;
            };
            let gone: BTreeSet<LogId> = link
                .halted
                .iter()
                .filter(|(log, halt)| match halt.why {
                    Refusal::NeedControl => {
                        local.graph.missing(&halt.heads).is_empty()
                            && !local.excluding.contains(log)
                    }
                    Refusal::NeedPredecessor => halt.tips.iter().all(|tip| local.holds(tip)),
                    Refusal::Quota => local.remote_bytes < self.config.max_context_bytes,
                    _ => false,
                })
                .map(|(log, _)| *log)
                .collect();
            if !gone.is_empty() {
                link.halted.retain(|log, _| !gone.contains(log));
                session.out.push(Message::Retry {
                    context,
                    logs: gone.into_iter().collect(),
                });
            }
        }
    }
}
