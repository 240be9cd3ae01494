//! A cursor over bytes that refuses instead of wrapping.

use partita_core::CrdtError;

/// What every refusal of damaged bytes looks like.
pub(crate) type Checked<T> = Result<T, CrdtError>;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn take(&mut self, length: usize) -> Checked<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(CrdtError::Malformed("truncated"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn byte(&mut self) -> Checked<u8> {
        let (&first, rest) = self.rest.split_first().ok_or(CrdtError::Malformed("truncated"))?;
        self.rest = rest;
        Ok(first)
    }

    /// An unsigned LEB128 number in its shortest form.
    pub(crate) fn unsigned(&mut self) -> Checked<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                return Err(CrdtError::Malformed("number over 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(CrdtError::Malformed("number not in its shortest form"));
                }
                return Ok(value);
            }
        }
        Err(CrdtError::Malformed("number over 64 bits"))
    }

    /// A signed LEB128 number of at most nine bytes: 63 bits are more than anything honest needs.
    pub(crate) fn signed(&mut self) -> Checked<i64> {
        let mut value = 0i64;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            value |= i64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let unused = 64 - 7 - shift;
                return Ok((value << unused) >> unused);
            }
        }
        Err(CrdtError::Malformed("number over 63 bits"))
    }

    /// A count of things that take at least `size` bytes each.
    pub(crate) fn count(&mut self, size: usize) -> Checked<usize> {
        match usize::try_from(self.unsigned()?) {
            Ok(count) if count.checked_mul(size).is_some_and(|bytes| bytes <= self.rest.len()) => Ok(count),
            _ => Err(CrdtError::Malformed("count beyond the bytes that remain")),
        }
    }

    pub(crate) fn buffer(&mut self) -> Checked<&'a [u8]> {
        let length = self.count(1)?;
        self.take(length)
    }
}
