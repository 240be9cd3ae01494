//! The thread that drives the node.

use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use bytes::Bytes;
use partita_core::{SessionId, Store, StoreError};
use partita_protocol::{CloseReason, Effect, Event, Node, NodeParts, RemoteSession, channel::LocalIdentity};
use tokio::sync::{OwnedSemaphorePermit, mpsc as frames, oneshot};

use crate::{
    host::{Host, HostContext, StoreJob},
    now,
    store_thread::{self, Work},
};

/// How often time passes for a node to which nothing else happens.
const TICK: Duration = Duration::from_secs(1);
/// How many events are taken together at most before their effects are performed.
const ROUND: usize = 1024;

/// What the driver is told.
pub(crate) enum Input<C> {
    Event(Event),
    Connected(RemoteSession, frames::UnboundedSender<Outgoing>),
    Frame(SessionId, Bytes, OwnedSemaphorePermit),
    Command(C),
    Stop(oneshot::Sender<()>),
}

/// What a connection's writer is told.
pub(crate) enum Outgoing {
    Frame(Bytes),
    Close(CloseReason),
}

/// What a driver is made of.
pub struct DriverParts<H: Host> {
    /// The node.
    pub node: NodeParts,
    /// Its store.
    pub store: Arc<dyn Store>,
    /// The embedder's part.
    pub host: H,
    /// Sees every frame that comes, once its channel was opened: for tests that look for what must not be there.
    pub tap: Option<FrameTap>,
}

/// See [`DriverParts::tap`].
pub type FrameTap = Arc<dyn Fn(&Bytes) + Send + Sync>;

/// The driver has stopped: the engine was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the engine is closed: open it again")]
pub struct Stopped;

/// Talks to a running driver. Cheap to clone.
#[derive(Debug)]
pub struct DriverHandle<C> {
    pub(crate) sender: mpsc::Sender<Input<C>>,
    pub(crate) identity: LocalIdentity,
}

impl<C> Clone for DriverHandle<C> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), identity: self.identity.clone() }
    }
}

impl<C> DriverHandle<C> {
    /// Who the node is.
    pub fn replica(&self) -> partita_core::ReplicaId {
        self.identity.replica()
    }

    /// Hands the host a command. Never blocks.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn command(&self, command: C) -> Result<(), Stopped> {
        self.sender.send(Input::Command(command)).map_err(|_| Stopped)
    }

    /// Lets everything that was written become durable, ends all sessions, and stops the driver.
    pub async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.sender.send(Input::Stop(done)).is_ok() {
            let _ = stopped.await;
        }
    }
}

/// Starts drivers.
pub struct Driver<H: Host> {
    node: Node,
    host: H,
    receiver: mpsc::Receiver<Input<H::Command>>,
    store: mpsc::Sender<Work<H::Command>>,
    store_thread: thread::JoinHandle<()>,
    writers: BTreeMap<SessionId, frames::UnboundedSender<Outgoing>>,
    tap: Option<FrameTap>,
    /// Jobs for the store that have to see what is not yet on its way there.
    jobs: Vec<StoreJob<H::Command>>,
}

