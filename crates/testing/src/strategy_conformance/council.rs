//! The sides with their control entries, without a node: what questions are asked of.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use partita_core::{
    Access, Claim, ContextId, ContextInfo, ContextView, ControlEntry, Entry, EntryId, EpochId, Grant, HeaderPrefix,
    Incarnation, Now, PartitionStrategy, PeerInfo, Refusal, RemoteContext, ReplicaId, SessionId, SignedTip, Stamp,
    StrategyError, Transcript, Turn, Verdict,
};
use partita_crypto::VerifyingKey;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::{Side, Subject, Who};
use crate::samples::{self, SampleLog};

/// Duties must come to rest.
const MOST_ROUNDS: usize = 32;

pub(super) const NOW: Now = Now { monotonic: Duration::from_secs(1), wall: Duration::from_secs(1_800_000_000) };
/// The session of which everything is asked.
pub(super) const SESSION: Transcript = Transcript { handshake: [0x5a; 32], prover_dialled: true, remote_pinned: false };

pub(super) fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(0x5eed)
}

/// A control entry that was written, by whom, and its parents.
#[derive(Clone)]
pub(super) struct Written {
    pub(super) entry: Arc<Entry>,
    pub(super) author: ReplicaId,
    pub(super) parents: Vec<EntryId>,
}

impl Written {
    pub(super) fn given(&self) -> ControlEntry<'_> {
        let Self { entry, author, parents } = self;
        ControlEntry { id: entry.id, author: *author, header: &entry.header, parents, payload: &entry.payload }
    }
}

/// An entry that somebody would like to count.
pub(super) struct Draft {
    pub(super) entry: Arc<Entry>,
    pub(super) author: ReplicaId,
    pub(super) heads: Vec<EntryId>,
    pub(super) epoch: Option<EpochId>,
}

impl Draft {
    pub(super) fn claim(&self) -> Claim<'_> {
        let header = &self.entry.header;
        Claim { header, author: self.author, heads: &self.heads, epoch: self.epoch, control: None }
    }

    pub(super) fn prefix(&self) -> HeaderPrefix<'_> {
        HeaderPrefix { header: &self.entry.header, author: self.author, epoch: self.epoch }
    }

    pub(super) fn counts(&self, strategy: &dyn PartitionStrategy) -> bool {
        strategy.authorize(&self.claim()) == Verdict::Accept
    }
}

struct View<'a>(&'a BTreeMap<(Who, ContextId), SampleLog>);

impl ContextView for View<'_> {
    fn logs_of(&self, context: &ContextId, replica: &ReplicaId) -> Vec<SignedTip> {
        let logs = self.0.iter().filter(|((_, of), log)| of == context && log.replica() == *replica);
        logs.filter_map(|(_, log)| log.signed_tip()).collect()
    }

    fn contexts(&self) -> Vec<ContextInfo> {
        Vec::new()
    }
}

/// Local and friend, who have heard of all control entries of each other, and a stranger, who has not.
pub(super) struct Council<'s> {
    pub(super) subject: &'s Subject,
    strategies: BTreeMap<Who, Box<dyn PartitionStrategy>>,
    logs: BTreeMap<(Who, ContextId), SampleLog>,
    heads: BTreeMap<ContextId, Vec<EntryId>>,
    pub(super) written: BTreeMap<ContextId, Vec<Written>>,
}

/// A strategy of this side, which has these contexts.
pub(super) fn begin(side: &Side, contexts: &[ContextInfo]) -> Box<dyn PartitionStrategy> {
    let mut strategy = (side.strategy)();
    for context in contexts {
        strategy.adopt(context, None);
    }
    strategy
}

impl<'s> Council<'s> {
    pub(super) fn new(subject: &'s Subject) -> Self {
        let begun = Who::ALL.map(|who| (who, begin(subject.side(who), &subject.contexts)));
        let mut council = Self {
            subject,
            strategies: begun.into_iter().collect(),
            logs: BTreeMap::new(),
            heads: BTreeMap::new(),
            written: BTreeMap::new(),
        };
        if let Some(first) = &subject.first {
            for (context, payload) in council.turn(first.who, |strategy, turn| (first.alone)(strategy, turn)) {
                council.write(first.who, context, payload);
            }
        }
        council.settle();
        council
    }

    pub(super) fn strategy(&self, who: Who) -> &dyn PartitionStrategy {
        &*self.strategies[&who]
    }

    pub(super) fn strategy_mut(&mut self, who: Who) -> &mut dyn PartitionStrategy {
        match self.strategies.get_mut(&who) {
            Some(strategy) => &mut **strategy,
            None => panic!("there is always a {who:?}"),
        }
    }

    pub(super) fn local(&self) -> &dyn PartitionStrategy {
        self.strategy(Who::Local)
    }

    /// Everybody writes what it must, until nobody has to.
    fn settle(&mut self) {
        for _ in 0..MOST_ROUNDS {
            let mut said = false;
            for who in [Who::Local, Who::Friend] {
                for context in self.subject.contexts.clone() {
                    let append = self.turn(who, |strategy, turn| {
                        let _ = strategy.duties(&context.id, turn);
                    });
                    for (context, payload) in append {
                        said = true;
                        self.write(who, context, payload);
                    }
                }
            }
            if !said {
                return;
            }
        }
    }

