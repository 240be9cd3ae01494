//! The laws of merging, for any CRDT type: order, repetition and grouping of payloads make no difference.
//!
//! [`merges`] takes payloads as their authors made them and one way to bring them; a property test supplies many. [`agrees`]
//! takes those of a hostile author, which contradict each other.

#![allow(clippy::panic)] // what does not hold is a failure of the test

use std::collections::VecDeque;

use partita_core::{ActorSeed, CrdtDocument, CrdtType, DocumentId, Limits, LogId};

/// The actor of a writer, by number.
pub fn actor(writer: u8) -> ActorSeed {
    ActorSeed::derive(&LogId::from_bytes([writer; 16]), &DocumentId::from_bytes([7; 32]))
}

/// How payloads are brought.
#[derive(Debug, Clone)]
pub struct Way {
    /// The places of the payloads, each at least once.
    pub order: Vec<usize>,
    /// After which of these the document is saved and loaded again.
    pub reloads: Vec<bool>,
    /// How many go in one batch.
    pub batch: usize,
}

impl Way {
    /// A way to bring so many payloads: in an order that the first picks choose, then some of them again. Each pick
    /// answers with a number below the one that it is given.
    pub fn choose(
        count: usize,
        picks: impl Iterator<Item = impl Fn(usize) -> usize>,
        reloads: Vec<bool>,
        batch: usize,
    ) -> Self {
        let mut left: Vec<usize> = (0..count).collect();
        let mut order = Vec::new();
        for pick in picks {
            if !left.is_empty() {
                order.push(left.swap_remove(pick(left.len())));
            } else if count > 0 {
                order.push(pick(count));
            }
        }
        Self { order, reloads, batch }
    }
}

/// One edit: by which writer (its rest by three), what, where, and whether the writer sees everybody's work first.
pub type Edit = (u8, u8, u8, bool);

/// What three writers make of these edits: each payload with its writer.
///
/// # Panics
/// When a writer cannot apply what the others wrote, or give what it wrote.
pub fn written<D: CrdtDocument>(
    edits: &[Edit],
    open: impl Fn(ActorSeed) -> D,
    edit: impl Fn(&mut D, Edit),
) -> Vec<(u8, Vec<u8>)> {
    write(&[0, 1, 2], edits, open, edit)
}

/// What programs make of these edits, each of which writes under the name of one of these writers and takes in what others wrote.
fn write<D: CrdtDocument>(
    programs: &[u8],
    edits: &[Edit],
    open: impl Fn(ActorSeed) -> D,
    edit: impl Fn(&mut D, Edit),
) -> Vec<(u8, Vec<u8>)> {
    let mut docs: Vec<D> = programs.iter().map(|writer| open(actor(*writer))).collect();
    let mut payloads: Vec<(u8, Vec<u8>)> = Vec::new();
    for made in edits {
        let program = usize::from(made.0) % programs.len();
        let (writer, doc) = (programs[program], &mut docs[program]);
        if made.3 {
            let others = payloads.iter().filter(|(by, _)| *by != writer);
            let others: Vec<&[u8]> = others.map(|(_, payload)| &payload[..]).collect();
            take(doc, &others);
        }
        edit(doc, *made);
        match doc.take_local(&Limits::default()) {
            Ok(payload) => payloads.extend(payload.map(|payload| (writer, payload))),
            Err(error) => panic!("what was changed cannot be taken: {error}"),
        }
    }
    payloads
}

/// Applies payloads in the order in which they were made, one by one, and in another way. Both documents must hold
/// the same, show the same and wait for nothing; and to apply everything again must change nothing.
///
/// # Panics
/// When a law is broken.
pub fn merges(crdt: &dyn CrdtType, payloads: &[(u8, Vec<u8>)], way: &Way) {
    for (writer, payload) in payloads {
        if let Err(error) = crdt.validate(payload, Some(actor(*writer)), &Limits::default()) {
            panic!("an honest payload is refused: {error}");
        }
    }
    let mut one_by_one = crdt.create(actor(100));
    payloads.iter().for_each(|(_, payload)| take(&mut *one_by_one, &[payload]));
    let mut other = crdt.create(actor(101));
    for (number, places) in way.order.chunks(way.batch.max(1)).enumerate() {
        let batch: Vec<&[u8]> = places.iter().map(|place| &payloads[*place].1[..]).collect();
        take(&mut *other, &batch);
        if way.reloads.get(number).is_some_and(|reload| *reload) {
            other = reload(crdt, &*other);
        }
    }
    same(&*one_by_one, &*other, "order and grouping make a difference");
    let before = other.digest();
    payloads.iter().rev().for_each(|(_, payload)| take(&mut *other, &[payload]));
    assert_eq!(other.digest(), before, "repetition makes a difference");
    same(&*one_by_one, &*other, "repetition makes a difference");
    same(&*one_by_one, &*reload(crdt, &*other), "a snapshot is not the document");
}

