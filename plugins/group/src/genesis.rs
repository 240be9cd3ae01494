//! How a group begins: its founders and its policies. Its hash is the group's identity, and never changes.

use std::time::Duration;

use partita_core::{
    ContextId, ContextInfo, ContextKind, KindError,
    codec::{DecodeError, Reader, Writer},
};
use partita_crypto::hash;

use crate::{card::Card, role::MemberId};

/// The kind of a group's context.
pub const GROUP_KIND: &str = "group";

const DOMAIN: &str = "partita 2026 v1 group genesis";
/// The most devices that found a group together: a genesis must fit into the proof that shows it to a new relay.
pub(crate) const MAX_FOUNDERS: usize = 64;

/// What holds in a group for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Policy {
    /// Whether whoever joins by an invitation waits for an admin's decision before it has more than the right to read.
    /// Otherwise any admin's device confirms it by itself when it sees it.
    pub confirm_by_hand: bool,
    /// How old a key epoch may get before the next writer begins another. A clock decides when, never whether something
    /// counts.
    pub rotate_after: Option<Duration>,
    /// Whether payloads are padded, so that relays see only roughly how long they are (at most an eighth more).
    pub pad: bool,
}

impl Policy {
    const CONFIRM: u8 = 1;
    const PAD: u8 = 2;

    /// Whether whoever joins by an invitation waits for an admin's decision.
    #[must_use]
    pub fn confirm_by_hand(mut self, yes: bool) -> Self {
        self.confirm_by_hand = yes;
        self
    }

    /// How old a key epoch may get. Counted in whole seconds.
    #[must_use]
    pub fn rotate_after(mut self, age: Duration) -> Self {
        self.rotate_after = Some(Duration::from_secs(age.as_secs().max(1)));
        self
    }

    /// Whether payloads are padded.
    #[must_use]
    pub fn pad(mut self, yes: bool) -> Self {
        self.pad = yes;
        self
    }

    fn encode(&self, out: &mut Writer) {
        let confirm = if self.confirm_by_hand { Self::CONFIRM } else { 0 };
        let pad = if self.pad { Self::PAD } else { 0 };
        out.u8(confirm | pad);
        out.varint(self.rotate_after.map_or(0, |age| age.as_secs()));
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flags = input.u8()?;
        if flags & !(Self::CONFIRM | Self::PAD) != 0 {
            return Err(DecodeError::Unknown("policy"));
        }
        let seconds = input.varint()?;
        Ok(Self {
            confirm_by_hand: flags & Self::CONFIRM != 0,
            rotate_after: (seconds > 0).then(|| Duration::from_secs(seconds)),
            pad: flags & Self::PAD != 0,
        })
    }
}

/// The founders, in the order of their seniority, and the policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Genesis {
    /// First devices, each another member's.
    pub(crate) founders: Vec<Card>,
    pub(crate) policy: Policy,
    /// Random: the same people can found any number of groups.
    pub(crate) nonce: [u8; 32],
}

impl Genesis {
    pub(crate) fn encode(&self, out: &mut Writer) {
        out.raw(&self.nonce);
        self.policy.encode(out);
        out.varint(self.founders.len() as u64);
        self.founders.iter().for_each(|card| card.encode(out));
    }

    pub(crate) fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (nonce, policy) = (input.array()?, Policy::decode(input)?);
        let count = input.count("the number of founders", MAX_FOUNDERS, Card::LEN)?;
        let mut founders: Vec<Card> = Vec::with_capacity(count);
        for _ in 0..count {
            let card = Card::decode(input)?;
            if !card.is_first() || founders.iter().any(|other| other.device() == card.device()) {
                return Err(DecodeError::Invalid("founder"));
            }
            founders.push(card);
        }
        if founders.is_empty() {
            return Err(DecodeError::Invalid("group without founders"));
        }
        Ok(Self { founders, policy, nonce })
    }

    /// The context that it founds.
    pub(crate) fn context(&self) -> Result<ContextInfo, KindError> {
        let mut bytes = Writer::with_capacity(64 + Card::LEN);
        self.encode(&mut bytes);
        let root = hash(DOMAIN, &[bytes.as_slice()]);
        let kind = ContextKind::new(GROUP_KIND)?;
        Ok(ContextInfo { id: ContextId::derive(&kind, root.as_bytes()), kind })
    }

    pub(crate) fn founds(&self, context: &ContextId) -> bool {
        self.context().is_ok_and(|info| info.id == *context)
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = MemberId> {
        self.founders.iter().map(Card::member)
    }
}