    /// Calls into a strategy and says what it wants appended.
    pub(super) fn turn(
        &mut self,
        who: Who,
        call: impl FnOnce(&mut dyn PartitionStrategy, &mut Turn<'_>),
    ) -> Vec<(ContextId, Bytes)> {
        let Self { strategies, logs, .. } = self;
        let (mut rng, view) = (rng(), View(logs));
        let mut turn = Turn::new(NOW, &mut rng, &view).writing(true);
        if let Some(strategy) = strategies.get_mut(&who) {
            call(&mut **strategy, &mut turn);
        }
        turn.append
    }

    /// A control entry of this side, on all heads, which local and friend take.
    fn write(&mut self, who: Who, context: ContextId, payload: Bytes) {
        let heads = self.heads(&context);
        let written = self.draft_control(who, context, payload, heads);
        self.give(context, written);
    }

    /// A control entry of this side on these heads, which nobody has heard of yet.
    pub(super) fn draft_control(
        &mut self,
        who: Who,
        context: ContextId,
        payload: Bytes,
        heads: Vec<EntryId>,
    ) -> Written {
        let key = &self.subject.side(who).key;
        let log = self.logs.entry((who, context)).or_insert_with(|| SampleLog::of(key.clone(), context, 1));
        let before = log.tip().map(|tip| tip.head);
        log.state(Stamp { heads: heads.clone(), epoch: None });
        let entry = log.control(payload);
        let mut parents: Vec<EntryId> = heads.into_iter().chain(before).collect();
        parents.sort_unstable();
        parents.dedup();
        Written { entry, author: self.subject.side(who).replica(), parents }
    }

    /// Local and friend take a control entry.
    pub(super) fn give(&mut self, context: ContextId, written: Written) {
        let heads = self.heads.entry(context).or_default();
        heads.retain(|head| !written.parents.contains(head));
        heads.push(written.entry.id);
        heads.sort_unstable();
        for who in [Who::Local, Who::Friend] {
            let _ = self.strategy_mut(who).control(NOW, &written.given());
        }
        self.written.entry(context).or_default().push(written);
    }

    pub(super) fn heads(&self, context: &ContextId) -> Vec<EntryId> {
        self.heads.get(context).cloned().unwrap_or_default()
    }

    /// The first entry of a new log of this side: a change, on all control entries.
    pub(super) fn draft(&self, who: Who, context: &ContextId, payload: impl Into<Bytes>) -> Draft {
        self.draft_on(who, context, self.heads(context), self.epoch(who, context), payload)
    }

    pub(super) fn draft_on(
        &self,
        who: Who,
        context: &ContextId,
        heads: Vec<EntryId>,
        epoch: Option<EpochId>,
        payload: impl Into<Bytes>,
    ) -> Draft {
        let side = self.subject.side(who);
        let mut log = SampleLog::of(side.key.clone(), *context, 2);
        log.state(Stamp { heads: heads.clone(), epoch });
        Draft { entry: log.change(samples::document(1), payload), author: side.replica(), heads, epoch }
    }

    /// The epoch that this side would write under; that of a writer for those who may not.
    pub(super) fn epoch(&self, who: Who, context: &ContextId) -> Option<EpochId> {
        let sides = std::iter::once(who).chain(self.subject.writers.iter().copied());
        sides.filter_map(|who| self.strategy(who).epoch(context).ok()).next().flatten()
    }

    pub(super) fn sealed(&self, who: Who, draft: &Draft, plain: &[u8]) -> Result<Bytes, StrategyError> {
        self.strategy(who).seal(&draft.prefix(), plain, &mut rng())
    }

    pub(super) fn key(&self, who: Who) -> VerifyingKey {
        self.subject.side(who).key.verifying_key()
    }

    pub(super) fn peer(&self, who: Who) -> PeerInfo {
        let session = SessionId(who as u64 + 1);
        let (replica, incarnation) = (self.subject.side(who).replica(), Incarnation::from_bytes([who as u8; 16]));
        PeerInfo { session, replica, incarnation, pinned: false }
    }

    pub(super) fn remote(&self, who: Who, context: &ContextInfo, grant: Option<Grant>) -> RemoteContext {
        RemoteContext { id: context.id, kind: context.kind.clone(), peer: self.peer(who), grant }
    }

    pub(super) fn proof(&self, who: Who, context: &ContextInfo) -> Result<Bytes, StrategyError> {
        self.strategy(who).auth().prove(&SESSION, context)
    }

    /// The shorter proof for a remote that synced this context before, if there is one that is another.
    pub(super) fn brief_proof(&self, who: Who, context: &ContextInfo) -> Option<Bytes> {
        let brief = self.strategy(who).auth().prove_briefly(&SESSION, context)?;
        (self.proof(who, context) != Ok(brief.clone())).then_some(brief)
    }

    /// What local allows this remote who shows this proof: what a node asks at an `Open`.
    pub(super) fn opens(
        &self,
        who: Who,
        context: &ContextInfo,
        transcript: &Transcript,
        proof: &[u8],
    ) -> Result<Access, Refusal> {
        let grant = self.local().auth().verify(NOW, transcript, &self.key(who), context, proof)?;
        match self.local().should_sync(context, &self.remote(who, context, Some(grant))) {
            Access::Refused(why) => Err(why),
            access => Ok(access),
        }
    }
}
