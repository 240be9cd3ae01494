//! What a set of control entries amounts to: who is in the group, who reads, what loses its effect.

use std::collections::{BTreeMap, BTreeSet};

use partita_core::{EntryId, Loss, ReplicaId, Tip};
use partita_crypto::BoxPublicKey;

use crate::{
    bits::Bits,
    invite::{Invite, Uses},
    ledger::{Admission, Ledger, OpNo, caps_of},
    op::{Op, Scope},
    resolve::{MAX_DEVICES, Point, Resolution, Resolver, Tri},
    role::{History, MemberId, Role},
};

/// How a member is in the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Membership {
    /// With its whole role.
    Active,
    /// By an invitation, with the right to read, until an admin has confirmed it.
    Pending,
    /// Two devices used one single-use invitation: neither has any right until an admin decides.
    Suspended,
}

/// A member as the control entries have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// What it may do now: a suspended one nothing.
    pub(crate) role: Option<Role>,
    pub(crate) history: History,
    pub(crate) membership: Membership,
    /// The membership entries by which it was admitted, by number.
    pub(crate) since: Bits,
    /// The invitation that it used and that nobody confirmed.
    pub(crate) invite: Option<ReplicaId>,
    /// Its devices with what each may do, by rising id.
    pub(crate) devices: BTreeMap<ReplicaId, Option<Role>>,
    /// Those of them beyond as many as a member may have: they were added at the same time, and get no keys.
    pub(crate) crowd: BTreeSet<ReplicaId>,
}

/// Everything that a resolution says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) members: BTreeMap<MemberId, Member>,
    /// The role of each device of a member that has one.
    pub(crate) devices: BTreeMap<ReplicaId, (MemberId, Role)>,
    /// Invitations that can be used.
    pub(crate) invites: BTreeMap<ReplicaId, Invite>,
    /// What each device lost of the right to write data.
    pub(crate) losses: BTreeMap<ReplicaId, Vec<Loss>>,
    /// The membership entries that an epoch must know to be written under: every loss of reading.
    pub(crate) to_cover: Bits,
    /// The admissions of those who may not read what was before: what is written now, for everybody, is written in knowledge
    /// of these, too.
    pub(crate) newcomers: Bits,
    /// Devices that left of their own accord.
    pub(crate) left: BTreeSet<ReplicaId>,
    /// Devices that were taken out, whether or not they came back.
    pub(crate) removed: BTreeSet<ReplicaId>,
    /// The devices of those who may read.
    pub(crate) readers: BTreeMap<ReplicaId, Reader>,
    /// Whether somebody is in the group by an invitation that nobody has confirmed.
    unsettled: bool,
}

/// A device that is boxed epoch secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reader {
    pub(crate) key: BoxPublicKey,
    /// Its number in the ledger.
    pub(crate) number: usize,
    pub(crate) member: MemberId,
    pub(crate) history: History,
}

impl<'a> Resolver<'a> {
    fn has_pending_device(&self, member: &MemberId) -> bool {
        let devices = self.ledger.members.get(member).into_iter().flat_map(|about| &about.devices);
        let mut further =
            devices.filter_map(|device| self.ledger.devices.get(device)).flat_map(|about| &about.admissions);
        further.any(|(of, one)| of == member && one.pending.is_some())
    }

