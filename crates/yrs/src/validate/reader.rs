//! A cursor over lib0 v1 bytes that rejects what yrs would misread.

use partita_core::CrdtError;

/// Above this, `clock as i32` inside yrs turns negative.
pub(crate) const MAX_CLOCK: u32 = i32::MAX as u32;

/// Yjs client ids are JavaScript integers; yrs masks what is above.
const MAX_CLIENT: u64 = (1 << 53) - 1;

/// What every refusal of damaged bytes looks like.
pub(crate) type Checked<T> = Result<T, CrdtError>;

/// The reader. Every method either advances past a whole, well-formed value or refuses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The bytes up to where another reader of the same bytes is.
    pub(crate) fn until(&self, later: &Self) -> &'a [u8] {
        &self.rest[..self.rest.len().saturating_sub(later.rest.len())]
    }

    pub(crate) fn byte(&mut self) -> Checked<u8> {
        let (&first, rest) = self.rest.split_first().ok_or(CrdtError::Malformed("truncated"))?;
        self.rest = rest;
        Ok(first)
    }

    pub(crate) fn take(&mut self, length: usize) -> Checked<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(CrdtError::Malformed("truncated"))?;
        self.rest = rest;
        Ok(taken)
    }

    /// An unsigned varint in its shortest form. yrs accepts ten bytes and wraps.
    pub(crate) fn var_u64(&mut self) -> Checked<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                return Err(CrdtError::Malformed("varint over 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(CrdtError::Malformed("varint not in its shortest form"));
                }
                return Ok(value);
            }
        }
        Err(CrdtError::Malformed("varint over 64 bits"))
    }

    pub(crate) fn var_u32(&mut self) -> Checked<u32> {
        u32::try_from(self.var_u64()?).map_err(|_| CrdtError::Malformed("varint over 32 bits"))
    }

    /// A signed varint: six bits and a sign in the first byte. yrs shifts past 64 bits.
    pub(crate) fn var_signed(&mut self) -> Checked<()> {
        let first = self.byte()?;
        let mut value = u64::from(first & 0x3f);
        if first & 0x80 == 0 {
            return Ok(());
        }
        for shift in (6..56).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                if byte == 0 {
                    return Err(CrdtError::Malformed("varint not in its shortest form"));
                }
                return if value <= MAX_CLIENT { Ok(()) } else { Err(CrdtError::Malformed("integer over 53 bits")) };
            }
        }
        Err(CrdtError::Malformed("integer over 53 bits"))
    }

    /// A count of things that take at least one byte each.
    pub(crate) fn count(&mut self) -> Checked<usize> {
        match usize::try_from(self.var_u64()?) {
            Ok(count) if count <= self.remaining() => Ok(count),
            _ => Err(CrdtError::Malformed("count beyond the bytes that remain")),
        }
    }

    pub(crate) fn client(&mut self) -> Checked<u64> {
        match self.var_u64()? {
            client if client <= MAX_CLIENT => Ok(client),
            _ => Err(CrdtError::Malformed("client id over 53 bits")),
        }
    }

    /// The number of one element, so that even its successor is below the limit.
    pub(crate) fn clock(&mut self) -> Checked<u32> {
        match self.var_u32()? {
            clock if clock < MAX_CLOCK => Ok(clock),
            _ => Err(CrdtError::Malformed("clock over 31 bits")),
        }
    }

    pub(crate) fn buffer(&mut self) -> Checked<&'a [u8]> {
        let length = self.count()?;
        self.take(length)
    }

    pub(crate) fn string(&mut self) -> Checked<&'a str> {
        std::str::from_utf8(self.buffer()?).map_err(|_| CrdtError::Malformed("invalid UTF-8"))
    }
}
