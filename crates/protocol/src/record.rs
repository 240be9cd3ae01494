//! What the node keeps of each log: in memory while its context is loaded, and as a record in the store.

use partita_core::{
    Entry, EntryId, EpochId, Hash, LogStart, NTP64, ReplicaId, Timestamp, Tip,
    codec::{DecodeError, Reader, Writer},
};

const VERSION: u8 = 1;

/// The state of one log after its last entry held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// What its first entry says.
    pub start: LogStart,
    /// Whether it is a control log.
    pub control: bool,
    /// The last contiguous entry held; 0 when none is (all of it was cut off).
    pub seq: u64,
    /// Its id.
    pub head: EntryId,
    /// The control heads in force after it.
    pub heads: Vec<EntryId>,
    /// The key epochs that it stated, each from a number on: a stored entry is opened under the one in force at it.
    pub epochs: Vec<(u64, Option<EpochId>)>,
    /// The latest timestamp in it: the clock is reseeded from these.
    pub time: Timestamp,
    /// The arrival of its first entry: logs are sent in this order, so that what a log rests on goes first.
    pub begun: u64,
    /// The bytes of its entries: quotas count them.
    pub bytes: u64,
}

impl LogRecord {
    /// Who writes the log.
    pub fn replica(&self) -> ReplicaId {
        self.start.replica
    }

    /// The key epoch in force after the last entry.
    pub fn epoch(&self) -> Option<EpochId> {
        self.epochs.last().and_then(|(_, epoch)| *epoch)
    }

    /// The key epoch in force at an entry.
    pub fn epoch_at(&self, seq: u64) -> Option<EpochId> {
        self.epochs.iter().rev().find(|(from, _)| *from <= seq).and_then(|(_, epoch)| *epoch)
    }

    /// The state of a log after its first entry; `None` when that has no start.
    pub fn begun(entry: &Entry, arrival: u64) -> Option<Self> {
        let mut record = Self {
            start: entry.header.start.clone()?,
            control: entry.header.kind.is_control(),
            seq: 0,
            head: EntryId::NONE,
            heads: Vec::new(),
            epochs: Vec::new(),
            time: NTP64(0),
            begun: arrival,
            bytes: 0,
        };
        record.extend(entry);
        Some(record)
    }

    /// Takes one more entry, which follows the last one.
    pub fn extend(&mut self, entry: &Entry) {
        self.seq = entry.header.seq;
        self.head = entry.id;
        if let Some(stamp) = &entry.header.stamp {
            self.heads.clone_from(&stamp.heads);
            if self.epoch() != stamp.epoch {
                self.epochs.push((entry.header.seq, stamp.epoch));
            }
        }
        self.time = self.time.max(entry.header.time);
        self.bytes += entry.size() as u64;
    }

    /// The record's bytes.
    pub fn encode(&self) -> bytes::Bytes {
        let mut out = Writer::with_capacity(256);
        out.u8(VERSION);
        out.u8(u8::from(self.control));
        out.raw(self.start.replica.as_bytes());
        out.raw(&self.start.nonce);
        Tip::encode_all(&self.start.tips, &mut out);
        out.varint(self.seq);
        out.raw(self.head.as_bytes());
        out.varint(self.heads.len() as u64);
        for head in &self.heads {
            out.raw(head.as_bytes());
        }
        out.varint(self.epochs.len() as u64);
        for (from, epoch) in &self.epochs {
            out.varint(*from);
            out.bytes(epoch.as_ref().map_or(&[], |epoch| epoch.0.as_bytes()));
        }
        out.u64(self.time.as_u64());
        out.varint(self.begun);
        out.varint(self.bytes);
        out.finish()
    }

    /// A record from its bytes.
    ///
    /// # Errors
    /// When the store holds something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new(bytes);
        if input.u8()? != VERSION {
            return Err(DecodeError::Unknown("log record version"));
        }
        let control = input.u8()? == 1;
        let replica = ReplicaId::from_bytes(input.array()?);
        let nonce = input.array()?;
        let start = LogStart { replica, nonce, tips: Tip::decode_all(&mut input, usize::MAX)? };
        let seq = input.varint()?;
        let head = EntryId::from_bytes(input.array()?);
        let count = input.count("the number of control heads", usize::MAX, EntryId::LEN)?;
        let heads = (0..count).map(|_| Ok(EntryId::from_bytes(input.array()?))).collect::<Result<_, DecodeError>>()?;
        let count = input.count("the number of epochs", usize::MAX, 2)?;
        let mut epochs = Vec::with_capacity(count);
        for _ in 0..count {
            let from = input.varint()?;
            let epoch = match input.bytes("an epoch", EntryId::LEN)? {
                [] => None,
                id => Some(EpochId(Hash::from_bytes(id.try_into().map_err(|_| DecodeError::Invalid("epoch"))?))),
            };
            epochs.push((from, epoch));
        }
        let time = NTP64(input.u64()?);
        let begun = input.varint()?;
        let bytes = input.varint()?;
        input.end()?;
        Ok(Self { start, control, seq, head, heads, epochs, time, begun, bytes })
    }
}
