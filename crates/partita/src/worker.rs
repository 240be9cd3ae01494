//! The thread that makes documents of what the store has, and opens payloads of others and applies them, in order, away from
//! the driver.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread,
};

use partita_core::{
    ActorSeed, Applied, Bytes, CrdtDocument, CrdtError, DocumentId, HeaderPrefix, Limits, LogId, Opened, PayloadOpener,
    Store, StoreError, WaitReason, document_id,
    planted::{Bug, planted},
};
use partita_protocol::Arrival;
use tokio::sync::oneshot;

use crate::{
    cell::Cell,
    host::{Command, Reading, Reason, Reply, SetAside},
    jobs::Jobs,
    rebuild::Rebuild,
};

/// The bytes before an imported history in what creates a document: type and nonce.
pub(crate) const CREATE_HEAD: usize = 20;

/// How many small documents are loaded, when that many wait, before those who asked for them are told. To wake somebody takes
/// about as long as to make such a document.
const TOLD_TOGETHER: usize = 32;

/// The most of what a small document is made of.
const FEW_ITEMS: usize = 16;
const FEW_BYTES: usize = 4096;

/// One entry for a document.
pub(crate) struct Item {
    pub(crate) arrival: u64,
    pub(crate) log: LogId,
    pub(crate) seq: u64,
    pub(crate) kind: ItemKind,
    /// Whether this open of the engine wrote it, which validated it before.
    pub(crate) own: bool,
    /// Whether it was set aside before.
    pub(crate) retried: bool,
    pub(crate) payload: Result<Payload, Reason>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ItemKind {
    Create(DocumentId),
    Change,
    /// What a checkpoint has of the document: it goes first, before everything behind the checkpoint.
    Snapshot,
}

pub(crate) enum Payload {
    Plain(Bytes),
    /// As it came, with what opens it: that takes about a third of what judging and storing an entry does, so it is done
    /// here while the driver goes on with the next ones.
    Sealed(Arrival, Arc<dyn PayloadOpener>),
}

impl Payload {
    /// In bytes, as it came.
    fn len(&self) -> usize {
        match self {
            Self::Plain(plain) => plain.len(),
            Self::Sealed(arrival, _) => arrival.entry.payload.len(),
        }
    }
}

impl Item {
    /// The plain bytes, opened now if they are not yet.
    pub(crate) fn plain(&self) -> Result<Bytes, Reason> {
        match &self.payload {
            Ok(Payload::Plain(plain)) => Ok(plain.clone()),
            Ok(Payload::Sealed(Arrival { entry, author, epoch, .. }, opener)) => {
                let prefix = HeaderPrefix { header: &entry.header, author: *author, epoch: *epoch };
                // It is a plugin's, and all documents need this thread.
                let opened = catch_unwind(AssertUnwindSafe(|| opener.open(&prefix, &entry.payload)));
                plain(opened.unwrap_or(Opened::Bad))
            }
            Err(reason) => Err(*reason),
        }
    }
}

/// What a strategy or its opener said of a payload.
pub(crate) fn plain(opened: Opened) -> Result<Bytes, Reason> {
    match opened {
        Opened::Plain(plain) => Ok(plain),
        Opened::Wait(WaitReason::Key(_)) => Err(Reason::AwaitingKey),
        Opened::Wait(WaitReason::Withheld(_)) => Err(Reason::Withheld),
        Opened::Bad => Err(Reason::BadSeal),
    }
}

pub(crate) enum Job {
    /// Reads what a document is made of.
    Read(Box<Reading>),
    /// Makes the document of that, then tells those who wait for it.
    Load { parts: DocumentParts, replies: Vec<Reply> },
    /// Applies what came.
    Apply { cell: Arc<Cell>, items: Vec<Item> },
    /// Makes a snapshot of everything up to an arrival, unless there are local changes that no entry has yet.
    Snapshot { cell: Arc<Cell>, through: u64, taken: u64 },
    /// Goes on making a document for a checkpoint.
    Rebuild(Box<Rebuild>),
    /// Answers when everything before is done and told to the driver.
    Fence(oneshot::Sender<()>),
}

/// What a document is made of: a snapshot, if there is one, then entries in this order.
pub(crate) struct DocumentParts {
    pub(crate) cell: Arc<Cell>,
    /// Which load this is.
    pub(crate) number: u64,
    pub(crate) snapshot: Option<Vec<u8>>,
    pub(crate) items: Vec<Item>,
}

impl DocumentParts {
    /// Whether it takes no time worth mentioning to make a document of this.
    fn are_few(&self) -> bool {
        let payloads = self.items.iter().map(|item| item.payload.as_ref().map_or(0, Payload::len));
        self.items.len() <= FEW_ITEMS
            && self.snapshot.as_ref().map_or(0, Vec::len) + payloads.sum::<usize>() <= FEW_BYTES
    }
}

/// A document is loaded, and who waits for it.
struct Answers(Arc<Cell>, Vec<Reply>);

impl Answers {
    fn give(self) {
        let Self(cell, replies) = self;
        replies.into_iter().for_each(|reply| reply.answer(Ok(cell.clone())));
    }
}

/// The way to the worker. When it is dropped, the worker has done everything that it was sent, and has let go of the store.
pub(crate) struct WorkerHandle {
    jobs: Option<mpsc::Sender<Job>>,
    /// None where somebody else says when it works.
    thread: Option<thread::JoinHandle<()>>,
}

impl WorkerHandle {
    /// Starts the thread.
    pub(crate) fn start(worker: Worker) -> Result<Self, StoreError> {
        let (jobs, receiver) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("partita-documents".into())
            .spawn(move || worker.run(&receiver))
            .map_err(|error| StoreError::Io(format!("cannot start a thread: {error}")))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Jobs for a worker that works when it is told.
    #[cfg(feature = "simulation")]
    pub(crate) fn stepped() -> (Self, mpsc::Receiver<Job>) {
        let (jobs, receiver) = mpsc::channel();
        (Self { jobs: Some(jobs), thread: None }, receiver)
    }

    pub(crate) fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job); // a worker that died has said so
        }
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.jobs = None;
        // It may be the worker itself that ends the driver, by a panic of it.
        if let Some(thread) = self.thread.take().filter(|worker| worker.thread().id() != thread::current().id()) {
            let _ = thread.join();
        }
    }
}

