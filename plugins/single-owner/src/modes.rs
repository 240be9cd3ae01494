//! The two kinds of an owner's contexts.

use partita_core::{ContextId, ContextInfo, ContextKind, KindError};
use partita_crypto::VerifyingKey;

/// The kind of an owner's sealed context: relays see ciphertext.
pub const SEALED_KIND: &str = "single-owner";

/// The kind of an owner's plain context: relays can read the payloads. Only where an application asks for it.
pub const PLAIN_KIND: &str = "single-owner/plain";

/// Which of the two a context is. The kind is under the hash of the context's id, so one cannot pass for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    Sealed,
    Plain,
}

impl Mode {
    pub(crate) const ALL: [Self; 2] = [Self::Sealed, Self::Plain];

    fn name(self) -> &'static str {
        match self {
            Self::Sealed => SEALED_KIND,
            Self::Plain => PLAIN_KIND,
        }
    }

    /// Fails for no name in this file, which a test checks.
    pub(crate) fn kind(self) -> Result<ContextKind, KindError> {
        ContextKind::new(self.name())
    }

    /// The mode of contexts of this kind.
    pub(crate) fn named(kind: &ContextKind) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == kind.as_str())
    }

    /// The owner's context of this mode.
    pub(crate) fn context(self, owner: &VerifyingKey) -> Result<ContextInfo, KindError> {
        let kind = self.kind()?;
        Ok(ContextInfo { id: ContextId::derive(&kind, owner.as_bytes()), kind })
    }

    /// Which of the owner's contexts this is; `None` when the owner does not govern it.
    pub(crate) fn of(context: &ContextId, owner: &VerifyingKey) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.context(owner).is_ok_and(|info| info.id == *context))
    }
}
