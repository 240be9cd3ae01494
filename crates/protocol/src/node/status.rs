//! What the node shows of itself.

use std::time::Duration;

use partita_core::{Access, ContextId, ContextInfo, EntryId, LogId, PeerInfo, Refusal, ReplicaId};

use super::{Node, sessions::Session};
use crate::effect::Progress;

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
    /// How many of them are pruned, since a checkpoint's snapshots stand for them.
    pub pruned: u64,
    /// Claims of checkpoints that wait until these replicas have attested them: nothing is pruned by them before.
    pub claims: Vec<ClaimStatus>,
    /// The bytes of the entries that are not pruned, control entries and snapshots among them; without those in quarantine.
    pub bytes: u64,
    /// How many excluded entries are in quarantine.
    pub quarantined: u64,
    /// How many control entries are held. They are never pruned.
    pub control_entries: usize,
}

/// A claim of a checkpoint that is not relied upon.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClaimStatus {
    /// The control entry that makes it.
    pub claim: EntryId,
    /// Who makes it.
    pub author: ReplicaId,
    /// Who has still to attest it. Empty: its snapshots are not all here, or a log that it covers is forked.
    pub lacks: Vec<ReplicaId>,
    /// Whether this replica found that it does not hold.
    pub refuted: bool,
}

/// One connected remote, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerStatus {
    /// The remote.
    pub peer: PeerInfo,
    /// Whether this node dialled it.
    pub dialled: bool,
    /// The last measured round trip.
    pub round_trip: Option<Duration>,
    /// By how many milliseconds its clock was ahead of this node's at the last heartbeat; negative when it was behind.
    /// Nothing depends on it.
    pub clock_ahead_ms: Option<i64>,
    /// Bytes that the transport has not taken yet.
    pub buffered: usize,
    /// How many contexts are open with it, in both directions.
    pub live: usize,
    /// How many contexts are not caught up with yet.
    pub catching_up: usize,
    /// How far, over all of them.
    pub progress: Progress,
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
    /// How far what it held at the beginning is here; `None` before that is known, and once all of it is.
    pub catching_up: Option<Progress>,
    /// Entries that the remote has neither been sent nor sent itself.
    pub pending: u64,
    /// Entries that were sent to it or came from it, and that it has not acknowledged.
    pub sent: u64,
    /// Entries that it holds durably, by its own word.
    pub acknowledged: u64,
    /// Logs that the remote refused, and why: each goes on by itself when the remote says so.
    pub paused: Vec<(LogId, Refusal)>,
    /// Logs of the remote's that this node refused, and why.
    pub refused: Vec<(LogId, Refusal)>,
}

impl Node {
    /// Every loaded context.
    pub fn context_status(&self) -> Vec<ContextStatus> {
        let status = |local: &super::context::Context| ContextStatus {
            info: local.info.clone(),
            logs: local.logs.len(),
            entries: local.logs.values().map(|log| log.record.seq).sum(),
            durable: local.logs.values().map(|log| log.durable).sum(),
            pruned: local.logs.values().map(|log| log.base).sum(),
            claims: local.checkpoints.status(),
            bytes: local.logs.values().map(|log| log.record.bytes).sum(),
            quarantined: local.quarantined.all().values().map(|kept| kept.entries).sum(),
            control_entries: local.graph.len(),
        };
        self.contexts.values().map(status).collect()
    }

    /// Every connected remote.
    pub fn peer_status(&self) -> Vec<PeerStatus> {
        let status = |session: &Session| {
            let behind = session.links.values().filter(|link| link.missing.is_some());
            let progress = behind.clone().fold(Progress::default(), |sum, link| Progress {
                received: sum.received.saturating_add(link.progress.received),
                total: sum.total.saturating_add(link.progress.total),
            });
            PeerStatus {
                peer: session.peer.clone(),
                dialled: session.remote.dialled,
                round_trip: session.round_trip,
                clock_ahead_ms: session.clock_ahead_ms,
                buffered: session.buffered,
                live: session.links.values().filter(|link| link.live_said).count(),
                catching_up: behind.count(),
                progress,
            }
        };
        self.sessions.iter().map(|(_, session)| status(session)).collect()
    }

    /// Every context of every session.
    pub fn session_status(&self) -> Vec<SessionStatus> {
        let mut found = Vec::new();
        for (_, session) in self.sessions.iter() {
            for (context, link) in &session.links {
                let (mut pending, mut sent, mut acknowledged) = (0, 0, 0);
                for (log, state) in self.contexts.get(context).into_iter().flat_map(|local| &local.logs) {
                    let held = link.held(log).min(state.record.seq);
                    let reached = link.sent(log).clamp(held, state.record.seq);
                    acknowledged += held;
                    sent += reached - held;
                    pending += state.record.seq - reached;
                }
                found.push(SessionStatus {
                    peer: session.peer.clone(),
                    context: *context,
                    access: link.granted.map(|(_, access)| access),
                    live: link.live_said,
                    catching_up: link.missing.as_ref().map(|_| link.progress),
                    pending,
                    sent,
                    acknowledged,
                    paused: link.paused.iter().map(|(log, why)| (*log, *why)).collect(),
                    refused: link.halted.all().iter().map(|(log, halt)| (*log, halt.why)).collect(),
                });
            }
        }
        found
    }
}
