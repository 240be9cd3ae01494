//! Peers that hand control entries to each other as a node would.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use partita_core::{
    AuthProvider as _, Claim, ContextId, ContextInfo, ContextView, ControlGraph, Entry, EntryHeader, EntryId,
    EntryKind, EpochId, HeaderPrefix, Keystore, LogId, LogStart, Now, Opened, PartitionStrategy, ReplicaId, SignedTip,
    Stamp, Timestamp, Tip, Turn, Verdict, Witness,
};
use partita_crypto::{Secret, SigningKey};
use partita_testing::MemoryKeystore;
use rand_chacha::ChaCha8Rng;

use super::world::{Said, rng};
use crate::{
    Card, Group, GroupError, GroupRelay, History, Invitation, MemberId, Policy, Role, Terms, op::Op, op::Payload,
};

pub(super) fn at(seconds: u64) -> Now {
    Now { monotonic: Duration::from_secs(seconds), wall: Duration::from_secs(1_000_000 + seconds) }
}

/// What a node knows of logs.
#[derive(Default)]
pub(super) struct View(BTreeMap<ReplicaId, BTreeMap<LogId, SignedTip>>);

impl ContextView for View {
    fn logs_of(&self, _: &ContextId, replica: &ReplicaId) -> Vec<SignedTip> {
        self.0.get(replica).map(|logs| logs.values().copied().collect()).unwrap_or_default()
    }

    fn contexts(&self) -> Vec<ContextInfo> {
        Vec::new()
    }
}

/// One node with one group.
pub(super) struct Peer<S> {
    pub(super) strategy: S,
    pub(super) replica: ReplicaId,
    pub(super) context: ContextId,
    pub(super) writing: bool,
    /// What a snapshot that waits stands for.
    pub(super) past: BTreeSet<EpochId>,
    pub(super) now: Now,
    pub(super) entries: Vec<Said>,
    pub(super) graph: ControlGraph,
    pub(super) view: View,
    pub(super) rng: ChaCha8Rng,
    key: SigningKey,
    nonce: [u8; 16],
}

pub(super) type Device = Peer<Group>;

impl<S: PartitionStrategy> Peer<S> {
    pub(super) fn new(strategy: S, key: SigningKey, context: ContextId, seed: u64) -> Self {
        Self {
            strategy,
            replica: ReplicaId::from_bytes(*key.verifying_key().as_bytes()),
            key,
            context,
            writing: true,
            past: BTreeSet::new(),
            now: at(0),
            entries: Vec::new(),
            graph: ControlGraph::default(),
            view: View::default(),
            rng: rng(1000 + seed),
            nonce: [seed as u8; 16],
        }
    }

    pub(super) fn log(&self) -> LogId {
        LogId::derive(&self.context, &self.replica, &self.nonce)
    }

    /// The next control entry of this peer's own log, resting on these heads; not yet given to anybody.
    pub(super) fn write_with(&self, heads: &[EntryId], payload: Bytes) -> Said {
        let log = self.log();
        let last =
            self.view.logs_of(&self.context, &self.replica).into_iter().map(|last| last.tip).find(|tip| tip.log == log);
        let (seq, backlink) = last.map_or((1, EntryId::NONE), |tip| (tip.seq + 1, tip.head));
        let header = EntryHeader {
            context: self.context,
            log,
            seq,
            backlink,
            time: partita_core::timestamp_at(self.now.wall),
            kind: EntryKind::Control,
            start: (seq == 1).then(|| LogStart { replica: self.replica, nonce: self.nonce, tips: Vec::new() }),
            stamp: Some(Stamp { heads: heads.to_vec(), epoch: None }),
            payload_len: payload.len() as u64,
            payload_hash: EntryHeader::hash_payload(&payload),
        };
        let mut parents = heads.to_vec();
        parents.push(backlink);
        let id = header.id();
        Said { id, author: self.replica, signature: EntryHeader::sign(&id, &self.key), header, parents, payload }
    }

