//! What the node keeps of each log: in memory while its context is loaded, and as a record in the store.

use partita_core::{
    Covered, Entry, EntryId, EpochId, Hash, LogId, LogSort, LogStart, NTP64, ReplicaId, Signature, SignedTip,
    Timestamp, Tip,
    codec::{DecodeError, Reader, Writer},
};

/// Version 1 had no signature, and left out what the log was begun in knowledge of where that was nothing.
const VERSION: u8 = 2;

/// An entry of a log and its author's signature over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedPlace {
    /// Its number.
    pub seq: u64,
    /// Its id.
    pub head: EntryId,
    /// The signature.
    pub signature: Signature,
}

/// The state of one log after its last entry held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// What its first entry says.
    pub start: LogStart,
    /// What it holds.
    pub sort: LogSort,
    /// The last contiguous entry held; 0 when none is (all of it was cut off).
    pub seq: u64,
    /// Its id.
    pub head: EntryId,
    /// The last entry held that came with its author's signature. Behind it there are entries only while a run was taken in
    /// part, or where the log was cut back into one.
    pub signed: Option<SignedPlace>,
    /// The control heads in force after it.
    pub heads: Vec<EntryId>,
    /// The control heads that its first entry names: what a data log was begun in knowledge of, which decides what losses
    /// concern it. Empty for control logs, which no loss cuts, and where it is not known: such a log is lifted from none.
    pub knew: Vec<EntryId>,
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
        let after = self.epochs.partition_point(|(from, _)| *from <= seq);
        self.epochs[..after].last().and_then(|(_, epoch)| *epoch)
    }

    /// The state of a log after its first entry; `None` when that has no start.
    pub fn begun(entry: &Entry, arrival: u64) -> Option<Self> {
        let mut record = Self {
            start: entry.header.start.clone()?,
            sort: entry.header.kind.sort(),
            seq: 0,
            head: EntryId::NONE,
            signed: None,
            heads: Vec::new(),
            knew: Self::knew_at_start(entry).to_vec(),
            epochs: Vec::new(),
            time: NTP64(0),
            begun: arrival,
            bytes: 0,
        };
        record.extend(entry);
        Some(record)
    }

    /// The state of a log after what a checkpoint covers of it.
    pub fn of_covered(covered: &Covered, begun: u64) -> Self {
        let SignedTip { tip, signature } = covered.last;
        Self {
            start: covered.start.clone(),
            sort: LogSort::Data,
            seq: tip.seq,
            head: tip.head,
            signed: Some(SignedPlace { seq: tip.seq, head: tip.head, signature }),
            heads: covered.heads.clone(),
            knew: covered.knew.clone(),
            // Nothing before is ever opened again.
            epochs: vec![(tip.seq, covered.epoch)],
            time: covered.time,
            begun,
            bytes: 0,
        }
    }

    /// What a checkpoint says of the log if it covers all that is held of it; `None` where that does not end at a
    /// signature.
    pub fn covered(&self, log: LogId) -> Option<Covered> {
        let signed = self.signed.filter(|signed| signed.seq == self.seq && self.sort == LogSort::Data)?;
        let tip = Tip { log, seq: self.seq, head: self.head };
        Some(Covered {
            start: self.start.clone(),
            last: SignedTip { tip, signature: signed.signature },
            heads: self.heads.clone(),
            knew: self.knew.clone(),
            epoch: self.epoch(),
            time: self.time,
        })
    }

    /// The control heads that a data log's first entry names.
    pub(crate) fn knew_at_start(entry: &Entry) -> &[EntryId] {
        let stamp = entry.header.stamp.as_ref().filter(|_| entry.header.kind.sort() == LogSort::Data);
        stamp.map_or(&[], |stamp| &stamp.heads)
    }

    /// Takes one more entry, which follows the last one.
    pub fn extend(&mut self, entry: &Entry) {
        self.seq = entry.header.seq;
        self.head = entry.id;
        if let Some(signature) = entry.signature {
            self.signed = Some(SignedPlace { seq: self.seq, head: self.head, signature });
        }
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
        out.u8(match self.sort {
            LogSort::Data => 0,
            LogSort::Control => 1,
            LogSort::Snapshot => 2,
        });
        out.raw(self.start.replica.as_bytes());
        out.raw(&self.start.nonce);
        Tip::encode_all(&self.start.tips, &mut out);
        out.varint(self.seq);
        out.raw(self.head.as_bytes());
        put_heads(&self.heads, &mut out);
        out.varint(self.epochs.len() as u64);
        for (from, epoch) in &self.epochs {
            out.varint(*from);
            out.bytes(epoch.as_ref().map_or(&[], |epoch| epoch.0.as_bytes()));
        }
        out.u64(self.time.as_u64());
        out.varint(self.begun);
        out.varint(self.bytes);
        put_heads(&self.knew, &mut out);
        out.varint(self.signed.map_or(0, |signed| signed.seq));
        if let Some(SignedPlace { head, signature, .. }) = &self.signed {
            out.raw(head.as_bytes());
            out.raw(signature.as_bytes());
        }
        out.finish()
    }

    /// A record from its bytes.
    ///
    /// # Errors
    /// When the store holds something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new(bytes);
        let version = input.u8()?;
        if !(1..=VERSION).contains(&version) {
            return Err(DecodeError::Unknown("log record version"));
        }
        let sort = match input.u8()? {
            0 => LogSort::Data,
            1 => LogSort::Control,
            2 => LogSort::Snapshot,
            _ => return Err(DecodeError::Unknown("sort of log")),
        };
        let replica = ReplicaId::from_bytes(input.array()?);
        let nonce = input.array()?;
        let start = LogStart { replica, nonce, tips: Tip::decode_all(&mut input, usize::MAX)? };
        let seq = input.varint()?;
        let head = EntryId::from_bytes(input.array()?);
        let heads = take_heads(&mut input)?;
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
        // A record that was written before this was kept ends here.
        let knew = if version == 1 && input.is_empty() { Vec::new() } else { take_heads(&mut input)? };
        let signed = if version == 1 { None } else { take_signed(&mut input)? };
        input.end()?;
        Ok(Self { start, sort, seq, head, signed, heads, knew, epochs, time, begun, bytes })
    }
}

