//! Partita's multi-context partition strategy: many strategies in one engine, each for its own contexts.
//!
//! A node asks the first strategy that knows a context's kind. That is enough for one strategy of each kind.
//! [`MultiContext`] is for more: two owners on one device, several groups, a relay with different rules for different
//! customers. Each strategy in it answers for its own contexts alone and never hears of the others'.
//!
//! ```
//! use partita_core::{Keystore, NamedKeystore};
//! use partita_multi_context::MultiContext;
//! use partita_single_owner::{OwnerError, SingleOwner};
//!
//! /// The device's own owner, and the firm's.
//! fn both(keystore: &dyn Keystore) -> Result<MultiContext, OwnerError> {
//!     let private = SingleOwner::open(keystore)?;
//!     let work = SingleOwner::open(&NamedKeystore::new(keystore, "work"))?; // the same device, another certificate
//!     Ok(MultiContext::new().with(private).with(work))
//! }
//! ```
//!
//! # Whose a context is
//!
//! 1. Whoever names it in its `contexts()`, or opens it in a call of the application.
//! 2. For one that a remote brings: the first whose `AuthProvider` grants the remote's proof, and which would then sync.
//! 3. For one that comes from the store and that nobody names: the only strategy of its kind that takes its control
//!    entries; where several do, it waits until a remote brings it again.
//!
//! Once known it stays so, whatever is asked in between. Nobody's contexts are refused, and kinds that nobody knows are
//! refused by name.
//!
//! # Composing
//!
//! | to have | take |
//! | --- | --- |
//! | a rule on top of another (a relay only for listed customers) | [`AllOf`] |
//! | another way in beside the usual one | [`FirstOf`] |
//! | each kind with its own strategy, as one object | [`ByKind`] |
//!
//! # The shared write key
//!
//! An older scheme gave everybody who may write for an owner one secret. Where an application switches it on for an
//! owner ([`MultiContext::accept_shared_key`]), a remote that the strategy itself does not admit may show that it has
//! this secret ([`SharedWriteKey`]) and that the owner certified it ([`SharedKeyCertificate`]). It then opens a session:
//! whoever shows it may read and offer entries, as far as the strategy names it as a target. It writes no entries of its
//! own, and never travels. A remote that the strategy knows as revoked stays out.
//!
//! Switching it off again ([`MultiContext::refuse_shared_key`]) concerns sessions that are opened from then on.

mod all_of;
mod auth;
mod by_kind;
mod first_of;
mod multi;
mod nobody;
mod routes;
mod shared_key;

#[cfg(test)]
mod tests;

pub use all_of::AllOf;
pub use by_kind::ByKind;
pub use first_of::FirstOf;
pub use multi::MultiContext;
pub use nobody::Nobody;
pub use shared_key::{SharedKeyCertificate, SharedKeyError, SharedWriteKey};
