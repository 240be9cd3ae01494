//! Every law, broken on purpose, is noticed within so many seeds. One that is not is a hole in the simulator, to be closed.
//!
//! `cargo test --release -p partita-sim --features planted --test planted -- --nocapture`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is a finding

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use partita_core::planted::{Bug, plant};
use partita_sim::{Options, Profile, run};

const SEEDS: u64 = 200;

/// The first seed that notices it, and what it says.
fn noticed(bug: Bug) -> Option<(u64, String)> {
    plant(Some(bug));
    let options = Options::new(Profile::Small);
    let found = (0..SEEDS).find_map(|seed| Some((seed, run(seed, &options).failure?.0)));
    plant(None);
    found
}

#[test]
fn planted_bugs_are_caught_within_200_seeds() {
    let next = AtomicUsize::new(0);
    let missed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(bug) = Bug::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match noticed(*bug) {
                        Some((seed, why)) => {
                            let why: String = why.lines().next().unwrap_or_default().chars().take(140).collect();
                            println!("{:<24} seed {seed:>3}: {why}", bug.name());
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
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "the simulator does not notice {missed:?}");
}
