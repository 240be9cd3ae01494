//! A loaded document, shared between the application's handles, the driver and the worker.

use std::{
    cell::RefCell,
    ops::{Deref, DerefMut, RangeInclusive},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use partita_core::{ActorSeed, ContextId, CrdtDocument, CrdtType, DocumentId, Limits, Now};
use partita_protocol::Node;
use tokio::sync::{oneshot, watch};

use crate::{
    error::{CommitError, EngineError},
    handover::Handover,
    host::Command,
    worker::guarded,
};

/// What subscribers are told: only that, and since when, the document is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    pub(crate) version: u64,
    pub(crate) remote: u64,
    pub(crate) rebuilt: u64,
    /// The engine is gone: nothing will change any more.
    pub(crate) closed: bool,
}

/// How far local changes got.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// Changes up to this number are durable.
    pub(crate) durable: u64,
    /// Changes up to this number failed, unless they are durable: they may become it.
    pub(crate) failed: Option<(u64, CommitError)>,
    /// What will be in no entry, whatever becomes of later changes.
    lost: Vec<(RangeInclusive<u64>, CommitError)>,
}

impl Progress {
    /// What became of a change; `None` while that is open.
    pub(crate) fn outcome(&self, number: u64) -> Option<Result<(), CommitError>> {
        if let Some((_, error)) = self.lost.iter().find(|(numbers, _)| numbers.contains(&number)) {
            return Some(Err(error.clone()));
        }
        if self.durable >= number {
            return Some(Ok(()));
        }
        self.failed.as_ref().filter(|(up_to, _)| *up_to >= number).map(|(_, error)| Err(error.clone()))
    }
}

pub(crate) struct Cell {
    pub(crate) context: ContextId,
    pub(crate) id: DocumentId,
    pub(crate) crdt: Arc<dyn CrdtType>,
    /// Whose changes are made here: derived from the log that this replica writes.
    actor: Mutex<ActorSeed>,
    /// Marked while there are local changes for the driver to take.
    inner: Handover<Inner>,
    loaded: Condvar,
    pub(crate) marks: watch::Sender<Mark>,
    pub(crate) progress: watch::Sender<Progress>,
    wake: Box<dyn Fn(Command) + Send + Sync>,
    own: std::sync::Weak<Cell>,
    /// The load that makes the document: what one that began earlier makes of it is out of date.
    awaited: AtomicU64,
    /// What a single change may be.
    pub(crate) limits: Limits,
    /// Whether payloads go to the library one by one, since it panicked over several.
    one_by_one: AtomicBool,
    /// Whether it is shown though it cannot be changed, since no other log can be begun yet.
    shows_held_up: AtomicBool,
}

#[derive(Default)]
pub(crate) struct Inner {
    /// `None` while it is being loaded.
    pub(crate) doc: Option<Box<dyn CrdtDocument>>,
    /// Why it could not be loaded: until it is loaded again, if it is.
    pub(crate) broken: Option<String>,
    /// How many local changes were made.
    pub(crate) made: u64,
    /// Local changes up to this number were taken out of the document: they are written, in the backlog, or lost.
    aside: u64,
    /// Local changes that were taken out of the document and are in no entry yet, for the driver.
    pub(crate) backlog: Vec<Unwritten>,
}

/// Local changes as one payload.
pub(crate) struct Unwritten {
    pub(crate) payload: Vec<u8>,
    /// Once it is written, all changes up to this number are.
    pub(crate) through: u64,
}

/// How many bytes a strategy adds to a payload at most, beside what hides its length.
const SEALED: usize = 1024;

/// Why a document of an engine that was closed is not loaded.
const CLOSED: &str = "the engine is closed";

thread_local! {
    /// The documents that this thread has locked: to lock one twice is an error, not a deadlock.
    static HELD: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// How many local changes that are not durable may leave from the threads that make them. A burst is left to the driver's
/// thread: by the time that wakes up, many changes make one entry.
const FEW: u64 = 4;

/// The lock of a cell. When it is given back, local changes that came meanwhile are announced.
pub(crate) struct Held<'a> {
    guard: Option<MutexGuard<'a, Inner>>,
    cell: &'a Cell,
}

