//! What the demonstration ends with: a table for people, JSON for programs.

use std::time::Duration;

use serde::Serialize;

use crate::table::{Align, table};

/// What came out of it.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    /// Whether all replicas show the same, that is the text, and nothing durable was lost.
    pub(crate) ok: bool,
    pub(crate) digests_equal: bool,
    pub(crate) text_equals_readme: bool,
    /// Changes that were reported durable before the kill, and how many of them were missing after it.
    pub(crate) durable_before_kill: usize,
    pub(crate) lost: usize,
    pub(crate) seconds: f64,
    pub(crate) relay_store_bytes: u64,
    pub(crate) replicas: Vec<Row>,
}

/// One replica.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) replica: String,
    pub(crate) documents: usize,
    pub(crate) entries: u64,
    pub(crate) set_aside: usize,
    /// The bytes of the entries, and of the file that they are in.
    pub(crate) entry_bytes: u64,
    pub(crate) store_bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
    /// Half of the other replicas' single changes were visible here after so long.
    pub(crate) latency_ms_p50: f64,
    /// Over the visible state of all documents.
    pub(crate) digest: String,
}

impl Outcome {
    /// The table, as plain text.
    pub(crate) fn table(&self) -> String {
        let head =
            ["replica", "documents", "entries", "in entries", "in file", "sent", "received", "latency p50", "digest"];
        let mut lines = vec![head.map(str::to_owned).to_vec()];
        lines.extend(self.replicas.iter().map(|row| row.cells().to_vec()));
        // Names and digests to the left, numbers to the right.
        let mut align = [Align::Right; 9];
        (align[0], align[8]) = (Align::Left, Align::Left);
        table(&lines, &align)
    }
}

impl Row {
    fn cells(&self) -> [String; 9] {
        [
            format!("{} {}", self.name, self.replica.get(..8).unwrap_or(&self.replica)),
            self.documents.to_string(),
            self.entries.to_string(),
            bytes(self.entry_bytes),
            bytes(self.store_bytes),
            bytes(self.sent_bytes),
            bytes(self.received_bytes),
            format!("{:.1} ms", self.latency_ms_p50),
            self.digest.get(..16).unwrap_or(&self.digest).to_owned(),
        ]
    }
}

/// Bytes for people.
pub(crate) fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.2} MB", bytes as f64 / 1e6),
    }
}

/// The middle one of some durations, in milliseconds.
pub(crate) fn p50_ms(mut durations: Vec<Duration>) -> f64 {
    durations.sort_unstable();
    durations.get(durations.len() / 2).map_or(f64::NAN, |middle| middle.as_secs_f64() * 1e3)
}

/// One digest over the digests of several documents.
pub(crate) fn together(digests: &[(String, String)]) -> String {
    let mut hasher = blake3::Hasher::new();
    for (document, digest) in digests {
        hasher.update(document.as_bytes()).update(digest.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}
