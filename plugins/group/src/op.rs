//! What control entries say: the ops and their one canonical encoding.
//!
//! A payload is a version byte, a count, and that many ops, each with its length, so that an op of a later version is
//! kept and passed over. On the wire: version 1; `n` (1 to 16); `n` times length, tag, body.

use bytes::Bytes;
use partita_core::{
    ContextId, EpochId, Hash, ReplicaId, Signature, SignedTip, Witness,
    codec::{DecodeError, Reader, Writer},
};
use partita_crypto::{BoxPublicKey, EPOCH_BOX_LEN, VerifyingKey};

use crate::{
    card::Card,
    genesis::Genesis,
    invite::{Accept, Invite},
    role::{History, MemberId, Role},
};

const VERSION: u8 = 1;
/// The most ops in one payload: one entry is one step, and a bound on what a verdict costs.
pub(crate) const MAX_OPS: usize = 16;
/// The most boxes in an epoch: what fits into a control entry.
pub(crate) const MAX_BOXES: usize = 6000;
/// The most epochs whose secrets one box holds.
pub(crate) const MAX_SHARED: usize = 4096;
/// The most devices whose logs one op caps.
pub(crate) const MAX_CAPPED: usize = 256;
/// The most logs of a device that an op caps: decades of opening a store several times a day.
pub(crate) const MAX_TIPS: usize = 65_536;
/// The most entries that one vouch shows: each costs a signature check.
pub(crate) const MAX_WITNESSES: usize = 256;
const MAX_NAME: usize = 1024;
const EPOCH_ID_LEN: usize = 32;
const MAX_OP: usize = 8 * 1024 * 1024;

/// How far the logs of a device count that loses a right: for each device, by rising id, its logs with the last entry that
/// counts. A log that is not listed counts for nothing.
pub(crate) type Caps = Vec<(ReplicaId, Vec<SignedTip>)>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    /// The group begins.
    Create(Genesis),
    /// A member is added, with its first device.
    Add(Add),
    /// A member is taken out, and its logs count this far.
    Remove(Remove),
    /// A member's role from now on, and how far its logs count where that is less.
    SetRole(SetRole),
    /// One more device of the author's member.
    AddDevice(Card),
    /// A device is taken out: by its member, or by an admin.
    RemoveDevice(RemoveDevice),
    /// The author's box key from now on.
    DeviceKey(BoxPublicKey),
    /// A new key epoch.
    Epoch(Epoch),
    /// Epoch secrets for whoever lacks them.
    Share(Share),
    /// The author's box in this epoch, or in a share of it, holds nothing: somebody else please box again. Blames nobody.
    Complain(EpochId),
    /// Whoever holds this key may join.
    Invite(Box<Invite>),
    /// And from now on may not.
    RevokeInvite(ReplicaId),
    /// A device joins by an invitation.
    Accept(Box<Accept>),
    /// An admin's decision about who joined by an invitation.
    Decide(Decide),
    /// The author's member leaves, and its other logs count this far.
    Leave(Caps),
    /// These entries count although a loss cuts them off. Each is shown with the signature of the one who wrote it; by
    /// rising tip.
    Vouch(Vec<Witness>),
    /// The group's name, sealed.
    Name(Name),
    /// Nothing: its entry has many parents, so that the next has few.
    Merge,
    /// Nobody waits for the device until it is back: checkpoints do without its word.
    Dormant(ReplicaId),
    /// The author is back from whatever its entry's ancestors declare of it.
    Back,
    /// Of a later version: its tag and body.
    Unknown(Bytes),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Add {
    pub(crate) card: Card,
    pub(crate) role: Role,
    pub(crate) history: History,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remove {
    pub(crate) member: MemberId,
    pub(crate) caps: Caps,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SetRole {
    pub(crate) member: MemberId,
    pub(crate) role: Role,
    pub(crate) caps: Caps,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoveDevice {
    pub(crate) device: ReplicaId,
    pub(crate) caps: Vec<SignedTip>,
}

/// Who gets an epoch's secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every reader: what is written from now on.
    Live,
    /// Every reader but those of these members, by rising id, who may not read all history: snapshots of documents that are
    /// older than they are.
    Archive(Vec<MemberId>),
}

impl Scope {
    const LIVE: u8 = 0;
    // 1 was for one that leaves out whoever may not read all history, without saying whom. None was ever used.
    const ARCHIVE: u8 = 2;

    /// The most members that one leaves out: as many as get boxes.
    const MOST: usize = MAX_BOXES;

    /// Whether a reader is meant.
    pub(crate) fn is_for(&self, member: &MemberId, history: History) -> bool {
        match self {
            Self::Live => true,
            Self::Archive(without) => history == History::All || without.binary_search(member).is_err(),
        }
    }

    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Live => out.u8(Self::LIVE),
            Self::Archive(without) => {
                out.u8(Self::ARCHIVE);
                out.varint(without.len() as u64);
                without.iter().for_each(|member| out.raw(member.0.as_bytes()));
            }
        }
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match input.u8()? {
            Self::LIVE => Ok(Self::Live),
            Self::ARCHIVE => {
                let count = input.count("the number of members left out", Self::MOST, ReplicaId::LEN)?;
                let mut without: Vec<MemberId> = Vec::with_capacity(count);
                for _ in 0..count {
                    let member = MemberId(ReplicaId::from_bytes(input.array()?));
                    if without.last().is_some_and(|last| *last >= member) {
                        return Err(DecodeError::NotCanonical);
                    }
                    without.push(member);
                }
                Ok(Self::Archive(without))
            }
            _ => Err(DecodeError::Unknown("scope of an epoch")),
        }
    }
}

