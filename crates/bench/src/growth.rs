//! What a long history costs: opening it, keeping it open, adding to it, resuming with it.

use std::{
    fs,
    io::{Seek as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use partita::{FileKeystore, single_owner::SingleOwner};
use partita_core::{ContextId, EntryKind};
use partita_protocol::NodeConfig;
use partita_redb::RedbStore;
use partita_single_owner::SingleOwnerRelay;
use partita_testing::samples;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use serde::{Deserialize, Serialize};

use crate::{
    author::{Device, fill},
    devices::Failure,
    pair::{self, End, Wire, now},
    relay_process::{Server, rss_bytes},
    report::{self, middle, quantile},
};

/// How often a history of each size is opened; the middle counts.
const ROUNDS: usize = 5;
/// How many changes are made one after the other, each committed by itself.
const SINGLES: usize = 500;
/// How many are committed together until then.
const TOGETHER: usize = 1000;
/// Sealed bytes of a payload.
const PAYLOAD: usize = 100;
/// What is synced to compare with.
const PAGE: [u8; 4096] = [7; 4096];

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many entries the context has, rising.
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 10_000, 100_000, 1_000_000])]
    entries: Vec<usize>,
    /// Also print the figures as one line of JSON, the last one.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Figures {
    entries: usize,
    /// The store and the node's context, in a process that has just begun.
    open_ms: f64,
    /// The same of a copy of the file that was made while it was open.
    open_after_crash_ms: f64,
    /// How much more memory that process then has in use.
    rss_bytes: f64,
    /// Sealed bytes, both ways, to bring one entry to a relay that lacks it.
    resume_bytes: usize,
    /// One entry, committed durably by itself.
    commit_p50_us: f64,
    commit_p99_us: f64,
}

/// Of a process that opens a history: see [`Figures`].
#[derive(Debug, Serialize, Deserialize)]
struct Opened {
    open_ms: f64,
    rss_bytes: f64,
}

pub(crate) fn run(arguments: &Arguments) -> crate::Outcome {
    let (mut figures, mut rows) = (Vec::<Figures>::new(), Vec::new());
    let mut history = History::begin().map_err(|error| error.to_string())?;
    for entries in &arguments.entries {
        let (measured, round_trips, sync_us) = history.measure(*entries).map_err(|error| error.to_string())?;
        rows.push((format!("{entries} entries"), measured.text(figures.first(), round_trips, sync_us)));
        figures.push(measured);
    }
    let rows: Vec<(&str, String)> = rows.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    report::print("growth: what a long history costs", &rows, &figures, arguments.json)
}

impl Figures {
    fn text(&self, first: Option<&Self>, round_trips: f64, sync_us: f64) -> String {
        let first = first.unwrap_or(self);
        let beside = |of: fn(&Self) -> f64| format!("{:.1} times the first", of(self) / of(first));
        [
            format!("open {:.1} ms ({})", self.open_ms, beside(|of| of.open_ms)),
            format!("after a crash {:.1} ms ({})", self.open_after_crash_ms, beside(|of| of.open_after_crash_ms)),
            format!("memory {:.1} MiB", self.rss_bytes / 1024.0 / 1024.0),
            format!("resume {} bytes in {round_trips} round trips", self.resume_bytes),
            format!(
                "commit p50 {:.0} µs ({}; {:.1} times a bare sync), p99 {:.0} µs",
                self.commit_p50_us,
                beside(|of| of.commit_p50_us),
                self.commit_p50_us / sync_us,
                self.commit_p99_us
            ),
        ]
        .join("; ")
    }
}

/// Opens a device's store and its context, and says what that took.
#[derive(Debug, clap::Args)]
pub(crate) struct OpenArguments {
    store: PathBuf,
    keystore: PathBuf,
}

pub(crate) fn open(arguments: &OpenArguments) -> crate::Outcome {
    let opened = open_here(&arguments.store, &arguments.keystore).map_err(|error| error.to_string())?;
    println!("{}", serde_json::to_string(&opened)?);
    Ok(())
}

fn open_here(store: &Path, keystore: &Path) -> Result<Opened, Failure> {
    let mut rng = ChaCha20Rng::seed_from_u64(std::process::id().into());
    let device = Device::load(&FileKeystore::open(keystore)?)?;
    let status = Path::new("/proc/self/status");
    let before = rss_bytes(status)?;
    let began = Instant::now();
    let _node = device.node(Box::new(RedbStore::open(store, pair::incarnation(&mut rng))?), &mut rng)?;
    let open_ms = began.elapsed().as_secs_f64() * 1e3;
    Ok(Opened { open_ms, rss_bytes: rss_bytes(status)?.saturating_sub(before) as f64 })
}

/// A device whose context grows.
struct History {
    folder: tempfile::TempDir,
    context: ContextId,
    /// How many changes were made.
    entries: usize,
    rng: ChaCha20Rng,
}

