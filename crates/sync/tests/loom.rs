//! The queue to the driver and the store counts what waits, beside the channel that holds it. These tests run it in every
//! order that threads can take, under loom: the same file, with loom's types for the standard library's.

/// The checker's types, in the place of `src/sync_types.rs`.
mod sync_types {
    pub(crate) use loom::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    /// Its channel with the standard library's errors.
    pub(crate) mod mpsc {
        pub(crate) use loom::sync::mpsc::{Receiver, Sender, channel};
        pub(crate) use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError};
    }
}

#[path = "../src/inbox.rs"]
#[allow(dead_code)]
mod inbox;

use loom::thread;

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
