//! What the engine relies on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::marks::{ExpandMark, Mark};
use automerge::transaction::Transactable;
use automerge::{AutomergeError, ObjType, ROOT, ReadDoc, ScalarValue};
use common::*;
use partita_automerge::{Automerge, AutomergeDoc};
use partita_core::{Applied, CrdtDocument, CrdtError, CrdtType, DocumentType, Limits, Transact};

#[test]
fn two_replicas_that_exchange_everything_show_the_same() {
    let (mut a, mut b) = (open(1), open(2));
    let from_a = written(&mut a, "k", "a");
    let from_b = written(&mut b, "k", "b");
    assert_eq!(check(&from_a, 1), Ok(()));
    assert_eq!(apply(&mut a, &from_b), Ok(Applied::Done));
    assert_ne!(a.digest(), b.digest());
    assert!(!a.same_history(&b));
    assert_eq!(apply(&mut b, &from_a), Ok(Applied::Done));
    assert_eq!(get(&a, "k"), get(&b, "k"));
    assert_eq!(a.digest(), b.digest());
    assert!(a.same_history(&b));
}

#[test]
fn what_was_applied_before_is_known() {
    let (mut a, mut b) = (open(1), open(2));
    let payload = written(&mut a, "k", "v");
    assert_eq!(b.apply(&[&payload, &payload]), [Ok(Applied::Done), Ok(Applied::Known)]);
    assert_eq!(apply(&mut b, &payload), Ok(Applied::Known));
    assert_eq!(apply(&mut a, &payload), Ok(Applied::Known));
    assert_eq!(local(&mut a), None);
}

#[test]
fn a_burst_of_transactions_is_one_payload() {
    let (mut a, mut b) = (open(1), open(2));
    let base = make_text(&mut a);
    apply(&mut b, &base).unwrap();
    for at in 0..500 {
        splice(&mut a, at, 0, "x");
    }
    apply(&mut b, &base).unwrap();
    let between = {
        splice(&mut b, 0, 0, "from b");
        local(&mut b).unwrap()
    };
    apply(&mut a, &between).unwrap();
    splice(&mut a, 0, 1, "");
    let payload = local(&mut a).unwrap();
    assert_eq!(check(&payload, 1), Ok(()));
    assert_eq!(apply(&mut b, &payload), Ok(Applied::Done));
    assert!(a.same_history(&b));
    assert_eq!(text(&a), text(&b));
    assert_eq!(local(&mut a), None);
}

#[test]
fn what_depends_on_missing_changes_is_pending_and_survives_a_snapshot() {
    let (mut a, mut b) = (open(1), open(2));
    let payloads: Vec<Vec<u8>> = (0..4).map(|step| written(&mut a, "k", &step.to_string())).collect();
    assert_eq!(apply(&mut b, &payloads[2]), Ok(Applied::Done));
    assert_eq!(apply(&mut b, &payloads[2]), Ok(Applied::Known));
    assert_eq!(apply(&mut b, &[payloads[1].clone(), payloads[3].clone()].concat()), Ok(Applied::Done));
    assert_eq!((b.pending(), get(&b, "k")), (3, None));
    let snapshot = b.snapshot().unwrap();
    let mut loaded = Automerge.load(&snapshot, seed(3)).unwrap();
    assert_eq!(loaded.pending(), 3);
    assert!(loaded.same_history(&b));
    for doc in [&mut b as &mut dyn CrdtDocument, &mut *loaded] {
        assert_eq!(doc.apply(&[&payloads[0]]), [Ok(Applied::Done)]);
        assert_eq!(doc.pending(), 0);
        assert!(doc.same_history(&a));
        assert_eq!(doc.digest(), a.digest());
    }
}

#[test]
fn what_waits_for_an_own_change_that_is_yet_to_be_made_is_applied_when_it_is() {
    // The device's program runs twice, and what one writes reaches somebody who goes on from it before the other writes it.
    let (mut one, mut twin, mut b) = (open(1), open(1), open(2));
    let payload = written(&mut twin, "k", "v");
    apply(&mut b, &payload).unwrap();
    let after = written(&mut b, "l", "w");
    assert_eq!(apply(&mut one, &after), Ok(Applied::Done));
    assert_eq!(one.pending(), 1);
    assert_eq!(written(&mut one, "k", "v"), payload);
    assert_eq!((one.pending(), get(&one, "l").as_deref()), (0, Some("w")));
    assert!(one.same_history(&b));
}

