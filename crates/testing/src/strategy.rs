//! A partition strategy for tests: everybody may do everything, unless told otherwise.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    sync::mpsc::Sender,
};

use bytes::Bytes;
use partita_core::{
    Access, AuthProvider, Claim, ContextId, ContextInfo, ContextKind, ControlEntry, ControlGraph, EntryId, EpochId,
    Grant, HeaderPrefix, Loss, Now, Opened, PartitionStrategy, PeerInfo, Refusal, RemoteContext, ReplicaId, SessionId,
    SignedTip, Standing, StrategyEffect, StrategyError, Transcript, Verdict, WaitReason, Witness,
    codec::{Reader, Writer},
};
use partita_crypto::VerifyingKey;

/// The kind of [`OpenStrategy`]'s contexts, unless it is given another.
pub const OPEN_KIND: &str = "open/plain";

const LOSS: u8 = 1;
const VOUCH: u8 = 2;
const ADMIT: u8 = 3;
const READMIT: u8 = 4;
const LIFT: u8 = 5;
const UNLOCK: u8 = 6;
const MOST_TIPS: usize = 4096;

/// Contexts with plain payloads that everybody may read and write. Losses, readmissions, vouches and admissions are control
/// entries that anybody may write, so that what a node makes of them can be tested without a real plugin.
///
/// Payloads of control entries come from [`loss`](Self::loss), [`readmit`](Self::readmit), [`vouch_for`](Self::vouch_for) and
/// [`admit`](Self::admit); others are kept and ignored, except empty ones, which it refuses.
#[derive(Debug, Clone)]
pub struct OpenStrategy {
    kinds: Vec<ContextKind>,
    auth: OpenAuth,
    authors: Option<BTreeSet<ReplicaId>>,
    /// Authors whose word no checkpoint needs any more, and those for whom nobody waits.
    gone: BTreeSet<ReplicaId>,
    dormant: BTreeSet<ReplicaId>,
    by_admission: bool,
    gated: bool,
    waits: bool,
    vouching: bool,
    targets: Option<usize>,
    tells: Option<Sender<EntryId>>,
    /// What payloads hold that do not open yet.
    locked: Option<&'static [u8]>,
    /// How control entries begin that it does not take.
    refused: Option<&'static [u8]>,
    said: BTreeMap<ContextId, Said>,
    /// Who was admitted by which control entry.
    admitted: BTreeMap<ContextId, BTreeSet<ReplicaId>>,
}

/// What the control entries of a context say about how far logs count.
#[derive(Debug, Clone, Default)]
struct Said {
    graph: ControlGraph,
    losses: Vec<(EntryId, ReplicaId, Vec<SignedTip>)>,
    /// Each with what lifts.
    readmissions: Vec<(EntryId, ReplicaId, EntryId)>,
    standing: Standing,
}

impl Said {
    /// A readmission lifts the losses that it descends from. Who was readmitted after all of them holds the right again.
    fn resolve(&mut self) {
        let before: BTreeMap<EntryId, BTreeSet<EntryId>> =
            self.readmissions.iter().map(|(id, ..)| (*id, self.graph.ancestors(&[*id]))).collect();
        let mut losses: BTreeMap<ReplicaId, Vec<Loss>> = BTreeMap::new();
        for (id, replica, tips) in &self.losses {
            let of_replica = self.readmissions.iter().filter(|(_, of, _)| of == replica);
            let lifts = |at: &EntryId| before.get(at).is_some_and(|before| before.contains(id));
            let mut lifted_by: Vec<EntryId> = of_replica.filter(|(at, ..)| lifts(at)).map(|(.., by)| *by).collect();
            lifted_by.sort_unstable();
            losses
                .entry(*replica)
                .or_default()
                .push(Loss { tips: tips.iter().map(|listed| listed.tip).collect(), lifted_by });
            self.standing.list(tips);
        }
        losses.values_mut().for_each(|losses| losses.sort_unstable());
        let again = losses.iter().filter(|(_, losses)| losses.iter().all(|loss| !loss.lifted_by.is_empty()));
        self.standing.readmitted = again.map(|(replica, _)| *replica).collect();
        self.standing.losses = losses;
    }
}

