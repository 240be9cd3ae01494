//! Partita's single-owner partition strategy: one person's devices.
//!
//! The owner is 24 words on paper. They certify devices and revoke them, and no device keeps them. A device has keys of
//! its own and a certificate, which is all that it needs to prove its right, offline too.
//!
//! | to | do |
//! | --- | --- |
//! | begin | [`SingleOwner::create`], and show the [`Mnemonic`] once |
//! | add a device | [`SingleOwner::request`] on it, [`SingleOwner::certify`] wherever the words are typed, [`SingleOwner::accept`] on it |
//! | start | [`SingleOwner::open`] |
//! | give a device away | [`SingleOwner::retire`] on it |
//! | shut a thief out | [`SingleOwner::revoke`] on any other device |
//! | begin again with the words alone | enrol a new device, then [`SingleOwner::recover`] on it |
//!
//! ```
//! use partita_core::{Keystore, CryptoRng};
//! use partita_single_owner::{Certificate, OwnerError, Request, SingleOwner};
//!
//! fn enrol(laptop: &dyn Keystore, phone: &dyn Keystore, rng: &mut dyn CryptoRng) -> Result<SingleOwner, OwnerError> {
//!     let (_, mnemonic) = SingleOwner::create(laptop, rng)?;
//!     let request: String = SingleOwner::request(phone, rng)?.to_string(); // a text, or a QR code
//!     # let request: Request = request.parse().unwrap();
//!     let certificate: Certificate = SingleOwner::certify(&mnemonic, &request);
//!     SingleOwner::accept(phone, &certificate)?;
//!     SingleOwner::open(phone)
//! }
//! ```
//!
//! An owner has two contexts: a sealed one, and a plain one for applications that ask for it
//! ([`SingleOwner::with_plain`]); each is a kind of its own. Payloads of the first are sealed under *epochs*: random
//! secrets, boxed to each device and to a recovery key that comes from the words. When a device is lost, the others
//! begin a new epoch by themselves; when one is added, they box the old ones to it.
//!
//! A relay uses [`SingleOwnerRelay`]: the same rules without any secret.
//!
//! # What is promised, and what is not
//!
//! Relays neither read nor forge what is sealed; they see who writes when, how much, and in which document. What a
//! device writes after it has learnt of a revocation is closed to the revoked one, and what that one could read before
//! stays readable to it. Nobody can promise that every device has heard of a revocation. Whoever has the words is the
//! owner. A device that boxes garbage to another cannot be told from one that boxes well; another epoch, or
//! [`SingleOwner::recover`], helps.

mod certificate;
mod device;
mod dormancy;
mod epoch;
mod error;
mod held;
mod keyring;
mod loss;
mod modes;
mod op;
mod own;
mod owner;
mod proof;
mod relay;
mod request;
mod resolve;
mod revocation;
mod state;
mod strategy;

#[cfg(test)]
mod tests;

pub use certificate::Certificate;
pub use device::{DeviceInfo, SingleOwner};
pub use error::OwnerError;
pub use modes::{PLAIN_KIND, SEALED_KIND};
pub use partita_core::text::TextError;
pub use partita_crypto::{Mnemonic, MnemonicError};
pub use relay::SingleOwnerRelay;
pub use request::Request;
pub use resolve::DeviceStanding;
