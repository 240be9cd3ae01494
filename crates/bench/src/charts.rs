//! What is drawn of each figure.

use serde_json::Value;

use crate::{all::Outcome, svg};

/// The drawings of a figure, each with the name of its file: none where there is nothing to see.
pub(crate) fn of(outcome: &Outcome) -> Vec<(String, String)> {
    let figures = &outcome.figures;
    let bars = |title: &str, unit: &str, values: &[(&'static str, &str)]| {
        let found = values.iter().filter_map(|(name, key)| Some((*name, number(figures, key)?)));
        let found: Vec<_> = found.collect();
        let drawn = (found.len() > 1).then(|| svg::bars(title, unit, &found));
        drawn.map(|svg| (format!("{}.svg", outcome.name), svg)).into_iter().collect()
    };
    let lines = |file: &str, [title, across, unit]: [&str; 3], over: &str, of: &[(&'static str, &str)]| {
        let line = |(name, key): &(&'static str, &str)| {
            let points = figures.as_array()?.iter();
            let points: Vec<_> = points.filter_map(|point| number(point, over).zip(number(point, key))).collect();
            (!points.is_empty()).then_some((*name, points))
        };
        let found: Vec<_> = of.iter().filter_map(line).collect();
        (!found.is_empty()).then(|| (format!("{file}.svg"), svg::lines(title, across, unit, &found)))
    };
    match outcome.name {
        "live" => bars(
            "One change, until another device shows it: median",
            "µs",
            &[("bare relay", "raw_p50_us"), ("automerge", "p50_us"), ("yrs", "yrs_p50_us"), ("samod", "samod_p50_us")],
        ),
        "burst" => bars(
            "5,000 changes at once, until another device shows the last",
            "s",
            &[("Partita", "seconds"), ("samod", "samod_seconds")],
        ),
        "cold" => bars(
            "A new device fetches 1,000 small documents",
            "s",
            &[("Partita", "seconds"), ("samod", "samod_seconds")],
        ),
        "ingest" => bars(
            "Entries that become durable",
            "a second",
            &[("bare redb", "raw_redb_per_s"), ("store", "store_per_s"), ("whole relay", "relay_per_s")],
        ),
        "strategy" => bars(
            "Decision and routing of one entry",
            "ns",
            &[("by hand", "direct_ns"), ("single-owner", "single_owner_ns"), ("100 contexts", "multi_context_ns")],
        ),
        "seal" => bars(
            "Catching up",
            "entries a second",
            &[("plain", "plain_entries_per_s"), ("sealed, a group", "sealed_entries_per_s")],
        ),
        "fanout" => lines(
            "fanout",
            ["One entry, until each subscriber has it", "subscribers", "ms"],
            "n",
            &[("median", "p50_ms"), ("99th percentile", "p99_ms")],
        )
        .into_iter()
        .collect(),
        "growth" => [
            lines(
                "growth-open",
                ["Opening a context", "entries", "ms"],
                "entries",
                &[("after a close", "open_ms"), ("after a crash", "open_after_crash_ms")],
            ),
            lines(
                "growth-commit",
                ["Committing one entry", "entries before it", "µs"],
                "entries",
                &[("median", "commit_p50_us"), ("99th percentile", "commit_p99_us")],
            ),
        ]
        .into_iter()
        .flatten()
        .collect(),
        "group" => lines(
            "group",
            ["Shutting one member out", "members", "ms"],
            "n",
            &[
                ("Partita", "remove_ms"),
                ("bare HPKE boxes", "hpke_ms"),
                ("BeeKEM", "beekem_remove_ms"),
                ("MLS", "openmls_remove_ms"),
            ],
        )
        .into_iter()
        .collect(),
        _ => Vec::new(),
    }
}

fn number(figures: &Value, key: &str) -> Option<f64> {
    figures.get(key)?.as_f64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn outcome(name: &'static str, figures: Value) -> Outcome {
        Outcome { name, title: String::new(), rows: Vec::new(), figures, complaint: None }
    }

    #[test]
    fn a_peer_that_was_left_out_is_not_drawn() {
        let drawn = of(&outcome("live", json!({"p50_us": 1.0, "raw_p50_us": 2.0, "samod_p50_us": null})));
        let [(file, svg)] = &drawn[..] else { panic!("{drawn:?}") };
        assert!(file == "live.svg" && svg.contains("automerge") && !svg.contains("samod"));
    }

    #[test]
    fn what_was_not_measured_is_not_drawn() {
        assert!(
            of(&outcome("growth", Value::Null)).is_empty() && of(&outcome("burst", json!({"seconds": 1.0}))).is_empty()
        );
    }
}