#[test]
fn a_loaded_document_goes_on_under_its_actor() {
    let mut a = open(1);
    put(&mut a, "k", "v");
    let mut first = local(&mut a).unwrap();
    let mut loaded = Automerge.load(&a.snapshot().unwrap(), seed(2)).unwrap();
    let doc = loaded.as_any_mut().downcast_mut::<AutomergeDoc>().unwrap();
    let second = written(doc, "l", "w");
    assert_eq!(check(&second, 2), Ok(()));
    first.extend(second);
    let mut c = open(3);
    apply(&mut c, &first).unwrap();
    assert!(doc.same_history(&c));
}

#[test]
fn order_and_repetition_make_no_difference() {
    let mut writers: Vec<AutomergeDoc> = (1..=3).map(open).collect();
    let base = make_text(&mut writers[0]);
    for doc in &mut writers {
        apply(doc, &base).unwrap();
    }
    let mut payloads = vec![base];
    for step in 0..60usize {
        let doc = &mut writers[step % 3];
        let length = text(doc).chars().count();
        if step % 7 == 6 && length > 3 {
            splice(doc, step % (length - 2), 2, "");
        } else {
            splice(doc, step % (length + 1), 0, &format!("{step}"));
        }
        let payload = local(doc).unwrap();
        assert_eq!(check(&payload, (step % 3) as u8 + 1), Ok(()));
        // The others hear of it late.
        if step % 2 == 0 {
            for other in writers.iter_mut() {
                apply(other, &payload).unwrap();
            }
        }
        payloads.push(payload);
    }
    let mut reference = open(9);
    let all: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
    assert!(reference.apply(&all).iter().all(|outcome| *outcome == Ok(Applied::Done)));
    for round in 1..10usize {
        let mut doc = open(8);
        for step in 0..payloads.len() * 2 {
            apply(&mut doc, &payloads[(step * (2 * round + 1) * 7 + round) % payloads.len()]).unwrap();
        }
        let reversed: Vec<&[u8]> = payloads.iter().rev().map(Vec::as_slice).collect();
        assert!(doc.apply(&reversed).iter().all(Result::is_ok));
        assert_eq!(doc.pending(), 0);
        assert!(doc.same_history(&reference));
        assert_eq!(doc.digest(), reference.digest());
        assert_eq!(text(&doc), text(&reference));
    }
}

#[test]
fn a_closure_that_fails_or_panics_leaves_nothing_behind() {
    for first in [true, false] {
        let mut a = open(1);
        if !first {
            put(&mut a, "kept", "yes");
            local(&mut a).unwrap();
        }
        let before = (a.digest(), a.heads());
        let failed: Result<(), _> = Automerge::transact(&mut a, |tx| {
            tx.put(ROOT, "never", 1)?;
            tx.put_object(ROOT, "list", ObjType::List)?;
            Err(AutomergeError::Fail)
        });
        assert!(matches!(failed, Err(Transact::Closure(AutomergeError::Fail))));
        assert_eq!(before, (a.digest(), a.heads()));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _: Result<(), _> = Automerge::transact(&mut a, |tx| {
                tx.put(ROOT, "never", 1)?;
                panic!("the closure panics")
            });
        }));
        assert!(panicked.is_err());
        assert_eq!(before, (a.digest(), a.heads()));
        assert_eq!(local(&mut a), None);
        let payload = written(&mut a, "k", "v");
        assert_eq!(check(&payload, 1), Ok(()));
        assert!(Automerge.load(&a.snapshot().unwrap(), seed(2)).unwrap().same_history(&a));
    }
}

#[test]
fn what_others_would_refuse_is_refused_at_home() {
    let nest = |doc: &mut AutomergeDoc, depth: usize| {
        Automerge::transact(doc, |tx| {
            let mut at = ROOT;
            for _ in 0..depth {
                at = tx.put_object(&at, "in", ObjType::Map)?;
            }
            Ok(())
        })
        .map_err(Box::new)
    };
    let mut a = open(1);
    put(&mut a, "before", "x");
    assert_eq!(*nest(&mut a, 65).unwrap_err(), Transact::Refused(CrdtError::TooLarge("nesting")));
    // The document is loaded again; what is to be written of it does not hold what was refused.
    let payload = local(&mut a).unwrap();
    assert_eq!(check(&payload, 1), Ok(()));
    let mut a = open(1);
    apply(&mut a, &payload).unwrap();
    nest(&mut a, 64).unwrap();
    assert_eq!(check(&local(&mut a).unwrap(), 1), Ok(()));
}

