//! What follows from control entries: what this replica has to write by itself, how far logs count, who may stay.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
};

use partita_core::{
    ContextId, ContextInfo, ContextView, EpochId, Now, PartitionStrategy, ReplicaId, SignedTip, StrategyError, Turn,
};

use super::{Node, context::Context};
use crate::effect::{Effect, Notice};

/// Duties must come to rest; a strategy whose duties do not is cut off here.
const MOST_ROUNDS: usize = 32;

struct View<'a>(&'a BTreeMap<ContextId, Context>);

impl ContextView for View<'_> {
    fn logs_of(&self, context: &ContextId, replica: &ReplicaId) -> Vec<SignedTip> {
        self.0.get(context).map_or_else(Vec::new, |local| local.counted(replica))
    }

    fn contexts(&self) -> Vec<ContextInfo> {
        self.0.values().map(|local| local.info.clone()).collect()
    }
}

impl Node {
    /// Runs an application's call into its own plugin, also one that another strategy holds, and appends the control
    /// entries that it asks for.
    ///
    /// # Errors
    /// When no strategy is a `P`, or an entry cannot be written: its context is not open, the store failed.
    pub fn with_strategy<P: PartitionStrategy, R>(
        &mut self,
        now: Now,
        call: impl FnOnce(&mut P, &mut Turn<'_>) -> R,
    ) -> Result<R, StrategyError> {
        self.now = now;
        let Self { strategies, contexts, rng, .. } = self;
        let view = View(contexts);
        let mut turn = Turn::new(now, &mut **rng, &view);
        let (mut call, mut answer) = (Some(call), None);
        let mut visit = |plugin: &mut dyn Any, turn: &mut Turn<'_>| {
            let Some(plugin) = plugin.downcast_mut::<P>() else {
                return false;
            };
            answer = call.take().map(|call| call(plugin, turn));
            true
        };
        let found = strategies.iter_mut().any(|strategy| strategy.reach(&mut turn, &mut visit));
        let Some(answer) = answer.filter(|_| found) else {
            return Err(StrategyError(format!(
                "this engine has no strategy of the type {}",
                std::any::type_name::<P>()
            )));
        };
        let (append, open) = (turn.append, turn.open);
        for info in open {
            self.open_context(now, info);
        }
        let mut refused = None;
        for (context, payload) in append {
            // The others still count.
            if let Err(error) = self.append_control(context, &payload) {
                refused.get_or_insert(error);
            }
        }
        self.settle_control();
        match refused {
            Some(error) => Err(StrategyError(format!("a control entry was not written: {error}"))),
            None => Ok(answer),
        }
    }

    /// Lets the strategy write what it must: its own certificate, keys for devices that lack them.
    /// `past`: of a snapshot that waits, the epochs of what it stands for.
    pub(super) fn run_duties(&mut self, context: ContextId, writing: bool, past: &BTreeSet<EpochId>) {
        for _ in 0..MOST_ROUNDS {
            let now = self.now;
            let Self { strategies, contexts, rng, .. } = self;
            let Some(strategy) = contexts.get(&context).map(|local| local.strategy) else {
                return;
            };
            let view = View(contexts);
            let mut turn = Turn::new(now, &mut **rng, &view).writing(writing).past(past);
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
            self.run_duties(context, false, &BTreeSet::new());
            self.control_changed.remove(&context);
            self.refresh_standing(context);
            self.review_grants(context);
            self.forget_unheard_of(context);
            self.review.insert(context);
            self.effects.push(Effect::Notice(Notice::ControlChanged(context)));
        }
    }
}
