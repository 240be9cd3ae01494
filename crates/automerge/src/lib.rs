//! Automerge documents for Partita.
//!
//! A transaction is Automerge's own [`automerge::transaction::Transaction`]:
//!
//! ```
//! use automerge::{ROOT, ReadDoc, transaction::Transactable};
//! use partita_automerge::Automerge;
//! use partita_core::{ActorSeed, CrdtDocument, DocumentId, DocumentType, LogId};
//!
//! # let actor = ActorSeed::derive(&LogId::from_bytes([1; 16]), &DocumentId::from_bytes([2; 32]));
//! let mut doc = Automerge::open(actor);
//! Automerge::transact(&mut doc, |tx| tx.put(ROOT, "title", "Plan")).expect("the root is a map");
//!
//! let title = Automerge::view(&doc, |doc| doc.get(ROOT, "title").ok()??.0.into_string().ok());
//! assert_eq!(title.as_deref(), Some("Plan"));
//! ```
//!
//! A payload is a sequence of change chunks, and a snapshot is what Automerge saves, followed by the changes that wait for
//! others: any Automerge reads both.

mod batch;
mod copy;
mod deep;
mod digest;
mod doc;
mod held;
mod validate;

use automerge::AutomergeError;
use partita_core::{
    ActorSeed, CopyError, CrdtDocument, CrdtError, CrdtType, CrdtTypeId, DocumentType, Limits, Transact,
};

pub use doc::AutomergeDoc;

/// The Automerge plugin.
#[derive(Debug, Default, Clone, Copy)]
pub struct Automerge;

impl Automerge {
    /// An empty document; what [`CrdtType::create`] boxes.
    pub fn open(actor: ActorSeed) -> AutomergeDoc {
        AutomergeDoc::create(&actor)
    }

    /// The actor id under which `actor` writes.
    pub fn actor_id(actor: ActorSeed) -> automerge::ActorId {
        doc::actor_id(&actor)
    }
}

impl CrdtType for Automerge {
    fn id(&self) -> CrdtTypeId {
        CrdtTypeId(*b"amrg")
    }

    fn validate(&self, payload: &[u8], actor: Option<ActorSeed>, limits: &Limits) -> Result<(), CrdtError> {
        let actor = actor.as_ref().map(doc::actor_id);
        validate::payload(payload, actor.as_ref().map(automerge::ActorId::to_bytes), limits)
    }

    fn create(&self, actor: ActorSeed) -> Box<dyn CrdtDocument> {
        Box::new(AutomergeDoc::create(&actor))
    }

    fn load(&self, snapshot: &[u8], actor: ActorSeed) -> Result<Box<dyn CrdtDocument>, CrdtError> {
        Ok(Box::new(AutomergeDoc::load(snapshot, &actor)?))
    }
}

impl DocumentType for Automerge {
    type Doc = AutomergeDoc;
    type Tx<'a> = automerge::transaction::Transaction<'a>;
    type View<'a> = automerge::Automerge;
    type Error = AutomergeError;

    fn transact<R>(
        doc: &mut AutomergeDoc,
        f: impl FnOnce(&mut Self::Tx<'_>) -> Result<R, AutomergeError>,
    ) -> Result<R, Transact<AutomergeError>> {
        doc.transact(f)
    }

    fn view<R>(doc: &AutomergeDoc, f: impl FnOnce(&Self::View<'_>) -> R) -> R {
        f(doc.automerge())
    }
    /// Everything that is visible: of conflicting values the one that wins, counters as their sums, and marks that grow
    /// at the same ends. Marks that cover nothing are left out.
    fn copy_into(view: &Self::View<'_>, tx: &mut Self::Tx<'_>) -> Result<(), CopyError> {
        copy::into(view, tx).map_err(|error| CopyError::Failed(error.to_string()))
    }
}
