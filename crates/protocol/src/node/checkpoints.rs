//! What the control entries of a context say about checkpoints: which claims there are, who attested them, which of them
//! this node relies on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use partita_core::{
    Checkpoint, CheckpointOp, Covered, DocumentId, Entry, EntryId, LogId, LogSort, LogStart, PartitionStrategy,
    Refusal, ReplicaId, SnapshotAt, Tip, is_checkpoint_op,
    planted::{Bug, planted},
};

use super::{
    context::{Context, Log, OwnLog},
    link::{Halt, Until},
};

/// A checkpoint as a whole: what its claim says, with what that goes on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointTable {
    /// The control entry that makes the claim.
    pub claim: EntryId,
    /// Every log that is covered.
    pub logs: BTreeMap<LogId, Covered>,
    /// Every document's snapshot.
    pub documents: BTreeMap<DocumentId, SnapshotAt>,
}

impl CheckpointTable {
    /// The last entry of a log that is covered; 0 when none is.
    pub fn seq(&self, log: &LogId) -> u64 {
        self.logs.get(log).map_or(0, Covered::seq)
    }

    /// Whether it covers everything that the other one does.
    pub fn covers(&self, other: &Self) -> bool {
        other.logs.iter().all(|(log, covered)| {
            let own = self.logs.get(log);
            own.is_some_and(|own| own.seq() > covered.seq() || own.last.tip == covered.last.tip)
        })
    }

    fn entries(&self) -> u64 {
        self.logs.values().map(Covered::seq).fold(0, u64::saturating_add)
    }
}

/// A claim, and who says that it holds.
#[derive(Debug)]
struct Claimed {
    claim: Checkpoint,
    author: ReplicaId,
    said: BTreeSet<ReplicaId>,
    /// As a whole, while it may still be relied upon.
    table: Option<Arc<CheckpointTable>>,
    /// The writers that have not said it, when the graph had so many entries; `None` when the strategy has no checkpoints.
    lacks: Option<(usize, Option<BTreeSet<ReplicaId>>)>,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    claims: BTreeMap<EntryId, Claimed>,
    /// Claims that cover something that the base does not.
    live: BTreeSet<EntryId>,
    /// What this node relies on.
    base: Option<Arc<CheckpointTable>>,
    /// The log of the snapshots that this replica is making.
    pub(super) making: Option<OwnLog>,
    /// Claims that the embedder was told of, or that this replica spoke about.
    pub(super) decided: BTreeSet<EntryId>,
    /// Claims that cannot be relied upon here: a log that they cover is forked.
    pub(super) forked: BTreeSet<EntryId>,
    /// Whether the store is being asked what lies under a claim.
    pub(super) adopting: bool,
}

impl Checkpoints {
    pub(super) fn base(&self) -> Option<&Arc<CheckpointTable>> {
        self.base.as_ref()
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.live.is_empty()
    }

    /// What the base covers of a log.
    pub(super) fn covered(&self, log: &LogId) -> Option<&Covered> {
        self.base.as_ref()?.logs.get(log)
    }

    pub(super) fn claim(&self, id: &EntryId) -> Option<&Checkpoint> {
        self.claims.get(id).map(|claimed| &claimed.claim)
    }

    pub(super) fn author(&self, id: &EntryId) -> Option<ReplicaId> {
        self.claims.get(id).map(|claimed| claimed.author)
    }

    pub(super) fn has_said(&self, id: &EntryId, replica: &ReplicaId) -> bool {
        self.claims.get(id).is_some_and(|claimed| claimed.said.contains(replica))
    }

    /// The claims that may come to be relied upon, each as a whole: the one that covers most first.
    pub(super) fn live(&self) -> Vec<Arc<CheckpointTable>> {
        let mut tables: Vec<_> = self.live.iter().filter_map(|id| self.claims.get(id)?.table.clone()).collect();
        tables.sort_by_key(|table| (u64::MAX - table.entries(), table.claim));
        tables
    }

