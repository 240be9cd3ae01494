//! Payloads that wait for what they build on.
//!
//! yrs can keep pending structs itself, but then its state vector has holes, encoding the document omits them, and two
//! replicas that hold the same payloads are not equal. So a payload goes to yrs only when all of it can be integrated.
//!
//! A hostile client can write two contents for one clock, and let the first wait for somebody else. Were the second
//! applied meanwhile, which of them counts would depend on what came first, and replicas would differ for good. So the
//! first that its log has from a clock on is the only one, also while it waits.

use std::collections::BTreeMap;

use crate::validate::{Id, Outline};

#[derive(Debug, Default)]
pub(crate) struct Held {
    /// What one client wrote, by the clock from which on it did.
    writes: BTreeMap<Id, Payload>,
    /// What waits for a client to reach a clock. What fits nowhere is under nothing.
    lacking: BTreeMap<Id, Vec<Id>>,
    /// What has no place of its own (it only deletes), each under the first thing that it lacks.
    others: BTreeMap<Id, BTreeMap<Vec<u8>, Outline>>,
}

#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) bytes: Vec<u8>,
    pub(crate) outline: Outline,
}

impl Held {
    pub(crate) fn len(&self) -> usize {
        self.writes.len() + self.others.values().map(BTreeMap::len).sum::<usize>()
    }

    /// Whether something of this client waits that goes to this place.
    pub(crate) fn holds(&self, place: &Id) -> bool {
        self.writes.contains_key(place)
    }

    /// Whether something waits that this client wrote.
    pub(crate) fn holds_some_of(&self, client: u64) -> bool {
        self.writes.range((client, 0)..=(client, u32::MAX)).next().is_some()
    }

    /// Keeps `payload` until `lacking` is there; for good without that. False if it is kept already.
    pub(crate) fn keep(&mut self, payload: Payload, lacking: Option<Id>) -> bool {
        if let Some(place) = payload.outline.place() {
            if let Some(lacking) = lacking {
                self.lacking.entry(lacking).or_default().push(place);
            }
            return self.writes.insert(place, payload).is_none();
        }
        let Some(lacking) = lacking else { return false };
        self.others.entry(lacking).or_default().insert(payload.bytes, payload.outline).is_none()
    }

    /// Takes out what waited for `client` to reach a clock that is not above `clock`. What had its place at a lower one
    /// came too late.
    pub(crate) fn wake(&mut self, client: u64, clock: u32) -> Vec<Payload> {
        self.writes.extract_if((client, 0)..(client, clock), |_, _| true).for_each(drop);
        let reached = (client, 0)..=(client, clock);
        let places = self.lacking.extract_if(reached.clone(), |_, _| true).flat_map(|(_, places)| places);
        let mut woken: Vec<Payload> = places.filter_map(|place| self.writes.remove(&place)).collect();
        let others = self.others.extract_if(reached, |_, _| true).flat_map(|(_, payloads)| payloads);
        woken.extend(others.map(|(bytes, outline)| Payload { bytes, outline }));
        woken
    }

    /// The payloads, each with its outline, in an order that depends on them alone.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&[u8], &Outline)> {
        let mut others: Vec<_> = self.others.values().flatten().map(|(bytes, outline)| (&bytes[..], outline)).collect();
        others.sort_unstable_by_key(|(bytes, _)| *bytes);
        self.writes.values().map(|payload| (&payload.bytes[..], &payload.outline)).chain(others)
    }
}
