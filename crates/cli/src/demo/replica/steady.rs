//! Changing a document steadily until told to rest.

use std::time::Duration;

use tokio::sync::watch;

use super::paper::Paper;
use crate::error::CliError;

/// Types a word after each pause; done when all of them are durable.
pub(crate) async fn edit(
    paper: &Paper,
    part: usize,
    pause: Duration,
    mut rests: watch::Receiver<u64>,
) -> Result<u64, CliError> {
    let mut words = 0;
    loop {
        let commit = paper.insert(part, &format!("{words} "))?;
        words += 1;
        if rested(&mut rests, pause).await {
            // A log has no holes: with its last entry the others are durable.
            commit.durable().await?;
            return Ok(words);
        }
    }
}

/// Puts blobs, each durable before the next: they would be coalesced otherwise.
pub(crate) async fn pour(
    paper: &Paper,
    key: &str,
    bytes: usize,
    times: u64,
    pause: Duration,
    mut rests: watch::Receiver<u64>,
) -> Result<u64, CliError> {
    for done in 0..times {
        let filling = done.to_le_bytes()[0];
        paper.put_blob(key, vec![filling; bytes])?.durable().await?;
        if rested(&mut rests, pause).await {
            return Ok(done + 1);
        }
    }
    Ok(times)
}

/// Whether the pause was ended by the request to rest.
async fn rested(rests: &mut watch::Receiver<u64>, pause: Duration) -> bool {
    tokio::select! {
        biased;
        _ = rests.changed() => true,
        () = tokio::time::sleep(pause) => false, // a person's pause, not a wait for anything
    }
}
