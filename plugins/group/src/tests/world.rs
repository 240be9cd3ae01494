//! Control entries of people who may be honest or not, in any causal shape.

use std::collections::{BTreeMap, BTreeSet};

use partita_core::{
    ContextId, ControlEntry, DeviceKeys, Entry, EntryHeader, EntryId, EntryKind, LogId, LogStart, ReplicaId, Signature,
    SignedTip, Stamp, Timestamp, Tip, Witness,
};
use partita_crypto::{Secret, SigningKey};
use partita_testing::MemoryKeystore;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};

use crate::{
    card::Card,
    genesis::{Genesis, Policy},
    invite::{Accept, Invite, InviteKeys, Terms, Uses},
    op::{Add, Decide, Op, Payload, Remove, RemoveDevice, SetRole},
    resolve::{Point, Resolver},
    role::{History, MemberId, Role},
    state::State,
};

pub(super) fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// The same name gives the same keys.
pub(super) fn keys_of(name: &str) -> DeviceKeys {
    let seed = name.bytes().fold(7u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
    DeviceKeys::create(&MemoryKeystore::default(), &mut rng(seed)).unwrap()
}

/// The keys of the invitation of this name.
pub(super) fn invite_keys(name: &str) -> InviteKeys {
    InviteKeys::of(Secret::from_bytes([name.as_bytes()[0]; 32]))
}

/// A control entry.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) id: EntryId,
    pub(super) author: ReplicaId,
    pub(super) header: EntryHeader,
    pub(super) parents: Vec<EntryId>,
    pub(super) payload: bytes::Bytes,
    pub(super) signature: Signature,
}

impl Said {
    pub(super) fn entry(&self) -> ControlEntry<'_> {
        let Self { id, author, header, parents, payload, .. } = self;
        ControlEntry { id: *id, author: *author, header, parents, payload }
    }

    /// As the end of its log.
    pub(super) fn signed_tip(&self) -> SignedTip {
        let tip = Tip { log: self.header.log, seq: self.header.seq, head: self.id };
        SignedTip { tip, signature: self.signature }
    }
}

/// Everything that was said in one group.
pub(super) struct World {
    pub(super) genesis: Genesis,
    pub(super) said: Vec<Said>,
    by_label: BTreeMap<String, EntryId>,
    last: BTreeMap<String, EntryId>,
    pub(super) names: BTreeMap<ReplicaId, String>,
}

impl World {
    /// A group with these founders; the first says so, as `g`.
    pub(super) fn founded(founders: &[&str]) -> Self {
        let cards = founders.iter().map(|name| Card::new(&keys_of(name), None)).collect();
        let genesis = Genesis { founders: cards, policy: Policy::default(), nonce: [9; 32] };
        let mut world = Self {
            genesis: genesis.clone(),
            said: Vec::new(),
            by_label: BTreeMap::new(),
            last: BTreeMap::new(),
            names: BTreeMap::new(),
        };
        world.say("g", founders[0], &[], vec![Op::Create(genesis)]);
        world
    }

    pub(super) fn device(&mut self, name: &str) -> ReplicaId {
        let id = keys_of(name).replica();
        self.names.insert(id, name.into());
        id
    }

    pub(super) fn member(&mut self, name: &str) -> MemberId {
        let first = name.split('.').next().unwrap_or(name).to_owned();
        MemberId(self.device(&first))
    }

    pub(super) fn card(&mut self, name: &str) -> Card {
        let member = self.member(name);
        self.device(name);
        Card::new(&keys_of(name), name.contains('.').then_some(member))
    }

    pub(super) fn id(&self, label: &str) -> EntryId {
        *self.by_label.get(label).unwrap_or_else(|| panic!("nothing is called {label}"))
    }

    fn get(&self, id: &EntryId) -> Option<&Said> {
        self.said.iter().find(|said| said.id == *id)
    }

    /// These entries and everything that they descend from.
    pub(super) fn closure(&self, heads: &[EntryId]) -> BTreeSet<EntryId> {
        let (mut seen, mut open) = (BTreeSet::new(), heads.to_vec());
        while let Some(id) = open.pop() {
            if let Some(said) = self.get(&id)
                && seen.insert(id)
            {
                open.extend(&said.parents);
            }
        }
        seen
    }

    /// The last entry of a device among these.
    pub(super) fn tips(&self, seen: &BTreeSet<EntryId>, device: &ReplicaId) -> Vec<SignedTip> {
        let own = self.said.iter().filter(|said| said.author == *device && seen.contains(&said.id));
        let last = own.max_by_key(|said| said.header.seq);
        last.map(Said::signed_tip).into_iter().collect()
    }

    /// What an actor has seen that comes after its own last entry and these.
    pub(super) fn heads(&self, actor: &str, after: &[&str]) -> Vec<EntryId> {
        let mut heads: Vec<EntryId> = after.iter().map(|label| self.id(label)).collect();
        heads.extend(self.last.get(actor));
        heads.sort_unstable();
        heads.dedup();
        heads
    }

