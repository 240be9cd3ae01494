//! What members decide: who is in, who may do what, when keys change.

use std::collections::{BTreeMap, BTreeSet};

use partita_core::{
    ReplicaId, SignedTip, Turn,
    planted::{Bug, planted},
};
use partita_crypto::{BoxSecretKey, EPOCH_BOX_LEN};

use crate::{
    card::Card,
    error::GroupError,
    group::{Group, check_name},
    invite::{Invitation, Invite, Terms},
    op::{Add, Caps, Decide, MAX_CAPPED, MAX_OPS, Op, Remove, RemoveDevice, Scope, SetRole},
    plan::{MAX_PAYLOAD, Plan},
    resolve::MAX_DEVICES,
    role::{History, MemberId, Role},
    view::Membership,
};

impl Group {
    /// Adds a member whose device's card was handed over by some trusted way. It reads at once whatever `history` lets it read.
    ///
    /// Whoever was removed, or left, is back with this device alone. What else it had is added anew, so that a device that was
    /// lost does not come back with its owner.
    ///
    /// # Errors
    /// [`GroupError::Lacks`], [`GroupError::AlreadyMember`], [`GroupError::FurtherDevice`].
    pub fn add(&mut self, turn: &mut Turn<'_>, card: &Card, role: Role, history: History) -> Result<(), GroupError> {
        self.need(Role::Admin)?;
        if !card.is_first() {
            return Err(GroupError::FurtherDevice(card.member()));
        }
        if self.state.view().members.contains_key(&card.member()) {
            return Err(GroupError::AlreadyMember(card.member()));
        }
        let mut plan = Plan::new(self, turn.rng)?;
        let mut ops = vec![Op::Add(Add { card: card.clone(), role, history })];
        if role.reads() && history == History::FromNow {
            let (epoch, secret) = plan.epoch(&ops, Scope::Live, turn.rng)?;
            ops.push(Op::Epoch(epoch));
            // The name is sealed under an epoch that the newcomer has no key for.
            if let Some(name) = self.name() {
                ops.push(Op::Name(plan.name(&name, None, &secret, turn.rng)?));
            }
            plan.step(ops)?;
        } else {
            if role.reads() {
                ops.extend(plan.shares(&self.shareable(), (card.device(), card.box_key()), turn.rng)?);
            }
            plan.steps(ops)?;
        }
        plan.finish(turn);
        Ok(())
    }

    /// Invites somebody: whoever has the [`Invitation`] can join, while nobody here is online. Without the text it is lost.
    ///
    /// # Errors
    /// [`GroupError::Lacks`].
    pub fn invite(&mut self, turn: &mut Turn<'_>, terms: Terms) -> Result<Invitation, GroupError> {
        self.need(Role::Admin)?;
        self.make_invitation(turn, None, terms)
    }

    /// Invites one more device of this member. A member has at most 64 such invitations open.
    ///
    /// # Errors
    /// [`GroupError::NotMember`], [`GroupError::Removed`], [`GroupError::TooManyLinks`].
    pub fn invite_device(&mut self, turn: &mut Turn<'_>) -> Result<Invitation, GroupError> {
        let role = self.current_role()?;
        let own = |invite: &&Invite| invite.member == Some(self.member());
        if self.state.view().invites.values().filter(own).count() >= MAX_DEVICES {
            return Err(GroupError::TooManyLinks(self.member(), MAX_DEVICES));
        }
        let history = self.state.view().members.get(&self.member()).map_or(History::FromNow, |member| member.history);
        let member = Some(self.member());
        self.make_invitation(turn, member, Terms::new(role).history(history))
    }

    fn make_invitation(
        &mut self,
        turn: &mut Turn<'_>,
        member: Option<MemberId>,
        terms: Terms,
    ) -> Result<Invitation, GroupError> {
        let mut plan = Plan::new(self, turn.rng)?;
        let invitation = Invitation::new(self.context(), member, turn.rng);
        let boxes = invitation.keys.boxes.public();
        let invite = Invite::sign(&self.context(), &self.device(), &invitation.keys, member, terms);
        let mut ops = vec![Op::Invite(Box::new(invite))];
        if terms.role.reads() && terms.history == History::All {
            ops.extend(plan.shares(&self.shareable(), (invitation.id(), boxes), turn.rng)?);
        }
        plan.steps(ops)?;
        plan.finish(turn);
        Ok(invitation)
    }

