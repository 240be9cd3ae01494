//! The simulator itself: the same seed is the same run, it is quiet where all is well, and it notices what is not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is a finding

use partita_sim::{Options, Profile, run};

#[test]
fn the_same_seed_is_the_same_run() {
    for (profile, seeds) in [(Profile::Small, 0..8), (Profile::Hostile, 8..12), (Profile::Wide, 0..4)] {
        let options = Options::new(profile);
        for seed in seeds {
            let (once, again) = (run(seed, &options), run(seed, &options));
            assert_eq!((once.digest, once.events), (again.digest, again.events), "seed {seed}");
            assert_ne!(once.digest, run(seed + 1, &options).digest);
        }
    }
}

#[test]
fn small_hostile_and_wide_worlds_end_well() {
    for profile in [Profile::Small, Profile::Hostile, Profile::Wide] {
        for seed in 0..40 {
            let outcome = run(seed, &Options::new(profile));
            assert_eq!(outcome.failure, None, "partita-sim replay {seed} --profile {profile:?} --trace");
        }
    }
}

#[test]
fn a_small_fleet_comes_to_the_same() {
    let outcome = run(1, &Options { replicas: Some(60), ..Options::new(Profile::Fleet) });
    assert_eq!(outcome.failure, None);
    assert!(outcome.crashes > 10 && outcome.virtual_seconds > 7200.0, "{outcome:?}");
}

/// Negative control: where the disk breaks its promise, the engine's promises cannot hold, and that must be seen.
#[test]
fn disks_that_lie_about_fsync_are_noticed() {
    let options = Options { lying_disks: true, ..Options::new(Profile::Small) };
    let noticed = (0..40).filter(|seed| run(*seed, &options).failure.is_some()).count();
    assert!(noticed >= 3, "only {noticed} of 40 worlds with lying disks were found out");
}
