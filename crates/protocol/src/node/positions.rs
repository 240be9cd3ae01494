//! How far the remote holds each log: its frontier, and when this node has caught up with it.

use std::collections::BTreeMap;

use partita_core::{ContextId, LogId, Refusal, SessionId, Tip};

use super::Node;
use crate::{
    effect::{Effect, Notice},
    message::MAX_ITEMS,
};

impl Node {
    /// The remote's frontier: what it holds is what the tips name, and what they rest on.
    pub(super) fn on_frontier(&mut self, id: SessionId, context: ContextId, tips: Vec<Tip>, more: bool) {
        let link = self.sessions.link_mut(&id, &context);
        let Some(link) = link.filter(|link| link.granted.is_some()) else {
            return;
        };
        if link.frontier.len() + tips.len() > MAX_ITEMS {
            return self.violation_text(id, "a frontier with more logs than are allowed".into());
        }
        link.frontier.extend(tips);
        if more {
            return;
        }
        let tips = std::mem::take(&mut link.frontier);
        let Some(local) = self.contexts.get(&context) else {
            return;
        };
        let mut held: BTreeMap<LogId, u64> = BTreeMap::new();
        let mut unknown = false;
        let mut open: Vec<(LogId, u64)> = tips.iter().map(|tip| (tip.log, tip.seq)).collect();
        while let Some((log, seq)) = open.pop() {
            let before = held.entry(log).or_default();
            if seq <= *before {
                continue;
            }
            let first = *before == 0;
            *before = seq;
            match local.logs.get(&log) {
                Some(state) if first => {
                    let named = state.record.start.tips.iter();
                    open.extend(named.map(|tip| (tip.log, tip.seq)));
                }
                Some(_) => {}
                None => unknown = true,
            }
        }
        let forked: Vec<Tip> = tips
            .iter()
            .filter(|tip| {
                let log = local.logs.get(&tip.log);
                log.is_some_and(|log| log.durable == tip.seq && log.durable_head != tip.head)
            })
            .copied()
            .collect();
        let mut missing = tips;
        missing.retain(|tip| {
            let log = local.logs.get(&tip.log);
            log.is_none_or(|log| log.durable < tip.seq)
        });
        self.report_forks(id, context, &forked);
        self.on_positions(id, context, held, missing, unknown);
    }

    /// The remote holds another entry at the same place of a log. Its log goes no further between the two; the others
    /// do. What ends a forked log at its last common entry everywhere, the portable proof of two signed heads, is not
    /// written yet: until then each side keeps the branch that it saw first.
    fn report_forks(&mut self, id: SessionId, context: ContextId, forked: &[Tip]) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        for tip in forked {
            self.effects.push(Effect::Notice(Notice::Refused {
                context,
                peer: session.peer.clone(),
                log: tip.log,
                seq: tip.seq,
                why: Refusal::Fork,
            }));
        }
    }

    pub(super) fn on_positions(
        &mut self,
        id: SessionId,
        context: ContextId,
        held: BTreeMap<LogId, u64>,
        missing: Vec<Tip>,
        unknown_tips: bool,
    ) {
        let Some(link) = self.sessions.link_mut(&id, &context) else {
            return;
        };
        for (log, seq) in &held {
            link.note_offered(*log, *seq);
        }
        link.held = Some(held);
        link.missing = Some(missing);
        link.unknown_tips = unknown_tips;
        let own = self.contexts.get(&context).map(|local| local.own_data.id);
        if let Some(own) = own {
            self.say_acknowledged(id, context, own);
        }
        self.look_at(context, Some(id));
        self.review.insert(context);
    }

    /// Tells how far the remote holds what this replica wrote since it was opened.
    pub(super) fn say_acknowledged(&mut self, id: SessionId, context: ContextId, log: LogId) {
        let (Some(session), Some(local)) = (self.sessions.get(&id), self.contexts.get(&context)) else {
            return;
        };
        let Some(link) = session.links.get(&context) else {
            return;
        };
        if log != local.own_data.id || link.granted.is_none() {
            return;
        }
        let held = usize::try_from(link.held(&log)).unwrap_or(usize::MAX);
        let arrival = held.min(local.own_arrivals.len()).checked_sub(1).and_then(|at| local.own_arrivals.get(at));
        if let Some(arrival) = arrival {
            self.effects.push(Effect::Notice(Notice::Acknowledged {
                context,
                peer: session.peer.clone(),
                arrival: *arrival,
            }));
        }
    }

    /// Says once that everything that the remote held when the context was opened, and that can be here, is durable.
    pub(super) fn check_caught_up(&mut self, context: ContextId) {
        let Self { contexts, sessions, effects, .. } = self;
        let Some(local) = contexts.get(&context) else {
            return;
        };
        for id in &local.sessions {
            let waits = |link: &super::link::Link| link.missing.is_some();
            if !sessions.link(id, &context).is_some_and(waits) {
                continue;
            }
            let Some(session) = sessions.get_mut(id) else {
                continue;
            };
            let Some(link) = session.links.get_mut(&context) else {
                continue;
            };
            let Some(mut missing) = link.missing.take() else {
                continue;
            };
            missing.retain(|tip| {
                let halted = link.halted.get(&tip.log);
                if halted.is_some_and(|halt| halt.why.is_final()) {
                    return false; // it will never be here
                }
                match local.logs.get(&tip.log) {
                    Some(log) => {
                        let author = log.record.replica();
                        let cap = local.cap(&author, &tip.log, log.record.control);
                        log.durable < tip.seq.min(cap)
                    }
                    None => !local.quarantined.contains_key(&tip.log),
                }
            });
            if missing.is_empty() {
                let peer = session.peer.clone();
                effects.push(Effect::Notice(Notice::CaughtUp { context, peer }));
            } else {
                link.missing = Some(missing);
            }
        }
    }
}
