//! What a change of a group's members costs.

use std::{
    hint::black_box,
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

use hpke::{Kem as _, OpModeS};
use partita_core::{ContextId, DeviceKeys, EntryKind, EpochId, PartitionStrategy, Store as _};
use partita_group::{Card, Group, History, MemberId, Policy, Role};
use partita_protocol::NodeConfig;
use partita_testing::{MemoryKeystore, MemoryStore, samples};
use rand_chacha::ChaCha20Rng;
use rand_core::{CryptoRng, SeedableRng as _};
use serde::{Deserialize, Serialize};

use crate::{
    pair::{self, End, Wire, now},
    peer::Peer,
};

/// The sizes, each with the rounds that its figures are the middle of.
const SIZES: [(usize, usize); 5] = [(8, 31), (32, 21), (128, 15), (512, 7), (1000, 5)];
/// How many newcomers take the whole group, at each size.
const NEWCOMERS: usize = 3;
/// What a removal among so many may cost in bytes, and beside bare boxes.
const PROMISED_AT: usize = 128;
const MOST_BYTES: usize = 14_500;
const MOST_BESIDE_BOXES: f64 = 1.25;
/// What taking a removal may cost, however many there are.
const MOST_RECEIVE_MS: f64 = 1.0;

type Failure = Box<dyn std::error::Error>;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Also print the figures as one line of JSON, the last one.
    #[arg(long)]
    json: bool,
    /// Only groups of at most so many devices.
    #[arg(long, default_value_t = 1000)]
    most: usize,
    /// Leave the other protocols out: they are a crate of their own, which takes a while to build.
    #[arg(long)]
    alone: bool,
}

#[derive(Debug, Serialize)]
struct Figures {
    /// How many devices, each of a member of its own, the admin's among them.
    n: usize,
    /// The admin's device shuts one out: from the call until the signed entry with the new epoch's boxes is its own.
    remove_ms: f64,
    /// The header, payload and signature of each entry that this takes.
    remove_bytes: usize,
    /// Another device takes them: until it knows the epoch to write under.
    receive_ms: f64,
    /// The admin's device lets the last of the n in, all history included.
    add_ms: f64,
    add_bytes: usize,
    /// One of the n, with nothing, takes the whole group: until it holds the newest epoch's secret.
    join_ms: f64,
    /// n - 1 bare HPKE seals of 32 bytes.
    hpke_ms: f64,
    /// The same removal by others.
    beekem_remove_ms: Option<f64>,
    openmls_remove_ms: Option<f64>,
}

/// What `peers` prints.
#[derive(Debug, Default, Deserialize)]
struct Peers {
    beekem_remove_ms: Option<f64>,
    openmls_remove_ms: Option<f64>,
}

pub(crate) fn run(arguments: &Arguments) -> crate::Outcome {
    let peers = if arguments.alone { Err("left out".into()) } else { Peer::build("peers", "partita-bench-peers") };
    if let Err(why) = &peers {
        println!("the other protocols: {why}");
    }
    println!(
        "group: one device a member, real nodes on stores in memory; milliseconds are the middle of several rounds"
    );
    println!("  {}", HEADINGS.map(|heading| format!("{heading:>15}")).join(""));
    let mut town = Town::new()?;
    let mut all = Vec::new();
    for (n, rounds) in SIZES.into_iter().filter(|(n, _)| *n <= arguments.most) {
        let mut figures = town.measure(n, rounds)?;
        if let Ok(peers) = &peers {
            let others = peers.ask(&[&n.to_string()]).unwrap_or_else(|why| {
                println!("the other protocols failed at {n}: {why}");
                Peers::default()
            });
            figures.beekem_remove_ms = others.beekem_remove_ms;
            figures.openmls_remove_ms = others.openmls_remove_ms;
        }
        figures.print();
        all.push(figures);
    }
    let broken: Vec<String> = promises(&all)
        .into_iter()
        .filter_map(|(kept, what)| {
            println!("  {}: {what}", if kept { "kept" } else { "NOT KEPT" });
            (!kept).then_some(what)
        })
        .collect();
    if arguments.json {
        println!("{}", serde_json::to_string(&all)?);
    }
    if broken.is_empty() { Ok(()) } else { Err(format!("not as promised: {}", broken.join("; ")).into()) }
}

