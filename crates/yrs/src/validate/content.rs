//! The content of one struct.

use partita_core::CrdtError;

use super::reader::{Checked, Reader};
use crate::history::{self, Shown};

const DELETED: u8 = 1;
const JSON: u8 = 2;
const BINARY: u8 = 3;
const STRING: u8 = 4;
const EMBED: u8 = 5;
const FORMAT: u8 = 6;
const TYPE: u8 = 7;
const ANY: u8 = 8;
const SUBDOCUMENT: u8 = 9;

/// What the rest of the validator wants to know about a content.
pub(crate) struct Content {
    /// How many clocks it takes.
    pub(crate) length: u32,
    /// Whether other items can live inside it.
    pub(crate) is_type: bool,
}

/// What a content that was accepted consists of, for each clock.
#[derive(Debug, Clone)]
pub(crate) struct Contents<'u> {
    kind: u8,
    /// At the content; behind the elements that were read.
    reader: Reader<'u>,
    left: u32,
    /// What is left of a string.
    text: std::str::EncodeUtf16<'u>,
}

impl<'u> Contents<'u> {
    pub(super) fn of(info: u8, content: Reader<'u>, length: u32) -> Self {
        let (kind, mut reader) = (info & 0x0f, content);
        let text = if kind == STRING { reader.string().unwrap_or_default() } else { "" };
        if kind == ANY {
            let _ = reader.count(); // it is the length
        }
        Self { kind, reader, left: length, text: text.encode_utf16() }
    }

    /// What stands for what is gone.
    pub(super) fn gone(length: u32) -> Self {
        Self { kind: DELETED, reader: Reader::new(&[]), left: length, text: "".encode_utf16() }
    }

    /// The next one, or all that are gone, which show nothing.
    pub(crate) fn next(&mut self) -> Checked<Option<(u32, Option<Shown<'u>>)>> {
        let (kind, from) = (self.kind, self.reader);
        let count = if kind == DELETED { self.left } else { self.left.min(1) };
        if count == 0 {
            return Ok(None);
        }
        self.left -= count;
        let shown = match kind {
            DELETED => None,
            STRING => {
                let is_half = |unit: &u16| (0xd800..0xe000).contains(unit);
                let unit = self.text.next().filter(|unit| !is_half(unit));
                Some(Shown::Text(unit.unwrap_or(char::REPLACEMENT_CHARACTER as u16)))
            }
            ANY => {
                any(&mut self.reader, usize::MAX)?;
                Some(Shown::Value(kind, history::value(from.until(&self.reader))?))
            }
            EMBED => Some(Shown::Value(kind, history::json(self.reader.string()?)?)),
            FORMAT => {
                let mut shown = self.reader.string()?.as_bytes().to_vec();
                shown.push(u8::MAX); // no text has this byte
                shown.extend(history::json(self.reader.string()?)?);
                Some(Shown::Value(kind, shown))
            }
            _ => {
                read(&mut self.reader, kind, usize::MAX)?;
                Some(Shown::Bytes(kind, from.until(&self.reader)))
            }
        };
        Ok(Some((count, shown)))
    }
}

/// Reads one content of the kind that `info` names.
pub(crate) fn read(reader: &mut Reader<'_>, info: u8, depth: usize) -> Checked<Content> {
    let one = Content { length: 1, is_type: false };
    match info & 0x0f {
        DELETED => sized(u64::from(reader.var_u32()?)),
        // yrs reads one string more than it writes, so what it stored once it can never load again.
        JSON => Err(CrdtError::Malformed("obsolete JSON content")),
        BINARY => {
            reader.buffer()?;
            Ok(one)
        }
        STRING => sized(reader.string()?.encode_utf16().count() as u64),
        EMBED => {
            json(reader.string()?, depth)?;
            Ok(one)
        }
        FORMAT => {
            reader.string()?;
            json(reader.string()?, depth)?;
            Ok(one)
        }
        TYPE => {
            match reader.byte()? {
                // Array, map, text, XML fragment, XML text.
                0..=2 | 4 | 6 => {}
                // An XML element carries its name.
                3 => {
                    reader.string()?;
                }
                // A hook carries a name in Yjs and none in yrs; weak links and subdocuments are not compiled in.
                _ => return Err(CrdtError::Malformed("unsupported shared type")),
            }
            Ok(Content { length: 1, is_type: true })
        }
        ANY => {
            let count = reader.count()?;
            for _ in 0..count {
                any(reader, depth)?;
            }
            sized(count as u64)
        }
        // Its parent holds it and it holds its parent, so a document with one is never freed; and what is inside is
        // not replicated.
        SUBDOCUMENT => Err(CrdtError::Malformed("subdocuments are not supported")),
        _ => Err(CrdtError::Malformed("unknown content")),
    }
}

fn sized(length: u64) -> Checked<Content> {
    match u32::try_from(length) {
        // yrs drops an empty item silently; Yjs does not write one.
        Ok(0) => Err(CrdtError::Malformed("empty struct")),
        Ok(length) => Ok(Content { length, is_type: false }),
        Err(_) => Err(CrdtError::Malformed("struct over 32 bits long")),
    }
}

/// One value of lib0's `Any`. yrs decodes, drops and prints these by recursion, without a limit.
fn any(reader: &mut Reader<'_>, depth: usize) -> Checked<()> {
    match reader.byte()? {
        120 | 121 | 126 | 127 => {}
        125 => reader.var_signed()?,
        124 => {
            reader.take(4)?;
        }
        122 | 123 => {
            reader.take(8)?;
        }
        119 => {
            reader.string()?;
        }
        116 => {
            reader.buffer()?;
        }
        kind @ (117 | 118) => {
            let below = depth.checked_sub(1).ok_or(CrdtError::TooLarge("nesting"))?;
            let count = reader.count()?;
            for _ in 0..count {
                if kind == 118 {
                    reader.string()?;
                }
                any(reader, below)?;
            }
        }
        _ => return Err(CrdtError::Malformed("unknown value")),
    }
    Ok(())
}

/// JSON text inside an embed or a format. Counting brackets first keeps the parser's recursion bounded.
fn json(text: &str, depth: usize) -> Checked<()> {
    let (mut open, mut quoted, mut escaped) = (0usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                open += 1;
                if open > depth {
                    return Err(CrdtError::TooLarge("nesting"));
                }
            }
            b']' | b'}' if !quoted => open = open.saturating_sub(1),
            _ => {}
        }
    }
    yrs::Any::from_json(text).map(drop).map_err(|_| CrdtError::Malformed("invalid JSON"))
}