    /// How somebody is in the group by an invitation that nobody confirmed; `None` when that is void.
    fn pending(&self, invite: &ReplicaId, admission: &Admission) -> Option<Membership> {
        let about = self.ledger.invites.get(invite)?;
        let yes = |no: &&OpNo| self.sees(Point::All, **no) && self.yes(**no);
        let Some((made, Op::Invite(invite))) = self.ledger.op(admission.via?) else {
            return None;
        };
        // Whoever lost the right to invite confirms nobody, and so nobody is in by its word alone.
        let needed = if invite.member.is_some() { Role::Relay } else { Role::Admin };
        if self.role_of(Point::All, &made.author) < Some(needed) {
            return None;
        }
        // An end that the acceptance had not seen is concurrent with it, or the acceptance would not count; one that had seen
        // the acceptance ends the invitation alone.
        if about.revoked.iter().filter(yes).any(|end| !self.ledger.sees(*end, admission.op)) {
            return None;
        }
        let refused = |no: &&OpNo| matches!(self.ledger.op(**no), Some((_, Op::Decide(decide))) if !decide.admit);
        let refusals: Vec<ReplicaId> = about
            .decided
            .iter()
            .filter(yes)
            .filter(refused)
            .filter_map(|no| match self.ledger.op(*no) {
                Some((_, Op::Decide(decide))) => Some(decide.device),
                _ => None,
            })
            .collect();
        let rivals = about.accepted.iter().filter(yes).filter(|no| match self.ledger.op(**no) {
            Some((_, Op::Accept(accept))) => !refusals.contains(&accept.card.device()),
            _ => false,
        });
        let contested = invite.terms.uses == Uses::Once && rivals.count() > 1;
        Some(if contested { Membership::Suspended } else { Membership::Pending })
    }

    fn member(&self, id: &MemberId) -> Option<Member> {
        let mut role = self.role_of_member(Point::All, id)?;
        let (mut since, mut history, mut confirmed, mut pending) = (Bits::default(), History::All, false, Vec::new());
        for admission in self.admissions(Point::All, id) {
            if let Some(place) = self.ledger.ops.get(admission.op) {
                since.set(place.number);
            }
            history = history.max(admission.history);
            confirmed |= admission.pending.is_none();
            pending.extend(admission.pending.map(|invite| (invite, admission)));
        }
        let (membership, invite) = if confirmed || pending.is_empty() {
            (Membership::Active, None)
        } else {
            // Of several acceptances the one by which it may do most, and of those one that is the same for all.
            let ways = pending.iter().filter_map(|(invite, admission)| {
                let (held, _) = self.ledger.op(admission.op)?;
                Some((self.pending(invite, admission)?, held.depth, held.id, *invite))
            });
            let (membership, _, _, invite) = ways.min()?;
            (membership, Some(invite))
        };
        if membership == Membership::Pending {
            role = role.min(Role::Read);
        }
        let role = Some(role).filter(|_| membership != Membership::Suspended);
        let about = self.ledger.members.get(id)?;
        let mut devices = BTreeMap::new();
        for device in &about.devices {
            if self.is_of(Point::All, device, id) {
                let own = self.device_role(device, id).min(role);
                devices.insert(*device, own);
            }
        }
        let crowd = self.crowd(id, &devices);
        Some(Member { role, history, membership, since, invite, devices, crowd })
    }

    /// Of more devices than a member may have: those that came last, by an order that everybody has.
    fn crowd(&self, member: &MemberId, devices: &BTreeMap<ReplicaId, Option<Role>>) -> BTreeSet<ReplicaId> {
        if devices.len() <= MAX_DEVICES + 1 {
            return BTreeSet::new(); // as nearly always
        }
        let came = |device: &ReplicaId| {
            let about = self.ledger.devices.get(device).filter(|_| *device != member.0)?;
            let stands = |one: &Admission| self.further_stands(about, member, one);
            let standing = about.admissions.iter().filter(|(of, one)| of == member && stands(one));
            standing.filter_map(|(_, one)| self.ledger.op(one.op)).map(|(held, _)| (held.depth, held.id)).min()
        };
        let mut all: Vec<_> = devices.keys().map(|device| (came(device), *device)).collect();
        all.sort_unstable(); // the first device, which came with the member, before all others
        all.into_iter().skip(MAX_DEVICES + 1).map(|(_, device)| device).collect()
    }

