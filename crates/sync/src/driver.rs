//! The thread that drives the node.

use std::{
    sync::{Arc, mpsc::RecvTimeoutError},
    thread,
    time::Duration,
};

use bytes::Bytes;
use partita_core::{Observation, Observer, ReplicaId, SessionId, Store, StoreError};
use partita_protocol::{CloseReason, Effect, Event, Node, NodeParts, Notice, RemoteSession};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{
    ends::{End, Ends},
    handle::{DriverHandle, Probing},
    host::{Host, HostContext, StoreJob},
    inbox::{Inbox, Sender, queue},
    notices, now,
    sampler::{Queues, Sampler},
    store_thread::{self, Work},
};

/// How often time passes for a node to which nothing else happens.
const TICK: Duration = Duration::from_secs(1);
/// How many events are taken together at most before their effects are performed.
const ROUND: usize = 1024;

/// What the driver is told.
pub(crate) enum Input<C> {
    Event(Event),
    Connected(RemoteSession, End),
    Frame(SessionId, Bytes, OwnedSemaphorePermit),
    Command(C),
    /// The connection is not wanted any more.
    HangUp(SessionId),
    Probe(Probing),
    ProbeBack(oneshot::Sender<()>),
    Stop(oneshot::Sender<()>),
}

/// What a driver is made of.
pub struct DriverParts<H: Host> {
    /// The node.
    pub node: NodeParts,
    /// Its store.
    pub store: Arc<dyn Store>,
    /// The embedder's part.
    pub host: H,
    /// Sees every frame that comes or goes, without its channel: for tests that look for what must not be there.
    pub tap: Option<FrameTap>,
    /// Is told numbers; `Arc::new(())` for nobody.
    pub observer: Arc<dyn Observer>,
}

/// See [`DriverParts::tap`].
pub type FrameTap = Arc<dyn Fn(&Tapped<'_>) + Send + Sync>;

/// A frame without its channel's encryption.
#[derive(Debug, Clone, Copy)]
pub struct Tapped<'a> {
    /// Who is at the other end.
    pub remote: ReplicaId,
    /// Whether it is on its way there; it came from there otherwise.
    pub sent: bool,
    /// The frame.
    pub frame: &'a Bytes,
}

/// Starts drivers.
pub struct Driver<H: Host> {
    node: Node,
    host: H,
    inbox: Inbox<Input<H::Command>>,
    store: Sender<Work<H::Command>>,
    store_thread: thread::JoinHandle<()>,
    ends: Ends,
    tap: Option<FrameTap>,
    observer: Arc<dyn Observer>,
    sampler: Sampler,
    /// Jobs for the store that have to see what is not yet on its way there.
    jobs: Vec<StoreJob<H::Command>>,
}