/// A new key epoch. Its boxes go, in rising order, to the readers and the open invitations that its author knew, this entry
/// included: everybody who knows the same control entries knows the same recipients, so that they need not be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Epoch {
    pub(crate) scope: Scope,
    pub(crate) commitment: Hash,
    /// One after the other, each [`EPOCH_BOX_LEN`] bytes.
    pub(crate) boxes: Bytes,
}

/// Epoch secrets in one box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Share {
    /// A device, or the key of an invitation.
    pub(crate) recipient: ReplicaId,
    /// Whose secrets it holds, one after the other.
    pub(crate) epochs: Vec<EpochId>,
    pub(crate) sealed: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decide {
    pub(crate) invite: ReplicaId,
    pub(crate) device: ReplicaId,
    pub(crate) admit: bool,
}

/// The group's name under a key of an epoch: of this very entry's (`None`), or of an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) epoch: Option<EpochId>,
    pub(crate) sealed: Bytes,
}

impl Op {
    const CREATE: u8 = 1;
    const ADD: u8 = 2;
    const REMOVE: u8 = 3;
    const SET_ROLE: u8 = 4;
    const ADD_DEVICE: u8 = 5;
    const REMOVE_DEVICE: u8 = 6;
    const DEVICE_KEY: u8 = 7;
    const EPOCH: u8 = 8;
    const SHARE: u8 = 9;
    const COMPLAIN: u8 = 10;
    const INVITE: u8 = 11;
    const REVOKE_INVITE: u8 = 12;
    const ACCEPT: u8 = 13;
    const DECIDE: u8 = 14;
    const LEAVE: u8 = 15;
    const VOUCH: u8 = 16;
    const NAME: u8 = 17;
    // 18 was kept for attesting a checkpoint, which is the node's own.
    const DORMANT: u8 = 19;
    const MERGE: u8 = 20;
    const BACK: u8 = 21;

    /// Whether it says who belongs to the group, and as what.
    pub(crate) fn is_membership(&self) -> bool {
        use Op::*;
        match self {
            Create(_) | Add(_) | Remove(_) | SetRole(_) | AddDevice(_) | RemoveDevice(_) | DeviceKey(_) | Invite(_)
            | RevokeInvite(_) | Accept(_) | Decide(_) | Leave(_) => true,
            Epoch(_) | Share(_) | Complain(_) | Vouch(_) | Name(_) | Merge | Dormant(_) | Back | Unknown(_) => false,
        }
    }

