//! Entries from a remote: runs, verified once, admitted one by one.

use std::sync::Arc;

use partita_core::{
    ContextId, Entry, EntryHeader, EntryId, LogId, LogStart, Refusal, SessionId, Tip,
    planted::{Bug, planted},
};
use partita_crypto::VerifyingKey;

use super::{
    Node,
    link::{Halt, Until},
};
use crate::{
    channel::MAX_FRAME,
    message::{Message, Run},
};

impl Node {
    pub(super) fn on_run(&mut self, id: SessionId, run: Run) {
        let cost = run.cost();
        if !self.take_into_memory(id, cost) {
            return;
        }
        let taken = self.taken;
        self.take_run(id, run);
        if planted(Bug::CreditLost) && self.taken == taken {
            return;
        }
        // Either it was dropped, or it is in the pending batch: the credit goes back with that batch's commit.
        *self.commits.then.credit.entry(id).or_default() += cost;
    }

    /// Counts bytes against the credit that the remote was given; a remote that overdraws it ends its session.
    pub(super) fn take_into_memory(&mut self, id: SessionId, cost: u64) -> bool {
        let allowed = self.config.credit.saturating_add(2 * MAX_FRAME as u64);
        let Some(session) = self.sessions.get_mut(&id) else {
            return false;
        };
        session.uncredited = session.uncredited.saturating_add(cost);
        if session.uncredited > allowed {
            self.violation_text(id, "more entries than the credit given allows".into());
            return false;
        }
        true
    }

