//! One writer, many subscribers: how long an entry takes through a relay to each of them.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, TryStreamExt as _};
use partita_protocol::message::{Message, Run};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::{
    author::{Author, Device, entries, runs},
    bare::{self, Listener, Speaker},
    crowd::Crowd,
    devices::{Failure, PATIENCE},
    relay_process::RelayProcess,
    report::{self, middle, quantile},
};

/// Rounds of each, in turns with the bare relay; the middle counts.
const ROUNDS: usize = 5;
/// Entries in a round; the first ones warm everything up.
const ENTRIES: usize = 60;
const WARM_UP: usize = 10;
/// Sealed bytes of a payload.
const PAYLOAD: usize = 200;
/// How many sessions begin at the same time.
pub(crate) const AT_ONCE: usize = 64;
/// What the 99th percentile is to stay under with so many subscribers, in milliseconds.
const GOALS: [(usize, f64); 2] = [(10, 5.0), (1000, 100.0)];

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many subscribers: one figure for each.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 1000])]
    subscribers: Vec<usize>,
    /// Also print the figures as one line of JSON, the last one.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Figures {
    /// How many subscribers.
    n: usize,
    /// From the write until a subscriber has the decrypted frame.
    p50_ms: f64,
    p99_ms: f64,
    /// What the relay's process used for the entries of one round.
    relay_cpu_s: f64,
}

pub(crate) fn run(arguments: &Arguments) -> crate::Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (mut figures, mut rows) = (Vec::new(), Vec::new());
    for n in &arguments.subscribers {
        let [bare, ours] = runtime.block_on(measure(*n)).map_err(|error| error.to_string())?;
        let goal = GOALS.iter().find(|(of, _)| of == n).map_or(String::new(), |(_, ms)| format!(", goal {ms} ms"));
        rows.push((format!("{n} subscribers, bare relay"), bare.text(String::new())));
        let beside = format!(
            "{goal}: {:.1} and {:.1} times the bare relay, {:.1} times its processor time",
            ours.p50_ms / bare.p50_ms,
            ours.p99_ms / bare.p99_ms,
            ours.relay_cpu_s / bare.relay_cpu_s
        );
        rows.push((format!("{n} subscribers"), ours.text(beside)));
        figures.push(ours);
    }
    let rows: Vec<(&str, String)> = rows.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    report::print("fanout: one entry, until each subscriber has it", &rows, &figures, arguments.json)
}

impl Figures {
    fn text(&self, beside: String) -> String {
        let each = self.relay_cpu_s / (ENTRIES * self.n) as f64 * 1e6;
        format!("p50 {:.2} ms, p99 {:.2} ms{beside} ({each:.1} µs a delivery)", self.p50_ms, self.p99_ms)
    }
}

/// Which entry somebody got, and when.
type Arrived = mpsc::UnboundedSender<(u64, Instant)>;
pub(crate) type Arrivals = mpsc::UnboundedReceiver<(u64, Instant)>;

