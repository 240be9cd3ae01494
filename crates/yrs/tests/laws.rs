//! The laws of merging, over edits of three writers who see each other's work now and then.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::HashMap;

use partita_core::DocumentType;
use partita_testing::crdt_laws::{Edit, Way, agrees, contradictions, merges, written};
use partita_yrs::{Yrs, YrsDoc};
use proptest::{collection::vec, prelude::*};
use yrs::{Any, Array, GetString, Map, Text, WriteTxn, types::Attrs};

/// A value whose parts have no order of their own.
fn many(place: u8) -> Any {
    let number = |n: u8| if n.is_multiple_of(2) { Any::from(f64::from(n)) } else { Any::from(f64::from(n) / 4.0) };
    let parts = (0..8).map(|n| (format!("part {n}"), number(place.wrapping_add(n))));
    Any::from(parts.collect::<HashMap<_, _>>())
}

fn edit(doc: &mut YrsDoc, (_, what, place, _): Edit, removes: bool) {
    Yrs::transact(doc, |tx| {
        let (text, map, array) =
            (tx.get_or_insert_text("text"), tx.get_or_insert_map("map"), tx.get_or_insert_array("array"));
        let length = text.get_string(tx).len() as u32;
        let at = u32::from(place) % (length + 1);
        match what % 10 {
            0 | 1 => text.insert(tx, at, "ab"),
            2 if length > 0 && removes => text.remove_range(tx, u32::from(place) % length, 1),
            6 => {
                // Of two code units each, and never cut in two.
                let faces = tx.get_or_insert_text("faces");
                faces.insert(tx, u32::from(place) % (faces.len(tx) / 2 + 1) * 2, "\u{1f600}");
            }
            7 => {
                let rich = tx.get_or_insert_text("rich");
                rich.insert(tx, u32::from(place) % (rich.len(tx) + 1), "ab");
                let attributes = Attrs::from([("bold".into(), true.into()), ("link".into(), many(place))]);
                rich.format(tx, u32::from(place) % (rich.len(tx) - 1), 2, attributes);
            }
            8 => drop(tx.get_or_insert_text("rich").insert_embed(tx, 0, many(place))),
            9 => drop(map.insert(tx, "many", many(place))),
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
        let payloads = written(&edits, Yrs::open, |doc, of| edit(doc, of, true));
        let picks = places.iter().map(|place| |len| place.index(len));
        merges(&Yrs, &payloads, &Way::choose(payloads.len(), picks, reloads, batch));
    }

    #[test]
    fn replicas_agree_on_what_an_author_wrote_who_contradicts_himself(
        edits in vec(any::<Edit>(), 1..30),
        (places, reloads, _) in way(40),
    ) {
        let payloads = contradictions(&edits, Yrs::open, |doc, of| {
            // Of letters that contradict each other the library counts more than it can remove again.
            edit(doc, of, false);
        });
        agrees(&Yrs, &payloads, places.iter().map(|place| |len| place.index(len)), &reloads);
    }
}