    /// What a device may do as one of this member's: less than the member, while it joined by an invitation that nobody
    /// confirmed.
    fn device_role(&self, device: &ReplicaId, member: &MemberId) -> Option<Role> {
        let about = self.ledger.devices.get(device)?;
        let whole = self.role_of_member(Point::All, member);
        let first = self.admissions(Point::All, member).any(|admission| admission.device == *device);
        let further = about.admissions.iter().filter(|(of, _)| of == member).map(|(_, admission)| admission);
        let further = further.filter(|one| self.further_stands(about, member, one));
        let mut limit = first.then_some(Role::Admin);
        for admission in further {
            let allowed = match admission.pending {
                None => Some(Role::Admin),
                Some(invite) => match self.pending(&invite, admission) {
                    Some(Membership::Pending) => Some(Role::Read),
                    _ => None,
                },
            };
            limit = limit.max(allowed);
        }
        limit.and_then(|limit| whole.map(|role| role.min(limit)))
    }

    fn open_invites(&self) -> BTreeMap<ReplicaId, Invite> {
        let mut open = BTreeMap::new();
        let mut links: BTreeMap<MemberId, Vec<(u64, EntryId, ReplicaId)>> = BTreeMap::new();
        for (id, about) in &self.ledger.invites {
            let yes = |no: &&OpNo| self.sees(Point::All, **no) && self.yes(**no);
            let Some((held, invite)) = about.made.iter().filter(yes).find_map(|no| match self.ledger.op(*no) {
                Some((held, Op::Invite(invite))) => Some((held, invite)),
                _ => None,
            }) else {
                continue;
            };
            let needed = if invite.member.is_some() { Role::Relay } else { Role::Admin };
            let spent = invite.terms.uses == Uses::Once && about.accepted.iter().any(|no| yes(&no));
            let ended = about.revoked.iter().any(|no| yes(&no));
            if !spent && !ended && self.role_of(Point::All, &held.author) >= Some(needed) {
                open.insert(*id, (**invite).clone());
                if let Some(member) = invite.member {
                    links.entry(member).or_default().push((held.depth, held.id, *id));
                }
            }
        }
        // Every epoch has a box for each, and whoever reads makes them for itself: of more than a member may have devices the first
        // are open, by an order that everybody has.
        for links in links.values_mut() {
            links.sort_unstable();
            for (_, _, id) in links.iter().skip(MAX_DEVICES) {
                open.remove(id);
            }
        }
        open
    }

