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

use std::cmp::Ordering;

use partita_core::{EntryId, LogId, ReplicaId};

use crate::{
    bits::Bits,
    ledger::{Admission, Held, Ledger, OpNo, caps_of},
    op::Op,
    role::{MemberId, Role},
};

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
}

/// Resolves the membership entries in `set`, which holds the ancestors of each.
pub(crate) fn resolve(ledger: &Ledger, set: Bits) -> Resolution {
    let mut void: Vec<OpNo> = Vec::new();
    loop {
        let resolution = resolve_without(ledger, set.clone(), &void);
        // Nobody may leave a group without an admin. Several may, each counting on the others: then the most senior stays.
        let Some(stays) = Resolver { ledger, resolution: &resolution }.last_to_leave() else {
            return resolution;
        };
        void.push(stays);
    }
}

fn resolve_without(ledger: &Ledger, set: Bits, void: &[OpNo]) -> Resolution {
    let within = |no: &OpNo| ledger.ops.get(*no).is_some_and(|place| set.has(place.number));
    let ops: Vec<OpNo> = (0..ledger.ops.len()).filter(within).collect();
    let mut resolution = Resolution { counts: vec![Tri::No; ledger.ops.len()], set };
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
        let (right, wrong) = Resolver { ledger, resolution: &resolution }.break_ring(&open);
        resolution.settle(right, Tri::Yes);
        for no in wrong {
            resolution.settle(no, Tri::No);
        }
    }
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
    fn stands(&self, point: Point<'_>, admission: &Admission, ends: &[OpNo], notes: &mut Notes<'_>) -> Tri {
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
            if self.is_refusal(*end) && !self.is_by_invitation(admission) {
                continue;
            }
            stands = stands.and(self.attack(*end, notes).not());
        }
        stands
    }

    /// Whether an admission stands, once everything is decided.
    pub(crate) fn stands_now(&self, admission: &Admission, ends: &[OpNo]) -> bool {
        self.stands(Point::All, admission, ends, &mut None) == Tri::Yes
    }

    fn is_refusal(&self, no: OpNo) -> bool {
        matches!(self.ledger.op(no), Some((_, Op::Decide(_))))
    }

    fn is_by_invitation(&self, admission: &Admission) -> bool {
        admission.pending.is_some() || self.is_refusal(admission.op)
    }

    /// What a member may do. Of roles that nobody chose in knowledge of each other the least holds.
    fn member_span(&self, point: Point<'_>, member: &MemberId, needed: Role, notes: &mut Notes<'_>) -> Span {
        let Some(about) = self.ledger.members.get(member) else {
            return Span::NONE;
        };
        let mut roles: Vec<(OpNo, Role, Tri)> = Vec::with_capacity(2);
        let mut is_member = Tri::No;
        for admission in &about.admissions {
            let stands = self.stands(point, admission, &about.ends, notes);
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
        let more = about.admissions.iter().filter(|(of, _)| of == member);
        let more = more.map(|(_, admission)| (admission, admission.role));
        let mut most = Span::NONE;
        for (admission, limit) in first.chain(more) {
            let stands = self.stands(point, admission, &about.ends, notes);
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
        let about = self.ledger.members.get(member);
        let this = *self;
        about.into_iter().flat_map(move |about| {
            about.admissions.iter().filter(move |one| this.stands(point, one, &about.ends, &mut None) == Tri::Yes)
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
        let own = |member: &MemberId, notes: &mut Notes<'_>| {
            self.device_span(point, author, member, Role::Relay, notes).at_least(Role::Relay)
        };
        let mut needed = Role::Admin;
        let has_right = match op {
            Op::Create(genesis) => return genesis.founders.iter().any(|card| card.device() == *author).into(),
            Op::Accept(accept) => return self.judge_accept(point, author, accept, notes),
            Op::Add(add) => {
                let may = self.has(point, author, Role::Admin, notes);
                may.and(self.is_new(point, &add.card.member(), notes))
            }
            Op::Name(_) => self.has(point, author, Role::Admin, notes),
            Op::Remove(remove) => {
                self.has(point, author, Role::Admin, notes).and(self.leaves_admin(point, &remove.member))
            }
            Op::SetRole(set) => {
                let may = self.has(point, author, Role::Admin, notes);
                if set.role < Role::Admin { may.and(self.leaves_admin(point, &set.member)) } else { may }
            }
            Op::Leave(_) => {
                needed = Role::Relay;
                let members = self.ledger.devices.get(author).into_iter().flat_map(|about| &about.members);
                let may = self.has(point, author, Role::Relay, notes);
                members.fold(may, |may, member| may.and(self.leaves_admin(point, member)))
            }
            Op::AddDevice(card) => {
                needed = Role::Relay;
                own(&card.member(), notes)
            }
            Op::RemoveDevice(remove) => {
                let members = self.ledger.devices.get(&remove.device).into_iter().flat_map(|about| &about.members);
                let of_mine = members.fold(Tri::No, |any, member| any.or(own(member, notes)));
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
                let mut all_own = Tri::from(!made.is_empty());
                for (no, member) in of {
                    let own = member.map_or(Tri::No, |member| own(&member, notes));
                    all_own = all_own.and(own.or(self.resolution.counts(no).not()));
                }
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
            Op::Unknown(_) => return Tri::No,
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
            any = any.or(self.member_span(point, member, Role::Admin, &mut None).at_least(Role::Admin));
            if any == Tri::Yes {
                break;
            }
        }
        any
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
            let fits = matches!(self.ledger.op(*made), Some((_, Op::Invite(invite))) if invite.fits(&accept.card));
            invited = invited.or(self.support(*made, notes).and(fits.into()));
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
        let mut losses: Vec<OpNo> = device.ends.clone();
        for member in device.members.iter().filter_map(|member| self.ledger.members.get(member)) {
            losses.extend(&member.ends);
            losses.extend(member.roles.iter().filter(|(_, role)| *role < needed).map(|(no, _)| *no));
        }
        for loss in losses {
            let own = self.ledger.ops.get(loss).is_some_and(|place| held.number == Some(place.number));
            if own || !self.sees(Point::All, loss) || self.sees(point, loss) {
                continue;
            }
            if let Some((by, op)) = self.ledger.op(loss)
                && is_beyond(by, op, &held.author, (held.log, held.seq, held.id))
            {
                cut = cut.or(self.attack(loss, notes));
            }
        }
        cut
    }

    /// Of losses that contradict each other in a ring: the one that counts, and those that have no effect because they aim at
    /// its author.
    fn break_ring(&self, open: &[OpNo]) -> (OpNo, Vec<OpNo>) {
        let losses: Vec<OpNo> = open.iter().copied().filter(|no| self.is_loss(*no)).collect();
        let attackers: Vec<Vec<usize>> = losses
            .iter()
            .map(|no| {
                let found = self.attackers(*no);
                found.iter().filter_map(|no| losses.iter().position(|loss| loss == no)).collect()
            })
            .collect();
        let reach: Vec<Bits> = (0..losses.len()).map(|at| reachable(&attackers, at)).collect();
        let reaches = |from: usize, to: usize| reach.get(from).is_some_and(|reach| reach.has(to));
        // A ring that rests on no other ring: whatever it reaches reaches it.
        let in_source = |at: &usize| reach.get(*at).is_some_and(|reach| reach.iter().all(|other| reaches(other, *at)));
        let seniors = (0..losses.len()).filter(in_source);
        let no = |at: usize| losses.get(at).copied().unwrap_or_default();
        let Some(right) = seniors.min_by(|a, b| self.compare(no(*a), no(*b))) else {
            // Undecided ops without a ring of losses cannot be: what supports an op comes before it.
            let first = open.first().copied().unwrap_or_default();
            return (first, Vec::new());
        };
        let wrong = attackers.get(right).map_or(&[][..], |found| found).iter().filter(|at| reaches(**at, right));
        (no(right), wrong.map(|at| no(*at)).filter(|wrong| *wrong != no(right)).collect())
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
        let (mut found, mut seen, mut open) = (Vec::new(), vec![no], vec![no]);
        while let Some(no) = open.pop() {
            let mut trail = Trail::default();
            let _ = self.judge(no, &mut Some(&mut trail));
            found.extend(trail.attacks);
            for support in trail.supports {
                if !seen.contains(&support) {
                    seen.push(support);
                    open.push(support);
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Which of two ops has the more senior author; of two of one author, which came first.
    pub(crate) fn compare(&self, a: OpNo, b: OpNo) -> Ordering {
        let place = |no| self.ledger.op(no).map(|(held, _)| (held.depth, held.seq, held.id));
        self.seniority(a).cmp(&self.seniority(b)).then_with(|| place(a).cmp(&place(b)))
    }

    /// The seniority of an op's author when it wrote it.
    fn seniority(&self, no: OpNo) -> Seniority {
        let Some((held, _)) = self.ledger.op(no) else {
            return Seniority::default();
        };
        let index = self.ledger.ops.get(no).map_or(0, |place| place.index);
        let members = self.ledger.devices.get(&held.author).into_iter().flat_map(|about| &about.members);
        members.filter_map(|member| self.seniority_of(Point::Of(held, index), member)).min().unwrap_or_default()
    }

    /// The seniority of a member: of its most senior admission that is not known to be void.
    pub(crate) fn seniority_of(&self, point: Point<'_>, member: &MemberId) -> Option<Seniority> {
        let about = self.ledger.members.get(member)?;
        let standing = about.admissions.iter().filter(|one| self.stands(point, one, &about.ends, &mut None) != Tri::No);
        standing
            .filter_map(|admission| match (admission.founder, self.ledger.op(admission.op)) {
                (Some(at), _) => Some(Seniority(vec![(at, 0, EntryId::NONE)])),
                (None, Some((held, _))) => {
                    let Seniority(mut path) = self.seniority(admission.op);
                    path.push((held.depth, held.seq, held.id));
                    Some(Seniority(path))
                }
                (None, None) => None,
            })
            .min()
    }

    /// Where nobody is an admin: the most senior voluntary loss of that role, which then has no effect.
    fn last_to_leave(&self) -> Option<OpNo> {
        let is_admin = |member: &MemberId| self.role_of_member(Point::All, member) == Some(Role::Admin);
        if self.ledger.members.keys().any(is_admin) {
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
                    _ => false,
                }
        });
        voluntary.min_by(|a, b| self.compare(*a, *b))
    }
}

/// A path from a founder: at each step the place among those that the one before added. Whoever is fewer steps away is the
/// more senior; of equally many, whoever was added by the more senior, then whoever was added earlier.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seniority(Vec<(u64, u64, EntryId)>);

impl Ord for Seniority {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Seniority {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Whether a place in a log lies beyond what a loss lets count of it. Where the loss names another entry at this place,
/// the log is forked, and this is not the branch that counts.
pub(crate) fn is_beyond(by: &Held, op: &Op, device: &ReplicaId, (log, seq, id): (LogId, u64, EntryId)) -> bool {
    let Some(tips) = caps_of(by, op, device) else {
        return false;
    };
    match tips.iter().find(|tip| tip.log == log) {
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