/// What three writers make of these edits, the first of whom is two-faced: two programs write under its name, and neither
/// looks at what the other one does. So its log has payloads that contradict each other.
///
/// # Panics
/// When a writer cannot apply what the others wrote, or give what it wrote.
pub fn contradictions<D: CrdtDocument>(
    edits: &[Edit],
    open: impl Fn(ActorSeed) -> D,
    edit: impl Fn(&mut D, Edit),
) -> Vec<(u8, Vec<u8>)> {
    write(&[0, 1, 2, 0], edits, open, edit)
}

/// Applies payloads, of which some of an author's may contradict each other, in the order in which they were made, and in
/// another one, in which those of each author come as they were made: the way of logs. Both documents must hold the same
/// and show the same, whatever waits. And so must one that has a part, and takes in the snapshot of the whole.
///
/// Each pick answers with a number below the one that it is given.
///
/// # Panics
/// When the law is broken.
pub fn agrees(
    crdt: &dyn CrdtType,
    payloads: &[(u8, Vec<u8>)],
    picks: impl Iterator<Item = impl Fn(usize) -> usize>,
    reloads: &[bool],
) {
    let mut made = crdt.create(actor(100));
    payloads.iter().for_each(|(_, payload)| take(&mut *made, &[payload]));
    let mut logs: Vec<VecDeque<&[u8]>> = vec![VecDeque::new(); 3];
    for (author, payload) in payloads {
        logs[usize::from(*author)].push_back(payload);
    }
    let (mut other, mut part) = (crdt.create(actor(101)), crdt.create(actor(102)));
    let mut reloads = reloads.iter();
    let mut taken = 0;
    for pick in picks {
        logs.retain(|log| !log.is_empty());
        if logs.is_empty() {
            break;
        }
        let picked = pick(logs.len());
        let Some(payload) = logs[picked].pop_front() else { continue };
        take(&mut *other, &[payload]);
        taken += 1;
        if taken <= payloads.len() / 2 {
            take(&mut *part, &[payload]);
        }
        if reloads.next().is_some_and(|reload| *reload) {
            other = self::reload(crdt, &*other);
        }
    }
    for payload in logs.into_iter().flatten() {
        take(&mut *other, &[payload]);
    }
    let equal = |one: &dyn CrdtDocument, what: &str| {
        assert_eq!((one.pending(), one.digest()), (made.pending(), made.digest()), "{what}");
        assert!(one.same_history(&*made) && made.same_history(one), "{what}: the histories differ");
    };
    equal(&*other, "order makes a difference");
    equal(&*self::reload(crdt, &*other), "a snapshot is not the document");
    match made.snapshot().and_then(|whole| part.merge(&whole)) {
        Ok(()) => equal(&*part, "a snapshot that is taken in makes a difference"),
        Err(error) => panic!("a snapshot cannot be taken in: {error}"),
    }
}

fn take(doc: &mut dyn CrdtDocument, payloads: &[&[u8]]) {
    for outcome in doc.apply(payloads) {
        if let Err(error) = outcome {
            panic!("an honest payload cannot be applied: {error}");
        }
    }
}

fn reload(crdt: &dyn CrdtType, doc: &dyn CrdtDocument) -> Box<dyn CrdtDocument> {
    match doc.snapshot().and_then(|snapshot| crdt.load(&snapshot, actor(102))) {
        Ok(doc) => doc,
        Err(error) => panic!("a document's own snapshot does not load: {error}"),
    }
}

fn same(one: &dyn CrdtDocument, other: &dyn CrdtDocument, what: &str) {
    assert_eq!((one.pending(), other.pending()), (0, 0), "everything is here");
    assert_eq!(one.digest(), other.digest(), "{what}");
    assert!(one.same_history(other) && other.same_history(one), "{what}: the histories differ");
}
