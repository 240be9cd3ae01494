//! A document with a text in parts, of either CRDT library: what the demonstration types on.

use automerge::{ObjType, ROOT, ReadDoc, ScalarValue, Value, transaction::Transactable as _};
use partita::{Changes, Commit, Document, automerge::Automerge, yrs::Yrs};
use yrs::{Any, GetString as _, Map as _, ReadTxn as _, Text as _, WriteTxn as _};

use crate::error::CliError;

/// Ends each part of the text. Replicas type into different parts at the same time, and each finds its own.
const END_OF_PART: char = '\u{2029}';
const TEXT: &str = "text";
const TICK: &str = "tick";
const BLOBS: &str = "blobs";

#[derive(Debug, Clone)]
pub(crate) enum Paper {
    Automerge(Document<Automerge>),
    Yrs(Document<Yrs>),
}

impl Paper {
    pub(crate) fn id(&self) -> String {
        match self {
            Self::Automerge(document) => document.id().to_string(),
            Self::Yrs(document) => document.id().to_string(),
        }
    }

    /// Divides the empty text into parts.
    pub(crate) fn rule(&self, parts: usize) -> Result<Commit<()>, CliError> {
        let ends = END_OF_PART.to_string().repeat(parts);
        match self {
            Self::Automerge(document) => document.change(|tx| {
                let text = tx.put_object(ROOT, TEXT, ObjType::Text)?;
                tx.splice_text(&text, 0, 0, &ends)
            }),
            Self::Yrs(document) => {
                return document
                    .change(|tx| {
                        let text = tx.get_or_insert_text(TEXT);
                        text.insert(tx, 0, &ends);
                        Ok(())
                    })
                    .map_err(change);
            }
        }
        .map_err(change)
    }

    /// Whether the text is divided already.
    pub(crate) fn is_ruled(&self) -> Result<bool, CliError> {
        Ok(self.text()?.contains(END_OF_PART))
    }

    /// Types at the end of a part.
    pub(crate) fn insert(&self, part: usize, word: &str) -> Result<Commit<()>, CliError> {
        match self {
            Self::Automerge(document) => document
                .change(|tx| {
                    let Some((Value::Object(ObjType::Text), text)) = tx.get(ROOT, TEXT)? else { return Ok(()) };
                    let at = end_of(&tx.text(&text)?, part, |_| 1);
                    tx.splice_text(&text, at, 0, word)
                })
                .map_err(change),
            Self::Yrs(document) => document
                .change(|tx| {
                    let text = tx.get_or_insert_text(TEXT);
                    let at = end_of(&text.get_string(tx), part, char::len_utf16);
                    text.insert(tx, u32::try_from(at).unwrap_or(u32::MAX), word);
                    Ok(())
                })
                .map_err(change),
        }
    }

    /// The text's parts.
    pub(crate) fn parts(&self) -> Result<Vec<String>, CliError> {
        let text = self.text()?;
        let mut parts: Vec<String> = text.split(END_OF_PART).map(str::to_owned).collect();
        parts.pop(); // after the last end there is nothing
        Ok(parts)
    }

    fn text(&self) -> Result<String, CliError> {
        match self {
            Self::Automerge(document) => document.try_read(automerge_text).map_err(change),
            Self::Yrs(document) => document
                .try_read(|tx| tx.get_text(TEXT).map(|text| text.get_string(tx)).unwrap_or_default())
                .map_err(change),
        }
    }

    /// Puts a blob in the place of the one before.
    pub(crate) fn put_blob(&self, key: &str, blob: Vec<u8>) -> Result<Commit<()>, CliError> {
        match self {
            Self::Automerge(document) => {
                document.change(|tx| tx.put(ROOT, key, ScalarValue::Bytes(blob))).map_err(change)
            }
            Self::Yrs(document) => document
                .change(|tx| {
                    tx.get_or_insert_map(BLOBS).insert(tx, key.to_owned(), Any::Buffer(blob.into()));
                    Ok(())
                })
                .map_err(change),
        }
    }

    /// Sets the counter.
    pub(crate) fn tick(&self, value: u64) -> Result<(), CliError> {
        match self {
            Self::Automerge(document) => {
                document.change(|tx| tx.put(ROOT, TICK, ScalarValue::Uint(value))).map_err(change).map(drop)
            }
            Self::Yrs(document) => document
                .change(|tx| {
                    let map = tx.get_or_insert_map(TICK);
                    map.insert(tx, TICK, f64::from(u32::try_from(value).unwrap_or(u32::MAX)));
                    Ok(())
                })
                .map_err(change)
                .map(drop),
        }
    }

    /// The counter.
    pub(crate) fn ticked(&self) -> Result<u64, CliError> {
        match self {
            Self::Automerge(document) => document
                .try_read(|doc| match doc.get(ROOT, TICK) {
                    Ok(Some((value, _))) => value.as_u64().unwrap_or_default(),
                    _ => 0,
                })
                .map_err(change),
            Self::Yrs(document) => document
                .try_read(|tx| {
                    let value = tx.get_map(TICK).and_then(|map| map.get_as::<_, f64>(tx, TICK).ok());
                    value.map_or(0, |value| value as u64)
                })
                .map_err(change),
        }
    }

    pub(crate) fn digest(&self) -> Result<String, CliError> {
        match self {
            Self::Automerge(document) => document.digest().map_err(change).map(|digest| digest.to_string()),
            Self::Yrs(document) => document.digest().map_err(change).map(|digest| digest.to_string()),
        }
    }

    pub(crate) fn changes(&self) -> Result<Changes, CliError> {
        match self {
            Self::Automerge(document) => document.subscribe(|_| ()).map(|((), changes)| changes).map_err(change),
            Self::Yrs(document) => document.subscribe(|_| ()).map(|((), changes)| changes).map_err(change),
        }
    }
}

fn automerge_text(doc: &automerge::Automerge) -> String {
    match doc.get(ROOT, TEXT) {
        Ok(Some((Value::Object(ObjType::Text), text))) => doc.text(&text).unwrap_or_default(),
        _ => String::new(),
    }
}

/// Where a part ends, in the library's own units.
fn end_of(text: &str, part: usize, units: impl Fn(char) -> usize) -> usize {
    let mut ends = 0;
    let before = |c: &char| {
        let here = *c == END_OF_PART && ends == part;
        ends += usize::from(*c == END_OF_PART);
        !here
    };
    text.chars().take_while(before).map(units).sum()
}

fn change(error: impl std::fmt::Display) -> CliError {
    CliError::Change(error.to_string())
}
