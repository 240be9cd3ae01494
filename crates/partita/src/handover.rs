//! A lock and a mark beside it: whoever gives the lock back says so where the mark is set.
//!
//! Three sorts of threads share a document. The application changes it and sets the mark; the worker only applies what
//! others wrote; the driver takes what was changed, and waits for nobody: where it finds the document locked, it goes on.
//! So whoever had it locked, the worker too, looks at the mark, and tells the driver only after it was unlocked.
//! `tests/loom.rs` tries every order.

use crate::sync_types::{AtomicBool, Mutex, MutexGuard, Ordering, PoisonError, TryLockError, fence};

#[derive(Default)]
pub(crate) struct Handover<T> {
    inner: Mutex<T>,
    dirty: AtomicBool,
}

impl<T> Handover<T> {
    /// Waits for others.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for nobody. For the driver: where it gets nothing, whoever has the lock tells it later.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.inner.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// There is something to take. Without the lock only by the driver, before it tries to get it.
    pub(crate) fn mark(&self) {
        self.dirty.store(true, Ordering::Release);
        // Whoever finds the lock taken after this can rely on it that the mark is seen when the lock is given back.
        fence(Ordering::SeqCst);
    }

    pub(crate) fn is_marked(&self) -> bool {
        self.dirty.load(Ordering::Acquire)
    }

    /// What there is is being taken. Unset with the lock held, so that a later mark is not unset with it.
    pub(crate) fn clear(&self) {
        self.dirty.store(false, Ordering::Release);
    }

    /// Gives the lock back, then says so if there is something to take.
    pub(crate) fn give_back(&self, guard: Option<MutexGuard<'_, T>>, tell: impl FnOnce()) {
        // First: a driver that is told while it is locked goes away with nothing.
        drop(guard);
        fence(Ordering::SeqCst);
        if self.dirty.load(Ordering::Acquire) {
            tell();
        }
    }
}