    /// Ends an invitation. What was boxed to it can be read with it until the next epoch, which the next writer begins.
    ///
    /// # Errors
    /// [`GroupError::UnknownInvitation`], [`GroupError::Lacks`].
    pub fn revoke_invitation(&mut self, turn: &mut Turn<'_>, invitation: ReplicaId) -> Result<(), GroupError> {
        let open = self.state.view().invites.get(&invitation).ok_or(GroupError::UnknownInvitation(invitation))?;
        if open.member != Some(self.member()) {
            self.need(Role::Admin)?;
        }
        self.decide_and_rotate(turn, vec![Op::RevokeInvite(invitation)])
    }

    /// Admits whoever joined by an invitation: from now on it has the role that was offered.
    ///
    /// # Errors
    /// [`GroupError::NothingPending`], [`GroupError::Lacks`].
    pub fn confirm(&mut self, turn: &mut Turn<'_>, device: ReplicaId) -> Result<(), GroupError> {
        let decide = self.decision(device, true)?;
        let mut plan = Plan::new(self, turn.rng)?;
        plan.step(vec![Op::Decide(decide)])?;
        plan.finish(turn);
        Ok(())
    }

    /// Does not admit whoever joined by an invitation.
    ///
    /// # Errors
    /// [`GroupError::NothingPending`], [`GroupError::Lacks`].
    pub fn refuse(&mut self, turn: &mut Turn<'_>, device: ReplicaId) -> Result<(), GroupError> {
        let decide = self.decision(device, false)?;
        let mut ops = vec![Op::Decide(decide)];
        if self.state.is_single_use(&decide.invite) {
            // Or its holder would come again with another key, and be the first who is not refused.
            ops.push(Op::RevokeInvite(decide.invite));
        }
        self.decide_and_rotate(turn, ops)
    }

    fn decision(&self, device: ReplicaId, admit: bool) -> Result<Decide, GroupError> {
        let invite = self.waiting().into_iter().find(|(waiting, _)| *waiting == device);
        let (_, invite) = invite.ok_or(GroupError::NothingPending(device))?;
        let of = self.state.member_of_invite(&invite);
        if of != Some(self.member()) {
            self.need(Role::Admin)?;
        }
        Ok(Decide { invite, device, admit })
    }

    /// The devices that joined by an invitation and wait for a decision, with the invitation; by rising id.
    pub fn waiting(&self) -> Vec<(ReplicaId, ReplicaId)> {
        self.state.waiting().into_iter().map(|waiting| (waiting.device, waiting.invite)).collect()
    }

    /// Changes what a member may do from now on. Whoever may read no more learns nothing that is written from now on.
    ///
    /// # Errors
    /// [`GroupError::Lacks`], [`GroupError::UnknownMember`], [`GroupError::LastAdmin`], [`GroupError::Unconfirmed`] for whoever
    /// joined by an invitation: [`confirm`](Self::confirm) it first.
    pub fn set_role(&mut self, turn: &mut Turn<'_>, member: MemberId, role: Role) -> Result<(), GroupError> {
        self.need(Role::Admin)?;
        let known = self.state.view().members.get(&member).ok_or(GroupError::UnknownMember(member))?;
        if known.membership != Membership::Active {
            return Err(GroupError::Unconfirmed(member));
        }
        let before = known.role;
        if before == Some(role) {
            return Ok(());
        }
        if before == Some(Role::Admin) && self.is_last_admin(&member) {
            return Err(GroupError::LastAdmin);
        }
        // Also where it is more than before: what the member did with a right that it had earlier, and has not now, counts.
        let caps = if role < Role::Admin { self.caps(turn, &member) } else { Caps::new() };
        let set = Op::SetRole(SetRole { member, role, caps });
        if before > Some(role) {
            return self.decide_and_rotate(turn, vec![set]);
        }
        let mut plan = Plan::new(self, turn.rng)?;
        let mut ops = vec![set];
        if role.reads() && !before.is_some_and(Role::reads) && known.history == History::All {
            for device in known.devices.keys() {
                if let Some(key) = self.state.resolver().box_key(device) {
                    ops.extend(plan.shares(&self.shareable(), (*device, key), turn.rng)?);
                }
            }
        }
        plan.steps(ops)?;
        plan.finish(turn);
        Ok(())
    }

