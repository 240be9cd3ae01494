//! What the control entries of a context say about checkpoints: which claims there are, who attested them, which of them
//! this node relies on.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};

use partita_core::{
    Checkpoint, CheckpointOp, Covered, DocumentId, Entry, EntryId, LogId, LogSort, LogStart, PartitionStrategy,
    Refusal, ReplicaId, SnapshotAt, Tip, is_checkpoint_op,
    planted::{Bug, planted},
};

use super::{
    context::{Context, Log, OwnLog, Successor},
    link::{Halt, Until},
    status::ClaimStatus,
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
    /// Every covered entry that is in no snapshot, since its bytes are bad.
    pub bad: BTreeSet<(LogId, u64, EntryId)>,
}

impl CheckpointTable {
    fn entries(&self) -> u64 {
        self.logs.values().map(Covered::seq).fold(0, u64::saturating_add)
    }

    /// About how many bytes it takes in memory. Whoever makes a claim chooses how much a log says that it knew.
    fn bytes(&self) -> usize {
        let of_log = |covered: &Covered| {
            let ids = covered.heads.len() + covered.knew.len();
            LogId::LEN + size_of::<Covered>() + ids * EntryId::LEN + covered.start.tips.len() * size_of::<Tip>()
        };
        self.logs.values().map(of_log).sum::<usize>()
            + self.documents.len() * size_of::<(DocumentId, SnapshotAt)>()
            + self.bad.len() * size_of::<(LogId, u64, EntryId)>()
    }
}

/// Whether one says that everything is covered that the other one does.
fn covers(one: &BTreeMap<LogId, Covered>, other: &BTreeMap<LogId, Covered>) -> bool {
    other.iter().all(|(log, covered)| {
        let own = one.get(log);
        own.is_some_and(|own| own.seq() > covered.seq() || own.last.tip == covered.last.tip)
    })
}

/// What a node relies on: one checkpoint, or several that were made side by side, of which each covers something that no
/// other does. Together they stand for what any of them covers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckpointBase {
    parts: Vec<Arc<CheckpointTable>>,
    logs: BTreeMap<LogId, Covered>,
    documents: BTreeMap<DocumentId, Vec<Tip>>,
    bad: BTreeMap<(LogId, u64), EntryId>,
}

impl CheckpointBase {
    fn of(mut parts: Vec<Arc<CheckpointTable>>) -> Self {
        parts.sort_by_key(|part| part.claim);
        let mut base = Self::default();
        for part in &parts {
            for (log, covered) in &part.logs {
                let known = base.logs.entry(*log).or_insert_with(|| covered.clone());
                if known.seq() < covered.seq() {
                    known.clone_from(covered);
                }
            }
            base.bad.extend(part.bad.iter().map(|(log, seq, id)| ((*log, *seq), *id)));
            for (document, at) in &part.documents {
                let snapshots = base.documents.entry(*document).or_default();
                if !snapshots.contains(&at.entry) {
                    snapshots.push(at.entry);
                }
            }
        }
        base.parts = parts;
        base
    }

    /// The claims, by rising id.
    pub fn claims(&self) -> Vec<EntryId> {
        self.parts.iter().map(|part| part.claim).collect()
    }

    /// Every log that is covered.
    pub fn logs(&self) -> &BTreeMap<LogId, Covered> {
        &self.logs
    }

    /// The last entry of a log that is covered; 0 when none is.
    pub fn seq(&self, log: &LogId) -> u64 {
        self.logs.get(log).map_or(0, Covered::seq)
    }

    /// The covered entries whose bytes are bad.
    pub(super) fn bad(&self) -> impl Iterator<Item = (LogId, u64, EntryId)> {
        self.bad.iter().map(|((log, seq), id)| (*log, *seq, *id))
    }

    /// The documents that have snapshots.
    pub fn documents(&self) -> impl Iterator<Item = &DocumentId> {
        self.documents.keys()
    }

    /// The snapshots of a document, which it is made from together.
    pub fn snapshots(&self, document: &DocumentId) -> &[Tip] {
        self.documents.get(document).map_or(&[], |snapshots| snapshots)
    }

