//! The engine, as applications use it.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use partita_core::{
    ContextId, ContextInfo, CryptoRng, Limits, Listener, Maintained, Now, PartitionStrategy, ReplicaId, Store, Turn,
};
use partita_protocol::Node;
use partita_sync::{ConnectionEvent, DriverHandle, Transports, accept_connections};
use tokio::{
    sync::{broadcast, oneshot},
    task::JoinHandle,
};

use crate::{
    builder::{Builder, Events, Ways},
    cell::Cell,
    connections::Links,
    context::Context,
    error::{CheckpointError, EngineError},
    events::{EngineEvent, Status},
    host::Command,
    sync::SyncManager,
};

/// An open engine: a store, strategies, connections, documents. Cheap to clone; all clones are the same engine.
///
/// Dropping the last clone and all handles stops it without waiting; [`close`](Self::close) waits until everything is
/// stored.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) driver: DriverHandle<Command>,
    pub(crate) store: Arc<Mutex<Option<Arc<dyn Store>>>>,
    events: Events,
    pub(crate) links: Links,
    listeners: Mutex<Vec<JoinHandle<()>>>,
    addresses: Mutex<Vec<String>>,
    /// The way from documents to the driver: taken away at the close, so that the driver's thread can end.
    late: Arc<Mutex<Option<DriverHandle<Command>>>>,
    random: Mutex<Box<dyn CryptoRng + Send>>,
    /// What histories are tried with before they are imported.
    pub(crate) limits: Limits,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(
        driver: DriverHandle<Command>,
        store: Arc<dyn Store>,
        ways: Ways,
        transports: Transports,
        random: Box<dyn CryptoRng + Send>,
        limits: Limits,
    ) -> Arc<Self> {
        Arc::new(Self {
            driver,
            store: Arc::new(Mutex::new(Some(store))),
            events: ways.events,
            links: Links::new(transports),
            listeners: Mutex::default(),
            addresses: Mutex::default(),
            late: ways.late,
            random: Mutex::new(random),
            limits,
        })
    }

    pub(crate) fn random_bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        lock(&self.random).fill_bytes(&mut bytes);
        bytes
    }

    pub(crate) fn reporter(&self) -> impl Fn(ConnectionEvent) + Send + Sync + 'static {
        let events = self.events.clone();
        move |event: ConnectionEvent| {
            let _ = events.send(EngineEvent::Connection(event));
        }
    }

    pub(crate) fn accept(&self, listener: Box<dyn Listener>) {
        lock(&self.addresses).push(listener.address());
        let driver = self.driver.clone();
        let task = tokio::spawn(async move {
            let ended = accept_connections(driver, listener, 1024).await;
            tracing::warn!(%ended, "a listener broke");
        });
        lock(&self.listeners).push(task);
    }

    fn disconnect(&self) {
        self.links.close();
        for task in lock(&self.listeners).drain(..) {
            task.abort();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.disconnect();
        // Documents that are locked now can still say that there is something to take.
        self.driver.end();
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine whose store is the redb file at `path`, and whose keys are in the file beside it (`<path>.key`).
    pub fn builder(path: impl Into<PathBuf>) -> Builder {
        Builder::new(path.into())
    }

    /// This device's replica id.
    pub fn replica(&self) -> ReplicaId {
        self.shared.driver.replica()
    }

    /// A context of one of the strategies. Waits until it is loaded from the store: its control entries are then with the
    /// strategy, so ask and decide ([`with_strategy`](Self::with_strategy)) only after this. It does not wait for the network.
    ///
    /// # Errors
    /// [`EngineError::NoContext`] when no strategy has it, [`EngineError::Store`] when the store failed before it was loaded,
    /// [`EngineError::Closed`].
    pub async fn context(&self, id: ContextId) -> Result<Context, EngineError> {
        self.ask(|reply| Command::Context(id, reply)).await??;
        Ok(Context { engine: self.clone(), id })
    }

    /// Opens a context beside those that the strategies bring along, from now until the engine is closed.
    ///
    /// # Errors
    /// [`EngineError::NoStrategy`] when no strategy answers for its kind; otherwise as [`context`](Self::context).
    pub async fn open_context(&self, info: ContextInfo) -> Result<Context, EngineError> {
        let id = info.id;
        self.ask(|reply| Command::OpenContext(info, reply)).await??;
        self.context(id).await
    }

    /// Closes a context until it is opened again: its documents' handles end, whoever waits for one of them is answered
    /// [`EngineError::NoContext`], its remotes are told, and what was written is stored all the same. No connection is touched.
    ///
    /// # Errors
    /// [`EngineError::NoContext`].
    pub async fn close_context(&self, id: ContextId) -> Result<(), EngineError> {
        self.ask(|reply| Command::CloseContext(id, reply)).await?
    }

    /// How contexts are sent, and with whom they may sync.
    pub fn sync(&self) -> SyncManager {
        SyncManager { engine: self.clone() }
    }

    /// Waits until a remote holds everything durably that this replica ever wrote, in every open context: this one, or, if
    /// none is named, any for each context. An application that names its relay may be lost or wiped afterwards.
    ///
    /// It waits without end while nobody is connected, and while the remote does not take one of the contexts: wrap it in a
    /// timeout. A context in which this replica never wrote anything is not waited for.
    ///
    /// # Errors
    /// [`EngineError::Store`] when the store failed before everything had reached a remote; [`EngineError::Closed`], also when a
    /// context is closed while this waits for it.
    pub async fn acknowledged(&self, by: Option<ReplicaId>) -> Result<(), EngineError> {
        // Also of those that are still being loaded: what was written there before counts as well.
        let contexts = self.ask(Command::Contexts).await?;
        for id in contexts {
            match self.ask(|reply| Command::Acknowledged(id, by, reply)).await? {
                Err(EngineError::NoContext(_)) => {} // it was closed meanwhile
                answer => answer?,
            }
        }
        Ok(())
    }

    /// Makes the store small: a checkpoint of each context where anything came since the last one, then the space of what
    /// was pruned goes back to the file system. While that lasts, seconds for a large file, nothing is stored, and a document
    /// that is loaded meanwhile waits for it, and what others write behind that. Call it when nobody works, now and then.
    ///
    /// What others have still to attest is not pruned yet: it is at a later call.
    ///
    /// # Errors
    /// [`EngineError`]. That a context could not be checkpointed is none: [`Context::checkpoint`] says why.
    pub async fn maintain(&self) -> Result<Maintained, EngineError> {
        let contexts = self.with_node(|node, _| node.context_status()).await?;
        for context in contexts {
            // Where none can be made, the context stays as it is.
            let made = self.ask(|reply| Command::Checkpoint(context.info.id, reply)).await?;
            if let Err(CheckpointError::Engine(EngineError::Closed)) = made {
                return Err(EngineError::Closed);
            }
        }
        drop(self.ask::<()>(Command::Quiet).await); // the reply is dropped when nothing is on its way
        let maintained = self.ask(|reply| {
            Command::Store(Box::new(move |store| {
                let maintained = store.maintain(0);
                Command::Node(Box::new(move |_, _| {
                    let _ = reply.send(maintained);
                }))
            }))
        });
        Ok(maintained.await??)
    }

    /// Calls into the plugin of type `P`, with what it needs of the node; the control entries that it asks for are
    /// appended before this returns, and go to the network at once. A panic of the closure ends the engine, since the plugin may
    /// be in the middle of something: close it and open it again.
    ///
    /// # Errors
    /// When the engine has no such plugin, or is closed.
    pub async fn with_strategy<P: PartitionStrategy, R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut P, &mut Turn<'_>) -> R + Send + 'static,
    ) -> Result<R, EngineError> {
        let run = move |node: &mut Node, now: Now| node.with_strategy::<P, R>(now, call);
        Ok(self.with_node(run).await??)
    }

    pub(crate) async fn with_node<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Node, Now) -> R + Send + 'static,
    ) -> Result<R, EngineError> {
        let asked = self.ask(|reply| {
            Command::Node(Box::new(move |node, now| {
                let _ = reply.send(call(node, now));
            }))
        });
        asked.await
    }

    /// Like [`ask`](Self::ask) where it is little work, which this thread does if nobody else has to.
    pub(crate) async fn ask_here<R>(
        &self,
        command: impl FnOnce(oneshot::Sender<R>) -> Command,
    ) -> Result<R, EngineError> {
        let (reply, answer) = oneshot::channel();
        // What this thread has locked the driver may want.
        if Cell::this_thread_holds_none() {
            self.shared.driver.command_here(command(reply))?;
        } else {
            self.shared.driver.command(command(reply))?;
        }
        answer.await.map_err(|_| EngineError::Closed)
    }

    pub(crate) async fn ask<R>(&self, command: impl FnOnce(oneshot::Sender<R>) -> Command) -> Result<R, EngineError> {
        let (reply, answer) = oneshot::channel();
        self.shared.driver.command(command(reply))?;
        answer.await.map_err(|_| EngineError::Closed)
    }

    /// The state now.
    ///
    /// # Errors
    /// [`EngineError::Closed`].
    pub async fn status(&self) -> Result<Status, EngineError> {
        let connections = self.shared.links.states();
        let (loaded_documents, set_aside) = self.ask(Command::Documents).await?;
        self.with_node(move |node, _| Status {
            connections,
            loaded_documents,
            set_aside,
            peers: node.peer_status(),
            contexts: node.context_status(),
            sessions: node.session_status(),
            failure: node.failure().cloned(),
        })
        .await
    }

    /// Everything that happens from now on.
    ///
    /// A reader that is more than 4,096 events behind gets
    /// [`RecvError::Lagged`](broadcast::error::RecvError::Lagged) once, with how many it missed, and then those that are left.
    /// That is no failure: go on, and look at the state now, which is in [`status`](Self::status), in documents and in
    /// strategies.
    pub fn events(&self) -> broadcast::Receiver<EngineEvent> {
        self.shared.events.subscribe()
    }

    /// The addresses on which others can reach this engine, with the ports that were taken.
    pub fn addresses(&self) -> Vec<String> {
        lock(&self.shared.addresses).clone()
    }

    /// The network is back: connections that wait to be dialled again, or whose attempt may hang, are dialled now, and
    /// those that stand are asked whether they still do. What does not answer within a second
    /// ([`NodeConfig::probe`](crate::NodeConfig::probe)) is dialled anew.
    pub fn network_is_back(&self) {
        self.shared.links.retry_now();
    }

    /// Stores everything, says goodbye to the remotes, and closes the store. Handles that are left answer with errors. Whoever
    /// closes an engine that is being closed waits for the same, and is told the same.
    ///
    /// # Errors
    /// The store's failure, if it failed: what was not reported durable may be lost. So it may be when the engine had ended by a
    /// panic, which is then said in the same way.
    pub async fn close(self) -> Result<(), EngineError> {
        let snapshots = self.ask::<()>(Command::SnapshotAll).await;
        drop(snapshots); // the reply is dropped when they are on their way
        // What is changed until then is stored within that: only its end says whether it was.
        let stopped = self.shared.driver.stop().await;
        self.shared.disconnect();
        *lock(&self.shared.late) = None;
        *lock(&self.shared.store) = None;
        Ok(stopped?)
    }
}
