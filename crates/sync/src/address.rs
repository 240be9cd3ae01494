//! Where others are: addresses with the replica that must answer there, and the transports that reach them.

use std::{collections::BTreeMap, sync::Arc};

use partita_core::{ReplicaId, Transport, TransportError};

/// An address and the replica that must answer there: `ws://host:port#<replica id>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayUrl {
    /// The address without the id.
    pub address: String,
    /// Who must answer; `None` accepts anybody, whom no strategy then trusts as a relay.
    pub replica: Option<ReplicaId>,
}

/// Why a text is no relay's URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{url} is not a relay's URL ({reason}): it looks like wss://relay.example.org#<64 hexadecimal digits>, as the relay prints it"
)]
pub struct RelayUrlError {
    url: String,
    reason: String,
}

impl std::str::FromStr for RelayUrl {
    type Err = RelayUrlError;

    fn from_str(url: &str) -> Result<Self, RelayUrlError> {
        let bad = |reason: &str| RelayUrlError { url: url.into(), reason: reason.into() };
        let (address, id) = url.split_once('#').ok_or_else(|| bad("the relay's id after a # is missing"))?;
        if !address.contains("://") {
            return Err(bad("the scheme is missing"));
        }
        let replica = id.parse().map_err(|error: partita_core::IdError| bad(&error.to_string()))?;
        Ok(Self { address: address.into(), replica: Some(replica) })
    }
}

impl std::fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.replica {
            Some(replica) => write!(f, "{}#{replica}", self.address),
            None => f.write_str(&self.address),
        }
    }
}

/// Transports by URL scheme.
#[derive(Clone, Default)]
pub struct Transports {
    by_scheme: BTreeMap<String, Arc<dyn Transport>>,
}

impl Transports {
    /// Adds a transport for its schemes, in the place of an earlier one.
    pub fn add(&mut self, transport: Arc<dyn Transport>) {
        for scheme in transport.schemes() {
            self.by_scheme.insert((*scheme).to_owned(), transport.clone());
        }
    }

    /// The transport for an address.
    ///
    /// # Errors
    /// [`TransportError::BadUrl`] when there is none.
    pub fn of(&self, url: &str) -> Result<&Arc<dyn Transport>, TransportError> {
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
        self.by_scheme.get(scheme).ok_or_else(|| {
            let known: Vec<_> = self.by_scheme.keys().map(String::as_str).collect();
            let reason = format!("no transport for its scheme; this program has {}", known.join(", "));
            TransportError::BadUrl { url: url.into(), reason }
        })
    }
}

impl std::fmt::Debug for Transports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.by_scheme.keys()).finish()
    }
}
