//! One entry, one verdict.

use std::sync::Arc;

use partita_core::{
    Claim, ContextId, ControlEntry, Entry, EntryId, EntryKind, Key, Op, Refusal, StoredEntry,
    StrategyEffect, Tip, Verdict,
};

use super::{Node, context::Context, session::Halt};
use crate::{
    effect::{Arrival, Effect, Notice},
    reads::pack,
    record::LogRecord,
};

/// Why an entry was not taken.
#[derive(Debug)]
pub(super) enum Stop {
    /// It was set aside in quarantine: its author had no right to write it.
    Quarantined,
    /// The log pauses in the session.
    Halt(Halt),
}

impl Stop {
    fn because(why: Refusal) -> Self {
        Self::Halt(Halt {
            why,
            tips: Vec::new(),
            heads: Vec::new(),
        })
    }
}

/// What an entry rests on, with what its log stated before.
struct Ground {
    author: partita_core::ReplicaId,
    heads: Vec<EntryId>,
    epoch: Option<partita_core::EpochId>,
}

impl Context {
    /// Whether a named point of a log is held, or as much of it as counts.
    pub(super) fn holds(&self, tip: &Tip) -> bool {
        match self.logs.get(&tip.log) {
            Some(log) => {
                let cap = self.cap(&log.record.replica(), &tip.log, log.record.control);
                log.record.seq >= tip.seq.min(cap)
            }
            None => false,
        }
    }
}

impl Node {
    /// Takes an entry that is verified and follows what is held of its log.
    pub(super) fn admit(&mut self, context: ContextId, entry: Arc<Entry>) -> Result<(), Stop> {
        let ground = self.check(context, &entry)?;
        self.accept(context, entry, ground);
        Ok(())
    }

    /// The verdict on an entry whose payload is not here yet.
    pub(super) fn check_withheld(
        &mut self,
        context: ContextId,
        entry: &Arc<Entry>,
    ) -> Result<(), Stop> {
        if entry.header.kind.is_control() {
            return Err(Stop::because(Refusal::TooLarge));
        }
        self.check(context, entry).map(|_| ())
    }

    fn check(&mut self, context: ContextId, entry: &Arc<Entry>) -> Result<Ground, Stop> {
        let Some(local) = self.contexts.get(&context) else {
            return Err(Stop::because(Refusal::Denied));
        };
        let header = &entry.header;
        if header.payload_len > self.config.max_payload {
            return Err(Stop::because(Refusal::TooLarge));
        }
        let known = local.logs.get(&header.log).map(|log| &log.record);
        let Some(start) = header.start.as_ref().or(known.map(|record| &record.start)) else {
            return Err(Stop::because(Refusal::Gap));
        };
        let control = header.kind.is_control();
        if known.is_some_and(|record| record.control != control) {
            return Err(Stop::because(Refusal::Invalid));
        }
        let before = known.map_or(&[][..], |record| &record.heads);
        let heads = header.stamp.as_ref().map_or(before, |stamp| &stamp.heads);
        let missing = local.graph.missing(heads);
        if !missing.is_empty() {
            return Err(Stop::Halt(Halt {
                why: Refusal::NeedControl,
                tips: Vec::new(),
                heads: missing,
            }));
        }
        if !local.graph.advances(before, heads) {
            return Err(Stop::because(Refusal::Invalid));
        }
        let epoch = match &header.stamp {
            Some(stamp) => stamp.epoch,
            None => known.and_then(LogRecord::epoch),
        };
        let author = start.replica;
        if header.seq > local.cap(&author, &header.log, control) {
            return Err(self.quarantine(context, entry));
        }
        if let Some(start) = &header.start {
            let tips: Vec<Tip> = start
                .tips
                .iter()
                .filter(|tip| !local.holds_or_cut(&author, tip, control))
                .copied()
                .collect();
            if !tips.is_empty() {
                return Err(Stop::Halt(Halt {
                    why: Refusal::NeedPredecessor,
                    tips,
                    heads: Vec::new(),
                }));
            }
        }
        if author != self.replica
            && local.remote_bytes.saturating_add(header.payload_len) > self.config.max_context_bytes
        {
            return Err(Stop::because(Refusal::Quota));
        }
        let ground = Ground {
            author,
            heads: heads.to_vec(),
            epoch,
        };
        let claim = Claim {
            header,
            author,
            heads: &ground.heads,
            epoch,
            control: control.then_some(&entry.payload[..]),
        };
        match self.strategies[local.strategy].authorize(&claim) {
            Verdict::Accept => Ok(ground),
            Verdict::Undecided(heads) => Err(Stop::Halt(Halt {
                why: Refusal::NeedControl,
                tips: Vec::new(),
                heads,
            })),
            Verdict::Excluded(_) => Err(self.quarantine(context, entry)),
        }
    }

    /// Keeps an excluded entry, if it follows what is in quarantine of its log and there is room.
    fn quarantine(&mut self, context: ContextId, entry: &Arc<Entry>) -> Stop {
        let header = &entry.header;
        let Some(local) = self.contexts.get_mut(&context) else {
            return Stop::Quarantined;
        };
        let held = local.logs.get(&header.log).map_or(0, |log| log.record.seq);
        let kept = local.quarantined.entry(header.log).or_default();
        let whole = entry.payload.len() as u64 == header.payload_len;
        if whole && header.seq == held + *kept + 1 && *kept < self.config.max_quarantine {
            *kept += 1;
            self.commits.put(
                Key::Quarantine(context, header.log, header.seq),
                pack(entry),
            );
        }
        Stop::Quarantined
    }