    /// Whether this session may offer entries in this context now.
    pub(super) fn may_offer(&self, id: SessionId, context: &ContextId) -> Result<(), Refusal> {
        let link = self.sessions.link(&id, context);
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
            // What was on its way when the right to it changed comes again with that right.
            return self.refuse(id, context, log, Halt::until(first, why, Until::MayOffer));
        }
        if run.entries.len() > 1 && run.entries.iter().any(|entry| entry.header.kind.is_control()) {
            // Of a run that is taken in part, what was taken could be proved to nobody, and what rests on it would be
            // refused everywhere.
            return self.refuse(id, context, log, Halt::at(first, Refusal::Invalid));
        }
        let Some(local) = self.contexts.get(&context) else {
            return;
        };
        let record = local.logs.get(&log).map(|log| &log.record);
        let (held, head) = record.map_or((0, EntryId::NONE), |log| (log.seq, log.head));
        if last <= held {
            let end = run.entries.last();
            if last == held && end.is_some_and(|end| end.id != head) {
                return self.refuse(id, context, log, Halt::at(last, Refusal::Fork));
            }
            self.took(id, context, log, last);
            return;
        }
        if first > held + 1 && planted(Bug::WatermarkOverGap) {
            return self.watermark(id, context, &run);
        }
        if first > held + 1 && !(planted(Bug::GapAccepted) && held > 0) {
            // What was in flight when the log was refused, or when the first gap was told, needs no other answer.
            if !self.is_halted(id, &context, &log) {
                self.refuse(id, context, log, Halt::at(held + 1, Refusal::Gap));
            }
            return;
        }
        if local.excluding.contains(&log) {
            let halt = Halt::until(held + 1, Refusal::NeedControl, Until::Cut);
            return self.refuse(id, context, log, halt);
        }
        let skip = usize::try_from((held + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        let mut entries: Vec<Arc<Entry>> = run.entries.into_iter().skip(skip).collect();
        let (Some(next), Some(end)) = (entries.first(), entries.last()) else {
            return;
        };
        if next.header.backlink != head && !(planted(Bug::GapAccepted) && first > held + 1) {
            return self.refuse(id, context, log, Halt::at(held + 1, Refusal::Fork));
        }
        let author = match self.author(&context, &log, next) {
            Ok(author) => author,
            Err(text) => return self.violation_text(id, text.into()),
        };
        if EntryHeader::verify(&end.id, &author, &run.signature).is_err() {
            return self.violation_text(id, "a run whose signature does not hold".into());
        }
        let link = self.sessions.link_mut(&id, &context);
        let was_halted = link.is_some_and(|link| link.halted.remove(&log).is_some());
        if let Some(last) = entries.last_mut() {
            Arc::make_mut(last).signature = Some(run.signature);
        }
        if run.withheld {
            return self.on_withheld(id, context, entries.swap_remove(0));
        }
        self.admit_all(id, context, log, entries);
        // Its cause has gone without anybody having looked. The remote still waits to be asked.
        if was_halted
            && !self.is_halted(id, &context, &log)
            && let Some(session) = self.sessions.get_mut(&id)
        {
            session.out.push(Message::Retry { context, logs: vec![log] });
        }
    }

    /// What [`Bug::WatermarkOverGap`] does with a run behind a gap.
    fn watermark(&mut self, id: SessionId, context: ContextId, run: &Run) {
        if let (Some(local), Some(end)) = (self.contexts.get_mut(&context), run.entries.last()) {
            local.claim(&run.log, end.header.seq, end.id);
            self.took(id, context, run.log, end.header.seq);
        }
    }

    /// Admits entries that are verified and follow what is held; stops at the first that cannot be taken.
    fn admit_all(&mut self, id: SessionId, context: ContextId, log: LogId, entries: Vec<Arc<Entry>>) {
        let mut taken = 0;
        let mut entries = entries.into_iter();
        for entry in entries.by_ref() {
            let seq = entry.header.seq;
            match self.admit(context, entry) {
                Ok(()) => taken = seq,
                Err(halt) => {
                    let excluded = halt.why == Refusal::Excluded;
                    self.refuse(id, context, log, halt);
                    if excluded {
                        break;
                    }
                    entries = Vec::new().into_iter();
                    break;
                }
            }
        }
        // Nothing of a log counts behind an excluded entry: the rest follows it into quarantine.
        for entry in entries {
            self.quarantine(context, &entry);
        }
        if taken > 0 {
            if self.control_changed.contains(&context) {
                // The next run of this very frame may rest on it; the rest follows at the end of the round.
                self.refresh_standing(context);
            }
            self.took(id, context, log, taken);
            self.forget_overtaken(context, log);
        }
    }

    /// A session's entries are held now: they are acknowledged once they are durable, and not sent back.
    pub(super) fn took(&mut self, id: SessionId, context: ContextId, log: LogId, seq: u64) {
        if let Some(link) = self.sessions.link_mut(&id, &context) {
            link.note_offered(log, seq);
        }
        self.note_came(id, context, log, seq);
        self.acknowledge_later(id, context, log);
        self.ask_about_own(id, context, log);
    }

    /// This replica's own work comes back, which it had lost: nothing of it is sent there, so nothing is acknowledged by
    /// itself, and that it came from there is no evidence. Whoever waits for somebody to hold it waits for this answer.
    fn ask_about_own(&mut self, id: SessionId, context: ContextId, log: LogId) {
        let Some(state) = self.contexts.get(&context).and_then(|local| local.logs.get(&log)) else {
            return;
        };
        let tip = Tip { log, seq: state.record.seq, head: state.record.head };
        if state.record.replica() == self.replica
            && let Some(session) = self.sessions.get_mut(&id)
            && session.links.get(&context).is_some_and(|link| link.held(&log) < tip.seq)
        {
            session.out.push(Message::Have { context, tips: vec![tip] });
        }
    }

    fn author(&self, context: &ContextId, log: &LogId, next: &Entry) -> Result<VerifyingKey, &'static str> {
        let local = self.contexts.get(context);
        let known = local.and_then(|local| local.logs.get(log));
        match (known, &next.header.start) {
            (Some(known), _) => Ok(*known.key),
            (None, Some(LogStart { replica, .. })) => {
                VerifyingKey::parse(replica.as_bytes()).map_err(|_| "a log whose author's key is weak or not canonical")
            }
            (None, None) => Err("a log that begins in its middle"),
        }
    }
}