impl<H: Host> Driver<H> {
    /// Starts the driver's and the store's threads.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn start(parts: DriverParts<H>) -> Result<DriverHandle<H::Command>, StoreError> {
        let (sender, receiver) = mpsc::channel();
        let (store, store_thread) = store_thread::start(parts.store, sender.clone())?;
        let identity = parts.node.identity.clone();
        let node = Node::new(now(), parts.node);
        let driver = Self {
            node,
            host: parts.host,
            receiver,
            store,
            store_thread,
            writers: BTreeMap::new(),
            tap: parts.tap,
            jobs: Vec::new(),
        };
        thread::Builder::new()
            .name("partita-node".into())
            .spawn(move || driver.run())
            .map_err(|error| StoreError::Io(format!("cannot start a thread: {error}")))?;
        Ok(DriverHandle { sender, identity })
    }

    fn run(mut self) {
        let mut ticked = now().monotonic;
        loop {
            let first = match self.receiver.recv_timeout(TICK) {
                Ok(input) => Some(input),
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => return self.finish(None),
            };
            let more: Vec<_> = std::iter::from_fn(|| self.receiver.try_recv().ok()).take(ROUND).collect();
            let mut stop = None;
            for input in first.into_iter().chain(more) {
                // What came with the stop still counts: it may be the end of the commit that the stop waits for.
                match input {
                    Input::Stop(done) => stop = Some(done),
                    input => self.take(input),
                }
            }
            if stop.is_some() {
                return self.finish(stop);
            }
            let time = now();
            if time.monotonic.saturating_sub(ticked) >= TICK {
                ticked = time.monotonic;
                self.node.handle(time, Event::Tick);
            }
            self.round();
        }
    }

    fn take(&mut self, input: Input<H::Command>) {
        match input {
            Input::Event(event) => {
                if let Event::Disconnected(session) = &event {
                    self.writers.remove(session);
                }
                self.node.handle(now(), event);
            }
            Input::Connected(remote, writer) => {
                self.writers.insert(remote.session, writer);
                self.node.handle(now(), Event::Connected(remote));
            }
            Input::Frame(session, frame, permit) => {
                if let Some(tap) = &self.tap {
                    tap(&frame);
                }
                self.node.handle(now(), Event::Received(session, frame));
                drop(permit);
            }
            Input::Command(command) => self.with_host(|host, context| host.command(context, command)),
            Input::Stop(_) => {}
        }
    }

    fn with_host(&mut self, call: impl FnOnce(&mut H, &mut HostContext<'_, H::Command>)) {
        let mut context = HostContext { node: &mut self.node, now: now(), jobs: Vec::new() };
        call(&mut self.host, &mut context);
        self.jobs.append(&mut context.jobs);
    }

    fn round(&mut self) {
        self.with_host(|host, context| host.round(context));
        self.perform();
    }

    fn perform(&mut self) {
        loop {
            let effects = self.node.effects();
            if effects.is_empty() && (self.jobs.is_empty() || self.node.has_pending()) {
                return;
            }
            if !self.node.has_pending() && !effects.iter().any(|effect| matches!(effect, Effect::Commit(..))) {
                self.send_jobs();
            }
            for effect in effects {
                match effect {
                    Effect::Send(session, frame) => {
                        if let Some(writer) = self.writers.get(&session) {
                            let _ = writer.send(Outgoing::Frame(frame));
                        }
                    }
                    Effect::Close(session, reason) => {
                        if let Some(writer) = self.writers.remove(&session) {
                            let _ = writer.send(Outgoing::Close(reason));
                        }
                    }
                    Effect::Commit(id, batch) => {
                        let _ = self.store.send(Work::Commit(id, batch));
                        self.send_jobs();
                    }
                    Effect::Read(id, request) => {
                        let _ = self.store.send(Work::Read(id, request));
                    }
                    Effect::Notice(notice) => self.with_host(|host, context| host.notice(context, notice)),
                }
            }
        }
    }

    fn send_jobs(&mut self) {
        for job in self.jobs.drain(..) {
            let _ = self.store.send(Work::Job(job));
        }
    }

    /// Stores what waits, says goodbye, and closes the store.
    fn finish(mut self, done: Option<oneshot::Sender<()>>) {
        self.with_host(|host, context| host.closing(context));
        self.perform();
        while !self.node.is_settled() {
            match self.receiver.recv() {
                Ok(input @ (Input::Event(_) | Input::Command(_))) => {
                    self.take(input);
                    self.perform();
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        self.node.close(now());
        self.perform();
        drop(self.store);
        let _ = self.store_thread.join();
        drop(self.host);
        if let Some(done) = done {
            let _ = done.send(());
        }
    }
}
