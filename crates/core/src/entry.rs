//! The immutable unit of replication: a signed header and an opaque payload.

use bytes::Bytes;
use partita_crypto::{EpochId, Hash, Signature, SigningKey, VerifyingKey};
use uhlc::NTP64;

use crate::{
    ContextId, DocumentId, EntryId, LogId, ReplicaId, Timestamp, Tip,
    codec::{DecodeError, Reader, Writer},
};

const VERSION: u8 = 1;
const ID_DOMAIN: &str = "partita 2026 v1 entry id";
const PAYLOAD_DOMAIN: &str = "partita 2026 v1 payload";
/// The purpose label under every entry's signature.
const SIGNATURE_PURPOSE: &str = "partita 2026 v1 entry";

/// What a log holds. In the order in which logs are sent: what others rest on goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogSort {
    /// Control entries: never pruned, never cut back.
    Control,
    /// The snapshots of one checkpoint: gone as a whole once no checkpoint needs them.
    Snapshot,
    /// Documents' changes.
    Data,
}

/// What an entry is for. A log holds entries of one [`LogSort`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// The strategy itself understands it. Its payload is readable by everyone who holds it.
    Control,
    /// It creates the document: type, nonce, and perhaps an imported history.
    Create(DocumentId),
    /// It carries changes of the document.
    Change(DocumentId),
    /// It is the whole document as a checkpoint has it: its type, then what the type's library saved.
    Snapshot(DocumentId),
}

impl EntryKind {
    /// The document that it belongs to; none for control entries.
    pub fn document(&self) -> Option<DocumentId> {
        match self {
            Self::Control => None,
            Self::Create(document) | Self::Change(document) | Self::Snapshot(document) => Some(*document),
        }
    }

    /// The sort of log that it belongs in.
    pub fn sort(&self) -> LogSort {
        match self {
            Self::Control => LogSort::Control,
            Self::Snapshot(_) => LogSort::Snapshot,
            Self::Create(_) | Self::Change(_) => LogSort::Data,
        }
    }

    /// Whether it belongs in a control log.
    pub fn is_control(&self) -> bool {
        matches!(self, Self::Control)
    }
}

/// What a log's first entry says about the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogStart {
    /// Who writes the log.
    pub replica: ReplicaId,
    /// Random; with it the log's id is derived ([`LogId::derive`]), so that nobody can begin another's log.
    pub nonce: [u8; 16],
    /// Every tip of that replica's earlier logs of the same sort (control or data), as its store had them.
    pub tips: Vec<Tip>,
}

/// What an entry rests on. Stated in a log's first entry, and again when it changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stamp {
    /// The heads of the control graph, by rising id. Of a control entry: its parents.
    pub heads: Vec<EntryId>,
    /// The key epoch that the payload is sealed under; none in plain contexts and for control entries.
    pub epoch: Option<EpochId>,
}

impl LogStart {
    /// Appends the canonical encoding.
    pub fn encode(&self, out: &mut Writer) {
        out.raw(self.replica.as_bytes());
        out.raw(&self.nonce);
        Tip::encode_all(&self.tips, out);
    }

    /// Reads the start of `log` in `context`.
    ///
    /// # Errors
    /// When the bytes are not canonical, or the log's id is not the one that they derive.
    pub fn decode(input: &mut Reader<'_>, context: &ContextId, log: &LogId) -> Result<Self, DecodeError> {
        let (replica, nonce) = (ReplicaId::from_bytes(input.array()?), input.array()?);
        if *log != LogId::derive(context, &replica, &nonce) {
            return Err(DecodeError::Invalid("log id"));
        }
        Ok(Self { replica, nonce, tips: Tip::decode_all(input, EntryHeader::MAX_HEADS)? })
    }
}

impl Stamp {
    /// Appends the canonical encoding; whether there is an epoch is for the caller's flags to say.
    pub fn encode(&self, out: &mut Writer) {
        encode_heads(&self.heads, out);
        if let Some(epoch) = &self.epoch {
            out.raw(epoch.0.as_bytes());
        }
    }

    /// Reads a stamp, with an epoch if the flags before it said so.
    ///
    /// # Errors
    /// When the bytes are not canonical: heads out of order or named twice.
    pub fn decode(input: &mut Reader<'_>, has_epoch: bool) -> Result<Self, DecodeError> {
        let heads = decode_heads(input)?;
        let epoch = if has_epoch { Some(EpochId(Hash::from_bytes(input.array()?))) } else { None };
        Ok(Self { heads, epoch })
    }
}

/// Appends heads of the control graph, by rising id.
pub(crate) fn encode_heads(heads: &[EntryId], out: &mut Writer) {
    out.varint(heads.len() as u64);
    heads.iter().for_each(|head| out.raw(head.as_bytes()));
}

