//! Changes on their way into a document, each checked against the document and the ones before it.

use std::{cmp::Ordering, collections::HashMap};

use automerge::legacy::{Key, ObjectId, Op, OpId, OpType};
use automerge::{ActorId, Automerge, Change, ChangeHash, ObjId, ObjType, ReadDoc};

use crate::held::Lacking;

/// How deep objects may be nested in a document, whoever nested them.
pub(crate) const MAX_NESTING: usize = 1_000;

/// How far a change's operation counter may be ahead of what it depends on. A transaction at older heads continues from
/// the whole document's counter; but a change may not use up the counter's 32 bits, or nobody could write after it.
const MAX_LEAD: u64 = 1 << 20;

/// Up to which counter it may be ahead at all. Some thousand changes that are ahead of each other would use it up, too: from here
/// on each number takes an operation.
const LAST_LEAD: u64 = 1 << 30;

/// How far a change that begins at this counter may be ahead of what it depends on.
pub(crate) fn most_lead(start: u64) -> u64 {
    if start > LAST_LEAD { 0 } else { MAX_LEAD }
}

/// How a change fits.
pub(crate) enum Fit {
    /// It is there already, or another one with its number.
    Known,
    /// It builds on this, which is not there.
    Lacks(Lacking),
    /// It contradicts what it builds on: only a broken or hostile replica made it.
    Never,
    /// It can be applied.
    Ready,
}

/// The last change of an actor that is in a document.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Last {
    pub(crate) seq: u64,
    /// The highest counter of its operations.
    pub(crate) max_op: u64,
}

/// The changes that go to the library together, and what they add to the document.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) changes: Vec<Change>,
    max_ops: HashMap<ChangeHash, u64>,
    pub(crate) last: HashMap<ActorId, Last>,
    /// Rising ranges that do not touch: a burst of keystrokes is one.
    operations: HashMap<ActorId, Vec<(u64, u64)>>,
    objects: HashMap<OpId, (ObjType, usize)>,
    /// Whether one of the changes makes marks.
    pub(crate) marks: bool,
}

/// What a change adds to what is known of a document.
#[derive(Default)]
struct Made {
    /// The objects that it makes, and those that were looked at, with their depths.
    objects: HashMap<OpId, (ObjType, usize)>,
    marks: bool,
}

impl Batch {
    /// Whether `change` can be applied to `doc`, in which `last` are, after this batch. The answer depends on what it builds
    /// on and on what its actor wrote before, and on nothing else that is there: every replica comes to the same.
    pub(crate) fn fit(&mut self, doc: &Automerge, last: &HashMap<ActorId, Last>, change: &Change) -> Fit {
        let max_op = |hash: &ChangeHash| {
            self.max_ops.get(hash).copied().or_else(|| doc.get_change_meta_by_hash(hash).map(|meta| meta.max_op))
        };
        if max_op(&change.hash()).is_some() {
            return Fit::Known;
        }
        let last = |actor: &ActorId| self.last.get(actor).or_else(|| last.get(actor)).copied();
        let Last { seq, max_op: highest } = last(change.actor_id()).unwrap_or_default();
        match change.seq().cmp(&(seq + 1)) {
            Ordering::Less => return Fit::Known,
            Ordering::Equal => {}
            Ordering::Greater => return Fit::Lacks(Lacking::Previous),
        }
        let mut before = 0;
        for dep in change.deps() {
            match max_op(dep) {
                Some(max_op) => before = max_op.max(before),
                None => return Fit::Lacks(Lacking::Change(*dep)),
            }
        }
        let start = change.start_op().get();
        // What knows its actor's previous change depends on nothing lower. The library guesses from that which operations
        // are whose when it loads a document.
        if start <= highest || before < highest || (seq > 0 && change.deps().is_empty()) {
            return Fit::Never;
        }
        if start.checked_sub(before + 1).is_none_or(|lead| lead > most_lead(start)) {
            return Fit::Never;
        }
        // The library unwraps the index of each.
        if let Some(actor) = change.other_actor_ids().iter().find(|actor| last(actor).is_none()) {
            return Fit::Lacks(Lacking::Operation(actor.clone(), 1));
        }
        match self.operations_fit(doc, last, change) {
            Ok(made) => {
                self.objects.extend(made.objects);
                self.marks |= made.marks;
                Fit::Ready
            }
            Err(unfit) => unfit,
        }
    }

    /// Adds a change that is ready.
    pub(crate) fn push(&mut self, change: Change) {
        self.max_ops.insert(change.hash(), change.max_op());
        let last = Last { seq: change.seq(), max_op: change.max_op() };
        self.last.insert(change.actor_id().clone(), last);
        let range = (change.start_op().get(), change.max_op());
        add(self.operations.entry(change.actor_id().clone()).or_default(), range);
        self.changes.push(change);
    }

