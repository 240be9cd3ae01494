//! TLS towards servers.

use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, RootCertStore, crypto::ring, pki_types::ServerName};

/// The roots that browsers trust, compiled in. The provider is named here, so that an application's own choice of a
/// process-wide one plays no role.
pub(crate) fn public_roots() -> Result<Arc<ClientConfig>, rustls::Error> {
    let roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// A connection whose remote must prove that it is `host`.
pub(crate) fn client(config: Arc<ClientConfig>, host: &str) -> Result<ClientConnection, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    ClientConnection::new(config, name).map_err(|error| error.to_string())
}
