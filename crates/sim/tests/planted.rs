//! Every law, broken on purpose, is noticed within so many seeds. One that is not is a hole in the simulator, to be closed.
//!
//! `cargo test --release -p partita-sim --features planted --test planted -- --nocapture`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is a finding

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use partita_core::planted::{Bug, plant};
use partita_sim::{Options, Profile, run};

const SEEDS: u64 = 200;

/// The seed that noticed each bug when it was looked last: it is tried first, since most changes leave it one that does. The
/// test prints the table that is right now.
const LAST_TIME: &str = include_str!("planted_seeds.txt");

fn last_time() -> BTreeMap<&'static str, u64> {
    let lines = LAST_TIME.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(' ').unwrap()).map(|(bug, seed)| (bug, seed.trim().parse().unwrap())).collect()
}

/// A seed that notices it, and what it says: the one of the last time, or the first.
fn noticed(bug: Bug, last_time: Option<u64>) -> Option<(u64, String)> {
    plant(Some(bug));
    let options = Options::new(Profile::Small);
    let mut seeds = last_time.into_iter().chain((0..SEEDS).filter(|seed| Some(*seed) != last_time));
    let found = seeds.find_map(|seed| Some((seed, run(seed, &options).failure?.0)));
    plant(None);
    found
}

#[test]
fn planted_bugs_are_caught_within_200_seeds() {
    let last_time = last_time();
    for (bug, seed) in &last_time {
        assert!(Bug::from_name(bug).is_some(), "tests/planted_seeds.txt: there is no bug {bug}");
        assert!(*seed < SEEDS, "tests/planted_seeds.txt: {seed} is not one of {SEEDS} seeds");
    }
    let next = AtomicUsize::new(0);
    let (missed, table) = (Mutex::new(Vec::new()), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(bug) = Bug::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match noticed(*bug, last_time.get(bug.name()).copied()) {
                        Some((seed, why)) => {
                            let why: String = why.lines().next().unwrap_or_default().chars().take(140).collect();
                            println!("{:<24} seed {seed:>3}: {why}", bug.name());
                            table.lock().unwrap().insert(bug.name(), seed);
                        }
                        None => {
                            println!("{:<24} NOT NOTICED in {SEEDS} seeds", bug.name());
                            missed.lock().unwrap().push(*bug);
                        }
                    }
                }
            });
        }
    });
    let table = table.into_inner().unwrap();
    if table != last_time {
        let lines: String = table.iter().map(|(bug, seed)| format!("{bug} {seed}\n")).collect();
        println!("other seeds than in tests/planted_seeds.txt; these notice them now:\n{lines}");
    }
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "the simulator does not notice {missed:?}");
}
