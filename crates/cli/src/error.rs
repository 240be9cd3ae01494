//! Why a command could not do its work.

use std::path::PathBuf;

use partita::{
    CommitError, ConnectError, DocumentError, EngineError, OpenError,
    group::{GroupError, TextError},
};
use partita_core::{ContextId, KeystoreError, Refusal, StoreError, TransportError};
use partita_relay::{RelayError, RelayFailure};

/// Why a command could not do its work. Each message names what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CliError {
    /// A relay could not be opened.
    #[error("the relay on {listen} with the store {}: {error}", store.display())]
    Relay {
        /// Where it was to listen.
        listen: String,
        /// Its store.
        store: PathBuf,
        /// What is wrong.
        error: RelayError,
    },
    /// A relay failed while it ran. What it acknowledged is in its store.
    #[error("the relay stopped: {0}")]
    RelayFailed(RelayFailure),
    /// A relay was asked again to end before it had. What it acknowledged is in its store.
    #[error("the relay was ended before it had closed in order: what it acknowledged is in its store")]
    CutShort,
    /// An engine could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// An engine cannot answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A document cannot be had.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A document cannot be changed.
    #[error("a document could not be changed: {0}")]
    Change(String),
    /// A change was not stored.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A device's keys.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The single-owner plugin.
    #[error(transparent)]
    Owner(#[from] partita::single_owner::OwnerError),
    /// A connection.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file, a socket or a process.
    #[error("{what}: {error}")]
    Io {
        /// What was tried, and on what.
        what: String,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// A trace is not one.
    #[error("{} is not a trace: {reason}", path.display())]
    Trace {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what a trace looks like.
        reason: String,
    },
    /// A relay's address cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The group plugin.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// An invitation's text is none.
    #[error("this is no invitation: {0}")]
    Invitation(#[from] TextError),
    /// The relay does not take an invitation.
    #[error(
        "the relay does not take this invitation ({0}): it was used or revoked, has expired, or never reached the relay. Ask for a new one, and join with the same --store"
    )]
    InvitationRefused(Refusal),
    /// Neither the command line nor the invitation names a relay.
    #[error("the invitation does not say where the group can be met: name a relay with --relay URL")]
    NoRelay,
    /// The store belongs to no group.
    #[error("the store {} belongs to no group: found one with `partita group create`, or join one with `partita group join`", .0.display())]
    NoGroup(PathBuf),
    /// The store belongs to another group.
    #[error("the store {} belongs to the group {group} already: use another --store for another group", store.display())]
    OtherGroup {
        /// The store.
        store: PathBuf,
        /// Its group.
        group: ContextId,
    },
    /// An id that nobody has.
    #[error("no {what} begins with {typed:?}, as far as is known here: `partita group members` lists them")]
    NoSuch {
        /// What was looked for.
        what: &'static str,
        /// What was typed.
        typed: String,
    },
    /// The beginning of an id that several have.
    #[error("more than one {what} begins with {typed:?}: type more of it\n  {found}")]
    Ambiguous {
        /// What was looked for.
        what: &'static str,
        /// What was typed.
        typed: String,
        /// Those that begin so, one in each line.
        found: String,
    },
    /// A replica's process did not answer, or answered with an error.
    #[error("replica {name}: {reason}")]
    Replica {
        /// Which one.
        name: String,
        /// What it said, or that it said nothing.
        reason: String,
    },
}

impl CliError {
    /// The exit code: 2 when what was typed cannot be meant so, 3 when the environment is at fault.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Invitation(_) | Self::NoRelay | Self::NoSuch { .. } | Self::Ambiguous { .. } => 2,
            _ => 3,
        }
    }

    /// An error of the operating system, with what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |error| Self::Io { what, error }
    }
}
