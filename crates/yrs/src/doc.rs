use std::any::Any;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use partita_core::{
    ActorSeed, Applied, CrdtDocument, CrdtError, Digest, DocumentId, Limits, LogId, Transact as Outcome, digest_hasher,
};
use yrs::updates::decoder::Decode;
use yrs::{ClientID, Doc, OffsetKind, Options, ReadTxn, StateVector, Transact, Transaction, TransactionMut, Update};

use crate::held::{Held, Payload};
use crate::history::History;
use crate::lists::{Added, Lists, MAX_NESTING};
use crate::local::Local;
use crate::validate::{self, Id, Outline};
use crate::{Error, snapshot};

/// The refusal of everything after the library failed.
const DAMAGED: &str = "an earlier call failed; the document must be loaded again";

/// The client id of `actor`: 53 bits, never zero.
pub(crate) fn client_id(actor: &ActorSeed) -> u64 {
    let [a, b, c, d, e, f, g, ..] = *actor.as_bytes();
    (u64::from_le_bytes([a, b, c, d, e, f, g, 0]) & ((1 << 53) - 1)).max(1)
}

/// How a payload fits.
enum Fit {
    /// It is there already, or something else of its client at its clock.
    Known,
    /// It builds on this, which is not there.
    Lacks(Id),
    /// It contradicts what it builds on: only a broken or hostile replica made it.
    Never(CrdtError),
    /// It can be applied.
    Ready(Added),
}

/// A loaded Yrs document.
#[derive(Debug)]
pub struct YrsDoc {
    doc: Doc,
    held: Held,
    local: Local,
    /// Where everything is, and how much of each client is there: the library only counts all of them at once.
    lists: Lists,
    limits: Limits,
    damaged: bool,
}

impl YrsDoc {
    pub(crate) fn create(actor: &ActorSeed) -> Self {
        let client = client_id(actor);
        let options = Options {
            // JavaScript's offsets, so that positions mean the same to every Yjs.
            offset_kind: OffsetKind::Utf16,
            // Collection frees items that a hostile update can keep reachable (an item linked into two types).
            skip_gc: true,
            // It deletes on receipt, and those deletions would be in nobody's payload.
            cleanup_formatting: false,
            // The default draws randomness.
            ..Options::with_guid_and_client_id(format!("{client:x}").into(), ClientID::new(client))
        };
        let doc = Doc::with_options(options);
        Self {
            doc,
            held: Held::default(),
            local: Local::default(),
            lists: Lists::default(),
            limits: Limits::default(),
            damaged: false,
        }
    }

    pub(crate) fn load(bytes: &[u8], actor: &ActorSeed) -> Result<Self, CrdtError> {
        let mut loaded = Self::create(actor);
        let (state, held) = snapshot::read(bytes)?;
        loaded.take_in(state)?;
        for payload in held {
            loaded.apply_one(payload)?;
        }
        Ok(loaded)
    }

    /// The library's own document, for reading, observing and sticky indices. Changes made through it, rather than in
    /// [`transact`](partita_core::DocumentType::transact), are not replicated: the next transaction fails, and the document is
    /// loaded again without them. An `UndoManager` makes such changes. To undo something, write what takes it back.
    pub fn doc(&self) -> &Doc {
        &self.doc
    }

