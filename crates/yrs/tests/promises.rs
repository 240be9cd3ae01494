//! What the engine relies on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::*;
use partita_core::{Applied, CrdtDocument, CrdtError, CrdtType, DocumentType, Limits, Transact};
use partita_yrs::{Error, Yrs, YrsDoc};
use yrs::{Any, Array, ArrayPrelim, Map, MapPrelim, ReadTxn, Text, TransactionMut, WriteTxn};

#[test]
fn two_replicas_that_exchange_everything_show_the_same() {
    let (mut a, mut b) = (open(1), open(2));
    let from_a = typed(&mut a, 0, "hello");
    let from_b = typed(&mut b, 0, "world");
    assert_eq!(check(&from_a, 1), Ok(()));
    assert_eq!(apply(&mut a, &from_b), Ok(Applied::Done));
    assert_eq!(apply(&mut b, &from_a), Ok(Applied::Done));
    assert_eq!(text(&a), text(&b));
    assert_eq!(a.digest(), b.digest());
    assert!(a.same_history(&b));
    remove(&mut a, 0, 2);
    assert!(!a.same_history(&b));
    assert_ne!(a.digest(), b.digest());
    apply(&mut b, &local(&mut a).unwrap()).unwrap();
    assert!(a.same_history(&b));
}

#[test]
fn what_was_applied_before_is_known() {
    let (mut a, mut b) = (open(1), open(2));
    let payload = typed(&mut a, 0, "hello");
    assert_eq!(apply(&mut b, &payload), Ok(Applied::Done));
    assert_eq!(apply(&mut b, &payload), Ok(Applied::Known));
    assert_eq!(apply(&mut a, &payload), Ok(Applied::Known));
    assert_eq!(local(&mut a), None);
}

#[test]
fn a_burst_of_transactions_is_one_small_payload() {
    let (mut a, mut b) = (open(1), open(2));
    for at in 0..5_000 {
        insert(&mut a, at, "x");
    }
    remove(&mut a, 10, 5);
    let payload = local(&mut a).unwrap();
    assert!(payload.len() < 5_100, "{} bytes", payload.len());
    assert_eq!(check(&payload, 1), Ok(()));
    apply(&mut b, &payload).unwrap();
    assert!(a.same_history(&b));
    assert_eq!(local(&mut a), None);
    insert(&mut a, 0, "y");
    insert(&mut a, 0, "z");
    let more = local(&mut a).unwrap();
    assert!(more.len() < 60, "{} bytes", more.len());
    apply(&mut b, &more).unwrap();
    assert_eq!(text(&a), text(&b));
}

#[test]
fn a_burst_carries_only_its_own_changes_and_deletions() {
    let (mut a, mut b) = (open(1), open(2));
    let base = typed(&mut b, 0, "from another replica");
    apply(&mut a, &base).unwrap();
    insert(&mut a, 3, "1");
    let between = typed(&mut b, 20, "!");
    apply(&mut a, &between).unwrap();
    insert(&mut a, 4, "2");
    remove(&mut a, 0, 2);
    let payload = local(&mut a).unwrap();
    assert_eq!(check(&payload, 1), Ok(()));
    apply(&mut b, &payload).unwrap();
    assert!(a.same_history(&b));
    assert_eq!(text(&a), text(&b));
}

#[test]
fn what_depends_on_missing_changes_is_pending_and_survives_a_snapshot() {
    let (mut a, mut b) = (open(1), open(2));
    let first = typed(&mut a, 0, "a");
    let second = typed(&mut a, 1, "b");
    let third = typed(&mut a, 2, "c");
    assert_eq!(apply(&mut b, &third), Ok(Applied::Done));
    assert_eq!(apply(&mut b, &third), Ok(Applied::Known));
    assert_eq!(apply(&mut b, &second), Ok(Applied::Done));
    assert_eq!((b.pending(), text(&b).as_str()), (2, ""));
    let snapshot = b.snapshot().unwrap();
    let mut loaded = Yrs.load(&snapshot, seed(3)).unwrap();
    assert_eq!(loaded.pending(), 2);
    assert!(b.same_history(&*loaded));
    for doc in [&mut b as &mut dyn CrdtDocument, &mut *loaded] {
        assert_eq!(doc.apply(&[&first]), [Ok(Applied::Done)]);
        assert_eq!(doc.pending(), 0);
        assert!(doc.same_history(&a));
    }
    assert_eq!(text(&b), "abc");
}

