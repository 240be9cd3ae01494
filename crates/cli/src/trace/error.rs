//! What makes a file no trace.

use std::{fmt, path::Path};

use crate::error::CliError;

/// The shape that a trace has, for whoever brought something else.
const SHAPE: &str = r#"a trace is JSON, packed with gzip or plain: {"startContent": "", "endContent": "hi", "txns": [{"patches": [[0, 0, "hi"]]}]}, where a patch is [position, deleted, inserted]; with "kind": "concurrent" and "numAgents", each transaction also has its "agent" and its "parents""#;

/// Why a file is not a trace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TraceError {
    /// It cannot be read to its end, or unpacked.
    #[error("it cannot be read: {0}")]
    Unreadable(std::io::Error),
    /// It is longer than any trace.
    #[error("it is longer than {} MiB unpacked", limit >> 20)]
    TooLong { limit: u64 },
    /// It is not the JSON that it should be; the error names line and column.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// A kind of trace that nobody knows.
    #[error("its kind is {0:?}, and only \"concurrent\" and \"sequential\" are known")]
    Kind(String),
    /// `numAgents` is missing in a concurrent trace, zero, or too large.
    #[error("it has {found} agents, and replays have 1 to {most}")]
    Agents { found: u64, most: usize },
    /// A transaction of nobody.
    #[error("transaction {transaction} is of agent {agent}, and there are {agents}, counted from 0")]
    Agent { transaction: usize, agent: u64, agents: usize },
    /// A transaction saw what came after it.
    #[error("transaction {transaction} has the parent {parent}, which does not come before it")]
    Parent { transaction: usize, parent: u64 },
    /// An agent forgot what it had typed: then it is two agents.
    #[error("transaction {transaction} did not see transaction {previous}, though both are of agent {agent}")]
    Forgets { transaction: usize, previous: usize, agent: usize },
    /// A patch lies outside of the text.
    #[error("transaction {transaction}, {place}")]
    Position { transaction: usize, place: Place },
}

/// A patch that lies outside of the text that its agent saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) patch: usize,
    pub(crate) position: usize,
    pub(crate) deleted: usize,
    /// How long the text was.
    pub(crate) length: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { patch, position, deleted, length } = self;
        write!(f, "patch {patch} deletes {deleted} at {position} in a text of {length}")
    }
}

impl TraceError {
    /// With the file that it is about.
    pub(crate) fn at(self, path: &Path) -> CliError {
        CliError::Trace { path: path.to_owned(), reason: format!("{self}; {SHAPE}") }
    }
}
