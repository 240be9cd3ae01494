//! Which ops count: a pure function of a set of control entries that holds the ancestors of each.
//!
//! The order in which entries came plays no part, so replicas that hold the same ones agree. An op counts if its author had
//! the right by what it had seen, as far as *that* counts, and is not cut off by a loss that it had not seen.
//!
//! Losses (removals, demotions, departures) can contradict each other: each of two admins removes the other. So whether an
//! op counts has three answers, and they are found in rounds. What rests on nothing undecided is decided; where only losses
//! in a ring are left, the ring's most senior author is right, the losses that aim at that author have no effect, and the
//! rounds go on. Seniority: the founders in their order, then by who added (the adder's seniority), then the order
//! of the adder's additions. No clock and no hash decides, for both can be chosen by whoever wants to win.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use partita_core::{EntryId, LogId, ReplicaId};

use crate::{
    bits::Bits,
    ledger::{Admission, Held, Ledger, OpNo, caps_of},
    op::{Add, Op, Remove, SetRole},
    role::{MemberId, Role},
};

/// The most devices of a member: every epoch has a box for each of them.
const MAX_DEVICES: usize = 64;

/// Whether something holds, while not everything is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tri {
    No,
    Open,
    Yes,
}

impl Tri {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Open,
        }
    }

    fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }

    fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Open => Self::Open,
            Self::Yes => Self::No,
        }
    }
}

impl From<bool> for Tri {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// The least and the most that a role can turn out to be; `None` is no member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    least: Option<Role>,
    most: Option<Role>,
}

impl Span {
    const NONE: Self = Self { least: None, most: None };

    fn at_least(self, role: Role) -> Tri {
        match (self.least >= Some(role), self.most >= Some(role)) {
            (true, _) => Tri::Yes,
            (_, false) => Tri::No,
            _ => Tri::Open,
        }
    }

    /// The same, if something else holds too.
    fn if_so(self, holds: Tri) -> Self {
        match holds {
            Tri::Yes => self,
            Tri::No => Self::NONE,
            Tri::Open => Self { least: None, most: self.most },
        }
    }

    fn up_to(self, limit: Role) -> Self {
        Self { least: self.least.map(|role| role.min(limit)), most: self.most.map(|role| role.min(limit)) }
    }

    fn or(self, other: Self) -> Self {
        Self { least: self.least.max(other.least), most: self.most.max(other.most) }
    }
}

/// From where the group is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Point<'a> {
    /// By the author of an entry, when it wrote the op with this index.
    Of(&'a Held, usize),
    /// With everything in the set.
    All,
}

/// What undecided ops a decision rests on.
#[derive(Debug, Default)]
struct Trail {
    /// It cannot count if these do.
    attacks: Vec<OpNo>,
    /// It cannot count unless these do.
    supports: Vec<OpNo>,
}

/// Which ops of a set count.
#[derive(Debug, Clone)]
pub(crate) struct Resolution {
    pub(crate) set: Bits,
    counts: Vec<Tri>,
    /// Whether something was decided between ops that contradict each other: one more op can change all of that.
    contested: bool,
}

/// Resolves the membership entries in `set`, which holds the ancestors of each.
pub(crate) fn resolve(ledger: &Ledger, set: Bits) -> Resolution {
    let mut void: Vec<OpNo> = Vec::new();
    loop {
        let mut resolution = resolve_without(ledger, set.clone(), &void);
        // Nobody may leave a group without an admin. Several may, each counting on the others: then the most senior stays.
        let Some(stays) = Resolver { ledger, resolution: &resolution }.last_to_leave() else {
            resolution.contested |= !void.is_empty();
            return resolution;
        };
        void.push(stays);
    }
}

fn resolve_without(ledger: &Ledger, set: Bits, void: &[OpNo]) -> Resolution {
    let within = |no: &OpNo| ledger.ops.get(*no).is_some_and(|place| set.has(place.number));
    let ops: Vec<OpNo> = (0..ledger.ops.len()).filter(within).collect();
    let mut resolution = Resolution { counts: vec![Tri::No; ledger.ops.len()], set, contested: false };
    for no in &ops {
        resolution.settle(*no, Tri::Open);
    }
    for no in void {
        resolution.settle(*no, Tri::No);
    }
    let mut open = ops;
    loop {
        let before = open.len();
        open.retain(|no| {
            if resolution.counts(*no) != Tri::Open {
                return false;
            }
            let now = Resolver { ledger, resolution: &resolution }.judge(*no, &mut None);
            resolution.settle(*no, now);
            now == Tri::Open
        });
        if open.is_empty() {
            return resolution;
        }
        if open.len() < before {
            continue;
        }
        resolution.contested = true;
        let broken = Resolver { ledger, resolution: &resolution }.break_rings(&open);
        for (right, wrong) in broken {
            resolution.settle(right, Tri::Yes);
            for no in wrong {
                resolution.settle(no, Tri::No);
            }
        }
    }
}

