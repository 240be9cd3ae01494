//! What this replica changed and has not handed over yet.

use std::collections::BTreeMap;

use partita_core::Limits;
use yrs::updates::encoder::Encode;
use yrs::{ClientID, Doc, ID, IdSet, ReadTxn, StateVector, Transact, TransactionMut, merge_updates_v1};

use crate::validate;

/// How many updates are merged where they cannot be squashed: that takes time in the square of their number.
const MERGED: usize = 256;

/// The updates of local transactions since they were last taken.
#[derive(Debug, Default)]
pub(crate) struct Local {
    updates: Vec<Update>,
}

/// What one transaction did.
#[derive(Debug)]
struct Update {
    bytes: Vec<u8>,
    deletes: IdSet,
    /// The own clock before it.
    start: u32,
    /// How deep it nests shared types.
    nesting: usize,
}

impl Local {
    /// Notes a transaction that is about to commit.
    pub(crate) fn note(&mut self, txn: &TransactionMut<'_>, client: ClientID, bytes: Vec<u8>, nesting: usize) {
        let (deletes, start) = (txn.delete_set().clone(), txn.before_state().get(&client));
        self.updates.push(Update { bytes, deletes, start, nesting });
    }

    /// How many transactions there are.
    pub(crate) fn len(&self) -> usize {
        self.updates.len()
    }

    /// Forgets all but the first transactions.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.updates.truncate(len);
    }

    /// Everything as one update, where the limits allow that; else a first part. Many transactions are encoded anew from
    /// `doc`, which has squashed them: 5,000 keystrokes are one string. Merging their updates would keep 5,000 structs, and
    /// takes quadratic time.
    pub(crate) fn take(&mut self, doc: Option<&Doc>, client: ClientID, limits: &Limits) -> Option<Vec<u8>> {
        // Whatever an operation is, it takes a byte.
        let most = usize::try_from(limits.operations).unwrap_or(usize::MAX).min(limits.payload_bytes);
        if let (Some(doc), [_, _, ..]) = (doc, self.updates.as_slice())
            && self.fitting(most, usize::MAX) == self.updates.len()
            && let Some(all) = squashed(doc, client, &self.updates)
        {
            // Types are counted, which is more than they nest where they are side by side.
            let nesting: usize = self.updates.iter().map(|update| update.nesting).sum();
            let is_sure = nesting <= limits.depth && all.len() <= most;
            if is_sure || validate::outline(&all, None, limits).is_ok() {
                self.updates.clear();
                return Some(all);
            }
        }
        let part = self.fitting(most, limits.depth).min(MERGED);
        let merged = match self.updates.get(..part)? {
            [] => return None,
            [update] => Some(update.bytes.clone()),
            updates => merge_updates_v1(updates.iter().map(|update| &update.bytes)).ok(),
        };
        // The library wrote them, so it can read them; if it cannot, each goes by itself.
        let (part, merged) = merged.map_or_else(|| (1, self.updates[0].bytes.clone()), |merged| (part, merged));
        self.updates.drain(..part);
        Some(merged)
    }

    /// How many updates can go together, of all that there are: one at least.
    fn fitting(&self, most: usize, deepest: usize) -> usize {
        let (mut bytes, mut nesting) = (0usize, 0usize);
        let fits = |update: &Update| {
            bytes = bytes.saturating_add(update.bytes.len());
            nesting = nesting.saturating_add(update.nesting);
            bytes <= most && nesting <= deepest
        };
        let count = self.updates.iter().map(fits).take_while(|fits| *fits).count();
        count.max(1).min(self.updates.len())
    }
}

/// What these updates, the last ones of `doc`, did.
fn squashed(doc: &Doc, client: ClientID, updates: &[Update]) -> Option<Vec<u8>> {
    let txn = doc.transact();
    let mut known: BTreeMap<_, _> = txn.state_vector().iter().map(|(&client, &clock)| (client, clock)).collect();
    known.insert(client, updates.first()?.start);
    let known: StateVector = StateVector::new(known.into_iter().collect());
    // The library appends all deletions of the document's whole life: those of these updates go in their place.
    let mut update = txn.encode_diff_v1(&known);
    let outline = validate::outline(&update, None, &crate::doc::unlimited()).ok()?;
    let deleted = validate::deletions(&update, &outline).ok()?;
    update.truncate(outline.deletes_at);
    let mut deletes = IdSet::default();
    updates.iter().for_each(|update| deletes.merge_with(update.deletes.clone()));
    // What of it others deleted meanwhile may be squashed with what is deleted here: it goes deleted.
    let start = updates.first()?.start;
    for &(from, to) in deleted.get(&client.get()).into_iter().flatten().filter(|(_, to)| *to > start) {
        let from = from.max(start);
        deletes.insert(ID::new(client, from), to - from);
    }
    update.extend(deletes.encode_v1());
    Some(update)
}
