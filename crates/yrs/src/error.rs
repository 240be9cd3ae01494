use partita_core::CrdtError;

/// What a closure of [`transact`](partita_core::DocumentType::transact) fails with. `?` converts what yrs returns.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The application gave up, in its own words.
    #[error("{0}")]
    Abort(String),
    /// Bytes that yrs could not read.
    #[error(transparent)]
    Read(#[from] yrs::encoding::read::Error),
    /// An update that yrs could not apply.
    #[error(transparent)]
    Update(#[from] yrs::error::UpdateError),
    /// Any other error of yrs.
    #[error(transparent)]
    Yrs(#[from] yrs::error::Error),
    /// The transaction did something that other replicas refuse: it applied another client's update, or it inserted
    /// what is not replicated (a subdocument), or more than the limits allow.
    #[error("other replicas would refuse this transaction: {0}")]
    Unpublishable(#[from] CrdtError),
}