const HEADINGS: [&str; 10] =
    ["devices", "remove", "bytes", "receive", "add", "bytes", "join", "bare boxes", "beekem remove", "openmls remove"];

impl Figures {
    fn print(&self) {
        let ms = |ms: f64| format!("{ms:.3}");
        let other = |ms: Option<f64>| ms.map_or_else(|| "-".into(), |ms| format!("{ms:.3}"));
        let columns = [
            self.n.to_string(),
            ms(self.remove_ms),
            self.remove_bytes.to_string(),
            ms(self.receive_ms),
            ms(self.add_ms),
            self.add_bytes.to_string(),
            ms(self.join_ms),
            ms(self.hpke_ms),
            other(self.beekem_remove_ms),
            other(self.openmls_remove_ms),
        ];
        println!("  {}", columns.map(|column| format!("{column:>15}")).join(""));
    }
}

/// What was promised, and whether it holds.
fn promises(all: &[Figures]) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    for at in all.iter().filter(|figures| figures.n == PROMISED_AT) {
        let (n, bytes) = (at.n, at.remove_bytes);
        found.push((bytes <= MOST_BYTES, format!("a removal among {n} takes {bytes} bytes, of {MOST_BYTES}")));
        let beside = at.remove_ms / at.hpke_ms;
        let what = format!("a removal among {n} takes {beside:.2} times its bare boxes, of {MOST_BESIDE_BOXES}");
        found.push((beside <= MOST_BESIDE_BOXES, what));
    }
    for at in all {
        let (n, ms) = (at.n, at.receive_ms);
        let what = format!("taking a removal among {n} takes {ms:.3} ms, of {MOST_RECEIVE_MS}");
        found.push((ms < MOST_RECEIVE_MS, what));
    }
    found
}

/// Somebody with one device.
struct Person {
    keystore: MemoryKeystore,
    card: Card,
}

/// One group that grows, and what its admin's device holds.
struct Town {
    rng: ChaCha20Rng,
    context: ContextId,
    admin: MemoryKeystore,
    store: MemoryStore,
    people: Vec<Person>,
}

impl Town {
    fn new() -> Result<Self, Failure> {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let admin = MemoryKeystore::default();
        let group = Group::create(Arc::new(admin.clone()), &mut rng, "garden", Policy::default())?;
        let context = group.context();
        let store = MemoryStore::new(pair::incarnation(&mut rng));
        let mut town = Self { rng, context, admin, store, people: Vec::new() };
        // Its beginning is written now, so that no figure has it.
        town.device(&town.admin.clone(), group, town.store.reopen(samples::incarnation(1)))?;
        Ok(town)
    }

    /// A device of the group, on what it holds.
    fn device(&mut self, keystore: &MemoryKeystore, group: Group, store: MemoryStore) -> Result<End, Failure> {
        let key = Arc::new(DeviceKeys::load(keystore)?.signing);
        let infos = group.contexts();
        let mut end =
            End::with(Box::new(store), pair::fork(&mut self.rng), key, NodeConfig::default(), Box::new(group));
        end.open(infos)?;
        Ok(end)
    }

    /// The device of this keystore, after a restart on a copy of its store; a handle on the copy too.
    fn again(&mut self, keystore: &MemoryKeystore, store: &MemoryStore) -> Result<(End, MemoryStore), Failure> {
        let copy = store.copy(pair::incarnation(&mut self.rng));
        let handle = copy.reopen(pair::incarnation(&mut self.rng));
        let group = Group::open(Arc::new(keystore.clone()), &self.context)?;
        Ok((self.device(keystore, group, copy)?, handle))
    }

    fn admin_again(&mut self) -> Result<(End, MemoryStore), Failure> {
        let (keystore, store) = (self.admin.clone(), self.store.reopen(samples::incarnation(1)));
        self.again(&keystore, &store)
    }

    fn stranger(&mut self) -> Result<Person, Failure> {
        let keystore = MemoryKeystore::default();
        let card = Group::card(&keystore, &mut self.rng)?;
        Ok(Person { keystore, card })
    }

