//! How figures are printed.

use std::time::Duration;

use serde::Serialize;

/// A table for people; with `json`, one line for programs after it, the last one.
pub(crate) fn print(title: &str, rows: &[(&str, String)], figures: &impl Serialize, json: bool) -> crate::Outcome {
    println!("{title}");
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in rows {
        println!("  {name:width$}  {value}");
    }
    if json {
        println!("{}", serde_json::to_string(figures)?);
    }
    Ok(())
}

/// The middle of some figures.
pub(crate) fn middle(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

/// How long this share of all took at most; they are sorted.
pub(crate) fn quantile(sorted: &[Duration], share: f64) -> Duration {
    sorted.get((sorted.len() as f64 * share) as usize).copied().unwrap_or_default()
}
