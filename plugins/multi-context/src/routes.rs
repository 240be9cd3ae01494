//! Whose a context is.

use std::collections::BTreeMap;

use partita_core::{ContextId, ContextInfo, ContextKind, PartitionStrategy, Refusal, StrategyEffect, StrategyError};

use crate::nobody::Nobody;

struct Member {
    /// The kinds for which it is asked.
    kinds: Vec<ContextKind>,
    strategy: Box<dyn PartitionStrategy>,
}

/// Strategies, and which of them each context belongs to. A context that was given to one is never given to another.
///
/// Questions (`&self`) never change a route. Routes are learnt where the node says that it has a context, where a control
/// entry is given, and where an application's call opens one: all of these are `&mut self`.
#[derive(Default)]
pub(crate) struct Routes {
    members: Vec<Member>,
    kinds: Vec<ContextKind>,
    homes: BTreeMap<ContextId, usize>,
    /// Contexts that are here and nobody's yet, with those that could have them: all of the kind who have taken every
    /// control entry so far.
    waiting: BTreeMap<ContextId, Vec<usize>>,
    nobody: Nobody,
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routes")
            .field("members", &self.members.len())
            .field("kinds", &self.kinds)
            .field("homes", &self.homes)
            .finish_non_exhaustive()
    }
}

impl Routes {
    /// Another strategy, for all of its kinds.
    pub(crate) fn add(&mut self, strategy: Box<dyn PartitionStrategy>) {
        let kinds = strategy.kinds().to_vec();
        self.add_for(kinds, strategy);
    }

    /// Another strategy, for those of its kinds that no earlier one is asked for.
    pub(crate) fn add_for_new_kinds(&mut self, strategy: Box<dyn PartitionStrategy>) {
        let mut kinds = strategy.kinds().to_vec();
        kinds.retain(|kind| !self.kinds.contains(kind));
        self.add_for(kinds, strategy);
    }

    fn add_for(&mut self, kinds: Vec<ContextKind>, strategy: Box<dyn PartitionStrategy>) {
        for kind in &kinds {
            if !self.kinds.contains(kind) {
                self.kinds.push(kind.clone());
            }
        }
        self.members.push(Member { kinds, strategy });
        self.learn_named_by(self.members.len() - 1);
    }

    pub(crate) fn kinds(&self) -> &[ContextKind] {
        &self.kinds
    }

    pub(crate) fn contexts(&self) -> Vec<ContextInfo> {
        let named = self.members.iter().enumerate().flat_map(|(at, member)| {
            let contexts = member.strategy.contexts().into_iter();
            contexts.filter(move |info| self.homes.get(&info.id) == Some(&at))
        });
        named.collect()
    }

    /// The strategy of a context, or the one that denies everything.
    pub(crate) fn at(&self, context: &ContextId) -> &dyn PartitionStrategy {
        match self.home(context).and_then(|home| self.members.get(home)) {
            Some(member) => &*member.strategy,
            None => &self.nobody,
        }
    }

    /// The same, to be changed.
    pub(crate) fn at_mut(&mut self, context: &ContextId) -> &mut dyn PartitionStrategy {
        let home = self.home(context);
        match home.and_then(|home| self.members.get_mut(home)) {
            Some(member) => &mut *member.strategy,
            None => &mut self.nobody,
        }
    }

    pub(crate) fn home(&self, context: &ContextId) -> Option<usize> {
        self.homes.get(context).copied()
    }

    /// The strategy of a context whose kind was said too: an unknown kind is told from a context that is nobody's.
    ///
    /// # Errors
    /// The refusal for whoever asked.
    pub(crate) fn of(&self, context: &ContextInfo) -> Result<&dyn PartitionStrategy, Refusal> {
        if !self.kinds.contains(&context.kind) {
            return Err(Refusal::UnknownKind);
        }
        let member = self.home(&context.id).and_then(|home| self.members.get(home));
        let member = member.filter(|member| member.kinds.contains(&context.kind));
        member.map(|member| &*member.strategy).ok_or(Refusal::Denied)
    }