#[test]
fn a_document_that_is_nested_deeper_than_others_take_is_not_handed_over() {
    let (mut a, mut b) = (open(1), open(2));
    let mut at = ROOT;
    let mut deeper = |a: &mut AutomergeDoc| {
        at = Automerge::transact(a, |tx| tx.put_object(&at, "in", ObjType::Map)).unwrap();
        a.take_local(&Limits::default())
    };
    for _ in 0..1_000 {
        let payload = deeper(&mut a).unwrap().unwrap();
        apply(&mut b, &payload).unwrap();
    }
    assert_eq!(deeper(&mut a), Err(CrdtError::TooLarge("nesting")));
}

#[test]
fn a_version_so_old_that_others_would_refuse_an_edit_of_it_cannot_be_edited() {
    let mut a = open(1);
    put(&mut a, "first", "x");
    let old = a.heads();
    let mut b = open(2);
    apply(&mut b, &local(&mut a).unwrap()).unwrap();
    // As far ahead as anybody may be: a million operations of another actor are as good.
    let mut ahead = expand(&written(&mut b, "ahead", "x"));
    ahead.start_op = ahead.start_op.saturating_add(1 << 20);
    apply(&mut a, &pack(ahead)).unwrap();
    let edit = a.transact_at(&old, |tx| tx.put(ROOT, "late", "x"));
    assert!(matches!(edit, Err(Transact::Refused(CrdtError::Malformed(_)))));
    let twice = [a.heads(), a.heads()].concat();
    a.transact_at(&twice, |tx| tx.put(ROOT, "now", "x")).unwrap();
    assert_eq!(check(&local(&mut a).unwrap(), 1), Ok(()));
}

#[test]
fn what_is_too_much_for_one_payload_goes_into_several() {
    let mut few_bytes = Limits::default();
    few_bytes.payload_bytes = 1_000;
    let mut few_operations = Limits::default();
    few_operations.operations = 25;
    for limits in [few_bytes, few_operations] {
        let (mut a, mut b) = (open(1), open(2));
        for number in 0..50 {
            put(&mut a, &number.to_string(), "something");
        }
        let other = written(&mut b, "side by side", "x");
        apply(&mut a, &other).unwrap();
        put(&mut a, "last", "x");
        let parts: Vec<_> = std::iter::from_fn(|| a.take_local(&limits).unwrap()).collect();
        assert!((2..=11).contains(&parts.len()), "{} parts", parts.len());
        for part in &parts {
            assert_eq!(Automerge.validate(part, Some(seed(1)), &limits), Ok(()));
            apply(&mut b, part).unwrap();
        }
        assert!(a.same_history(&b));
        // One change is never cut.
        put(&mut a, "large", &"x".repeat(5_000));
        let large = a.take_local(&limits).unwrap().unwrap();
        apply(&mut b, &large).unwrap();
        assert!(a.same_history(&b));
    }
}

#[test]
fn an_older_version_can_be_edited() {
    let (mut a, mut b) = (open(1), open(2));
    let base = make_text(&mut a);
    apply(&mut b, &base).unwrap();
    splice(&mut a, 0, 0, "a");
    let at = a.heads();
    splice(&mut b, 0, 0, "bbb");
    apply(&mut a, &local(&mut b).unwrap()).unwrap();
    let id = text_id(&a).unwrap();
    a.transact_at(&at, |tx| tx.splice_text(&id, 1, 0, "!")).unwrap();
    let payload = local(&mut a).unwrap();
    assert_eq!(check(&payload, 1), Ok(()));
    apply(&mut b, &payload).unwrap();
    assert!(a.same_history(&b));
    assert!(text(&a).contains("a!"));
    let before = (a.digest(), a.heads());
    assert!(matches!(
        a.transact_at(&[], |tx| tx.put(ROOT, "k", 1)),
        Err(Transact::Closure(AutomergeError::MissingDeps))
    ));
    assert!(matches!(
        open(5).transact_at(&at, |tx| tx.put(ROOT, "k", 1)),
        Err(Transact::Closure(AutomergeError::InvalidHash(_)))
    ));
    assert_eq!(before, (a.digest(), a.heads()));
}

