//! One change, from one device's call through the relay to another device's document.

use std::time::{Duration, Instant};

use automerge::{ROOT, ReadDoc as _, transaction::Transactable as _};
use partita::{Document, automerge::Automerge, yrs::Yrs};
use partita_core::DocumentType;
use serde::{Deserialize, Serialize};
use yrs::{Map as _, ReadTxn as _, WriteTxn as _};

use crate::{
    devices::{Failure, Household, PATIENCE, Traffic, wait_for},
    peer::{BesideSamod, Peer},
    report, wire,
};

/// Rounds, the middle of which counts, and changes in each; the first ones warm everything up.
const ROUNDS: usize = 5;
const CHANGES: usize = 600;
const WARM_UP: usize = 100;

/// Microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Spread {
    p50_us: f64,
    p99_us: f64,
}

#[derive(Debug, Serialize)]
struct Figures {
    p50_us: f64,
    p99_us: f64,
    yrs_p50_us: f64,
    raw_p50_us: f64,
    raw_p99_us: f64,
    samod_p50_us: Option<f64>,
    samod_p99_us: Option<f64>,
}

fn spread(mut took: Vec<Duration>) -> Spread {
    took.drain(..WARM_UP.min(took.len()));
    took.sort_unstable();
    let at = |share| report::quantile(&took, share).as_secs_f64() * 1e6;
    Spread { p50_us: at(0.5), p99_us: at(0.99) }
}

/// The middle of the rounds, for each figure by itself.
fn middle(rounds: &[Spread]) -> Spread {
    let of = |figure: fn(&Spread) -> f64| report::middle(rounds.iter().map(figure).collect());
    Spread { p50_us: of(|spread| spread.p50_us), p99_us: of(|spread| spread.p99_us) }
}

pub(crate) fn run(arguments: &BesideSamod) -> crate::Outcome {
    let samod = Peer::samod(arguments.alone);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (mut raw, mut automerge, mut yrs, mut peer) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let failed = |error: Failure| error.to_string();
        raw.push(spread(runtime.block_on(wire::times(CHANGES)).map_err(failed)?));
        let [with_automerge, with_yrs] = runtime.block_on(changes()).map_err(failed)?;
        automerge.push(spread(with_automerge));
        yrs.push(spread(with_yrs));
        if let Some(samod) = &samod {
            peer.push(samod.ask::<Spread>(&["live", &(CHANGES / 4).to_string()])?);
        }
    }
    let (raw, ours, yrs) = (middle(&raw), middle(&automerge), middle(&yrs));
    let peer = Some(middle(&peer)).filter(|_| samod.is_some());
    let row = |name, of: Spread| {
        let beside = format!("{:.1} and {:.1} times the bare relay", of.p50_us / raw.p50_us, of.p99_us / raw.p99_us);
        (name, format!("p50 {:.0} µs, p99 {:.0} µs: {beside}", of.p50_us, of.p99_us))
    };
    let mut rows = vec![row("bare relay, 200 bytes", raw), row("automerge", ours), row("yrs", yrs)];
    rows.extend(peer.map(|peer| row("samod", peer)));
    let figures = Figures {
        p50_us: ours.p50_us,
        p99_us: ours.p99_us,
        yrs_p50_us: yrs.p50_us,
        raw_p50_us: raw.p50_us,
        raw_p99_us: raw.p99_us,
        samod_p50_us: peer.map(|peer| peer.p50_us),
        samod_p99_us: peer.map(|peer| peer.p99_us),
    };
    report::print("live: one change, through a relay, to another device's document", &rows, &figures, arguments.json)
}

/// The middle of live changes of an automerge document, in nanoseconds.
pub(crate) async fn automerge_change_ns() -> Result<f64, Failure> {
    let [automerge, _] = changes().await?;
    Ok(spread(automerge).p50_us * 1000.0)
}

/// Changes of an automerge and of a yrs document.
async fn changes() -> Result<[Vec<Duration>; 2], Failure> {
    let (household, a) = Household::found().await?;
    household.enroll("b")?;
    let b = household.open("b", Traffic::default()).await?;
    let (here, there) = (a.context(household.context).await?, b.context(household.context).await?);
    let plan = here.create::<Automerge>().await?;
    let shown = wait_for::<Automerge>(&b, &there, plan.id()).await?;
    let shows = |doc: &automerge::Automerge| doc.get(ROOT, "n").ok().flatten().and_then(|(value, _)| value.as_i64());
    let change = |n: i64| {
        let _on_its_way = plan.change(|tx| tx.put(ROOT, "n", n))?;
        Ok(())
    };
    let automerge = times(&shown, change, shows).await?;
    let text = here.create::<Yrs>().await?;
    let shown = wait_for::<Yrs>(&b, &there, text.id()).await?;
    let change = |n: i64| {
        let _on_its_way = text.change(|tx| {
            tx.get_or_insert_map("m").insert(tx, "n", n);
            Ok(())
        })?;
        Ok(())
    };
    let shows = |tx: &yrs::Transaction<'_>| match tx.get_map("m").and_then(|map| map.get(tx, "n")) {
        Some(yrs::Out::Any(yrs::Any::Number(yrs::Number::Int(n)))) => Some(n),
        _ => None,
    };
    let yrs = times(&shown, change, shows).await?;
    a.close().await?;
    b.close().await?;
    household.close().await;
    Ok([automerge, yrs])
}

/// How long each change takes from the call until the other document shows it.
async fn times<T: DocumentType>(
    there: &Document<T>,
    change: impl Fn(i64) -> Result<(), Failure>,
    shows: impl Fn(&T::View<'_>) -> Option<i64>,
) -> Result<Vec<Duration>, Failure> {
    let mut took = Vec::with_capacity(CHANGES);
    let (_, mut changes) = there.subscribe(|_| ())?;
    for n in 0..CHANGES as i64 {
        let began = Instant::now();
        change(n)?;
        while there.read(&shows) != Some(n) {
            tokio::time::timeout(PATIENCE, changes.next()).await?.ok_or("the engine closed")?;
        }
        took.push(began.elapsed());
    }
    Ok(took)
}
