//! Yrs (Yjs) documents for Partita.
//!
//! A transaction is yrs' own [`yrs::TransactionMut`]; root types come from it, so nothing but the closure is needed:
//!
//! ```
//! use partita_core::{ActorSeed, CrdtDocument, DocumentId, DocumentType, LogId};
//! use partita_yrs::{Yrs, YrsDoc};
//! use yrs::{GetString, ReadTxn, Text, WriteTxn};
//!
//! # let actor = ActorSeed::derive(&LogId::from_bytes([1; 16]), &DocumentId::from_bytes([2; 32]));
//! let mut doc = Yrs::open(actor);
//! Yrs::transact(&mut doc, |tx| {
//!     let plan = tx.get_or_insert_text("plan");
//!     plan.push(tx, "milk, bread");
//!     Ok(())
//! })
//! .expect("nothing in it can fail");
//!
//! let text = Yrs::view(&doc, |tx| tx.get_text("plan").map(|plan| plan.get_string(tx)));
//! assert_eq!(text.as_deref(), Some("milk, bread"));
//! ```
//!
//! A shared reference (`TextRef`, `MapRef`) points into one loaded document: get it anew in every closure, since the engine
//! may load the document again in between.
//!
//! # What differs from plain yrs
//!
//! * Offsets count UTF-16 code units, as in JavaScript.
//! * Deleted content stays in the document: yrs' collection of garbage is not safe with updates of untrusted members.
//! * yrs' `UndoManager` writes past this crate: what it does is not replicated, and the next transaction fails. To undo
//!   something, write what takes it back.
//! * There is no rollback. After an error or a panic the document must be loaded again.
//! * Subdocuments, weak links and XML hooks are refused: the first are not replicated, the others yrs does not carry.
//! * A payload that depends on one that is not here waits outside yrs, whole; see `pending`.

mod copy;
mod doc;
mod error;
mod held;
mod history;
mod lists;
mod local;
mod snapshot;
mod validate;

use partita_core::{
    ActorSeed, CopyError, CrdtDocument, CrdtError, CrdtType, CrdtTypeId, DocumentType, Limits, Transact,
};

pub use doc::YrsDoc;
pub use error::Error;

/// The Yrs plugin.
#[derive(Debug, Default, Clone, Copy)]
pub struct Yrs;

impl Yrs {
    /// An empty document; what [`CrdtType::create`] boxes.
    pub fn open(actor: ActorSeed) -> YrsDoc {
        YrsDoc::create(&actor)
    }

    /// The client id under which `actor` writes.
    pub fn client_id(actor: ActorSeed) -> u64 {
        doc::client_id(&actor)
    }
}

impl CrdtType for Yrs {
    fn id(&self) -> CrdtTypeId {
        CrdtTypeId(*b"yrs1")
    }

    fn validate(&self, payload: &[u8], actor: Option<ActorSeed>, limits: &Limits) -> Result<(), CrdtError> {
        validate::outline(payload, actor.as_ref().map(doc::client_id), limits).map(drop)
    }

    fn create(&self, actor: ActorSeed) -> Box<dyn CrdtDocument> {
        Box::new(YrsDoc::create(&actor))
    }

    fn load(&self, snapshot: &[u8], actor: ActorSeed) -> Result<Box<dyn CrdtDocument>, CrdtError> {
        Ok(Box::new(YrsDoc::load(snapshot, &actor)?))
    }
}

impl DocumentType for Yrs {
    type Doc = YrsDoc;
    type Tx<'a> = yrs::TransactionMut<'a>;
    type View<'a> = yrs::Transaction<'a>;
    type Error = Error;

    fn transact<R>(
        doc: &mut YrsDoc,
        f: impl FnOnce(&mut Self::Tx<'_>) -> Result<R, Error>,
    ) -> Result<R, Transact<Error>> {
        doc.transact(f)
    }

    fn view<R>(doc: &YrsDoc, f: impl FnOnce(&Self::View<'_>) -> R) -> R {
        doc.view(f)
    }

    /// Everything that is visible, with formats, embeds, attributes and shared types inside each other. What yrs does not
    /// show for what it is, is refused: an embed that is a string, and a list that is text in one place and values in
    /// another.
    fn copy_into(view: &Self::View<'_>, tx: &mut Self::Tx<'_>) -> Result<(), CopyError> {
        copy::into(view, tx)
    }
}
