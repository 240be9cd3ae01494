//! Invitations: what a link holds, and how it is used.
//!
//! The link holds one secret seed. A signing key and a box key come from it: the first admits its holder to a relay and
//! signs the acceptance, the second opens the epoch secrets that wait for it among the control entries. So joining needs
//! nobody online but a relay.

use std::{fmt, str::FromStr};

use partita_core::{
    ContextId, CryptoRng, ReplicaId, Signature,
    codec::{DecodeError, Reader, Writer},
    text::{self, TextError},
};
use partita_crypto::{BoxPublicKey, BoxSecretKey, Secret, SigningKey, VerifyingKey, Zeroizing, derive};

use crate::{
    card::Card,
    op::{key, signature},
    role::{History, MemberId, Role},
};

const PREFIX: &str = "partita-invitation:";
const VERSION: u8 = 1;
const SIGNING: &str = "partita group invitation signing key v1";
const BOXES: &str = "partita group invitation box key v1";
const INVITE: &str = "partita 2026 v1 group invitation";
const ACCEPT: &str = "partita 2026 v1 group invitation accepted";
/// The longest address that a link carries, in bytes.
const MAX_URL: usize = 512;

/// How often an invitation can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Uses {
    /// Once. When two devices accept it, neither is in until an admin decides.
    #[default]
    Once = 0,
    /// Any number of times, until it is revoked or expires.
    Many = 1,
}

/// What an invitation grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Terms {
    /// The role once it is confirmed. Until then it is [`Role::Read`] at most.
    pub role: Role,
    /// What of the past may be read.
    pub history: History,
    /// How often it can be used.
    pub uses: Uses,
    /// When it ends, in seconds since the Unix epoch. Relays and admins see to that by their own clocks.
    pub expires: Option<u64>,
}

impl Terms {
    /// For one newcomer with this role, who may read all history, without an end.
    pub fn new(role: Role) -> Self {
        Self { role, history: History::All, uses: Uses::Once, expires: None }
    }

    /// What of the past may be read.
    #[must_use]
    pub fn history(mut self, history: History) -> Self {
        self.history = history;
        self
    }

    /// How often it can be used.
    #[must_use]
    pub fn uses(mut self, uses: Uses) -> Self {
        self.uses = uses;
        self
    }

    /// When it ends, in seconds since the Unix epoch.
    #[must_use]
    pub fn expires(mut self, seconds: u64) -> Self {
        self.expires = Some(seconds);
        self
    }
}

/// An invitation as the group's control entries have it: public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invite {
    pub(crate) key: VerifyingKey,
    pub(crate) boxes: BoxPublicKey,
    /// The member whose further device is invited; `None` for a new member.
    pub(crate) member: Option<MemberId>,
    pub(crate) terms: Terms,
    /// By the key, over the inviter too: the key is public, and others could claim it.
    signature: Signature,
}

impl Invite {
    pub(crate) fn sign(
        context: &ContextId,
        inviter: &ReplicaId,
        keys: &InviteKeys,
        member: Option<MemberId>,
        terms: Terms,
    ) -> Self {
        let (key, boxes) = (keys.signing.verifying_key(), keys.boxes.public());
        let mut invite = Self { key, boxes, member, terms, signature: Signature::from_bytes([0; 64]) };
        invite.signature = keys.signing.sign(INVITE, &invite.message(context, inviter));
        invite
    }

    /// Whether whoever wrote it holds the link.
    pub(crate) fn is_by(&self, context: &ContextId, inviter: &ReplicaId) -> bool {
        self.key.verify(INVITE, &self.message(context, inviter), &self.signature).is_ok()
    }

    fn message(&self, context: &ContextId, inviter: &ReplicaId) -> bytes::Bytes {
        let mut out = Writer::with_capacity(192);
        out.raw(context.as_bytes());
        out.raw(inviter.as_bytes());
        self.encode_terms(&mut out);
        out.finish()
    }

    /// Whether a device with this card is invited by it.
    pub(crate) fn fits(&self, card: &Card) -> bool {
        self.member.map_or(card.is_first(), |member| card.member() == member && !card.is_first())
    }

    pub(crate) fn id(&self) -> ReplicaId {
        ReplicaId::from_bytes(*self.key.as_bytes())
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        self.encode_terms(out);
        out.raw(self.signature.as_bytes());
    }

    fn encode_terms(&self, out: &mut Writer) {
        out.raw(self.key.as_bytes());
        out.raw(self.boxes.as_bytes());
        out.u8(u8::from(self.member.is_some()));
        if let Some(member) = &self.member {
            out.raw(member.0.as_bytes());
        }
        out.u8(self.terms.role as u8);
        out.u8(self.terms.history as u8);
        out.u8(self.terms.uses as u8);
        out.varint(self.terms.expires.unwrap_or(0));
    }

    pub(crate) fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let key = key(input)?;
        let boxes = BoxPublicKey::parse(&input.array()?).map_err(|_| DecodeError::Invalid("X25519 key"))?;
        let member = match input.u8()? {
            0 => None,
            1 => Some(MemberId(ReplicaId::from_bytes(input.array()?))),
            _ => return Err(DecodeError::NotCanonical),
        };
        let (role, history) = (Role::from_code(input.u8()?)?, History::from_code(input.u8()?)?);
        let uses = match input.u8()? {
            0 => Uses::Once,
            1 => Uses::Many,
            _ => return Err(DecodeError::Unknown("number of uses")),
        };
        let expires = Some(input.varint()?).filter(|seconds| *seconds > 0);
        Ok(Self { key, boxes, member, terms: Terms { role, history, uses, expires }, signature: signature(input)? })
    }
}