#[derive(Debug, Clone, Default)]
struct OpenAuth {
    peers: Option<BTreeMap<ReplicaId, Access>>,
}

impl Default for OpenStrategy {
    fn default() -> Self {
        Self {
            kinds: ContextKind::new(OPEN_KIND).into_iter().collect(),
            auth: OpenAuth::default(),
            authors: None,
            gone: BTreeSet::new(),
            dormant: BTreeSet::new(),
            by_admission: false,
            gated: false,
            waits: false,
            vouching: false,
            targets: None,
            tells: None,
            locked: None,
            refused: None,
            said: BTreeMap::new(),
            admitted: BTreeMap::new(),
        }
    }
}

impl OpenStrategy {
    /// Everybody may open every context, read and write.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers for this kind instead.
    #[must_use]
    pub fn of_kind(mut self, kind: ContextKind) -> Self {
        self.kinds = vec![kind];
        self
    }

    /// Only these replicas may open contexts here, each with this access.
    #[must_use]
    pub fn with_peers(mut self, peers: impl IntoIterator<Item = (ReplicaId, Access)>) -> Self {
        self.auth.peers = Some(peers.into_iter().collect());
        self
    }

    /// Only these replicas may write entries. Set it alike on all nodes.
    #[must_use]
    pub fn with_authors(mut self, authors: impl IntoIterator<Item = ReplicaId>) -> Self {
        self.authors = Some(authors.into_iter().collect());
        self
    }

    /// Checkpoints need no word of the first ones, who are authors no more, and do not wait for the others.
    #[must_use]
    pub fn without_word_of(mut self, gone: &[ReplicaId], dormant: &[ReplicaId]) -> Self {
        self.gone = gone.iter().copied().collect();
        self.dormant = dormant.iter().copied().collect();
        self
    }

    /// A replica may write data only under heads that came after its admission: without any, the verdict is undecided.
    #[must_use]
    pub fn with_admission(mut self) -> Self {
        self.by_admission = true;
        self
    }

    /// Only admitted replicas may open contexts here.
    #[must_use]
    pub fn with_gate(mut self) -> Self {
        self.gated = true;
        self
    }

    /// Opens a context only with remotes that proved a right to it, or that were dialled by their ids.
    #[must_use]
    pub fn waiting_for_proofs(mut self) -> Self {
        self.waits = true;
        self
    }

    /// This replica vouches for what it had built on.
    #[must_use]
    pub fn with_vouching(mut self) -> Self {
        self.vouching = true;
        self
    }

    /// Names at most so many peers as targets: those with the lowest session numbers.
    #[must_use]
    pub fn with_targets(mut self, most: usize) -> Self {
        self.targets = Some(most);
        self
    }

    /// Says of each control entry that it was given it, before anything follows from that: for what must happen just then.
    #[must_use]
    pub fn telling(mut self, of: Sender<EntryId>) -> Self {
        self.tells = Some(of);
        self
    }

    /// The payload of a control entry that takes the right to write from a replica, except for what these tips name.
    pub fn loss(replica: ReplicaId, mut counts: Vec<SignedTip>) -> Bytes {
        counts.sort_unstable();
        let mut out = Writer::new();
        out.u8(LOSS);
        out.raw(replica.as_bytes());
        SignedTip::encode_all(&counts, &mut out);
        out.finish()
    }

    /// The payload of a control entry that gives a replica the right to write again, for logs that it begins in knowledge
    /// of this.
    pub fn readmit(replica: ReplicaId) -> Bytes {
        let mut out = Writer::new();
        out.u8(READMIT);
        out.raw(replica.as_bytes());
        out.finish()
    }

