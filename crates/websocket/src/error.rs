//! What went wrong, in words that help.

use std::io::{self, ErrorKind};

use partita_core::TransportError;
use tungstenite::{Error, error::CapacityError, error::ProtocolError};

/// An error on a connection that stands.
pub(crate) fn on_connection(error: Error) -> TransportError {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { max_size, .. }) => {
            TransportError::FrameTooLarge { limit: max_size }
        }
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            TransportError::Broken("the remote went away without closing it".into())
        }
        Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(ProtocolError::SendAfterClosing) => closed(),
        Error::Io(error) => TransportError::Broken(error.to_string()),
        error => TransportError::Protocol(error.to_string()),
    }
}

/// Something was to be sent after the end.
pub(crate) fn closed() -> TransportError {
    TransportError::Broken("it is closed".into())
}

/// Why a TCP connection could not be made.
pub(crate) fn connect_reason(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => {
            "connection refused: nothing listens there; check the port and that the relay runs".into()
        }
        ErrorKind::TimedOut => "no answer; check the address, the network and firewalls".into(),
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => {
            format!("{error}; check that this machine is online")
        }
        _ => error.to_string(),
    }
}

/// Why a server did not become a WebSocket.
pub(crate) fn handshake_reason(error: &Error) -> String {
    match error {
        Error::Http(response) => format!(
            "the server answered HTTP {} instead of opening a WebSocket; check the path, and that it leads to a relay",
            response.status()
        ),
        Error::Protocol(ProtocolError::HandshakeIncomplete) => {
            "the server hung up during the WebSocket handshake; check that it is a relay, and whether it wants wss://"
                .into()
        }
        Error::Io(error) => error.to_string(),
        error => format!("what answers there is no WebSocket server ({error}); check the address"),
    }
}

/// Why an address cannot be listened on.
pub(crate) fn listen_reason(error: &io::Error, port: u16) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => format!(
            "port {port} is in use by another program; stop that program, choose another port, or port 0 for a free one"
        ),
        ErrorKind::PermissionDenied => {
            format!("this user may not listen on port {port}; choose a port from 1024 up, or grant the right")
        }
        ErrorKind::AddrNotAvailable => {
            "this machine has no such address; listen on one of its own, or on 0.0.0.0 or [::] for all of them".into()
        }
        _ => error.to_string(),
    }
}
