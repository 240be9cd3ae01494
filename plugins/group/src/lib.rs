//! Partita's group partition strategy: people share a context without trusting any server, offline and without a leader.
//!
//! | to | do |
//! | --- | --- |
//! | begin | [`Group::create`], or [`Group::found`] with others |
//! | let somebody in | [`Group::invite`], and [`Group::join`] on the other side; or [`Group::card`] there and [`Group::add`] here |
//! | use one more device | [`Group::invite_device`] and [`Group::join`], or [`Group::device_card`] and [`Group::add_device`] |
//! | start | [`Group::open`] |
//! | change what somebody may do | [`Group::set_role`] |
//! | shut somebody out | [`Group::remove`], or [`Group::remove_device`] for a device that was lost |
//! | go | [`Group::leave`] |
//! | see | [`Group::members`], [`Group::waiting`], [`Group::status`], [`Group::history`], [`Group::take_events`] |
//!
//! Members have a [`Role`] each: `Relay < Read < Write < Admin`. Payloads are sealed under *epochs*: random secrets, boxed to
//! each reader's device. A removal begins a new one in the same step; whoever is added is boxed what its [`History`] lets
//! it read. A relay uses [`GroupRelay`]: the same rules without any secret.
//!
//! # How everybody comes to the same members
//!
//! Members decide while they are apart, so their decisions can contradict each other. Everybody who holds the same control
//! entries computes the same members from them, in whatever order they came:
//!
//! - A decision counts if whoever made it had the right, by what it had seen, as far as that counts.
//! - What somebody did who was being removed or demoted at the time, and had not heard of it, does not count beyond what the
//!   remover had seen of it, nor what rests on that.
//! - Removals that contradict each other in a ring (each of two admins removes the other) are decided by seniority: the
//!   founders in their order, then whoever is fewer steps from a founder, then by who added whom, then by the order of
//!   additions. Nobody can choose its seniority, as it could a time or a hash.
//! - A removal beats an addition of the same member that it had not seen. Of roles that were set without knowledge of each
//!   other, the least holds.
//! - A group always keeps an admin.
//!
//! # What is promised, and what is not
//!
//! Relays neither read nor forge what is sealed. Once *you* have seen a removal, what you write is closed to the removed.
//! Nobody can promise that everybody has heard of it, nor take back what was readable. A senior admin who turns hostile can
//! undo a junior's removal of it. Whoever has an invitation's text can join, and together with a relay's ciphertext read
//! what was boxed to it until the next epoch. The whole list is in the repository's `docs/threat-model.md`.

mod bits;
mod card;
mod duties;
mod epochs;
mod error;
mod events;
mod genesis;
mod group;
mod invite;
mod keyring;
mod ledger;
mod manage;
mod op;
mod pad;
mod plan;
mod proof;
mod record;
mod relay;
mod resolve;
mod role;
mod state;
mod strategy;
mod view;

#[cfg(test)]
mod tests;

pub use card::Card;
pub use error::GroupError;
pub use events::GroupEvent;
pub use genesis::{GROUP_KIND, Policy};
pub use group::{Action, Group, GroupStatus, HistoryItem, InvitationInfo, MemberInfo};
pub use invite::{Invitation, Terms, Uses};
pub use partita_core::text::TextError;
pub use relay::GroupRelay;
pub use role::{History, MemberId, Role, UnknownRole};
pub use view::Membership;
