//! What changed in a group since the application asked last.

use std::collections::{BTreeMap, BTreeSet};

use partita_core::{EpochId, ReplicaId};

use crate::{
    group::Group,
    role::{MemberId, Role},
    view::Membership,
};

/// What changed, by what is known here. A change that was undone before anybody asked is not told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupEvent {
    /// Somebody is in the group who was not.
    Joined {
        /// Who.
        member: MemberId,
        /// What it may do.
        role: Option<Role>,
        /// How it is in.
        membership: Membership,
    },
    /// Somebody is in it no more.
    Gone {
        /// Who.
        member: MemberId,
    },
    /// Somebody may do something else than before, or is in the group in another way: confirmed, for instance.
    Changed {
        /// Who.
        member: MemberId,
        /// What it may do now.
        role: Option<Role>,
        /// How it is in the group now.
        membership: Membership,
    },
    /// A device of a member came.
    DeviceAdded {
        /// Whose.
        member: MemberId,
        /// Which.
        device: ReplicaId,
    },
    /// A device of a member went.
    DeviceRemoved {
        /// Whose.
        member: MemberId,
        /// Which.
        device: ReplicaId,
    },
    /// What is written from now on is sealed under another key. `None`: under one that does not exist yet.
    Rotated {
        /// The epoch.
        epoch: Option<EpochId>,
    },
    /// The group has another name.
    Renamed {
        /// The new one.
        name: Option<String>,
    },
}

/// What an application was told of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) members: BTreeMap<MemberId, (Option<Role>, Membership, BTreeSet<ReplicaId>)>,
    pub(crate) epoch: Option<EpochId>,
    pub(crate) name: Option<String>,
}

impl Group {
    /// What changed since this was called last; the first time, everybody who is there has joined.
    ///
    /// The engine says when to look: see `EngineEvent::ControlChanged`.
    pub fn take_events(&mut self) -> Vec<GroupEvent> {
        let now = self.snapshot();
        let before = std::mem::replace(&mut self.told, now);
        let now = &self.told;
        let mut events = Vec::new();
        for (member, (role, membership, devices)) in &now.members {
            let (member, role, membership) = (*member, *role, *membership);
            match before.members.get(&member) {
                None => events.push(GroupEvent::Joined { member, role, membership }),
                Some((old_role, old_membership, old_devices)) => {
                    if (*old_role, *old_membership) != (role, membership) {
                        events.push(GroupEvent::Changed { member, role, membership });
                    }
                    let added = devices.difference(old_devices);
                    events.extend(added.map(|device| GroupEvent::DeviceAdded { member, device: *device }));
                    let removed = old_devices.difference(devices);
                    events.extend(removed.map(|device| GroupEvent::DeviceRemoved { member, device: *device }));
                }
            }
        }
        let gone = before.members.keys().filter(|member| !now.members.contains_key(*member));
        events.extend(gone.map(|member| GroupEvent::Gone { member: *member }));
        if before.epoch != now.epoch {
            events.push(GroupEvent::Rotated { epoch: now.epoch });
        }
        if before.name != now.name {
            events.push(GroupEvent::Renamed { name: now.name.clone() });
        }
        events
    }
}
