//! How things stand, said about once a second.

use std::collections::BTreeMap;

use partita_core::{Observation, Observer, Sample, SessionId};
use partita_protocol::{LagCursor, Node};

/// How many logs are looked at in one second to see how far remotes are behind: about a millisecond's work. With
/// more than that in all sessions together, each is looked at every few seconds.
const LOGS_EACH_SECOND: usize = 10_000;

/// What it remembers from one second to the next.
#[derive(Default)]
pub(crate) struct Sampler {
    cursor: LagCursor,
    behind: BTreeMap<SessionId, u64>,
    /// Entries of remotes that were said to be taken.
    taken: u64,
}

/// What the driver knows of its queues.
pub(crate) struct Queues<'a> {
    pub(crate) inbox: usize,
    pub(crate) store: usize,
    /// Bytes that wait for the transport of a session.
    pub(crate) outgoing: &'a dyn Fn(SessionId) -> usize,
    pub(crate) outgoing_bytes: usize,
    pub(crate) outgoing_bytes_max: usize,
}

impl Sampler {
    /// After each round: what was taken in it.
    pub(crate) fn round(&mut self, node: &Node, observer: &dyn Observer) {
        let entries = node.entries_taken() - self.taken;
        if entries > 0 {
            self.taken += entries;
            observer.observe(&Observation::Taken { entries });
        }
    }

    pub(crate) fn session_ended(&mut self, session: SessionId) {
        self.behind.remove(&session);
    }

    pub(crate) fn tick(&mut self, node: &Node, queues: &Queues<'_>, observer: &dyn Observer) {
        let behind = &mut self.behind;
        node.sample_lag(&mut self.cursor, LOGS_EACH_SECOND, |peer, entries| {
            if entries == 0 {
                behind.remove(&peer.session);
            } else {
                behind.insert(peer.session, entries);
            }
            let outgoing_bytes = (queues.outgoing)(peer.session);
            let (session, remote) = (peer.session, peer.replica);
            observer.observe(&Observation::Lag { session, remote, entries, outgoing_bytes });
        });
        let mut sample = Sample::default();
        sample.inbox = queues.inbox;
        sample.store_queue = queues.store;
        sample.outgoing_bytes = queues.outgoing_bytes;
        sample.outgoing_bytes_max = queues.outgoing_bytes_max;
        sample.sessions = node.session_count();
        sample.contexts = node.context_count();
        sample.lagging_sessions = behind.len();
        sample.lag_entries = behind.values().sum();
        sample.lag_entries_max = behind.values().copied().max().unwrap_or(0);
        observer.observe(&Observation::Sampled(sample));
    }
}
