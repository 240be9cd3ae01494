//! A contiguous run of one log, without what the receiver can compute: ids, backlinks, payload hashes.

use std::sync::Arc;

use bytes::Bytes;
use partita_core::{
    ContextId, DocumentId, Entry, EntryHeader, EntryId, EntryKind, Hash, LogId, LogStart, NTP64, Signature, Stamp,
    codec::{DecodeError, Reader, Writer},
};

use super::MAX_RUN_ENTRIES;

/// Every run ends at a signature. An early draft had others, which are refused.
const SIGNED: u8 = 1;
const WITHHELD: u8 = 2;

const STAMPED: u8 = 0x10;
const EPOCH: u8 = 0x20;
const SAME_DOCUMENT: u8 = 0x40;

/// Entries of one log, one after the other. Decoding computes every id, so a decoded run is contiguous in itself: only
/// its first backlink and its last signature are the remote's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The context.
    pub context: ContextId,
    /// The log.
    pub log: LogId,
    /// The entries by rising number; at least one. Their own signatures do not travel, only the last one's.
    pub entries: Vec<Arc<Entry>>,
    /// The author's signature over the last entry: with the backlinks it covers all.
    pub signature: Signature,
    /// Whether the payload of the only entry is withheld: it is large and travels as fragments when asked for.
    pub withheld: bool,
}

/// How long runs are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunLimits {
    /// Entries.
    pub entries: usize,
    /// Bytes of payloads and headers.
    pub bytes: usize,
}

impl Run {
    /// A run of entries of one log that follow each other, the last one signed; `None` where it is not, or there is none.
    pub fn of(entries: Vec<Arc<Entry>>) -> Option<Self> {
        let last = entries.last()?;
        let (context, log, signature) = (last.header.context, last.header.log, last.signature?);
        Some(Self { context, log, entries, signature, withheld: false })
    }

    /// The bytes that the run's entries take in the receiver's memory: what credit counts.
    pub fn cost(&self) -> u64 {
        self.entries.iter().map(|entry| entry.size() as u64).sum()
    }

    /// The number of the first entry.
    pub fn first_seq(&self) -> u64 {
        self.entries.first().map_or(0, |entry| entry.header.seq)
    }

    /// The number of the last entry.
    pub fn last_seq(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.header.seq)
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        out.raw(self.context.as_bytes());
        out.raw(self.log.as_bytes());
        out.u8(SIGNED | if self.withheld { WITHHELD } else { 0 });
        out.varint(self.first_seq());
        if self.first_seq() != 1 {
            out.raw(self.entries.first().map_or(EntryId::NONE, |entry| entry.header.backlink).as_bytes());
        }
        out.varint(self.entries.len() as u64);
        let mut document = None;
        for entry in &self.entries {
            encode_entry(entry, &mut document, self.withheld, out);
        }
        out.raw(self.signature.as_bytes());
    }

    pub(super) fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let context = ContextId::from_bytes(input.array()?);
        let log = LogId::from_bytes(input.array()?);
        let flags = input.u8()?;
        if flags & !(SIGNED | WITHHELD) != 0 {
            return Err(DecodeError::Unknown("run flags"));
        }
        if flags & SIGNED == 0 {
            return Err(DecodeError::Invalid("run without a signature"));
        }
        let withheld = flags & WITHHELD != 0;
        let first = input.varint()?;
        if first == 0 || first > u64::MAX - MAX_RUN_ENTRIES as u64 {
            return Err(DecodeError::Invalid("entry number"));
        }
        let mut backlink = if first == 1 { EntryId::NONE } else { EntryId::from_bytes(input.array()?) };
        if first != 1 && backlink == EntryId::NONE {
            return Err(DecodeError::Invalid("backlink"));
        }
        let count = input.count("the number of entries in a run", MAX_RUN_ENTRIES, 10)?;
        if count == 0 || (withheld && count != 1) {
            return Err(DecodeError::Invalid("run"));
        }
        let mut entries = Vec::with_capacity(count);
        let mut document = None;
        for seq in first..first + count as u64 {
            let place = Place { context, log, seq, backlink };
            let entry = decode_entry(place, &mut document, withheld, input)?;
            backlink = entry.id;
            entries.push(Arc::new(entry));
        }
        let signature = Signature::from_bytes(input.array()?);
        Ok(Self { context, log, entries, signature, withheld })
    }
}

