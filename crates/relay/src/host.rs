//! The relay's part of the driver: it only watches for what an operator should know.

use partita_core::StoreError;
use partita_protocol::Notice;
use partita_sync::{Host, HostContext};
use tokio::sync::watch;

/// Passes the store's failure on.
pub(crate) struct RelayHost {
    pub(crate) failed: watch::Sender<Option<StoreError>>,
}

impl Host for RelayHost {
    type Command = ();

    fn command(&mut self, _context: &mut HostContext<'_, ()>, (): ()) {}

    fn notice(&mut self, _context: &mut HostContext<'_, ()>, notice: Notice) {
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
