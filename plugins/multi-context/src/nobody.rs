//! The strategy of contexts that are nobody's.

use std::any::Any;

use bytes::Bytes;
use partita_core::{
    AuthProvider, ContextInfo, ContextKind, ControlEntry, CryptoRng, Grant, HeaderPrefix, Now, Opened,
    PartitionStrategy, Refusal, StrategyEffect, StrategyError, Transcript,
};
use partita_crypto::VerifyingKey;

/// Answers for no kind and allows nothing: what stands where no strategy is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

fn nobodys() -> StrategyError {
    StrategyError("no strategy here answers for this context: add the one that it belongs to".into())
}

impl PartitionStrategy for Nobody {
    fn kinds(&self) -> &[ContextKind] {
        &[]
    }

    fn auth(&self) -> &dyn AuthProvider {
        self
    }

    fn seal(&self, _: &HeaderPrefix<'_>, _: &[u8], _: &mut dyn CryptoRng) -> Result<Bytes, StrategyError> {
        Err(nobodys())
    }

    fn open(&self, _: &HeaderPrefix<'_>, _: &Bytes) -> Opened {
        Opened::Bad
    }

    fn control(&mut self, _: Now, _: &ControlEntry<'_>) -> Result<Vec<StrategyEffect>, StrategyError> {
        Err(nobodys())
    }

    fn never_waits(&self) -> bool {
        true
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl AuthProvider for Nobody {
    fn prove(&self, _: &Transcript, _: &ContextInfo) -> Result<Bytes, StrategyError> {
        Err(nobodys())
    }

    fn verify(&self, _: Now, _: &Transcript, _: &VerifyingKey, _: &ContextInfo, _: &[u8]) -> Result<Grant, Refusal> {
        Err(Refusal::Denied)
    }
}
