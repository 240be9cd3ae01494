//! The keys of whoever went: they open nothing that was written in knowledge of that.
//!
//! Whoever went is taken for the worst. It gets every control entry and every payload that anybody holds, and tries on them
//! all keys that it ever had.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::Arc,
    time::Duration,
};

use partita_core::{
    ContextId, ControlEntry, ControlGraph, Covered, Entry, EntryId, EpochId, HeaderPrefix, LogId, LogSort, Now, Opened,
    PartitionStrategy, ReplicaId, StoreRead, Tip,
};
use partita_group::Group;
use partita_protocol::{
    LogRecord,
    reads::{self, ContextState},
};
use partita_single_owner::SingleOwner;

use crate::{
    disks::{Claims, covered, state_of},
    machine::Machine,
    truth::{ContextTruth, Kind},
    world::World,
};

impl World {
    /// Says so if somebody who went can open what was written by somebody who knew of it.
    pub(crate) fn look_for_old_keys(&self) -> Result<(), String> {
        for (context, known) in &self.truth.contexts {
            if known.went.is_empty() || matches!(known.kind, Kind::Plain(_)) {
                continue;
            }
            let Some(control) = self.control_of(context)? else { continue };
            let sealed = self.sealed_in(context)?;
            for (gone, places) in known.went.iter().filter(|(gone, _)| goes_for_good(known, *gone)) {
                let machine = &self.machines[*gone];
                let Some(named) = control.named(places) else { continue };
                let Some(thief) = Thief::of(machine, context, known.kind, &control) else { continue };
                if !thief.stays_out(context, &control, &named) {
                    continue;
                }
                if let Some(opened) = thief.first_opened(&control, &named, &sealed) {
                    let (name, header, author) = (&machine.name, &opened.entry.header, opened.author);
                    return Err(format!(
                        "{name} is out of {context:?}, which {author:?} knew, and its keys open number {} of {:?}",
                        header.seq, header.log
                    ));
                }
            }
        }
        Ok(())
    }

    /// The control entries of a context, as somebody holds them who is in.
    fn control_of(&self, context: &ContextId) -> Result<Option<Control>, String> {
        let inside = self.inside.get(context).into_iter().flatten();
        let mut running = inside.filter_map(|at| self.machines[*at].running.as_ref());
        let Some(running) = running.next() else { return Ok(None) };
        let view = running.store().read().map_err(|error| error.to_string())?;
        let state = state_of(&*view, context)?;
        Ok(Some(Control::of(&state)))
    }

    /// The payloads of a context that anybody holds, snapshots too.
    fn sealed_in(&self, context: &ContextId) -> Result<BTreeMap<EntryId, Sealed>, String> {
        let (mut found, mut claims) = (BTreeMap::new(), Claims::new());
        for machine in self.machines.iter().filter(|machine| !machine.retired) {
            let Some(running) = &machine.running else { continue };
            let view = running.store().read().map_err(|error| error.to_string())?;
            let state = state_of(&*view, context)?;
            let covered = covered(context, &state, &mut claims)?;
            for (log, record) in state.logs.iter().filter(|(_, record)| record.sort != LogSort::Control) {
                read_sealed(&*view, context, (log, record), covered.get(log), &mut found)?;
            }
        }
        Ok(found)
    }
}

/// Whether there is no doubt that somebody who went had no right to keys afterwards. Whoever came back has invitations, and
/// whoever came by one reads before it is confirmed, which others may see differently once they go at odds.
fn goes_for_good(known: &ContextTruth, gone: usize) -> bool {
    let by_card = known.admitted.iter().any(|(who, ..)| *who == gone);
    let alone = known.went.iter().all(|(who, _)| *who == gone);
    !known.came_back.contains(&gone) && (known.kind != Kind::Group || by_card || alone)
}

/// Reads the payloads of a log, each with what is in force at it.
fn read_sealed(
    view: &dyn StoreRead,
    context: &ContextId,
    (log, record): (&LogId, &LogRecord),
    base: Option<&Covered>,
    found: &mut BTreeMap<EntryId, Sealed>,
) -> Result<(), String> {
    let mut heads: Option<Vec<EntryId>> = None;
    let read = reads::log_entries(view, context, log, 1, |_, entry| {
        let seq = entry.header.seq;
        if let Some(stamp) = &entry.header.stamp {
            heads = Some(stamp.heads.clone());
        } else if heads.is_none() {
            heads = base.filter(|base| base.seq() + 1 == seq).map(|base| base.heads.clone());
        }
        if let Some(heads) = heads.clone() {
            let (author, epoch) = (record.replica(), record.epoch_at(seq));
            found.insert(entry.id, Sealed { author, epoch, heads, entry });
        }
        ControlFlow::Continue(())
    });
    read.map_err(|error| error.to_string())
}

/// A payload, and what is in force at it.
struct Sealed {
    author: ReplicaId,
    epoch: Option<EpochId>,
    /// What its author knew.
    heads: Vec<EntryId>,
    entry: Entry,
}

/// A control entry.
struct Said {
    author: ReplicaId,
    parents: Vec<EntryId>,
    entry: Arc<Entry>,
}

/// The control entries of a context.
struct Control {
    graph: ControlGraph,
    /// Each behind those that it rests on.
    entries: Vec<Said>,
    sorts: BTreeMap<LogId, LogSort>,
}

