//! All figures, one after the other, and a report of them.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    charts,
    markdown::{self, Machine},
};

/// The figures in the order of the report. A new one is added here, and to [`charts::of`] if it is to be drawn.
const FIGURES: [&str; 12] =
    ["live", "burst", "cold", "history", "ingest", "fanout", "idle", "growth", "resume", "strategy", "seal", "group"];

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where the report goes.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/benchmarks"))]
    folder: PathBuf,
    /// These figures only, by name.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Also print the figures as one line of JSON, the last one.
    #[arg(long)]
    json: bool,
}

/// What one figure came to.
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    /// The first line of its table, then the rows, each a name and a value.
    pub(crate) title: String,
    pub(crate) rows: Vec<(String, String)>,
    /// Null when it was not measured to the end.
    pub(crate) figures: Value,
    /// What it said when a promise was broken, or when it failed.
    pub(crate) complaint: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> crate::Outcome {
    let wanted = |name: &&str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == name);
    let mut outcomes = Vec::new();
    for name in FIGURES.into_iter().filter(wanted) {
        outcomes.push(measure(name)?);
    }
    std::fs::create_dir_all(&arguments.folder)?;
    let mut drawn = Vec::new();
    for outcome in &outcomes {
        for (file, svg) in charts::of(outcome) {
            std::fs::write(arguments.folder.join(&file), svg)?;
            drawn.push((outcome.name, file));
        }
    }
    let report = arguments.folder.join("README.md");
    std::fs::write(&report, markdown::report(&Machine::this(), &outcomes, &drawn))?;
    println!("{}", shown(&report).display());
    if arguments.json {
        let of = |outcome: &Outcome| (outcome.name.to_owned(), outcome.figures.clone());
        println!("{}", serde_json::to_string(&outcomes.iter().map(of).collect::<serde_json::Map<_, _>>())?);
    }
    let complaints: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| Some(format!("{}: {}", outcome.name, outcome.complaint.as_ref()?)))
        .collect();
    if complaints.is_empty() { Ok(()) } else { Err(complaints.join("; ").into()) }
}

fn shown(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Measures one figure in a process of its own, so that none leaves memory or threads to the next, and shows what it says.
fn measure(name: &'static str) -> Result<Outcome, Box<dyn std::error::Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut child = command.args([name, "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let (output, errors) = output.zip(errors).ok_or("a process has no pipes")?;
    // Nobody would read what it says on the other pipe until it ends, so somebody does.
    let errors = std::thread::spawn(move || std::io::read_to_string(errors).unwrap_or_default());
    let mut lines = Vec::new();
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        lines.push(line);
    }
    let kept = child.wait()?.success();
    let complaint = errors.join().unwrap_or_default();
    eprint!("{complaint}");
    let figures = lines.last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or(Value::Null);
    let (title, rows) = table(&lines);
    let complaint = (!kept).then(|| complaint.trim().trim_start_matches("Error: ").trim_matches('"').to_owned());
    Ok(Outcome { name, title, rows, figures, complaint })
}

/// The table that a figure printed for people: see `report::print`.
fn table(lines: &[String]) -> (String, Vec<(String, String)>) {
    let row = |line: &String| {
        let (name, value) = line.strip_prefix("  ")?.split_once("  ")?;
        Some((name.trim().to_owned(), value.trim().to_owned()))
    };
    let first = lines.iter().position(|line| line.starts_with("  ")).unwrap_or(0);
    let title = first.checked_sub(1).and_then(|at| lines.get(at)).cloned().unwrap_or_default();
    (title, lines.iter().filter_map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_back_without_what_was_said_before_and_after_it() {
        let lines =
            ["samod: left out", "ingest: entries", "  store       5, 40 %", "  bare redb   12", "{}"].map(Into::into);
        let (title, rows) = table(&lines);
        assert_eq!(title, "ingest: entries");
        assert_eq!(rows, [("store", "5, 40 %"), ("bare redb", "12")].map(|(name, value)| (name.into(), value.into())));
    }
}
