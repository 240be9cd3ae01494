//! The owner's side as a [`PartitionStrategy`].

use std::{any::Any, collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use partita_core::{
    Access, AuthProvider, Claim, ContextId, ContextInfo, ContextKind, ControlEntry, CryptoRng, EntryId, EpochId, Grant,
    HeaderPrefix, Now, Opened, PartitionStrategy, PayloadOpener, PeerInfo, Refusal, RemoteContext, ReplicaId,
    SessionId, Standing, StrategyEffect, StrategyError, Transcript, Turn, Verdict, Witness,
};
use partita_crypto::VerifyingKey;

use crate::{
    device::SingleOwner,
    loss::append,
    op::{MAX_WITNESSES, Op, Payload},
    proof,
    resolve::DeviceStanding,
    state::access,
};

impl PartitionStrategy for SingleOwner {
    fn kinds(&self) -> &[ContextKind] {
        &self.kinds
    }

    fn auth(&self) -> &dyn AuthProvider {
        self
    }

    fn contexts(&self) -> Vec<ContextInfo> {
        self.own.iter().map(|own| own.info.clone()).collect()
    }

    fn should_sync(&self, local: &ContextInfo, remote: &RemoteContext) -> Access {
        if !self.kinds.contains(&remote.kind) {
            return Access::Refused(Refusal::UnknownKind);
        }
        let same = local.id == remote.id && local.kind == remote.kind;
        if !same || !self.own.iter().any(|own| own.info == *local) {
            return Access::Refused(Refusal::Denied);
        }
        let right = if remote.peer.pinned { Some(Access::Both) } else { remote.grant.map(|grant| grant.access) };
        access(self.loss_of(&remote.peer.replica), right)
    }

    fn filter_targets(&self, context: &ContextId, peers: &[PeerInfo], out: &mut Vec<SessionId>) {
        let Some(own) = self.own(context) else { return };
        let gets = |peer: &&PeerInfo| {
            self.loss_of(&peer.replica).is_none() && (peer.pinned || own.state.resolved().is_current(&peer.replica))
        };
        out.extend(peers.iter().filter(gets).map(|peer| peer.session));
    }

    fn authorize(&self, claim: &Claim<'_>) -> Verdict {
        match self.own(&claim.header.context) {
            Some(own) => own.state.authorize(claim),
            None => Verdict::Excluded(Refusal::Denied),
        }
    }

    fn standing(&self, context: &ContextId) -> Standing {
        self.own(context).map(|own| own.state.standing()).unwrap_or_default()
    }

    fn epoch(&self, context: &ContextId) -> Result<Option<EpochId>, StrategyError> {
        self.own(context).ok_or_else(not_ours)?.epoch(&self.me)
    }

    fn seal(&self, prefix: &HeaderPrefix<'_>, plain: &[u8], rng: &mut dyn CryptoRng) -> Result<Bytes, StrategyError> {
        self.own(&prefix.header.context).ok_or_else(not_ours)?.seal(prefix, plain, rng)
    }

    fn open(&self, prefix: &HeaderPrefix<'_>, sealed: &Bytes) -> Opened {
        self.own(&prefix.header.context).map_or(Opened::Bad, |own| own.open(prefix, sealed))
    }

    fn opener(
        &self,
        context: &ContextId,
        author: &ReplicaId,
        epoch: Option<EpochId>,
    ) -> Option<Arc<dyn PayloadOpener>> {
        Some(Arc::new(self.own(context)?.opener(author, epoch).ok()?))
    }

    fn control(&mut self, _now: Now, entry: &ControlEntry<'_>) -> Result<Vec<StrategyEffect>, StrategyError> {
        let own = self.own.iter_mut().find(|own| own.info.id == entry.header.context).ok_or_else(not_ours)?;
        own.control(&self.me, entry)
    }

    fn duties(&mut self, context: &ContextId, turn: &mut Turn<'_>) -> Result<(), StrategyError> {
        let Some(own) = self.own(context) else {
            return Ok(());
        };
        let ops = own.duties(&self.me, turn.writing, turn.rng).map_err(|error| StrategyError(error.to_string()))?;
        append(turn, *context, &ops);
        Ok(())
    }

    fn vouch(&self, context: &ContextId, witnesses: &[Witness]) -> Option<Bytes> {
        let me: ReplicaId = self.device();
        let own = self.own(context).filter(|own| own.state.resolved().is_current(&me))?;
        let losses = own.state.resolved().standing.losses.len();
        let witnesses = Witness::furthest(witnesses);
        let worth_saying = losses > 0 && !witnesses.is_empty() && witnesses.len() <= MAX_WITNESSES;
        worth_saying.then(|| Payload::encode(&[Op::Vouch(witnesses)]))
    }

    fn writers(&self, context: &ContextId, heads: &[EntryId]) -> Option<BTreeSet<ReplicaId>> {
        Some(self.own(context)?.state.writers(heads))
    }

    fn dormant(&self, context: &ContextId, heads: &[EntryId]) -> BTreeSet<ReplicaId> {
        self.own(context).map(|own| own.state.dormant(heads)).unwrap_or_default()
    }

    fn never_waits(&self) -> bool {
        true
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl AuthProvider for SingleOwner {
    /// The remote needs none if it is a relay that the application pinned; a device and a relay that was not dialled
    /// by its id get the same proof, so that nothing depends on knowing which is which.
    fn prove(&self, transcript: &Transcript, context: &ContextInfo) -> Result<Bytes, StrategyError> {
        if !self.own.iter().any(|own| own.info == *context) {
            return Err(not_ours());
        }
        Ok(proof::prove(&self.me.keys, &self.me.certificate, transcript, context))
    }

    fn prove_briefly(&self, transcript: &Transcript, context: &ContextInfo) -> Option<Bytes> {
        // Before its certificate lies in the context here, it can lie nowhere else.
        let own = self.own.iter().find(|own| own.info == *context)?;
        let certified = own.state.resolved().devices.contains_key(&self.device());
        certified.then(|| proof::prove_briefly(&self.me.keys, transcript, context))
    }

    fn verify(
        &self,
        _: Now,
        transcript: &Transcript,
        remote: &VerifyingKey,
        context: &ContextInfo,
        proof: &[u8],
    ) -> Result<Grant, Refusal> {
        if !self.kinds.contains(&context.kind) {
            return Err(Refusal::UnknownKind);
        }
        let Some(own) = self.own.iter().find(|own| own.info == *context) else {
            return Err(Refusal::Denied);
        };
        if self.loss_of(&ReplicaId::from_bytes(*remote.as_bytes())) == Some(DeviceStanding::Revoked) {
            return Err(Refusal::Revoked);
        }
        if proof.is_empty() && transcript.remote_pinned {
            return Ok(Grant { access: Access::Both });
        }
        proof::verify(transcript, remote, context, Some(&own.state), proof)
    }
}

fn not_ours() -> StrategyError {
    StrategyError("this is not one of the contexts that this owner's strategy was opened for".into())
}
