//! A structural pass over a v1 update before yrs sees it.
//!
//! yrs trusts its input: it recurses without a limit, wraps clocks, overwrites blocks in place through raw pointers when
//! two structs claim the same clock, and unwraps what a hostile author can make absent. This pass accepts only the shape
//! that yrs itself writes, and tells the document what an update needs, so that it is applied only when all of it is there.

mod content;
mod nesting;
mod reader;

use std::collections::BTreeMap;

use partita_core::{CrdtError, Limits};

pub(crate) use reader::{Checked, Reader};

use nesting::Node;
use reader::MAX_CLOCK;

const GC: u8 = 0;
const SKIP: u8 = 10;
const HAS_ORIGIN: u8 = 0x80;
const HAS_RIGHT_ORIGIN: u8 = 0x40;
const HAS_PARENT_SUB: u8 = 0x20;
const UNUSED_FLAG: u8 = 0x10;

/// One element of one client.
pub(crate) type Id = (u64, u32);

/// What an update writes and needs.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Outline {
    /// For each client with structs, highest first: `(client, first clock, end)`.
    pub(crate) sections: Vec<(u64, u32, u32)>,
    /// For each client: how many of its clocks must be held before this can be applied.
    pub(crate) needs: BTreeMap<u64, u32>,
    /// How deep it nests shared types inside each other, at most.
    pub(crate) nesting: usize,
    /// Where the delete set begins.
    pub(crate) deletes_at: usize,
}

/// Accepts or refuses `update`; `author` is the only client that may have structs in it.
pub(crate) fn outline(update: &[u8], author: Option<u64>, limits: &Limits) -> Checked<Outline> {
    if update.len() > limits.payload_bytes {
        return Err(CrdtError::TooLarge("payload"));
    }
    let mut pass = Pass { author, limits, ..Pass::new(limits) };
    let mut outline = pass.run(update)?;
    // The number of types is a bound on their nesting; only where it is not good enough, look closer.
    outline.nesting = pass.types;
    if pass.types > limits.depth {
        let mut pass = Pass { author, limits, nodes: Some(Vec::new()), ..Pass::new(limits) };
        pass.run(update)?;
        outline.nesting = nesting::depth(pass.nodes.unwrap_or_default())?;
    }
    if outline.nesting > limits.depth {
        return Err(CrdtError::TooLarge("nesting"));
    }
    Ok(outline)
}

struct Pass<'l> {
    author: Option<u64>,
    limits: &'l Limits,
    operations: u64,
    types: usize,
    needs: BTreeMap<u64, u32>,
    nodes: Option<Vec<Node>>,
}

impl<'l> Pass<'l> {
    fn new(limits: &'l Limits) -> Self {
        Self { author: None, limits, operations: 0, types: 0, needs: BTreeMap::new(), nodes: None }
    }

    fn run(&mut self, update: &[u8]) -> Checked<Outline> {
        let mut reader = Reader::new(update);
        let mut sections: Vec<(u64, u32, u32)> = Vec::new();
        for _ in 0..reader.count()? {
            let section = self.section(&mut reader)?;
            // Both libraries write the highest client first. A second section of a client would overlap the first.
            if sections.last().is_some_and(|&(client, ..)| client <= section.0) {
                return Err(CrdtError::Malformed("clients out of order"));
            }
            sections.push(section);
        }
        let deletes_at = update.len() - reader.remaining();
        self.deletes(&mut reader)?;
        if reader.remaining() > 0 {
            return Err(CrdtError::Malformed("trailing bytes"));
        }
        for &(client, start, end) in &sections {
            let needed = self.needs.entry(client).or_default();
            if *needed > end {
                return Err(CrdtError::Malformed("refers to what its own client has not written"));
            }
            *needed = start;
        }
        self.needs.retain(|_, clock| *clock > 0);
        Ok(Outline { sections, needs: std::mem::take(&mut self.needs), nesting: 0, deletes_at })
    }