    /// What an actor says next it says without what it said before, as from a store that was restored.
    pub(super) fn forget(&mut self, actor: &str) {
        self.last.remove(actor);
    }

    /// An entry of an actor, after its own last one and these.
    pub(super) fn say(&mut self, label: &str, actor: &str, after: &[&str], ops: Vec<Op>) -> EntryId {
        let heads = self.heads(actor, after);
        let author = self.device(actor);
        let backlink = self.last.get(actor).copied();
        let seq = 1 + self.said.iter().filter(|said| said.author == author).count() as u64;
        let id = self.put(label, actor, ([1; 16], seq, backlink), heads, ops);
        self.last.insert(actor.into(), id);
        id
    }

    /// An entry of an actor after these alone, and in a log of its own: as from one more copy of its store.
    pub(super) fn say_apart(&mut self, label: &str, actor: &str, after: &[&str], ops: Vec<Op>) -> EntryId {
        let mut heads: Vec<EntryId> = after.iter().map(|label| self.id(label)).collect();
        heads.sort_unstable();
        heads.dedup();
        let mut nonce = [2; 16];
        nonce[..8].copy_from_slice(&(self.said.len() as u64).to_be_bytes());
        self.put(label, actor, (nonce, 1, None), heads, ops)
    }

    fn put(
        &mut self,
        label: &str,
        actor: &str,
        (nonce, seq, backlink): ([u8; 16], u64, Option<EntryId>),
        heads: Vec<EntryId>,
        ops: Vec<Op>,
    ) -> EntryId {
        let author = self.device(actor);
        let context = self.genesis.context().unwrap().id;
        let log = LogId::derive(&context, &author, &nonce);
        let payload = Payload::encode(&ops);
        let header = EntryHeader {
            context,
            log,
            seq,
            backlink: backlink.unwrap_or(EntryId::NONE),
            time: Timestamp::default(),
            kind: EntryKind::Control,
            start: (seq == 1).then(|| LogStart { replica: author, nonce, tips: Vec::new() }),
            stamp: Some(Stamp { heads: heads.clone(), epoch: None }),
            payload_len: payload.len() as u64,
            payload_hash: EntryHeader::hash_payload(&payload),
        };
        let id = header.id();
        let signature = EntryHeader::sign(&id, &keys_of(actor).signing);
        self.said.push(Said { id, author, header, parents: heads, payload, signature });
        self.by_label.insert(label.into(), id);
        id
    }

    /// An action in words, as in the scenario files.
    pub(super) fn act(&mut self, label: &str, actor: &str, words: &[&str], after: &[&str]) {
        let seen = self.closure(&self.heads(actor, after));
        let role = |name: &str| name.parse::<Role>().unwrap();
        let op = match words {
            ["create", ..] => Op::Create(self.genesis.clone()),
            ["add", who, as_role] => Op::Add(Add { card: self.card(who), role: role(as_role), history: History::All }),
            ["remove", who] => Op::Remove(Remove { member: self.member(who), caps: self.caps(&seen, who) }),
            ["role", who, to] => {
                Op::SetRole(SetRole { member: self.member(who), role: role(to), caps: self.caps(&seen, who) })
            }
            ["leave"] => Op::Leave(self.caps(&seen, actor)),
            ["add-device", name] => Op::AddDevice(self.card(name)),
            ["remove-device", name] => {
                let device = self.device(name);
                Op::RemoveDevice(RemoveDevice { device, caps: self.tips(&seen, &device) })
            }
            ["invite", n, as_role, uses @ ..] => {
                let terms = Terms::new(role(as_role)).uses(if uses.is_empty() { Uses::Once } else { Uses::Many });
                let (context, inviter) = (self.genesis.context().unwrap().id, self.device(actor));
                Op::Invite(Box::new(Invite::sign(&context, &inviter, &invite_keys(n), None, terms)))
            }
            ["invite-device", n] => {
                let (context, inviter) = (self.genesis.context().unwrap().id, self.device(actor));
                let (member, terms) = (Some(self.member(actor)), Terms::new(Role::Read));
                Op::Invite(Box::new(Invite::sign(&context, &inviter, &invite_keys(n), member, terms)))
            }
            ["accept", n] => {
                let (context, card) = (self.genesis.context().unwrap().id, self.card(actor));
                Op::Accept(Box::new(Accept::sign(&context, &invite_keys(n).signing, card)))
            }
            ["decide", n, who, admit] => {
                let (invite, device) = (invite_keys(n).id(), self.device(who));
                Op::Decide(Decide { invite, device, admit: *admit == "yes" })
            }
            ["revoke", n] => Op::RevokeInvite(invite_keys(n).id()),
            // Whether somebody may rotate is asked of an op that concerns no membership.
            ["rotate"] => Op::Complain(partita_core::EpochId(partita_core::Hash::from_bytes([3; 32]))),
            other => panic!("no such action: {other:?}"),
        };
        self.say(label, actor, after, vec![op]);
    }

