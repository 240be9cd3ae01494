//! What an agent of a concurrent trace sees while it types.

use super::{Trace, TraceError};

/// The transactions that one agent has seen, as its own go by.
pub(crate) struct Sight<'t> {
    trace: &'t Trace,
    seen: Vec<bool>,
    /// The agent's last own transaction: whatever it had seen lies under it.
    last: Option<usize>,
}

/// What an agent sees of others before it types a transaction.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    /// The version that it types at: transactions of which none lies under another. None: the text at the start.
    pub(crate) parents: Vec<usize>,
    /// What it sees for the first time, in an order in which it can be applied.
    pub(crate) news: Vec<usize>,
}

impl<'t> Sight<'t> {
    pub(crate) fn new(trace: &'t Trace) -> Self {
        Self { trace, seen: vec![false; trace.transactions.len()], last: None }
    }

    /// Goes on to the agent's transaction `index`.
    pub(crate) fn step(&mut self, index: usize) -> Result<Step, TraceError> {
        let Some(transaction) = self.trace.transactions.get(index) else { return Ok(Step::default()) };
        let mut covered = Vec::new();
        let mut news = Vec::new();
        let mut open = transaction.parents.clone();
        // Each transaction is news once, so all steps together are one walk over the trace.
        while let Some(parent) = open.pop() {
            if self.mark(parent) {
                news.push(parent);
                if let Some(under) = self.trace.transactions.get(parent) {
                    covered.extend_from_slice(&under.parents);
                    open.extend_from_slice(&under.parents);
                }
            }
        }
        if let Some(previous) = self.last
            && !transaction.parents.contains(&previous)
            && !covered.contains(&previous)
        {
            return Err(TraceError::Forgets { transaction: index, previous, agent: transaction.agent });
        }
        news.sort_unstable();
        covered.sort_unstable();
        let is_new = |parent: &usize| news.binary_search(parent).is_ok();
        let on_top = |parent: &usize| covered.binary_search(parent).is_err();
        let mut parents = transaction.parents.clone();
        parents.retain(|parent| on_top(parent) && (is_new(parent) || self.last == Some(*parent)));
        parents.sort_unstable();
        parents.dedup();
        self.mark(index);
        self.last = Some(index);
        Ok(Step { parents, news })
    }

    /// False if it had been seen.
    fn mark(&mut self, index: usize) -> bool {
        self.seen.get_mut(index).is_some_and(|seen| !std::mem::replace(seen, true))
    }
}
