//! Whoever tells a story.

use std::time::Instant;

use crate::progress::Progress;

/// Tells a story to whoever watches, line by line with the time.
#[derive(Debug)]
pub(crate) struct Teller<'p> {
    progress: &'p Progress,
    begun: Instant,
}

impl<'p> Teller<'p> {
    pub(crate) fn new(progress: &'p Progress) -> Self {
        Self { progress, begun: Instant::now() }
    }

    pub(crate) fn tell(&self, text: impl AsRef<str>) {
        self.progress.say(&format!("{:5.1} s  {}", self.seconds(), text.as_ref()));
    }

    /// How long the story has been told.
    pub(crate) fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }
}
