//! A proof, to anybody, of who wrote which entry.

use std::cmp::Reverse;

use partita_crypto::{Signature, VerifyingKey};

use crate::{
    ContextId, Entry, EntryHeader, EntryId, LogId, LogStart, ReplicaId, SignedTip, Tip,
    codec::{DecodeError, Reader, Writer},
};

/// An entry's header with its author's signature, and what ties its log to the author. It needs no other entry to be
/// believed, so a control entry can carry it to those who will never hold the rest. A value of this type holds: what
/// is decoded was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    header: EntryHeader,
    id: EntryId,
    author: ReplicaId,
    nonce: [u8; 16],
    signature: Signature,
}

impl Witness {
    /// Fewer bytes than any encoded witness takes: counts beyond what is there are refused before anything is read.
    const MIN_ENCODED: usize = 100;

    /// Of an entry whose signature was verified, and the start of its log. `None` when it carries no signature, or the log
    /// is another.
    pub fn of(entry: &Entry, start: &LogStart) -> Option<Self> {
        let header = entry.header.clone();
        let of_log = header.log == LogId::derive(&header.context, &start.replica, &start.nonce);
        let signature = entry.signature.filter(|_| of_log)?;
        Some(Self { header, id: entry.id, author: start.replica, nonce: start.nonce, signature })
    }

    /// The context of the entry.
    pub fn context(&self) -> ContextId {
        self.header.context
    }

    /// Where the entry stands, and its id.
    pub fn tip(&self) -> Tip {
        Tip { log: self.header.log, seq: self.header.seq, head: self.id }
    }

    /// Who wrote it.
    pub fn author(&self) -> ReplicaId {
        self.author
    }

    /// The author's signature over its id.
    pub fn signature(&self) -> Signature {
        self.signature
    }

    /// The entry with its author's signature.
    pub fn signed_tip(&self) -> SignedTip {
        SignedTip { tip: self.tip(), signature: self.signature }
    }

    /// Appends the canonical encoding.
    pub fn encode(&self, out: &mut Writer) {
        out.raw(&self.header.encode());
        out.raw(self.author.as_bytes());
        out.raw(&self.nonce);
        out.raw(self.signature.as_bytes());
    }

    /// Reads one and checks it.
    ///
    /// # Errors
    /// When the bytes are not canonical, the log is not the author's, or the signature does not hold.
    pub fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let header = EntryHeader::decode(input)?;
        let (author, nonce) = (ReplicaId::from_bytes(input.array()?), input.array()?);
        let signature = Signature::from_bytes(input.array()?);
        if header.log != LogId::derive(&header.context, &author, &nonce) {
            return Err(DecodeError::Invalid("log of a witnessed entry"));
        }
        let key = VerifyingKey::parse(author.as_bytes()).map_err(|_| DecodeError::Invalid("Ed25519 key"))?;
        let id = header.id();
        EntryHeader::verify(&id, &key, &signature)
            .map_err(|_| DecodeError::Invalid("signature of a witnessed entry"))?;
        Ok(Self { header, id, author, nonce, signature })
    }

    /// Appends a list in canonical order: a count, then witnesses by rising tip.
    pub fn encode_all(witnesses: &[Self], out: &mut Writer) {
        out.varint(witnesses.len() as u64);
        witnesses.iter().for_each(|witness| witness.encode(out));
    }

    /// Reads a list of at most `most` witnesses of entries of this context, and checks each.
    ///
    /// # Errors
    /// When an entry is of another context, is shown twice or out of order, or a witness does not hold.
    pub fn decode_all(input: &mut Reader<'_>, context: &ContextId, most: usize) -> Result<Vec<Self>, DecodeError> {
        let count = input.count("the number of witnesses", most, Self::MIN_ENCODED)?;
        let mut witnesses: Vec<Self> = Vec::with_capacity(count);
        for _ in 0..count {
            let witness = Self::decode(input)?;
            if witness.context() != *context {
                return Err(DecodeError::Invalid("context of a witnessed entry"));
            }
            if witnesses.last().is_some_and(|last| last.tip() >= witness.tip()) {
                return Err(DecodeError::NotCanonical);
            }
            witnesses.push(witness);
        }
        Ok(witnesses)
    }

    /// The furthest of each log, by rising log id: it says what the nearer ones say as well.
    pub fn furthest(witnesses: &[Self]) -> Vec<Self> {
        let mut witnesses = witnesses.to_vec();
        witnesses.sort_unstable_by_key(|witness| (witness.tip().log, Reverse(witness.tip().seq)));
        witnesses.dedup_by_key(|witness| witness.tip().log);
        witnesses
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use partita_crypto::{Hash, Secret, SigningKey};

    use super::*;
    use crate::{Bytes, DocumentId, EntryKind, Stamp, timestamp_at};

    fn witness(seq: u64) -> Witness {
        let key = SigningKey::from_seed(&Secret::from_bytes([7; 32]));
        let replica = ReplicaId::from_bytes(*key.verifying_key().as_bytes());
        let context = ContextId::from_bytes([1; 32]);
        let start = LogStart { replica, nonce: [2; 16], tips: Vec::new() };
        let header = EntryHeader {
            context,
            log: LogId::derive(&context, &replica, &start.nonce),
            seq,
            backlink: if seq == 1 { EntryId::NONE } else { EntryId::from_bytes([3; 32]) },
            time: timestamp_at(std::time::Duration::from_secs(1)),
            kind: EntryKind::Change(DocumentId::from_bytes([4; 32])),
            start: (seq == 1).then(|| start.clone()),
            stamp: (seq == 1).then(Stamp::default),
            payload_len: 0,
            payload_hash: Hash::ZERO,
        };
        let mut entry = Entry::new(header, Bytes::new());
        assert_eq!(Witness::of(&entry, &start), None, "nothing is signed");
        entry.signature = Some(EntryHeader::sign(&entry.id, &key));
        Witness::of(&entry, &start).unwrap()
    }

    #[test]
    fn a_witness_holds_as_it_is_and_with_no_byte_changed() {
        for seq in [1, 9] {
            let witness = witness(seq);
            let mut out = Writer::new();
            witness.encode(&mut out);
            let bytes = out.finish();
            let read = |bytes: &[u8]| {
                let mut input = Reader::new(bytes);
                let witness = Witness::decode(&mut input)?;
                input.end()?;
                Ok::<_, DecodeError>(witness)
            };
            assert_eq!(read(&bytes), Ok(witness));
            for at in 0..bytes.len() {
                let mut changed = bytes.to_vec();
                changed[at] ^= 1;
                assert!(read(&changed).is_err(), "byte {at}");
            }
        }
    }
}