impl<H: Host> Driver<H> {
    /// Starts the driver's and the store's threads.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn start(parts: DriverParts<H>) -> Result<DriverHandle<H::Command>, StoreError> {
        let (sender, inbox) = queue();
        let observer = parts.observer;
        let (store, store_thread) = store_thread::start(parts.store, sender.clone(), observer.clone())?;
        let identity = parts.node.identity.clone();
        let node = Node::new(now(), parts.node);
        let driver = Self {
            node,
            host: parts.host,
            inbox,
            store,
            store_thread,
            ends: Ends::default(),
            tap: parts.tap,
            observer: observer.clone(),
            sampler: Sampler::default(),
            jobs: Vec::new(),
        };
        thread::Builder::new()
            .name("partita-node".into())
            .spawn(move || driver.run())
            .map_err(|error| StoreError::Io(format!("cannot start a thread: {error}")))?;
        Ok(DriverHandle { sender, identity, observer })
    }

    fn run(mut self) {
        let mut ticked = now().monotonic;
        loop {
            let due = self.node.tick_due();
            let wait = due.map_or(TICK, |due| due.saturating_sub(now().monotonic).min(TICK));
            let first = match self.inbox.recv_timeout(wait) {
                Ok(input) => Some(input),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return self.finish(None),
            };
            let more: Vec<_> = std::iter::from_fn(|| self.inbox.try_recv().ok()).take(ROUND).collect();
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
                self.sample();
            } else if due.is_some_and(|due| due <= time.monotonic) {
                self.node.handle(time, Event::Tick);
            }
            self.round();
        }
    }

    fn take(&mut self, input: Input<H::Command>) {
        match input {
            Input::Event(event) => {
                match &event {
                    Event::Disconnected(session) => self.ends.forget(session),
                    Event::Sent(session, bytes) => self.ends.sent(session, *bytes),
                    _ => {}
                }
                self.node.handle(now(), event);
            }
            Input::Connected(remote, end) => {
                let (session, replica) = (remote.session, remote.peer().replica);
                self.observer.observe(&Observation::SessionBegan { session, remote: replica });
                self.ends.insert(session, end);
                self.node.handle(now(), Event::Connected(remote));
            }
            Input::Frame(session, frame, permit) => {
                self.tap(&session, &frame, false);
                self.node.handle(now(), Event::Received(session, frame));
                drop(permit);
            }
            Input::Command(command) => self.with_host(|host, context| host.command(context, command)),
            Input::HangUp(session) => {
                self.ends.close(&session, CloseReason::Closing);
                self.node.handle(now(), Event::Disconnected(session));
            }
            Input::Probe(Probing { node, store }) => {
                let _ = node.send(());
                let _ = self.store.send(Work::Probe(store));
            }
            Input::ProbeBack(back) => {
                let _ = back.send(());
            }
            Input::Stop(_) => {}
        }
    }

    fn with_host(&mut self, call: impl FnOnce(&mut H, &mut HostContext<'_, H::Command>)) {
        let mut context = HostContext { node: &mut self.node, now: now(), jobs: Vec::new(), observer: &*self.observer };
        call(&mut self.host, &mut context);
        self.jobs.append(&mut context.jobs);
    }

    fn round(&mut self) {
        self.with_host(|host, context| host.round(context));
        self.perform();
        self.sampler.round(&self.node, &*self.observer);
    }

    fn sample(&mut self) {
        let (outgoing_bytes, outgoing_bytes_max) = self.ends.waiting();
        let queues = Queues {
            inbox: self.inbox.waiting(),
            store: self.store.waiting(),
            outgoing: &|session| self.ends.waiting_for(&session),
            outgoing_bytes,
            outgoing_bytes_max,
        };
        self.sampler.tick(&self.node, &queues, &*self.observer);
    }

    fn notice(&mut self, notice: Notice) {
        let span = notices::context_of(&notice).map(|context| tracing::debug_span!("context", id = ?context));
        let _inside = span.as_ref().map(tracing::Span::enter);
        notices::tell(&notice, &*self.observer);
        if let Notice::SessionClosed { peer, .. } = &notice {
            self.sampler.session_ended(peer.session);
        }
        self.with_host(|host, context| host.notice(context, notice));
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
                        self.tap(&session, &frame, true);
                        self.ends.send(&session, frame);
                    }
                    Effect::Close(session, reason) => self.ends.close(&session, reason),
                    Effect::Commit(id, batch) => {
                        let _ = self.store.send(Work::Commit(id, batch));
                        self.send_jobs();
                    }
                    Effect::Read(id, request) => {
                        let _ = self.store.send(Work::Read(id, request));
                    }
                    Effect::Notice(notice) => self.notice(notice),
                }
            }
        }
    }

    fn tap(&self, session: &SessionId, frame: &Bytes, sent: bool) {
        if let (Some(tap), Some(remote)) = (&self.tap, self.ends.remote(session)) {
            tap(&Tapped { remote, sent, frame });
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
            match self.inbox.recv() {
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
