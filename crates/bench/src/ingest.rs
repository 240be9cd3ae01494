//! How many entries a second become durable: by the store alone, through a whole relay, and by bare redb.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use partita_core::{Batch, Durability, Key, Op, Store as _};
use partita_protocol::message::Message;
use partita_redb::RedbStore;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use redb::TableDefinition;
use serde::Serialize;

use crate::{
    author::{Author, Device, entries, runs, stored_bytes},
    bare,
    devices::{Failure, PATIENCE},
    pair,
    relay_process::{Committed, RelayProcess},
    report::{self, middle},
};

/// Rounds of relay, store and redb in turns; the middle counts.
const ROUNDS: usize = 5;
/// Devices of as many owners, which offer their logs at the same time.
const AUTHORS: usize = 4;
/// Sealed bytes of a payload.
const PAYLOAD: usize = 200;
/// How many entries a device commits together. The store gets as many of these together as the relay commits.
const PIECE: usize = 256;
/// What the store may cost beside bare redb, and what a relay is to reach.
const LEAST_SHARE: f64 = 0.35;
const GOAL: f64 = 100_000.0;

const TABLE: TableDefinition<'_, &[u8; 12], &[u8]> = TableDefinition::new("entries");

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many entries each of the four devices offers.
    #[arg(long, default_value_t = 50_000)]
    entries: usize,
    /// Also print the figures as one line of JSON, the last one.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Figures {
    /// Committed by the redb store in batches of the size that the relay made, with their logs' records.
    store_per_s: f64,
    /// From the first frame until the relay has acknowledged all entries as durable.
    relay_per_s: f64,
    /// The same bytes in the same batches, in one table of redb, as durable.
    raw_redb_per_s: f64,
}

pub(crate) fn run(arguments: &Arguments) -> crate::Outcome {
    measure(arguments).map_err(|error| error.to_string().into())
}

fn measure(arguments: &Arguments) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut offers = Vec::new();
    let mut written = Vec::new();
    for _ in 0..AUTHORS {
        let author = Author::new(&mut rng)?;
        let batches = author.write(arguments.entries, PAYLOAD, PIECE, &mut rng)?;
        offers.push(Offer::new(author.device()?, &batches));
        written.push(batches);
    }
    let pieces = in_turns(written);
    let folder = tempfile::tempdir()?;
    let (mut relay, mut store, mut raw, mut cpu) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut each = 0;
    for round in 0..ROUNDS {
        let path = |name: &str| folder.path().join(format!("{round} {name}"));
        let through = runtime.block_on(through_relay(&path("relay"), &offers))?;
        each = usize::try_from(through.committed.entries / through.committed.commits.max(1))?;
        let batches: Vec<Batch> = pieces.chunks(each.div_ceil(PIECE).max(1)).map(together).collect();
        let count = entries(&batches).count() as f64;
        let per_s = |took: Duration| count / took.as_secs_f64();
        relay.push(per_s(through.took));
        cpu.push((through.cpu.as_secs_f64(), through.committed.seconds / through.took.as_secs_f64()));
        store.push(per_s(into_store(&path("store"), &batches, &mut rng)?));
        raw.push(per_s(into_redb(&path("redb"), &batches)?));
        for name in ["relay", "store", "redb"] {
            std::fs::remove_file(path(name))?;
        }
    }
    let figures = Figures { store_per_s: middle(store), relay_per_s: middle(relay), raw_redb_per_s: middle(raw) };
    let share = |per_s: f64| format!("{per_s:.0}, {:.1} % of redb", per_s / figures.raw_redb_per_s * 100.0);
    let (seconds, storing): (Vec<f64>, Vec<f64>) = cpu.into_iter().unzip();
    let busy = format!("{:.2} s, its store committing {:.0} % of the time", middle(seconds), middle(storing) * 100.0);
    let rows = [
        ("entries, of four devices", (arguments.entries * AUTHORS).to_string()),
        ("entries in one of the relay's commits", each.to_string()),
        ("bare redb: entries a second", format!("{:.0}", figures.raw_redb_per_s)),
        ("store: entries a second", format!("{} (at least {:.0} %)", share(figures.store_per_s), LEAST_SHARE * 100.0)),
        ("relay: entries a second", format!("{} (goal {GOAL})", share(figures.relay_per_s))),
        ("relay: processor time", busy),
    ];
    report::print("ingest: entries that become durable", &rows, &figures, arguments.json)
        .map_err(|error| error.to_string())?;
    if figures.store_per_s >= figures.raw_redb_per_s * LEAST_SHARE {
        Ok(())
    } else {
        Err("the store costs more beside redb than was promised".into())
    }
}

/// A device with everything that it will say.
struct Offer {
    device: Device,
    /// Each with the credit that it costs.
    frames: Vec<(Bytes, u64)>,
    /// Its last entry.
    last: Option<(partita_core::LogId, u64)>,
}

