//! What the node shows of itself.

use std::time::Duration;

use partita_core::{Access, ContextId, ContextInfo, LogId, PeerInfo, Refusal};

use super::Node;

/// One context, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContextStatus {
    /// The context.
    pub info: ContextInfo,
    /// How many logs are held.
    pub logs: usize,
    /// How many entries are held.
    pub entries: u64,
    /// How many of them are durable.
    pub durable: u64,
    /// The bytes of the entries.
    pub bytes: u64,
    /// How many excluded entries are in quarantine.
    pub quarantined: u64,
    /// The last control entries, by rising id.
    pub control_entries: usize,
}

/// One context in one session, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionStatus {
    /// The remote.
    pub peer: PeerInfo,
    /// The context.
    pub context: ContextId,
    /// What the remote may do; `None` before its `Open` was granted.
    pub access: Option<Access>,
    /// Whether entries flow both ways.
    pub live: bool,
    /// Entries held here that the remote has not acknowledged.
    pub unacknowledged: u64,
    /// Logs that the remote refused, and why.
    pub paused: Vec<(LogId, Refusal)>,
    /// The last measured round trip.
    pub round_trip: Option<Duration>,
}

impl Node {
    /// Every loaded context.
    pub fn context_status(&self) -> Vec<ContextStatus> {
        let status = |local: &super::context::Context| ContextStatus {
            info: local.info.clone(),
            logs: local.logs.len(),
            entries: local.logs.values().map(|log| log.record.seq).sum(),
            durable: local.logs.values().map(|log| log.durable).sum(),
            bytes: local.logs.values().map(|log| log.record.bytes).sum(),
            quarantined: local.quarantined.values().map(|kept| kept.entries).sum(),
            control_entries: local.graph.len(),
        };
        self.contexts.values().map(status).collect()
    }

    /// Every context of every session.
    pub fn session_status(&self) -> Vec<SessionStatus> {
        let mut found = Vec::new();
        for (_, session) in self.sessions.iter() {
            for (context, link) in &session.links {
                let local = self.contexts.get(context);
                let unacknowledged = local.map_or(0, |local| {
                    let missing =
                        |(log, state): (&LogId, &super::context::Log)| state.record.seq.saturating_sub(link.held(log));
                    local.logs.iter().map(missing).sum()
                });
                found.push(SessionStatus {
                    peer: session.peer.clone(),
                    context: *context,
                    access: link.granted.map(|(_, access)| access),
                    live: link.live_said,
                    unacknowledged,
                    paused: link.paused.iter().map(|(log, why)| (*log, *why)).collect(),
                    round_trip: session.round_trip,
                });
            }
        }
        found
    }
}
