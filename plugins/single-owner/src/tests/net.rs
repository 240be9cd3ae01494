//! Peers that hand control entries to each other as a node would.

use std::time::Duration;

use bytes::Bytes;
use partita_core::{
    Claim, ContextId, ContextView, ControlEntry, ControlGraph, Entry, EntryHeader, EntryId, EntryKind, EpochId,
    HeaderPrefix, LogId, LogStart, Now, Opened, PartitionStrategy, ReplicaId, Signature, SignedTip, Stamp,
    StrategyEffect, Timestamp, Tip, Turn, Verdict, Witness,
};
use partita_crypto::{Mnemonic, Secret, SigningKey, rand_core::SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::memory::{Memory, View};
use crate::{SingleOwner, op::Payload};

pub(super) fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

pub(super) const NOW: Now = Now { monotonic: Duration::ZERO, wall: Duration::ZERO };

/// A control entry as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) id: EntryId,
    pub(super) author: ReplicaId,
    pub(super) header: EntryHeader,
    pub(super) parents: Vec<EntryId>,
    pub(super) payload: Bytes,
    pub(super) signature: Signature,
}

impl Sent {
    pub(super) fn heads(&self) -> &[EntryId] {
        &self.header.stamp.as_ref().unwrap().heads
    }

    pub(super) fn claim(&self) -> Claim<'_> {
        let control = Some(&self.payload[..]);
        Claim { header: &self.header, author: self.author, heads: self.heads(), epoch: None, control }
    }

    pub(super) fn entry(&self) -> ControlEntry<'_> {
        let Self { id, author, header, parents, payload, .. } = self;
        ControlEntry { id: *id, author: *author, header, parents, payload }
    }
}

/// One node with one context.
pub(super) struct Peer<S> {
    pub(super) strategy: S,
    pub(super) replica: ReplicaId,
    pub(super) context: ContextId,
    key: SigningKey,
    seed: u8,
    /// Whether a local write waits.
    pub(super) writing: bool,
    pub(super) entries: Vec<Sent>,
    pub(super) graph: ControlGraph,
    pub(super) view: View,
    pub(super) rng: ChaCha8Rng,
}

pub(super) type Device = Peer<SingleOwner>;

pub(super) fn key_of_a_relay() -> SigningKey {
    SigningKey::from_seed(&Secret::from_bytes([0xee; 32]))
}

/// A header of an entry that rests on `heads`.
pub(super) fn header(
    context: ContextId,
    replica: ReplicaId,
    (log, seq, backlink): (LogId, u64, EntryId),
    kind: EntryKind,
    (heads, epoch): (&[EntryId], Option<EpochId>),
    payload: &[u8],
) -> EntryHeader {
    EntryHeader {
        context,
        log,
        seq,
        backlink,
        time: Timestamp::default(),
        kind,
        start: (seq == 1).then(|| LogStart { replica, nonce: [0; 16], tips: Vec::new() }),
        stamp: Some(Stamp { heads: heads.to_vec(), epoch }),
        payload_len: payload.len() as u64,
        payload_hash: EntryHeader::hash_payload(payload),
    }
}

impl<S: PartitionStrategy> Peer<S> {
    pub(super) fn new(strategy: S, key: SigningKey, context: ContextId, seed: u64) -> Self {
        Self {
            strategy,
            replica: ReplicaId::from_bytes(*key.verifying_key().as_bytes()),
            context,
            key,
            seed: seed as u8,
            writing: true,
            entries: Vec::new(),
            graph: ControlGraph::default(),
            view: View::default(),
            rng: rng(1000 + seed),
        }
    }

    /// The next control entry of this peer's own log, with these heads; not yet given to anybody.
    pub(super) fn write_with(&mut self, heads: &[EntryId], payload: Bytes) -> Sent {
        let last = self
            .view
            .logs_of(&self.context, &self.replica)
            .into_iter()
            .map(|last| last.tip)
            .find(|tip| tip.log == self.log());
        let (seq, backlink) = last.map_or((1, EntryId::NONE), |tip| (tip.seq + 1, tip.head));
        let place = (self.log(), seq, backlink);
        let header = header(self.context, self.replica, place, EntryKind::Control, (heads, None), &payload);
        let mut parents = heads.to_vec();
        parents.push(backlink);
        let id = header.id();
        let signature = EntryHeader::sign(&id, &self.key);
        Sent { id, author: self.replica, header, parents, payload, signature }
    }

