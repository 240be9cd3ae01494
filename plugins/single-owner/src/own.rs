//! One of the owner's contexts on one of the owner's devices.

use partita_core::{
    ContextInfo, ControlEntry, CryptoRng, DeviceKeys, EpochId, HeaderPrefix, Opened, PayloadOpener, ReplicaId,
    StrategyEffect, StrategyError, WaitReason,
    planted::{Bug, planted},
};
use partita_crypto::{AeadKey, BoxPublicKey, EpochError, EpochFacts, choose_epoch};

use bytes::Bytes;

use crate::{
    certificate::Certificate,
    epoch::Place,
    keyring::Keyring,
    modes::Mode,
    op::{Epoch, Op, Share},
    state::ContextState,
};

/// Who this device is.
#[derive(Debug)]
pub(crate) struct Me {
    pub(crate) keys: DeviceKeys,
    pub(crate) certificate: Certificate,
}

impl Me {
    pub(crate) fn replica(&self) -> ReplicaId {
        self.certificate.device()
    }
}

#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) info: ContextInfo,
    pub(crate) mode: Mode,
    pub(crate) state: ContextState,
    pub(crate) ring: Keyring,
}

impl Own {
    pub(crate) fn new(info: ContextInfo, mode: Mode) -> Self {
        Self { state: ContextState::new(info.id, Some(mode)), ring: Keyring::default(), info, mode }
    }

    pub(crate) fn control(&mut self, me: &Me, entry: &ControlEntry<'_>) -> Result<Vec<StrategyEffect>, StrategyError> {
        let arrived = match self.state.insert(entry)? {
            Some(held) => self.ring.take(self.info.id, held, me.replica(), &me.keys),
            None => false,
        };
        Ok(if arrived { vec![StrategyEffect::KeysArrived] } else { Vec::new() })
    }

    /// The epoch to write under.
    pub(crate) fn epoch(&self, me: &Me) -> Result<Option<EpochId>, StrategyError> {
        let resolved = self.state.resolved();
        if resolved.has_lost(&me.replica()) {
            return Err(StrategyError(
                "this device was revoked or retired: what it writes from now on stays here".into(),
            ));
        }
        if !resolved.is_current(&me.replica()) {
            return Err(StrategyError(
                "this device's certificate is not in the context yet: it is appended first".into(),
            ));
        }
        match self.mode {
            Mode::Plain => Ok(None),
            Mode::Sealed => match self.writable() {
                Some(epoch) => Ok(Some(epoch)),
                None => Err(StrategyError("no key epoch may be written under: a new one is appended first".into())),
            },
        }
    }

    fn writable(&self) -> Option<EpochId> {
        let resolved = self.state.resolved();
        let epochs = resolved.epochs.iter();
        let facts = epochs.map(|(id, epoch)| resolved.facts(*id, epoch, self.ring.keys.contains(id)));
        choose_epoch(&facts.collect::<Vec<EpochFacts>>())
    }

    /// The ops that this device's own op must follow: its certificate, if the context lacks it.
    pub(crate) fn introduction(&self, me: &Me) -> Vec<Op> {
        let known = self.state.resolved().devices.contains_key(&me.replica());
        if known { Vec::new() } else { vec![Op::Certify(me.certificate.clone())] }
    }

