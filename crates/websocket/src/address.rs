//! `ws://host:port/path`, taken apart.

use partita_core::TransportError;
use tungstenite::http::Uri;

/// An address that can be dialled or listened on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// As it was given, for errors.
    pub(crate) url: String,
    /// The same, parsed, for the request.
    pub(crate) uri: Uri,
    /// `wss`.
    pub(crate) secure: bool,
    /// A name or an IP address, IPv6 without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Self, TransportError> {
        let bad = |reason: String| TransportError::BadUrl { url: without_user_info(url), reason };
        if url.contains('#') {
            return Err(
                bad("the part after # names a replica and is no part of the address; leave it out here".into()),
            );
        }
        let uri: Uri = url.parse().map_err(|error| bad(format!("{error}; {EXAMPLE}")))?;
        let secure = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => {
                return Err(bad(format!("it must begin with ws:// or wss://; {EXAMPLE}")));
            }
        };
        let Some(authority) = uri.authority() else {
            return Err(bad(format!("it names no host; {EXAMPLE}")));
        };
        if authority.as_str().contains('@') {
            return Err(bad("names and passwords are not used here; leave out what stands before the @".into()));
        }
        let host = authority.host();
        let port = match authority.as_str().strip_prefix(host) {
            Some("") if secure => 443,
            Some("") => 80,
            Some(port) => port
                .strip_prefix(':')
                .and_then(|port| port.parse().ok())
                .ok_or_else(|| bad(format!("the port must be a number from 0 to 65535; {EXAMPLE}")))?,
            None => return Err(bad(EXAMPLE.into())),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(bad(format!("it names no host; {EXAMPLE}")));
        }
        Ok(Self { url: url.to_owned(), uri, secure, host, port })
    }
}

const EXAMPLE: &str = "an address looks like wss://relay.example.org, ws://192.0.2.1:9000/path or ws://[::1]:9000";

/// Errors end up in logs, passwords should not.
fn without_user_info(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    match url[start..end].rfind('@') {
        Some(at) => format!("{}{}", &url[..start], &url[start + at + 1..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> (bool, String, u16) {
        let address = Address::parse(url).unwrap();
        (address.secure, address.host, address.port)
    }

    #[test]
    fn addresses_that_work() {
        assert_eq!(parsed("ws://localhost:9000"), (false, "localhost".into(), 9000));
        assert_eq!(parsed("ws://localhost:9000/some/path?a=b"), (false, "localhost".into(), 9000));
        assert_eq!(parsed("ws://[::1]:9000/"), (false, "::1".into(), 9000));
        assert_eq!(parsed("ws://relay.example.org"), (false, "relay.example.org".into(), 80));
        assert_eq!(parsed("wss://relay.example.org/x"), (true, "relay.example.org".into(), 443));
        assert_eq!(parsed("wss://[2001:db8::1]"), (true, "2001:db8::1".into(), 443));
        assert_eq!(parsed("ws://127.0.0.1:0"), (false, "127.0.0.1".into(), 0));
    }

    #[test]
    fn addresses_that_do_not_say_what_one_looks_like() {
        for url in ["", "ws://", "http://a", "localhost:9000", "ws://a:99999", "ws://a:", "ws://a:x", "ws:///p", "wss"]
        {
            let error = Address::parse(url).unwrap_err().to_string();
            assert!(error.contains("ws://"), "{url}: {error}");
        }
    }

    #[test]
    fn a_fragment_is_refused_politely() {
        let error = Address::parse("wss://relay.example.org#abc").unwrap_err().to_string();
        assert!(error.contains("leave it out"), "{error}");
    }

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        let error = Address::parse("ws://me:secret@relay.example.org/p").unwrap_err().to_string();
        assert!(error.contains("relay.example.org/p") && !error.contains("secret"), "{error}");
    }
}