    fn section(&mut self, reader: &mut Reader<'_>) -> Checked<(u64, u32, u32)> {
        let structs = reader.count()?;
        let client = reader.client()?;
        if self.author.is_some_and(|author| author != client) {
            return Err(CrdtError::ForeignActor);
        }
        let start = reader.clock()?;
        if structs == 0 {
            return Err(CrdtError::Malformed("client without structs"));
        }
        let mut clock = start;
        for _ in 0..structs {
            let length = self.block(reader, (client, clock))?;
            clock = clock
                .checked_add(length)
                .filter(|&end| end < MAX_CLOCK)
                .ok_or(CrdtError::Malformed("clock over 31 bits"))?;
        }
        Ok((client, start, clock))
    }

    fn block(&mut self, reader: &mut Reader<'_>, id: Id) -> Checked<u32> {
        self.operation()?;
        let info = reader.byte()?;
        if info == GC {
            return match reader.var_u32()? {
                0 => Err(CrdtError::Malformed("empty struct")),
                length => Ok(length),
            };
        }
        if info == SKIP {
            // A hole in a log cannot be: entries follow each other.
            return Err(CrdtError::Malformed("gap between structs"));
        }
        if info & UNUSED_FLAG != 0 {
            return Err(CrdtError::Malformed("unknown flag"));
        }
        let origin = if info & HAS_ORIGIN != 0 { Some(self.reference(reader, id)?) } else { None };
        let right = if info & HAS_RIGHT_ORIGIN != 0 { Some(self.reference(reader, id)?) } else { None };
        let mut parent = None;
        if origin.is_none() && right.is_none() {
            match reader.byte()? {
                1 => {
                    reader.string()?;
                }
                0 => parent = Some(self.reference(reader, id)?),
                _ => return Err(CrdtError::Malformed("unknown parent")),
            }
            if info & HAS_PARENT_SUB != 0 {
                reader.string()?;
            }
        }
        let content = content::read(reader, info, self.limits.depth)?;
        self.types += usize::from(content.is_type);
        if let Some(nodes) = &mut self.nodes {
            nodes.push(Node { id, siblings: [origin, right], parent, is_type: content.is_type });
        }
        Ok(content.length)
    }

    /// Something that the struct `from` builds on. Within one client only earlier clocks: anything else waits for itself.
    fn reference(&mut self, reader: &mut Reader<'_>, from: Id) -> Checked<Id> {
        let (client, clock) = (reader.client()?, reader.clock()?);
        if client == from.0 && clock >= from.1 {
            return Err(CrdtError::Malformed("refers to itself or its future"));
        }
        self.need(client, clock + 1);
        Ok((client, clock))
    }

    fn need(&mut self, client: u64, clocks: u32) {
        let needed = self.needs.entry(client).or_default();
        *needed = clocks.max(*needed);
    }

    fn deletes(&mut self, reader: &mut Reader<'_>) -> Checked<()> {
        let clients = reader.count()?;
        let (mut previous, mut ascending) = (None, None);
        for _ in 0..clients {
            let client = reader.client()?;
            // yrs writes them ascending, Yjs descending; yrs forgets the first of two with the same client.
            if let Some(previous) = previous
                && (client == previous || *ascending.get_or_insert(client > previous) != (client > previous))
            {
                return Err(CrdtError::Malformed("clients of deletions out of order"));
            }
            previous = Some(client);
            let ranges = reader.count()?;
            if ranges == 0 {
                return Err(CrdtError::Malformed("client without deletions"));
            }
            let mut end = 0;
            for _ in 0..ranges {
                self.operation()?;
                let (start, length) = (reader.clock()?, reader.var_u32()?);
                // yrs takes the ranges as they come and searches them as if they were sorted.
                if start < end || length == 0 {
                    return Err(CrdtError::Malformed("deletions out of order"));
                }
                end = start
                    .checked_add(length)
                    .filter(|&end| end < MAX_CLOCK)
                    .ok_or(CrdtError::Malformed("clock over 31 bits"))?;
            }
            self.need(client, end);
        }
        Ok(())
    }

    fn operation(&mut self) -> Checked<()> {
        self.operations += 1;
        if self.operations > self.limits.operations { Err(CrdtError::TooLarge("number of operations")) } else { Ok(()) }
    }
}

/// Where the delete set of an update of our own begins.
pub(crate) fn deletes_at(update: &[u8]) -> Option<usize> {
    outline(update, None, &crate::doc::unlimited()).ok().map(|outline| outline.deletes_at)
}
