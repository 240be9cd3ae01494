//! What an embedder can ask of the sessions: which contexts may sync with whom, look again, begin anew.
//!
//! None of it is a second way to send: all of it wakes the one loop that sends.

use partita_core::{Access, ContextId, ContextInfo, RemoteContext, SessionId};

use super::Node;

/// Why there is nothing to wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The context is not open here.
    #[error("the context {0} is not open in this engine: open it first")]
    NoContext(ContextId),
    /// No such connection.
    #[error("there is no connection with the number {0}: it has ended")]
    NoSession(u64),
    /// The session does not have the context, or the remote may not read it.
    #[error("the context {context} is not shared with the remote of connection {session}: its strategy decides that")]
    NotShared {
        /// The context.
        context: ContextId,
        /// The connection's number.
        session: u64,
    },
}

impl Node {
    /// The contexts of this node that its strategies let sync with the remote of a session, and how; by rising id.
    pub fn syncable_contexts(&self, session: SessionId) -> Vec<(ContextInfo, Access)> {
        let Some(session) = self.sessions.get(&session) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for local in self.contexts.values() {
            let link = session.links.get(&local.info.id);
            let remote = RemoteContext {
                id: local.info.id,
                kind: local.info.kind.clone(),
                peer: session.peer.clone(),
                grant: link.and_then(|link| link.granted).map(|(grant, _)| grant),
            };
            let access = self.strategies[local.strategy].should_sync(&local.info, &remote);
            if !matches!(access, Access::Refused(_)) {
                found.push((local.info.clone(), access));
            }
        }
        found
    }

    /// Has everything looked at that a context may have to send: to one session, or to all that share it. New entries wake
    /// it by themselves; this is for an embedder that wants to be sure.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn send_for_context(&mut self, context: ContextId, session: Option<SessionId>) -> Result<(), SendError> {
        let local = self.contexts.get(&context).ok_or(SendError::NoContext(context))?;
        let Some(id) = session else {
            let sessions = local.sessions.iter().copied().collect();
            self.choose_targets(context, sessions);
            return Ok(());
        };
        if !self.sessions.contains(&id) {
            return Err(SendError::NoSession(id.0));
        }
        let shared = self.sessions.link(&id, &context).is_some_and(super::link::Link::may_send);
        if !shared {
            return Err(SendError::NotShared { context, session: id.0 });
        }
        self.wake_link(id, context);
        Ok(())
    }

    /// The same for every context: each that has something to say gets its turn, by bytes.
    pub fn send_for_all_contexts(&mut self) {
        for context in self.contexts.keys().copied().collect::<Vec<_>>() {
            let _ = self.send_for_context(context, None);
        }
    }

    /// Forgets what is known of how far the remotes hold a context, and compares frontiers anew with each of them. Nothing
    /// is lost, and nothing that a remote holds is sent again.
    ///
    /// # Errors
    /// [`SendError::NoContext`].
    pub fn reset_sync(&mut self, context: ContextId) -> Result<(), SendError> {
        let local = self.contexts.get(&context).ok_or(SendError::NoContext(context))?;
        for id in local.sessions.clone() {
            self.open_anew(id, context);
        }
        Ok(())
    }
}
