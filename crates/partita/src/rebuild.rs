//! A document made from a checkpoint's snapshot and exactly the entries behind it that another checkpoint covers: to be that
//! one's snapshot, or to be compared with what somebody claims it to be.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use partita_core::{
    ActorSeed, Bytes, ContextId, CrdtDocument, CrdtError, CrdtType, CrdtTypeId, DocumentId, EntryId, Limits, LogId,
    planted::{Bug, planted},
};

use crate::{
    host::Reason,
    uncreated::{Uncreated, Written},
    worker::{CREATE_HEAD, Item, ItemKind, guarded},
};

/// How many entries are applied before others' work goes on.
const SLICE: usize = 1024;

pub(crate) type Types = Arc<BTreeMap<CrdtTypeId, Arc<dyn CrdtType>>>;

/// An entry, and what is needed to say which one it is.
pub(crate) struct Part {
    pub(crate) item: Item,
    pub(crate) id: EntryId,
}

/// What to do with the document once it is made.
pub(crate) enum Purpose {
    /// Save it.
    Save,
    /// Compare it with a plain snapshot as it was claimed; `None` when no snapshot of the document is claimed.
    Compare { claimed: Option<Bytes>, partial: Option<Partial> },
}

/// What need not be the same in a claim that is compared in part.
pub(crate) struct Partial {
    /// It may hold more by the writers of these logs, of which not all is here.
    pub(crate) lacking: Vec<LogId>,
    /// It may hold less by the writers of these, of which snapshots hold more here.
    pub(crate) beyond: Vec<LogId>,
}

/// The work, done in slices.
pub(crate) struct Rebuild {
    /// Whose it is: given back with the answer.
    pub(crate) task: u64,
    pub(crate) context: ContextId,
    pub(crate) document: DocumentId,
    pub(crate) types: Types,
    /// The plain snapshots that it goes on from.
    pub(crate) base: Vec<Bytes>,
    /// The entries to apply: what creates the document first.
    pub(crate) parts: VecDeque<Part>,
    pub(crate) purpose: Purpose,
    pub(crate) bad: Vec<(LogId, u64, EntryId)>,
    /// Entries that are taken for bad because somebody says so: by liars, and by [`Bug::BadUnchecked`].
    pub(crate) said_bad: Vec<(LogId, u64, EntryId)>,
    /// What checkpoints have of it from before it was created.
    pub(crate) uncreated: BTreeSet<Written>,
    pub(crate) doc: Option<Made>,
}

pub(crate) struct Made {
    crdt: Arc<dyn CrdtType>,
    doc: Box<dyn CrdtDocument>,
}

/// What became of it.
pub(crate) enum Rebuilt {
    /// As much was done as fits into one slice.
    More(Box<Rebuild>),
    /// The document's type and snapshot.
    Saved(DocumentId, Vec<u8>),
    /// Whether what was claimed is the same set of changes.
    Compared(bool),
    /// It cannot be made now.
    NotNow(DocumentId, Reason),
}

/// Nobody writes under this name: such a document is looked at and thrown away.
fn nobody(document: &DocumentId) -> ActorSeed {
    ActorSeed::derive(&LogId::default(), document)
}

impl Made {
    fn is_created(&self) -> bool {
        self.crdt.id() != Uncreated::ID
    }
}

/// A document from a plain snapshot: its type, then what that type saved.
fn load(types: &Types, document: &DocumentId, plain: &[u8]) -> Result<Made, Reason> {
    let (id, snapshot) = plain.split_first_chunk::<4>().ok_or(Reason::Malformed)?;
    let crdt: Arc<dyn CrdtType> = match CrdtTypeId(*id) {
        Uncreated::ID => Arc::new(Uncreated(*document)),
        id => types.get(&id).ok_or(Reason::UnknownType)?.clone(),
    };
    let doc = guarded(|| crdt.load(snapshot, nobody(document))).map_err(|error| Reason::from(&error))?;
    Ok(Made { crdt, doc })
}

impl Rebuild {
    /// Does a slice of it.
    pub(crate) fn go_on(mut self: Box<Self>, limits: &Limits) -> (Rebuilt, Vec<(LogId, u64, EntryId)>) {
        match self.slice(limits) {
            Ok(true) => (Rebuilt::More(self), Vec::new()),
            Ok(false) => {
                let done = self.finish();
                (done, std::mem::take(&mut self.bad))
            }
            Err(reason) => (Rebuilt::NotNow(self.document, reason), Vec::new()),
        }
    }