    fn measure(&mut self, n: usize, rounds: usize) -> Result<Figures, Failure> {
        let boxes = Boxes::new(n - 1, &mut self.rng);
        self.grow(n - 1)?;
        let (add_ms, add_bytes) = self.adding(rounds)?;
        let (joins, receiver, receiver_store) = self.joining()?;
        let mut removals = Vec::with_capacity(rounds);
        let mut bare = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            bare.push(boxes.seal(&mut self.rng)?);
            removals.push(self.removing(&receiver, &receiver_store)?);
        }
        let each = |of: fn(&Removal) -> Duration| removals.iter().map(of).collect();
        Ok(Figures {
            n,
            remove_ms: middle(each(|removal| removal.made)),
            remove_bytes: removals.iter().map(|removal| removal.bytes).max().unwrap_or(0),
            receive_ms: middle(each(|removal| removal.taken)),
            add_ms,
            add_bytes,
            join_ms: middle(joins),
            hpke_ms: middle(bare),
            beekem_remove_ms: None,
            openmls_remove_ms: None,
        })
    }

    /// Until the group has so many devices.
    fn grow(&mut self, n: usize) -> Result<(), Failure> {
        let (mut admin, store) = self.admin_again()?;
        while self.people.len() + 1 < n {
            let person = self.stranger()?;
            let card = person.card.clone();
            admin
                .node
                .with_strategy::<Group, _>(now(1), |group, turn| group.add(turn, &card, Role::Write, History::All))??;
            admin.settle()?;
            self.people.push(person);
        }
        self.store = store;
        Ok(())
    }

    /// The last one is let in; the last round's stays.
    fn adding(&mut self, rounds: usize) -> Result<(f64, usize), Failure> {
        let (mut took, mut bytes) = (Vec::with_capacity(rounds), 0);
        for round in 1..=rounds {
            let person = self.stranger()?;
            let card = person.card.clone();
            let (mut admin, store) = self.admin_again()?;
            let before = store.read()?.last_arrival(&self.context)?;
            let began = Instant::now();
            admin
                .node
                .with_strategy::<Group, _>(now(1), |group, turn| group.add(turn, &card, Role::Write, History::All))??;
            took.push(began.elapsed());
            admin.settle()?;
            bytes = bytes.max(self.bytes_after(&store, before)?);
            if round == rounds {
                self.people.push(person);
                self.store = store;
            }
        }
        Ok((middle(took), bytes))
    }

    /// The newest members come one after the other, with nothing. The first one writes something, so that whoever removes it
    /// later has a log of it to say how far it counts. The last one's keystore and store are handed back.
    fn joining(&mut self) -> Result<(Vec<Duration>, MemoryKeystore, MemoryStore), Failure> {
        let mut took = Vec::with_capacity(NEWCOMERS);
        let mut last = None;
        for at in 0..NEWCOMERS {
            let person = &self.people[self.people.len() - 1 - at];
            let (keystore, card) = (person.keystore.clone(), person.card.clone());
            let group = Group::added(Arc::new(keystore.clone()), self.context, &card)?;
            let store = MemoryStore::new(pair::incarnation(&mut self.rng));
            let handle = store.reopen(pair::incarnation(&mut self.rng));
            let mut newcomer = self.device(&keystore, group, store)?;
            let (mut admin, admin_store) = self.admin_again()?;
            let newest = epoch(&mut admin)?;
            let mut wire = Wire::connect(1, &mut newcomer, &mut admin)?;
            wire.run()?;
            took.push(wire.busy[0]);
            if epoch(wire.end_mut(0))? != newest {
                return Err("a newcomer does not hold the newest epoch's secret".into());
            }
            if at == 0 {
                let kind = EntryKind::Change(samples::document(1));
                wire.end_mut(0).node.append(now(1), self.context, kind, b"something")?;
                wire.end_mut(0).settle()?;
                wire.run()?;
                self.store = admin_store;
            }
            wire.disconnect()?;
            last = Some((keystore, handle));
        }
        let (keystore, store) = last.ok_or("nobody joined")?;
        Ok((took, keystore, store))
    }

    /// Who wrote something is removed, and another device hears of it.
    fn removing(&mut self, keystore: &MemoryKeystore, store: &MemoryStore) -> Result<Removal, Failure> {
        let (context, who) = (self.context, self.people[self.people.len() - 1].card.member());
        let (mut admin, admin_store) = self.admin_again()?;
        let (mut receiver, _) = self.again(keystore, store)?;
        let mut wire = Wire::connect(2, &mut receiver, &mut admin)?;
        wire.run()?;
        let old = epoch(wire.end_mut(0))?;
        let before = admin_store.read()?.last_arrival(&context)?;
        let admin = wire.end_mut(1);
        let began = Instant::now();
        admin.node.with_strategy::<Group, _>(now(1), |group, turn| group.remove(turn, who))??;
        let made = began.elapsed();
        admin.settle()?;
        let new = epoch(admin)?;
        let bytes = self.bytes_after(&admin_store, before)?;

        let earlier = wire.busy[0];
        wire.trip()?;
        let began = Instant::now();
        let chosen = epoch(wire.end_mut(0))?;
        let taken = wire.busy[0] - earlier + began.elapsed();
        if chosen != new || chosen == old || knows(wire.end_mut(0), who)? {
            return Err("the removal did not arrive".into());
        }
        wire.disconnect()?;
        Ok(Removal { made, bytes, taken })
    }

    /// What the entries after an arrival take on their way: header, payload, signature.
    fn bytes_after(&self, store: &MemoryStore, after: u64) -> Result<usize, Failure> {
        let mut bytes = 0;
        store.read()?.arrivals(&self.context, after, &mut |entry| {
            // A stored head says in one byte more whether there is a signature.
            bytes += entry.head.len() - 1 + entry.payload.len();
            ControlFlow::Continue(())
        })?;
        Ok(bytes)
    }
}

