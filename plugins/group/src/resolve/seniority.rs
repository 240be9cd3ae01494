//! Who is right where losses contradict each other: the more senior.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use partita_core::{EntryId, ReplicaId};

use super::{Point, Resolver, Trail, Tri};
use crate::{
    bits::Bits,
    ledger::{Admission, OpNo},
    op::Op,
    role::{MemberId, Role},
};

impl Resolver<'_> {
    /// Of losses that contradict each other in rings: in each ring that rests on no other, the one that counts, and those that
    /// have no effect because they aim at its author.
    pub(super) fn break_rings(&self, open: &[OpNo]) -> Vec<(OpNo, Vec<OpNo>)> {
        // What one entry says of one and the same, however often, is one place in the rings.
        let mut places: BTreeMap<(usize, Aim), usize> = BTreeMap::new();
        let mut said: Vec<Vec<OpNo>> = Vec::new();
        let mut place_of: Vec<Option<usize>> = vec![None; self.ledger.ops.len()];
        for no in open.iter().copied() {
            let (Some(aim), Some(place)) = (self.aim(no), self.ledger.ops.get(no)) else { continue };
            let at = *places.entry((place.entry, aim)).or_insert(said.len());
            match said.get_mut(at) {
                Some(ops) => ops.push(no),
                None => said.push(vec![no]),
            }
            if let Some(place) = place_of.get_mut(no) {
                *place = Some(at);
            }
        }
        let mut attackers: Vec<Vec<usize>> = Vec::with_capacity(said.len());
        for (at, ops) in said.iter().enumerate() {
            let mut found = Bits::default();
            for no in ops {
                for attacker in self.attackers(*no) {
                    // Within an entry what comes later rests on what comes earlier, and that is no ring.
                    if let Some(other) = place_of.get(attacker).copied().flatten()
                        && (other != at || attacker == *no)
                    {
                        found.set(other);
                    }
                }
            }
            attackers.push(found.iter().collect());
        }
        let ranks = Ranks::new(self);
        let mut broken = Vec::new();
        for ring in last_rings(&attackers) {
            let ops: BTreeSet<OpNo> = ring.iter().filter_map(|at| said.get(*at)).flatten().copied().collect();
            let Some(right) = ops.iter().copied().min_by(|a, b| ranks.compare(self, *a, *b)) else { continue };
            let wrong = self.attackers(right).into_iter().filter(|no| *no != right && ops.contains(no)).collect();
            broken.push((right, wrong));
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

    /// What a loss takes something away from; `None` for other ops.
    fn aim(&self, no: OpNo) -> Option<Aim> {
        match self.ledger.op(no)? {
            (_, Op::Remove(remove)) => Some(Aim::Member(remove.member)),
            (_, Op::SetRole(set)) => Some(Aim::Role(set.member)),
            (_, Op::RemoveDevice(remove)) => Some(Aim::Device(remove.device)),
            (held, Op::Leave(_)) => Some(Aim::Author(held.author)),
            (_, Op::RevokeInvite(invite)) => Some(Aim::Invite(*invite)),
            (_, Op::Decide(decide)) if !decide.admit => Some(Aim::Joiner(decide.device)),
            _ => None,
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
    pub(super) fn last_to_leave(&self) -> Option<OpNo> {
        if self.ledger.members.keys().any(|member| self.acts_as_admin(Point::All, member, &mut None) == Tri::Yes) {
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

/// What a loss takes something away from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Aim {
    Member(MemberId),
    Role(MemberId),
    Device(ReplicaId),
    /// The members whose device this is.
    Author(ReplicaId),
    Invite(ReplicaId),
    /// Who joined by an invitation.
    Joiner(ReplicaId),
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
pub(super) struct Ranks {
    ranks: Vec<Rank>,
    /// The rank that an op's author had when it wrote it.
    authors: BTreeMap<OpNo, usize>,
}

impl Ranks {
    pub(super) fn new(all: &Resolver<'_>) -> Self {
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
    pub(super) fn compare(&self, all: &Resolver<'_>, a: OpNo, b: OpNo) -> Ordering {
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

/// The rings that rest on no other: the strongly connected parts of a graph from which no edge leads out, and in which there
/// is one. Costs a look at each edge and a second one back, however many rings there are.
fn last_rings(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    // Kosaraju's way: along the edges in the order in which nothing more is found behind a vertex, then back against them.
    let (mut done, mut finished) = (Bits::default(), Vec::with_capacity(edges.len()));
    for from in 0..edges.len() {
        let mut open = if done.has(from) { Vec::new() } else { vec![(from, 0)] };
        done.set(from);
        while let Some((at, nth)) = open.pop() {
            match edges.get(at).and_then(|next| next.get(nth)) {
                Some(next) => {
                    open.push((at, nth + 1));
                    if !done.has(*next) {
                        done.set(*next);
                        open.push((*next, 0));
                    }
                }
                None => finished.push(at),
            }
        }
    }
    let mut back: Vec<Vec<usize>> = vec![Vec::new(); edges.len()];
    for (from, next) in edges.iter().enumerate() {
        for to in next {
            if let Some(back) = back.get_mut(*to) {
                back.push(from);
            }
        }
    }
    let (mut done, mut rings) = (Bits::default(), Vec::new());
    for from in finished.into_iter().rev() {
        if done.has(from) {
            continue;
        }
        done.set(from);
        let (mut ring, mut open) = (Vec::new(), vec![from]);
        while let Some(at) = open.pop() {
            ring.push(at);
            for before in back.get(at).map_or(&[][..], |before| before) {
                if !done.has(*before) {
                    done.set(*before);
                    open.push(*before);
                }
            }
        }
        let inside: Bits = ring.iter().copied().collect();
        let mut led = ring.iter().filter_map(|at| edges.get(*at)).flatten().peekable();
        if led.peek().is_some() && led.all(|to| inside.has(*to)) {
            rings.push(ring);
        }
    }
    rings
}
