//! Who may go on, and who gets what: looked at again when control entries or sessions change.

use std::collections::BTreeSet;

use partita_core::{
    Access, ContextId, SessionId,
    planted::{Bug, planted},
};

use super::Node;

impl Node {
    /// After control entries: every grant in every session is asked for again, and a refusal takes effect at once.
    pub(super) fn review_grants(&mut self, context: ContextId) {
        let Some(local) = self.contexts.get(&context) else {
            return;
        };
        for id in local.sessions.clone() {
            self.review_grant(id, context);
        }
        for id in self.might_offer(&context) {
            let link = self.sessions.link(&id, &context);
            if !link.is_some_and(|link| link.opened) && self.offers(&id) {
                self.offer_context(id, context);
            }
        }
        self.look_at(context, None);
    }

    fn review_grant(&mut self, id: SessionId, context: ContextId) {
        let (Some(session), Some(local)) = (self.sessions.get(&id), self.contexts.get(&context)) else {
            return;
        };
        let granted = session.links.get(&context).and_then(|link| link.granted);
        let Some((grant, before)) = granted else {
            return self.review_refusal(id, context);
        };
        let mut access = self.access(session, local, grant);
        if planted(Bug::GrantUnchecked) || planted(Bug::GrantOfAnotherContext) && session.links.len() > 1 {
            access = Ok(Access::Both);
        }
        if access == Ok(before) {
            return;
        }
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        match access {
            Ok(access) => {
                if let Some(link) = session.links.get_mut(&context) {
                    link.granted = Some((grant, access));
                }
                self.review.insert(context);
                self.look_at(context, Some(id));
                if access.writes() && !before.writes() {
                    self.open_anew(id, context); // what it was not allowed to offer, it offers now
                }
            }
            Err(why) => {
                session.links.insert(context, Box::default());
                session.lapsed.insert(context, grant);
                self.refuse_open(id, context, 0, why);
                self.let_go(id, context);
            }
        }
    }

    /// What was refused or taken away before may be granted now: the remote is asked to open the context again.
    fn review_refusal(&mut self, id: SessionId, context: ContextId) {
        let (Some(session), Some(local)) = (self.sessions.get(&id), self.contexts.get(&context)) else {
            return;
        };
        let refused = session.refused.get(&context).is_some_and(|open| self.granted(id, open).is_ok());
        let lapsed = session.lapsed.get(&context).is_some_and(|grant| self.access(session, local, *grant).is_ok());
        if refused || lapsed {
            // Where one is not answered yet, that answer is enough.
            let asked = self.sessions.link(&id, &context).is_none_or(|link| link.offered.is_some());
            if !asked {
                self.open_again(id, context);
            }
        }
    }

    /// Asks the strategy which of the sessions get what the context has to send; has all logs looked at for those that
    /// it names anew, and for `look`.
    pub(super) fn choose_targets(&mut self, context: ContextId, mut look: BTreeSet<SessionId>) {
        let Some(local) = self.contexts.get(&context) else {
            return;
        };
        let reading = |id: &&SessionId| {
            let link = self.sessions.link(id, &context);
            link.is_some_and(super::link::Link::reads)
        };
        let candidates: Vec<_> =
            local.sessions.iter().filter(reading).filter_map(|id| Some(self.sessions.get(id)?.peer.clone())).collect();
        let mut targets = Vec::with_capacity(candidates.len());
        self.strategies[local.strategy].filter_targets(&context, &candidates, &mut targets);
        targets.sort_unstable();
        let mut changed = Vec::new();
        for id in &local.sessions {
            let anybody = planted(Bug::GrantUnchecked) || planted(Bug::GrantOfAnotherContext);
            let is_target = targets.binary_search(id).is_ok() || anybody;
            let link = self.sessions.link(id, &context);
            if link.is_some_and(|link| link.target != is_target) {
                changed.push((*id, is_target));
            }
        }
        for (id, is_target) in changed {
            if let Some(link) = self.sessions.link_mut(&id, &context) {
                link.target = is_target;
            }
            if is_target {
                look.insert(id);
                self.tell_topics(id, context);
            }
        }
        for id in look {
            self.wake_link(id, context);
        }
    }
}