#[test]
fn what_waits_for_an_own_change_that_is_yet_to_be_made_is_applied_when_it_is() {
    // The device's program runs twice, and what one writes reaches somebody who goes on from it before the other writes it.
    let (mut one, mut twin, mut b) = (open(1), open(1), open(2));
    let payload = typed(&mut twin, 0, "a");
    apply(&mut b, &payload).unwrap();
    let after = typed(&mut b, 1, "b");
    assert_eq!(apply(&mut one, &after), Ok(Applied::Done));
    assert_eq!(one.pending(), 1);
    assert_eq!(typed(&mut one, 0, "a"), payload);
    assert_eq!((one.pending(), text(&one).as_str()), (0, "ab"));
    assert!(one.same_history(&b));
}

#[test]
fn what_was_written_into_what_others_had_deleted_meanwhile_is_accepted() {
    let (mut a, mut b, mut c) = (open(1), open(2), open(3));
    let mut inside = None;
    Yrs::transact(&mut a, |tx| {
        inside = Some(tx.get_or_insert_map("map").insert(tx, "inside", MapPrelim::default()));
        Ok(())
    })
    .unwrap();
    let base = local(&mut a).unwrap();
    for doc in [&mut b, &mut c] {
        apply(doc, &base).unwrap();
    }
    let inside = inside.unwrap();
    let set = |a: &mut YrsDoc, value: i64| {
        Yrs::transact(a, |tx| {
            inside.insert(tx, "k", value);
            Ok(())
        })
        .unwrap();
    };
    Yrs::transact(&mut b, |tx| {
        tx.get_or_insert_map("map").remove(tx, "inside");
        Ok(())
    })
    .unwrap();
    let removed = local(&mut b).unwrap();
    set(&mut a, 1);
    apply(&mut a, &removed).unwrap();
    set(&mut a, 2);
    let written = local(&mut a).unwrap();
    for doc in [&mut b, &mut c] {
        apply(doc, &written).unwrap();
        apply(doc, &removed).unwrap();
        assert_eq!(doc.pending(), 0);
        assert!(doc.same_history(&a));
    }
}

#[test]
fn a_whole_document_whose_deletions_are_in_no_order_can_be_imported() {
    // Of three clients, each with one letter that is deleted. Older versions of both libraries write what is deleted as it
    // comes from a table.
    let sections: Vec<u8> = [9u8, 8, 7].iter().flat_map(|client| [1, *client, 0, 4, 1, 1, b't', 1, b'x']).collect();
    let deletions: Vec<u8> = [8u8, 9, 7].iter().flat_map(|client| [*client, 1, 0, 1]).collect();
    let whole = [&[3][..], &sections, &[3], &deletions].concat();
    assert_eq!(check_import(&whole), Ok(()));
    let mut doc = open(1);
    assert_eq!(apply(&mut doc, &whole), Ok(Applied::Done));
    assert_eq!(doc.pending(), 0);
    let twice = [&[3][..], &sections, &[2], &deletions[..4], &deletions[..4]].concat();
    assert!(check_import(&twice).is_err());
}

#[test]
fn deletions_of_what_is_missing_are_pending_too() {
    let (mut a, mut b, mut c) = (open(1), open(2), open(3));
    let written = typed(&mut a, 0, "abc");
    apply(&mut b, &written).unwrap();
    remove(&mut b, 1, 1);
    let deleted = local(&mut b).unwrap();
    apply(&mut c, &deleted).unwrap();
    assert_eq!(c.pending(), 1);
    apply(&mut c, &written).unwrap();
    assert_eq!((c.pending(), text(&c).as_str()), (0, "ac"));
    assert!(c.same_history(&b));
}

