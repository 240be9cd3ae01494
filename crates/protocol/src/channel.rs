//! The authenticated channel: Noise XX, and inside it a signature of each side over the handshake.
//!
//! The handshake's payloads carry version, features, replica id and incarnation, so its hash covers them all. Noise itself uses a
//! fresh static key for each connection: who is who, only the Ed25519 signatures over (role, handshake hash) say.
//!
//! ```text
//! dialer                                   acceptor
//!   e                          ->
//!                              <-          e, ee, s, es   [hello]
//!   s, se  [hello]             ->                          the dialer checks a pinned id before it says who it is
//!                              <-          signature       the acceptor proves itself first
//!   signature                  ->
//! ```

use std::sync::Arc;

use bytes::Bytes;
use partita_core::{
    CryptoRng, Incarnation, ReplicaId,
    codec::{DecodeError, Reader, Writer},
};
use partita_crypto::{NoiseError, NoiseHandshake, NoiseReceiver, NoiseSender, Signature, SigningKey, VerifyingKey};

/// The largest frame, sealed, that is taken before the remote is known, in bytes.
pub const MAX_HANDSHAKE_FRAME: usize = 1024;
/// The largest sealed frame after that, in bytes.
pub const MAX_FRAME: usize = 2 << 20;

const PROLOGUE: &[u8] = b"partita 2026 protocol 1";
const PURPOSE: &str = "partita 2026 v1 handshake";
const VERSION: u16 = 1;
/// A Noise record holds 65,519 bytes of plaintext and 16 of tag.
const MAX_RECORD: usize = 65_519;

/// Who this node is to others.
#[derive(Debug, Clone)]
pub struct LocalIdentity {
    /// The device's key.
    pub key: Arc<SigningKey>,
    /// The incarnation of its store.
    pub incarnation: Incarnation,
}

impl LocalIdentity {
    /// The replica id.
    pub fn replica(&self) -> ReplicaId {
        ReplicaId::from_bytes(*self.key.verifying_key().as_bytes())
    }
}

/// Why a channel could not be made or came to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The remote does not speak this protocol, or somebody changed what it said.
    #[error("the remote does not speak Partita's protocol, or the connection was tampered with")]
    Noise,
    /// The remote's hello cannot be read.
    #[error("the remote's hello cannot be read: {0}")]
    Hello(#[from] DecodeError),
    /// The remote speaks another version only.
    #[error("the remote speaks version {0} of the protocol, this program version 1: update the older one")]
    Version(u16),
    /// Somebody else answers at this address.
    #[error("the remote is {found}, not {expected} as its address says: check the id after the # of the URL")]
    WrongRemote {
        /// The pinned id.
        expected: ReplicaId,
        /// Who answered.
        found: ReplicaId,
    },
    /// The remote has this device's own id.
    #[error("the remote is this very device: a copy of its keys is in use elsewhere, or it dials itself")]
    Ourselves,
    /// The remote does not hold the key of the id that it claims.
    #[error("the remote could not prove who it is")]
    Identity,
    /// A frame is over its limit.
    #[error("a frame is over the limit of {0} bytes")]
    TooLarge(usize),
    /// The remote sent more than the handshake has.
    #[error("the remote sent a frame that the handshake does not have")]
    Unexpected,
}

impl From<NoiseError> for ChannelError {
    fn from(_: NoiseError) -> Self {
        Self::Noise
    }
}

/// A remote that proved who it is, and the two halves of the channel to it.
#[derive(Debug)]
pub struct Authenticated {
    /// Who the remote is.
    pub remote: VerifyingKey,
    /// The incarnation of its store.
    pub incarnation: Incarnation,
    /// The handshake's hash: proofs are bound to it.
    pub handshake: [u8; 32],
    /// Whether this side dialled.
    pub dialled: bool,
    /// Whether this side dialled exactly this remote by its id.
    pub pinned: bool,
    /// Seals what goes out.
    pub sealer: Sealer,
    /// Opens what comes in.
    pub opener: Opener,
}

/// What a handshake frame led to.
#[derive(Debug, Default)]
pub struct Step {
    /// Frames to send, before anything else.
    pub send: Vec<Bytes>,
    /// The channel, once it stands.
    pub done: Option<Box<Authenticated>>,
}

struct Hello {
    replica: ReplicaId,
    incarnation: Incarnation,
}

