//! The story of one owner's devices, step by step.

use std::time::{Duration, Instant};

use super::{
    fleet::Fleet,
    manuscript::Manuscript,
    outcome::{Outcome, Row, bytes, p50_ms, together},
    teller::Teller,
    typists::Typists,
    wire::{Answer, Ask, Crdt},
};
use crate::{error::CliError, progress::Progress};

/// What is typed.
const README: &str = include_str!("../../../../README.md");

/// The devices.
pub(crate) const NAMES: [&str; 3] = ["A", "B", "C"];
/// How many single changes the latency is measured with, from each of two replicas.
const TICKS: u64 = 30;
/// How long a cable's or a connection's change of state may take.
const SOON: Duration = Duration::from_secs(10);
const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

pub(crate) async fn tell(progress: &Progress) -> Result<Outcome, CliError> {
    let teller = Teller::new(progress);
    let folder = tempfile::tempdir().map_err(CliError::io("cannot make a temporary folder"))?;

    teller.tell("A relay starts, and three replicas: A, B and C. Each is a process with a store of its own.");
    let mut fleet = Fleet::start(folder.path().to_owned(), &NAMES).await?;
    fleet.enrol().await?;
    teller.tell("A has become an owner's first device. The owner's 24 words certified B and C, without any network.");
    for replica in 0..NAMES.len() {
        fleet.open(replica).await?;
    }
    let manuscript = Manuscript::new(README, NAMES.len());
    let documents = create(&fleet, manuscript.parts()).await?;
    teller.tell("A made two empty documents, one of automerge and one of yrs. B and C got them through the relay.");
    let latencies = latencies(&fleet, &documents[0].1, progress).await?;
    teller.tell(format!("One change of A is visible at B after {:.1} ms (half of {TICKS} changes).", latencies[B]));

    let mut typists = Typists::new(&manuscript, &documents, progress);
    teller.tell(format!(
        "All three type this project's README ({}) into both documents, each every third paragraph.",
        bytes(manuscript.bytes() as u64)
    ));
    typists.type_until(&fleet, 0.35, Duration::from_millis(2500)).await?;

    fleet.cables[C].pull();
    fleet.wait_until(SOON, |fleet| !fleet.replicas[C].is_connected()).await;
    teller.tell("C's network is cut. C goes on typing, and so do the others.");
    typists.begin(&fleet, 0.8, Duration::from_millis(3500)).await?;
    typists.wait_for(&fleet, B, 0.55).await?;
    let durable = typists.kill(&mut fleet, B).await?;
    teller.tell(format!("B's process was killed while it typed. {durable} of its changes had been reported durable."));

    fleet.cables[B].pull(); // what B has now, it has from its own files
    fleet.open(B).await?;
    fleet.get(B, &documents).await?;
    let lost = typists.look_again(&fleet, B).await?;
    teller.tell(format!("B starts again from its files alone, without a network: {}.", found(durable, lost)));
    typists.finish(&fleet).await?;
    let apart = fleet.digests().await?;
    let [a, b, c] = [&apart[A], &apart[B], &apart[C]].map(|digests| together(digests)[..8].to_owned());
    teller.tell(format!("Apart they show different texts: A {a}, B {b}, C {c}."));

    let back = Instant::now();
    for replica in [B, C] {
        fleet.cables[replica].put_back();
        fleet.replicas[replica].ask(Ask::NetworkIsBack).await?;
    }
    let met = fleet.agree().await?;
    teller.tell(match met {
        true => format!("The network is back. After {:.2} s all three show the same.", back.elapsed().as_secs_f64()),
        false => "The network is back, but they do not agree.".to_owned(),
    });
    // What B had sent and not stored when it was killed, the others had; now B has it again.
    let before = typists.words(B);
    typists.look_again(&fleet, B).await?;
    match typists.words(B).saturating_sub(before) {
        0 => {}
        back => teller.tell(format!(
            "{back} of B's changes had left before the kill and were not on its disk. B has them again."
        )),
    }
    typists.type_until(&fleet, 1.0, Duration::from_millis(2000)).await?;
    let digests_equal = fleet.agree().await?;
    let text = text_everywhere(&fleet, &documents, &manuscript).await?;
    teller.tell(match text {
        true => "They typed the rest. Both documents are the README, letter for letter, on every replica.",
        false => "They typed the rest, but the documents are not the README.",
    });

    for replica in &fleet.replicas {
        replica.ask(Ask::Acknowledged).await?;
    }
    let rows = rows(&fleet, &latencies).await?;
    let relay = std::fs::metadata(fleet.relay_store()).map_err(CliError::io("the relay's store"))?.len();
    fleet.close().await?;
    Ok(Outcome {
        ok: digests_equal && text && lost == 0,
        digests_equal,
        text_equals_readme: text,
        durable_before_kill: durable,
        lost,
        seconds: teller.seconds(),
        relay_store_bytes: relay,
        replicas: rows,
    })
}

