//! The member's side as a [`PartitionStrategy`].

use std::{
    any::Any,
    collections::BTreeSet,
    sync::{Arc, Mutex, OnceLock},
};

use bytes::Bytes;
use partita_core::{
    Access, AuthProvider, Brought, Claim, ContextId, ContextInfo, ContextKind, ControlEntry, CryptoRng, EntryId,
    EpochId, Grant, HeaderPrefix, Now, Opened, PartitionStrategy, PayloadOpener, PeerInfo, Refusal, RemoteContext,
    ReplicaId, SessionId, Standing, StrategyEffect, StrategyError, Transcript, Turn, Verdict, WaitReason, Witness,
    planted::{Bug, planted},
};
use partita_crypto::{AeadKey, VerifyingKey};

use crate::{
    genesis::Genesis,
    group::Group,
    op::{MAX_WITNESSES, Op, Payload},
    pad::{pad, unpad},
    proof,
    role::Role,
};

impl PartitionStrategy for Group {
    fn kinds(&self) -> &[ContextKind] {
        &self.kinds
    }

    fn auth(&self) -> &dyn AuthProvider {
        self
    }

    fn contexts(&self) -> Vec<ContextInfo> {
        vec![self.info.clone()]
    }

    fn adopt(&mut self, context: &ContextInfo, brought: Option<&Brought<'_>>) -> bool {
        *context == self.info && brought.is_some_and(|brought| self.state.welcome(context, brought))
    }

    fn should_sync(&self, local: &ContextInfo, remote: &RemoteContext) -> Access {
        if !self.kinds.contains(&remote.kind) {
            return Access::Refused(Refusal::UnknownKind);
        }
        if local.id != remote.id || local.kind != remote.kind || *local != self.info {
            return Access::Refused(Refusal::Denied);
        }
        let removed = self.state.view().was_removed(&remote.peer.replica);
        if remote.peer.pinned && !removed {
            return Access::Both;
        }
        self.state.access(&remote.peer.replica, remote.grant.map(|grant| grant.access))
    }

    fn filter_targets(&self, context: &ContextId, peers: &[PeerInfo], out: &mut Vec<SessionId>) {
        if *context == self.info.id {
            let pinned = |peer: &PeerInfo| peer.pinned && !self.state.view().was_removed(&peer.replica);
            let gets = |peer: &&PeerInfo| pinned(peer) || self.state.is_target(&peer.replica);
            out.extend(peers.iter().filter(gets).map(|peer| peer.session));
        }
    }

    fn authorize(&self, claim: &Claim<'_>) -> Verdict {
        if claim.header.context == self.info.id {
            self.state.authorize(claim)
        } else {
            Verdict::Excluded(Refusal::Denied)
        }
    }

    fn standing(&self, context: &ContextId) -> Standing {
        if *context == self.info.id { self.state.standing() } else { Standing::default() }
    }

    fn epoch(&self, context: &ContextId) -> Result<Option<EpochId>, StrategyError> {
        self.check(context)?;
        self.may_write().map_err(|error| StrategyError(error.to_string()))?;
        match self.writable() {
            Some(epoch) => Ok(Some(epoch)),
            None => Err(StrategyError("no key epoch may be written under: a new one is appended first".into())),
        }
    }

    fn snapshot_epoch(&self, context: &ContextId, past: &BTreeSet<EpochId>) -> Result<Option<EpochId>, StrategyError> {
        self.check(context)?;
        let without = self.state.left_out_of(past);
        if without.is_empty() || planted(Bug::PastShown) {
            return self.epoch(context);
        }
        self.may_write().map_err(|error| StrategyError(error.to_string()))?;
        if without.contains(&self.member()) {
            return Err(StrategyError("this device may not read all of what the document was written under".into()));
        }
        match self.archive(&without) {
            Some(epoch) => Ok(Some(epoch)),
            None => {
                Err(StrategyError("no key epoch is for whoever may read this document: one is appended first".into()))
            }
        }
    }

    fn is_for_same_readers(
        &self,
        _context: &ContextId,
        author: &ReplicaId,
        snapshot: Option<EpochId>,
        past: &BTreeSet<EpochId>,
    ) -> bool {
        let Some(epoch) = snapshot.filter(|epoch| self.state.is_complete(epoch)) else {
            return false;
        };
        let may_not = self.state.left_out_of(past);
        let member = self.state.view().devices.get(author).map(|(member, _)| member);
        if member.is_some_and(|member| may_not.contains(member)) {
            return false;
        }
        may_not == self.state.left_out_of([&epoch]) || planted(Bug::PastShown)
    }

    fn seal(&self, prefix: &HeaderPrefix<'_>, plain: &[u8], rng: &mut dyn CryptoRng) -> Result<Bytes, StrategyError> {
        self.check(&prefix.header.context)?;
        let epoch = prefix.epoch.ok_or_else(|| StrategyError("a group's payloads need a key epoch".into()))?;
        let key = self.ring.keys.payload_key(&epoch, prefix.header.context.as_bytes(), prefix.author.as_bytes());
        let key = key.ok_or_else(|| StrategyError("the secret of this key epoch is not here".into()))?;
        if planted(Bug::SealSkipped) {
            return Ok(Bytes::copy_from_slice(plain));
        }
        let aad = prefix.to_bytes();
        let sealed =
            if self.state.policy().pad { key.seal(rng, &aad, &pad(plain)) } else { key.seal(rng, &aad, plain) };
        Ok(sealed.map_err(|error| StrategyError(error.to_string()))?.into())
    }

    fn open(&self, prefix: &HeaderPrefix<'_>, sealed: &Bytes) -> Opened {
        match self.opener_of(&prefix.header.context, &prefix.author, prefix.epoch) {
            Ok(opener) => opener.open(prefix, sealed),
            Err(why_not) => why_not,
        }
    }

