//! What any store promises, as checks. A store that passes them all can carry the engine.

mod orders;
mod records;
mod whole;

use std::{fmt, ops::ControlFlow, sync::Arc};

use bytes::Bytes;
use partita_core::{
    Batch, Durability, Entry, EntryRef, Incarnation, LogId, Op, Store, StoreError, StoreRead, StoredEntry, VisitEntry,
};

use crate::samples::{SampleLog, context};

/// One set of data and how to open it. The suite opens it again only after it has dropped the store before.
pub trait StoreHarness {
    /// Opens the store; the first time it is empty.
    ///
    /// # Errors
    /// What the store's own open reports.
    fn open(&self, incarnation: Incarnation) -> Result<Box<dyn Store>, StoreError>;
}

/// A promise that was not kept.
#[derive(Debug, thiserror::Error)]
#[error("{promise}: {what}")]
pub struct Broken {
    /// The promise.
    pub promise: &'static str,
    /// What happened instead.
    pub what: Failure,
}

/// How a promise was broken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The store reports an error where there is none.
    #[error("the store answered: {0}")]
    Store(#[from] StoreError),
    /// The store answers something else than it should.
    #[error("{0}")]
    Wrong(String),
}

type Check = fn(&dyn StoreHarness) -> Result<(), Failure>;

/// Every promise and its check, so that a store's tests can also run them one by one.
pub const PROMISES: &[(&str, Check)] = &[
    ("a new store is empty", whole::a_new_store_is_empty),
    ("the store has the incarnation of its open", whole::the_incarnation_is_that_of_the_open),
    ("a batch is seen as a whole", whole::a_batch_is_seen_as_a_whole),
    ("a view does not change", whole::a_view_does_not_change),
    ("commits go on while a view is read", whole::commits_go_on_while_a_view_is_read),
    ("what was committed is there after a clean close", whole::everything_survives_a_clean_close),
    ("used bytes follow what is stored", whole::used_bytes_follow_what_is_stored),
    ("a log is read in order, from any number", orders::a_log_is_read_in_order),
    ("a context is read by arrival, after any arrival", orders::a_context_is_read_by_arrival),
    ("a document is read by arrival, and nothing else with it", orders::a_document_is_read_alone),
    ("a visit ends when it says so", orders::a_visit_ends_when_it_says_so),
    ("contexts do not see each other", orders::contexts_do_not_see_each_other),
    ("a truncated log is gone from every order and can grow again", orders::a_truncated_log_can_grow_again),
    ("a pruned log keeps what comes after, in every order", orders::a_pruned_log_keeps_what_comes_after),
    ("the last arrival never goes back", orders::the_last_arrival_never_goes_back),
    ("entries come back byte for byte", orders::entries_come_back_byte_for_byte),
    ("payloads of every size come back", orders::payloads_of_every_size_come_back),
    ("records are set, replaced and deleted", records::records_are_set_replaced_and_deleted),
    ("operations of a batch happen in order", records::operations_happen_in_order),
    ("records are scanned by prefix, sorted", records::records_are_scanned_by_prefix),
    ("records of every size come back", records::records_of_every_size_come_back),
    ("fragments go when their entry comes, and no others", records::fragments_go_with_their_entry),
    ("fragments go with what is cut or pruned", records::fragments_go_with_what_is_cut_or_pruned),
];

/// Runs every check, each on data of its own.
///
/// # Errors
/// The first promise that is not kept.
pub fn store_conformance(fresh: &dyn Fn() -> Box<dyn StoreHarness>) -> Result<(), Broken> {
    for (promise, check) in PROMISES {
        check(&*fresh()).map_err(|what| Broken { promise, what })?;
    }
    Ok(())
}

fn equal<T: PartialEq + fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), Failure> {
    if found == expected {
        return Ok(());
    }
    let short = |value: T| format!("{value:?}").chars().take(400).collect::<String>();
    Err(Failure::Wrong(format!("{what}: found {}, expected {}", short(found), short(expected))))
}

fn append(arrival: u64, entry: &Arc<Entry>) -> Op {
    Op::Append(StoredEntry { arrival, entry: entry.clone() })
}

fn commit(store: &dyn Store, ops: Vec<Op>) -> Result<(), StoreError> {
    store.commit(&Batch { ops }, Durability::Durable)
}

/// Entries as `(arrival, entry)`, collected by one of the reading methods.
fn collect(read: impl FnOnce(VisitEntry<'_>) -> Result<(), StoreError>) -> Result<Vec<(u64, Entry)>, Failure> {
    let mut found = Vec::new();
    let mut unreadable = None;
    read(&mut |EntryRef { arrival, head, payload }| match Entry::from_stored(head, payload) {
        Ok(entry) => {
            found.push((arrival, entry));
            ControlFlow::Continue(())
        }
        Err(error) => {
            unreadable = Some(error);
            ControlFlow::Break(())
        }
    })?;
    match unreadable {
        None => Ok(found),
        Some(error) => Err(Failure::Wrong(format!("an entry cannot be read: {error}"))),
    }
}

fn scanned(view: &dyn StoreRead, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
    let mut found = Vec::new();
    view.scan(prefix, &mut |name, value| {
        found.push((Bytes::copy_from_slice(name), Bytes::copy_from_slice(value)));
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// Collected entries, as they should be.
fn expected<'e>(entries: impl IntoIterator<Item = (u64, &'e Arc<Entry>)>) -> Vec<(u64, Entry)> {
    entries.into_iter().map(|(arrival, entry)| (arrival, Entry::clone(entry))).collect()
}

/// A log in context 1 of the replica with this number.
fn sample_log(number: u8) -> SampleLog {
    SampleLog::new(number, context(1), number)
}

/// The id of that log.
fn log(number: u8) -> LogId {
    sample_log(number).id()
}