    /// Tag and body.
    pub(crate) fn encode(&self, out: &mut Writer) {
        match self {
            Self::Create(genesis) => {
                out.u8(Self::CREATE);
                genesis.encode(out);
            }
            Self::Add(add) => {
                out.u8(Self::ADD);
                add.card.encode(out);
                out.u8(add.role as u8);
                out.u8(add.history as u8);
            }
            Self::Remove(remove) => {
                out.u8(Self::REMOVE);
                out.raw(remove.member.0.as_bytes());
                encode_caps(&remove.caps, out);
            }
            Self::SetRole(set) => {
                out.u8(Self::SET_ROLE);
                out.raw(set.member.0.as_bytes());
                out.u8(set.role as u8);
                encode_caps(&set.caps, out);
            }
            Self::AddDevice(card) => {
                out.u8(Self::ADD_DEVICE);
                card.encode(out);
            }
            Self::RemoveDevice(remove) => {
                out.u8(Self::REMOVE_DEVICE);
                out.raw(remove.device.as_bytes());
                SignedTip::encode_all(&remove.caps, out);
            }
            Self::DeviceKey(key) => {
                out.u8(Self::DEVICE_KEY);
                out.raw(key.as_bytes());
            }
            Self::Epoch(epoch) => {
                out.raw(&epoch.without_boxes());
                out.raw(&epoch.boxes);
            }
            Self::Share(share) => {
                out.raw(&share.without_box());
                out.raw(&share.sealed);
            }
            Self::Complain(epoch) => {
                out.u8(Self::COMPLAIN);
                out.raw(epoch.0.as_bytes());
            }
            Self::Invite(invite) => {
                out.u8(Self::INVITE);
                invite.encode(out);
            }
            Self::RevokeInvite(key) => {
                out.u8(Self::REVOKE_INVITE);
                out.raw(key.as_bytes());
            }
            Self::Accept(accept) => {
                out.u8(Self::ACCEPT);
                accept.encode(out);
            }
            Self::Decide(decide) => {
                out.u8(Self::DECIDE);
                out.raw(decide.invite.as_bytes());
                out.raw(decide.device.as_bytes());
                out.u8(u8::from(decide.admit));
            }
            Self::Leave(caps) => {
                out.u8(Self::LEAVE);
                encode_caps(caps, out);
            }
            Self::Vouch(witnesses) => {
                out.u8(Self::VOUCH);
                Witness::encode_all(witnesses, out);
            }
            Self::Name(name) => {
                out.u8(Self::NAME);
                out.u8(u8::from(name.epoch.is_some()));
                if let Some(epoch) = &name.epoch {
                    out.raw(epoch.0.as_bytes());
                }
                out.bytes(&name.sealed);
            }
            Self::Merge => out.u8(Self::MERGE),
            Self::Dormant(device) => {
                out.u8(Self::DORMANT);
                out.raw(device.as_bytes());
            }
            Self::Back => out.u8(Self::BACK),
            Self::Unknown(bytes) => out.raw(bytes),
        }
    }

    /// How far it says that logs count, each device's list by itself.
    pub(crate) fn listed(&self) -> impl Iterator<Item = &[SignedTip]> {
        let (caps, device): (&[_], &[SignedTip]) = match self {
            Self::Remove(Remove { caps, .. }) | Self::SetRole(SetRole { caps, .. }) | Self::Leave(caps) => (caps, &[]),
            Self::RemoveDevice(remove) => (&[], &remove.caps),
            _ => (&[], &[]),
        };
        caps.iter().map(|(_, tips)| &tips[..]).chain([device]).filter(|tips| !tips.is_empty())
    }

