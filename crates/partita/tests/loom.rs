//! A document is shared by the application, the worker and the driver. These tests run the code that shares it in every
//! order that threads can take, under loom: the same file, with loom's types for the standard library's.
#![allow(clippy::unwrap_used)]

/// The checker's types, in the place of `src/sync_types.rs`.
///
/// To the checker, what `try_lock` finds does not hang on who has the mutex, so it leaves out most orders in which it fails. An
/// atomic that is written with the mutex locked, and read before it is tried, makes it see that it does.
mod sync_types {
    use std::ops::{Deref, DerefMut};
    pub(crate) use std::sync::{PoisonError, TryLockError};

    pub(crate) use loom::sync::atomic::{AtomicBool, Ordering, fence};

    #[derive(Default)]
    pub(crate) struct Mutex<T> {
        looked_at: AtomicBool,
        inner: loom::sync::Mutex<T>,
    }

    pub(crate) struct MutexGuard<'a, T> {
        mutex: &'a Mutex<T>,
        inner: Option<loom::sync::MutexGuard<'a, T>>,
    }

    impl<T> Mutex<T> {
        pub(crate) fn try_lock(&self) -> Result<MutexGuard<'_, T>, TryLockError<MutexGuard<'_, T>>> {
            self.looked_at.load(Ordering::Acquire);
            let inner = self.inner.try_lock().map_err(|_| TryLockError::WouldBlock)?;
            Ok(self.guard(inner))
        }

        pub(crate) fn lock(&self) -> Result<MutexGuard<'_, T>, PoisonError<MutexGuard<'_, T>>> {
            Ok(self.guard(self.inner.lock().unwrap()))
        }

        fn guard<'a>(&'a self, inner: loom::sync::MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.looked_at.store(true, Ordering::Release);
            MutexGuard { mutex: self, inner: Some(inner) }
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.inner.as_ref().unwrap()
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.inner.as_mut().unwrap()
        }
    }

    impl<T> Drop for MutexGuard<'_, T> {
        fn drop(&mut self) {
            self.mutex.looked_at.store(false, Ordering::Release);
            self.inner = None;
        }
    }
}

#[path = "../src/handover.rs"]
#[allow(unreachable_pub, dead_code)]
mod handover;

use handover::Handover;
use loom::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// What is in the lock: changes made, and taken.
#[derive(Default)]
struct Document {
    made: usize,
    taken: usize,
}

#[derive(Default)]
struct Shared {
    document: Handover<Document>,
    /// How often the driver was told and has not looked.
    told: AtomicUsize,
}

impl Shared {
    fn tell(&self) {
        self.told.fetch_add(1, Ordering::AcqRel);
    }

    fn change(&self) {
        let mut held = self.document.lock();
        held.made += 1;
        self.document.mark();
        self.document.give_back(Some(held), || self.tell());
    }

    /// What the driver does when what could not be written may be written now.
    fn look_again(&self) {
        self.document.mark();
        self.take();
    }

    /// Applies what others wrote: nothing to take.
    fn apply(&self) {
        let held = self.document.lock();
        self.document.give_back(Some(held), || self.tell());
    }

    /// What the driver does when it was told.
    fn take(&self) {
        let Some(mut held) = self.document.try_lock() else { return };
        self.document.clear();
        held.taken = held.made;
        self.document.give_back(Some(held), || self.tell());
    }

    /// The driver: as often as it is told, but here no more than so often.
    fn drive(&self, most: usize) {
        for _ in 0..most {
            let told = self.told.load(Ordering::Acquire);
            if told > 0 && self.told.compare_exchange(told, told - 1, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                self.take();
            }
        }
    }

    /// Nobody has it locked any more: what the driver was told of it looks at, and then nothing may be left.
    fn settle(&self) {
        while self.told.load(Ordering::Acquire) > 0 {
            self.told.fetch_sub(1, Ordering::AcqRel);
            self.take();
        }
        let held = self.document.lock();
        assert_eq!(held.taken, held.made, "a local change was forgotten");
    }
}

/// Every order in which threads are interrupted no more than three times: each known bug of this sort needs fewer.
fn check(story: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(story);
}

#[test]
fn a_change_made_while_the_driver_takes_changes_is_never_forgotten() {
    check(|| {
        let shared = Arc::new(Shared::default());
        let application = shared.clone();
        let application = thread::spawn(move || {
            application.change();
            application.change();
        });
        shared.drive(2);
        assert!(application.join().is_ok());
        shared.settle();
    });
}

/// The worker makes no changes, but the driver finds the document locked by it.
#[test]
fn a_driver_that_was_turned_away_by_the_worker_is_told_again() {
    check(|| {
        let shared = Arc::new(Shared::default());
        let (application, worker) = (shared.clone(), shared.clone());
        let application = thread::spawn(move || application.change());
        let worker = thread::spawn(move || worker.apply());
        shared.drive(2);
        assert!(application.join().is_ok() && worker.join().is_ok());
        shared.settle();
    });
}

#[test]
fn what_could_not_be_written_is_looked_at_again_whoever_has_the_document_just_then() {
    check(|| {
        let shared = Arc::new(Shared::default());
        // Refused when it was taken: it is not announced.
        shared.document.lock().made = 1;
        let worker = thread::spawn({
            let shared = shared.clone();
            move || shared.apply()
        });
        shared.look_again();
        worker.join().unwrap();
        shared.settle();
    });
}
