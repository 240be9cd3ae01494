//! What lies on the disks in the end: opened again without the network it shows the same, and each store is whole.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    ops::ControlFlow,
    time::Duration,
};

use partita_core::{
    Checkpoint, CheckpointOp, ContextId, Covered, Digest, DocumentId, EntryId, Key, LogId, Store, StoreRead,
};
use partita_protocol::{
    LogRecord,
    reads::{self, ContextState, ReadRequest, ReadResult},
};

use crate::{machine::MachineId, text::Crdt, truth::Edit, world::World};

/// How long what had arrived may take until it shows, once the network is gone.
const CALM: Duration = Duration::from_secs(2);
/// How long it may take until everybody is open again and shows everything.
const REOPENED: Duration = Duration::from_secs(60);

/// What machines show of documents.
type Shown = BTreeMap<(ContextId, MachineId, DocumentId), (Crdt, Digest)>;
/// The claims that were read, by their ids: most stores have the same.
pub(crate) type Claims = BTreeMap<EntryId, Checkpoint>;

impl World {
    /// Everybody is closed and opened again without the network, and each store is looked through. This is no part of what
    /// a run costs.
    pub(crate) fn look_at_disks(&mut self) {
        if self.violation.is_some() {
            return;
        }
        let cost = self.cost;
        self.take_network_away();
        let before = self.what_shows();
        self.open_again(&before);
        if self.violation.is_none()
            && let Err(why) = self.look_through_stores().and_then(|()| self.look_for_old_keys())
        {
            self.violate(why);
        }
        self.cost = cost;
    }

    fn take_network_away(&mut self) {
        for machine in 0..self.machines.len() {
            if !self.machines[machine].is_relay {
                self.machines[machine].online = false;
                self.cut_off(machine);
            }
        }
        let end = self.now + CALM;
        self.run_until(end);
    }

    /// What those who are in show, as far as it must be on their disks.
    fn what_shows(&self) -> Shown {
        let mut shown = Shown::new();
        for (context, inside) in &self.inside {
            for machine in inside {
                let here = &self.machines[*machine];
                for (document, crdt) in &self.truth.contexts[context].documents {
                    let alone = |edit: &Edit| edit.may_show_alone(*machine, here.life, document);
                    if self.truth.edits.iter().any(alone) || self.truth.may_lack(context, *machine, document) {
                        continue;
                    }
                    let text = here.documents.get(document).filter(|text| text.is_settled());
                    if let Some(digest) = text.and_then(|text| text.digest().ok()) {
                        shown.insert((*context, *machine, *document), (*crdt, digest));
                    }
                }
            }
        }
        shown
    }

    fn open_again(&mut self, before: &Shown) {
        let everybody: BTreeSet<MachineId> = self.inside.values().flatten().copied().collect();
        let everybody: BTreeMap<MachineId, u64> =
            everybody.into_iter().map(|machine| (machine, self.machines[machine].life)).collect();
        for machine in everybody.keys() {
            self.reopen(*machine);
        }
        let latest = self.now + REOPENED;
        loop {
            let next = self.now + Duration::from_secs(1);
            self.run_until(next);
            if self.violation.is_some() {
                return;
            }
            match self.shows_otherwise(before, &everybody) {
                None => return,
                Some(why) if self.now >= latest => return self.violate(why),
                Some(_) => {}
            }
        }
    }

