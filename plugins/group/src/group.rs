//! The member's side: one group on one of a member's devices.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use partita_core::{
    ContextId, ContextInfo, ContextKind, CryptoRng, DeviceKeys, EntryId, EpochId, Keystore, KeystoreError, ReplicaId,
    Timestamp,
};
use partita_crypto::{AeadKey, EpochSecret, derive};

use crate::{
    card::Card,
    epochs::epoch_id,
    error::GroupError,
    events::Snapshot,
    genesis::{GROUP_KIND, Genesis, MAX_FOUNDERS, Policy},
    invite::{Invitation, Terms},
    keyring::Keyring,
    op::{Name, Op},
    record::{MOST_USED, Record},
    role::{History, MemberId, Role},
    state::State,
    view::Membership,
};

const NAME_KEY: &str = "partita group name key v1";
const MAX_NAME: usize = 200;

/// The partition strategy of one group, on one of its members' devices.
///
/// It holds the device's own keys and the epoch secrets that were boxed to it. See the [crate documentation](crate).
pub struct Group {
    pub(crate) keys: DeviceKeys,
    pub(crate) keystore: Arc<dyn Keystore>,
    pub(crate) record: Record,
    pub(crate) info: ContextInfo,
    pub(crate) kinds: [ContextKind; 1],
    pub(crate) state: State,
    pub(crate) ring: Keyring,
    /// Which epoch is written under, until something changes.
    pub(crate) chosen: OnceLock<Option<EpochId>>,
    /// The same for snapshots that some members may not read.
    pub(crate) archives: Mutex<BTreeMap<BTreeSet<MemberId>, EpochId>>,
    /// What the application was told of last.
    pub(crate) told: Snapshot,
}

/// A member, as far as is known here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberInfo {
    /// Who it is.
    pub id: MemberId,
    /// What it may do; `None` while it is suspended.
    pub role: Option<Role>,
    /// What of the group's past it may read.
    pub history: History,
    /// How it is in the group.
    pub membership: Membership,
    /// Its devices, by rising id.
    pub devices: Vec<ReplicaId>,
    /// Those of them for which nobody waits until they are back.
    pub dormant: Vec<ReplicaId>,
}

/// An invitation that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvitationInfo {
    /// What it is revoked by.
    pub id: ReplicaId,
    /// What it grants.
    pub terms: Terms,
    /// The member whose further device it is for.
    pub member: Option<MemberId>,
}

/// Whether this device can write now, and under which keys.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupStatus {
    /// The epoch that the next change is sealed under. `None`: a new one is begun with the next change, or this device
    /// may not write.
    pub epoch: Option<EpochId>,
    /// How many epochs' secrets are here.
    pub epochs_held: usize,
    /// How many epochs were announced that this device may read and whose secret has not come yet.
    pub epochs_missing: usize,
    /// Why this device may not write now; `None` when it may.
    pub why_not: Option<GroupError>,
}

/// One step of the group's past.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryItem {
    /// The control entry.
    pub entry: EntryId,
    /// The device that wrote it.
    pub device: ReplicaId,
    /// When it says that it did.
    pub time: Timestamp,
    /// What it did.
    pub action: Action,
    /// Whether that counts: its author had the right and was not cut off.
    pub counts: bool,
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)] // the names say it
pub enum Action {
    Created { founders: Vec<MemberId> },
    Added { member: MemberId, role: Role, history: History },
    Removed { member: MemberId },
    RoleSet { member: MemberId, role: Role },
    DeviceAdded { member: MemberId, device: ReplicaId },
    DeviceRemoved { device: ReplicaId },
    DeviceKeyChanged,
    DeclaredDormant { device: ReplicaId },
    Rotated { epoch: EpochId },
    Invited { invitation: ReplicaId, terms: Terms },
    InvitationRevoked { invitation: ReplicaId },
    Joined { invitation: ReplicaId, device: ReplicaId },
    Confirmed { device: ReplicaId },
    Refused { device: ReplicaId },
    Left,
    Vouched { entries: usize },
    Renamed,
}

impl Group {
    /// A new group, with this device's owner as its only member. Needs no network.
    ///
    /// The name is for people: sealed, and not what the group is known by. What holds for good is the [`Policy`]. The keystore
    /// has something new afterwards, as after [`join`](Self::join) and [`added`](Self::added): save it again.
    ///
    /// # Errors
    /// [`GroupError::Keystore`], [`GroupError::Name`].
    pub fn create(
        keystore: Arc<dyn Keystore>,
        rng: &mut dyn CryptoRng,
        name: &str,
        policy: Policy,
    ) -> Result<Self, GroupError> {
        Self::found(keystore, rng, name, policy, &[])
    }

