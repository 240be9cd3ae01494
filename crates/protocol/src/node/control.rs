//! What control entries change: how far logs count, who may stay, what this replica has to write by itself.

use std::{collections::BTreeSet, sync::Arc};

use partita_core::{
    ContextId, ContextInfo, ContextView, Entry, EntryKind, Key, LogId, Now, Op, PartitionStrategy,
    ReplicaId, StrategyError, Tip, Turn,
};

use super::{Node, Purpose, context::Context};
use crate::{
    effect::{Effect, Notice},
    reads::{ReadRequest, pack},
    record::LogRecord,
};

/// Duties must come to rest; a strategy whose duties do not is cut off here.
const MOST_ROUNDS: usize = 32;

struct View<'a>(&'a std::collections::BTreeMap<ContextId, Context>);

impl ContextView for View<'_> {
    fn logs_of(&self, context: &ContextId, replica: &ReplicaId) -> Vec<Tip> {
        let Some(local) = self.0.get(context) else {
            return Vec::new();
        };
        let own = local
            .logs
            .iter()
            .filter(|(_, log)| log.record.replica() == *replica && log.record.seq > 0);
        own.map(|(id, log)| Tip {
            log: *id,
            seq: log.record.seq,
            head: log.record.head,
        })
        .collect()
    }

    fn contexts(&self) -> Vec<ContextInfo> {
        self.0.values().map(|local| local.info.clone()).collect()
    }
}

impl Node {
    /// Runs an application's call into its own plugin and appends the control entries that it asks for.
    ///
    /// # Errors
    /// When no strategy is a `P`.
    pub fn with_strategy<P: PartitionStrategy, R>(
        &mut self,
        now: Now,
        call: impl FnOnce(&mut P, &mut Turn<'_>) -> R,
    ) -> Result<R, StrategyError> {
        self.now = now;
        let Self {
            strategies,
            contexts,
            rng,
            ..
        } = self;
        let strategy = strategies
            .iter_mut()
            .find_map(|strategy| strategy.as_any_mut().downcast_mut::<P>());
        let Some(strategy) = strategy else {
            return Err(StrategyError(format!(
                "this engine has no strategy of the type {}",
                std::any::type_name::<P>()
            )));
        };
        let view = View(contexts);
        let mut turn = Turn {
            now,
            rng: &mut **rng,
            view: &view,
            writing: false,
            append: Vec::new(),
            open: Vec::new(),
        };
        let answer = call(strategy, &mut turn);
        let (append, open) = (turn.append, turn.open);
        for info in open {
            self.open_context(now, info);
        }
        for (context, payload) in append {
            // A control entry that its own strategy then refuses is the strategy's fault; the others still count.
            let _ = self.append_control(context, &payload);
        }
        self.settle_control();
        Ok(answer)
    }

    /// Lets the strategy write what it must: its own certificate, keys for devices that lack them.
    pub(super) fn run_duties(&mut self, context: ContextId, writing: bool) {
        for _ in 0..MOST_ROUNDS {
            let now = self.now;
            let Self {
                strategies,
                contexts,
                rng,
                ..
            } = self;
            let Some(strategy) = contexts.get(&context).map(|local| local.strategy) else {
                return;
            };
            let view = View(contexts);
            let mut turn = Turn {
                now,
                rng: &mut **rng,
                view: &view,
                writing,
                append: Vec::new(),
                open: Vec::new(),
            };
            if strategies[strategy].duties(&context, &mut turn).is_err() || turn.append.is_empty() {
                return;
            }
            for (context, payload) in turn.append {
                if self.append_control(context, &payload).is_err() {
                    return;
                }
            }
        }
    }

    /// Draws the consequences of control entries that came during this event.
    pub(super) fn settle_control(&mut self) {
        while let Some(context) = self.control_changed.pop_first() {
            self.run_duties(context, false);
            self.control_changed.remove(&context);
            self.refresh_standing(context);
            self.review_grants(context);
            self.retry_halted(context);
            self.check_caught_up(context);
        }
    }

    fn refresh_standing(&mut self, context: ContextId) {
        let Self {
            strategies,
            contexts,
            replica,
            ..
        } = self;
        let Some(local) = contexts.get_mut(&context) else {
            return;
        };
        let strategy = &strategies[local.strategy];
        let standing = strategy.standing(&context);
        if standing == local.standing {
            return;
        }
        local.standing = standing;
        // Who lost its own right, and who cannot vouch, does not look for what it built on.
        let vouches = strategy.vouch(&context, &[]).is_some() && !local.standing.has_lost(replica);
        let replica = *replica;
        let mut cut = Vec::new();
        let mut lifted = BTreeSet::new();
        for (log, state) in &local.logs {
            let cap = local.cap(&state.record.replica(), log, state.record.control);
            if state.record.seq > cap && !local.excluding.contains(log) {
                cut.push((*log, cap));
            }
        }
        for log in local
            .quarantined
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(log, _)| log)
        {
            lifted.insert(*log);
        }
        for (log, keep) in cut {
            lifted.remove(&log);
            if let Some(local) = self.contexts.get_mut(&context) {
                local.excluding.insert(log);
                local.incoming.remove(&log);
            }
            if vouches {
                let request = ReadRequest::BuiltOn {
                    context,
                    log,
                    from: keep + 1,
                    replica,
                };
                self.read(Purpose::BuiltOn(context, log), request);
            } else {
                self.read(
                    Purpose::Rewind(context, log, keep),
                    ReadRequest::Rewind { context, log, keep },
                );
            }
        }
        for log in lifted {
            self.read(
                Purpose::Readmit(context, log),
                ReadRequest::Quarantine { context, log },
            );
        }
    }

