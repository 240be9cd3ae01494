//! Loading documents: a snapshot, the entries after it, and what is on its way to the store.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use partita_core::{
    Bytes, ContextId, CrdtTypeId, DocumentId, Entry, EntryHeader, EntryId, EntryKind, EpochId, Key, LogId, LogSort,
    PayloadOpener, ReplicaId, Store, StoreError, Tip, document_id,
    planted::{Bug, planted},
};
use partita_protocol::{Appended, Arrival, CheckpointBase, reads};
use tokio::sync::oneshot;

use super::{
    Added, Context, EngineHost, Loading, Name, Slot,
    commands::Command,
    records::{Reason, SetAside, Snapshot},
};
use crate::{
    cell::Cell,
    error::{CommitError, DocumentError},
    uncreated::{Uncreated, Written},
    worker::{DocumentParts, Item, ItemKind, Job, Payload, plain},
};

/// Who waits for a document.
pub(crate) struct Reply(pub(crate) oneshot::Sender<Result<Arc<Cell>, DocumentError>>);

impl Reply {
    pub(crate) fn answer(self, answer: Result<Arc<Cell>, DocumentError>) {
        // Whoever asked may have gone.
        let _ = self.0.send(answer);
    }
}

/// What opens the payloads of a batch of one context's entries. For one batch alone: with the next control entry the
/// strategy may answer otherwise.
#[derive(Default)]
pub(super) struct Openers(BTreeMap<(ReplicaId, Option<EpochId>), Option<Opener>>);

type Opener = Arc<dyn PayloadOpener>;

impl Openers {
    fn of(&mut self, context: &Context<'_>, id: &ContextId, arrival: &Arrival) -> Option<Opener> {
        let known = self.0.entry((arrival.author, arrival.epoch));
        known.or_insert_with(|| context.node.opener(id, arrival)).clone()
    }
}

/// What is to be read of a document.
pub(crate) struct Reading {
    name: Name,
    number: u64,
    afresh: bool,
    relied_upon: Arc<CheckpointBase>,
}

impl Reading {
    pub(crate) fn perform(self, store: &dyn Store) -> Loaded {
        let Self { name, number, afresh, relied_upon } = self;
        let read = || read(store, name, afresh, relied_upon.snapshots(&name.1));
        // All documents need this thread.
        let result = catch_unwind(AssertUnwindSafe(read))
            .unwrap_or_else(|_| Err(StoreError::Damaged("reading a document panicked".into())));
        Loaded { name, number, base: relied_upon.claims(), result }
    }
}

/// What was read of a document.
pub(crate) struct Loaded {
    name: Name,
    number: u64,
    base: Vec<EntryId>,
    result: Result<Stored, StoreError>,
}

#[derive(Default)]
struct Stored {
    snapshot: Option<Bytes>,
    /// What checkpoints have of the document, where there is no later snapshot.
    base: Vec<(u64, Arc<Entry>)>,
    entries: BTreeMap<u64, Arc<Entry>>,
    /// What damaged the document before: it is not tried again.
    poisoned: Vec<(LogId, u64)>,
    /// What could not be used before, and may be now.
    set_aside: Vec<u64>,
}

impl Slot {
    pub(super) fn new(cell: Arc<Cell>, through: u64) -> Self {
        Self { cell: Some(cell), through, ..Self::empty() }
    }

    fn empty() -> Self {
        Self {
            cell: None,
            loading: None,
            through: 0,
            in_flight: std::collections::VecDeque::new(),
            taken: 0,
            since_snapshot: Added::default(),
            waiting: BTreeMap::new(),
            poisoned: std::collections::BTreeSet::new(),
            set_aside: BTreeMap::new(),
            used: 0,
            leaves: None,
            snapshot_of: 0,
        }
    }
}

fn read(store: &dyn Store, (context, document): Name, afresh: bool, base: &[Tip]) -> Result<Stored, StoreError> {
    let view = store.read()?;
    let snapshot = if afresh { None } else { view.get(&Key::Snapshot(context, document))? };
    // Where the snapshot ends, in clear: it is checked when the snapshot is opened.
    let through = snapshot
        .as_ref()
        .and_then(|value| value.get(5..13))
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_be_bytes);
    let through = through + u64::from(planted(Bug::SnapshotAhead) && snapshot.is_some());
    let mut stored = Stored { snapshot, ..Stored::default() };
    let mut wanted = Vec::new();
    SetAside::each(&*view, &context, Some(&document), |arrival, set_aside| {
        if set_aside.reason == Reason::Poisoned {
            stored.poisoned.push((set_aside.log, set_aside.seq));
        } else if set_aside.reason.is_retried() {
            stored.set_aside.push(arrival);
            if !afresh {
                wanted.push(arrival);
            }
        }
    })?;
    for tip in base.iter().filter(|_| stored.snapshot.is_none()) {
        stored.base.extend(reads::entry_at(&*view, &context, tip)?);
    }
    let mut take = |arrival: u64, entry: Entry| {
        if entry.header.kind.sort() == LogSort::Data {
            stored.entries.insert(arrival, Arc::new(entry));
        }
    };
    for arrival in wanted.into_iter().filter(|arrival| *arrival <= through) {
        reads::document_entries(&*view, &context, &document, arrival - 1, |arrival, entry| {
            take(arrival, entry);
            ControlFlow::Break(())
        })?;
    }
    reads::document_entries(&*view, &context, &document, through, |arrival, entry| {
        take(arrival, entry);
        ControlFlow::Continue(())
    })?;
    Ok(stored)
}