impl Deref for Held<'_> {
    type Target = Inner;

    #[allow(clippy::expect_used)] // the guard is only taken out while waiting and in drop
    fn deref(&self) -> &Inner {
        self.guard.as_ref().expect("held until dropped")
    }
}

impl DerefMut for Held<'_> {
    #[allow(clippy::expect_used)]
    fn deref_mut(&mut self) -> &mut Inner {
        self.guard.as_mut().expect("held until dropped")
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let address = std::ptr::from_ref(self.cell) as usize;
        let holds_none = HELD.with_borrow_mut(|held| {
            held.retain(|other| *other != address);
            held.is_empty()
        });
        let made = self.guard.as_ref().map_or(0, |inner| inner.made);
        self.cell.inner.give_back(self.guard.take(), || {
            if let Some(cell) = self.cell.own.upgrade() {
                let few = made.saturating_sub(cell.progress.borrow().durable) <= FEW;
                // What this thread has locked the driver may want.
                (self.cell.wake)(Command::Dirty { cell, here: holds_none && few });
            }
        });
    }
}

impl Held<'_> {
    /// Puts what was changed since the last time into the backlog. A document that cannot give it back is no document any more.
    pub(crate) fn set_local_aside(&mut self) {
        let limits = self.cell.limits_of_parts();
        let Inner { doc, backlog, made, aside, .. } = &mut **self;
        let Some(loaded) = doc else { return };
        let before = std::mem::replace(aside, *made);
        let taken = guarded(|| {
            while let Some(payload) = loaded.take_local(&limits)? {
                backlog.push(Unwritten { payload, through: before });
            }
            Ok(())
        });
        if let Err(error) = taken {
            *doc = None;
            let lost = before + 1..=*made;
            self.cell.lose(lost, CommitError::Refused(error));
        } else if let Some(last) = backlog.last_mut() {
            last.through = *made;
        }
    }

    /// Whether there are changes that are in no entry.
    pub(crate) fn has_unwritten(&self) -> bool {
        !self.backlog.is_empty() || self.made > self.aside
    }

    /// Gives up every change after the first so many, and the document, which has them. Answers up to which number nothing is
    /// left to be written.
    pub(crate) fn abandon(&mut self, written: u64, error: CommitError) -> u64 {
        self.cell.await_no_load();
        self.doc = None;
        self.backlog.clear();
        self.aside = self.made;
        self.cell.lose(written + 1..=self.made, error);
        self.made
    }

    /// Takes the document out, to be loaded again. What was changed in it and is in no entry yet is kept for the driver. Once
    /// the engine is closed nobody loads it any more.
    pub(crate) fn take_out(&mut self) {
        self.set_local_aside();
        self.doc = None;
        if self.cell.marks.borrow().closed && self.broken.is_none() {
            self.broken = Some(CLOSED.into());
            self.cell.say_loaded();
        }
    }
}

/// Why a document cannot be locked.
#[derive(Debug)]
pub(crate) enum NotHeld {
    /// The thread has it locked already.
    Already,
    /// It is being loaded, and that may wait for another document, which this thread has locked.
    Loading,
    /// Another thread has it locked, and may wait for another document, which this thread has locked.
    Busy,
}

/// How long whoever has a document locked waits for another one, to get it or for it to be loaded.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it looks meanwhile whether it gets it: a lock has nobody to tell it when a time is over.
const GLANCE: Duration = Duration::from_micros(200);

