//! How figures are printed.

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
