//! What a device writes by itself: its acceptance of an invitation, keys for readers who lack them, a new epoch where none may
//! be written under.

use std::collections::BTreeSet;

use partita_core::{EpochId, Now, ReplicaId, Turn};

use partita_crypto::{BoxPublicKey, BoxSecretKey};

use crate::{
    card::Card,
    epochs::Announced,
    error::GroupError,
    group::Group,
    invite::Accept,
    op::{Decide, Op},
    plan::Plan,
    role::{MemberId, Role},
    state::Waiting,
};

/// Beyond so many control heads somebody merges them: what is written names them all.
const MOST_HEADS: usize = 256;

/// The epochs that are begun.
#[derive(Default)]
struct Rotation {
    live: bool,
    /// One for snapshots, and the members who may not read them.
    archive: Option<BTreeSet<MemberId>>,
}

impl Group {
    /// Writes what this device should write now; nothing when everything is as it should be.
    pub(crate) fn fulfil(&mut self, turn: &mut Turn<'_>) -> Result<(), GroupError> {
        let mut steps: Vec<Vec<Op>> = Vec::new();
        if self.state.is_empty() {
            if self.record.genesis.is_some() {
                Plan::new(self, turn.rng)?.finish(turn);
            }
            return Ok(());
        }
        if let Some(accept) = self.acceptance() {
            steps.push(vec![Op::Accept(Box::new(accept))]);
            return self.write(steps, Rotation::default(), Vec::new(), turn);
        }
        let Some(role) = self.role() else {
            return Ok(());
        };
        if role == Role::Admin {
            let now = turn.now.wall.as_secs();
            let open = self.state.view().invites.iter();
            let ended = open.filter(|(_, invite)| invite.terms.expires.is_some_and(|end| now >= end));
            steps.extend(ended.map(|(id, _)| vec![Op::RevokeInvite(*id)]));
        }
        steps.extend(self.confirmations(turn.now, role).into_iter().map(|op| vec![op]));
        if role.reads() {
            let complaints = self.ring.broken.iter().filter(|epoch| {
                // Also where whoever began it lost its right since: before anybody heard of that, others wrote under it.
                self.state.is_complete(epoch) && !self.state.epochs.has_complained(epoch, &self.device())
            });
            steps.extend(complaints.map(|epoch| vec![Op::Complain(*epoch)]));
        }
        if let Some(key) = self.unknown_key() {
            steps.push(vec![Op::DeviceKey(key)]);
        }
        if self.state.is_dormant(&self.device()) {
            steps.push(vec![Op::Back]);
        }
        if self.state.ledger.heads().len() > MOST_HEADS && role.writes() {
            steps.push(vec![Op::Merge]);
        }
        let rotates = turn.writing && role.writes() && (self.writable().is_none() || self.is_old(turn.now));
        let without = if turn.writing && role.writes() { self.state.left_out_of(turn.past) } else { BTreeSet::new() };
        let can_use = !without.is_empty() && !without.contains(&self.member());
        let archive = Some(without).filter(|without| can_use && self.archive(without).is_none());
        let lacking = if role.reads() { self.lacking(role, turn.writing) } else { Vec::new() };
        self.write(steps, Rotation { live: rotates, archive }, lacking, turn)
    }

    fn write(
        &self,
        steps: Vec<Vec<Op>>,
        rotates: Rotation,
        lacking: Vec<(ReplicaId, Vec<EpochId>)>,
        turn: &mut Turn<'_>,
    ) -> Result<(), GroupError> {
        if steps.is_empty() && !rotates.live && rotates.archive.is_none() && lacking.is_empty() {
            return Ok(()); // as nearly always
        }
        let mut plan = Plan::new(self, turn.rng)?;
        for ops in steps {
            plan.step(ops)?;
        }
        // Where a group has become too large for an epoch, everything else is done all the same.
        if rotates.live {
            unless_too_large(plan.step_with_epoch(Vec::new(), turn.rng).map(drop))?;
        }
        if let Some(without) = rotates.archive {
            unless_too_large(plan.archive(&without, turn.rng))?;
        }
        for (reader, epochs) in lacking {
            let key = match self.state.view().invites.get(&reader) {
                Some(invite) => Some(invite.boxes),
                None => self.state.resolver().box_key(&reader),
            };
            let Some(key) = key else { continue };
            plan.steps(plan.shares(&epochs, (reader, key), turn.rng)?)?;
        }
        plan.finish(turn);
        Ok(())
    }

    /// This device's box key, where the group knows one that this device does not hold: after an old keystore was restored,
    /// say.
    fn unknown_key(&self) -> Option<BoxPublicKey> {
        let known = self.state.resolver().box_key(&self.device())?;
        let held = self.record.box_keys(&self.keys).any(|key| key.public() == known);
        self.record.boxes.first().filter(|_| !held).map(BoxSecretKey::public)
    }

    /// This device joins, once it has seen the invitation.
    fn acceptance(&self) -> Option<Accept> {
        let invitation = self.record.invitation.as_ref()?;
        let view = self.state.view();
        let is_in = view.role(&self.device()).is_some();
        let is_used = self.state.invitations_of(&self.device()).contains(&invitation.id());
        if is_in || is_used || !view.invites.contains_key(&invitation.id()) {
            return None;
        }
        let card = Card::new(&self.keys, invitation.member);
        Some(Accept::sign(&self.info.id, &invitation.keys.signing, card))
    }

    /// Confirms whoever joined in time: an admin's device where the policy leaves that to it, and any member's its own further
    /// devices. When somebody joined is its own word, so a late one can lie; relays let nobody in then. Nor does a clock that is
    /// ahead keep anybody out before the time has come here.
    fn confirmations(&self, now: Now, role: Role) -> Vec<Op> {
        let me = self.device();
        let by_itself = role == Role::Admin && !self.state.policy().confirm_by_hand;
        let may = |waiting: &Waiting| by_itself || self.state.member_of_invite(&waiting.invite) == Some(self.member());
        let waiting = self.state.waiting().into_iter();
        let waiting = waiting.filter(|one| !one.contested && may(one) && !self.state.has_decided(&me, one));
        let decide = |one: Waiting| {
            let end = self.state.terms_of(&one.invite).and_then(|terms| terms.expires);
            let accepted = self.state.accepted_at(&one).map(|time| time.to_duration().as_secs());
            let admit = end.is_none_or(|end| now.wall.as_secs() < end || accepted.is_some_and(|at| at < end));
            Op::Decide(Decide { invite: one.invite, device: one.device, admit })
        };
        waiting.map(decide).collect()
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

    /// The readers who lack epochs that this device boxes again. Whoever made an epoch does so at once, and so do admins;
    /// the others only when they write, so that a group of a thousand does not answer in chorus.
    fn lacking(&self, role: Role, writing: bool) -> Vec<(ReplicaId, Vec<EpochId>)> {
        let me = self.device();
        let eager = writing || role == Role::Admin;
        let may = |announced: &Announced| eager || announced.maker.device == me;
        self.state.lacking(&me, may, |id: &EpochId| self.ring.keys.contains(id)).into_iter().collect()
    }
}

fn unless_too_large(done: Result<(), GroupError>) -> Result<(), GroupError> {
    match done {
        Err(GroupError::TooLarge(_)) => Ok(()),
        done => done,
    }
}
