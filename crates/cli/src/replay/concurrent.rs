//! Each agent is a replica and types what its author typed, at the version that its author saw.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use indicatif::ProgressBar;
use partita::{Changes, Document};
use tokio::{runtime::Handle, sync::watch, task::JoinSet};

use super::{
    PATIENCE,
    script::{Script, Seen, Slip, unusable},
};
use crate::{
    error::CliError,
    trace::{Sight, Trace, TraceError},
};

/// What the agents know of each other beside the network: by which mark a transaction is found. Nobody goes on before what
/// a mark stands for has arrived in the own document.
struct Board<S: Script> {
    trace: Arc<Trace>,
    path: PathBuf,
    base: S::Mark,
    marks: Vec<OnceLock<S::Mark>>,
    bar: ProgressBar,
    /// Becomes true when an agent fails: the others would wait for it forever.
    failed: watch::Sender<bool>,
}

/// Types the trace: the first replicas are its agents.
pub(super) async fn play<S: Script>(
    docs: &[Document<S>],
    trace: &Arc<Trace>,
    base: S::Mark,
    path: &Path,
    bar: &ProgressBar,
) -> Result<(), CliError> {
    let board = Arc::new(Board::<S> {
        trace: trace.clone(),
        path: path.to_owned(),
        base,
        marks: trace.transactions.iter().map(|_| OnceLock::new()).collect(),
        bar: bar.clone(),
        failed: watch::Sender::new(false),
    });
    let mut agents = JoinSet::new();
    for (agent, doc) in docs.iter().take(trace.writers()).enumerate() {
        let (board, doc) = (board.clone(), doc.clone());
        // Away from the threads that carry the network.
        agents.spawn_blocking(move || {
            let typed = board.type_as(agent, &doc);
            if typed.is_err() {
                board.failed.send_replace(true);
            }
            typed
        });
    }
    let mut result = Ok(());
    while let Some(ended) = agents.join_next().await {
        let typed = match ended {
            Ok(typed) => typed,
            Err(panicked) => {
                board.failed.send_replace(true);
                Err(CliError::Change(panicked.to_string()))
            }
        };
        // The first failure is the cause of the others.
        result = result.and(typed);
    }
    result
}

impl<S: Script> Board<S> {
    fn type_as(&self, agent: usize, doc: &Document<S>) -> Result<(), CliError> {
        let ((), changes) = doc.subscribe(|_| ()).map_err(unusable)?;
        let mut inbox = Inbox { doc, changes, failed: self.failed.subscribe(), agent };
        let mut pen = S::pen(doc, &self.base)?;
        let mut sight = Sight::new(&self.trace);
        for (index, transaction) in self.trace.transactions.iter().enumerate() {
            if transaction.agent != agent {
                continue;
            }
            let step = sight.step(index).map_err(|error| error.at(&self.path))?;
            let news = inbox.wait_for(|| self.marks(&step.news))?;
            let mut parents = self.marks(&step.parents).unwrap_or_default();
            if parents.is_empty() {
                parents.push(&self.base);
            }
            let seen = Seen { parents: &parents, news: &news };
            let hand_out = |mark| drop(self.marks[index].set(mark));
            S::insert(&mut pen, doc, seen, &transaction.patches, hand_out).map_err(|slip| match slip {
                Slip::Place(place) => TraceError::Position { transaction: index, place }.at(&self.path),
                Slip::Refused(_) => slip.into(),
            })?;
            self.bar.inc(1);
        }
        Ok(())
    }

    /// The marks of these transactions, once all were typed.
    fn marks(&self, transactions: &[usize]) -> Option<Vec<&S::Mark>> {
        transactions.iter().map(|index| self.marks.get(*index)?.get()).collect()
    }
}

/// What arrives at an agent's replica.
struct Inbox<'d, S> {
    doc: &'d Document<S>,
    changes: Changes,
    failed: watch::Receiver<bool>,
    agent: usize,
}

impl<S: Script> Inbox<'_, S> {
    /// Waits until the marks are known and what they stand for is here.
    fn wait_for<'m>(&mut self, marks: impl Fn() -> Option<Vec<&'m S::Mark>>) -> Result<Vec<&'m S::Mark>, CliError> {
        loop {
            // A mark is handed out before its transaction leaves, so whoever sees this too early hears of it again.
            if let Some(marks) = marks()
                && (marks.is_empty() || self.doc.try_read(|view| S::holds(view, &marks)).map_err(unusable)?)
            {
                return Ok(marks);
            }
            let arrived = Handle::current().block_on(async {
                tokio::select! {
                    change = tokio::time::timeout(PATIENCE, self.changes.next()) => change.map_err(|_| "nothing arrived for a minute"),
                    _ = self.failed.wait_for(|failed| *failed) => Err("another agent failed"),
                }
            });
            let gone = |reason: &str| CliError::Replica { name: self.agent.to_string(), reason: reason.to_owned() };
            arrived.map_err(gone)?.ok_or_else(|| gone("its engine is closed"))?;
        }
    }
}
