//! Why a command could not do its work.

use std::path::PathBuf;

use partita::{CommitError, DocumentError, EngineError, OpenError};
use partita_core::{KeystoreError, StoreError, TransportError};
use partita_relay::RelayError;

/// Why a command could not do its work. Each message names what is wrong and what to do; all of them end the program
/// with [`CliError::EXIT`].
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
    /// A relay's store failed while it ran. What it acknowledged is in it.
    #[error("the relay stopped: {0}")]
    RelayFailed(StoreError),
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
    /// The exit code: the environment is at fault, not the command line and not the result.
    pub(crate) const EXIT: u8 = 3;

    /// An error of the operating system, with what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |error| Self::Io { what, error }
    }
}
