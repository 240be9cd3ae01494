//! What the node asks of a store, as data, and how any store answers it.
//!
//! The node itself never calls a store. Whoever performs its effects hands each [`ReadRequest`] to [`answer`].

use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc};

use bytes::Bytes;
use partita_core::{
    ContextId, ContextKind, Covered, DocumentId, Entry, EntryHeader, EntryId, EntryKind, EntryRef, Hash, Key, LogId,
    LogSort, ReplicaId, SignedTip, StoreError, StoreRead, Tip,
    codec::DecodeError,
    planted::{Bug, planted},
};

use crate::{
    message::MAX_RUN_ENTRIES,
    record::{LogRecord, SignedPlace},
};

/// A question to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadRequest {
    /// All contexts that the store knows, with their kinds.
    Contexts,
    /// A context's logs and control entries.
    Context(ContextId),
    /// Entries of a log from a number on, about so many bytes of them, at least one.
    Entries {
        /// The context.
        context: ContextId,
        /// The log.
        log: LogId,
        /// The first number.
        from: u64,
        /// About how many bytes.
        bytes: usize,
    },
    /// How much is there of a large payload.
    Fragments {
        /// The context.
        context: ContextId,
        /// The log.
        log: LogId,
        /// The entry's number.
        seq: u64,
        /// The entry.
        entry: EntryId,
    },
    /// A large payload of which all pieces are there.
    Payload {
        /// The context.
        context: ContextId,
        /// The log.
        log: LogId,
        /// The entry's number.
        seq: u64,
        /// How long the payload is, in bytes.
        len: u64,
        /// The hash of the payload, as the entry's header names it.
        hash: Hash,
    },
    /// The last entry of a log, at `from` or later, that `replica` had built on: it wrote later in the same document.
    BuiltOn {
        /// The context.
        context: ContextId,
        /// The log.
        log: LogId,
        /// The first number that matters.
        from: u64,
        /// Whose writing matters.
        replica: ReplicaId,
    },
    /// A log as it is after entry `keep`, and everything after it.
    Rewind {
        /// The context.
        context: ContextId,
        /// The log.
        log: LogId,
        /// The last entry that stays; 0 for none.
        keep: u64,
        /// What a checkpoint covers of it: the store has nothing of that.
        base: Option<Box<Covered>>,
    },
    /// What lies under a checkpoint.
    Under {
        /// The context.
        context: ContextId,
        /// The last entries covered, of each log of which something is held.
        logs: Vec<Tip>,
        /// The snapshots, in their logs.
        snapshots: Vec<(DocumentId, Tip)>,
    },
    /// The quarantined entries of a log.
    Quarantine {
        /// The context.
        context: ContextId,
        /// The log.
        log: LogId,
    },
}

/// The store's answer.
#[derive(Debug, Clone)]
pub enum ReadResult {
    /// To [`ReadRequest::Contexts`].
    Contexts(Vec<(ContextId, ContextKind)>),
    /// To [`ReadRequest::Context`].
    Context(Box<ContextState>),
    /// To [`ReadRequest::Entries`] and [`ReadRequest::Quarantine`].
    Entries(Page),
    /// To [`ReadRequest::Fragments`]; `None` when there is anything of another entry at the same place, or a hole.
    Fragments(Option<StoredFragments>),
    /// To [`ReadRequest::Payload`]; `None` when what is there is not what the header names.
    Payload(Option<Bytes>),
    /// To [`ReadRequest::BuiltOn`]: the entry, if there is one.
    BuiltOn(Option<Arc<Entry>>),
    /// To [`ReadRequest::Rewind`].
    Rewind(Box<Rewound>),
    /// To [`ReadRequest::Under`].
    Under(Under),
}

