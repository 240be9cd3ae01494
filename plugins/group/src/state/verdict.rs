//! Who may do what in a group, and whether an entry counts.

use std::{collections::BTreeSet, sync::Arc};

use partita_core::{Access, Claim, EntryId, Refusal, ReplicaId, Verdict, is_checkpoint_op};

use super::State;
use crate::{
    bits::Bits,
    invite::Uses,
    ledger::Held,
    op::{Op, Payload},
    resolve::{Point, Resolver},
    role::{History, Role},
};

impl State {
    /// What a device may do by what these entries have seen.
    pub(super) fn role_at(&self, heads: &[EntryId], device: &ReplicaId) -> Option<Role> {
        let resolved = self.resolved_at(&self.ledger.seen_by(heads));
        Resolver { ledger: &self.ledger, resolution: &resolved.resolution }.role_of(Point::All, device)
    }

    /// The verdict on an entry: it rests on its header, its payload if it is a control entry, and what the ancestors of
    /// its heads say. Nothing that comes later can change it.
    pub(crate) fn authorize(&self, claim: &Claim<'_>) -> Verdict {
        let missing: Vec<EntryId> = claim.heads.iter().filter(|head| !self.ledger.contains(head)).copied().collect();
        if !missing.is_empty() {
            return Verdict::Undecided(missing);
        }
        let payload = match claim.control.map(|payload| self.read(payload)).transpose() {
            Ok(payload) => payload,
            Err(_) => return Verdict::Excluded(Refusal::Invalid),
        };
        let Some(payload) = payload else {
            return self.authorize_data(claim);
        };
        let founds = |op: &Op| matches!(op, Op::Create(genesis) if genesis.founders.iter().any(|card| card.device() == claim.author));
        let is_first = claim.heads.is_empty() && claim.header.backlink == EntryId::NONE;
        if is_first && payload.ops.iter().any(founds) {
            return Verdict::Accept;
        }
        // The log's previous control entry is an ancestor, though its author may leave it out of the heads.
        let seen = self.ledger.seen_by(claim.heads.iter().chain([&claim.header.backlink]));
        let resolved = self.resolved_at(&seen);
        let resolver = Resolver { ledger: &self.ledger, resolution: &resolved.resolution };
        let role = resolver.role_of(Point::All, &claim.author);
        if claim.control.is_some_and(is_checkpoint_op) && !role.is_some_and(Role::writes) {
            return Verdict::Excluded(self.why_not(&claim.author));
        }
        if role.is_some() || self.joins(claim, &payload, seen, &resolver) {
            return Verdict::Accept;
        }
        Verdict::Excluded(self.why_not(&claim.author))
    }

    fn authorize_data(&self, claim: &Claim<'_>) -> Verdict {
        match self.role_at(claim.heads, &claim.author) {
            Some(role) if role.writes() && claim.epoch.is_some() => Verdict::Accept,
            Some(role) if role.writes() => Verdict::Excluded(Refusal::Invalid),
            Some(_) => Verdict::Excluded(Refusal::Denied),
            None => Verdict::Excluded(self.why_not(&claim.author)),
        }
    }

    /// Whether some member reads only what was written since it came.
    pub(crate) fn has_newcomers(&self) -> bool {
        self.view().members.values().any(|member| member.history == History::FromNow)
    }

    /// The devices that may write by what these entries have seen.
    pub(crate) fn writers(&self, heads: &[EntryId]) -> BTreeSet<ReplicaId> {
        let resolved = self.resolved_at(&self.ledger.seen_by(heads));
        let view = resolved.view(&self.ledger);
        let writes = |device: &&ReplicaId| view.role(device).is_some_and(Role::writes);
        self.ledger.devices.keys().filter(writes).copied().collect()
    }

    /// The devices for which nobody waits by what these entries have seen.
    pub(crate) fn dormant(&self, heads: &[EntryId]) -> BTreeSet<ReplicaId> {
        let away = self.ledger.away_by(heads);
        if away.standing().next().is_none() {
            return BTreeSet::new(); // as nearly always
        }
        let resolved = self.resolved_at(&self.ledger.seen_by(heads));
        let resolver = Resolver { ledger: &self.ledger, resolution: &resolved.resolution };
        let counts = |(entry, index): (usize, usize)| {
            let held = self.ledger.entry(entry);
            let op = held.and_then(|held| Some((held, held.ops().get(index)?)));
            op.is_some_and(|(held, op)| resolver.op_counts(held, index, op))
        };
        away.standing().filter(|(_, declaration)| counts(*declaration)).map(|(device, _)| device).collect()
    }

    /// Whether nobody waits for a device, by all that is known.
    pub(crate) fn is_dormant(&self, device: &ReplicaId) -> bool {
        let heads = self.ledger.heads();
        self.ledger.away_by(&heads).is_away(device) && self.dormant(&heads).contains(device)
    }

    fn why_not(&self, author: &ReplicaId) -> Refusal {
        if self.ledger.devices.contains_key(author) { Refusal::Revoked } else { Refusal::Denied }
    }

    /// Whether a device that is nobody's joins by an invitation that it may use.
    fn joins(&self, claim: &Claim<'_>, payload: &Arc<Payload>, seen: Bits, resolver: &Resolver<'_>) -> bool {
        let Some((index, Op::Accept(accept))) =
            payload.ops.iter().enumerate().find(|(_, op)| matches!(op, Op::Accept(_)))
        else {
            return false;
        };
        let counts = |no: &crate::ledger::OpNo| resolver.sees(Point::All, *no) && resolver.yes(*no);
        let about = self.ledger.invites.get(&accept.invite_id());
        let spent = about.is_some_and(|about| {
            let once = about.made.iter().filter(|no| counts(no)).any(
                |no| matches!(self.ledger.op(*no), Some((_, Op::Invite(invite))) if invite.terms.uses == Uses::Once),
            );
            once && about.accepted.iter().any(counts)
        });
        let place = (claim.header.log, claim.header.seq);
        let asking = Held::asking(claim.author, place, seen, payload.clone());
        !spent && resolver.op_counts(&asking, index, &Op::Accept(accept.clone()))
    }

    /// Whether a remote that is no relay which the application pinned gets what the context has to send.
    pub(crate) fn is_target(&self, device: &ReplicaId) -> bool {
        self.view().role(device).is_some() || self.is_guest(device)
    }

    /// What a remote may do that is no relay which the application pinned.
    pub(crate) fn access(&self, device: &ReplicaId, granted: Option<Access>) -> Access {
        let view = self.view();
        if view.role(device).is_some() {
            return Access::Both;
        }
        if self.is_guest(device) {
            // What its proof gave it: one that only says how the group began gives a guest nothing to read, once the invitation
            // has expired.
            return granted.unwrap_or(Access::Refused(Refusal::Denied));
        }
        if view.was_removed(device) {
            // Who left may still bring what it wrote before: its departure, a control entry, arrives ahead of its last data.
            return if view.left.contains(device) { Access::Write } else { Access::Refused(Refusal::Revoked) };
        }
        if view.is_suspended(device) {
            return Access::Refused(Refusal::Denied);
        }
        // Who knows how the group began and is not known here may be in it all the same: it gets nothing, and may bring what
        // says so. What it brings is judged by itself.
        match granted {
            Some(_) => Access::Write,
            None => Access::Refused(Refusal::Denied),
        }
    }
}
