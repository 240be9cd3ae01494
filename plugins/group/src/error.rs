//! What can go wrong when an application manages a group.

use partita_core::{ContextId, KeystoreError, KindError, ReplicaId};
use partita_crypto::EpochError;

use crate::role::{MemberId, Role};

/// Why a group's affair could not be settled: who lacks what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// The keystore is missing, damaged or cannot be used.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The keystore has nothing of this group.
    #[error("this keystore has nothing of the group {0}: join it by an invitation, or have this device added")]
    UnknownGroup(ContextId),
    /// The keystore belongs to this group already.
    #[error("this device belongs to the group {0} already: open it instead")]
    Exists(ContextId),
    /// This device is not in the group, as far as is known here.
    #[error("this device is not in the group, as far as is known here: sync first, or have it added or invited")]
    NotMember,
    /// This device was removed, or its member left.
    #[error("this device was removed from the group, or left it: what it writes from now on stays here")]
    Removed,
    /// This device's member may not do this.
    #[error("this needs the role {needed}, and this device has {}: ask an admin", .has.map_or("none".into(), |role| role.to_string()))]
    Lacks {
        /// The least role that may.
        needed: Role,
        /// What this device has.
        has: Option<Role>,
    },
    /// Nobody of this name is in the group, as far as is known here.
    #[error("nobody in the group is called {0}, as far as is known here: sync first, or look at the id again")]
    UnknownMember(MemberId),
    /// No such device is in the group, as far as is known here.
    #[error("no device {0} is in the group, as far as is known here: sync first, or look at the id again")]
    UnknownDevice(ReplicaId),
    /// It is there already.
    #[error("{0} is in the group already")]
    AlreadyMember(MemberId),
    /// The card is of a further device of a member: that member adds it.
    #[error("this card is of a further device of {0}: one of that member's devices adds it, or invites it")]
    FurtherDevice(MemberId),
    /// The card is of another member's device.
    #[error("this card says that the device belongs to {0}: make one for this member")]
    OthersDevice(MemberId),
    /// The device is a member's first, and what is for further devices does not let it in.
    #[error(
        "this device is the first one of {0}, and is no further one: once it was taken out, join with a new key file"
    )]
    FirstDevice(MemberId),
    /// The member has as many devices as one may have.
    #[error("{0} has {1} devices already, which is as many as a member may have: take one out first")]
    TooManyDevices(MemberId, usize),
    /// The member has as many invitations for devices open as one may have.
    #[error("{0} has {1} invitations for devices open already: revoke one first")]
    TooManyLinks(MemberId, usize),
    /// A device does not declare itself dormant: it is at work.
    #[error("this is the device itself, and it is not away: declare it dormant from another device")]
    NotAway,
    /// A group needs an admin.
    #[error("this is the group's last admin: make another member an admin first")]
    LastAdmin,
    /// No such invitation is open.
    #[error("no invitation {0} is open here: it was used, revoked, or never made")]
    UnknownInvitation(ReplicaId),
    /// Whoever joined by an invitation has no role of its own before somebody confirmed it.
    #[error("{0} joined by an invitation, and nobody has confirmed it: confirm it first")]
    Unconfirmed(MemberId),
    /// Nobody waits for a decision under this name.
    #[error("the device {0} waits for no decision")]
    NothingPending(ReplicaId),
    /// The secret that would be needed is not here yet.
    #[error("the group's keys are not here yet: sync with a relay or with another member first")]
    NoKeys,
    /// What should be written is too large for one control entry.
    #[error("the op has {0} bytes, more than a control entry takes: a group this large needs smaller steps")]
    TooLarge(usize),
    /// A name that is empty or too long.
    #[error("a group's name has 1 to 200 bytes, this one has {0}")]
    Name(usize),
    /// Too many founders.
    #[error("a group is founded by at most 64 members: add the others later")]
    TooManyFounders,
    /// What the keystore holds under the name of the group is none.
    #[error("what the keystore has of this group is damaged: restore it, or join again with a new keystore")]
    Damaged,
    /// A later version of the program wrote what the keystore holds of the group. Nothing is damaged.
    #[error("a later version of the program wrote what the keystore has of this group: use that one")]
    NewerRecord,
    /// A secret could not be boxed. Nothing was written.
    #[error(transparent)]
    Box(#[from] EpochError),
    /// Never for the kinds of this crate.
    #[error(transparent)]
    Kind(#[from] KindError),
}
