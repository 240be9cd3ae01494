//! What it costs that relays can read nothing: catching up with a group beside catching up in the clear.

use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use partita_core::{
    ContextId, ContextInfo, DeviceKeys, EntryKind, HeaderPrefix, Opened, PartitionStrategy, PayloadOpener, Store,
};
use partita_group::{Group, History, Policy, Role};
use partita_protocol::{Arrival, Node, NodeConfig, Notice};
use partita_redb::RedbStore;
use partita_single_owner::{PLAIN_KIND, SingleOwner};
use partita_testing::{MemoryKeystore, MemoryStore, samples};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use serde::Serialize;

use crate::{
    pair::{self, End, Wire, now},
    report,
};

/// How many documents one writer writes in, in turns.
const DOCUMENTS: usize = 8;
/// How long a payload is: anything in between.
const PAYLOAD: std::ops::Range<usize> = 60..201;
/// How many members the group has, one device each.
const MEMBERS: usize = 8;
/// What sealing may cost.
const LEAST_SHARE: f64 = 0.85;
const MOST_EXTRA: f64 = 60.0;

type Failure = Box<dyn std::error::Error>;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many entries the reader lacks.
    #[arg(long, default_value_t = 50_000)]
    entries: usize,
    /// How many rounds each figure is the middle of; plain and sealed take turns.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Also print the figures as one line of JSON, the last one.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Figures {
    /// Two nodes on one thread, over an encrypted wire: until the one that had nothing holds the entries of a plain context
    /// durably, in a file, and every payload was opened, on a second thread as in an engine.
    plain_entries_per_s: f64,
    /// The same of a group's context.
    sealed_entries_per_s: f64,
    /// On the wire, both ways together.
    extra_bytes_per_entry: f64,
}

pub(crate) fn run(arguments: &Arguments) -> crate::Outcome {
    let folder = tempfile::tempdir()?;
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let plain = Side::plain(arguments.entries, &mut rng)?;
    let sealed = Side::sealed(arguments.entries, &mut rng)?;
    let (mut files, mut memory) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for round in 0..arguments.rounds {
        for (at, side) in [&plain, &sealed].into_iter().enumerate() {
            let path = folder.path().join(format!("{round} {at}"));
            let store = RedbStore::open(&path, pair::incarnation(&mut rng))?;
            files[at].push(side.catch_up(Box::new(store), arguments.entries, &mut rng)?);
            std::fs::remove_file(path)?;
            let store = MemoryStore::new(pair::incarnation(&mut rng));
            memory[at].push(side.catch_up(Box::new(store), arguments.entries, &mut rng)?);
        }
    }
    let per_s = |rounds: &[CaughtUp]| arguments.entries as f64 / middle(rounds, |one| one.whole).as_secs_f64();
    let bytes = |rounds: &[CaughtUp]| rounds.first().map_or(0, |one| one.bytes) as f64 / arguments.entries as f64;
    let figures = Figures {
        plain_entries_per_s: per_s(&files[0]),
        sealed_entries_per_s: per_s(&files[1]),
        extra_bytes_per_entry: bytes(&files[1]) - bytes(&files[0]),
    };
    let share = figures.sealed_entries_per_s / figures.plain_entries_per_s;
    let ns = |took: Duration| took.as_nanos() as f64 / arguments.entries as f64;
    let of = |rounds: &[CaughtUp]| {
        let [whole, taking, opening] =
            [middle(rounds, |one| one.whole), middle(rounds, |one| one.taking), middle(rounds, |one| one.opening)]
                .map(ns);
        format!(
            "{whole:.0} ns, of which the reader takes {taking:.0} to judge and store, and beside that {opening:.0} to open"
        )
    };
    let readers = |rounds: &[CaughtUp]| middle(rounds, CaughtUp::of_reader).as_secs_f64();
    let beside = |plain: f64, sealed: f64| format!("{:.1} %", plain / sealed * 100.0);
    let rows = [
        ("entries, of one writer", arguments.entries.to_string()),
        ("until all are stored and opened", "the nodes on one thread, opening on another".into()),
        ("plain, single-owner: entries a second", format!("{:.0}", figures.plain_entries_per_s)),
        ("sealed, a group: entries a second", format!("{:.0}", figures.sealed_entries_per_s)),
        ("sealed beside plain", format!("{:.1} % (at least {:.0})", share * 100.0, LEAST_SHARE * 100.0)),
        ("one plain entry", of(&files[0])),
        ("one sealed entry", of(&files[1])),
        ("one plain entry, store in memory", of(&memory[0])),
        ("one sealed entry, store in memory", of(&memory[1])),
        ("sealed beside plain, the reader's two threads added up", beside(readers(&files[0]), readers(&files[1]))),
        ("the same, store in memory", beside(readers(&memory[0]), readers(&memory[1]))),
        ("bytes an entry on the wire, plain", format!("{:.1}", bytes(&files[0]))),
        ("bytes more when sealed", format!("{:.1} (at most {MOST_EXTRA})", figures.extra_bytes_per_entry)),
    ];
    report::print("seal: catching up with a group beside catching up in the clear", &rows, &figures, arguments.json)?;
    let kept = share >= LEAST_SHARE && figures.extra_bytes_per_entry <= MOST_EXTRA;
    if kept { Ok(()) } else { Err("sealing costs more than was promised".into()) }
}