    /// What this replica had built on before it knew of the loss is vouched for; the rest is cut off.
    pub(super) fn on_built_on(
        &mut self,
        context: ContextId,
        log: LogId,
        entry: Option<Arc<Entry>>,
    ) {
        if let Some(entry) = entry
            && let Some(local) = self.contexts.get(&context)
        {
            let tip = Tip {
                log,
                seq: entry.header.seq,
                head: entry.id,
            };
            if let Some(payload) = self.strategies[local.strategy].vouch(&context, &[tip]) {
                let _ = self.append_control(context, &payload);
                self.settle_control();
            }
        }
        let Some(local) = self.contexts.get_mut(&context) else {
            return;
        };
        let Some(record) = local.logs.get(&log).map(|log| &log.record) else {
            return;
        };
        let keep = local.cap(&record.replica(), &log, record.control);
        if record.seq > keep {
            self.read(
                Purpose::Rewind(context, log, keep),
                ReadRequest::Rewind { context, log, keep },
            );
        } else {
            local.excluding.remove(&log);
            self.resume_after_cut(context, log);
        }
    }

    /// Cuts a log back: what comes after `keep` goes into quarantine, and the documents that it touched are rebuilt.
    pub(super) fn on_rewound(
        &mut self,
        context: ContextId,
        log: LogId,
        keep: u64,
        record: Option<LogRecord>,
        after: Vec<Arc<Entry>>,
    ) {
        let Some(local) = self.contexts.get_mut(&context) else {
            return;
        };
        let Some(author) = local.logs.get(&log).map(|log| log.record.replica()) else {
            return;
        };
        // A vouch may have come while the store was asked: then there is less to cut, and it is asked again.
        let cap = local.cap(&author, &log, false);
        if cap != keep {
            self.read(
                Purpose::Rewind(context, log, cap),
                ReadRequest::Rewind {
                    context,
                    log,
                    keep: cap,
                },
            );
            return;
        }
        local.excluding.remove(&log);
        let mut documents = BTreeSet::new();
        let mut kept = 0;
        for entry in &after {
            if let Some(document) = entry.header.kind.document() {
                documents.insert(document);
            }
            if let EntryKind::Create(document) = entry.header.kind {
                self.commits.delete(Key::Document(context, document));
            }
            if kept < self.config.max_quarantine {
                kept += 1;
                self.commits
                    .put(Key::Quarantine(context, log, entry.header.seq), pack(entry));
            }
        }
        for document in &documents {
            self.commits.delete(Key::Snapshot(context, *document));
        }
        self.commits.pending.ops.push(Op::Truncate {
            context,
            log,
            from: keep + 1,
        });
        local.tail.truncate(log, keep + 1);
        local.forget_frontier();
        *local.quarantined.entry(log).or_default() += kept;
        match record {
            Some(record) => {
                if let Some(state) = local.logs.get_mut(&log) {
                    local.remote_bytes = local
                        .remote_bytes
                        .saturating_sub(state.record.bytes - record.bytes);
                    state.durable = state.durable.min(record.seq);
                    state.durable_head = record.head;
                    state.record = record;
                }
                self.commits.log_changed(context, log);
            }
            None => {
                local.logs.remove(&log);
                self.commits.delete(Key::Log(context, log));
            }
        }
        for session in self.sessions.values_mut() {
            if let Some(link) = session.links.get_mut(&context) {
                link.pages.remove(&log);
                link.large.remove(&log);
                for position in [
                    link.sent.get_mut(&log),
                    link.held.as_mut().and_then(|held| held.get_mut(&log)),
                ] {
                    if let Some(position) = position {
                        *position = (*position).min(keep);
                    }
                }
            }
        }
        let documents = documents.into_iter().collect();
        self.effects
            .push(Effect::Notice(Notice::Rebuild { context, documents }));
        self.resume_after_cut(context, log);
    }

    fn resume_after_cut(&mut self, context: ContextId, log: LogId) {
        self.wake(context, log, 0);
        self.retry_halted(context);
        self.check_caught_up(context);
    }

    /// A vouch lifted a limit: what quarantine holds below the new one counts again.
    pub(super) fn on_readmit(&mut self, context: ContextId, log: LogId, page: Vec<Arc<Entry>>) {
        let mut documents = BTreeSet::new();
        for entry in page {
            let Some(local) = self.contexts.get_mut(&context) else {
                return;
            };
            let held = local.logs.get(&log).map_or(0, |log| log.record.seq);
            let seq = entry.header.seq;
            let Some(author) = local
                .logs
                .get(&log)
                .map(|log| log.record.replica())
                .or(entry.header.start.as_ref().map(|start| start.replica))
            else {
                return;
            };
            if seq > local.cap(&author, &log, false) || seq != held + 1 {
                break;
            }
            if let Some(count) = local.quarantined.get_mut(&log) {
                *count = count.saturating_sub(1);
            }
            let document = entry.header.kind.document();
            if self.admit(context, entry).is_err() {
                break;
            }
            self.commits.delete(Key::Quarantine(context, log, seq));
            documents.extend(document);
        }
        if !documents.is_empty() {
            self.retry_halted(context);
        }
    }
}
