//! A new device's request to be certified: short enough to be shown as a QR code.

use std::{fmt, str::FromStr};

use partita_core::{
    DeviceKeys, ReplicaId, Signature,
    codec::{Reader, Writer},
};
use partita_crypto::{BoxPublicKey, VerifyingKey};

use partita_core::text::{self, TextError};

const PREFIX: &str = "partita-request:";
const PURPOSE: &str = "partita 2026 v1 single-owner request";
const LEN: usize = 128;

/// A device's own claim to its two keys, signed by the first: whoever made it holds that key.
///
/// It holds nothing secret. Its text form begins with `partita-request:` and carries a checksum. A value of this type
/// has a signature that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    device: VerifyingKey,
    boxes: BoxPublicKey,
    signature: Signature,
}

impl Request {
    pub(crate) fn new(keys: &DeviceKeys) -> Self {
        let (device, boxes) = (keys.signing.verifying_key(), keys.boxes.public());
        Self { device, boxes, signature: keys.signing.sign(PURPOSE, &message(&device, &boxes)) }
    }

    /// The device that asks.
    pub fn device(&self) -> ReplicaId {
        ReplicaId::from_bytes(*self.device.as_bytes())
    }

    pub(crate) fn device_key(&self) -> VerifyingKey {
        self.device
    }

    pub(crate) fn box_key(&self) -> BoxPublicKey {
        self.boxes
    }
}

fn message(device: &VerifyingKey, boxes: &BoxPublicKey) -> [u8; 64] {
    let mut message = [0; 64];
    let (left, right) = message.split_at_mut(32);
    left.copy_from_slice(device.as_bytes());
    right.copy_from_slice(boxes.as_bytes());
    message
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut body = Writer::with_capacity(LEN);
        body.raw(&message(&self.device, &self.boxes));
        body.raw(self.signature.as_bytes());
        f.write_str(&text::write(PREFIX, body.as_slice()))
    }
}

impl FromStr for Request {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let body: [u8; LEN] = text::read(PREFIX, text)?;
        let mut input = Reader::new(&body);
        let mut key = || input.array::<32>().map_err(|_| TextError::Typo);
        let device = VerifyingKey::parse(&key()?).map_err(|_| TextError::Signature)?;
        let boxes = BoxPublicKey::parse(&key()?).map_err(|_| TextError::Signature)?;
        let signature = Signature::from_bytes(input.array().map_err(|_| TextError::Typo)?);
        device.verify(PURPOSE, &message(&device, &boxes), &signature).map_err(|_| TextError::Signature)?;
        Ok(Self { device, boxes, signature })
    }
}