    /// A new epoch for whoever remains when `lost` is gone too.
    pub(crate) fn new_epoch(
        &self,
        me: &Me,
        lost: Option<ReplicaId>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Op, EpochError> {
        let resolved = self.state.resolved();
        let mut covers: Vec<ReplicaId> = resolved.lost().chain(lost).collect();
        covers.sort_unstable();
        covers.dedup();
        let mut readers = self.readers(me);
        readers.retain(|(device, _)| Some(*device) != lost);
        let (owner, recovery) = (me.certificate.owner(), me.certificate.recovery_key());
        Ok(Op::Epoch(Epoch::create(rng, self.place(me), covers, &readers, &owner, &recovery)?))
    }

    /// What this device should write by itself; a new epoch only when a local write waits for one. Empty when everything
    /// is as it should be.
    pub(crate) fn duties(&self, me: &Me, writing: bool, rng: &mut dyn CryptoRng) -> Result<Vec<Op>, EpochError> {
        let resolved = self.state.resolved();
        let mut ops = Vec::new();
        if resolved.has_lost(&me.replica()) {
            return Ok(ops);
        }
        ops.extend(self.introduction(me));
        if resolved.dormant.contains(&me.replica()) {
            ops.push(Op::Back);
        }
        if self.mode == Mode::Plain {
            return Ok(ops);
        }
        if writing && self.writable().is_none() {
            ops.push(self.new_epoch(me, None, rng)?);
        }
        let readers = self.readers(me);
        for (id, epoch) in &resolved.epochs {
            let Some(secret) = self.ring.keys.get(id) else {
                continue;
            };
            for reader in readers.iter().filter(|(device, _)| !epoch.boxed.contains(device)) {
                ops.push(Op::Share(Share::create(rng, self.place(me), *id, secret, *reader)?));
            }
        }
        Ok(ops)
    }

    /// The current devices and this one, whose certificate may not lie in the context yet; by rising id.
    fn readers(&self, me: &Me) -> Vec<(ReplicaId, BoxPublicKey)> {
        let mut readers: Vec<_> = self.state.resolved().current().collect();
        if !self.state.resolved().devices.contains_key(&me.replica()) {
            readers.push((me.replica(), me.certificate.box_key()));
            readers.sort_unstable();
        }
        readers
    }

    pub(crate) fn place(&self, me: &Me) -> Place {
        Place { context: self.info.id, author: me.replica() }
    }

    /// The payload as it travels: sealed, or as it is in a plain context.
    pub(crate) fn seal(
        &self,
        prefix: &HeaderPrefix<'_>,
        plain: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<Bytes, StrategyError> {
        let epoch = match (self.mode, prefix.epoch) {
            (Mode::Plain, None) => return Ok(Bytes::copy_from_slice(plain)),
            (Mode::Sealed, Some(epoch)) => epoch,
            (Mode::Plain, Some(_)) => {
                return Err(StrategyError("a plain context has no key epochs".into()));
            }
            (Mode::Sealed, None) => {
                return Err(StrategyError("a sealed context needs a key epoch".into()));
            }
        };
        let key = self.ring.keys.payload_key(&epoch, prefix.header.context.as_bytes(), prefix.author.as_bytes());
        let key = key.ok_or_else(|| StrategyError("the secret of this key epoch is not here".into()))?;
        if planted(Bug::SealSkipped) {
            return Ok(Bytes::copy_from_slice(plain));
        }
        let sealed = key.seal(rng, &prefix.to_bytes(), plain).map_err(|error| StrategyError(error.to_string()))?;
        Ok(sealed.into())
    }

    /// And back.
    pub(crate) fn open(&self, prefix: &HeaderPrefix<'_>, sealed: &Bytes) -> Opened {
        match self.opener(&prefix.author, prefix.epoch) {
            Ok(opener) => opener.open(prefix, sealed),
            Err(why_not) => why_not,
        }
    }

    /// What opens an author's payloads under an epoch, or what becomes of them without.
    pub(crate) fn opener(&self, author: &ReplicaId, epoch: Option<EpochId>) -> Result<Opener, Opened> {
        let epoch = match (self.mode, epoch) {
            (Mode::Plain, None) => return Ok(Opener::Plain),
            (Mode::Sealed, Some(epoch)) => epoch,
            _ => return Err(Opened::Bad),
        };
        let key = self.ring.keys.payload_key(&epoch, self.info.id.as_bytes(), author.as_bytes());
        key.map(Opener::Sealed).ok_or(Opened::Wait(WaitReason::Key(Some(epoch))))
    }
}

/// Opens one author's payloads of one context under one epoch.
#[derive(Debug)]
pub(crate) enum Opener {
    /// They travel as they are.
    Plain,
    Sealed(AeadKey),
}

impl PayloadOpener for Opener {
    fn open(&self, prefix: &HeaderPrefix<'_>, sealed: &Bytes) -> Opened {
        match self {
            Self::Plain => Opened::Plain(sealed.clone()),
            Self::Sealed(_) if planted(Bug::SealSkipped) => Opened::Plain(sealed.clone()),
            Self::Sealed(key) => {
                key.open(&prefix.to_bytes(), sealed).map_or(Opened::Bad, |plain| Opened::Plain(plain.into()))
            }
        }
    }
}
