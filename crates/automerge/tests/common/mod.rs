//! What the tests of this crate share.
#![allow(dead_code, reason = "each test file uses a part of it")]

use automerge::transaction::Transactable;
use automerge::{Change, ExpandedChange, ObjId, ObjType, ROOT, ReadDoc};
use partita_automerge::{Automerge, AutomergeDoc};
use partita_core::{ActorSeed, Applied, CrdtDocument, CrdtError, CrdtType, DocumentId, DocumentType, Limits, LogId};

pub(crate) fn seed(writer: u8) -> ActorSeed {
    ActorSeed::derive(&LogId::from_bytes([writer; 16]), &DocumentId::from_bytes([7; 32]))
}

pub(crate) fn open(writer: u8) -> AutomergeDoc {
    Automerge::open(seed(writer))
}

pub(crate) fn put(doc: &mut AutomergeDoc, key: &str, value: &str) {
    Automerge::transact(doc, |tx| tx.put(ROOT, key, value)).unwrap();
}

/// What was changed and not taken yet.
pub(crate) fn local(doc: &mut AutomergeDoc) -> Option<Vec<u8>> {
    doc.take_local(&Limits::default()).unwrap()
}

/// One change as a payload.
pub(crate) fn written(doc: &mut AutomergeDoc, key: &str, value: &str) -> Vec<u8> {
    put(doc, key, value);
    local(doc).unwrap()
}

/// The text of the document; its first writer makes it.
pub(crate) fn text_id(doc: &AutomergeDoc) -> Option<ObjId> {
    Automerge::view(doc, |doc| doc.get(ROOT, "text").unwrap().map(|(_, id)| id))
}

pub(crate) fn make_text(doc: &mut AutomergeDoc) -> Vec<u8> {
    Automerge::transact(doc, |tx| tx.put_object(ROOT, "text", ObjType::Text)).unwrap();
    local(doc).unwrap()
}

pub(crate) fn splice(doc: &mut AutomergeDoc, at: usize, remove: isize, insert: &str) {
    let text = text_id(doc).unwrap();
    Automerge::transact(doc, |tx| tx.splice_text(&text, at, remove, insert)).unwrap();
}

pub(crate) fn text(doc: &AutomergeDoc) -> String {
    text_id(doc).map(|id| Automerge::view(doc, |doc| doc.text(&id).unwrap())).unwrap_or_default()
}

pub(crate) fn get(doc: &AutomergeDoc, key: &str) -> Option<String> {
    Automerge::view(doc, |doc| doc.get(ROOT, key).unwrap().and_then(|(value, _)| value.into_string().ok()))
}

pub(crate) fn apply(doc: &mut AutomergeDoc, payload: &[u8]) -> Result<Applied, CrdtError> {
    doc.apply(&[payload]).remove(0)
}

pub(crate) fn check(payload: &[u8], writer: u8) -> Result<(), CrdtError> {
    Automerge.validate(payload, Some(seed(writer)), &Limits::default())
}

pub(crate) fn check_import(payload: &[u8]) -> Result<(), CrdtError> {
    Automerge.validate(payload, None, &Limits::default())
}

/// The only change of a payload, as data.
pub(crate) fn expand(payload: &[u8]) -> ExpandedChange {
    Change::from_bytes(payload.to_vec()).unwrap().decode()
}

pub(crate) fn pack(change: ExpandedChange) -> Vec<u8> {
    Change::from(change).raw_bytes().to_vec()
}

/// A change chunk around a body, with the checksum that the library computes.
pub(crate) fn chunk(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = [vec![0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, kind], var(body.len() as u64), body.to_vec()].concat();
    let parsed = std::panic::catch_unwind(|| Change::from_bytes(bytes.clone()));
    if let Ok(Ok(change)) = parsed {
        bytes[4..8].copy_from_slice(&change.hash().0[..4]);
    }
    bytes
}

/// The body of the only chunk of a payload.
pub(crate) fn body(payload: &[u8]) -> Vec<u8> {
    let header = 9 + payload[9..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    payload[header..].to_vec()
}

/// An unsigned number in LEB128.
pub(crate) fn var(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// Seeded randomness: a number below the argument.
pub(crate) fn random(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    }
}
