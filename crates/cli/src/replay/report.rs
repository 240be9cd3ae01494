//! What came of a replay.

use serde::Serialize;

use crate::error::CliError;

/// The result, in the order in which the JSON has it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) trace: String,
    pub(crate) crdt: &'static str,
    pub(crate) replicas: usize,
    pub(crate) transactions: usize,
    /// Whether all replicas held the same changes and showed the trace's last text.
    pub(crate) matches: bool,
    pub(crate) matches_after_reopen: bool,
    /// From the first keystroke until all were equal.
    pub(crate) seconds: f64,
    /// What each replica's store uses.
    pub(crate) store_bytes: Vec<u64>,
    /// See [`Wire`](super::counting::Wire).
    pub(crate) wire_bytes: u64,
    pub(crate) entries: u64,
    pub(crate) digest: String,
}

impl Report {
    pub(crate) fn print_json(&self) -> Result<(), CliError> {
        let line = serde_json::to_string(self).map_err(|error| CliError::Change(error.to_string()))?;
        println!("{line}");
        Ok(())
    }

    pub(crate) fn print_table(&self) {
        let verdict = |matches| if matches { "yes" } else { "NO" };
        let stores: Vec<String> = self.store_bytes.iter().map(|bytes| kib(*bytes)).collect();
        let per_second = self.transactions as f64 / self.seconds.max(f64::EPSILON);
        println!("trace                  {}", self.trace);
        println!("CRDT                   {}", self.crdt);
        println!("replicas               {}", self.replicas);
        println!("transactions           {}", self.transactions);
        println!("text matches           {}", verdict(self.matches));
        println!("  after reopening      {}", verdict(self.matches_after_reopen));
        println!("time                   {:.2} s, {per_second:.0} transactions per second", self.seconds);
        println!("entries                {}", self.entries);
        println!("bytes on the wire      {}", kib(self.wire_bytes));
        println!("bytes in each store    {}", stores.join(", "));
        println!("digest                 {}", self.digest);
    }
}

fn kib(bytes: u64) -> String {
    format!("{:.1} KiB", bytes as f64 / 1024.0)
}
