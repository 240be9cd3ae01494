//! The laws of merging, over edits of three writers who see each other's work now and then.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use partita_core::DocumentType;
use partita_testing::crdt_laws::{Edit, Way, agrees, contradictions, merges, written};
use partita_yrs::{Yrs, YrsDoc};
use proptest::{collection::vec, prelude::*};
use yrs::{Array, GetString, Map, Text, WriteTxn};

fn edit(doc: &mut YrsDoc, (_, what, place, _): Edit) {
    Yrs::transact(doc, |tx| {
        let (text, map, array) =
            (tx.get_or_insert_text("text"), tx.get_or_insert_map("map"), tx.get_or_insert_array("array"));
        let length = text.get_string(tx).len() as u32;
        match what % 6 {
            0 | 1 => text.insert(tx, u32::from(place) % (length + 1), "ab"),
            2 if length > 0 => text.remove_range(tx, u32::from(place) % length, 1),
            3 => drop(map.insert(tx, format!("key {}", place % 3), i64::from(what))),
            4 => drop(map.remove(tx, &format!("key {}", place % 3))),
            _ => drop(array.insert(tx, u32::from(place) % (array.len(tx) + 1), i64::from(place))),
        }
        Ok(())
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
        let payloads = written(&edits, Yrs::open, edit);
        let picks = places.iter().map(|place| |len| place.index(len));
        merges(&Yrs, &payloads, &Way::choose(payloads.len(), picks, reloads, batch));
    }

    #[test]
    fn replicas_agree_on_what_an_author_wrote_who_contradicts_himself(
        edits in vec(any::<Edit>(), 1..30),
        (places, reloads, _) in way(40),
    ) {
        let payloads = contradictions(&edits, Yrs::open, edit);
        agrees(&Yrs, &payloads, places.iter().map(|place| |len| place.index(len)), &reloads);
    }
}
