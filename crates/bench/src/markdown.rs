//! The report of all figures, for people who did not run them.

use std::{fmt::Write as _, process::Command};

use crate::all::Outcome;

/// Where and when the figures were measured.
pub(crate) struct Machine {
    cores: usize,
    processor: String,
    date: String,
    commit: String,
    profile: &'static str,
}

impl Machine {
    pub(crate) fn this() -> Self {
        let said = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
            let output = output.ok().filter(|output| output.status.success())?;
            Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = information.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let changed = said("git", &["status", "--porcelain"]).is_some_and(|files| !files.is_empty());
        let commit = said("git", &["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "unknown".into());
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            processor: processor.map_or_else(|| "unknown processor".into(), |(_, name)| name.into()),
            date: said("date", &["-u", "+%Y-%m-%d"]).unwrap_or_else(|| "unknown".into()),
            commit: if changed { commit + ", with changes" } else { commit },
            profile: if cfg!(debug_assertions) { "debug: these figures mean nothing" } else { "release" },
        }
    }
}

/// The report, with the drawings of each figure under it.
pub(crate) fn report(machine: &Machine, outcomes: &[Outcome], drawn: &[(&str, String)]) -> String {
    let Machine { cores, processor, date, commit, profile } = machine;
    let mut out = String::from("# Partita's figures, measured\n\n");
    out += "Written by `cargo run --release -p partita-bench -- all`; `crates/bench/README.md` says how each figure is measured.\n";
    out += "Times of one machine say little about another: read the ratios, each against a limit or a peer in the same run.\n\n";
    out += "| machine | date | commit | build |\n| --- | --- | --- | --- |\n";
    let _ = writeln!(out, "| {cores} cores, {processor} | {date} | {commit} | {profile} |");
    for outcome in outcomes {
        let (name, what) = outcome.title.split_once(": ").unwrap_or((outcome.name, &outcome.title));
        let _ = writeln!(out, "\n## {name}\n\n{}.\n", sentence(what));
        if let Some(complaint) = &outcome.complaint {
            let _ = writeln!(out, "**Not kept:** {complaint}.\n");
        }
        if !outcome.rows.is_empty() {
            out += "| what | figure |\n| --- | --- |\n";
        }
        for (name, value) in &outcome.rows {
            let _ = writeln!(out, "| {} | {} |", cell(name), cell(value));
        }
        for (_, file) in drawn.iter().filter(|(of, _)| *of == outcome.name) {
            let _ = writeln!(out, "\n![{}]({file})", file.trim_end_matches(".svg").replace('-', " "));
        }
    }
    out
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_the_machine_and_each_figure() {
        let machine = Machine {
            cores: 2,
            processor: "a processor".into(),
            date: "2026-11-29".into(),
            commit: "abc".into(),
            profile: "release",
        };
        let outcome = Outcome {
            name: "ingest",
            title: "ingest: entries that become durable".into(),
            rows: vec![("a|b".into(), "5".into())],
            figures: serde_json::Value::Null,
            complaint: Some("too slow".into()),
        };
        let text = report(&machine, &[outcome], &[("ingest", "ingest.svg".into()), ("idle", "idle.svg".into())]);
        let (head, rest) = text.split_once("\n## ").unwrap_or_default();
        assert!(head.ends_with("| 2 cores, a processor | 2026-11-29 | abc | release |\n"), "{head}");
        assert_eq!(
            rest,
            "ingest\n\nEntries that become durable.\n\n**Not kept:** too slow.\n\n| what | figure |\n| --- | --- |\n\
             | a\\|b | 5 |\n\n![ingest](ingest.svg)\n"
        );
    }
}