impl History {
    fn begin() -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (owner, _) = SingleOwner::create(&FileKeystore::create(folder.path().join("key"))?, &mut rng)?;
        Ok(Self { context: owner.context(), folder, entries: 0, rng })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Copies a file, and waits for the disk: the first sync of whoever opens it would have to.
    fn copy(&self, from: &str, to: &str) -> Result<(), Failure> {
        fs::copy(self.path(from), self.path(to))?;
        Ok(fs::File::open(self.path(to))?.sync_all()?)
    }

    /// The device's node, with its context open.
    fn open(&mut self) -> Result<End, Failure> {
        let device = Device::load(&FileKeystore::open(self.path("key"))?)?;
        let store = RedbStore::open(self.path("store"), pair::incarnation(&mut self.rng))?;
        device.node(Box::new(store), &mut self.rng)
    }

    /// Grows to so many entries. The figures, the round trips of resuming, and how long a bare sync takes here.
    fn measure(&mut self, entries: usize) -> Result<(Figures, f64, f64), Failure> {
        let mut node = self.open()?;
        let more = entries.saturating_sub(self.entries + SINGLES);
        fill(&mut node, self.context, more, PAYLOAD, TOGETHER, &mut self.rng)?;
        let mut bare = fs::File::create(self.path("bare"))?;
        let (mut commits, mut syncs) = (Vec::new(), Vec::new());
        for _ in 0..SINGLES {
            commits.push(self.commit_one(&mut node)?);
            syncs.push(sync(&mut bare)?);
        }
        commits.sort_unstable();
        syncs.sort_unstable();
        let sync_us = quantile(&syncs, 0.5).as_secs_f64() * 1e6;
        self.entries += more + SINGLES;
        for copy in ["relay", "crashed"] {
            self.copy("store", copy)?;
        }
        let (resume_bytes, round_trips) = self.resume(&mut node)?;
        drop(node);

        let (mut clean, mut crashed, mut memory) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let opened = self.open_elsewhere("store")?;
            clean.push(opened.open_ms);
            memory.push(opened.rss_bytes);
            self.copy("crashed", "copy")?;
            crashed.push(self.open_elsewhere("copy")?.open_ms);
        }
        for copy in ["relay", "crashed", "copy"] {
            fs::remove_file(self.path(copy))?;
        }
        let us = |share| quantile(&commits, share).as_secs_f64() * 1e6;
        let figures = Figures {
            entries,
            open_ms: middle(clean),
            open_after_crash_ms: middle(crashed),
            rss_bytes: middle(memory),
            resume_bytes,
            commit_p50_us: us(0.5),
            commit_p99_us: us(0.99),
        };
        Ok((figures, round_trips, sync_us))
    }

    /// One change: how long its commit took.
    fn commit_one(&mut self, node: &mut End) -> Result<Duration, Failure> {
        node.node.append(now(1), self.context, EntryKind::Change(samples::document(1)), &PAGE[..PAYLOAD])?;
        let began = Instant::now();
        node.settle().map_err(|error| error.to_string())?;
        Ok(began.elapsed())
    }

    /// Brings one entry to a relay that has everything else: bytes and round trips.
    fn resume(&mut self, node: &mut End) -> Result<(usize, f64), Failure> {
        self.commit_one(node)?;
        self.entries += 1;
        node.take_out();
        let store = RedbStore::open(self.path("relay"), pair::incarnation(&mut self.rng))?;
        let config = NodeConfig { accept_contexts: true, ..NodeConfig::default() };
        let (rng, key) = (pair::fork(&mut self.rng), Arc::new(samples::signing_key(200)));
        let mut relay = End::with(Box::new(store), rng, key, config, Box::new(SingleOwnerRelay::new()));
        let mut resumed = || {
            let mut wire = Wire::connect(self.entries as u64, node, &mut relay)?;
            wire.run()?;
            wire.disconnect()
        };
        let traffic = resumed().map_err(|error| error.to_string())?;
        if traffic.entries != 1 {
            return Err(format!("one entry was missing, and {} came", traffic.entries).into());
        }
        Ok((traffic.bytes, traffic.trips as f64 / 2.0))
    }

    /// Opens a copy of the store in a process of its own.
    fn open_elsewhere(&self, store: &str) -> Result<Opened, Failure> {
        let (store, keystore) = (self.path(store), self.path("key"));
        let mut process = Server::start(&["open-context".as_ref(), store.as_os_str(), keystore.as_os_str()])?;
        Ok(serde_json::from_str(&process.line()?)?)
    }
}

/// Writes one page to a file, and waits until it is on the disk.
fn sync(file: &mut fs::File) -> Result<Duration, Failure> {
    let began = Instant::now();
    file.rewind()?;
    file.write_all(&PAGE)?;
    file.sync_data()?;
    Ok(began.elapsed())
}
