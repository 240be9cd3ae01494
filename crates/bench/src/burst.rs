//! Five thousand changes at once, until another device shows the last.

use std::time::{Duration, Instant};

use automerge::{ROOT, ReadDoc as _, transaction::Transactable as _};
use partita::automerge::Automerge;
use serde::Serialize;

use crate::{
    devices::{Failure, Household, Traffic, until, wait_for},
    peer::{BesideSamod, Peer, Seconds},
    report,
};

const ROUNDS: usize = 5;
const CHANGES: i64 = 5000;

#[derive(Debug, Serialize)]
struct Figures {
    seconds: f64,
    /// How many entries the changes became.
    entries: u64,
    /// What the other device's connection carried meanwhile, both ways.
    wire_bytes: u64,
    /// 60 where it had not finished by then.
    samod_seconds: Option<f64>,
}

struct Burst {
    took: Duration,
    entries: u64,
    wire_bytes: u64,
}

pub(crate) fn run(arguments: &BesideSamod) -> crate::Outcome {
    let samod = Peer::samod(arguments.alone);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push(runtime.block_on(burst()).map_err(|error| error.to_string())?);
    }
    rounds.sort_unstable_by_key(|round| round.took);
    let Burst { took, entries, wire_bytes } = rounds.swap_remove(ROUNDS / 2);
    let peer: Option<Seconds> = samod.map(|samod| samod.ask(&["burst", &CHANGES.to_string()])).transpose()?;
    let figures =
        Figures { seconds: took.as_secs_f64(), entries, wire_bytes, samod_seconds: peer.map(|peer| peer.seconds) };
    let mut rows = vec![
        ("until the other device shows the last", format!("{:.3} s", figures.seconds)),
        ("entries", entries.to_string()),
        ("bytes at the other device", wire_bytes.to_string()),
    ];
    rows.extend(figures.samod_seconds.map(|peer| {
        let more = if peer < 60.0 { "" } else { "not finished after " };
        ("samod", format!("{more}{peer:.2} s, {:.0} times as long", peer / figures.seconds))
    }));
    report::print("burst: 5,000 changes of one document, each a transaction", &rows, &figures, arguments.json)
}

async fn burst() -> Result<Burst, Failure> {
    let (household, a) = Household::found().await?;
    household.enroll("b")?;
    let traffic = Traffic::default();
    let b = household.open("b", traffic.clone()).await?;
    let (here, there) = (a.context(household.context).await?, b.context(household.context).await?);
    let plan = here.create::<Automerge>().await?;
    let shown = wait_for::<Automerge>(&b, &there, plan.id()).await?;
    let entries = async |engine: &partita::Engine| {
        let status = engine.status().await?;
        Ok::<_, Failure>(status.contexts.iter().map(|context| context.entries).sum::<u64>())
    };
    let (entries_before, bytes_before) = (entries(&a).await?, traffic.bytes());
    let began = Instant::now();
    for n in 0..CHANGES {
        drop(plan.change(|tx| tx.put(ROOT, "n", n))?);
    }
    let last = |doc: &automerge::Automerge| {
        doc.get(ROOT, "n").ok().flatten().is_some_and(|(value, _)| value.as_i64() == Some(CHANGES - 1))
    };
    until(&shown, last).await?;
    let took = began.elapsed();
    let burst =
        Burst { took, entries: entries(&a).await? - entries_before, wire_bytes: traffic.bytes() - bytes_before };
    a.close().await?;
    b.close().await?;
    household.close().await;
    Ok(burst)
}