    /// How far the logs of a member's devices go among these.
    pub(super) fn caps(&mut self, seen: &BTreeSet<EntryId>, who: &str) -> crate::op::Caps {
        let first = self.member(who).0;
        let prefix = format!("{}.", who.split('.').next().unwrap_or(who));
        let further = self.names.iter().filter(|(_, name)| name.starts_with(&prefix)).map(|(id, _)| *id);
        let mut devices: Vec<ReplicaId> = further.chain([first]).collect();
        devices.sort_unstable();
        devices.dedup();
        devices.into_iter().map(|device| (device, self.tips(seen, &device))).collect()
    }

    /// A replica that heard these entries in this order.
    pub(super) fn heard(&self, order: &[usize]) -> State {
        let mut state = State::new(self.genesis.context().unwrap().id);
        for (nth, at) in order.iter().enumerate() {
            state.insert(&self.said[*at].entry()).unwrap();
            // Whoever asks in between goes on from the answer, and must come to the same.
            if (nth + order[0] + order[order.len() / 2]) % 2 == 1 {
                let _ = state.view();
            }
        }
        state
    }

    pub(super) fn all(&self) -> State {
        self.heard(&(0..self.said.len()).collect::<Vec<_>>())
    }

    /// Every order in which parents come first.
    pub(super) fn orders(&self) -> Vec<Vec<usize>> {
        let at: BTreeMap<EntryId, usize> = self.said.iter().enumerate().map(|(at, said)| (said.id, at)).collect();
        let parents: Vec<Vec<usize>> =
            self.said.iter().map(|said| said.parents.iter().filter_map(|id| at.get(id).copied()).collect()).collect();
        let (mut orders, mut order) = (Vec::new(), Vec::new());
        extend(&parents, &mut order, &mut orders);
        orders
    }
}

fn extend(parents: &[Vec<usize>], order: &mut Vec<usize>, orders: &mut Vec<Vec<usize>>) {
    if order.len() == parents.len() {
        orders.push(order.clone());
        return;
    }
    for at in 0..parents.len() {
        if !order.contains(&at) && parents[at].iter().all(|parent| order.contains(parent)) {
            order.push(at);
            extend(parents, order, orders);
            order.pop();
        }
    }
}

/// Everything that a replica believes, in bytes that do not depend on the order in which it came to it.
pub(super) fn state_bytes(state: &State) -> Vec<u8> {
    let view = state.view();
    let ids = |numbers: &crate::bits::Bits| {
        let mut ids: Vec<EntryId> = state
            .ledger
            .entries()
            .iter()
            .filter(|held| held.number.is_some_and(|no| numbers.has(no)))
            .map(|h| h.id)
            .collect();
        ids.sort_unstable();
        ids
    };
    let members: Vec<_> = view
        .members
        .iter()
        .map(|(id, one)| (id, one.role, one.history, one.membership, ids(&one.since), one.invite, &one.devices))
        .collect();
    let mut counting: Vec<(EntryId, usize)> = Vec::new();
    for held in state.ledger.entries() {
        for (index, op) in held.ops().iter().enumerate() {
            if state.resolver().op_counts(held, index, op) {
                counting.push((held.id, index));
            }
        }
    }
    counting.sort_unstable();
    let (covers, standing) = (ids(&view.to_cover), state.standing());
    let text = format!(
        "{members:?} {:?} {:?} {:?} {:?} {covers:?} {standing:?} {counting:?}",
        view.devices, view.invites, view.losses, view.left
    );
    text.into_bytes()
}

/// What a member is, by name, at the end of everything.
pub(super) fn role_of(state: &State, member: &MemberId) -> Option<Role> {
    let resolver: Resolver<'_> = state.resolver();
    assert_eq!(
        resolver.role_of_member(Point::All, member),
        state.view().members.get(member).and_then(|member| member.role),
        "without invitations the view says what the ops say"
    );
    resolver.role_of_member(Point::All, member)
}

/// An entry of somebody's data log, with its signature.
pub(super) fn witness(context: ContextId, key: &SigningKey, seq: u64) -> Witness {
    let replica = ReplicaId::from_bytes(*key.verifying_key().as_bytes());
    let start = LogStart { replica, nonce: [0; 16], tips: Vec::new() };
    let header = EntryHeader {
        context,
        log: LogId::derive(&context, &replica, &start.nonce),
        seq,
        backlink: EntryId::from_bytes([9; 32]),
        time: Timestamp::default(),
        kind: EntryKind::Change(partita_core::DocumentId::from_bytes([7; 32])),
        start: None,
        stamp: None,
        payload_len: 0,
        payload_hash: partita_core::Hash::ZERO,
    };
    let mut entry = Entry::new(header, bytes::Bytes::new());
    entry.signature = Some(EntryHeader::sign(&entry.id, key));
    Witness::of(&entry, &start).unwrap()
}