#[test]
fn order_and_repetition_make_no_difference() {
    let mut writers: Vec<YrsDoc> = (1..=3).map(open).collect();
    let mut payloads = Vec::new();
    for step in 0..60u32 {
        let writer = (step % 3) as usize;
        let doc = &mut writers[writer];
        let length = text(doc).chars().count() as u32;
        if step % 7 == 6 && length > 3 {
            remove(doc, step % (length - 2), 2);
        } else {
            insert(doc, step % (length + 1), &format!("{step}"));
        }
        let payload = local(doc).unwrap();
        // The others hear of it late.
        if step % 2 == 0 {
            for other in writers.iter_mut() {
                apply(other, &payload).unwrap();
            }
        }
        payloads.push(payload);
    }
    let mut reference = open(9);
    for payload in &payloads {
        apply(&mut reference, payload).unwrap();
    }
    for round in 1..20usize {
        let mut doc = open(8);
        for step in 0..payloads.len() * 2 {
            let index = (step * (2 * round + 1) * 7 + round) % payloads.len();
            apply(&mut doc, &payloads[index]).unwrap();
        }
        let all: Vec<&[u8]> = payloads.iter().rev().map(Vec::as_slice).collect();
        assert!(doc.apply(&all).iter().all(Result::is_ok));
        assert_eq!(doc.pending(), 0);
        assert!(doc.same_history(&reference));
        assert_eq!(text(&doc), text(&reference));
    }
}

#[test]
fn a_closure_that_fails_leaves_nothing_to_publish() {
    for panics in [false, true] {
        let mut a = open(1);
        insert(&mut a, 0, "kept");
        let result: Result<(), _> = Yrs::transact(&mut a, |tx| {
            tx.get_or_insert_text("text").insert(tx, 0, "never ");
            assert!(!panics, "the closure panics");
            Err(Error::Abort("no".into()))
        });
        match result {
            Err(Transact::Reload(None)) => assert!(panics),
            Err(Transact::Reload(Some(Error::Abort(_)))) => assert!(!panics),
            other => panic!("{other:?}"),
        }
        // What was committed before is not lost.
        let payload = local(&mut a).unwrap();
        let mut b = open(2);
        apply(&mut b, &payload).unwrap();
        assert_eq!(text(&b), "kept");
        assert!(matches!(a.snapshot(), Err(CrdtError::Poisoned(_))));
        assert!(matches!(apply(&mut a, &payload), Err(CrdtError::Poisoned(_))));
        let again: Result<(), _> = Yrs::transact(&mut a, |_| Ok(()));
        assert!(matches!(again, Err(Transact::Reload(None))));
        // Loaded again under the same actor, it goes on without a clash.
        let mut a = Yrs::open(seed(1));
        apply(&mut a, &payload).unwrap();
        assert_eq!(local(&mut a), None);
        let more = typed(&mut a, 4, "!");
        apply(&mut b, &more).unwrap();
        assert!(a.same_history(&b));
    }
}

#[test]
fn what_others_would_refuse_is_refused_at_home() {
    let mut a = open(1);
    let mut b = open(2);
    let foreign = typed(&mut b, 0, "b");
    let result: Result<(), _> = Yrs::transact(&mut a, |tx| {
        use yrs::updates::decoder::Decode;
        tx.apply_update(yrs::Update::decode_v1(&foreign)?)?;
        Ok(())
    });
    assert!(matches!(result, Err(Transact::Refused(CrdtError::ForeignActor))));
    let mut a = open(1);
    let result: Result<(), _> = Yrs::transact(&mut a, |tx| {
        tx.get_or_insert_map("map").insert(tx, "sub", yrs::Doc::new());
        Ok(())
    });
    assert!(matches!(result, Err(Transact::Refused(CrdtError::Malformed(_)))));
}

#[test]
fn what_is_too_much_for_one_payload_goes_into_several() {
    let mut few_bytes = Limits::default();
    few_bytes.payload_bytes = 300;
    let mut few_operations = Limits::default();
    few_operations.operations = 300;
    for limits in [few_bytes, few_operations] {
        let (mut a, mut b) = (open(1), open(2));
        let other = typed(&mut b, 0, "side by side ");
        for number in 0..50u32 {
            insert(&mut a, 2 * number, "some");
            remove(&mut a, 2 * number, 2);
            if number == 25 {
                apply(&mut a, &other).unwrap();
            }
        }
        let parts: Vec<_> = std::iter::from_fn(|| a.take_local(&limits).unwrap()).collect();
        assert!((2..=12).contains(&parts.len()), "{} parts", parts.len());
        for part in &parts {
            assert_eq!(Yrs.validate(part, Some(seed(1)), &limits), Ok(()));
            apply(&mut b, part).unwrap();
        }
        assert!(a.same_history(&b));
        assert_eq!(text(&a), text(&b));
        // One change is never cut.
        let large = typed(&mut a, 0, &"x".repeat(5_000));
        apply(&mut b, &large).unwrap();
        assert!(a.same_history(&b));
    }
}