/// What a reader did until it had caught up.
struct CaughtUp {
    /// Judging and storing what came.
    taking: Duration,
    /// Opening payloads, on the other thread.
    opening: Duration,
    /// From the connection on, both ends and the wire's encryption one after the other, until the last payload was opened.
    whole: Duration,
    bytes: usize,
}

impl CaughtUp {
    fn of_reader(&self) -> Duration {
        self.taking + self.opening
    }
}

fn middle(rounds: &[CaughtUp], of: impl Fn(&CaughtUp) -> Duration) -> Duration {
    let mut took: Vec<Duration> = rounds.iter().map(of).collect();
    took.sort_unstable();
    took.get(took.len() / 2).copied().unwrap_or_default()
}

/// A way to open somebody's strategy after a restart.
type Reopen = Box<dyn Fn() -> Result<Box<dyn PartitionStrategy>, Failure>>;

/// A context of one kind with its writer's store, and who is to read it.
struct Side {
    info: ContextInfo,
    writer: MemoryKeystore,
    store: MemoryStore,
    reader: MemoryKeystore,
    strategies: [Reopen; 2],
    /// Of all payloads together, before they are sealed.
    plain_bytes: usize,
}

impl Side {
    fn plain(entries: usize, rng: &mut ChaCha20Rng) -> Result<Self, Failure> {
        let (writer, reader) = (MemoryKeystore::default(), MemoryKeystore::default());
        let (owner, words) = SingleOwner::create(&writer, rng)?;
        let request = SingleOwner::request(&reader, rng)?;
        SingleOwner::accept(&reader, &SingleOwner::certify(&words, &request))?;
        let infos = owner.with_plain().contexts();
        let info =
            infos.into_iter().find(|info| info.kind.as_str() == PLAIN_KIND).ok_or("there is no plain context")?;
        let reopen = |keystore: MemoryKeystore| -> Reopen {
            Box::new(move || Ok(Box::new(SingleOwner::open(&keystore)?.with_plain())))
        };
        let strategies = [reopen(writer.clone()), reopen(reader.clone())];
        let store = MemoryStore::new(pair::incarnation(rng));
        let mut side = Self { info, writer, store, reader, strategies, plain_bytes: 0 };
        let mut end = side.writer(rng)?;
        side.fill(&mut end, entries)?;
        Ok(side)
    }

    fn sealed(entries: usize, rng: &mut ChaCha20Rng) -> Result<Self, Failure> {
        let (writer, reader) = (MemoryKeystore::default(), MemoryKeystore::default());
        let group = Group::create(Arc::new(writer.clone()), rng, "garden", Policy::default())?;
        let info = group.contexts().into_iter().next().ok_or("a group has no context")?;
        let card = Group::card(&reader, rng)?;
        drop(Group::added(Arc::new(reader.clone()), info.id, &card)?);
        let mut cards = vec![card];
        while cards.len() + 1 < MEMBERS {
            cards.push(Group::card(&MemoryKeystore::default(), rng)?);
        }
        let id = info.id;
        let reopen = |keystore: MemoryKeystore| -> Reopen {
            Box::new(move || Ok(Box::new(Group::open(Arc::new(keystore.clone()), &id)?)))
        };
        let strategies = [reopen(writer.clone()), reopen(reader.clone())];
        let store = MemoryStore::new(pair::incarnation(rng));
        let mut side = Self { info, writer, store, reader, strategies, plain_bytes: 0 };
        let mut end = side.writer(rng)?;
        for card in cards {
            end.node
                .with_strategy::<Group, _>(now(1), |group, turn| group.add(turn, &card, Role::Write, History::All))??;
            end.settle()?;
        }
        side.fill(&mut end, entries)?;
        Ok(side)
    }

    /// The writer's device, as it goes on with its own store.
    fn writer(&self, rng: &mut ChaCha20Rng) -> Result<End, Failure> {
        let store = self.store.reopen(pair::incarnation(rng));
        self.open(0, &self.writer, Box::new(store), rng)
    }

