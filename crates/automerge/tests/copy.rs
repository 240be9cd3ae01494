//! A flattened copy shows the same and remembers nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::fmt::Write as _;

use automerge::marks::{ExpandMark, Mark};
use automerge::transaction::Transactable;
use automerge::{Automerge as Library, Change, ObjId, ObjType, ROOT, ReadDoc, ScalarValue, Value};
use common::*;
use partita_automerge::{Automerge, AutomergeDoc};
use partita_core::{Applied, CopyError, CrdtDocument, CrdtError, DocumentType, Limits, flatten};

/// The writer of copies.
const COPIER: u8 = 77;

fn copied(doc: &AutomergeDoc) -> (Vec<u8>, AutomergeDoc) {
    let payload = Automerge::view(doc, |view| flatten::<Automerge>(view, seed(COPIER), &Limits::default()))
        .expect("it is copied");
    let mut copy = open(50);
    if !payload.is_empty() {
        assert_eq!(check_import(&payload), Ok(()));
        assert_eq!(apply(&mut copy, &payload), Ok(Applied::Done));
        assert_eq!(copy.automerge().get_changes(&[]).len(), 1, "one change");
    }
    (payload, copy)
}

/// What a reader sees: of conflicting values the one that wins.
fn show(doc: &Library) -> String {
    let mut out = String::new();
    show_object(doc, &ROOT, ObjType::Map, &mut out);
    out
}

