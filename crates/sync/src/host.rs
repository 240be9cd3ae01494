//! What an embedder adds to the node.

use partita_core::{Now, Observer, Store};
use partita_protocol::{Node, Notice};

/// Work for the store's thread, after every commit and read that was asked for before. What it returns becomes a command.
pub type StoreJob<C> = Box<dyn FnOnce(&dyn Store) -> C + Send>;

/// Where a host works: the node, the time, and a way to the store's thread.
pub struct HostContext<'a, C> {
    /// The node.
    pub node: &'a mut Node,
    /// What time it is.
    pub now: Now,
    /// Jobs for the store's thread: handed over after the node's effects of this round, so after their commit.
    pub jobs: Vec<StoreJob<C>>,
    /// Jobs for the store's thread that are handed over at once: they see what is stored now, and nothing of what is pending,
    /// such as what a notice tells of.
    pub jobs_before: Vec<StoreJob<C>>,
    /// Is told what the host sees. Never give it a payload, a key or a name that a person gave.
    pub observer: &'a dyn Observer,
    /// Whether this is another thread than the driver's, which may have locked what others wait for: then it must wait for
    /// no lock.
    pub must_not_wait: bool,
}

/// An embedder's own part of the driver, on whichever thread does its work. Nothing here may block for long.
pub trait Host: Send + 'static {
    /// What other threads ask of it.
    type Command: Send + 'static;

    /// Whether its work may be done by whoever tells the driver something, where that is at rest, which saves waking the
    /// driver's thread. Only for a host that waits for nothing that one of them may have locked meanwhile, and calls nothing
    /// of an application's that might. Asked once.
    fn works_anywhere(&self) -> bool {
        false
    }

    /// Something was asked.
    fn command(&mut self, context: &mut HostContext<'_, Self::Command>, command: Self::Command);

    /// The node says something.
    fn notice(&mut self, context: &mut HostContext<'_, Self::Command>, notice: Notice);

    /// A round of events and commands is over: what was collected goes to the node now.
    fn round(&mut self, _context: &mut HostContext<'_, Self::Command>) {}

    /// Whether something is to be done in the next round on the driver's thread, since it may have to wait.
    fn wants_thread(&self) -> bool {
        false
    }

    /// The driver is stopping: the last chance to give the node something to store. Called again after everything that
    /// happens until then.
    fn closing(&mut self, _context: &mut HostContext<'_, Self::Command>) {}

    /// Whether the node was given everything.
    fn has_closed(&self) -> bool {
        true
    }
}
