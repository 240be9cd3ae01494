//! Randomness that can be had again.

use std::time::{SystemTime, UNIX_EPOCH};

/// A small generator (splitmix64): what it draws is random, and the same for the same seed.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// With the seed `PARTITA_SEED`, or another one each time. It is printed.
    pub fn thrown() -> Self {
        let seed = std::env::var("PARTITA_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into());
        println!("PARTITA_SEED={seed}");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Dice of their own for a part: what one part draws changes nothing for the others.
    pub fn split(&mut self) -> Self {
        Self(self.next())
    }
}