    /// Reads one op. Signatures inside are checked here: an op that does not hold is no op.
    fn decode(context: &ContextId, bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut input = Reader::new(bytes);
        let op = match input.u8()? {
            Self::CREATE => {
                let genesis = Genesis::decode(&mut input)?;
                if !genesis.founds(context) {
                    return Err(DecodeError::Invalid("genesis for this context"));
                }
                Self::Create(genesis)
            }
            Self::ADD => {
                let (card, role, history) = (Card::decode(&mut input)?, input.u8()?, input.u8()?);
                if !card.is_first() {
                    return Err(DecodeError::Invalid("first device of a member"));
                }
                Self::Add(Add { card, role: Role::from_code(role)?, history: History::from_code(history)? })
            }
            Self::REMOVE => Self::Remove(Remove { member: member(&mut input)?, caps: decode_caps(&mut input)? }),
            Self::SET_ROLE => {
                let (member, role) = (member(&mut input)?, Role::from_code(input.u8()?)?);
                Self::SetRole(SetRole { member, role, caps: decode_caps(&mut input)? })
            }
            Self::ADD_DEVICE => {
                let card = Card::decode(&mut input)?;
                if card.is_first() {
                    return Err(DecodeError::Invalid("further device of a member"));
                }
                Self::AddDevice(card)
            }
            Self::REMOVE_DEVICE => {
                let device = ReplicaId::from_bytes(input.array()?);
                let caps = SignedTip::decode_all(&mut input, &device, MAX_TIPS)?;
                Self::RemoveDevice(RemoveDevice { device, caps })
            }
            Self::DEVICE_KEY => {
                let key = BoxPublicKey::parse(&input.array()?).map_err(|_| DecodeError::Invalid("X25519 key"))?;
                Self::DeviceKey(key)
            }
            Self::EPOCH => {
                let scope = Scope::decode(&mut input)?;
                let commitment = Hash::from_bytes(input.array()?);
                let count = input.count("the number of boxes", MAX_BOXES, EPOCH_BOX_LEN)?;
                let boxes = bytes.slice_ref(input.raw(count * EPOCH_BOX_LEN)?);
                Self::Epoch(Epoch { scope, commitment, boxes })
            }
            Self::SHARE => {
                let recipient = ReplicaId::from_bytes(input.array()?);
                let count = input.count("the number of shared epochs", MAX_SHARED, EPOCH_ID_LEN)?;
                let mut epochs: Vec<EpochId> = Vec::with_capacity(count);
                for _ in 0..count {
                    let epoch = EpochId(Hash::from_bytes(input.array()?));
                    if epochs.last().is_some_and(|last| *last >= epoch) {
                        return Err(DecodeError::NotCanonical);
                    }
                    epochs.push(epoch);
                }
                if epochs.is_empty() {
                    return Err(DecodeError::Invalid("share of nothing"));
                }
                let sealed = bytes.slice_ref(input.raw(bundle_len(count))?);
                Self::Share(Share { recipient, epochs, sealed })
            }
            Self::COMPLAIN => Self::Complain(EpochId(Hash::from_bytes(input.array()?))),
            Self::INVITE => Self::Invite(Box::new(Invite::decode(&mut input)?)),
            Self::REVOKE_INVITE => Self::RevokeInvite(ReplicaId::from_bytes(input.array()?)),
            Self::ACCEPT => Self::Accept(Box::new(Accept::decode(context, &mut input)?)),
            Self::DECIDE => {
                let (invite, device) = (input.array()?, input.array()?);
                let admit = match input.u8()? {
                    0 => false,
                    1 => true,
                    _ => return Err(DecodeError::NotCanonical),
                };
                let (invite, device) = (ReplicaId::from_bytes(invite), ReplicaId::from_bytes(device));
                Self::Decide(Decide { invite, device, admit })
            }
            Self::LEAVE => Self::Leave(decode_caps(&mut input)?),
            Self::VOUCH => Self::Vouch(Witness::decode_all(&mut input, context, MAX_WITNESSES)?),
            Self::NAME => {
                let epoch = match input.u8()? {
                    0 => None,
                    1 => Some(EpochId(Hash::from_bytes(input.array()?))),
                    _ => return Err(DecodeError::NotCanonical),
                };
                Self::Name(Name { epoch, sealed: bytes.slice_ref(input.bytes("a group's name", MAX_NAME)?) })
            }
            Self::MERGE => Self::Merge,
            Self::DORMANT => Self::Dormant(ReplicaId::from_bytes(input.array()?)),
            Self::BACK => Self::Back,
            _ => return Ok(Self::Unknown(bytes.clone())),
        };
        input.end()?;
        Ok(op)
    }
}

