//! Payloads that wait for what they depend on.
//!
//! yrs can keep pending structs itself, but then its state vector has holes, encoding the document omits them, and two
//! replicas that hold the same payloads are not equal. So a payload goes to yrs only when all of it can be integrated.

use std::collections::BTreeMap;

use crate::validate::{Id, Outline};

/// The payloads, each under the first thing it lacks: `(client, clocks needed)`.
#[derive(Debug, Default)]
pub(crate) struct Held {
    waiting: BTreeMap<Id, Vec<Payload>>,
    count: usize,
}

#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) bytes: Vec<u8>,
    pub(crate) outline: Outline,
}

impl Held {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Keeps `payload` until `lacking` is there. False if it was kept already.
    pub(crate) fn keep(&mut self, lacking: Id, payload: Payload) -> bool {
        let waiting = self.waiting.entry(lacking).or_default();
        if waiting.iter().any(|known| known.bytes == payload.bytes) {
            return false;
        }
        waiting.push(payload);
        self.count += 1;
        true
    }

    /// Takes out what waited for `client` to reach a clock that is not above `clock`.
    pub(crate) fn wake(&mut self, client: u64, clock: u32) -> Vec<Payload> {
        let ready: Vec<Id> = self.waiting.range((client, 0)..=(client, clock)).map(|(&key, _)| key).collect();
        let woken: Vec<Payload> = ready.iter().filter_map(|key| self.waiting.remove(key)).flatten().collect();
        self.count -= woken.len();
        woken
    }

    /// The payloads, in no order that means anything.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Payload> {
        self.waiting.values().flatten()
    }

    /// The payloads, in an order that depends on them alone.
    pub(crate) fn sorted(&self) -> Vec<&[u8]> {
        let mut all: Vec<&[u8]> = self.waiting.values().flatten().map(|payload| payload.bytes.as_slice()).collect();
        all.sort_unstable();
        all
    }
}