/// An entry that cannot be used, and why.
type Unusable<'i> = (&'i Item, Reason, String);

pub(crate) struct Worker {
    limits: Limits,
    store: Arc<dyn Store>,
    driver: Arc<dyn Fn(Command) + Send + Sync>,
}

impl Worker {
    pub(crate) fn new(limits: Limits, store: Arc<dyn Store>, driver: Arc<dyn Fn(Command) + Send + Sync>) -> Self {
        Self { limits, store, driver }
    }

    fn run(&self, receiver: &mpsc::Receiver<Job>) {
        let mut jobs = Jobs::default();
        let mut loaded: Vec<Answers> = Vec::new();
        loop {
            while let Ok(job) = receiver.try_recv() {
                jobs.push(job);
            }
            let goes_on = matches!(jobs.peek(), Some(Job::Load { parts, .. }) if parts.are_few());
            if !goes_on || loaded.len() == TOLD_TOGETHER {
                loaded.drain(..).for_each(Answers::give);
            }
            match jobs.pop() {
                Some(Job::Load { parts, replies }) => loaded.push(self.load_for(&parts, replies)),
                Some(job) => self.perform(job),
                None => match receiver.recv() {
                    Ok(job) => jobs.push(job),
                    Err(_) => return,
                },
            }
        }
    }

    pub(crate) fn perform(&self, job: Job) {
        match job {
            Job::Read(reading) => {
                let loaded = Box::new(reading.perform(&*self.store));
                // If the driver is at rest, the job that follows from it is this thread's next, and nobody has to be woken.
                (self.driver)(Command::Loaded { loaded, here: true });
            }
            Job::Load { parts, replies } => self.load_for(&parts, replies).give(),
            Job::Apply { cell, items } => self.apply(&cell, &items),
            Job::Snapshot { cell, through, taken } => self.snapshot(&cell, through, taken),
            Job::Rebuild(rebuild) => {
                let task = rebuild.task;
                let (rebuilt, bad) = rebuild.go_on(&self.limits);
                (self.driver)(Command::Rebuilt { task, rebuilt, bad });
            }
            Job::Fence(done) => (self.driver)(Command::Fence(done)),
        }
    }

    fn load_for(&self, parts: &DocumentParts, replies: Vec<Reply>) -> Answers {
        self.load(parts);
        Answers(parts.cell.clone(), replies)
    }

