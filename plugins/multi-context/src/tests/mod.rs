//! What is promised.

mod composing;
mod memory;
mod routing;
mod shared_key;

use std::time::Duration;

use partita_core::{
    Brought, ContextId, ContextInfo, ContextKind, EntryHeader, EntryId, EntryKind, Hash, Incarnation, LogId, LogStart,
    Now, PartitionStrategy, PeerInfo, RemoteContext, ReplicaId, SessionId, Stamp, Transcript, timestamp_at,
};
use partita_crypto::{Secret, SigningKey, VerifyingKey};

const NOW: Now = Now { monotonic: Duration::from_secs(1), wall: Duration::from_secs(1_800_000_000) };

fn signing(seed: u8) -> SigningKey {
    SigningKey::from_seed(&Secret::from_bytes([seed; 32]))
}

fn key(seed: u8) -> VerifyingKey {
    signing(seed).verifying_key()
}

fn replica(seed: u8) -> ReplicaId {
    ReplicaId::from_bytes(*key(seed).as_bytes())
}

fn kind(name: &str) -> ContextKind {
    ContextKind::new(name).unwrap()
}

fn context(kind_name: &str, number: u8) -> ContextInfo {
    let kind = kind(kind_name);
    ContextInfo { id: ContextId::derive(&kind, &[number; 32]), kind }
}

fn peer(seed: u8) -> PeerInfo {
    let (session, incarnation) = (SessionId(u64::from(seed)), Incarnation::from_bytes([seed; 16]));
    PeerInfo { session, replica: replica(seed), incarnation, pinned: false }
}

fn remote(context: &ContextInfo, seed: u8) -> RemoteContext {
    RemoteContext { id: context.id, kind: context.kind.clone(), peer: peer(seed), grant: None }
}

/// Has a remote bring a context with a proof.
fn bring(strategy: &mut dyn PartitionStrategy, context: &ContextInfo, seed: u8, proof: &[u8]) -> bool {
    let (remote, peer) = (key(seed), peer(seed));
    strategy.adopt(context, Some(&Brought { now: NOW, transcript: TRANSCRIPT, remote, peer: &peer, proof }))
}

const TRANSCRIPT: Transcript = Transcript { handshake: [7; 32], prover_dialled: true, remote_pinned: false };

fn header(context: ContextId, seed: u8, kind: EntryKind) -> EntryHeader {
    let (replica, nonce) = (replica(seed), [seed; 16]);
    EntryHeader {
        context,
        log: LogId::derive(&context, &replica, &nonce),
        seq: 1,
        backlink: EntryId::NONE,
        time: timestamp_at(std::time::Duration::from_secs(1)),
        kind,
        start: Some(LogStart { replica, nonce, tips: Vec::new() }),
        stamp: Some(Stamp { heads: Vec::new(), epoch: None }),
        payload_len: 0,
        payload_hash: Hash::ZERO,
    }
}
