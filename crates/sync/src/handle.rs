//! The way to a driver from other threads, and the question whether it is well.

use std::sync::{Arc, OnceLock};

use partita_core::{Observer, ReplicaId, StoreError};
use partita_protocol::channel::LocalIdentity;
use tokio::sync::oneshot;

use crate::{driver::Input, wake::Teller};

/// The driver has stopped: the engine was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the engine is closed: open it again")]
pub struct Stopped;

/// Talks to a running driver. Cheap to clone.
pub struct DriverHandle<C> {
    pub(crate) sender: Teller<Input<C>>,
    pub(crate) identity: LocalIdentity,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) outcome: Outcome,
}

/// What became of what was written last: set once a driver has ended in an orderly way, and never by one that panicked.
pub(crate) type Outcome = Arc<OnceLock<Option<StoreError>>>;

impl<C: Send + 'static> std::fmt::Debug for DriverHandle<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DriverHandle").field("replica", &self.replica()).finish_non_exhaustive()
    }
}

impl<C> Clone for DriverHandle<C> {
    fn clone(&self) -> Self {
        let Self { sender, identity, observer, outcome } = self;
        Self {
            sender: sender.clone(),
            identity: identity.clone(),
            observer: observer.clone(),
            outcome: outcome.clone(),
        }
    }
}

impl<C: Send + 'static> DriverHandle<C> {
    /// Who the node is.
    pub fn replica(&self) -> ReplicaId {
        self.identity.replica()
    }

    /// Hands the host a command. Never blocks.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn command(&self, command: C) -> Result<(), Stopped> {
        self.sender.leave(Input::Command(command)).map_err(|_| Stopped)
    }

    /// Hands the host a command that is little work, and lets this thread do it if the driver has nothing else to do and its
    /// host allows that. Never call it with anything locked that the host may want.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn command_here(&self, command: C) -> Result<(), Stopped> {
        self.sender.tell(Input::Command(command)).map_err(|_| Stopped)
    }

    /// Sends a question all the way round: to the node's thread, from there to the store's, and back.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn probe(&self) -> Result<Probe, Stopped> {
        let (node_answers, node) = oneshot::channel();
        let (store_answers, store) = oneshot::channel();
        let (back_answers, back) = oneshot::channel();
        let probing = Probing { node: node_answers, store: StoreProbing { store: store_answers, back: back_answers } };
        self.sender.leave(Input::Probe(probing)).map_err(|_| Stopped)?;
        Ok(Probe { waits_for: Leg::Node, node, store, back })
    }

    /// Does what [`stop`](Self::stop) does, and waits for none of it. For those who cannot: a program that drops its engine.
    pub fn end(&self) {
        let _ = self.sender.leave(Input::Stop(oneshot::channel().0)); // it may have ended already
    }

    /// Lets everything that was written become durable, ends all sessions, and stops the driver. Whoever calls it while that
    /// is under way, or later, is told the same.
    ///
    /// # Errors
    /// The store's failure, if it failed by the end, or that the node's thread panicked before: what was not durable before
    /// is not stored.
    pub async fn stop(&self) -> Result<(), StoreError> {
        let (done, stopped) = oneshot::channel();
        let failure = match self.sender.leave(Input::Stop(done)) {
            Ok(()) => stopped.await.ok(),
            Err(_) => None,
        };
        // Where nobody answered, it ended before it came to that; or it panicked, and nobody knows what is stored.
        match failure.or_else(|| self.outcome.get().cloned()) {
            Some(failure) => failure.map_or(Ok(()), Err),
            None => Err(StoreError::Io("the node's thread panicked, and what it had not stored is lost".into())),
        }
    }
}

/// What the driver does for a probe.
pub(crate) struct Probing {
    pub(crate) node: oneshot::Sender<()>,
    pub(crate) store: StoreProbing,
}

/// What the store's thread does for it.
pub(crate) struct StoreProbing {
    pub(crate) store: oneshot::Sender<Result<(), StoreError>>,
    pub(crate) back: oneshot::Sender<()>,
}

/// A question that is on its way round.
#[derive(Debug)]
pub struct Probe {
    waits_for: Leg,
    node: oneshot::Receiver<()>,
    store: oneshot::Receiver<Result<(), StoreError>>,
    back: oneshot::Receiver<()>,
}

/// A part of the way that a probe takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Leg {
    /// To the node's thread.
    #[error("the node's thread does not answer: it is stuck, or has far too much to do")]
    Node,
    /// From there to the store's thread.
    #[error("the store's thread does not answer: the disk may hang, or have far too much to do")]
    Store,
    /// And back to the node's thread.
    #[error("what the store answers does not reach the node's thread: it is stuck, or has far too much to do")]
    Back,
    /// It came round.
    #[error("nothing is missing")]
    Home,
}

/// Why a probe will not come back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// There is nobody to answer.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Probe {
    /// Waits until it has come round. Cancel-safe: [`waits_for`](Self::waits_for) then says how far it came, and a later
    /// call goes on waiting.
    ///
    /// # Errors
    /// [`ProbeError`].
    pub async fn home(&mut self) -> Result<(), ProbeError> {
        if self.waits_for == Leg::Node {
            (&mut self.node).await.map_err(|_| Stopped)?;
            self.waits_for = Leg::Store;
        }
        if self.waits_for == Leg::Store {
            (&mut self.store).await.map_err(|_| Stopped)??;
            self.waits_for = Leg::Back;
        }
        if self.waits_for == Leg::Back {
            (&mut self.back).await.map_err(|_| Stopped)?;
            self.waits_for = Leg::Home;
        }
        Ok(())
    }

    /// Which part of the way it has not come past, as far as was looked.
    pub fn waits_for(&self) -> Leg {
        self.waits_for
    }
}
