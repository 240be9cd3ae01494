//! Where entries live: one small, batch-shaped, fallible trait.

use std::{ops::ControlFlow, sync::Arc};

use bytes::Bytes;

use crate::{ContextId, DocumentId, Entry, Incarnation, LogId, codec::Writer};

/// Why a store could not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk is full. Free some space and open the store again; until then the engine can only read.
    #[error(
        "no space left on the device that holds the store: free some and open it again; until then it can only be read"
    )]
    OutOfSpace,
    /// The file is damaged. Restore a backup, or sync a new store from the other replicas.
    #[error(
        "the store is damaged ({0}): restore a backup, or start with a new file and sync it from the other replicas"
    )]
    Damaged(String),
    /// Another process, or another engine in this one, has the store open.
    #[error("the store {0} is in use: close the other program that has it open")]
    InUse(String),
    /// A later version of Partita wrote it.
    #[error("the store is of format {found}, this program knows up to {supported}: use a later version of the program")]
    NewerFormat {
        /// What the file says.
        found: u64,
        /// What this program knows.
        supported: u64,
    },
    /// Something in it has a version or a tag that only a later version of Partita knows. It is not damaged.
    #[error("the store holds what this program does not know ({0}): use a later version of the program")]
    NewerRecord(String),
    /// The file is not a store.
    #[error("{0} is not a Partita store")]
    NotAStore(String),
    /// The operating system reports a failure. The incarnation is over: open the store again.
    #[error("the store failed: {0}; close the engine and open it again")]
    Io(String),
}

/// Whether a commit waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It survives a crash and a power cut when the call returns.
    Durable,
    /// It survives with the next durable commit.
    Eventual,
}

/// One entry for a store to keep.
#[derive(Debug, Clone)]
pub struct StoredEntry {
    /// Its place in its context's arrival order: rises, never used twice in one context.
    pub arrival: u64,
    /// The entry.
    pub entry: Arc<Entry>,
}

/// One change to a store.
#[derive(Debug, Clone)]
pub enum Op {
    /// Keeps an entry: in its log, in the arrival order, and in the order of its document if it has one. Its
    /// fragments ([`Key::Fragment`]) go.
    Append(StoredEntry),
    /// Removes all entries of a log from this number on, from all three orders, and fragments of what was to come there.
    Truncate {
        /// The context.
        context: ContextId,
        /// The log.
        log: LogId,
        /// The first number to go.
        from: u64,
    },
    /// Removes all entries of a log up to this number, with it, from all three orders, and fragments of what was to come
    /// there: a checkpoint stands for them.
    Prune {
        /// The context.
        context: ContextId,
        /// The log.
        log: LogId,
        /// The last number to go.
        through: u64,
    },
    /// Sets a record.
    Put(Key, Bytes),
    /// Removes a record, if it is there.
    Delete(Key),
}

/// Changes that happen together or not at all, in order.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// The changes.
    pub ops: Vec<Op>,
}

/// The name of a record. Records of one sort are contiguous and sorted by their names' bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Key {
    /// Facts about the store as a whole.
    Meta(&'static str),
    /// What is known of a context.
    Context(ContextId),
    /// A log's head, author and stamps.
    Log(ContextId, LogId),
    /// A document: the arrival of its `Create` entry.
    Document(ContextId, DocumentId),
    /// The last local snapshot of a document.
    Snapshot(ContextId, DocumentId),
    /// An entry that cannot be applied, by its document and place in the arrival order, with the reason.
    SetAside(ContextId, DocumentId, u64),
    /// An excluded entry, whole.
    Quarantine(ContextId, LogId, u64),
    /// A piece of a large payload that is not complete yet, by the offset of its first byte.
    Fragment(ContextId, LogId, u64, u64),
    /// The checkpoints that stand for what was pruned of a context: the ids of the control entries that claim them.
    Base(ContextId),
}

impl Key {
    /// The name's bytes: a tag, then the parts, numbers big-endian so that they sort.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Writer::with_capacity(72);
        match self {
            Self::Meta(name) => {
                out.u8(1);
                out.raw(name.as_bytes());
            }
            Self::Context(context) => Self::pair(&mut out, 2, context, &[]),
            Self::Log(context, log) => Self::pair(&mut out, 3, context, log.as_bytes()),
            Self::Document(context, document) => Self::pair(&mut out, 4, context, document.as_bytes()),
            Self::Snapshot(context, document) => Self::pair(&mut out, 5, context, document.as_bytes()),
            Self::SetAside(context, document, arrival) => {
                Self::pair(&mut out, 6, context, document.as_bytes());
                out.u64(*arrival);
            }
            Self::Quarantine(context, log, seq) => {
                Self::pair(&mut out, 7, context, log.as_bytes());
                out.u64(*seq);
            }
            Self::Fragment(context, log, seq, offset) => {
                Self::pair(&mut out, 8, context, log.as_bytes());
                out.u64(*seq);
                out.u64(*offset);
            }
            Self::Base(context) => Self::pair(&mut out, 9, context, &[]),
        }
        out.finish()
    }

    fn pair(out: &mut Writer, tag: u8, context: &ContextId, rest: &[u8]) {
        out.u8(tag);
        out.raw(context.as_bytes());
        out.raw(rest);
    }

    /// The prefix of all names of all contexts.
    pub fn contexts() -> Bytes {
        Bytes::from_static(&[2])
    }

    /// The prefix of the names of one context's logs.
    pub fn logs(context: &ContextId) -> Bytes {
        Self::prefix(3, context, &[])
    }

    /// The prefix of the names of one context's documents.
    pub fn documents(context: &ContextId) -> Bytes {
        Self::prefix(4, context, &[])
    }

    /// The prefix of the names of one context's set-aside entries; of one document's only, if one is given.
    pub fn set_aside(context: &ContextId, document: Option<&DocumentId>) -> Bytes {
        Self::prefix(6, context, document.map_or(&[], |document| document.as_bytes()))
    }

    /// The prefix of the names of one context's quarantined entries; of one log's only, if one is given.
    pub fn quarantine(context: &ContextId, log: Option<&LogId>) -> Bytes {
        Self::prefix(7, context, log.map_or(&[], |log| log.as_bytes()))
    }

    /// The prefix of the names of the fragments of all entries of a context.
    pub fn all_fragments(context: &ContextId) -> Bytes {
        Self::prefix(8, context, &[])
    }

    /// The prefix of the names of one entry's fragments.
    pub fn fragments(context: &ContextId, log: &LogId, seq: u64) -> Bytes {
        let mut out = Writer::with_capacity(57);
        Self::pair(&mut out, 8, context, log.as_bytes());
        out.u64(seq);
        out.finish()
    }

    fn prefix(tag: u8, context: &ContextId, rest: &[u8]) -> Bytes {
        let mut out = Writer::with_capacity(65);
        Self::pair(&mut out, tag, context, rest);
        out.finish()
    }
}

