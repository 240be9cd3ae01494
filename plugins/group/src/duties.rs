//! What a device writes by itself: its acceptance of an invitation, keys for readers who lack them, a new epoch where none may
//! be written under.

use partita_core::{EpochId, Now, ReplicaId, Turn};

use crate::{
    card::Card,
    error::GroupError,
    group::Group,
    invite::Accept,
    op::{Decide, MAX_SHARED, Op},
    plan::Plan,
    role::Role,
    view::Membership,
};

impl Group {
    /// Writes what this device should write now; nothing when everything is as it should be.
    pub(crate) fn fulfil(&mut self, turn: &mut Turn<'_>) -> Result<(), GroupError> {
        let mut plan = Plan::new(self, turn.rng)?;
        if self.state.is_empty() {
            plan.finish(turn);
            return Ok(());
        }
        if let Some(accept) = self.acceptance() {
            plan.step(vec![Op::Accept(Box::new(accept))])?;
            plan.finish(turn);
            return Ok(());
        }
        let Some(role) = self.role() else {
            return Ok(());
        };
        let (view, mut ops) = (self.state.view(), Vec::new());
        if role == Role::Admin {
            for (id, invite) in &view.invites {
                if invite.terms.expires.is_some_and(|end| turn.now.wall.as_secs() >= end) {
                    ops.push(Op::RevokeInvite(*id));
                }
            }
            if !self.state.policy().confirm_by_hand {
                ops.extend(self.confirmations(turn.now));
            }
        } else {
            ops.extend(self.own_confirmations());
        }
        if role.reads() {
            for epoch in &self.ring.broken {
                if !self.state.epochs.has_complained(epoch, &self.device()) {
                    ops.push(Op::Complain(*epoch));
                }
            }
        }
        for op in ops {
            plan.step(vec![op])?;
        }
        if turn.writing && role.writes() && (self.writable().is_none() || self.is_old(turn.now)) {
            plan.step_with_epoch(Vec::new(), turn.rng)?;
        }
        if role.reads() {
            self.share_with_lacking(&mut plan, role, turn)?;
        }
        plan.finish(turn);
        Ok(())
    }

    /// This device joins, once it has seen the invitation.
    fn acceptance(&self) -> Option<Accept> {
        let invitation = self.record.invitation.as_ref()?;
        let view = self.state.view();
        let is_known = self.state.knows(&self.device()) || !self.state.invitations_of(&self.device()).is_empty();
        if is_known || !view.invites.contains_key(&invitation.id()) {
            return None;
        }
        let card = Card::new(&self.keys, invitation.member);
        Some(Accept::sign(&self.info.id, &invitation.keys.signing, card))
    }

    /// An admin's device confirms whoever joined, where the policy leaves that to it.
    fn confirmations(&self, now: Now) -> Vec<Op> {
        let view = self.state.view();
        let pending = view.members.values().filter(|member| member.membership == Membership::Pending);
        let pending = pending.filter_map(|member| Some((*member.devices.keys().next()?, member.invite?)));
        let mut pending: Vec<(ReplicaId, ReplicaId)> = pending.collect();
        pending.extend(self.state.waiting_devices());
        let expired = |invite: &ReplicaId| {
            self.state.terms_of(invite).and_then(|terms| terms.expires).is_some_and(|end| now.wall.as_secs() >= end)
        };
        let timely = pending.into_iter().filter(|(_, invite)| !expired(invite));
        timely.map(|(device, invite)| Op::Decide(Decide { invite, device, admit: true })).collect()
    }

    /// Whoever is no admin confirms the further devices that it invited itself.
    fn own_confirmations(&self) -> Vec<Op> {
        let own = |invite: &ReplicaId| self.state.member_of_invite(invite) == Some(self.member());
        let waiting = self.state.waiting_devices().into_iter().filter(|(_, invite)| own(invite));
        waiting.map(|(device, invite)| Op::Decide(Decide { invite, device, admit: true })).collect()
    }

    /// Whether the epoch in use is older than the group's policy allows. A clock that is wrong makes too few epochs or too
    /// many, nothing else.
    fn is_old(&self, now: Now) -> bool {
        let Some(age) = self.state.policy().rotate_after else {
            return false;
        };
        let began = self.writable().and_then(|id| self.state.epochs.announced.get(&id));
        let began = began.and_then(|announced| self.state.ledger.entry(announced.entry));
        began.is_some_and(|held| now.wall.saturating_sub(held.time.to_duration()) > age)
    }

    /// Boxes epochs again for readers who lack them. Whoever made an epoch does so at once, and so do admins; the others
    /// only when they write, so that a group of a thousand does not answer in chorus.
    fn share_with_lacking(&self, plan: &mut Plan<'_>, role: Role, turn: &mut Turn<'_>) -> Result<(), GroupError> {
        let me = self.device();
        let eager = turn.writing || role == Role::Admin;
        let lacking = self.state.lacking(
            &me,
            |announced| eager || announced.maker.device == me,
            |id: &EpochId| self.ring.keys.contains(id),
        );
        for (reader, epochs) in lacking {
            let key = match self.state.view().invites.get(&reader) {
                Some(invite) => Some(invite.boxes),
                None => self.state.resolver().box_key(&reader),
            };
            let Some(key) = key else { continue };
            for epochs in epochs.chunks(MAX_SHARED) {
                if let Some(share) = plan.share(epochs, (reader, key), turn.rng)? {
                    plan.step(vec![share])?;
                }
            }
        }
        Ok(())
    }
}
