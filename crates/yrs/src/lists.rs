//! Which list each item of a document is in.
//!
//! To yrs a sequence is a list of items, and so are all the values that a key of a map ever had. An item says between which
//! two it goes; or if the list is empty, into which type. yrs believes that: it links items of two lists to each other, puts
//! text in the place of a key's value, deletes the one for the other, and what comes of it depends on what was there before.
//! One inside something that is no type it refuses when half of an update is applied. So this is looked at before, and what
//! contradicts itself fits nowhere. The answer depends on nothing but what an update builds on.

use std::collections::{BTreeMap, HashMap, HashSet};

use partita_core::CrdtError;

use crate::validate::{self, Blocks, Checked, Goes, Id, Outline};

/// How deep shared types may be nested in a document, whoever nested them. Far above what people make, and far below
/// what overflows the stack of a small thread when the outermost one is deleted.
pub(crate) const MAX_NESTING: usize = 1_000;

/// The lists of a document.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    lists: Vec<List>,
    numbers: HashMap<Name, u32>,
    /// What each client wrote, lowest clock first and without holes.
    runs: HashMap<u64, Vec<Run>>,
    /// The items that others can be inside of.
    types: HashSet<Id>,
}

#[derive(Debug, Clone, Copy)]
struct List {
    /// Whether it is of a key, the last item of which is its value.
    keyed: bool,
    /// How many types it is inside of.
    depth: usize,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Name {
    parent: Parent,
    key: Option<Box<str>>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Parent {
    Root(Box<str>),
    Type(Id),
}

/// Clocks of one client that are in one list.
#[derive(Debug, Clone, Copy)]
struct Run {
    start: u32,
    end: u32,
    list: Where,
}

/// A list, by number; or none, for what is gone.
type Where = Option<u32>;

/// What an update adds.
#[derive(Debug, Default)]
pub(crate) struct Added {
    runs: BTreeMap<u64, Vec<Run>>,
    types: HashSet<Id>,
}

/// The structs of an update that are looked at, of one client each.
type Cursors<'u> = BTreeMap<u64, Blocks<'u>>;

/// What an update deletes; most do without this.
struct Deletions<'u> {
    update: &'u [u8],
    outline: &'u Outline,
    ranges: Option<HashMap<u64, Vec<(u32, u32)>>>,
}

impl Deletions<'_> {
    /// Whether all of these clocks are deleted.
    fn cover(&mut self, client: u64, start: u32, end: u32) -> Checked<bool> {
        let ranges = match &mut self.ranges {
            Some(ranges) => ranges,
            none => none.insert(validate::deletions(self.update, self.outline)?),
        };
        // Those that touch may not have been joined.
        let mut reached = start;
        let ranges = ranges.get(&client).map_or(&[][..], Vec::as_slice);
        for &(from, to) in &ranges[ranges.partition_point(|range| range.1 <= start)..] {
            if reached >= end || from > reached {
                break;
            }
            reached = to;
        }
        Ok(reached >= end)
    }
}

impl Lists {
    /// How much of a client is there.
    pub(crate) fn clock(&self, client: u64) -> u32 {
        self.runs.get(&client).and_then(|runs| runs.last()).map_or(0, |run| run.end)
    }

    /// Where the items of `update` go, all of whose dependencies are there.
    ///
    /// # Errors
    /// When they fit nowhere.
    pub(crate) fn admit(&mut self, update: &[u8], outline: &Outline) -> Checked<Added> {
        let mut deletions = Deletions { update, outline, ranges: None };
        let mut cursors = Cursors::new();
        for (&(client, start, _), &at) in outline.sections.iter().zip(&outline.sections_at) {
            if start >= self.clock(client) {
                cursors.insert(client, Blocks::open(&update[at..])?);
            }
        }
        let mut added = Added::default();
        for &(client, _, end) in &outline.sections {
            self.follow(&mut cursors, &mut deletions, &mut added, (client, end))?;
        }
        Ok(added)
    }

