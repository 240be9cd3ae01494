//! Changes on their way into a document, each checked against the document and the ones before it.

use std::collections::HashMap;

use automerge::legacy::{Key, ObjectId, OpId, OpType};
use automerge::{ActorId, Automerge, Change, ChangeHash, ObjId, ObjType, ReadDoc};
use partita_core::CrdtError;

/// How deep objects may be nested in a document, whoever nested them.
pub(crate) const MAX_NESTING: usize = 1_000;

/// How far a change's operation counter may be ahead of what it depends on. A transaction at older heads continues from
/// the whole document's counter; but a change may not use up the counter's 32 bits, or nobody could write after it.
pub(crate) const MAX_LEAD: u64 = 1 << 20;

/// How a change fits.
pub(crate) enum Fit {
    /// It is there already.
    Known,
    /// It depends on this one, which is not there.
    Lacks(ChangeHash),
    /// It can be applied.
    Ready,
}

/// The changes that go to the library together, and what they add to the document.
#[derive(Default)]
pub(crate) struct Batch {
    /// With the index of the payload that brought it; none for what had been held.
    pub(crate) changes: Vec<(Option<usize>, Change)>,
    max_ops: HashMap<ChangeHash, u64>,
    pub(crate) sequences: HashMap<ActorId, u64>,
    /// Rising ranges that do not touch: a burst of keystrokes is one.
    operations: HashMap<ActorId, Vec<(u64, u64)>>,
    objects: HashMap<OpId, (ObjType, usize)>,
}

impl Batch {
    /// Whether `change` can be applied to `doc` after this batch, and why not.
    pub(crate) fn fit(
        &mut self,
        doc: &Automerge,
        sequences: &HashMap<ActorId, u64>,
        change: &Change,
    ) -> Result<Fit, CrdtError> {
        let max_op = |hash: &ChangeHash| {
            self.max_ops.get(hash).copied().or_else(|| doc.get_change_meta_by_hash(hash).map(|meta| meta.max_op))
        };
        if max_op(&change.hash()).is_some() {
            return Ok(Fit::Known);
        }
        let sequence = |actor: &ActorId| self.sequences.get(actor).or_else(|| sequences.get(actor)).copied();
        let last = sequence(change.actor_id()).unwrap_or(0);
        if change.seq() <= last {
            return Err(CrdtError::Malformed("two changes with the same actor and number"));
        }
        let mut before = 0;
        for dep in change.deps() {
            match max_op(dep) {
                Some(max_op) => before = max_op.max(before),
                None => return Ok(Fit::Lacks(*dep)),
            }
        }
        if change.seq() != last + 1 || (last > 0 && change.deps().is_empty()) {
            return Err(CrdtError::Malformed("does not depend on its actor's previous change"));
        }
        let lead = change.start_op().get().checked_sub(before + 1);
        if lead.is_none_or(|lead| lead > MAX_LEAD) {
            return Err(CrdtError::Malformed("operation counter out of line"));
        }
        // The library unwraps the index of each.
        if !change.other_actor_ids().iter().all(|actor| sequence(actor).is_some()) {
            return Err(CrdtError::Malformed("names an unknown actor"));
        }
        self.operations_fit(doc, change)?;
        Ok(Fit::Ready)
    }

    /// Adds a change that is ready.
    pub(crate) fn push(&mut self, payload: Option<usize>, change: Change) {
        self.max_ops.insert(change.hash(), change.max_op());
        self.sequences.insert(change.actor_id().clone(), change.seq());
        let range = (change.start_op().get(), change.max_op());
        add(self.operations.entry(change.actor_id().clone()).or_default(), range);
        self.changes.push((payload, change));
    }

    /// Checks that every object that is written to exists and is of the kind that its key wants, and that what is
    /// named beside it was written at all. Remembers the objects that the change makes.
    fn operations_fit(&mut self, doc: &Automerge, change: &Change) -> Result<(), CrdtError> {
        let start = change.start_op().get();
        let expanded = change.decode();
        let mut made = HashMap::new();
        let mut current: Option<(&ObjectId, (ObjType, usize))> = None;
        for (counter, op) in (start..).zip(&expanded.operations) {
            let (kind, depth) = match current {
                Some((object, found)) if *object == op.obj => found,
                _ => self.object(doc, &made, &op.obj).ok_or(CrdtError::Malformed("writes to an unknown object"))?,
            };
            current = Some((&op.obj, (kind, depth)));
            let sequence = matches!(op.key, Key::Seq(_));
            if sequence != kind.is_sequence() {
                return Err(CrdtError::Malformed("writes to an object of another kind"));
            }
            let element = match &op.key {
                Key::Seq(element) => element.as_opid(),
                Key::Map(_) => None,
            };
            let own = |id: &OpId| id.1 == *change.actor_id() && id.0 >= start;
            if !element.into_iter().chain(op.pred.iter()).all(|id| own(id) || self.written(doc, id)) {
                return Err(CrdtError::Malformed("names an unknown operation"));
            }
            if let OpType::Make(kind) = op.action {
                if depth >= MAX_NESTING {
                    return Err(CrdtError::TooLarge("nesting"));
                }
                made.insert(OpId(counter, change.actor_id().clone()), (kind, depth + 1));
            }
        }
        self.objects.extend(made);
        Ok(())
    }

    fn object(
        &self,
        doc: &Automerge,
        made: &HashMap<OpId, (ObjType, usize)>,
        object: &ObjectId,
    ) -> Option<(ObjType, usize)> {
        let ObjectId::Id(id) = object else {
            return Some((ObjType::Map, 0));
        };
        made.get(id).or_else(|| self.objects.get(id)).copied().or_else(|| {
            let id = ObjId::Id(id.0, id.1.clone(), 0);
            Some((doc.object_type(&id).ok()?, doc.parents(&id).ok()?.count()))
        })
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