    /// This peer's own control log.
    pub(super) fn log(&self) -> LogId {
        LogId::derive(&self.context, &self.replica, &[self.seed; 16])
    }

    /// Appends a payload to this peer's own control log.
    pub(super) fn append(&mut self, payload: Bytes) -> Sent {
        let heads = self.graph.heads();
        let sent = self.write_with(&heads, payload);
        assert_eq!(self.give(&sent), Verdict::Accept, "one's own entry");
        sent
    }

    /// What a node does with a control entry.
    pub(super) fn give(&mut self, sent: &Sent) -> Verdict {
        if self.graph.contains(&sent.id) {
            return Verdict::Accept;
        }
        assert!(self.graph.missing(sent.heads()).is_empty(), "control entries come after their parents");
        let verdict = self.strategy.authorize(&sent.claim());
        if verdict == Verdict::Accept {
            self.strategy.control(NOW, &sent.entry()).unwrap();
            self.graph.insert(sent.id, sent.parents.clone()).unwrap();
            self.entries.push(sent.clone());
            let tip = Tip { log: sent.header.log, seq: sent.header.seq, head: sent.id };
            self.note(sent.author, SignedTip { tip, signature: sent.signature });
        }
        verdict
    }

    /// This log of a replica is held so far.
    pub(super) fn note(&mut self, replica: ReplicaId, last: SignedTip) {
        self.view.0.entry(replica).or_default().insert(last.tip.log, last);
    }

    /// An entry of this peer's, as others list it.
    pub(super) fn signed(&self, tip: Tip) -> SignedTip {
        SignedTip { tip, signature: EntryHeader::sign(&tip.head, &self.key) }
    }

    pub(super) fn pull<T>(&mut self, other: &Peer<T>) {
        for sent in &other.entries {
            self.give(sent);
        }
    }
}

impl Device {
    /// The first device of a new owner.
    pub(super) fn first(seed: u64) -> (Self, Mnemonic) {
        let (owner, mnemonic) = SingleOwner::create(&Memory::default(), &mut rng(seed)).unwrap();
        (Self::of(owner, seed), mnemonic)
    }

    /// One more device, certified offline.
    pub(super) fn more(mnemonic: &Mnemonic, seed: u64) -> Self {
        let keystore = Memory::default();
        let request = SingleOwner::request(&keystore, &mut rng(seed)).unwrap();
        SingleOwner::accept(&keystore, &SingleOwner::certify(mnemonic, &request)).unwrap();
        Self::of(SingleOwner::open(&keystore).unwrap(), seed)
    }

    pub(super) fn of(owner: SingleOwner, seed: u64) -> Self {
        let (key, context) = (owner.me.keys.signing.clone(), owner.context());
        Self::new(owner, key, context, seed)
    }

