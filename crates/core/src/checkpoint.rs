//! Checkpoints: what stands for entries that are pruned, and who says that it does.
//!
//! These are control entries that the node itself understands, whatever the strategy: they are given to the strategy like
//! any other, which keeps them in its graph and finds no op of its own in them. Decision 16 says why it is so.

use std::collections::BTreeMap;

use bytes::Bytes;
use partita_crypto::{EpochId, Hash, VerifyingKey};

use crate::{
    ContextId, DocumentId, EntryHeader, EntryId, LogId, LogStart, NTP64, ReplicaId, SignedTip, Tip,
    codec::{DecodeError, Reader, Writer},
    entry::{decode_heads, encode_heads},
};

/// The first byte of the payload of such a control entry: no strategy's ops may begin with it.
const MARK: u8 = 0xC5;
const VERSION: u8 = 1;

/// Whether a control entry's payload is the node's own to understand. A strategy that keeps checkpoints takes such an entry
/// as one without ops, and lets whoever may write data write it.
pub fn is_checkpoint_op(payload: &[u8]) -> bool {
    payload.first() == Some(&MARK)
}

/// What a control entry says about checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckpointOp {
    /// These snapshots stand for these entries.
    Claim(Checkpoint),
    /// The claim of that control entry was checked against what is held here, and holds.
    Attest(EntryId),
}

/// A claim, as its author signs it: what is new since `previous`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checkpoint {
    /// The claim that this one goes on from: whatever is not named here is as it was there.
    pub previous: Option<EntryId>,
    /// Every log that is covered further than before.
    pub logs: BTreeMap<LogId, Covered>,
    /// Every document whose snapshot is another one than before.
    pub documents: BTreeMap<DocumentId, SnapshotAt>,
    /// Covered entries that are in no snapshot, because their bytes are bad; by rising log and number.
    pub bad: Vec<(LogId, u64, EntryId)>,
}

/// How far a log is covered, and what is needed to go on behind that: to verify, authorise and open the next entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covered {
    /// What its first entry says.
    pub start: LogStart,
    /// The last entry covered, with its author's signature.
    pub last: SignedTip,
    /// The control heads in force after it.
    pub heads: Vec<EntryId>,
    /// The control heads that its first entry names.
    pub knew: Vec<EntryId>,
    /// The key epoch in force after it.
    pub epoch: Option<EpochId>,
    /// The latest timestamp up to it.
    pub time: NTP64,
}

impl Covered {
    /// The number of the last entry covered.
    pub fn seq(&self) -> u64 {
        self.last.tip.seq
    }

    /// How many bytes it takes in a claim.
    pub fn encoded_len(&self) -> usize {
        let mut out = Writer::new();
        self.encode(&mut out);
        out.finish().len()
    }
}

/// Where the snapshot of a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotAt {
    /// The entry that holds it.
    pub entry: Tip,
    /// The length of its payload in bytes.
    pub len: u64,
}

impl SnapshotAt {
    /// The most bytes that a document and its snapshot take in a claim.
    pub const ENCODED: usize = 32 + (16 + 10 + 32) + 10;
}

impl CheckpointOp {
    const CLAIM: u8 = 1;
    const ATTEST: u8 = 2;

    /// The payload of the control entry.
    pub fn encode(&self) -> Bytes {
        let mut out = Writer::with_capacity(256);
        out.u8(MARK);
        out.u8(VERSION);
        match self {
            Self::Claim(checkpoint) => {
                out.u8(Self::CLAIM);
                checkpoint.encode(&mut out);
            }
            Self::Attest(claim) => {
                out.u8(Self::ATTEST);
                out.raw(claim.as_bytes());
            }
        }
        out.finish()
    }

    /// Reads the payload of a control entry of this context. Signatures in it are checked.
    ///
    /// # Errors
    /// When the bytes are not canonical, are of a later version, or a signature does not hold.
    pub fn decode(context: &ContextId, payload: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new(payload);
        if (input.u8()?, input.u8()?) != (MARK, VERSION) {
            return Err(DecodeError::Unknown("version of a checkpoint's control entry"));
        }
        let op = match input.u8()? {
            Self::CLAIM => Self::Claim(Checkpoint::decode(context, &mut input)?),
            Self::ATTEST => Self::Attest(EntryId::from_bytes(input.array()?)),
            _ => return Err(DecodeError::Unknown("control entry of a checkpoint")),
        };
        input.end()?;
        Ok(op)
    }
}

