//! What a node has: a number and a hash for each log.

use crate::{
    EntryHeader, EntryId, LogId, ReplicaId,
    codec::{DecodeError, Reader, Writer},
};
use partita_crypto::{Hash, Signature, VerifyingKey, hash};

/// The last contiguous entry held of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tip {
    /// The log.
    pub log: LogId,
    /// The number of the entry, from 1.
    pub seq: u64,
    /// The entry.
    pub head: EntryId,
}

impl Tip {
    /// The least bytes that an encoded tip takes.
    pub const MIN_ENCODED: usize = 16 + 1 + 32;

    /// Appends the canonical encoding.
    pub fn encode(&self, out: &mut Writer) {
        out.raw(self.log.as_bytes());
        out.varint(self.seq);
        out.raw(self.head.as_bytes());
    }

    /// Reads one tip.
    ///
    /// # Errors
    /// When the bytes are not a canonical tip; number 0 is none.
    pub fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let tip = Self {
            log: LogId::from_bytes(input.array()?),
            seq: input.varint()?,
            head: EntryId::from_bytes(input.array()?),
        };
        if tip.seq == 0 { Err(DecodeError::Invalid("tip")) } else { Ok(tip) }
    }

    /// Appends a list in canonical order: a count, then tips by rising log id.
    pub fn encode_all(tips: &[Tip], out: &mut Writer) {
        out.varint(tips.len() as u64);
        for tip in tips {
            tip.encode(out);
        }
    }

    /// Reads a list of at most `most` tips.
    ///
    /// # Errors
    /// When a log is named twice, out of order, or the bytes are no tips.
    pub fn decode_all(input: &mut Reader<'_>, most: usize) -> Result<Vec<Self>, DecodeError> {
        let count = input.count("the number of tips", most, Self::MIN_ENCODED)?;
        let mut tips: Vec<Self> = Vec::with_capacity(count);
        for _ in 0..count {
            let tip = Self::decode(input)?;
            if tips.last().is_some_and(|last| last.log >= tip.log) {
                return Err(DecodeError::NotCanonical);
            }
            tips.push(tip);
        }
        Ok(tips)
    }
}

/// A tip with its author's signature over the entry: what a loss lists, so that nobody can list what was never written, and
/// whoever holds the log just that far can show it to others, though every run that it came in went further. What is decoded
/// was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignedTip {
    /// The tip.
    pub tip: Tip,
    /// The author's signature over the entry's id. It does not cover the log and the number: an entry that is held says these
    /// itself, and a tip that says them otherwise names no entry.
    pub signature: Signature,
}

impl SignedTip {
    /// The most bytes that an encoded one takes.
    pub const MAX_ENCODED: usize = LogId::LEN + 10 + EntryId::LEN + Signature::LEN;

    /// Of more logs than can be listed the longest, in canonical order: nobody is safe from a loss by having many.
    pub fn longest(mut tips: Vec<Self>, most: usize) -> Vec<Self> {
        if tips.len() > most {
            tips.sort_unstable_by_key(|listed| std::cmp::Reverse(listed.tip.seq));
            tips.truncate(most);
            tips.sort_unstable();
        }
        tips
    }

    /// Appends a list in canonical order: a count, then tips by rising log id, each with its signature.
    pub fn encode_all(tips: &[Self], out: &mut Writer) {
        out.varint(tips.len() as u64);
        for SignedTip { tip, signature } in tips {
            tip.encode(out);
            out.raw(signature.as_bytes());
        }
    }

    /// Reads a list of at most `most` tips of one author's logs, and checks each signature.
    ///
    /// # Errors
    /// When a log is named twice or out of order, the author's id is no key, or a signature does not hold.
    pub fn decode_all(input: &mut Reader<'_>, author: &ReplicaId, most: usize) -> Result<Vec<Self>, DecodeError> {
        let count = input.count("the number of tips", most, Tip::MIN_ENCODED + Signature::LEN)?;
        let mut tips: Vec<Self> = Vec::with_capacity(count);
        if count == 0 {
            return Ok(tips);
        }
        let author = VerifyingKey::parse(author.as_bytes()).map_err(|_| DecodeError::Invalid("Ed25519 key"))?;
        for _ in 0..count {
            let tip = Tip::decode(input)?;
            if tips.last().is_some_and(|last| last.tip.log >= tip.log) {
                return Err(DecodeError::NotCanonical);
            }
            let signature = Signature::from_bytes(input.array()?);
            EntryHeader::verify(&tip.head, &author, &signature)
                .map_err(|_| DecodeError::Invalid("signature of a listed entry"))?;
            tips.push(Self { tip, signature });
        }
        Ok(tips)
    }
}

/// For each log that is a tip, the last contiguous entry held: a version vector. Equal only when the hashes are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    tips: Vec<Tip>,
}

impl Frontier {
    /// The frontier with these tips, one for a log.
    pub fn new(mut tips: Vec<Tip>) -> Self {
        tips.sort_unstable();
        tips.dedup_by_key(|tip| tip.log);
        Self { tips }
    }

    /// The tips by rising log id.
    pub fn tips(&self) -> &[Tip] {
        &self.tips
    }

    /// The tip of one log.
    pub fn tip(&self, log: &LogId) -> Option<&Tip> {
        self.tips.binary_search_by_key(log, |tip| tip.log).ok().map(|at| &self.tips[at])
    }

    /// One hash for the whole frontier: two nodes that hold the same entries have the same.
    pub fn hash(&self) -> Hash {
        let mut out = Writer::with_capacity(8 + 56 * self.tips.len());
        Tip::encode_all(&self.tips, &mut out);
        hash("partita 2026 v1 frontier", &[out.as_slice()])
    }
}