    /// A new group with several founders, all of them admins: this device's owner, the most senior, and the owners of these
    /// cards, in this order.
    ///
    /// # Errors
    /// As [`create`](Self::create), [`GroupError::TooManyFounders`], [`GroupError::FurtherDevice`] for a card that is not of
    /// a member's first device, [`GroupError::AlreadyMember`] for one that comes twice.
    pub fn found(
        keystore: Arc<dyn Keystore>,
        rng: &mut dyn CryptoRng,
        name: &str,
        policy: Policy,
        others: &[Card],
    ) -> Result<Self, GroupError> {
        check_name(name)?;
        let keys = device_keys(&*keystore, rng)?;
        let mut founders = vec![Card::new(&keys, None)];
        for card in others {
            if !card.is_first() {
                return Err(GroupError::FurtherDevice(card.member()));
            }
            if founders.iter().any(|known| known.device() == card.device()) {
                return Err(GroupError::AlreadyMember(card.member()));
            }
            founders.push(card.clone());
        }
        if founders.len() > MAX_FOUNDERS {
            return Err(GroupError::TooManyFounders);
        }
        let mut nonce = [0; 32];
        rng.fill_bytes(&mut nonce);
        let genesis = Genesis { founders, policy, nonce };
        let mut record = Record::new(genesis.context()?.id, MemberId(keys.replica()), &keys);
        record.genesis = Some((genesis, name.to_owned()));
        record.create(&*keystore)?;
        Self::of(keystore, keys, record)
    }

    /// The group that somebody else founded or added this device's card to, by its context.
    ///
    /// # Errors
    /// [`GroupError::UnknownDevice`] when the card is not of this keystore's device, [`GroupError::Exists`],
    /// [`GroupError::Keystore`], also when there are no keys: [`card`](Self::card) makes them.
    pub fn added(keystore: Arc<dyn Keystore>, context: ContextId, card: &Card) -> Result<Self, GroupError> {
        let keys = DeviceKeys::load(&*keystore)?;
        if card.device() != keys.replica() {
            return Err(GroupError::UnknownDevice(card.device()));
        }
        let record = Record::new(context, card.member(), &keys);
        record.create(&*keystore)?;
        Self::of(keystore, keys, record)
    }

    /// The group that somebody invited this device to, for the first time or again. It is in as soon as it has synced with a
    /// relay or a member, and an admin's device confirms it.
    ///
    /// # Errors
    /// [`GroupError::Exists`], [`GroupError::Keystore`], [`GroupError::FirstDevice`] when the invitation is for a further device of
    /// the member whose first one this is.
    pub fn join(
        keystore: Arc<dyn Keystore>,
        rng: &mut dyn CryptoRng,
        invitation: &Invitation,
    ) -> Result<Self, GroupError> {
        let keys = device_keys(&*keystore, rng)?;
        let member = invitation.member.unwrap_or(MemberId(keys.replica()));
        if invitation.member == Some(MemberId(keys.replica())) {
            // It would accept and be nobody, for good.
            return Err(GroupError::FirstDevice(member));
        }
        let record = match Record::load(&*keystore, &invitation.context()) {
            // Whoever left, was removed, or was not admitted comes back by another invitation, with the keys that it had.
            Ok(before) if before.member == member => {
                let mut record = before;
                if record.invitation.as_ref().is_none_or(|known| known.id() != invitation.id()) {
                    let earlier = record.invitation.replace(invitation.clone());
                    record.used.splice(0..0, earlier);
                    record.used.truncate(MOST_USED);
                    record.save(&*keystore)?;
                }
                record.list(&*keystore)?;
                record
            }
            Err(GroupError::UnknownGroup(_)) => {
                let mut record = Record::new(invitation.context(), member, &keys);
                record.invitation = Some(invitation.clone());
                record.create(&*keystore)?;
                record
            }
            before => return Err(before.err().unwrap_or(GroupError::Exists(invitation.context()))),
        };
        Self::of(keystore, keys, record)
    }

    /// One of the groups that this keystore belongs to.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`], [`GroupError::Keystore`] when there are no keys: that is never taken for a new device.
    pub fn open(keystore: Arc<dyn Keystore>, context: &ContextId) -> Result<Self, GroupError> {
        let keys = DeviceKeys::load(&*keystore)?;
        let record = Record::load(&*keystore, context)?;
        Self::of(keystore, keys, record)
    }

    /// The groups that this keystore belongs to.
    ///
    /// # Errors
    /// [`GroupError::Keystore`], [`GroupError::Damaged`].
    pub fn all(keystore: &dyn Keystore) -> Result<Vec<ContextId>, GroupError> {
        Record::all(keystore)
    }

