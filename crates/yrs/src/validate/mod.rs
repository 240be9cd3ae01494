//! A structural pass over a v1 update before yrs sees it.
//!
//! yrs trusts its input: it recurses without a limit, wraps clocks, overwrites blocks in place through raw pointers when
//! two structs claim the same clock, and unwraps what a hostile author can make absent. This pass accepts only the shape
//! that yrs itself writes, and tells the document what an update needs, so that it is applied only when all of it is there.

mod block;
mod content;
mod nesting;
mod reader;

use std::collections::{BTreeMap, HashMap, HashSet};

use partita_core::{CrdtError, Limits};

pub(crate) use block::{Blocks, Goes};
pub(crate) use content::Contents;
pub(crate) use reader::{Checked, Reader};

use nesting::Node;
use reader::MAX_CLOCK;

/// One element of one client.
pub(crate) type Id = (u64, u32);

/// What an update writes and needs.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Outline {
    /// For each client with structs, highest first: `(client, first clock, end)`.
    pub(crate) sections: Vec<(u64, u32, u32)>,
    /// Where each of them is in the update.
    pub(crate) sections_at: Vec<usize>,
    /// For each client: how many of its clocks must be held before this can be applied.
    pub(crate) needs: BTreeMap<u64, u32>,
    /// How deep it nests shared types inside each other, at most.
    pub(crate) nesting: usize,
    /// Where the delete set begins.
    pub(crate) deletes_at: usize,
}

impl Outline {
    /// The clock from which on the one client that has structs in it goes on.
    pub(crate) fn place(&self) -> Option<Id> {
        match self.sections[..] {
            [(client, start, _)] => Some((client, start)),
            _ => None,
        }
    }
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
        let (mut sections, mut sections_at): (Vec<(u64, u32, u32)>, _) = (Vec::new(), Vec::new());
        for _ in 0..reader.count()? {
            sections_at.push(update.len() - reader.remaining());
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
        let needs = std::mem::take(&mut self.needs);
        Ok(Outline { sections, sections_at, needs, nesting: 0, deletes_at })
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
        let block = block::read(reader, id, self.limits.depth)?;
        for (client, clock) in block.goes.links() {
            self.need(client, clock + 1);
        }
        self.types += usize::from(block.is_type);
        if let Some(nodes) = &mut self.nodes
            && !matches!(block.goes, Goes::Gone)
        {
            nodes.push(Node::new(id, &block));
        }
        Ok(block.length)
    }

    fn need(&mut self, client: u64, clocks: u32) {
        let needed = self.needs.entry(client).or_default();
        *needed = clocks.max(*needed);
    }

    fn deletes(&mut self, reader: &mut Reader<'_>) -> Checked<()> {
        let clients = reader.count()?;
        let mut seen = HashSet::new();
        for _ in 0..clients {
            let client = reader.client()?;
            // yrs forgets the first of two with the same client. Any order will do: each version of each library has its own.
            if !seen.insert(client) {
                return Err(CrdtError::Malformed("deletions of one client twice"));
            }
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

/// What an update that was accepted deletes: ranges of each client's clocks, lowest first.
pub(crate) fn deletions(update: &[u8], outline: &Outline) -> Checked<HashMap<u64, Vec<(u32, u32)>>> {
    let mut reader = Reader::new(&update[outline.deletes_at..]);
    let mut deletions = HashMap::new();
    for _ in 0..reader.count()? {
        let client = reader.client()?;
        let ranges = (0..reader.count()?).map(|_| {
            let start = reader.clock()?;
            Ok((start, start + reader.var_u32()?))
        });
        deletions.insert(client, ranges.collect::<Checked<_>>()?);
    }
    Ok(deletions)
}
