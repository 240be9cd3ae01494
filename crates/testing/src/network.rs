//! A network in memory, with scissors.
//!
//! [`MemoryNetwork`] is a transport for addresses such as `mem://relay`. Everybody who is to meet uses clones of the
//! same network. Frames pass through bounded channels, so that a side that does not read holds up the one that sends,
//! and the network can be told to refuse, to cut connections, or to cut each one after so many bytes.
//!
//! It needs no time and no sockets, so tests over it run in virtual time.

mod connection;
mod link;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use async_trait::async_trait;
use bytes::Bytes;
use partita_core::{Connection, Listener, Transport, TransportError};
use tokio::sync::mpsc;

use connection::MemoryConnection;
use link::{Life, Link};

/// The largest frame that is taken until `set_max_frame` says otherwise, in bytes: small, as for real transports, so
/// that forgetting to raise it shows.
pub const FIRST_MAX_FRAME: usize = 64 * 1024;

/// Connections that wait for a listener to accept them.
const BACKLOG: usize = 64;

/// Connects whoever holds a clone of it.
#[derive(Clone, Default)]
pub struct MemoryNetwork {
    state: Arc<Mutex<State>>,
}

type Tap = Arc<dyn Fn(&Bytes) + Send + Sync>;

#[derive(Default)]
struct State {
    listeners: BTreeMap<String, mpsc::Sender<MemoryConnection>>,
    refused: BTreeSet<String>,
    /// All that may still be up, by the address that was dialled.
    links: Vec<(String, Weak<Link>)>,
    budget: Option<u64>,
    tap: Option<Tap>,
    last_port: u16,
}

impl MemoryNetwork {
    /// Severs every connection; what was on its way is lost, and all ends see `Broken`. Listeners stay.
    ///
    /// Says how many connections that were up it has cut.
    pub fn cut_all(&self) -> usize {
        self.cut_where(|_| true)
    }

    /// The same for the connections that were dialled to one address.
    pub fn cut(&self, address: &str) -> usize {
        self.cut_where(|dialled| dialled == address)
    }

    /// Whether dials to an address fail from now on. Connections that are up stay up.
    pub fn refuse(&self, address: &str, refuse: bool) {
        let mut state = self.lock();
        if refuse {
            state.refused.insert(address.to_owned());
        } else {
            state.refused.remove(address);
        }
    }

    /// Severs each connection made from now on when so many bytes of frames, both directions together, have passed.
    ///
    /// The frame that would exceed the budget is not delivered. What had passed before it still arrives; then all ends
    /// see `Broken`. So with a budget above the size of the largest frame, each connection makes some progress.
    pub fn cut_every(&self, bytes: u64) {
        self.lock().budget = Some(bytes);
    }

    /// Ends [`cut_every`](Self::cut_every) for connections made from now on.
    pub fn stop_cutting(&self) {
        self.lock().budget = None;
    }

    /// Shows every frame that passes on connections made from now on, at the moment when it is sent, to `tap`.
    pub fn set_tap(&self, tap: impl Fn(&Bytes) + Send + Sync + 'static) {
        self.lock().tap = Some(Arc::new(tap));
    }

    /// How many connections are up.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.lock().links.iter().filter(|(_, link)| link.upgrade().is_some_and(|link| link.is_up())).count()
    }

    fn cut_where(&self, wanted: impl Fn(&str) -> bool) -> usize {
        let state = self.lock();
        let links = state.links.iter().filter(|(address, _)| wanted(address));
        links.filter_map(|(_, link)| link.upgrade()).filter(|link| link.end(Life::Cut)).count()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryNetwork {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<String> = self.lock().listeners.keys().cloned().collect();
        formatter.debug_struct("MemoryNetwork").field("listeners", &addresses).finish_non_exhaustive()
    }
}

#[async_trait]
impl Transport for MemoryNetwork {
    fn schemes(&self) -> &[&str] {
        &["mem"]
    }

    async fn dial(&self, url: &str) -> Result<Box<dyn Connection>, TransportError> {
        check(url)?;
        let unreachable = |reason: &str| TransportError::Unreachable { url: url.to_owned(), reason: reason.to_owned() };
        let (listener, link) = {
            let mut state = self.lock();
            if state.refused.contains(url) {
                return Err(unreachable("the network was told to refuse it"));
            }
            let Some(listener) = state.listeners.get(url).cloned() else {
                return Err(unreachable("nothing listens there"));
            };
            let link = Arc::new(Link::new(state.budget, state.tap.clone()));
            state.links.retain(|(_, link)| link.strong_count() > 0);
            state.links.push((url.to_owned(), Arc::downgrade(&link)));
            (listener, link)
        };
        let (here, there) = MemoryConnection::pair(link);
        listener.send(there).await.map_err(|_gone| unreachable("nothing listens there any more"))?;
        Ok(Box::new(here))
    }

    async fn listen(&self, url: &str) -> Result<Box<dyn Listener>, TransportError> {
        check(url)?;
        let mut state = self.lock();
        let address = match url.strip_suffix(":0") {
            Some(name) => {
                state.last_port += 1;
                format!("{name}:{}", state.last_port)
            }
            None => url.to_owned(),
        };
        if state.listeners.contains_key(&address) {
            let reason = "somebody listens there already; choose another name, or port 0 for a free one".to_owned();
            return Err(TransportError::CannotListen { url: address, reason });
        }
        let (sender, incoming) = mpsc::channel(BACKLOG);
        state.listeners.insert(address.clone(), sender);
        Ok(Box::new(MemoryListener { network: self.clone(), address, incoming }))
    }
}

fn check(url: &str) -> Result<(), TransportError> {
    match url.strip_prefix("mem://") {
        Some(name) if !name.is_empty() && !name.contains('#') => Ok(()),
        _ => Err(TransportError::BadUrl { url: url.to_owned(), reason: "one looks like mem://name".to_owned() }),
    }
}

struct MemoryListener {
    network: MemoryNetwork,
    address: String,
    incoming: mpsc::Receiver<MemoryConnection>,
}

#[async_trait]
impl Listener for MemoryListener {
    fn address(&self) -> String {
        self.address.clone()
    }

    async fn accept(&mut self) -> Result<Box<dyn Connection>, TransportError> {
        match self.incoming.recv().await {
            Some(connection) => Ok(Box::new(connection)),
            None => Err(TransportError::Broken(format!("{} no longer listens", self.address))),
        }
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        self.network.lock().listeners.remove(&self.address);
    }
}