/// A log as it is once it is cut back.
#[derive(Debug, Clone, Default)]
pub struct Rewound {
    /// The log's state after the entry that stays; `None` when none stays.
    pub record: Option<LogRecord>,
    /// What comes after it.
    pub after: Vec<Arc<Entry>>,
    /// Of the documents that these create, those that other entries create, too, or of which there are snapshots: the
    /// arrival of the first.
    pub begun_elsewhere: BTreeMap<DocumentId, u64>,
}

/// What lies under a checkpoint, and behind it.
#[derive(Debug, Clone, Default)]
pub struct Under {
    /// Of each log that was asked about: the bytes of its entries behind what is covered. `None` where another entry is
    /// held at the end of what is covered, or that one at another place: the log is forked, or the claim is false.
    pub logs: BTreeMap<LogId, Option<u64>>,
    /// The arrivals of the snapshots that are held, and are the entries that were named.
    pub snapshots: BTreeMap<DocumentId, u64>,
}

/// Entries of one log, in order.
pub type Page = Vec<Arc<Entry>>;

/// A context as it is in the store.
#[derive(Debug, Clone, Default)]
pub struct ContextState {
    /// Its logs.
    pub logs: BTreeMap<LogId, LogRecord>,
    /// Its control entries in their order of arrival.
    pub control: Vec<Arc<Entry>>,
    /// The latest arrival.
    pub last_arrival: u64,
    /// What is in quarantine of each log.
    pub quarantined: BTreeMap<LogId, Quarantined>,
    /// The pieces of large payloads that are not whole.
    pub pieces: BTreeMap<LogId, StoredFragments>,
    /// The claims of the checkpoints that stand for what was pruned.
    pub base: Vec<EntryId>,
}

/// What is in quarantine of one log: entries that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Who writes the log.
    pub author: ReplicaId,
    /// How many entries.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The last one.
    pub head: EntryId,
    /// The control heads that the log's first entry names, if that is in quarantine too.
    pub knew: Vec<EntryId>,
}

impl Quarantined {
    /// Nothing yet.
    pub(crate) fn none(author: ReplicaId) -> Self {
        Self { author, entries: 0, bytes: 0, head: EntryId::NONE, knew: Vec::new() }
    }

    /// With one more entry, the next of the log.
    pub(crate) fn add(&mut self, entry: &Entry) {
        self.entries += 1;
        self.bytes += entry.size() as u64;
        self.head = entry.id;
        if entry.header.seq == 1 {
            self.knew = LogRecord::knew_at_start(entry).to_vec();
        }
    }
}

/// What a store has of a large payload: pieces from the first byte on, without a hole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoredFragments {
    /// How many bytes they are together.
    pub bytes: u64,
    /// How many pieces they are.
    pub count: u64,
}

impl StoredFragments {
    /// One piece more.
    pub(crate) fn add(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.count += 1;
    }
}

/// Answers a question from a consistent view of a store.
///
/// # Errors
/// [`StoreError`], also when what is stored cannot be read back.
pub fn answer(store: &dyn StoreRead, request: &ReadRequest) -> Result<ReadResult, StoreError> {
    Ok(match request {
        ReadRequest::Contexts => ReadResult::Contexts(contexts(store)?),
        ReadRequest::Context(context) => ReadResult::Context(Box::new(load(store, context)?)),
        ReadRequest::Entries { context, log, from, bytes } => {
            ReadResult::Entries(page(store, context, log, *from, *bytes)?)
        }
        ReadRequest::Fragments { context, log, seq, entry } => {
            ReadResult::Fragments(fragments(store, context, log, *seq, entry)?)
        }
        ReadRequest::Payload { context, log, seq, len, hash } => {
            ReadResult::Payload(payload(store, context, log, *seq, *len, hash)?)
        }
        ReadRequest::BuiltOn { context, log, from, replica } => {
            ReadResult::BuiltOn(built_on(store, context, log, *from, replica)?)
        }
        ReadRequest::Under { context, logs, snapshots } => ReadResult::Under(under(store, context, logs, snapshots)?),
        ReadRequest::Rewind { context, log, keep, base } => {
            ReadResult::Rewind(Box::new(rewind(store, context, log, *keep, base.as_deref())?))
        }
        ReadRequest::Quarantine { context, log } => ReadResult::Entries(quarantine(store, context, log)?),
    })
}

fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(format!("{what} cannot be read"))
}

/// Why a record cannot be read. What only lacks a later version of the program must not be taken for damage: whoever is told
/// so restores a backup.
fn unreadable(what: &str, why: DecodeError) -> StoreError {
    match why {
        DecodeError::Unknown(part) => StoreError::NewerRecord(format!("{what} with an unknown {part}")),
        _ => damaged(what),
    }
}

/// The entry that a store shows.
///
/// # Errors
/// [`StoreError::Damaged`], [`StoreError::NewerRecord`].
pub fn entry(stored: &EntryRef<'_>) -> Result<Entry, StoreError> {
    Entry::from_stored(stored.head, stored.payload.clone()).map_err(|why| unreadable("an entry", why))
}

/// The entry at a place of a log with its arrival; `None` when another one is there, or none.
///
/// # Errors
/// [`StoreError`].
pub fn entry_at(
    store: &dyn StoreRead,
    context: &ContextId,
    tip: &Tip,
) -> Result<Option<(u64, Arc<Entry>)>, StoreError> {
    let mut found = None;
    log_entries(store, context, &tip.log, tip.seq, |arrival, entry| {
        found = (entry.id == tip.head).then(|| (arrival, Arc::new(entry)));
        ControlFlow::Break(())
    })?;
    Ok(found)
}

/// Reads the entries of a log from a number on, each with its arrival, until `take` breaks off.
///
/// # Errors
/// [`StoreError`], also when an entry cannot be read back.
pub fn log_entries(
    store: &dyn StoreRead,
    context: &ContextId,
    log: &LogId,
    from: u64,
    mut take: impl FnMut(u64, Entry) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let mut error = None;
    store.log(context, log, from, &mut |stored| read_back(&stored, &mut error, &mut take))?;
    error.map_or(Ok(()), Err)
}

/// Reads the entries of a context that arrived after `after`, each with its arrival, until `take` breaks off.
///
/// # Errors
/// [`StoreError`], also when an entry cannot be read back.
pub fn arrivals(
    store: &dyn StoreRead,
    context: &ContextId,
    after: u64,
    mut take: impl FnMut(u64, Entry) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let mut error = None;
    store.arrivals(context, after, &mut |stored| read_back(&stored, &mut error, &mut take))?;
    error.map_or(Ok(()), Err)
}

/// Reads the entries of a document that arrived after `after`, each with its arrival, until `take` breaks off.
///
/// # Errors
/// [`StoreError`], also when an entry cannot be read back.
pub fn document_entries(
    store: &dyn StoreRead,
    context: &ContextId,
    document: &DocumentId,
    after: u64,
    mut take: impl FnMut(u64, Entry) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let mut error = None;
    store.document(context, document, after, &mut |stored| read_back(&stored, &mut error, &mut take))?;
    error.map_or(Ok(()), Err)
}

fn read_back(
    stored: &EntryRef<'_>,
    error: &mut Option<StoreError>,
    take: &mut impl FnMut(u64, Entry) -> ControlFlow<()>,
) -> ControlFlow<()> {
    match entry(stored) {
        Ok(entry) => take(stored.arrival, entry),
        Err(bad) => {
            *error = Some(bad);
            ControlFlow::Break(())
        }
    }
}

fn contexts(store: &dyn StoreRead) -> Result<Vec<(ContextId, ContextKind)>, StoreError> {
    let mut found = Vec::new();
    let mut bad = false;
    store.scan(&Key::contexts(), &mut |key, value| {
        let id = key.get(1..33).and_then(|id| id.try_into().ok()).map(ContextId::from_bytes);
        let kind = std::str::from_utf8(value).ok().and_then(|name| ContextKind::new(name).ok());
        match (id, kind) {
            (Some(id), Some(kind)) => found.push((id, kind)),
            _ => bad = true,
        }
        ControlFlow::Continue(())
    })?;
    if bad { Err(damaged("a context's record")) } else { Ok(found) }
}