impl EngineHost {
    pub(super) fn on_get(&mut self, context: &mut Context<'_>, name: Name, reply: Reply) {
        let rounds = self.rounds;
        if let Some(slot) = self.slots.get_mut(&name) {
            slot.used = rounds;
            match (&mut slot.loading, &slot.cell) {
                (Some(loading), _) => loading.replies.push(reply),
                (None, Some(cell)) => reply.answer(Ok(cell.clone())),
                (None, None) => reply.answer(Err(DocumentError::NotFound(name.1))),
            }
            return;
        }
        let loading = Loading { replies: vec![reply], ..Loading::default() };
        self.slots.insert(name, Slot { loading: Some(loading), used: rounds, ..Slot::empty() });
        self.start_loading(context, name);
    }

    /// Loads a document again for the handles that are out there.
    pub(super) fn start_reload(&mut self, context: &mut Context<'_>, name: Name, afresh: bool) {
        let Some(slot) = self.slots.get_mut(&name) else { return };
        let Some(cell) = &slot.cell else { return };
        let another = Self::own_actor(context, name).filter(|actor| *actor != cell.actor());
        {
            let held = if context.must_not_wait { cell.try_hold() } else { Some(cell.hold_any()) };
            let Some(mut held) = held else {
                *self.reloads.entry(name).or_default() |= afresh;
                return;
            };
            // What was read before this makes no document any more.
            cell.await_no_load();
            held.take_out();
            if let Some(actor) = another {
                // The log that they were made for is over, and in another one they would be somebody else's.
                slot.taken = held.abandon(slot.taken, CommitError::RightLost);
                cell.set_actor(actor);
            }
        }
        match &mut slot.loading {
            Some(loading) => loading.afresh |= afresh,
            None => slot.loading = Some(Loading { afresh, ..Loading::default() }),
        }
        self.start_loading(context, name);
    }

    /// A document's entries were written while it was not there: what was read of it may lack them.
    pub(super) fn add_to_load(&mut self, context: &mut Context<'_>, name: Name) {
        let recent = context.node.recent(&name.0, &name.1).into_iter().map(|arrival| (arrival.arrival, arrival));
        match self.slots.get_mut(&name).and_then(|slot| slot.loading.as_mut()) {
            Some(loading) => loading.arrivals.extend(recent),
            // It is being made of what was read.
            None => self.start_reload(context, name, false),
        }
    }

    /// What is being loaded for the first time is read again: verdicts changed meanwhile.
    pub(super) fn load_afresh(&mut self, context: &mut Context<'_>, name: Name) {
        if let Some(loading) = self.slots.get_mut(&name).and_then(|slot| slot.loading.as_mut()) {
            loading.afresh = true;
            self.start_loading(context, name);
        }
    }

    fn start_loading(&mut self, context: &mut Context<'_>, name: Name) {
        let Some(slot) = self.slots.get_mut(&name) else { return };
        let Some(loading) = slot.loading.as_mut() else { return };
        self.loads += 1;
        loading.number = self.loads;
        if let Some(cell) = &slot.cell {
            cell.await_load(loading.number);
        }
        // What is not in the store yet is still in memory; what comes from here on is queued.
        for arrival in context.node.recent(&name.0, &name.1) {
            loading.arrivals.insert(arrival.arrival, arrival);
        }
        let relied_upon = context.node.checkpoint(&name.0);
        let reading = Box::new(Reading { name, number: loading.number, afresh: loading.afresh, relied_upon });
        if context.node.is_settled() {
            return self.read(reading);
        }
        // Records that are on their way to the store have to be seen, too: its thread gets to this after them.
        context.jobs.push(Box::new(|_| Command::Read(reading)));
    }

    /// Has the worker read what a document is made of, since it is to make it of that.
    pub(super) fn read(&self, reading: Box<Reading>) {
        self.worker.send(Job::Read(reading));
    }

