use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::legacy::{ObjectId, Op, OpType};
use automerge::transaction::{Transactable, Transaction};
use automerge::{ActorId, Automerge, AutomergeError, Change, ChangeHash, ObjId, PatchLog, ReadDoc};
use partita_core::{ActorSeed, Applied, CrdtDocument, CrdtError, Digest, Limits, Transact};

use crate::batch::{Batch, Fit, MAX_LEAD, MAX_NESTING};
use crate::digest;
use crate::held::Held;
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
    /// How many changes of each actor are in the document.
    sequences: HashMap<ActorId, u64>,
    /// Local changes since they were last taken.
    local: Vec<ChangeHash>,
    /// The version before the first of them.
    before_local: Vec<ChangeHash>,
    /// The last local change, once there was one since the document was loaded.
    last_local: Option<ChangeHash>,
    limits: Limits,
    /// It holds a change that was refused.
    damaged: bool,
}

impl AutomergeDoc {
    pub(crate) fn create(seed: &ActorSeed) -> Self {
        Self::around(Automerge::new(), actor_id(seed))
    }

    fn around(doc: Automerge, actor: ActorId) -> Self {
        let mut sequences: HashMap<ActorId, u64> = HashMap::new();
        for change in doc.get_changes_meta(&[]) {
            let last = sequences.entry(change.actor.into_owned()).or_default();
            *last = change.seq.max(*last);
        }
        Self {
            doc: doc.with_actor(actor),
            held: Held::default(),
            sequences,
            local: Vec::new(),
            before_local: Vec::new(),
            last_local: None,
            limits: Limits::default(),
            damaged: false,
        }
    }