    /// Whether everything is covered that a claim covers.
    pub fn covers(&self, table: &CheckpointTable) -> bool {
        covers(&self.logs, &table.logs)
    }

    /// Whether a claim covers everything that is covered here.
    pub fn is_covered_by(&self, table: &CheckpointTable) -> bool {
        covers(&table.logs, &self.logs)
    }

    /// How many bytes of payload are needed of each log of snapshots.
    pub(super) fn needed(&self) -> BTreeMap<LogId, u64> {
        let all = self.parts.iter().flat_map(|part| part.documents.values());
        let each: BTreeMap<Tip, u64> = all.map(|at| (at.entry, at.len)).collect();
        let mut needed = BTreeMap::new();
        for (tip, len) in each {
            *needed.entry(tip.log).or_default() += len;
        }
        needed
    }

    pub(super) fn parts(&self) -> &[Arc<CheckpointTable>] {
        &self.parts
    }
}

/// A claim, and who says that it holds.
#[derive(Debug)]
struct Claimed {
    claim: Checkpoint,
    author: ReplicaId,
    /// How many claims came before it. Later ones of an author cover more, if it is honest.
    number: usize,
    said: BTreeSet<ReplicaId>,
    /// As a whole, while it may still be relied upon.
    table: Option<Arc<CheckpointTable>>,
    /// How many bytes it takes as a whole, once it was looked at: that never changes.
    bytes: Option<usize>,
    /// The writers that have not said it, when the graph had so many entries; `None` when the strategy has no checkpoints.
    lacks: Option<(usize, Option<BTreeSet<ReplicaId>>)>,
}

/// How many claims of one author are looked at together, those first that most say hold, and the latest of these: each takes the
/// room of all that it stands for. While some wait, a new one is made of as much news again as the last was, so an honest author
/// has fewer that wait; who begins with nothing needs the last alone.
const MOST_LIVE: usize = 64;

/// About how many bytes these may take together, beside the first one, which is looked at however large it is. A claim says only
/// what is new since another, of anybody's, so a few hundred bytes in the store can stand for a table of megabytes: without this,
/// 64 claims that go on from one of 10,000 logs (some 3 MB) would take 200 MB of each author, and a member can have many devices.
/// With it a context takes this for each author at most, and what the store has of its claims once more. A few honest devices
/// stay far below: a context of 100 logs and 1,000 documents has some 150 KB for each claim that waits.
const MOST_LIVE_BYTES: usize = 32 << 20;

/// The snapshots of each log that some checkpoint needs, by number.
type Wanted = BTreeMap<LogId, BTreeMap<u64, BTreeSet<EntryId>>>;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    claims: BTreeMap<EntryId, Claimed>,
    /// Claims that cover something that the base does not, [so many](MOST_LIVE) and [so large](MOST_LIVE_BYTES) of each author.
    live: BTreeSet<EntryId>,
    /// Claims that are not looked at, because too many of their author's are, or because the base is not known yet.
    passed_over: BTreeSet<EntryId>,
    /// Claims that the base goes on from, and those that it is made of: nothing of them is news any more.
    settled: BTreeSet<EntryId>,
    /// What [`wanted`](Self::wanted) says, until something changes: every snapshot asks.
    wanted: OnceLock<Wanted>,
    /// What this node relies on.
    base: Arc<CheckpointBase>,
    /// The log of the snapshots that this replica is making.
    pub(super) making: Option<OwnLog>,
    /// Claims that the embedder was told of, or that this replica spoke about.
    pub(super) decided: BTreeSet<EntryId>,
    /// Those among them that could not be compared, for want of a key.
    pub(super) postponed: BTreeSet<EntryId>,
    /// Those among them that do not hold.
    pub(super) rejected: BTreeSet<EntryId>,
    /// Claims that cannot be relied upon here: a log that they cover is forked.
    pub(super) forked: BTreeSet<EntryId>,
    /// Whether the store is being asked what lies under a claim.
    pub(super) adopting: bool,
    /// Whether all claims in the store are here, and what is relied upon is known. Before that each would be looked at once more
    /// than it takes.
    is_replayed: bool,
}