/// Reads heads of the control graph; they are refused out of order or named twice.
pub(crate) fn decode_heads(input: &mut Reader<'_>) -> Result<Vec<EntryId>, DecodeError> {
    let count = input.count("the number of control heads", EntryHeader::MAX_HEADS, EntryId::LEN)?;
    let mut heads: Vec<EntryId> = Vec::with_capacity(count);
    for _ in 0..count {
        let head = EntryId::from_bytes(input.array()?);
        if heads.last().is_some_and(|last| *last >= head) {
            return Err(DecodeError::NotCanonical);
        }
        heads.push(head);
    }
    Ok(heads)
}

/// The signed part of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryHeader {
    /// The security context.
    pub context: ContextId,
    /// The log.
    pub log: LogId,
    /// The number in the log, from 1, without holes.
    pub seq: u64,
    /// The previous entry of the log; [`EntryId::NONE`] for number 1.
    pub backlink: EntryId,
    /// When its author says that it was written: a hint for people.
    pub time: Timestamp,
    /// What it is for.
    pub kind: EntryKind,
    /// In number 1, and only there.
    pub start: Option<LogStart>,
    /// In number 1, and where it changed.
    pub stamp: Option<Stamp>,
    /// The length of the stored (sealed) payload in bytes.
    pub payload_len: u64,
    /// The hash of the stored (sealed) payload.
    pub payload_hash: Hash,
}

/// The canonical header without payload length and hash: the associated data of the payload's AEAD.
///
/// Without those two because they are over the sealed bytes; with them it would be circular.
#[derive(Debug, Clone, Copy)]
pub struct HeaderPrefix<'a> {
    /// The header that the payload belongs to. Its payload length and hash are not yet meaningful while sealing.
    pub header: &'a EntryHeader,
    /// Who writes the log.
    pub author: ReplicaId,
    /// The key epoch in force, stated here or by an earlier entry of the log.
    pub epoch: Option<EpochId>,
}

impl HeaderPrefix<'_> {
    /// The bytes to authenticate: the canonical header up to the payload, then the author and the epoch in force, which
    /// the header only states when they change.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Writer::with_capacity(256);
        self.header.encode_prefix(&mut out);
        out.raw(self.author.as_bytes());
        out.raw(self.epoch.map_or(Hash::ZERO, |epoch| epoch.0).as_bytes());
        out.finish()
    }
}

/// Why a header is refused: it is not canonical, or what it says cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The bytes are not a canonical header.
    #[error("the entry's header cannot be read: {0}")]
    Decode(#[from] DecodeError),
    /// The payload is not the one that the header names.
    #[error("the payload is not the one that the entry's header names")]
    Payload,
    /// The author's key is weak or not canonical.
    #[error("the author's key is not an acceptable Ed25519 key")]
    Key,
    /// The signature does not hold.
    #[error("the entry's signature does not hold")]
    Signature,
}

impl EntryHeader {
    /// The most control heads and tips that a header may name.
    pub const MAX_HEADS: usize = 4096;
    /// The most bytes that a header takes.
    pub const MAX_ENCODED: usize = 512 * 1024;

    fn encode_prefix(&self, out: &mut Writer) {
        out.u8(VERSION);
        let kind = match self.kind {
            EntryKind::Control => 0,
            EntryKind::Create(_) => 1,
            EntryKind::Change(_) => 2,
            EntryKind::Snapshot(_) => 3,
        };
        let stamped = u8::from(self.stamp.is_some()) << 4;
        let has_epoch = u8::from(self.stamp.as_ref().is_some_and(|stamp| stamp.epoch.is_some())) << 5;
        out.u8(kind | stamped | has_epoch);
        out.raw(self.context.as_bytes());
        out.raw(self.log.as_bytes());
        out.varint(self.seq);
        if self.seq != 1 {
            out.raw(self.backlink.as_bytes());
        }
        out.u64(self.time.as_u64());
        if let Some(document) = self.kind.document() {
            out.raw(document.as_bytes());
        }
        if let Some(start) = &self.start {
            start.encode(out);
        }
        if let Some(stamp) = &self.stamp {
            stamp.encode(out);
        }
    }

    /// The one canonical encoding.
    pub fn encode(&self) -> Bytes {
        let mut out = Writer::with_capacity(192);
        self.encode_prefix(&mut out);
        out.varint(self.payload_len);
        out.raw(self.payload_hash.as_bytes());
        out.finish()
    }

