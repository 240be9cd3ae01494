//! What a document is made of, element by element: what two replicas compare that say that they have the same.
//!
//! Clocks and deletions alone say how much each client wrote and what is gone, and not what it wrote: whoever makes a snapshot
//! can put other letters there. Neither can the library's own encoding be compared, since how elements are joined to runs
//! depends on the order in which they came, and the order of a map's keys on chance.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use partita_core::CrdtError;
use yrs::{Any, Number};

use crate::validate::{self, Blocks, Checked, Contents, Goes, Id, Outline};

/// Some elements that follow each other: where the first of them went, and what they are.
#[derive(Debug)]
struct Elements<'u> {
    goes: Goes<'u>,
    /// What the others have at their right, each of which is behind the one before it.
    right: Option<Id>,
    /// How many they are. What a few bytes delete can be two thousand million: only of what is shown is each by itself.
    count: u32,
    /// `None` for what was deleted: it may have been kept, or not.
    is: Option<Shown<'u>>,
    client: u64,
    clock: u32,
}

impl Elements<'_> {
    /// Passes over the first `count` of them, as if they had been cut in two there.
    fn pass(&mut self, count: u32) {
        self.count -= count;
        self.clock += count;
        self.goes = self.behind(0);
    }

    /// Where goes what follows the first `count` of them, as far as it belongs to them.
    fn behind(&self, count: u32) -> Goes<'static> {
        match self.goes {
            Goes::Gone => Goes::Gone,
            _ => Goes::Between(Some((self.client, (self.clock + count).wrapping_sub(1))), self.right),
        }
    }

    /// Takes in what follows, if it was deleted like this and goes right behind.
    fn take(&mut self, next: &Self) -> bool {
        let goes_on = next.goes == self.behind(self.count) && next.right == self.right;
        let joins = goes_on && self.is.is_none() && next.is.is_none();
        if joins {
            self.count += next.count;
        }
        joins
    }
}

/// What an element shows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Shown<'u> {
    /// A UTF-16 code unit. Half a character is the replacement character, as it is where the character was cut in two.
    Text(u16),
    /// What has one encoding, with the kind of content that it is.
    Bytes(u8, &'u [u8]),
    /// A value, or what a format or an embed says, canonically encoded.
    Value(u8, Vec<u8>),
}

/// A document's elements and deletions.
#[derive(Debug)]
pub(crate) struct History<'u> {
    update: &'u [u8],
    outline: Outline,
    deletions: HashMap<u64, Vec<(u32, u32)>>,
}

impl<'u> History<'u> {
    /// Of a document's whole state.
    pub(crate) fn of(update: &'u [u8]) -> Checked<Self> {
        let outline = validate::outline(update, None, &crate::doc::unlimited())?;
        let deletions = validate::deletions(update, &outline)?;
        Ok(Self { update, outline, deletions })
    }

