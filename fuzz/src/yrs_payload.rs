//! Accepted means applied, for yrs: honest updates with changed bytes, and any bytes; and whatever others wrote, it means the
//! same before and after that.

use crate::crdt::{accepted_means_applied, accepted_means_the_same_in_any_order, author, other, patch};
use partita_core::{CrdtDocument as _, DocumentType as _, Limits};
use partita_yrs::{Yrs, YrsDoc};
use yrs::{Array as _, Map as _, MapPrelim, Text as _, WriteTxn as _};

/// One input.
pub fn run(data: &[u8]) {
    let [mode, size, patches @ ..] = data else { return };
    let import = mode & 1 == 1;
    let others = if mode & 8 == 8 { written(&mut Yrs::open(other()), *size) } else { Vec::new() };
    let mut doc = Yrs::open(author());
    if !others.is_empty() {
        doc.apply(&[&others]);
    }
    let honest = written(&mut doc, *size);
    let mut payload = if mode & 2 == 2 { patches.to_vec() } else { honest.clone() };
    if mode & 2 == 0 {
        patch(&mut payload, patches);
    }
    accepted_means_applied(&Yrs, &payload, import);
    if !others.is_empty() {
        accepted_means_the_same_in_any_order(&Yrs, &[&payload, &honest], &others);
    }
}

fn written(doc: &mut YrsDoc, size: u8) -> Vec<u8> {
    let written = Yrs::transact(doc, |tx| {
        let text = tx.get_or_insert_text("text");
        for _ in 0..size % 16 {
            text.insert(tx, 0, "ab");
        }
        if size > 16 && size % 16 > 0 {
            text.remove_range(tx, 0, 1);
        }
        let map = tx.get_or_insert_map("map");
        map.insert(tx, "number", 1.5);
        map.insert(tx, "map", MapPrelim::default());
        let array = tx.get_or_insert_array("array");
        array.push_back(tx, true);
        Ok(())
    });
    assert!(written.is_ok());
    doc.take_local(&Limits::default()).unwrap_or_default().unwrap_or_default()
}
