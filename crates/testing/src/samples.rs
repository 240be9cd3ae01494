//! Valid, signed entries for tests, the same at every run.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use partita_core::{
    ContextId, DocumentId, Entry, EntryHeader, EntryId, EntryKind, Incarnation, LogId, LogStart, ReplicaId, SignedTip,
    Stamp, Tip, timestamp_at,
};
use partita_crypto::{Secret, SigningKey};

/// The signing key of a seed.
pub fn signing_key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&Secret::from_bytes([seed; 32]))
}

/// The replica whose signing key is [`signing_key`] of this seed.
pub fn replica(seed: u8) -> ReplicaId {
    ReplicaId::from_bytes(*signing_key(seed).verifying_key().as_bytes())
}

/// A context, by number.
pub const fn context(number: u8) -> ContextId {
    ContextId::from_bytes([number; 32])
}

/// A document, by number.
pub const fn document(number: u8) -> DocumentId {
    DocumentId::from_bytes([number; 32])
}

/// The id of [`SampleLog::new`] of the same arguments.
pub fn log(seed: u8, context: ContextId, number: u8) -> LogId {
    LogId::derive(&context, &replica(seed), &[number; 16])
}

/// An incarnation, by number.
pub const fn incarnation(number: u8) -> Incarnation {
    Incarnation::from_bytes([number; 16])
}

/// These tips of logs of this key's replica, as a loss lists them.
pub fn signed(key: &SigningKey, tips: &[Tip]) -> Vec<SignedTip> {
    tips.iter().map(|tip| SignedTip { tip: *tip, signature: EntryHeader::sign(&tip.head, key) }).collect()
}

/// A log that grows: numbers, backlinks, times and signatures are right.
#[derive(Debug, Clone)]
pub struct SampleLog {
    key: SigningKey,
    context: ContextId,
    log: LogId,
    nonce: [u8; 16],
    seq: u64,
    head: EntryId,
    tips: Vec<Tip>,
    stamp: Option<Stamp>,
}

impl SampleLog {
    /// An empty log of the replica of `seed`, the one with this number.
    pub fn new(seed: u8, context: ContextId, number: u8) -> Self {
        Self::of(signing_key(seed), context, number)
    }

    /// The same for the replica of any key.
    pub fn of(key: SigningKey, context: ContextId, number: u8) -> Self {
        let replica = ReplicaId::from_bytes(*key.verifying_key().as_bytes());
        Self {
            key,
            context,
            log: LogId::derive(&context, &replica, &[number; 16]),
            nonce: [number; 16],
            seq: 0,
            head: EntryId::NONE,
            tips: Vec::new(),
            stamp: None,
        }
    }

    /// Earlier logs of the replica, for the first entry to name.
    #[must_use]
    pub fn after(mut self, mut tips: Vec<Tip>) -> Self {
        tips.sort_unstable();
        self.tips = tips;
        self
    }

    /// What the next entry is to state that it rests on. The first entry states it by itself, empty unless said here.
    pub fn state(&mut self, stamp: Stamp) {
        self.stamp = Some(stamp);
    }

    /// The next entry, signed.
    pub fn append(&mut self, kind: EntryKind, payload: impl Into<Bytes>) -> Arc<Entry> {
        let payload = payload.into();
        let first = self.seq == 0;
        self.seq += 1;
        let header = EntryHeader {
            context: self.context,
            log: self.log,
            seq: self.seq,
            backlink: self.head,
            time: timestamp_at(Duration::from_secs(1_800_000_000 + self.seq)),
            kind,
            start: first.then(|| LogStart { replica: self.replica(), nonce: self.nonce, tips: self.tips.clone() }),
            stamp: self.stamp.take().or_else(|| first.then(Stamp::default)),
            payload_len: payload.len() as u64,
            payload_hash: EntryHeader::hash_payload(&payload),
        };
        let mut entry = Entry::new(header, payload);
        entry.signature = Some(EntryHeader::sign(&entry.id, &self.key));
        self.head = entry.id;
        Arc::new(entry)
    }

    /// The next entry: a change of `document`.
    pub fn change(&mut self, document: DocumentId, payload: impl Into<Bytes>) -> Arc<Entry> {
        self.append(EntryKind::Change(document), payload)
    }

    /// The next entry: a control entry.
    pub fn control(&mut self, payload: impl Into<Bytes>) -> Arc<Entry> {
        self.append(EntryKind::Control, payload)
    }

    /// Who writes it.
    pub fn replica(&self) -> ReplicaId {
        ReplicaId::from_bytes(*self.key.verifying_key().as_bytes())
    }

    /// The context.
    pub fn context(&self) -> ContextId {
        self.context
    }

    /// The log.
    pub fn id(&self) -> LogId {
        self.log
    }

    /// The last entry, if there is one.
    pub fn tip(&self) -> Option<Tip> {
        (self.seq > 0).then_some(Tip { log: self.log, seq: self.seq, head: self.head })
    }

    /// The last entry as a loss lists it.
    pub fn signed_tip(&self) -> Option<SignedTip> {
        self.tip().and_then(|tip| signed(&self.key, &[tip]).pop())
    }
}

/// `len` bytes that do not compress and depend on `seed`: a xorshift generator.
pub fn noise(seed: u64, len: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}