    /// Where each client's elements are.
    fn sections(&self) -> BTreeMap<u64, &'u [u8]> {
        let sections = self.outline.sections.iter().zip(&self.outline.sections_at);
        sections.map(|(&(client, ..), &at)| (client, &self.update[at..])).collect()
    }

    fn elements(&self, client: u64, section: &'u [u8]) -> Checked<Walk<'u, '_>> {
        let deleted = self.deletions.get(&client).map_or(&[][..], |deleted| deleted);
        Ok(Walk { client, blocks: Blocks::open(section)?, block: None, deleted })
    }

    /// How much there is of a client.
    pub(crate) fn end(&self, client: u64) -> u32 {
        // The highest client is first.
        let at = self.outline.sections.binary_search_by(|(other, ..)| client.cmp(other));
        at.map_or(0, |at| self.outline.sections[at].2)
    }

    /// Whether both have the same elements and deletions.
    pub(crate) fn is(&self, other: &Self) -> Checked<bool> {
        let same = self.outline.sections == other.outline.sections && self.deletions == other.deletions;
        Ok(same && self.agrees(other)?)
    }

    /// Whether there is as much as in the other of each client, and no more but by these; and of what is deleted the same.
    pub(crate) fn extends(&self, other: &Self, by: &[u64]) -> bool {
        let is_deleted = |client: &u64, (start, end): (u32, u32)| {
            // They are in order and apart: the last that begins there or before, or none.
            let covers = |ranges: &Vec<(u32, u32)>| {
                let after = ranges.partition_point(|own| own.0 <= start);
                after.checked_sub(1).is_some_and(|at| end <= ranges[at].1)
            };
            self.deletions.get(client).is_some_and(covers)
        };
        let mut here = self.outline.sections.iter();
        let mut there = other.outline.sections.iter();
        // Who deleted what is not kept: whoever wrote more may have, and nobody else.
        (!by.is_empty() || self.deletions == other.deletions)
            && here.all(|(client, _, end)| other.end(*client) >= *end || by.contains(client))
            && there.all(|(client, _, end)| self.end(*client) >= *end)
            && other.deletions.iter().all(|(client, ranges)| ranges.iter().all(|range| is_deleted(client, *range)))
    }

    /// Whether what both have is the same, but for what is deleted in one of them.
    pub(crate) fn agrees(&self, other: &Self) -> Checked<bool> {
        let others = other.sections();
        for (client, own) in self.sections() {
            let Some(section) = others.get(&client) else { continue };
            let (mut own, mut theirs) = (self.elements(client, own)?, other.elements(client, section)?);
            let (mut here, mut there) = (own.next()?, theirs.next()?);
            while let (Some(one), Some(another)) = (&mut here, &mut there) {
                let is_deleted = one.is.is_none() || another.is.is_none();
                if one.goes != another.goes || (!is_deleted && one.is != another.is) {
                    return Ok(false);
                }
                let both = one.count.min(another.count);
                one.pass(both);
                another.pass(both);
                if one.count == 0 {
                    here = own.next()?;
                }
                if another.count == 0 {
                    there = theirs.next()?;
                }
            }
        }
        Ok(true)
    }

    /// Feeds all of it to a hash.
    pub(crate) fn hash(&self, mut take: impl FnMut(&[u8])) -> Checked<()> {
        let mut out = Vec::new();
        for (client, section) in self.sections() {
            take(&client.to_le_bytes());
            let mut walk = self.elements(client, section)?;
            // However they are cut: what was deleted together is one.
            let mut last: Option<Elements<'_>> = None;
            while let Some(next) = walk.next()? {
                if last.as_mut().is_some_and(|last| last.take(&next)) {
                    continue;
                }
                if let Some(last) = last.replace(next) {
                    out.clear();
                    last.write(&mut out);
                    take(&out);
                }
            }
            if let Some(last) = last {
                out.clear();
                last.write(&mut out);
                take(&out);
            }
            take(&[u8::MAX]);
        }
        let clients: BTreeSet<_> = self.deletions.iter().collect();
        for (client, ranges) in clients {
            take(&client.to_le_bytes());
            take(&(ranges.len() as u64).to_le_bytes());
            for (start, end) in ranges {
                take(&start.to_le_bytes());
                take(&end.to_le_bytes());
            }
        }
        Ok(())
    }
}

/// The elements of one client, by rising clock.
struct Walk<'u, 'h> {
    client: u64,
    blocks: Blocks<'u>,
    /// What is left of the struct that is being walked through: the next clock, where that one goes, what those behind it have at
    /// their right, and what they are.
    block: Option<(u32, Goes<'u>, Option<Id>, Contents<'u>)>,
    /// The ranges of deleted clocks that are not behind.
    deleted: &'h [(u32, u32)],
}

impl<'u> Walk<'u, '_> {
    fn next(&mut self) -> Checked<Option<Elements<'u>>> {
        loop {
            if let Some((clock, goes, right, contents)) = &mut self.block {
                if let Some((count, shown)) = contents.next()? {
                    while self.deleted.first().is_some_and(|(_, end)| *end <= *clock) {
                        self.deleted = &self.deleted[1..];
                    }
                    let is_deleted = self.deleted.first().is_some_and(|(start, _)| *start <= *clock);
                    let is = if is_deleted { None } else { shown };
                    let (client, goes_here, right) = (self.client, *goes, *right);
                    let found = Elements { goes: goes_here, right, count, is, client, clock: *clock };
                    *clock += count;
                    *goes = found.behind(count);
                    return Ok(Some(found));
                }
                self.block = None;
            }
            let Some((block, after)) = self.blocks.peek()? else {
                return Ok(None);
            };
            let right = match block.goes {
                Goes::Between(_, right) => right,
                _ => None,
            };
            self.block = Some((self.blocks.clock(), block.goes, right, block.contents));
            self.blocks = after;
        }
    }
}