fn put_heads(heads: &[EntryId], out: &mut Writer) {
    out.varint(heads.len() as u64);
    for head in heads {
        out.raw(head.as_bytes());
    }
}

fn take_heads(input: &mut Reader<'_>) -> Result<Vec<EntryId>, DecodeError> {
    let count = input.count("the number of control heads", usize::MAX, EntryId::LEN)?;
    (0..count).map(|_| Ok(EntryId::from_bytes(input.array()?))).collect()
}

fn take_signed(input: &mut Reader<'_>) -> Result<Option<SignedPlace>, DecodeError> {
    let seq = input.varint()?;
    if seq == 0 {
        return Ok(None);
    }
    let (head, signature) = (EntryId::from_bytes(input.array()?), Signature::from_bytes(input.array()?));
    Ok(Some(SignedPlace { seq, head, signature }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(knew: &[u8]) -> LogRecord {
        let start = LogStart { replica: ReplicaId::from_bytes([1; 32]), nonce: [2; 16], tips: Vec::new() };
        let ids = |bytes: &[u8]| bytes.iter().map(|byte| EntryId::from_bytes([*byte; 32])).collect();
        LogRecord {
            start,
            sort: LogSort::Data,
            seq: 3,
            head: EntryId::from_bytes([3; 32]),
            signed: Some(SignedPlace {
                seq: 2,
                head: EntryId::from_bytes([11; 32]),
                signature: Signature::from_bytes([10; 64]),
            }),
            heads: ids(&[4]),
            knew: ids(knew),
            epochs: vec![(1, None)],
            time: NTP64(5),
            begun: 6,
            bytes: 7,
        }
    }

    #[test]
    fn a_record_keeps_its_last_signature_and_what_its_log_was_begun_in_knowledge_of() {
        for knew in [&[][..], &[8, 9]] {
            let record = record(knew);
            assert_eq!(LogRecord::decode(&record.encode()), Ok(record.clone()));
            let unsigned = LogRecord { signed: None, ..record };
            assert_eq!(LogRecord::decode(&unsigned.encode()), Ok(unsigned));
        }
    }

    /// What stores hold. When this fails: raise `VERSION`, go on reading the old, keep these bytes for that
    /// (`docs/formats.md`).
    #[test]
    fn the_bytes_of_version_2_stay_what_they_are() {
        let golden = [
            &[2, 0][..],         // version, sort
            &[1; 32],            // replica
            &[2; 16],            // nonce
            &[0],                // no predecessors
            &[3],                // number
            &[3; 32],            // its id
            &[1],                // control heads
            &[4; 32],            //
            &[1, 1, 0],          // one epoch: none from number 1 on
            &5u64.to_be_bytes(), // time
            &[6, 7],             // begun, bytes
            &[1],                // what the log was begun in knowledge of
            &[8; 32],            //
            &[2],                // the entry that is signed
            &[11; 32],           //
            &[10; 64],           // its signature
        ]
        .concat();
        let found = record(&[8]).encode();
        assert!(found == golden, "an encoding changed: {found:x} is not what stores hold");
        assert_eq!(LogRecord::decode(&golden), Ok(record(&[8])));
        let long = LogRecord {
            start: LogStart {
                tips: vec![Tip { log: LogId::from_bytes([5; 16]), seq: 300, head: EntryId::NONE }],
                ..record(&[]).start
            },
            sort: LogSort::Control,
            signed: None,
            heads: Vec::new(),
            epochs: vec![(300, Some(EpochId(Hash::from_bytes([12; 32]))))],
            ..record(&[])
        };
        let golden = [
            &[2, 1][..],
            &[1; 32],
            &[2; 16],
            &[1],          // one predecessor
            &[5; 16],      //
            &[0xac, 2],    //
            &[0; 32],      //
            &[3],          //
            &[3; 32],      //
            &[0],          // no control heads
            &[1, 0xac, 2], // one epoch, from number 300 on
            &[32],         //
            &[12; 32],     //
            &5u64.to_be_bytes(),
            &[6, 7, 0, 0], // nothing known, nothing signed
        ]
        .concat();
        let found = long.encode();
        assert!(found == golden, "an encoding changed: {found:x} is not what stores hold");
        assert_eq!(LogRecord::decode(&golden), Ok(long));
    }

    #[test]
    fn a_record_of_a_later_version_is_refused_by_name() {
        let mut later = record(&[8]).encode().to_vec();
        later[0] = VERSION + 1;
        assert_eq!(LogRecord::decode(&later), Err(DecodeError::Unknown("log record version")));
    }

    #[test]
    fn a_record_of_version_1_is_read_without_a_signature() {
        let of_version_1 = |knew, cut: usize| {
            let mut bytes = record(knew).encode().to_vec();
            bytes[0] = 1;
            bytes.truncate(bytes.len() - cut);
            LogRecord::decode(&bytes)
        };
        let signed = 1 + EntryId::LEN + Signature::LEN;
        assert_eq!(of_version_1(&[8], signed), Ok(LogRecord { signed: None, ..record(&[8]) }));
        assert_eq!(of_version_1(&[8], signed + 33), Ok(LogRecord { signed: None, ..record(&[]) }));
        assert!(of_version_1(&[8], 0).is_err(), "and with one it is none of version 1");
    }
}
