//! The `partita` command: a relay, groups, a demonstration, and traces of real editing.
//!
//! Exit codes: 0 fine, 1 the result is false (JSON is printed all the same), 2 usage, 3 environment.

mod demo;
mod error;
mod group;
mod progress;
mod relay;
mod replay;
mod table;
mod trace;

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::{error::CliError, progress::Progress};

/// Documents that work offline, never lose a change, and sync with exactly the replicas that may have them.
#[derive(Debug, Parser)]
#[command(name = "partita", version, about, arg_required_else_help = true, after_help = LOGGING)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const LOGGING: &str = "RUST_LOG says what is logged on standard error: warn if it is not set, info or debug for more; never a \
payload, a key or a name.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a relay: it stores and forwards what it cannot read.
    Relay(relay::RelayArgs),
    /// Found a group, invite people, and decide who may do what.
    Group(group::GroupArgs),
    /// Watch replicas and a relay lose the network, die, come back and agree; or a group whose members come and go.
    Demo(demo::DemoArgs),
    /// Type a recorded editing session again, through a relay, and compare every replica's text.
    Replay(replay::ReplayArgs),
    /// One replica that obeys lines of JSON on its standard input.
    #[command(hide = true)]
    DemoReplica(demo::replica::ReplicaArgs),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(log_filter())
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // Where a line cannot be written, it would panic: in whichever task or thread had something to say.
        .log_internal_errors(false)
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&CliError::io("cannot start threads")(error)),
    };
    let is_relay = matches!(arguments.command, Command::Relay(_));
    let code = match runtime.block_on(run(arguments.command)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => failed(&error),
    };
    if is_relay {
        // It has closed by now, or was told to wait no longer: neither for a disk, nor for a store that is being read.
        runtime.shutdown_background();
    }
    code
}

/// What `RUST_LOG` asks for. Whoever asks for something that is not understood hears of it: he waits for lines that never come.
fn log_filter() -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|error| {
        if std::env::var_os(EnvFilter::DEFAULT_ENV).is_some() {
            let _ = writeln!(std::io::stderr(), "partita: RUST_LOG is not understood, and taken for warn: {error}");
        }
        EnvFilter::new("warn")
    })
}

async fn run(command: Command) -> Result<bool, CliError> {
    let progress = Progress::detect();
    match command {
        Command::Relay(args) => relay::run(args).await,
        Command::Group(args) => group::run(args, &progress).await,
        Command::Demo(args) => demo::run(args, &progress).await,
        Command::Replay(args) => replay::run(args, &progress).await,
        Command::DemoReplica(args) => demo::replica::run(args).await,
    }
}

fn failed(error: &CliError) -> ExitCode {
    // Whoever cannot be told has the exit code.
    let _ = writeln!(std::io::stderr(), "partita: {error}");
    ExitCode::from(error.exit_code())
}
