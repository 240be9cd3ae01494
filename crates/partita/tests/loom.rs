//! A document is shared by the application, the worker and the driver. These tests run the code that shares it in every
//! order that threads can take, under loom: the same file, with loom's types for the standard library's.

/// The checker's types, in the place of `src/sync_types.rs`.
mod sync_types {
    pub(crate) use loom::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    };
    pub(crate) use std::sync::{PoisonError, TryLockError};
}

#[path = "../src/handover.rs"]
#[allow(unreachable_pub)]
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
    fn given_back(&self, must_tell: bool) {
        if must_tell {
            self.told.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn change(&self) {
        let mut held = self.document.lock();
        held.made += 1;
        self.document.mark();
        self.given_back(self.document.give_back(Some(held)));
    }

    /// Applies what others wrote: nothing to take.
    fn apply(&self) {
        let held = self.document.lock();
        self.given_back(self.document.give_back(Some(held)));
    }

    /// What the driver does when it was told.
    fn take(&self) {
        let Some(mut held) = self.document.try_lock() else { return };
        self.document.clear();
        held.taken = held.made;
        self.given_back(self.document.give_back(Some(held)));
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

#[test]
fn a_change_made_while_the_driver_takes_changes_is_never_forgotten() {
    loom::model(|| {
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
    loom::model(|| {
        let shared = Arc::new(Shared::default());
        let (application, worker) = (shared.clone(), shared.clone());
        let application = thread::spawn(move || application.change());
        let worker = thread::spawn(move || worker.apply());
        shared.drive(2);
        assert!(application.join().is_ok() && worker.join().is_ok());
        shared.settle();
    });
}
