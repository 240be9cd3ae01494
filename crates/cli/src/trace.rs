//! Editing traces: who typed what, and what they saw while they typed.
//!
//! A sequential trace has one author. In a concurrent one each transaction names its parents: what its author saw is the
//! merge of everything before them. Positions count Unicode scalar values. A trace comes from outside: whatever is wrong
//! with it is found here, except positions in concurrent text, which only a CRDT can judge.

mod check;
mod error;
mod json;
mod sight;

use std::{
    fs::File,
    io::{BufRead, BufReader, Read as _},
    path::Path,
};

use flate2::bufread::MultiGzDecoder;

pub(crate) use error::{Place, TraceError};
pub(crate) use sight::Sight;

use crate::error::CliError;

/// The most bytes of a trace, unpacked. The longest trace of a real text known to us takes an eighth of it.
const MAX_BYTES: u64 = 128 << 20;
/// The most agents of a concurrent trace: each becomes a replica with a store and a connection.
const MAX_AGENTS: usize = 64;
/// How a gzip file begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A trace that makes sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trace {
    /// The text before the first transaction.
    pub(crate) start: String,
    /// The text after the last one.
    pub(crate) end: String,
    /// How many authors there are; `None` for a sequential trace, which has one.
    pub(crate) agents: Option<usize>,
    pub(crate) transactions: Vec<Transaction>,
}

/// What one agent did at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transaction {
    /// Zero in a sequential trace.
    pub(crate) agent: usize,
    /// The last transactions that the agent had seen. None: the text at the start. Unused in a sequential trace.
    pub(crate) parents: Vec<usize>,
    pub(crate) patches: Vec<Patch>,
}

/// At `position`, `deleted` scalar values go and `inserted` comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Patch {
    pub(crate) position: usize,
    pub(crate) deleted: usize,
    pub(crate) inserted: String,
}

impl Trace {
    /// Reads a trace, packed with gzip or plain.
    pub(crate) fn load(path: &Path) -> Result<Self, CliError> {
        let file = File::open(path).map_err(TraceError::Unreadable);
        file.and_then(|file| Self::read(BufReader::new(file), MAX_BYTES)).map_err(|error| error.at(path))
    }

    /// The same from anywhere. No more than `most` bytes are unpacked and one, however much the input would give.
    pub(crate) fn read(mut input: impl BufRead, most: u64) -> Result<Self, TraceError> {
        let packed = input.fill_buf().map_err(TraceError::Unreadable)?.starts_with(&GZIP);
        let mut bytes = Vec::new();
        let read = if packed {
            MultiGzDecoder::new(input).take(most + 1).read_to_end(&mut bytes)
        } else {
            input.take(most + 1).read_to_end(&mut bytes)
        };
        read.map_err(TraceError::Unreadable)?;
        if bytes.len() as u64 > most {
            return Err(TraceError::TooLong { limit: most });
        }
        Self::parse(&bytes)
    }

    /// Reads an unpacked trace.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, TraceError> {
        let trace = json::parse(bytes)?;
        check::check(&trace)?;
        Ok(trace)
    }

    /// How many replicas it takes to type it.
    pub(crate) fn writers(&self) -> usize {
        self.agents.unwrap_or(1)
    }
}

#[cfg(test)]
mod tests;