impl Hello {
    fn encode(identity: &LocalIdentity) -> Bytes {
        let mut out = Writer::new();
        out.raw(&VERSION.to_be_bytes());
        out.u64(0); // features: none yet
        out.raw(identity.replica().as_bytes());
        out.raw(identity.incarnation.as_bytes());
        out.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, ChannelError> {
        let mut input = Reader::new(bytes);
        let version = u16::from_be_bytes(input.array()?);
        if version != VERSION {
            return Err(ChannelError::Version(version));
        }
        let _features = input.u64()?;
        let hello = Self {
            replica: ReplicaId::from_bytes(input.array()?),
            incarnation: Incarnation::from_bytes(input.array()?),
        };
        input.end()?;
        Ok(hello)
    }
}

#[derive(Debug)]
enum State {
    /// The acceptor waits for the first message.
    AwaitFirst(NoiseHandshake),
    /// The dialer waits for the second.
    AwaitSecond(NoiseHandshake),
    /// The acceptor waits for the third.
    AwaitThird(NoiseHandshake),
    /// Each side waits for the other's signature.
    AwaitSignature(Box<Authenticated>),
    Over,
}

/// A handshake under way. Sans-IO: frames in, frames out; its deadline is the caller's.
#[derive(Debug)]
pub struct Handshake {
    identity: LocalIdentity,
    pinned: Option<ReplicaId>,
    state: State,
}

impl Handshake {
    /// Begins as the one who dials; `pinned` is the only replica to accept. Also the first frame to send.
    ///
    /// # Errors
    /// [`ChannelError::Noise`].
    pub fn dial(
        identity: LocalIdentity,
        pinned: Option<ReplicaId>,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self, Bytes), ChannelError> {
        let mut noise = NoiseHandshake::initiator(PROLOGUE, rng)?;
        let first = noise.write(&[])?;
        Ok((Self { identity, pinned, state: State::AwaitSecond(noise) }, first.into()))
    }

    /// Waits as the one who was dialled.
    ///
    /// # Errors
    /// [`ChannelError::Noise`].
    pub fn accept(identity: LocalIdentity, rng: &mut dyn CryptoRng) -> Result<Self, ChannelError> {
        let noise = NoiseHandshake::responder(PROLOGUE, rng)?;
        Ok(Self { identity, pinned: None, state: State::AwaitFirst(noise) })
    }

    /// Takes a frame of the remote. After an error the connection is to be closed.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub fn receive(&mut self, frame: &[u8]) -> Result<Step, ChannelError> {
        if frame.len() > MAX_HANDSHAKE_FRAME {
            return Err(ChannelError::TooLarge(MAX_HANDSHAKE_FRAME));
        }
        match std::mem::replace(&mut self.state, State::Over) {
            State::AwaitFirst(mut noise) => {
                noise.read(frame)?;
                let second = noise.write(&Hello::encode(&self.identity))?;
                self.state = State::AwaitThird(noise);
                Ok(Step { send: vec![second.into()], done: None })
            }
            State::AwaitSecond(mut noise) => {
                let (hello, remote) = self.meet(&noise.read(frame)?)?;
                let third = noise.write(&Hello::encode(&self.identity))?;
                self.state = State::AwaitSignature(self.join(noise, &hello, remote, true)?);
                Ok(Step { send: vec![third.into()], done: None })
            }
            State::AwaitThird(mut noise) => {
                let (hello, remote) = self.meet(&noise.read(frame)?)?;
                let mut channel = self.join(noise, &hello, remote, false)?;
                let signature = self.signature(&mut channel)?;
                self.state = State::AwaitSignature(channel);
                Ok(Step { send: vec![signature], done: None })
            }
            State::AwaitSignature(mut channel) => {
                let signature = channel.opener.open(frame)?;
                let signature: [u8; 64] = signature[..].try_into().map_err(|_| ChannelError::Identity)?;
                let signed = transcript(!channel.dialled, &channel.handshake);
                (channel.remote)
                    .verify(PURPOSE, &signed, &Signature::from_bytes(signature))
                    .map_err(|_| ChannelError::Identity)?;
                let send = if channel.dialled { vec![self.signature(&mut channel)?] } else { Vec::new() };
                Ok(Step { send, done: Some(channel) })
            }
            State::Over => Err(ChannelError::Unexpected),
        }
    }

    fn meet(&self, hello: &[u8]) -> Result<(Hello, VerifyingKey), ChannelError> {
        let hello = Hello::decode(hello)?;
        if let Some(expected) = self.pinned
            && expected != hello.replica
        {
            return Err(ChannelError::WrongRemote { expected, found: hello.replica });
        }
        if hello.replica == self.identity.replica() {
            return Err(ChannelError::Ourselves);
        }
        let remote = VerifyingKey::parse(hello.replica.as_bytes()).map_err(|_| ChannelError::Identity)?;
        Ok((hello, remote))
    }

