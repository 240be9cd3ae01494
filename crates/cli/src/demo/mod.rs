//! `partita demo`: replicas and a relay, each a process of its own. One owner's lose the network, die, come back and agree;
//! the members of a group come and go.

mod cable;
mod fleet;
mod gathering;
mod manuscript;
mod outcome;
mod process;
mod relay_process;
pub(crate) mod replica;
mod rights;
mod story;
mod teller;
mod typists;
mod wire;

use serde::Serialize;

use crate::{error::CliError, progress::Progress};

/// Which story, and how to show it.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Whose documents they are.
    #[arg(long, value_enum, default_value_t)]
    strategy: Strategy,
    /// Print the result as one line of JSON at the end.
    #[arg(long)]
    json: bool,
}

/// The partition strategy of the story.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Strategy {
    /// One owner's devices lose the network, die, come back and agree.
    #[default]
    SingleOwner,
    /// People share a group: one joins while nobody is there, one is removed and goes on writing.
    Group,
}

/// Tells the story and prints the table; whether it ended as it should.
pub(crate) async fn run(args: DemoArgs, progress: &Progress) -> Result<bool, CliError> {
    match args.strategy {
        Strategy::SingleOwner => {
            let outcome = story::tell(progress).await?;
            show(&outcome.table(), &verdict(&outcome), args.json.then_some(&outcome))?;
            Ok(outcome.ok)
        }
        Strategy::Group => {
            let rights = gathering::tell(progress).await?;
            show(&rights.table(), &rights.verdict(), args.json.then_some(&rights))?;
            Ok(rights.ok)
        }
    }
}

fn show<T: Serialize>(table: &str, verdict: &str, json: Option<&T>) -> Result<(), CliError> {
    println!("\n{table}\n{verdict}");
    if let Some(result) = json {
        let json = serde_json::to_string(result).map_err(|error| CliError::io("the result")(error.into()))?;
        println!("{json}");
    }
    Ok(())
}

fn verdict(outcome: &outcome::Outcome) -> String {
    match outcome {
        outcome::Outcome { ok: true, seconds, relay_store_bytes, .. } => format!(
            "All digests are equal and nothing durable was lost, in {seconds:.1} s. The relay stored {} and can read none of it.",
            outcome::bytes(*relay_store_bytes)
        ),
        outcome::Outcome { lost: 1.., .. } => "CHANGES THAT WERE REPORTED DURABLE ARE LOST.".into(),
        outcome::Outcome { digests_equal: false, .. } => "THE DIGESTS DIFFER.".into(),
        _ => "THE DOCUMENTS ARE NOT THE TEXT THAT WAS TYPED.".into(),
    }
}
