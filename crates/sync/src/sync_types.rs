//! What threads share, by name: `tests/loom.rs` has a module of this name with the same types of a checker.

pub(crate) use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, TryLockError,
    atomic::{AtomicUsize, Ordering},
    mpsc,
};