impl Checkpoints {
    pub(super) fn base(&self) -> &Arc<CheckpointBase> {
        &self.base
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.live.is_empty()
    }

    /// What the base covers of a log.
    pub(super) fn covered(&self, log: &LogId) -> Option<&Covered> {
        self.base.logs.get(log)
    }

    pub(super) fn author(&self, id: &EntryId) -> Option<ReplicaId> {
        self.claims.get(id).map(|claimed| claimed.author)
    }

    pub(super) fn has_said(&self, id: &EntryId, replica: &ReplicaId) -> bool {
        self.claims.get(id).is_some_and(|claimed| claimed.said.contains(replica))
    }

    /// The claims that may come to be relied upon, each as a whole: the one that covers most first.
    pub(super) fn live(&self) -> Vec<Arc<CheckpointTable>> {
        let mut tables: Vec<_> = self.candidates().cloned().collect();
        tables.sort_by_cached_key(|table| (u64::MAX - table.entries(), table.claim));
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
        let (logs, documents, bad) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        let mut table = CheckpointTable { claim: *id, logs, documents, bad };
        for claimed in chain.into_iter().rev() {
            let Checkpoint { logs, documents, bad, .. } = &claimed.claim;
            // Of what it covers beyond the one before: only that is compared by whoever relied on that one.
            let is_news = |(log, seq, _): &&(LogId, u64, EntryId)| {
                let before = table.logs.get(log).map_or(0, Covered::seq);
                *seq > before && logs.get(log).is_some_and(|covered| *seq <= covered.seq())
            };
            table.bad.extend(bad.iter().filter(is_news));
            table.logs.extend(logs.iter().map(|(log, covered)| (*log, covered.clone())));
            table.documents.extend(documents);
        }
        Some(table)
    }

    fn add_claim(&mut self, id: EntryId, author: ReplicaId, claim: Checkpoint) {
        let number = self.claims.len();
        let claimed = Claimed { claim, author, number, said: [author].into(), table: None, bytes: None, lacks: None };
        self.claims.insert(id, claimed);
        self.passed_over.insert(id);
        if self.is_replayed {
            self.look_at(id);
        }
    }

    /// The claims that may still come to be relied upon.
    fn candidates(&self) -> impl Iterator<Item = &Arc<CheckpointTable>> {
        self.live.iter().filter_map(|id| self.claims.get(id)?.table.as_ref())
    }

    pub(super) fn status(&self) -> Vec<ClaimStatus> {
        let status = |table: &Arc<CheckpointTable>| {
            let claimed = self.claims.get(&table.claim)?;
            let lacks = claimed.lacks.as_ref().and_then(|(_, lacks)| lacks.as_ref());
            let lacks = lacks.into_iter().flatten().copied().collect();
            let refuted = self.rejected.contains(&table.claim);
            Some(ClaimStatus { claim: table.claim, author: claimed.author, lacks, refuted })
        };
        self.candidates().filter_map(status).collect()
    }

    /// The claims of which nothing is known that speaks against them, and that do not wait for any of these.
    pub(super) fn hopeful(&self, dormant: &BTreeSet<ReplicaId>) -> impl Iterator<Item = &Arc<CheckpointTable>> {
        let waits_for = |id: &EntryId| {
            let lacks = self.claims.get(id).and_then(|claimed| claimed.lacks.as_ref()?.1.as_ref());
            lacks.is_some_and(|lacks| !lacks.is_disjoint(dormant))
        };
        self.candidates().filter(move |table| !self.rejected.contains(&table.claim) && !waits_for(&table.claim))
    }

    /// Which claims are looked at first.
    fn rank(&self, id: &EntryId) -> (usize, usize) {
        self.claims.get(id).map_or((0, 0), |claimed| (claimed.said.len(), claimed.number))
    }

    fn bytes(&self, id: &EntryId) -> Option<usize> {
        self.claims.get(id)?.bytes
    }