    pub(super) fn on_loaded(&mut self, context: &mut Context<'_>, loaded: Box<Loaded>) {
        let Some(slot) = self.slots.get_mut(&loaded.name) else { return };
        let Some(loading) = slot.loading.as_mut().filter(|loading| loading.number == loaded.number) else {
            return; // it is being read again
        };
        if let Some(cell) = &slot.cell {
            if context.must_not_wait {
                return (self.wake)(Command::Loaded { loaded, here: false }); // there are handles, which may have it locked
            }
            if !Self::is_of_own_log(context, loaded.name, cell) {
                return self.start_reload(context, loaded.name, false);
            }
        }
        let Loaded { name, number, base, result } = *loaded;
        if context.node.checkpoint(&name.0).claims() != base {
            return self.start_loading(context, name);
        }
        let stored = result.as_ref().ok().and_then(|stored| stored.snapshot.as_ref());
        let snapshot = stored.map(|value| Snapshot::open(&name.0, &name.1, &self.at_rest, value));
        if matches!(snapshot, Some(None)) {
            // It is damaged. The entries that it stands for are in the store, or in a checkpoint.
            loading.afresh = true;
            context.node.delete_record(Key::Snapshot(name.0, name.1));
            return self.start_loading(context, name);
        }
        let Some(loading) = slot.loading.take() else { return };
        let Loading { mut arrivals, replies, .. } = loading;
        let stored = match result {
            Ok(stored) => stored,
            Err(error) => return self.give_up(name, &error.into(), replies),
        };
        // What was queued and was cut off since does not count.
        arrivals.retain(|at, queued| context.node.arrival(&name.0, *at, queued.entry.clone()).is_some());
        for (arrival, entry) in stored.entries {
            if let Some(found) = context.node.arrival(&name.0, arrival, entry) {
                arrivals.insert(arrival, found);
            }
        }
        if let Some(slot) = self.slots.get_mut(&name) {
            slot.poisoned.extend(stored.poisoned);
            for arrival in stored.set_aside {
                slot.set_aside.entry(arrival).or_default();
            }
            let is_poisoned = |header: &EntryHeader| slot.poisoned.contains(&(header.log, header.seq));
            arrivals.retain(|_, arrival| !is_poisoned(&arrival.entry.header));
        }
        let base = stored.base.into_iter().filter_map(|(at, entry)| context.node.arrival(&name.0, at, entry)).collect();
        match self.prepare(context, (name, number), snapshot.flatten(), base, arrivals) {
            Ok(parts) => self.worker.send(Job::Load { parts, replies }),
            Err(error) => self.give_up(name, &error, replies),
        }
    }

    /// A document cannot be loaded: whoever has it or asked for it is told, and the next one to ask has it tried again.
    fn give_up(&mut self, name: Name, error: &DocumentError, replies: Vec<Reply>) {
        if let Some(slot) = self.slots.remove(&name) {
            if let Some(cell) = &slot.cell {
                cell.end(&error.to_string());
            }
            self.ended.extend(slot.end(name.0, CommitError::Unusable(error.clone())));
        }
        replies.into_iter().for_each(|reply| reply.answer(Err(error.clone())));
    }

    /// Opens what was read.
    fn prepare(
        &mut self,
        context: &mut Context<'_>,
        (name, number): (Name, u64),
        snapshot: Option<Snapshot>,
        base: Vec<Arrival>,
        arrivals: BTreeMap<u64, Arrival>,
    ) -> Result<DocumentParts, DocumentError> {
        let (id, document) = name;
        let through = arrivals.keys().next_back().copied().unwrap_or(0);
        let through = snapshot.as_ref().map_or(through, |snapshot| snapshot.through.max(through));
        let mut created = snapshot.as_ref().map(|snapshot| snapshot.crdt);
        let (mut first, mut items, mut failure) = (Vec::new(), Vec::new(), DocumentError::NotFound(document));
        let mut openers = Openers::default();
        let (mut snapshots, mut uncreated) = (Vec::new(), Vec::new());
        let poisoned = self.slots.get(&name).map(|slot| &slot.poisoned);
        let is_poisoned = |item: &Item| poisoned.is_some_and(|poisoned| poisoned.contains(&(item.log, item.seq)));
        for base in &base {
            let item = self.item(context, name, base, &mut openers);
            let plain = plain_of(document, &item)?;
            match written_before(item.arrival, &plain) {
                Some(written) => uncreated.extend(written.filter(|item| !is_poisoned(item))),
                None => {
                    created = Some(snapshot_type(document, &plain)?);
                    snapshots.push(item);
                }
            }
        }
        for arrival in arrivals.values() {
            let item = self.item(context, name, arrival, &mut openers);
            let is_create = matches!(arrival.entry.header.kind, EntryKind::Create(_));
            if is_create && created.is_none() {
                match creates(&id, document, &item) {
                    Ok(crdt) => created = Some(crdt),
                    Err(error) => failure = error,
                }
            }
            if is_create { first.push(item) } else { items.push(item) }
        }
        let crdt = created.ok_or(failure)?;
        let crdt = self.types.get(&crdt).ok_or(DocumentError::UnknownType(crdt))?.clone();
        let log = context.node.own_log(&id).ok_or(DocumentError::NotFound(document))?;
        let known = self.slots.get(&name).and_then(|slot| slot.cell.clone());
        let cell = known.unwrap_or_else(|| self.new_cell(id, document, crdt, &log));
        cell.await_load(number);
        let mut added = Added::default();
        for arrival in arrivals.into_values() {
            added.add(arrival.entry.payload.len());
            self.keep_waiting(name, arrival, first.iter().chain(&items));
        }
        if let Some(slot) = self.slots.get_mut(&name) {
            slot.cell = Some(cell.clone());
            slot.through = slot.through.max(through);
            slot.since_snapshot = added;
        }
        // What creates the document goes first, whenever it came; before that what stands for all that is not here any more.
        first.splice(..0, snapshots);
        first.extend(uncreated);
        first.extend(items);
        Ok(DocumentParts { cell, number, snapshot: snapshot.map(|snapshot| snapshot.bytes), items: first })
    }

