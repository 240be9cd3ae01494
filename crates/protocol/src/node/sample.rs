//! Numbers for observers, at a price that does not grow with the number of connections.

use std::ops::Bound::{Excluded, Unbounded};

use partita_core::{ContextId, LogId, PeerInfo, SessionId};

use super::Node;

/// Where [`Node::sample_lag`] goes on. Begin with the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LagCursor {
    session: SessionId,
    /// The last context of the session that was looked at.
    context: Option<ContextId>,
    /// What was found in this session so far.
    entries: u64,
}

impl LagCursor {
    fn at(session: SessionId) -> Self {
        Self { session, context: None, entries: 0 }
    }
}

impl Default for LagCursor {
    fn default() -> Self {
        Self::at(SessionId(0))
    }
}

impl Node {
    /// How many contexts are loaded.
    pub fn context_count(&self) -> usize {
        self.contexts.len()
    }

    /// How many sessions there are.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// How many entries of remotes were taken since the node was made.
    pub fn entries_taken(&self) -> u64 {
        self.taken
    }

    /// A session brought a log so far.
    pub(super) fn note_came(&mut self, id: SessionId, context: ContextId, log: LogId, seq: u64) {
        let Self { sessions, contexts, .. } = self;
        let author = contexts.get(&context).and_then(|local| local.logs.get(&log)).map(|log| log.record.replica());
        if let Some(session) = sessions.get_mut(&id)
            && author != Some(session.peer.replica)
            && let Some(link) = session.links.get_mut(&context)
        {
            let came = link.came.entry(log).or_default();
            *came = seq.max(*came);
        }
    }

    /// Says of one session after the other how many entries the remote lacks, as far as it has acknowledged what it was
    /// sent, until about `budget` logs were looked at; the next call goes on there. True once it came past the last session: the
    /// cursor then stands at the first one again.
    pub fn sample_lag(&self, cursor: &mut LagCursor, budget: usize, mut found: impl FnMut(&PeerInfo, u64)) -> bool {
        let mut left = budget;
        for (id, session) in self.sessions.from(cursor.session) {
            if *id != cursor.session {
                *cursor = LagCursor::at(*id);
            }
            let rest = (cursor.context.map_or(Unbounded, Excluded), Unbounded);
            for (context, link) in session.links.range(rest) {
                if left == 0 {
                    return false;
                }
                let logs = self.contexts.get(context).filter(|_| link.may_send()).map(|local| &local.logs);
                left = left.saturating_sub(logs.map_or(1, |logs| logs.len().max(1)));
                let missing = logs.into_iter().flatten().map(|(log, state)| {
                    let came = link.came.get(log).copied().unwrap_or(0);
                    // A remote acknowledges what it is sent. What it wrote itself or brought it has, as far as a sample cares.
                    let own = state.record.replica() == session.peer.replica;
                    if own { 0 } else { state.record.seq.saturating_sub(link.held(log).max(came)) }
                });
                cursor.entries += missing.sum::<u64>();
                cursor.context = Some(*context);
            }
            found(&session.peer, cursor.entries);
            *cursor = LagCursor::at(SessionId(id.0.saturating_add(1)));
        }
        *cursor = LagCursor::default();
        true
    }
}
