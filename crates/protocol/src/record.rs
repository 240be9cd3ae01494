//! What the node keeps of each log: in memory while its context is loaded, and as a record in the store.

use partita_core::{
    Entry, EntryId, EpochId, Hash, LogStart, NTP64, ReplicaId, Tip, Timestamp,
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
    /// The key epoch in force after it.
    pub epoch: Option<EpochId>,
    /// The latest timestamp in it: the clock is reseeded from these.
    pub time: Timestamp,
    /// The bytes of its entries: quotas count them.
    pub bytes: u64,
}

impl LogRecord {
    /// Who writes the log.
    pub fn replica(&self) -> ReplicaId {
        self.start.replica
    }

    /// The state of a log after one more entry, which follows the last one; `None` only when the first entry has no start.
    pub fn extended(before: Option<Self>, entry: &Entry) -> Option<Self> {
        let mut record = match before {
            Some(record) => record,
            None => Self {
                start: entry.header.start.clone()?,
                control: entry.header.kind.is_control(),
                seq: 0,
                head: EntryId::NONE,
                heads: Vec::new(),
                epoch: None,
                time: NTP64(0),
                bytes: 0,
            },
        };
        record.seq = entry.header.seq;
        record.head = entry.id;
        if let Some(stamp) = &entry.header.stamp {
            record.heads.clone_from(&stamp.heads);
            record.epoch = stamp.epoch;
        }
        record.time = record.time.max(entry.header.time);
        record.bytes += entry.size() as u64;
        Some(record)
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
        out.u8(u8::from(self.epoch.is_some()));
        if let Some(epoch) = &self.epoch {
            out.raw(epoch.0.as_bytes());
        }
        out.u64(self.time.as_u64());
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
        let epoch = if input.u8()? == 1 { Some(EpochId(Hash::from_bytes(input.array()?))) } else { None };
        let time = NTP64(input.u64()?);
        let bytes = input.varint()?;
        input.end()?;
        Ok(Self { start, control, seq, head, heads, epoch, time, bytes })
    }
}
