//! A strategy that keeps every promise, and can be told to break one.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use partita_core::{
    Access, AuthProvider, Claim, ContextId, ContextInfo, ContextKind, ControlEntry, CryptoRng, EntryId, EpochId, Grant,
    HeaderPrefix, Loss, Now, Opened, PartitionStrategy, PeerInfo, Refusal, RemoteContext, ReplicaId, SessionId,
    Signature, Standing, StrategyEffect, StrategyError, Transcript, Turn, Verdict,
};
use partita_crypto::{AeadKey, Secret, SigningKey, VerifyingKey, derive};
use partita_testing::strategy_conformance::Rule;

const PURPOSE: &str = "partita testing conformance proof";
const JOIN: u8 = 1;
const REMOVE: u8 = 2;

/// Sealed contexts for some members, who can remove each other.
pub(crate) struct Members {
    key: SigningKey,
    members: BTreeSet<ReplicaId>,
    contexts: Vec<ContextInfo>,
    kinds: Vec<ContextKind>,
    /// Who was removed by each control entry or its ancestors.
    seen: BTreeMap<ContextId, BTreeMap<EntryId, BTreeSet<ReplicaId>>>,
    joined: BTreeSet<(ContextId, ReplicaId)>,
    last: Option<ReplicaId>,
    leak: Option<Rule>,
    /// Whether it is brief proofs that leak, and whole ones do not.
    in_brief: bool,
    asked: AtomicU64,
}

impl Members {
    pub(crate) fn new(key: SigningKey, members: &[ReplicaId], contexts: &[ContextInfo], leak: Option<Rule>) -> Self {
        let kinds = BTreeSet::from_iter(contexts.iter().map(|info| info.kind.clone()));
        Self {
            key,
            members: members.iter().copied().collect(),
            contexts: contexts.to_vec(),
            kinds: kinds.into_iter().collect(),
            seen: BTreeMap::new(),
            joined: BTreeSet::new(),
            last: None,
            leak,
            in_brief: false,
            asked: AtomicU64::new(0),
        }
    }

    /// The same with the leak in brief proofs alone.
    pub(crate) fn in_brief(mut self) -> Self {
        self.in_brief = true;
        self
    }

    pub(crate) fn remove(&mut self, turn: &mut Turn<'_>, who: ReplicaId) {
        let payload = Bytes::from([&[REMOVE], &who.as_bytes()[..]].concat());
        turn.append.extend(self.contexts.iter().map(|context| (context.id, payload.clone())));
    }

    fn leaks(&self, rule: Rule) -> bool {
        self.leak == Some(rule)
    }

    /// The same of a proof of this sort.
    fn proofs_leak(&self, brief: bool, rule: Rule) -> bool {
        self.leaks(rule) && self.in_brief == brief
    }

    fn knows(&self, context: &ContextInfo) -> bool {
        self.contexts.contains(context)
    }

    fn removed(&self, context: &ContextId) -> BTreeSet<ReplicaId> {
        let seen = self.seen.get(context).into_iter().flat_map(|seen| seen.values().flatten());
        let mut removed: BTreeSet<ReplicaId> = seen.copied().collect();
        if self.leaks(Rule::Losses) {
            removed.retain(|who| Some(*who) == self.last); // the last word wins, whichever came last
        }
        removed
    }

    fn may(&self, context: &ContextId, who: &ReplicaId) -> bool {
        self.members.contains(who) && !self.removed(context).contains(who)
    }

    fn aead(&self, context: &ContextId) -> AeadKey {
        let of: &[u8] = if self.leaks(Rule::Boundaries) { b"one for all" } else { context.as_bytes() };
        AeadKey::from_secret(&derive(&Secret::from_bytes([9; 32]), "conformance payload", &[of]))
    }

    fn message(&self, transcript: &Transcript, context: &ContextInfo, who: &VerifyingKey, brief: bool) -> Vec<u8> {
        let mut message = Vec::new();
        if !self.proofs_leak(brief, Rule::BoundToTranscript) {
            message.extend(transcript.handshake);
            message.push(u8::from(transcript.prover_dialled));
        }
        if !self.proofs_leak(brief, Rule::BoundToContext) {
            message.extend(context.id.as_bytes());
            message.extend(context.kind.as_str().as_bytes());
        }
        if !self.proofs_leak(brief, Rule::BoundToRemote) {
            message.extend(who.as_bytes());
        }
        message
    }

    fn signed(&self, transcript: &Transcript, context: &ContextInfo, brief: bool) -> Signature {
        self.key.sign(PURPOSE, &self.message(transcript, context, &self.key.verifying_key(), brief))
    }

