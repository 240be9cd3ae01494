//! What an op needs to count: its author's right by what it had seen, and that no loss cuts it off.

use partita_core::ReplicaId;

use super::{Notes, Point, Resolver, Trail, Tri, is_beyond};
use crate::{
    ledger::{Held, OpNo},
    op::Op,
    role::{MemberId, Role},
};

/// The most devices of a member: every epoch has a box for each of them.
pub(crate) const MAX_DEVICES: usize = 64;

impl Resolver<'_> {
    pub(super) fn judge(&self, no: OpNo, notes: &mut Notes<'_>) -> Tri {
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
                let may = self.has(point, author, Role::Admin, notes);
                may.and(self.leaves_admin(point, &remove.member, may, notes))
            }
            Op::SetRole(set) => {
                let may = self.has(point, author, Role::Admin, notes);
                if set.role < Role::Admin { may.and(self.leaves_admin(point, &set.member, may, notes)) } else { may }
            }
            Op::Leave(_) => {
                needed = Role::Relay;
                let members = self.memberships(point, author);
                let may = members.iter().fold(Tri::No, |any, (member, _)| any.or(own(member, notes)));
                let mut leaves = may;
                for (member, of) in &members {
                    leaves = leaves.and(self.leaves_admin(point, member, may, notes).or(of.not()));
                }
                leaves
            }
            Op::AddDevice(card) => {
                needed = Role::Relay;
                own(&card.member(), notes).and(self.has_room(point, &card.member(), notes))
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
        if has_right == Tri::No { Tri::No } else { has_right.and(self.is_cut(held, index, op, needed, notes).not()) }
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

    /// Whether an admin remains when this member is none any more, as its author saw things. Open while that rests on what is
    /// not decided yet, also on whether the member is an admin at all.
    fn leaves_admin(&self, point: Point<'_>, without: &MemberId, may: Tri, notes: &mut Notes<'_>) -> Tri {
        let (mut of_it, mut of_others) = (Trail::default(), Trail::default());
        let is_admin = self.member_span(point, without, Role::Admin, &mut Some(&mut of_it)).at_least(Role::Admin);
        if is_admin == Tri::No {
            return Tri::Yes;
        }
        let mut any = is_admin.not();
        for member in self.ledger.members.keys().filter(|member| *member != without) {
            any = any.or(self.acts_as_admin(point, member, &mut Some(&mut of_others)));
            if any == Tri::Yes {
                return any;
            }
        }
        // While the author's own right is open, the op rests on that, and mostly this does, too.
        if any == Tri::Open
            && may == Tri::Yes
            && let Some(notes) = notes
        {
            notes.add(of_others);
            notes.add(of_it.reversed());
        }
        any
    }

    /// Whether a member is an admin with a device to act with.
    pub(super) fn acts_as_admin(&self, point: Point<'_>, member: &MemberId, notes: &mut Notes<'_>) -> Tri {
        let devices = self.ledger.members.get(member).into_iter().flat_map(|about| &about.devices);
        let spans = devices.map(|device| self.device_span(point, device, member, Role::Admin, notes));
        spans.fold(Tri::No, |any, span| any.or(span.at_least(Role::Admin)))
    }

    /// Whether a member may have one more device: every epoch has a box for each. Open as long as that rests on what is not
    /// decided yet, or those who hear of things in another order would come to another answer.
    fn has_room(&self, point: Point<'_>, member: &MemberId, notes: &mut Notes<'_>) -> Tri {
        let devices = self.ledger.members.get(member).into_iter().flat_map(|about| &about.devices);
        let (mut sure, mut possible) = (0, 0);
        // What makes somebody a device takes this one's room, and what ends that gives it.
        let mut trail = Trail::default();
        for device in devices.filter_map(|device| self.ledger.devices.get(device)) {
            let mut is_device = Tri::No;
            for (_, one) in device.admissions.iter().filter(|(of, one)| of == member && self.sees(point, one.op)) {
                let mut stands = self.attack(one.op, &mut Some(&mut trail));
                // One that knew of the end began it anew.
                let ends = self.further_ends(device, member);
                for end in ends.filter(|end| self.sees(point, **end) && !self.ledger.sees(one.op, **end)) {
                    let concerns = self.concerns(*end, member);
                    if concerns != Tri::No {
                        stands = stands.and(self.support(*end, &mut Some(&mut trail)).and(concerns).not());
                    }
                }
                is_device = is_device.or(stands);
            }
            sure += usize::from(is_device == Tri::Yes);
            possible += usize::from(is_device != Tri::No);
        }
        if sure >= MAX_DEVICES {
            return Tri::No;
        }
        if possible < MAX_DEVICES {
            return Tri::Yes;
        }
        if let Some(notes) = notes {
            notes.add(trail);
        }
        Tri::Open
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
                let room = invite.member.map_or(Tri::Yes, |member| self.has_room(point, &member, notes));
                let fits = Tri::from(invite.fits(&accept.card)).and(room);
                invited = invited.or(self.support(*made, notes).and(fits));
            }
        }
        let member = accept.card.member();
        let is_new = if accept.card.is_first() {
            self.is_new(point, &member, notes)
        } else {
            // Whoever is in already uses up no link, and none makes it wait for a word once more.
            let mut trail = Trail::default();
            let span = self.settled_span(point, author, &member, Role::Relay, &mut Some(&mut trail));
            if let Some(notes) = notes {
                notes.supports.extend(trail.attacks);
            }
            span.at_least(Role::Relay).not()
        };
        invited = invited.and(is_new);
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
    fn is_cut(&self, held: &Held, index: usize, op: &Op, needed: Role, notes: &mut Notes<'_>) -> Tri {
        let Some(device) = self.ledger.devices.get(&held.author) else {
            return Tri::No;
        };
        let mut cut = Tri::No;
        for loss in device.ends.iter().filter(|loss| self.cuts(**loss, held, index, op)) {
            cut = cut.or(self.attack(*loss, notes));
        }
        for (member, of) in self.memberships(Point::All, &held.author) {
            let Some(about) = self.ledger.members.get(&member) else { continue };
            for loss in about.ends.iter().filter(|loss| self.cuts(**loss, held, index, op)) {
                let of = of.and(self.concerns(*loss, &member));
                if of != Tri::No {
                    cut = cut.or(self.attack(*loss, notes).and(of));
                }
            }
            for (loss, _) in about.roles.iter().filter(|(_, role)| *role < needed) {
                if self.cuts(*loss, held, index, op) {
                    cut = cut.or(self.attack(*loss, notes).and(of));
                }
            }
        }
        cut
    }

    /// Whether a loss would cut an op off, if it counts and is about its author.
    fn cuts(&self, loss: OpNo, held: &Held, index: usize, op: &Op) -> bool {
        let Some((by, what)) = self.ledger.op(loss).filter(|_| self.resolution.counts(loss) != Tri::No) else {
            return false;
        };
        // Who goes goes, however often it says so: of its departures none undoes another.
        if by.author == held.author && is_departure(what, &by.author) && is_departure(op, &held.author) {
            return false;
        }
        let own = self.ledger.ops.get(loss).is_some_and(|place| held.number == Some(place.number));
        if own || !self.sees(Point::All, loss) || self.sees(Point::Of(held, index), loss) {
            return false;
        }
        // What whoever took the right away had seen then is not what was done behind its back.
        let known = held.number.is_some_and(|no| by.before.has(no));
        !known && is_beyond(by, what, &held.author, (held.log, held.seq, held.id))
    }
}

/// Whether somebody goes by this, or takes itself out.
fn is_departure(op: &Op, author: &ReplicaId) -> bool {
    match op {
        Op::Leave(_) => true,
        Op::RemoveDevice(remove) => remove.device == *author,
        _ => false,
    }
}
