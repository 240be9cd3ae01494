//! The control entries of one group that are held, by what they are about.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use partita_core::{Away, ContextId, EntryId, LogId, ReplicaId, Timestamp};

use crate::{
    bits::Bits,
    card::Card,
    genesis::Policy,
    invite::Invite,
    op::{Caps, Op, Payload},
    role::{History, MemberId, Role},
};

/// One control entry.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) id: EntryId,
    pub(crate) author: ReplicaId,
    pub(crate) log: LogId,
    pub(crate) seq: u64,
    pub(crate) time: Timestamp,
    /// The length of the longest chain of control entries that ends in this one.
    pub(crate) depth: u64,
    pub(crate) parents: Vec<EntryId>,
    pub(crate) payload: Arc<Payload>,
    /// The membership entries among its ancestors, by number. Only those are counted: what was shared, begun or vouched for
    /// decides nobody's right.
    pub(crate) before: Arc<Bits>,
    /// With itself.
    pub(crate) seen: Arc<Bits>,
    /// Its own number, if it concerns membership.
    pub(crate) number: Option<usize>,
    /// The longest chain of epochs that ends in this entry or before.
    pub(crate) epoch_depth: u64,
    /// Who is away by what it and its ancestors say, whether or not that counts in the end; each declaration by its entry's
    /// place and its own among the ops.
    pub(crate) away: Arc<Away<(usize, usize)>>,
}

impl Held {
    pub(crate) fn ops(&self) -> &[Op] {
        &self.payload.ops
    }

    /// An entry that is not held yet, to ask what it could say.
    pub(crate) fn asking(author: ReplicaId, (log, seq): (LogId, u64), before: Bits, payload: Arc<Payload>) -> Self {
        let before = Arc::new(before);
        Self {
            id: EntryId::NONE,
            author,
            log,
            seq,
            time: Timestamp::default(),
            depth: 0,
            parents: Vec::new(),
            payload,
            seen: before.clone(),
            before,
            number: None,
            epoch_depth: 0,
            away: Arc::default(),
        }
    }
}

/// A membership op: which entry, which of its ops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The entry's place in the ledger.
    pub(crate) entry: usize,
    pub(crate) index: usize,
    /// The entry's number among the membership entries.
    pub(crate) number: usize,
}

/// The number of a membership op.
pub(crate) type OpNo = usize;

/// An op that makes somebody a member, or a device one of a member's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Admission {
    pub(crate) op: OpNo,
    pub(crate) device: ReplicaId,
    pub(crate) role: Role,
    pub(crate) history: History,
    /// Its place among the founders.
    pub(crate) founder: Option<u64>,
    /// The invitation that it rests on.
    pub(crate) via: Option<OpNo>,
    /// By an invitation that nobody has confirmed: the invitation.
    pub(crate) pending: Option<ReplicaId>,
}

/// What is known of a member. The lists have ops that count and ops that do not.
#[derive(Debug, Clone, Default)]
pub(crate) struct AboutMember {
    pub(crate) admissions: Vec<Admission>,
    pub(crate) roles: Vec<(OpNo, Role)>,
    /// Removals, departures, refusals of whoever joined by an invitation.
    pub(crate) ends: Vec<OpNo>,
    pub(crate) devices: BTreeSet<ReplicaId>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct AboutDevice {
    pub(crate) members: BTreeSet<MemberId>,
    /// By which it became a further device of a member.
    pub(crate) admissions: Vec<(MemberId, Admission)>,
    pub(crate) ends: Vec<OpNo>,
    pub(crate) keys: Vec<OpNo>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct AboutInvite {
    pub(crate) made: Vec<OpNo>,
    pub(crate) revoked: Vec<OpNo>,
    pub(crate) accepted: Vec<OpNo>,
    pub(crate) decided: Vec<OpNo>,
}

/// All held control entries of a group.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    pub(crate) context: ContextId,
    by_id: BTreeMap<EntryId, usize>,
    entries: Vec<Held>,
    /// Every membership entry has a bit in here.
    pub(crate) all: Bits,
    pub(crate) ops: Vec<Place>,
    numbers: usize,
    pub(crate) members: BTreeMap<MemberId, AboutMember>,
    pub(crate) devices: BTreeMap<ReplicaId, AboutDevice>,
    pub(crate) invites: BTreeMap<ReplicaId, AboutInvite>,
    pub(crate) policy: Option<Policy>,
    /// Devices and invitations, numbered as they were first named.
    pub(crate) keys: BTreeMap<ReplicaId, usize>,
    heads: BTreeSet<EntryId>,
}

impl Ledger {
    pub(crate) fn new(context: ContextId) -> Self {
        Self { context, ..Self::default() }
    }

