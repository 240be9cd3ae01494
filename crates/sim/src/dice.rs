//! Randomness: one root seed, split for each who needs some, so that what one does leaves the others' alone.

use std::time::Duration;

use partita_core::CryptoRng;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// One actor's own randomness.
#[derive(Debug)]
pub(crate) struct Dice(ChaCha20Rng);

impl Dice {
    /// The randomness of an actor, by its name and number, under a root seed.
    pub(crate) fn of(seed: u64, actor: &str, number: u64) -> Self {
        let mut hash = blake3::Hasher::new();
        hash.update(&seed.to_le_bytes()).update(&number.to_le_bytes()).update(actor.as_bytes());
        Self(ChaCha20Rng::from_seed(*hash.finalize().as_bytes()))
    }

    /// Dice for a part of an actor, which do not disturb its own.
    pub(crate) fn fork(&mut self) -> Self {
        Self(ChaCha20Rng::from_seed(self.bytes()))
    }

    /// The same as a generator.
    pub(crate) fn split(&mut self) -> Box<dyn CryptoRng + Send> {
        Box::new(self.fork().0)
    }

    pub(crate) fn rng(&mut self) -> &mut dyn CryptoRng {
        &mut self.0
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// A number below `end`; 0 where there is none.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        if end == 0 {
            return 0;
        }
        (u64::from_le_bytes(self.bytes()) % end as u64) as usize
    }

    /// A number of a range, both ends included.
    pub(crate) fn range(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to.saturating_sub(from) + 1)
    }

    /// True so many times in a thousand.
    pub(crate) fn chance(&mut self, per_mille: usize) -> bool {
        self.below(1000) < per_mille
    }

    /// Between a quarter of the mean and seven quarters of it.
    pub(crate) fn about(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(0.25 + 1.5 * self.unit())
    }

    /// From zero to one.
    pub(crate) fn unit(&mut self) -> f64 {
        f64::from(u32::from_le_bytes(self.bytes())) / f64::from(u32::MAX)
    }

    /// Text that compresses by a quarter at most.
    pub(crate) fn letters(&mut self, count: usize) -> String {
        let mut bytes = vec![0; count];
        self.0.fill_bytes(&mut bytes);
        bytes.into_iter().map(|byte| char::from(b'0' + byte % 64)).collect()
    }

    pub(crate) fn pick<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        of.get(self.below(of.len())).cloned()
    }
}
