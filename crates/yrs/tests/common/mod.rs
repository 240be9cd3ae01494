//! What the tests of this crate share.
#![allow(dead_code, reason = "each test file uses a part of it")]

use partita_core::{ActorSeed, Applied, CrdtDocument, CrdtError, CrdtType, DocumentId, DocumentType, Limits, LogId};
use partita_yrs::{Yrs, YrsDoc};
use yrs::{GetString, ReadTxn, Text, WriteTxn};

pub(crate) fn seed(writer: u8) -> ActorSeed {
    let log = LogId::from_bytes([writer; 16]);
    ActorSeed::derive(&log, &DocumentId::from_bytes([7; 32]))
}

pub(crate) fn open(writer: u8) -> YrsDoc {
    Yrs::open(seed(writer))
}

pub(crate) fn insert(doc: &mut YrsDoc, at: u32, text: &str) {
    Yrs::transact(doc, |tx| {
        tx.get_or_insert_text("text").insert(tx, at, text);
        Ok(())
    })
    .unwrap();
}

pub(crate) fn remove(doc: &mut YrsDoc, at: u32, length: u32) {
    Yrs::transact(doc, |tx| {
        tx.get_or_insert_text("text").remove_range(tx, at, length);
        Ok(())
    })
    .unwrap();
}

pub(crate) fn text(doc: &YrsDoc) -> String {
    Yrs::view(doc, |tx| tx.get_text("text").map(|text| text.get_string(tx)).unwrap_or_default())
}

/// What was changed and not taken yet.
pub(crate) fn local(doc: &mut YrsDoc) -> Option<Vec<u8>> {
    doc.take_local(&Limits::default()).unwrap()
}

/// One keystroke as a payload.
pub(crate) fn typed(doc: &mut YrsDoc, at: u32, text: &str) -> Vec<u8> {
    insert(doc, at, text);
    local(doc).unwrap()
}

pub(crate) fn apply(doc: &mut YrsDoc, payload: &[u8]) -> Result<Applied, CrdtError> {
    doc.apply(&[payload]).remove(0)
}

pub(crate) fn check(payload: &[u8], writer: u8) -> Result<(), CrdtError> {
    Yrs.validate(payload, Some(seed(writer)), &Limits::default())
}

pub(crate) fn check_import(payload: &[u8]) -> Result<(), CrdtError> {
    Yrs.validate(payload, None, &Limits::default())
}

/// An unsigned varint.
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