#[test]
fn transactions_that_nest_too_deep_together_go_into_several_payloads_and_side_by_side_into_one() {
    let (mut a, mut b) = (open(1), open(2));
    let nest = |doc: &mut YrsDoc, at: Option<yrs::MapRef>, key: String| {
        Yrs::transact(doc, |tx| {
            let at = at.unwrap_or_else(|| tx.get_or_insert_map("map"));
            Ok(at.insert(tx, key, MapPrelim::default()))
        })
        .unwrap()
    };
    for number in 0..200 {
        nest(&mut a, None, number.to_string());
    }
    let flat = local(&mut a).unwrap();
    assert_eq!(local(&mut a), None);
    let mut at = None;
    for _ in 0..200 {
        at = Some(nest(&mut a, at, "in".into()));
    }
    let deep: Vec<_> = std::iter::from_fn(|| local(&mut a)).collect();
    assert!((4..=6).contains(&deep.len()), "{} payloads", deep.len());
    for payload in std::iter::once(&flat).chain(&deep) {
        assert_eq!(check(payload, 1), Ok(()));
        apply(&mut b, payload).unwrap();
    }
    assert!(a.same_history(&b));
}

#[test]
fn a_document_is_nested_no_deeper_than_others_take() {
    let (mut a, mut b) = (open(1), open(2));
    let mut at: Option<yrs::MapRef> = None;
    let mut deeper = |a: &mut YrsDoc| {
        Yrs::transact(a, |tx| {
            let inside = at.take().unwrap_or_else(|| tx.get_or_insert_map("map"));
            at = Some(inside.insert(tx, "in", MapPrelim::default()));
            Ok(())
        })
    };
    let mut depth = 0;
    while deeper(&mut a).is_ok() {
        depth += 1;
        apply(&mut b, &local(&mut a).unwrap()).unwrap();
        assert!(depth < 2_000);
    }
    assert!(depth > 900, "{depth} deep");
    assert!(matches!(deeper(&mut a), Err(Transact::Reload(None))), "it is loaded again first");
}

#[test]
fn every_kind_of_content_that_yrs_writes_travels() {
    let (mut a, mut b) = (open(1), open(2));
    Yrs::transact(&mut a, |tx| {
        let text = tx.get_or_insert_text("text");
        text.insert(tx, 0, "naïve 🦀 text");
        text.format(tx, 0, 3, yrs::types::Attrs::from([("bold".into(), true.into())]));
        text.insert_embed(tx, 2, yrs::Any::from("embedded"));
        let map = tx.get_or_insert_map("map");
        map.insert(tx, "nested", MapPrelim::from([("x", 1)]));
        map.insert(tx, "n", -5i64);
        map.insert(tx, "big", i64::MAX);
        map.insert(tx, "f", 1.5);
        map.insert(tx, "bytes", yrs::Any::Buffer(vec![1, 2, 3].into()));
        map.insert(tx, "n", 6);
        let array = tx.get_or_insert_array("array");
        array.insert(tx, 0, ArrayPrelim::from(["a", "b"]));
        array.push_back(tx, yrs::any!({"a": [1, 2.5, null, {"b": "c"}]}));
        let xml = tx.get_or_insert_xml_fragment("xml");
        use yrs::XmlFragment;
        xml.push_back(tx, yrs::XmlElementPrelim::empty("p"));
        xml.push_back(tx, yrs::XmlTextPrelim::new("t"));
        Ok(())
    })
    .unwrap();
    let payload = local(&mut a).unwrap();
    assert_eq!(check(&payload, 1), Ok(()));
    apply(&mut b, &payload).unwrap();
    assert!(a.same_history(&b));
    assert_eq!(a.digest(), Yrs.load(&b.snapshot().unwrap(), seed(4)).unwrap().digest());
}

#[test]
fn a_whole_document_of_many_clients_can_be_imported() {
    let mut writers: Vec<YrsDoc> = (1..=5).map(open).collect();
    for step in 0..50u32 {
        let payload = typed(&mut writers[(step % 5) as usize], step / 2, "ab");
        for doc in &mut writers {
            apply(doc, &payload).unwrap();
        }
    }
    let whole = Yrs::view(&writers[0], |tx| tx.encode_state_as_update_v1(&yrs::StateVector::default()));
    assert_eq!(check_import(&whole), Ok(()));
    assert_eq!(check(&whole, 1), Err(CrdtError::ForeignActor));
    let mut fresh = open(7);
    assert_eq!(apply(&mut fresh, &whole), Ok(Applied::Done));
    assert!(fresh.same_history(&writers[0]));
    assert_eq!(apply(&mut writers[1], &whole), Ok(Applied::Known));
}

