//! The relay's side: any group, and no secret of anyone.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
};

use bytes::Bytes;
use partita_core::{
    Access, AuthProvider, Brought, Claim, ContextId, ContextInfo, ContextKind, ControlEntry, CryptoRng, EntryId, Grant,
    HeaderPrefix, KindError, Now, Opened, PartitionStrategy, PeerInfo, Refusal, RemoteContext, ReplicaId, SessionId,
    Standing, StrategyEffect, StrategyError, Transcript, Verdict, WaitReason,
};
use partita_crypto::VerifyingKey;

use crate::{genesis::GROUP_KIND, proof, state::State};

/// The partition strategy of a relay for any group.
///
/// It knows no group in advance: a context's id commits to how the group began, so membership speaks for itself. It checks
/// who may fetch (Relay and above) and whose entries count, and cannot read any of them.
#[derive(Debug)]
pub struct GroupRelay {
    kinds: Vec<ContextKind>,
    groups: BTreeMap<ContextId, State>,
}

impl Default for GroupRelay {
    fn default() -> Self {
        Self::new()
    }
}

impl GroupRelay {
    /// For any group.
    pub fn new() -> Self {
        let kind: Result<ContextKind, KindError> = ContextKind::new(GROUP_KIND);
        Self { kinds: kind.into_iter().collect(), groups: BTreeMap::new() }
    }
}

impl PartitionStrategy for GroupRelay {
    fn kinds(&self) -> &[ContextKind] {
        &self.kinds
    }

    fn auth(&self) -> &dyn AuthProvider {
        self
    }

    fn adopt(&mut self, context: &ContextInfo, brought: Option<&Brought<'_>>) -> bool {
        let state = self.groups.get_mut(&context.id);
        brought.zip(state).is_some_and(|(brought, state)| state.welcome(context, brought))
    }

    // Groups are not forgotten when a context is unloaded: who was invited, or was just added, knows nothing of the group but
    // its id, and is let in by what is known of the group here.

    fn should_sync(&self, local: &ContextInfo, remote: &RemoteContext) -> Access {
        if !self.kinds.contains(&remote.kind) {
            return Access::Refused(Refusal::UnknownKind);
        }
        if local.id != remote.id || local.kind != remote.kind {
            return Access::Refused(Refusal::Denied);
        }
        let granted = remote.grant.map(|grant| grant.access);
        match self.groups.get(&local.id) {
            Some(state) => state.access(&remote.peer.replica, granted),
            None => State::new(local.id).access(&remote.peer.replica, granted),
        }
    }

    fn filter_targets(&self, context: &ContextId, peers: &[PeerInfo], out: &mut Vec<SessionId>) {
        if let Some(state) = self.groups.get(context) {
            out.extend(peers.iter().filter(|peer| state.is_target(&peer.replica)).map(|peer| peer.session));
        }
    }

    fn authorize(&self, claim: &Claim<'_>) -> Verdict {
        match self.groups.get(&claim.header.context) {
            Some(state) => state.authorize(claim),
            None => State::new(claim.header.context).authorize(claim),
        }
    }

    fn standing(&self, context: &ContextId) -> Standing {
        self.groups.get(context).map(State::standing).unwrap_or_default()
    }

    fn seal(&self, _: &HeaderPrefix<'_>, _: &[u8], _: &mut dyn CryptoRng) -> Result<Bytes, StrategyError> {
        Err(StrategyError("a relay writes nothing".into()))
    }

    fn open(&self, prefix: &HeaderPrefix<'_>, _: &Bytes) -> Opened {
        Opened::Wait(WaitReason::Key(prefix.epoch))
    }

    fn control(&mut self, _now: Now, entry: &ControlEntry<'_>) -> Result<Vec<StrategyEffect>, StrategyError> {
        let context = entry.header.context;
        match self.groups.get_mut(&context) {
            Some(state) => state.insert(entry)?,
            None => {
                let mut state = State::new(context);
                let place = state.insert(entry)?;
                self.groups.insert(context, state);
                place
            }
        };
        Ok(Vec::new())
    }

    fn writers(&self, context: &ContextId, heads: &[EntryId]) -> Option<BTreeSet<ReplicaId>> {
        Some(self.groups.get(context)?.writers(heads))
    }

    fn dormant(&self, context: &ContextId, heads: &[EntryId]) -> BTreeSet<ReplicaId> {
        self.groups.get(context).map(|group| group.dormant(heads)).unwrap_or_default()
    }

    fn never_waits(&self) -> bool {
        true
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl AuthProvider for GroupRelay {
    /// Nothing: a device pins the relay by its id, and trusts it with ciphertext alone.
    fn prove(&self, _: &Transcript, _: &ContextInfo) -> Result<Bytes, StrategyError> {
        Ok(Bytes::new())
    }

    fn verify(
        &self,
        now: Now,
        transcript: &Transcript,
        remote: &VerifyingKey,
        context: &ContextInfo,
        proof: &[u8],
    ) -> Result<Grant, Refusal> {
        proof::verify(now, transcript, remote, context, self.groups.get(&context.id), proof)
    }
}
