//! CRDT types: plugins that turn payloads into a document.

use std::any::Any;

use partita_crypto::{Hash, Hasher, hash};

use crate::{ContextId, CrdtTypeId, DocumentId, LogId};

/// The id of the document that a `Create` entry with this plain payload creates.
///
/// The id commits to the type and to any imported history, so nobody can create the same document twice differently. And
/// since actors are derived from the document id ([`ActorSeed`]), an import can hold no change of an actor of
/// this document: its author would have to find a hash that lies under itself.
pub fn document_id(context: &ContextId, create_payload: &[u8]) -> DocumentId {
    DocumentId::from_bytes(*hash("partita 2026 v1 document id", &[context.as_bytes(), create_payload]).as_bytes())
}

/// What a CRDT library's actor or client id is made from: one writer of one document during one open of its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActorSeed([u8; 32]);

impl ActorSeed {
    /// The seed of the writer of `log` in `document`.
    pub fn derive(log: &LogId, document: &DocumentId) -> Self {
        Self(*hash("partita 2026 v1 actor", &[log.as_bytes(), document.as_bytes()]).as_bytes())
    }

    /// The bytes; a library that wants fewer takes the first ones.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What a validator allows. Absolute, never a ratio to the input: honest histories compress a thousandfold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The most bytes of one plain payload.
    pub payload_bytes: usize,
    /// The most bytes that one payload may inflate to.
    pub inflated_bytes: usize,
    /// The most operations in one payload.
    pub operations: u64,
    /// How deep values may be nested.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { payload_bytes: 256 << 20, inflated_bytes: 1 << 30, operations: 5_000_000, depth: 64 }
    }
}

/// Why a payload or a snapshot cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CrdtError {
    /// The bytes are not a payload of this type. Whoever wrote them runs broken or hostile software.
    #[error("not a valid payload: {0}")]
    Malformed(&'static str),
    /// It is over one of the [`Limits`]. Raise the limit if the payload is legitimate.
    #[error("{0} is over the limit")]
    TooLarge(&'static str),
    /// It carries changes of another actor than its author's.
    #[error("the payload carries changes of an actor that is not its author's")]
    ForeignActor,
    /// The library refused or panicked; the document may be damaged. Drop it and load it again without this payload.
    #[error("the CRDT library could not use it: {0}")]
    Poisoned(String),
}

/// What became of a payload that was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It is visible, or will be as soon as [`CrdtDocument::pending`] falls: what it depends on may be missing.
    Done,
    /// It was applied before and changed nothing; or its author wrote something else in its place before.
    Known,
}

/// A digest of a document's visible state: equal on two replicas when they show the same.
pub type Digest = Hash;

/// The registry entry of one CRDT library, object-safe: what the engine needs.
///
/// Deterministic given its inputs. Methods may be called from any thread, one call at a time for each document.
pub trait CrdtType: Send + Sync + 'static {
    /// The type's id, in every `Create` entry.
    fn id(&self) -> CrdtTypeId;

    /// Checks structure and limits, and that no change is of any other actor than `actor`'s; `None` for an import, which
    /// may hold changes of many. Called before [`CrdtDocument::apply`] on every payload of another replica: what it
    /// accepts must apply without a panic, an abort or unbounded memory.
    ///
    /// # Errors
    /// Why the payload is refused; it is then set aside and the document goes on without it.
    fn validate(&self, payload: &[u8], actor: Option<ActorSeed>, limits: &Limits) -> Result<(), CrdtError>;

    /// An empty document whose local changes are `actor`'s.
    fn create(&self, actor: ActorSeed) -> Box<dyn CrdtDocument>;

    /// A document from a snapshot of its own making.
    ///
    /// # Errors
    /// When the snapshot is damaged: the engine then rebuilds the document from its entries.
    fn load(&self, snapshot: &[u8], actor: ActorSeed) -> Result<Box<dyn CrdtDocument>, CrdtError>;
}

/// One loaded document. After [`CrdtError::Poisoned`] or a panic the engine drops it and loads it again.
pub trait CrdtDocument: Any + Send {
    /// Applies payloads that the validator accepted, in order; one outcome for each. One that cannot be applied
    /// never takes the others with it.
    ///
    /// What becomes of a payload may depend on what it builds on and on its author's earlier ones, and on nothing else that
    /// is there, or replicas differ for good: those of different authors come in any order. So one whose dependencies are
    /// missing is kept, one that contradicts what is there waits for good, and neither is an error. A hostile author's
    /// payloads may contradict each other; the testing crate's `crdt_laws::agrees` tries that.
    fn apply(&mut self, payloads: &[&[u8]]) -> Vec<Result<Applied, CrdtError>>;

    /// What was changed locally since the last call, as one payload; `None` when nothing was. Several changes go together only
    /// as far as that stays within these limits: the next call gives the next part. A single change is never cut.
    ///
    /// # Errors
    /// When the library cannot give back what was changed: the document is then loaded again without it.
    fn take_local(&mut self, limits: &Limits) -> Result<Option<Vec<u8>>, CrdtError>;

    /// From here on transactions that are over these limits are refused ([`Transact::Refused`]); until then, those over
    /// [`Limits::default`].
    fn set_limits(&mut self, limits: Limits) {
        let _ = limits;
    }

    /// Whether it can go on. False after a transaction that the library cannot undo: it must be loaded again.
    fn is_sound(&self) -> bool {
        true
    }

    /// Whether changes of this document's own actor are kept because what they build on is missing, so that nothing can follow
    /// them. That was cut off after they were made: the engine goes on as another actor, and asks once a document is loaded.
    fn is_held_up(&self) -> bool {
        false
    }