    /// This device's card, for whoever adds a new member. Makes the device's keys if the keystore has none.
    ///
    /// # Errors
    /// [`GroupError::Keystore`].
    pub fn card(keystore: &dyn Keystore, rng: &mut dyn CryptoRng) -> Result<Card, GroupError> {
        Ok(Card::new(&device_keys(keystore, rng)?, None))
    }

    /// This device's card as a further device of a member, for that member's other device.
    ///
    /// # Errors
    /// [`GroupError::Keystore`].
    pub fn device_card(keystore: &dyn Keystore, rng: &mut dyn CryptoRng, member: MemberId) -> Result<Card, GroupError> {
        Ok(Card::new(&device_keys(keystore, rng)?, Some(member)))
    }

    fn of(keystore: Arc<dyn Keystore>, keys: DeviceKeys, record: Record) -> Result<Self, GroupError> {
        let kind = ContextKind::new(GROUP_KIND)?;
        let info = ContextInfo { id: record.context, kind: kind.clone() };
        Ok(Self {
            state: State::new(info.id),
            ring: Keyring::new(&record),
            kinds: [kind],
            info,
            keys,
            keystore,
            record,
            chosen: OnceLock::new(),
            archives: Mutex::default(),
            told: Snapshot::default(),
        })
    }

    /// The group's context.
    pub fn context(&self) -> ContextId {
        self.info.id
    }

    /// This device.
    pub fn device(&self) -> ReplicaId {
        self.keys.replica()
    }

    /// The member whose device this is.
    pub fn member(&self) -> MemberId {
        self.record.member
    }

    /// What holds in the group for good; `None` before its beginning has come.
    pub fn policy(&self) -> Option<Policy> {
        self.state.ledger.policy
    }

    /// What this device may do now; `None` when it is not in the group, as far as is known here.
    pub fn role(&self) -> Option<Role> {
        self.state.view().role(&self.device())
    }

    /// The members, by rising id.
    pub fn members(&self) -> Vec<MemberInfo> {
        let dormant = self.state.dormant(&self.state.ledger.heads());
        let members = self.state.view().members.iter().map(|(id, member)| MemberInfo {
            id: *id,
            role: member.role,
            history: member.history,
            membership: member.membership,
            devices: member.devices.keys().copied().collect(),
            dormant: member.devices.keys().filter(|device| dormant.contains(device)).copied().collect(),
        });
        members.collect()
    }

    /// The invitations that can be used, by rising id.
    pub fn invitations(&self) -> Vec<InvitationInfo> {
        let open = self.state.view().invites.iter();
        open.map(|(id, invite)| InvitationInfo { id: *id, terms: invite.terms, member: invite.member }).collect()
    }

    /// The group's name, if it has come and its key is here.
    pub fn name(&self) -> Option<String> {
        let mut latest = None;
        for held in self.state.ledger.entries() {
            for (index, op) in held.ops().iter().enumerate() {
                let Op::Name(name) = op else { continue };
                let place = (held.depth, held.id);
                if latest.as_ref().is_none_or(|(known, _)| *known < place)
                    && self.state.resolver().op_counts(held, index, op)
                    && let Some(text) = self.read_name(held, name)
                {
                    latest = Some((place, text));
                }
            }
        }
        latest.map(|(_, name)| name)
    }

    fn read_name(&self, held: &crate::ledger::Held, name: &Name) -> Option<String> {
        let here = || held.ops().iter().position(|op| matches!(op, Op::Epoch(_))).map(|index| epoch_id(held, index));
        let secret = self.ring.keys.get(&name.epoch.or_else(here)?)?;
        let plain = name_key(secret, &self.info.id).open(self.info.id.as_bytes(), &name.sealed).ok()?;
        String::from_utf8(plain).ok()
    }

    /// Whether this device can write now, and under which keys.
    pub fn status(&self) -> GroupStatus {
        let announced = self.state.epochs.announced.iter();
        // Not the number of those that are held: among them can be some that it may read no more.
        let missing = announced.filter(|(id, _)| !self.holds(id));
        let missing = missing.filter(|(_, one)| self.state.is_entitled(&self.device(), one));
        GroupStatus {
            epoch: self.writable(),
            epochs_held: self.ring.keys.len(),
            epochs_missing: missing.count(),
            why_not: self.may_write().err(),
        }
    }

    /// Whether this device holds the secret of an epoch.
    pub fn holds(&self, epoch: &EpochId) -> bool {
        self.ring.keys.contains(epoch)
    }

