//! A queue between threads that knows how long it is.

use crate::sync_types::{Arc, AtomicUsize, Ordering, mpsc};

/// The end that is written to.
#[derive(Debug)]
pub(crate) struct Sender<T> {
    sender: mpsc::Sender<T>,
    waiting: Arc<AtomicUsize>,
}

/// The end that is read.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    receiver: mpsc::Receiver<T>,
    waiting: Arc<AtomicUsize>,
}

pub(crate) fn queue<T>() -> (Sender<T>, Inbox<T>) {
    let (sender, receiver) = mpsc::channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    (Sender { sender, waiting: waiting.clone() }, Inbox { receiver, waiting })
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), waiting: self.waiting.clone() }
    }
}

impl<T> Sender<T> {
    /// Never blocks. An error says that nobody reads any more.
    pub(crate) fn send(&self, item: T) -> Result<(), mpsc::SendError<T>> {
        // Before the item is there: whoever takes it out must not count below zero.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.sender.send(item).inspect_err(|_| {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        })
    }

    /// How many items wait. By the time of the answer it may be another number.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

impl<T> Inbox<T> {
    pub(crate) fn recv(&self) -> Result<T, mpsc::RecvError> {
        self.receiver.recv().inspect(|_| self.taken())
    }

    pub(crate) fn try_recv(&self) -> Result<T, mpsc::TryRecvError> {
        self.receiver.try_recv().inspect(|_| self.taken())
    }

    /// How many items wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn taken(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