    pub(crate) fn losses_of(&self, device: &ReplicaId) -> Vec<Loss> {
        let Some(about) = self.ledger.devices.get(device) else {
            return Vec::new();
        };
        let mut losses = Vec::new();
        let entry = |no: OpNo| self.ledger.op(no).map(|(held, _)| held.id);
        let memberships = self.memberships(Point::All, device);
        let of = || memberships.iter().filter_map(|(member, _)| self.ledger.members.get(member));
        // The ops that let the member write, and those that make the device the member's.
        let mut writes: Vec<OpNo> = Vec::new();
        for member in of() {
            writes.extend(member.admissions.iter().filter(|one| one.role.writes()).map(|one| one.op));
            writes.extend(member.roles.iter().filter(|(_, role)| role.writes()).map(|(no, _)| *no));
        }
        let first = of().flat_map(|member| &member.admissions).filter(|one| one.device == *device);
        let belongs: Vec<OpNo> = first.chain(about.admissions.iter().map(|(_, one)| one)).map(|one| one.op).collect();
        let counting = |grants: &[OpNo], after: Option<OpNo>| {
            let counts = grants.iter().filter(|no| self.sees(Point::All, **no) && self.yes(**no));
            let knowing = counts.filter(|no| after.is_none_or(|loss| self.ledger.sees(**no, loss)));
            let mut entries: Vec<EntryId> = knowing.filter_map(|no| entry(*no)).collect();
            entries.sort_unstable();
            entries.dedup();
            entries
        };
        let demotions = of().flat_map(|member| &member.roles).filter(|(_, role)| !role.writes());
        let demotions = demotions.map(|(no, _)| (*no, &writes));
        let ends = self.member_ends(&memberships).map(|no| (no, &writes));
        let own_ends = about.ends.iter().map(|no| (*no, &belongs));
        let all = demotions.chain(ends).chain(own_ends);
        for (no, grants) in all.filter(|(no, _)| self.sees(Point::All, *no) && self.yes(*no)) {
            if let Some((held, op)) = self.ledger.op(no)
                && let Some(tips) = caps_of(held, op, device)
            {
                let mut tips: Vec<Tip> = tips.iter().map(|listed| listed.tip).collect();
                if held.author == *device && matches!(op, Op::Leave(_)) {
                    // A departure cannot name itself: its own log counts up to it.
                    tips.retain(|tip| tip.log != held.log);
                    tips.push(Tip { log: held.log, seq: held.seq, head: held.id });
                    tips.sort_unstable();
                }
                // Whoever begins a log in knowledge of a right that was given anew is judged by that.
                losses.push(Loss { tips, lifted_by: counting(grants, Some(no)) });
            }
        }
        // Whoever wrote by a right that turned out to be void has lost it from the beginning; logs that it began by one
        // that holds are another matter.
        let all_writes = about.members.iter().filter_map(|member| self.ledger.members.get(member)).flat_map(|member| {
            let roles = member.roles.iter().filter(|(_, role)| role.writes()).map(|(no, _)| *no);
            member.admissions.iter().filter(|one| one.role.writes()).map(|one| one.op).chain(roles)
        });
        let all_first = about.members.iter().filter_map(|member| self.ledger.members.get(member));
        let all_first = all_first.flat_map(|member| &member.admissions).filter(|one| one.device == *device);
        let all_belongs = all_first.chain(about.admissions.iter().map(|(_, one)| one)).map(|one| one.op);
        for grants in [all_writes.collect::<Vec<OpNo>>(), all_belongs.collect()] {
            if grants.iter().any(|no| self.sees(Point::All, *no) && !self.yes(*no)) {
                losses.push(Loss { tips: Vec::new(), lifted_by: counting(&grants, None) });
            }
        }
        losses.sort_unstable();
        losses.dedup();
        losses
    }

    /// The entries that take reading away.
    fn losses_to_cover(&self) -> Bits {
        let counting = self.ledger.ops.iter().enumerate().filter(|(no, _)| self.yes(*no));
        let lost = counting.filter(|(no, _)| self.ledger.op(*no).is_some_and(|(_, op)| is_to_cover(op)));
        lost.map(|(_, place)| place.number).collect()
    }

    /// The box key of a device: of its latest card or its latest word.
    pub(crate) fn box_key(&self, device: &ReplicaId) -> Option<BoxPublicKey> {
        let about = self.ledger.devices.get(device)?;
        let members = about.members.iter().filter_map(|member| self.ledger.members.get(member));
        let first = members.flat_map(|member| &member.admissions).filter(|one| one.device == *device);
        let admissions = first.chain(about.admissions.iter().map(|(_, one)| one)).map(|one| one.op);
        let all = admissions.chain(about.keys.iter().copied()).filter(|no| self.sees(Point::All, *no) && self.yes(*no));
        let keys = all.filter_map(|no| {
            let (held, op) = self.ledger.op(no)?;
            let key = match op {
                Op::Create(genesis) => genesis.founders.iter().find(|card| card.device() == *device)?.box_key(),
                Op::Add(add) => add.card.box_key(),
                Op::AddDevice(card) => card.box_key(),
                Op::Accept(accept) => accept.card.box_key(),
                Op::DeviceKey(key) => *key,
                _ => return None,
            };
            Some(((held.depth, held.id), key))
        });
        keys.max_by_key(|(place, _)| *place).map(|(_, key)| key)
    }
}

/// Whether an op takes reading away from somebody, so that an epoch must know it to be written under.
fn is_to_cover(op: &Op) -> bool {
    match op {
        Op::Remove(_) | Op::RemoveDevice(_) | Op::Leave(_) | Op::RevokeInvite(_) => true,
        // Whoever is no admin any more has let nobody in: what such people were boxed is closed.
        Op::SetRole(set) => set.role < Role::Admin,
        Op::Decide(decide) => !decide.admit,
        // The keys waited boxed to the link, so a leaked link reads until an epoch knows that it was used.
        Op::Accept(_) => true,
        _ => false,
    }
}

