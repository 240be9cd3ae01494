//! What redb reports, in the words of the store's contract; and the panic boundary.

use std::{
    any::Any,
    io::{self, ErrorKind},
    panic::{AssertUnwindSafe, catch_unwind},
};

use partita_core::StoreError;

/// A [`StoreError`] that redb's errors turn into with `?`.
#[derive(Debug)]
pub(crate) struct Fault(pub(crate) StoreError);

impl Fault {
    /// What was read cannot have been written like this.
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self(StoreError::Damaged(what.into()))
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self(error)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self(match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => StoreError::OutOfSpace,
            // redb knows from its header how long the file is: an end before that means that some of it is gone.
            ErrorKind::UnexpectedEof => StoreError::Damaged("the file ends too early".into()),
            _ => StoreError::Io(error.to_string()),
        })
    }
}

impl From<redb::Error> for Fault {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(error) => error.into(),
            error @ (redb::Error::PreviousIo | redb::Error::DatabaseClosed | redb::Error::ValueTooLarge(_)) => {
                Self(StoreError::Io(error.to_string()))
            }
            error => Self::damaged(error.to_string()),
        }
    }
}

macro_rules! through_redb_error {
    ($($error:ident),*) => {
        $(impl From<redb::$error> for Fault {
            fn from(error: redb::$error) -> Self {
                redb::Error::from(error).into()
            }
        })*
    };
}

through_redb_error!(
    StorageError,
    TableError,
    TransactionError,
    CommitError,
    CompactionError,
    DatabaseError,
    SetDurabilityError
);

/// Runs code of redb: a panic in it, which a damaged file can cause, is reported as damage.
///
/// Callbacks of the store's users never run inside: their panics are theirs.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(Fault(error))) => Err(error),
        Err(panic) => Err(StoreError::Damaged(panic_text(&*panic))),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    format!("redb panicked: {}", text.unwrap_or("no text").chars().take(200).collect::<String>())
}
