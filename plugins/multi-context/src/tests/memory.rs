//! Strategies that a test can look into, and what stands around them.

use std::any::Any;

use bytes::Bytes;
use partita_core::{
    Access, AuthProvider, Claim, ContextId, ContextInfo, ContextKind, ContextView, ControlEntry, CryptoRng, Grant,
    HeaderPrefix, Now, Opened, PartitionStrategy, PeerInfo, Refusal, RemoteContext, ReplicaId, SessionId, SignedTip,
    StrategyEffect, StrategyError, Transcript, Verdict,
};
use partita_crypto::VerifyingKey;

use super::{kind, replica};

/// Plain contexts of one kind for some replicas. The proof is a password, sealing puts a mark in front.
pub(super) struct Club {
    pub(super) mark: u8,
    pub(super) kinds: Vec<ContextKind>,
    pub(super) named: Vec<ContextInfo>,
    pub(super) members: Vec<ReplicaId>,
    pub(super) access: Access,
    pub(super) refusal: Refusal,
    pub(super) verdict: Verdict,
    pub(super) seen: Vec<Bytes>,
}

impl Club {
    pub(super) fn new(mark: u8, name: &str, seeds: impl IntoIterator<Item = u8>) -> Self {
        Self {
            mark,
            kinds: vec![kind(name)],
            named: Vec::new(),
            members: seeds.into_iter().map(replica).collect(),
            access: Access::Both,
            refusal: Refusal::Denied,
            verdict: Verdict::Accept,
            seen: Vec::new(),
        }
    }

    pub(super) fn naming(mut self, context: ContextInfo) -> Self {
        self.named.push(context);
        self
    }

    pub(super) fn with(self, access: Access, refusal: Refusal, verdict: Verdict) -> Self {
        Self { access, refusal, verdict, ..self }
    }
}

impl PartitionStrategy for Club {
    fn kinds(&self) -> &[ContextKind] {
        &self.kinds
    }
    fn auth(&self) -> &dyn AuthProvider {
        self
    }
    fn contexts(&self) -> Vec<ContextInfo> {
        self.named.clone()
    }
    fn should_sync(&self, _: &ContextInfo, remote: &RemoteContext) -> Access {
        if self.members.contains(&remote.peer.replica) { self.access } else { Access::Refused(self.refusal) }
    }
    fn filter_targets(&self, _: &ContextId, peers: &[PeerInfo], out: &mut Vec<SessionId>) {
        out.extend(peers.iter().filter(|peer| self.members.contains(&peer.replica)).map(|peer| peer.session));
    }
    fn authorize(&self, claim: &Claim<'_>) -> Verdict {
        let listed = self.members.contains(&claim.author);
        if listed { self.verdict.clone() } else { Verdict::Excluded(Refusal::Denied) }
    }
    fn seal(&self, _: &HeaderPrefix<'_>, plain: &[u8], _: &mut dyn CryptoRng) -> Result<Bytes, StrategyError> {
        Ok([&[self.mark], plain].concat().into())
    }
    fn open(&self, _: &HeaderPrefix<'_>, sealed: &Bytes) -> Opened {
        if sealed.first() == Some(&self.mark) { Opened::Plain(sealed.slice(1..)) } else { Opened::Bad }
    }
    fn control(&mut self, _: Now, entry: &ControlEntry<'_>) -> Result<Vec<StrategyEffect>, StrategyError> {
        if entry.payload.first() != Some(&self.mark) {
            return Err(StrategyError("another club's".into()));
        }
        self.seen.push(Bytes::copy_from_slice(entry.payload));
        Ok(Vec::new())
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl AuthProvider for Club {
    fn prove(&self, _: &Transcript, _: &ContextInfo) -> Result<Bytes, StrategyError> {
        Ok(Bytes::copy_from_slice(&[self.mark]))
    }
    fn verify(
        &self,
        _: Now,
        _: &Transcript,
        remote: &VerifyingKey,
        _: &ContextInfo,
        proof: &[u8],
    ) -> Result<Grant, Refusal> {
        match (self.members.contains(&ReplicaId::from_bytes(*remote.as_bytes())), proof == [self.mark]) {
            (true, true) => Ok(Grant { access: self.access }),
            (true, false) => Err(Refusal::BadProof),
            (false, _) => Err(self.refusal),
        }
    }
}

/// A node that knows of nothing.
pub(super) struct Empty;

impl ContextView for Empty {
    fn logs_of(&self, _: &ContextId, _: &ReplicaId) -> Vec<SignedTip> {
        Vec::new()
    }
    fn contexts(&self) -> Vec<ContextInfo> {
        Vec::new()
    }
}
