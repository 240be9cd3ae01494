//! One replica types, the others follow.

use std::sync::Arc;

use indicatif::ProgressBar;
use partita::Document;

use super::script::Script;
use crate::{error::CliError, trace::Trace};

/// After how many transactions the bar moves.
const STEP: usize = 256;

/// Types the whole trace on the first replica, as fast as it goes, each transaction as a change of its own.
pub(super) async fn play<S: Script>(
    docs: &[Document<S>],
    trace: &Arc<Trace>,
    base: S::Mark,
    bar: &ProgressBar,
) -> Result<(), CliError> {
    let Some(doc) = docs.first().cloned() else { return Ok(()) };
    let (trace, bar) = (trace.clone(), bar.clone());
    // Away from the threads that carry the network.
    let typing = tokio::task::spawn_blocking(move || {
        let mut pen = S::pen(&doc, &base)?;
        for (index, transaction) in trace.transactions.iter().enumerate() {
            S::append(&mut pen, &doc, &transaction.patches)?;
            if index % STEP == 0 {
                bar.set_position(index as u64);
            }
        }
        Ok(())
    });
    typing.await.map_err(|error| CliError::Change(error.to_string()))?
}
