//! The node's limits.

use std::time::Duration;

use crate::message::RunLimits;

/// The node's limits. What exceeds one is refused with a typed error before anything is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// The most bytes of one entry's stored payload.
    pub max_payload: u64,
    /// The most bytes of entries that remotes may have stored here in one context. Local entries are not limited. What decides
    /// who is in, and what makes room (control entries, snapshots that a checkpoint needs), may take half as much again.
    pub max_context_bytes: u64,
    /// How long the runs that this node makes are.
    pub run: RunLimits,
    /// Payloads over so many bytes travel as fragments of about this size.
    pub fragment_bytes: usize,
    /// About how many bytes of messages go into one frame: what a connection that breaks loses is at most a frame.
    pub frame_bytes: usize,
    /// How many bytes of entries a remote may have on their way to this node's store.
    pub credit: u64,
    /// How many bytes may wait in a transport before this node stops filling it.
    pub send_buffer: usize,
    /// How many bytes of recent entries a context keeps in memory for live delivery.
    pub tail_bytes: usize,
    /// How long a silent session lasts before a heartbeat goes out; three times that ends it.
    pub heartbeat: Duration,
    /// How long a remote has at most to answer when the application says that the network is back: half of this, or three
    /// of its round trips when they take longer.
    pub probe: Duration,
    /// How far ahead a peer's clock is followed.
    pub drift_limit: Duration,
    /// How many excluded entries of one log are kept. What counted once and was then cut off is always kept.
    pub max_quarantine: u64,
    /// How many bytes of excluded entries of one context are kept.
    pub max_quarantine_bytes: u64,
    /// How many bytes may wait in a transport before a remote that does not read is given up.
    pub max_send_queue: usize,
    /// How many bytes may wait in all transports together. From half of it on a transport gets no more entries before it has taken
    /// all that it had, and over it the remotes that have most to read are given up.
    pub max_outgoing_bytes: usize,
    /// How many senders' topics of what is said and not kept are remembered, in all contexts together. Once there are so many, the
    /// context with most of them makes room for one with fewer.
    pub max_heard: usize,
    /// How many contexts one session may open.
    pub max_session_contexts: usize,
    /// Whether entries of remotes are taken; not while a node drains before it goes away.
    pub takes_entries: bool,
    /// Whether contexts that remotes name, and whose right they prove, are created here: what a relay does.
    pub accept_contexts: bool,
    /// After how long without a remote a context that a remote brought leaves memory; the next one who opens it has it loaded
    /// again.
    pub unload_after: Duration,
    /// About how many bytes the claim of a checkpoint has: what would take more is covered by several, one after the other.
    pub claim_bytes: usize,
    /// How long after a commit ended the next one waits for more, where it would hold nothing but what remotes brought: they
    /// are told a little later that it is durable, and many entries share one commit.
    pub commit_pause: Duration,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            max_payload: 256 << 20,
            max_context_bytes: u64::MAX,
            run: RunLimits { entries: 512, bytes: 64 << 10 },
            fragment_bytes: 64 << 10,
            frame_bytes: 64 << 10,
            credit: 4 << 20,
            send_buffer: 128 << 10,
            tail_bytes: 4 << 20,
            heartbeat: Duration::from_secs(15),
            probe: Duration::from_secs(1),
            drift_limit: Duration::from_secs(300),
            max_quarantine: 10_000,
            max_quarantine_bytes: 64 << 20,
            max_send_queue: 64 << 20,
            max_outgoing_bytes: 1 << 30,
            max_heard: 16_384,
            max_session_contexts: 100_000,
            takes_entries: true,
            accept_contexts: false,
            unload_after: Duration::from_secs(300),
            claim_bytes: 256 << 10,
            commit_pause: Duration::from_millis(5),
        }
    }
}
