//! How far logs count changed: what is over the limit is cut back, what is below it again comes back.

use std::{collections::BTreeSet, sync::Arc};

use partita_core::{
    Bytes, ContextId, Entry, EntryKind, Key, LogId, Op, Refusal, Witness,
    planted::{Bug, planted},
};

use super::{
    Node, Purpose,
    context::OwnLog,
    link::{Halt, Until},
};
use crate::{
    effect::{Effect, Notice},
    reads::{Quarantined, ReadRequest, Rewound, pack},
};

impl Node {
    pub(super) fn refresh_standing(&mut self, context: ContextId) {
        let Self { strategies, contexts, replica, rng, effects, .. } = self;
        let Some(local) = contexts.get_mut(&context) else {
            return;
        };
        let strategy = &strategies[local.strategy];
        let standing = strategy.standing(&context);
        if standing == local.standing {
            return;
        }
        let before = std::mem::replace(&mut local.standing, standing);
        let of_quarantined = local.reckon_caps();
        // A loss or a vouch may name the branch of a forked log that counts.
        local.checkpoints.forked.clear();
        if local.logs.get(&local.own_data.id).is_some_and(|log| log.cap != u64::MAX) {
            // Nothing that is written from here on counts in it: should this replica hold the right again, it writes on in
            // another log. At once and not when it is cut, which it may never be: documents derive their actors from it.
            local.own_data = OwnLog::mint(&local.info, replica, &mut **rng);
            effects.push(Effect::Notice(Notice::NewLog(context)));
        }
        // Who lost its own right, and who cannot vouch, does not look for what it built on; nobody vouches for itself.
        let vouches = !local.standing.has_lost(replica) && !planted(Bug::VouchForgotten);
        let mut cut = Vec::new();
        for (log, state) in &local.logs {
            if state.record.seq > state.cap && !local.excluding.contains(log) {
                cut.push((*log, state.cap, vouches && state.record.replica() != *replica));
            }
        }
        let lifted: Vec<LogId> = local
            .quarantined
            .all()
            .iter()
            .filter(|(log, kept)| {
                let held = local.logs.get(log).map_or(0, |log| log.record.seq);
                // A loss may be lifted, or turn out to have been somebody's who had no right to it.
                let has_or_had = before.has_loss(&kept.author) || local.standing.has_loss(&kept.author);
                has_or_had && of_quarantined.get(log).is_some_and(|cap| *cap > held)
            })
            .map(|(log, _)| *log)
            .collect();
        // A log may end where a loss names an entry: what could not be verified before can be sent now.
        let sessions = local.sessions.clone();
        self.look.entry(context).or_default().extend(sessions);
        for (log, keep, vouches) in cut {
            self.begin_cut(context, log, keep, vouches);
        }
        for log in lifted {
            self.read_settled(Purpose::Readmit(context, log), ReadRequest::Quarantine { context, log });
        }
    }

    fn begin_cut(&mut self, context: ContextId, log: LogId, keep: u64, vouches: bool) {
        if let Some(local) = self.contexts.get_mut(&context) {
            local.excluding.insert(log);
        }
        self.abandon_log(context, log, |seq| Halt::until(seq, Refusal::NeedControl, Until::Cut));
        if vouches {
            let replica = self.replica;
            self.read_settled(
                Purpose::BuiltOn(context, log),
                ReadRequest::BuiltOn { context, log, from: keep.saturating_add(1), replica },
            );
        } else {
            self.rewind(context, log, keep);
        }
    }

    fn rewind(&mut self, context: ContextId, log: LogId, keep: u64) {
        let local = self.contexts.get(&context);
        let base = local.and_then(|local| local.checkpoints.covered(&log)).cloned().map(Box::new);
        self.read_settled(Purpose::Rewind(context, log, keep), ReadRequest::Rewind { context, log, keep, base });
    }

    /// What this replica had built on before it knew of the loss is vouched for; the rest is cut off.
    pub(super) fn on_built_on(&mut self, context: ContextId, log: LogId, entry: Option<Arc<Entry>>) {
        if let Some(mut entry) = entry
            && let Some(local) = self.contexts.get(&context)
        {
            if let Some(signature) = local.signature(&entry) {
                // It may be where an earlier loss had cut the log, which brought the signature along.
                Arc::make_mut(&mut entry).signature = Some(signature);
            }
            let start = local.logs.get(&log).map(|log| &log.record.start);
            let witness = start.and_then(|start| Witness::of(&entry, start));
            let vouch = |witness| self.strategies[local.strategy].vouch(&context, &[witness]);
            if let Some(payload) = witness.and_then(vouch) {
                let _ = self.append_control(context, &payload);
                self.settle_control();
            }
        }
        self.cut_or_resume(context, log);
    }