    /// True while there is more to do.
    fn slice(&mut self, limits: &Limits) -> Result<bool, Reason> {
        if self.doc.is_none() {
            self.begin()?;
        }
        let slice: Vec<Part> = self.parts.drain(..self.parts.len().min(SLICE)).collect();
        let mut good: Vec<(&Part, Bytes)> = Vec::with_capacity(slice.len());
        for part in &slice {
            if self.said_bad.contains(&(part.item.log, part.item.seq, part.id)) {
                self.bad.push((part.item.log, part.item.seq, part.id));
                continue;
            }
            match self.payload(part, limits) {
                Ok(payload) if !payload.is_empty() => good.push((part, payload)),
                Ok(_) => {}
                Err(reason) if reason.is_retried() => return Err(reason),
                Err(_) => self.bad.push((part.item.log, part.item.seq, part.id)),
            }
        }
        let made = self.made(limits);
        let payloads: Vec<&[u8]> = good.iter().map(|(_, payload)| &payload[..]).collect();
        let outcomes = guarded(|| Ok(made.doc.apply(&payloads))).map_err(|error| Reason::from(&error))?;
        for ((part, _), outcome) in good.iter().zip(outcomes) {
            match outcome {
                Ok(_) => {}
                // The document may be damaged, and which other payloads are good was not found out.
                Err(CrdtError::Poisoned(_)) => return Err(Reason::Poisoned),
                Err(_) => self.bad.push((part.item.log, part.item.seq, part.id)),
            }
        }
        Ok(!self.parts.is_empty())
    }

    /// Loads what it goes on from. What is compared in part may lack what creates the document: its type is known.
    fn begin(&mut self) -> Result<(), Reason> {
        for snapshot in std::mem::take(&mut self.base) {
            if let Some(uncreated) = snapshot.strip_prefix(&Uncreated::ID.0) {
                self.uncreated.extend(Uncreated::read(uncreated).map_err(|error| Reason::from(&error))?);
                continue;
            }
            match &mut self.doc {
                Some(made) => {
                    let snapshot = snapshot.strip_prefix(&made.crdt.id().0).ok_or(Reason::UnknownType)?;
                    guarded(|| made.doc.merge(snapshot)).map_err(|error| Reason::from(&error))?;
                }
                None => self.doc = Some(load(&self.types, &self.document, &snapshot)?),
            }
        }
        if let Purpose::Compare { claimed: Some(claimed), partial: Some(_) } = &self.purpose
            && self.doc.is_none()
        {
            let id = CrdtTypeId(*claimed.first_chunk::<4>().ok_or(Reason::Malformed)?);
            if id != Uncreated::ID {
                let crdt = self.types.get(&id).ok_or(Reason::UnknownType)?.clone();
                self.doc = Some(Made { doc: crdt.create(nobody(&self.document)), crdt });
            }
        }
        Ok(())
    }

    /// The document, now that all that could create it was looked at. What was written in it before goes first.
    fn made(&mut self, limits: &Limits) -> &mut Made {
        let document = self.document;
        let made = self.doc.get_or_insert_with(|| {
            let crdt = Arc::new(Uncreated(document));
            Made { doc: crdt.create(nobody(&document)), crdt }
        });
        for written in std::mem::take(&mut self.uncreated) {
            if made.is_created() && written.payload.is_empty() {
                continue;
            }
            let payload = if made.is_created() { written.payload } else { written.encode() };
            let actor = Some(ActorSeed::derive(&written.log, &document)).filter(|_| made.is_created());
            // What is no payload of its type is in no document: it is known now, and was not when it was covered.
            if guarded(|| made.crdt.validate(&payload, actor, limits)).is_ok() {
                let _ = guarded(|| made.doc.apply(&[&payload]).remove(0));
            }
        }
        made
    }

