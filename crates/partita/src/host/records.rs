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
    /// A later version of the program set it aside, for a reason that this one does not know: it is tried again.
    #[error("a later version of the program set it aside, for a reason that this one does not know")]
    OfLaterVersion = 255,
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
        matches!(self, Self::AwaitingKey | Self::UnknownType | Self::Withheld | Self::OfLaterVersion)
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
        // A snapshot may reach beyond it: an entry that nobody tries would be missing in the document, and nobody would know.
        let reason = Reason::from_code(input.u8()?).unwrap_or(Reason::OfLaterVersion);
        let log = LogId::from_bytes(input.array()?);
        let seq = input.varint()?;
        let detail = String::from_utf8_lossy(input.bytes("a detail", usize::MAX)?).into_owned();
        // What follows is a later version's.
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use data_encoding::HEXLOWER;
    use partita_crypto::{
        Secret,
        rand_core::{TryCryptoRng, TryRng},
    };

    use super::*;

    const CONTEXT: ContextId = ContextId::from_bytes([0xc0; 32]);
    const DOCUMENT: DocumentId = DocumentId::from_bytes([0xd0; 32]);

    /// No randomness at all: nothing is sealed with it but here.
    struct Sixes;

    impl TryRng for Sixes {
        type Error = Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            Ok(0x0606_0606)
        }

        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            Ok(0x0606_0606_0606_0606)
        }

        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
            bytes.fill(6);
            Ok(())
        }
    }

    impl TryCryptoRng for Sixes {}

    /// What stores hold. When this fails: raise the version in its first byte. Of an older one nothing has to be read: such a
    /// document is made anew from its entries.
    #[test]
    fn the_bytes_of_a_snapshot_at_rest_stay_what_they_are() {
        // Version, CRDT type, the last arrival in it, nonce, ciphertext, tag.
        let golden = "01616d7267000000000000012c06060606060606060606060606060606060606060606060635370fefeb5fccb827bdce424c6bafa4c6586b22a7";
        let stored = HEXLOWER.decode(golden.as_bytes()).unwrap();
        let key = AeadKey::from_secret(&Secret::from_bytes([3; 32]));
        let snapshot = Snapshot { crdt: CrdtTypeId(*b"amrg"), through: 300, bytes: b"saved".to_vec() };
        let found = snapshot.seal(&CONTEXT, &DOCUMENT, &key, &mut Sixes).unwrap();
        assert_eq!(HEXLOWER.encode(&found), golden, "an encoding changed: see docs/formats.md");
        let read = Snapshot::open(&CONTEXT, &DOCUMENT, &key, &stored).unwrap();
        assert_eq!((read.crdt, read.through, read.bytes), (snapshot.crdt, snapshot.through, snapshot.bytes));
        let later = [&[2][..], &stored[1..]].concat();
        assert!(Snapshot::open(&CONTEXT, &DOCUMENT, &key, &later).is_none());
    }

    /// What stores hold, without a version: a later one adds reasons, and fields at the end.
    #[test]
    fn the_bytes_of_what_was_set_aside_stay_what_they_are() {
        let log = LogId::from_bytes([1; 16]);
        let codes = [
            (1, Reason::Malformed),
            (2, Reason::TooLarge),
            (3, Reason::ForeignActor),
            (4, Reason::Poisoned),
            (5, Reason::BadSeal),
            (6, Reason::AwaitingKey),
            (7, Reason::WrongDocument),
            (8, Reason::UnknownType),
            (9, Reason::Withheld),
        ];
        for (code, reason) in codes {
            let set_aside = SetAside { document: DOCUMENT, log, seq: 300, reason, detail: "why".into() };
            // Reason, log, number, text.
            let golden = [&[code][..], &[1; 16], &[0xac, 2], &[3], b"why"].concat();
            assert_eq!(set_aside.encode(), golden, "an encoding changed: see docs/formats.md");
            assert_eq!(SetAside::decode(DOCUMENT, &golden), Ok(set_aside));
        }
    }

    /// The entry would be in no snapshot, in no list, and never tried again.
    #[test]
    fn what_was_set_aside_for_a_reason_of_a_later_version_is_tried_again() {
        let stored = [&[77][..], &[1; 16], &[0xac, 2], &[3], b"why", b"and more"].concat();
        let read = SetAside::decode(DOCUMENT, &stored).unwrap();
        assert_eq!((read.reason, read.seq, read.detail.as_str()), (Reason::OfLaterVersion, 300, "why"));
        assert!(read.reason.is_retried());
    }
}