    /// An entry for the worker, which opens its payload if it can. What creates a document is opened here, where it is
    /// looked into, and so is what nothing opens without the strategy.
    pub(super) fn item(&self, context: &Context<'_>, name: Name, arrival: &Arrival, openers: &mut Openers) -> Item {
        let header = &arrival.entry.header;
        let (kind, opener) = match header.kind {
            EntryKind::Create(document) => (ItemKind::Create(document), None),
            EntryKind::Snapshot(_) => (ItemKind::Snapshot, None),
            _ => (ItemKind::Change, openers.of(context, &name.0, arrival)),
        };
        let payload = match opener {
            Some(opener) => Ok(Payload::Sealed(arrival.clone(), opener)),
            None => plain(context.node.open_payload(&name.0, arrival)).map(Payload::Plain),
        };
        // Not all that is of this replica: two programs can have one device's keys.
        let own = context.node.own_log(&name.0) == Some(header.log);
        let retried = self.slots.get(&name).is_some_and(|slot| slot.set_aside.contains_key(&arrival.arrival));
        Item { arrival: arrival.arrival, log: header.log, seq: header.seq, kind, own, retried, payload }
    }
}

/// What a local `Create` brings into its document.
pub(super) fn import_item(plain: &[u8], document: DocumentId, appended: Appended) -> Item {
    let Appended { arrival, log, seq, .. } = appended;
    Item {
        arrival,
        log,
        seq,
        kind: ItemKind::Create(document),
        own: true,
        retried: false,
        payload: Ok(Payload::Plain(Bytes::copy_from_slice(plain))),
    }
}

/// The bytes of what a document begins with.
fn plain_of(document: DocumentId, item: &Item) -> Result<Bytes, DocumentError> {
    item.plain().map_err(|reason| match reason {
        Reason::AwaitingKey => DocumentError::NoKey(document),
        Reason::Withheld => DocumentError::Withheld(document),
        reason => DocumentError::Bad(document, reason.to_string()),
    })
}

/// What a checkpoint has of a document from before it was created, if this is that: changes as they are.
fn written_before(arrival: u64, plain: &[u8]) -> Option<impl Iterator<Item = Item> + use<>> {
    let written = Uncreated::read(plain.strip_prefix(&Uncreated::ID.0)?).ok()?;
    let change = move |Written { log, seq, payload }| Item {
        arrival,
        log,
        seq,
        kind: ItemKind::Change,
        own: false,
        retried: false,
        payload: Ok(Payload::Plain(payload.into())),
    };
    Some(written.into_iter().map(change))
}

/// The CRDT type of the document of which a checkpoint has this snapshot.
fn snapshot_type(document: DocumentId, plain: &[u8]) -> Result<CrdtTypeId, DocumentError> {
    let id = plain.first_chunk::<4>();
    id.map(|id| CrdtTypeId(*id)).ok_or_else(|| DocumentError::Bad(document, Reason::Malformed.to_string()))
}

/// The CRDT type of the document that this item creates.
fn creates(context: &ContextId, document: DocumentId, item: &Item) -> Result<CrdtTypeId, DocumentError> {
    let plain = plain_of(document, item)?;
    if document_id(context, &plain) != document {
        return Err(DocumentError::Bad(document, Reason::WrongDocument.to_string()));
    }
    let head = plain.first_chunk::<4>().filter(|_| plain.len() >= 20);
    head.map(|crdt| CrdtTypeId(*crdt)).ok_or_else(|| DocumentError::Bad(document, Reason::Malformed.to_string()))
}