/// The same with one more entry, where that changes nothing of what counted before: it has seen everything, and takes
/// nothing away from what was done. `None` where it may; then everything is resolved anew. A group of a thousand is not
/// gone through for every step that somebody takes.
pub(crate) fn resolve_on(ledger: &Ledger, before: &Resolution, at: usize) -> Option<Resolution> {
    let held = ledger.entry(at).filter(|held| *held.before == before.set && !before.contested)?;
    let number = held.number?;
    let mut resolution = Resolution { set: (*held.seen).clone(), counts: before.counts.clone(), contested: false };
    resolution.counts.resize(ledger.ops.len(), Tri::No);
    let mut takes = false;
    for place in ledger.ops.iter().rev().take_while(|place| place.number == number) {
        let op = held.ops().get(place.index)?;
        let devices: Vec<ReplicaId> = match op {
            Op::DeviceKey(_) => continue,
            Op::Add(Add { card, .. }) | Op::AddDevice(card) => {
                if ledger.devices.get(&card.device())?.members.len() > 1 {
                    return None; // what it did as another's may look different now
                }
                continue;
            }
            Op::Remove(Remove { member, .. }) | Op::SetRole(SetRole { member, .. }) => {
                ledger.members.get(member)?.devices.iter().copied().collect()
            }
            Op::RemoveDevice(remove) => vec![remove.device],
            _ => return None,
        };
        takes = true;
        let by_them = ledger.ops.iter().filter_map(|place| ledger.entry(place.entry));
        let mut by_them = by_them.filter(|old| old.number != Some(number) && devices.contains(&old.author));
        if by_them.any(|old| is_beyond(held, op, &old.author, (old.log, old.seq, old.id))) {
            return None;
        }
    }
    for (no, _) in ledger.ops.iter().enumerate().filter(|(_, place)| place.number == number) {
        let judged = Resolver { ledger, resolution: &resolution }.judge(no, &mut None);
        resolution.settle(no, judged);
    }
    let all = Resolver { ledger, resolution: &resolution };
    let author = ledger.devices.get(&held.author).into_iter().flat_map(|about| &about.members);
    let mut acting = author.filter(|member| all.acts_as_admin(Point::All, member) == Tri::Yes);
    (!takes || acting.next().is_some()).then_some(resolution)
}

impl Resolution {
    pub(crate) fn counts(&self, no: OpNo) -> Tri {
        self.counts.get(no).copied().unwrap_or(Tri::No)
    }

    fn settle(&mut self, no: OpNo, counts: Tri) {
        if let Some(place) = self.counts.get_mut(no) {
            *place = counts;
        }
    }
}

/// A ledger, seen through what counts of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resolver<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) resolution: &'a Resolution,
}

type Notes<'n> = Option<&'n mut Trail>;

impl<'a> Resolver<'a> {
    pub(crate) fn yes(&self, no: OpNo) -> bool {
        self.resolution.counts(no) == Tri::Yes
    }

    /// Whether an op is in the set and seen from this point.
    pub(crate) fn sees(&self, point: Point<'_>, no: OpNo) -> bool {
        let Some(place) = self.ledger.ops.get(no) else {
            return false;
        };
        self.resolution.set.has(place.number)
            && match point {
                Point::All => true,
                Point::Of(held, index) if held.number == Some(place.number) => place.index < index,
                Point::Of(held, _) => held.before.has(place.number),
            }
    }

    /// Whether an op that takes something away counts.
    fn attack(&self, no: OpNo, notes: &mut Notes<'_>) -> Tri {
        let counts = self.resolution.counts(no);
        if counts == Tri::Open
            && let Some(trail) = notes
        {
            trail.attacks.push(no);
        }
        counts
    }

    /// Whether an op that gives something counts.
    fn support(&self, no: OpNo, notes: &mut Notes<'_>) -> Tri {
        let counts = self.resolution.counts(no);
        if counts == Tri::Open
            && let Some(trail) = notes
        {
            trail.supports.push(no);
        }
        counts
    }

    /// Whether an admission stands: it counts, and no end that counts came without its having been known. So a removal beats
    /// an addition that it was concurrent with, and whoever was removed is a member again by an addition that knew.
    fn stands(
        &self,
        point: Point<'_>,
        of: Option<&MemberId>,
        admission: &Admission,
        ends: &[OpNo],
        notes: &mut Notes<'_>,
    ) -> Tri {
        if !self.sees(point, admission.op) {
            return Tri::No;
        }
        let mut stands = self.support(admission.op, notes);
        if let Some(via) = admission.via {
            stands = stands.and(self.support(via, notes));
        }
        for end in ends {
            if stands == Tri::No {
                break;
            }
            if *end == admission.op || !self.sees(point, *end) || self.ledger.sees(admission.op, *end) {
                continue;
            }
            if self.resolution.counts(*end) == Tri::No {
                continue;
            }
            let concerns = match self.ledger.op(*end) {
                Some((_, Op::Decide(_))) => Tri::from(self.is_by_invitation(admission)),
                _ => of.map_or(Tri::Yes, |member| self.concerns(*end, member)),
            };
            if concerns != Tri::No {
                stands = stands.and(self.attack(*end, notes).and(concerns).not());
            }
        }
        stands
    }