    /// The strategies that know a kind, in order.
    pub(crate) fn of_kind<'a>(
        &'a self,
        kind: &'a ContextKind,
    ) -> impl Iterator<Item = (usize, &'a dyn PartitionStrategy)> {
        let members = self.members.iter().enumerate().filter(move |(_, member)| member.kinds.contains(kind));
        members.map(|(at, member)| (at, &*member.strategy))
    }

    /// Those to whom a context could go.
    pub(crate) fn could_have(&self, context: &ContextInfo) -> Vec<usize> {
        let of_kind = || self.of_kind(&context.kind).map(|(at, _)| at).collect();
        self.waiting.get(&context.id).cloned().unwrap_or_else(of_kind)
    }

    pub(crate) fn member(&self, at: usize) -> Option<&dyn PartitionStrategy> {
        self.members.get(at).map(|member| &*member.strategy)
    }

    pub(crate) fn member_mut(&mut self, at: usize) -> Option<&mut dyn PartitionStrategy> {
        self.members.get_mut(at).map(|member| &mut *member.strategy)
    }

    /// Whether none of them ever waits for the application.
    pub(crate) fn never_wait(&self) -> bool {
        self.members.iter().all(|member| member.strategy.never_waits())
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// A context belongs to this strategy from now on, unless it belongs to one already or the kind is not its own;
    /// whether it does so only now.
    pub(crate) fn give(&mut self, context: &ContextInfo, at: usize) -> bool {
        let knows = self.members.get(at).is_some_and(|member| member.kinds.contains(&context.kind));
        if !knows || self.homes.contains_key(&context.id) {
            return false;
        }
        self.waiting.remove(&context.id);
        self.homes.insert(context.id, at);
        true
    }

    /// The contexts that strategies name belong to whoever names them first.
    pub(crate) fn learn_named(&mut self) {
        for at in 0..self.members.len() {
            self.learn_named_by(at);
        }
    }

    fn learn_named_by(&mut self, at: usize) {
        for context in self.members.get(at).map(|member| member.strategy.contexts()).unwrap_or_default() {
            self.give(&context, at);
        }
    }

    /// The node has this context, and nothing tells yet whose it is.
    pub(crate) fn wait(&mut self, context: &ContextInfo) -> bool {
        let could = self.could_have(context);
        self.waiting.entry(context.id).or_insert(could);
        false
    }

    /// A context was unloaded. Whose it is stays known; what waits is given to all who could have it once more.
    pub(crate) fn forget(&mut self, context: &ContextId) {
        self.waiting.remove(context);
        // Whoever could have had it heard of its control entries, too.
        self.members.iter_mut().for_each(|member| member.strategy.forget(context));
    }

    /// A control entry of a waiting context, which comes from the store: all who could have the context get it, so that
    /// whoever has it in the end lacks none. Who does not take it cannot have the context; it is the last one's.
    pub(crate) fn ask_all(
        &mut self,
        context: &ContextId,
        mut ask: impl FnMut(&mut dyn PartitionStrategy) -> Result<Vec<StrategyEffect>, StrategyError>,
    ) -> Result<Vec<StrategyEffect>, StrategyError> {
        let mut answer = Err(StrategyError("no strategy here takes this control entry".into()));
        let mut took = Vec::new();
        for at in self.waiting.get(context).cloned().unwrap_or_default() {
            if let Some(Ok(effects)) = self.member_mut(at).map(&mut ask) {
                took.push(at);
                answer = Ok(effects);
            }
        }
        if let [only] = took[..] {
            self.homes.insert(*context, only);
            self.waiting.remove(context);
        } else if !took.is_empty() {
            self.waiting.insert(*context, took);
        }
        answer
    }
}
