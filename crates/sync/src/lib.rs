//! Partita's runtime: performs the protocol's effects on tokio.
