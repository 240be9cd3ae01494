//! What two nodes say to each other once the channel stands: frames of messages, hand-versioned, golden bytes under test.
//!
//! A frame is a list of messages. A message is a tag, a length and a body. Tags below 64 must be understood; those from 64 on
//! may be skipped by a node that does not know them. All messages name their context, so one frame serves many.

mod decode;
mod encode;
mod ephemeral;
mod run;

use bytes::Bytes;
use partita_core::{ContextId, ContextKind, EntryId, Hash, LogId, Refusal, ReplicaId, Tip};

pub use ephemeral::Ephemeral;
pub use run::{Run, RunLimits};

/// The most messages in one frame.
pub const MAX_MESSAGES: usize = 4096;
/// The most contexts, logs or tips in one message.
pub const MAX_ITEMS: usize = 100_000;
/// A list with more items goes in parts of so many: any part fits into a frame.
pub const MAX_PART: usize = 16_384;
/// The most entries in one run.
pub const MAX_RUN_ENTRIES: usize = 4096;
/// About how many bytes a run may have at most, so that it fits into a frame.
pub const MAX_RUN_BYTES: usize = 1 << 20;
/// The most bytes of a control entry's payload: control entries travel whole.
pub const MAX_CONTROL: u64 = 512 << 10;
/// The most bytes of a fragment.
pub const MAX_FRAGMENT: usize = 256 << 10;

/// The most bytes of an ephemeral message, sealed.
pub const MAX_EPHEMERAL: usize = 8 << 10;

/// One message. `docs/protocol.md` has the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// I have this context, hold this much of it, and may sync it with you.
    Open(Open),
    /// Whether your `Open` is granted.
    Opened(Opened),
    /// What I hold durably, because your hash and mine differ.
    Frontier {
        /// The context.
        context: ContextId,
        /// The tips by rising log id.
        tips: Vec<Tip>,
        /// Whether more tips follow in another message.
        more: bool,
    },
    /// I could send these logs, or got them from you though they are mine, and cannot tell whether you hold them durably:
    /// acknowledge what you do.
    Have {
        /// The context.
        context: ContextId,
        /// The logs and how far I hold them, by rising log id.
        tips: Vec<Tip>,
    },
    /// A contiguous run of one log.
    Entries(Run),
    /// Send the payload that your last run withheld, from this byte on.
    Want(Piece),
    /// A part of a large payload.
    Fragment {
        /// Of which entry, and where it begins.
        piece: Piece,
        /// The bytes.
        bytes: Bytes,
    },
    /// I hold these logs this far, durably. Number 0: nothing of it.
    Ack {
        /// The context.
        context: ContextId,
        /// Each log and the number of the last entry held.
        held: Vec<(LogId, u64)>,
    },
    /// I did not take an entry: the log pauses in this session.
    Refused(Refused),
    /// The cause of a refusal may have gone: send these logs again from what I acknowledged.
    Retry {
        /// The context.
        context: ContextId,
        /// The logs.
        logs: Vec<LogId>,
    },
    /// So many bytes of your entries left my memory: you may send as many more.
    Credit(u64),
    /// Are you there? The answer repeats the number with `reply`.
    Heartbeat {
        /// Any number.
        nonce: u64,
        /// The sender's clock, in milliseconds since 1970: a hint for people.
        clock: u64,
        /// Whether this is the answer.
        reply: bool,
    },
    /// I close the connection because of this.
    Error {
        /// What was wrong, by number.
        code: u8,
        /// What was wrong, for a person.
        text: String,
    },
    /// I close the connection in an orderly way.
    Bye,
    /// Somebody says something that is not kept.
    Ephemeral(Ephemeral),
    /// I have lost sight of somebody whose ephemeral messages I passed on: they are over.
    Gone {
        /// The context.
        context: ContextId,
        /// Who is gone.
        sender: ReplicaId,
    },
}

/// See [`Message::Open`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The context.
    pub context: ContextId,
    /// Counts this side's `Open`s in the session, from 1: the answer repeats it.
    pub number: u64,
    /// Its kind.
    pub kind: ContextKind,
    /// The hash of what the sender holds durably ([`partita_core::Frontier::hash`]).
    pub frontier: Hash,
    /// The proof of the sender's right.
    pub proof: Bytes,
}

/// See [`Message::Opened`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The context.
    pub context: ContextId,
    /// The number of the `Open` that is answered; 0 when a right changed, or the context was closed, without one.
    pub number: u64,
    /// Whether it is granted.
    pub outcome: Result<Granted, Refusal>,
}

/// See [`Opened::outcome`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// Whether the hashes differ, so that frontiers are compared: the sender's follows, the receiver's is awaited.
    pub differs: bool,
    /// The proof of the sender's own right, if it did not send an `Open` of its own: both directions are then open after
    /// one round trip.
    pub proof: Option<Bytes>,
}

/// A place in a large payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The context.
    pub context: ContextId,
    /// The log.
    pub log: LogId,
    /// The entry's number.
    pub seq: u64,
    /// The offset of a byte in its payload.
    pub offset: u64,
}

/// See [`Message::Refused`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The context.
    pub context: ContextId,
    /// The log.
    pub log: LogId,
    /// The number of the first entry that was not taken.
    pub seq: u64,
    /// Why.
    pub why: Refusal,
    /// The control entries that are missing, for [`Refusal::NeedControl`].
    pub heads: Vec<EntryId>,
}
