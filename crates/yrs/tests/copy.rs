//! A flattened copy shows the same and remembers nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use common::*;
use partita_core::{Applied, CopyError, CrdtDocument, CrdtError, DocumentType, Limits, flatten};
use partita_yrs::{Yrs, YrsDoc};
use yrs::branch::BranchPtr;
use yrs::types::Attrs;
use yrs::types::text::YChange;
use yrs::{
    Any, Array, ArrayPrelim, ArrayRef, Doc, GetString, In, Map, MapPrelim, MapRef, Out, ReadTxn, Text, TextPrelim,
    TextRef, Transaction, WriteTxn, Xml, XmlElementPrelim, XmlFragment, XmlTextPrelim, any,
};

/// The writer of copies.
const COPIER: u8 = 77;

fn flat(doc: &YrsDoc) -> Result<Vec<u8>, CopyError> {
    Yrs::view(doc, |view| flatten::<Yrs>(view, seed(COPIER), &Limits::default()))
}

fn copied(doc: &YrsDoc) -> (Vec<u8>, YrsDoc) {
    let payload = flat(doc).expect("it is copied");
    let mut copy = open(50);
    if !payload.is_empty() {
        assert_eq!(check(&payload, COPIER), Ok(()), "one writer");
        assert_eq!(payload.last(), Some(&0), "nothing is deleted in it");
        assert_eq!(apply(&mut copy, &payload), Ok(Applied::Done));
    }
    (payload, copy)
}

/// What a reader sees, as text where there is text. Root types have no kind on the wire, so none is shown.
fn show(doc: &YrsDoc) -> BTreeMap<String, String> {
    Yrs::view(doc, |view| {
        let shown = view.root_refs().map(|(name, root)| {
            let mut out = String::new();
            show_inside(view, root.try_branch().unwrap().into(), &mut out);
            (name.to_string(), out)
        });
        shown.filter(|(_, shown)| shown != "[]{}").collect()
    })
}

fn show_value(view: &Transaction<'_>, value: &Out, out: &mut String) {
    match value {
        Out::Any(any) => write!(out, "{any:?}").unwrap(),
        shared => {
            let branch = BranchPtr::from(shared.try_branch().unwrap());
            write!(out, "{}", branch.type_ref()).unwrap();
            show_inside(view, branch, out);
        }
    }
    out.push(',');
}

