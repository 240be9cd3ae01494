//! All must agree.

use std::{any::Any, collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use partita_core::{
    Access, AuthProvider, Brought, Claim, ContextId, ContextInfo, ContextKind, ControlEntry, CryptoRng, EntryId,
    EpochId, HeaderPrefix, Now, Opened, PartitionStrategy, PayloadOpener, PeerInfo, Refusal, RemoteContext, ReplicaId,
    SessionId, Standing, StrategyEffect, StrategyError, Turn, Verdict, Visit, Witness,
};

/// A strategy and guards on top of it: what any of them refuses is refused.
///
/// The strategy is the one that seals, opens, writes and understands control entries, and its provider proves and
/// verifies, so that remotes need not know of the guards. Guards are asked with the grant that it gave; they see no
/// control entries, and what they decide must rest on what they were made with. Nor have they a say about whose control
/// entries count: others rest on those, and would wait for ever where a guard had kept one out. Whom a guard bars from
/// writing may still say what the strategy lets it say.
pub struct AllOf {
    nominated: Box<dyn PartitionStrategy>,
    guards: Vec<Box<dyn PartitionStrategy>>,
}

impl std::fmt::Debug for AllOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AllOf").field("guards", &self.guards.len()).finish_non_exhaustive()
    }
}

impl AllOf {
    /// This strategy, without guards yet.
    pub fn new(nominated: impl PartitionStrategy) -> Self {
        Self { nominated: Box::new(nominated), guards: Vec::new() }
    }

    /// With one more guard. Its `should_sync`, `filter_targets`, `authorize` (of what is written into documents) and
    /// `standing` are asked, and nothing else.
    #[must_use]
    pub fn and(mut self, guard: impl PartitionStrategy) -> Self {
        self.guards.push(Box::new(guard));
        self
    }

    fn all(&self) -> impl Iterator<Item = &dyn PartitionStrategy> {
        std::iter::once(&self.nominated).chain(&self.guards).map(|member| &**member)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Box<dyn PartitionStrategy>> {
        std::iter::once(&mut self.nominated).chain(&mut self.guards)
    }
}

/// What both allow.
fn narrowest(one: Access, other: Access) -> Access {
    match (one, other) {
        (Access::Refused(why), _) | (_, Access::Refused(why)) => Access::Refused(why),
        _ => match (one.reads() && other.reads(), one.writes() && other.writes()) {
            (true, true) => Access::Both,
            (true, false) => Access::Read,
            (false, true) => Access::Write,
            (false, false) => Access::Refused(Refusal::Denied),
        },
    }
}

impl PartitionStrategy for AllOf {
    fn kinds(&self) -> &[ContextKind] {
        self.nominated.kinds()
    }

    fn auth(&self) -> &dyn AuthProvider {
        self.nominated.auth()
    }

    fn contexts(&self) -> Vec<ContextInfo> {
        self.nominated.contexts()
    }

    fn adopt(&mut self, context: &ContextInfo, brought: Option<&Brought<'_>>) -> bool {
        let mut changed = false;
        for member in self.all_mut() {
            changed |= member.adopt(context, brought);
        }
        changed
    }

    fn forget(&mut self, context: &ContextId) {
        self.all_mut().for_each(|member| member.forget(context));
    }

    fn should_sync(&self, local: &ContextInfo, remote: &RemoteContext) -> Access {
        self.all().map(|member| member.should_sync(local, remote)).fold(Access::Both, narrowest)
    }

    fn filter_targets(&self, context: &ContextId, peers: &[PeerInfo], out: &mut Vec<SessionId>) {
        let mut named = Vec::with_capacity(peers.len());
        self.nominated.filter_targets(context, peers, &mut named);
        for guard in &self.guards {
            let mut also = Vec::with_capacity(named.len());
            guard.filter_targets(context, peers, &mut also);
            named.retain(|session| also.contains(session));
        }
        out.append(&mut named);
    }

    /// One exclusion is enough, and final; one that cannot decide yet makes the entry wait.
    fn authorize(&self, claim: &Claim<'_>) -> Verdict {
        if claim.control.is_some() {
            return self.nominated.authorize(claim); // control entries are its own alone
        }
        let (mut waits, mut missing) = (false, Vec::new());
        for member in self.all() {
            match member.authorize(claim) {
                Verdict::Accept => {}
                Verdict::Undecided(heads) => {
                    waits = true;
                    missing.extend(heads);
                }
                excluded @ Verdict::Excluded(_) => return excluded,
            }
        }
        if waits { Verdict::Undecided(missing) } else { Verdict::Accept }
    }

    /// Every loss counts, and who has lost its right by any of them has lost it. A guard knows no vouches, so those of the strategy lift its own losses and the guards'.
    fn standing(&self, context: &ContextId) -> Standing {
        let mut standing = self.nominated.standing(context);
        for guard in &self.guards {
            let theirs = guard.standing(context);
            standing.readmitted.retain(|replica| !theirs.has_lost(replica));
            let again = theirs.readmitted.into_iter().filter(|replica| !standing.has_lost(replica));
            let again: Vec<_> = again.collect();
            for (replica, losses) in theirs.losses {
                standing.losses.entry(replica).or_default().extend(losses);
            }
            standing.readmitted.extend(again);
        }
        standing
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
