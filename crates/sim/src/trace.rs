//! What happened, for people and as a digest.

use std::time::Duration;

/// Everything that a run did, hashed; and as lines, where somebody wants to read it.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: blake3::Hasher,
    /// Prints each line as it comes.
    loud: bool,
    /// The latest lines, for the report of a failure.
    last: std::collections::VecDeque<String>,
    pub(crate) events: u64,
}

/// How many lines a failure's report begins with.
const LAST: usize = 40;

impl Trace {
    pub(crate) fn new(loud: bool) -> Self {
        Self { hash: blake3::Hasher::new(), loud, last: std::collections::VecDeque::new(), events: 0 }
    }

    pub(crate) fn is_loud(&self) -> bool {
        self.loud
    }

    /// Something that a reader wants to know.
    pub(crate) fn say(&mut self, now: Duration, line: impl AsRef<str>) {
        let line = format!("{:>10.3}  {}", now.as_secs_f64(), line.as_ref());
        self.hash.update(line.as_bytes());
        if self.loud {
            println!("{line}");
        }
        if self.last.len() == LAST {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// Something that happens very often: into the digest, and to whoever reads along.
    pub(crate) fn step(&mut self, now: Duration, bytes: &[u8], line: impl FnOnce() -> String) {
        self.events += 1;
        self.hash.update(&now.as_nanos().to_le_bytes()).update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        if self.loud {
            println!("{:>10.3}  {}", now.as_secs_f64(), line());
        }
    }

    pub(crate) fn last_lines(&self) -> Vec<String> {
        self.last.iter().cloned().collect()
    }

    pub(crate) fn digest(&self) -> [u8; 32] {
        *self.hash.finalize().as_bytes()
    }
}
