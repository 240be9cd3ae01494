//! What is opened must be a store, must be free, and must be of a format that we know.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::{fs, path::Path, process::Command};

use common::{append, entries, rng, verified};
use partita_core::StoreError;
use partita_redb::{RedbStore, StorageBackend as _};
use partita_testing::{FaultyDisk, disk::Crash, samples::incarnation};
use redb::{Database, TableDefinition};
use tempfile::TempDir;

const CHILD_PATH: &str = "PARTITA_TEST_STORE";

fn open(path: &Path) -> Result<RedbStore, StoreError> {
    RedbStore::open(path, incarnation(1))
}

#[test]
fn a_second_open_is_refused_until_the_first_is_closed() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let store = open(&path).unwrap();
    let name = path.display().to_string();
    assert_eq!(open(&path).unwrap_err(), StoreError::InUse(name));
    drop(store);
    open(&path).unwrap();
}

#[test]
fn another_process_is_refused() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let store = open(&path).unwrap();
    let child = |path: &Path| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "in_another_process", "--ignored", "--nocapture"]).env(CHILD_PATH, path);
        String::from_utf8_lossy(&child.output().unwrap().stdout).into_owned()
    };
    assert!(child(&path).contains("refused: in use"));
    drop(store);
    assert!(child(&path).contains("opened"));
}

#[test]
#[ignore = "runs in a process of its own, started by another_process_is_refused"]
fn in_another_process() {
    let Some(path) = std::env::var_os(CHILD_PATH) else {
        return;
    };
    match open(Path::new(&path)) {
        Ok(_) => println!("opened"),
        Err(StoreError::InUse(_)) => println!("refused: in use"),
        Err(error) => println!("{error}"),
    }
}

#[test]
fn a_later_format_is_refused_and_stays_as_it_is() {
    const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    drop(open(&path).unwrap());
    {
        let database = Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(META).unwrap().insert("format", &7u64.to_be_bytes()[..]).unwrap();
        // A later version may have other tables in other forms.
        transaction.delete_table(TableDefinition::<&[u8], &[u8]>::new("records")).unwrap();
        transaction.commit().unwrap();
    }
    for _ in 0..2 {
        assert_eq!(open(&path).unwrap_err(), StoreError::NewerFormat { found: 7, supported: 1 });
    }
}

#[test]
fn what_is_not_a_store_is_refused_and_stays_as_it_is() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("file");
    let zeros_with_something = {
        let mut bytes = vec![0; 100_000];
        bytes[70_000] = 1;
        bytes
    };
    for content in [b"x".to_vec(), b"a letter to somebody".to_vec(), vec![7; 2_000_000], zeros_with_something] {
        fs::write(&path, &content).unwrap();
        assert!(matches!(open(&path), Err(StoreError::NotAStore(_))));
        assert!(fs::read(&path).unwrap() == content);
    }
    assert!(matches!(open(dir.path()), Err(StoreError::Io(_))), "a directory");
    assert!(matches!(open(&dir.path().join("missing/store")), Err(StoreError::Io(_))), "no such directory");
}

#[test]
fn a_database_of_somebody_else_is_refused() {
    const FOREIGN: TableDefinition<'_, u64, u64> = TableDefinition::new("theirs");
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("file");
    {
        let transaction = Database::create(&path).unwrap().begin_write().unwrap();
        transaction.open_table(FOREIGN).unwrap().insert(1, 2).unwrap();
        transaction.commit().unwrap();
    }
    assert!(matches!(open(&path), Err(StoreError::NotAStore(_))));
    let transaction = Database::open(&path).unwrap().begin_write().unwrap();
    assert_eq!(transaction.list_tables().unwrap().count(), 1);
}

#[test]
fn an_empty_file_becomes_a_store() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    fs::write(&path, "").unwrap();
    open(&path).unwrap();
}

#[test]
fn a_creation_that_was_cut_short_is_begun_again() {
    let disk = FaultyDisk::new();
    // The first sync stores the header without the magic number; the second one fails.
    disk.fail_syncs_after(1, None);
    assert!(matches!(RedbStore::with_backend(disk.clone(), incarnation(1)), Err(StoreError::Io(_))));
    let disk = disk.crash(Crash::PowerStrict, &mut rng(0));
    assert!(disk.len().unwrap() > 1_000_000);
    let entries = entries(20);
    append(&RedbStore::with_backend(disk.clone(), incarnation(2)).unwrap(), 1..21, &entries).unwrap();
    let store = RedbStore::with_backend(disk, incarnation(3)).unwrap();
    assert_eq!(verified(&store, &entries).unwrap(), [20; 3]);
}
