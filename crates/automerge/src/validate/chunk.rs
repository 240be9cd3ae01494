//! The framing of a payload: chunks one after the other.

use std::io::Read;

use flate2::bufread::DeflateDecoder;
use partita_core::CrdtError;

use super::reader::{Checked, Reader};

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Document,
    Change,
    CompressedChange,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunk<'a> {
    pub(crate) kind: Kind,
    pub(crate) checksum: [u8; 4],
    pub(crate) body: &'a [u8],
    /// The whole chunk.
    pub(crate) bytes: &'a [u8],
}

/// Cuts a payload into its chunks: at least one, and nothing after the last.
pub(crate) fn split(payload: &[u8]) -> Checked<Vec<Chunk<'_>>> {
    let mut reader = Reader::new(payload);
    let mut chunks = Vec::new();
    while chunks.is_empty() || !reader.is_empty() {
        let all = reader.rest();
        if reader.take(4)? != MAGIC {
            return Err(CrdtError::Malformed("not an Automerge chunk"));
        }
        let mut checksum = [0; 4];
        checksum.copy_from_slice(reader.take(4)?);
        let kind = match reader.byte()? {
            0 => Kind::Document,
            1 => Kind::Change,
            2 => Kind::CompressedChange,
            // Bundles are an experiment of the library: their format is not settled.
            _ => return Err(CrdtError::Malformed("unknown kind of chunk")),
        };
        let body = reader.buffer()?;
        chunks.push(Chunk { kind, checksum, body, bytes: &all[..all.len() - reader.rest().len()] });
    }
    Ok(chunks)
}

/// Inflates `bytes`, taking what it needs from `budget`. The library would inflate without a limit.
pub(crate) fn inflate(bytes: &[u8], budget: &mut usize) -> Checked<Vec<u8>> {
    let mut decoder = DeflateDecoder::new(bytes).take(*budget as u64 + 1);
    let mut inflated = Vec::new();
    decoder.read_to_end(&mut inflated).map_err(|_| CrdtError::Malformed("invalid compression"))?;
    if inflated.len() > *budget {
        return Err(CrdtError::TooLarge("inflated payload"));
    }
    if decoder.into_inner().total_in() != bytes.len() as u64 {
        return Err(CrdtError::Malformed("bytes after compressed data"));
    }
    *budget -= inflated.len();
    Ok(inflated)
}