    pub(crate) fn transact<R>(
        &mut self,
        f: impl FnOnce(&mut TransactionMut<'_>) -> Result<R, Error>,
    ) -> Result<R, Outcome<Error>> {
        if self.damaged {
            return Err(Outcome::Reload(None));
        }
        // What does not follow them would contradict them.
        if self.is_held_up() {
            let waits = "earlier changes of this replica wait for others'";
            return Err(Outcome::Refused(CrdtError::Malformed(waits)));
        }
        // Until the transaction has committed in peace.
        self.damaged = true;
        let (doc, limits, before) = (self.doc.clone(), self.limits, self.local.len());
        let (local, lists) = (&mut self.local, &mut self.lists);
        let attempt = catch_unwind(AssertUnwindSafe(|| {
            let mut txn = doc.transact_mut();
            // Somebody wrote behind our back. What goes on from that would wait everywhere for what nobody has.
            let own = doc.client_id();
            if txn.before_state().get(&own) != lists.clock(own.get()) {
                return Err(Outcome::Reload(None));
            }
            let result = f(&mut txn).map_err(|error| Outcome::Reload(Some(error)))?;
            if txn.has_changes() {
                let (update, outline) = publishable(&txn, &limits).map_err(Outcome::Refused)?;
                let added = lists.admit(&update, &outline).map_err(Outcome::Refused)?;
                lists.add(added);
                local.note(&txn, doc.client_id(), update, outline.nesting);
            }
            // An observer of the application may panic here.
            drop(txn);
            Ok(result)
        }));
        if attempt.is_err() {
            self.local.truncate(before);
        }
        match attempt {
            Ok(Ok(result)) => {
                self.damaged = false;
                // Somebody may have written on top of this before it was written: others apply that now.
                let woken = if self.held.len() > 0 { self.wake(vec![self.doc.client_id().get()]) } else { Ok(()) };
                debug_assert!(woken.is_ok() || self.damaged, "it is loaded again");
                Ok(result)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Outcome::Reload(None)),
        }
    }

    pub(crate) fn view<R>(&self, f: impl FnOnce(&Transaction<'_>) -> R) -> R {
        f(&self.doc.transact())
    }

    fn clock(&self, client: u64) -> u32 {
        self.lists.clock(client)
    }

    /// Applies one payload, and whatever waited for it.
    fn apply_one(&mut self, bytes: &[u8]) -> Result<Applied, CrdtError> {
        if self.damaged {
            return Err(CrdtError::Poisoned(DAMAGED.into()));
        }
        let outline = validate::outline(bytes, None, &unlimited())?;
        if outline.place().is_some_and(|place| self.held.holds(&place)) {
            return Ok(Applied::Known);
        }
        let lacking = match self.fit(bytes, &outline) {
            Fit::Known => return Ok(Applied::Known),
            Fit::Ready(added) => return self.integrate_and_wake(bytes, &outline, added),
            Fit::Lacks(lacking) => Some(lacking),
            Fit::Never(error) if outline.place().is_none() => return Err(error),
            Fit::Never(_) => None,
        };
        decoded(bytes)?;
        let kept = self.held.keep(Payload { bytes: bytes.to_vec(), outline }, lacking);
        Ok(if kept { Applied::Done } else { Applied::Known })
    }

    /// How a payload fits. The answer depends on what it builds on and on what its author wrote before, and on nothing else
    /// that is there: every replica comes to the same.
    fn fit(&mut self, bytes: &[u8], outline: &Outline) -> Fit {
        if outline.place().is_some_and(|(client, start)| start < self.clock(client)) {
            return Fit::Known;
        }
        match lacking(outline, |client| self.clock(client)) {
            Some(lacking) => Fit::Lacks(lacking),
            None => self.lists.admit(bytes, outline).map_or_else(Fit::Never, Fit::Ready),
        }
    }

    /// Takes in what of a state is not here yet, by whomever it is, and whatever waited for it.
    fn take_in(&mut self, state: &[u8]) -> Result<(), CrdtError> {
        let outline = validate::outline(state, None, &unlimited())?;
        if lacking(&outline, |client| self.clock(client)).is_some() {
            return Err(CrdtError::Malformed("a state of which a part is missing"));
        }
        let added = self.lists.admit(state, &outline)?;
        self.integrate_and_wake(state, &outline, added).map(drop)
    }

    fn integrate_and_wake(&mut self, bytes: &[u8], outline: &Outline, added: Added) -> Result<Applied, CrdtError> {
        let applied = self.integrate(bytes, outline, added)?;
        self.wake(outline.sections.iter().map(|&(client, ..)| client).collect())?;
        Ok(applied)
    }

    /// Applies what waited for these clients to write more.
    fn wake(&mut self, mut news: Vec<u64>) -> Result<(), CrdtError> {
        while let Some(client) = news.pop() {
            for payload in self.held.wake(client, self.clock(client)) {
                match self.fit(&payload.bytes, &payload.outline) {
                    Fit::Known => {}
                    Fit::Lacks(lacking) => drop(self.held.keep(payload, Some(lacking))),
                    Fit::Never(_) => drop(self.held.keep(payload, None)),
                    Fit::Ready(added) => {
                        self.integrate(&payload.bytes, &payload.outline, added)?;
                        news.extend(payload.outline.sections.iter().map(|&(client, ..)| client));
                    }
                }
            }
        }
        Ok(())
    }

    /// Hands a payload to the library, all of whose dependencies are there.
    fn integrate(&mut self, bytes: &[u8], outline: &Outline, added: Added) -> Result<Applied, CrdtError> {
        for &(client, start, end) in &outline.sections {
            let clock = self.clock(client);
            // What is held is skipped whole. A partial overlap is two contents for one clock, and yrs then links freed
            // memory.
            if clock > start && clock < end {
                return Err(CrdtError::Malformed("overlaps what its client wrote before"));
            }
        }
        let update = decoded(bytes)?;
        self.damaged = true;
        let attempt = catch_unwind(AssertUnwindSafe(|| {
            let mut txn = self.doc.transact_mut();
            txn.apply_update(update).map_err(|error| CrdtError::Poisoned(error.to_string()))?;
            if txn.has_missing_updates() {
                return Err(CrdtError::Poisoned("its structs wait for each other".into()));
            }
            Ok(if txn.has_changes() { Applied::Done } else { Applied::Known })
        }));
        let applied = attempt.unwrap_or_else(|_| Err(CrdtError::Poisoned("the library panicked".into())))?;
        self.damaged = false;
        self.lists.add(added);
        Ok(applied)
    }

    /// What waits, in a canonical order.
    fn waiting(&self) -> Vec<&[u8]> {
        self.held.all().map(|(payload, _)| payload).collect()
    }

    /// All of it as one update, as this library happens to write it.
    fn encoded(&self) -> Result<Vec<u8>, CrdtError> {
        if self.damaged {
            return Err(CrdtError::Poisoned(DAMAGED.into()));
        }
        let encode = || self.doc.transact().encode_state_as_update_v1(&StateVector::default());
        let state = catch_unwind(AssertUnwindSafe(encode));
        state.map_err(|_| CrdtError::Poisoned("the library could not encode the document".into()))
    }

    /// Compares what both documents are made of.
    fn compare(
        &self,
        other: &Self,
        compare: impl FnOnce(&History<'_>, &History<'_>) -> Result<bool, CrdtError>,
    ) -> Result<bool, CrdtError> {
        let (own, others) = (self.encoded()?, other.encoded()?);
        compare(&History::of(&own)?, &History::of(&others)?)
    }

    /// Whether all that waits in the other document is here, and what waits here is by these clients or waits there too.
    fn waits_like(&self, other: &Self, own: &History<'_>, theirs: &History<'_>, by: &[u64]) -> bool {
        let (waiting, waits_there): (HashSet<&[u8]>, HashSet<&[u8]>) =
            (self.waiting().into_iter().collect(), other.waiting().into_iter().collect());
        let has = |(payload, outline): (&[u8], &Outline)| {
            waiting.contains(payload) || outline.sections.iter().all(|(client, _, end)| own.end(*client) >= *end)
        };
        let is_theirs = |(payload, outline): (&[u8], &Outline)| {
            let is_known = |client: &u64, end: u32| theirs.end(*client) >= end || by.contains(client);
            waits_there.contains(payload) || outline.sections.iter().all(|(client, _, end)| is_known(client, *end))
        };
        self.held.all().all(is_theirs) && other.held.all().all(has)
    }
}

impl CrdtDocument for YrsDoc {
    fn apply(&mut self, payloads: &[&[u8]]) -> Vec<Result<Applied, CrdtError>> {
        payloads.iter().map(|payload| self.apply_one(payload)).collect()
    }

    fn take_local(&mut self, limits: &Limits) -> Result<Option<Vec<u8>>, CrdtError> {
        let doc = (!self.damaged).then_some(&self.doc);
        Ok(self.local.take(doc, self.doc.client_id(), limits))
    }

    fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    fn is_sound(&self) -> bool {
        !self.damaged
    }

    fn is_held_up(&self) -> bool {
        self.held.holds_some_of(self.doc.client_id().get())
    }

    fn snapshot(&self) -> Result<Vec<u8>, CrdtError> {
        let state = self.encoded()?;
        Ok(snapshot::write(&state, &self.waiting()))
    }

    fn pending(&self) -> usize {
        self.held.len()
    }

    fn digest(&self) -> Digest {
        let mut hasher = digest_hasher();
        let encoded = self.encoded();
        let hashed = encoded.and_then(|state| History::of(&state)?.hash(|bytes| hasher.update(bytes)));
        if hashed.is_err() {
            // It shows nothing until it is loaded again.
            hasher.update(DAMAGED.as_bytes());
        }
        hasher.finish()
    }

    fn same_history(&self, other: &dyn CrdtDocument) -> bool {
        other.as_any().downcast_ref::<Self>().is_some_and(|other| {
            self.waiting() == other.waiting() && self.compare(other, |own, other| own.is(other)).unwrap_or(false)
        })
    }

    fn extends(&self, other: &dyn CrdtDocument, by: &[ActorSeed]) -> bool {
        other.as_any().downcast_ref::<Self>().is_some_and(|other| {
            let by: Vec<u64> = by.iter().map(client_id).collect();
            self.compare(other, |own, theirs| {
                Ok(own.extends(theirs, &by) && self.waits_like(other, own, theirs, &by) && own.agrees(theirs)?)
            })
            .unwrap_or(false)
        })
    }

    fn merge(&mut self, bytes: &[u8]) -> Result<(), CrdtError> {
        let other = Self::load(bytes, &ActorSeed::derive(&LogId::default(), &DocumentId::default()))?;
        // What is here already must not come again: a struct that overlaps another in part is refused.
        let have = self.doc.transact().state_vector();
        let news = catch_unwind(AssertUnwindSafe(|| other.doc.transact().encode_state_as_update_v1(&have)));
        let news = news.map_err(|_| CrdtError::Poisoned("the library could not encode the snapshot".into()))?;
        if self.damaged {
            return Err(CrdtError::Poisoned(DAMAGED.into()));
        }
        self.take_in(&news)?;
        other.waiting().into_iter().try_for_each(|payload| self.apply_one(payload).map(drop))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// The update of a transaction, if every replica accepts it.
fn publishable(txn: &TransactionMut<'_>, limits: &Limits) -> Result<(Vec<u8>, Outline), CrdtError> {
    let update = txn.encode_update_v1();
    let outline = validate::outline(&update, Some(txn.doc().client_id().get()), limits)?;
    Ok((update, outline))
}

/// What is applied was held against the engine's limits before, and a snapshot may be larger than any payload. The depth
/// stays within what the stack bears.
pub(crate) fn unlimited() -> Limits {
    let mut limits = Limits::default();
    limits.payload_bytes = usize::MAX;
    limits.operations = u64::MAX;
    limits.depth = MAX_NESTING;
    limits
}

/// Decoding what the validator accepted does not panic, and touches nothing.
fn decoded(bytes: &[u8]) -> Result<Update, CrdtError> {
    Update::decode_v1(bytes).map_err(|_| CrdtError::Malformed("unreadable to the library"))
}

/// The first thing that a payload needs and the document does not hold.
fn lacking(outline: &Outline, clock: impl Fn(u64) -> u32) -> Option<Id> {
    outline.needs.iter().map(|(&client, &needed)| (client, needed)).find(|&(client, needed)| clock(client) < needed)
}
