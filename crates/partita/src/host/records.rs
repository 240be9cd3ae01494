//! The engine's own records in the store: snapshots at rest, entries that were set aside.

use std::ops::ControlFlow;

use partita_core::{
    Bytes, ContextId, CrdtError, CrdtTypeId, DocumentId, Key, LogId, StoreError, StoreRead,
    codec::{DecodeError, Reader, Writer},
};
use partita_crypto::{AeadKey, rand_core::CryptoRng};

/// Why an entry is set aside: kept, counted, forwarded, and not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[repr(u8)]
pub enum Reason {
    /// The bytes are no payload of the document's type.
    #[error("its bytes are not a payload of the document's type")]
    Malformed = 1,
    /// It is over a limit.
    #[error("it is over a limit")]
    TooLarge = 2,
    /// It carries changes of another writer than its author.
    #[error("it carries changes of another writer than its author")]
    ForeignActor = 3,
    /// The CRDT library refused it or panicked over it.
    #[error("the CRDT library could not use it")]
    Poisoned = 4,
    /// It was not sealed by whom and for what its header says.
    #[error("it was not sealed by whom and for what its header says")]
    BadSeal = 5,
    /// The key that opens it is not here yet: it is tried again when keys come.
    #[error("the key that opens it is not here yet")]
    AwaitingKey = 6,
    /// It claims to create a document and its bytes are those of another.
    #[error("it claims to create another document than its bytes do")]
    WrongDocument = 7,
    /// This program has no such CRDT type: it is tried again by one that has.
    #[error("this program does not have the document's CRDT type")]
    UnknownType = 8,
    /// It was written before this replica was let in, or for others: it is tried again if keys come all the same.
    #[error("this replica may not read it: it was written before it was let in, or for others")]
    Withheld = 9,
}

impl Reason {
    fn from_code(code: u8) -> Option<Self> {
        use Reason::*;
        [Malformed, TooLarge, ForeignActor, Poisoned, BadSeal, AwaitingKey, WrongDocument, UnknownType, Withheld]
            .into_iter()
            .find(|reason| *reason as u8 == code)
    }

    /// Whether it may become usable.
    pub fn is_retried(self) -> bool {
        matches!(self, Self::AwaitingKey | Self::UnknownType | Self::Withheld)
    }

    /// Whether a key would make it usable.
    pub(crate) fn lacks_key(self) -> bool {
        matches!(self, Self::AwaitingKey | Self::Withheld)
    }
}

impl From<&CrdtError> for Reason {
    fn from(error: &CrdtError) -> Self {
        match error {
            CrdtError::Malformed(_) => Self::Malformed,
            CrdtError::TooLarge(_) => Self::TooLarge,
            CrdtError::ForeignActor => Self::ForeignActor,
            _ => Self::Poisoned,
        }
    }
}

/// An entry that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetAside {
    /// Its document.
    pub document: DocumentId,
    /// Its log.
    pub log: LogId,
    /// Its number in the log.
    pub seq: u64,
    /// Why.
    pub reason: Reason,
    /// What the library or the validator said.
    pub detail: String,
}

impl SetAside {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Writer::new();
        out.u8(self.reason as u8);
        out.raw(self.log.as_bytes());
        out.varint(self.seq);
        out.bytes(self.detail.as_bytes());
        out.finish()
    }

    /// Those of a context, or of one document in it, each with its entry's arrival. One that cannot be read says nothing.
    pub(crate) fn each(
        store: &dyn StoreRead,
        context: &ContextId,
        document: Option<&DocumentId>,
        mut take: impl FnMut(u64, Self),
    ) -> Result<(), StoreError> {
        store.scan(&Key::set_aside(context, document), &mut |key, value| {
            let document = key.get(33..65).and_then(|bytes| bytes.try_into().ok()).map(DocumentId::from_bytes);
            let arrival = key.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
            if let (Some(document), Some(arrival)) = (document, arrival)
                && let Ok(set_aside) = Self::decode(document, value)
            {
                take(arrival, set_aside);
            }
            ControlFlow::Continue(())
        })
    }

    fn decode(document: DocumentId, bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new(bytes);
        let reason = Reason::from_code(input.u8()?).ok_or(DecodeError::Unknown("reason"))?;
        let log = LogId::from_bytes(input.array()?);
        let seq = input.varint()?;
        let detail = String::from_utf8_lossy(input.bytes("a detail", usize::MAX)?).into_owned();
        Ok(Self { document, log, seq, reason, detail })
    }
}

/// A document's snapshot as it lies in the store, sealed under a key of this device.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) crdt: CrdtTypeId,
    /// Every entry of the document up to this arrival is in it, or set aside.
    pub(crate) through: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Snapshot {
    fn aad(context: &ContextId, document: &DocumentId, crdt: CrdtTypeId, through: u64) -> Bytes {
        let mut out = Writer::new();
        out.raw(context.as_bytes());
        out.raw(document.as_bytes());
        out.raw(&crdt.0);
        out.u64(through);
        out.finish()
    }

    pub(crate) fn seal(
        &self,
        context: &ContextId,
        document: &DocumentId,
        key: &AeadKey,
        rng: &mut dyn CryptoRng,
    ) -> Option<Bytes> {
        let aad = Self::aad(context, document, self.crdt, self.through);
        let sealed = key.seal(rng, &aad, &self.bytes).ok()?;
        let mut out = Writer::with_capacity(sealed.len() + 16);
        out.u8(1);
        out.raw(&self.crdt.0);
        out.u64(self.through);
        out.raw(&sealed);
        Some(out.finish())
    }

    /// `None` when it is damaged: the document is then rebuilt from its entries.
    pub(crate) fn open(context: &ContextId, document: &DocumentId, key: &AeadKey, value: &[u8]) -> Option<Self> {
        let mut input = Reader::new(value);
        if input.u8().ok()? != 1 {
            return None;
        }
        let crdt = CrdtTypeId(input.array().ok()?);
        let through = input.u64().ok()?;
        let aad = Self::aad(context, document, crdt, through);
        let bytes = key.open(&aad, input.rest()).ok()?;
        Some(Self { crdt, through, bytes })
    }
}
