//! Numbers for contexts, logs and documents.

use std::collections::HashMap;

use partita_core::{ContextId, DocumentId, LogId};
use redb::{ReadableTable, Table};

use crate::{error::Fault, row};

/// What gets a number. Logs and documents belong to a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Name {
    Context(ContextId),
    Log(u32, LogId),
    Document(u32, DocumentId),
}

impl Name {
    fn to_bytes(self) -> Vec<u8> {
        let (tag, context, id) = match &self {
            Self::Context(id) => (1, None, &id.as_bytes()[..]),
            Self::Log(context, id) => (2, Some(context), &id.as_bytes()[..]),
            Self::Document(context, id) => (3, Some(context), &id.as_bytes()[..]),
        };
        let mut bytes = vec![tag];
        if let Some(context) = context {
            bytes.extend_from_slice(&context.to_be_bytes());
        }
        bytes.extend_from_slice(id);
        bytes
    }

    /// The number, if there is one. Numbers begin with 1.
    pub(crate) fn number(
        self,
        names: &impl ReadableTable<&'static [u8], &'static [u8; 8]>,
    ) -> Result<Option<u32>, Fault> {
        let key = self.to_bytes();
        let Some(found) = names.get(key.as_slice())? else {
            return Ok(None);
        };
        Ok(Some(u32::from_be_bytes(row::unseal(&key, found.value())?)))
    }
}

/// Gives numbers, and remembers some. What it gives during a commit counts only if the commit succeeds.
#[derive(Debug, Default, Clone)]
pub(crate) struct Names {
    /// The last number that was given.
    pub(crate) last: u32,
    known: HashMap<Name, u32>,
}

impl Names {
    /// More than this many are not remembered: about 10 MB.
    const MOST: usize = 100_000;

    /// Begins with numbers after `last`.
    pub(crate) fn new(last: u32) -> Self {
        Self { last, known: HashMap::new() }
    }

    /// The number of `name`: the one it has, or a new one.
    pub(crate) fn number(
        &mut self,
        name: Name,
        names: &mut Table<'_, &'static [u8], &'static [u8; 8]>,
    ) -> Result<u32, Fault> {
        if let Some(number) = self.known.get(&name) {
            return Ok(*number);
        }
        let number = match name.number(names)? {
            Some(number) => number,
            None => {
                self.last = self.last.checked_add(1).ok_or_else(|| Fault::damaged("all numbers of names are used"))?;
                let key = name.to_bytes();
                let mut value = [0; 8];
                value.copy_from_slice(&row::seal(&key, self.last.to_be_bytes()));
                names.insert(key.as_slice(), &value)?;
                self.last
            }
        };
        if self.known.len() >= Self::MOST {
            self.known.clear();
        }
        self.known.insert(name, number);
        Ok(number)
    }
}