    /// Whether an admission stands, once everything is decided.
    pub(crate) fn stands_now(&self, of: Option<&MemberId>, admission: &Admission, ends: &[OpNo]) -> bool {
        self.stands(Point::All, of, admission, ends, &mut None) == Tri::Yes
    }

    fn is_by_invitation(&self, admission: &Admission) -> bool {
        admission.pending.is_some() || matches!(self.ledger.op(admission.op), Some((_, Op::Decide(_))))
    }

    /// Whether an end of a member's time is one: somebody leaves with its own member alone, whatever cards it shows.
    pub(crate) fn concerns(&self, end: OpNo, member: &MemberId) -> Tri {
        let Some((held, Op::Leave(_))) = self.ledger.op(end) else {
            return Tri::Yes;
        };
        let index = self.ledger.ops.get(end).map_or(0, |place| place.index);
        let settled = self.memberships_by(Point::Of(held, index), &held.author, |one| {
            one.pending.is_none() || one.device.eq(&member.0)
        });
        settled.iter().find(|(of, _)| of == member).map_or(Tri::No, |(_, counts)| *counts)
    }

    /// The members whose device this is or was, by admissions that count. What others claim of a device is nothing to it.
    pub(crate) fn memberships(&self, point: Point<'_>, device: &ReplicaId) -> Vec<(MemberId, Tri)> {
        self.memberships_by(point, device, |_| true)
    }

    fn memberships_by(
        &self,
        point: Point<'_>,
        device: &ReplicaId,
        which: impl Fn(&Admission) -> bool,
    ) -> Vec<(MemberId, Tri)> {
        let Some(about) = self.ledger.devices.get(device) else {
            return Vec::new();
        };
        let counts = |one: &Admission| {
            let via = one.via.map_or(Tri::Yes, |via| self.resolution.counts(via));
            if which(one) && self.sees(point, one.op) { self.resolution.counts(one.op).and(via) } else { Tri::No }
        };
        let of = |member: &MemberId| {
            let first = self.ledger.members.get(member).map_or(&[][..], |about| &about.admissions);
            let first = first.iter().filter(|one| one.device == *device).map(counts);
            let further = about.admissions.iter().filter(|(of, _)| of == member).map(|(_, one)| counts(one));
            first.chain(further).fold(Tri::No, Tri::or)
        };
        let members = about.members.iter().map(|member| (*member, of(member)));
        members.filter(|(_, counts)| *counts != Tri::No).collect()
    }

    /// What a member may do. Of roles that nobody chose in knowledge of each other the least holds.
    fn member_span(&self, point: Point<'_>, member: &MemberId, needed: Role, notes: &mut Notes<'_>) -> Span {
        let Some(about) = self.ledger.members.get(member) else {
            return Span::NONE;
        };
        let mut roles: Vec<(OpNo, Role, Tri)> = Vec::with_capacity(2);
        let mut is_member = Tri::No;
        for admission in &about.admissions {
            let stands = self.stands(point, Some(member), admission, &about.ends, notes);
            if stands != Tri::No {
                is_member = is_member.or(stands);
                roles.push((admission.op, admission.role, stands));
            }
        }
        if is_member == Tri::No {
            return Span::NONE;
        }
        for (no, role) in about.roles.iter().filter(|(no, _)| self.sees(point, *no)) {
            let counts = if *role < needed { self.attack(*no, notes) } else { self.support(*no, notes) };
            if counts != Tri::No {
                roles.push((*no, *role, counts));
            }
        }
        let superseded = |no: OpNo| {
            let by = |(other, _, counts): &(OpNo, Role, Tri)| *counts == Tri::Yes && self.ledger.sees(*other, no);
            roles.iter().any(by)
        };
        let (mut sure, mut maybe_least, mut maybe_most) = (None::<Role>, None::<Role>, None::<Role>);
        for (no, role, counts) in &roles {
            if superseded(*no) {
                continue;
            }
            if *counts == Tri::Yes {
                sure = Some(sure.map_or(*role, |least| least.min(*role)));
            } else {
                maybe_least = Some(maybe_least.map_or(*role, |least| least.min(*role)));
                maybe_most = maybe_most.max(Some(*role));
            }
        }
        let least = match (sure, maybe_least) {
            (Some(sure), Some(maybe)) => Some(sure.min(maybe)),
            (sure, maybe) => sure.or(maybe),
        };
        Span { least, most: sure.max(maybe_most) }.if_so(is_member)
    }

    /// What a device may do as one of a member's.
    fn device_span(
        &self,
        point: Point<'_>,
        device: &ReplicaId,
        member: &MemberId,
        needed: Role,
        notes: &mut Notes<'_>,
    ) -> Span {
        self.span_by(point, device, member, needed, |_| true, notes)
    }

