//! How far the remote holds each log: its frontier, and when this node has caught up with it.

use std::collections::BTreeMap;

use partita_core::{ContextId, LogId, LogSort, PeerInfo, Refusal, SessionId, Tip};

use super::{Node, context::Context, link::Link};
use crate::{
    effect::{Effect, Notice, Progress},
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
        let replica = self.replica;
        let own = self.contexts.get(&context).is_some_and(|local| {
            held.iter()
                .any(|(log, seq)| *seq > 0 && local.logs.get(log).is_some_and(|log| log.record.replica() == replica))
        });
        let total = self.contexts.get(&context).map_or(0, |local| still_missing(local, &missing));
        let Some(link) = self.sessions.link_mut(&id, &context) else {
            return;
        };
        for (log, seq) in &held {
            link.note_offered(*log, *seq);
        }
        link.held = Some(held);
        link.progress = Progress { received: 0, total };
        link.missing = Some(missing);
        link.unknown_tips = unknown_tips;
        if own {
            self.say_acknowledged(id, context);
        }
        self.look_at(context, Some(id));
        self.review.insert(context);
    }

    /// Tells that the remote holds more of what this replica wrote.
    pub(super) fn say_acknowledged(&mut self, id: SessionId, context: ContextId) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        if session.links.get(&context).is_some_and(|link| link.granted.is_some()) {
            let peer = session.peer.clone();
            self.effects.push(Effect::Notice(Notice::Acknowledged { context, peer }));
        }
    }

    /// What this replica ever wrote in a context and still counts: the tips of its logs.
    pub fn own_tips(&self, context: &ContextId) -> Vec<Tip> {
        let Some(local) = self.contexts.get(context) else {
            return Vec::new();
        };
        let mut tips = local.tips_of(&self.replica, LogSort::Control);
        tips.extend(local.tips_of(&self.replica, LogSort::Data));
        tips
    }

    /// The connected remotes that hold these entries durably, and all before them, by their own word: their frontiers and
    /// acknowledgements. What was cut off from a log meanwhile need not be held.
    pub fn holders(&self, context: &ContextId, tips: &[Tip]) -> Vec<PeerInfo> {
        let Some(local) = self.contexts.get(context) else {
            return Vec::new();
        };
        let holds = |link: &Link| {
            let mut tips = tips.iter();
            link.held.is_some()
                && link.granted.is_some()
                && tips.all(|tip| {
                    let counts = local.logs.get(&tip.log).map_or(0, |log| log.record.seq);
                    link.held(&tip.log) >= tip.seq.min(counts)
                })
        };
        let sessions = local.sessions.iter().filter_map(|id| self.sessions.get(id));
        let holders = sessions.filter(|session| session.links.get(context).is_some_and(|link| holds(link)));
        holders.map(|session| session.peer.clone()).collect()
    }

    /// Says that a remote was caught up with in all contexts that are open with it.
    pub(super) fn say_sessions_live(&mut self) {
        for id in std::mem::take(&mut self.caught_up) {
            let session = self.sessions.get(&id);
            if let Some(session) = session.filter(|session| session.links.values().all(|link| link.missing.is_none())) {
                let peer = session.peer.clone();
                self.effects.push(Effect::Notice(Notice::SessionLive { peer }));
            }
        }
    }

    /// Says once that everything that the remote held when the context was opened, and that can be here, is durable.
    pub(super) fn check_caught_up(&mut self, context: ContextId) {
        let Self { contexts, sessions, effects, caught_up, .. } = self;
        let Some(local) = contexts.get(&context) else {
            return;
        };
        for id in &local.sessions {
            let waits = |link: &Link| link.missing.is_some();
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
            let never_come = link.never_come();
            missing.retain(|tip| {
                if never_come.contains(&tip.log) {
                    return false;
                }
                match local.logs.get(&tip.log) {
                    Some(log) => log.durable < tip.seq.min(log.cap),
                    None => local.quarantined.get(&tip.log).is_none(),
                }
            });
            let peer = session.peer.clone();
            if missing.is_empty() {
                effects.push(Effect::Notice(Notice::CaughtUp { context, peer }));
                caught_up.insert(*id);
                continue;
            }
            let before = link.progress;
            link.progress.received = before.total.saturating_sub(still_missing(local, &missing));
            link.missing = Some(missing);
            if link.progress != before {
                let progress = link.progress;
                effects.push(Effect::Notice(Notice::CatchingUp { context, peer, progress }));
            }
        }
    }
}

/// How many entries these tips name, with those before them in their logs, that are not durable here.
fn still_missing(local: &Context, tips: &[Tip]) -> u64 {
    let missing = |tip: &Tip| {
        let held = local.logs.get(&tip.log).map_or(0, |log| log.durable);
        tip.seq.saturating_sub(held)
    };
    tips.iter().map(missing).fold(0, u64::saturating_add)
}