/// The bare relay's figures and ours.
async fn measure(n: usize) -> Result<[Figures; 2], Failure> {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let author = Author::new(&mut rng)?;
    let written = author.write(ROUNDS * ENTRIES, PAYLOAD, 1, &mut rng)?;
    let (control, changes): (Vec<_>, Vec<_>) = entries(&written).partition(|entry| entry.header.kind.is_control());

    let folder = tempfile::tempdir()?;
    let relay = RelayProcess::start(&folder.path().join("relay"))?;
    let (mut writer, mut listener, _) = bare::open(&relay.url, &author.device()?).await?;
    writer.say(&runs(control).into_iter().map(Message::Entries).collect::<Vec<_>>()).await?;
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let devices = (0..n).map(|_| author.another_device(&mut rng)).collect::<Result<Vec<Device>, _>>()?;
    let mut subscribers = tokio::task::JoinSet::new();
    for (speaker, listener) in open_all(&relay, devices).await? {
        subscribers.spawn(subscribe(speaker, listener, arrived.clone()));
    }
    // Acknowledgements are for the writer alone.
    subscribers.spawn(async move {
        loop {
            listener.hear().await?;
        }
    });

    let mut bare_relay = Crowd::gather(n).await?;
    let (mut bare_rounds, mut rounds) = (Vec::new(), Vec::new());
    for changes in changes.chunks(ENTRIES) {
        let cpu = bare_relay.server.cpu()?;
        let took = bare_relay.round(ENTRIES).await?;
        bare_rounds.push(Round::of(took, bare_relay.server.cpu()?.saturating_sub(cpu)));

        let cpu = relay.server.cpu()?;
        let mut took = Vec::new();
        for change in changes {
            let run = Run::of(vec![(*change).clone()]).ok_or("an entry is not signed")?;
            let (frame, seq) = (Message::encode_frame(&[Message::Entries(run)]), change.header.seq);
            took.push(deliver(seq, n, writer.send(&frame), &mut arrivals).await?);
        }
        rounds.push(Round::of(took, relay.server.cpu()?.saturating_sub(cpu)));
    }
    Ok([Round::figures(n, &bare_rounds), Round::figures(n, &rounds)])
}

/// Sends one thing, and waits until all subscribers have it: how long it took to each of them.
pub(crate) async fn deliver(
    number: u64,
    n: usize,
    send: impl Future<Output = Result<(), Failure>>,
    arrivals: &mut Arrivals,
) -> Result<Vec<Duration>, Failure> {
    let began = Instant::now();
    send.await?;
    let mut took = Vec::with_capacity(n);
    while took.len() < n {
        let arrived = tokio::time::timeout(PATIENCE, arrivals.recv()).await?;
        match arrived {
            Some((arrived, at)) if arrived == number => took.push(at.duration_since(began)),
            Some(_) => {} // the first entry rests on control entries, and comes with them
            None => return Err("the subscribers are gone".into()),
        }
    }
    Ok(took)
}

/// Opens a session for each device.
async fn open_all(relay: &RelayProcess, devices: Vec<Device>) -> Result<Vec<(Speaker, Listener)>, Failure> {
    let opening = devices.into_iter().map(|device| {
        let url = relay.url.clone();
        async move { bare::open(&url, &device).await.map(|(speaker, listener, _)| (speaker, listener)) }
    });
    futures_util::stream::iter(opening).buffer_unordered(AT_ONCE).try_collect().await
}

/// Reads what comes, and says when.
async fn subscribe(mut speaker: Speaker, mut listener: Listener, arrived: Arrived) -> Result<(), Failure> {
    loop {
        let messages = listener.hear().await?;
        let now = Instant::now();
        for message in &messages {
            match message {
                Message::Entries(run) => {
                    for entry in run.entries.iter().filter(|entry| !entry.header.kind.is_control()) {
                        arrived.send((entry.header.seq, now))?;
                    }
                }
                message => speaker.answer(message).await?,
            }
        }
    }
}

struct Round {
    p50_ms: f64,
    p99_ms: f64,
    cpu_s: f64,
}

impl Round {
    fn of(took: Vec<Vec<Duration>>, cpu: Duration) -> Self {
        let mut took: Vec<Duration> = took.into_iter().skip(WARM_UP).flatten().collect();
        took.sort_unstable();
        let at = |share| quantile(&took, share).as_secs_f64() * 1e3;
        Self { p50_ms: at(0.5), p99_ms: at(0.99), cpu_s: cpu.as_secs_f64() }
    }

    fn figures(n: usize, rounds: &[Self]) -> Figures {
        let of = |figure: fn(&Self) -> f64| middle(rounds.iter().map(figure).collect());
        Figures {
            n,
            p50_ms: of(|round| round.p50_ms),
            p99_ms: of(|round| round.p99_ms),
            relay_cpu_s: of(|round| round.cpu_s),
        }
    }
}
