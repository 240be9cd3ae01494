//! What a replay asks of a CRDT type.

use partita::{ChangeError, Document};
use partita_core::DocumentType;

use crate::{
    error::CliError,
    trace::{Patch, Place},
};

/// The name of the text in the document.
pub(crate) const TEXT: &str = "text";

/// A CRDT type whose text can be typed anew from a trace.
pub(crate) trait Script: DocumentType {
    /// Its name on the command line and in the report.
    const NAME: &'static str;

    /// What a writing replica keeps beside its document.
    type Pen: Send;

    /// What a transaction left: by it, others find it in their documents and see its effect.
    type Mark: Send + Sync + 'static;

    /// The set of changes in a document.
    type Version: PartialEq + Send;

    /// Puts the text into an empty document.
    fn begin(doc: &Document<Self>, start: &str) -> Result<Self::Mark, Slip>;

    /// A pen for a replica that holds what [`begin`](Self::begin) made; nobody has typed yet.
    fn pen(doc: &Document<Self>, base: &Self::Mark) -> Result<Self::Pen, Slip>;

    /// Types a transaction at the present version.
    fn append(pen: &mut Self::Pen, doc: &Document<Self>, patches: &[Patch]) -> Result<(), Slip>;

    /// Types a transaction at `parents`, all of which the document holds; `news` are those of others among them and
    /// under them that this pen has not met. Hands out the mark before anybody else can see the transaction.
    fn insert(
        pen: &mut Self::Pen,
        doc: &Document<Self>,
        sight: Seen<'_, Self::Mark>,
        patches: &[Patch],
        mark: impl FnOnce(Self::Mark),
    ) -> Result<(), Slip>;

    /// Whether all of these transactions are in the document.
    fn holds(view: &Self::View<'_>, marks: &[&Self::Mark]) -> bool;

    /// The set of changes in the document.
    fn version(view: &Self::View<'_>) -> Self::Version;

    /// The text; nothing if it is not there.
    fn text(view: &Self::View<'_>) -> Option<String>;
}

/// What the author of a concurrent transaction had seen.
pub(crate) struct Seen<'m, M> {
    pub(crate) parents: &'m [&'m M],
    pub(crate) news: &'m [&'m M],
}

/// Why a transaction could not be typed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Slip {
    /// It lies outside of the text.
    #[error("{0}")]
    Place(Place),
    /// The document or its library refused.
    #[error("{0}")]
    Refused(String),
}

impl Slip {
    pub(crate) fn refused(error: impl std::fmt::Display) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<Slip> for CliError {
    fn from(slip: Slip) -> Self {
        Self::Change(slip.to_string())
    }
}

/// A document that can be read no more.
pub(crate) fn unusable<E: std::error::Error>(error: ChangeError<E>) -> CliError {
    CliError::Change(error.to_string())
}
