//! What is said and not kept: presence, cursors, who is typing.

use bytes::Bytes;
use partita_core::{
    ContextId, DocumentId, EntryHeader, EntryId, EntryKind, EpochId, Hash, HeaderPrefix, LogId, LogStart, NTP64,
    ReplicaId, Signature, Stamp, Timestamp,
    codec::{DecodeError, Reader, Writer},
};
use partita_crypto::{SigningKey, VerifyingKey, hash};

use super::MAX_EPHEMERAL;

const PURPOSE: &str = "partita 2026 v1 ephemeral";
/// What stands for a log's nonce: no log has it, so what is sealed here opens as no entry.
const NONCE: [u8; 16] = *b"ephemeral log id";

/// The last thing that a sender said about a document: sealed as a payload is, signed by the sender, never stored. A
/// newer one of the same sender takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ephemeral {
    /// The context.
    pub context: ContextId,
    /// The document.
    pub document: DocumentId,
    /// Who says it.
    pub sender: ReplicaId,
    /// The sender's clock: it orders what one sender says, and nothing else.
    pub time: Timestamp,
    /// The key epoch that it is sealed under.
    pub epoch: Option<EpochId>,
    /// What it says, sealed. Empty plain bytes take back what was said before.
    pub payload: Bytes,
    /// The sender's signature over all of it.
    pub signature: Signature,
}

impl Ephemeral {
    /// The header that the payload is sealed for: that of the first entry of a log that never was.
    pub(crate) fn header(&self) -> EntryHeader {
        EntryHeader {
            context: self.context,
            log: LogId::derive(&self.context, &self.sender, &NONCE),
            seq: 1,
            backlink: EntryId::NONE,
            time: self.time,
            kind: EntryKind::Change(self.document),
            start: Some(LogStart { replica: self.sender, nonce: NONCE, tips: Vec::new() }),
            stamp: Some(Stamp { heads: Vec::new(), epoch: self.epoch }),
            payload_len: self.payload.len() as u64,
            payload_hash: EntryHeader::hash_payload(&self.payload),
        }
    }

    fn message(&self) -> Hash {
        let header = self.header();
        let prefix = HeaderPrefix { header: &header, author: self.sender, epoch: self.epoch };
        hash(PURPOSE, &[&prefix.to_bytes(), &self.payload])
    }

    pub(crate) fn sign(&mut self, key: &SigningKey) {
        self.signature = key.sign(PURPOSE, self.message().as_bytes());
    }

    /// Whether it was said by its sender.
    pub(crate) fn is_signed(&self) -> bool {
        let Ok(key) = VerifyingKey::parse(self.sender.as_bytes()) else {
            return false;
        };
        key.verify(PURPOSE, self.message().as_bytes(), &self.signature).is_ok()
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        out.raw(self.context.as_bytes());
        out.raw(self.document.as_bytes());
        out.raw(self.sender.as_bytes());
        out.u64(self.time.as_u64());
        out.u8(u8::from(self.epoch.is_some()));
        if let Some(epoch) = &self.epoch {
            out.raw(epoch.0.as_bytes());
        }
        out.bytes(&self.payload);
        out.raw(self.signature.as_bytes());
    }

    pub(super) fn decode(body: &Bytes, input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            context: ContextId::from_bytes(input.array()?),
            document: DocumentId::from_bytes(input.array()?),
            sender: ReplicaId::from_bytes(input.array()?),
            time: NTP64(input.u64()?),
            epoch: if super::decode::flag(input)? { Some(EpochId(Hash::from_bytes(input.array()?))) } else { None },
            payload: super::decode::slice(body, input, "an ephemeral message", MAX_EPHEMERAL)?,
            signature: Signature::from_bytes(input.array()?),
        })
    }
}