impl Control {
    fn of(state: &ContextState) -> Self {
        let sorts = state.logs.iter().map(|(log, record)| (*log, record.sort)).collect();
        let mut control = Self { graph: ControlGraph::default(), entries: Vec::new(), sorts };
        let mut heads: BTreeMap<LogId, Vec<EntryId>> = BTreeMap::new();
        for entry in &state.control {
            let log = entry.header.log;
            if let Some(stamp) = &entry.header.stamp {
                heads.insert(log, stamp.heads.clone());
            }
            let Some(author) = state.logs.get(&log).map(LogRecord::replica) else { continue };
            let before = heads.get(&log).into_iter().flatten().copied().chain([entry.header.backlink]);
            let parents: BTreeSet<EntryId> = before.filter(|parent| *parent != EntryId::NONE).collect();
            let parents: Vec<EntryId> = parents.into_iter().collect();
            if control.graph.insert(entry.id, parents.iter().copied()).is_ok() {
                control.entries.push(Said { author, parents, entry: entry.clone() });
            }
        }
        control
    }

    /// The control entries at these places; `None` where one of them came to nothing.
    fn named(&self, places: &[Tip]) -> Option<Vec<EntryId>> {
        let mut named = Vec::new();
        for tip in places {
            if *self.sorts.get(&tip.log)? != LogSort::Control {
                continue;
            }
            if !self.graph.contains(&tip.head) {
                return None;
            }
            named.push(tip.head);
        }
        (!named.is_empty()).then_some(named)
    }

    /// Whether whoever names these heads knows all of that.
    fn knows(&self, heads: &[EntryId], named: &[EntryId]) -> bool {
        named.iter().all(|id| self.graph.descend(heads, id))
    }
}

/// Somebody who went, with its keys.
struct Thief {
    replica: ReplicaId,
    strategy: Box<dyn PartitionStrategy>,
}

impl Thief {
    /// Gives it all control entries, and with them what was ever boxed to it.
    fn of(machine: &Machine, context: &ContextId, kind: Kind, control: &Control) -> Option<Self> {
        let keystore = machine.keystore.image();
        let mut strategy: Box<dyn PartitionStrategy> = match kind {
            Kind::Plain(_) => return None,
            Kind::Owner(_) => Box::new(SingleOwner::open(&keystore).ok()?),
            Kind::Group => Box::new(Group::open(Arc::new(keystore), context).ok()?),
        };
        let now = Now { monotonic: Duration::ZERO, wall: Duration::ZERO };
        for said in &control.entries {
            let given = ControlEntry {
                id: said.entry.id,
                author: said.author,
                header: &said.entry.header,
                parents: &said.parents,
                payload: &said.entry.payload,
            };
            // What it does not understand brings it no key.
            let _ = strategy.control(now, &given);
        }
        Some(Self { replica: machine.replica, strategy })
    }

    /// Whether nobody who knew that it had gone ever took it for somebody who is in, though it turned out otherwise: that one
    /// would have given it keys, and rightly.
    fn stays_out(&self, context: &ContextId, control: &Control, named: &[EntryId]) -> bool {
        let is_out = |heads: &[EntryId]| {
            let writers = self.strategy.writers(context, heads);
            writers.is_some_and(|writers| !writers.contains(&self.replica))
        };
        let mut since = control.entries.iter().map(|said| [said.entry.id]).filter(|id| control.knows(id, named));
        is_out(&control.graph.heads()) && since.all(|id| is_out(&id))
    }

    /// The first payload by somebody else, who knew, that its keys open.
    fn first_opened<'s>(
        &self,
        control: &Control,
        named: &[EntryId],
        sealed: &'s BTreeMap<EntryId, Sealed>,
    ) -> Option<&'s Sealed> {
        let mut knowing: BTreeMap<&[EntryId], bool> = BTreeMap::new();
        for one in sealed.values().filter(|one| one.author != self.replica) {
            let knows = *knowing.entry(&one.heads).or_insert_with(|| control.knows(&one.heads, named));
            if knows && self.opens(one) {
                return Some(one);
            }
        }
        None
    }

    fn opens(&self, sealed: &Sealed) -> bool {
        let prefix = HeaderPrefix { header: &sealed.entry.header, author: sealed.author, epoch: sealed.epoch };
        matches!(self.strategy.open(&prefix, &sealed.entry.payload), Opened::Plain(_))
    }
}

#[cfg(test)]
mod tests {
    use crate::check::tests::{calm, wait};

    /// The first owner's first two devices.
    const REMAINS: usize = 1;
    const REVOKED: usize = 2;

    #[test]
    fn a_key_that_opens_what_was_written_after_a_removal_is_noticed() {
        let (mut world, context) = calm();
        world.people_create(REMAINS, context);
        wait(&mut world);
        world.shut_out(REMAINS, REVOKED, context);
        wait(&mut world);
        world.people_create(REMAINS, context);
        wait(&mut world);
        world.come_to_rest();
        assert!(world.violation.is_none(), "{:?}", world.violation);
        assert!(world.truth.contexts[&context].went.iter().any(|(gone, _)| *gone == REVOKED));
        assert_eq!(world.look_for_old_keys(), Ok(()));
        world.machines[REVOKED].keystore = world.machines[REMAINS].keystore.image();
        let why = world.look_for_old_keys().unwrap_err();
        assert!(why.contains("its keys open"), "{why}");
    }
}
