//! The channel: `Noise_XX_25519_ChaChaPoly_SHA256` (Noise, revision 34), by the crate `snow` over our own primitives.
//!
//! XX with static keys that are fresh for every handshake: they authenticate nobody. Identity comes on top, from
//! signatures over the handshake hash, which both sides share only if nobody sits between them. So a device needs no
//! second long-lived key, and an observer learns no identity.
//!
//! - [`NoiseHandshake`]: three messages, first the initiator's;
//! - [`NoiseSender`], [`NoiseReceiver`]: records, one direction each.

mod primitives;
mod resolver;
mod transport;

use std::fmt;

use rand_core::CryptoRng;
use snow::{Builder, HandshakeState};

pub use transport::{MAX_RECORD_PLAIN, NoiseReceiver, NoiseSender, RECORD_OVERHEAD};

use crate::Secret;
use resolver::Resolver;

/// The greatest Noise message: a handshake message or a record (Noise, section 3).
pub const MAX_RECORD: usize = 65_535;

const PATTERN: &str = "Noise_XX_25519_ChaChaPoly_SHA256";

/// What a handshake message can add to its payload: an ephemeral key, a sealed static key, a tag.
const HANDSHAKE_OVERHEAD: usize = 32 + (32 + 16) + 16;

/// A handshake under way: `->`, `<-`, `->`, then [`NoiseHandshake::into_transport`].
///
/// The payload of the first message travels in the clear, that of the second is secret only from passive observers.
pub struct NoiseHandshake(HandshakeState);

impl NoiseHandshake {
    /// The side that dials and writes first. Both sides must hand in the same `prologue`.
    ///
    /// # Errors
    ///
    /// [`NoiseError::Setup`], which would be a bug.
    pub fn initiator(prologue: &[u8], rng: &mut dyn CryptoRng) -> Result<Self, NoiseError> {
        Self::start(prologue, rng, true)
    }

    /// The side that accepts and reads first.
    ///
    /// # Errors
    ///
    /// [`NoiseError::Setup`], which would be a bug.
    pub fn responder(prologue: &[u8], rng: &mut dyn CryptoRng) -> Result<Self, NoiseError> {
        Self::start(prologue, rng, false)
    }

    fn start(prologue: &[u8], rng: &mut dyn CryptoRng, initiator: bool) -> Result<Self, NoiseError> {
        let static_key = Secret::<32>::random(rng);
        let resolver = Resolver::new(Secret::random(rng));
        let build = || {
            let builder = Builder::with_resolver(PATTERN.parse()?, Box::new(resolver))
                .prologue(prologue)?
                .local_private_key(static_key.expose())?;
            if initiator { builder.build_initiator() } else { builder.build_responder() }
        };
        build().map(Self).map_err(|_: snow::Error| NoiseError::Setup)
    }

    /// The next message of ours, with `payload` inside.
    ///
    /// # Errors
    ///
    /// [`NoiseError::OutOfTurn`] and [`NoiseError::TooLong`].
    pub fn write(&mut self, payload: &[u8]) -> Result<Vec<u8>, NoiseError> {
        if payload.len() > MAX_RECORD - HANDSHAKE_OVERHEAD {
            return Err(NoiseError::TooLong);
        }
        let mut message = vec![0; payload.len() + HANDSHAKE_OVERHEAD];
        let written = self.0.write_message(payload, &mut message)?;
        message.truncate(written);
        Ok(message)
    }

    /// Takes the remote's next message and returns its payload.
    ///
    /// # Errors
    ///
    /// [`NoiseError::OutOfTurn`], [`NoiseError::TooLong`] and [`NoiseError::Refused`]: close the connection.
    pub fn read(&mut self, message: &[u8]) -> Result<Vec<u8>, NoiseError> {
        if message.len() > MAX_RECORD {
            return Err(NoiseError::TooLong);
        }
        let mut payload = vec![0; message.len()];
        let read = self.0.read_message(message, &mut payload)?;
        payload.truncate(read);
        Ok(payload)
    }

    /// Whether all three messages have passed.
    pub fn is_finished(&self) -> bool {
        self.0.is_handshake_finished()
    }

    /// The handshake hash so far (Noise, section 11.2). Once finished it names this channel and no other, and covers
    /// prologue, keys and payloads: this is what identities sign.
    pub fn hash(&self) -> [u8; 32] {
        // SHA-256 has 32 bytes; zeros would verify under no signature.
        self.0.get_handshake_hash().first_chunk().copied().unwrap_or_default()
    }

    /// The two directions of the channel, and the handshake hash.
    ///
    /// # Errors
    ///
    /// [`NoiseError::OutOfTurn`] before the handshake has finished.
    pub fn into_transport(self) -> Result<(NoiseSender, NoiseReceiver, [u8; 32]), NoiseError> {
        let hash = self.hash();
        let (sender, receiver) = transport::split(self.0.into_stateless_transport_mode()?);
        Ok((sender, receiver, hash))
    }
}

impl fmt::Debug for NoiseHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoiseHandshake").field("finished", &self.is_finished()).finish_non_exhaustive()
    }
}

/// Why a handshake or a channel cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoiseError {
    /// The handshake could not be set up: a bug of ours, report it.
    #[error("the Noise handshake could not be set up")]
    Setup,
    /// Writing when it is the remote's turn, or the other way round, or too early, or too late.
    #[error("a Noise message out of turn")]
    OutOfTurn,
    /// More than fits into one message. Cut it into several.
    #[error("too long for a Noise message")]
    TooLong,
    /// The bytes are not what the remote sent, next, on this channel. Close the connection and dial again.
    #[error("a Noise message that does not open")]
    Refused,
    /// An earlier record was refused, so nothing after it counts. Close the connection and dial again.
    #[error("the Noise channel has failed before")]
    Broken,
    /// All 2^64 - 1 records are used up. Close the connection and dial again.
    #[error("the Noise channel is used up")]
    Exhausted,
}

impl From<snow::Error> for NoiseError {
    fn from(error: snow::Error) -> Self {
        match error {
            snow::Error::State(snow::error::StateProblem::Exhausted) => Self::Exhausted,
            snow::Error::State(_) => Self::OutOfTurn,
            snow::Error::Pattern(_) | snow::Error::Init(_) | snow::Error::Prereq(_) => Self::Setup,
            _ => Self::Refused,
        }
    }
}

#[cfg(test)]
mod tests;