struct Place {
    context: ContextId,
    log: LogId,
    seq: u64,
    backlink: EntryId,
}

fn encode_entry(entry: &Entry, document: &mut Option<DocumentId>, withheld: bool, out: &mut Writer) {
    let header = &entry.header;
    let kind = match header.kind {
        EntryKind::Control => 0,
        EntryKind::Create(_) => 1,
        EntryKind::Change(_) => 2,
        EntryKind::Snapshot(_) => 3,
    };
    let own = header.kind.document();
    let same = own.is_some() && own == *document;
    let stamped = if header.stamp.is_some() { STAMPED } else { 0 };
    let epoch = header.stamp.as_ref().and_then(|stamp| stamp.epoch);
    out.u8(kind | stamped | if epoch.is_some() { EPOCH } else { 0 } | if same { SAME_DOCUMENT } else { 0 });
    out.u64(header.time.as_u64());
    if let Some(own) = own
        && !same
    {
        out.raw(own.as_bytes());
        *document = Some(own);
    }
    if let Some(start) = &header.start {
        start.encode(out);
    }
    if let Some(stamp) = &header.stamp {
        stamp.encode(out);
    }
    if withheld {
        out.varint(header.payload_len);
        out.raw(header.payload_hash.as_bytes());
    } else {
        out.bytes(&entry.payload);
    }
}

fn decode_entry(
    place: Place,
    document: &mut Option<DocumentId>,
    withheld: bool,
    input: &mut Reader<'_>,
) -> Result<Entry, DecodeError> {
    let flags = input.u8()?;
    if flags & 0x80 != 0 || (flags & EPOCH != 0 && flags & STAMPED == 0) {
        return Err(DecodeError::Unknown("entry flags"));
    }
    let time = NTP64(input.u64()?);
    let kind = match (flags & 0x0f, flags & SAME_DOCUMENT != 0) {
        (0, false) => EntryKind::Control,
        (kind @ 1..=3, same) => {
            let own = match (same, *document) {
                (true, Some(document)) => document,
                (true, None) => return Err(DecodeError::Invalid("document")),
                (false, before) => {
                    let own = DocumentId::from_bytes(input.array()?);
                    if before == Some(own) {
                        return Err(DecodeError::NotCanonical);
                    }
                    own
                }
            };
            *document = Some(own);
            match kind {
                1 => EntryKind::Create(own),
                2 => EntryKind::Change(own),
                _ => EntryKind::Snapshot(own),
            }
        }
        _ => return Err(DecodeError::Unknown("entry kind")),
    };
    let Place { context, log, seq, backlink } = place;
    let start = if seq == 1 { Some(LogStart::decode(input, &context, &log)?) } else { None };
    let stamp = if flags & STAMPED != 0 { Some(Stamp::decode(input, flags & EPOCH != 0)?) } else { None };
    if seq == 1 && stamp.is_none() {
        return Err(DecodeError::Invalid("entry number"));
    }
    let (payload, payload_len, payload_hash) = if withheld {
        (Bytes::new(), input.varint()?, Hash::from_bytes(input.array()?))
    } else {
        // A copy: an entry in memory must not hold on to the whole frame that it came in.
        let payload = Bytes::copy_from_slice(input.bytes("a payload", usize::MAX)?);
        let hash = EntryHeader::hash_payload(&payload);
        (payload.clone(), payload.len() as u64, hash)
    };
    let header = EntryHeader { context, log, seq, backlink, time, kind, start, stamp, payload_len, payload_hash };
    Ok(Entry::new(header, payload))
}