    /// What does not show as it did in the lives before.
    fn shows_otherwise(&mut self, before: &Shown, lives: &BTreeMap<MachineId, u64>) -> Option<String> {
        for (machine, life) in lives {
            let here = &self.machines[*machine];
            if here.life == *life || !here.is_up() {
                return Some(format!("{} does not open again", here.name));
            }
        }
        for ((context, machine, document), (crdt, _)) in before {
            self.machines[*machine].ask_document(*context, *document, *crdt);
        }
        for machine in lives.keys() {
            self.settle(*machine);
        }
        for ((_, machine, document), (_, digest)) in before {
            let here = &self.machines[*machine];
            let text = here.documents.get(document).filter(|text| text.is_settled());
            match text.and_then(|text| text.digest().ok()) {
                Some(now) if now == *digest => {}
                Some(_) => {
                    return Some(format!("opened again, {} does not show of {document:?} what it showed", here.name));
                }
                None => {
                    let why = here.unloadable.get(document).map_or("it is not loaded".into(), ToString::to_string);
                    return Some(format!("opened again, {} does not show {document:?}: {why}", here.name));
                }
            }
        }
        None
    }

    fn look_through_stores(&self) -> Result<(), String> {
        let mut claims = Claims::new();
        for machine in self.machines.iter().filter(|machine| !machine.retired) {
            let Some(running) = &machine.running else { continue };
            for context in self.truth.contexts.keys() {
                look_through(&**running.store(), context, &mut claims)
                    .map_err(|why| format!("in the store of {}, of {context:?}: {why}", machine.name))?;
            }
        }
        Ok(())
    }
}

