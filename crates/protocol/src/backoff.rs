//! When to dial again.

use std::time::Duration;

use partita_core::CryptoRng;

/// Exponential backoff with full jitter and a cap, reset once a connection was stable.
///
/// Full jitter after Marc Brooker, "Exponential Backoff And Jitter" (2015): uniform between zero and the current limit, so
/// that a fleet that lost its relay does not come back in step.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    stable: Duration,
    attempts: u32,
}

impl Backoff {
    /// The first limit, the largest one, and how long a connection must have lived to count as stable.
    pub fn new(first: Duration, most: Duration, stable: Duration) -> Self {
        Self { first, most, stable, attempts: 0 }
    }

    /// How long to wait before the next attempt, after a connection that lived for `lived` (zero when there was none).
    pub fn next(&mut self, lived: Duration, rng: &mut dyn CryptoRng) -> Duration {
        if lived >= self.stable {
            self.attempts = 0;
        }
        let limit = self.first.saturating_mul(1 << self.attempts.min(20)).min(self.most);
        self.attempts = self.attempts.saturating_add(1);
        limit.mul_f64(unit(rng))
    }

    /// How long to wait after a refusal that will hardly go away by itself: between half of the cap and the cap.
    pub fn slowly(&mut self, rng: &mut dyn CryptoRng) -> Duration {
        self.attempts = self.attempts.saturating_add(1);
        self.most.mul_f64(0.5 + 0.5 * unit(rng))
    }

    /// How many attempts were made since the last stable connection.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Forgets the attempts: the application says that the network is back.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// A number from zero to one.
fn unit(rng: &mut dyn CryptoRng) -> f64 {
    let mut bytes = [0; 4];
    rng.fill_bytes(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

impl Default for Backoff {
    /// 0.25 s, doubling to 30 s; stable after 10 s.
    fn default() -> Self {
        Self::new(Duration::from_millis(250), Duration::from_secs(30), Duration::from_secs(10))
    }
}