    /// Looks at the structs of a client up to a clock, and before each at those that it names.
    fn follow(
        &mut self,
        cursors: &mut Cursors<'_>,
        deletions: &mut Deletions<'_>,
        added: &mut Added,
        until: Id,
    ) -> Checked<()> {
        let (mut waiting, mut clients) = (vec![until], HashSet::from([until.0]));
        while let Some(&(client, end)) = waiting.last() {
            let Some((block, next)) =
                cursors.get(&client).filter(|cursor| cursor.clock() < end).map(Blocks::peek).transpose()?.flatten()
            else {
                waiting.pop();
                clients.remove(&client);
                continue;
            };
            let ahead = |&(client, clock): &Id| cursors.get(&client).is_some_and(|cursor| cursor.clock() <= clock);
            if let Some((other, clock)) = block.goes.links().find(ahead) {
                if !clients.insert(other) {
                    return Err(CrdtError::Malformed("structs wait for each other"));
                }
                waiting.push((other, clock + 1));
                continue;
            }
            let Some(cursor) = cursors.get_mut(&client) else { continue };
            let id = (client, cursor.clock());
            let list = self.list(added, block.goes)?;
            if let Some(list) = list.filter(|_| block.is_type) {
                if self.lists[list as usize].depth >= MAX_NESTING {
                    return Err(CrdtError::TooLarge("nesting"));
                }
                added.types.insert(id);
            }
            let run = Run { start: id.1, end: next.clock(), list };
            // Values that one replica gave a key one after the other go together once they are replaced.
            if list.is_some_and(|list| self.lists[list as usize].keyed)
                && !deletions.cover(client, run.start, run.end - 1)?
            {
                return Err(CrdtError::Malformed("several values for one key at once"));
            }
            push(added.runs.entry(client).or_default(), run);
            *cursor = next;
        }
        Ok(())
    }

    /// The list that something goes to.
    fn list(&mut self, added: &Added, goes: Goes<'_>) -> Checked<Where> {
        let contradicts = || CrdtError::Malformed("its neighbours are in different lists");
        match goes {
            Goes::Gone => Ok(None),
            Goes::Between(left, right) => {
                let left = left.and_then(|id| self.list_of(added, id));
                let right = right.and_then(|id| self.list_of(added, id));
                // Nothing goes before the value of a key.
                let keyed = right.is_some_and(|list| self.lists[list as usize].keyed);
                match (left, right) {
                    (Some(one), Some(other)) if one != other => Err(contradicts()),
                    (_, Some(_)) if keyed => Err(contradicts()),
                    (left, right) => Ok(left.or(right)),
                }
            }
            Goes::Root(name, key) => Ok(Some(self.number(Parent::Root(name.into()), key, 0))),
            Goes::Inside(parent, key) => {
                let Some(outer) = self.list_of(added, parent) else { return Ok(None) };
                if !self.types.contains(&parent) && !added.types.contains(&parent) {
                    return Err(CrdtError::Malformed("it is inside of something that is no type"));
                }
                let depth = self.lists[outer as usize].depth + 1;
                Ok(Some(self.number(Parent::Type(parent), key, depth)))
            }
        }
    }

    fn number(&mut self, parent: Parent, key: Option<&str>, depth: usize) -> u32 {
        let name = Name { parent, key: key.map(Into::into) };
        *self.numbers.entry(name).or_insert_with(|| {
            self.lists.push(List { keyed: key.is_some(), depth });
            // Each takes more memory than four bytes: there are never so many.
            u32::try_from(self.lists.len() - 1).unwrap_or(u32::MAX)
        })
    }

    fn list_of(&self, added: &Added, (client, clock): Id) -> Where {
        let find = |runs: &Vec<Run>| {
            let after = runs.partition_point(|run| run.start <= clock);
            after.checked_sub(1).map(|at| runs[at]).filter(|run| clock < run.end)
        };
        let run = added.runs.get(&client).and_then(find).or_else(|| self.runs.get(&client).and_then(find));
        run.and_then(|run| run.list)
    }

    /// Remembers what was applied.
    pub(crate) fn add(&mut self, added: Added) {
        for (client, runs) in added.runs {
            let all = self.runs.entry(client).or_default();
            runs.into_iter().for_each(|run| push(all, run));
        }
        self.types.extend(added.types);
    }
}

/// Appends a run, to the last one if it goes on with that.
fn push(runs: &mut Vec<Run>, run: Run) {
    match runs.last_mut() {
        Some(last) if last.end == run.start && last.list == run.list => last.end = run.end,
        _ => runs.push(run),
    }
}