/// Whether what a store holds of a context is whole.
fn look_through(store: &dyn Store, context: &ContextId, claims: &mut Claims) -> Result<(), String> {
    let view = store.read().map_err(|error| error.to_string())?;
    let state = state_of(&*view, context)?;
    let covered = covered(context, &state, claims)?;
    for (log, record) in &state.logs {
        look_through_log(&*view, context, (log, record), covered.get(log))?;
    }
    let mut left = None;
    let mut look = |name: &[u8], _: &[u8]| {
        // A tag, the context, the log, the number of the entry, the place in it.
        let log = name.get(33..49).and_then(|log| log.try_into().ok()).map(LogId::from_bytes);
        let seq = name.get(49..57).and_then(|seq| seq.try_into().ok()).map(u64::from_be_bytes);
        if let (Some(log), Some(seq)) = (log, seq)
            && state.logs.get(&log).is_some_and(|record| record.seq >= seq)
        {
            left = Some(format!("pieces are left of number {seq} of {log:?}, which is held"));
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    };
    view.scan(&Key::all_fragments(context), &mut look).map_err(|error| error.to_string())?;
    left.map_or(Ok(()), Err)
}

/// What a store holds of a context.
pub(crate) fn state_of(view: &dyn StoreRead, context: &ContextId) -> Result<Box<ContextState>, String> {
    match reads::answer(view, &ReadRequest::Context(*context)) {
        Ok(ReadResult::Context(state)) => Ok(state),
        Ok(_) => Err("the store answers something else".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// How far each log is covered by the claims that a store relies upon, and by those that they go on from.
pub(crate) fn covered(
    context: &ContextId,
    state: &ContextState,
    claims: &mut Claims,
) -> Result<BTreeMap<LogId, Covered>, String> {
    let mut covered: BTreeMap<LogId, Covered> = BTreeMap::new();
    let mut rest = state.base.clone();
    while let Some(claim) = rest.pop() {
        let Some(entry) = state.control.iter().find(|entry| entry.id == claim) else {
            return Err(format!("it relies on the claim {claim:?}, and does not hold it"));
        };
        let checkpoint = match claims.entry(claim) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let Ok(CheckpointOp::Claim(checkpoint)) = CheckpointOp::decode(context, &entry.payload) else {
                    return Err(format!("it relies on {claim:?}, which is no claim"));
                };
                place.insert(checkpoint)
            }
        };
        rest.extend(checkpoint.previous);
        for (log, further) in &checkpoint.logs {
            let known = covered.entry(*log).or_insert_with(|| further.clone());
            if known.seq() < further.seq() {
                known.clone_from(further);
            }
        }
    }
    Ok(covered)
}

/// Whether the entries of a log follow each other up to where its record says, from the first one or from what is
/// covered.
fn look_through_log(
    view: &dyn StoreRead,
    context: &ContextId,
    (log, record): (&LogId, &LogRecord),
    covered: Option<&Covered>,
) -> Result<(), String> {
    let base = covered.map_or((0, EntryId::NONE), |covered| (covered.seq(), covered.last.tip.head));
    let mut last: Option<(u64, EntryId)> = None;
    let mut broken = None;
    let read = reads::log_entries(view, context, log, 1, |_, entry| {
        let (seq, backlink) = (entry.header.seq, entry.header.backlink);
        let (before, head) = match last {
            Some(last) => last,
            None if seq == 1 => (0, EntryId::NONE),
            None => base,
        };
        if (seq, backlink) != (before + 1, head) {
            broken = Some(format!("number {seq} of {log:?} does not go on from number {before}"));
            return ControlFlow::Break(());
        }
        last = Some((seq, entry.id));
        ControlFlow::Continue(())
    });
    read.map_err(|error| error.to_string())?;
    if let Some(broken) = broken {
        return Err(broken);
    }
    match last {
        None if record.seq == 0 => Ok(()), // all of it was cut off
        last if last.unwrap_or(base) == (record.seq, record.head) => Ok(()),
        last => {
            let end = last.unwrap_or(base).0;
            Err(format!("the record of {log:?} says that it is held up to {}, and it is up to {end}", record.seq))
        }
    }
}

#[cfg(test)]
mod tests {
    use partita_core::{Batch, Bytes, Durability, Op};

    use super::*;
    use crate::check::tests::at_rest;

    #[test]
    fn a_document_that_shows_otherwise_after_it_was_opened_again_is_noticed() {
        let (mut world, ..) = at_rest();
        world.take_network_away();
        let mut before = world.what_shows();
        world.open_again(&before);
        assert!(world.violation.is_none(), "{:?}", world.violation);
        before.values_mut().next().unwrap().1 = Digest::ZERO;
        world.open_again(&before);
        let why = world.violation.unwrap().0;
        assert!(why.contains("what it showed"), "{why}");
    }

    #[test]
    fn a_store_that_is_not_whole_is_noticed() {
        let (world, context, inside) = at_rest();
        let store = world.machines[inside[0]].running.as_ref().unwrap().store();
        let look = || look_through(&**store, &context, &mut Claims::new());
        let change = |op: Op| store.commit(&Batch { ops: vec![op] }, Durability::Durable).unwrap();
        assert_eq!(look(), Ok(()));
        let Ok(ReadResult::Context(state)) = reads::answer(&*store.read().unwrap(), &ReadRequest::Context(context))
        else {
            panic!("the store does not know the context");
        };
        let covered = covered(&context, &state, &mut Claims::new()).unwrap();
        let mut logs = state.logs.iter();
        let (log, record) = logs.find(|(log, record)| record.seq >= 2 && !covered.contains_key(log)).unwrap();

        let name = Key::Log(context, *log);
        change(Op::Put(name.clone(), LogRecord { seq: record.seq + 1, ..record.clone() }.encode()));
        assert!(look().unwrap_err().contains("is held up to"));
        change(Op::Put(name, record.encode()));

        let piece = Key::Fragment(context, *log, 1, 0);
        change(Op::Put(piece.clone(), Bytes::from_static(&[0; 40])));
        assert!(look().unwrap_err().contains("pieces are left"));
        change(Op::Delete(piece));

        let base: Vec<u8> = state.base.iter().flat_map(|claim| *claim.as_bytes()).collect();
        change(Op::Put(Key::Base(context), Bytes::from_static(&[7; 32])));
        assert!(look().unwrap_err().contains("does not hold it"));
        change(Op::Put(Key::Base(context), base.into()));

        assert_eq!(look(), Ok(()));
        change(Op::Prune { context, log: *log, through: 1 });
        assert!(look().unwrap_err().contains("does not go on"));
    }
}