    /// A brief proof names nobody: it is for those who know that the remote has joined.
    fn verify_briefly(
        &self,
        transcript: &Transcript,
        remote: &VerifyingKey,
        context: &ContextInfo,
        signature: &Signature,
    ) -> Result<Grant, Refusal> {
        let of_anybody = self.proofs_leak(true, Rule::BoundToRemote);
        let joined = self.joined.iter().filter(|(of, _)| *of == context.id);
        let keys = joined.filter_map(|(_, who)| VerifyingKey::parse(who.as_bytes()).ok());
        let signers: Vec<VerifyingKey> = keys.filter(|key| key == remote || of_anybody).collect();
        if signers.is_empty() {
            return Err(Refusal::NeedControl);
        }
        let signed = |key: &VerifyingKey| self.message(transcript, context, key, true);
        let holds = signers.iter().any(|key| key.verify(PURPOSE, &signed(key), signature).is_ok());
        if holds { Ok(Grant { access: Access::Both }) } else { Err(Refusal::BadProof) }
    }
}

impl PartitionStrategy for Members {
    fn kinds(&self) -> &[ContextKind] {
        &self.kinds
    }
    fn auth(&self) -> &dyn AuthProvider {
        self
    }
    fn contexts(&self) -> Vec<ContextInfo> {
        self.contexts.clone()
    }
    fn should_sync(&self, local: &ContextInfo, remote: &RemoteContext) -> Access {
        let same = local.id == remote.id && local.kind == remote.kind && self.knows(local);
        let kind = self.leaks(Rule::UnknownKind) && !self.kinds.contains(&remote.kind);
        let foreign = self.leaks(Rule::ForeignContext) && !self.contexts.iter().any(|known| known.id == local.id);
        let removed = self.removed(&local.id).contains(&remote.peer.replica);
        let lets_in = self.leaks(Rule::NothingSent) || self.leaks(Rule::Strangers) || self.leaks(Rule::BoundToRemote);
        // Whoever was dialled by its id is offered what there is; else neither would begin.
        let granted = remote.grant.is_some() || remote.peer.pinned || self.leaks(Rule::Strangers);
        if lets_in && same && granted {
            return Access::Both;
        }
        let member = self.members.contains(&remote.peer.replica) && !removed;
        if (same || kind || foreign) && granted && member { Access::Both } else { Access::Refused(Refusal::Denied) }
    }
    fn filter_targets(&self, context: &ContextId, peers: &[PeerInfo], out: &mut Vec<SessionId>) {
        let wide =
            [Rule::Targets, Rule::NothingSent, Rule::Strangers, Rule::BoundToRemote].iter().any(|r| self.leaks(*r));
        out.extend(peers.iter().filter(|peer| wide || self.may(context, &peer.replica)).map(|peer| peer.session));
        if self.leaks(Rule::Stable) && self.asked.fetch_add(1, Ordering::Relaxed) % 3 == 2 {
            out.clear();
        }
    }
    fn authorize(&self, claim: &Claim<'_>) -> Verdict {
        let context = &claim.header.context;
        if !self.contexts.iter().any(|known| known.id == *context) && !self.leaks(Rule::ForeignContext) {
            return Verdict::Excluded(Refusal::Denied);
        }
        let empty = BTreeMap::new();
        let seen = self.seen.get(context).unwrap_or(&empty);
        let missing: Vec<_> = claim.heads.iter().filter(|head| !seen.contains_key(head)).copied().collect();
        if !missing.is_empty() && !self.leaks(Rule::ForeignContext) {
            return Verdict::Undecided(missing);
        }
        let mut removed = claim.heads.iter().filter_map(|head| seen.get(head)).any(|seen| seen.contains(&claim.author));
        removed |= self.leaks(Rule::Ancestors) && self.removed(context).contains(&claim.author);
        let member = self.members.contains(&claim.author) || self.leaks(Rule::Writers);
        if member && !removed { Verdict::Accept } else { Verdict::Excluded(Refusal::Denied) }
    }
    fn standing(&self, context: &ContextId) -> Standing {
        let mut standing = Standing::default();
        if self.leaks(Rule::Standing) {
            return standing;
        }
        standing.losses.extend(self.removed(context).into_iter().map(|who| (who, vec![Loss::default()])));
        standing
    }
    fn epoch(&self, context: &ContextId) -> Result<Option<EpochId>, StrategyError> {
        let known = self.contexts.iter().any(|known| known.id == *context) && !self.leaks(Rule::Works);
        if known { Ok(None) } else { Err(StrategyError("not here".into())) }
    }
    fn seal(&self, prefix: &HeaderPrefix<'_>, plain: &[u8], rng: &mut dyn CryptoRng) -> Result<Bytes, StrategyError> {
        let sealed = self.aead(&prefix.header.context).seal(rng, b"", plain);
        sealed.map(Bytes::from).map_err(|error| StrategyError(error.to_string()))
    }
    fn open(&self, prefix: &HeaderPrefix<'_>, sealed: &Bytes) -> Opened {
        let opened = self.aead(&prefix.header.context).open(b"", sealed);
        opened.map_or(Opened::Bad, |plain| Opened::Plain(plain.into()))
    }
    fn control(&mut self, _: Now, entry: &ControlEntry<'_>) -> Result<Vec<StrategyEffect>, StrategyError> {
        let context = entry.header.context;
        let bytes = |payload: &[u8]| payload.get(1..).and_then(|rest| <[u8; 32]>::try_from(rest).ok());
        if self.leaks(Rule::Garbage) {
            let _tag = entry.payload[0]; // an empty payload comes
        }
        let seen = self.seen.entry(context).or_default();
        let mut removed: BTreeSet<_> = entry.parents.iter().filter_map(|id| seen.get(id)).flatten().copied().collect();
        match (entry.payload.first(), bytes(entry.payload).map(ReplicaId::from_bytes)) {
            (Some(&JOIN), Some(who)) => {
                self.joined.insert((context, who));
            }
            (Some(&REMOVE), Some(who)) => {
                removed.insert(who);
                self.last = Some(who);
            }
            _ => return Err(StrategyError("not a control entry of these members".into())),
        }
        seen.insert(entry.id, removed);
        Ok(Vec::new())
    }
    fn duties(&mut self, context: &ContextId, turn: &mut Turn<'_>) -> Result<(), StrategyError> {
        let me = ReplicaId::from_bytes(*self.key.verifying_key().as_bytes());
        if self.members.contains(&me) && !self.joined.contains(&(*context, me)) {
            turn.append.push((*context, [&[JOIN], &me.as_bytes()[..]].concat().into()));
        }
        Ok(())
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl AuthProvider for Members {
    fn prove(&self, transcript: &Transcript, context: &ContextInfo) -> Result<Bytes, StrategyError> {
        let (by, signature) = (self.key.verifying_key(), self.signed(transcript, context, false));
        Ok([&by.as_bytes()[..], signature.as_bytes()].concat().into())
    }
    fn prove_briefly(&self, transcript: &Transcript, context: &ContextInfo) -> Option<Bytes> {
        let me = ReplicaId::from_bytes(*self.key.verifying_key().as_bytes());
        let joined = self.joined.contains(&(context.id, me));
        joined.then(|| Bytes::copy_from_slice(self.signed(transcript, context, true).as_bytes()))
    }
    fn verify(
        &self,
        _: Now,
        transcript: &Transcript,
        remote: &VerifyingKey,
        context: &ContextInfo,
        proof: &[u8],
    ) -> Result<Grant, Refusal> {
        let both = Ok(Grant { access: Access::Both });
        let member = self.members.contains(&ReplicaId::from_bytes(*remote.as_bytes()));
        let unknown = self.leaks(Rule::UnknownKind) && !self.kinds.contains(&context.kind);
        let foreign = self.leaks(Rule::ForeignContext) && !self.knows(context) && self.kinds.contains(&context.kind);
        let anybody = self.leaks(Rule::NothingSent) && self.knows(context);
        let empty = self.leaks(Rule::EmptyProof) && member && self.knows(context) && proof.is_empty();
        if unknown || anybody || empty {
            return both;
        }
        if !foreign && !self.knows(context) {
            return Err(Refusal::Denied);
        }
        if let Ok(signature) = <[u8; 64]>::try_from(proof) {
            return self.verify_briefly(transcript, remote, context, &Signature::from_bytes(signature));
        }
        let (head, signature) = proof.split_at_checked(32).ok_or(Refusal::BadProof)?;
        let cut = signature.get(..64).filter(|_| self.leaks(Rule::FlippedBits)).unwrap_or(signature);
        let signature: [u8; 64] = cut.try_into().map_err(|_| Refusal::BadProof)?;
        let by: [u8; 32] = head.try_into().map_err(|_| Refusal::BadProof)?;
        let by = VerifyingKey::parse(&by).map_err(|_| Refusal::BadProof)?;
        let own = by == *remote || self.proofs_leak(false, Rule::BoundToRemote);
        let right = self.members.contains(&ReplicaId::from_bytes(*by.as_bytes())) || self.leaks(Rule::Strangers);
        let message = self.message(transcript, context, &by, false);
        let holds = by.verify(PURPOSE, &message, &Signature::from_bytes(signature)).is_ok();
        if own && right && holds { both } else { Err(Refusal::BadProof) }
    }
}