    /// The same, without further devices that joined by an invitation and that nobody has confirmed.
    fn settled_span(
        &self,
        point: Point<'_>,
        device: &ReplicaId,
        member: &MemberId,
        needed: Role,
        notes: &mut Notes<'_>,
    ) -> Span {
        self.span_by(point, device, member, needed, |one| one.pending.is_none(), notes)
    }

    fn span_by(
        &self,
        point: Point<'_>,
        device: &ReplicaId,
        member: &MemberId,
        needed: Role,
        counts: impl Fn(&Admission) -> bool,
        notes: &mut Notes<'_>,
    ) -> Span {
        let Some(about) = self.ledger.devices.get(device) else {
            return Span::NONE;
        };
        let as_member = self.member_span(point, member, needed, notes);
        if as_member == Span::NONE {
            return Span::NONE;
        }
        let first = self.ledger.members.get(member).map_or(&[][..], |about| &about.admissions);
        let first =
            first.iter().filter(|admission| admission.device == *device).map(|admission| (admission, Role::Admin));
        let more = about.admissions.iter().filter(|(of, one)| of == member && counts(one));
        let more = more.map(|(_, admission)| (admission, admission.role));
        let mut most = Span::NONE;
        for (admission, limit) in first.chain(more) {
            let stands = self.stands(point, Some(member), admission, &about.ends, notes);
            most = most.or(as_member.up_to(limit).if_so(stands));
        }
        most
    }

    fn span(&self, point: Point<'_>, device: &ReplicaId, needed: Role, notes: &mut Notes<'_>) -> Span {
        let members = self.ledger.devices.get(device).into_iter().flat_map(|about| &about.members);
        members.fold(Span::NONE, |span, member| span.or(self.device_span(point, device, member, needed, notes)))
    }

    /// What a device may do, once everything is decided.
    pub(crate) fn role_of(&self, point: Point<'_>, device: &ReplicaId) -> Option<Role> {
        self.span(point, device, Role::Admin, &mut None).least
    }

    /// What a member may do, once everything is decided.
    pub(crate) fn role_of_member(&self, point: Point<'_>, member: &MemberId) -> Option<Role> {
        self.member_span(point, member, Role::Admin, &mut None).least
    }

    /// Whether a device is one of a member's.
    pub(crate) fn is_of(&self, point: Point<'_>, device: &ReplicaId, member: &MemberId) -> bool {
        self.device_span(point, device, member, Role::Relay, &mut None).least.is_some()
    }

