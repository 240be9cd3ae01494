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
        let settled = self.progress.wait_for(|progress: &Progress| progress.outcome(number).is_some()).await;
        let outcome = settled.ok().and_then(|progress| progress.outcome(number));
        outcome.unwrap_or(Err(CommitError::Closed)).map(|()| self.value)
    }
}
