//! The connections that an engine keeps up, by their addresses; they may come and go while it is open.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use partita_core::TransportError;
use partita_sync::{ConnectionHandle, ConnectionState, Dialer, RelayUrl, Transports};

use crate::{
    engine::{Engine, Shared},
    error::ConnectError,
};

/// All of them, and what makes new ones.
pub(crate) struct Links {
    transports: Transports,
    dialers: Mutex<BTreeMap<String, Dialer>>,
}

impl Links {
    pub(crate) fn new(transports: Transports) -> Self {
        Self { transports, dialers: Mutex::default() }
    }

    pub(crate) fn states(&self) -> Vec<(String, ConnectionState)> {
        self.lock().iter().map(|(url, dialer)| (url.clone(), dialer.handle().state())).collect()
    }

    pub(crate) fn retry_now(&self) {
        for dialer in self.lock().values() {
            dialer.retry_now();
        }
    }

    pub(crate) fn close(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Dialer>> {
        self.dialers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Keeps a connection up, unless it is kept up already.
    pub(crate) fn connect(&self, url: RelayUrl) -> Result<ConnectionHandle, TransportError> {
        let mut dialers = self.links.lock();
        let name = url.to_string();
        // One whose runtime was shut down is over, and made anew in this one.
        let known = dialers.get(&name).map(Dialer::handle);
        if let Some(handle) = known.filter(|handle| handle.state() != ConnectionState::Closed) {
            return Ok(handle);
        }
        let dialer = Dialer::start(self.driver.clone(), &self.links.transports, url, self.reporter())?;
        let handle = dialer.handle();
        dialers.insert(name, dialer);
        Ok(handle)
    }
}

impl Engine {
    /// Keeps a connection to a relay or another device up from now on, beside those that there are. It is dialled in
    /// the background; the handle shows its state. An address that is connected to already is no error and changes nothing.
    /// Call it inside a tokio runtime, with which the connection ends: call it again in another one.
    ///
    /// # Errors
    /// [`ConnectError`] when the address cannot be used at all.
    pub fn connect(&self, url: &str) -> Result<ConnectionHandle, ConnectError> {
        Ok(self.shared.connect(url.parse()?)?)
    }

    /// Ends a connection in an orderly way and keeps it up no more; what was not sent stays in the store. False when there is
    /// none to this address.
    ///
    /// # Errors
    /// [`ConnectError`] when it is no address.
    pub fn disconnect(&self, url: &str) -> Result<bool, ConnectError> {
        let name = url.parse::<RelayUrl>()?.to_string();
        Ok(self.shared.links.lock().remove(&name).is_some())
    }

    /// Shows the state of the connection to an address, if it is kept up.
    pub fn connection(&self, url: &str) -> Option<ConnectionHandle> {
        let name = url.parse::<RelayUrl>().ok()?.to_string();
        self.shared.links.lock().get(&name).map(Dialer::handle)
    }
}
