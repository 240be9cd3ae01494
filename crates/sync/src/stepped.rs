//! A driver for simulators.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use partita_core::{Now, Observer, Store};
use partita_protocol::{CloseReason, Event, Node, RemoteSession};
use tokio::sync::{mpsc, oneshot};

use crate::{
    driver::{Driver, DriverParts, Input, Stop},
    ends::{End, Outgoing},
    handle::DriverHandle,
    host::Host,
    inbox::{Inbox, Sender, queue},
    store_thread::{self, Work},
    wake::{Teller, Told},
};

/// What the store is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreWork {
    /// A durable commit.
    Commit,
    /// A read, or a question of the host.
    Read,
}

/// What a driver says on a connection.
#[derive(Debug)]
pub enum Said {
    /// A plain frame: it is to be sealed by the channel.
    Frame(Bytes),
    /// The connection is to be closed behind what was said before.
    Close(CloseReason),
}

/// The connection's side of a session.
#[derive(Debug)]
pub struct SteppedEnd {
    said: mpsc::UnboundedReceiver<Outgoing>,
}

impl SteppedEnd {
    /// What the driver said next, if anything.
    pub fn listen(&mut self) -> Option<Said> {
        Some(match self.said.try_recv().ok()? {
            Outgoing::Frame(frame) => Said::Frame(frame),
            Outgoing::Close(reason) => Said::Close(reason),
        })
    }
}

/// A driver without threads: whoever holds it says when it works, when its store works, and what time it is.
///
/// It is the driver, the node, the host and the store's work that run on threads otherwise, so what a simulator finds here
/// holds there. What is left out is the threads, and the tasks that move frames.
pub struct Stepped<H: Host> {
    driver: Driver<H>,
    sender: Sender<Told<Input<H::Command>>>,
    work: Inbox<Work<H::Command>>,
    /// The first piece of work, taken out to be looked at.
    next: Option<Work<H::Command>>,
    store: Arc<dyn Store>,
    observer: Arc<dyn Observer>,
    /// Who waits for the end.
    ending: Option<Stop>,
    ended: bool,
}

impl<H: Host> std::fmt::Debug for Stepped<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stepped").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl<H: Host> Stepped<H> {
    /// A driver at rest, with the clock that it goes by.
    pub fn new(
        parts: DriverParts<H>,
        clock: impl Fn() -> Now + Send + Sync + 'static,
    ) -> (Self, DriverHandle<H::Command>) {
        let (sender, inbox) = queue();
        let (worker, work) = queue();
        let (store, observer, identity) = (parts.store.clone(), parts.observer.clone(), parts.node.identity.clone());
        let driver = Driver::new(parts, inbox, worker, Arc::new(clock));
        let outcome = driver.outcome.clone();
        let teller = Teller::quiet(sender.clone());
        let handle = DriverHandle { sender: teller, identity, observer: observer.clone(), outcome };
        let stepped = Self { driver, sender, work, next: None, store, observer, ending: None, ended: false };
        (stepped, handle)
    }

    fn tell(&self, item: Input<H::Command>) {
        let _ = self.sender.send(Told { item, here: false });
    }

    /// Tells the driver what happened; it is taken at the next turn.
    pub fn event(&self, event: Event) {
        self.tell(Input::Event(event));
    }

    /// Tells the driver of a connection whose remote proved who it is.
    pub fn connected(&self, remote: RemoteSession) -> SteppedEnd {
        let (writer, said) = mpsc::unbounded_channel();
        // Nothing here holds up what was said before a close, so nobody has to be told past it.
        let (closing, _) = oneshot::channel();
        let end = End::new(remote.peer().replica, writer, closing);
        self.tell(Input::Connected(remote, end));
        SteppedEnd { said }
    }

    /// Whether something happened that no turn has taken yet.
    pub fn has_input(&self) -> bool {
        !self.ended && self.driver.has_input()
    }

    /// When a turn is due though nothing happens, on the monotonic clock: never, once it waits for the last commit.
    pub fn due(&self) -> Duration {
        if self.ended || self.ending.is_some() { Duration::MAX } else { self.driver.due() }
    }

    /// One turn: takes what happened, lets time pass, performs what comes of it.
    pub fn turn(&mut self) {
        if self.ended {
            return;
        }
        if let Some(ending) = &mut self.ending {
            if let Some(input) = self.driver.next_input() {
                self.driver.take_last(input, ending);
            }
        } else {
            self.ending = self.driver.turn();
            if self.ending.is_some() {
                self.driver.begin_end();
            }
        }
        if self.ending.is_some() && self.driver.has_settled() {
            self.driver.say_goodbye();
            self.ended = true;
            let failure = self.driver.node().failure().cloned();
            let _ = self.driver.outcome.set(failure.clone());
            for done in self.ending.take().into_iter().flatten() {
                let _ = done.send(failure.clone());
            }
        }
    }

    /// Whether it was stopped, and everything is stored.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// What the store has to do next.
    pub fn store_work(&mut self) -> Option<StoreWork> {
        if self.next.is_none() {
            self.next = self.work.try_recv().ok();
        }
        Some(match self.next.as_ref()? {
            Work::Commit(..) => StoreWork::Commit,
            _ => StoreWork::Read,
        })
    }

    /// Lets the store do it. The driver hears of it at its next turn.
    pub fn serve_store(&mut self) {
        if self.store_work().is_some()
            && let Some(work) = self.next.take()
        {
            self.tell(store_thread::perform(work, &*self.store, &*self.observer));
        }
    }

    /// The node, to look at.
    pub fn node(&self) -> &Node {
        self.driver.node()
    }

    /// The store, to look at.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// How many bytes wait for the transports of all sessions.
    pub fn waiting_bytes(&self) -> usize {
        self.driver.waiting_bytes()
    }
}