    pub(crate) fn contains(&self, id: &EntryId) -> bool {
        self.by_id.contains_key(id)
    }

    pub(crate) fn get(&self, id: &EntryId) -> Option<&Held> {
        self.by_id.get(id).and_then(|at| self.entries.get(*at))
    }

    pub(crate) fn entry(&self, at: usize) -> Option<&Held> {
        self.entries.get(at)
    }

    /// In an order in which parents come first.
    pub(crate) fn entries(&self) -> &[Held] {
        &self.entries
    }

    pub(crate) fn heads(&self) -> Vec<EntryId> {
        self.heads.iter().copied().collect()
    }

    pub(crate) fn op(&self, no: OpNo) -> Option<(&Held, &Op)> {
        let place = self.ops.get(no)?;
        let held = self.entries.get(place.entry)?;
        Some((held, held.ops().get(place.index)?))
    }

    /// Whether the first op's author had seen the second when it wrote.
    pub(crate) fn sees(&self, op: OpNo, other: OpNo) -> bool {
        match (self.ops.get(op), self.ops.get(other)) {
            (Some(op), Some(other)) if op.entry == other.entry => other.index < op.index,
            (Some(op), Some(other)) => self.entries.get(op.entry).is_some_and(|held| held.before.has(other.number)),
            _ => false,
        }
    }

    /// The membership entries among these and their ancestors.
    pub(crate) fn seen_by<'a>(&self, heads: impl IntoIterator<Item = &'a EntryId>) -> Bits {
        let mut seen = Bits::default();
        for held in heads.into_iter().filter_map(|id| self.get(id)) {
            if !seen.includes(&held.seen) {
                seen.add(&held.seen);
            }
        }
        seen
    }