    /// The admissions of a member that stand.
    pub(crate) fn admissions(&self, point: Point<'a>, member: &MemberId) -> impl Iterator<Item = &'a Admission> {
        let about = self.ledger.members.get_key_value(member);
        let this = *self;
        about.into_iter().flat_map(move |(member, about)| {
            let stands =
                move |one: &&Admission| this.stands(point, Some(member), one, &about.ends, &mut None) == Tri::Yes;
            about.admissions.iter().filter(stands)
        })
    }

    fn judge(&self, no: OpNo, notes: &mut Notes<'_>) -> Tri {
        let Some(place) = self.ledger.ops.get(no) else {
            return Tri::No;
        };
        match self.ledger.op(no) {
            Some((held, op)) => self.judge_op(held, place.index, op, notes),
            None => Tri::No,
        }
    }

    /// Whether an op of an entry counts: its author had the right, and it was not cut off.
    pub(crate) fn op_counts(&self, held: &Held, index: usize, op: &Op) -> bool {
        self.judge_op(held, index, op, &mut None) == Tri::Yes
    }

    fn judge_op(&self, held: &Held, index: usize, op: &Op, notes: &mut Notes<'_>) -> Tri {
        let (author, point) = (&held.author, Point::Of(held, index));
        // A device that nobody has confirmed decides nothing for its member, least of all about itself.
        let own = |member: &MemberId, notes: &mut Notes<'_>| {
            self.settled_span(point, author, member, Role::Relay, notes).at_least(Role::Relay)
        };
        let mut needed = Role::Admin;
        let has_right = match op {
            // A group begins once: said again later, it would bring back whoever was removed since.
            Op::Create(genesis) => {
                let by_founder = genesis.founders.iter().any(|card| card.device() == *author);
                return (by_founder && held.parents.is_empty()).into();
            }
            Op::Accept(accept) => return self.judge_accept(point, author, accept, notes),
            Op::Add(add) => {
                let may = self.has(point, author, Role::Admin, notes);
                may.and(self.is_new(point, &add.card.member(), notes))
            }
            Op::Name(_) | Op::Dormant(_) => self.has(point, author, Role::Admin, notes),
            Op::Remove(remove) => {
                self.has(point, author, Role::Admin, notes).and(self.leaves_admin(point, &remove.member))
            }
            Op::SetRole(set) => {
                let may = self.has(point, author, Role::Admin, notes);
                if set.role < Role::Admin { may.and(self.leaves_admin(point, &set.member)) } else { may }
            }
            Op::Leave(_) => {
                needed = Role::Relay;
                let members = self.memberships(point, author);
                let may = members.iter().fold(Tri::No, |any, (member, _)| any.or(own(member, notes)));
                let leaves = members.iter().map(|(member, of)| self.leaves_admin(point, member).or(of.not()));
                leaves.fold(may, Tri::and)
            }
            Op::AddDevice(card) => {
                needed = Role::Relay;
                own(&card.member(), notes).and(self.has_room(point, &card.member()).into())
            }
            Op::RemoveDevice(remove) => {
                let members = self.memberships(point, &remove.device).into_iter();
                let of_mine = members.fold(Tri::No, |any, (member, of)| any.or(own(&member, notes).and(of)));
                if of_mine == Tri::No {
                    self.has(point, author, Role::Admin, notes)
                } else {
                    needed = Role::Relay;
                    of_mine
                }
            }
            Op::Invite(invite) if !self.is_made(held, index, &invite.id()) => Tri::No,
            Op::Invite(invite) => match &invite.member {
                None => self.has(point, author, Role::Admin, notes),
                Some(member) => {
                    needed = Role::Relay;
                    own(member, notes)
                }
            },
            Op::RevokeInvite(invite) | Op::Decide(crate::op::Decide { invite, .. }) => {
                // An admin may, and for an invitation of a further device its member.
                let made = self.ledger.invites.get(invite).map_or(&[][..], |about| &about.made);
                let of = made.iter().filter(|no| self.sees(point, **no)).filter_map(|no| match self.ledger.op(*no) {
                    Some((_, Op::Invite(invite))) => Some((*no, invite.member)),
                    _ => None,
                });
                // Of everything that was made with this key: nobody can make somebody else's invitation its own.
                let (mut is_made, mut all_own) = (Tri::No, Tri::Yes);
                for (no, member) in of {
                    let made = self.support(no, notes);
                    let own = member.map_or(Tri::No, |member| own(&member, notes));
                    is_made = is_made.or(made);
                    all_own = all_own.and(own.or(made.not()));
                }
                if is_made == Tri::No {
                    return Tri::No;
                }
                all_own = all_own.and(is_made);
                let may = if all_own == Tri::No {
                    self.has(point, author, Role::Admin, notes)
                } else {
                    needed = Role::Relay;
                    all_own
                };
                match op {
                    Op::Decide(decide) => may.and(self.was_accepted(point, decide, notes)),
                    _ => may,
                }
            }
            Op::DeviceKey(_) => {
                needed = Role::Relay;
                self.has(point, author, Role::Relay, notes)
            }
            Op::Epoch(_) | Op::Vouch(_) => {
                needed = Role::Write;
                self.has(point, author, Role::Write, notes)
            }
            Op::Share(_) | Op::Complain(_) => {
                needed = Role::Read;
                self.has(point, author, Role::Read, notes)
            }
            Op::Merge | Op::Back | Op::Unknown(_) => return Tri::No,
        };
        if has_right == Tri::No { Tri::No } else { has_right.and(self.is_cut(held, index, needed, notes).not()) }
    }

    fn has(&self, point: Point<'_>, device: &ReplicaId, role: Role, notes: &mut Notes<'_>) -> Tri {
        self.span(point, device, role, notes).at_least(role)
    }

    /// Whether an invitation was made by whoever holds its link: the ledger lists no others.
    fn is_made(&self, held: &Held, index: usize, invite: &ReplicaId) -> bool {
        let made = self.ledger.invites.get(invite).map_or(&[][..], |about| &about.made);
        let place = |no: &OpNo| self.ledger.ops.get(*no).map(|place| (Some(place.number), place.index));
        made.iter().any(|no| place(no) == Some((held.number, index)))
    }

    /// Whether somebody is no member, as an op's author saw things: roles are changed by name, never by adding again.
    fn is_new(&self, point: Point<'_>, member: &MemberId, notes: &mut Notes<'_>) -> Tri {
        let mut trail = Trail::default();
        let span = self.member_span(point, member, Role::Relay, &mut Some(&mut trail));
        if let Some(notes) = notes {
            // What would take away the membership is what this rests on.
            notes.supports.extend(trail.attacks);
        }
        span.at_least(Role::Relay).not()
    }

    /// Whether an admin remains when this member is none any more, as its author saw things.
    fn leaves_admin(&self, point: Point<'_>, without: &MemberId) -> Tri {
        if self.member_span(point, without, Role::Admin, &mut None).most < Some(Role::Admin) {
            return Tri::Yes;
        }
        let others = self.ledger.members.keys().filter(|member| *member != without);
        let mut any = Tri::No;
        for member in others {
            any = any.or(self.acts_as_admin(point, member));
            if any == Tri::Yes {
                break;
            }
        }
        any
    }

    /// Whether a member is an admin with a device to act with.
    fn acts_as_admin(&self, point: Point<'_>, member: &MemberId) -> Tri {
        let devices = self.ledger.members.get(member).into_iter().flat_map(|about| &about.devices);
        let spans = devices.map(|device| self.device_span(point, device, member, Role::Admin, &mut None));
        spans.fold(Tri::No, |any, span| any.or(span.at_least(Role::Admin)))
    }