    /// The claims of an author that are looked at, each with its rank and its bytes: the first one first.
    fn live_of(&self, author: Option<ReplicaId>) -> Vec<((usize, usize), EntryId, usize)> {
        let of_author = self.live.iter().filter(|id| self.author(id) == author);
        let mut of_author: Vec<_> = of_author.map(|id| (self.rank(id), *id, self.bytes(id).unwrap_or(0))).collect();
        of_author.sort_unstable_by_key(|live| Reverse(*live));
        of_author
    }

    /// Looks at a claim from now on if it may come to be relied upon, and if not too many of its author's come before it.
    fn look_at(&mut self, id: EntryId) {
        let (author, rank) = (self.author(&id), self.rank(&id));
        let before = self.live_of(author).into_iter().filter(|(other, live, _)| *live != id && *other > rank);
        let (many, much) = before.fold((0, 0), |(many, much), (.., bytes)| (many + 1, much + bytes));
        let has_room = |bytes: usize| many == 0 || (many < MOST_LIVE && much + bytes <= MOST_LIVE_BYTES);
        // What it takes is known only of those that were looked at before: many may have to be passed over again.
        if !has_room(self.bytes(&id).unwrap_or(0)) {
            return self.pass_over(id);
        }
        let is_news = |table: &CheckpointTable| !self.base.covers(table);
        let table = (!self.settled.contains(&id)).then(|| self.table(&id)).flatten().filter(is_news).map(Arc::new);
        let bytes = table.as_ref().map(|table| table.bytes());
        if let Some(claimed) = self.claims.get_mut(&id) {
            claimed.bytes = bytes.or(claimed.bytes);
        }
        if bytes.is_some_and(|bytes| !has_room(bytes)) {
            return self.pass_over(id);
        }
        self.passed_over.remove(&id);
        self.wanted = OnceLock::new();
        if table.is_some() {
            self.live.insert(id);
        } else {
            self.live.remove(&id);
        }
        if let Some(claimed) = self.claims.get_mut(&id) {
            claimed.table = table;
        }
        // Others of the author's that come after it have to make room.
        let (mut many, mut much) = (0, 0);
        for (_, live, bytes) in self.live_of(author) {
            (many, much) = (many + 1, much + bytes);
            if many > 1 && (many > MOST_LIVE || much > MOST_LIVE_BYTES) {
                self.pass_over(live);
            }
        }
    }

    fn pass_over(&mut self, id: EntryId) {
        self.wanted = OnceLock::new();
        self.live.remove(&id);
        self.passed_over.insert(id);
        if let Some(claimed) = self.claims.get_mut(&id) {
            claimed.table = None;
        }
    }

    /// Looks at all claims anew, now that more is known of what is relied upon.
    pub(super) fn look_at_all(&mut self) {
        self.is_replayed = true;
        let mut all: Vec<EntryId> = self.live.iter().chain(&self.passed_over).copied().collect();
        all.sort_by_key(|id| Reverse(self.rank(id)));
        for id in all {
            self.look_at(id);
        }
    }

    /// This node relies on a claim from now on, and on what was relied upon before, where that covers more.
    pub(super) fn rely_on(&mut self, id: &EntryId) -> bool {
        let Some(table) = self.table(id) else {
            return false;
        };
        let beside = self.base.parts.iter().filter(|part| !covers(&table.logs, &part.logs)).cloned();
        let mut parts: Vec<_> = beside.collect();
        parts.push(Arc::new(table));
        self.base = Arc::new(CheckpointBase::of(parts));
        let mut at = Some(*id);
        while let Some(id) = at.filter(|id| self.settled.insert(*id)) {
            at = self.claims.get(&id).and_then(|claimed| claimed.claim.previous);
        }
        self.wanted = OnceLock::new();
        true
    }

    /// The snapshots of this log that some checkpoint needs, by number. Of one number there may be several: whoever claims that
    /// another's log has other snapshots must not keep those away that it has.
    pub(super) fn wanted(&self, log: &LogId) -> Option<&BTreeMap<u64, BTreeSet<EntryId>>> {
        let wanted = self.wanted.get_or_init(|| {
            let at = self.candidates().chain(&self.base.parts).flat_map(|table| table.documents.values());
            let mut wanted = Wanted::new();
            for SnapshotAt { entry, .. } in at {
                wanted.entry(entry.log).or_default().entry(entry.seq).or_default().insert(entry.head);
            }
            wanted
        });
        wanted.get(log)
    }

