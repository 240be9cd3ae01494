//! Is a remote still there? Asked when the application says that the network is back.
//!
//! Only the answer to the question itself counts. A connection of which one direction is dead still brings what the remote
//! says by itself, and what is sent on it is lost all the same.

use std::time::Duration;

use partita_core::SessionId;

use super::{Node, sessions::Session};

impl Node {
    /// Sends a heartbeat now, whatever was heard lately.
    pub(super) fn on_probe(&mut self, id: SessionId) {
        // A second question does not prolong the time to answer the first.
        if self.sessions.contains(&id) && self.probed.insert(id) {
            self.ping(id);
            let now = self.now.monotonic;
            if let Some(session) = self.sessions.get_mut(&id) {
                session.probed = Some(now);
            }
        }
    }

    /// A remote answered the heartbeat of this moment.
    pub(super) fn probe_answered(&mut self, id: SessionId, asked: Duration) {
        if let Some(session) = self.sessions.get_mut(&id)
            && session.probed.is_some_and(|probed| asked >= probed)
        {
            session.probed = None;
            self.probed.remove(&id);
        }
    }

    /// Sessions that were asked and did not answer in time.
    pub(super) fn probes_unanswered(&self) -> Vec<SessionId> {
        let late = |id: &&SessionId| self.probe_due_of(id).is_some_and(|due| due <= self.now.monotonic);
        self.probed.iter().filter(late).copied().collect()
    }

    /// When an [`Event::Tick`](crate::Event::Tick) is due before the next second is over, on the monotonic clock: a
    /// remote should have answered by then, or this node may say something again.
    pub fn tick_due(&self) -> Option<Duration> {
        let probes = self.probed.iter().filter_map(|id| self.probe_due_of(id));
        probes.chain(self.saying_due()).min()
    }

    fn probe_due_of(&self, id: &SessionId) -> Option<Duration> {
        let session = self.sessions.get(id)?;
        Some(session.probed?.saturating_add(self.patience(session)))
    }

    fn patience(&self, session: &Session) -> Duration {
        let most = self.config.probe;
        session.round_trip.unwrap_or_default().saturating_mul(3).clamp(most / 2, most)
    }
}
