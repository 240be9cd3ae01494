//! A device whose payloads do not open while it is told to spoil them.

#![allow(unreachable_pub)] // two test files use it

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use partita::{
    core::{
        Access, AuthProvider, Brought, Bytes, Claim, ContextId, ContextInfo, ContextKind, ControlEntry, CryptoRng,
        EpochId, HeaderPrefix, Now, Opened, PartitionStrategy, PeerInfo, RemoteContext, SessionId, Standing,
        StrategyEffect, StrategyError, Turn, Verdict, Visit,
    },
    single_owner::SingleOwner,
};

/// One owner's device, but for one thing: what it seals while `spoils` is set does not open.
pub struct Spoiler {
    pub inner: SingleOwner,
    pub spoils: Arc<AtomicBool>,
}

impl PartitionStrategy for Spoiler {
    fn kinds(&self) -> &[ContextKind] {
        self.inner.kinds()
    }
    fn auth(&self) -> &dyn AuthProvider {
        self.inner.auth()
    }
    fn contexts(&self) -> Vec<ContextInfo> {
        PartitionStrategy::contexts(&self.inner)
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
        self.inner.epoch(context)
    }
    fn seal(&self, prefix: &HeaderPrefix<'_>, plain: &[u8], rng: &mut dyn CryptoRng) -> Result<Bytes, StrategyError> {
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
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
    fn reach(&mut self, turn: &mut Turn<'_>, visit: &mut Visit<'_>) -> bool {
        self.inner.reach(turn, visit)
    }
}
