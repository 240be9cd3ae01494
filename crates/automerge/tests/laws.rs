//! The laws of merging, over edits of three writers who see each other's work now and then.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use automerge::{ObjType, ROOT, ReadDoc, transaction::Transactable};
use partita_automerge::{Automerge, AutomergeDoc};
use partita_core::DocumentType;
use partita_testing::crdt_laws::{Edit, Way, agrees, contradictions, merges, written};
use proptest::{collection::vec, prelude::*};

fn edit(doc: &mut AutomergeDoc, (_, what, place, _): Edit) {
    Automerge::transact(doc, |tx| {
        let text = match tx.get(ROOT, "text")? {
            Some((_, text)) => text,
            None => tx.put_object(ROOT, "text", ObjType::Text)?,
        };
        let (length, place) = (tx.length(&text), usize::from(place));
        match what % 6 {
            0 | 1 => tx.splice_text(&text, place % (length + 1), 0, "ab"),
            2 if length > 0 => tx.splice_text(&text, place % length, 1, ""),
            3 => tx.put(ROOT, format!("key {}", place % 3), i64::from(what)),
            4 if tx.get(ROOT, format!("key {}", place % 3))?.is_some() => tx.delete(ROOT, format!("key {}", place % 3)),
            _ if tx.get(ROOT, "count")?.is_some() => tx.increment(ROOT, "count", 1),
            _ => tx.put(ROOT, "count", automerge::ScalarValue::counter(0)),
        }
    })
    .unwrap();
}

fn way(most: usize) -> impl Strategy<Value = (Vec<prop::sample::Index>, Vec<bool>, usize)> {
    (vec(any::<prop::sample::Index>(), most), vec(any::<bool>(), most), 1..5usize)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn order_repetition_and_grouping_make_no_difference(
        edits in vec(any::<Edit>(), 1..20),
        (places, reloads, batch) in way(30),
    ) {
        let payloads = written(&edits, Automerge::open, edit);
        let picks = places.iter().map(|place| |len| place.index(len));
        merges(&Automerge, &payloads, &Way::choose(payloads.len(), picks, reloads, batch));
    }

    #[test]
    fn replicas_agree_on_what_an_author_wrote_who_contradicts_himself(
        edits in vec(any::<Edit>(), 1..30),
        (places, reloads, _) in way(40),
    ) {
        let payloads = contradictions(&edits, Automerge::open, edit);
        agrees(&Automerge, &payloads, places.iter().map(|place| |len| place.index(len)), &reloads);
    }
}