#[test]
fn how_deep_a_document_is_can_be_counted_where_a_text_has_characters_of_two_code_units() {
    let (mut a, mut b) = (open(1), open(2));
    apply(&mut b, &typed(&mut a, 0, "a \u{1f600} b")).unwrap();
    // So many types that adding up is not good enough.
    for _ in 0..1_100 {
        Yrs::transact(&mut a, |tx| {
            tx.get_or_insert_array("list").push_back(tx, MapPrelim::default());
            Ok(())
        })
        .unwrap();
        apply(&mut b, &local(&mut a).unwrap()).unwrap();
    }
    assert!(b.same_history(&a));
}

/// What a forger of a snapshot would write: as much as somebody wrote, and something else.
#[test]
fn two_documents_in_which_as_much_was_written_and_something_else_are_not_the_same() {
    type Edit = fn(&mut TransactionMut<'_>);
    let pairs: [(Edit, Edit); 5] = [
        (
            |tx| tx.get_or_insert_text("text").insert(tx, 0, "yes"),
            |tx| tx.get_or_insert_text("text").insert(tx, 0, "no!"),
        ),
        (
            |tx| {
                tx.get_or_insert_map("map").insert(tx, "sum", 100);
            },
            |tx| {
                tx.get_or_insert_map("map").insert(tx, "sum", 9_000_000);
            },
        ),
        (
            |tx| {
                tx.get_or_insert_map("map").insert(tx, "mine", 1);
            },
            |tx| {
                tx.get_or_insert_map("map").insert(tx, "yours", 1);
            },
        ),
        (
            |tx| {
                tx.get_or_insert_text("text").insert(tx, 0, "b");
                tx.get_or_insert_text("text").insert(tx, 0, "a");
            },
            |tx| {
                tx.get_or_insert_text("text").insert(tx, 0, "b");
                tx.get_or_insert_text("text").insert(tx, 1, "a");
            },
        ),
        (
            |tx| {
                tx.get_or_insert_text("text").insert_embed(tx, 0, Any::from("cat"));
            },
            |tx| {
                tx.get_or_insert_text("text").insert_embed(tx, 0, Any::from("dog"));
            },
        ),
    ];
    for (n, (one, other)) in pairs.into_iter().enumerate() {
        let of = |edit: Edit| {
            let mut doc = open(1);
            Yrs::transact(&mut doc, |tx| {
                edit(tx);
                Ok(())
            })
            .unwrap();
            doc
        };
        let (honest, again, forged) = (of(one), of(one), of(other));
        assert!(honest.same_history(&again) && honest.extends(&again, &[]), "{n}");
        assert!(!honest.same_history(&forged) && honest.digest() != forged.digest(), "{n}");
        for by in [&[][..], &[seed(2)]] {
            assert!(!forged.extends(&honest, by), "{n}");
        }
    }
}

/// Who lacks nobody's work accepts no deletion that it does not know.
#[test]
fn what_nobody_else_can_have_deleted_is_not_gone_from_what_extends_a_document() {
    let mut held = open(1);
    let payload = typed(&mut held, 0, "kept");
    let mut forged = open(2);
    apply(&mut forged, &payload).unwrap();
    remove(&mut forged, 0, 2);
    assert!(!forged.extends(&held, &[]));
    assert!(forged.extends(&held, &[seed(3)]), "somebody else may have");
}

/// As the library's own undo does. What would go on from there could be applied by nobody else.
#[test]
fn what_was_written_behind_the_documents_back_is_found_before_anything_goes_on_from_it() {
    let mut a = open(1);
    typed(&mut a, 0, "one");
    {
        let text = a.doc().get_or_insert_text("text");
        let doc = a.doc().clone();
        text.insert(&mut yrs::Transact::transact_mut(&doc), 0, "behind its back");
    }
    let next = Yrs::transact(&mut a, |tx| {
        tx.get_or_insert_text("text").insert(tx, 0, "two");
        Ok(())
    });
    assert!(matches!(next, Err(Transact::Reload(None))), "{next:?}");
    assert!(!a.is_sound() && local(&mut a).is_none());
}
