//! One struct of an update.

use partita_core::CrdtError;

use super::{
    Id,
    content::{self, Contents},
    reader::{Checked, Reader},
};

const GC: u8 = 0;
const SKIP: u8 = 10;
const HAS_ORIGIN: u8 = 0x80;
const HAS_RIGHT_ORIGIN: u8 = 0x40;
const HAS_PARENT_SUB: u8 = 0x20;
const UNUSED_FLAG: u8 = 0x10;

/// What a struct says of where it goes.
pub(crate) struct Block<'u> {
    /// How many clocks it takes.
    pub(crate) length: u32,
    pub(crate) goes: Goes<'u>,
    /// Whether other items can live inside it.
    pub(crate) is_type: bool,
    /// What it consists of.
    pub(crate) contents: Contents<'u>,
}

/// Where a struct goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goes<'u> {
    /// Nowhere: it stands for what is gone.
    Gone,
    /// Between these, of which there is one at least.
    Between(Option<Id>, Option<Id>),
    /// To the beginning of a root type, or under a key of it.
    Root(&'u str, Option<&'u str>),
    /// To the beginning of the type that this item is, or under a key of it.
    Inside(Id, Option<&'u str>),
}

impl Goes<'_> {
    /// What it names.
    pub(crate) fn links(&self) -> impl Iterator<Item = Id> + use<> {
        let links = match *self {
            Goes::Gone | Goes::Root(..) => [None, None],
            Goes::Between(left, right) => [left, right],
            Goes::Inside(parent, _) => [Some(parent), None],
        };
        links.into_iter().flatten()
    }
}

/// Reads the struct that begins at `id`, with values nested at most `depth` deep.
pub(crate) fn read<'u>(reader: &mut Reader<'u>, id: Id, depth: usize) -> Checked<Block<'u>> {
    let info = reader.byte()?;
    if info == GC {
        return match reader.var_u32()? {
            0 => Err(CrdtError::Malformed("empty struct")),
            length => Ok(Block { length, goes: Goes::Gone, is_type: false, contents: Contents::gone(length) }),
        };
    }
    if info == SKIP {
        // A hole in a log cannot be: entries follow each other.
        return Err(CrdtError::Malformed("gap between structs"));
    }
    if info & UNUSED_FLAG != 0 {
        return Err(CrdtError::Malformed("unknown flag"));
    }
    let origin = if info & HAS_ORIGIN != 0 { Some(reference(reader, id)?) } else { None };
    let right = if info & HAS_RIGHT_ORIGIN != 0 { Some(reference(reader, id)?) } else { None };
    let goes = if origin.is_some() || right.is_some() {
        Goes::Between(origin, right)
    } else {
        let has_key = info & HAS_PARENT_SUB != 0;
        let key = |reader: &mut Reader<'u>| if has_key { reader.string().map(Some) } else { Ok(None) };
        match reader.byte()? {
            1 => {
                let root = reader.string()?;
                Goes::Root(root, key(reader)?)
            }
            0 => {
                let parent = reference(reader, id)?;
                Goes::Inside(parent, key(reader)?)
            }
            _ => return Err(CrdtError::Malformed("unknown parent")),
        }
    };
    let from = *reader;
    let content = content::read(reader, info, depth)?;
    let contents = Contents::of(info, from, content.length);
    Ok(Block { length: content.length, goes, is_type: content.is_type, contents })
}

/// Something that the struct `from` builds on. Within one client only earlier clocks: anything else waits for itself.
fn reference(reader: &mut Reader<'_>, from: Id) -> Checked<Id> {
    let (client, clock) = (reader.client()?, reader.clock()?);
    if client == from.0 && clock >= from.1 {
        return Err(CrdtError::Malformed("refers to itself or its future"));
    }
    Ok((client, clock))
}

/// The structs of one client in an update that was accepted.
pub(crate) struct Blocks<'u> {
    reader: Reader<'u>,
    id: Id,
    left: usize,
}

impl<'u> Blocks<'u> {
    /// Those of the section that begins here.
    pub(crate) fn open(section: &'u [u8]) -> Checked<Self> {
        let mut reader = Reader::new(section);
        let (left, client, clock) = (reader.count()?, reader.client()?, reader.clock()?);
        Ok(Self { reader, id: (client, clock), left })
    }

    /// Where the next one begins.
    pub(crate) fn clock(&self) -> u32 {
        self.id.1
    }

    /// The next one. It stays the next one until it is passed.
    pub(crate) fn peek(&self) -> Checked<Option<(Block<'u>, Self)>> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut reader = self.reader;
        let block = read(&mut reader, self.id, usize::MAX)?;
        let id = (self.id.0, self.id.1 + block.length);
        Ok(Some((block, Self { reader, id, left: self.left - 1 })))
    }
}