    fn accept(&mut self, context: ContextId, entry: Arc<Entry>, ground: Ground) {
        if let Err(drift) = self.clock.observe(self.now, entry.header.time)
            && ground.author != self.replica
            && entry.header.seq == 1
        {
            let ahead_seconds = drift.ahead.as_secs();
            self.effects.push(Effect::Notice(Notice::ClockDrift {
                author: ground.author,
                ahead_seconds,
            }));
        }
        let is_control = entry.header.kind.is_control();
        if is_control && !self.give_control(context, &entry, &ground) {
            return;
        }
        let Some(arrival) = self.keep(context, &entry) else {
            return;
        };
        if !is_control && let Some(local) = self.contexts.get_mut(&context) {
            let Ground { author, epoch, .. } = ground;
            local.arrived.push(Arrival {
                arrival,
                entry,
                author,
                epoch,
            });
        }
    }

    /// Puts an entry in its log, in memory and in the pending batch, and wakes the sessions.
    pub(super) fn keep(&mut self, context: ContextId, entry: &Arc<Entry>) -> Option<u64> {
        let Self {
            contexts,
            commits,
            replica,
            ..
        } = self;
        let local = contexts.get_mut(&context)?;
        let (log, seq) = (entry.header.log, entry.header.seq);
        local.last_arrival += 1;
        let arrival = local.last_arrival;
        match local.logs.get_mut(&log) {
            Some(state) => {
                state.record.extend(entry);
                if state.record.replica() != *replica {
                    local.remote_bytes += entry.size() as u64;
                }
            }
            None => local.insert_log(log, LogRecord::begun(entry, arrival)?, false, replica)?,
        }
        local.tail.push(arrival, entry.clone());
        if let EntryKind::Create(document) = entry.header.kind {
            let value = partita_core::Bytes::copy_from_slice(&arrival.to_be_bytes());
            commits.put(Key::Document(context, document), value);
        }
        commits.pending.ops.push(Op::Append(StoredEntry {
            arrival,
            entry: entry.clone(),
        }));
        commits.log_changed(context, log);
        self.wake(context, log, seq);
        Some(arrival)
    }

    /// Gives a control entry to the strategy and the graph; false when the strategy does not take it.
    fn give_control(&mut self, context: ContextId, entry: &Entry, ground: &Ground) -> bool {
        let Some(local) = self.contexts.get_mut(&context) else {
            return false;
        };
        let mut parents = ground.heads.clone();
        parents.push(entry.header.backlink);
        parents.retain(|parent| *parent != EntryId::NONE);
        let given = ControlEntry {
            id: entry.id,
            author: ground.author,
            header: &entry.header,
            parents: &parents,
            payload: &entry.payload,
        };
        if let Ok(effects) = self.strategies[local.strategy].control(self.now, &given) {
            if effects.contains(&StrategyEffect::KeysArrived) {
                self.effects
                    .push(Effect::Notice(Notice::KeysArrived(context)));
            }
        } else {
            return false;
        }
        let inserted = local.graph.insert(entry.id, parents).is_ok();
        self.control_changed.insert(context);
        inserted
    }

    /// Gives the stored control entries to the strategy again, after a restart.
    pub(super) fn replay_control(&mut self, context: ContextId, entries: Vec<Arc<Entry>>) {
        let mut heads: std::collections::BTreeMap<partita_core::LogId, Vec<EntryId>> =
            Default::default();
        for entry in entries {
            let log = entry.header.log;
            if let Some(stamp) = &entry.header.stamp {
                heads.insert(log, stamp.heads.clone());
            }
            let Some(author) = self
                .contexts
                .get(&context)
                .and_then(|local| local.logs.get(&log))
                .map(|log| log.record.replica())
            else {
                continue;
            };
            let ground = Ground {
                author,
                heads: heads.get(&log).cloned().unwrap_or_default(),
                epoch: None,
            };
            self.give_control(context, &entry, &ground);
        }
    }

    pub(super) fn flush_arrivals(&mut self) {
        for (context, local) in &mut self.contexts {
            if !local.arrived.is_empty() {
                let entries = std::mem::take(&mut local.arrived);
                self.effects.push(Effect::Notice(Notice::Arrived {
                    context: *context,
                    entries,
                }));
            }
        }
    }

    /// Own control entries go the same way as everybody's.
    pub(super) fn accept_own_control(
        &mut self,
        context: ContextId,
        entry: Arc<Entry>,
    ) -> Result<(), Stop> {
        self.admit(context, entry)
    }
}

impl Context {
    /// Whether a point that a new log names as its predecessor is held, or cut off: then nothing more of it will come.
    fn holds_or_cut(&self, author: &partita_core::ReplicaId, tip: &Tip, control: bool) -> bool {
        self.holds(tip)
            || (!self.logs.contains_key(&tip.log) && self.cap(author, &tip.log, control) == 0)
    }
}