impl Epoch {
    pub(crate) fn count(&self) -> usize {
        self.boxes.len() / EPOCH_BOX_LEN
    }

    /// The op without its boxes: what every box in it is bound to.
    pub(crate) fn without_boxes(&self) -> Bytes {
        Self::bound(&self.scope, &self.commitment, self.count())
    }

    pub(crate) fn bound(scope: &Scope, commitment: &Hash, count: usize) -> Bytes {
        let mut out = Writer::with_capacity(40);
        out.u8(Op::EPOCH);
        scope.encode(&mut out);
        out.raw(commitment.as_bytes());
        out.varint(count as u64);
        out.finish()
    }
}

impl Share {
    /// The op without its box: what the box is bound to.
    pub(crate) fn without_box(&self) -> Bytes {
        Self::bound(&self.recipient, &self.epochs)
    }

    pub(crate) fn bound(recipient: &ReplicaId, epochs: &[EpochId]) -> Bytes {
        let mut out = Writer::with_capacity(48 + epochs.len() * EPOCH_ID_LEN);
        out.u8(Op::SHARE);
        out.raw(recipient.as_bytes());
        out.varint(epochs.len() as u64);
        epochs.iter().for_each(|epoch| out.raw(epoch.0.as_bytes()));
        out.finish()
    }
}

/// A payload that could be read, with the signatures inside it checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) ops: Vec<Op>,
    /// What they were read from.
    pub(crate) raw: Bytes,
}

impl Payload {
    /// Of a control entry that is the node's own to understand.
    pub(crate) fn without_ops() -> Self {
        Self { ops: Vec::new(), raw: Bytes::new() }
    }

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

    /// Reads a payload of a control entry of this context.
    pub(crate) fn decode(context: &ContextId, payload: &[u8]) -> Result<Self, DecodeError> {
        let raw = Bytes::copy_from_slice(payload);
        let mut input = Reader::new(&raw);
        if input.u8()? != VERSION {
            return Err(DecodeError::Unknown("payload version"));
        }
        let count = input.count("the number of ops", MAX_OPS, 2)?;
        if count == 0 {
            return Err(DecodeError::Invalid("empty list of ops"));
        }
        let mut ops = Vec::with_capacity(count);
        for _ in 0..count {
            ops.push(Op::decode(context, &raw.slice_ref(input.bytes("an op", MAX_OP)?))?);
        }
        input.end()?;
        Ok(Self { ops, raw: raw.clone() })
    }
}

/// The length of a box with so many epoch secrets.
pub(crate) fn bundle_len(epochs: usize) -> usize {
    EPOCH_BOX_LEN - 32 + 32 * epochs
}

fn member(input: &mut Reader<'_>) -> Result<MemberId, DecodeError> {
    Ok(MemberId(ReplicaId::from_bytes(input.array()?)))
}

fn encode_caps(caps: &Caps, out: &mut Writer) {
    out.varint(caps.len() as u64);
    for (device, tips) in caps {
        out.raw(device.as_bytes());
        SignedTip::encode_all(tips, out);
    }
}

fn decode_caps(input: &mut Reader<'_>) -> Result<Caps, DecodeError> {
    let count = input.count("the number of capped devices", MAX_CAPPED, ReplicaId::LEN + 1)?;
    let mut caps: Caps = Vec::with_capacity(count);
    for _ in 0..count {
        let device = ReplicaId::from_bytes(input.array()?);
        if caps.last().is_some_and(|(last, _)| *last >= device) {
            return Err(DecodeError::NotCanonical);
        }
        let tips = SignedTip::decode_all(input, &device, MAX_TIPS)?;
        caps.push((device, tips));
    }
    Ok(caps)
}

/// A key that must be one, as a person's or an invitation's name.
pub(crate) fn key(input: &mut Reader<'_>) -> Result<VerifyingKey, DecodeError> {
    VerifyingKey::parse(&input.array()?).map_err(|_| DecodeError::Invalid("Ed25519 key"))
}

pub(crate) fn signature(input: &mut Reader<'_>) -> Result<Signature, DecodeError> {
    Ok(Signature::from_bytes(input.array()?))
}