fn found(durable: usize, lost: usize) -> String {
    match lost {
        0 => format!("all {durable} are there"),
        lost => format!("{lost} of {durable} are LOST"),
    }
}

async fn create(fleet: &Fleet, parts: usize) -> Result<Vec<(Crdt, String)>, CliError> {
    let mut documents = Vec::new();
    for crdt in [Crdt::Automerge, Crdt::Yrs] {
        documents.push((crdt, fleet.replicas[A].text(Ask::Create { crdt, parts }).await?));
    }
    for replica in [B, C] {
        fleet.get(replica, &documents).await?;
    }
    Ok(documents)
}

/// For each replica, after how many milliseconds it showed half of another one's single changes.
async fn latencies(fleet: &Fleet, document: &str, progress: &Progress) -> Result<Vec<f64>, CliError> {
    let bar = progress.bar(2 * TICKS, "latency");
    let mut seen = vec![Vec::new(); NAMES.len()];
    for value in 1..=2 * TICKS {
        // C is measured with both.
        let (from, to) = if value <= TICKS { (A, [B, C]) } else { (B, [A, C]) };
        let asked = fleet.replicas[from].ask(Ask::Tick { document: document.into(), value }).await?;
        let Answer::At(at) = asked else { return Err(fleet.replicas[from].strange(&asked)) };
        let everywhere = |fleet: &Fleet| to.iter().all(|to| fleet.replicas[*to].ticked(value).is_some());
        fleet.wait_until(SOON, everywhere).await;
        for to in to {
            // A change that never came counts as long as it was waited for.
            let after = fleet.replicas[to].ticked(value).map(|seen| Duration::from_nanos(seen.saturating_sub(at)));
            seen[to].push(after.unwrap_or(SOON));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(seen.into_iter().map(p50_ms).collect())
}

async fn text_everywhere(
    fleet: &Fleet,
    documents: &[(Crdt, String)],
    manuscript: &Manuscript,
) -> Result<bool, CliError> {
    for replica in 0..NAMES.len() {
        for (_, document) in documents {
            if !manuscript.is(&fleet.read(replica, document).await?) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

async fn rows(fleet: &Fleet, latencies: &[f64]) -> Result<Vec<Row>, CliError> {
    let digests = fleet.digests().await?;
    let mut rows = Vec::new();
    for (replica, name) in NAMES.into_iter().enumerate() {
        let status = fleet.status(replica).await?;
        let (sent_bytes, received_bytes) = fleet.cables[replica].bytes();
        rows.push(Row {
            name,
            replica: status.replica,
            documents: status.documents,
            entries: status.entries,
            set_aside: status.set_aside,
            entry_bytes: status.entry_bytes,
            store_bytes: status.file_bytes,
            sent_bytes,
            received_bytes,
            latency_ms_p50: latencies[replica],
            digest: together(&digests[replica]),
        });
    }
    Ok(rows)
}
