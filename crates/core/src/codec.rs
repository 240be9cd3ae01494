//! The one binary encoding: big-endian fixed integers, minimal LEB128 lengths, nothing optional about it.
//!
//! A value has exactly one encoding, so that a hash of the bytes is a hash of the value. [`Reader`] refuses what
//! [`Writer`] would not have written, never allocates before the input justifies it, and never panics.

use bytes::{BufMut, BytesMut};

/// Why bytes are not the value they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The input ends inside a value.
    #[error("the input ends too early")]
    Truncated,
    /// The input goes on after the value.
    #[error("bytes follow the value")]
    Trailing,
    /// There is a shorter or differently ordered encoding of the same value.
    #[error("the encoding is not the canonical one")]
    NotCanonical,
    /// A length or a count is over its limit.
    #[error("{0} is over its limit")]
    TooLarge(&'static str),
    /// A tag that this version does not know.
    #[error("unknown {0}")]
    Unknown(&'static str),
    /// A value that its type does not allow.
    #[error("invalid {0}")]
    Invalid(&'static str),
}

/// Writes the canonical encoding.
#[derive(Debug, Default)]
pub struct Writer {
    out: BytesMut,
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty writer that starts with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { out: BytesMut::with_capacity(bytes) }
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.out.put_u8(value);
    }

    /// Eight bytes, big-endian: sorts as the number does.
    pub fn u64(&mut self, value: u64) {
        self.out.put_u64(value);
    }

    /// A length or a count: minimal LEB128.
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.put_u8(value as u8);
    }

    /// The bytes as they are: the reader must know how many.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.put_slice(bytes);
    }

    /// A length, then the bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.raw(bytes);
    }

    /// How much was written.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// What was written so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.out
    }

    /// What was written.
    pub fn finish(self) -> bytes::Bytes {
        self.out.freeze()
    }
}

/// Reads the canonical encoding.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the beginning of `input`.
    pub fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn raw(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    /// Eight bytes, big-endian.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A minimal LEB128 number.
    ///
    /// # Errors
    /// [`DecodeError::NotCanonical`] for a padded one, [`DecodeError::TooLarge`] for one over 64 bits.
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            if shift == 63 && byte > 1 {
                return Err(DecodeError::TooLarge("a number"));
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(DecodeError::NotCanonical);
                }
                return Ok(value);
            }
        }
        Err(DecodeError::TooLarge("a number"))
    }

    /// A count of things that take at least `each` bytes: it can never be more than the input holds.
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`] over `most`, [`DecodeError::Truncated`] over what the input can hold.
    pub fn count(&mut self, what: &'static str, most: usize, each: usize) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.varint()?).map_err(|_| DecodeError::TooLarge(what))?;
        if count > most {
            return Err(DecodeError::TooLarge(what));
        }
        if count.saturating_mul(each) > self.rest.len() {
            return Err(DecodeError::Truncated);
        }
        Ok(count)
    }

    /// A length of at most `most`, then that many bytes.
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`], [`DecodeError::Truncated`].
    pub fn bytes(&mut self, what: &'static str, most: usize) -> Result<&'a [u8], DecodeError> {
        let len = self.count(what, most, 1)?;
        self.raw(len)
    }

    /// Nothing may follow.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`].
    pub fn end(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing) }
    }
}