    /// A snapshot is what the library saves, followed by the changes that wait: a file that any Automerge can read.
    pub(crate) fn load(snapshot: &[u8], seed: &ActorSeed) -> Result<Self, CrdtError> {
        let chunks = validate::structure(snapshot, &of_snapshots())?;
        let Some((first, rest)) = chunks.split_first().filter(|(first, _)| first.kind == Kind::Document) else {
            return Err(CrdtError::Malformed("a snapshot begins with a document"));
        };
        let mut loaded = Self::around(validate::load(first)?, actor_id(seed));
        for chunk in rest {
            loaded.apply_all(&[chunk.bytes]).remove(0)?;
        }
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
        if self.damaged {
            return Err(Transact::Reload(None));
        }
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
        if last(&before).saturating_sub(last(heads)) > MAX_LEAD {
            return Err(Transact::Refused(CrdtError::Malformed("the version is too old to be edited")));
        }
        // Away from its own last change the library invents another actor, whose changes nobody would accept.
        let wrote = self.sequences.contains_key(self.doc.get_actor());
        if !wrote || self.last_local.is_some_and(|last| heads.contains(&last)) {
            let tx = self.doc.transaction_at(PatchLog::inactive(), heads);
            let mut tx = tx.map_err(|error| Transact::Closure(error.into()))?;
            let result = f(&mut tx).map_err(Transact::Closure)?;
            let operations = tx.pending_ops();
            let (hash, _) = tx.commit();
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
        let (hash, _) = tx.commit();
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
        if self.damaged {
            return Err(Transact::Reload(None));
        }
        // Dropped without a commit, by an error or while unwinding, the transaction rolls back.
        let before = self.doc.get_heads();
        let mut tx = self.doc.transaction();
        let result = f(&mut tx).map_err(Transact::Closure)?;
        let operations = tx.pending_ops();
        let (hash, _) = tx.commit();
        self.note(before, hash, operations).map(|()| result)
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
        *self.sequences.entry(self.doc.get_actor().clone()).or_default() += 1;
        Ok(())
    }

    fn apply_all(&mut self, payloads: &[&[u8]]) -> Vec<Result<Applied, CrdtError>> {
        let mut outcomes = vec![Ok(Applied::Known); payloads.len()];
        let mut batch = Batch::default();
        for (index, payload) in payloads.iter().enumerate() {
            let staged = self.parse(payload, &mut batch).and_then(|(changes, adopted)| {
                let mut outcome = if adopted { Applied::Done } else { Applied::Known };
                for change in changes {
                    if self.stage(&mut batch, Some(index), change)? {
                        outcome = Applied::Done;
                    }
                }
                Ok(outcome)
            });
            outcomes[index] = staged;
        }
        self.commit(batch, &mut outcomes);
        outcomes
    }

    /// The changes of a payload. A whole document that comes first of all is taken over as it is.
    fn parse(&mut self, payload: &[u8], batch: &mut Batch) -> Result<(Vec<Change>, bool), CrdtError> {
        let (mut changes, mut adopted) = (Vec::new(), false);
        for chunk in validate::chunk::split(payload)? {
            match chunk.kind {
                Kind::Document => {
                    let loaded = validate::load(&chunk)?;
                    if self.sequences.is_empty() && batch.changes.is_empty() && changes.is_empty() {
                        let held = self.held.take();
                        // Nothing was written yet, so nothing waits to be taken.
                        *self = Self { limits: self.limits, ..Self::around(loaded, self.doc.get_actor().clone()) };
                        adopted = !self.sequences.is_empty();
                        for change in held {
                            // It was accepted before; that it no longer fits is for nobody to hear.
                            let _ = self.stage(batch, None, change);
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

    /// Puts a change into the batch or aside, and what waited for it. False if it is known.
    fn stage(&mut self, batch: &mut Batch, payload: Option<usize>, change: Change) -> Result<bool, CrdtError> {
        let hash = change.hash();
        match batch.fit(&self.doc, &self.sequences, &change)? {
            Fit::Known => return Ok(false),
            Fit::Lacks(dependency) => return self.held.keep(dependency, change),
            Fit::Ready => batch.push(payload, change),
        }
        let mut news = vec![hash];
        while let Some(hash) = news.pop() {
            for change in self.held.wake(&hash) {
                let hash = change.hash();
                match batch.fit(&self.doc, &self.sequences, &change) {
                    Ok(Fit::Lacks(dependency)) => {
                        let _ = self.held.keep(dependency, change);
                    }
                    Ok(Fit::Ready) => {
                        batch.push(None, change);
                        news.push(hash);
                    }
                    // Its author contradicted himself.
                    Ok(Fit::Known) | Err(_) => {}
                }
            }
        }
        Ok(true)
    }

    /// Applies a batch: at once, since each call walks every object that it changes; and one by one when that fails.
    fn commit(&mut self, batch: Batch, outcomes: &mut [Result<Applied, CrdtError>]) {
        if batch.changes.is_empty() {
            return;
        }
        let changes: Vec<Change> = batch.changes.iter().map(|(_, change)| change.clone()).collect();
        if let Ok(doc) = self.attempt(changes) {
            self.doc = doc;
            self.sequences.extend(batch.sequences);
            return;
        }
        for (payload, change) in batch.changes {
            let applied = self.commit_one(change);
            if let (Some(outcome), Err(error)) = (payload.and_then(|index| outcomes.get_mut(index)), applied) {
                *outcome = Err(error);
            }
        }
    }

    fn commit_one(&mut self, change: Change) -> Result<(), CrdtError> {
        match Batch::default().fit(&self.doc, &self.sequences, &change)? {
            Fit::Known => Ok(()),
            Fit::Lacks(dependency) => self.held.keep(dependency, change).map(drop),
            Fit::Ready => {
                let (actor, sequence) = (change.actor_id().clone(), change.seq());
                self.doc = self.attempt(vec![change])?;
                self.sequences.insert(actor, sequence);
                Ok(())
            }
        }
    }

    /// The document with `changes` applied. Works on a copy, which shares its data and so costs little: a panic or a
    /// refusal leaves the document as it was.
    fn attempt(&self, changes: Vec<Change>) -> Result<Automerge, CrdtError> {
        let refused = || CrdtError::Malformed("does not fit the document");
        let attempt = catch_unwind(AssertUnwindSafe(|| {
            let mut doc = self.doc.clone();
            let hashes: HashSet<ChangeHash> = changes.iter().map(Change::hash).collect();
            doc.apply_changes(changes).map_err(|_| refused())?;
            // The library keeps operations, not changes. One that it cannot give back as it came (it overwrote what was
            // not there) would make a document that can be saved but not loaded.
            let kept: HashSet<ChangeHash> = doc.get_changes(&self.doc.get_heads()).iter().map(Change::hash).collect();
            if kept == hashes { Ok(doc) } else { Err(refused()) }
        }));
        attempt.unwrap_or_else(|_| Err(refused()))
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

    fn snapshot(&self) -> Result<Vec<u8>, CrdtError> {
        if self.damaged {
            return Err(CrdtError::Poisoned("a transaction was refused: load the document again".into()));
        }
        let saved = catch_unwind(AssertUnwindSafe(|| self.doc.save()));
        let mut snapshot = saved.map_err(|_| CrdtError::Poisoned("the library could not save the document".into()))?;
        for change in self.held.sorted() {
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
        // Heads cover all that they depend on, so equal heads are equal sets of changes.
        let heads = |doc: &Self| doc.heads().into_iter().collect::<HashSet<_>>();
        let held = |doc: &Self| doc.held.sorted().iter().map(|change| change.hash()).collect::<Vec<_>>();
        other
            .as_any()
            .downcast_ref::<Self>()
            .is_some_and(|other| heads(self) == heads(other) && held(self) == held(other))
    }

    fn extends(&self, other: &dyn CrdtDocument, by: &[ActorSeed]) -> bool {
        let Some(other) = other.as_any().downcast_ref::<Self>() else { return false };
        let waiting: HashSet<ChangeHash> = self.held.sorted().iter().map(|change| change.hash()).collect();
        let has = |hash: &ChangeHash| self.doc.get_change_meta_by_hash(hash).is_some() || waiting.contains(hash);
        // Heads cover all that they depend on, and what waits is named one by one.
        if !other.heads().iter().all(has) || !other.held.sorted().iter().all(|change| has(&change.hash())) {
            return false;
        }
        let by: HashSet<ActorId> = by.iter().map(actor_id).collect();
        let waits_there: HashSet<ChangeHash> = other.held.sorted().iter().map(|change| change.hash()).collect();
        let is_theirs = |change: &Change| by.contains(change.actor_id()) || waits_there.contains(&change.hash());
        // What waits here for others is in neither's heads.
        let known: Vec<ChangeHash> =
            other.heads().into_iter().filter(|hash| self.doc.get_change_meta_by_hash(hash).is_some()).collect();
        self.doc.get_changes(&known).iter().all(is_theirs) && self.held.sorted().iter().all(|change| is_theirs(change))
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