    /// Whether a member may have one more device: every epoch has a box for each.
    fn has_room(&self, point: Point<'_>, member: &MemberId) -> bool {
        let Some(about) = self.ledger.members.get(member) else {
            return true;
        };
        let may_count = |one: &(MemberId, Admission)| {
            one.0 == *member && self.sees(point, one.1.op) && self.resolution.counts(one.1.op) != Tri::No
        };
        let is_gone = |about: &crate::ledger::AboutDevice| {
            about.ends.iter().any(|end| self.sees(point, *end) && self.resolution.counts(*end) == Tri::Yes)
        };
        let of_member = |device: &&ReplicaId| {
            let about = self.ledger.devices.get(*device);
            about.is_some_and(|about| about.admissions.iter().any(may_count) && !is_gone(about))
        };
        about.devices.iter().filter(of_member).count() < MAX_DEVICES
    }

    fn judge_accept(
        &self,
        point: Point<'_>,
        author: &ReplicaId,
        accept: &crate::invite::Accept,
        notes: &mut Notes<'_>,
    ) -> Tri {
        if *author != accept.card.device() {
            return Tri::No;
        }
        let Some(about) = self.ledger.invites.get(&accept.invite_id()) else {
            return Tri::No;
        };
        let mut invited = Tri::No;
        for made in about.made.iter().filter(|made| self.sees(point, **made)) {
            if let Some((_, Op::Invite(invite))) = self.ledger.op(*made) {
                let has_room = invite.member.is_none_or(|member| self.has_room(point, &member));
                let fits = invite.fits(&accept.card) && has_room;
                invited = invited.or(self.support(*made, notes).and(fits.into()));
            }
        }
        if accept.card.is_first() {
            invited = invited.and(self.is_new(point, &accept.card.member(), notes));
        }
        // One that came after the end of the invitation, or of its only use, is none. What was concurrent is the state's to say.
        for end in about.revoked.iter().filter(|end| self.sees(point, **end)) {
            invited = invited.and(self.attack(*end, notes).not());
        }
        invited
    }

    fn was_accepted(&self, point: Point<'_>, decide: &crate::op::Decide, notes: &mut Notes<'_>) -> Tri {
        let accepted = self.ledger.invites.get(&decide.invite).map_or(&[][..], |about| &about.accepted);
        let by_device = accepted.iter().filter(|no| {
            let accept = self.ledger.op(**no);
            matches!(accept, Some((_, Op::Accept(accept))) if accept.card.device() == decide.device)
        });
        by_device.filter(|no| self.sees(point, **no)).fold(Tri::No, |any, no| any.or(self.support(*no, notes)))
    }

    /// Whether an op that needs this role is cut off: by a loss that its author had not seen, beyond what the loss lets count.
    fn is_cut(&self, held: &Held, index: usize, needed: Role, notes: &mut Notes<'_>) -> Tri {
        let Some(device) = self.ledger.devices.get(&held.author) else {
            return Tri::No;
        };
        let point = Point::Of(held, index);
        let mut cut = Tri::No;
        let mut losses: Vec<(OpNo, Tri)> = device.ends.iter().map(|no| (*no, Tri::Yes)).collect();
        for (member, of) in self.memberships(Point::All, &held.author) {
            let Some(about) = self.ledger.members.get(&member) else { continue };
            losses.extend(about.ends.iter().map(|no| (*no, of.and(self.concerns(*no, &member)))));
            let demotions = about.roles.iter().filter(|(_, role)| *role < needed);
            losses.extend(demotions.map(|(no, _)| (*no, of)));
        }
        for (loss, of) in losses {
            let own = self.ledger.ops.get(loss).is_some_and(|place| held.number == Some(place.number));
            if own || !self.sees(Point::All, loss) || self.sees(point, loss) {
                continue;
            }
            // What whoever took the right away had seen then is not what was done behind its back.
            let known = self.ledger.op(loss).is_some_and(|(by, _)| held.number.is_some_and(|no| by.before.has(no)));
            if known {
                continue;
            }
            if let Some((by, op)) = self.ledger.op(loss)
                && is_beyond(by, op, &held.author, (held.log, held.seq, held.id))
            {
                cut = cut.or(self.attack(loss, notes).and(of));
            }
        }
        cut
    }

