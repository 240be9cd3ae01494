//! Partita's figures. A table for people, then one line of JSON; ratios against a limit or a peer in the same run,
//! because absolute times mean nothing on a shared machine.

mod owners;
mod pair;
mod report;
mod resume;
mod strategy;

use clap::{Parser, Subcommand};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Measures Partita.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    figure: Figure,
}

#[derive(Debug, Subcommand)]
enum Figure {
    /// What a reconnect costs: when nothing changed, and when one entry of many is missing.
    Resume(resume::Arguments),
    /// What it costs that partition strategies are plugins, beside a live change.
    Strategy(strategy::Arguments),
}

fn main() -> Outcome {
    match Arguments::parse().figure {
        Figure::Resume(arguments) => resume::run(&arguments),
        Figure::Strategy(arguments) => strategy::run(&arguments),
    }
}