impl Checkpoint {
    /// The most logs, documents or bad entries that one claim names: fewer fit into a control entry.
    const MOST: usize = 65_536;

    fn encode(&self, out: &mut Writer) {
        out.raw(self.previous.unwrap_or(EntryId::NONE).as_bytes());
        out.varint(self.logs.len() as u64);
        for covered in self.logs.values() {
            covered.encode(out);
        }
        out.varint(self.documents.len() as u64);
        for (document, at) in &self.documents {
            out.raw(document.as_bytes());
            at.entry.encode(out);
            out.varint(at.len);
        }
        out.varint(self.bad.len() as u64);
        for (log, seq, id) in &self.bad {
            out.raw(log.as_bytes());
            out.varint(*seq);
            out.raw(id.as_bytes());
        }
    }

    fn decode(context: &ContextId, input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let previous = EntryId::from_bytes(input.array()?);
        let previous = (previous != EntryId::NONE).then_some(previous);
        let count = input.count("the number of logs covered", Self::MOST, Covered::MIN_ENCODED)?;
        let mut logs: BTreeMap<LogId, Covered> = BTreeMap::new();
        for _ in 0..count {
            let covered = Covered::decode(context, input)?;
            let log = covered.last.tip.log;
            if logs.last_key_value().is_some_and(|(last, _)| *last >= log) {
                return Err(DecodeError::NotCanonical);
            }
            logs.insert(log, covered);
        }
        let count = input.count("the number of snapshots", Self::MOST, 32 + Tip::MIN_ENCODED + 1)?;
        let mut documents: BTreeMap<DocumentId, SnapshotAt> = BTreeMap::new();
        for _ in 0..count {
            let document = DocumentId::from_bytes(input.array()?);
            if documents.last_key_value().is_some_and(|(last, _)| *last >= document) {
                return Err(DecodeError::NotCanonical);
            }
            documents.insert(document, SnapshotAt { entry: Tip::decode(input)?, len: input.varint()? });
        }
        let count = input.count("the number of bad entries", Self::MOST, 16 + 1 + 32)?;
        let mut bad: Vec<(LogId, u64, EntryId)> = Vec::with_capacity(count);
        for _ in 0..count {
            let one = (LogId::from_bytes(input.array()?), input.varint()?, EntryId::from_bytes(input.array()?));
            if bad.last().is_some_and(|last| (last.0, last.1) >= (one.0, one.1)) {
                return Err(DecodeError::NotCanonical);
            }
            bad.push(one);
        }
        Ok(Self { previous, logs, documents, bad })
    }
}

impl Covered {
    /// No log gets so long, and numbers behind it can be counted without care.
    const MOST: u64 = 1 << 62;

    /// The fewest bytes that one takes: log, first entry without predecessors, last entry, no heads, no epoch, time.
    const MIN_ENCODED: usize = 16 + (32 + 16 + 1) + (1 + 32 + 64) + 1 + 1 + 1 + 8;

    fn encode(&self, out: &mut Writer) {
        out.raw(self.last.tip.log.as_bytes());
        self.start.encode(out);
        out.varint(self.last.tip.seq);
        out.raw(self.last.tip.head.as_bytes());
        out.raw(self.last.signature.as_bytes());
        encode_heads(&self.heads, out);
        encode_heads(&self.knew, out);
        match &self.epoch {
            None => out.u8(0),
            Some(epoch) => {
                out.u8(1);
                out.raw(epoch.0.as_bytes());
            }
        }
        out.u64(self.time.as_u64());
    }

