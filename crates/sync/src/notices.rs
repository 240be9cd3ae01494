//! What the node's notices say to observers and to whoever reads the log. Ids are shortened; nothing else is named.

use partita_core::{ContextId, Observation, Observer};
use partita_protocol::Notice;
use tracing::debug;

/// The context that a notice is about.
pub(crate) fn context_of(notice: &Notice) -> Option<ContextId> {
    match notice {
        Notice::ContextReady(info) => Some(info.id),
        Notice::Arrived { context, .. }
        | Notice::Durable { context, .. }
        | Notice::Rebuild { context, .. }
        | Notice::KeysArrived(context)
        | Notice::NewLog(context)
        | Notice::ControlChanged(context)
        | Notice::Live { context, .. }
        | Notice::CaughtUp { context, .. }
        | Notice::Acknowledged { context, .. }
        | Notice::ContextRefused { context, .. }
        | Notice::EntryRefused { context, .. }
        | Notice::Refused { context, .. } => Some(*context),
        _ => None,
    }
}

/// Tells the observer and the log.
pub(crate) fn tell(notice: &Notice, observer: &dyn Observer) {
    match notice {
        Notice::ContextReady(_) => debug!("the context is ready"),
        Notice::Rebuild { documents, .. } => debug!(documents = documents.len(), "documents are rebuilt"),
        Notice::KeysArrived(_) => debug!("keys arrived"),
        Notice::NewLog(_) => debug!("what is written from now on goes into another log"),
        Notice::ControlChanged(_) => debug!("who may do what can be different now"),
        Notice::Live { peer, .. } => debug!(session = peer.session.0, "the context is live"),
        Notice::CaughtUp { peer, .. } => debug!(session = peer.session.0, "the context has caught up"),
        Notice::ContextRefused { peer, why, .. } => {
            debug!(session = peer.session.0, %why, "the remote refused the context");
            observer.observe(&Observation::ContextRefused(*why));
        }
        Notice::EntryRefused { peer, log, seq, why, .. } => {
            debug!(session = peer.session.0, ?log, seq, %why, "the remote refused an entry");
            observer.observe(&Observation::RefusedByRemote(*why));
        }
        Notice::Refused { peer, log, seq, why, .. } => {
            debug!(session = peer.session.0, ?log, seq, %why, "an entry was refused");
            observer.observe(&Observation::Refused(*why));
        }
        Notice::ClockDrift { author, ahead_seconds } => debug!(?author, ahead_seconds, "a clock is far ahead"),
        Notice::SessionClosed { peer, reason } => {
            debug!(session = peer.session.0, remote = ?peer.replica, reason = reason.as_ref().map(tracing::field::display), "a session ended");
            observer.observe(&Observation::SessionEnded { session: peer.session, remote: peer.replica });
        }
        Notice::StoreFailed(error) => {
            tracing::error!(%error, "the store failed");
            observer.observe(&Observation::StoreFailed);
        }
        _ => {}
    }
}
