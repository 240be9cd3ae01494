//! The store.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use partita_core::{
    Batch, Durability, Incarnation, Maintained, Store, StoreError, StoreRead,
    planted::{Bug, planted},
};
use redb::{Database, StorageBackend};

use crate::{
    RedbOptions,
    apply::{Writer, apply},
    error::{Fault, guarded},
    open,
    read::View,
};

/// How often maintenance asks whether the last view was dropped, and how long it waits in between.
const PATIENCE: (u32, Duration) = (200, Duration::from_millis(10));

/// The open database. Views hold it too.
pub(crate) struct Handle(pub(crate) Database);

/// Closing can panic in a damaged file, and must not take the program along.
struct Closing(Option<Arc<Handle>>);

impl Drop for Closing {
    fn drop(&mut self) {
        let handle = self.0.take();
        // Whatever could not be written when closing is repaired at the next open.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(handle)));
    }
}

/// What commits change.
struct Writing {
    writer: Writer,
    failed: Option<StoreError>,
}

/// A store in one file. See the front page for the layout.
///
/// The file is locked while it is open: a second open, from this process or another, is refused with
/// [`StoreError::InUse`]. Dropping the store closes it and makes everything durable.
pub struct RedbStore {
    writing: Mutex<Writing>,
    // Held only to take a copy; held through maintenance, so that everybody waits for it.
    database: Mutex<Closing>,
    backend: Arc<dyn StorageBackend>,
    incarnation: Incarnation,
}

impl RedbStore {
    /// Opens the store at `path`; creates it if there is none, or an empty file.
    ///
    /// # Errors
    /// [`StoreError`]; a file that is not a store stays as it is.
    pub fn open(path: impl AsRef<Path>, incarnation: Incarnation) -> Result<Self, StoreError> {
        RedbOptions::new().open(path, incarnation)
    }

    /// Opens the store in `backend`, so that tests can make the disk fail.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn with_backend(backend: impl StorageBackend, incarnation: Incarnation) -> Result<Self, StoreError> {
        RedbOptions::new().open_backend(backend, incarnation)
    }

    pub(crate) fn over(
        backend: Arc<dyn StorageBackend>,
        name: &str,
        incarnation: Incarnation,
        options: &RedbOptions,
    ) -> Result<Self, StoreError> {
        let handle = Arc::new(Handle(guarded(|| open::database(&backend, name, options))?));
        let closing = Closing(Some(handle.clone()));
        // Let go of before an error leaves: the last to have it must be `closing`, which catches what closing panics with.
        let writer = {
            let handle = handle;
            guarded(|| open::store(&handle.0, name))
        }?;
        let store = Self {
            writing: Mutex::new(Writing { writer, failed: None }),
            database: Mutex::new(closing),
            backend,
            incarnation,
        };
        if options.check {
            store.check()?;
        }
        Ok(store)
    }

    /// Gives the space of what was deleted back to the file system. It rewrites the file in place: readers and commits
    /// wait for it, and it waits for the views that are open, for two seconds at most.
    ///
    /// A crash during it loses nothing; the next open then reads the whole file.
    ///
    /// # Errors
    /// [`StoreError`]; the incarnation is then over.
    pub fn maintain(&self) -> Result<Maintained, StoreError> {
        let bytes_before = self.file_bytes()?;
        let done = self.alone(|database| Ok(database.compact()?))?.is_some();
        Ok(Maintained { done, bytes_before, bytes_after: self.file_bytes()? })
    }

    /// Reads the whole file and checks every checksum in it. Waits, and makes wait, as [`maintain`](Self::maintain).
    /// Answers `false` if it gave up waiting.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], also when the damage could be repaired: something may be missing then.
    pub fn check(&self) -> Result<bool, StoreError> {
        match self.alone(|database| Ok(database.check_integrity()?))? {
            Some(true) => Ok(true),
            Some(false) => Err(StoreError::Damaged("it was repaired, but something may be missing".into())),
            None => Ok(false),
        }
    }

    /// The length of the file in bytes, with the free space inside it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn file_bytes(&self) -> Result<u64, StoreError> {
        self.backend.len().map_err(|error| Fault::from(error).0)
    }

    /// Runs `work` when nobody else uses the database; nothing if that does not come about.
    fn alone<T>(&self, work: impl FnOnce(&mut Database) -> Result<T, Fault>) -> Result<Option<T>, StoreError> {
        let (attempts, pause) = PATIENCE;
        for _ in 0..attempts {
            let mut database = lock(&self.database);
            // A copy elsewhere is a view, or a commit under way. Its owner may need this lock again before it lets go,
            // so the wait is outside.
            if let Some(handle) = database.0.as_mut().and_then(Arc::get_mut) {
                let result = guarded(|| work(&mut handle.0));
                // A commit takes the locks in the other order.
                drop(database);
                if let Err(error) = &result {
                    lock(&self.writing).failed.get_or_insert_with(|| error.clone());
                }
                return result.map(Some);
            }
            drop(database);
            thread::sleep(pause);
        }
        Ok(None)
    }

    fn database(&self) -> Result<Arc<Handle>, StoreError> {
        lock(&self.database).0.clone().ok_or_else(|| StoreError::Io("it was closed".into()))
    }
}

/// A panic is caught before it can leave these locks in the middle of something.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store for RedbStore {
    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    fn read(&self) -> Result<Box<dyn StoreRead + '_>, StoreError> {
        let database = self.database()?;
        Ok(Box::new(guarded(|| View::new(database))?))
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
        let mut writing = lock(&self.writing);
        if let Some(error) = &writing.failed {
            return Err(error.clone());
        }
        let database = self.database()?;
        let result = guarded(|| apply(&database.0, &mut writing.writer, batch, durability));
        if planted(Bug::FailedCommitIgnored) {
            return Ok(());
        }
        if let Err(error) = &result {
            writing.failed = Some(error.clone());
        }
        result
    }

    fn maintain(&self, least: u64) -> Result<Maintained, StoreError> {
        let (file, used) = (self.file_bytes()?, self.read()?.used_bytes()?);
        if file.saturating_sub(used) < least {
            return Ok(Maintained { done: false, bytes_before: file, bytes_after: file });
        }
        RedbStore::maintain(self)
    }
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore").field("incarnation", &self.incarnation).finish_non_exhaustive()
    }
}