fn log_id(key: &[u8]) -> Option<LogId> {
    key.get(33..49).and_then(|id| id.try_into().ok()).map(LogId::from_bytes)
}

fn load(store: &dyn StoreRead, context: &ContextId) -> Result<ContextState, StoreError> {
    let base = store.get(&Key::Base(*context))?;
    let base = base.unwrap_or_default();
    let (claims, []) = base.as_chunks::<{ EntryId::LEN }>() else {
        return Err(damaged("a checkpoint's record"));
    };
    let base = claims.iter().map(|claim| EntryId::from_bytes(*claim)).collect();
    let last_arrival = store.last_arrival(context)?;
    let mut state = ContextState { last_arrival, base, ..ContextState::default() };
    let mut error = None;
    store.scan(&Key::logs(context), &mut |key, value| {
        match (log_id(key), LogRecord::decode(value)) {
            (Some(log), Ok(record)) => {
                state.logs.insert(log, record);
            }
            (_, Err(why)) => error = Some(unreadable("a log's record", why)),
            (None, Ok(_)) => error = Some(damaged("a log's record")),
        }
        ControlFlow::Continue(())
    })?;
    if let Some(error) = error {
        return Err(error);
    }
    state.quarantined = load_quarantine(store, context, &state.logs)?;
    store.scan(&Key::all_fragments(context), &mut |key, value| {
        if let Some(log) = log_id(key) {
            state.pieces.entry(log).or_default().add(value.len().saturating_sub(EntryId::LEN) as u64);
        }
        ControlFlow::Continue(())
    })?;
    for (log, record) in state.logs.iter_mut().filter(|(_, record)| record.signed.is_none()) {
        // Written before signatures were kept, or cut back into its first run. No run is longer than this.
        let from = record.seq.saturating_sub(MAX_RUN_ENTRIES as u64).max(1);
        let last = page(store, context, log, from, usize::MAX)?;
        let signed = last.iter().rev().find_map(|entry| entry.signature.map(|signature| (entry, signature)));
        record.signed =
            signed.map(|(entry, signature)| SignedPlace { seq: entry.header.seq, head: entry.id, signature });
    }
    let mut control = Vec::new();
    for log in state.logs.iter().filter(|(_, record)| record.sort == LogSort::Control).map(|(log, _)| log) {
        log_entries(store, context, log, 1, |arrival, entry| {
            control.push((arrival, Arc::new(entry)));
            ControlFlow::Continue(())
        })?;
    }
    control.sort_by_key(|(arrival, _)| *arrival);
    state.control = control.into_iter().map(|(_, entry)| entry).collect();
    Ok(state)
}

fn load_quarantine(
    store: &dyn StoreRead,
    context: &ContextId,
    logs: &BTreeMap<LogId, LogRecord>,
) -> Result<BTreeMap<LogId, Quarantined>, StoreError> {
    let mut excluded: BTreeMap<LogId, Quarantined> = BTreeMap::new();
    let mut error = None;
    store.scan(&Key::quarantine(context, None), &mut |key, value| {
        let (log, entry) = match (log_id(key), unpack(value)) {
            (Some(log), Ok(entry)) => (log, entry),
            (None, _) => {
                error = Some(damaged("the name of a quarantined entry"));
                return ControlFlow::Break(());
            }
            (_, Err(bad)) => {
                error = Some(bad);
                return ControlFlow::Break(());
            }
        };
        let start = entry.header.start.as_ref().map(|start| start.replica);
        // Where nothing says who writes a log, as of a snapshot's that went with its checkpoint, the entry can never come back.
        if let Some(author) = start.or(logs.get(&log).map(LogRecord::replica)) {
            excluded.entry(log).or_insert_with(|| Quarantined::none(author)).add(&entry);
        } else if let Some(kept) = excluded.get_mut(&log) {
            kept.add(&entry);
        }
        ControlFlow::Continue(())
    })?;
    error.map_or(Ok(excluded), Err)
}