fn show_inside(view: &Transaction<'_>, branch: BranchPtr, out: &mut String) {
    let text = TextRef::from(branch);
    let pieces = text.diff(view, YChange::identity);
    out.push('[');
    if pieces.is_empty() || pieces.iter().all(|piece| piece.insert.try_branch().is_some()) {
        ArrayRef::from(branch).iter(view).for_each(|value| show_value(view, &value, out));
    }
    // Formats that change nothing cut a text into more pieces than there are.
    let mut before = None;
    for piece in &pieces {
        let attributes: BTreeMap<_, _> = piece.attributes.iter().flat_map(|attributes| attributes.iter()).collect();
        if before.replace(attributes.clone()) != Some(attributes.clone()) {
            write!(out, "{attributes:?}").unwrap();
        }
        match &piece.insert {
            Out::Any(Any::String(text)) => out.push_str(text),
            value => show_value(view, value, out),
        }
    }
    write!(out, "]{{").unwrap();
    let map = MapRef::from(branch);
    let entries: BTreeMap<String, Out> = map.iter(view).map(|(key, value)| (key.to_string(), value)).collect();
    for (key, value) in entries {
        write!(out, "{key:?}: ").unwrap();
        show_value(view, &value, out);
    }
    out.push('}');
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

fn attributes(list: &[(&str, Any)]) -> Attrs {
    list.iter().map(|(key, value)| ((*key).into(), value.clone())).collect()
}

/// A document with everything, as its writer has it.
fn everything() -> YrsDoc {
    let mut doc = open(1);
    Yrs::transact(&mut doc, |tx| {
        let text = tx.get_or_insert_text("text");
        text.insert(tx, 0, "plain and 😀 言葉");
        text.insert_with_attributes(tx, 5, " bold", attributes(&[("bold", true.into())]));
        text.format(tx, 2, 6, attributes(&[("link", any!({"href": "somewhere"})), ("size", 12.into())]));
        text.insert_embed(tx, 3, any!({"image": "cat.png"}));
        text.insert_embed_with_attributes(tx, 4, any!({"image": "dog.png"}), attributes(&[("width", 3.into())]));
        let inside = text.insert_embed(tx, 1, MapPrelim::default());
        inside.insert(tx, "caption", TextPrelim::new("a map in a text"));
        text.insert_embed(tx, 0, Any::Null);
        text.remove_range(tx, 10, 2);

        let array = tx.get_or_insert_array("array");
        array.insert_range(tx, 0, [Any::from(1), Any::from(2.5), Any::from("three"), Any::Null, Any::Undefined]);
        array.insert(tx, 2, ArrayPrelim::from([any!({"deep": [1, 2, {"deeper": true}]})]));
        array.insert(tx, 3, MapPrelim::from([("k", In::from("v"))]));
        array.push_back(tx, Any::from(vec![1_u8, 2, 3]));
        array.push_back(tx, Any::from(1 << 30));
        array.push_back(tx, TextPrelim::new("text in an array 😀"));
        array.remove(tx, 0);

        let map = tx.get_or_insert_map("map");
        map.insert(tx, "replaced", "before");
        map.insert(tx, "replaced", "after");
        map.insert(tx, "", "no key");
        map.insert(tx, "bytes", Any::from(vec![9_u8; 300]));
        map.insert(tx, "removed", 1);
        map.remove(tx, "removed");
        let inner = map.insert(tx, "inner", MapPrelim::default());
        let list = inner.insert(tx, "list", ArrayPrelim::default());
        list.insert(tx, 0, MapPrelim::default());
        list.insert(tx, 1, XmlElementPrelim::empty("in-a-list"));
        inner.insert(tx, "empty", TextPrelim::default());

        let page = tx.get_or_insert_xml_fragment("page");
        let paragraph = page.insert(tx, 0, XmlElementPrelim::empty("p"));
        paragraph.insert_attribute(tx, "class", "first");
        paragraph.insert_attribute(tx, "level", 2);
        paragraph.insert_attribute(tx, "gone", "x");
        paragraph.remove_attribute(tx, &"gone");
        let words = paragraph.insert(tx, 0, XmlTextPrelim::new("words with format"));
        words.format(tx, 6, 4, attributes(&[("em", any!({}))]));
        words.insert_attribute(tx, "lang", "en");
        words.insert_embed(tx, 3, any!({"mention": "ada"}));
        paragraph.insert(tx, 1, XmlElementPrelim::empty("br"));
        page.insert(tx, 1, XmlTextPrelim::new("between"));
        page.insert(tx, 2, XmlElementPrelim::empty("p"));
        page.insert(tx, 3, XmlElementPrelim::empty("gone"));
        page.remove_range(tx, 3, 1);

        // A list and a map at once: a text with attributes of its own.
        let both = tx.get_or_insert_text("both");
        both.insert(tx, 0, "text");
        tx.get_or_insert_map("both").insert(tx, "direction", "ltr");
        let maps = tx.get_or_insert_array("array of maps");
        maps.insert(tx, 0, MapPrelim::from([("n", In::from(1))]));
        maps.insert(tx, 1, MapPrelim::from([("n", In::from(2))]));
        Ok(())
    })
    .unwrap();
    doc
}

#[test]
fn a_copy_shows_all_that_the_original_shows() {
    let mut doc = everything();
    let payload = local(&mut doc).unwrap();
    // As its writer has it, and as others have it, to whom no root type has a kind.
    let mut received = open(2);
    apply(&mut received, &payload).unwrap();
    for doc in [&doc, &received] {
        let (_, copy) = copied(doc);
        assert_eq!(show(&copy), show(doc));
        assert_eq!(show(&copy).len(), 6);
        let page = |doc: &YrsDoc| Yrs::view(doc, |view| view.get_xml_fragment("page").unwrap().get_string(view));
        let text = |doc: &YrsDoc| Yrs::view(doc, |view| view.get_text("text").unwrap().get_string(view));
        assert_eq!(page(&copy).len(), page(doc).len());
        assert!(page(&copy).contains("</p>between<p></p>"), "{}", page(&copy));
        assert_eq!(text(&copy), text(doc));
        let (_, again) = copied(&copy);
        assert_eq!(show(&again), show(doc));
    }
}

#[test]
fn the_copy_of_nothing_is_nothing() {
    assert_eq!(flat(&open(1)), Ok(Vec::new()));
    let mut doc = open(1);
    insert(&mut doc, 0, "all of it");
    remove(&mut doc, 0, 9);
    assert_eq!(flat(&doc), Ok(Vec::new()), "nor of what was deleted");
}

/// Edits at random: what they are does not matter, only that there are all kinds.
fn edit(doc: &mut YrsDoc, random: &mut impl FnMut(usize) -> usize) {
    Yrs::transact(doc, |tx| {
        let text = tx.get_or_insert_text("text");
        let array = tx.get_or_insert_array("array");
        let map = tx.get_or_insert_map("map");
        let page = tx.get_or_insert_xml_fragment("page");
        let at = |random: &mut dyn FnMut(usize) -> usize, length: u32| random(length as usize + 1) as u32;
        let key = ["a", "b", "c"][random(3)];
        let format =
            attributes(&[(["bold", "link"][random(2)], [Any::Null, true.into(), "x".into()][random(3)].clone())]);
        match random(15) {
            0 | 1 => text.insert(tx, at(random, text.len(tx)), ["ab", "öä", "word "][random(3)]),
            2 => text.insert_with_attributes(tx, at(random, text.len(tx)), "formatted", format),
            3 | 4 if text.len(tx) > 4 => {
                let start = random(text.len(tx) as usize - 3) as u32;
                text.format(tx, start, 1 + at(random, 2), format);
            }
            5 if text.len(tx) > 4 => text.remove_range(tx, random(text.len(tx) as usize - 3) as u32, 2),
            6 => drop(text.insert_embed(tx, at(random, text.len(tx)), any!({"image": 1}))),
            7 => array.insert_range(tx, at(random, array.len(tx)), [Any::from("s"), Any::from(2.5), Any::Null]),
            8 => drop(array.insert(tx, at(random, array.len(tx)), MapPrelim::from([("k", In::from(key))]))),
            9 if array.len(tx) > 1 => array.remove(tx, random(array.len(tx) as usize) as u32),
            10 => drop(map.insert(tx, key, random(100) as i32)),
            11 => drop(map.insert(tx, key, ArrayPrelim::from([1, 2]))),
            12 => drop(map.remove(tx, key)),
            13 => {
                let element = page.insert(tx, at(random, page.len(tx)), XmlElementPrelim::empty(["p", "h"][random(2)]));
                element.insert_attribute(tx, "class", key);
                element.insert(tx, 0, XmlTextPrelim::new("inside"));
            }
            _ if page.len(tx) > 1 => page.remove_range(tx, random(page.len(tx) as usize) as u32, 1),
            _ => {}
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn copies_of_random_documents_that_many_wrote_at_once_show_the_same() {
    for round in 0..100 {
        let mut random = random(round);
        let mut docs = [open(1), open(2), open(3)];
        for _ in 0..4 {
            for doc in &mut docs {
                for _ in 0..15 {
                    edit(doc, &mut random);
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
        assert_eq!(show(&copy), show(&docs[0]), "round {round}");
    }
}

#[test]
fn nothing_that_was_deleted_or_replaced_is_in_a_copy_nor_who_wrote_it() {
    let mut doc = open(1);
    insert(&mut doc, 0, "before after");
    let steps: [fn(&mut yrs::TransactionMut<'_>); 2] = [
        |tx| {
            let text = tx.get_or_insert_text("text");
            text.insert_with_attributes(tx, 7, "CANARY-TEXT ", attributes(&[("CANARY-FORMAT", "CANARY-LINK".into())]));
            text.insert_embed(tx, 19, any!({"CANARY-EMBED": 1}));
            let map = tx.get_or_insert_map("map");
            map.insert(tx, "value", "CANARY-VALUE");
            map.insert(tx, "CANARY-KEY", ArrayPrelim::from(["CANARY-CHILD"]));
            tx.get_or_insert_array("CANARY-ROOT").insert(tx, 0, XmlElementPrelim::empty("CANARY-TAG"));
        },
        |tx| {
            tx.get_or_insert_text("text").remove_range(tx, 7, 13);
            let map = tx.get_or_insert_map("map");
            map.insert(tx, "value", "kept");
            map.remove(tx, "CANARY-KEY");
            tx.get_or_insert_array("CANARY-ROOT").remove(tx, 0);
        },
    ];
    for step in steps {
        Yrs::transact(&mut doc, |tx| {
            step(tx);
            Ok(())
        })
        .unwrap();
    }
    let mut other = open(2);
    apply(&mut doc, &typed(&mut other, 0, "also ")).unwrap();
    let (payload, copy) = copied(&doc);
    assert!(text(&copy).contains("before after") && text(&copy).contains("also "), "{}", text(&copy));
    let old = doc.snapshot().unwrap();
    let new = [copy.snapshot().unwrap(), payload].concat();
    assert!(contains(&new, b"before ") && contains(&new, b"kept"));
    assert!(contains(&old, b"CANARY-TEXT") && contains(&old, b"CANARY-ROOT"));
    assert!(!contains(&new, b"CANARY"));
    for writer in [1, 2] {
        let client = var(Yrs::client_id(seed(writer)));
        assert!(contains(&old, &client), "writer {writer}");
        assert!(!contains(&new, &client), "writer {writer}");
    }
    let clients = Yrs::view(&copy, |view| view.state_vector().iter().count());
    assert_eq!(clients, 1);
}

#[test]
fn a_copy_and_its_original_go_separate_ways() {
    let mut doc = everything();
    let (before, (_, mut copy)) = (show(&doc), copied(&doc));
    insert(&mut copy, 0, "in the copy ");
    assert_eq!(show(&doc), before);
    insert(&mut doc, 0, "in the original ");
    assert!(text(&copy).starts_with("in the copy ") && !text(&copy).contains("original"));
    // Not even by mistake: a change of one waits in the other for what will never come.
    let (edited, shown) = (local(&mut copy).unwrap(), show(&doc));
    apply(&mut doc, &edited).unwrap();
    assert_eq!((show(&doc), doc.pending()), (shown, 1));
}

#[test]
fn what_the_library_does_not_show_for_what_it_is_is_refused() {
    // Lists that are nothing but text stay text, however short.
    let mut doc = open(1);
    insert(&mut doc, 0, "x");
    assert!(flat(&doc).is_ok());

    Yrs::transact(&mut doc, |tx| {
        tx.get_or_insert_array("text").push_back(tx, 5);
        Ok(())
    })
    .unwrap();
    assert!(matches!(flat(&doc), Err(CopyError::Holds(what)) if what.contains("text in one place")));

    for embed in ["", "x", "several"] {
        let mut doc = open(1);
        insert(&mut doc, 0, "abc");
        Yrs::transact(&mut doc, |tx| {
            tx.get_or_insert_text("text").insert_embed(tx, 1, embed);
            Ok(())
        })
        .unwrap();
        assert!(matches!(flat(&doc), Err(CopyError::Holds(_))), "{embed:?}");
    }
}

#[test]
fn a_subdocument_is_refused_before_and_in_a_copy() {
    let mut doc = open(1);
    let with = Yrs::transact(&mut doc, |tx| {
        tx.get_or_insert_map("map").insert(tx, "sub", Doc::with_client_id(5));
        Ok(())
    });
    assert!(with.is_err());
    // The library has no rollback: before the engine loads the document again, it is there to be seen.
    assert_eq!(flat(&doc), Err(CopyError::Holds("a subdocument")));
}

#[test]
fn what_is_nested_deeper_than_one_change_may_be_is_not_copied() {
    let mut doc = open(1);
    let mut inside: Option<ArrayRef> = None;
    for depth in 1..=65 {
        inside = Some(
            Yrs::transact(&mut doc, |tx| {
                let outer = inside.take().unwrap_or_else(|| tx.get_or_insert_array("array"));
                Ok(outer.push_back(tx, ArrayPrelim::default()))
            })
            .unwrap(),
        );
        let expected = if depth <= 64 { None } else { Some(CopyError::Refused(CrdtError::TooLarge("nesting"))) };
        assert_eq!(flat(&doc).err(), expected, "{depth}");
    }
}

#[test]
fn a_long_list_and_a_long_text_are_copied_in_one_go() {
    let mut doc = open(1);
    Yrs::transact(&mut doc, |tx| {
        let array = tx.get_or_insert_array("array");
        array.insert_range(tx, 0, (0..20_000).map(Any::from));
        for _ in 0..5_000 {
            array.insert(tx, 0, MapPrelim::default());
            array.insert(tx, 0, 7);
        }
        let text = tx.get_or_insert_text("text");
        for at in 0..5_000 {
            text.insert_with_attributes(tx, 0, "word ", attributes(&[("size", (at % 7).into())]));
        }
        Ok(())
    })
    .unwrap();
    let (_, copy) = copied(&doc);
    assert_eq!(show(&copy), show(&doc));
}