    /// Everything that happened, in an order in which causes come first.
    pub fn history(&self) -> Vec<HistoryItem> {
        let mut items = Vec::new();
        for held in self.state.ledger.entries() {
            for (index, op) in held.ops().iter().enumerate() {
                let action = match op {
                    Op::Create(genesis) => Action::Created { founders: genesis.members().collect() },
                    Op::Add(add) => Action::Added { member: add.card.member(), role: add.role, history: add.history },
                    Op::Remove(remove) => Action::Removed { member: remove.member },
                    Op::SetRole(set) => Action::RoleSet { member: set.member, role: set.role },
                    Op::AddDevice(card) => Action::DeviceAdded { member: card.member(), device: card.device() },
                    Op::RemoveDevice(remove) => Action::DeviceRemoved { device: remove.device },
                    Op::DeviceKey(_) => Action::DeviceKeyChanged,
                    Op::Epoch(_) => Action::Rotated { epoch: epoch_id(held, index) },
                    Op::Invite(invite) => Action::Invited { invitation: invite.id(), terms: invite.terms },
                    Op::RevokeInvite(id) => Action::InvitationRevoked { invitation: *id },
                    Op::Accept(accept) => {
                        Action::Joined { invitation: accept.invite_id(), device: accept.card.device() }
                    }
                    Op::Decide(decide) if decide.admit => Action::Confirmed { device: decide.device },
                    Op::Decide(decide) => Action::Refused { device: decide.device },
                    Op::Leave(_) => Action::Left,
                    Op::Vouch(witnesses) => Action::Vouched { entries: witnesses.len() },
                    Op::Name(_) => Action::Renamed,
                    Op::Dormant(device) => Action::DeclaredDormant { device: *device },
                    Op::Share(_) | Op::Complain(_) | Op::Merge | Op::Back | Op::Unknown(_) => continue,
                };
                let counts = self.state.resolver().op_counts(held, index, op);
                items.push(HistoryItem { entry: held.id, device: held.author, time: held.time, action, counts });
            }
        }
        items
    }

    /// Whether this device may write, whatever the keys.
    pub(crate) fn may_write(&self) -> Result<(), GroupError> {
        let has = self.current_role()?;
        if has.writes() { Ok(()) } else { Err(GroupError::Lacks { needed: Role::Write, has: Some(has) }) }
    }

    pub(crate) fn current_role(&self) -> Result<Role, GroupError> {
        let view = self.state.view();
        match view.role(&self.device()) {
            Some(role) => Ok(role),
            None if view.was_removed(&self.device()) => Err(GroupError::Removed),
            None => Err(GroupError::NotMember),
        }
    }

    /// The epoch to write under.
    pub(crate) fn writable(&self) -> Option<EpochId> {
        *self.chosen.get_or_init(|| self.state.choose(&BTreeSet::new(), |id| self.ring.keys.contains(id)))
    }

    /// The epoch of a snapshot that these members may not read.
    pub(crate) fn archive(&self, without: &BTreeSet<MemberId>) -> Option<EpochId> {
        // Poison means that a thread died while it held the lock; a list of finished answers cannot be half right.
        let mut known = self.archives.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(epoch) = known.get(without) {
            return Some(*epoch);
        }
        let found = self.state.choose(without, |id| self.ring.keys.contains(id))?;
        known.insert(without.clone(), found);
        Some(found)
    }

    /// The members with their devices, for whoever wants to know what changed.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let view = self.state.view();
        let members = view.members.iter().map(|(id, member)| {
            let devices = member.devices.keys().copied().collect();
            (*id, (member.role, member.membership, devices))
        });
        Snapshot { members: members.collect::<BTreeMap<_, _>>(), epoch: self.writable(), name: self.name() }
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group").field("context", &self.info.id).field("member", &self.member()).finish_non_exhaustive()
    }
}

pub(crate) fn check_name(name: &str) -> Result<(), GroupError> {
    if (1..=MAX_NAME).contains(&name.len()) { Ok(()) } else { Err(GroupError::Name(name.len())) }
}

/// The key of a group's name under an epoch.
pub(crate) fn name_key(secret: &EpochSecret, context: &ContextId) -> AeadKey {
    AeadKey::from_secret(&derive(&secret.0, NAME_KEY, &[context.as_bytes()]))
}

fn device_keys(keystore: &dyn Keystore, rng: &mut dyn CryptoRng) -> Result<DeviceKeys, KeystoreError> {
    match DeviceKeys::load(keystore) {
        Err(KeystoreError::Missing(_)) => DeviceKeys::create(keystore, rng),
        keys => keys,
    }
}