    /// Of losses that contradict each other in rings: in each ring that rests on no other, the one that counts, and those that
    /// have no effect because they aim at its author.
    fn break_rings(&self, open: &[OpNo]) -> Vec<(OpNo, Vec<OpNo>)> {
        let losses: Vec<OpNo> = open.iter().copied().filter(|no| self.is_loss(*no)).collect();
        let place: BTreeMap<OpNo, usize> = losses.iter().enumerate().map(|(at, no)| (*no, at)).collect();
        let attackers: Vec<Vec<usize>> = losses
            .iter()
            .map(|no| self.attackers(*no).iter().filter_map(|no| place.get(no).copied()).collect())
            .collect();
        let reach: Vec<Bits> = (0..losses.len()).map(|at| reachable(&attackers, at)).collect();
        let reaches = |from: usize, to: usize| reach.get(from).is_some_and(|reach| reach.has(to));
        let no = |at: usize| losses.get(at).copied().unwrap_or_default();
        let ranks = Ranks::new(self);
        let (mut broken, mut done) = (Vec::new(), Bits::default());
        for at in 0..losses.len() {
            let Some(ring) = reach.get(at).filter(|_| !done.has(at)) else { continue };
            // A ring that rests on no other ring: whatever it reaches reaches it.
            if !ring.has(at) || !ring.iter().all(|other| reaches(other, at)) {
                continue;
            }
            done.add(ring);
            let senior = ring.iter().chain([at]).min_by(|a, b| ranks.compare(self, no(*a), no(*b)));
            let Some(right) = senior else { continue };
            let wrong = attackers.get(right).map_or(&[][..], |found| found).iter();
            let wrong = wrong.filter(|at| **at != right && reaches(**at, right)).map(|at| no(*at)).collect();
            broken.push((no(right), wrong));
        }
        if broken.is_empty() {
            // Without a ring of losses only claims about whose device somebody is can wait for each other. Nobody honest makes
            // such; everybody decides the same one.
            let place = |no: &OpNo| self.ledger.op(*no).map(|(held, _)| (held.depth, held.seq, held.id));
            let first =
                open.iter().copied().min_by_key(|no| (place(no), self.ledger.ops.get(*no).map(|place| place.index)));
            broken.push((first.unwrap_or_default(), Vec::new()));
        }
        broken
    }

    fn is_loss(&self, no: OpNo) -> bool {
        match self.ledger.op(no) {
            Some((_, Op::Remove(_) | Op::SetRole(_) | Op::RemoveDevice(_) | Op::Leave(_) | Op::RevokeInvite(_))) => {
                true
            }
            Some((_, Op::Decide(decide))) => !decide.admit,
            _ => false,
        }
    }

