//! Time, which is a hint: stamps for people, never for completeness, authority or visibility.

use std::time::Duration;

use uhlc::NTP64;

/// A hybrid logical timestamp: NTP64 since the Unix epoch (32 bits of seconds, 32 of fraction) whose lowest bits
/// count events within one tick. `uhlc`'s type; the rules are [`HybridClock`]'s.
pub type Timestamp = NTP64;

/// What time it is, handed in with every event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Never goes back while the process runs; its zero means nothing. Timers count in it.
    pub monotonic: Duration,
    /// What the wall clock says since the Unix epoch. It may jump in both directions.
    pub wall: Duration,
}

/// The last second that a timestamp can hold, in February 2106, but one: what is left counts on from there.
const LAST_SECOND: Duration = Duration::from_secs(u32::MAX as u64 - 1);

/// The timestamp of a wall-clock time. A clock that is wrong by so much that no timestamp can hold it counts as standing
/// at the last one that can.
pub fn timestamp_at(wall: Duration) -> Timestamp {
    NTP64::from(wall.min(LAST_SECOND))
}

/// A remote's timestamp lies further ahead than the drift limit: it was not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a peer's clock is {} s ahead of ours, which is more than the drift limit", ahead.as_secs())]
pub struct DriftExceeded {
    /// How far ahead it is.
    pub ahead: Duration,
}

/// A hybrid logical clock that takes `now`: monotonic, drift-limited, reseeded from the store.
///
/// `uhlc`'s own clock reads the time by itself and hides its last stamp, so only its types are used. The rule is that
/// of Kulkarni et al., "Logical Physical Clocks" (2014), on one 64-bit number.
#[derive(Debug, Clone)]
pub struct HybridClock {
    last: u64,
    drift_limit: Duration,
}

impl HybridClock {
    /// A clock whose stamps are all later than `last`, the latest stamp in the store.
    pub fn new(last: Timestamp, drift_limit: Duration) -> Self {
        Self { last: last.as_u64(), drift_limit }
    }

    /// A stamp later than every stamp before it, even when the wall clock goes back.
    pub fn tick(&mut self, now: Now) -> Timestamp {
        self.last = timestamp_at(now.wall).as_u64().max(self.last.saturating_add(1));
        NTP64(self.last)
    }

    /// Takes notice of a remote's stamp, so that the next own one is later.
    ///
    /// # Errors
    /// [`DriftExceeded`] when it lies too far ahead: the entry counts all the same, only the clock is not dragged along.
    pub fn observe(&mut self, now: Now, remote: Timestamp) -> Result<(), DriftExceeded> {
        let local = timestamp_at(now.wall).as_u64();
        let ahead = NTP64(remote.as_u64().saturating_sub(local)).to_duration();
        if ahead > self.drift_limit {
            return Err(DriftExceeded { ahead });
        }
        self.last = self.last.max(remote.as_u64());
        Ok(())
    }

    /// The latest stamp given or followed.
    pub fn last(&self) -> Timestamp {
        NTP64(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now { monotonic: Duration::ZERO, wall: Duration::from_secs(seconds) }
    }

    /// Failure mode 16: a clock that is set back breaks no order.
    #[test]
    fn stamps_rise_when_the_wall_clock_is_set_back() {
        let mut clock = HybridClock::new(NTP64(0), Duration::from_secs(60));
        let before = clock.tick(at(1_000_000));
        assert!(clock.tick(at(10)) > before);
    }

    #[test]
    fn a_clock_after_the_end_of_timestamps_stops_nobody() {
        for wall in [LAST_SECOND, LAST_SECOND + Duration::from_secs(2), Duration::MAX] {
            let now = Now { monotonic: Duration::ZERO, wall };
            let mut clock = HybridClock::new(NTP64(0), Duration::from_secs(60));
            let first = clock.tick(now);
            assert!(clock.observe(now, first).is_ok());
            assert!(clock.tick(now) > first);
        }
    }

    #[test]
    fn stamps_are_later_than_the_latest_stored_one() {
        let stored = timestamp_at(Duration::from_secs(2_000_000));
        assert!(HybridClock::new(stored, Duration::ZERO).tick(at(10)) > stored);
    }

    /// Failure mode 16: nor does the stamp of a peer.
    #[test]
    fn a_peer_years_ahead_drags_nobody_along() {
        let mut clock = HybridClock::new(NTP64(0), Duration::from_secs(60));
        let years_ahead = timestamp_at(Duration::from_secs(1_000_000_000));
        assert!(clock.observe(at(1_000), years_ahead).is_err());
        assert!(clock.tick(at(1_000)) < timestamp_at(Duration::from_secs(1_001)));
    }

    #[test]
    fn a_stamp_follows_the_peers_stamps_within_the_limit() {
        let mut clock = HybridClock::new(NTP64(0), Duration::from_secs(60));
        let ahead = timestamp_at(Duration::from_secs(1_030));
        assert_eq!(clock.observe(at(1_000), ahead), Ok(()));
        assert!(clock.tick(at(1_000)) > ahead);
    }
}