    /// A claim as a whole.
    fn table(&self, id: &EntryId) -> Option<CheckpointTable> {
        let mut chain = Vec::new();
        let mut at = Some(*id);
        while let Some(id) = at {
            let claimed = self.claims.get(&id)?;
            chain.push(claimed);
            at = claimed.claim.previous;
        }
        let mut table = CheckpointTable { claim: *id, logs: BTreeMap::new(), documents: BTreeMap::new() };
        for claimed in chain.into_iter().rev() {
            table.logs.extend(claimed.claim.logs.iter().map(|(log, covered)| (*log, covered.clone())));
            table.documents.extend(&claimed.claim.documents);
        }
        Some(table)
    }

    fn add_claim(&mut self, id: EntryId, author: ReplicaId, claim: Checkpoint) {
        let claimed = Claimed { claim, author, said: [author].into(), table: None, lacks: None };
        self.claims.insert(id, claimed);
        self.look_at(id);
    }

    /// Whether a claim is live.
    fn look_at(&mut self, id: EntryId) {
        let is_base = self.base.as_ref().is_some_and(|base| base.claim == id);
        let table = if is_base { None } else { self.table(&id) };
        let news = |table: &CheckpointTable| self.base.as_ref().is_none_or(|base| !base.covers(table));
        let table = table.filter(news).map(Arc::new);
        if table.is_some() {
            self.live.insert(id);
        } else {
            self.live.remove(&id);
        }
        if let Some(claimed) = self.claims.get_mut(&id) {
            claimed.table = table;
        }
    }

    /// This node relies on a claim from now on.
    pub(super) fn rely_on(&mut self, id: &EntryId) -> bool {
        let Some(table) = self.table(id) else {
            return false;
        };
        self.base = Some(Arc::new(table));
        for id in self.live.clone() {
            self.look_at(id);
        }
        true
    }

    /// The snapshots of this log that some checkpoint needs, by number.
    pub(super) fn wanted(&self, log: &LogId) -> BTreeMap<u64, EntryId> {
        let live = self.live.iter().filter_map(|id| self.claims.get(id)?.table.as_ref());
        let at = live.chain(&self.base).flat_map(|table| table.documents.values());
        at.filter(|at| at.entry.log == *log).map(|at| (at.entry.seq, at.entry.head)).collect()
    }
}

impl Context {
    /// Takes notice of a control entry that is the node's own to understand. What cannot be read is of a later version, or
    /// says nothing.
    pub(super) fn note_checkpoint_op(&mut self, entry: &Entry, author: ReplicaId) {
        if !is_checkpoint_op(&entry.payload) {
            return;
        }
        self.forget_frontier(); // which snapshots are needed may be different now
        match CheckpointOp::decode(&self.info.id, &entry.payload) {
            // What a claim goes on from is among its ancestors, so that all who hold it read the same in it.
            Ok(CheckpointOp::Claim(claim))
                if claim.previous.is_none_or(|previous| self.graph.descend(&[entry.id], &previous)) =>
            {
                self.checkpoints.add_claim(entry.id, author, claim);
            }
            Ok(CheckpointOp::Attest(claim) | CheckpointOp::Waive(claim)) if self.graph.descend(&[entry.id], &claim) => {
                if let Some(claimed) = self.checkpoints.claims.get_mut(&claim) {
                    claimed.said.insert(author);
                    claimed.lacks = None;
                }
            }
            _ => {}
        }
    }

    /// Who has still to say that a claim holds before it may be relied upon: every replica that may write by all that is
    /// known, but for those that only may because of something that came after the claim. `None` where nobody can tell.
    pub(super) fn lacks(&mut self, strategy: &dyn PartitionStrategy, id: &EntryId) -> Option<BTreeSet<ReplicaId>> {
        let Self { checkpoints, graph, info, .. } = self;
        let claimed = checkpoints.claims.get_mut(id)?;
        if let Some((known, lacks)) = &claimed.lacks
            && *known == graph.len()
        {
            return lacks.clone();
        }
        let mut lacks = strategy.writers(&info.id, &graph.heads()).filter(|writers| !writers.is_empty());
        if let Some(lacks) = &mut lacks {
            lacks.retain(|writer| !claimed.said.contains(writer));
            if !lacks.is_empty() {
                let before = strategy.writers(&info.id, &graph.heads_beside(id)).unwrap_or_default();
                lacks.retain(|writer| before.contains(writer));
            }
            if planted(Bug::PrunedUnattested) {
                lacks.clear();
            }
        }
        claimed.lacks = Some((graph.len(), lacks.clone()));
        lacks
    }

