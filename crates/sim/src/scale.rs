//! How cost grows: fleets of several sizes, as a table and two plots in Markdown.

use std::fmt::Write as _;

use partita_sim::{Fleet, Options, Outcome, Profile, run};

/// The fleet that the others are compared with.
const BASE: Fleet = Fleet { replicas: 200, contexts: 20, edits: 2000, hours: 1 };

/// One fleet and what it took.
struct Row {
    what: &'static str,
    fleet: Fleet,
    outcome: Outcome,
    seconds: f64,
}

fn measured(what: &'static str, fleet: Fleet) -> Result<Row, String> {
    let began = std::time::Instant::now();
    let outcome = run(1, &Options { fleet, ..Options::new(Profile::Fleet) });
    match &outcome.failure {
        Some((why, _)) => Err(format!("a fleet of {} replicas failed: {why}", fleet.replicas)),
        None => Ok(Row { what, fleet, outcome, seconds: began.elapsed().as_secs_f64() }),
    }
}

/// Runs all sizes and says what they took.
pub(crate) fn report() -> Result<String, String> {
    let replicas = [50, 100, 200, 400].map(|replicas| ("replicas", Fleet { replicas, ..BASE }));
    let contexts = [5, 10, 40, 80].map(|contexts| ("contexts", Fleet { contexts, ..BASE }));
    let edits = [500, 1000, 4000, 8000].map(|edits| ("edits", Fleet { edits, ..BASE }));
    let whole = [("the whole", Fleet::default())];
    let mut rows = Vec::new();
    for (what, fleet) in replicas.into_iter().chain(contexts).chain(edits).chain(whole) {
        eprintln!("{what}: {fleet:?}");
        rows.push(measured(what, fleet)?);
    }
    let mut out = String::from(
        "| varied | replicas | contexts | edits | hours | crashes | frames | MB in all | MB from the relay | commits | turns | seconds to run |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for Row { what, fleet, outcome, seconds } in &rows {
        let cost = outcome.cost;
        let _ = writeln!(
            out,
            "| {what} | {} | {} | {} | {} | {} | {} | {:.1} | {:.1} | {} | {} | {seconds:.0} |",
            fleet.replicas,
            fleet.contexts,
            cost.edits,
            fleet.hours,
            outcome.crashes,
            cost.frames,
            cost.bytes as f64 / 1e6,
            cost.relay_bytes as f64 / 1e6,
            cost.commits,
            cost.turns,
        );
    }
    let is_base = |row: &&Row| row.what == "replicas" && row.fleet.replicas == BASE.replicas;
    for (what, of) in [
        ("replicas", (|row: &Row| row.fleet.replicas) as fn(&Row) -> usize),
        ("contexts", |row| row.fleet.contexts),
        // People who have not opened a document yet open it instead of editing it: there are fewer than were asked for.
        ("edits", |row| row.outcome.cost.edits as usize),
    ] {
        let mut points: Vec<(usize, f64)> = rows
            .iter()
            .filter(|row| row.what == what || is_base(row))
            .map(|row| (of(row), row.outcome.cost.bytes as f64 / 1e6))
            .collect();
        points.sort_by_key(|(at, _)| *at);
        points.dedup_by_key(|(at, _)| *at);
        let places: Vec<String> = points.iter().map(|(at, _)| at.to_string()).collect();
        let bytes: Vec<String> = points.iter().map(|(_, bytes)| format!("{bytes:.1}")).collect();
        let _ = write!(
            out,
            "\n```mermaid\nxychart-beta\n    title \"MB on the wire by {what}\"\n    x-axis \"{what}\" [{}]\n    \
             y-axis \"MB\"\n    line [{}]\n```\n",
            places.join(", "),
            bytes.join(", "),
        );
    }
    Ok(out)
}