    fn decode(context: &ContextId, input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let log = LogId::from_bytes(input.array()?);
        let start = LogStart::decode(input, context, &log)?;
        let tip = Tip { log, seq: input.varint()?, head: EntryId::from_bytes(input.array()?) };
        let signature = partita_crypto::Signature::from_bytes(input.array()?);
        if tip.seq == 0 || tip.seq > Self::MOST {
            return Err(DecodeError::Invalid("number of a covered entry"));
        }
        verify(&start.replica, &tip.head, &signature)?;
        let (heads, knew) = (decode_heads(input)?, decode_heads(input)?);
        let epoch = match input.u8()? {
            0 => None,
            1 => Some(EpochId(Hash::from_bytes(input.array()?))),
            _ => return Err(DecodeError::Unknown("epoch flag")),
        };
        let time = NTP64(input.u64()?);
        Ok(Self { start, last: SignedTip { tip, signature }, heads, knew, epoch, time })
    }
}

fn verify(author: &ReplicaId, id: &EntryId, signature: &partita_crypto::Signature) -> Result<(), DecodeError> {
    let key = VerifyingKey::parse(author.as_bytes()).map_err(|_| DecodeError::Invalid("Ed25519 key"))?;
    EntryHeader::verify(id, &key, signature).map_err(|_| DecodeError::Invalid("signature of a covered entry"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use partita_crypto::{Secret, SigningKey};

    use super::*;

    fn claim() -> (ContextId, CheckpointOp) {
        let key = SigningKey::from_seed(&Secret::from_bytes([7; 32]));
        let replica = ReplicaId::from_bytes(*key.verifying_key().as_bytes());
        let context = ContextId::from_bytes([1; 32]);
        let start = LogStart { replica, nonce: [2; 16], tips: Vec::new() };
        let log = LogId::derive(&context, &replica, &start.nonce);
        let head = EntryId::from_bytes([3; 32]);
        let last = SignedTip { tip: Tip { log, seq: 9, head }, signature: EntryHeader::sign(&head, &key) };
        let heads = vec![EntryId::from_bytes([4; 32]), EntryId::from_bytes([5; 32])];
        let epoch = Some(EpochId(Hash::from_bytes([6; 32])));
        let covered = Covered { start, last, heads, knew: Vec::new(), epoch, time: NTP64(8) };
        let at = SnapshotAt { entry: Tip { log, seq: 1, head }, len: 300 };
        let checkpoint = Checkpoint {
            previous: Some(EntryId::from_bytes([8; 32])),
            logs: [(log, covered)].into(),
            documents: [(DocumentId::from_bytes([9; 32]), at)].into(),
            bad: vec![(log, 2, head)],
        };
        (context, CheckpointOp::Claim(checkpoint))
    }

    #[test]
    fn a_claim_and_what_is_said_of_it_are_read_as_they_were_written() {
        let (context, claim) = claim();
        let about = EntryId::from_bytes([1; 32]);
        for op in [claim, CheckpointOp::Attest(about)] {
            let bytes = op.encode();
            assert!(is_checkpoint_op(&bytes));
            assert_eq!(CheckpointOp::decode(&context, &bytes), Ok(op));
            for len in 0..bytes.len() {
                assert!(CheckpointOp::decode(&context, &bytes[..len]).is_err(), "{len} bytes");
            }
        }
    }

    /// As of a strategy without control entries and keys, where no document is left.
    #[test]
    fn the_smallest_claim_is_read_too() {
        let (context, claim) = claim();
        let CheckpointOp::Claim(mut claim) = claim else { unreachable!() };
        for covered in claim.logs.values_mut() {
            (covered.heads, covered.epoch) = (Vec::new(), None);
        }
        let claim = Checkpoint { previous: None, documents: BTreeMap::new(), bad: Vec::new(), ..claim };
        let claim = CheckpointOp::Claim(claim);
        assert_eq!(CheckpointOp::decode(&context, &claim.encode()), Ok(claim));
    }

    #[test]
    fn a_covered_log_is_its_authors_and_ends_where_that_one_signed() {
        let (context, claim) = claim();
        let CheckpointOp::Claim(claim) = claim else { unreachable!() };
        let mut unsigned = claim.clone();
        let covered = unsigned.logs.values_mut().next().unwrap();
        covered.last.tip.head = EntryId::from_bytes([99; 32]);
        assert!(CheckpointOp::decode(&context, &CheckpointOp::Claim(unsigned).encode()).is_err());
        let elsewhere = ContextId::from_bytes([2; 32]);
        assert!(CheckpointOp::decode(&elsewhere, &CheckpointOp::Claim(claim).encode()).is_err());
    }
}
