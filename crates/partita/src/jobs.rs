//! What waits for the worker.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    cell::Cell,
    worker::{DocumentParts, Job},
};

/// How many waiting jobs are looked through for one of the same document.
const LOOKED_THROUGH: usize = 64;

/// Jobs in order, but for one thing: what is to be applied to a document goes with what waits for it already, past other
/// documents' jobs. Libraries take a batch in little more time than a keystroke (automerge takes 200 changes of a page of
/// text in 7 ms, and in 760 ms one by one), and when several documents are edited, their entries arrive in turns.
#[derive(Default)]
pub(crate) struct Jobs(VecDeque<Job>);

impl Jobs {
    pub(crate) fn push(&mut self, job: Job) {
        let Job::Apply { cell, items } = job else {
            return self.0.push_back(job);
        };
        // Nothing passes a fence, or another job of its document.
        let before = self.0.iter_mut().rev().take(LOOKED_THROUGH).find(|job| concerns(job, &cell));
        match before {
            Some(Job::Apply { items: waiting, .. }) => waiting.extend(items),
            _ => self.0.push_back(Job::Apply { cell, items }),
        }
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is next.
    pub(crate) fn peek(&self) -> Option<&Job> {
        self.0.front()
    }

    pub(crate) fn pop(&mut self) -> Option<Job> {
        self.0.pop_front()
    }
}

fn concerns(job: &Job, document: &Arc<Cell>) -> bool {
    match job {
        Job::Load { parts: DocumentParts { cell, .. }, .. } | Job::Apply { cell, .. } | Job::Snapshot { cell, .. } => {
            Arc::ptr_eq(cell, document)
        }
        Job::Read(_) | Job::Rebuild(_) => false,
        Job::Fence(_) => true,
    }
}

#[cfg(all(test, feature = "yrs"))]
mod tests {
    use partita_core::{ActorSeed, Bytes, ContextId, DocumentId, Limits, LogId};

    use super::*;
    use crate::worker::{Item, ItemKind, Payload};

    fn cell(number: u8) -> Arc<Cell> {
        let id = DocumentId::from_bytes([number; 32]);
        let actor = ActorSeed::derive(&LogId::from_bytes([1; 16]), &id);
        Cell::new(ContextId::from_bytes([1; 32]), id, Arc::new(partita_yrs::Yrs), actor, Limits::default(), |_| {})
    }

    fn apply(cell: &Arc<Cell>, arrival: u64) -> Job {
        let (log, payload) = (LogId::from_bytes([1; 16]), Ok(Payload::Plain(Bytes::new())));
        let item = Item { arrival, log, seq: arrival, kind: ItemKind::Change, own: false, retried: false, payload };
        Job::Apply { cell: cell.clone(), items: vec![item] }
    }

    fn order(mut jobs: Jobs) -> Vec<(u8, Vec<u64>)> {
        let mut found = Vec::new();
        while let Some(job) = jobs.pop() {
            found.push(match job {
                Job::Apply { cell, items } => (cell.id.as_bytes()[0], items.iter().map(|item| item.arrival).collect()),
                _ => (0, Vec::new()),
            });
        }
        found
    }

    #[test]
    fn entries_of_several_documents_that_come_in_turns_are_one_batch_for_each() {
        let (a, b, mut jobs) = (cell(1), cell(2), Jobs::default());
        for turn in 0..3 {
            jobs.push(apply(&a, 2 * turn));
            jobs.push(apply(&b, 2 * turn + 1));
        }
        assert_eq!(order(jobs), [(1, vec![0, 2, 4]), (2, vec![1, 3, 5])]);
    }

    #[test]
    fn nothing_passes_a_fence_or_a_snapshot_of_its_own_document() {
        let (a, b, mut jobs) = (cell(1), cell(2), Jobs::default());
        jobs.push(apply(&a, 0));
        jobs.push(apply(&b, 1));
        jobs.push(Job::Snapshot { cell: a.clone(), through: 0, taken: 0 });
        jobs.push(apply(&a, 2));
        jobs.push(apply(&b, 3));
        let (fence, _) = tokio::sync::oneshot::channel();
        jobs.push(Job::Fence(fence));
        jobs.push(apply(&b, 4));
        let expected = [(1, vec![0]), (2, vec![1, 3]), (0, vec![]), (1, vec![2]), (0, vec![]), (2, vec![4])];
        assert_eq!(order(jobs), expected);
    }
}
