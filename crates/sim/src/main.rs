//! The simulator's command.

mod scale;

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use clap::{Parser, Subcommand};
use partita_sim::{Options, Outcome, Profile, run};
use serde::Serialize;

/// Simulates whole fleets of Partita's replicas. The same seed is the same run.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Runs many seeds and says which of them failed.
    Run(Run),
    /// Runs one seed again, and prints what happens.
    Replay(Replay),
    /// Runs fleets of several sizes, and prints how bytes and work grow, as Markdown.
    Scale,
}

#[derive(Debug, clap::Args)]
struct Run {
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many replicas an owner's or group's context has at most in the beginning.
    #[arg(long)]
    replicas: Option<usize>,
    /// How large and hostile the worlds are.
    #[arg(long, value_enum, default_value_t = Profile::Small)]
    profile: Profile,
    /// Print a line of JSON at the end; it comes anyway, this leaves the rest out.
    #[arg(long)]
    json: bool,
    /// A law to break, by its name, to see whether it is noticed.
    #[cfg(feature = "planted")]
    #[arg(long, value_parser = bug)]
    planted: Option<partita_core::planted::Bug>,
    /// How many seeds run at once: one for each processor, if nothing is said.
    #[arg(long)]
    threads: Option<usize>,
}

#[derive(Debug, clap::Args)]
struct Replay {
    /// The seed.
    seed: u64,
    /// Print every frame and step, not only what people and troubles do.
    #[arg(long)]
    trace: bool,
    /// As it was run.
    #[arg(long)]
    replicas: Option<usize>,
    /// As it was run.
    #[arg(long, value_enum, default_value_t = Profile::Small)]
    profile: Profile,
    /// As it was run.
    #[cfg(feature = "planted")]
    #[arg(long, value_parser = bug)]
    planted: Option<partita_core::planted::Bug>,
}

#[cfg(feature = "planted")]
fn bug(name: &str) -> Result<partita_core::planted::Bug, String> {
    use partita_core::planted::Bug;
    let names = || Bug::ALL.iter().map(|bug| bug.name()).collect::<Vec<_>>().join(", ");
    Bug::from_name(name).ok_or_else(|| format!("there is no such bug; there are {}", names()))
}

/// The last line.
#[derive(Debug, Serialize)]
struct Summary {
    seeds: u64,
    failures: u64,
    first_failure: Option<u64>,
    events: u64,
    crashes: u64,
    faults: u64,
    virtual_hours: f64,
    seconds: f64,
    digest: String,
}

fn main() -> ExitCode {
    match Arguments::parse().what {
        What::Run(arguments) => run_many(&arguments),
        What::Replay(arguments) => replay(&arguments),
        What::Scale => match scale::report() {
            Ok(report) => {
                println!("{report}");
                ExitCode::SUCCESS
            }
            Err(why) => {
                eprintln!("{why}");
                ExitCode::FAILURE
            }
        },
    }
}

fn run_many(arguments: &Run) -> ExitCode {
    let began = Instant::now();
    let options = Options { replicas: arguments.replicas, ..Options::new(arguments.profile) };
    let available = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = arguments.threads.unwrap_or_else(available).max(1);
    let next = AtomicU64::new(arguments.from);
    let end = arguments.from.saturating_add(arguments.seeds);
    let outcomes: Mutex<BTreeMap<u64, Outcome>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                #[cfg(feature = "planted")]
                partita_core::planted::plant(arguments.planted);
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let outcome = run(seed, &options);
                    if let (Some((why, _)), false) = (&outcome.failure, arguments.json) {
                        println!("seed {seed} FAILED: {why}");
                    }
                    outcomes.lock().unwrap_or_else(PoisonError::into_inner).insert(seed, outcome);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut digest = blake3::Hasher::new();
    for outcome in outcomes.values() {
        digest.update(&outcome.digest);
    }
    let failed: Vec<&Outcome> = outcomes.values().filter(|outcome| outcome.failure.is_some()).collect();
    if let (Some(first), false) = (failed.first(), arguments.json)
        && let Some((why, lines)) = &first.failure
    {
        let profile = format!("{:?}", arguments.profile).to_lowercase();
        println!("\nThe first failure, seed {}, ended so:", first.seed);
        lines.iter().for_each(|line| println!("  {line}"));
        println!("{why}\nSee all of it: partita-sim replay {} --profile {profile} --trace", first.seed);
    }
    let summary = Summary {
        seeds: arguments.seeds,
        failures: failed.len() as u64,
        first_failure: failed.first().map(|outcome| outcome.seed),
        events: outcomes.values().map(|outcome| outcome.events).sum(),
        crashes: outcomes.values().map(|outcome| outcome.crashes).sum(),
        faults: outcomes.values().map(|outcome| outcome.faults).sum(),
        virtual_hours: outcomes.values().map(|outcome| outcome.virtual_seconds).sum::<f64>() / 3600.0,
        seconds: began.elapsed().as_secs_f64(),
        digest: digest.finalize().to_hex().to_string(),
    };
    match serde_json::to_string(&summary) {
        Ok(line) => println!("{line}"),
        Err(error) => eprintln!("the summary cannot be written: {error}"),
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn replay(arguments: &Replay) -> ExitCode {
    #[cfg(feature = "planted")]
    partita_core::planted::plant(arguments.planted);
    let options = Options { replicas: arguments.replicas, trace: arguments.trace, ..Options::new(arguments.profile) };
    let outcome = run(arguments.seed, &options);
    let digest = blake3::Hash::from_bytes(outcome.digest).to_hex().to_string();
    match outcome.failure {
        Some((why, lines)) => {
            if !arguments.trace {
                lines.iter().for_each(|line| println!("{line}"));
            }
            println!("seed {} FAILED: {why}\ndigest {digest}", arguments.seed);
            ExitCode::FAILURE
        }
        None => {
            println!("seed {} is well: {} events, digest {digest}", arguments.seed, outcome.events);
            ExitCode::SUCCESS
        }
    }
}
