//! What a device says of itself, signed: its keys and whose it is.

use std::{fmt, str::FromStr};

use partita_core::{
    DeviceKeys, ReplicaId, Signature,
    codec::{DecodeError, Reader, Writer},
    text::{self, TextError},
};
use partita_crypto::{BoxPublicKey, VerifyingKey};

use crate::role::MemberId;

const PURPOSE: &str = "partita 2026 v1 group card";
const PREFIX: &str = "partita-card:";

/// A device's keys and the member whose device it says it is, signed by the device: nobody can be added under another's key.
///
/// It holds nothing secret. Its text form begins with `partita-card:` and carries a checksum. A value of this type holds:
/// what is read was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    device: VerifyingKey,
    boxes: BoxPublicKey,
    member: MemberId,
    signature: Signature,
}

impl Card {
    pub(crate) const LEN: usize = 32 + 32 + 32 + 64;

    /// Of the first device of a new member (`None`), or of one more device of a member.
    pub(crate) fn new(keys: &DeviceKeys, member: Option<MemberId>) -> Self {
        let (device, boxes) = (keys.signing.verifying_key(), keys.boxes.public());
        let member = member.unwrap_or(MemberId(keys.replica()));
        let signature = keys.signing.sign(PURPOSE, &message(&device, &boxes, &member));
        Self { device, boxes, member, signature }
    }

    /// The device.
    pub fn device(&self) -> ReplicaId {
        ReplicaId::from_bytes(*self.device.as_bytes())
    }

    /// Whose it is.
    pub fn member(&self) -> MemberId {
        self.member
    }

    /// Whether it is the first device of a member.
    pub fn is_first(&self) -> bool {
        self.member.0 == self.device()
    }

    pub(crate) fn box_key(&self) -> BoxPublicKey {
        self.boxes
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        out.raw(&message(&self.device, &self.boxes, &self.member));
        out.raw(self.signature.as_bytes());
    }

    pub(crate) fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let device = VerifyingKey::parse(&input.array()?).map_err(|_| DecodeError::Invalid("Ed25519 key"))?;
        let boxes = BoxPublicKey::parse(&input.array()?).map_err(|_| DecodeError::Invalid("X25519 key"))?;
        let member = MemberId(ReplicaId::from_bytes(input.array()?));
        let signature = Signature::from_bytes(input.array()?);
        let holds = device.verify(PURPOSE, &message(&device, &boxes, &member), &signature);
        holds.map_err(|_| DecodeError::Invalid("signature of a card"))?;
        Ok(Self { device, boxes, member, signature })
    }
}

fn message(device: &VerifyingKey, boxes: &BoxPublicKey, member: &MemberId) -> [u8; 96] {
    let mut message = [0; 96];
    let (left, rest) = message.split_at_mut(32);
    let (middle, right) = rest.split_at_mut(32);
    left.copy_from_slice(device.as_bytes());
    middle.copy_from_slice(boxes.as_bytes());
    right.copy_from_slice(member.0.as_bytes());
    message
}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut body = Writer::with_capacity(Self::LEN);
        self.encode(&mut body);
        f.write_str(&text::write(PREFIX, body.as_slice()))
    }
}

impl FromStr for Card {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let body: [u8; Self::LEN] = text::read(PREFIX, text)?;
        let mut input = Reader::new(&body);
        let card = Self::decode(&mut input).map_err(|_| TextError::Signature)?;
        input.end().map_err(|_| TextError::Typo)?;
        Ok(card)
    }
}
