//! Typing into a document as a person does, and watching what others type.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use partita::Changes;
use tokio::sync::mpsc;

use super::{Said, paper::Paper};
use crate::{
    demo::wire::{Event, Line, Word},
    error::CliError,
};

/// Types words, each at the end of its part and a change of its own, without waiting for the disk between two of them; tells
/// whenever more of them is durable.
pub(crate) async fn type_words(
    paper: &Paper,
    words: &[Word],
    pause: Duration,
    said: &Said,
    id: u64,
) -> Result<(), CliError> {
    let (typed, mut commits) = mpsc::unbounded_channel();
    let typing = async {
        for (number, word) in words.iter().enumerate() {
            let commit = paper.insert(word.part, &word.text)?;
            let _ = typed.send((number + 1, commit));
            if pause.is_zero() {
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(pause).await; // a person's pause, not a wait for anything
            }
        }
        drop(typed);
        Ok::<(), CliError>(())
    };
    let storing = async {
        while let Some((words, commit)) = commits.recv().await {
            commit.durable().await?;
            said.say(Line::Event(Event::Durable { id, words }));
        }
        Ok::<(), CliError>(())
    };
    tokio::try_join!(typing, storing).map(drop)
}

/// Tells of every change of a document, and of its counter.
pub(crate) async fn watch(paper: Paper, mut changes: Changes, said: Said) {
    let mut last = paper.ticked().unwrap_or_default();
    while changes.next().await.is_some() {
        let ticked = paper.ticked().unwrap_or_default();
        if ticked != last {
            last = ticked;
            said.say(Line::Event(Event::Tick { value: last, at: now() }));
        }
        said.say(Line::Event(Event::Changed { document: paper.id() }));
    }
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
