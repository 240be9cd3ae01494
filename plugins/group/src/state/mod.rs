//! One group, as its control entries say: what members and relays share.

mod joining;
mod keys;
mod losses;
mod verdict;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use partita_core::{
    ContextId, ControlEntry, EntryId, ReplicaId, Signature, Standing, StrategyError, Tip, is_checkpoint_op,
};

use crate::{
    bits::Bits,
    epochs::Epochs,
    genesis::Policy,
    ledger::Ledger,
    op::{Op, Payload},
    resolve::{Resolution, Resolver, resolve, resolve_on},
    role::Role,
    view::View,
};

/// How many resolutions of earlier states are kept: entries that rest on the same control heads ask for the same one.
const KEPT: usize = 16;

/// What a set of control entries amounts to.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) resolution: Resolution,
    view: OnceLock<View>,
}

/// A device that joined by an invitation and waits for a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Waiting {
    pub(crate) device: ReplicaId,
    pub(crate) invite: ReplicaId,
    /// Nobody confirms it by itself: another used the same invitation, or it has ended.
    pub(crate) contested: bool,
}

/// The control entries of a group and what follows from them.
#[derive(Debug)]
pub(crate) struct State {
    id: ContextId,
    pub(crate) ledger: Ledger,
    pub(crate) epochs: Epochs,
    /// The entries that vouch, with those authors whose loss each answers.
    vouching: Vec<(usize, BTreeSet<ReplicaId>)>,
    /// What entries list of how far logs count, whether or not they do.
    listed: Arc<BTreeMap<Tip, Signature>>,
    current: OnceLock<Arc<Resolved>>,
    standing: OnceLock<Standing>,
    earlier: Mutex<Vec<Arc<Resolved>>>,
    /// Who opened the context by an invitation, and by which. Never a right by itself: the invitation is looked at each time.
    guests: BTreeMap<ReplicaId, ReplicaId>,
    /// The payload that was read last: each is asked about twice, and its signatures cost.
    last: Mutex<Option<Arc<Payload>>>,
}

impl State {
    pub(crate) fn new(id: ContextId) -> Self {
        Self {
            id,
            ledger: Ledger::new(id),
            epochs: Epochs::default(),
            vouching: Vec::new(),
            listed: Arc::default(),
            current: OnceLock::new(),
            standing: OnceLock::new(),
            earlier: Mutex::default(),
            guests: BTreeMap::new(),
            last: Mutex::default(),
        }
    }

    /// Whether the group's beginning is not here: nothing can be said about anybody.
    pub(crate) fn is_empty(&self) -> bool {
        self.ledger.policy.is_none()
    }

    pub(crate) fn policy(&self) -> Policy {
        self.ledger.policy.unwrap_or_default()
    }

    fn current(&self) -> &Arc<Resolved> {
        self.current.get_or_init(|| Arc::new(Resolved::new(&self.ledger, self.ledger.all.clone())))
    }

    /// What all held control entries amount to.
    pub(crate) fn view(&self) -> &View {
        self.current().view(&self.ledger)
    }

    pub(crate) fn resolver(&self) -> Resolver<'_> {
        Resolver { ledger: &self.ledger, resolution: &self.current().resolution }
    }

    /// What a set of membership entries amounts to, which holds the ancestors of each.
    fn resolved_at(&self, set: &Bits) -> Arc<Resolved> {
        if *set == self.ledger.all {
            return self.current().clone();
        }
        // Poison means that a thread died while it held the lock; a list of finished answers cannot be half right.
        let mut earlier = self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = earlier.iter().position(|one| one.resolution.set == *set) {
            let found = earlier.remove(at);
            earlier.push(found.clone());
            return found;
        }
        drop(earlier);
        let found = Arc::new(Resolved::new(&self.ledger, set.clone()));
        self.keep(found.clone());
        found
    }

    fn keep(&self, before: Arc<Resolved>) {
        // Poison: see above.
        let mut earlier = self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        if earlier.len() >= KEPT {
            earlier.remove(0);
        }
        earlier.push(before);
    }

    /// The membership entry at this place is the latest: what all amount to goes on from what it was, where that is possible.
    fn go_on(&mut self, at: usize) {
        let Some(mut before) = self.current.take() else {
            return;
        };
        if let Some(resolution) = resolve_on(&self.ledger, &before.resolution, at) {
            // The view goes on with the group; what rests on the earlier state asks for who may do what alone.
            let view = Arc::get_mut(&mut before).and_then(|before| before.view.take());
            let view = view.and_then(|view| view.with(&self.ledger, &resolution, at));
            let view = view.map_or_else(OnceLock::new, OnceLock::from);
            self.current = OnceLock::from(Arc::new(Resolved { resolution, view }));
        }
        self.keep(before);
    }

    fn read(&self, payload: &[u8]) -> Result<Arc<Payload>, partita_core::codec::DecodeError> {
        if is_checkpoint_op(payload) {
            return Ok(Arc::new(Payload::without_ops())); // the node's own to understand
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = last.as_ref().filter(|known| known.raw == payload) {
            return Ok(known.clone());
        }
        let read = Arc::new(Payload::decode(&self.id, payload)?);
        *last = Some(read.clone());
        Ok(read)
    }

    /// Takes a control entry; its place, or `None` when it was held before.
    pub(crate) fn insert(&mut self, entry: &ControlEntry<'_>) -> Result<Option<usize>, StrategyError> {
        if self.ledger.contains(&entry.id) {
            return Ok(None);
        }
        let payload = self
            .read(entry.payload)
            .map_err(|error| StrategyError(format!("not a control entry of a group: {error}")))?;
        let mut parents: Vec<EntryId> = entry.parents.iter().filter(|id| **id != EntryId::NONE).copied().collect();
        parents.sort_unstable();
        parents.dedup();
        if parents.iter().any(|parent| !self.ledger.contains(parent)) {
            return Err(StrategyError("a control entry came before its parents".into()));
        }
        let place = (entry.header.log, entry.header.seq);
        // Asked only where it matters: as at the verdict, by what the entry's ancestors say.
        let is_admin = payload.ops.iter().any(|op| matches!(op, Op::Dormant(_)))
            && self.role_at(&parents, &entry.author) == Some(Role::Admin);
        let author = (entry.author, is_admin);
        let at = self.ledger.insert(entry.id, author, place, entry.header.time, parents, payload);
        self.standing = OnceLock::new();
        if self.ledger.entry(at).is_some_and(|held| held.number.is_some()) {
            self.go_on(at);
        }
        let Some(held) = self.ledger.entry(at) else {
            return Ok(None);
        };
        if held.ops().iter().any(|op| matches!(op, Op::Vouch(_))) {
            let answered = self.answered_by(held);
            self.vouching.push((at, answered));
        }
        if held.ops().iter().any(|op| matches!(op, Op::Vouch(_)) || op.listed().next().is_some()) {
            let mut known = Standing { listed: std::mem::take(&mut self.listed), ..Standing::default() };
            for op in held.ops() {
                op.listed().for_each(|tips| known.list(tips));
                if let Op::Vouch(witnesses) = op {
                    witnesses.iter().for_each(|witness| known.list(&[witness.signed_tip()]));
                }
            }
            self.listed = known.listed;
        }
        self.epochs.note(*self.id.as_bytes(), at, held);
        Ok(Some(at))
    }
}

impl Resolved {
    fn new(ledger: &Ledger, set: Bits) -> Self {
        Self { resolution: resolve(ledger, set), view: OnceLock::new() }
    }

    fn view(&self, ledger: &Ledger) -> &View {
        self.view.get_or_init(|| View::of(ledger, &self.resolution))
    }
}