    /// Cuts a log back if it is still over its limit.
    fn cut_or_resume(&mut self, context: ContextId, log: LogId) {
        let Some(local) = self.contexts.get_mut(&context) else {
            return;
        };
        let Some((seq, keep)) = local.logs.get(&log).map(|log| (log.record.seq, log.cap)) else {
            return;
        };
        if seq > keep {
            self.rewind(context, log, keep);
        } else {
            local.excluding.remove(&log);
            self.resume_after_cut(context, log);
        }
    }

    /// Cuts a log back: what comes after `keep` goes into quarantine, and the documents that it touched are rebuilt.
    pub(super) fn on_rewound(&mut self, context: ContextId, log: LogId, keep: u64, rewound: Rewound) {
        let Rewound { record, after, begun_elsewhere } = rewound;
        let Some(local) = self.contexts.get_mut(&context) else {
            return;
        };
        let Some((author, cap)) = local.logs.get(&log).map(|log| (log.record.replica(), log.cap)) else {
            return;
        };
        // The limit may have changed while the store was asked: then it is asked again.
        if cap != keep {
            return self.cut_or_resume(context, log);
        }
        local.excluding.remove(&log);
        let mut documents = BTreeSet::new();
        let mut kept = Quarantined::none(author);
        for entry in &after {
            if let Some(document) = entry.header.kind.document() {
                documents.insert(document);
            }
            if let EntryKind::Create(document) = entry.header.kind {
                // Anybody can write another's `Create` again. What others hold of the document is not gone with that.
                let key = Key::Document(context, document);
                match begun_elsewhere.get(&document) {
                    Some(arrival) => self.commits.put(key, Bytes::copy_from_slice(&arrival.to_be_bytes())),
                    None => self.commits.delete(key),
                }
            }
            // It counted once and had its room then: its author can still read it, and a vouch may bring it back.
            kept.add(entry);
            let key = Key::Quarantine(context, log, entry.header.seq);
            self.commits.put(key, pack(entry));
        }
        for document in documents.iter().filter(|_| !planted(Bug::StaleSnapshot)) {
            self.commits.delete(Key::Snapshot(context, *document));
        }
        self.commits.pending.ops.push(Op::Truncate { context, log, from: keep.saturating_add(1) });
        local.tail.truncate(log, keep.saturating_add(1));
        local.pieces.remove(&log);
        local.forget_frontier();
        if let Some(before) = local.quarantined.remove(&log) {
            kept.entries += before.entries;
            kept.bytes += before.bytes;
            kept.head = before.head;
        }
        local.quarantined.set(log, kept);
        let Some(state) = local.logs.get_mut(&log) else {
            return;
        };
        let gone = state.record.bytes.saturating_sub(record.as_ref().map_or(0, |record| record.bytes));
        if author != self.replica {
            local.remote_bytes = local.remote_bytes.saturating_sub(gone);
        }
        match record {
            Some(record) => {
                state.durable = state.durable.min(record.seq);
                state.durable_head = record.head;
                *state.record = record;
                self.commits.log_changed(context, log);
            }
            None => {
                local.logs.remove(&log);
                self.commits.delete(Key::Log(context, log));
            }
        }
        self.clamp_positions(context, log, keep);
        let documents = documents.into_iter().collect();
        self.effects.push(Effect::Notice(Notice::Rebuild { context, documents }));
        self.resume_after_cut(context, log);
    }

    /// Nobody was sent more of a log than there is of it, and nobody refuses what is not there.
    fn clamp_positions(&mut self, context: ContextId, log: LogId, keep: u64) {
        let Some(local) = self.contexts.get(&context) else {
            return;
        };
        for id in &local.sessions {
            let Some(session) = self.sessions.get_mut(id) else {
                continue;
            };
            session.drop_page(context, log);
            let Some(link) = session.links.get_mut(&context) else {
                continue;
            };
            link.large.remove(&log);
            let held = link.held.as_mut().and_then(|held| held.get_mut(&log));
            for position in link.sent.get_mut(&log).into_iter().chain(held) {
                *position = (*position).min(keep);
            }
        }
    }

    fn resume_after_cut(&mut self, context: ContextId, log: LogId) {
        self.grown.insert((context, log));
        self.review.insert(context);
    }
}