impl Offer {
    fn new(device: Device, batches: &[Batch]) -> Self {
        let runs = runs(entries(batches));
        let last = runs.last().map(|run| (run.log, run.last_seq()));
        let frame = |run| {
            let run: partita_protocol::message::Run = run;
            let cost = run.cost();
            (Message::encode_frame(&[Message::Entries(run)]), cost)
        };
        Self { device, frames: runs.into_iter().map(frame).collect(), last }
    }
}

struct Through {
    took: Duration,
    committed: Committed,
    cpu: Duration,
}

/// All devices offer what they have to a new relay, until it has acknowledged everything.
async fn through_relay(store: &Path, offers: &[Offer]) -> Result<Through, Failure> {
    let mut relay = RelayProcess::start(store)?;
    let mut sessions = Vec::new();
    for offer in offers {
        sessions.push((offer, bare::open(&relay.url, &offer.device).await?));
    }
    let (cpu, began) = (relay.server.cpu()?, Instant::now());
    let offering = sessions.into_iter().map(|(offer, (speaker, listener, credit))| async move {
        tokio::time::timeout(PATIENCE, bring(offer, speaker, listener, credit)).await?
    });
    futures_util::future::try_join_all(offering).await?;
    let took = began.elapsed();
    Ok(Through { took, cpu: relay.server.cpu()?.saturating_sub(cpu), committed: relay.committed()? })
}

/// Sends what the relay has room for until it has acknowledged the last entry.
async fn bring(
    offer: &Offer,
    mut speaker: bare::Speaker,
    mut listener: bare::Listener,
    credit: u64,
) -> Result<(), Failure> {
    let mut credit = i64::try_from(credit)?;
    let mut frames = offer.frames.iter();
    loop {
        while credit > 0
            && let Some((frame, cost)) = frames.next()
        {
            speaker.send(frame).await?;
            credit -= i64::try_from(*cost)?;
        }
        for message in listener.hear().await? {
            match message {
                Message::Credit(bytes) => credit += i64::try_from(bytes)?,
                Message::Ack { held, .. } if held.iter().any(|held| Some(*held) == offer.last) => return Ok(()),
                Message::Refused(refused) => return Err(format!("the relay refused an entry: {}", refused.why).into()),
                message => speaker.answer(&message).await?,
            }
        }
    }
}

/// One batch of each author after the other.
fn in_turns(written: Vec<Vec<Batch>>) -> Vec<Batch> {
    let mut of_each: Vec<_> = written.into_iter().map(Vec::into_iter).collect();
    let mut pieces = Vec::new();
    loop {
        let before = pieces.len();
        pieces.extend(of_each.iter_mut().filter_map(Iterator::next));
        if pieces.len() == before {
            return pieces;
        }
    }
}

/// What a node that gets these at once commits: all entries, and the record of each log as it is after them.
fn together(pieces: &[Batch]) -> Batch {
    let mut logs = std::collections::BTreeMap::new();
    let mut ops = Vec::new();
    for op in pieces.iter().flat_map(|piece| &piece.ops) {
        match op {
            Op::Put(key @ Key::Log(..), value) => drop(logs.insert(key.clone(), value.clone())),
            op => ops.push(op.clone()),
        }
    }
    ops.extend(logs.into_iter().map(|(key, value)| Op::Put(key, value)));
    Batch { ops }
}

fn into_store(path: &Path, batches: &[Batch], rng: &mut ChaCha20Rng) -> Result<Duration, Failure> {
    let store = RedbStore::open(path, pair::incarnation(rng))?;
    let began = Instant::now();
    for batch in batches {
        store.commit(batch, Durability::Durable)?;
    }
    Ok(began.elapsed())
}

fn into_redb(path: &Path, batches: &[Batch]) -> Result<Duration, Failure> {
    // By author and arrival, as in the store.
    let rows = |batch: &Batch| -> Vec<([u8; 12], Bytes)> {
        let row = |op: &Op| match op {
            Op::Append(stored) => {
                let mut key = [0; 12];
                key[..4].copy_from_slice(&stored.entry.header.context.as_bytes()[..4]);
                key[4..].copy_from_slice(&stored.arrival.to_be_bytes());
                Some((key, stored_bytes(&stored.entry)))
            }
            _ => None,
        };
        batch.ops.iter().filter_map(row).collect()
    };
    let batches: Vec<_> = batches.iter().map(rows).collect();
    let database = redb::Builder::new().set_cache_size(64 << 20).create(path)?;
    let began = Instant::now();
    for batch in batches {
        let mut transaction = database.begin_write()?;
        transaction.set_quick_repair(true);
        let mut table = transaction.open_table(TABLE)?;
        for (key, row) in batch {
            table.insert(&key, &row[..])?;
        }
        drop(table);
        transaction.commit()?;
    }
    Ok(began.elapsed())
}