    /// Takes a member out: what is held of its logs here counts, and nothing beyond. In the same step a new key epoch begins
    /// that it is not given.
    ///
    /// # Errors
    /// [`GroupError::Lacks`], [`GroupError::UnknownMember`], [`GroupError::LastAdmin`].
    pub fn remove(&mut self, turn: &mut Turn<'_>, member: MemberId) -> Result<(), GroupError> {
        self.need(Role::Admin)?;
        if !self.state.view().members.contains_key(&member) {
            return Err(GroupError::UnknownMember(member));
        }
        if member == self.member() {
            return self.leave(turn);
        }
        let caps = self.caps(turn, &member);
        // Whoever came by a link that is still open would come again by it.
        let view = self.state.view();
        let devices =
            view.members.get(&member).map(|member| member.devices.keys().copied().collect()).unwrap_or_default();
        let used: BTreeSet<ReplicaId> =
            Vec::into_iter(devices).flat_map(|device: ReplicaId| self.state.invitations_of(&device)).collect();
        let mut ops = vec![Op::Remove(Remove { member, caps })];
        // And what it made itself would open again if it ever came back.
        let made = self.state.made_by(&member);
        let open = used.into_iter().chain(made).filter(|invite| view.invites.contains_key(invite));
        let open: BTreeSet<ReplicaId> = open.collect();
        let open = open.into_iter();
        ops.extend(open.take(MAX_OPS - 2).map(Op::RevokeInvite));
        self.decide_and_rotate(turn, ops)
    }

    /// Adds a further device of this member, whose card was handed over. A member has at most 64 devices; those that were taken
    /// out do not count.
    ///
    /// # Errors
    /// [`GroupError::OthersDevice`], [`GroupError::FirstDevice`], [`GroupError::TooManyDevices`], [`GroupError::NotMember`],
    /// [`GroupError::Removed`].
    pub fn add_device(&mut self, turn: &mut Turn<'_>, card: &Card) -> Result<(), GroupError> {
        let role = self.current_role()?;
        if card.member() != self.member() {
            return Err(GroupError::OthersDevice(card.member()));
        }
        if card.is_first() {
            return Err(GroupError::FirstDevice(card.member()));
        }
        if self.state.view().members.get(&self.member()).is_some_and(|member| member.devices.len() >= MAX_DEVICES) {
            return Err(GroupError::TooManyDevices(self.member(), MAX_DEVICES));
        }
        let mut plan = Plan::new(self, turn.rng)?;
        let mut ops = vec![Op::AddDevice(card.clone())];
        if role.reads() {
            ops.extend(plan.shares(&self.shareable(), (card.device(), card.box_key()), turn.rng)?);
        }
        plan.steps(ops)?;
        plan.finish(turn);
        Ok(())
    }

    /// Takes a device out: one of this member's, or as an admin anybody's. Otherwise as [`remove`](Self::remove).
    ///
    /// # Errors
    /// [`GroupError::UnknownDevice`], [`GroupError::Lacks`], [`GroupError::LastAdmin`] when nobody else could ever act as
    /// an admin.
    pub fn remove_device(&mut self, turn: &mut Turn<'_>, device: ReplicaId) -> Result<(), GroupError> {
        let view = self.state.view();
        let (member, _) = view.devices.get(&device).ok_or(GroupError::UnknownDevice(device))?;
        if *member != self.member() {
            self.need(Role::Admin)?;
        }
        let alone = view.members.get(member).is_some_and(|member| member.devices.len() == 1);
        if alone && self.is_last_admin(member) {
            return Err(GroupError::LastAdmin);
        }
        let caps = self.tips(turn, &device);
        self.decide_and_rotate(turn, vec![Op::RemoveDevice(RemoveDevice { device, caps })])
    }