    fn load(&self, parts: &DocumentParts) {
        let DocumentParts { cell, number, snapshot, items } = parts;
        if !cell.awaits(*number) {
            return; // it is loaded anew
        }
        let of_checkpoint = items.iter().take_while(|item| item.kind == ItemKind::Snapshot).count();
        let (of_checkpoint, items) = items.split_at(of_checkpoint);
        let made = match (snapshot, of_checkpoint) {
            (Some(snapshot), _) => guarded(|| cell.crdt.load(snapshot, cell.actor())).map_err(|_| None),
            (None, []) => guarded(|| Ok(cell.crdt.create(cell.actor()))).map_err(|error| Some(error.to_string())),
            (None, of_checkpoint) => self.load_checkpoint(cell, of_checkpoint).map_err(|(item, reason, detail)| {
                // Everybody who could attest it did: what is wrong is here. Nothing else stands for the document.
                self.set_aside(cell, item, reason, detail);
                Some(reason.to_string())
            }),
        };
        let sound =
            made.and_then(|mut doc| if self.apply_to(cell, &mut *doc, items, false) { Ok(doc) } else { Err(None) });
        let Some(mut held) = cell.hold_for(*number) else { return };
        match sound {
            Ok(mut doc) => {
                doc.set_limits(cell.limits);
                // Local changes that were taken out of the document before it was loaded again, and are in no entry yet.
                let backlog: Vec<&[u8]> = held.backlog.iter().map(|unwritten| &unwritten.payload[..]).collect();
                if apply_all(cell, &mut *doc, &backlog).is_none() {
                    drop(held);
                    return (self.driver)(Command::ReloadAfresh(cell.clone()));
                }
                if doc.is_held_up() && !cell.shows_held_up() {
                    drop(held);
                    return (self.driver)(Command::HeldUp { cell: cell.clone(), number: *number });
                }
                held.doc = Some(doc);
                held.broken = None;
            }
            Err(Some(why)) => held.broken = Some(why),
            Err(None) => {
                drop(held);
                return (self.driver)(Command::ReloadAfresh(cell.clone()));
            }
        }
        if held.made > 0 || !held.backlog.is_empty() {
            cell.mark_dirty(); // what waited for this is written now, and who waits for it is told
        }
        drop(held);
        cell.say_loaded();
        cell.say_changed(true, false);
    }