    /// The whole document, with what is pending.
    ///
    /// # Errors
    /// [`CrdtError::Poisoned`].
    fn snapshot(&self) -> Result<Vec<u8>, CrdtError>;

    /// How many changes are kept but not visible because their dependencies are missing, or because they contradict what
    /// they depend on.
    fn pending(&self) -> usize;

    /// A digest of the visible state.
    fn digest(&self) -> Digest;

    /// Whether both hold the same set of changes: none missing, none added. False for another type.
    fn same_history(&self, other: &dyn CrdtDocument) -> bool;

    /// Whether this holds every change that the other one does, and beside those only changes of these actors. A type that
    /// cannot tell answers as [`same_history`](Self::same_history): a replica that joined while a checkpoint was made then
    /// waits for entries that may be pruned.
    fn extends(&self, other: &dyn CrdtDocument, by: &[ActorSeed]) -> bool {
        let _ = by;
        self.same_history(other)
    }

    /// Takes in what a snapshot holds, which another replica made, and which may hold what is here already.
    ///
    /// # Errors
    /// When it is damaged, or the type cannot: two checkpoints that were made side by side then stay apart.
    fn merge(&mut self, snapshot: &[u8]) -> Result<(), CrdtError> {
        let _ = snapshot;
        Err(CrdtError::Malformed("snapshots of this type cannot be merged"))
    }

    /// For the typed half to find its own document.
    fn as_any(&self) -> &dyn Any;

    /// For the typed half to find its own document.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

/// Why a transaction came to nothing. Whatever it had changed is undone.
#[derive(Debug, PartialEq, Eq)]
pub enum Transact<E> {
    /// The closure returned this error; the document is as it was.
    Closure(E),
    /// The library has no rollback: the document must be loaded again. The closure returned this error, or panicked.
    Reload(Option<E>),
    /// Other replicas would refuse what the transaction did. The document must be loaded again, unless it is
    /// [sound](CrdtDocument::is_sound): then nothing was changed.
    Refused(CrdtError),
}

/// Why a document cannot be copied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The CRDT type has no way to: it does not implement [`DocumentType::copy_into`].
    #[error("documents of this type cannot be copied: the type does not implement it")]
    Unsupported,
    /// The document holds something that cannot be copied.
    #[error("the document holds {0}, which cannot be copied: remove it first")]
    Holds(&'static str),
    /// As one change it is more than other replicas accept.
    #[error("other replicas would refuse the copy: {0}")]
    Refused(#[from] CrdtError),
    /// The library refused or panicked.
    #[error("the CRDT library could not copy it: {0}")]
    Failed(String),
}

/// The typed half of a CRDT type, not object-safe: it gives applications the library's own transaction.
pub trait DocumentType: CrdtType + Default {
    /// The loaded document.
    type Doc: CrdtDocument;
    /// The library's own transaction.
    type Tx<'a>;
    /// The library's own read access.
    type View<'a>;
    /// What the library's methods return as errors: concrete, so that `?` in a closure infers.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Runs `f` in one transaction. A closure that returns `Err` or panics must leave nothing behind: either the
    /// document is rolled back, or the answer is [`Transact::Reload`]. A panic is resumed by the engine after that. What
    /// others would refuse must not be made here either: it would be seen by its author alone, and so would everything that
    /// is based on it ([`Transact::Refused`]).
    ///
    /// # Errors
    /// What the closure returned.
    fn transact<R>(
        doc: &mut Self::Doc,
        f: impl FnOnce(&mut Self::Tx<'_>) -> Result<R, Self::Error>,
    ) -> Result<R, Transact<Self::Error>>;

    /// Reads.
    fn view<R>(doc: &Self::Doc, f: impl FnOnce(&Self::View<'_>) -> R) -> R;

    /// Writes what `view` shows into `tx`, a transaction of an empty document that is thrown away if this fails. Nothing
    /// that does not show may get there: no deleted content, no earlier value, nobody's actor or client id.
    ///
    /// # Errors
    /// [`CopyError::Unsupported`], unless the type implements this.
    fn copy_into(view: &Self::View<'_>, tx: &mut Self::Tx<'_>) -> Result<(), CopyError> {
        let _ = (view, tx);
        Err(CopyError::Unsupported)
    }
}

/// What `view` shows as the history of another document: one payload of one change, whose actor, that of `actor`, must
/// have written nothing else. Empty when nothing shows.
///
/// # Errors
/// [`CopyError`].
pub fn flatten<T: DocumentType>(view: &T::View<'_>, actor: ActorSeed, limits: &Limits) -> Result<Vec<u8>, CopyError> {
    let kind = T::default();
    let mut scratch = kind.create(actor);
    let wrong = || CopyError::Failed("it creates documents of another type".into());
    scratch.set_limits(*limits);
    let doc = scratch.as_any_mut().downcast_mut::<T::Doc>().ok_or_else(wrong)?;
    // Kept here, since what is half copied may be refused by the transaction too, with less to say.
    let mut copied = Ok(());
    let done = T::transact(doc, |tx| {
        copied = T::copy_into(view, tx);
        Ok(())
    });
    copied?;
    done.map_err(|error| match error {
        Transact::Closure(error) | Transact::Reload(Some(error)) => CopyError::Failed(error.to_string()),
        Transact::Reload(None) => CopyError::Failed("it panicked".into()),
        Transact::Refused(error) => CopyError::Refused(error),
    })?;
    let payload = scratch.take_local(limits)?.unwrap_or_default();
    // What others would set aside must not become a document.
    if !payload.is_empty() {
        kind.validate(&payload, None, limits)?;
    }
    Ok(payload)
}

/// A hasher for [`CrdtDocument::digest`], so that all types' digests live in one domain.
pub fn digest_hasher() -> Hasher {
    Hasher::new("partita 2026 v1 document digest")
}
