//! The owner's word that a device is one of the owner's.

use std::{fmt, str::FromStr};

use partita_core::{
    ReplicaId, Signature,
    codec::{DecodeError, Reader, Writer},
    text::{self, TextError},
};
use partita_crypto::{BoxPublicKey, VerifyingKey};

use crate::{owner::OwnerKeys, request::Request};

const PREFIX: &str = "partita-certificate:";
const PURPOSE: &str = "partita 2026 v1 single-owner certificate";

/// The owner's signature over a device's two keys and the owner's recovery key.
///
/// It holds nothing secret: it can be sent over any channel. Its text form begins with `partita-certificate:` and
/// carries a checksum. A value of this type has a signature that was checked; whether the owner is *your* owner is for
/// you to compare: see [`Certificate::owner`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    owner: VerifyingKey,
    recovery: BoxPublicKey,
    device: VerifyingKey,
    boxes: BoxPublicKey,
    signature: Signature,
}

impl Certificate {
    /// How many bytes the encoding has.
    pub(crate) const LEN: usize = 4 * 32 + 64;

    pub(crate) fn sign(owner: &OwnerKeys, request: &Request) -> Self {
        let mut certificate = Self {
            owner: owner.owner(),
            recovery: owner.recovery_public(),
            device: request.device_key(),
            boxes: request.box_key(),
            signature: Signature::from_bytes([0; 64]),
        };
        certificate.signature = owner.signing.sign(PURPOSE, &certificate.message());
        certificate
    }

    /// Who signed: the owner's verifying key. Typing another owner's mnemonic gives a good certificate of another
    /// owner, so show this to people, or compare it with [`SingleOwner::owner`](crate::SingleOwner::owner).
    pub fn owner(&self) -> VerifyingKey {
        self.owner
    }

    /// The device that is certified.
    pub fn device(&self) -> ReplicaId {
        ReplicaId::from_bytes(*self.device.as_bytes())
    }

    /// What is sealed for the device is sealed to this key.
    pub fn box_key(&self) -> BoxPublicKey {
        self.boxes
    }

    /// What is sealed for the holder of the mnemonic is sealed to this key.
    pub fn recovery_key(&self) -> BoxPublicKey {
        self.recovery
    }

    pub(crate) fn device_key(&self) -> &VerifyingKey {
        &self.device
    }

    fn message(&self) -> Vec<u8> {
        [*self.owner.as_bytes(), *self.recovery.as_bytes(), *self.device.as_bytes(), *self.boxes.as_bytes()].concat()
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        out.raw(&self.message());
        out.raw(self.signature.as_bytes());
    }

    pub(crate) fn to_bytes(&self) -> bytes::Bytes {
        let mut out = Writer::with_capacity(Self::LEN);
        self.encode(&mut out);
        out.finish()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new(bytes);
        let certificate = Self::decode(&mut input)?;
        input.end()?;
        Ok(certificate)
    }

    /// Reads one and checks its signature.
    pub(crate) fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let signer = |bytes| VerifyingKey::parse(&bytes).map_err(|_| DecodeError::Invalid("Ed25519 key"));
        let boxes = |bytes| BoxPublicKey::parse(&bytes).map_err(|_| DecodeError::Invalid("X25519 key"));
        let certificate = Self {
            owner: signer(input.array()?)?,
            recovery: boxes(input.array()?)?,
            device: signer(input.array()?)?,
            boxes: boxes(input.array()?)?,
            signature: Signature::from_bytes(input.array()?),
        };
        let holds = certificate.owner.verify(PURPOSE, &certificate.message(), &certificate.signature);
        holds.map_err(|_| DecodeError::Invalid("owner's signature"))?;
        Ok(certificate)
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::write(PREFIX, &self.to_bytes()))
    }
}

impl FromStr for Certificate {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let body: [u8; Self::LEN] = text::read(PREFIX, text)?;
        Self::from_bytes(&body).map_err(|_| TextError::Signature)
    }
}
