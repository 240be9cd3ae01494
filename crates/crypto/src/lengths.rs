//! Length-prefixing: how several byte strings become one without ambiguity.
//!
//! `("ab", "c")` and `("a", "bc")` must never be the same input to a hash, a signature or a key derivation. A part
//! is its length as 8 little-endian bytes and then itself, so a list of parts reads back in one way only.

/// The prefix of one part.
pub(crate) fn prefix(part: &[u8]) -> [u8; 8] {
    // usize is never wider than 64 bits on a platform that Rust supports, so nothing is cut off.
    (part.len() as u64).to_le_bytes()
}

/// Appends one part with its prefix.
pub(crate) fn push(out: &mut Vec<u8>, part: &[u8]) {
    out.extend_from_slice(&prefix(part));
    out.extend_from_slice(part);
}