    /// What of an entry's plain bytes goes into the document, once they are known to be harmless.
    fn payload(&mut self, part: &Part, limits: &Limits) -> Result<Bytes, Reason> {
        let plain = part.item.plain()?;
        let (payload, actor) = match part.item.kind {
            ItemKind::Snapshot => return Err(Reason::WrongDocument),
            ItemKind::Change => (plain, Some(ActorSeed::derive(&part.item.log, &self.document))),
            ItemKind::Create(document) => {
                let is_its = partita_core::document_id(&self.context, &plain) == document;
                let id = plain.first_chunk::<4>().filter(|_| is_its && plain.len() >= CREATE_HEAD);
                let id = CrdtTypeId(*id.ok_or(Reason::WrongDocument)?);
                let crdt = self.types.get(&id).ok_or(Reason::UnknownType)?.clone();
                if self.doc.is_none() {
                    let doc = crdt.create(nobody(&self.document));
                    self.doc = Some(Made { crdt, doc });
                }
                (plain.slice(CREATE_HEAD..), None)
            }
        };
        let made = self.made(limits);
        if !made.is_created() {
            let written = Written { log: part.item.log, seq: part.item.seq, payload: payload.to_vec() };
            return Ok(written.encode().into());
        }
        if !payload.is_empty() {
            guarded(|| made.crdt.validate(&payload, actor, limits)).map_err(|error| Reason::from(&error))?;
        }
        Ok(payload)
    }

    fn finish(&mut self) -> Rebuilt {
        let Some(made) = &self.doc else { return Rebuilt::NotNow(self.document, Reason::WrongDocument) };
        match &self.purpose {
            // Others will prune what it stands for: it must be what can be loaded again.
            Purpose::Save => match guarded(|| {
                let snapshot = made.doc.snapshot()?;
                let loaded = made.crdt.load(&snapshot, nobody(&self.document))?;
                let same = loaded.same_history(&*made.doc);
                same.then_some(snapshot).ok_or(CrdtError::Malformed("what was saved is not what was loaded again"))
            }) {
                Ok(snapshot) => Rebuilt::Saved(self.document, [&made.crdt.id().0[..], &snapshot].concat()),
                Err(error) => Rebuilt::NotNow(self.document, Reason::from(&error)),
            },
            Purpose::Compare { claimed: None, .. } => Rebuilt::Compared(false),
            Purpose::Compare { claimed: Some(plain), partial } => match load(&self.types, &self.document, plain) {
                Ok(claimed) => Rebuilt::Compared(self.holds(plain, &claimed, made, partial.as_ref())),
                Err(_) => Rebuilt::Compared(false),
            },
        }
    }

    /// Whether what is claimed is what was made: the same, or that and more by those who may have written more.
    fn holds(&self, plain: &Bytes, claimed: &Made, made: &Made, partial: Option<&Partial>) -> bool {
        let same = guarded(|| Ok(claimed.doc.same_history(&*made.doc))).unwrap_or(false);
        same || partial.is_some_and(|partial| self.holds_in_part(plain, claimed, made, partial).unwrap_or(false))
            || planted(Bug::AttestedWithMore) && includes(claimed, made)
            || planted(Bug::AttestedWithLess) && includes(made, claimed)
    }

    fn holds_in_part(&self, plain: &Bytes, claimed: &Made, made: &Made, partial: &Partial) -> Result<bool, CrdtError> {
        let Partial { lacking, beyond } = partial;
        let by = |logs: &[LogId]| -> Vec<ActorSeed> {
            logs.iter().map(|log| ActorSeed::derive(log, &self.document)).collect()
        };
        guarded(|| {
            if beyond.is_empty() {
                return Ok(claimed.doc.extends(&*made.doc, &by(lacking)));
            }
            // Neither holds all of the other: each is compared with both together.
            let mut both = made.crdt.load(&made.doc.snapshot()?, nobody(&self.document))?;
            let Some(snapshot) = plain.strip_prefix(&made.crdt.id().0) else { return Ok(false) };
            both.merge(snapshot)?;
            Ok(both.extends(&*made.doc, &by(lacking)) && both.extends(&*claimed.doc, &by(beyond)))
        })
    }
}

/// Whether nothing is in a part that is not in the whole: for planted bugs alone, and types whose snapshots are payloads.
fn includes(whole: &Made, part: &Made) -> bool {
    let both = || {
        let mut doc = whole.crdt.load(&whole.doc.snapshot()?, nobody(&DocumentId::default()))?;
        let applied = doc.apply(&[&part.doc.snapshot()?]);
        Ok(applied.iter().all(Result::is_ok) && doc.same_history(&*whole.doc))
    };
    guarded(both).unwrap_or(false)
}