    /// A call of the application into its plugin, and then what the node does with what it asks for.
    pub(super) fn turn<R>(&mut self, run: impl FnOnce(&mut SingleOwner, &mut Turn<'_>) -> R) -> R {
        let Self { strategy, rng, view, writing, .. } = self;
        let mut turn = Turn::new(NOW, rng, view).writing(*writing);
        let result = run(strategy, &mut turn);
        for (context, payload) in turn.append {
            if context == self.context {
                self.append(payload);
            }
        }
        result
    }

    /// Fulfils the duties of this device; says how many entries that took. They come to rest.
    pub(super) fn duties(&mut self) -> usize {
        let (context, before) = (self.context, self.entries.len());
        for _ in 0..8 {
            let start = self.entries.len();
            self.turn(|owner, turn| owner.duties(&context, turn)).unwrap();
            if self.entries.len() == start {
                return start - before;
            }
        }
        panic!("the duties do not come to rest");
    }

    pub(super) fn revoke(&mut self, mnemonic: &Mnemonic, device: ReplicaId) {
        self.turn(|owner, turn| owner.revoke(turn, mnemonic, device)).unwrap();
    }

    pub(super) fn epoch(&self) -> Option<EpochId> {
        self.strategy.epoch(&self.context).unwrap()
    }

    pub(super) fn holds(&self, epoch: &EpochId) -> bool {
        self.strategy.own[0].ring.keys.contains(epoch)
    }

    pub(super) fn resolved(&self) -> &crate::resolve::Resolved {
        self.strategy.own[0].state.resolved()
    }

    /// A data entry number 1 of a log of this device, sealed under an epoch.
    pub(super) fn seal(&mut self, epoch: EpochId, plain: &[u8]) -> (EntryHeader, Bytes) {
        let header = self.data_header(LogId::from_bytes([0xda; 16]), &self.graph.heads(), Some(epoch));
        let prefix = HeaderPrefix { header: &header, author: self.replica, epoch: Some(epoch) };
        let sealed = self.strategy.seal(&prefix, plain, &mut self.rng).unwrap();
        (header, sealed)
    }

    pub(super) fn data_header(&self, log: LogId, heads: &[EntryId], epoch: Option<EpochId>) -> EntryHeader {
        let kind = EntryKind::Change(partita_core::DocumentId::from_bytes([7; 32]));
        header(self.context, self.replica, (log, 1, EntryId::NONE), kind, (heads, epoch), b"")
    }

    /// An entry that this device wrote as the one with this number, in its [`data_log`](Self::data_log).
    pub(super) fn witness(&self, seq: u64) -> Witness {
        witness(self.context, &self.strategy.me.keys.signing, seq)
    }

    pub(super) fn data_log(&self) -> LogId {
        LogId::derive(&self.context, &self.replica, &[0; 16])
    }

    pub(super) fn open(&self, header: &EntryHeader, author: ReplicaId, sealed: &Bytes) -> Opened {
        let epoch = header.stamp.as_ref().and_then(|stamp| stamp.epoch);
        self.strategy.open(&HeaderPrefix { header, author, epoch }, sealed)
    }

    /// A payload of this device's own making, honest or not.
    pub(super) fn say(&mut self, ops: &[crate::op::Op]) -> Sent {
        self.append(Payload::encode(ops))
    }

    /// The same device after a restart: its entries are given to it again.
    pub(super) fn effects_of_restart(owner: &mut SingleOwner, entries: &[Sent]) -> Vec<StrategyEffect> {
        entries.iter().flat_map(|sent| owner.control(NOW, &sent.entry()).unwrap()).collect()
    }
}

/// An entry that somebody signed, as the one with this number of a log.
pub(super) fn witness(context: ContextId, key: &SigningKey, seq: u64) -> Witness {
    let replica = ReplicaId::from_bytes(*key.verifying_key().as_bytes());
    let start = LogStart { replica, nonce: [0; 16], tips: Vec::new() };
    let log = LogId::derive(&context, &replica, &start.nonce);
    let backlink = if seq == 1 { EntryId::NONE } else { EntryId::from_bytes([9; 32]) };
    let kind = EntryKind::Change(partita_core::DocumentId::from_bytes([7; 32]));
    let mut entry = Entry::new(header(context, replica, (log, seq, backlink), kind, (&[], None), b""), Bytes::new());
    entry.signature = Some(EntryHeader::sign(&entry.id, key));
    Witness::of(&entry, &start).unwrap()
}

/// Everybody hears of everything and does its duties until nobody has any, first without anything to write, then with;
/// says how many entries that took.
pub(super) fn settle(devices: &mut [&mut Device]) -> usize {
    let mut written = 0;
    for writing in [false, true] {
        devices.iter_mut().for_each(|device| device.writing = writing);
        written += settle_as(devices);
    }
    written
}

pub(super) fn settle_as(devices: &mut [&mut Device]) -> usize {
    let mut written = 0;
    for _ in 0..16 {
        let mut round = 0;
        for at in 0..devices.len() {
            let all: Vec<Vec<Sent>> = devices.iter().map(|device| device.entries.clone()).collect();
            for sent in all.iter().flatten() {
                if devices[at].graph.missing(sent.heads()).is_empty() {
                    devices[at].give(sent);
                }
            }
            round += devices[at].duties();
        }
        written += round;
        if round == 0 {
            return written;
        }
    }
    panic!("the devices do not come to rest");
}
