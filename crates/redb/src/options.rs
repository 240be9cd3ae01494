//! How a store is opened.

use std::{path::Path, sync::Arc};

use partita_core::{Incarnation, StoreError};
use redb::StorageBackend;

use crate::{RedbStore, open};

/// How to open a store.
#[derive(Debug, Clone)]
pub struct RedbOptions {
    pub(crate) cache_bytes: usize,
    pub(crate) check: bool,
}

impl Default for RedbOptions {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20, check: false }
    }
}

impl RedbOptions {
    /// The defaults: a cache of 64 MiB, no check.
    pub fn new() -> Self {
        Self::default()
    }

    /// The most memory for cached pages, in bytes. redb's own default, 1 GiB, is much for an embedded engine.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Checks the whole file when it is opened, as [`RedbStore::check`] does. It reads all of it.
    #[must_use]
    pub fn check_on_open(mut self, check: bool) -> Self {
        self.check = check;
        self
    }

    /// Opens the store at `path`; creates it if there is none, or an empty file.
    ///
    /// # Errors
    /// [`StoreError`]; a file that is not a store stays as it is.
    pub fn open(&self, path: impl AsRef<Path>, incarnation: Incarnation) -> Result<RedbStore, StoreError> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let backend = open::file(path, &name)?;
        RedbStore::over(backend, &name, incarnation, self)
    }

    /// Opens the store in `backend`; creates it if the backend is empty.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open_backend(
        &self,
        backend: impl StorageBackend,
        incarnation: Incarnation,
    ) -> Result<RedbStore, StoreError> {
        RedbStore::over(Arc::new(backend), "the backend", incarnation, self)
    }
}
