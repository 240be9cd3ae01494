//! What members may do, and who they are.

use std::{fmt, str::FromStr};

use partita_core::{IdError, ReplicaId, codec::DecodeError};

/// What a member may do. Each role may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Role {
    /// Fetch and pass on what it cannot read.
    Relay = 1,
    /// Read.
    Read = 2,
    /// Write documents, and begin key epochs.
    Write = 3,
    /// Add, remove and invite members, and change their roles.
    Admin = 4,
}

impl Role {
    /// Every role, the least first.
    pub const ALL: [Self; 4] = [Self::Relay, Self::Read, Self::Write, Self::Admin];

    pub(crate) fn from_code(code: u8) -> Result<Self, DecodeError> {
        Self::ALL.into_iter().find(|role| *role as u8 == code).ok_or(DecodeError::Unknown("role"))
    }

    /// Whether it may read.
    pub fn reads(self) -> bool {
        self >= Self::Read
    }

    /// Whether it may write.
    pub fn writes(self) -> bool {
        self >= Self::Write
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Relay => "relay",
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        })
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.to_string() == text).ok_or_else(|| UnknownRole(text.into()))
    }
}

/// A word that is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no role: use relay, read, write or admin")]
pub struct UnknownRole(pub String);

/// Which of a group's past a newcomer may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum History {
    /// All of it.
    #[default]
    All = 0,
    /// Nothing that was written before: documents created since, and copies that a member shares.
    FromNow = 1,
}

impl History {
    pub(crate) fn from_code(code: u8) -> Result<Self, DecodeError> {
        match code {
            0 => Ok(Self::All),
            1 => Ok(Self::FromNow),
            _ => Err(DecodeError::Unknown("history policy")),
        }
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::All => "all",
            Self::FromNow => "from-now",
        })
    }
}

/// A member: a person with one or more devices. It is named after its first device, and keeps the name when that is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub ReplicaId);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for MemberId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse().map(Self)
    }
}