impl Elements<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let id = |out: &mut Vec<u8>, id: Option<Id>| match id {
            None => out.push(0),
            Some((client, clock)) => {
                out.push(1);
                out.extend(client.to_le_bytes());
                out.extend(clock.to_le_bytes());
            }
        };
        let text = |out: &mut Vec<u8>, text: Option<&str>| match text {
            None => out.push(0),
            Some(text) => {
                out.push(1);
                bytes(out, text.as_bytes());
            }
        };
        match self.goes {
            Goes::Gone => out.push(0),
            Goes::Between(left, right) => {
                out.push(1);
                id(out, left);
                id(out, right);
            }
            Goes::Root(root, key) => {
                out.push(2);
                text(out, Some(root));
                text(out, key);
            }
            Goes::Inside(parent, key) => {
                out.push(3);
                id(out, Some(parent));
                text(out, key);
            }
        }
        match &self.is {
            None => {
                out.push(0);
                out.extend(self.count.to_le_bytes());
            }
            Some(Shown::Text(unit)) => {
                out.push(1);
                out.extend(unit.to_le_bytes());
            }
            Some(Shown::Bytes(kind, shown)) => {
                out.extend([2, *kind]);
                bytes(out, shown);
            }
            Some(Shown::Value(kind, shown)) => {
                out.extend([3, *kind]);
                bytes(out, shown);
            }
        }
    }
}

/// Bytes behind their length.
fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// A value's one encoding here, whichever of its encodings it came in: keys in order, whole numbers as such. What is undefined
/// is null as soon as it was JSON.
pub(crate) fn canonical(value: &Any, out: &mut Vec<u8>) {
    match value {
        Any::Null | Any::Undefined => out.push(0),
        Any::Bool(value) => out.extend([1, u8::from(*value)]),
        Any::Number(number) => match whole(number) {
            Ok(whole) => {
                out.push(2);
                out.extend(whole.to_le_bytes());
            }
            Err(number) => {
                out.push(3);
                out.extend(number.to_bits().to_le_bytes());
            }
        },
        Any::String(text) => {
            out.push(4);
            bytes(out, text.as_bytes());
        }
        Any::Buffer(buffer) => {
            out.push(5);
            bytes(out, buffer);
        }
        Any::Array(values) => {
            out.push(6);
            out.extend((values.len() as u64).to_le_bytes());
            values.iter().for_each(|value| canonical(value, out));
        }
        Any::Map(map) => {
            out.push(7);
            out.extend((map.len() as u64).to_le_bytes());
            let sorted: BTreeMap<_, _> = map.iter().collect();
            for (key, value) in sorted {
                bytes(out, key.as_bytes());
                canonical(value, out);
            }
        }
    }
}

/// A number that is whole, which the encodings write as an integer or as a float as they like.
fn whole(number: &Number) -> Result<i64, f64> {
    const MOST: f64 = 9_007_199_254_740_992.0; // 2^53: from there on floats leave integers out
    match number {
        Number::Int(whole) => Ok(*whole),
        Number::Float(float) if float.fract() == 0.0 && float.abs() <= MOST => Ok(*float as i64),
        Number::Float(float) => Err(*float),
    }
}

/// The value that an encoding begins with, which was accepted.
pub(crate) fn value(bytes: &[u8]) -> Checked<Vec<u8>> {
    let value = Any::decode(&mut yrs::encoding::read::Cursor::new(bytes));
    let value = value.map_err(|_| CrdtError::Malformed("unknown value"))?;
    let mut out = Vec::new();
    canonical(&value, &mut out);
    Ok(out)
}

/// The value of JSON that was accepted.
pub(crate) fn json(text: &str) -> Checked<Vec<u8>> {
    let value = Any::from_json(text).map_err(|_| CrdtError::Malformed("invalid JSON"))?;
    let mut out = Vec::new();
    canonical(&value, &mut out);
    Ok(out)
}
