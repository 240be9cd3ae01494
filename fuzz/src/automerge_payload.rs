//! Accepted means applied, for automerge: honest changes with changed bytes under a checksum that holds, and any bytes; and
//! whatever others wrote, it means the same before and after that.

use crate::crdt::{accepted_means_applied, accepted_means_the_same_in_any_order, author, other, patch};
use automerge::{ObjType, ROOT, ReadDoc as _, transaction::Transactable as _};
use partita_automerge::{Automerge, AutomergeDoc};
use partita_core::{CrdtDocument as _, DocumentType as _, Limits};
use sha2::{Digest as _, Sha256};

/// One input.
pub fn run(data: &[u8]) {
    let [mode, size, patches @ ..] = data else { return };
    let import = mode & 1 == 1;
    let long = mode & 4 == 4;
    let others = if mode & 8 == 8 { written(&mut Automerge::open(other()), *size, long) } else { Vec::new() };
    let mut doc = Automerge::open(author());
    if !others.is_empty() {
        doc.apply(&[&others]);
    }
    let change = written(&mut doc, *size, long);
    let honest = if import { doc.snapshot().unwrap_or_default() } else { change.clone() };
    let mut payload = if mode & 2 == 2 { patches.to_vec() } else { honest };
    if mode & 2 == 0 {
        patch(&mut payload, patches);
    }
    seal(&mut payload);
    accepted_means_applied(&Automerge, &payload, import);
    if !others.is_empty() {
        accepted_means_the_same_in_any_order(&Automerge, &[&payload, &change], &others);
    }
}

fn written(doc: &mut AutomergeDoc, size: u8, long: bool) -> Vec<u8> {
    let written = Automerge::transact(doc, |tx| {
        let text = match tx.get(ROOT, "text")? {
            Some((_, text)) => text,
            None => tx.put_object(ROOT, "text", ObjType::Text)?,
        };
        let piece = if long { "some text that is long enough to be worth compressing. " } else { "ab" };
        for _ in 0..size % 32 {
            let end = tx.length(&text);
            tx.splice_text(&text, end, 0, piece)?;
        }
        tx.put(ROOT, "count", automerge::ScalarValue::counter(1))?;
        tx.increment(ROOT, "count", i64::from(size))?;
        let list = tx.put_object(ROOT, "list", ObjType::List)?;
        tx.insert(&list, 0, 1.5)?;
        tx.insert(&list, 1, ())?;
        tx.delete(&list, 0)
    });
    assert!(written.is_ok());
    doc.take_local(&Limits::default()).unwrap_or_default().unwrap_or_default()
}

/// Gives the first chunk the checksum of what it holds.
fn seal(payload: &mut [u8]) {
    if let Some((head, rest)) = payload.split_at_mut_checked(8) {
        let Some(length) = rest.get(1..).and_then(|rest| {
            let digits = rest.iter().take(5).position(|byte| byte & 0x80 == 0)? + 1;
            let number = rest[..digits].iter().rev().fold(0usize, |all, byte| all << 7 | usize::from(byte & 0x7f));
            Some(1 + digits + number)
        }) else {
            return;
        };
        if let Some(chunk) = rest.get(..length) {
            head[4..].copy_from_slice(&Sha256::digest(chunk)[..4]);
        }
    }
}