    /// The document as checkpoints have it, of which there are several where they were made side by side.
    fn load_checkpoint<'i>(&self, cell: &Cell, items: &'i [Item]) -> Result<Box<dyn CrdtDocument>, Unusable<'i>> {
        let mut doc: Option<Box<dyn CrdtDocument>> = None;
        for item in items {
            let plain = item.plain().map_err(|reason| (item, reason, reason.to_string()))?;
            let snapshot = plain.strip_prefix(&cell.crdt.id().0);
            let snapshot = snapshot.ok_or_else(|| (item, Reason::UnknownType, Reason::UnknownType.to_string()))?;
            let taken = match &mut doc {
                Some(doc) => guarded(|| doc.merge(snapshot)),
                None => guarded(|| cell.crdt.load(snapshot, cell.actor())).map(|loaded| doc = Some(loaded)),
            };
            taken.map_err(|error| (item, Reason::from(&error), error.to_string()))?;
        }
        Ok(doc.unwrap_or_else(|| cell.crdt.create(cell.actor())))
    }

    fn apply(&self, cell: &Arc<Cell>, items: &[Item]) {
        let mut held = cell.hold_any();
        // It is being loaded again: that reads these entries too.
        let Some(doc) = &mut held.doc else { return };
        let sound = doc.is_sound() && self.apply_to(cell, &mut **doc, items, true);
        if !sound {
            held.take_out();
        }
        drop(held);
        if sound {
            cell.say_changed(true, false);
        } else {
            (self.driver)(Command::ReloadAfresh(cell.clone()));
        }
    }

    /// Applies what can be applied and reports the rest; false when the document is damaged and must be loaded again. What damages
    /// one that somebody has may be an observer of the application: it is the payload's fault if it does so again while the
    /// document is loaded, when nobody has it.
    fn apply_to(&self, cell: &Arc<Cell>, doc: &mut dyn CrdtDocument, items: &[Item], is_live: bool) -> bool {
        let mut good: Vec<(&Item, Bytes)> = Vec::with_capacity(items.len());
        for item in items {
            match self.payload(cell, item) {
                Ok(payload) if !payload.is_empty() => good.push((item, payload)),
                Ok(_) => {}
                Err((reason, detail)) => {
                    self.set_aside(cell, item, reason, detail);
                    if planted(Bug::SetAsideBlocks) {
                        break;
                    }
                }
            }
        }
        let payloads: Vec<&[u8]> = good.iter().map(|(_, payload)| &payload[..]).collect();
        if payloads.is_empty() {
            return true;
        }
        let Some(outcomes) = apply_all(cell, doc, &payloads) else { return false };
        let settled: Vec<u64> = good
            .iter()
            .zip(&outcomes)
            .filter(|((item, _), outcome)| item.retried && outcome.is_ok())
            .map(|((item, _), _)| item.arrival)
            .collect();
        if !settled.is_empty() {
            (self.driver)(Command::Settled(cell.context, cell.id, settled));
        }
        for ((item, _), outcome) in good.iter().zip(outcomes) {
            if let Err(error) = outcome {
                let is_poisoned = matches!(error, CrdtError::Poisoned(_));
                if !(is_live && is_poisoned) {
                    self.set_aside(cell, item, Reason::from(&error), error.to_string());
                }
                if is_poisoned {
                    // What comes after it was not tried: it is, when the document is loaded again.
                    return false;
                }
            }
        }
        true
    }

    /// What of an entry's plain bytes goes into the document, once they are known to be harmless.
    fn payload(&self, cell: &Cell, item: &Item) -> Result<Bytes, (Reason, String)> {
        let plain = item.plain().map_err(|reason| (reason, reason.to_string()))?;
        let (payload, actor) = match item.kind {
            ItemKind::Change => (plain, Some(ActorSeed::derive(&item.log, &cell.id))),
            ItemKind::Snapshot => return Ok(Bytes::new()), // it is loaded, not applied
            ItemKind::Create(document) => {
                if document_id(&cell.context, &plain) != document || plain.len() < CREATE_HEAD {
                    return Err((Reason::WrongDocument, Reason::WrongDocument.to_string()));
                }
                if plain[..4] != cell.crdt.id().0 {
                    return Err((Reason::UnknownType, Reason::UnknownType.to_string()));
                }
                (plain.slice(CREATE_HEAD..), None)
            }
        };
        if !payload.is_empty() && (!item.own || item.kind != ItemKind::Change) {
            guarded(|| cell.crdt.validate(&payload, actor, &self.limits))
                .map_err(|error| (Reason::from(&error), error.to_string()))?;
        }
        Ok(payload)
    }

    fn set_aside(&self, cell: &Cell, item: &Item, reason: Reason, detail: String) {
        let set_aside = SetAside { document: cell.id, log: item.log, seq: item.seq, reason, detail };
        (self.driver)(Command::SetAside(cell.context, cell.id, item.arrival, set_aside));
    }

    fn snapshot(&self, cell: &Cell, through: u64, taken: u64) {
        let held = cell.hold_any();
        let Some(doc) = &held.doc else { return };
        if held.made != taken || !held.backlog.is_empty() {
            return; // it would hold changes that are in no entry: if they were lost, it would lie
        }
        if let Ok(bytes) = guarded(|| doc.snapshot()) {
            drop(held);
            let (context, document) = (cell.context, cell.id);
            (self.driver)(Command::Snapshot { context, document, value: bytes.into(), through });
        }
    }
}

/// A panic of the library is its error, not ours.
pub(crate) fn guarded<R>(call: impl FnOnce() -> Result<R, CrdtError>) -> Result<R, CrdtError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Err(CrdtError::Poisoned("the library panicked".into())))
}

/// Applies payloads at once; `None` when the library panicked over that. Which payload it was will be told when they go one
/// by one, into the document that is then loaded.
fn apply_all(cell: &Cell, doc: &mut dyn CrdtDocument, payloads: &[&[u8]]) -> Option<Vec<Result<Applied, CrdtError>>> {
    if payloads.is_empty() {
        return Some(Vec::new());
    }
    if cell.is_one_by_one() {
        return Some(one_by_one(doc, payloads));
    }
    let outcomes = catch_unwind(AssertUnwindSafe(|| doc.apply(payloads))).ok();
    if outcomes.is_none() {
        cell.go_one_by_one();
    }
    outcomes
}

