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
}
