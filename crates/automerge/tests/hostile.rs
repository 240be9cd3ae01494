//! What hostile bytes must not do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::io::Write;

use automerge::legacy::{ElementId, Key, ObjectId, OpId, OpType};
use automerge::transaction::Transactable;
use automerge::{ActorId, Change, ObjType, ROOT};
use common::*;
use flate2::{Compression, write::DeflateEncoder};
use partita_automerge::{Automerge, AutomergeDoc};
use partita_core::{Applied, CrdtDocument, CrdtError, CrdtType, DocumentType, Limits};
use sha2::{Digest as _, Sha256};

fn malformed(result: Result<impl Sized, CrdtError>) -> bool {
    matches!(result, Err(CrdtError::Malformed(_)))
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn limited(bytes: usize, operations: u64) -> Limits {
    let mut limits = Limits::default();
    limits.inflated_bytes = bytes;
    limits.operations = operations;
    limits
}

/// A change body of the test's writer 1 with these columns.
fn body_with(columns: &[(u32, &[u8])]) -> Vec<u8> {
    let actor = Automerge::actor_id(seed(1));
    let mut body = [vec![0, 16], actor.to_bytes().to_vec(), vec![1, 1, 0, 0, 0]].concat();
    body.extend(var(columns.len() as u64));
    for (spec, data) in columns {
        body.extend([var(u64::from(*spec)), var(data.len() as u64)].concat());
    }
    body.extend(columns.iter().flat_map(|(_, data)| data.iter()));
    body
}

#[test]
fn a_change_that_inflates_without_end_is_refused() {
    let bomb = chunk(2, &deflate(&vec![0; 64 << 20]));
    assert!(bomb.len() < 100_000);
    let result = Automerge.validate(&bomb, Some(seed(1)), &limited(1 << 20, 1_000));
    assert_eq!(result, Err(CrdtError::TooLarge("inflated payload")));
}

#[test]
fn a_document_column_that_inflates_without_end_is_refused() {
    let column = deflate(&vec![0; 64 << 20]);
    // No actors, no heads; one deflated column of changes, none of operations.
    let body = [vec![0, 0, 1, 0x0b], var(column.len() as u64), vec![0], column].concat();
    let bomb = chunk(0, &body);
    let result = Automerge.validate(&bomb, None, &limited(1 << 20, 1_000));
    assert_eq!(result, Err(CrdtError::TooLarge("inflated payload")));
    assert!(Automerge.load(&bomb, seed(1)).is_err());
}

#[test]
fn a_run_of_operations_without_end_is_refused() {
    // 2^40 times "make a map" in seven bytes.
    let run = [0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 0];
    for columns in [
        vec![(66u32, run.as_slice())],
        // The same in null rows, in booleans, in a group's count, and in a metadata column.
        vec![(66, &[0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20])],
        vec![(52, &[0x80, 0x80, 0x80, 0x80, 0x80, 0x20])],
        vec![(112, &[1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20])],
    ] {
        let payload = chunk_unparsed(1, &body_with(&columns));
        assert_eq!(check(&payload, 1), Err(CrdtError::TooLarge("number of operations")), "{columns:?}");
    }
}

#[test]
fn a_long_key_in_a_long_run_is_refused() {
    let key = [var(1_000_000), var(10_000), vec![b'k'; 10_000]].concat();
    let result =
        Automerge.validate(&chunk_unparsed(1, &body_with(&[(21, &key)])), Some(seed(1)), &limited(1 << 20, 1 << 30));
    assert_eq!(result, Err(CrdtError::TooLarge("inflated payload")));
}

/// A chunk that the library is not asked to parse.
fn chunk_unparsed(kind: u8, body: &[u8]) -> Vec<u8> {
    [vec![0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, kind], var(body.len() as u64), body.to_vec()].concat()
}

#[test]
fn a_payload_of_another_framing_is_refused() {
    let mut a = open(1);
    let payload = written(&mut a, "k", "v");
    assert_eq!(check(&payload, 1), Ok(()));
    for cut in 0..payload.len() {
        assert!(malformed(check(&payload[..cut], 1)), "{cut}");
    }
    let changed = |at: usize, to: u8| {
        let mut bytes = payload.clone();
        bytes[at] = to;
        bytes
    };
    assert!(malformed(check(&[payload.clone(), vec![0]].concat(), 1)));
    assert!(malformed(check(&changed(0, 0), 1)), "magic");
    assert!(malformed(check(&changed(4, payload[4] ^ 1), 1)), "checksum");
    assert!(malformed(check(&changed(8, 3), 1)), "a bundle");
    assert!(malformed(check(&changed(8, 9), 1)), "an unknown kind");
    assert!(malformed(check(&changed(payload.len() - 1, payload[payload.len() - 1] ^ 1), 1)), "a wrong body");
    // A length in more bytes than it needs.
    let long = [&payload[..9], &[payload[9] | 0x80, 0], &payload[10..]].concat();
    assert!(malformed(check(&long, 1)));
    // The same change compressed is the same change; with bytes behind the compressed data it is not.
    let deflated = deflate(&body(&payload));
    let compressed =
        |body: &[u8]| [&[0x85, 0x6f, 0x4a, 0x83], &payload[4..8], &[2], &var(body.len() as u64), body].concat();
    assert_eq!(check(&compressed(&deflated), 1), Ok(()));
    assert!(malformed(check(&compressed(&[deflated.clone(), vec![0]].concat()), 1)));
    assert_eq!(apply(&mut a, &compressed(&deflated)), Ok(Applied::Known));
}

#[test]
fn what_is_over_a_limit_is_refused_by_its_name() {
    let mut a = open(1);
    let payload = written(&mut a, "k", "v");
    let mut limits = Limits::default();
    limits.payload_bytes = payload.len() - 1;
    assert_eq!(Automerge.validate(&payload, None, &limits), Err(CrdtError::TooLarge("payload")));
    // Operations count over all changes of a payload.
    let many: Vec<u8> = (0..10).flat_map(|step| written(&mut a, "k", &step.to_string())).collect();
    assert_eq!(Automerge.validate(&many, Some(seed(1)), &limited(1 << 20, 10)), Ok(()));
    let result = Automerge.validate(&many, Some(seed(1)), &limited(1 << 20, 9));
    assert_eq!(result, Err(CrdtError::TooLarge("number of operations")));
}

#[test]
fn objects_nested_without_end_are_refused() {
    let mut payload = expand(&written(&mut open(1), "k", "v"));
    let mut op = payload.operations.remove(0);
    op.action = OpType::Make(ObjType::Map);
    for counter in 1..=65 {
        payload.operations.push(op.clone());
        op.obj = ObjectId::Id(OpId(counter, payload.actor_id.clone()));
    }
    assert_eq!(check(&pack(payload.clone()), 1), Err(CrdtError::TooLarge("nesting")));
    payload.operations.pop();
    assert_eq!(check(&pack(payload), 1), Ok(()));
    // As a program writes that looks at no limit.
    let actor = ActorId::from(&seed(1).as_bytes()[..16]);
    let (mut a, mut reader) = (automerge::Automerge::new().with_actor(actor), open(2));
    let (mut at, mut unfit) = (ROOT, None);
    for step in 0..30 {
        let mut tx = a.transaction();
        for _ in 0..50 {
            at = tx.put_object(&at, "in", ObjType::Map).unwrap();
        }
        tx.commit();
        let payload = a.get_last_local_change().unwrap().raw_bytes().to_vec();
        assert_eq!(check(&payload, 1), Ok(()));
        assert_eq!(apply(&mut reader, &payload), Ok(Applied::Done));
        if reader.pending() > 0 {
            unfit = Some(step);
            break;
        }
    }
    assert_eq!(unfit, Some(20));
    reader.digest();
}

#[test]
fn a_change_in_anothers_name_is_refused_whichever_comes_first() {
    let mut victim = open(1);
    let honest = written(&mut victim, "k", "honest");
    let mut forged = expand(&honest);
    forged.message = Some("forged".into());
    let forged = pack(forged);
    // Member 2 wrote it: refused before anything else, so nothing stands in the way of the victim's own.
    assert_eq!(check(&forged, 2), Err(CrdtError::ForeignActor));
    // Even where it were let in (the victim's device is two-faced), the first stays and the document goes on.
    for (first, second) in [(&honest, &forged), (&forged, &honest)] {
        let mut reader = open(3);
        assert_eq!(apply(&mut reader, first), Ok(Applied::Done));
        assert_eq!(apply(&mut reader, second), Ok(Applied::Known));
        let mut other = open(4);
        assert_eq!(apply(&mut reader, &written(&mut other, "other", "fine")), Ok(Applied::Done));
        assert_eq!(get(&reader, "other").as_deref(), Some("fine"));
        assert!(Automerge.load(&reader.snapshot().unwrap(), seed(5)).unwrap().same_history(&reader));
    }
    // So too while they wait.
    let more = written(&mut victim, "k", "more");
    let mut two = expand(&more);
    two.message = Some("forged".into());
    let mut reader = open(3);
    assert_eq!(apply(&mut reader, &more), Ok(Applied::Done));
    assert_eq!(apply(&mut reader, &pack(two)), Ok(Applied::Known));
    assert_eq!(apply(&mut reader, &honest), Ok(Applied::Done));
    assert!(reader.same_history(&victim));
}

#[test]
fn a_bad_payload_takes_no_others_with_it() {
    let (mut a, mut b) = (open(1), open(2));
    let first = written(&mut a, "k", "1");
    let second = written(&mut a, "k", "2");
    let mut twice = expand(&second);
    twice.message = Some("twice".into());
    let twice = pack(twice);
    let outcomes = b.apply(&[&first, &[1, 2, 3], &second, &twice]);
    assert_eq!((&outcomes[0], &outcomes[2]), (&Ok(Applied::Done), &Ok(Applied::Done)));
    assert!(outcomes[1].is_err());
    assert_eq!(outcomes[3], Ok(Applied::Known));
    assert!(a.same_history(&b));
}

#[test]
fn changes_that_the_library_would_choke_on_are_refused() {
    let mut a = open(1);
    make_text(&mut a);
    splice(&mut a, 0, 0, "abc");
    let base = local(&mut a).unwrap();
    let honest = {
        splice(&mut a, 1, 1, "x");
        expand(&local(&mut a).unwrap())
    };
    let own = honest.actor_id.clone();
    let start = honest.start_op.get();
    let nobody = OpId(1, ActorId::from(vec![9; 16]));
    type Twist<'t> = &'t dyn Fn(&mut automerge::ExpandedChange);
    let twists: &[(&str, Twist<'_>)] = &[
        ("deletes nothing", &|change| {
            let delete = change.operations.iter_mut().find(|op| op.action == OpType::Delete).unwrap();
            delete.pred = Vec::new().into();
        }),
        ("overwrites the future", &|change| change.operations[0].pred = vec![OpId(start + 9, own.clone())].into()),
        ("overwrites itself", &|change| change.operations[0].pred = vec![OpId(start, own.clone())].into()),
        ("overwrites twice", &|change| {
            let pred = change.operations.iter().find_map(|op| op.pred.get(0)).unwrap().clone();
            let delete = change.operations.iter_mut().find(|op| op.action == OpType::Delete).unwrap();
            delete.pred = vec![pred.clone(), pred].into();
        }),
        ("inserts under a key", &|change| {
            change.operations[0].insert = true;
            change.operations[0].key = Key::Map("k".into());
        }),
        ("writes to the head", &|change| {
            change.operations[0].insert = false;
            change.operations[0].key = Key::Seq(ElementId::Head);
        }),
        ("inside itself", &|change| change.operations[0].obj = ObjectId::Id(OpId(start, own.clone()))),
        ("the same dependency twice", &|change| change.deps.push(change.deps[0])),
        ("counter near its end", &|change| change.start_op = std::num::NonZeroU64::new((1 << 32) - 3).unwrap()),
        ("before the first", &|change| change.seq = 0),
        ("an author late", &|change| change.extra_bytes = vec![0, 1, 7, 1, 1, 7]),
        ("year 10^9", &|change| change.time = i64::MIN),
    ];
    for (name, twist) in twists {
        let mut change = honest.clone();
        twist(&mut change);
        let result = check(&pack(change), 1);
        assert!(malformed(result) || *name == "an author late", "{name}");
    }
    // Those below are well-formed; that they fit nowhere shows only in the document, which stays as it was. They are kept,
    // since a replica that lacks what they build on cannot tell yet; and what their author wrote after them waits with them.
    let unfit: &[(&str, Twist<'_>)] = &[
        ("an unknown object", &|change| change.operations[0].obj = ObjectId::Id(OpId(2, own.clone()))),
        ("an unknown actor", &|change| change.operations[0].key = Key::Seq(ElementId::Id(nobody.clone()))),
        ("an element of another kind", &|change| {
            for op in &mut change.operations {
                op.key = Key::Seq(ElementId::Id(OpId(1, own.clone())));
            }
        }),
        ("overwrites another object's value", &|change| {
            for op in change.operations.iter_mut().filter(|op| op.action == OpType::Delete) {
                op.pred = vec![OpId(1, own.clone())].into();
            }
        }),
        ("a key of another kind", &|change| change.operations[0].obj = ObjectId::Root),
        ("skips a number", &|change| change.seq += 1),
        ("depends on nothing", &|change| change.deps.clear()),
        ("counter far ahead", &|change| change.start_op = std::num::NonZeroU64::new(1 << 30).unwrap()),
        ("counter behind", &|change| change.start_op = std::num::NonZeroU64::new(start - 1).unwrap()),
    ];
    for (name, twist) in unfit {
        let mut change = honest.clone();
        twist(&mut change);
        let payload = pack(change);
        assert_eq!(check(&payload, 1), Ok(()), "{name}");
        let mut reader = open(2);
        apply(&mut reader, &make_base(&base)).unwrap();
        let before = (reader.digest(), reader.heads());
        let all = [payload, pack(honest.clone())];
        for payload in &all {
            apply(&mut reader, payload).unwrap();
        }
        let number = all.iter().map(|payload| expand(payload).seq).collect::<Vec<_>>();
        if number == [3, 3] {
            assert_eq!(before, (reader.digest(), reader.heads()), "{name}");
        }
        assert_eq!(reader.pending(), 1, "{name}");
        let mut late = open(3);
        for payload in all.iter().chain([&make_base(&base)]) {
            apply(&mut late, payload).unwrap();
        }
        for payload in [written(&mut open(4), "other", "fine")] {
            for reader in [&mut reader, &mut late] {
                assert_eq!(apply(reader, &payload), Ok(Applied::Done));
                assert_eq!(get(reader, "other").as_deref(), Some("fine"), "{name}");
            }
        }
        assert!(late.same_history(&reader), "{name}");
        assert!(Automerge.load(&reader.snapshot().unwrap(), seed(5)).unwrap().same_history(&reader), "{name}");
    }
}

#[test]
fn a_document_that_saves_can_be_loaded_whatever_an_author_leaves_out_of_its_own_history() {
    let mut a = open(1);
    let first = written(&mut a, "k", "1");
    for n in 0..5 {
        put(&mut a, &n.to_string(), "x");
    }
    let second = local(&mut a).unwrap();
    // The last of them builds on the first, as if those between were somebody else's.
    let mut last = expand(&written(&mut a, "k", "2"));
    last.deps = vec![expand(&first).hash.unwrap()];
    let last = pack(last);
    assert_eq!(check(&last, 1), Ok(()));
    let mut reader = open(2);
    assert!(reader.apply(&[&first, &second, &last]).iter().all(Result::is_ok));
    assert_eq!(reader.pending(), 1);
    assert!(Automerge.load(&reader.snapshot().unwrap(), seed(5)).unwrap().same_history(&reader));
}

#[test]
fn a_mark_that_ends_and_does_not_begin_before_fits_nowhere() {
    let mut a = open(1);
    let base = make_text(&mut a);
    splice(&mut a, 0, 0, "abc");
    let base = [base, local(&mut a).unwrap()].concat();
    let text = text_id(&a).unwrap();
    Automerge::transact(&mut a, |tx| {
        tx.mark(&text, automerge::marks::Mark::new("bold".into(), true, 1, 2), automerge::marks::ExpandMark::Both)
    })
    .unwrap();
    let marked = expand(&local(&mut a).unwrap());
    let mut alone = marked.clone();
    alone.operations.remove(0);
    assert!(malformed(check(&pack(alone), 1)));
    let mut backwards = marked.clone();
    backwards.operations[1].key = backwards.operations[0].key.clone();
    for (change, fits) in [(marked, true), (backwards, false)] {
        let payload = pack(change);
        assert_eq!(check(&payload, 1), Ok(()));
        let mut reader = open(2);
        assert!(reader.apply(&[&base, &payload]).iter().all(Result::is_ok));
        assert_eq!(reader.pending() == 0, fits);
        assert!(Automerge.load(&reader.snapshot().unwrap(), seed(5)).unwrap().same_history(&reader));
    }
}

/// The library goes down a history by recursion where another one joins it.
#[test]
#[expect(clippy::disallowed_methods, reason = "a thread of a small stack")]
fn two_long_histories_that_come_together_need_no_more_stack_than_a_small_thread_has() {
    let write = |writer: u8| {
        let mut doc = open(writer);
        let value = |n: usize| if n.is_multiple_of(2) { "a" } else { "b" };
        (0..60_000).map(|n| written(&mut doc, "k", value(n))).collect::<Vec<_>>()
    };
    let payloads = [write(1), write(2)];
    let reader = std::thread::Builder::new().stack_size(256 << 10).spawn(move || {
        let mut reader = open(3);
        // As they come from two devices that are online, one of the other's changes after each of one's own.
        let all: Vec<&[u8]> = payloads[0].iter().zip(&payloads[1]).flat_map(|(one, other)| [&one[..], other]).collect();
        assert!(reader.apply(&all).iter().all(|outcome| *outcome == Ok(Applied::Done)));
        for n in 0..20 {
            put(&mut reader, "k", &n.to_string());
        }
        let loaded = Automerge.load(&reader.snapshot().unwrap(), seed(5)).unwrap();
        assert!(loaded.same_history(&reader));
    });
    reader.unwrap().join().unwrap();
}

/// The first two changes of writer 1 again, for a reader.
fn make_base(rest: &[u8]) -> Vec<u8> {
    [make_text(&mut open(1)), rest.to_vec()].concat()
}

#[test]
fn what_the_validator_accepts_applies_to_any_document() {
    let mut random = random(11);
    let mut docs = [open(1), open(2), open(3)];
    let mut payloads = vec![make_text(&mut docs[0])];
    for doc in &mut docs {
        apply(doc, &payloads[0]).unwrap();
    }
    for step in 0..18usize {
        let which = step % 3;
        splice(&mut docs[which], step / 2, (step % 5 == 4) as isize, "ab");
        Automerge::transact(&mut docs[which], |tx| {
            tx.put(ROOT, "k", step as i64)?;
            let list = tx.put_object(ROOT, "list", ObjType::List)?;
            tx.insert(&list, 0, "element")?;
            tx.put(&list, 0, step as u64)
        })
        .unwrap();
        let payload = local(&mut docs[which]).unwrap();
        for doc in &mut docs {
            apply(doc, &payload).unwrap();
        }
        payloads.push(payload);
    }
    let changes: Vec<Vec<u8>> = Automerge::view(&docs[0], |doc| doc.get_changes(&[]))
        .iter()
        .map(|change| change.raw_bytes().to_vec())
        .collect();
    let (mut accepted, mut applied) = (0, 0);
    for _ in 0..4_000 {
        let base = random(changes.len());
        let mut mutant = body(&changes[base]);
        // Behind the dependencies and the actor, so that something is left to accept.
        for _ in 0..1 + random(2) {
            let at = 33 + random(mutant.len() - 33);
            match random(4) {
                0 => mutant[at] = random(256) as u8,
                1 | 2 => mutant[at] = mutant[at].wrapping_add(1),
                _ => mutant[at] = mutant[at].wrapping_sub(1),
            }
        }
        let Some(mutant) = quietly(|| chunk(1, &mutant)) else {
            continue;
        };
        if quietly(|| check_import(&mutant)) != Some(Ok(())) {
            continue;
        }
        accepted += 1;
        let mut doc = open(9);
        let before: Vec<&[u8]> = changes[..base].iter().map(Vec::as_slice).collect();
        doc.apply(&before);
        match quietly(|| apply(&mut doc, &mutant)).expect("no panic comes out") {
            Ok(_) => applied += 1,
            Err(CrdtError::Poisoned(why)) => panic!("{why}"),
            Err(_) => {}
        }
        let after: Vec<&[u8]> = changes[base + 1..].iter().map(Vec::as_slice).collect();
        doc.apply(&after);
        put(&mut doc, "goes", "on");
        let loaded = Automerge.load(&doc.snapshot().unwrap(), seed(8)).expect("a snapshot can be loaded");
        assert!(loaded.same_history(&doc));
        assert_eq!(loaded.digest(), doc.digest());
    }
    println!("{accepted} accepted, {applied} applied");
    assert!(applied > 100, "{accepted} accepted, {applied} applied");
}

/// The result of `f`, or none if it panicked.
fn quietly<R>(f: impl FnOnce() -> R) -> Option<R> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).ok()
}

#[test]
fn damaged_snapshots_are_refused() {
    let mut a = open(1);
    for step in 0..5 {
        put(&mut a, "k", &step.to_string());
    }
    let snapshot = a.snapshot().unwrap();
    for cut in 0..snapshot.len() {
        assert!(Automerge.load(&snapshot[..cut], seed(2)).is_err(), "{cut}");
    }
    for at in 0..snapshot.len() {
        let mut damaged = snapshot.clone();
        damaged[at] ^= 1;
        assert!(Automerge.load(&damaged, seed(2)).is_err(), "{at}");
    }
    assert!(Automerge.load(&[], seed(2)).is_err());
    let _ = Change::from_bytes(snapshot);
}

/// The parts of a saved document that is not compressed: actors, heads, both layouts, both data, where the heads are.
fn parts(saved: &[u8]) -> Vec<Vec<u8>> {
    let number = |at: &mut usize| {
        let (mut value, mut shift) = (0usize, 0);
        loop {
            let byte = saved[*at];
            *at += 1;
            value |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    };
    let mut at = 9;
    number(&mut at);
    let mut parts = Vec::new();
    let mut from = at;
    let mut cut = |from: &mut usize, to: usize| {
        parts.push(saved[*from..to].to_vec());
        *from = to;
    };
    for _ in 0..number(&mut at) {
        at = number(&mut at) + at;
    }
    cut(&mut from, at);
    at = 32 * number(&mut at) + at;
    cut(&mut from, at);
    let mut lengths = Vec::new();
    for _ in 0..2 {
        let mut length = 0;
        for _ in 0..number(&mut at) {
            number(&mut at);
            length += number(&mut at);
        }
        cut(&mut from, at);
        lengths.push(length);
    }
    for length in lengths {
        at += length;
        cut(&mut from, at);
    }
    cut(&mut from, saved.len());
    parts
}

/// A saved document has operations beside its changes, and the library believes them: they can hold what nobody wrote.
#[test]
fn a_document_that_shows_what_no_change_says_is_neither_imported_nor_taken_for_what_it_says() {
    let mut honest = open(1);
    written(&mut honest, "pay", "no");
    let before = honest.automerge().save_nocompress();
    let heads = honest.heads();
    written(&mut honest, "pay", "yes");
    let (before, after) = (parts(&before), parts(&honest.automerge().save_nocompress()));
    // The changes of the one with the operations of the other.
    let [actors, heads_of, layout, _, changes, _, end] = &before[..] else { panic!("seven parts") };
    let [_, _, _, operations_layout, _, operations, _] = &after[..] else { panic!("seven parts") };
    let body = [actors, heads_of, layout, operations_layout, changes, operations, end].map(Vec::as_slice).concat();
    let mut forged = chunk_unparsed(0, &body);
    let checksum = Sha256::digest(&forged[8..]);
    forged[4..8].copy_from_slice(&checksum[..4]);
    let loaded = Automerge.load(&forged, seed(2)).unwrap();
    let shown = loaded.as_any().downcast_ref::<AutomergeDoc>().unwrap();
    assert_eq!((shown.heads(), get(shown, "pay").as_deref()), (heads, Some("yes")), "the library was told a lie");
    let mut true_one = open(3);
    let first = honest.automerge().get_changes(&[]).remove(0);
    apply(&mut true_one, first.raw_bytes()).unwrap();
    assert_eq!(get(&true_one, "pay").as_deref(), Some("no"));
    assert!(!loaded.same_history(&true_one) && !loaded.extends(&true_one, &[seed(1)]));
    assert!(malformed(check_import(&forged)));
}

/// Each is a little ahead of what it depends on, as far as that is allowed.
#[test]
fn many_changes_that_are_ahead_of_each_other_leave_room_for_what_others_write() {
    let mut hostile = expand(&written(&mut open(1), "key", "value"));
    let mut doc = open(2);
    let mut before = 0;
    for seq in 1..3_000 {
        hostile.seq = seq;
        let start = (before + 1 + (1 << 20)).min((1 << 31) - 1);
        hostile.start_op = std::num::NonZeroU64::new(start).unwrap();
        let payload = pack(hostile.clone());
        if check(&payload, 1).is_err() {
            break;
        }
        apply(&mut doc, &payload).unwrap();
        let Some(last) = doc.heads().pop().filter(|_| doc.pending() == 0) else { break };
        before = hostile.start_op.get();
        hostile.deps = vec![last];
    }
    assert!(before > 1 << 29, "they got far: {before}");
    let mut other = open(3);
    for change in doc.automerge().get_changes(&[]) {
        apply(&mut other, change.raw_bytes()).unwrap();
    }
    let payload = written(&mut other, "honest", "shown");
    assert_eq!(check(&payload, 3), Ok(()));
    apply(&mut doc, &payload).unwrap();
    assert_eq!(get(&doc, "honest").as_deref(), Some("shown"));
}