    /// Says that nobody waits for a device for now (its owner is away for months): checkpoints that are made from here on do
    /// without its word, so that history can be pruned. It keeps its rights, and what it wrote and did not send yet counts when
    /// it comes; with its return it is waited for again. Only an admin may.
    ///
    /// # Errors
    /// [`GroupError::UnknownDevice`], [`GroupError::Lacks`], [`GroupError::NotAway`].
    pub fn declare_dormant(&mut self, turn: &mut Turn<'_>, device: ReplicaId) -> Result<(), GroupError> {
        self.need(Role::Admin)?;
        if device == self.device() {
            return Err(GroupError::NotAway);
        }
        if !self.state.view().devices.contains_key(&device) {
            return Err(GroupError::UnknownDevice(device));
        }
        let mut plan = Plan::new(self, turn.rng)?;
        plan.step(vec![Op::Dormant(device)])?;
        plan.finish(turn);
        Ok(())
    }

    /// Begins a new key epoch.
    ///
    /// # Errors
    /// [`GroupError::Lacks`].
    pub fn rotate(&mut self, turn: &mut Turn<'_>) -> Result<(), GroupError> {
        self.need(Role::Write)?;
        let mut plan = Plan::new(self, turn.rng)?;
        plan.step_with_epoch(Vec::new(), turn.rng)?;
        plan.finish(turn);
        Ok(())
    }

    /// Makes a new box key for this device and forgets the one before the last: what was boxed to that opens here no more,
    /// but every secret that it brought is kept. All of that is in the keystore alone: save it again afterwards.
    ///
    /// # Errors
    /// [`GroupError::Keystore`], [`GroupError::NotMember`].
    pub fn rotate_device_key(&mut self, turn: &mut Turn<'_>) -> Result<(), GroupError> {
        self.current_role()?;
        let key = BoxSecretKey::generate(turn.rng);
        let public = key.public();
        let mut record = self.record.clone();
        record.boxes.insert(0, key);
        record.boxes.truncate(2);
        record.keep_epochs(&self.ring.keys);
        record.save(&*self.keystore)?;
        self.record = record;
        let mut plan = Plan::new(self, turn.rng)?;
        plan.step(vec![Op::DeviceKey(public)])?;
        plan.finish(turn);
        Ok(())
    }

    /// Leaves the group with all devices of this member: everything that they have written counts, as far as it is here (of
    /// more than several thousand logs, the longest), and nothing after.
    ///
    /// Have every change committed first, and stay connected until it was sent. The next writer begins a new key epoch.
    ///
    /// What is on this device stays there: the group's keys in the keystore, its documents in the store, and whoever has both
    /// reads them. Nothing deletes a context yet.
    ///
    /// # Errors
    /// [`GroupError::LastAdmin`], [`GroupError::NotMember`], [`GroupError::Removed`].
    pub fn leave(&mut self, turn: &mut Turn<'_>) -> Result<(), GroupError> {
        self.current_role()?;
        if self.is_last_admin(&self.member()) {
            return Err(GroupError::LastAdmin);
        }
        let caps = self.caps(turn, &self.member());
        let mut plan = Plan::new(self, turn.rng)?;
        plan.step(vec![Op::Leave(caps)])?;
        plan.finish(turn);
        Ok(())
    }