impl View {
    pub(crate) fn of(ledger: &Ledger, resolution: &Resolution) -> Self {
        let all = Resolver { ledger, resolution };
        let mut view = Self {
            members: BTreeMap::new(),
            devices: BTreeMap::new(),
            invites: BTreeMap::new(),
            losses: BTreeMap::new(),
            to_cover: all.losses_to_cover(),
            newcomers: Bits::default(),
            left: BTreeSet::new(),
            removed: BTreeSet::new(),
            readers: BTreeMap::new(),
            unsettled: false,
        };
        // By rising id: a device that signed itself over to two members is the one's with the lower id. Any rule will do.
        for id in ledger.members.keys() {
            view.look_at_member(&all, id);
        }
        for device in ledger.devices.keys() {
            view.look_at_device(&all, device);
        }
        view.invites = all.open_invites();
        view
    }

    /// The same with one more entry, which a resolution was continued with. `None` where more than those whom it names can
    /// be concerned.
    pub(crate) fn with(mut self, ledger: &Ledger, resolution: &Resolution, at: usize) -> Option<Self> {
        let all = Resolver { ledger, resolution };
        let held = ledger.entry(at)?;
        // An invitation can come back with whoever made it.
        if self.unsettled || !self.invites.is_empty() || !ledger.invites.is_empty() {
            return None;
        }
        let (mut members, mut devices) = (BTreeSet::new(), BTreeSet::new());
        for op in held.ops().iter().filter(|op| op.is_membership()) {
            match op {
                Op::Add(add) => drop(members.insert(add.card.member())),
                Op::AddDevice(card) => drop(members.insert(card.member())),
                Op::Remove(remove) => drop(members.insert(remove.member)),
                Op::SetRole(set) => drop(members.insert(set.member)),
                Op::RemoveDevice(remove) => drop(devices.insert(remove.device)),
                Op::DeviceKey(_) => drop(devices.insert(held.author)),
                _ => return None,
            }
        }
        members.extend(devices.iter().filter_map(|device| ledger.devices.get(device)).flat_map(|about| &about.members));
        for member in &members {
            let about = ledger.members.get(member)?;
            devices.extend(&about.devices);
            let is_from_now = |one: &Member| one.history != History::All;
            if self.members.get(member).is_some_and(is_from_now) {
                return None;
            }
            self.members.remove(member);
        }
        for device in &devices {
            if ledger.devices.get(device).is_none_or(|about| about.members.len() > 1) {
                return None;
            }
            self.devices.remove(device);
        }
        for member in &members {
            self.look_at_member(&all, member);
            if self.members.get(member).is_some_and(|one| one.history != History::All) {
                return None;
            }
        }
        for device in &devices {
            self.look_at_device(&all, device);
        }
        let ops = ledger.ops.iter().enumerate().rev().take_while(|(_, place)| Some(place.number) == held.number);
        for (_, place) in ops.filter(|(no, _)| all.yes(*no)) {
            if held.ops().get(place.index).is_some_and(is_to_cover) {
                self.to_cover.set(place.number);
            }
        }
        Some(self)
    }

    fn look_at_member(&mut self, all: &Resolver<'_>, id: &MemberId) {
        let Some(member) = all.member(id) else {
            return;
        };
        for (device, role) in &member.devices {
            match role {
                Some(role) => drop(self.devices.entry(*device).or_insert((*id, *role))),
                None => self.unsettled = true,
            }
        }
        self.unsettled |= member.membership != Membership::Active || all.has_pending_device(id);
        if member.history == History::FromNow {
            self.newcomers.add(&member.since);
        }
        self.members.insert(*id, member);
    }

