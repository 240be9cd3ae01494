//! The thread that reads from and commits to a store, in the order in which it is asked.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Instant,
};

use partita_core::{Batch, Durability, Observation, Observer, Op, Store, StoreError};
use partita_protocol::{
    Event,
    reads::{ReadRequest, answer},
};

use crate::{driver::Input, handle::StoreProbing, host::StoreJob, inbox::Inbox, wake::Teller};

pub(crate) enum Work<C> {
    Commit(u64, Batch),
    Read(u64, ReadRequest),
    Job(StoreJob<C>),
    Probe(StoreProbing),
}

/// Starts the thread; it ends when the sender is dropped, and the store is closed with it.
pub(crate) fn start<C: Send + 'static>(
    store: Arc<dyn Store>,
    inbox: Inbox<Work<C>>,
    driver: Teller<Input<C>>,
    observer: Arc<dyn Observer>,
) -> Result<thread::JoinHandle<()>, StoreError> {
    let run = move || {
        while let Ok(work) = inbox.recv() {
            let input = perform(work, &*store, &*observer);
            // What follows from a commit is little: acknowledgements, the next commit. What was read is a lot of work, and
            // this thread has reads of its own to do meanwhile.
            let told = match input {
                Input::Event(Event::Committed(..)) => driver.tell(input),
                _ => driver.leave(input),
            };
            if told.is_err() {
                return; // the driver is gone, and nobody waits for an answer
            }
        }
    };
    thread::Builder::new()
        .name("partita-store".into())
        .spawn(run)
        .map_err(|error| StoreError::Io(format!("cannot start a thread: {error}")))
}

/// Does a piece of work, and says what the driver is to be told of it. A store that panics, which may be anybody's, has
/// failed: nobody waits for it any more.
pub(crate) fn perform<C>(work: Work<C>, store: &dyn Store, observer: &dyn Observer) -> Input<C> {
    catch_unwind(AssertUnwindSafe(|| perform_unguarded(work, store, observer))).unwrap_or_else(|_| {
        // Whatever it was doing: of a failure the node asks no more than that it was one.
        Input::Event(Event::Committed(0, Err(StoreError::Damaged("it panicked".into()))))
    })
}

fn perform_unguarded<C>(work: Work<C>, store: &dyn Store, observer: &dyn Observer) -> Input<C> {
    match work {
        Work::Commit(id, batch) => Input::Event(Event::Committed(id, commit(store, &batch, observer))),
        Work::Read(id, request) => {
            let result = store.read().and_then(|view| answer(&*view, &request));
            Input::Event(Event::Read(id, result))
        }
        Work::Job(job) => Input::Command(job(store)),
        Work::Probe(StoreProbing { store: answer, back }) => {
            let _ = answer.send(store.read().map(drop));
            Input::ProbeBack(back)
        }
    }
}

fn commit(store: &dyn Store, batch: &Batch, observer: &dyn Observer) -> Result<(), StoreError> {
    let began = Instant::now();
    let result = store.commit(batch, Durability::Durable);
    let (took, ok) = (began.elapsed(), result.is_ok());
    let (mut entries, mut bytes) = (0, 0);
    for op in &batch.ops {
        if let Op::Append(stored) = op {
            entries += 1;
            bytes += stored.entry.size();
        }
    }
    tracing::trace!(entries, bytes, ?took, ok, "committed");
    observer.observe(&Observation::Committed { entries, bytes, took, ok });
    result
}
