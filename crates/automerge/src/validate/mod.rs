//! A structural pass over a payload before the library parses it: framing, inflation and row counts under limits, then
//! each change parsed and compared with how the library itself would have written it.

pub(crate) mod change;
pub(crate) mod chunk;
mod columns;
pub(crate) mod document;
mod nesting;
mod reader;

use std::panic::catch_unwind;

use automerge::Automerge;
use partita_core::{CrdtError, Limits};

use crate::deep::with_stack_for_bytes;
use chunk::{Chunk, Kind};
use columns::Budget;

pub(crate) use columns::MAX_COUNTER;
pub(crate) use reader::Checked;

/// Accepts or refuses a payload. `actor` is the only one that may have written its changes; without one it is an import,
/// and may hold whole documents.
pub(crate) fn payload(bytes: &[u8], actor: Option<&[u8]>, limits: &Limits) -> Checked<()> {
    let mut budget = Budget::new(limits);
    for chunk in sized(bytes, limits)? {
        match chunk.kind {
            Kind::Document if actor.is_some() => return Err(CrdtError::ForeignActor),
            Kind::Document => {
                document::check(chunk.body, &mut budget)?;
                document::within(&load(&chunk)?, limits.depth)?;
            }
            Kind::Change | Kind::CompressedChange => {
                change_body(&chunk, actor, &mut budget)?;
                let parsed = change::parse_strictly(chunk.bytes, chunk.checksum, limits.depth)?;
                if parsed.is_empty() && actor.is_some() {
                    return Err(CrdtError::Malformed("a change without operations")); // nothing here writes such
                }
                // The limit is for the payload, not for each of its changes.
                budget.rows = budget.rows.saturating_sub(parsed.len().max(1) as u64);
            }
        }
    }
    Ok(())
}

/// The part of the pass that keeps parsing within the limits, without parsing anything.
pub(crate) fn structure<'a>(bytes: &'a [u8], limits: &Limits) -> Checked<Vec<Chunk<'a>>> {
    let mut budget = Budget::new(limits);
    let chunks = sized(bytes, limits)?;
    for chunk in &chunks {
        match chunk.kind {
            Kind::Document => document::check(chunk.body, &mut budget)?,
            Kind::Change | Kind::CompressedChange => change_body(chunk, None, &mut budget)?,
        }
    }
    Ok(chunks)
}

/// Loads a document chunk that was checked.
pub(crate) fn load(chunk: &Chunk<'_>) -> Checked<Automerge> {
    match with_stack_for_bytes(chunk.bytes.len(), || catch_unwind(|| Automerge::load(chunk.bytes))) {
        Ok(Ok(loaded)) => Ok(loaded),
        Ok(Err(_)) | Err(_) => Err(CrdtError::Malformed("unreadable to the library")),
    }
}

fn sized<'a>(bytes: &'a [u8], limits: &Limits) -> Checked<Vec<Chunk<'a>>> {
    if bytes.len() > limits.payload_bytes {
        return Err(CrdtError::TooLarge("payload"));
    }
    chunk::split(bytes)
}

fn change_body(chunk: &Chunk<'_>, actor: Option<&[u8]>, budget: &mut Budget) -> Checked<()> {
    if chunk.kind == Kind::CompressedChange {
        let body = chunk::inflate(chunk.body, &mut budget.bytes)?;
        change::check(&body, actor, budget)
    } else {
        change::check(chunk.body, actor, budget)
    }
}