    /// Gives the group another name.
    ///
    /// # Errors
    /// [`GroupError::Lacks`], [`GroupError::Name`], [`GroupError::NoKeys`].
    pub fn rename(&mut self, turn: &mut Turn<'_>, name: &str) -> Result<(), GroupError> {
        self.need(Role::Admin)?;
        check_name(name)?;
        let mut plan = Plan::new(self, turn.rng)?;
        let epoch = self.writable().and_then(|id| Some((id, self.ring.keys.get(&id)?)));
        let op = match epoch {
            Some((id, secret)) => vec![Op::Name(plan.name(name, Some(id), secret, turn.rng)?)],
            None => {
                let (epoch, secret) = plan.epoch(&[], Scope::Live, turn.rng)?;
                vec![Op::Epoch(epoch), Op::Name(plan.name(name, None, &secret, turn.rng)?)]
            }
        };
        plan.step(op)?;
        plan.finish(turn);
        Ok(())
    }

    /// The role that is needed, or who lacks what. On the device that founds a group it is there before the beginning is written.
    fn need(&self, needed: Role) -> Result<(), GroupError> {
        if self.state.is_empty() && self.record.genesis.is_some() {
            return Ok(());
        }
        let has = self.current_role()?;
        if has >= needed { Ok(()) } else { Err(GroupError::Lacks { needed, has: Some(has) }) }
    }

    fn is_last_admin(&self, member: &MemberId) -> bool {
        let members = &self.state.view().members;
        let admin = |member: &crate::view::Member| member.role == Some(Role::Admin) && !member.devices.is_empty();
        members.get(member).is_some_and(admin) && !members.iter().any(|(other, about)| other != member && admin(about))
    }

    /// Writes an op that takes reading away, with a new epoch in the same step if this device may begin one; otherwise
    /// the next writer does.
    fn decide_and_rotate(&mut self, turn: &mut Turn<'_>, ops: Vec<Op>) -> Result<(), GroupError> {
        let mut plan = Plan::new(self, turn.rng)?;
        let may_begin = self.role().is_some_and(Role::writes) || self.state.is_empty();
        if may_begin && !planted(Bug::KeysKept) {
            plan.step_with_epoch(ops, turn.rng)?;
        } else {
            plan.step(ops)?;
        }
        plan.finish(turn);
        Ok(())
    }

    /// The most logs that one op lists, so that an epoch fits beside them: thousands.
    fn most_listed(&self) -> usize {
        let view = self.state.view();
        let boxes = EPOCH_BOX_LEN * (view.readers.len() + view.invites.len());
        MAX_PAYLOAD.saturating_sub(boxes + 32 * 1024) / SignedTip::MAX_ENCODED
    }

    /// How far the logs of a member's devices count when it loses something now: as far as they are held here. Where they
    /// are more than one op can list, the longest are listed, so that nobody is safe from removal by having many.
    fn caps(&self, turn: &Turn<'_>, member: &MemberId) -> Caps {
        let about = self.state.ledger.members.get(member);
        let devices = about.into_iter().flat_map(|about| &about.devices);
        let mut logs: Vec<(ReplicaId, SignedTip)> =
            devices.flat_map(|device| self.tips(turn, device).into_iter().map(|tip| (*device, tip))).collect();
        logs.sort_unstable_by_key(|(_, tip)| std::cmp::Reverse(tip.tip.seq));
        logs.truncate(self.most_listed());
        let mut caps: BTreeMap<ReplicaId, Vec<SignedTip>> = BTreeMap::new();
        for (device, tip) in logs {
            if caps.len() < MAX_CAPPED || caps.contains_key(&device) {
                caps.entry(device).or_default().push(tip);
            }
        }
        caps.values_mut().for_each(|tips| tips.sort_unstable());
        caps.into_iter().collect()
    }

    /// All logs of the device, not only tips: a newcomer gets control entries first, and must decide the same without
    /// knowing which log followed which.
    fn tips(&self, turn: &Turn<'_>, device: &ReplicaId) -> Vec<SignedTip> {
        let mut tips = turn.view.logs_of(&self.context(), device);
        tips.sort_unstable();
        tips.dedup_by_key(|tip| tip.tip.log);
        SignedTip::longest(tips, self.most_listed())
    }

    /// The epochs whose secrets a new reader of all history is given.
    fn shareable(&self) -> Vec<partita_core::EpochId> {
        self.state.shareable(|id| self.ring.keys.contains(id))
    }
}
