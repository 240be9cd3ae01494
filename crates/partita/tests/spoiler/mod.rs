//! A device whose payloads do not open while it is told to spoil them.

#![allow(unreachable_pub)] // two test files use it

use std::{
    any::Any,
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use partita::core::{
    Access, AuthProvider, Brought, Bytes, Claim, ContextId, ContextInfo, ContextKind, ControlEntry, CryptoRng, EntryId,
    EpochId, HeaderPrefix, Now, Opened, PartitionStrategy, PeerInfo, RemoteContext, ReplicaId, SessionId, Standing,
    StrategyEffect, StrategyError, Turn, Verdict, Visit, Witness,
};

/// Another strategy, but for one thing: what it seals while `spoils` is set does not open.
#[derive(Default)]
pub struct Spoiler<S> {
    pub inner: S,
    pub spoils: Arc<AtomicBool>,
    /// The key epoch that it names meanwhile, whether or not it has the secret.
    pub under: Arc<Mutex<Option<EpochId>>>,
}

impl<S: PartitionStrategy> PartitionStrategy for Spoiler<S> {
    fn kinds(&self) -> &[ContextKind] {
        self.inner.kinds()
    }
    fn auth(&self) -> &dyn AuthProvider {
        self.inner.auth()
    }
    fn contexts(&self) -> Vec<ContextInfo> {
        self.inner.contexts()
    }
    fn adopt(&mut self, context: &ContextInfo, brought: Option<&Brought<'_>>) -> bool {
        self.inner.adopt(context, brought)
    }
    fn should_sync(&self, local: &ContextInfo, remote: &RemoteContext) -> Access {
        self.inner.should_sync(local, remote)
    }
    fn filter_targets(&self, context: &ContextId, peers: &[PeerInfo], out: &mut Vec<SessionId>) {
        self.inner.filter_targets(context, peers, out);
    }
    fn authorize(&self, claim: &Claim<'_>) -> Verdict {
        self.inner.authorize(claim)
    }
    fn standing(&self, context: &ContextId) -> Standing {
        self.inner.standing(context)
    }
    fn epoch(&self, context: &ContextId) -> Result<Option<EpochId>, StrategyError> {
        match *self.under.lock().unwrap() {
            Some(epoch) if self.spoils.load(SeqCst) => Ok(Some(epoch)),
            _ => self.inner.epoch(context),
        }
    }
    fn snapshot_epoch(&self, context: &ContextId, past: &BTreeSet<EpochId>) -> Result<Option<EpochId>, StrategyError> {
        self.inner.snapshot_epoch(context, past)
    }
    fn is_for_same_readers(
        &self,
        context: &ContextId,
        author: &ReplicaId,
        snapshot: Option<EpochId>,
        past: &BTreeSet<EpochId>,
    ) -> bool {
        self.inner.is_for_same_readers(context, author, snapshot, past)
    }
    fn seal(&self, prefix: &HeaderPrefix<'_>, plain: &[u8], rng: &mut dyn CryptoRng) -> Result<Bytes, StrategyError> {
        if self.spoils.load(SeqCst) && self.under.lock().unwrap().is_some() {
            return Ok(Bytes::from_static(&[7; 60]));
        }
        let mut sealed = self.inner.seal(prefix, plain, rng)?.to_vec();
        if self.spoils.load(SeqCst) {
            *sealed.last_mut().unwrap() ^= 1;
        }
        Ok(sealed.into())
    }
    fn open(&self, prefix: &HeaderPrefix<'_>, sealed: &Bytes) -> Opened {
        self.inner.open(prefix, sealed)
    }
    fn control(&mut self, now: Now, entry: &ControlEntry<'_>) -> Result<Vec<StrategyEffect>, StrategyError> {
        self.inner.control(now, entry)
    }
    fn duties(&mut self, context: &ContextId, turn: &mut Turn<'_>) -> Result<(), StrategyError> {
        self.inner.duties(context, turn)
    }
    fn vouch(&self, context: &ContextId, witnesses: &[Witness]) -> Option<Bytes> {
        self.inner.vouch(context, witnesses)
    }
    fn writers(&self, context: &ContextId, heads: &[EntryId]) -> Option<BTreeSet<ReplicaId>> {
        self.inner.writers(context, heads)
    }
    fn dormant(&self, context: &ContextId, heads: &[EntryId]) -> BTreeSet<ReplicaId> {
        self.inner.dormant(context, heads)
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
    fn reach(&mut self, turn: &mut Turn<'_>, visit: &mut Visit<'_>) -> bool {
        self.inner.reach(turn, visit)
    }
}
