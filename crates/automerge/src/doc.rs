use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::legacy::{ObjectId, Op, OpType};
use automerge::transaction::{Transactable, Transaction};
use automerge::{ActorId, Automerge, AutomergeError, Change, ChangeHash, ObjId, PatchLog, ReadDoc};
use partita_core::{ActorSeed, Applied, CrdtDocument, CrdtError, Digest, Limits, Transact};

use crate::batch::{Batch, Fit, Last, MAX_NESTING, most_lead};
use crate::deep::with_stack_for;
use crate::digest;
use crate::held::{self, Held, Place};
use crate::validate::{self, chunk::Kind};

/// The actor of `seed`: 16 bytes are unique enough, and fit the library's inline storage.
pub(crate) fn actor_id(seed: &ActorSeed) -> ActorId {
    ActorId::from(&seed.as_bytes()[..16])
}

/// A loaded Automerge document.
#[derive(Debug)]
pub struct AutomergeDoc {
    doc: Automerge,
    held: Held,
    /// The last change of each actor that is in the document.
    last: HashMap<ActorId, Last>,
    /// Local changes since they were last taken.
    local: Vec<ChangeHash>,
    /// The version before the first of them.
    before_local: Vec<ChangeHash>,
    /// The last local change, once there was one since the document was loaded.
    last_local: Option<ChangeHash>,
    limits: Limits,
    /// It holds a change that was refused.
    damaged: bool,
    /// Somebody's saved document is in it, which need not be what its changes make.
    loaded: bool,
}

impl AutomergeDoc {
    pub(crate) fn create(seed: &ActorSeed) -> Self {
        Self::around(Automerge::new(), actor_id(seed))
    }

    fn around(doc: Automerge, actor: ActorId) -> Self {
        let mut last: HashMap<ActorId, Last> = HashMap::new();
        for change in doc.get_changes_meta(&[]) {
            let last = last.entry(change.actor.into_owned()).or_default();
            *last = Last { seq: change.seq.max(last.seq), max_op: change.max_op.max(last.max_op) };
        }
        Self {
            doc: doc.with_actor(actor),
            held: Held::default(),
            last,
            local: Vec::new(),
            before_local: Vec::new(),
            last_local: None,
            limits: Limits::default(),
            damaged: false,
            loaded: false,
        }
    }

    /// A snapshot is what the library saves, followed by the changes that wait: a file that any Automerge can read.
    pub(crate) fn load(snapshot: &[u8], seed: &ActorSeed) -> Result<Self, CrdtError> {
        let chunks = validate::structure(snapshot, &of_snapshots())?;
        let Some((first, rest)) = chunks.split_first().filter(|(first, _)| first.kind == Kind::Document) else {
            return Err(CrdtError::Malformed("a snapshot begins with a document"));
        };
        let mut loaded = Self::around(validate::load(first)?, actor_id(seed));
        loaded.loaded = true;
        let waiting: Vec<&[u8]> = rest.iter().map(|chunk| chunk.bytes).collect();
        loaded.apply_all(&waiting).into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(loaded)
    }

    /// The library's own document, for reading and for the patches between two versions.
    pub fn automerge(&self) -> &Automerge {
        &self.doc
    }

    /// The hashes that name the present version, for [`transact_at`](Self::transact_at).
    pub fn heads(&self) -> Vec<ChangeHash> {
        self.doc.get_heads()
    }