fn page(store: &dyn StoreRead, context: &ContextId, log: &LogId, from: u64, bytes: usize) -> Result<Page, StoreError> {
    let mut found = Vec::new();
    let mut size = 0;
    log_entries(store, context, log, from, |_, entry| {
        size += entry.size();
        // A page ends where a run may end: at a signature.
        let enough = size >= bytes && entry.signature.is_some();
        found.push(Arc::new(entry));
        if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(found)
}

/// Visits the pieces of a large payload by rising offset: offset, entry, bytes.
fn pieces(
    store: &dyn StoreRead,
    context: &ContextId,
    log: &LogId,
    seq: u64,
    mut take: impl FnMut(u64, &[u8], &[u8]) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let mut bad = false;
    store.scan(&Key::fragments(context, log, seq), &mut |key, value| match (
        key.last_chunk::<8>(),
        value.split_first_chunk::<{ EntryId::LEN }>(),
    ) {
        (Some(offset), Some((of, bytes))) => take(u64::from_be_bytes(*offset), of, bytes),
        _ => {
            bad = true;
            ControlFlow::Break(())
        }
    })?;
    if bad { Err(damaged("a fragment")) } else { Ok(()) }
}

fn fragments(
    store: &dyn StoreRead,
    context: &ContextId,
    log: &LogId,
    seq: u64,
    entry: &EntryId,
) -> Result<Option<StoredFragments>, StoreError> {
    let mut found = Some(StoredFragments::default());
    pieces(store, context, log, seq, |offset, of, bytes| {
        found = found.filter(|found| of == entry.as_bytes() && offset == found.bytes);
        match &mut found {
            Some(found) => found.add(bytes.len() as u64),
            None => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

fn payload(
    store: &dyn StoreRead,
    context: &ContextId,
    log: &LogId,
    seq: u64,
    len: u64,
    hash: &Hash,
) -> Result<Option<Bytes>, StoreError> {
    let len = usize::try_from(len).map_err(|_| damaged("a payload of such a length"))?;
    let mut payload = Vec::with_capacity(len);
    pieces(store, context, log, seq, |_, _, bytes| {
        payload.extend_from_slice(&bytes[..bytes.len().min(len - payload.len())]);
        if payload.len() == len { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    let is_meant = payload.len() == len && EntryHeader::hash_payload(&payload) == *hash;
    Ok((is_meant || planted(Bug::FragmentsMixed)).then(|| Bytes::from(payload)))
}

/// A piece of a large payload as a record: behind the entry that it belongs to.
pub(crate) fn pack_fragment(entry: &EntryId, bytes: &[u8]) -> Bytes {
    let mut out = partita_core::codec::Writer::with_capacity(EntryId::LEN + bytes.len());
    out.raw(entry.as_bytes());
    out.raw(bytes);
    out.finish()
}

fn built_on(
    store: &dyn StoreRead,
    context: &ContextId,
    log: &LogId,
    from: u64,
    replica: &ReplicaId,
) -> Result<Option<Arc<Entry>>, StoreError> {
    let mut own: Vec<LogId> = Vec::new();
    store.scan(&Key::logs(context), &mut |key, value| {
        if let (Some(log), Ok(record)) = (log_id(key), LogRecord::decode(value))
            && record.replica() == *replica
        {
            own.push(log);
        }
        ControlFlow::Continue(())
    })?;
    let mut candidates: Vec<(u64, Arc<Entry>)> = Vec::new();
    log_entries(store, context, log, from, |arrival, entry| {
        candidates.push((arrival, Arc::new(entry)));
        ControlFlow::Continue(())
    })?;
    let mut last_own: BTreeMap<DocumentId, u64> = BTreeMap::new();
    for (at, (arrival, candidate)) in candidates.iter().enumerate().rev() {
        let Some(document) = candidate.header.kind.document() else {
            continue;
        };
        let last = match last_own.get(&document) {
            Some(last) => *last,
            None => {
                let mut last = 0;
                document_entries(store, context, &document, 0, |arrival, entry| {
                    if own.contains(&entry.header.log) {
                        last = arrival;
                    }
                    ControlFlow::Continue(())
                })?;
                last_own.insert(document, last);
                last
            }
        };
        if last > *arrival {
            // To the end of the run that it came in: that was applied with it, and only there it can be verified by others. Of
            // a run that was cut short that is where it was cut.
            let signed = candidates[at..].iter().find(|(_, entry)| entry.signature.is_some());
            return Ok(signed.or(candidates.last()).map(|(_, end)| end.clone()));
        }
    }
    Ok(None)
}

fn rewind(
    store: &dyn StoreRead,
    context: &ContextId,
    log: &LogId,
    keep: u64,
    base: Option<&Covered>,
) -> Result<Rewound, StoreError> {
    let mut record = base.map(|base| LogRecord::of_covered(base, 0));
    let from = base.map_or(0, Covered::seq).saturating_add(1);
    let mut after: Vec<Arc<Entry>> = Vec::new();
    log_entries(store, context, log, from, |arrival, entry| {
        if entry.header.seq > keep {
            after.push(Arc::new(entry));
        } else {
            extend(&mut record, &entry, arrival);
        }
        ControlFlow::Continue(())
    })?;
    let mut begun_elsewhere = BTreeMap::new();
    for created in &after {
        let EntryKind::Create(document) = created.header.kind else { continue };
        document_entries(store, context, &document, 0, |arrival, Entry { header, .. }| {
            let stays = header.log != *log || header.seq <= keep;
            if stays && matches!(header.kind, EntryKind::Create(_) | EntryKind::Snapshot(_)) {
                begun_elsewhere.insert(document, arrival);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(Rewound { record, after, begun_elsewhere })
}

fn extend(record: &mut Option<LogRecord>, entry: &Entry, arrival: u64) {
    match record {
        Some(record) => record.extend(entry),
        None => *record = LogRecord::begun(entry, arrival),
    }
}

/// What a checkpoint says that covers a log up to this entry, going on from what an earlier one covers. `None` when another
/// entry is held there, or none. Whether the signature holds is not looked at.
///
/// # Errors
/// [`StoreError`].
pub fn covered_at(
    store: &dyn StoreRead,
    context: &ContextId,
    last: SignedTip,
    base: Option<&Covered>,
) -> Result<Option<Covered>, StoreError> {
    let tip = last.tip;
    let mut record = base.map(|base| LogRecord::of_covered(base, 0));
    let from = base.map_or(0, Covered::seq).saturating_add(1);
    log_entries(store, context, &tip.log, from, |arrival, entry| {
        if entry.header.seq > tip.seq {
            return ControlFlow::Break(());
        }
        extend(&mut record, &entry, arrival);
        ControlFlow::Continue(())
    })?;
    let record = record.filter(|record| (record.seq, record.head) == (tip.seq, tip.head));
    Ok(record.and_then(|mut record| {
        record.signed = Some(SignedPlace { seq: tip.seq, head: tip.head, signature: last.signature });
        record.covered(tip.log)
    }))
}

fn under(
    store: &dyn StoreRead,
    context: &ContextId,
    logs: &[Tip],
    snapshots: &[(DocumentId, Tip)],
) -> Result<Under, StoreError> {
    let mut found = Under::default();
    for tip in logs {
        let (mut is_held, mut differs, mut behind) = (false, false, 0);
        log_entries(store, context, &tip.log, tip.seq, |_, entry| {
            if entry.header.seq == tip.seq {
                (is_held, differs) = (true, entry.id != tip.head);
            } else {
                behind += entry.size() as u64;
            }
            ControlFlow::Continue(())
        })?;
        if !is_held {
            // It is held less far, as it seems. But an entry has one number, whatever somebody says.
            log_entries(store, context, &tip.log, 1, |_, entry| {
                differs |= entry.id == tip.head;
                if differs { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
        }
        found.logs.insert(tip.log, (!differs).then_some(behind));
    }
    for (document, tip) in snapshots {
        let named = entry_at(store, context, tip)?;
        let named = named.filter(|(_, entry)| entry.header.kind == EntryKind::Snapshot(*document));
        found.snapshots.extend(named.map(|(arrival, _)| (*document, arrival)));
    }
    Ok(found)
}

fn quarantine(store: &dyn StoreRead, context: &ContextId, log: &LogId) -> Result<Page, StoreError> {
    let mut found = Vec::new();
    let mut error = None;
    store.scan(&Key::quarantine(context, Some(log)), &mut |_, value| match unpack(value) {
        Ok(entry) => {
            found.push(Arc::new(entry));
            ControlFlow::Continue(())
        }
        Err(bad) => {
            error = Some(bad);
            ControlFlow::Break(())
        }
    })?;
    error.map_or(Ok(found), Err)
}

/// An entry as one record: for the quarantine.
pub(crate) fn pack(entry: &Entry) -> Bytes {
    let mut out = partita_core::codec::Writer::with_capacity(entry.size());
    out.bytes(&entry.head_bytes());
    out.raw(&entry.payload);
    out.finish()
}

fn unpack(bytes: &[u8]) -> Result<Entry, StoreError> {
    let mut input = partita_core::codec::Reader::new(bytes);
    let head = input.bytes("a header", usize::MAX).map_err(|_| damaged("a quarantined entry"))?;
    let payload = Bytes::copy_from_slice(input.rest());
    Entry::from_stored(head, payload).map_err(|why| unreadable("a quarantined entry", why))
}

#[cfg(test)]
mod tests {
    use partita_core::{NTP64, Signature};

    use super::*;

    /// What stores hold. These two have no version of their own: the entry in the one has, and the other goes with the entry that
    /// it is a piece of. When this fails, old stores cannot be read: `docs/formats.md` says what to do.
    #[test]
    fn the_bytes_of_quarantined_entries_and_of_pieces_stay_what_they_are() {
        let header = EntryHeader {
            context: ContextId::from_bytes([1; 32]),
            log: LogId::from_bytes([2; 16]),
            seq: 3,
            backlink: EntryId::from_bytes([4; 32]),
            time: NTP64(5),
            kind: EntryKind::Control,
            start: None,
            stamp: None,
            payload_len: 7,
            payload_hash: Hash::from_bytes([6; 32]),
        };
        let mut entry = Entry::new(header, Bytes::from_static(b"payload"));
        entry.signature = Some(Signature::from_bytes([7; 64]));
        let header = [&[1, 0][..], &[1; 32], &[2; 16], &[3], &[4; 32], &5u64.to_be_bytes(), &[7], &[6; 32]].concat();
        // The length of what comes before the payload (189), signed, signature, header, payload.
        let golden = [&[0xbd, 1, 1][..], &[7; 64], &header, b"payload"].concat();
        let found = pack(&entry);
        assert!(found == golden, "an encoding changed: {found:x} is not what stores hold");
        assert_eq!(unpack(&golden), Ok(entry));
        assert_eq!(pack_fragment(&EntryId::from_bytes([8; 32]), b"piece"), [&[8; 32][..], b"piece"].concat());
    }

    #[test]
    fn what_only_a_later_version_knows_is_not_called_damage() {
        let later = unreadable("a log's record", DecodeError::Unknown("log record version"));
        assert!(matches!(&later, StoreError::NewerRecord(what) if what.contains("log record version")), "{later}");
        assert!(matches!(unreadable("a log's record", DecodeError::Truncated), StoreError::Damaged(_)));
    }
}