    /// Checks that every object that is written to exists and is of the kind that its key wants, and that what is
    /// named beside it was written at all. Gives the objects that the change makes.
    fn operations_fit(
        &self,
        doc: &Automerge,
        last: impl Fn(&ActorId) -> Option<Last>,
        change: &Change,
    ) -> Result<Made, Fit> {
        let start = change.start_op().get();
        // An actor's counters rise: what is passed over is never written.
        let expanded = change.decode();
        let unknown = |id: &OpId| {
            if id.1 == *change.actor_id() || last(&id.1).is_some_and(|last| last.max_op >= id.0) {
                return Fit::Never;
            }
            // All that it names of that actor at once: it is not looked at again for each.
            let named = expanded.operations.iter().flat_map(named).filter(|named| named.1 == id.1);
            Fit::Lacks(Lacking::Operation(id.1.clone(), named.map(|named| named.0).max().unwrap_or(id.0)))
        };
        let mut made = Made::default();
        let mut current: Option<(&ObjectId, (ObjType, usize))> = None;
        for (counter, op) in (start..).zip(&expanded.operations) {
            let (kind, depth) = match (current, &op.obj) {
                (Some((object, found)), same) if object == same => found,
                (_, ObjectId::Root) => (ObjType::Map, 0),
                (_, ObjectId::Id(id)) => match self.object(doc, &mut made.objects, id) {
                    Some(found) => found,
                    None if self.written(doc, id) => return Err(Fit::Never), // it is no object
                    None => return Err(unknown(id)),
                },
            };
            current = Some((&op.obj, (kind, depth)));
            let sequence = matches!(op.key, Key::Seq(_));
            if sequence != kind.is_sequence() {
                return Err(Fit::Never);
            }
            let own = |id: &OpId| id.1 == *change.actor_id() && id.0 >= start;
            if let Some(id) = beside_object(op).find(|id| !own(id) && !self.written(doc, id)) {
                return Err(unknown(id));
            }
            if let OpType::Make(kind) = op.action {
                if depth >= MAX_NESTING {
                    return Err(Fit::Never);
                }
                made.objects.insert(OpId(counter, change.actor_id().clone()), (kind, depth + 1));
            }
            made.marks |= matches!(op.action, OpType::MarkEnd(_));
        }
        Ok(made)
    }

    /// The kind of an object, and how deep it is in the document. Remembers that of those around it, too: there may be many
    /// far down.
    fn object(
        &self,
        doc: &Automerge,
        made: &mut HashMap<OpId, (ObjType, usize)>,
        id: &OpId,
    ) -> Option<(ObjType, usize)> {
        let known = |made: &HashMap<OpId, _>, id: &OpId| made.get(id).or_else(|| self.objects.get(id)).copied();
        if let Some(found) = known(made, id) {
            return Some(found);
        }
        let object = ObjId::Id(id.0, id.1.clone(), 0);
        let kind = doc.object_type(&object).ok()?;
        let (mut around, mut depth) = (Vec::new(), 0);
        for parent in doc.parents(&object).ok()? {
            let ObjId::Id(counter, actor, _) = parent.obj else { break };
            let parent = OpId(counter, actor);
            if let Some((_, found)) = known(made, &parent) {
                depth = found;
                break;
            }
            around.push(parent);
        }
        for parent in around.into_iter().rev() {
            depth += 1;
            let kind = doc.object_type(ObjId::Id(parent.0, parent.1.clone(), 0)).ok()?;
            made.insert(parent, (kind, depth));
        }
        made.insert(id.clone(), (kind, depth + 1));
        Some((kind, depth + 1))
    }

    fn written(&self, doc: &Automerge, id: &OpId) -> bool {
        let ranges = self.operations.get(&id.1);
        let holds = |ranges: &Vec<(u64, u64)>| {
            let at = ranges.partition_point(|&(_, last)| last < id.0);
            ranges.get(at).is_some_and(|&(first, _)| first <= id.0)
        };
        ranges.is_some_and(holds) || doc.hash_for_opid(&ObjId::Id(id.0, id.1.clone(), 0)).is_some()
    }
}

/// The operations that one names.
fn named(op: &Op) -> impl Iterator<Item = &OpId> {
    let object = match &op.obj {
        ObjectId::Id(id) => Some(id),
        ObjectId::Root => None,
    };
    object.into_iter().chain(beside_object(op))
}

/// The operations that one names beside the object that it writes to.
fn beside_object(op: &Op) -> impl Iterator<Item = &OpId> {
    let element = match &op.key {
        Key::Seq(element) => element.as_opid(),
        Key::Map(_) => None,
    };
    element.into_iter().chain(op.pred.iter())
}

/// Adds a range, which a hostile author may have let overlap others.
fn add(ranges: &mut Vec<(u64, u64)>, (mut first, mut last): (u64, u64)) {
    if last < first {
        return; // of a change without operations
    }
    let from = ranges.partition_point(|&(_, end)| end < first - 1);
    let to = ranges.partition_point(|&(start, _)| start <= last + 1);
    for &(start, end) in ranges.get(from..to).into_iter().flatten() {
        (first, last) = (start.min(first), end.max(last));
    }
    ranges.splice(from..to, [(first, last)]);
}

#[cfg(test)]
mod tests {
    use super::add;

    #[test]
    fn ranges_stay_apart_and_in_order() {
        let mut ranges = Vec::new();
        for range in [(1, 1), (2, 2), (10, 12), (5, 4), (6, 7), (13, 13), (6, 9), (3, 3), (1, 2)] {
            add(&mut ranges, range);
        }
        assert_eq!(ranges, [(1, 3), (6, 13)]);
        add(&mut ranges, (2, 20));
        assert_eq!(ranges, [(1, 20)]);
    }
}
