//! What people type or scan: mnemonics, requests, certificates, relays' ids.

use partita_core::{ContextId, ReplicaId};
use partita_single_owner::{Certificate, Mnemonic, Request};

/// One input.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(mnemonic) = Mnemonic::parse(text) {
        let again = Mnemonic::parse(&mnemonic.phrase());
        assert!(again.is_ok_and(|again| *again.phrase() == *mnemonic.phrase()));
    }
    if let Ok(request) = text.parse::<Request>() {
        assert_eq!(request.to_string().parse::<Request>().as_ref(), Ok(&request));
    }
    if let Ok(certificate) = text.parse::<Certificate>() {
        assert_eq!(certificate.to_string().parse::<Certificate>().as_ref(), Ok(&certificate));
    }
    if let Ok(id) = text.parse::<ReplicaId>() {
        assert_eq!(id.to_string(), text);
    }
    let _ = text.parse::<ContextId>();
}