/// Applies payloads up to the first that damages the document.
fn one_by_one(doc: &mut dyn CrdtDocument, payloads: &[&[u8]]) -> Vec<Result<Applied, CrdtError>> {
    let mut outcomes = Vec::with_capacity(payloads.len());
    for payload in payloads {
        let outcome = guarded(|| doc.apply(&[payload]).pop().unwrap_or(Ok(Applied::Known)));
        let poisoned = matches!(outcome, Err(CrdtError::Poisoned(_)));
        outcomes.push(outcome);
        if poisoned {
            break;
        }
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use partita_core::{ContextId, Incarnation};
    use partita_testing::MemoryStore;

    use super::*;
    use crate::touchy::Touchy;

    fn change(arrival: u64, payload: &'static [u8]) -> Item {
        let (log, payload) = (LogId::from_bytes([1; 16]), Ok(Payload::Plain(Bytes::from_static(payload))));
        Item { arrival, log, seq: arrival, kind: ItemKind::Change, own: false, retried: false, payload }
    }

    fn touchy_cell(number: u8) -> Arc<Cell> {
        let id = DocumentId::from_bytes([number; 32]);
        let actor = ActorSeed::derive(&LogId::from_bytes([2; 16]), &id);
        Cell::new(ContextId::from_bytes([1; 32]), id, Arc::new(Touchy), actor, Limits::default(), |_| {})
    }

    #[test]
    fn whoever_asked_for_a_small_document_is_told_before_a_large_one_is_made() {
        let (reply, mut answer) = oneshot::channel();
        let (small, large) = (touchy_cell(1), touchy_cell(2));
        let (jobs, receiver) = mpsc::channel();
        let load = |cell: &Arc<Cell>, payloads: &[&'static [u8]], replies| {
            cell.await_load(1);
            let items = (1..).zip(payloads).map(|(arrival, payload)| change(arrival, payload)).collect();
            let parts = DocumentParts { cell: cell.clone(), number: 1, snapshot: None, items };
            jobs.send(Job::Load { parts, replies }).unwrap();
        };
        load(&small, &[b"a"], vec![Reply(reply)]);
        // It panics over its last entry, of which the driver hears.
        load(&large, &[&[b"a" as &[u8]; FEW_ITEMS][..], &[b"c"]].concat(), Vec::new());
        drop(jobs);
        let (told, tells) = mpsc::channel();
        let answered = Mutex::new(move || answer.try_recv().is_ok());
        let driver = Arc::new(move |_| told.send(answered.lock().unwrap()()).unwrap());
        Worker::new(Limits::default(), Arc::new(MemoryStore::new(Incarnation::default())), driver).run(&receiver);
        assert!(tells.recv().unwrap());
    }

    #[test]
    fn a_library_that_panics_over_several_payloads_gets_them_one_by_one() {
        let said = Arc::new(Mutex::new(Vec::new()));
        let hears = said.clone();
        let driver = Arc::new(move |command| hears.lock().unwrap().push(command));
        let worker = Worker::new(Limits::default(), Arc::new(MemoryStore::new(Incarnation::default())), driver);
        let cell = touchy_cell(0);
        let mut poisoned = Vec::new();
        for number in 1..=3 {
            // As the engine does: what poisoned the document is left out when it is loaded again.
            let items = [(1, &b"a"[..]), (2, b"b"), (3, b"c"), (4, b"d")].into_iter();
            let items = items.filter(|(arrival, _)| !poisoned.contains(arrival));
            let items = items.map(|(arrival, payload)| change(arrival, payload)).collect();
            cell.await_load(number);
            let parts = DocumentParts { cell: cell.clone(), number, snapshot: None, items };
            worker.perform(Job::Load { parts, replies: Vec::new() });
            for command in said.lock().unwrap().drain(..) {
                if let Command::SetAside(_, _, arrival, set_aside) = command {
                    assert_eq!(set_aside.reason, Reason::Poisoned);
                    poisoned.push(arrival);
                }
            }
        }
        assert_eq!(poisoned, [3]);
        assert_eq!(cell.hold_any().doc.as_ref().unwrap().snapshot().unwrap(), b"abd");
    }
}
