//! Waiting until all replicas hold the same changes.

use std::sync::Arc;

use partita::Document;
use tokio::{sync::Notify, task::JoinSet};

use super::{
    PATIENCE,
    script::{Script, unusable},
};
use crate::error::CliError;

/// Whether all replicas come to hold the same changes, with nothing pending.
pub(super) async fn settle<S: Script>(docs: &[Document<S>]) -> Result<bool, CliError> {
    let changed = Arc::new(Notify::new());
    let mut watchers = JoinSet::new();
    for doc in docs {
        let ((), mut changes) = doc.subscribe(|_| ()).map_err(unusable)?;
        let changed = changed.clone();
        watchers.spawn(async move {
            while changes.next().await.is_some() {
                changed.notify_one();
            }
        });
    }
    loop {
        if are_equal(docs)? {
            return Ok(true);
        }
        if tokio::time::timeout(PATIENCE, changed.notified()).await.is_err() {
            return are_equal(docs);
        }
    }
}

fn are_equal<S: Script>(docs: &[Document<S>]) -> Result<bool, CliError> {
    let mut first = None;
    for doc in docs {
        let version = doc.try_read(S::version).map_err(unusable)?;
        if doc.pending().map_err(unusable)? > 0 {
            return Ok(false);
        }
        match &first {
            None => first = Some(version),
            Some(first) if *first == version => {}
            Some(_) => return Ok(false),
        }
    }
    Ok(true)
}
