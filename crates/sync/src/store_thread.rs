//! The thread that reads from and commits to a store, in the order in which it is asked.

use std::{
    sync::{Arc, mpsc},
    thread,
};

use partita_core::{Batch, Durability, Store, StoreError};
use partita_protocol::{
    Event,
    reads::{ReadRequest, answer},
};

use crate::{driver::Input, host::StoreJob};

pub(crate) enum Work<C> {
    Commit(u64, Batch),
    Read(u64, ReadRequest),
    Job(StoreJob<C>),
}

/// Starts the thread; it ends when the sender is dropped, and the store is closed with it.
pub(crate) fn start<C: Send + 'static>(
    store: Arc<dyn Store>,
    driver: mpsc::Sender<Input<C>>,
) -> Result<(mpsc::Sender<Work<C>>, thread::JoinHandle<()>), StoreError> {
    let (sender, receiver) = mpsc::channel();
    let run = move || {
        for work in receiver {
            let input = match work {
                Work::Commit(id, batch) => {
                    let result = store.commit(&batch, Durability::Durable);
                    Input::Event(Event::Committed(id, result))
                }
                Work::Read(id, request) => {
                    let result = store.read().and_then(|view| answer(&*view, &request));
                    Input::Event(Event::Read(id, result))
                }
                Work::Job(job) => Input::Command(job(&*store)),
            };
            if driver.send(input).is_err() {
                return; // the driver is gone, and nobody waits for an answer
            }
        }
    };
    let thread = thread::Builder::new()
        .name("partita-store".into())
        .spawn(run)
        .map_err(|error| StoreError::Io(format!("cannot start a thread: {error}")))?;
    Ok((sender, thread))
}