    /// What a node does with a control entry.
    pub(super) fn give(&mut self, said: &Said) -> Verdict {
        if self.graph.contains(&said.id) {
            return Verdict::Accept;
        }
        let heads = &said.header.stamp.as_ref().unwrap().heads;
        assert!(self.graph.missing(heads).is_empty(), "control entries come after their parents");
        let claim =
            Claim { header: &said.header, author: said.author, heads, epoch: None, control: Some(&said.payload) };
        let verdict = self.strategy.authorize(&claim);
        if verdict == Verdict::Accept {
            self.strategy.control(self.now, &said.entry()).unwrap();
            self.graph.insert(said.id, said.parents.clone()).unwrap();
            self.entries.push(said.clone());
            self.note(said.author, said.signed_tip());
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

    /// Takes what another holds and this one can take; what is refused stays where it is.
    pub(super) fn pull<T>(&mut self, other: &Peer<T>) {
        for said in &other.entries {
            let heads = &said.header.stamp.as_ref().unwrap().heads;
            if self.graph.missing(heads).is_empty() {
                self.give(said);
            }
        }
    }
}

impl Device {
    pub(super) fn of(group: Group, seed: u64) -> Self {
        let (key, context) = (group.keys.signing.clone(), group.context());
        Self::new(group, key, context, seed)
    }

    /// The founder of a new group.
    pub(super) fn founder(seed: u64, policy: Policy) -> Self {
        let group = Group::create(keystore(), &mut rng(seed), "garden", policy).unwrap();
        let mut device = Self::of(group, seed);
        device.duties();
        device
    }

    /// Somebody whom an admin adds by its card.
    pub(super) fn added_by(admin: &mut Self, seed: u64, role: Role, history: History) -> Self {
        let keystore = keystore();
        let card = Group::card(&*keystore, &mut rng(seed)).unwrap();
        admin.call(|group, turn| group.add(turn, &card, role, history)).unwrap();
        let mut device = Self::of(Group::added(keystore, admin.context, &card).unwrap(), seed);
        device.pull(admin);
        device
    }

    /// Somebody with an invitation, who has synced nothing yet.
    pub(super) fn invited(invitation: &Invitation, seed: u64) -> Self {
        Self::of(Group::join(keystore(), &mut rng(seed), invitation).unwrap(), seed)
    }

    /// A further device of this one's member, by a card.
    pub(super) fn further(&mut self, seed: u64) -> Self {
        let keystore = keystore();
        let card = Group::device_card(&*keystore, &mut rng(seed), self.strategy.member()).unwrap();
        self.call(|group, turn| group.add_device(turn, &card)).unwrap();
        let mut device = Self::of(Group::added(keystore, self.context, &card).unwrap(), seed);
        device.pull(self);
        device
    }

    /// The end of its own control log.
    pub(super) fn view_tip(&self) -> Tip {
        let tips = self.view.logs_of(&self.context, &self.replica);
        tips.into_iter().map(|last| last.tip).find(|tip| tip.log == self.log()).unwrap()
    }

    pub(super) fn member(&self) -> MemberId {
        self.strategy.member()
    }

    /// A call of the application into its plugin, and then what the node does with what it asks for.
    pub(super) fn call<R>(&mut self, run: impl FnOnce(&mut Group, &mut Turn<'_>) -> R) -> R {
        let Self { strategy, rng, view, writing, past, now, .. } = self;
        let mut turn = Turn::new(*now, rng, view).writing(*writing).past(past);
        let result = run(strategy, &mut turn);
        for (_, payload) in turn.append {
            self.append(payload);
        }
        result
    }

    /// Appends a payload to this device's own control log.
    pub(super) fn append(&mut self, payload: Bytes) -> Said {
        let said = self.write_with(&self.graph.heads(), payload);
        assert_eq!(self.give(&said), Verdict::Accept, "one's own entry");
        said
    }

    /// A payload of this device's own making, honest or not.
    pub(super) fn say(&mut self, ops: &[Op]) -> Said {
        self.append(Payload::encode(ops))
    }

    /// Fulfils the duties of this device; says how many entries that took. They come to rest.
    pub(super) fn duties(&mut self) -> usize {
        let (context, before) = (self.context, self.entries.len());
        for _ in 0..12 {
            let start = self.entries.len();
            self.call(|group, turn| group.duties(&context, turn)).unwrap();
            if self.entries.len() == start {
                return start - before;
            }
        }
        panic!("the duties do not come to rest");
    }

    /// The epoch to write under, after this device began one if it had to.
    pub(super) fn epoch(&mut self) -> EpochId {
        self.writing = true;
        self.duties();
        self.strategy.epoch(&self.context).unwrap().unwrap()
    }

    /// The epoch of a snapshot of what was written under these, after this device began one if it had to.
    pub(super) fn snapshot_epoch(&mut self, past: &[EpochId]) -> EpochId {
        self.past = past.iter().copied().collect();
        self.writing = true;
        self.duties();
        let past = std::mem::take(&mut self.past);
        self.strategy.snapshot_epoch(&self.context, &past).unwrap().unwrap()
    }

    pub(super) fn holds(&self, epoch: &EpochId) -> bool {
        self.strategy.holds(epoch)
    }

    pub(super) fn role_of(&self, other: &Self) -> Option<Role> {
        let members = self.strategy.members();
        members.into_iter().find(|member| member.id == other.member()).and_then(|member| member.role)
    }

    /// A data entry number 1 of a log of this device, sealed under an epoch.
    pub(super) fn seal(&mut self, epoch: EpochId, plain: &[u8]) -> (EntryHeader, Bytes) {
        let header = self.data_header(1, Some(epoch));
        let prefix = HeaderPrefix { header: &header, author: self.replica, epoch: Some(epoch) };
        let sealed = self.strategy.seal(&prefix, plain, &mut self.rng).unwrap();
        (header, sealed)
    }

    pub(super) fn data_header(&self, seq: u64, epoch: Option<EpochId>) -> EntryHeader {
        EntryHeader {
            context: self.context,
            log: self.data_log(),
            seq,
            backlink: if seq == 1 { EntryId::NONE } else { EntryId::from_bytes([9; 32]) },
            time: Timestamp::default(),
            kind: EntryKind::Change(partita_core::DocumentId::from_bytes([7; 32])),
            start: (seq == 1).then(|| LogStart { replica: self.replica, nonce: [0; 16], tips: Vec::new() }),
            stamp: (seq == 1).then(|| Stamp { heads: self.graph.heads(), epoch }),
            payload_len: 0,
            payload_hash: partita_core::Hash::ZERO,
        }
    }

    pub(super) fn data_log(&self) -> LogId {
        LogId::derive(&self.context, &self.replica, &[0; 16])
    }

    /// What others say of a data entry of this device that rests on what this device knows.
    pub(super) fn verdict_at<S: PartitionStrategy>(&self, judge: &Peer<S>, epoch: EpochId) -> Verdict {
        let header = self.data_header(1, Some(epoch));
        let heads = self.graph.heads();
        let claim = Claim { header: &header, author: self.replica, heads: &heads, epoch: Some(epoch), control: None };
        judge.strategy.authorize(&claim)
    }

    pub(super) fn open(&self, header: &EntryHeader, author: ReplicaId, epoch: EpochId, sealed: &Bytes) -> Opened {
        self.strategy.open(&HeaderPrefix { header, author, epoch: Some(epoch) }, sealed)
    }

    /// An entry of this device's data log, signed, with its place.
    pub(super) fn witness(&self, seq: u64) -> Witness {
        let start = LogStart { replica: self.replica, nonce: [0; 16], tips: Vec::new() };
        let mut entry = Entry::new(self.data_header(seq, None), Bytes::new());
        entry.signature = Some(EntryHeader::sign(&entry.id, &self.strategy.keys.signing));
        Witness::of(&entry, &start).unwrap()
    }

    /// How far this device's data log counts in a judge's eyes.
    pub(super) fn cap_at(&self, judge: &Device) -> Option<u64> {
        judge.strategy.standing(&judge.context).cap(&self.replica, &self.data_log(), |_| false)
    }

    /// The same device after a restart: its keystore, and its entries given to it again.
    pub(super) fn restarted(&self) -> Group {
        let mut group = Group::open(self.strategy.keystore.clone(), &self.context).unwrap();
        for said in &self.entries {
            group.control(self.now, &said.entry()).unwrap();
        }
        group
    }

    /// The proof that this device shows to a remote that may not know the group.
    pub(super) fn proof(&self, transcript: &partita_core::Transcript) -> Bytes {
        let info = ContextInfo { id: self.context, kind: self.strategy.kinds()[0].clone() };
        self.strategy.prove(transcript, &info).unwrap()
    }
}

pub(super) fn keystore() -> Arc<dyn Keystore> {
    Arc::new(MemoryKeystore::default())
}

pub(super) fn relay(context: ContextId) -> Peer<GroupRelay> {
    Peer::new(GroupRelay::new(), SigningKey::from_seed(&Secret::from_bytes([0xee; 32])), context, 99)
}

pub(super) fn card_of(device: &Device) -> Card {
    Card::new(&device.strategy.keys, Some(device.member()).filter(|member| member.0 != device.replica))
}

pub(super) fn lacks(needed: Role, has: Role) -> GroupError {
    GroupError::Lacks { needed, has: Some(has) }
}

/// Everybody hears of everything and does its duties until nobody has any.
pub(super) fn settle(devices: &mut [&mut Device]) -> usize {
    let mut written = 0;
    for _ in 0..24 {
        let mut round = 0;
        for at in 0..devices.len() {
            for other in 0..devices.len() {
                if at != other {
                    let entries = devices[other].entries.clone();
                    for said in &entries {
                        let heads = &said.header.stamp.as_ref().unwrap().heads;
                        if devices[at].graph.missing(heads).is_empty() {
                            devices[at].give(said);
                        }
                    }
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

pub(super) fn pair() -> (Device, Device) {
    let mut ada = Device::founder(1, Policy::default());
    let mut ben = Device::added_by(&mut ada, 2, Role::Admin, History::All);
    settle(&mut [&mut ada, &mut ben]);
    (ada, ben)
}

pub(super) fn remove(admin: &mut Device, who: &Device) {
    let member = who.member();
    admin.call(|group, turn| group.remove(turn, member)).unwrap();
}

pub(super) fn invite(admin: &mut Device, terms: Terms) -> Invitation {
    let invitation = admin.call(|group, turn| group.invite(turn, terms)).unwrap();
    admin.duties();
    invitation
}

/// What a device can read of an entry that another seals now.
pub(super) fn reads(reader: &Device, writer: &mut Device, epoch: EpochId) -> bool {
    let (header, sealed) = writer.seal(epoch, b"x");
    matches!(reader.open(&header, writer.replica, epoch, &sealed), Opened::Plain(_))
}
