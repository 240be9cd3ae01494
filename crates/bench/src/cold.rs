//! A new device fetches a thousand small documents, and can read all of them.

use std::time::{Duration, Instant};

use automerge::{ROOT, ReadDoc as _, transaction::Transactable as _};
use futures_util::future::join_all;
use partita::automerge::Automerge;
use serde::Serialize;

use crate::{
    devices::{Failure, Household, PATIENCE, Traffic, wait_for},
    peer::{BesideSamod, Peer, Seconds},
    report,
};

const ROUNDS: usize = 5;
const DOCUMENTS: i64 = 1000;

#[derive(Debug, Serialize)]
struct Figures {
    seconds: f64,
    wire_bytes: u64,
    samod_seconds: Option<f64>,
}

pub(crate) fn run(arguments: &BesideSamod) -> crate::Outcome {
    let samod = Peer::samod(arguments.alone);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut rounds = runtime.block_on(joins()).map_err(|error| error.to_string())?;
    rounds.sort_unstable();
    let (took, wire_bytes) = rounds.swap_remove(ROUNDS / 2);
    let peer: Option<Seconds> = samod.map(|samod| samod.ask(&["cold", &DOCUMENTS.to_string()])).transpose()?;
    let figures = Figures { seconds: took.as_secs_f64(), wire_bytes, samod_seconds: peer.map(|peer| peer.seconds) };
    let mut rows = vec![
        ("from the open until all can be read", format!("{:.3} s", figures.seconds)),
        ("bytes at the new device", wire_bytes.to_string()),
    ];
    rows.extend(
        figures
            .samod_seconds
            .map(|peer| ("samod", format!("{peer:.2} s, {:.0} times as long", peer / figures.seconds))),
    );
    report::print("cold: a new device fetches 1,000 small documents", &rows, &figures, arguments.json)
}

/// What joining takes several new devices, one after the other.
async fn joins() -> Result<Vec<(Duration, u64)>, Failure> {
    let (household, a) = Household::found().await?;
    let here = a.context(household.context).await?;
    let mut documents = Vec::new();
    for n in 0..DOCUMENTS {
        let document = here.create::<Automerge>().await?;
        drop(document.change(|tx| tx.put(ROOT, "n", n))?);
        documents.push(document.id());
    }
    // Its keys come from the first device, which is there, as it would be.
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        a.acknowledged(None).await?;
        let name = format!("new {round}");
        household.enroll(&name)?;
        let traffic = Traffic::default();
        let began = Instant::now();
        let new = household.open(&name, traffic.clone()).await?;
        let there = new.context(household.context).await?;
        tokio::time::timeout(PATIENCE, there.caught_up()).await??;
        // All at once, as an application would that wants all of them, and as the peer is asked.
        let finding = documents.iter().map(|id| wait_for::<Automerge>(&new, &there, *id));
        for (n, found) in (0..).zip(join_all(finding).await) {
            let document = found?;
            let shows = document.read(|doc| doc.get(ROOT, "n").ok().flatten().and_then(|(value, _)| value.as_i64()));
            if shows != Some(n) {
                return Err(format!("document {n} shows {shows:?}").into());
            }
        }
        rounds.push((began.elapsed(), traffic.bytes()));
        new.close().await?;
    }
    a.close().await?;
    household.close().await;
    Ok(rounds)
}
