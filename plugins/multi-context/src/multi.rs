//! Many strategies in one.

use std::{any::Any, collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use partita_core::{
    Access, AuthProvider, Brought, Claim, ContextId, ContextInfo, ContextKind, ControlEntry, CryptoRng, EntryId,
    EpochId, HeaderPrefix, Now, Opened, PartitionStrategy, PayloadOpener, PeerInfo, Refusal, RemoteContext, ReplicaId,
    SessionId, Standing, StrategyEffect, StrategyError, Turn, Verdict, Visit, Witness,
};
use partita_crypto::VerifyingKey;

use crate::{
    routes::Routes,
    shared_key::{SharedKeyCertificate, SharedKeyError, SharedKeys, SharedWriteKey},
};

/// A strategy that holds many, several of one kind included, and has each answer for its own contexts alone.
///
/// See the [crate documentation](crate) for how it tells whose a context is.
#[derive(Debug, Default)]
pub struct MultiContext {
    pub(crate) routes: Routes,
    pub(crate) shared: SharedKeys,
}

impl MultiContext {
    /// Without any strategy: it refuses everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more. Where several could take a context, the one that was added first does.
    #[must_use]
    pub fn with(mut self, strategy: impl PartitionStrategy) -> Self {
        self.routes.add(Box::new(strategy));
        self
    }

    /// Shows this shared write key for the contexts of the owner who certified it, wherever the strategy of such a
    /// context has no proof of its own.
    ///
    /// # Errors
    /// [`SharedKeyError::OtherKey`].
    pub fn hold_shared_key(&mut self, key: SharedWriteKey, by: SharedKeyCertificate) -> Result<(), SharedKeyError> {
        self.shared.hold(key, by)
    }

    /// Takes the shared write key of this owner from remotes whom the strategy itself does not admit. Off by default.
    #[must_use]
    pub fn accept_shared_key(mut self, owner: VerifyingKey) -> Self {
        self.shared.accept(owner);
        self
    }

    /// No longer takes the shared write key of this owner. Sessions that were opened with it last until they end.
    pub fn refuse_shared_key(&mut self, owner: &VerifyingKey) {
        self.shared.refuse(owner);
    }

    /// Calls into the strategy of this one context: the way to the right one of two that have the same type. `turn` is
    /// the one that `engine.with_strategy::<MultiContext, _>` brings.
    ///
    /// # Errors
    /// When the context is nobody's, or its strategy is no `P` and holds none.
    pub fn with_strategy_of<P: PartitionStrategy, R>(
        &mut self,
        context: &ContextId,
        turn: &mut Turn<'_>,
        call: impl FnOnce(&mut P, &mut Turn<'_>) -> R,
    ) -> Result<R, StrategyError> {
        let home = self.routes.home(context);
        let home = home.ok_or_else(|| StrategyError(format!("no strategy here answers for the context {context}")))?;
        let (mut call, mut answer) = (Some(call), None);
        let mut visit = |plugin: &mut dyn Any, turn: &mut Turn<'_>| match plugin.downcast_mut::<P>() {
            Some(plugin) => {
                answer = call.take().map(|call| call(plugin, turn));
                true
            }
            None => false,
        };
        self.visit_member(home, turn, &mut visit);
        answer.ok_or_else(|| {
            let wanted = std::any::type_name::<P>();
            StrategyError(format!("the strategy of the context {context} is no {wanted}: ask for the type that it has"))
        })
    }

    /// What a call opens belongs to the strategy that was called.
    fn visit_member(&mut self, at: usize, turn: &mut Turn<'_>, visit: &mut Visit<'_>) -> bool {
        let before = turn.open.len();
        let found = self.routes.member_mut(at).is_some_and(|member| member.reach(turn, visit));
        for context in turn.open.get(before..).unwrap_or_default() {
            self.routes.give(context, at);
        }
        self.routes.learn_named();
        found
    }

    /// Whose a context is that a remote brings: the first's that grants the proof and would then sync. One that comes
    /// without, or that nobody grants, is the only one's that could have it.
    fn candidate(&self, context: &ContextInfo, brought: Option<&Brought<'_>>) -> Option<usize> {
        let could = self.routes.could_have(context);
        let taken = brought.and_then(|by| could.iter().copied().find(|at| self.takes(*at, context, by)));
        taken.or(if let [only] = could[..] { Some(only) } else { None })
    }

    fn takes(&self, at: usize, context: &ContextInfo, by: &Brought<'_>) -> bool {
        let Some(member) = self.routes.member(at) else {
            return false;
        };
        let registered = member.auth().verify(by.now, &by.transcript, &by.remote, context, by.proof);
        let grant = self.or_shared(registered, &by.transcript, context, by.proof).ok();
        let remote = RemoteContext { id: context.id, kind: context.kind.clone(), peer: by.peer.clone(), grant };
        grant.is_some() && !matches!(member.should_sync(context, &remote), Access::Refused(_))
    }
}

impl PartitionStrategy for MultiContext {
    fn kinds(&self) -> &[ContextKind] {
        self.routes.kinds()
    }

    fn auth(&self) -> &dyn AuthProvider {
        self
    }

    fn contexts(&self) -> Vec<ContextInfo> {
        self.routes.contexts()
    }

    fn adopt(&mut self, context: &ContextInfo, brought: Option<&Brought<'_>>) -> bool {
        let was_nobodys = self.routes.home(&context.id).is_none();
        if was_nobodys {
            self.routes.learn_named();
        }
        if self.routes.home(&context.id).is_none() {
            match self.candidate(context, brought) {
                Some(at) => self.routes.give(context, at),
                None => self.routes.wait(context),
            };
        }
        let given = was_nobodys && self.routes.home(&context.id).is_some();
        self.routes.at_mut(&context.id).adopt(context, brought) || given
    }

    fn forget(&mut self, context: &ContextId) {
        self.routes.forget(context);
    }

    fn should_sync(&self, local: &ContextInfo, remote: &RemoteContext) -> Access {
        if !self.kinds().contains(&remote.kind) {
            return Access::Refused(Refusal::UnknownKind);
        }
        if local.id != remote.id || local.kind != remote.kind {
            return Access::Refused(Refusal::Denied);
        }
        match self.routes.of(local) {
            Ok(member) => member.should_sync(local, remote),
            Err(why) => Access::Refused(why),
        }
    }

    // From here on each method is its context's strategy's.

    fn filter_targets(&self, context: &ContextId, peers: &[PeerInfo], out: &mut Vec<SessionId>) {
        self.routes.at(context).filter_targets(context, peers, out);
    }

    fn authorize(&self, claim: &Claim<'_>) -> Verdict {
        self.routes.at(&claim.header.context).authorize(claim)
    }

    fn standing(&self, context: &ContextId) -> Standing {
        self.routes.at(context).standing(context)
    }

    fn epoch(&self, context: &ContextId) -> Result<Option<EpochId>, StrategyError> {
        self.routes.at(context).epoch(context)
    }

    fn snapshot_epoch(&self, context: &ContextId, past: &BTreeSet<EpochId>) -> Result<Option<EpochId>, StrategyError> {
        self.routes.at(context).snapshot_epoch(context, past)
    }

    fn is_for_same_readers(
        &self,
        context: &ContextId,
        author: &ReplicaId,
        snapshot: Option<EpochId>,
        past: &BTreeSet<EpochId>,
    ) -> bool {
        self.routes.at(context).is_for_same_readers(context, author, snapshot, past)
    }

    fn seal(&self, prefix: &HeaderPrefix<'_>, plain: &[u8], rng: &mut dyn CryptoRng) -> Result<Bytes, StrategyError> {
        self.routes.at(&prefix.header.context).seal(prefix, plain, rng)
    }

    fn open(&self, prefix: &HeaderPrefix<'_>, sealed: &Bytes) -> Opened {
        self.routes.at(&prefix.header.context).open(prefix, sealed)
    }

    fn opener(
        &self,
        context: &ContextId,
        author: &ReplicaId,
        epoch: Option<EpochId>,
    ) -> Option<Arc<dyn PayloadOpener>> {
        self.routes.at(context).opener(context, author, epoch)
    }

    fn control(&mut self, now: Now, entry: &ControlEntry<'_>) -> Result<Vec<StrategyEffect>, StrategyError> {
        let context = entry.header.context;
        if self.routes.home(&context).is_none() {
            return self.routes.ask_all(&context, |member| member.control(now, entry));
        }
        self.routes.at_mut(&context).control(now, entry)
    }

    fn duties(&mut self, context: &ContextId, turn: &mut Turn<'_>) -> Result<(), StrategyError> {
        self.routes.at_mut(context).duties(context, turn)
    }

    fn vouch(&self, context: &ContextId, witnesses: &[Witness]) -> Option<Bytes> {
        self.routes.at(context).vouch(context, witnesses)
    }

    fn writers(&self, context: &ContextId, heads: &[EntryId]) -> Option<BTreeSet<ReplicaId>> {
        self.routes.at(context).writers(context, heads)
    }

    fn dormant(&self, context: &ContextId, heads: &[EntryId]) -> BTreeSet<ReplicaId> {
        self.routes.at(context).dormant(context, heads)
    }

    fn never_waits(&self) -> bool {
        self.routes.never_wait()
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn reach(&mut self, turn: &mut Turn<'_>, visit: &mut Visit<'_>) -> bool {
        visit(self, turn) || (0..self.routes.len()).any(|at| self.visit_member(at, turn, visit))
    }
}
