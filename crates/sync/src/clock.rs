//! The machine's clocks.

use std::{
    sync::LazyLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use partita_core::Now;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What time it is: the protocol is given it with every event.
pub fn now() -> Now {
    Now {
        monotonic: START.elapsed(),
        // A clock before 1970 counts as 1970: time is a hint.
        wall: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO),
    }
}
