//! Steps that this device is about to take: what they say is looked at before it is written, since a new epoch goes to
//! whoever reads when the step is taken.

use partita_core::{CryptoRng, EntryId, EpochId, LogId, ReplicaId, Timestamp, Turn};
use partita_crypto::{BoxPublicKey, EPOCH_BOX_LEN, EpochSecret};
use std::{collections::BTreeSet, sync::Arc};

use crate::{
    epochs::Maker,
    error::GroupError,
    group::{Group, name_key},
    ledger::Ledger,
    op::{Epoch, MAX_BOXES, MAX_OPS, MAX_SHARED, Name, Op, Payload, Scope, Share},
    resolve::resolve,
    role::MemberId,
    view::View,
};

/// What fits into a control entry, with some room for its header.
pub(crate) const MAX_PAYLOAD: usize = 500 * 1024;

/// Control entries to be, on top of those that are held.
pub(crate) struct Plan<'a> {
    group: &'a Group,
    ledger: Ledger,
    payloads: Vec<bytes::Bytes>,
}

impl<'a> Plan<'a> {
    /// Nothing yet; on a device that founded a group which has not begun, its beginning.
    pub(crate) fn new(group: &'a Group, rng: &mut dyn CryptoRng) -> Result<Self, GroupError> {
        let mut plan = Self { group, ledger: group.state.ledger.clone(), payloads: Vec::new() };
        if group.state.is_empty()
            && let Some((genesis, name)) = &group.record.genesis
        {
            let mut ops = vec![Op::Create(genesis.clone())];
            let (epoch, secret) = plan.epoch(&ops, Scope::Live, rng)?;
            ops.push(Op::Epoch(epoch));
            ops.push(Op::Name(plan.name(name, None, &secret, rng)?));
            plan.step(ops)?;
        }
        Ok(plan)
    }

    /// One more control entry.
    pub(crate) fn step(&mut self, ops: Vec<Op>) -> Result<(), GroupError> {
        let payload = Payload::encode(&ops);
        if payload.len() > MAX_PAYLOAD {
            return Err(GroupError::TooLarge(payload.len()));
        }
        insert(&mut self.ledger, self.group.device(), ops, self.payloads.len());
        self.payloads.push(payload);
        Ok(())
    }

    /// These ops in as few control entries as they fit into, in their order.
    pub(crate) fn steps(&mut self, ops: Vec<Op>) -> Result<(), GroupError> {
        let (mut entry, mut bytes) = (Vec::new(), 0);
        for op in ops {
            let len = Payload::encode(std::slice::from_ref(&op)).len();
            if !entry.is_empty() && (entry.len() >= MAX_OPS || bytes + len > MAX_PAYLOAD) {
                self.step(std::mem::take(&mut entry))?;
                bytes = 0;
            }
            bytes += len;
            entry.push(op);
        }
        if entry.is_empty() { Ok(()) } else { self.step(entry) }
    }

    /// The same with a new epoch at its end, for whoever reads then.
    pub(crate) fn step_with_epoch(
        &mut self,
        mut ops: Vec<Op>,
        rng: &mut dyn CryptoRng,
    ) -> Result<EpochSecret, GroupError> {
        let (epoch, secret) = self.epoch(&ops, Scope::Live, rng)?;
        ops.push(Op::Epoch(epoch));
        self.step(ops)?;
        Ok(secret)
    }

    /// A new epoch for whoever reads but these members, for snapshots that they may not read.
    pub(crate) fn archive(&mut self, without: &BTreeSet<MemberId>, rng: &mut dyn CryptoRng) -> Result<(), GroupError> {
        let (epoch, _) = self.epoch(&[], Scope::Archive(without.iter().copied().collect()), rng)?;
        self.step(vec![Op::Epoch(epoch)])
    }

    /// A new epoch for whoever reads once these ops were written.
    pub(crate) fn epoch(
        &self,
        ops: &[Op],
        scope: Scope,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Epoch, EpochSecret), GroupError> {
        let mut ledger = self.ledger.clone();
        // The epoch itself is part of the entry: an entry without any op that concerns membership changes no recipients.
        insert(&mut ledger, self.group.device(), ops.to_vec(), self.payloads.len());
        let recipients = recipients(&ledger, &scope);
        if recipients.len() > MAX_BOXES {
            return Err(GroupError::TooLarge(recipients.len() * EPOCH_BOX_LEN));
        }
        Ok(Epoch::create(rng, self.maker(), scope, &recipients)?)
    }

    pub(crate) fn name(
        &self,
        name: &str,
        epoch: Option<EpochId>,
        secret: &EpochSecret,
        rng: &mut dyn CryptoRng,
    ) -> Result<Name, GroupError> {
        let context = self.group.context();
        let sealed = name_key(secret, &context).seal(rng, context.as_bytes(), name.as_bytes());
        let sealed = sealed.map_err(|_| GroupError::Name(name.len()))?;
        Ok(Name { epoch, sealed: sealed.into() })
    }

    /// These epochs' secrets for one more reader, as far as they are held here.
    pub(crate) fn shares(
        &self,
        epochs: &[EpochId],
        to: (ReplicaId, BoxPublicKey),
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<Op>, GroupError> {
        let held = epochs.iter().filter_map(|id| Some((*id, self.group.ring.keys.get(id)?)));
        let held: Vec<(EpochId, &EpochSecret)> = held.collect();
        let mut share = |held: &[(EpochId, &EpochSecret)]| -> Result<Op, GroupError> {
            Ok(Op::Share(Share::create(rng, self.maker(), to, held)?))
        };
        held.chunks(MAX_SHARED).map(&mut share).collect()
    }

    fn maker(&self) -> Maker {
        Maker { context: *self.group.context().as_bytes(), device: self.group.device() }
    }

    /// Has the entries written.
    pub(crate) fn finish(self, turn: &mut Turn<'_>) {
        let context = self.group.context();
        turn.append.extend(self.payloads.into_iter().map(|payload| (context, payload)));
    }
}

/// Who gets an epoch's secret when all of this is held.
fn recipients(ledger: &Ledger, scope: &Scope) -> Vec<(ReplicaId, BoxPublicKey)> {
    let resolution = resolve(ledger, ledger.all.clone());
    View::of(ledger, &resolution).recipients(scope)
}

/// An entry as if it had been written already: after everything that is held, so nothing cuts it off.
fn insert(ledger: &mut Ledger, author: ReplicaId, ops: Vec<Op>, nth: usize) {
    let mut id = [0xff; EntryId::LEN];
    id[..8].copy_from_slice(&(ledger.entries().len() as u64).to_be_bytes());
    let place = (LogId::from_bytes([0xff; LogId::LEN]), nth as u64 + 1);
    let payload = Arc::new(Payload { ops, raw: bytes::Bytes::new() });
    let heads = ledger.heads();
    let author = (author, false); // a plan asks for nobody who is away
    ledger.insert(EntryId::from_bytes(id), author, place, Timestamp::default(), heads, payload);
}