    /// Reads a header and what follows it stays in `input`.
    ///
    /// # Errors
    /// When the bytes are not the canonical encoding of a header that can be.
    pub fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if input.u8()? != VERSION {
            return Err(DecodeError::Unknown("entry version"));
        }
        let flags = input.u8()?;
        let (kind, stamped, has_epoch) = (flags & 0x0f, flags & 0x10 != 0, flags & 0x20 != 0);
        if flags & 0xc0 != 0 || (has_epoch && !stamped) {
            return Err(DecodeError::Unknown("entry flags"));
        }
        let context = ContextId::from_bytes(input.array()?);
        let log = LogId::from_bytes(input.array()?);
        let seq = input.varint()?;
        if seq == 0 || (seq == 1 && !stamped) {
            return Err(DecodeError::Invalid("entry number"));
        }
        let backlink = if seq == 1 { EntryId::NONE } else { EntryId::from_bytes(input.array()?) };
        if seq != 1 && backlink == EntryId::NONE {
            return Err(DecodeError::Invalid("backlink"));
        }
        let time = NTP64(input.u64()?);
        let kind = match kind {
            0 => EntryKind::Control,
            1 => EntryKind::Create(DocumentId::from_bytes(input.array()?)),
            2 => EntryKind::Change(DocumentId::from_bytes(input.array()?)),
            3 => EntryKind::Snapshot(DocumentId::from_bytes(input.array()?)),
            _ => return Err(DecodeError::Unknown("entry kind")),
        };
        let start = if seq == 1 { Some(LogStart::decode(input, &context, &log)?) } else { None };
        let stamp = if stamped { Some(Stamp::decode(input, has_epoch)?) } else { None };
        let payload_len = input.varint()?;
        let payload_hash = Hash::from_bytes(input.array()?);
        Ok(Self { context, log, seq, backlink, time, kind, start, stamp, payload_len, payload_hash })
    }

    /// The entry's id.
    pub fn id(&self) -> EntryId {
        Self::id_of(&self.encode())
    }

    /// The id of the entry whose canonical header these bytes are.
    pub fn id_of(encoded: &[u8]) -> EntryId {
        partita_crypto::hash(ID_DOMAIN, &[encoded]).into()
    }

    /// The hash of a stored payload, for [`payload_hash`](Self::payload_hash).
    pub fn hash_payload(payload: &[u8]) -> Hash {
        partita_crypto::hash(PAYLOAD_DOMAIN, &[payload])
    }

    /// Signs the entry with this id.
    pub fn sign(id: &EntryId, key: &SigningKey) -> Signature {
        key.sign(SIGNATURE_PURPOSE, id.as_bytes())
    }

    /// Checks a signature over the entry with this id, and with it over every entry that its backlinks reach.
    ///
    /// # Errors
    /// [`HeaderError::Signature`].
    pub fn verify(id: &EntryId, author: &VerifyingKey, signature: &Signature) -> Result<(), HeaderError> {
        author.verify(SIGNATURE_PURPOSE, id.as_bytes(), signature).map_err(|_| HeaderError::Signature)
    }
}

/// A header, its encoding and id, the payload as stored, and the signature where one was verified.
///
/// Backlinks make the last signature of a contiguous run verify the whole run, so most entries carry none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The header.
    pub header: EntryHeader,
    /// Its canonical encoding.
    pub encoded: Bytes,
    /// The hash of the encoding.
    pub id: EntryId,
    /// The author's signature over the id, once it was verified.
    pub signature: Option<Signature>,
    /// The payload as it is stored and travels: sealed unless the context's kind is a plain one.
    pub payload: Bytes,
}

impl Entry {
    /// An entry of this header and payload, without a signature.
    pub fn new(header: EntryHeader, payload: Bytes) -> Self {
        let encoded = header.encode();
        Self { id: EntryHeader::id_of(&encoded), header, encoded, signature: None, payload }
    }

    /// The bytes that the entry takes in memory and in a store, roughly.
    pub fn size(&self) -> usize {
        self.encoded.len() + self.payload.len() + 64
    }

    /// The form in which stores keep everything but the payload: signature or none, then the header.
    pub fn head_bytes(&self) -> Bytes {
        let mut out = Writer::with_capacity(self.encoded.len() + 65);
        match &self.signature {
            Some(signature) => {
                out.u8(1);
                out.raw(signature.as_bytes());
            }
            None => out.u8(0),
        }
        out.raw(&self.encoded);
        out.finish()
    }

    /// An entry from a store's two parts.
    ///
    /// # Errors
    /// When the bytes are not what [`head_bytes`](Self::head_bytes) writes.
    pub fn from_stored(head: &[u8], payload: Bytes) -> Result<Self, DecodeError> {
        let mut input = Reader::new(head);
        let signature = match input.u8()? {
            0 => None,
            1 => Some(Signature::from_bytes(input.array()?)),
            _ => return Err(DecodeError::Unknown("signature flag")),
        };
        let encoded = Bytes::copy_from_slice(input.rest());
        let header = EntryHeader::decode(&mut input)?;
        input.end()?;
        Ok(Self { id: EntryHeader::id_of(&encoded), header, encoded, signature, payload })
    }
}
