//! Accepted means applied, for yrs: honest updates with changed bytes, and any bytes.

use crate::crdt::{accepted_means_applied, author, patch};
use partita_core::{CrdtDocument as _, DocumentType as _, Limits};
use partita_yrs::Yrs;
use yrs::{Array as _, Map as _, MapPrelim, Text as _, WriteTxn as _};

/// One input.
pub fn run(data: &[u8]) {
    let [mode, size, patches @ ..] = data else { return };
    let import = mode & 1 == 1;
    let mut payload = if mode & 2 == 2 { patches.to_vec() } else { honest(*size) };
    if mode & 2 == 0 {
        patch(&mut payload, patches);
    }
    accepted_means_applied(&Yrs, &payload, import);
}

fn honest(size: u8) -> Vec<u8> {
    let mut doc = Yrs::open(author());
    let written = Yrs::transact(&mut doc, |tx| {
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