    /// Who is away by what these and their ancestors say.
    pub(crate) fn away_by<'a>(&self, heads: impl IntoIterator<Item = &'a EntryId>) -> Arc<Away<(usize, usize)>> {
        let mut all: Option<Arc<Away<_>>> = None;
        for held in heads.into_iter().filter_map(|id| self.get(id)) {
            match &mut all {
                None => all = Some(held.away.clone()),
                Some(all) if all.includes(&held.away) => {}
                Some(all) => Arc::make_mut(all).add(&held.away),
            }
        }
        all.unwrap_or_default()
    }

    /// The same with what an entry says. Of an admin's declarations alone, and of each admin's about a device only one that
    /// stands: each costs a set of its own. Another admin's may not count in the end.
    fn away_at(
        &self,
        parents: &[EntryId],
        at: usize,
        (author, is_admin): (ReplicaId, bool),
        ops: &[Op],
    ) -> Arc<Away<(usize, usize)>> {
        let mut away = self.away_by(parents);
        for (index, op) in ops.iter().enumerate() {
            match op {
                Op::Dormant(device) if is_admin => {
                    let by_author = |entry| entry == at || self.entry(entry).is_some_and(|held| held.author == author);
                    let stands = |(of, (entry, _)): (ReplicaId, (usize, usize))| of == *device && by_author(entry);
                    if !away.standing().any(stands) {
                        Arc::make_mut(&mut away).declare(*device, (at, index));
                    }
                }
                Op::Back if away.is_away(&author) => Arc::make_mut(&mut away).end(&author),
                _ => {}
            }
        }
        away
    }

    /// Takes an entry whose parents are all held, and says where it is.
    #[allow(clippy::too_many_arguments)] // what an entry says of itself
    pub(crate) fn insert(
        &mut self,
        id: EntryId,
        (author, is_admin): (ReplicaId, bool),
        (log, seq): (LogId, u64),
        time: Timestamp,
        parents: Vec<EntryId>,
        payload: Arc<Payload>,
    ) -> usize {
        let held_parents = || parents.iter().filter_map(|parent| self.get(parent));
        let depth = held_parents().map(|parent| parent.depth).max().unwrap_or(0) + 1;
        let epochs = held_parents().map(|parent| parent.epoch_depth).max().unwrap_or(0);
        let begins = payload.ops.iter().any(|op| matches!(op, Op::Epoch(_)));
        let at = self.entries.len();
        let away = self.away_at(&parents, at, (author, is_admin), &payload.ops);
        // Most entries follow one other and change nothing: they share its set.
        let mut widest = held_parents().map(|parent| parent.seen.clone());
        let before = widest.next().map_or_else(Arc::default, |first| {
            let mut all = first;
            for more in widest {
                if more.includes(&all) {
                    all = more;
                } else if !all.includes(&more) {
                    Arc::make_mut(&mut all).add(&more);
                }
            }
            all
        });
        let number = payload.ops.iter().any(Op::is_membership).then_some(self.numbers);
        let mut seen = before.clone();
        if let Some(number) = number {
            self.numbers += 1;
            self.all.set(number);
            Arc::make_mut(&mut seen).set(number);
        }
        for parent in &parents {
            self.heads.remove(parent);
        }
        self.heads.insert(id);
        let epoch_depth = epochs + u64::from(begins);
        let held = Held {
            id,
            author,
            log,
            seq,
            time,
            depth,
            parents,
            payload: payload.clone(),
            before,
            seen,
            number,
            epoch_depth,
            away,
        };
        self.by_id.insert(id, at);
        self.entries.push(held);
        if let Some(number) = number {
            for (index, op) in payload.ops.iter().enumerate().filter(|(_, op)| op.is_membership()) {
                let no = self.ops.len();
                self.ops.push(Place { entry: at, index, number });
                self.note(no, author, op);
            }
        }
        at
    }

    fn note(&mut self, no: OpNo, author: ReplicaId, op: &Op) {
        let admission = |device, role, history| Admission {
            op: no,
            device,
            role,
            history,
            founder: None,
            via: None,
            pending: None,
        };
        match op {
            Op::Create(genesis) => {
                self.policy = Some(genesis.policy);
                for (at, card) in genesis.founders.iter().enumerate() {
                    let founder = Some(at as u64);
                    let one = Admission { founder, ..admission(card.device(), Role::Admin, History::All) };
                    self.admit(card.member(), one);
                }
            }
            Op::Add(add) => self.admit(add.card.member(), admission(add.card.device(), add.role, add.history)),
            Op::Remove(remove) => self.members.entry(remove.member).or_default().ends.push(no),
            Op::SetRole(set) => self.members.entry(set.member).or_default().roles.push((no, set.role)),
            Op::AddDevice(card) => {
                self.admit_device(card.member(), admission(card.device(), Role::Admin, History::All));
            }
            Op::RemoveDevice(remove) => self.devices.entry(remove.device).or_default().ends.push(no),
            Op::DeviceKey(_) => self.devices.entry(author).or_default().keys.push(no),
            Op::Invite(invite) if !invite.is_by(&self.context, &author) => {} // it can never count
            // Nor does what somebody said before.
            Op::Invite(invite) if self.has_invited(no, &author, &invite.id()) => {}
            Op::Invite(invite) => {
                let id = invite.id();
                // In an order that everybody has: of several that count, the first is meant.
                let place = |no: &OpNo| self.op(*no).map(|(held, op)| (rank(op), held.depth, held.id));
                let made = self.invites.get(&id).map_or(&[][..], |about| &about.made);
                let at = made.partition_point(|other| place(other) < place(&no));
                self.invites.entry(id).or_default().made.insert(at, no);
                self.number(id);
            }
            Op::RevokeInvite(key) => self.invites.entry(*key).or_default().revoked.push(no),
            Op::Accept(accept) => {
                let id = accept.invite_id();
                self.invites.entry(id).or_default().accepted.push(no);
                for (via, invite) in self.invitations(no, &id, &accept.card) {
                    let terms = invite.terms;
                    let one = admission(accept.card.device(), Role::Read.min(terms.role), terms.history);
                    self.admit_invited(&invite, Admission { via: Some(via), pending: Some(id), ..one });
                }
            }
            Op::Decide(decide) => {
                self.invites.entry(decide.invite).or_default().decided.push(no);
                // However often it was accepted: each invitation once, in the order that everybody has.
                let mut meant: BTreeMap<OpNo, Invite> = BTreeMap::new();
                for accept in self.accepted(no, &decide.invite, &decide.device) {
                    let Some((_, Op::Accept(accepted))) = self.op(accept) else { continue };
                    meant.extend(self.invitations(accept, &decide.invite, &accepted.card));
                }
                let made = self.invites.get(&decide.invite).map_or(Vec::new(), |about| about.made.clone());
                for (via, invite) in made.iter().filter_map(|no| meant.remove_entry(no)) {
                    let (device, terms) = (decide.device, invite.terms);
                    match (invite.member, decide.admit) {
                        (_, true) => {
                            let role = if invite.member.is_some() { Role::Admin } else { terms.role };
                            let one = admission(device, role, terms.history);
                            self.admit_invited(&invite, Admission { via: Some(via), ..one });
                        }
                        (None, false) => self.members.entry(MemberId(device)).or_default().ends.push(no),
                        (Some(_), false) => self.devices.entry(device).or_default().ends.push(no),
                    }
                }
            }
            Op::Leave(_) => {
                for member in self.members_of(no, &author) {
                    self.members.entry(member).or_default().ends.push(no);
                }
            }
            Op::Epoch(_)
            | Op::Share(_)
            | Op::Complain(_)
            | Op::Vouch(_)
            | Op::Name(_)
            | Op::Merge
            | Op::Dormant(_)
            | Op::Back
            | Op::Unknown(_) => {}
        }
    }

    /// Whether the op's author had made an invitation of this key before.
    fn has_invited(&self, op: OpNo, author: &ReplicaId, invite: &ReplicaId) -> bool {
        let made = self.invites.get(invite).map_or(&[][..], |about| &about.made);
        let by_author = |no: &&OpNo| self.op(**no).is_some_and(|(held, _)| held.author == *author);
        made.iter().filter(by_author).any(|no| self.sees(op, *no))
    }

    /// The invitations of this key that fit a card, as the op's author had seen. Whether one counts is another matter. Of each
    /// inviter the first in the order that everybody has: an honest one makes one, and every other would cost an admission for
    /// each time that it is accepted.
    fn invitations(&self, op: OpNo, invite: &ReplicaId, card: &Card) -> Vec<(OpNo, Invite)> {
        let made = self.invites.get(invite).map_or(&[][..], |about| &about.made);
        let mut inviters = BTreeSet::new();
        let seen = made.iter().filter(|made| self.sees(op, **made));
        let fitting = seen.filter_map(|made| match self.op(*made) {
            Some((held, Op::Invite(invite))) if invite.fits(card) && inviters.insert(held.author) => {
                Some((*made, (**invite).clone()))
            }
            _ => None,
        });
        fitting.collect()
    }

    /// The acceptances of an invitation by this device that the op's author had seen.
    fn accepted(&self, op: OpNo, invite: &ReplicaId, device: &ReplicaId) -> Vec<OpNo> {
        let accepted = self.invites.get(invite).map_or(&[][..], |about| &about.accepted);
        let by_device = |no: &&OpNo| match self.op(**no) {
            Some((_, Op::Accept(accept))) => accept.card.device() == *device,
            _ => false,
        };
        accepted.iter().filter(by_device).filter(|no| self.sees(op, **no)).copied().collect()
    }

    fn admit_invited(&mut self, invite: &Invite, admission: Admission) {
        match invite.member {
            None => self.admit(MemberId(admission.device), admission),
            Some(member) => self.admit_device(member, admission),
        }
    }

    /// The members whose device this is, as the op's author had seen.
    fn members_of(&self, op: OpNo, device: &ReplicaId) -> Vec<MemberId> {
        let of = |member: &&MemberId| {
            let first = self.members.get(*member).map_or(&[][..], |about| &about.admissions);
            let first = first.iter().filter(|admission| admission.device == *device);
            let more = self.devices.get(device).map_or(&[][..], |about| &about.admissions);
            let more = more.iter().filter(|(of, _)| of == *member).map(|(_, admission)| admission);
            first.chain(more).any(|admission| self.sees(op, admission.op))
        };
        self.devices.get(device).map_or_else(Vec::new, |about| about.members.iter().filter(of).copied().collect())
    }

    fn number(&mut self, key: ReplicaId) {
        let next = self.keys.len();
        self.keys.entry(key).or_insert(next);
    }

    fn admit(&mut self, member: MemberId, admission: Admission) {
        self.number(admission.device);
        let about = self.members.entry(member).or_default();
        about.admissions.push(admission);
        about.devices.insert(admission.device);
        self.devices.entry(admission.device).or_default().members.insert(member);
    }

    fn admit_device(&mut self, member: MemberId, admission: Admission) {
        self.number(admission.device);
        self.members.entry(member).or_default().devices.insert(admission.device);
        let about = self.devices.entry(admission.device).or_default();
        about.members.insert(member);
        about.admissions.push((member, admission));
    }
}

/// Only an admin can invite new members, so its word goes before that of whoever invites a further device of its own.
fn rank(op: &Op) -> bool {
    matches!(op, Op::Invite(invite) if invite.member.is_some())
}

/// How far the logs of a device count by the op that took its right away: `None` when the op says nothing about it.
pub(crate) fn caps_of<'a>(held: &Held, op: &'a Op, device: &ReplicaId) -> Option<&'a [partita_core::SignedTip]> {
    let of = |caps: &'a Caps| {
        let at = caps.binary_search_by_key(device, |(device, _)| *device).ok();
        at.and_then(|at| caps.get(at)).map_or(&[][..], |(_, tips)| tips)
    };
    held.number?;
    match op {
        Op::Remove(remove) => Some(of(&remove.caps)),
        Op::SetRole(set) => Some(of(&set.caps)),
        Op::Leave(caps) => Some(of(caps)),
        Op::RemoveDevice(remove) if remove.device == *device => Some(remove.caps.as_slice()),
        _ => None,
    }
}
