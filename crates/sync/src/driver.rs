//! What drives the node.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, OnceLock},
    thread::{self, Thread},
    time::Duration,
};

use bytes::Bytes;
use partita_core::{Now, Observation, Observer, ReplicaId, SessionId, Store, StoreError};
use partita_protocol::{CloseReason, Effect, Event, Node, NodeParts, Notice, RemoteSession};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{
    ends::{End, Ends},
    handle::{DriverHandle, Outcome, Probing},
    host::{Host, HostContext, StoreJob},
    inbox::{Inbox, Sender, queue},
    notices, now,
    sampler::{Queues, Sampler},
    store_thread::{self, Work},
    wake::{Shared, Sleeper, Taker, Teller, Told},
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
    Stop(oneshot::Sender<Option<StoreError>>),
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

/// Those who asked for the end, and wait for it.
pub(crate) type Stop = Vec<oneshot::Sender<Option<StoreError>>>;

/// What tells the time: the machine's clocks, or a simulator's.
pub(crate) type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

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

/// A node, its host, and the ends of its connections, with what each asks of the other.
pub struct Driver<H: Host> {
    node: Node,
    host: H,
    inbox: Inbox<Told<Input<H::Command>>>,
    /// What another thread found in it and left to the driver's, whose next turn takes it first.
    left: Option<Input<H::Command>>,
    /// Whether another thread than the driver's is at work.
    here: bool,
    store: Sender<Work<H::Command>>,
    /// None where somebody else performs the store's work.
    store_thread: Option<thread::JoinHandle<()>>,
    pub(crate) clock: Clock,
    ticked: Duration,
    ends: Ends,
    tap: Option<FrameTap>,
    observer: Arc<dyn Observer>,
    sampler: Sampler,
    /// Jobs for the store that have to see what may not be on its way there yet: each with how many commits go first.
    jobs: VecDeque<(u64, StoreJob<H::Command>)>,
    /// How many commits are on their way to the store, or were.
    commits: u64,
    /// Until when the driver's thread means to sleep, on the monotonic clock.
    sleeps_until: Duration,
    /// For those who ask for the end, and are not heard any more.
    pub(crate) outcome: Outcome,
}

/// The driver's thread, once it runs.
#[derive(Default)]
struct DriverThread(OnceLock<Thread>);

impl Sleeper for DriverThread {
    fn wake(&self) {
        if let Some(thread) = self.0.get() {
            thread.unpark();
        }
    }
}

impl<H: Host> Taker for Driver<H> {
    type Item = Input<H::Command>;

    fn inbox(&self) -> &Inbox<Told<Self::Item>> {
        &self.inbox
    }

    fn take_here(&mut self) -> bool {
        if self.left.is_some() {
            return true; // in order
        }
        match self.inbox.try_recv() {
            Ok(Told { item, here: true }) => {
                self.here = true;
                // Whoever stops leaves that to the driver's thread.
                let _ = self.work_off([item]);
                self.here = false;
            }
            Ok(told) => {
                self.left = Some(told.item);
                return true;
            }
            Err(_) => {}
        }
        self.inbox.waiting() > 0
            || self.host.wants_thread()
            || self.node_due().is_some_and(|due| due < self.sleeps_until)
    }
}

impl<H: Host> Driver<H> {
    /// Starts the driver's and the store's threads.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn start(parts: DriverParts<H>) -> Result<DriverHandle<H::Command>, StoreError> {
        let (queue_end, inbox) = queue();
        let (work, to_do) = queue();
        let (store, observer, identity) = (parts.store.clone(), parts.observer.clone(), parts.node.identity.clone());
        let anywhere = parts.host.works_anywhere();
        let driver = Self::new(parts, inbox, work, Arc::new(now));
        let outcome = driver.outcome.clone();
        let shared = Shared::new(driver);
        let sleeper = Arc::new(DriverThread::default());
        let sender = if anywhere {
            Teller::of(queue_end, &shared, sleeper.clone())
        } else {
            Teller::to_thread(queue_end, sleeper.clone())
        };
        let store_thread = store_thread::start(store, to_do, sender.clone(), observer.clone())?;
        if let Some(driver) = &mut *shared.lock() {
            driver.store_thread = Some(store_thread);
        }
        let run = move || {
            // Before it looks for the first time: whoever told something earlier woke nobody.
            let _ = sleeper.0.set(thread::current());
            Self::run(&shared);
        };
        thread::Builder::new()
            .name("partita-node".into())
            .spawn(run)
            .map_err(|error| StoreError::Io(format!("cannot start a thread: {error}")))?;
        Ok(DriverHandle { sender, identity, observer, outcome })
    }

    /// A driver that has to be told when to work.
    pub(crate) fn new(
        parts: DriverParts<H>,
        inbox: Inbox<Told<Input<H::Command>>>,
        store: Sender<Work<H::Command>>,
        clock: Clock,
    ) -> Self {
        let DriverParts { node, store: _, host, tap, observer } = parts;
        let time = clock();
        Self {
            node: Node::new(time, node),
            host,
            inbox,
            left: None,
            here: false,
            store,
            store_thread: None,
            clock,
            ticked: time.monotonic,
            ends: Ends::default(),
            tap,
            observer,
            sampler: Sampler::default(),
            jobs: VecDeque::new(),
            commits: 0,
            sleeps_until: Duration::ZERO,
            outcome: Outcome::default(),
        }
    }

    /// The driver's thread: takes what nobody else took, lets time pass, and ends the driver.
    fn run(shared: &Shared<Self>) {
        loop {
            let mut guard = shared.lock();
            let Some(driver) = guard.as_mut() else { return };
            let stop = catch_unwind(AssertUnwindSafe(|| driver.turn())).unwrap_or_else(|panic| {
                *guard = None; // everybody who waits for it is told by that
                resume_unwind(panic)
            });
            if let Some(stop) = stop {
                let driver = guard.take();
                drop(guard);
                return driver.map_or((), |driver| driver.finish(stop));
            }
            let wait = guard.as_mut().map_or(Duration::ZERO, Self::fall_asleep);
            drop(guard);
            if !wait.is_zero() {
                thread::park_timeout(wait);
            }
        }
    }

    /// How long the driver's thread may sleep.
    fn fall_asleep(&mut self) -> Duration {
        let time = self.now().monotonic;
        let due = self.node_due().map_or(TICK, |due| due.saturating_sub(time).min(TICK));
        let wait = if self.inbox.waiting() > 0 { Duration::ZERO } else { due };
        self.sleeps_until = time.saturating_add(wait);
        wait
    }

    /// When the node wants to hear what time it is, before the next second is over.
    fn node_due(&self) -> Option<Duration> {
        self.node.tick_due().into_iter().chain(self.node.commit_due()).min()
    }

    fn now(&self) -> Now {
        (self.clock)()
    }

    /// Takes what happened, lets time pass, and performs what comes of it. Answers who asked for the end, if somebody did.
    pub(crate) fn turn(&mut self) -> Option<Stop> {
        let first = self.left.take();
        let rest = std::iter::from_fn(|| self.inbox.try_recv().ok()).map(|told| told.item);
        let inputs: Vec<_> = first.into_iter().chain(rest).take(ROUND).collect();
        self.work_off(inputs)
    }

    fn work_off(&mut self, inputs: impl IntoIterator<Item = Input<H::Command>>) -> Option<Stop> {
        let mut stop: Option<Stop> = None;
        for input in inputs {
            // What came with the stop still counts: it may be the end of the commit that the stop waits for.
            match input {
                Input::Stop(done) => stop.get_or_insert_default().push(done),
                input => self.take(input),
            }
        }
        if stop.is_some() {
            return stop;
        }
        let time = self.now();
        if time.monotonic.saturating_sub(self.ticked) >= TICK {
            self.ticked = time.monotonic;
            self.node.handle(time, Event::Tick);
            self.sample();
        } else if self.node.tick_due().is_some_and(|due| due <= time.monotonic) {
            self.node.handle(time, Event::Tick);
        } else if self.node.commit_due().is_some_and(|due| due <= time.monotonic) {
            self.node.handle(time, Event::CommitDue);
        }
        self.round();
        None
    }

    /// When this driver has something to do though nothing happens.
    #[cfg(feature = "simulation")]
    pub(crate) fn due(&self) -> Duration {
        let tick = self.ticked.saturating_add(TICK);
        self.node_due().map_or(tick, |due| due.min(tick))
    }

    /// Whether something has happened that was not taken yet.
    #[cfg(feature = "simulation")]
    pub(crate) fn has_input(&self) -> bool {
        self.inbox.waiting() > 0
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.ends.waiting().0
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn next_input(&self) -> Option<Input<H::Command>> {
        Some(self.inbox.try_recv().ok()?.item)
    }

    fn take(&mut self, input: Input<H::Command>) {
        match input {
            Input::Event(event) => {
                match &event {
                    Event::Disconnected(session) => self.ends.forget(session),
                    Event::Sent(session, bytes) => self.ends.sent(session, *bytes),
                    _ => {}
                }
                self.node.handle(self.now(), event);
            }
            Input::Connected(remote, end) => {
                let (session, replica) = (remote.session, remote.peer().replica);
                self.observer.observe(&Observation::SessionBegan { session, remote: replica });
                self.ends.insert(session, end);
                self.node.handle(self.now(), Event::Connected(remote));
            }
            Input::Frame(session, frame, permit) => {
                self.tap(&session, &frame, false);
                self.node.handle(self.now(), Event::Received(session, frame));
                drop(permit);
            }
            Input::Command(command) => self.with_host(|host, context| host.command(context, command)),
            Input::HangUp(session) => {
                self.ends.close(&session, CloseReason::Closing);
                self.node.handle(self.now(), Event::Disconnected(session));
            }
            Input::Probe(Probing { node, store }) => {
                let _ = node.send(());
                self.ask_store(Work::Probe(store));
            }
            Input::ProbeBack(back) => {
                let _ = back.send(());
            }
            Input::Stop(_) => {}
        }
    }

    fn with_host(&mut self, call: impl FnOnce(&mut H, &mut HostContext<'_, H::Command>)) {
        let mut context = HostContext {
            node: &mut self.node,
            now: (self.clock)(),
            jobs: Vec::new(),
            jobs_before: Vec::new(),
            observer: &*self.observer,
            must_not_wait: self.here,
        };
        call(&mut self.host, &mut context);
        let HostContext { jobs, jobs_before, .. } = context;
        let commits = self.node.commits_to_see();
        self.jobs.extend(jobs.into_iter().map(|job| (commits, job)));
        for job in jobs_before {
            self.ask_store(Work::Job(job));
        }
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
            if !self.jobs.is_empty() {
                self.node.hurry_commit(); // they have to see what is pending
            }
            let effects = self.node.effects();
            self.send_jobs();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Send(session, frame) => {
                        self.tap(&session, &frame, true);
                        self.ends.send(&session, frame);
                    }
                    Effect::Close(session, reason) => self.ends.close(&session, reason),
                    Effect::Commit(id, batch) => {
                        self.ask_store(Work::Commit(id, batch));
                        self.commits = id + 1;
                        self.send_jobs();
                    }
                    Effect::Read(id, request) => {
                        self.ask_store(Work::Read(id, request));
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

    /// Sends the jobs that find in the store by now what they have to see, or what there will ever be of it.
    fn send_jobs(&mut self) {
        let is_over = self.node.failure().is_some();
        while let Some((_, job)) = self.jobs.pop_front_if(|(commits, _)| is_over || *commits <= self.commits) {
            self.ask_store(Work::Job(job));
        }
    }

    /// Without the store's thread nothing is stored any more: the node hears that as it hears of any failure of the store.
    fn ask_store(&mut self, work: Work<H::Command>) {
        if self.store.send(work).is_err() {
            let gone = StoreError::Io("the store's thread is gone".into());
            self.node.handle(self.now(), Event::Committed(self.commits, Err(gone)));
        }
    }

    /// Stores what waits, says goodbye, and closes the store.
    fn finish(mut self, mut stop: Stop) {
        self.begin_end();
        while !self.has_settled() {
            match self.inbox.recv() {
                Ok(told) => self.take_last(told.item, &mut stop),
                Err(_) => break,
            }
        }
        self.say_goodbye();
        let failure = self.node.failure().cloned();
        drop(self.store);
        if let Some(thread) = self.store_thread {
            let _ = thread.join();
        }
        drop(self.host);
        // Before the queue goes, with those who asked too late to be taken out of it.
        let _ = self.outcome.set(failure.clone());
        for done in stop {
            let _ = done.send(failure.clone()); // whoever asked may have gone
        }
    }

    /// Whether everything that was to be stored at the end is.
    pub(crate) fn has_settled(&self) -> bool {
        self.node.failure().is_some() || (self.node.is_settled() && self.host.has_closed())
    }

    /// From here on only what is under way matters.
    pub(crate) fn begin_end(&mut self) {
        self.node.hurry_commits();
        self.with_host(|host, context| host.closing(context));
        self.perform();
    }

    /// What happens before everything is stored.
    pub(crate) fn take_last(&mut self, input: Input<H::Command>, stop: &mut Stop) {
        match input {
            // Another one who closes waits for the same, and is told what became of it.
            Input::Stop(done) => stop.push(done),
            Input::Event(_) | Input::Command(_) => {
                self.take(input);
                self.with_host(|host, context| host.closing(context));
                self.perform();
            }
            _ => {}
        }
    }

    pub(crate) fn say_goodbye(&mut self) {
        self.node.close(self.now());
        self.perform();
    }
}