    /// Like [`transact`](partita_core::DocumentType::transact), but edits the document as it was at `heads`, concurrently
    /// with everything since. `heads` must cover this replica's own last change: an actor's changes follow each other.
    ///
    /// # Errors
    /// What the closure returned; [`AutomergeError::InvalidHash`] for a version that is not held, and
    /// [`AutomergeError::MissingDeps`] for one before this replica's last change.
    #[expect(clippy::result_large_err, reason = "the library's own error, handed on as it is")]
    pub fn transact_at<R>(
        &mut self,
        heads: &[ChangeHash],
        f: impl FnOnce(&mut Transaction<'_>) -> Result<R, AutomergeError>,
    ) -> Result<R, Transact<AutomergeError>> {
        self.may_write()?;
        let mut heads = heads.to_vec();
        heads.sort_unstable();
        heads.dedup();
        let heads = heads.as_slice();
        if let Some(missing) = heads.iter().find(|hash| self.doc.get_change_meta_by_hash(hash).is_none()) {
            return Err(Transact::Closure(AutomergeError::InvalidHash(*missing)));
        }
        let before = self.doc.get_heads();
        if heads.len() == before.len() && before.iter().all(|hash| heads.contains(hash)) {
            return self.transact(f); // the library is much faster where it has no older version to restore
        }
        // The library counts on from the whole document, and others take that for an attack on their counters from some point on.
        let last = |hashes: &[ChangeHash]| {
            let metas = hashes.iter().filter_map(|hash| self.doc.get_change_meta_by_hash(hash));
            metas.map(|meta| meta.max_op).max().unwrap_or(0)
        };
        let ends = last(&before);
        if ends.saturating_sub(last(heads)) > most_lead(ends + 1) {
            return Err(Transact::Refused(CrdtError::Malformed("the version is too old to be edited")));
        }
        let changes = self.changes();
        // Away from its own last change the library invents another actor, whose changes nobody would accept.
        let wrote = self.last.contains_key(self.doc.get_actor());
        if !wrote || self.last_local.is_some_and(|last| heads.contains(&last)) {
            let tx = self.doc.transaction_at(PatchLog::inactive(), heads);
            let mut tx = tx.map_err(|error| Transact::Closure(error.into()))?;
            let result = f(&mut tx).map_err(Transact::Closure)?;
            let operations = tx.pending_ops();
            let (hash, _) = with_stack_for(changes, || tx.commit());
            return self.note(before, hash, operations).map(|()| result);
        }
        // Whether that lies under `heads` only shows in what comes of it.
        let mut attempt = self.doc.clone();
        let tx = attempt.transaction_at(PatchLog::inactive(), heads);
        let mut tx = tx.map_err(|error| Transact::Closure(error.into()))?;
        let result = match f(&mut tx) {
            Ok(result) => result,
            Err(error) => return Err(Transact::Closure(error)),
        };
        let operations = tx.pending_ops();
        let (hash, _) = with_stack_for(changes, || tx.commit());
        let own = |hash: &ChangeHash| {
            attempt.get_change_meta_by_hash(hash).is_some_and(|change| change.actor.as_ref() == attempt.get_actor())
        };
        if !hash.as_ref().is_none_or(own) {
            return Err(Transact::Closure(AutomergeError::MissingDeps));
        }
        self.doc = attempt;
        self.note(before, hash, operations).map(|()| result)
    }

    #[expect(clippy::result_large_err, reason = "the library's own error, handed on as it is")]
    pub(crate) fn transact<R>(
        &mut self,
        f: impl FnOnce(&mut Transaction<'_>) -> Result<R, AutomergeError>,
    ) -> Result<R, Transact<AutomergeError>> {
        self.may_write()?;
        // Dropped without a commit, by an error or while unwinding, the transaction rolls back.
        let before = self.doc.get_heads();
        let changes = self.changes();
        let mut tx = self.doc.transaction();
        let result = f(&mut tx).map_err(Transact::Closure)?;
        let operations = tx.pending_ops();
        let (hash, _) = with_stack_for(changes, || tx.commit());
        self.note(before, hash, operations).map(|()| result)
    }

    #[expect(clippy::result_large_err, reason = "the library's own error, handed on as it is")]
    fn may_write(&self) -> Result<(), Transact<AutomergeError>> {
        if self.damaged {
            return Err(Transact::Reload(None));
        }
        // A change that does not follow them would contradict them.
        if self.is_held_up() {
            return Err(Transact::Refused(CrdtError::Malformed("earlier changes of this replica wait for others'")));
        }
        Ok(())
    }

    /// Whether a change makes an object deeper in the document than anybody takes.
    fn nests_too_deep(&self, change: &Change) -> bool {
        let depth = |object: &ObjectId| match object {
            ObjectId::Root => 0,
            ObjectId::Id(id) => {
                let parents = self.doc.parents(ObjId::Id(id.0, id.1.clone(), 0));
                parents.map_or(0, Iterator::count)
            }
        };
        let makes = |op: &&Op| matches!(op.action, OpType::Make(_));
        change.decode().operations.iter().filter(makes).any(|op| depth(&op.obj) >= MAX_NESTING)
    }

    /// Remembers a local change, unless others would refuse it: then it is in the document, which must be loaded again.
    #[expect(clippy::result_large_err, reason = "the library's own error, handed on as it is")]
    fn note(
        &mut self,
        before: Vec<ChangeHash>,
        hash: Option<ChangeHash>,
        operations: usize,
    ) -> Result<(), Transact<AutomergeError>> {
        let Some(hash) = hash else { return Ok(()) };
        if self.doc.get_change_meta_by_hash(&hash).is_some_and(|meta| meta.max_op >= validate::MAX_COUNTER) {
            self.damaged = true;
            return Err(Transact::Refused(CrdtError::TooLarge("number of operations in the document")));
        }
        // One of few operations breaks no limit, but for that of an entry's size.
        if operations > self.limits.depth
            && let Some(mut change) = self.doc.get_change_by_hash(&hash)
        {
            let actor = change.actor_id().clone();
            let accepted = validate::payload(&change.bytes(), Some(actor.to_bytes()), &self.limits);
            self.damaged = accepted.is_err();
            accepted.map_err(Transact::Refused)?;
        }
        if self.local.is_empty() {
            self.before_local = before;
        }
        self.local.push(hash);
        self.last_local = Some(hash);
        if let Some(meta) = self.doc.get_change_meta_by_hash(&hash) {
            let last = Last { seq: meta.seq, max_op: meta.max_op };
            self.last.insert(self.doc.get_actor().clone(), last);
        }
        // Somebody may have written on top of this before it was written: others apply that now.
        if self.held.len() > 0
            && let Some(change) = self.doc.get_change_by_hash(&hash)
        {
            let (mut batch, woken) = (Batch::default(), self.held.wake(&change));
            self.stage_held(&mut batch, woken);
            self.commit(batch);
        }
        Ok(())
    }

    fn apply_all(&mut self, payloads: &[&[u8]]) -> Vec<Result<Applied, CrdtError>> {
        let mut batch = Batch::default();
        let outcomes = payloads.iter().map(|payload| {
            let (changes, mut news) = self.parse(payload, &mut batch)?;
            for change in changes {
                news |= self.stage(&mut batch, change);
            }
            Ok(if news { Applied::Done } else { Applied::Known })
        });
        let outcomes = outcomes.collect();
        self.commit(batch);
        outcomes
    }

    /// The changes of a payload. A whole document that comes first of all is taken over as it is; true if it was news.
    fn parse(&mut self, payload: &[u8], batch: &mut Batch) -> Result<(Vec<Change>, bool), CrdtError> {
        let (mut changes, mut adopted) = (Vec::new(), false);
        for chunk in validate::chunk::split(payload)? {
            match chunk.kind {
                Kind::Document => {
                    let loaded = validate::load(&chunk)?;
                    if self.last.is_empty() && batch.changes.is_empty() && changes.is_empty() {
                        let held = self.held.take_all();
                        // Nothing was written yet, so nothing waits to be taken.
                        let loaded = Self::around(loaded, self.doc.get_actor().clone());
                        *self = Self { limits: self.limits, loaded: true, ..loaded };
                        adopted = !self.last.is_empty();
                        for change in held {
                            self.stage(batch, change);
                        }
                    } else {
                        changes.extend(loaded.get_changes(&[]));
                    }
                }
                Kind::Change | Kind::CompressedChange => {
                    changes.push(validate::change::parse(chunk.bytes, chunk.checksum)?);
                }
            }
        }
        Ok((changes, adopted))
    }

    /// Puts a change into the batch, with what waited for it, or aside. False if it is known.
    fn stage(&mut self, batch: &mut Batch, change: Change) -> bool {
        let place = held::place(&change);
        if self.held.get(&place).is_some() {
            return false;
        }
        match batch.fit(&self.doc, &self.last, &change) {
            Fit::Known => return false,
            Fit::Lacks(lacking) => self.held.keep(change, Some(lacking)),
            Fit::Never => self.held.keep(change, None),
            Fit::Ready => {
                let woken = self.held.wake(&change);
                batch.push(change);
                self.stage_held(batch, woken);
            }
        }
        true
    }

    /// Puts into the batch what waits at these places, as far as it fits now, and what waited for that.
    fn stage_held(&mut self, batch: &mut Batch, mut woken: Vec<Place>) {
        while let Some(place) = woken.pop() {
            let fit = self.held.get(&place).map(|change| batch.fit(&self.doc, &self.last, change));
            match fit {
                None | Some(Fit::Never) => {}
                Some(Fit::Lacks(lacking)) => self.held.wait(place, lacking),
                Some(Fit::Known) => drop(self.held.take(&place)),
                Some(Fit::Ready) => {
                    if let Some(change) = self.held.take(&place) {
                        woken.extend(self.held.wake(&change));
                        batch.push(change);
                    }
                }
            }
        }
    }

    /// Applies a batch: at once, since each call walks every object that it changes; and where that fails, each half by itself.
    fn commit(&mut self, batch: Batch) {
        if batch.changes.is_empty() {
            return;
        }
        if let Ok(doc) = self.attempt(&batch) {
            self.doc = doc;
            self.last.extend(batch.last);
            return;
        }
        let mut first = batch.changes;
        if first.len() == 1 {
            return first.into_iter().for_each(|change| self.held.keep(change, None));
        }
        let second = first.split_off(first.len() / 2);
        for half in [first, second] {
            let mut batch = Batch::default();
            for change in half {
                // It may fit no more without some of those that it was staged with.
                self.stage(&mut batch, change);
            }
            self.commit(batch);
        }
    }

    /// Whether its operations are those of its changes, and no others.
    fn is_what_it_says(&self) -> bool {
        !self.loaded || validate::document::is_made_of_its_changes(&self.doc)
    }

    /// How many changes are in the document.
    fn changes(&self) -> u64 {
        self.last.values().map(|last| last.seq).sum()
    }

    /// The document with `changes` applied. Works on a copy, which shares its data and so costs little: a panic or a
    /// refusal leaves the document as it was.
    fn attempt(&self, batch: &Batch) -> Result<Automerge, CrdtError> {
        let refused = || CrdtError::Malformed("does not fit the document");
        let changes = &batch.changes;
        let attempt = || {
            let mut doc = self.doc.clone();
            let hashes: HashSet<ChangeHash> = changes.iter().map(Change::hash).collect();
            doc.apply_changes(changes.iter().cloned()).map_err(|_| refused())?;
            // It loads no document in which a mark ends before it begins, and that shows nowhere else.
            if batch.marks {
                Automerge::load(&doc.save()).map_err(|_| refused())?;
            }
            // The library keeps operations, not changes. One that it cannot give back as it came (it overwrote what was
            // not there) would make a document that can be saved but not loaded.
            let kept: HashSet<ChangeHash> = doc.get_changes(&self.doc.get_heads()).iter().map(Change::hash).collect();
            if kept == hashes { Ok(doc) } else { Err(refused()) }
        };
        let all = self.changes() + changes.len() as u64;
        with_stack_for(all, || catch_unwind(AssertUnwindSafe(attempt))).unwrap_or_else(|_| Err(refused()))
    }
}

impl CrdtDocument for AutomergeDoc {
    fn apply(&mut self, payloads: &[&[u8]]) -> Vec<Result<Applied, CrdtError>> {
        self.apply_all(payloads)
    }

    fn take_local(&mut self, limits: &Limits) -> Result<Option<Vec<u8>>, CrdtError> {
        let local = std::mem::take(&mut self.local);
        let mut changes = match local.as_slice() {
            [] => return Ok(None),
            [one] => Vec::from_iter(self.doc.get_change_by_hash(one)),
            // Many at once: looking each up would search the whole document each time.
            many => {
                let wanted: HashSet<&ChangeHash> = many.iter().collect();
                let mut changes = self.doc.get_changes(&self.before_local);
                changes.retain(|change| wanted.contains(&change.hash()));
                changes.sort_by_key(Change::seq);
                changes
            }
        };
        if changes.len() < local.len() {
            return Err(CrdtError::Poisoned("the library does not give back what was changed".into()));
        }
        let sound = changes.iter().take_while(|change| !self.nests_too_deep(change)).count();
        if sound == 0 {
            return Err(CrdtError::TooLarge("nesting"));
        }
        let fitting = fitting(&mut changes, limits);
        let later = changes.split_off(fitting.min(sound));
        if let Some(first) = later.first() {
            self.before_local = first.deps().to_vec();
            self.local = later.iter().map(Change::hash).collect();
        }
        Ok(Some(changes.iter_mut().flat_map(|change| change.bytes().into_owned()).collect()))
    }

    fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    fn is_sound(&self) -> bool {
        !self.damaged
    }

    fn is_held_up(&self) -> bool {
        self.held.holds_some_of(self.doc.get_actor())
    }

    fn snapshot(&self) -> Result<Vec<u8>, CrdtError> {
        if self.damaged {
            return Err(CrdtError::Poisoned("a transaction was refused: load the document again".into()));
        }
        let saved = catch_unwind(AssertUnwindSafe(|| self.doc.save()));
        let mut snapshot = saved.map_err(|_| CrdtError::Poisoned("the library could not save the document".into()))?;
        for change in self.held.all() {
            snapshot.extend_from_slice(change.raw_bytes());
        }
        Ok(snapshot)
    }

    fn pending(&self) -> usize {
        self.held.len()
    }

    fn digest(&self) -> Digest {
        digest::of(&self.doc)
    }

    fn same_history(&self, other: &dyn CrdtDocument) -> bool {
        // Heads cover all that they depend on, so equal heads are equal sets of changes; and what is shown is what these make.
        let heads = |doc: &Self| doc.heads().into_iter().collect::<HashSet<_>>();
        let held = |doc: &Self| doc.held.all().map(|change| change.hash()).collect::<Vec<_>>();
        other
            .as_any()
            .downcast_ref::<Self>()
            .is_some_and(|other| heads(self) == heads(other) && held(self) == held(other))
            && self.is_what_it_says()
    }

    fn extends(&self, other: &dyn CrdtDocument, by: &[ActorSeed]) -> bool {
        let Some(other) = other.as_any().downcast_ref::<Self>().filter(|_| self.is_what_it_says()) else {
            return false;
        };
        let waiting: HashSet<ChangeHash> = self.held.all().map(|change| change.hash()).collect();
        let has = |hash: &ChangeHash| self.doc.get_change_meta_by_hash(hash).is_some() || waiting.contains(hash);
        // Heads cover all that they depend on if they are applied: what waits may lack some of it. What waits is named one by one.
        let is_applied = |hash: &ChangeHash| self.doc.get_change_meta_by_hash(hash).is_some();
        if !other.heads().iter().all(is_applied) || !other.held.all().all(|change| has(&change.hash())) {
            return false;
        }
        let by: HashSet<ActorId> = by.iter().map(actor_id).collect();
        let waits_there: HashSet<ChangeHash> = other.held.all().map(|change| change.hash()).collect();
        let is_theirs = |change: &Change| by.contains(change.actor_id()) || waits_there.contains(&change.hash());
        self.doc.get_changes(&other.heads()).iter().all(is_theirs) && self.held.all().all(is_theirs)
    }

    fn merge(&mut self, snapshot: &[u8]) -> Result<(), CrdtError> {
        validate::structure(snapshot, &of_snapshots())?;
        self.apply_all(&[snapshot]).remove(0).map(drop)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// How many changes, at least one, can go together.
fn fitting(changes: &mut [Change], limits: &Limits) -> usize {
    let (mut bytes, mut inflated, mut operations) = (0usize, 0usize, 0u64);
    let fits = |change: &mut Change| {
        bytes = bytes.saturating_add(change.bytes().len());
        inflated = inflated.saturating_add(change.raw_bytes().len());
        operations = operations.saturating_add(change.len() as u64);
        bytes <= limits.payload_bytes && inflated <= limits.inflated_bytes && operations <= limits.operations
    };
    let count = changes.iter_mut().map(fits).take_while(|fits| *fits).count();
    count.max(1).min(changes.len())
}

/// A snapshot may be larger than any payload. A hostile member may have made it, though.
fn of_snapshots() -> Limits {
    let mut limits = Limits::default();
    limits.payload_bytes = usize::MAX;
    limits.operations *= 4;
    limits.inflated_bytes *= 4;
    limits
}
