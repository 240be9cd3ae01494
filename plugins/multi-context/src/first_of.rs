//! The first that answers.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use partita_core::{
    Access, AuthProvider, Brought, Claim, ContextId, ContextInfo, ContextKind, ControlEntry, CryptoRng, EntryId,
    EpochId, Grant, HeaderPrefix, Now, Opened, PartitionStrategy, PayloadOpener, PeerInfo, Refusal, RemoteContext,
    ReplicaId, SessionId, Standing, StrategyEffect, StrategyError, Transcript, Turn, Verdict, Visit, Witness,
};
use partita_crypto::VerifyingKey;

/// A strategy and others that are asked where it has nothing to say: another way in beside the usual one.
///
/// A plain denial ([`Refusal::Denied`], [`Refusal::UnknownKind`]) is no answer: the next one is asked. Any other is: whom
/// the strategy knows as revoked, no other lets in. The strategy is the one that seals, opens, writes and understands
/// control entries.
pub struct FirstOf {
    nominated: Box<dyn PartitionStrategy>,
    others: Vec<Box<dyn PartitionStrategy>>,
    /// The contexts that are here: targets are asked for without the kind.
    known: BTreeMap<ContextId, ContextInfo>,
}

impl std::fmt::Debug for FirstOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FirstOf").field("others", &self.others.len()).finish_non_exhaustive()
    }
}

impl FirstOf {
    /// This strategy, without others yet.
    pub fn new(nominated: impl PartitionStrategy) -> Self {
        let known = nominated.contexts().into_iter().map(|info| (info.id, info)).collect();
        Self { nominated: Box::new(nominated), others: Vec::new(), known }
    }

    /// With one more, asked after those that are there already. It is asked who may sync and who may write, and to
    /// verify proofs.
    #[must_use]
    pub fn or(mut self, other: impl PartitionStrategy) -> Self {
        self.others.push(Box::new(other));
        self
    }

    fn all(&self) -> impl Iterator<Item = &dyn PartitionStrategy> {
        std::iter::once(&self.nominated).chain(&self.others).map(|member| &**member)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Box<dyn PartitionStrategy>> {
        std::iter::once(&mut self.nominated).chain(&mut self.others)
    }

    /// Whether a peer gets anything, were its proof granted in full.
    fn may_read(&self, context: &ContextInfo, peer: &PeerInfo) -> bool {
        let grant = Some(Grant { access: Access::Both });
        let remote = RemoteContext { id: context.id, kind: context.kind.clone(), peer: peer.clone(), grant };
        self.should_sync(context, &remote).reads()
    }
}

fn is_answer(why: Refusal) -> bool {
    !matches!(why, Refusal::Denied | Refusal::UnknownKind)
}

impl PartitionStrategy for FirstOf {
    fn kinds(&self) -> &[ContextKind] {
        self.nominated.kinds()
    }

    fn auth(&self) -> &dyn AuthProvider {
        self
    }

    fn contexts(&self) -> Vec<ContextInfo> {
        self.nominated.contexts()
    }

    fn adopt(&mut self, context: &ContextInfo, brought: Option<&Brought<'_>>) -> bool {
        self.known.insert(context.id, context.clone());
        let mut changed = false;
        for member in self.all_mut() {
            changed |= member.adopt(context, brought);
        }
        changed
    }

    fn forget(&mut self, context: &ContextId) {
        self.known.remove(context);
        self.all_mut().for_each(|member| member.forget(context));
    }

    fn should_sync(&self, local: &ContextInfo, remote: &RemoteContext) -> Access {
        if !self.kinds().contains(&remote.kind) {
            return Access::Refused(Refusal::UnknownKind);
        }
        let answers = self.all().map(|member| member.should_sync(local, remote));
        let mut answers = answers.filter(|access| !matches!(access, Access::Refused(why) if !is_answer(*why)));
        answers.next().unwrap_or(Access::Refused(Refusal::Denied))
    }

    /// Whom any of them names, except those that were refused outright.
    fn filter_targets(&self, context: &ContextId, peers: &[PeerInfo], out: &mut Vec<SessionId>) {
        let Some(context) = self.known.get(context) else {
            return;
        };
        let mut named = Vec::with_capacity(peers.len());
        self.all().for_each(|member| member.filter_targets(&context.id, peers, &mut named));
        let targets = peers.iter().filter(|peer| named.contains(&peer.session) && self.may_read(context, peer));
        out.extend(targets.map(|peer| peer.session));
    }