struct Removal {
    made: Duration,
    bytes: usize,
    taken: Duration,
}

/// The epoch that a device writes under.
fn epoch(end: &mut End) -> Result<EpochId, Failure> {
    let asked =
        end.node.with_strategy::<Group, _>(now(1), |group, _| PartitionStrategy::epoch(group, &group.context()));
    Ok(asked??.ok_or("a device has no epoch to write under")?)
}

fn knows(end: &mut End, who: MemberId) -> Result<bool, Failure> {
    Ok(end.node.with_strategy::<Group, _>(now(1), |group, _| group.members().iter().any(|member| member.id == who))?)
}

type Kem = hpke::kem::X25519HkdfSha256;

/// Readers of bare boxes.
struct Boxes(Vec<<Kem as hpke::Kem>::PublicKey>);

impl Boxes {
    fn new(count: usize, rng: &mut ChaCha20Rng) -> Self {
        Self((0..count).map(|_| Kem::gen_keypair_with_rng(rng).1).collect())
    }

    /// Seals one secret to each.
    fn seal(&self, rng: &mut impl CryptoRng) -> Result<Duration, Failure> {
        let began = Instant::now();
        for reader in &self.0 {
            let sealed = hpke::single_shot_seal_with_rng::<hpke::aead::ChaCha20Poly1305, hpke::kdf::HkdfSha256, Kem>(
                &OpModeS::Base,
                reader,
                b"",
                &[7; 32],
                b"",
                rng,
            );
            black_box(sealed.map_err(|error| error.to_string())?);
        }
        Ok(began.elapsed())
    }
}

/// In milliseconds.
fn middle(mut took: Vec<Duration>) -> f64 {
    took.sort_unstable();
    took.get(took.len() / 2).map_or(0.0, |took| took.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failure here is a finding

    use super::*;

    #[test]
    fn a_small_group_is_measured() {
        let mut town = Town::new().unwrap();
        for n in [8, 16] {
            let figures = town.measure(n, 2).unwrap();
            assert!(figures.remove_bytes > 80 * (n - 1), "a box of 80 bytes for each who stays");
        }
    }

    #[test]
    fn what_is_not_kept_is_said() {
        let one = |receive_ms| Figures {
            n: PROMISED_AT,
            remove_ms: 1.0,
            remove_bytes: MOST_BYTES,
            receive_ms,
            add_ms: 1.0,
            add_bytes: 1,
            join_ms: 1.0,
            hpke_ms: 1.0,
            beekem_remove_ms: None,
            openmls_remove_ms: None,
        };
        assert!(promises(&[one(0.5)]).iter().all(|(kept, _)| *kept));
        assert_eq!(promises(&[one(1.5)]).iter().filter(|(kept, _)| !kept).count(), 1);
    }
}