    /// Whether a snapshot is one that a checkpoint needs. One that is not may be soon: its log pauses.
    pub(super) fn judge_snapshot(&self, author: &ReplicaId, start: &LogStart, tip: &Tip) -> Result<(), Halt> {
        let seq = tip.seq;
        if !start.tips.is_empty() {
            return Err(Halt::at(seq, Refusal::Invalid));
        }
        if self.checkpoints.making.is_some_and(|own| own.id == tip.log) {
            return Ok(());
        }
        let wanted = self.checkpoints.wanted(&tip.log);
        let is_wanted = wanted.last_key_value().is_some_and(|(last, _)| *last >= seq);
        if !is_wanted || self.standing.has_lost(author) && !self.is_relied_upon(&tip.log) {
            let until = Until::Control { heads: Vec::new(), were: self.graph.len() };
            return Err(Halt::until(seq, Refusal::NotNeeded, until));
        }
        match wanted.get(&seq) {
            Some(head) if *head != tip.head => Err(Halt::at(seq, Refusal::Fork)),
            _ => Ok(()),
        }
    }

    /// Whether everybody who has to says that a claim holds which names snapshots of this log.
    fn is_relied_upon(&self, log: &LogId) -> bool {
        let attested = |claimed: &&Claimed| {
            claimed.lacks.as_ref().is_some_and(|(_, lacks)| lacks.as_ref().is_some_and(BTreeSet::is_empty))
        };
        let live = self.checkpoints.live.iter().filter_map(|id| self.checkpoints.claims.get(id));
        let mut tables =
            live.filter(attested).filter_map(|claimed| claimed.table.as_ref()).chain(&self.checkpoints.base);
        tables.any(|table| table.documents.values().any(|at| at.entry.log == *log))
    }

    /// Whether a log's entries may be sent: snapshots only once a claim names them, or nobody would take them.
    pub(super) fn may_send_snapshots(&self, log: &LogId, state: &Log) -> bool {
        state.record.sort != LogSort::Snapshot || !self.checkpoints.wanted(log).is_empty()
    }

    /// Whether all snapshots that a checkpoint rests on are in the store.
    pub(super) fn holds_snapshots(&self, table: &CheckpointTable) -> bool {
        let held = |at: &SnapshotAt| self.logs.get(&at.entry.log).is_some_and(|log| log.durable >= at.entry.seq);
        table.documents.values().all(held)
    }

    /// Whether everything that a checkpoint covers is in the store, or was covered before, and counts.
    pub(super) fn holds_covered(&self, table: &CheckpointTable) -> bool {
        table.logs.iter().all(|(log, covered)| {
            let state = self.logs.get(log);
            state.is_some_and(|state| {
                state.durable >= covered.seq() && state.cap >= covered.seq() && !self.excluding.contains(log)
            })
        })
    }

    /// The logs of snapshots that no checkpoint needs any more.
    pub(super) fn unwanted_snapshots(&self) -> Vec<LogId> {
        let of_snapshots = self.logs.iter().filter(|(_, log)| log.record.sort == LogSort::Snapshot);
        let unwanted = of_snapshots.filter(|(id, _)| {
            self.checkpoints.making.is_none_or(|own| own.id != **id) && self.checkpoints.wanted(id).is_empty()
        });
        unwanted.map(|(id, _)| *id).collect()
    }

    /// Whether this replica holds nothing of others': it was just set up, or lost everything.
    pub(super) fn is_fresh(&self, own: &ReplicaId) -> bool {
        let of_others = |log: &Log| log.record.sort == LogSort::Data && log.record.replica() != *own;
        self.checkpoints.base.is_none() && !self.logs.values().any(of_others)
    }
}
