//! Control payloads of single-owner: a relay meets them from anybody.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use partita_core::{
    ContextId, ContextKind, ControlEntry, EntryHeader, EntryId, EntryKind, LogId, LogStart, Now,
    PartitionStrategy as _, ReplicaId, Stamp, timestamp_at,
};
use partita_crypto::{Secret, SigningKey};
use partita_single_owner::{SEALED_KIND, SingleOwnerRelay};

fuzz_target!(|data: &[u8]| {
    let Ok(kind) = ContextKind::new(SEALED_KIND) else { return };
    let owner = SigningKey::from_seed(&Secret::from_bytes([7; 32])).verifying_key();
    let context = ContextId::derive(&kind, owner.as_bytes());
    let author = ReplicaId::from_bytes(*owner.as_bytes());
    let nonce = [1; 16];
    let header = EntryHeader {
        context,
        log: LogId::derive(&context, &author, &nonce),
        seq: 1,
        backlink: EntryId::NONE,
        time: timestamp_at(Duration::ZERO),
        kind: EntryKind::Control,
        start: Some(LogStart { replica: author, nonce, tips: Vec::new() }),
        stamp: Some(Stamp::default()),
        payload_len: data.len() as u64,
        payload_hash: EntryHeader::hash_payload(data),
    };
    let entry = ControlEntry { id: header.id(), author, header: &header, parents: &[], payload: data };
    let now = Now { monotonic: Duration::ZERO, wall: Duration::ZERO };
    let mut relay = SingleOwnerRelay::new();
    if relay.control(now, &entry).is_ok() {
        let _ = relay.standing(&context);
    }
});
