//! `partita demo`: three replicas and a relay, each a process of its own, lose the network, die, come back and agree.

mod cable;
mod fleet;
mod manuscript;
mod outcome;
mod process;
mod relay_process;
pub(crate) mod replica;
mod story;
mod typists;
mod wire;

use crate::{error::CliError, progress::Progress};

/// How to show it.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Print the result as one line of JSON at the end.
    #[arg(long)]
    json: bool,
}

/// Tells the story and prints the table; whether all replicas ended with the same text and nothing durable was lost.
pub(crate) async fn run(args: DemoArgs, progress: &Progress) -> Result<bool, CliError> {
    let outcome = story::tell(progress).await?;
    println!("\n{}", outcome.table());
    println!("{}", verdict(&outcome));
    if args.json {
        let json = serde_json::to_string(&outcome).map_err(|error| CliError::io("the result")(error.into()))?;
        println!("{json}");
    }
    Ok(outcome.ok)
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
