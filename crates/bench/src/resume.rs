//! What a reconnect costs.

use std::sync::Arc;

use partita_core::{ContextId, ContextInfo, ContextKind, EntryKind, PartitionStrategy as _};
use partita_multi_context::MultiContext;
use partita_protocol::{
    Event, NodeConfig, RemoteSession,
    message::{Message, Run},
};
use partita_single_owner::SingleOwnerRelay;
use partita_testing::{
    samples::{self, SampleLog},
    strategy::{OPEN_KIND, OpenStrategy},
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use serde::Serialize;

use crate::{
    owners,
    pair::{End, Wire, now},
    report,
};

/// How many logs one context has, and how many entries each of them.
const LOGS: usize = 1000;
const ENTRIES_EACH: usize = 100;
/// How many bytes an unchanged context may cost.
const LIMIT: f64 = 200.0;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many contexts, each of an owner of its own, are open on the connection.
    #[arg(long, default_value_t = 10_000)]
    contexts: usize,
    /// Also print the figures as one line of JSON, the last one.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Figures {
    /// Sealed bytes of a reconnect after which nothing has to be sent, both ways, for each context.
    unchanged_bytes_per_context: f64,
    /// From the end of the handshake until every context is open in both directions.
    unchanged_round_trips: f64,
    sparse_missing: usize,
    sparse_sent: usize,
    /// Sealed bytes of that reconnect, both ways.
    sparse_bytes: usize,
}

pub(crate) fn run(arguments: &Arguments) -> crate::Outcome {
    let (per_context, round_trips, reads) = unchanged(arguments.contexts)?;
    let (missing, sent, bytes) = sparse()?;
    let rows = [
        ("contexts, sealed, one owner each", arguments.contexts.to_string()),
        ("unchanged: bytes each, both ways", format!("{per_context:.1} (limit {LIMIT})")),
        ("unchanged: round trips after the handshake", format!("{round_trips}")),
        ("unchanged: reads from either store", reads.to_string()),
        ("sparse: entries held by one side", (LOGS * ENTRIES_EACH).to_string()),
        ("sparse: entries that the other lacks", missing.to_string()),
        ("sparse: entries sent", sent.to_string()),
        ("sparse: bytes, both ways", format!("{bytes} ({:.1} a log)", bytes as f64 / LOGS as f64)),
    ];
    let figures = Figures {
        unchanged_bytes_per_context: per_context,
        unchanged_round_trips: round_trips,
        sparse_missing: missing,
        sparse_sent: sent,
        sparse_bytes: bytes,
    };
    report::print("resume: what a reconnect costs", &rows, &figures, arguments.json)?;
    let kept = reads == 0 && per_context < LIMIT && round_trips <= 1.0 && sent == missing;
    if kept { Ok(()) } else { Err("a reconnect costs more than was promised".into()) }
}

/// Bytes for each context, round trips, reads.
fn unchanged(contexts: usize) -> Result<(f64, f64, usize), Box<dyn std::error::Error>> {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let (owners, keys) = owners::create(contexts, &mut rng)?;
    let infos: Vec<ContextInfo> = owners.iter().flat_map(|owner| owner.contexts()).collect();
    let strategy = owners.into_iter().fold(MultiContext::new(), MultiContext::with);
    let mut device = End::new(2, Arc::new(keys.signing), NodeConfig::default(), strategy);
    let config = NodeConfig { accept_contexts: true, ..NodeConfig::default() };
    let mut relay = End::new(3, Arc::new(samples::signing_key(200)), config, SingleOwnerRelay::new());
    device.open(infos.iter().cloned())?;
    for info in &infos {
        device.node.append(now(1), info.id, EntryKind::Change(samples::document(1)), b"something")?;
    }
    device.settle()?;
    let mut wire = Wire::connect(1, &mut device, &mut relay)?;
    wire.run()?;
    let first = wire.disconnect()?;
    if first.entries < contexts {
        return Err("the relay was not filled".into());
    }

    let reads = device.reads + relay.reads;
    let mut wire = Wire::connect(2, &mut device, &mut relay)?;
    let is_open =
        |wire: &Wire<'_>| (0..2).all(|at| wire.end(at).node.peer_status().iter().any(|peer| peer.live == contexts));
    while !is_open(&wire) {
        if !wire.trip()? {
            return Err("the contexts did not open".into());
        }
    }
    let round_trips = wire.traffic.trips as f64 / 2.0;
    wire.run()?;
    let traffic = wire.disconnect()?;
    if traffic.entries > 0 {
        return Err("an unchanged context was sent again".into());
    }
    Ok((traffic.bytes as f64 / contexts as f64, round_trips, device.reads + relay.reads - reads))
}

/// How many entries were missing, how many were sent, how many bytes that took.
fn sparse() -> Result<(usize, usize, usize), Box<dyn std::error::Error>> {
    let kind = ContextKind::new(OPEN_KIND)?;
    let info = ContextInfo { id: ContextId::derive(&kind, &[1; 32]), kind };
    let end = |seed: u8| -> Result<End, Box<dyn std::error::Error>> {
        let key = Arc::new(samples::signing_key(seed));
        let mut end = End::new(u64::from(seed), key, NodeConfig::default(), OpenStrategy::new());
        end.open([info.clone()])?;
        Ok(end)
    };
    let (mut full, mut lacking) = (end(251)?, end(252)?);
    for number in 0..LOGS {
        let (writer, of_writer) = ((number % 250) as u8, (number / 250) as u8);
        let mut log = SampleLog::new(writer, info.id, of_writer);
        let mut entries: Vec<_> =
            (0..ENTRIES_EACH).map(|_| log.change(samples::document(1), &b"an entry"[..])).collect();
        fill(&mut full, &info, number, &entries)?;
        if number == LOGS / 2 {
            entries.pop();
        }
        fill(&mut lacking, &info, number, &entries)?;
    }
    let held = |end: &End| end.node.context_status().iter().map(|context| context.entries).sum::<u64>();
    let missing = usize::try_from(held(&full) - held(&lacking))?;
    if held(&full) != (LOGS * ENTRIES_EACH) as u64 {
        return Err("the context was not filled".into());
    }
    let mut wire = Wire::connect(3, &mut lacking, &mut full)?;
    wire.run()?;
    let traffic = wire.disconnect()?;
    if held(&full) != held(&lacking) {
        return Err("the missing entry did not come".into());
    }
    Ok((missing, traffic.entries, traffic.bytes))
}

/// Brings a log to an end as a remote would.
fn fill(
    end: &mut End,
    info: &ContextInfo,
    number: usize,
    entries: &[Arc<partita_core::Entry>],
) -> Result<(), Box<dyn std::error::Error>> {
    let session = partita_core::SessionId(1_000_000 + number as u64);
    let remote = RemoteSession {
        session,
        remote: samples::signing_key(253).verifying_key(),
        incarnation: samples::incarnation(253),
        handshake: [0; 32],
        dialled: false,
        pinned: false,
    };
    let run = Run::of(entries.to_vec()).ok_or("no entries")?;
    let open = partita_protocol::message::Open {
        context: info.id,
        number: 1,
        kind: info.kind.clone(),
        frontier: partita_core::Hash::ZERO,
        proof: partita_core::Bytes::new(),
    };
    end.handle(Event::Connected(remote))?;
    let frame = Message::encode_frame(&[Message::Open(open), Message::Entries(run)]);
    end.handle(Event::Received(session, frame))?;
    end.handle(Event::Disconnected(session))?;
    end.take_out();
    Ok(())
}
