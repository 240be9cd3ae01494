//! Where the host allows it, whoever tells the driver something lets it take that at once, there, if the driver has nothing
//! else to do; otherwise the driver's thread takes it.
//!
//! A thread that is woken for each event costs more than most events do: tens of microseconds, nine times between a key
//! pressed here and the screen of another device. So the driver lies under a lock, and its own thread is there for time that
//! passes, for what takes long, and for whatever nobody took. `tests/loom.rs` tries every order: nothing that was told stays
//! untaken, and what one thread tells is taken in its order.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak},
};

use crate::{
    inbox::{self, Inbox},
    sync_types::{Mutex, MutexGuard, PoisonError, TryLockError},
};

/// Something that was told, and whether any thread may take it: what may have to wait, the taker's own thread takes.
pub(crate) struct Told<I> {
    pub(crate) item: I,
    pub(crate) here: bool,
}

/// What lies under the lock.
pub(crate) trait Taker: Send + 'static {
    /// What it is told.
    type Item: Send + 'static;

    /// Its queue.
    fn inbox(&self) -> &Inbox<Told<Self::Item>>;

    /// Takes what is in the queue, if any thread may. Answers whether its own thread must look: it has something to do that
    /// nobody else may, or must wake up earlier than it meant to.
    fn take_here(&mut self) -> bool;
}

/// The thread that takes what nobody else takes.
pub(crate) trait Sleeper: Send + Sync + 'static {
    /// Ends its sleep, or the next one if it is awake.
    fn wake(&self);
}

/// The lock. Empty once the taker is gone.
pub(crate) struct Shared<T: Taker> {
    taker: Mutex<Option<T>>,
}

impl<T: Taker> Shared<T> {
    pub(crate) fn new(taker: T) -> Arc<Self> {
        Arc::new(Self { taker: Mutex::new(Some(taker)) })
    }

    /// For its thread alone, which waits for others. A taker that panicked is gone: it is in the middle of something.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.taker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the thread must look.
    fn take(&self) -> bool {
        let mut guard = match self.taker.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::WouldBlock) => return true,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        };
        let Some(taker) = guard.as_mut() else { return true };
        match taker.inbox().waiting() {
            // Somebody took it meanwhile.
            0 => false,
            1 => catch_unwind(AssertUnwindSafe(|| taker.take_here())).unwrap_or_else(|_| {
                *guard = None; // as if its thread had died of it
                true
            }),
            // More than what was just told: the thread takes all of it together.
            _ => true,
        }
    }
}

/// Tells a taker something.
pub(crate) struct Teller<I> {
    queue: inbox::Sender<Told<I>>,
    way: Way,
}

#[derive(Clone)]
enum Way {
    /// Somebody looks.
    #[allow(dead_code)] // for simulators
    Quiet,
    Thread(Arc<dyn Sleeper>),
    Here(Weak<dyn Takes>, Arc<dyn Sleeper>),
}

/// A taker of any type.
trait Takes: Send + Sync {
    fn take(&self) -> bool;
}

impl<T: Taker> Takes for Shared<T> {
    fn take(&self) -> bool {
        Self::take(self)
    }
}

impl<I> Clone for Teller<I> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), way: self.way.clone() }
    }
}

impl<I: Send + 'static> Teller<I> {
    /// Puts things in a queue, and nothing else: somebody looks.
    #[cfg(feature = "simulation")]
    pub(crate) fn quiet(queue: inbox::Sender<Told<I>>) -> Self {
        Self { queue, way: Way::Quiet }
    }

    /// Leaves everything to the thread.
    pub(crate) fn to_thread(queue: inbox::Sender<Told<I>>, thread: Arc<dyn Sleeper>) -> Self {
        Self { queue, way: Way::Thread(thread) }
    }

    pub(crate) fn of<T: Taker<Item = I>>(
        queue: inbox::Sender<Told<I>>,
        taker: &Arc<Shared<T>>,
        thread: Arc<dyn Sleeper>,
    ) -> Self {
        let taker: Arc<dyn Takes> = taker.clone();
        Self { queue, way: Way::Here(Arc::downgrade(&taker), thread) }
    }

    /// Tells it, and lets it take that here if it has nothing else to do. Never call it while holding a lock that the taker
    /// may want.
    pub(crate) fn tell(&self, item: I) -> Result<(), Gone> {
        self.queue.send(Told { item, here: true }).map_err(|_| Gone)?;
        match &self.way {
            Way::Quiet => {}
            Way::Thread(thread) => thread.wake(),
            Way::Here(taker, thread) => {
                if taker.upgrade().is_none_or(|taker| taker.take()) {
                    thread.wake();
                }
            }
        }
        Ok(())
    }

    /// Tells it, and leaves it to its thread.
    pub(crate) fn leave(&self, item: I) -> Result<(), Gone> {
        self.queue.send(Told { item, here: false }).map_err(|_| Gone)?;
        if let Way::Thread(thread) | Way::Here(_, thread) = &self.way {
            thread.wake();
        }
        Ok(())
    }
}

/// Nobody takes anything any more.
#[derive(Debug)]
pub(crate) struct Gone;
