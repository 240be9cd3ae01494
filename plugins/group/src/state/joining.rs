//! Invitations: who holds one, who used it, who waits for a decision.

use partita_core::{Brought, ContextInfo, Now, Refusal, ReplicaId, Timestamp};

use super::{State, Waiting};
use crate::{
    invite::{Invite, Terms, Uses},
    ledger::{Admission, OpNo},
    op::Op,
    proof,
    role::MemberId,
    view::Membership,
};

/// How many who came by an invitation are remembered.
const MOST_GUESTS: usize = 4096;

impl State {
    /// Who joined by an invitation and waits for a decision.
    pub(crate) fn waiting(&self) -> Vec<Waiting> {
        let view = self.view();
        let mut waiting = Vec::new();
        for (id, member) in &view.members {
            if let (Some(invite), true) = (member.invite, member.membership != Membership::Active) {
                // It is named after the device that accepted, whatever others it has.
                let contested = member.membership == Membership::Suspended;
                waiting.push(Waiting { device: id.0, invite, contested });
            }
        }
        for (id, about) in &self.ledger.devices {
            for (member, admission) in &about.admissions {
                let Some(invite) = admission.pending else { continue };
                let listed = view.members.get(member).and_then(|member| member.devices.get(id).copied());
                let resolver = self.resolver();
                let stands = |one: &Admission| one.pending.is_none() && resolver.further_stands(about, member, one);
                let admitted = about.admissions.iter().any(|(_, one)| stands(one));
                if let (Some(role), false) = (listed, admitted) {
                    waiting.push(Waiting { device: *id, invite, contested: role.is_none() });
                }
            }
        }
        waiting.sort_unstable();
        waiting.dedup();
        waiting
    }

    /// When a device says that it accepted an invitation.
    pub(crate) fn accepted_at(&self, waiting: &Waiting) -> Option<Timestamp> {
        let accepted = &self.ledger.invites.get(&waiting.invite)?.accepted;
        let by_device = accepted.iter().filter_map(|no| match self.ledger.op(*no) {
            Some((held, Op::Accept(accept))) if accept.card.device() == waiting.device => {
                (held.author == waiting.device && self.resolver().yes(*no)).then_some(held.time)
            }
            _ => None,
        });
        by_device.min()
    }

    /// Whether a device decided about somebody already, whether or not that counts.
    pub(crate) fn has_decided(&self, by: &ReplicaId, about: &Waiting) -> bool {
        let decided = self.ledger.invites.get(&about.invite).map_or(&[][..], |about| &about.decided);
        decided
            .iter()
            .filter_map(|no| self.ledger.op(*no))
            .any(|(held, op)| held.author == *by && matches!(op, Op::Decide(decide) if decide.device == about.device))
    }

    /// Whether an invitation lets one device in.
    pub(crate) fn is_single_use(&self, id: &ReplicaId) -> bool {
        self.invite(id).is_some_and(|invite| invite.terms.uses == Uses::Once)
    }

    fn invite(&self, id: &ReplicaId) -> Option<&Invite> {
        let made = self.ledger.invites.get(id)?.made.iter().filter(|no| self.resolver().yes(**no));
        made.filter_map(|no| self.ledger.op(*no)).find_map(|(_, op)| match op {
            Op::Invite(invite) => Some(&**invite),
            _ => None,
        })
    }

    pub(crate) fn terms_of(&self, invite: &ReplicaId) -> Option<Terms> {
        self.invite(invite).map(|invite| invite.terms)
    }

    pub(crate) fn member_of_invite(&self, invite: &ReplicaId) -> Option<MemberId> {
        self.invite(invite).and_then(|invite| invite.member)
    }

    /// The invitations that a member's devices made.
    pub(crate) fn made_by(&self, member: &MemberId) -> Vec<ReplicaId> {
        let devices = self.ledger.members.get(member).map(|about| &about.devices);
        let by_them = |no: &OpNo| {
            self.ledger.op(*no).is_some_and(|(held, _)| devices.is_some_and(|devices| devices.contains(&held.author)))
        };
        let made = self.ledger.invites.iter().filter(|(_, about)| about.made.iter().any(by_them));
        made.map(|(id, _)| *id).collect()
    }

    /// The invitations that a device accepted.
    pub(crate) fn invitations_of(&self, device: &ReplicaId) -> Vec<ReplicaId> {
        // By its own word: anybody can repeat a card.
        let accepted_by = |no: &OpNo| match self.ledger.op(*no) {
            Some((held, Op::Accept(accept))) => {
                accept.card.device() == *device && held.author == *device && self.resolver().yes(*no)
            }
            _ => false,
        };
        let used = self.ledger.invites.iter().filter(|(_, about)| about.accepted.iter().any(accepted_by));
        used.map(|(id, _)| *id).collect()
    }

    /// Whether the holder of an invitation may open the group's context: while it can be used, and once it was used by this
    /// device.
    pub(crate) fn admits(&self, now: Now, invite: &ReplicaId, device: &ReplicaId) -> Result<(), Refusal> {
        let view = self.view();
        if view.role(device).is_some() {
            return Ok(());
        }
        match view.invites.get(invite) {
            Some(open) if open.terms.expires.is_some_and(|end| now.wall.as_secs() >= end) => Err(Refusal::Revoked),
            Some(_) => Ok(()),
            None if self.ledger.invites.contains_key(invite) => Err(Refusal::Revoked),
            None => Err(Refusal::Denied),
        }
    }

    /// Remembers whoever shows an invitation that can be used; says whether that is new.
    pub(crate) fn welcome(&mut self, context: &ContextInfo, brought: &Brought<'_>) -> bool {
        let Some(invite) = proof::invitation_in(brought.proof) else {
            return false;
        };
        let Brought { now, transcript, remote, proof, .. } = brought;
        if proof::verify(*now, transcript, remote, context, Some(self), proof).is_err() {
            return false;
        }
        if self.guests.len() >= MOST_GUESTS {
            self.guests.pop_first(); // it shows its invitation again when it comes back
        }
        let guest = ReplicaId::from_bytes(*remote.as_bytes());
        self.guests.insert(guest, invite) != Some(invite)
    }

    pub(super) fn is_guest(&self, device: &ReplicaId) -> bool {
        self.guests.get(device).is_some_and(|invite| self.view().invites.contains_key(invite))
    }
}