/// A device joins: signed by the invitation's key; the entry itself is signed by the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accept {
    pub(crate) invite: VerifyingKey,
    pub(crate) card: Card,
    signature: Signature,
}

impl Accept {
    pub(crate) fn sign(context: &ContextId, key: &SigningKey, card: Card) -> Self {
        let signature = key.sign(ACCEPT, &message(context, &card));
        Self { invite: key.verifying_key(), card, signature }
    }

    pub(crate) fn invite_id(&self) -> ReplicaId {
        ReplicaId::from_bytes(*self.invite.as_bytes())
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        out.raw(self.invite.as_bytes());
        self.card.encode(out);
        out.raw(self.signature.as_bytes());
    }

    pub(crate) fn decode(context: &ContextId, input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (invite, card, signature) = (key(input)?, Card::decode(input)?, signature(input)?);
        let holds = invite.verify(ACCEPT, &message(context, &card), &signature);
        holds.map_err(|_| DecodeError::Invalid("signature of an invitation"))?;
        Ok(Self { invite, card, signature })
    }
}

fn message(context: &ContextId, card: &Card) -> bytes::Bytes {
    let mut out = Writer::with_capacity(32 + Card::LEN);
    out.raw(context.as_bytes());
    card.encode(&mut out);
    out.finish()
}

/// The keys that come from a link's seed.
#[derive(Debug, Clone)]
pub(crate) struct InviteKeys {
    seed: Secret<32>,
    pub(crate) signing: SigningKey,
    pub(crate) boxes: BoxSecretKey,
}

impl InviteKeys {
    pub(crate) fn of(seed: Secret<32>) -> Self {
        Self {
            signing: SigningKey::from_seed(&derive(&seed, SIGNING, &[])),
            boxes: BoxSecretKey::from_secret(&derive(&seed, BOXES, &[])),
            seed,
        }
    }

    pub(crate) fn id(&self) -> ReplicaId {
        ReplicaId::from_bytes(*self.signing.verifying_key().as_bytes())
    }
}

/// A link: whoever has it can join the group, and read what the invitation lets it read. Keep it as one keeps a key.
///
/// Its text form begins with `partita-invitation:` and carries a checksum. It prints nothing of its secret otherwise.
#[derive(Clone)]
pub struct Invitation {
    pub(crate) context: ContextId,
    pub(crate) keys: InviteKeys,
    pub(crate) member: Option<MemberId>,
    relay: Option<String>,
}

impl Invitation {
    pub(crate) fn new(context: ContextId, member: Option<MemberId>, rng: &mut dyn CryptoRng) -> Self {
        Self { context, keys: InviteKeys::of(Secret::random(rng)), member, relay: None }
    }

    /// With the address where the group can be met: a URL that ends with the relay's id. At most 512 bytes; a longer one
    /// is left out.
    #[must_use]
    pub fn at(mut self, url: impl Into<String>) -> Self {
        self.relay = Some(url.into()).filter(|url| url.len() <= MAX_URL);
        self
    }

    /// The group's context.
    pub fn context(&self) -> ContextId {
        self.context
    }

    /// Where the group can be met, if whoever invited said so.
    pub fn relay(&self) -> Option<&str> {
        self.relay.as_deref()
    }

    /// What the group knows the invitation by: it can be revoked with this.
    pub fn id(&self) -> ReplicaId {
        self.keys.id()
    }

    /// The text, erased from memory when it is dropped. Show it to the one whom you invite.
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(text::write(PREFIX, &self.to_bytes()))
    }

    pub(crate) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut rest = Writer::new();
        rest.u8(u8::from(self.member.is_some()));
        if let Some(member) = &self.member {
            rest.raw(member.0.as_bytes());
        }
        rest.bytes(self.relay.as_deref().unwrap_or_default().as_bytes());
        // Large enough from the beginning: what grows leaves copies of the seed behind.
        let mut out = Zeroizing::new(Vec::with_capacity(80 + rest.len()));
        out.push(VERSION);
        out.extend_from_slice(self.context.as_bytes());
        out.extend_from_slice(self.keys.seed.expose());
        out.extend_from_slice(rest.as_slice());
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new(bytes);
        if input.u8()? != VERSION {
            return Err(DecodeError::Unknown("version of an invitation"));
        }
        let context = ContextId::from_bytes(input.array()?);
        let seed = Secret::from_bytes(input.array()?);
        let member = match input.u8()? {
            0 => None,
            1 => Some(MemberId(ReplicaId::from_bytes(input.array()?))),
            _ => return Err(DecodeError::NotCanonical),
        };
        let relay = input.bytes("an address", MAX_URL)?;
        let relay = str::from_utf8(relay).map_err(|_| DecodeError::Invalid("address"))?;
        input.end()?;
        let relay = Some(relay.to_owned()).filter(|relay| !relay.is_empty());
        Ok(Self { context, keys: InviteKeys::of(seed), member, relay })
    }
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitation").field("context", &self.context).field("id", &self.id()).finish_non_exhaustive()
    }
}

impl FromStr for Invitation {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let bytes = Zeroizing::new(text::read_up_to(PREFIX, text, MAX_URL + 128)?);
        Self::from_bytes(&bytes).map_err(|_| TextError::Signature)
    }
}
