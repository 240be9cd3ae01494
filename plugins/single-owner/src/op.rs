//! What control entries say: the ops and their one canonical encoding.
//!
//! A payload is a version byte, a count, and that many ops, each with its length, so that an op of a later version is
//! kept and passed over. On the wire: version 1; `n` (1 to 16); `n` times length, tag, body.

use bytes::Bytes;
use partita_core::{
    ContextId, EpochId, Hash, ReplicaId, SignedTip, Witness,
    codec::{DecodeError, Reader, Writer},
};
use partita_crypto::EPOCH_BOX_LEN;

use crate::{certificate::Certificate, dormancy::Dormancy, modes::Mode, revocation::Revocation};

const VERSION: u8 = 1;
/// The most ops in one payload: one entry is one step, and a bound on what a verdict costs.
pub(crate) const MAX_OPS: usize = 16;
/// The most devices that an op names.
const MAX_DEVICES: usize = 4096;
/// The most logs that an op lists: decades of opening a store several times a day.
pub(crate) const MAX_TIPS: usize = 65_536;
/// The most entries that one vouch shows: each costs a signature check.
pub(crate) const MAX_WITNESSES: usize = 256;
const MAX_OP: usize = 8 * 1024 * 1024;

/// An epoch's secret in a box.
pub(crate) type EpochBox = [u8; EPOCH_BOX_LEN];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    /// Owner-signed: the device is one of the owner's.
    Certify(Certificate),
    /// Owner-signed: the device is one no longer, and its logs count this far.
    Revoke(Revocation),
    /// By its author: a new key epoch.
    Epoch(Epoch),
    /// By its author: an epoch's secret, boxed again for a device that lacks it.
    Share(Share),
    /// By its author: the author ends itself, and its other logs count this far.
    Retire(Vec<SignedTip>),
    /// By its author: these entries count although a loss cuts them off. Each is shown with the signature of the one who
    /// wrote it; by rising tip.
    Vouch(Vec<Witness>),
    /// Owner-signed: nobody waits for the device until it is back.
    Dormant(Dormancy),
    /// By its author: it is back from whatever its entry's ancestors declare of it.
    Back,
    /// Of a later version: its tag and body.
    Unknown(Bytes),
}

/// A new key epoch and who gets its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Epoch {
    /// The lost devices that its maker knew of, by rising id.
    pub(crate) covers: Vec<ReplicaId>,
    pub(crate) commitment: Hash,
    /// By rising id.
    pub(crate) boxes: Vec<(ReplicaId, EpochBox)>,
    /// For the holder of the mnemonic.
    pub(crate) recovery: EpochBox,
}

/// An epoch's secret for one more device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) epoch: EpochId,
    pub(crate) recipient: ReplicaId,
    pub(crate) sealed: EpochBox,
}

impl Op {
    const CERTIFY: u8 = 1;
    const REVOKE: u8 = 2;
    const EPOCH: u8 = 3;
    const SHARE: u8 = 4;
    const RETIRE: u8 = 5;
    const VOUCH: u8 = 6;
    const DORMANT: u8 = 7;
    const BACK: u8 = 8;

    /// Whether it counts wherever it lies.
    pub(crate) fn is_owner_signed(&self) -> bool {
        matches!(self, Self::Certify(_) | Self::Revoke(_) | Self::Dormant(_))
    }

    /// Tag and body.
    pub(crate) fn encode(&self, out: &mut Writer) {
        match self {
            Self::Certify(certificate) => {
                out.u8(Self::CERTIFY);
                certificate.encode(out);
            }
            Self::Revoke(revocation) => {
                out.u8(Self::REVOKE);
                revocation.encode(out);
            }
            Self::Epoch(epoch) => {
                out.raw(&epoch.without_boxes());
                epoch.boxes.iter().for_each(|(_, sealed)| out.raw(sealed));
                out.raw(&epoch.recovery);
            }
            Self::Share(share) => {
                out.raw(&share.without_box());
                out.raw(&share.sealed);
            }
            Self::Retire(tips) => {
                out.u8(Self::RETIRE);
                SignedTip::encode_all(tips, out);
            }
            Self::Vouch(witnesses) => {
                out.u8(Self::VOUCH);
                Witness::encode_all(witnesses, out);
            }
            Self::Dormant(dormancy) => {
                out.u8(Self::DORMANT);
                dormancy.encode(out);
            }
            Self::Back => out.u8(Self::BACK),
            Self::Unknown(bytes) => out.raw(bytes),
        }
    }