#[test]
fn every_kind_of_operation_travels() {
    let (mut a, mut b) = (open(1), open(2));
    let mut payloads = Vec::new();
    let values: Vec<ScalarValue> = vec![
        ScalarValue::Null,
        true.into(),
        (-5i64).into(),
        7u64.into(),
        1.5f64.into(),
        ScalarValue::counter(3),
        ScalarValue::Timestamp(12),
        ScalarValue::Bytes(vec![1, 2, 3]),
        "naïve 🦀".into(),
    ];
    Automerge::transact(&mut a, |tx| {
        let list = tx.put_object(ROOT, "list", ObjType::List)?;
        for (index, value) in values.iter().enumerate() {
            tx.put(ROOT, format!("key {index}"), value.clone())?;
            tx.insert(&list, index, value.clone())?;
        }
        tx.insert_object(&list, 2, ObjType::Map)?;
        let text = tx.put_object(ROOT, "text", ObjType::Text)?;
        tx.splice_text(&text, 0, 0, "some rich text")?;
        tx.mark(&text, Mark::new("bold".into(), true, 2, 6), ExpandMark::Both)
    })
    .unwrap();
    payloads.push(local(&mut a).unwrap());
    Automerge::transact(&mut a, |tx| {
        tx.increment(ROOT, "key 5", 4)?;
        tx.delete(ROOT, "key 1")?;
        let list = tx.get(ROOT, "list")?.unwrap().1;
        tx.delete(&list, 0)?;
        tx.put(&list, 0, 9)?;
        let text = tx.get(ROOT, "text")?.unwrap().1;
        tx.unmark(&text, "bold", 3, 4, ExpandMark::None)?;
        tx.splice_text(&text, 1, 4, "")?;
        tx.split_block(&text, 2)?;
        Ok(())
    })
    .unwrap();
    payloads.push(local(&mut a).unwrap());
    for payload in &payloads {
        assert_eq!(check(payload, 1), Ok(()));
        assert_eq!(apply(&mut b, payload), Ok(Applied::Done));
    }
    assert!(a.same_history(&b));
    assert_eq!(a.digest(), b.digest());
    assert_eq!(a.digest(), Automerge.load(&b.snapshot().unwrap(), seed(4)).unwrap().digest());
}

#[test]
fn a_whole_document_can_be_imported() {
    let (mut a, mut b) = (open(1), open(2));
    for step in 0..30 {
        let payload = written(if step % 2 == 0 { &mut a } else { &mut b }, "k", &step.to_string());
        apply(&mut a, &payload).unwrap();
        apply(&mut b, &payload).unwrap();
    }
    let whole = Automerge::view(&a, |doc| doc.save());
    assert_eq!(check_import(&whole), Ok(()));
    assert_eq!(check(&whole, 1), Err(CrdtError::ForeignActor));
    let mut fresh = open(7);
    let more = written(&mut a, "after", "import");
    assert_eq!(apply(&mut fresh, &more), Ok(Applied::Done));
    assert_eq!(fresh.pending(), 1);
    assert_eq!(apply(&mut fresh, &whole), Ok(Applied::Done));
    assert_eq!(fresh.pending(), 0);
    assert!(fresh.same_history(&a));
    assert_eq!(apply(&mut fresh, &whole), Ok(Applied::Known));
    assert_eq!(apply(&mut b, &whole), Ok(Applied::Known));
    let mut other = open(8);
    put(&mut other, "own", "change");
    assert_eq!(apply(&mut other, &whole), Ok(Applied::Done));
    assert_eq!(get(&other, "own").as_deref(), Some("change"));
}

#[test]
fn a_compact_history_is_honest() {
    let mut a = open(1);
    make_text(&mut a);
    splice(&mut a, 0, 0, &" ".repeat(100_000));
    let payload = local(&mut a).unwrap();
    assert!(payload.len() < 2_000, "{} bytes", payload.len());
    assert_eq!(check(&payload, 1), Ok(()));
}
