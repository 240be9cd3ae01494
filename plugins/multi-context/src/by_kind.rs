//! Each kind with its own strategy.

use std::{any::Any, collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use partita_core::{
    Access, AuthProvider, Brought, Claim, ContextId, ContextInfo, ContextKind, ControlEntry, CryptoRng, EntryId,
    EpochId, Grant, HeaderPrefix, Now, Opened, PartitionStrategy, PayloadOpener, PeerInfo, Refusal, RemoteContext,
    ReplicaId, SessionId, Standing, StrategyEffect, StrategyError, Transcript, Turn, Verdict, Visit, Witness,
};
use partita_crypto::VerifyingKey;

use crate::routes::Routes;

/// One strategy for each kind of contexts: the first that was added of those that know it. Kinds alone decide, whoever
/// brings a context; for several strategies of one kind take [`MultiContext`](crate::MultiContext).
#[derive(Debug, Default)]
pub struct ByKind(Routes);

impl ByKind {
    /// Without any strategy: it refuses everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more, for those of its kinds that no earlier one knows.
    #[must_use]
    pub fn with(mut self, strategy: impl PartitionStrategy) -> Self {
        self.0.add_for_new_kinds(Box::new(strategy));
        self
    }

    fn of<'a>(&'a self, kind: &'a ContextKind) -> Result<&'a dyn PartitionStrategy, Refusal> {
        self.0.of_kind(kind).next().map(|(_, member)| member).ok_or(Refusal::UnknownKind)
    }
}

impl PartitionStrategy for ByKind {
    fn kinds(&self) -> &[ContextKind] {
        self.0.kinds()
    }

    fn auth(&self) -> &dyn AuthProvider {
        self
    }

    fn contexts(&self) -> Vec<ContextInfo> {
        self.0.contexts()
    }

    fn adopt(&mut self, context: &ContextInfo, brought: Option<&Brought<'_>>) -> bool {
        let first = self.0.of_kind(&context.kind).next().map(|(at, _)| at);
        let given = first.is_some_and(|at| self.0.give(context, at));
        self.0.at_mut(&context.id).adopt(context, brought) || given
    }

    fn forget(&mut self, context: &ContextId) {
        self.0.forget(context);
    }

    fn should_sync(&self, local: &ContextInfo, remote: &RemoteContext) -> Access {
        match self.of(&remote.kind) {
            Ok(member) if local.kind == remote.kind => member.should_sync(local, remote),
            Ok(_) => Access::Refused(Refusal::Denied),
            Err(why) => Access::Refused(why),
        }
    }

    fn filter_targets(&self, context: &ContextId, peers: &[PeerInfo], out: &mut Vec<SessionId>) {
        self.0.at(context).filter_targets(context, peers, out);
    }

    fn authorize(&self, claim: &Claim<'_>) -> Verdict {
        self.0.at(&claim.header.context).authorize(claim)
    }

    fn standing(&self, context: &ContextId) -> Standing {
        self.0.at(context).standing(context)
    }

    fn epoch(&self, context: &ContextId) -> Result<Option<EpochId>, StrategyError> {
        self.0.at(context).epoch(context)
    }

    fn snapshot_epoch(&self, context: &ContextId, past: &BTreeSet<EpochId>) -> Result<Option<EpochId>, StrategyError> {
        self.0.at(context).snapshot_epoch(context, past)
    }

    fn is_for_same_readers(
        &self,
        context: &ContextId,
        author: &ReplicaId,
        snapshot: Option<EpochId>,
        past: &BTreeSet<EpochId>,
    ) -> bool {
        self.0.at(context).is_for_same_readers(context, author, snapshot, past)
    }

    fn seal(&self, prefix: &HeaderPrefix<'_>, plain: &[u8], rng: &mut dyn CryptoRng) -> Result<Bytes, StrategyError> {
        self.0.at(&prefix.header.context).seal(prefix, plain, rng)
    }

    fn open(&self, prefix: &HeaderPrefix<'_>, sealed: &Bytes) -> Opened {
        self.0.at(&prefix.header.context).open(prefix, sealed)
    }

    fn opener(
        &self,
        context: &ContextId,
        author: &ReplicaId,
        epoch: Option<EpochId>,
    ) -> Option<Arc<dyn PayloadOpener>> {
        self.0.at(context).opener(context, author, epoch)
    }

    fn control(&mut self, now: Now, entry: &ControlEntry<'_>) -> Result<Vec<StrategyEffect>, StrategyError> {
        self.0.at_mut(&entry.header.context).control(now, entry)
    }

    fn duties(&mut self, context: &ContextId, turn: &mut Turn<'_>) -> Result<(), StrategyError> {
        self.0.at_mut(context).duties(context, turn)
    }

    fn vouch(&self, context: &ContextId, witnesses: &[Witness]) -> Option<Bytes> {
        self.0.at(context).vouch(context, witnesses)
    }

    fn writers(&self, context: &ContextId, heads: &[EntryId]) -> Option<BTreeSet<ReplicaId>> {
        self.0.at(context).writers(context, heads)
    }

    fn dormant(&self, context: &ContextId, heads: &[EntryId]) -> BTreeSet<ReplicaId> {
        self.0.at(context).dormant(context, heads)
    }

    fn never_waits(&self) -> bool {
        self.0.never_wait()
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn reach(&mut self, turn: &mut Turn<'_>, visit: &mut Visit<'_>) -> bool {
        visit(self, turn) || (0..self.0.len()).any(|at| self.0.member_mut(at).is_some_and(|one| one.reach(turn, visit)))
    }
}

impl AuthProvider for ByKind {
    fn prove(&self, transcript: &Transcript, context: &ContextInfo) -> Result<Bytes, StrategyError> {
        self.of(&context.kind).map_err(|why| StrategyError(why.to_string()))?.auth().prove(transcript, context)
    }

    fn prove_briefly(&self, transcript: &Transcript, context: &ContextInfo) -> Option<Bytes> {
        self.of(&context.kind).ok()?.auth().prove_briefly(transcript, context)
    }

    fn verify(
        &self,
        now: Now,
        transcript: &Transcript,
        remote: &VerifyingKey,
        context: &ContextInfo,
        proof: &[u8],
    ) -> Result<Grant, Refusal> {
        self.of(&context.kind)?.auth().verify(now, transcript, remote, context, proof)
    }
}
