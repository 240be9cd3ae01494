//! The relay's side: any owner's contexts, and no secret of anyone.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
};

use bytes::Bytes;
use partita_core::{
    Access, AuthProvider, Claim, ContextId, ContextInfo, ContextKind, ControlEntry, CryptoRng, EntryId, Grant,
    HeaderPrefix, Now, Opened, PartitionStrategy, PeerInfo, Refusal, RemoteContext, ReplicaId, SessionId, Standing,
    StrategyEffect, StrategyError, Transcript, Verdict, WaitReason,
};
use partita_crypto::VerifyingKey;

use crate::{
    modes::Mode,
    proof,
    resolve::DeviceStanding,
    state::{ContextState, access},
};

/// The partition strategy of a relay for the contexts of any owner.
///
/// It knows no owner in advance: a context's id commits to its owner's key and its kind, so certificates, revocations
/// and proofs speak for themselves. What is sealed stays sealed.
#[derive(Debug)]
pub struct SingleOwnerRelay {
    kinds: Vec<ContextKind>,
    contexts: BTreeMap<ContextId, ContextState>,
}

impl Default for SingleOwnerRelay {
    fn default() -> Self {
        Self::new()
    }
}

impl SingleOwnerRelay {
    /// For both kinds of contexts.
    pub fn new() -> Self {
        let kinds = Mode::ALL.into_iter().filter_map(|mode| mode.kind().ok());
        Self { kinds: kinds.collect(), contexts: BTreeMap::new() }
    }

    /// For sealed contexts alone: whoever runs the relay is never able to read anything.
    #[must_use]
    pub fn without_plain(mut self) -> Self {
        self.kinds.retain(|kind| Mode::named(kind) == Some(Mode::Sealed));
        self
    }

    fn loss_of(&self, context: &ContextId, device: &ReplicaId) -> Option<DeviceStanding> {
        self.contexts.get(context)?.resolved().loss_of(device)
    }
}

impl PartitionStrategy for SingleOwnerRelay {
    fn kinds(&self) -> &[ContextKind] {
        &self.kinds
    }

    fn auth(&self) -> &dyn AuthProvider {
        self
    }

    /// A certificate says whose a context is and shows who is its owner's, so nobody needs that a relay remembers more.
    fn forget(&mut self, context: &ContextId) {
        self.contexts.remove(context);
    }

    fn should_sync(&self, local: &ContextInfo, remote: &RemoteContext) -> Access {
        if !self.kinds.contains(&remote.kind) {
            return Access::Refused(Refusal::UnknownKind);
        }
        if local.id != remote.id || local.kind != remote.kind {
            return Access::Refused(Refusal::Denied);
        }
        access(self.loss_of(&local.id, &remote.peer.replica), remote.grant.map(|grant| grant.access))
    }

    fn filter_targets(&self, context: &ContextId, peers: &[PeerInfo], out: &mut Vec<SessionId>) {
        out.extend(peers.iter().filter(|peer| self.loss_of(context, &peer.replica).is_none()).map(|peer| peer.session));
    }

    fn authorize(&self, claim: &Claim<'_>) -> Verdict {
        match self.contexts.get(&claim.header.context) {
            Some(state) => state.authorize(claim),
            None => ContextState::new(claim.header.context, None).authorize(claim),
        }
    }

    fn standing(&self, context: &ContextId) -> Standing {
        self.contexts.get(context).map(ContextState::standing).unwrap_or_default()
    }

    fn seal(&self, _: &HeaderPrefix<'_>, _: &[u8], _: &mut dyn CryptoRng) -> Result<Bytes, StrategyError> {
        Err(StrategyError("a relay writes nothing".into()))
    }

    fn open(&self, prefix: &HeaderPrefix<'_>, _: &Bytes) -> Opened {
        Opened::Wait(WaitReason::Key(prefix.epoch))
    }

    fn control(&mut self, _now: Now, entry: &ControlEntry<'_>) -> Result<Vec<StrategyEffect>, StrategyError> {
        let context = entry.header.context;
        match self.contexts.get_mut(&context) {
            Some(state) => state.insert(entry)?,
            None => {
                let mut state = ContextState::new(context, None);
                state.insert(entry)?;
                self.contexts.insert(context, state);
                return Ok(Vec::new());
            }
        };
        Ok(Vec::new())
    }

    fn writers(&self, context: &ContextId, heads: &[EntryId]) -> Option<BTreeSet<ReplicaId>> {
        Some(self.contexts.get(context)?.writers(heads))
    }

    fn dormant(&self, context: &ContextId, heads: &[EntryId]) -> BTreeSet<ReplicaId> {
        self.contexts.get(context).map(|state| state.dormant(heads)).unwrap_or_default()
    }

    fn never_waits(&self) -> bool {
        true
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl AuthProvider for SingleOwnerRelay {
    /// Nothing: a device pins the relay by its id, and trusts it with ciphertext alone.
    fn prove(&self, _: &Transcript, _: &ContextInfo) -> Result<Bytes, StrategyError> {
        Ok(Bytes::new())
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
        let device = ReplicaId::from_bytes(*remote.as_bytes());
        if self.loss_of(&context.id, &device) == Some(DeviceStanding::Revoked) {
            return Err(Refusal::Revoked);
        }
        proof::verify(transcript, remote, context, self.contexts.get(&context.id), proof)
    }
}
