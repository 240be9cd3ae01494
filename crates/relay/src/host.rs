//! The relay's part of the driver: it only watches for what an operator should know.

use std::{sync::Arc, time::Duration};

use partita_core::{Maintained, Store, StoreError};
use partita_protocol::Notice;
use partita_sync::{Host, HostContext};
use tokio::sync::watch;

use crate::{metrics::Metrics, room::Room};

/// How often it is looked, at most, whether the store's file has much free space in it: that takes a while in a large one.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// And so many times as long as it took: nothing is stored meanwhile, and anybody's checkpoint has it looked at.
const REST: u32 = 100;
/// Less than this is not worth the wait; nor is less than what is in use.
const WORTHWHILE: u64 = 16 << 20;

/// Passes the store's failure on, makes the store small when checkpoints had much of it pruned, and has no entries taken while
/// its disk has no room for them.
pub(crate) struct RelayHost {
    failed: watch::Sender<Option<StoreError>>,
    looks: Looks,
    room: Room,
    /// Whether it takes no entries whatever room there is.
    drains: bool,
    metrics: Arc<Metrics>,
}

/// When it is looked at the store's file.
#[derive(Debug, Default)]
struct Looks {
    /// Something was pruned that no look has seen.
    wanted: bool,
    /// When it may be looked again.
    next: Duration,
    /// Since when it is being looked.
    since: Option<Duration>,
}

impl Looks {
    /// Whether a look begins now. One that is wanted too early is made when the rest is over.
    fn begin(&mut self, now: Duration) -> bool {
        let begins = self.wanted && self.since.is_none() && now >= self.next;
        if begins {
            self.wanted = false;
            self.since = Some(now);
        }
        begins
    }

    fn end(&mut self, now: Duration) {
        let took = self.since.take().map_or(Duration::ZERO, |since| now.saturating_sub(since));
        self.next = now.saturating_add(LOOK_EVERY.max(took.saturating_mul(REST)));
    }
}

impl RelayHost {
    pub(crate) fn new(
        failed: watch::Sender<Option<StoreError>>,
        room: Room,
        drains: bool,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { failed, looks: Looks::default(), room, drains, metrics }
    }

    /// At once, and not behind what is pending: that has room, or it is too late for a look.
    fn look_for_room(&mut self, context: &mut HostContext<'_, Command>) {
        if let Some(free) = self.room.begin(context.now.monotonic, context.node.entries_taken()) {
            context.jobs_before.push(Box::new(move |_store| Command::Free(free())));
        }
    }

    fn on_free(&mut self, context: &mut HostContext<'_, Command>, free: Option<u64>) {
        let changed = self.room.end(free);
        self.metrics.room(free, self.room.is_short());
        if !changed {
            return;
        }
        let (free, reserve) = (free.unwrap_or_default(), self.room.reserve());
        if self.room.is_short() {
            tracing::warn!(free, reserve, "{SHORT}");
        } else {
            tracing::warn!(free, reserve, "the store's disk has room again: entries are taken");
        }
        self.take_entries(context);
    }

    fn take_entries(&self, context: &mut HostContext<'_, Command>) {
        context.node.set_takes_entries(context.now, !self.drains && !self.room.is_short());
    }

    fn maintain(&mut self, context: &mut HostContext<'_, Command>) {
        if self.looks.begin(context.now.monotonic) {
            context.jobs.push(Box::new(|store| Command::Maintained(maintain(store))));
        }
    }

    fn on_maintained(&mut self, now: Duration, result: Result<Maintained, StoreError>) {
        self.looks.end(now);
        match result {
            Ok(Maintained { done: true, bytes_before, bytes_after, .. }) => {
                tracing::info!(bytes_before, bytes_after, "the store's file was made smaller");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the store's file was not made smaller"),
        }
    }
}

fn maintain(store: &dyn Store) -> Result<Maintained, StoreError> {
    let used = store.read()?.used_bytes()?;
    store.maintain(used.max(WORTHWHILE))
}

/// What a relay without room says in its log.
pub(crate) const SHORT: &str =
    "the store's disk has too little room: no entries are taken until some is made, and what is there is served";

/// What a relay's owner asks of its node.
#[derive(Debug)]
pub(crate) enum Command {
    /// Take entries of remotes from now on, or do not.
    TakeEntries(bool),
    /// So many bytes are free on the store's disk, as far as that can be told.
    Free(Option<u64>),
    /// The store's thread looked after the file.
    Maintained(Result<Maintained, StoreError>),
}

impl Host for RelayHost {
    type Command = Command;

    /// It waits for nobody.
    fn works_anywhere(&self) -> bool {
        true
    }

    fn command(&mut self, context: &mut HostContext<'_, Command>, command: Command) {
        match command {
            Command::TakeEntries(takes) => {
                self.drains = !takes;
                self.take_entries(context);
            }
            Command::Free(free) => self.on_free(context, free),
            Command::Maintained(result) => self.on_maintained(context.now.monotonic, result),
        }
    }

    fn round(&mut self, context: &mut HostContext<'_, Command>) {
        self.maintain(context);
        self.look_for_room(context);
    }

    fn notice(&mut self, context: &mut HostContext<'_, Command>, notice: Notice) {
        match notice {
            Notice::CheckpointAdopted { .. } => {
                self.looks.wanted = true;
                self.maintain(context);
            }
            Notice::StoreFailed(error) => {
                self.failed.send_replace(Some(error));
            }
            Notice::Refused { context, peer, seq, why, .. } => {
                tracing::info!(?context, peer = ?peer.replica, seq, %why, "an entry was refused");
            }
            Notice::SessionClosed { peer, reason: Some(reason) } => {
                tracing::info!(peer = ?peer.replica, %reason, "a session was closed");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Only the next checkpoint had it looked again, which may be days away, or never come.
    #[test]
    fn what_is_pruned_while_the_look_rests_is_looked_at_when_the_rest_is_over() {
        let mut looks = Looks::default();
        assert!(!looks.begin(SECOND), "nothing was pruned");
        looks.wanted = true;
        assert!(looks.begin(SECOND));
        looks.end(SECOND * 2);
        let next = SECOND * 2 + LOOK_EVERY;
        looks.wanted = true;
        assert!(!looks.begin(next - SECOND));
        assert!(looks.begin(next), "though nothing more was pruned");
        looks.end(next);
        assert!(!looks.begin(next + LOOK_EVERY), "it was looked");
    }

    #[test]
    fn what_is_pruned_during_a_look_is_looked_at_too_and_a_long_look_makes_a_long_rest() {
        let mut looks = Looks { wanted: true, ..Looks::default() };
        assert!(looks.begin(SECOND));
        looks.wanted = true; // the look may have passed it by
        assert!(!looks.begin(SECOND * 2), "one at a time");
        looks.end(SECOND * 31);
        let next = SECOND * 31 + SECOND * 30 * REST;
        assert!(!looks.begin(next - SECOND));
        assert!(looks.begin(next));
    }
}