impl Cell {
    pub(crate) fn new(
        context: ContextId,
        id: DocumentId,
        crdt: Arc<dyn CrdtType>,
        actor: ActorSeed,
        limits: Limits,
        wake: impl Fn(Command) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            context,
            id,
            crdt,
            actor: Mutex::new(actor),
            inner: Handover::default(),
            loaded: Condvar::new(),
            marks: watch::Sender::new(Mark::default()),
            progress: watch::Sender::new(Progress::default()),
            wake: Box::new(wake),
            own: own.clone(),
            awaited: AtomicU64::new(0),
            limits,
            one_by_one: AtomicBool::new(false),
            shows_held_up: AtomicBool::new(false),
        })
    }

    /// Whether this thread has no document locked.
    pub(crate) fn this_thread_holds_none() -> bool {
        HELD.with_borrow(Vec::is_empty)
    }

    pub(crate) fn actor(&self) -> ActorSeed {
        *self.actor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether payloads go to the library one by one.
    pub(crate) fn is_one_by_one(&self) -> bool {
        self.one_by_one.load(Ordering::Relaxed)
    }

    /// From here on payloads go to the library one by one.
    pub(crate) fn go_one_by_one(&self) {
        self.one_by_one.store(true, Ordering::Relaxed);
    }

    /// Whether it is shown though it cannot be changed.
    pub(crate) fn shows_held_up(&self) -> bool {
        self.shows_held_up.load(Ordering::Relaxed)
    }

    /// Says whether it is. True if that is news.
    pub(crate) fn show_held_up(&self, shows: bool) -> bool {
        self.shows_held_up.swap(shows, Ordering::Relaxed) != shows
    }

    /// Only what this load makes becomes the document.
    pub(crate) fn await_load(&self, number: u64) {
        self.awaited.store(number, Ordering::Release);
    }

    /// Nothing that was begun becomes the document. With the lock held; loads are numbered from 1.
    pub(crate) fn await_no_load(&self) {
        self.await_load(0);
    }

    /// Whether a load still counts. With the lock held, it does until that is given back.
    pub(crate) fn awaits(&self, load: u64) -> bool {
        self.awaited.load(Ordering::Acquire) == load
    }

    /// What goes together into one payload, so that it fits into an entry once it is sealed: some strategies hide how long it is.
    fn limits_of_parts(&self) -> Limits {
        let mut limits = self.limits;
        limits.payload_bytes = (limits.payload_bytes / 9 * 8).saturating_sub(SEALED);
        limits
    }

    /// Locks it for what a load made of it, unless it is being loaded anew, or is no document any more.
    pub(crate) fn hold_for(&self, load: u64) -> Option<Held<'_>> {
        let held = self.hold_any();
        self.awaits(load).then_some(held)
    }

    /// From when the document is loaded next: whoever calls this loads it.
    pub(crate) fn set_actor(&self, actor: ActorSeed) {
        *self.actor.lock().unwrap_or_else(PoisonError::into_inner) = actor;
    }

    /// Locks the document, waiting for others and for it to be loaded.
    pub(crate) fn hold(&self) -> Result<Held<'_>, NotHeld> {
        let address = std::ptr::from_ref(self) as usize;
        if HELD.with_borrow(|held| held.contains(&address)) {
            return Err(NotHeld::Already);
        }
        let is_loading = |inner: &mut Inner| inner.doc.is_none() && inner.broken.is_none();
        if Self::this_thread_holds_none() {
            let guard = self.inner.lock();
            let guard = self.loaded.wait_while(guard, is_loading).unwrap_or_else(PoisonError::into_inner);
            return Ok(self.held(guard));
        }
        let guard = self.lock_patiently().ok_or(NotHeld::Busy)?;
        let waited = self.loaded.wait_timeout_while(guard, PATIENCE, is_loading);
        let (guard, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        let held = self.held(guard); // also to give it back: that says so if there is something to take
        if waited.timed_out() { Err(NotHeld::Loading) } else { Ok(held) }
    }

    /// Waits for others, but not for ever: who has this one may be waiting for what this thread has.
    fn lock_patiently(&self) -> Option<MutexGuard<'_, Inner>> {
        let began = Instant::now();
        loop {
            if let Some(guard) = self.inner.try_lock() {
                return Some(guard);
            }
            if began.elapsed() >= PATIENCE {
                return None;
            }
            thread::sleep(GLANCE);
        }
    }

    fn held<'a>(&'a self, guard: MutexGuard<'a, Inner>) -> Held<'a> {
        HELD.with_borrow_mut(|held| held.push(std::ptr::from_ref(self) as usize));
        Held { guard: Some(guard), cell: self }
    }

    /// Locks it whether it is loaded or not, if nobody else has it. For the driver, which waits for nobody.
    pub(crate) fn try_hold(&self) -> Option<Held<'_>> {
        self.inner.try_lock().map(|guard| self.held(guard))
    }

    /// Whether there are changes that are in no entry: they may be waiting for a key. If somebody has it, there may be.
    pub(crate) fn has_unwritten(&self) -> bool {
        self.try_hold().is_none_or(|held| held.has_unwritten())
    }

    /// Whether it is being loaded, and there are changes for it that are in no entry. If somebody has it, it may be.
    pub(crate) fn waits_with_changes(&self) -> bool {
        let waits = |held: Held<'_>| held.doc.is_none() && held.broken.is_none() && !held.backlog.is_empty();
        self.try_hold().is_none_or(waits)
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn is_settled(&self) -> bool {
        let guard = self.inner.lock();
        guard.doc.is_some() || guard.broken.is_some()
    }

    /// Locks it whether it is loaded or not. For the worker.
    pub(crate) fn hold_any(&self) -> Held<'_> {
        self.held(self.inner.lock())
    }

    /// Lets those go on who wait for the document to be loaded.
    pub(crate) fn say_loaded(&self) {
        self.loaded.notify_all();
    }

    /// There is something for the driver to take: it is told when the lock is given back.
    pub(crate) fn mark_dirty(&self) {
        self.inner.mark();
    }

    /// Whether there is something for the driver to take.
    pub(crate) fn is_dirty(&self) -> bool {
        self.inner.is_marked()
    }

    /// The driver takes what there is now.
    pub(crate) fn clear_dirty(&self) {
        self.inner.clear();
    }

    pub(crate) fn say_changed(&self, remote: bool, rebuilt: bool) {
        self.marks.send_modify(|mark| {
            mark.version += 1;
            mark.remote += u64::from(remote);
            mark.rebuilt += u64::from(rebuilt);
        });
    }

    pub(crate) fn fail(&self, up_to: u64, error: CommitError) {
        self.progress.send_modify(|progress| progress.failed = Some((up_to, error)));
    }

    /// These changes will be in no entry. Where several were made at once, one of which cannot be written, the others are said to
    /// be lost with it even if they are not.
    pub(crate) fn lose(&self, numbers: RangeInclusive<u64>, error: CommitError) {
        if !numbers.is_empty() {
            self.progress.send_modify(|progress| progress.lost.push((numbers, error)));
        }
    }

    /// The engine is gone: whoever waits for something of it is told so.
    pub(crate) fn close(&self) {
        self.fail(u64::MAX, CommitError::Closed);
        self.say_closed();
        let mut held = self.hold_any();
        if held.doc.is_none() && held.broken.is_none() {
            self.await_no_load();
            held.broken = Some(CLOSED.into());
        }
        drop(held);
        self.say_loaded();
    }

    /// Nothing will change any more.
    pub(crate) fn say_closed(&self) {
        self.marks.send_modify(|mark| mark.closed = true);
    }

    /// Calls with the node, on the driver's thread.
    pub(crate) async fn with_node<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Node, Now) -> R + Send + 'static,
    ) -> Result<R, EngineError> {
        let (reply, answer) = oneshot::channel();
        (self.wake)(Command::Node(Box::new(move |node, now| {
            let _ = reply.send(call(node, now));
        })));
        answer.await.map_err(|_| EngineError::Closed)
    }

    /// The document is no longer this engine's: handles show no more of it and take no more changes.
    pub(crate) fn end(&self, why: &str) {
        let mut held = self.hold_any();
        self.await_no_load();
        held.doc = None;
        held.broken = Some(why.into());
        drop(held);
        self.say_closed();
        self.say_loaded();
    }

    /// Asks for the document to be loaded again.
    pub(crate) fn ask_reload(&self) {
        if let Some(cell) = self.own.upgrade() {
            (self.wake)(Command::Reload(cell));
        }
    }
}

impl std::fmt::Debug for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cell").field("context", &self.context).field("id", &self.id).finish_non_exhaustive()
    }
}