    fn join(
        &self,
        noise: NoiseHandshake,
        hello: &Hello,
        remote: VerifyingKey,
        dialled: bool,
    ) -> Result<Box<Authenticated>, ChannelError> {
        let (sender, receiver, handshake) = noise.into_transport()?;
        Ok(Box::new(Authenticated {
            remote,
            incarnation: hello.incarnation,
            handshake,
            dialled,
            pinned: self.pinned.is_some(),
            sealer: Sealer { noise: sender },
            opener: Opener { noise: receiver },
        }))
    }

    fn signature(&self, channel: &mut Authenticated) -> Result<Bytes, ChannelError> {
        let signature = self.identity.key.sign(PURPOSE, &transcript(channel.dialled, &channel.handshake));
        channel.sealer.seal(signature.as_bytes())
    }
}

/// What is signed: the role, so that a signature cannot be reflected, then the handshake's hash.
fn transcript(dialled: bool, handshake: &[u8; 32]) -> [u8; 33] {
    let mut signed = [u8::from(dialled); 33];
    signed[1..].copy_from_slice(handshake);
    signed
}

/// Seals plain frames for one remote.
#[derive(Debug)]
pub struct Sealer {
    noise: NoiseSender,
}

impl Sealer {
    /// A plain frame, behind its length (four bytes, big-endian), as Noise records, each behind its own length (two
    /// bytes, big-endian). All but the last record are full.
    ///
    /// # Errors
    /// [`ChannelError::TooLarge`] over [`MAX_FRAME`]; nothing was sealed then, and the channel can go on.
    pub fn seal(&mut self, plain: &[u8]) -> Result<Bytes, ChannelError> {
        let total = plain.len().saturating_add(4);
        let records = total.div_ceil(MAX_RECORD);
        let sealed = total.saturating_add(18 * records);
        let len = u32::try_from(plain.len()).ok().filter(|_| sealed <= MAX_FRAME);
        let len = len.ok_or(ChannelError::TooLarge(MAX_FRAME))?;
        let mut out = Vec::with_capacity(sealed);
        let (first, rest) = plain.split_at(plain.len().min(MAX_RECORD - 4));
        self.record(&[&len.to_be_bytes(), first].concat(), &mut out)?;
        for part in rest.chunks(MAX_RECORD) {
            self.record(part, &mut out)?;
        }
        Ok(out.into())
    }

    fn record(&mut self, part: &[u8], out: &mut Vec<u8>) -> Result<(), ChannelError> {
        out.extend_from_slice(&((part.len() + 16) as u16).to_be_bytes());
        self.noise.seal(part, out)?;
        Ok(())
    }
}

/// Opens the frames of one remote. A frame that was changed, left out, repeated or moved ends the channel.
#[derive(Debug)]
pub struct Opener {
    noise: NoiseReceiver,
}

impl Opener {
    /// The plain frame.
    ///
    /// # Errors
    /// [`ChannelError`]; the connection is then to be closed.
    pub fn open(&mut self, frame: &[u8]) -> Result<Bytes, ChannelError> {
        if frame.len() > MAX_FRAME {
            return Err(ChannelError::TooLarge(MAX_FRAME));
        }
        let mut plain = Vec::with_capacity(frame.len());
        let mut input = Reader::new(frame);
        loop {
            let len = usize::from(u16::from_be_bytes(input.array()?));
            self.noise.open(input.raw(len)?, &mut plain)?;
            if input.is_empty() {
                break;
            }
            if len != MAX_RECORD + 16 {
                return Err(ChannelError::Noise);
            }
        }
        let plain = Bytes::from(plain);
        match plain.split_first_chunk::<4>() {
            Some((len, rest)) if usize::try_from(u32::from_be_bytes(*len)) == Ok(rest.len()) => Ok(plain.slice(4..)),
            _ => Err(ChannelError::Noise),
        }
    }
}

#[cfg(test)]
mod tests {
    use partita_crypto::{Secret, SigningKey};

    use super::*;

    /// Programs of today say and expect exactly this. When it fails: raise `VERSION` (`docs/formats.md`).
    #[test]
    fn the_bytes_of_a_hello_stay_what_they_are() {
        let key = std::sync::Arc::new(SigningKey::from_seed(&Secret::from_bytes([1; 32])));
        let identity = LocalIdentity { key, incarnation: Incarnation::from_bytes([2; 16]) };
        // Version, no features, replica, incarnation.
        let golden = [&[0, 1][..], &[0; 8], identity.replica().as_bytes(), &[2; 16]].concat();
        assert_eq!(Hello::encode(&identity), golden, "an encoding changed");
        let read = Hello::decode(&golden).unwrap();
        assert_eq!((read.replica, read.incarnation), (identity.replica(), identity.incarnation));
        let later = [&[0, 2][..], &golden[2..]].concat();
        assert!(matches!(Hello::decode(&later), Err(ChannelError::Version(2))));
    }
}