    /// What follows for a device once its members were looked at.
    fn look_at_device(&mut self, all: &Resolver<'_>, device: &ReplicaId) {
        self.losses.remove(device);
        self.left.remove(device);
        self.removed.remove(device);
        self.readers.remove(device);
        let found = all.losses_of(device);
        if !found.is_empty() {
            self.losses.insert(*device, found);
        }
        match all.ended(device) {
            Some(true) => drop(self.left.insert(*device)),
            Some(false) => drop(self.removed.insert(*device)),
            None => {}
        }
        let Some((member, _)) = self.devices.get(device).filter(|(_, role)| role.reads()) else {
            return;
        };
        let member = *member;
        let about = self.members.get(&member).filter(|member| !member.crowd.contains(device));
        let history = about.map(|member| member.history);
        if let (Some(history), Some(key), Some(number)) = (history, all.box_key(device), all.ledger.keys.get(device)) {
            self.readers.insert(*device, Reader { key, number: *number, member, history });
        }
    }

    /// What a device may do now.
    pub(crate) fn role(&self, device: &ReplicaId) -> Option<Role> {
        self.devices.get(device).map(|(_, role)| *role)
    }

    /// Whether a device was in the group and is no more.
    pub(crate) fn was_removed(&self, device: &ReplicaId) -> bool {
        (self.removed.contains(device) || self.left.contains(device)) && !self.devices.contains_key(device)
    }

    /// Whether a device is in the group without any right, until an admin decides.
    pub(crate) fn is_suspended(&self, device: &ReplicaId) -> bool {
        let listed = self.members.values().any(|member| member.devices.contains_key(device));
        listed && !self.devices.contains_key(device)
    }

    /// Who gets an epoch's secret, by rising id: devices, and the invitations that are open.
    pub(crate) fn recipients(&self, scope: &Scope) -> Vec<(ReplicaId, BoxPublicKey)> {
        let may = |reader: &Reader| scope.is_for(&reader.member, reader.history);
        let readers = self.readers.iter().filter(|(_, reader)| may(reader)).map(|(id, reader)| (*id, reader.key));
        let invites = self.invites.iter().filter(|(_, invite)| self.is_boxed_to(invite));
        let mut recipients: Vec<(ReplicaId, BoxPublicKey)> = readers.collect();
        recipients.extend(invites.map(|(id, invite)| (*id, invite.boxes)));
        recipients.sort_unstable_by_key(|(id, _)| *id);
        recipients
    }

    /// Whether keys wait boxed to an invitation: for whoever may read all history.
    pub(crate) fn is_boxed_to(&self, invite: &Invite) -> bool {
        let of = |member: MemberId| {
            let member = self.members.get(&member);
            member.is_some_and(|member| member.history == History::All && member.role.is_some_and(Role::reads))
        };
        invite.terms.role.reads() && invite.terms.history == History::All && invite.member.is_none_or(of)
    }
}

impl Resolver<'_> {
    /// What ends the time of these members, whether or not it counts; who shows another's card ends nothing of that one's.
    fn member_ends<'m>(&'m self, memberships: &'m [(MemberId, Tri)]) -> impl Iterator<Item = OpNo> + 'm {
        memberships.iter().flat_map(|(member, _)| {
            let ends = self.ledger.members.get(member).map_or(&[][..], |about| &about.ends);
            ends.iter().filter(|end| self.concerns(**end, member) == Tri::Yes).copied()
        })
    }

    /// Whether something ended a device's time in the group, and then whether its member left by itself.
    fn ended(&self, device: &ReplicaId) -> Option<bool> {
        let about = self.ledger.devices.get(device)?;
        let memberships = self.memberships(Point::All, device);
        let ends = self.member_ends(&memberships);
        let all = ends.chain(about.ends.iter().copied());
        let mut counting = all.filter(|no| self.sees(Point::All, *no) && self.yes(*no)).peekable();
        counting.peek()?;
        Some(counting.all(|no| matches!(self.ledger.op(no), Some((_, Op::Leave(_))))))
    }
}