/// An entry as a store shows it: [`Entry::from_stored`] reads it.
#[derive(Debug, Clone)]
pub struct EntryRef<'a> {
    /// Its place in its context's arrival order.
    pub arrival: u64,
    /// What [`Entry::head_bytes`] wrote.
    pub head: &'a [u8],
    /// The payload.
    pub payload: Bytes,
}

/// Visits entries until it answers [`ControlFlow::Break`].
pub type VisitEntry<'v> = &'v mut dyn FnMut(EntryRef<'_>) -> ControlFlow<()>;

/// Visits records, name and value, until it answers [`ControlFlow::Break`].
pub type VisitRecord<'v> = &'v mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// A store. Blocking: the runtime calls it on threads of its own, a simulator directly.
///
/// Bytes in it come from peers: a store must not rely on checksums that are not cryptographic to survive hostile
/// content, and must turn a panic of its library into [`StoreError::Damaged`].
pub trait Store: Send + Sync + 'static {
    /// Sixteen bytes that this open of the store, and no other, has. Handed in at the open.
    fn incarnation(&self) -> Incarnation;

    /// A consistent view of everything committed before the call.
    ///
    /// # Errors
    /// [`StoreError`].
    fn read(&self) -> Result<Box<dyn StoreRead + '_>, StoreError>;

    /// Applies a batch, all or nothing. One call at a time. After an error the caller makes no other commit.
    ///
    /// # Errors
    /// [`StoreError`]; nothing of the batch is then visible after the next open.
    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError>;

    /// Gives the space of what was deleted back to the file system, if that is at least so many bytes. Readers and commits
    /// may have to wait for it. A store without a file has nothing to do.
    ///
    /// # Errors
    /// [`StoreError`]; the incarnation is then over.
    fn maintain(&self, least: u64) -> Result<Maintained, StoreError> {
        let _ = least;
        Ok(Maintained::default())
    }
}

/// What [`Store::maintain`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Maintained {
    /// Whether it came to compacting: it gives up when views stay open or a commit takes long, and does nothing where there
    /// is too little to win. Try again later.
    pub done: bool,
    /// The length of the file before, in bytes.
    pub bytes_before: u64,
    /// The length of the file now, in bytes.
    pub bytes_after: u64,
}

/// A consistent view of a store.
pub trait StoreRead {
    /// The entries of a log from number `from` on, in order.
    ///
    /// # Errors
    /// [`StoreError`].
    fn log(&self, context: &ContextId, log: &LogId, from: u64, visit: VisitEntry<'_>) -> Result<(), StoreError>;

    /// The entries of a context that arrived after `after`, in order of arrival.
    ///
    /// # Errors
    /// [`StoreError`].
    fn arrivals(&self, context: &ContextId, after: u64, visit: VisitEntry<'_>) -> Result<(), StoreError>;

    /// The entries of a document that arrived after `after`, in order of arrival, without touching those of others.
    ///
    /// # Errors
    /// [`StoreError`].
    fn document(
        &self,
        context: &ContextId,
        document: &DocumentId,
        after: u64,
        visit: VisitEntry<'_>,
    ) -> Result<(), StoreError>;

    /// The number of the latest arrival that a context ever had; 0 when it had none. It does not go back when entries are
    /// truncated: whoever stands at an arrival must never find another entry under its number.
    ///
    /// # Errors
    /// [`StoreError`].
    fn last_arrival(&self, context: &ContextId) -> Result<u64, StoreError>;

    /// A record.
    ///
    /// # Errors
    /// [`StoreError`].
    fn get(&self, key: &Key) -> Result<Option<Bytes>, StoreError>;

    /// The records whose names begin with `prefix`, by rising name, until `visit` answers [`ControlFlow::Break`].
    ///
    /// # Errors
    /// [`StoreError`].
    fn scan(&self, prefix: &[u8], visit: VisitRecord<'_>) -> Result<(), StoreError>;

    /// The bytes that the store uses for what it holds, without free space inside its file.
    ///
    /// # Errors
    /// [`StoreError`].
    fn used_bytes(&self) -> Result<u64, StoreError>;
}
