//! Run-length encoded columns: a few bytes may stand for any number of rows, so they are counted before the library
//! expands them.

use std::borrow::Cow;

use partita_core::{CrdtError, Limits};

use super::chunk::inflate;
use super::reader::{Checked, Reader};

/// Operation counters above this are refused, so that a change can never bring a document near the library's 32 bits,
/// where every later edit would panic.
pub(crate) const MAX_COUNTER: u64 = 1 << 31;

/// Times and other numbers that JavaScript must hold.
const MAX_NUMBER: i128 = 1 << 53;

const GROUP: u32 = 0;
const ACTOR: u32 = 1;
const INTEGER: u32 = 2;
const DELTA: u32 = 3;
const BOOLEAN: u32 = 4;
const STRING: u32 = 5;
const VALUE_META: u32 = 6;
const DEFLATED: u32 = 8;

/// What counts towards the limits, over all columns of a payload.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Rows that one column may have.
    pub(crate) rows: u64,
    /// Bytes left to inflate to.
    pub(crate) bytes: usize,
}

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { rows: limits.operations, bytes: limits.inflated_bytes }
    }
}

/// The layout of some columns.
pub(crate) type Layout = Vec<(u32, usize)>;

/// Reads a layout: each column's kind and length.
pub(crate) fn layout(reader: &mut Reader<'_>) -> Checked<Layout> {
    let mut columns: Layout = Vec::new();
    for _ in 0..reader.count(2)? {
        let spec = u32::try_from(reader.unsigned()?).map_err(|_| CrdtError::Malformed("unknown column"))?;
        // The library looks columns up by binary search.
        if columns.last().is_some_and(|&(last, _)| last & !DEFLATED >= spec & !DEFLATED) {
            return Err(CrdtError::Malformed("columns out of order"));
        }
        let length = usize::try_from(reader.unsigned()?).map_err(|_| CrdtError::Malformed("truncated"))?;
        columns.push((spec, length));
    }
    Ok(columns)
}

/// Checks the data of columns. `signed` columns hold times beside counters.
pub(crate) fn data(
    reader: &mut Reader<'_>,
    columns: &Layout,
    actors: u64,
    signed: bool,
    budget: &mut Budget,
) -> Checked<()> {
    // The bytes that a metadata column promises in the value column behind it.
    let mut promised = 0u128;
    for &(spec, length) in columns {
        let raw = reader.take(length)?;
        let bytes = if spec & DEFLATED == 0 { Cow::Borrowed(raw) } else { inflate(raw, &mut budget.bytes)?.into() };
        let mut column = Column { reader: Reader::new(&bytes), rows: 0, limit: budget.rows };
        match spec & 7 {
            GROUP => {
                let total = column.total(|value, count| u128::from(value) * u128::from(count))?;
                if total > u128::from(budget.rows) {
                    return Err(CrdtError::TooLarge("number of operations"));
                }
            }
            ACTOR => column.numbers(actors)?,
            INTEGER => column.numbers(MAX_COUNTER)?,
            DELTA => column.deltas(if signed { -MAX_NUMBER..=MAX_NUMBER } else { 0..=i128::from(MAX_COUNTER) })?,
            BOOLEAN => column.booleans()?,
            STRING => column.strings(budget.bytes)?,
            VALUE_META => promised = column.total(|value, count| u128::from(value >> 4) * u128::from(count))?,
            _ => {
                if promised != bytes.len() as u128 {
                    return Err(CrdtError::Malformed("values of another length than they say"));
                }
                promised = 0;
            }
        }
    }
    if promised > 0 { Err(CrdtError::Malformed("values are missing")) } else { Ok(()) }
}

struct Column<'a> {
    reader: Reader<'a>,
    rows: u64,
    limit: u64,
}

impl Column<'_> {
    fn add(&mut self, rows: u64) -> Checked<()> {
        self.rows = self.rows.saturating_add(rows);
        if self.rows > self.limit { Err(CrdtError::TooLarge("number of operations")) } else { Ok(()) }
    }

    /// Calls `value` for each run, with the reader at the value and how often it stands.
    fn runs(&mut self, mut value: impl FnMut(&mut Reader<'_>, u64) -> Checked<()>) -> Checked<()> {
        while !self.reader.is_empty() {
            let length = self.reader.signed()?;
            if length > 0 {
                self.add(length.unsigned_abs())?;
                value(&mut self.reader, length.unsigned_abs())?;
            } else if length < 0 {
                self.add(length.unsigned_abs())?;
                for _ in 0..length.unsigned_abs() {
                    value(&mut self.reader, 1)?;
                }
            } else {
                let nulls = self.reader.unsigned()?;
                if nulls == 0 {
                    return Err(CrdtError::Malformed("empty run"));
                }
                self.add(nulls)?;
            }
        }
        Ok(())
    }

    fn numbers(&mut self, below: u64) -> Checked<()> {
        self.runs(|reader, _| match reader.unsigned()? {
            value if value < below => Ok(()),
            _ => Err(CrdtError::Malformed("number out of range")),
        })
    }

    fn total(&mut self, weight: impl Fn(u64, u64) -> u128) -> Checked<u128> {
        let mut total = 0u128;
        self.runs(|reader, count| {
            total = total.saturating_add(weight(reader.unsigned()?, count));
            Ok(())
        })?;
        Ok(total)
    }

    fn deltas(&mut self, range: std::ops::RangeInclusive<i128>) -> Checked<()> {
        let mut sum = 0i128;
        self.runs(|reader, count| {
            let step = i128::from(reader.signed()?);
            let first = sum + step;
            sum += step * i128::from(count);
            if range.contains(&first) && range.contains(&sum) {
                Ok(())
            } else {
                Err(CrdtError::Malformed("number out of range"))
            }
        })
    }

    fn booleans(&mut self) -> Checked<()> {
        let mut first = true;
        while !self.reader.is_empty() {
            let run = self.reader.unsigned()?;
            if run == 0 && !first {
                return Err(CrdtError::Malformed("empty run"));
            }
            first = false;
            self.add(run)?;
        }
        Ok(())
    }

    /// Each row becomes a string of its own, so a long one in a long run is many bytes.
    fn strings(&mut self, limit: usize) -> Checked<()> {
        let mut total = 0u128;
        self.runs(|reader, count| {
            let text = reader.buffer()?;
            std::str::from_utf8(text).map_err(|_| CrdtError::Malformed("invalid UTF-8"))?;
            total = total.saturating_add(text.len() as u128 * u128::from(count));
            if total > limit as u128 { Err(CrdtError::TooLarge("inflated payload")) } else { Ok(()) }
        })
    }
}
