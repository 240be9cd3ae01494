use partita_core::CrdtError;

pub(crate) fn poisoned(why: &str) -> CrdtError {
    CrdtError::Poisoned(why.into())
}
