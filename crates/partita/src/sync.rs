//! How an application looks at the syncing of contexts, and prods it.

use partita_core::{Access, ContextId, ContextInfo, ReplicaId, SessionId};

use crate::{engine::Engine, error::EngineError};

/// What the strategies allow with whom, and ways to have it looked at again. See [`Engine::sync`].
///
/// Nothing here has to be called for changes to travel: they leave by themselves, and what was refused is tried again by
/// itself. Waking is for an application that knows better, such as one that just got a push message.
#[derive(Debug, Clone)]
pub struct SyncManager {
    pub(crate) engine: Engine,
}

impl SyncManager {
    /// Wakes every session that shares a context.
    ///
    /// # Errors
    /// [`SendError::NoContext`](crate::SendError::NoContext).
    pub async fn send_for_context(&self, context: ContextId) -> Result<(), EngineError> {
        Ok(self.engine.with_node(move |node, _| node.send_for_context(context, None)).await??)
    }

    /// Wakes the sessions with one remote for a context.
    ///
    /// # Errors
    /// [`EngineError::NotConnected`], [`SendError`](crate::SendError): the context is not open here, or not shared with
    /// that remote.
    pub async fn send_to(&self, remote: ReplicaId, context: ContextId) -> Result<(), EngineError> {
        let mut answer = Err(EngineError::NotConnected(remote));
        for session in self.sessions(remote).await? {
            let send = move |node: &mut partita_protocol::Node, _| node.send_for_context(context, Some(session));
            answer = self.engine.with_node(send).await?.map_err(EngineError::from);
            if answer.is_ok() {
                break;
            }
        }
        answer
    }

    /// Wakes every context in every session. Each that has something to say gets its turn, by bytes: none starves.
    ///
    /// # Errors
    /// [`EngineError::Closed`].
    pub async fn send_for_all_contexts(&self) -> Result<(), EngineError> {
        self.engine.with_node(|node, _| node.send_for_all_contexts()).await
    }

    /// The contexts that the strategies let sync with a connected remote, and in which direction; by rising id.
    ///
    /// # Errors
    /// [`EngineError::Closed`].
    pub async fn syncable_contexts(&self, remote: ReplicaId) -> Result<Vec<(ContextInfo, Access)>, EngineError> {
        let sessions = self.sessions(remote).await?;
        self.engine
            .with_node(move |node, _| {
                let mut found: Vec<_> =
                    sessions.into_iter().flat_map(|session| node.syncable_contexts(session)).collect();
                found.sort_by_key(|(info, _)| info.id);
                found.dedup_by_key(|(info, _)| info.id);
                found
            })
            .await
    }

    /// Forgets how far remotes were thought to hold a context and compares with each of them from nothing. What is held is
    /// neither lost nor sent again.
    ///
    /// # Errors
    /// [`SendError::NoContext`](crate::SendError::NoContext).
    pub async fn reset(&self, context: ContextId) -> Result<(), EngineError> {
        Ok(self.engine.with_node(move |node, _| node.reset_sync(context)).await??)
    }

    async fn sessions(&self, remote: ReplicaId) -> Result<Vec<SessionId>, EngineError> {
        let peers = self.engine.with_node(|node, _| node.peer_status()).await?;
        Ok(peers.into_iter().filter(|peer| peer.peer.replica == remote).map(|peer| peer.peer.session).collect())
    }
}
