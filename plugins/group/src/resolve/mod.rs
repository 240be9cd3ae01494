//! Which ops count: a pure function of a set of control entries that holds the ancestors of each.
//!
//! The order in which entries came plays no part, so replicas that hold the same ones agree. An op counts if its author had
//! the right by what it had seen, as far as *that* counts, and is not cut off by a loss that it had not seen.
//!
//! Losses (removals, demotions, departures) can contradict each other: each of two admins removes the other. So whether an
//! op counts has three answers, and they are found in rounds. What rests on nothing undecided is decided; where only losses
//! in a ring are left, the ring's most senior author is right, the losses that aim at that author have no effect, and the
//! rounds go on. Seniority: the founders in their order, then whoever is fewer steps from a founder, then by who added (the
//! adder's seniority), then the order of the adder's additions. No clock decides, for whoever wants to win can choose it, nor
//! a hash but where all of that is equal: between additions by two devices of one member.

mod rules;
mod seniority;
mod span;

use partita_core::{EntryId, LogId, ReplicaId};

use crate::{
    bits::Bits,
    ledger::{AboutDevice, Admission, Held, Ledger, OpNo, caps_of},
    op::{Add, Op, Remove, SetRole},
    role::{MemberId, Role},
};

pub(crate) use rules::MAX_DEVICES;
use span::Span;
pub(crate) use span::Tri;

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

impl Trail {
    fn add(&mut self, other: Self) {
        self.attacks.extend(other.attacks);
        self.supports.extend(other.supports);
    }

    /// The same for the contrary.
    fn reversed(self) -> Self {
        Self { attacks: self.supports, supports: self.attacks }
    }
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
    let mut acting = author.filter(|member| all.acts_as_admin(Point::All, member, &mut None) == Tri::Yes);
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
    fn stands<'e>(
        &self,
        point: Point<'_>,
        of: Option<&MemberId>,
        admission: &Admission,
        ends: impl IntoIterator<Item = &'e OpNo>,
        notes: &mut Notes<'_>,
    ) -> Tri {
        if !self.sees(point, admission.op) {
            return Tri::No;
        }
        // What is undecided is noted only where the answer rests on it. An end that counts answers by itself, wherever in the
        // list it stands: the list is in the order in which things were heard.
        let mut trail = Trail::default();
        let mut stands = self.support(admission.op, &mut Some(&mut trail));
        if let Some(via) = admission.via {
            stands = stands.and(self.support(via, &mut Some(&mut trail)));
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
                // A refusal says nothing of how far logs count, so it takes no right away that somebody has: whoever was confirmed
                // beside it is removed, if it is to go.
                Some((_, Op::Decide(_))) => Tri::from(admission.pending.is_some()),
                _ => of.map_or(Tri::Yes, |member| self.concerns(*end, member)),
            };
            if concerns != Tri::No {
                stands = stands.and(self.attack(*end, &mut Some(&mut trail)).and(concerns).not());
            }
        }
        if stands == Tri::Open
            && let Some(notes) = notes
        {
            notes.add(trail);
        }
        stands
    }

    /// What ends a further device's time with a member: its own ends, and its member's, or a lost device would come back with
    /// its owner. A refusal is about the device that accepted alone.
    fn further_ends(&self, device: &'a AboutDevice, member: &MemberId) -> impl Iterator<Item = &'a OpNo> {
        let ledger = self.ledger;
        let of_member = ledger.members.get(member).map_or(&[][..], |about| &about.ends);
        let of_member = of_member.iter().filter(move |end| !matches!(ledger.op(**end), Some((_, Op::Decide(_)))));
        device.ends.iter().chain(of_member)
    }

    /// Whether an admission as a member's further device stands, once everything is decided.
    pub(crate) fn further_stands(&self, device: &'a AboutDevice, member: &MemberId, admission: &Admission) -> bool {
        self.stands(Point::All, Some(member), admission, self.further_ends(device, member), &mut None) == Tri::Yes
    }

    /// Whether an end of a member's time is one: somebody leaves with its own member alone, whatever cards it shows.
    pub(crate) fn concerns(&self, end: OpNo, member: &MemberId) -> Tri {
        let Some((held, Op::Leave(_))) = self.ledger.op(end) else {
            return Tri::Yes;
        };
        let index = self.ledger.ops.get(end).map_or(0, |place| place.index);
        let settled = |one: &Admission| one.pending.is_none() || one.device == member.0;
        self.belongs(Point::Of(held, index), &held.author, member, settled)
    }

    /// The members whose device this is or was, by admissions that count. What others claim of a device is nothing to it.
    pub(crate) fn memberships(&self, point: Point<'_>, device: &ReplicaId) -> Vec<(MemberId, Tri)> {
        let members = self.ledger.devices.get(device).into_iter().flat_map(|about| &about.members);
        let members = members.map(|member| (*member, self.belongs(point, device, member, |_| true)));
        members.filter(|(_, counts)| *counts != Tri::No).collect()
    }

    /// Whether a device is or was a member's, by admissions of this sort that count.
    fn belongs(
        &self,
        point: Point<'_>,
        device: &ReplicaId,
        member: &MemberId,
        which: impl Fn(&Admission) -> bool,
    ) -> Tri {
        let counts = |one: &Admission| {
            if which(one) && self.sees(point, one.op) {
                let via = one.via.map_or(Tri::Yes, |via| self.resolution.counts(via));
                self.resolution.counts(one.op).and(via)
            } else {
                Tri::No
            }
        };
        let first = self.ledger.members.get(member).map_or(&[][..], |about| &about.admissions);
        let first = first.iter().filter(|one| one.device == *device).map(counts);
        let further = self.ledger.devices.get(device).map_or(&[][..], |about| &about.admissions);
        let further = further.iter().filter(|(of, _)| of == member).map(|(_, one)| counts(one));
        first.chain(further).fold(Tri::No, Tri::or)
    }

    /// What a member may do. Of roles that nobody chose in knowledge of each other the least holds. Whoever joined by an invitation
    /// and was confirmed by nobody reads at most, whatever role somebody set.
    fn member_span(&self, point: Point<'_>, member: &MemberId, needed: Role, notes: &mut Notes<'_>) -> Span {
        let Some(about) = self.ledger.members.get(member) else {
            return Span::NONE;
        };
        let mut roles: Vec<(OpNo, Role, Tri)> = Vec::with_capacity(2);
        let (mut is_member, mut is_settled) = (Tri::No, Tri::No);
        for admission in &about.admissions {
            let stands = self.stands(point, Some(member), admission, &about.ends, notes);
            if stands != Tri::No {
                is_member = is_member.or(stands);
                if admission.pending.is_none() {
                    is_settled = is_settled.or(stands);
                }
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
        let span = Span { least, most: sure.max(maybe_most) }.if_so(is_member);
        let unsettled = span.up_to(Role::Read);
        match is_settled {
            Tri::Yes => span,
            Tri::Open => Span { least: unsettled.least, most: span.most },
            Tri::No => unsettled,
        }
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
        let mut most = Span::NONE;
        for admission in first.iter().filter(|admission| admission.device == *device) {
            let stands = self.stands(point, Some(member), admission, &about.ends, notes);
            most = most.or(as_member.if_so(stands));
        }
        for (_, admission) in about.admissions.iter().filter(|(of, one)| of == member && counts(one)) {
            let stands = self.stands(point, Some(member), admission, self.further_ends(about, member), notes);
            most = most.or(as_member.up_to(admission.role).if_so(stands));
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
