//! What threads share, by name: `tests/loom.rs` has a module of this name with the same types of a checker.

pub(crate) use std::sync::{
    Mutex, MutexGuard, PoisonError, TryLockError,
    atomic::{AtomicBool, Ordering, fence},
};
