//! The queue to the driver and the store counts what waits, beside the channel that holds it; whoever tells the driver
//! something works it off, or wakes the driver's thread. These tests run both in every order that threads can take, under
//! loom: the same files, with loom's types for the standard library's.

/// The checker's types, in the place of `src/sync_types.rs`.
mod sync_types {
    pub(crate) use loom::sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    };
    pub(crate) use std::sync::{PoisonError, TryLockError};

    /// Its channel with the standard library's errors.
    pub(crate) mod mpsc {
        pub(crate) use loom::sync::mpsc::{Receiver, Sender, channel};
        pub(crate) use std::sync::mpsc::{RecvError, SendError, TryRecvError};
    }
}

#[path = "../src/inbox.rs"]
#[allow(dead_code)]
mod inbox;
#[path = "../src/wake.rs"]
#[allow(dead_code)]
mod wake;

use std::sync::Arc;

use loom::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use wake::{Shared, Sleeper, Taker, Teller, Told};

/// More than could ever wait here: what an unsigned number is when it was counted below zero.
const MOST: usize = 2;

#[test]
fn a_queue_never_counts_below_zero_and_loses_nothing() {
    loom::model(|| {
        let (sender, inbox) = inbox::queue();
        let (one, other) = (sender.clone(), sender.clone());
        let threads = [
            thread::spawn(move || assert!(one.send(1).is_ok())),
            thread::spawn(move || assert!(other.send(2).is_ok())),
        ];
        let mut taken = Vec::new();
        for _ in 0..2 {
            assert!(inbox.waiting() <= MOST && sender.waiting() <= MOST, "below zero");
            taken.extend(inbox.recv().ok());
        }
        assert!(threads.into_iter().all(|thread| thread.join().is_ok()));
        taken.sort_unstable();
        assert_eq!(taken, [1, 2], "each once");
        assert_eq!((sender.waiting(), inbox.waiting()), (0, 0), "nothing waits, and nothing is counted");
    });
}

/// A driver that only remembers what it took.
struct Notebook {
    inbox: inbox::Inbox<Told<u8>>,
    taken: Vec<u8>,
}

impl Taker for Notebook {
    type Item = u8;

    fn inbox(&self) -> &inbox::Inbox<Told<u8>> {
        &self.inbox
    }

    fn take_here(&mut self) -> bool {
        while let Ok(told) = self.inbox.try_recv() {
            assert!(told.here, "nobody left it to the thread");
            self.taken.push(told.item);
        }
        self.inbox.waiting() > 0
    }
}

/// Whether the driver's thread was woken and has not looked since: so it will.
struct Bed(AtomicBool);

impl Sleeper for Bed {
    fn wake(&self) {
        // As in the standard library; and of what was only stored the checker may show what was there before.
        self.0.swap(true, Ordering::SeqCst);
    }
}

/// One thread tells two things, another one a third, while the driver's thread looks, sleeps, and looks again when it is
/// woken. Whatever nobody took, the driver's thread was woken for; and what one thread tells is taken in its order.
#[test]
fn what_is_told_is_taken_or_the_thread_is_woken_for_it_and_in_order() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let (sender, inbox) = inbox::queue();
        let shared = Shared::new(Notebook { inbox, taken: Vec::new() });
        let bed = Arc::new(Bed(AtomicBool::new(false)));
        let teller = Teller::of(sender, &shared, bed.clone());
        let other = teller.clone();
        let look = |shared: &Shared<Notebook>| shared.lock().as_mut().is_some_and(Taker::take_here);
        let telling = thread::spawn(move || assert!(other.tell(1).is_ok() && other.tell(2).is_ok()));
        let driver = {
            let (shared, bed) = (shared.clone(), bed.clone());
            thread::spawn(move || {
                look(&shared);
                while bed.0.swap(false, Ordering::SeqCst) {
                    look(&shared);
                }
            })
        };
        assert!(teller.tell(3).is_ok());
        assert!(telling.join().is_ok() && driver.join().is_ok());
        let woken = bed.0.swap(false, Ordering::SeqCst);
        let mut guard = shared.lock();
        let Some(notebook) = guard.as_mut() else { panic!("the driver is there") };
        assert!(
            woken || notebook.taken.len() == 3,
            "nobody will take what is left of 1, 2 and 3: {:?}",
            notebook.taken
        );
        notebook.take_here();
        let at = |item| notebook.taken.iter().position(|taken| *taken == item);
        assert!(at(1).is_some() && at(1) < at(2) && at(3).is_some(), "{:?}", notebook.taken);
    });
}
