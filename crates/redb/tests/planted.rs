//! A store that does not keep its promises is found out on a disk that fails. `--features planted`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{append, entries, rng, verified};
use partita_core::planted::{Bug, plant};
use partita_redb::RedbStore;
use partita_testing::{
    FaultyDisk,
    disk::{Crash, Fault},
    samples::incarnation,
};

/// Whether a power cut leaves every batch that was reported durable before and after the disk failed.
fn keeps_what_it_reports(bug: Option<Bug>, fault: Option<Fault>) -> bool {
    let entries = entries(20);
    let disk = FaultyDisk::new();
    let store = RedbStore::with_backend(disk.clone(), incarnation(1)).unwrap();
    plant(bug);
    let mut durable = 0;
    for batch in 0..4 {
        if let (2, Some(fault)) = (batch, fault) {
            disk.fail_after(0, fault);
        }
        let first = durable as u64 + 1;
        durable += if append(&store, first..first + 5, &entries).is_ok() { 5 } else { 0 };
    }
    plant(None);
    let found = RedbStore::with_backend(disk.crash(Crash::PowerStrict, &mut rng(1)), incarnation(2)).unwrap();
    verified(&found, &entries).unwrap() == [durable; 3]
}

#[test]
fn a_store_that_does_not_sync_is_found_out() {
    assert!(keeps_what_it_reports(None, None));
    assert!(!keeps_what_it_reports(Some(Bug::SyncSkipped), None));
}

#[test]
fn a_store_that_reports_errors_as_success_is_found_out() {
    for fault in [Fault::Io, Fault::NoSpace] {
        assert!(keeps_what_it_reports(None, Some(fault)));
    }
    assert!(keeps_what_it_reports(Some(Bug::FailedCommitIgnored), None));
    assert!(!keeps_what_it_reports(Some(Bug::FailedCommitIgnored), Some(Fault::Io)));
}
