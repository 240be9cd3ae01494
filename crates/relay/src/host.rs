//! The relay's part of the driver: it only watches for what an operator should know.

use partita_core::StoreError;
use partita_protocol::Notice;
use partita_sync::{Host, HostContext};
use tokio::sync::watch;

/// Passes the store's failure on.
pub(crate) struct RelayHost {
    pub(crate) failed: watch::Sender<Option<StoreError>>,
}

/// What a relay's owner asks of its node.
#[derive(Debug)]
pub(crate) enum Command {
    /// Take entries of remotes from now on, or do not.
    TakeEntries(bool),
}

impl Host for RelayHost {
    type Command = Command;

    /// It waits for nobody.
    const ANYWHERE: bool = true;

    fn command(&mut self, context: &mut HostContext<'_, Command>, command: Command) {
        match command {
            Command::TakeEntries(takes) => context.node.set_takes_entries(context.now, takes),
        }
    }

    fn notice(&mut self, _context: &mut HostContext<'_, Command>, notice: Notice) {
        match notice {
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
