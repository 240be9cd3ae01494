//! What this replica changed and has not handed over yet.

use std::collections::BTreeMap;

use yrs::updates::encoder::Encode;
use yrs::{ClientID, Doc, IdSet, ReadTxn, StateVector, Transact, TransactionMut, merge_updates_v1};

use crate::validate;

/// The updates of local transactions since they were last taken.
#[derive(Debug, Default)]
pub(crate) struct Local {
    updates: Vec<Vec<u8>>,
    deletes: IdSet,
    /// The own clock before the first of them.
    start: u32,
}

impl Local {
    /// Notes a transaction that is about to commit.
    pub(crate) fn note(&mut self, txn: &TransactionMut<'_>, client: ClientID, update: Vec<u8>) {
        if self.updates.is_empty() {
            self.start = txn.before_state().get(&client);
        }
        self.deletes.merge_with(txn.delete_set().clone());
        self.updates.push(update);
    }

    /// Everything as one update. Many transactions are encoded anew from `doc`, which has squashed them: 5,000
    /// keystrokes are one string. Merging their updates would keep 5,000 structs, and takes quadratic time.
    pub(crate) fn take(&mut self, doc: Option<&Doc>, client: ClientID) -> Option<Vec<u8>> {
        let taken = std::mem::take(self);
        match (taken.updates.as_slice(), doc) {
            ([], _) => None,
            ([update], _) => Some(update.clone()),
            (_, Some(doc)) => taken.squashed(doc, client),
            (updates, None) => merge_updates_v1(updates).ok(),
        }
    }

    fn squashed(&self, doc: &Doc, client: ClientID) -> Option<Vec<u8>> {
        let txn = doc.transact();
        let mut known: BTreeMap<_, _> = txn.state_vector().iter().map(|(&client, &clock)| (client, clock)).collect();
        known.insert(client, self.start);
        let known: StateVector = StateVector::new(known.into_iter().collect());
        // The library appends all deletions of the document's whole life: ours go in their place.
        let mut update = txn.encode_diff_v1(&known);
        update.truncate(validate::deletes_at(&update)?);
        update.extend(self.deletes.encode_v1());
        Some(update)
    }
}