    fn open(
        &self,
        who: usize,
        keystore: &MemoryKeystore,
        store: Box<dyn Store>,
        rng: &mut ChaCha20Rng,
    ) -> Result<End, Failure> {
        let key = Arc::new(DeviceKeys::load(keystore)?.signing);
        let mut end = End::with(store, pair::fork(rng), key, NodeConfig::default(), (self.strategies[who])()?);
        end.open([self.info.clone()])?;
        Ok(end)
    }

    fn fill(&mut self, end: &mut End, entries: usize) -> Result<(), Failure> {
        // The same lengths on both sides.
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        for number in 0..entries {
            let mut payload = vec![0; PAYLOAD.start + rng.next_u32() as usize % PAYLOAD.len()];
            rng.fill_bytes(&mut payload);
            let kind = EntryKind::Change(samples::document((number % DOCUMENTS) as u8));
            end.node.append(now(1), self.info.id, kind, &payload)?;
            self.plain_bytes += payload.len();
            if number % 100 == 99 {
                end.settle()?;
            }
        }
        end.settle()
    }

    /// A reader with nothing but its keys fetches everything.
    fn catch_up(&self, store: Box<dyn Store>, entries: usize, rng: &mut ChaCha20Rng) -> Result<CaughtUp, Failure> {
        // What the reader says of itself stays out of the next round's.
        let of_writer = Box::new(self.store.copy(pair::incarnation(rng)));
        let mut writer = self.open(0, &self.writer, of_writer, rng)?;
        let mut reader = self.open(1, &self.reader, store, rng)?;
        let began = Instant::now();
        let mut wire = Wire::connect(1, &mut reader, &mut writer)?;
        // As an engine does: what came is opened on a second thread, while the node judges and stores the next entries.
        let (hand_over, handed_over) = mpsc::channel();
        let (opening, opened, bytes) = thread::scope(|scope| {
            let opener = scope.spawn(move || open_all(&handed_over));
            while wire.trip()? {
                let end = wire.end_mut(0);
                for notice in std::mem::take(&mut end.notices) {
                    let Notice::Arrived { entries, .. } = notice else { continue };
                    hand_over.send(with_openers(&end.node, &self.info.id, entries)?)?;
                }
            }
            drop(hand_over);
            opener.join().map_err(|_| "the thread that opens payloads panicked")?.map_err(Failure::from)
        })?;
        let whole = began.elapsed() - wire.counting;
        if (opened, bytes) != (entries, self.plain_bytes) {
            return Err(format!("{opened} entries with {bytes} bytes came of {entries}").into());
        }
        let taking = wire.busy[0];
        let traffic = wire.disconnect()?;
        Ok(CaughtUp { taking, opening, whole, bytes: traffic.bytes })
    }
}

/// Entries that came together, each with what opens it.
type ToOpen = Vec<(Arrival, Arc<dyn PayloadOpener>)>;

/// Asks once for each author and epoch.
fn with_openers(node: &Node, context: &ContextId, entries: Vec<Arrival>) -> Result<ToOpen, Failure> {
    let mut known = BTreeMap::new();
    let with_opener = entries.into_iter().map(|entry| {
        let opener = known.entry((entry.author, entry.epoch)).or_insert_with(|| node.opener(context, &entry));
        let opener = opener.clone().ok_or("nothing opens a payload")?;
        Ok((entry, opener))
    });
    with_opener.collect()
}

/// Opens what comes until nothing more does: how long that took, how many entries they were, and of how many bytes.
fn open_all(batches: &mpsc::Receiver<ToOpen>) -> Result<(Duration, usize, usize), &'static str> {
    let (mut opening, mut opened, mut bytes) = (Duration::ZERO, 0, 0);
    for batch in batches {
        let since = Instant::now();
        for (entry, opener) in batch {
            let prefix = HeaderPrefix { header: &entry.entry.header, author: entry.author, epoch: entry.epoch };
            let Opened::Plain(plain) = opener.open(&prefix, &entry.entry.payload) else {
                return Err("a payload did not open");
            };
            opened += 1;
            bytes += plain.len();
        }
        opening += since.elapsed();
    }
    Ok((opening, opened, bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failure here is a finding

    use super::*;

    #[test]
    fn either_side_catches_up_again_and_again() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let sides = [Side::plain(300, &mut rng).unwrap(), Side::sealed(300, &mut rng).unwrap()];
        let mut bytes = [Vec::new(), Vec::new()];
        for _ in 0..2 {
            for (side, bytes) in sides.iter().zip(&mut bytes) {
                let store = Box::new(MemoryStore::new(pair::incarnation(&mut rng)));
                bytes.push(side.catch_up(store, 300, &mut rng).unwrap().bytes);
            }
        }
        let [plain, sealed] = bytes;
        assert!(plain.iter().zip(&sealed).all(|(plain, sealed)| plain < sealed), "{plain:?} {sealed:?}");
    }
}