    /// Whether some checkpoint needs a snapshot of this log, at this number or behind it.
    pub(super) fn wants(&self, log: &LogId, seq: u64) -> bool {
        let last = self.wanted(log).and_then(BTreeMap::last_key_value);
        last.is_some_and(|(last, _)| *last >= seq)
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
            Ok(CheckpointOp::Attest(claim)) if self.graph.descend(&[entry.id], &claim) => {
                if let Some(claimed) = self.checkpoints.claims.get_mut(&claim) {
                    claimed.said.insert(author);
                    claimed.lacks = None;
                }
                if self.checkpoints.is_replayed && self.checkpoints.passed_over.contains(&claim) {
                    self.checkpoints.look_at(claim);
                }
            }
            _ => {}
        }
    }

    /// Who has still to say that a claim holds before it may be relied upon: every replica that may write by all that is
    /// known, but for those that only may because of something that came after the claim, and those that were dormant when it
    /// was made. `None` where nobody can tell.
    ///
    /// Whoever is dormant itself relies on the word of somebody who may still write, and compares otherwise: a thief's word alone
    /// must not take what it holds. Others rely on what was relied upon, also when those who said it have gone since.
    pub(super) fn lacks(
        &mut self,
        strategy: &dyn PartitionStrategy,
        id: &EntryId,
        replica: &ReplicaId,
    ) -> Option<BTreeSet<ReplicaId>> {
        let Self { checkpoints, graph, info, .. } = self;
        let claimed = checkpoints.claims.get_mut(id)?;
        if let Some((known, lacks)) = &claimed.lacks
            && *known == graph.len()
        {
            return lacks.clone();
        }
        let mut lacks = strategy.writers(&info.id, &graph.heads()).filter(|writers| !writers.is_empty());
        if let Some(lacks) = &mut lacks {
            let stands_for = lacks.iter().any(|writer| claimed.said.contains(writer));
            lacks.retain(|writer| !claimed.said.contains(writer));
            if !lacks.is_empty() {
                let beside = graph.heads_beside(id);
                let before = strategy.writers(&info.id, &beside).unwrap_or_default();
                // A return ends dormancy also for claims beside it, or one that names old heads on purpose could do without
                // whoever is back.
                let declared = strategy.dormant(&info.id, &[*id]);
                let away = strategy.dormant(&info.id, &beside);
                let trusts = |writer: &ReplicaId| stands_for || writer != replica;
                let is_dormant =
                    |writer: &ReplicaId| declared.contains(writer) && away.contains(writer) && trusts(writer);
                lacks.retain(|writer| before.contains(writer) && !is_dormant(writer));
                if planted(Bug::DormantAtOnce) {
                    let dormant = strategy.dormant(&info.id, &graph.heads());
                    lacks.retain(|writer| !dormant.contains(writer));
                }
            }
            if planted(Bug::PrunedUnattested) {
                lacks.clear();
            }
        }
        claimed.lacks = Some((graph.len(), lacks.clone()));
        lacks
    }

    /// Whether a snapshot is one that a checkpoint needs. One that is not may be soon: its log pauses.
    pub(super) fn judge_snapshot(&self, start: &LogStart, tip: &Tip) -> Result<(), Halt> {
        let seq = tip.seq;
        if !start.tips.is_empty() {
            return Err(Halt::at(seq, Refusal::Invalid));
        }
        if self.checkpoints.making.is_some_and(|own| own.id == tip.log) {
            return Ok(());
        }
        if !self.checkpoints.wants(&tip.log, seq) {
            return Err(Halt::until(seq, Refusal::NotNeeded, Until::Wanted));
        }
        match self.checkpoints.wanted(&tip.log).and_then(|wanted| wanted.get(&seq)) {
            Some(heads) if !heads.contains(&tip.head) => Err(Halt::at(seq, Refusal::Fork)),
            _ => Ok(()),
        }
    }

    /// Whether a log's entries may be sent: snapshots only once a claim names them, or nobody would take them.
    pub(super) fn may_send_snapshots(&self, log: &LogId, state: &Log) -> bool {
        state.record.sort != LogSort::Snapshot || self.checkpoints.wanted(log).is_some()
    }

    /// Whether all snapshots that a checkpoint rests on are in the store.
    pub(super) fn holds_snapshots(&self, table: &CheckpointTable) -> bool {
        let held = |at: &SnapshotAt| self.logs.get(&at.entry.log).is_some_and(|log| log.durable >= at.entry.seq);
        table.documents.values().all(held)
    }

    /// Whether a log is held so far, counts so far, and is not being cut back.
    pub(super) fn counts(&self, log: &LogId, seq: u64) -> bool {
        let counting = self.logs.get(log).map_or(0, |state| state.record.seq.min(state.cap));
        counting >= seq && !self.excluding.contains(log)
    }

    /// Whether everything that a checkpoint covers is in the store, or was covered before, and counts.
    pub(super) fn holds_covered(&self, table: &CheckpointTable) -> bool {
        let is_durable = |log, seq| self.logs.get(log).is_some_and(|state| state.durable >= seq);
        table.logs.iter().all(|(log, at)| self.counts(log, at.seq()) && is_durable(log, at.seq()))
    }

    /// Whether a claim can be true. What it covers are logs of documents: control entries are never pruned. Each that is held
    /// began as it says, goes on from logs of its author alone, and has the entry that was covered before at the number that it
    /// had.
    pub(super) fn is_possible(&self, table: &CheckpointTable) -> bool {
        table.logs.iter().all(|(log, covered)| {
            let record = |log: &LogId| self.logs.get(log).map(|state| &state.record);
            let is_its_authors = |tip: &Tip| {
                record(&tip.log)
                    .is_none_or(|state| state.sort == LogSort::Data && state.replica() == covered.start.replica)
            };
            let base = self.checkpoints.covered(log).map(|base| base.last.tip);
            record(log).is_none_or(|held| held.sort == LogSort::Data && held.start == covered.start)
                && covered.start.tips.iter().all(is_its_authors)
                && base.is_none_or(|base| (base.seq == covered.seq()) == (base.head == covered.last.tip.head))
        })
    }

    /// Whether what the logs go on from that a claim covers is held, covered too, or cut off. What a log's first entry names drops
    /// out of the frontier, and whoever makes a claim says what it names.
    fn reaches_predecessors(&self, table: &CheckpointTable) -> bool {
        table.logs.values().all(|covered| {
            let LogStart { replica, tips, .. } = &covered.start;
            let of = || Successor { author: *replica, sort: LogSort::Data, knew: covered.knew.clone() };
            let is_covered = |tip: &Tip| table.logs.get(&tip.log).is_some_and(|before| before.seq() >= tip.seq);
            tips.iter().all(|tip| is_covered(tip) || self.holds_or_cut(tip, &of()))
        })
    }

    /// Whether a checkpoint may be relied upon: everybody said that it holds, and nothing that it covers is being cut back.
    pub(super) fn may_rely_on(
        &mut self,
        strategy: &dyn PartitionStrategy,
        table: &CheckpointTable,
        replica: &ReplicaId,
    ) -> bool {
        let is_attested = self.lacks(strategy, &table.claim, replica).is_some_and(|lacks| lacks.is_empty());
        is_attested
            && !table.logs.keys().any(|log| self.excluding.contains(log))
            && self.is_possible(table)
            && self.reaches_predecessors(table)
    }

    /// The logs of snapshots that no checkpoint needs any more.
    pub(super) fn unwanted_snapshots(&self) -> Vec<LogId> {
        let of_snapshots = self.logs.iter().filter(|(_, log)| log.record.sort == LogSort::Snapshot);
        let unwanted = of_snapshots.filter(|(id, _)| {
            self.checkpoints.making.is_none_or(|own| own.id != **id) && self.checkpoints.wanted(id).is_none()
        });
        unwanted.map(|(id, _)| *id).collect()
    }
}