fn show_value(doc: &Library, value: Option<(Value<'_>, ObjId)>, out: &mut String) {
    match value {
        Some((Value::Object(kind), id)) => show_object(doc, &id, kind, out),
        Some((Value::Scalar(scalar), _)) => write!(out, "{scalar:?},").unwrap(),
        None => out.push_str("nothing,"),
    }
}

fn show_object(doc: &Library, object: &ObjId, kind: ObjType, out: &mut String) {
    write!(out, "{kind:?}(").unwrap();
    match kind {
        ObjType::Map | ObjType::Table => {
            for key in doc.keys(object) {
                write!(out, "{key:?}: ").unwrap();
                show_value(doc, doc.get(object, key.as_str()).unwrap(), out);
            }
        }
        ObjType::List => (0..doc.length(object)).for_each(|at| show_value(doc, doc.get(object, at).unwrap(), out)),
        ObjType::Text => {
            write!(out, "{:?} {:?}", doc.text(object).unwrap(), doc.marks(object).unwrap()).unwrap();
            (0..doc.length(object)).for_each(|at| show_value(doc, doc.get(object, at).unwrap(), out));
        }
    }
    out.push(')');
}

/// What its marks make of what is typed at each place of a text of the root.
fn typing(doc: &AutomergeDoc, key: &str) -> Vec<Vec<Mark>> {
    let doc = doc.automerge();
    let Some((_, text)) = doc.get(ROOT, key).unwrap() else { return Vec::new() };
    let typed = |at| {
        let mut draft = doc.clone();
        let mut tx = draft.transaction();
        tx.splice_text(&text, at, 0, "x").unwrap();
        tx.marks(&text).unwrap()
    };
    (0..=doc.length(&text)).map(typed).collect()
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Everything that a document holds, with nothing compressed.
fn uncompressed(doc: &AutomergeDoc) -> Vec<u8> {
    let mut bytes = doc.automerge().clone().save_nocompress();
    for change in doc.automerge().get_changes(&[]) {
        bytes.extend_from_slice(change.raw_bytes());
    }
    bytes
}

fn everything() -> AutomergeDoc {
    let mut doc = open(1);
    Automerge::transact(&mut doc, |tx| {
        tx.put(ROOT, "null", ())?;
        tx.put(ROOT, "yes", true)?;
        tx.put(ROOT, "int", -5_i64)?;
        tx.put(ROOT, "uint", 5_u64)?;
        tx.put(ROOT, "float", 1.5_f64)?;
        tx.put(ROOT, "time", ScalarValue::Timestamp(1_700_000_000_000))?;
        tx.put(ROOT, "string", "words, Wörter, 言葉, 😀")?;
        tx.put(ROOT, "bytes", vec![0_u8, 255, 7])?;
        tx.put(ROOT, "other", ScalarValue::Unknown { type_code: 11, bytes: vec![1, 2, 3] })?;
        tx.put(ROOT, "counter", ScalarValue::counter(10))?;
        tx.increment(ROOT, "counter", 5)?;
        tx.put(ROOT, "", "no key")?;
        tx.put_object(ROOT, "empty map", ObjType::Map)?;
        tx.put_object(ROOT, "empty list", ObjType::List)?;
        tx.put_object(ROOT, "empty text", ObjType::Text)?;
        tx.put_object(ROOT, "table", ObjType::Table)?; // the library puts nothing into one
        let list = tx.put_object(ROOT, "list", ObjType::List)?;
        for (at, word) in ["one", "two", "three", "four"].into_iter().enumerate() {
            tx.insert(&list, at, word)?;
        }
        let inner = tx.insert_object(&list, 2, ObjType::List)?;
        tx.insert(&inner, 0, ScalarValue::counter(1))?;
        tx.increment(&inner, 0, 41)?;
        let map = tx.insert_object(&inner, 1, ObjType::Map)?;
        tx.put(&map, "deep", 1.0)?;
        tx.delete(&list, 1)?;
        let text = tx.put_object(ROOT, "text", ObjType::Text)?;
        tx.splice_text(&text, 0, 0, "The quick 🦊 jumps over the lazy dog")?;
        tx.mark(&text, Mark::new("bold".into(), true, 4, 9), ExpandMark::After)?;
        tx.mark(&text, Mark::new("link".into(), "somewhere", 6, 20), ExpandMark::None)?;
        tx.mark(&text, Mark::new("link".into(), "elsewhere", 20, 24), ExpandMark::Both)?;
        tx.mark(&text, Mark::new("note".into(), 3, 0, 3), ExpandMark::Before)?;
        tx.unmark(&text, "bold", 5, 7, ExpandMark::None)?;
        let blocks = tx.put_object(ROOT, "blocks", ObjType::Text)?;
        tx.splice_text(&blocks, 0, 0, "heading and a \u{fffc} of its own")?;
        let block = tx.split_block(&blocks, 0)?;
        tx.put(&block, "type", "heading")?;
        let block = tx.split_block(&blocks, 8)?;
        tx.put_object(&block, "parents", ObjType::List)?;
        tx.insert(&blocks, 3, 42)?;
        tx.insert(&blocks, 5, "several at once")?;
        tx.mark(&blocks, Mark::new("bold".into(), true, 1, 30), ExpandMark::Both)?;
        Ok(())
    })
    .unwrap();
    doc
}

#[test]
fn a_copy_shows_all_that_the_original_shows() {
    let doc = everything();
    let (_, copy) = copied(&doc);
    assert_eq!(show(copy.automerge()), show(doc.automerge()));
    assert_eq!(copy.digest(), doc.digest());
    for text in ["text", "blocks"] {
        assert_eq!(typing(&copy, text), typing(&doc, text), "{text}");
    }
    let (_, again) = copied(&copy);
    assert_eq!(again.digest(), doc.digest());
}

#[test]
fn the_copy_of_nothing_is_nothing() {
    let (payload, copy) = copied(&open(1));
    assert!(payload.is_empty());
    assert_eq!(copy.digest(), open(2).digest());
}

#[test]
fn of_conflicting_values_the_copy_has_the_one_that_wins() {
    let (mut a, mut b) = (open(1), open(2));
    let base = make_text(&mut a);
    apply(&mut b, &base).unwrap();
    let from_a = written(&mut a, "k", "a");
    Automerge::transact(&mut b, |tx| tx.put_object(ROOT, "k", ObjType::List)).unwrap();
    let from_b = local(&mut b).unwrap();
    apply(&mut a, &from_b).unwrap();
    apply(&mut b, &from_a).unwrap();
    assert_eq!(a.automerge().get_all(ROOT, "k").unwrap().len(), 2);
    for doc in [&a, &b] {
        let (_, copy) = copied(doc);
        assert_eq!(copy.automerge().get_all(ROOT, "k").unwrap().len(), 1);
        assert_eq!(show(copy.automerge()), show(doc.automerge()));
    }
}

/// Edits at random: what they are does not matter, only that there are all kinds. With `nest`, objects come and go.
fn edit(doc: &mut AutomergeDoc, random: &mut impl FnMut(usize) -> usize, nest: bool) {
    // Found beforehand: objects of the present version.
    let mut objects = vec![(ROOT, ObjType::Map)];
    let mut at = 0;
    while let Some((object, kind)) = objects.get(at).cloned() {
        let library = doc.automerge();
        let inside: Vec<_> = match kind {
            ObjType::Map | ObjType::Table => {
                library.keys(&object).filter_map(|key| library.get(&object, key).unwrap()).collect()
            }
            _ => (0..library.length(&object)).filter_map(|at| library.get(&object, at).unwrap()).collect(),
        };
        objects.extend(inside.into_iter().filter_map(|(value, id)| match value {
            Value::Object(kind) => Some((id, kind)),
            Value::Scalar(_) => None,
        }));
        at += 1;
    }
    let (object, kind) = objects[random(objects.len())].clone();
    let kinds = [ObjType::Map, ObjType::List, ObjType::Text];
    let scalar = |choice| match choice {
        0 => ScalarValue::counter(3),
        1 => ScalarValue::Null,
        2 => ScalarValue::from("word"),
        3 => ScalarValue::from(vec![9_u8; 3]),
        _ => ScalarValue::from(choice as f64),
    };
    Automerge::transact(doc, |tx| {
        let length = tx.length(&object);
        match kind {
            ObjType::Map | ObjType::Table => {
                let key = ["a", "b", "c", "text"][random(if nest { 4 } else { 3 })];
                match random(5) {
                    0 => tx.delete(&object, key),
                    1 if matches!(tx.get(&object, key)?, Some((Value::Scalar(found), _)) if found.is_counter()) => {
                        tx.increment(&object, key, 2)
                    }
                    2 | 3 if nest => tx
                        .put_object(&object, key, if key == "text" { ObjType::Text } else { kinds[random(3)] })
                        .map(drop),
                    _ => tx.put(&object, key, scalar(random(6))),
                }
            }
            ObjType::List => match random(5) {
                0 if length > 0 => tx.delete(&object, random(length)),
                1 if length > 0 => tx.put(&object, random(length), scalar(random(6))),
                2 if nest => tx.insert_object(&object, random(length + 1), kinds[random(3)]).map(drop),
                _ => tx.insert(&object, random(length + 1), scalar(random(6))),
            },
            ObjType::Text => match random(8) {
                0 if length > 2 => tx.splice_text(&object, random(length - 1), 1, ""),
                1 if nest => tx.split_block(&object, random(length + 1)).map(drop),
                2..=4 if length > 2 => {
                    let start = random(length - 1);
                    let end = start + 1 + random(length - start);
                    let expand = [ExpandMark::None, ExpandMark::Before, ExpandMark::After, ExpandMark::Both][random(4)];
                    let (name, end) = (["bold", "link"][random(2)], end.min(length));
                    match random(3) {
                        0 => tx.unmark(&object, name, start, end, expand),
                        value => tx.mark(&object, Mark::new(name.into(), value as i64, start, end), expand),
                    }
                }
                _ => tx.splice_text(&object, random(length + 1), 0, ["ab", "ö", "😀x"][random(3)]),
            },
        }
    })
    .unwrap();
}

#[test]
fn copies_of_random_documents_show_the_same() {
    for round in 0..150 {
        let mut random = random(round);
        let mut doc = open(1);
        for _ in 0..60 {
            edit(&mut doc, &mut random, true);
        }
        let (_, copy) = copied(&doc);
        assert_eq!(show(copy.automerge()), show(doc.automerge()), "round {round}");
        assert_eq!(copy.digest(), doc.digest(), "round {round}");
    }
}

#[test]
fn copies_of_documents_that_many_wrote_at_once_show_the_same() {
    for round in 0..60 {
        let mut random = random(1_000 + round);
        let mut docs = [open(1), open(2), open(3)];
        make_text(&mut docs[0]);
        Automerge::transact(&mut docs[0], |tx| tx.put_object(ROOT, "list", ObjType::List)).unwrap();
        let base: Vec<Vec<u8>> =
            docs[0].automerge().get_changes(&[]).iter().map(|change| change.raw_bytes().to_vec()).collect();
        for doc in &mut docs {
            apply(doc, &base.concat()).unwrap();
        }
        for _ in 0..4 {
            for doc in &mut docs {
                for _ in 0..12 {
                    edit(doc, &mut random, false);
                }
            }
            let payloads: Vec<_> = docs.iter_mut().filter_map(local).collect();
            for doc in &mut docs {
                for payload in &payloads {
                    apply(doc, payload).unwrap();
                }
            }
        }
        let (_, copy) = copied(&docs[0]);
        assert_eq!(show(copy.automerge()), show(docs[0].automerge()), "round {round}");
    }
}

#[test]
fn marks_grow_in_the_copy_where_they_grow_in_the_original() {
    for round in 0..100 {
        let mut random = random(2_000 + round);
        let mut doc = open(1);
        make_text(&mut doc);
        splice(&mut doc, 0, 0, "abcdefghij");
        let text = text_id(&doc).unwrap();
        // Marks that do not touch: where two meet, what is typed may fall to either.
        for start in [0, 3, 6] {
            let expand = [ExpandMark::None, ExpandMark::Before, ExpandMark::After, ExpandMark::Both][random(4)];
            let mark = Mark::new(["bold", "link"][random(2)].into(), random(3) as i64, start, start + 2);
            Automerge::transact(&mut doc, |tx| tx.mark(&text, mark, expand)).unwrap();
        }
        let (_, copy) = copied(&doc);
        assert_eq!(typing(&copy, "text"), typing(&doc, "text"), "round {round}");
    }
}

#[test]
fn nothing_that_was_deleted_or_replaced_is_in_a_copy_nor_who_wrote_it() {
    let mut doc = open(1);
    make_text(&mut doc);
    splice(&mut doc, 0, 0, "before after");
    splice(&mut doc, 7, 0, "CANARY-TEXT ");
    let id = text_id(&doc).unwrap();
    let change = |doc: &mut AutomergeDoc, step: usize| {
        Automerge::transact(doc, |tx| match step {
            0 => tx.put(ROOT, "CANARY-KEY", "x"),
            1 => tx.put(ROOT, "value", "CANARY-VALUE"),
            2 => tx.mark(&id, Mark::new("CANARY-MARK".into(), "CANARY-LINK", 7, 19), ExpandMark::Both),
            3 => {
                let gone = tx.put_object(ROOT, "gone", ObjType::List)?;
                tx.insert(&gone, 0, "CANARY-CHILD")
            }
            4 => tx.splice_text(&id, 7, 12, ""),
            5 => tx.put(ROOT, "value", "kept"),
            6 => tx.delete(ROOT, "CANARY-KEY"),
            _ => tx.delete(ROOT, "gone"),
        })
        .unwrap();
    };
    (0..8).for_each(|step| change(&mut doc, step));
    // Another hand, that lost a conflict.
    let mut other = open(2);
    let theirs = written(&mut other, "value", "CANARY-LOSER");
    apply(&mut doc, &theirs).unwrap();
    if get(&doc, "value").as_deref() == Some("CANARY-LOSER") {
        put(&mut doc, "value", "kept");
    }
    let (payload, copy) = copied(&doc);
    assert_eq!((text(&copy), get(&copy, "value").as_deref()), ("before after".into(), Some("kept")));
    let old = uncompressed(&doc);
    let new = [
        uncompressed(&copy),
        copy.snapshot().unwrap(),
        Change::from_bytes(payload.clone()).unwrap().raw_bytes().to_vec(),
        payload,
    ]
    .concat();
    // The text is one character for each operation, in one column: it shows in the bytes as it was typed.
    assert!(contains(&old, b"CANARY-TEXT") && contains(&old, b"CANARY-LOSER"));
    assert!(contains(&new, b"before after"));
    assert!(!contains(&new, b"CANARY"));
    for writer in [1, 2] {
        let actor = Automerge::actor_id(seed(writer));
        assert!(contains(&old, actor.to_bytes()), "writer {writer}");
        assert!(!contains(&new, actor.to_bytes()), "writer {writer}");
    }
    for change in doc.automerge().get_changes(&[]) {
        assert!(!contains(&new, &change.hash().0), "no hash of an old change");
    }
}

#[test]
fn a_copy_and_its_original_go_separate_ways() {
    let mut doc = everything();
    let (before, (_, mut copy)) = (doc.digest(), copied(&doc));
    let edited = written(&mut copy, "where", "in the copy");
    splice(&mut copy, 3, 0, " very");
    assert_eq!(doc.digest(), before);
    assert!(!text(&doc).contains("very"));
    put(&mut doc, "where", "in the original");
    assert_eq!(get(&copy, "where").as_deref(), Some("in the copy"));
    // Not even by mistake: a change of one waits in the other for what will never come.
    let shown = show(doc.automerge());
    apply(&mut doc, &edited).unwrap();
    assert_eq!((show(doc.automerge()), doc.pending()), (shown, 1));
}

#[test]
fn what_is_nested_deeper_than_one_change_may_be_is_not_copied() {
    let mut doc = open(1);
    let mut object = ROOT;
    for _ in 0..65 {
        object = Automerge::transact(&mut doc, |tx| tx.put_object(&object, "in", ObjType::Map)).unwrap();
    }
    let flat = Automerge::view(&doc, |view| flatten::<Automerge>(view, seed(COPIER), &Limits::default()));
    assert_eq!(flat, Err(CopyError::Refused(CrdtError::TooLarge("nesting"))));
}
