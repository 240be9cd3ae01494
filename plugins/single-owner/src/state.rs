//! One context, as its control entries say: what devices and relays share.

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};

use partita_core::{
    Access, Claim, ContextId, ContextInfo, ControlEntry, EntryId, Refusal, ReplicaId, Standing, StrategyError, Verdict,
    codec::DecodeError, is_checkpoint_op,
};

use crate::{
    epoch::Place,
    held::{AllHeld, Held, Seen},
    modes::Mode,
    op::{Op, Payload},
    resolve::{DeviceStanding, Resolved, resolve},
};

/// The control entries of a context and what follows from them.
#[derive(Debug)]
pub(crate) struct ContextState {
    id: ContextId,
    /// Known to a relay once something owner-signed has come.
    mode: Option<Mode>,
    held: AllHeld,
    /// Recomputed when it is asked for after a change: a restart brings thousands of entries before the first question.
    resolved: OnceLock<Resolved>,
}

impl ContextState {
    pub(crate) fn new(id: ContextId, mode: Option<Mode>) -> Self {
        Self { id, mode, held: AllHeld::new(), resolved: OnceLock::new() }
    }

    /// Whether this is the context of that id and kind.
    pub(crate) fn is(&self, info: &ContextInfo) -> bool {
        self.id == info.id && self.mode.is_some() && self.mode == Mode::named(&info.kind)
    }

    pub(crate) fn resolved(&self) -> &Resolved {
        self.resolved.get_or_init(|| resolve(&self.held))
    }

    pub(crate) fn standing(&self) -> Standing {
        self.resolved().standing.clone()
    }

    /// What the node itself understands has no ops for a strategy.
    fn read(&self, author: &ReplicaId, payload: &[u8]) -> Result<Payload, DecodeError> {
        if is_checkpoint_op(payload) {
            return Ok(Payload { mode: None, ops: Vec::new() });
        }
        Payload::decode(&self.id, author, payload)
    }

    /// The devices that are certified, and neither revoked nor retired, by what these entries have seen.
    pub(crate) fn writers(&self, heads: &[EntryId]) -> BTreeSet<ReplicaId> {
        let seen = self.seen_by(heads);
        seen.certified.difference(&seen.lost).copied().collect()
    }

    /// The devices for which nobody waits by what these entries have seen.
    pub(crate) fn dormant(&self, heads: &[EntryId]) -> BTreeSet<ReplicaId> {
        self.seen_by(heads).away.replicas()
    }

    fn seen_by(&self, heads: &[EntryId]) -> Arc<Seen> {
        Seen::union(heads.iter().filter_map(|head| self.held.get(head)).map(|entry| &entry.seen))
    }

    /// Takes a control entry; the entry as held, or `None` when it was held before.
    pub(crate) fn insert(&mut self, entry: &ControlEntry<'_>) -> Result<Option<&Held>, StrategyError> {
        if self.held.contains_key(&entry.id) {
            return Ok(None);
        }
        let payload = self
            .read(&entry.author, entry.payload)
            .map_err(|error| StrategyError(format!("not a control entry of a single owner: {error}")))?;
        let mut parents: Vec<EntryId> = entry.parents.iter().filter(|id| **id != EntryId::NONE).copied().collect();
        parents.sort_unstable();
        parents.dedup();
        if parents.iter().any(|parent| !self.held.contains_key(parent)) {
            return Err(StrategyError("a control entry came before its parents".into()));
        }
        self.mode = self.mode.or(payload.mode);
        let place = Place { context: self.id, author: entry.author };
        let held = Held::new(&self.held, place, (entry.header.log, entry.header.seq), &parents, payload.ops);
        self.resolved = OnceLock::new();
        Ok(Some(self.held.entry(entry.id).or_insert(held)))
    }

    /// The verdict on an entry: it rests on its header, its payload if it is a control entry, and what the ancestors of
    /// its heads say. Nothing that comes later can change it.
    pub(crate) fn authorize(&self, claim: &Claim<'_>) -> Verdict {
        let missing: Vec<EntryId> = claim.heads.iter().filter(|head| !self.held.contains_key(head)).copied().collect();
        if !missing.is_empty() {
            return Verdict::Undecided(missing);
        }
        let payload = match claim.control.map(|payload| self.read(&claim.author, payload)).transpose() {
            Ok(payload) => payload,
            Err(_) => return Verdict::Excluded(Refusal::Invalid),
        };
        let ops = payload.as_ref().map_or(&[][..], |payload| &payload.ops);
        // The log's previous control entry is an ancestor, though its author may leave it out of the heads.
        let previous = payload.as_ref().map(|_| &claim.header.backlink);
        let (mut certified, mut lost) = (certifies(ops, &claim.author), false);
        for entry in claim.heads.iter().chain(previous).filter_map(|id| self.held.get(id)) {
            certified |= entry.seen.certified.contains(&claim.author);
            lost |= entry.seen.lost.contains(&claim.author);
        }
        if !certified {
            return Verdict::Excluded(Refusal::Denied);
        }
        if !ops.is_empty() && ops.iter().all(Op::is_owner_signed) {
            // The owner's word counts, whichever of its devices says it. Anybody else could say an old one again, in any number
            // of entries.
            return Verdict::Accept;
        }
        if lost {
            return Verdict::Excluded(Refusal::Revoked);
        }
        // Whoever is certified was certified by this context's owner, so by now its mode is known.
        let mode = self.mode.or(payload.as_ref().and_then(|payload| payload.mode));
        let fits = match (mode, claim.control) {
            (Some(Mode::Sealed), None) => claim.epoch.is_some(),
            (Some(Mode::Plain), None) => claim.epoch.is_none(),
            (Some(Mode::Plain), Some(_)) => !ops.iter().any(|op| matches!(op, Op::Epoch(_) | Op::Share(_))),
            _ => true,
        };
        if fits { Verdict::Accept } else { Verdict::Excluded(Refusal::Invalid) }
    }
}

/// What a remote with this right may do. A retired device gets nothing more, but may still bring what it wrote before:
/// its retirement, a control entry, arrives ahead of its last data.
pub(crate) fn access(loss: Option<DeviceStanding>, right: Option<Access>) -> Access {
    match (loss, right) {
        (Some(DeviceStanding::Revoked), _) => Access::Refused(Refusal::Revoked),
        (Some(DeviceStanding::Retired), Some(right)) if right.writes() => Access::Write,
        (Some(DeviceStanding::Retired), _) => Access::Refused(Refusal::Revoked),
        (_, Some(right)) => right,
        (_, None) => Access::Refused(Refusal::Denied),
    }
}

fn certifies(ops: &[Op], author: &ReplicaId) -> bool {
    ops.iter().any(|op| matches!(op, Op::Certify(certificate) if certificate.device() == *author))
}
