//! What a connection that says nothing costs a relay: memory.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::{StreamExt as _, TryStreamExt as _};
use partita::RelayUrl;
use partita_protocol::message::Message;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use serde::Serialize;
use tokio::sync::Notify;

use crate::{
    author::{Author, Device, entries, runs},
    bare::{self, Listener, Speaker},
    devices::{Failure, PATIENCE},
    fanout::AT_ONCE,
    relay_process::RelayProcess,
    report,
};

/// Sealed bytes of the one change in each context.
const PAYLOAD: usize = 200;
/// What one connection may cost.
const LIMIT: f64 = 24.0 * 1024.0;
/// Files that a process needs beside its connections.
const OTHER_FILES: usize = 200;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many connections, each with a context of an owner of its own.
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// Contexts that were opened and into which nobody ever wrote anything, not even the device's certificate.
    #[arg(long)]
    empty: bool,
    /// Also print the figures as one line of JSON, the last one.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Figures {
    connections: usize,
    /// The growth of the relay's resident memory, once every connection was asked whether it is there and has answered.
    rss_bytes_per_connection: f64,
}

pub(crate) fn run(arguments: &Arguments) -> crate::Outcome {
    enough_files(arguments.connections)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let measured =
        runtime.block_on(measure(arguments.connections, arguments.empty)).map_err(|error| error.to_string())?;
    let per_connection = measured.after.saturating_sub(measured.before) as f64 / arguments.connections as f64;
    let kib = |bytes: f64| format!("{:.1} KiB", bytes / 1024.0);
    let limit = format!(" (at most {}): {:.2} times that", kib(LIMIT), per_connection / LIMIT);
    let holds = if arguments.empty { "nothing" } else { "the device's certificate, its keys, one change" };
    let rows = [
        ("connections, one context of its own each", arguments.connections.to_string()),
        ("each context holds", holds.into()),
        ("relay's memory without connections", kib(measured.before as f64)),
        ("with all of them, idle", kib(measured.after as f64)),
        ("for each connection", kib(per_connection) + &limit),
        ("relay's processor time to take one in", format!("{:.2} ms", measured.cpu_ms)),
    ];
    let figures = Figures { connections: arguments.connections, rss_bytes_per_connection: per_connection.round() };
    report::print("idle: what a silent connection costs a relay", &rows, &figures, arguments.json)?;
    if per_connection <= LIMIT { Ok(()) } else { Err("an idle connection costs more than was promised".into()) }
}

/// A process must be able to open as many files as there are connections: the clients are in this one, the relay inherits.
fn enough_files(connections: usize) -> Result<(), Box<dyn std::error::Error>> {
    let needed = connections + OTHER_FILES;
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    match soft.map(str::parse::<usize>) {
        Some(Ok(soft)) if soft < needed => Err(format!(
            "this shell allows {soft} open files, and {needed} are needed: run `ulimit -n {needed}` before"
        )
        .into()),
        _ => Ok(()), // there is no limit
    }
}

struct Measured {
    before: u64,
    after: u64,
    cpu_ms: f64,
}

async fn measure(connections: usize, empty: bool) -> Result<Measured, Failure> {
    let folder = tempfile::tempdir()?;
    let relay = RelayProcess::start(&folder.path().join("relay"))?;
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let devices = (0..connections).map(|_| ready(empty, &mut rng)).collect::<Result<Vec<_>, Failure>>()?;
    let (before, cpu) = (relay.server.rss_bytes()?, relay.server.cpu()?);
    let asked = Arc::new((AtomicUsize::new(0), Notify::new()));
    let opening = devices.into_iter().map(|(device, work)| {
        let (url, asked) = (relay.url.clone(), asked.clone());
        let first = move || {
            if asked.0.fetch_add(1, Ordering::Relaxed) + 1 == connections {
                asked.1.notify_one();
            }
        };
        async move {
            let (speaker, listener) = settle_in(url, device, work).await?;
            Ok::<_, Failure>(tokio::spawn(stay(speaker, listener, first)))
        }
    });
    let staying: Vec<_> = futures_util::stream::iter(opening).buffer_unordered(AT_ONCE).try_collect().await?;
    let cpu_ms = relay.server.cpu()?.saturating_sub(cpu).as_secs_f64() * 1e3 / connections as f64;
    tokio::time::timeout(PATIENCE, asked.1.notified()).await?;
    let after = relay.server.rss_bytes()?;
    if staying.iter().any(tokio::task::JoinHandle::is_finished) {
        return Err("a connection ended".into());
    }
    Ok(Measured { before, after, cpu_ms })
}

/// A device of an owner of its own, and what its relay is to get from it.
fn ready(empty: bool, rng: &mut ChaCha20Rng) -> Result<(Device, Vec<Message>), Failure> {
    let author = Author::new(rng)?;
    let written = if empty { Vec::new() } else { author.write(1, PAYLOAD, 1, rng)? };
    Ok((author.device()?, runs(entries(&written)).into_iter().map(Message::Entries).collect()))
}

/// Opens a session, and brings the relay what the device has: it is idle once that is acknowledged.
async fn settle_in(url: RelayUrl, device: Device, work: Vec<Message>) -> Result<(Speaker, Listener), Failure> {
    let (mut speaker, mut listener, _) = bare::open(&url, &device).await?;
    let last = work.iter().rev().find_map(|message| match message {
        Message::Entries(run) => Some((run.log, run.last_seq())),
        _ => None,
    });
    if last.is_none() {
        return Ok((speaker, listener));
    }
    speaker.say(&work).await?;
    loop {
        for message in listener.hear().await? {
            match message {
                Message::Ack { held, .. } if held.iter().any(|held| Some(*held) == last) => {
                    return Ok((speaker, listener));
                }
                Message::Refused(refused) => return Err(format!("the relay refused an entry: {}", refused.why).into()),
                message => speaker.answer(&message).await?,
            }
        }
    }
}

/// Says nothing but that it is there; tells of the first time that it was asked.
async fn stay(mut speaker: Speaker, mut listener: Listener, first: impl FnOnce()) -> Result<(), Failure> {
    let mut first = Some(first);
    loop {
        for message in listener.hear().await? {
            speaker.answer(&message).await?;
            if let Message::Heartbeat { .. } = message
                && let Some(first) = first.take()
            {
                first();
            }
        }
    }
}