    /// The payload of a control entry that does so for logs that it began in knowledge of another one.
    pub fn lift(replica: ReplicaId, by: EntryId) -> Bytes {
        let mut out = Writer::new();
        out.u8(LIFT);
        out.raw(replica.as_bytes());
        out.raw(by.as_bytes());
        out.finish()
    }

    /// The payload of a control entry that vouches for these entries.
    pub fn vouch_for(witnesses: &[Witness]) -> Bytes {
        let mut out = Writer::new();
        out.u8(VOUCH);
        out.varint(witnesses.len() as u64);
        witnesses.iter().for_each(|witness| witness.encode(&mut out));
        out.finish()
    }

    /// Payloads that hold this do not open before a control entry says so that [`unlock`](Self::unlock) makes.
    #[must_use]
    pub fn with_locked(mut self, what: &'static [u8]) -> Self {
        self.locked = Some(what);
        self
    }

    /// Refuses control entries that begin with this, as a later version of a strategy may that does not understand any more
    /// what an earlier one took.
    #[must_use]
    pub fn refusing(mut self, what: &'static [u8]) -> Self {
        self.refused = Some(what);
        self
    }

    /// The payload of a control entry that brings the key, for [`with_locked`](Self::with_locked).
    pub fn unlock() -> Bytes {
        Bytes::from_static(&[UNLOCK])
    }

    /// The payload of a control entry that admits a replica, for [`with_admission`](Self::with_admission).
    pub fn admit(replica: ReplicaId) -> Bytes {
        let mut out = Writer::new();
        out.u8(ADMIT);
        out.raw(replica.as_bytes());
        out.finish()
    }

    fn apply(&mut self, entry: &ControlEntry<'_>) -> Option<()> {
        let (id, context) = (entry.id, entry.header.context);
        let mut input = Reader::new(entry.payload);
        let said = self.said.entry(context).or_default();
        match input.u8().ok()? {
            LOSS => {
                let replica = ReplicaId::from_bytes(input.array().ok()?);
                let tips = SignedTip::decode_all(&mut input, &replica, MOST_TIPS).ok()?;
                said.losses.push((id, replica, tips));
            }
            READMIT => said.readmissions.push((id, ReplicaId::from_bytes(input.array().ok()?), id)),
            LIFT => {
                let replica = ReplicaId::from_bytes(input.array().ok()?);
                said.readmissions.push((id, replica, EntryId::from_bytes(input.array().ok()?)));
            }
            VOUCH => {
                let count = input.count("the number of witnesses", MOST_TIPS, 100).ok()?;
                for _ in 0..count {
                    let witness = Witness::decode(&mut input).ok()?;
                    said.standing.vouches.insert(witness.tip(), witness.signature());
                }
            }
            ADMIT => {
                let replica = ReplicaId::from_bytes(input.array().ok()?);
                self.admitted.entry(context).or_default().insert(replica);
            }
            _ => {}
        }
        // Whoever gives entries out of their order has no graph: nobody is readmitted there.
        let _ = said.graph.insert(id, entry.parents.iter().copied());
        said.resolve();
        Some(())
    }
}

impl PartitionStrategy for OpenStrategy {
    fn kinds(&self) -> &[ContextKind] {
        &self.kinds
    }

    fn auth(&self) -> &dyn AuthProvider {
        &self.auth
    }

    fn forget(&mut self, context: &ContextId) {
        self.said.remove(context);
        self.admitted.remove(context);
    }

    fn should_sync(&self, _local: &ContextInfo, remote: &RemoteContext) -> Access {
        let admitted = self.admitted.get(&remote.id);
        if self.gated && !admitted.is_some_and(|found| found.contains(&remote.peer.replica)) {
            return Access::Refused(Refusal::Denied);
        }
        match remote.grant {
            Some(grant) => grant.access,
            None if self.waits && !remote.peer.pinned => Access::Refused(Refusal::Denied),
            None => self.auth.access(&remote.peer.replica),
        }
    }