    fn authorize(&self, claim: &Claim<'_>) -> Verdict {
        if claim.control.is_some() {
            return self.nominated.authorize(claim); // control entries are its own alone
        }
        let verdicts = self.all().map(|member| member.authorize(claim));
        let mut verdicts = verdicts.filter(|verdict| !matches!(verdict, Verdict::Excluded(why) if !is_answer(*why)));
        verdicts.next().unwrap_or(Verdict::Excluded(Refusal::Denied))
    }

    fn standing(&self, context: &ContextId) -> Standing {
        self.nominated.standing(context)
    }

    fn epoch(&self, context: &ContextId) -> Result<Option<EpochId>, StrategyError> {
        self.nominated.epoch(context)
    }

    fn snapshot_epoch(&self, context: &ContextId, past: &BTreeSet<EpochId>) -> Result<Option<EpochId>, StrategyError> {
        self.nominated.snapshot_epoch(context, past)
    }

    fn is_for_same_readers(
        &self,
        context: &ContextId,
        author: &ReplicaId,
        snapshot: Option<EpochId>,
        past: &BTreeSet<EpochId>,
    ) -> bool {
        self.nominated.is_for_same_readers(context, author, snapshot, past)
    }

    fn seal(&self, prefix: &HeaderPrefix<'_>, plain: &[u8], rng: &mut dyn CryptoRng) -> Result<Bytes, StrategyError> {
        self.nominated.seal(prefix, plain, rng)
    }

    fn open(&self, prefix: &HeaderPrefix<'_>, sealed: &Bytes) -> Opened {
        self.nominated.open(prefix, sealed)
    }

    fn opener(
        &self,
        context: &ContextId,
        author: &ReplicaId,
        epoch: Option<EpochId>,
    ) -> Option<Arc<dyn PayloadOpener>> {
        self.nominated.opener(context, author, epoch)
    }

    fn control(&mut self, now: Now, entry: &ControlEntry<'_>) -> Result<Vec<StrategyEffect>, StrategyError> {
        self.nominated.control(now, entry)
    }

    fn duties(&mut self, context: &ContextId, turn: &mut Turn<'_>) -> Result<(), StrategyError> {
        self.nominated.duties(context, turn)
    }

    fn vouch(&self, context: &ContextId, witnesses: &[Witness]) -> Option<Bytes> {
        self.nominated.vouch(context, witnesses)
    }

    fn writers(&self, context: &ContextId, heads: &[EntryId]) -> Option<BTreeSet<ReplicaId>> {
        self.nominated.writers(context, heads)
    }

    fn dormant(&self, context: &ContextId, heads: &[EntryId]) -> BTreeSet<ReplicaId> {
        self.nominated.dormant(context, heads)
    }

    fn never_waits(&self) -> bool {
        self.all().all(PartitionStrategy::never_waits)
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn reach(&mut self, turn: &mut Turn<'_>, visit: &mut Visit<'_>) -> bool {
        visit(self, turn) || self.all_mut().any(|member| member.reach(turn, visit))
    }
}

impl AuthProvider for FirstOf {
    /// Of the first that has one.
    fn prove(&self, transcript: &Transcript, context: &ContextInfo) -> Result<Bytes, StrategyError> {
        let nominated = self.nominated.auth().prove(transcript, context);
        let mut others = self.others.iter().map(|other| other.auth().prove(transcript, context));
        if nominated.is_ok() { nominated } else { others.find(Result::is_ok).unwrap_or(nominated) }
    }

    /// One's proof is nonsense to another, so a proof that does not hold is no answer here; being shut out by name is.
    fn verify(
        &self,
        now: Now,
        transcript: &Transcript,
        remote: &VerifyingKey,
        context: &ContextInfo,
        proof: &[u8],
    ) -> Result<Grant, Refusal> {
        if !self.kinds().contains(&context.kind) {
            return Err(Refusal::UnknownKind);
        }
        let mut told = Refusal::Denied;
        for member in self.all() {
            match member.auth().verify(now, transcript, remote, context, proof) {
                // What one takes for a brief proof may be another's whole one.
                Err(why @ (Refusal::BadProof | Refusal::NeedControl)) => told = why,
                Err(why) if !is_answer(why) => {}
                answer => return answer,
            }
        }
        Err(told)
    }
}