    /// Reads one op. Signatures in it are checked here: an op that does not hold is no op.
    fn decode(context: &ContextId, author: &ReplicaId, bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new(bytes);
        let op = match input.u8()? {
            Self::CERTIFY => Self::Certify(Certificate::decode(&mut input)?),
            Self::REVOKE => Self::Revoke(Revocation::decode(context, &mut input)?),
            Self::EPOCH => Self::Epoch(Epoch::decode(&mut input)?),
            Self::SHARE => Self::Share(Share {
                epoch: EpochId(Hash::from_bytes(input.array()?)),
                recipient: ReplicaId::from_bytes(input.array()?),
                sealed: input.array()?,
            }),
            Self::RETIRE => Self::Retire(SignedTip::decode_all(&mut input, author, MAX_TIPS)?),
            Self::VOUCH => Self::Vouch(Witness::decode_all(&mut input, context, MAX_WITNESSES)?),
            Self::DORMANT => Self::Dormant(Dormancy::decode(context, &mut input)?),
            Self::BACK => Self::Back,
            _ => return Ok(Self::Unknown(Bytes::copy_from_slice(bytes))),
        };
        input.end()?;
        Ok(op)
    }
}

impl Epoch {
    /// The op without its boxes: what every box in it is bound to.
    pub(crate) fn without_boxes(&self) -> Bytes {
        let mut out = Writer::with_capacity(128);
        out.u8(Op::EPOCH);
        encode_devices(self.covers.iter(), self.covers.len(), &mut out);
        out.raw(self.commitment.as_bytes());
        encode_devices(self.boxes.iter().map(|(device, _)| device), self.boxes.len(), &mut out);
        out.finish()
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let covers = decode_devices(input)?;
        let commitment = Hash::from_bytes(input.array()?);
        let recipients = decode_devices(input)?;
        let boxes = recipients.into_iter().map(|device| Ok((device, input.array()?)));
        let boxes = boxes.collect::<Result<_, DecodeError>>()?;
        Ok(Self { covers, commitment, boxes, recovery: input.array()? })
    }
}

impl Share {
    /// The op without its box: what the box is bound to.
    pub(crate) fn without_box(&self) -> Bytes {
        let mut out = Writer::with_capacity(65);
        out.u8(Op::SHARE);
        out.raw(self.epoch.0.as_bytes());
        out.raw(self.recipient.as_bytes());
        out.finish()
    }
}

/// A payload that could be read, with all signatures in it checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) ops: Vec<Op>,
    /// What an owner-signed op in it says the context is.
    pub(crate) mode: Option<Mode>,
}

impl Payload {
    /// The canonical encoding of at most [`MAX_OPS`] ops.
    pub(crate) fn encode(ops: &[Op]) -> Bytes {
        let mut out = Writer::with_capacity(256);
        out.u8(VERSION);
        out.varint(ops.len() as u64);
        for op in ops {
            let mut one = Writer::new();
            op.encode(&mut one);
            out.bytes(one.as_slice());
        }
        out.finish()
    }

    /// Reads a payload of a control entry of this context and author.
    pub(crate) fn decode(context: &ContextId, author: &ReplicaId, payload: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new(payload);
        if input.u8()? != VERSION {
            return Err(DecodeError::Unknown("payload version"));
        }
        let count = input.count("the number of ops", MAX_OPS, 2)?;
        if count == 0 {
            return Err(DecodeError::Invalid("empty list of ops"));
        }
        let mut found = Self { ops: Vec::with_capacity(count), mode: None };
        for _ in 0..count {
            let op = Op::decode(context, author, input.bytes("an op", MAX_OP)?)?;
            let owner = match &op {
                Op::Certify(certificate) => Some(certificate.owner()),
                Op::Revoke(revocation) => Some(revocation.owner),
                Op::Dormant(dormancy) => Some(dormancy.owner),
                _ => None,
            };
            if let Some(owner) = owner {
                // Another owner's word, however well signed, says nothing here.
                found.mode = Some(Mode::of(context, &owner).ok_or(DecodeError::Invalid("owner for this context"))?);
            }
            found.ops.push(op);
        }
        input.end()?;
        Ok(found)
    }
}

fn encode_devices<'a>(devices: impl Iterator<Item = &'a ReplicaId>, count: usize, out: &mut Writer) {
    out.varint(count as u64);
    devices.for_each(|device| out.raw(device.as_bytes()));
}

fn decode_devices(input: &mut Reader<'_>) -> Result<Vec<ReplicaId>, DecodeError> {
    let count = input.count("the number of devices", MAX_DEVICES, ReplicaId::LEN)?;
    let mut devices: Vec<ReplicaId> = Vec::with_capacity(count);
    for _ in 0..count {
        let device = ReplicaId::from_bytes(input.array()?);
        if devices.last().is_some_and(|last| *last >= device) {
            return Err(DecodeError::NotCanonical);
        }
        devices.push(device);
    }
    Ok(devices)
}
