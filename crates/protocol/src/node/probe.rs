//! Is a remote still there? Asked when the application says that the network is back.

use partita_core::SessionId;

use super::Node;

/// A remote that was asked has this part of a heartbeat's interval to say anything.
const PATIENCE: u32 = 3;

impl Node {
    /// Sends a heartbeat now, whatever was heard lately.
    pub(super) fn on_probe(&mut self, id: SessionId) {
        self.ping(id);
        let now = self.now.monotonic;
        if let Some(session) = self.sessions.get_mut(&id) {
            // A second question does not prolong the time to answer the first.
            session.probed.get_or_insert(now);
        }
    }

    /// Sessions that were asked and said nothing since.
    pub(super) fn probes_unanswered(&self) -> Vec<SessionId> {
        let patience = self.config.heartbeat / PATIENCE;
        let late = self.sessions.iter().filter(|(_, session)| {
            session.probed.is_some_and(|probed| self.now.monotonic.saturating_sub(probed) >= patience)
        });
        late.map(|(id, _)| *id).collect()
    }
}
