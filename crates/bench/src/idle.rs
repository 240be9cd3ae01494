//! What a connection that says nothing costs a relay: memory.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};
use partita_protocol::message::{Message, Run};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use serde::Serialize;
use tokio::sync::watch;

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
    /// Also print the figures as one line of JSON, the last one.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Figures {
    connections: usize,
    /// The growth of the relay's resident memory, once every connection was asked whether it is there and has answered. Each
    /// has opened its context, into which nobody has written.
    rss_bytes_per_connection: f64,
    /// The same once the relay holds the device's certificate, its keys and one change in each context.
    rss_bytes_per_connection_with_work: f64,
}

pub(crate) fn run(arguments: &Arguments) -> crate::Outcome {
    enough_files(arguments.connections)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let measured = runtime.block_on(measure(arguments.connections)).map_err(|error| error.to_string())?;
    let each = |now: u64| (now.saturating_sub(measured.before) as f64 / arguments.connections as f64).round();
    let kib = |bytes: f64| format!("{:.1} KiB", bytes / 1024.0);
    let figures = Figures {
        connections: arguments.connections,
        rss_bytes_per_connection: each(measured.opened),
        rss_bytes_per_connection_with_work: each(measured.worked),
    };
    let beside = |bytes: f64| format!("{}, {:.2} times the limit of {}", kib(bytes), bytes / LIMIT, kib(LIMIT));
    let rows = [
        ("connections, one context of its own each", arguments.connections.to_string()),
        ("relay's memory without connections", kib(measured.before as f64)),
        ("for each idle connection with its context", beside(figures.rss_bytes_per_connection)),
        ("with certificate, keys and a change in each", beside(figures.rss_bytes_per_connection_with_work)),
        ("relay's processor time to take one in", format!("{:.2} ms", measured.opening_ms)),
        ("and for its certificate, keys and change", format!("{:.2} ms", measured.working_ms)),
    ];
    report::print("idle: what a silent connection costs a relay", &rows, &figures, arguments.json)?;
    let kept = figures.rss_bytes_per_connection <= LIMIT;
    if kept { Ok(()) } else { Err("an idle connection costs more than was promised".into()) }
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
    /// Bytes.
    before: u64,
    opened: u64,
    worked: u64,
    opening_ms: f64,
    working_ms: f64,
}

/// How many connections have come so far.
#[derive(Default)]
struct Count(watch::Sender<usize>);

impl Count {
    fn one_more(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    async fn reach(&self, wanted: usize) -> Result<(), Failure> {
        let mut count = self.0.subscribe();
        tokio::time::timeout(PATIENCE, count.wait_for(|count| *count >= wanted)).await??;
        Ok(())
    }
}

/// What the connections are told together, and what is known of them.
#[derive(Default)]
struct Together {
    /// Whether they are to bring what they have.
    work: watch::Sender<bool>,
    /// How many were asked whether they are there: each is counted once before its work and once after.
    asked: Count,
    /// How many have brought it.
    worked: Count,
}

async fn measure(connections: usize) -> Result<Measured, Failure> {
    let folder = tempfile::tempdir()?;
    let relay = RelayProcess::start(&folder.path().join("relay"))?;
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let devices = (0..connections).map(|_| ready(&mut rng)).collect::<Result<Vec<_>, Failure>>()?;
    let (before, mut cpu) = (relay.server.rss_bytes()?, relay.server.cpu()?);
    let mut cpu_ms = || -> Result<f64, Failure> {
        let so_far = relay.server.cpu()?;
        let since = so_far.saturating_sub(std::mem::replace(&mut cpu, so_far));
        Ok(since.as_secs_f64() * 1e3 / connections as f64)
    };
    let together = Arc::new(Together::default());
    let opening = devices.into_iter().map(|(device, work)| {
        let (url, together) = (relay.url.clone(), together.clone());
        async move {
            let (speaker, listener, _) = bare::open(&url, &device).await?;
            Ok::<_, Failure>(tokio::spawn(stay(speaker, listener, work, together)))
        }
    });
    let staying: Vec<_> = futures_util::stream::iter(opening).buffer_unordered(AT_ONCE).try_collect().await?;
    let opening_ms = cpu_ms()?;
    together.asked.reach(connections).await?;
    let opened = relay.server.rss_bytes()?;

    cpu_ms()?;
    together.work.send_replace(true);
    together.worked.reach(connections).await?;
    let working_ms = cpu_ms()?;
    together.asked.reach(2 * connections).await?;
    let worked = relay.server.rss_bytes()?;
    if staying.iter().any(tokio::task::JoinHandle::is_finished) {
        return Err("a connection ended".into());
    }
    Ok(Measured { before, opened, worked, opening_ms, working_ms })
}

/// A device of an owner of its own, and what its relay is to get from it.
fn ready(rng: &mut ChaCha20Rng) -> Result<(Device, Vec<Run>), Failure> {
    let author = Author::new(rng)?;
    let written = author.write(1, PAYLOAD, 1, rng)?;
    Ok((author.device()?, runs(entries(&written))))
}

/// Says nothing but that it is there, and brings its work when it is told to.
async fn stay(
    mut speaker: Speaker,
    mut listener: Listener,
    work: Vec<Run>,
    together: Arc<Together>,
) -> Result<(), Failure> {
    let last = work.last().map(|run| (run.log, run.last_seq()));
    let work: Vec<Message> = work.into_iter().map(Message::Entries).collect();
    let (mut told, mut asked) = (together.work.subscribe(), false);
    loop {
        let messages = tokio::select! {
            told = told.changed() => {
                told?;
                speaker.say(&work).await?;
                continue;
            }
            messages = listener.hear() => messages?,
        };
        for message in messages {
            match message {
                Message::Refused(refused) => return Err(format!("the relay refused an entry: {}", refused.why).into()),
                Message::Ack { held, .. } if held.iter().any(|held| Some(*held) == last) => {
                    together.worked.one_more();
                    asked = false;
                }
                Message::Heartbeat { .. } => {
                    speaker.answer(&message).await?;
                    if !std::mem::replace(&mut asked, true) {
                        together.asked.one_more();
                    }
                }
                _ => {}
            }
        }
    }
}
