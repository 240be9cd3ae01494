//! What may happen to an entry, and to a request to open a context.

use crate::EntryId;

/// What a strategy says of an entry. One entry, one verdict: only control entries ever change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Accept,
    /// Its author had no right under the heads that its log named: kept in bounded quarantine, never applied, never served.
    Excluded(Refusal),
    /// The control entries that would decide are not here: not kept; its log pauses until they are.
    Undecided(Vec<EntryId>),
}

/// May two contexts sync?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The remote may have what this context holds, and may not offer entries.
    Read,
    /// The remote may offer entries, and gets none.
    Write,
    /// Both.
    Both,
    /// Neither, and why.
    Refused(Refusal),
}

impl Access {
    /// Whether the remote may have this context's entries.
    pub fn reads(self) -> bool {
        matches!(self, Self::Read | Self::Both)
    }

    /// Whether the remote may offer entries.
    pub fn writes(self) -> bool {
        matches!(self, Self::Write | Self::Both)
    }
}

/// Why something was refused, and so what the remote can do about it. The numbers are part of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
#[repr(u8)]
pub enum Refusal {
    /// No strategy answers for this, or it says no. Ask whoever governs the context for the right.
    #[error("denied: nobody here grants this; ask whoever governs the context")]
    Denied = 1,
    /// No strategy here knows contexts of this kind.
    #[error("contexts of this kind are unknown here: the remote needs the plugin for it")]
    UnknownKind = 2,
    /// The proof does not hold. Make a new one.
    #[error("the proof of the right to open the context does not hold")]
    BadProof = 3,
    /// The right was taken away.
    #[error("the right was revoked")]
    Revoked = 4,
    /// Control entries are missing here. Send those first.
    #[error("control entries that decide are missing here")]
    NeedControl = 5,
    /// A run begins after the first entry missing here. Send from there.
    #[error("entries before these are missing here")]
    Gap = 6,
    /// The log's first entry names entries of its replica that are not here. Send those first.
    #[error("entries of the same replica's earlier logs are missing here")]
    NeedPredecessor = 7,
    /// The context's or the author's quota is used up. It is tried again when there is room.
    #[error("the quota for this context is used up")]
    Quota = 8,
    /// The entry is over a limit of this node: final until the limit is raised.
    #[error("the entry is larger than this node allows")]
    TooLarge = 9,
    /// The author had no right to write it: final.
    #[error("its author had no right to write it")]
    Excluded = 10,
    /// The log is forked: two entries claim one place. Final beyond the last common entry.
    #[error("two different entries claim the same place in this log")]
    Fork = 11,
    /// The node's store cannot take more. It is tried again.
    #[error("the node cannot store anything at the moment")]
    ReadOnly = 12,
    /// A signature or a hash does not hold: final.
    #[error("a signature or a hash does not hold")]
    Invalid = 13,
    /// The remote may read this context and not offer entries.
    #[error("this session may not offer entries in this context")]
    NotWriter = 14,
    /// The remote closed this context. It opens it again by itself.
    #[error("the remote has closed this context for now")]
    Closed = 15,
    /// The node is about to go away, or its disk is nearly full, and takes nothing more. It is tried again, there or in another
    /// session.
    #[error("the node takes nothing more for now: it is about to go away, or its disk is nearly full")]
    Draining = 16,
    /// No checkpoint that is relied upon here, or may be, needs this snapshot.
    #[error("no checkpoint that counts here needs this snapshot")]
    NotNeeded = 17,
}

impl Refusal {
    /// The refusal with this number, if this version knows it.
    pub fn from_code(code: u8) -> Option<Self> {
        use Refusal::*;
        [
            Denied,
            UnknownKind,
            BadProof,
            Revoked,
            NeedControl,
            Gap,
            NeedPredecessor,
            Quota,
            TooLarge,
            Excluded,
            Fork,
            ReadOnly,
            Invalid,
            NotWriter,
            Closed,
            Draining,
            NotNeeded,
        ]
        .into_iter()
        .find(|refusal| *refusal as u8 == code)
    }

    /// Whether waiting cannot help: the same entry will be refused again, unless control entries change what counts.
    pub fn is_final(self) -> bool {
        use Refusal::*;
        matches!(self, TooLarge | Excluded | Fork | Invalid | NotWriter | NotNeeded)
    }
}