    /// The undecided losses that would take an op its right, or the right of what it rests on.
    fn attackers(&self, no: OpNo) -> Vec<OpNo> {
        let (mut found, mut seen, mut open) = (Vec::new(), BTreeSet::from([no]), vec![no]);
        while let Some(no) = open.pop() {
            let mut trail = Trail::default();
            let _ = self.judge(no, &mut Some(&mut trail));
            found.extend(trail.attacks);
            open.extend(trail.supports.into_iter().filter(|support| seen.insert(*support)));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Where nobody is an admin: the most senior voluntary loss of that role, which then has no effect.
    fn last_to_leave(&self) -> Option<OpNo> {
        if self.ledger.members.keys().any(|member| self.acts_as_admin(Point::All, member) == Tri::Yes) {
            return None;
        }
        let voluntary = (0..self.ledger.ops.len()).filter(|no| {
            let Some((held, op)) = self.ledger.op(*no).filter(|_| self.yes(*no)) else {
                return false;
            };
            let point = Point::Of(held, self.ledger.ops.get(*no).map_or(0, |place| place.index));
            let own = |member: &MemberId| self.is_of(point, &held.author, member);
            let was_admin = self.role_of(point, &held.author) == Some(Role::Admin);
            was_admin
                && match op {
                    Op::Leave(_) => true,
                    Op::SetRole(set) => set.role < Role::Admin && own(&set.member),
                    Op::Remove(remove) => own(&remove.member),
                    Op::RemoveDevice(remove) => self.memberships(point, &remove.device).iter().any(|(of, _)| own(of)),
                    _ => false,
                }
        });
        let ranks = Ranks::new(self);
        voluntary.min_by(|a, b| ranks.compare(self, *a, *b))
    }
}

/// A place in the order of seniority: how many steps from a founder, whose step, and the place among that one's additions.
#[derive(Debug, Clone, Copy)]
struct Rank {
    steps: usize,
    before: Option<usize>,
    place: (u64, u64, EntryId),
}

/// The seniority of everybody who was ever admitted. Whoever is fewer steps away from a founder is the more senior; of
/// equally many, whoever was admitted by the more senior, then whoever was admitted earlier. An admission by an invitation
/// is its inviter's step until somebody has confirmed it.
///
/// Found from the earliest admission on, without going back: a chain of thousands costs as many steps.
struct Ranks {
    ranks: Vec<Rank>,
    /// The rank that an op's author had when it wrote it.
    authors: BTreeMap<OpNo, usize>,
}

impl Ranks {
    fn new(all: &Resolver<'_>) -> Self {
        let mut found = Self { ranks: Vec::new(), authors: BTreeMap::new() };
        // What each op admits, and by which rank.
        let mut admitted: BTreeMap<(OpNo, MemberId), usize> = BTreeMap::new();
        let mut by_op: BTreeMap<OpNo, Vec<(MemberId, Admission)>> = BTreeMap::new();
        for (member, about) in &all.ledger.members {
            for admission in &about.admissions {
                by_op.entry(admission.op).or_default().push((*member, *admission));
            }
        }
        // Ops are numbered so that what an author had seen comes before it.
        for no in 0..all.ledger.ops.len() {
            let Some((held, _)) = all.ledger.op(no).filter(|_| all.sees(Point::All, no)) else { continue };
            let index = all.ledger.ops.get(no).map_or(0, |place| place.index);
            let point = Point::Of(held, index);
            let members = all.ledger.devices.get(&held.author).into_iter().flat_map(|about| &about.members);
            let own = members.filter_map(|member| found.of_member(all, point, member, &admitted));
            if let Some(best) = own.min_by(|a, b| found.order(*a, *b)) {
                found.authors.insert(no, best);
            }
            for (member, admission) in by_op.remove(&no).unwrap_or_default() {
                let place = (held.depth, held.seq, held.id);
                let rank = match admission.founder {
                    Some(at) => Rank { steps: 1, before: None, place: (at, 0, EntryId::NONE) },
                    None => {
                        let by =
                            found.authors.get(&admission.via.filter(|_| admission.pending.is_some()).unwrap_or(no));
                        let Some(by) = by.copied() else { continue };
                        let steps = found.ranks.get(by).map_or(usize::MAX, |rank| rank.steps.saturating_add(1));
                        Rank { steps, before: Some(by), place }
                    }
                };
                found.ranks.push(rank);
                let at = found.ranks.len() - 1;
                let best = admitted.entry((no, member)).or_insert(at);
                if found.order(at, *best) == Ordering::Less {
                    *best = at;
                }
            }
        }
        found
    }

    /// A member's rank: of its most senior admission that is not known to be void.
    fn of_member(
        &self,
        all: &Resolver<'_>,
        point: Point<'_>,
        member: &MemberId,
        admitted: &BTreeMap<(OpNo, MemberId), usize>,
    ) -> Option<usize> {
        let about = all.ledger.members.get(member)?;
        let may_stand = |one: &&Admission| all.stands(point, Some(member), one, &about.ends, &mut None) != Tri::No;
        let standing = about.admissions.iter().filter(may_stand);
        let ranks = standing.filter_map(|one| admitted.get(&(one.op, *member)).copied());
        ranks.min_by(|a, b| self.order(*a, *b))
    }

    fn order(&self, a: usize, b: usize) -> Ordering {
        let (mut a, mut b, mut order) = (Some(a), Some(b), Ordering::Equal);
        let steps = |at: Option<usize>| at.and_then(|at| self.ranks.get(at)).map_or(0, |rank| rank.steps);
        if steps(a) != steps(b) {
            return steps(a).cmp(&steps(b));
        }
        // The difference nearest to the founder decides.
        while a != b {
            let (Some(one), Some(other)) = (a.and_then(|at| self.ranks.get(at)), b.and_then(|at| self.ranks.get(at)))
            else {
                break;
            };
            if one.place != other.place {
                order = one.place.cmp(&other.place);
            }
            (a, b) = (one.before, other.before);
        }
        order
    }

    /// Which of two ops has the more senior author; of one member's, whose device was admitted first, then which came first.
    fn compare(&self, all: &Resolver<'_>, a: OpNo, b: OpNo) -> Ordering {
        let place = |no: OpNo| all.ledger.op(no).map(|(held, _)| (held.depth, held.seq, held.id));
        let by_rank = match (self.authors.get(&a), self.authors.get(&b)) {
            (Some(a), Some(b)) => self.order(*a, *b),
            (one, other) => other.is_some().cmp(&one.is_some()),
        };
        let device = |no: OpNo| all.ledger.op(no).map(|(held, _)| held.author);
        let admitted = |no: OpNo| {
            let about = device(no).and_then(|device| all.ledger.devices.get(&device));
            let further = about.into_iter().flat_map(|about| &about.admissions);
            let counting = further.filter(|(_, one)| all.resolution.counts(one.op) != Tri::No);
            counting.filter_map(|(_, one)| place(one.op)).min() // a member's first device has none, and comes first
        };
        by_rank.then_with(|| admitted(a).cmp(&admitted(b))).then_with(|| place(a).cmp(&place(b)))
    }
}

/// Whether a place in a log lies beyond what a loss lets count of it. Where the loss names another entry at this place,
/// the log is forked, and this is not the branch that counts.
pub(crate) fn is_beyond(by: &Held, op: &Op, device: &ReplicaId, (log, seq, id): (LogId, u64, EntryId)) -> bool {
    let Some(tips) = caps_of(by, op, device) else {
        return false;
    };
    match tips.iter().map(|listed| listed.tip).find(|tip| tip.log == log) {
        Some(tip) => seq > tip.seq || (seq == tip.seq && id != tip.head),
        // A departure cannot name itself: its own log counts up to it by rule.
        None => !(by.log == log && by.author == *device && seq <= by.seq),
    }
}

fn reachable(edges: &[Vec<usize>], from: usize) -> Bits {
    let (mut found, mut open) = (Bits::default(), vec![from]);
    while let Some(at) = open.pop() {
        for next in edges.get(at).map_or(&[][..], |next| next) {
            if !found.has(*next) {
                found.set(*next);
                open.push(*next);
            }
        }
    }
    found
}