    fn filter_targets(&self, _context: &ContextId, peers: &[PeerInfo], out: &mut Vec<SessionId>) {
        let mut sessions: Vec<_> = peers.iter().map(|peer| peer.session).collect();
        sessions.sort_unstable();
        sessions.truncate(self.targets.unwrap_or(usize::MAX));
        out.append(&mut sessions);
    }

    fn authorize(&self, claim: &Claim<'_>) -> Verdict {
        if let Some(authors) = &self.authors
            && !authors.contains(&claim.author)
        {
            return Verdict::Excluded(Refusal::Denied);
        }
        let admitted = self.admitted.get(&claim.header.context);
        let is_admitted = admitted.is_some_and(|admitted| admitted.contains(&claim.author));
        if self.by_admission && claim.control.is_none() && !is_admitted {
            return Verdict::Undecided(Vec::new());
        }
        Verdict::Accept
    }

    fn standing(&self, context: &ContextId) -> Standing {
        self.said.get(context).map(|said| said.standing.clone()).unwrap_or_default()
    }

    fn epoch(&self, _context: &ContextId) -> Result<Option<EpochId>, StrategyError> {
        Ok(None)
    }

    fn seal(
        &self,
        _prefix: &HeaderPrefix<'_>,
        plain: &[u8],
        _rng: &mut dyn partita_core::CryptoRng,
    ) -> Result<Bytes, StrategyError> {
        Ok(Bytes::copy_from_slice(plain))
    }

    fn open(&self, _prefix: &HeaderPrefix<'_>, sealed: &Bytes) -> Opened {
        let holds = |what: &[u8]| sealed.windows(what.len()).any(|bytes| bytes == what);
        if self.locked.is_some_and(holds) {
            return Opened::Wait(WaitReason::Key(None));
        }
        Opened::Plain(sealed.clone())
    }

    fn control(&mut self, _now: Now, entry: &ControlEntry<'_>) -> Result<Vec<StrategyEffect>, StrategyError> {
        if let Some(tells) = &self.tells {
            let _ = tells.send(entry.id); // nobody may be listening any more
        }
        if self.refused.is_some_and(|what| entry.payload.starts_with(what)) {
            return Err(StrategyError("a control entry that is not understood any more".into()));
        }
        let unlocks = entry.payload.first() == Some(&UNLOCK) && self.locked.take().is_some();
        self.apply(entry)
            .map(|()| if unlocks { vec![StrategyEffect::KeysArrived] } else { Vec::new() })
            .ok_or_else(|| StrategyError("not a control entry of the open strategy".into()))
    }

    fn vouch(&self, _context: &ContextId, witnesses: &[Witness]) -> Option<Bytes> {
        self.vouching.then(|| Self::vouch_for(witnesses))
    }

    fn writers(&self, _context: &ContextId, _heads: &[EntryId]) -> Option<BTreeSet<ReplicaId>> {
        Some(self.authors.as_ref()?.difference(&self.gone).copied().collect())
    }

    fn dormant(&self, _context: &ContextId, _heads: &[EntryId]) -> BTreeSet<ReplicaId> {
        self.dormant.clone()
    }

    fn never_waits(&self) -> bool {
        true
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl OpenAuth {
    fn access(&self, replica: &ReplicaId) -> Access {
        match &self.peers {
            None => Access::Both,
            Some(peers) => {
                let access = peers.get(replica).copied();
                access.unwrap_or(Access::Refused(Refusal::Denied))
            }
        }
    }
}

impl AuthProvider for OpenAuth {
    fn prove(&self, _: &Transcript, _: &ContextInfo) -> Result<Bytes, StrategyError> {
        Ok(Bytes::new())
    }

    fn verify(
        &self,
        _: Now,
        _: &Transcript,
        remote: &VerifyingKey,
        _: &ContextInfo,
        _proof: &[u8],
    ) -> Result<Grant, Refusal> {
        match self.access(&ReplicaId::from_bytes(*remote.as_bytes())) {
            Access::Refused(why) => Err(why),
            access => Ok(Grant { access }),
        }
    }
}
