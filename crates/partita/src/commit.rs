//! A change that happened, and the promise that it stays.

use tokio::sync::watch;

use crate::{cell::Progress, error::CommitError};

/// A change that is in the document. Dropping this changes nothing about it.
#[derive(Debug)]
#[must_use = "the change is made; await `durable` to know that it survives a crash, or drop this knowingly"]
pub struct Commit<R> {
    value: R,
    number: u64,
    progress: watch::Receiver<Progress>,
}

impl<R> Commit<R> {
    pub(crate) fn new(value: R, number: u64, progress: watch::Receiver<Progress>) -> Self {
        Self { value, number, progress }
    }

    /// What the closure returned.
    pub fn value(&self) -> &R {
        &self.value
    }

    /// What the closure returned, without waiting.
    pub fn into_value(self) -> R {
        self.value
    }

    /// Waits until the change survives a crash and a power cut.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn durable(mut self) -> Result<R, CommitError> {
        let number = self.number;
        let settled = |progress: &Progress| {
            progress.durable >= number || progress.failed.as_ref().is_some_and(|(up_to, _)| *up_to >= number)
        };
        let failed = match self.progress.wait_for(settled).await {
            Ok(progress) if progress.durable >= number => None,
            Ok(progress) => progress.failed.as_ref().map(|(_, error)| error.clone()),
            Err(_) => Some(CommitError::Closed),
        };
        failed.map_or(Ok(self.value), Err)
    }
}