    fn opener(
        &self,
        context: &ContextId,
        author: &ReplicaId,
        epoch: Option<EpochId>,
    ) -> Option<Arc<dyn PayloadOpener>> {
        Some(Arc::new(self.opener_of(context, author, epoch).ok()?))
    }

    fn control(&mut self, _now: Now, entry: &ControlEntry<'_>) -> Result<Vec<StrategyEffect>, StrategyError> {
        self.check(&entry.header.context)?;
        let Some(at) = self.state.insert(entry)? else {
            return Ok(Vec::new());
        };
        self.chosen = OnceLock::new();
        self.archives = Mutex::default();
        let arrived = self.ring.take(&self.state, at, &self.keys, &self.record);
        Ok(if arrived { vec![StrategyEffect::KeysArrived] } else { Vec::new() })
    }

    fn duties(&mut self, context: &ContextId, turn: &mut Turn<'_>) -> Result<(), StrategyError> {
        if *context != self.info.id {
            return Ok(());
        }
        self.fulfil(turn).map_err(|error| StrategyError(error.to_string()))
    }

    fn vouch(&self, context: &ContextId, witnesses: &[Witness]) -> Option<Bytes> {
        let may = *context == self.info.id && self.role().is_some_and(Role::writes) && self.state.knows_losses();
        let witnesses = Witness::furthest(witnesses);
        let worth_saying = may && !witnesses.is_empty() && witnesses.len() <= MAX_WITNESSES;
        worth_saying.then(|| Payload::encode(&[Op::Vouch(witnesses)]))
    }

    fn writers(&self, context: &ContextId, heads: &[EntryId]) -> Option<BTreeSet<ReplicaId>> {
        (*context == self.info.id).then(|| self.state.writers(heads))
    }

    fn dormant(&self, context: &ContextId, heads: &[EntryId]) -> BTreeSet<ReplicaId> {
        if *context == self.info.id { self.state.dormant(heads) } else { BTreeSet::new() }
    }

    fn never_waits(&self) -> bool {
        true
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl Group {
    fn check(&self, context: &ContextId) -> Result<(), StrategyError> {
        if *context == self.info.id {
            Ok(())
        } else {
            Err(StrategyError("this is not the context of the group that this strategy was opened for".into()))
        }
    }

    /// What opens an author's payloads under an epoch, or what becomes of them without.
    fn opener_of(&self, context: &ContextId, author: &ReplicaId, epoch: Option<EpochId>) -> Result<Opener, Opened> {
        let (true, Some(epoch)) = (*context == self.info.id, epoch) else {
            return Err(Opened::Bad);
        };
        match self.ring.keys.payload_key(&epoch, context.as_bytes(), author.as_bytes()) {
            Some(key) => Ok(Opener { key, padded: self.state.policy().pad }),
            None if self.state.withholds(&epoch, &self.device()) => {
                Err(Opened::Wait(WaitReason::Withheld(Some(epoch))))
            }
            None => Err(Opened::Wait(WaitReason::Key(Some(epoch)))),
        }
    }

    /// What the group began with, as this device has it.
    fn genesis(&self) -> Option<&Genesis> {
        let held = self.state.ledger.entries().iter().flat_map(|held| held.ops());
        let created = held.filter_map(|op| if let Op::Create(genesis) = op { Some(genesis) } else { None });
        created.chain(self.record.genesis.as_ref().map(|(genesis, _)| genesis)).next()
    }
}

/// Opens one author's payloads under one epoch.
struct Opener {
    key: AeadKey,
    padded: bool,
}

impl PayloadOpener for Opener {
    fn open(&self, prefix: &HeaderPrefix<'_>, sealed: &Bytes) -> Opened {
        if planted(Bug::SealSkipped) {
            return Opened::Plain(sealed.clone());
        }
        let plain = self.key.open(&prefix.to_bytes(), sealed).ok();
        let plain = if self.padded { plain.and_then(unpad) } else { plain };
        plain.map_or(Opened::Bad, |plain| Opened::Plain(plain.into()))
    }
}

impl AuthProvider for Group {
    /// The device's own signature with the group's beginning; before this device is in the group, the signature of the
    /// invitation's key.
    fn prove(&self, transcript: &Transcript, context: &ContextInfo) -> Result<Bytes, StrategyError> {
        self.check(&context.id)?;
        let me: ReplicaId = self.device();
        let is_in = self.state.view().role(&me).is_some();
        if let Some(invitation) = self.record.invitation.as_ref().filter(|_| !is_in) {
            return Ok(proof::prove_invited(&invitation.keys, &me, transcript, context));
        }
        match self.genesis() {
            Some(genesis) => Ok(proof::prove(&self.keys, genesis, transcript, context)),
            // A device that was just added knows nothing but the group's id; whoever knows the group knows the device.
            None => Ok(proof::prove_briefly(&self.keys, transcript, context)),
        }
    }

    fn prove_briefly(&self, transcript: &Transcript, context: &ContextInfo) -> Option<Bytes> {
        let is_in = *context == self.info && self.state.view().role(&self.device()).is_some();
        is_in.then(|| proof::prove_briefly(&self.keys, transcript, context))
    }

    fn verify(
        &self,
        now: Now,
        transcript: &Transcript,
        remote: &VerifyingKey,
        context: &ContextInfo,
        proof: &[u8],
    ) -> Result<Grant, Refusal> {
        if *context != self.info {
            return Err(if self.kinds.contains(&context.kind) { Refusal::Denied } else { Refusal::UnknownKind });
        }
        if proof.is_empty() && transcript.remote_pinned {
            return Ok(Grant { access: Access::Both });
        }
        proof::verify(now, transcript, remote, context, Some(&self.state), proof)
    }
}
