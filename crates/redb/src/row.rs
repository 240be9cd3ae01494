//! Rows with content: a checksum, and large content cut into pieces.
//!
//! | bytes | |
//! | --- | --- |
//! | 4 | CRC-32 over the row's key and its whole body |
//! | 1 | 0: the body follows; 1: it is in pieces |
//! | 8, 4 | in pieces only: the body's number, how many pieces |
//! | | the body, or its end |

use bytes::Bytes;
use crc32fast::Hasher;
use redb::{ReadableTable, Table};

use crate::{
    error::Fault,
    tables::{Pair, piece},
};

/// What stays in the row at most. With key and overhead it fits a page of 4,096 bytes.
const INLINE: usize = 3900;
/// The pages that pieces fill. Larger ones would save little, and are harder to find room for in a fragmented file.
const PAGES: [usize; 5] = [64 << 10, 32 << 10, 16 << 10, 8 << 10, 4 << 10];
/// What a page needs beside a piece: 20 bytes in redb 4.4, and some to spare for a later redb.
const PAGE_OVERHEAD: usize = 64;
const HEAD: usize = 5;

/// Begins a row: the caller appends the body.
pub(crate) fn begin(row: &mut Vec<u8>) {
    row.clear();
    row.extend_from_slice(&[0; HEAD]);
}

/// Completes a row whose body was appended; what is too long for it goes to `pieces` under a new number.
pub(crate) fn finish(
    row: &mut Vec<u8>,
    key: &[u8],
    pieces: &mut Table<'_, Pair, &'static [u8]>,
    bodies: &mut u64,
) -> Result<(), Fault> {
    let checksum = checksum(key, &row[HEAD..]);
    if row.len() - HEAD > INLINE {
        *bodies += 1;
        let (count, rest) = cut(&row[HEAD..], *bodies, pieces)?;
        let rest = row.len() - rest;
        row.drain(HEAD..rest);
        let mut place = [0; 12];
        place[..8].copy_from_slice(&bodies.to_be_bytes());
        place[8..].copy_from_slice(&count.to_be_bytes());
        row.splice(HEAD..HEAD, place);
        row[4] = 1;
    }
    row[..4].copy_from_slice(&checksum.to_be_bytes());
    Ok(())
}

/// Stores pieces until the rest fits a row. Returns how many, and the length of the rest.
fn cut(mut body: &[u8], number: u64, pieces: &mut Table<'_, Pair, &'static [u8]>) -> Result<(u32, usize), Fault> {
    let mut count = 0;
    while body.len() > INLINE {
        let fits = PAGES.iter().map(|page| page - PAGE_OVERHEAD).find(|piece| *piece <= body.len());
        // Too long for the row, and less than the smallest piece: one piece that does not quite fill its page.
        let (head, rest) = body.split_at(fits.unwrap_or(body.len()));
        pieces.insert(&piece(number, count), head)?;
        count += 1;
        body = rest;
    }
    Ok((count, body.len()))
}

fn checksum(key: &[u8], body: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(key);
    hasher.update(body);
    hasher.finalize()
}

/// The body of a row.
pub(crate) enum Body<'r> {
    /// As it lies in the row.
    Row(&'r [u8]),
    /// Put together from pieces.
    Joined(Bytes),
}

impl Body<'_> {
    /// The whole body.
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Row(body) => body,
            Self::Joined(body) => body,
        }
    }

    /// What follows the first `at` bytes, to keep.
    pub(crate) fn tail(&self, at: usize) -> Bytes {
        match self {
            Self::Row(body) => Bytes::copy_from_slice(&body[at..]),
            Self::Joined(body) => body.slice(at..),
        }
    }
}

/// A body's number, and in how many pieces it lies.
type Pieces = (u64, u32);

/// The row's checksum, its pieces if it has any, and what follows.
fn parts(row: &[u8]) -> Option<(u32, Option<Pieces>, &[u8])> {
    let (checksum, rest) = row.split_first_chunk::<4>()?;
    let (flag, rest) = rest.split_first()?;
    let checksum = u32::from_be_bytes(*checksum);
    match flag {
        0 => Some((checksum, None, rest)),
        1 => {
            let (number, rest) = rest.split_first_chunk::<8>()?;
            let (count, rest) = rest.split_first_chunk::<4>()?;
            Some((checksum, Some((u64::from_be_bytes(*number), u32::from_be_bytes(*count))), rest))
        }
        _ => None,
    }
}

/// Reads a row and checks it.
pub(crate) fn open<'r>(
    row: &'r [u8],
    key: &[u8],
    pieces: &impl ReadableTable<Pair, &'static [u8]>,
) -> Result<Body<'r>, Fault> {
    let (expected, cut, rest) = parts(row).ok_or_else(|| Fault::damaged("a row has no form"))?;
    let body = match cut {
        None => Body::Row(rest),
        Some((number, count)) => {
            // Nothing is allocated for what the row claims, only for what is there.
            let mut body = Vec::new();
            for (index, found) in (0..count).zip(pieces.range::<&[u8; 12]>(&piece(number, 0)..&piece(number, count))?) {
                let (key, value) = found?;
                if *key.value() != piece(number, index) {
                    return Err(Fault::damaged("a piece of a large value is missing"));
                }
                body.extend_from_slice(value.value());
            }
            body.extend_from_slice(rest);
            Body::Joined(body.into())
        }
    };
    if checksum(key, body.as_slice()) != expected {
        return Err(Fault::damaged("a row does not match its checksum"));
    }
    Ok(body)
}

/// Removes the pieces of a row that was removed.
pub(crate) fn forget(row: &[u8], pieces: &mut Table<'_, Pair, &'static [u8]>) -> Result<(), Fault> {
    if let Some((_, Some((number, count)), _)) = parts(row) {
        pieces.retain_in::<&[u8; 12], _>(&piece(number, 0)..&piece(number, count), |_, _| false)?;
    }
    Ok(())
}

/// A fixed row: `N` bytes, then a CRC-32 over the key and them.
pub(crate) fn seal<const N: usize>(key: &[u8], content: [u8; N]) -> Vec<u8> {
    let mut row = content.to_vec();
    row.extend_from_slice(&checksum(key, &content).to_be_bytes());
    row
}

/// Reads what [`seal`] made.
pub(crate) fn unseal<const N: usize>(key: &[u8], row: &[u8]) -> Result<[u8; N], Fault> {
    let found = row.split_first_chunk::<N>().filter(|(content, rest)| **rest == checksum(key, *content).to_be_bytes());
    found.map(|(content, _)| *content).ok_or_else(|| Fault::damaged("a row of the index does not match its checksum"))
}
