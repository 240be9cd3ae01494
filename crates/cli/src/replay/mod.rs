//! `partita replay`: a recorded editing session, typed again by real replicas.
//!
//! Each replica is an engine with a redb file of its own; they meet through a relay, over WebSockets on this machine. In a
//! sequential trace one replica types and the others follow; in a concurrent one each agent is a replica, and types each
//! transaction at exactly the version that its author saw, once that version has arrived through the relay. The
//! recording names the text that must come out, on every replica, and again when all of them are opened from disk.

mod automerge;
mod concurrent;
mod counting;
mod fleet;
mod offsets;
mod report;
mod script;
mod sequential;
mod settle;
mod yrs;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::{ValueEnum, value_parser};
use partita::Document;
use partita_core::{ContextId, DocumentId};

use self::{fleet::Fleet, report::Report, script::Script};
use crate::{error::CliError, progress::Progress, trace::Trace};

/// How long nothing may arrive before a replay gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to replay.
#[derive(Debug, clap::Args)]
pub(crate) struct ReplayArgs {
    /// The trace: JSON in the format of josephg/editing-traces, packed with gzip or plain.
    #[arg(value_name = "TRACE")]
    trace: PathBuf,
    /// The CRDT library that holds the text.
    #[arg(long, value_enum)]
    crdt: Crdt,
    /// How many replicas; a concurrent trace takes at least one for each of its agents.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u32).range(1..=64))]
    replicas: u32,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Crdt {
    Automerge,
    Yrs,
}

/// Replays a trace; whether all replicas ended with its text.
pub(crate) async fn run(args: ReplayArgs, progress: &Progress) -> Result<bool, CliError> {
    let path = args.trace.clone();
    let loaded = tokio::task::spawn_blocking(move || Trace::load(&path)).await;
    let trace = loaded.map_err(|error| CliError::Change(error.to_string()))??;
    let report = match args.crdt {
        Crdt::Automerge => replay::<partita::automerge::Automerge>(&args, trace, progress).await?,
        Crdt::Yrs => replay::<partita::yrs::Yrs>(&args, trace, progress).await?,
    };
    if args.json {
        report.print_json()?
    } else {
        report.print_table()
    }
    Ok(report.matches && report.matches_after_reopen)
}

async fn replay<S: Script>(args: &ReplayArgs, trace: Trace, progress: &Progress) -> Result<Report, CliError> {
    let trace = Arc::new(trace);
    let replicas = trace.writers().max(args.replicas as usize);
    let fleet = Fleet::open(replicas).await?;
    let shared = tokio::time::timeout(PATIENCE, fleet.share::<S>(&trace.start)).await;
    let (docs, base) = shared.unwrap_or_else(|_| {
        Err(CliError::Change("the empty document did not arrive everywhere within a minute".into()))
    })?;

    let bar = progress.bar(trace.transactions.len() as u64, "typing");
    let began = Instant::now();
    let typed = match trace.agents {
        None => sequential::play(&docs, &trace, base, &bar).await,
        Some(_) => concurrent::play(&docs, &trace, base, &args.trace, &bar).await,
    };
    bar.finish_and_clear();
    typed?;
    let spinner = progress.spinner("waiting until all replicas are equal");
    let settled = settle::settle(&docs).await?;
    let seconds = began.elapsed().as_secs_f64();
    spinner.finish_and_clear();

    let digest = docs.first().map(Document::digest).transpose().map_err(script::unusable)?;
    let matches = settled && all_show(&docs, &trace.end)?;
    let (context, document) = (fleet.context, docs[0].id());
    let entries = fleet.entries().await?;
    let wire_bytes = fleet.wire.bytes();
    drop(docs);

    let spinner = progress.spinner("opening all replicas again from disk");
    let closed = fleet.close().await?;
    let matches_after_reopen = reopened::<S>(&closed, context, document, &trace.end).await?;
    let store_bytes = closed.store_bytes()?;
    spinner.finish_and_clear();
    Ok(Report {
        trace: args.trace.display().to_string(),
        crdt: S::NAME,
        replicas,
        transactions: trace.transactions.len(),
        matches,
        matches_after_reopen,
        seconds,
        store_bytes,
        wire_bytes,
        entries,
        digest: digest.map(|digest| digest.to_string()).unwrap_or_default(),
    })
}

/// Whether every replica shows the text; where one does not is said in the log.
fn all_show<S: Script>(docs: &[Document<S>], text: &str) -> Result<bool, CliError> {
    let mut all = true;
    for (replica, doc) in docs.iter().enumerate() {
        let shown = doc.try_read(S::text).map_err(script::unusable)?;
        if shown.as_deref() != Some(text) {
            let shown = shown.unwrap_or_default();
            let same = text.chars().zip(shown.chars()).take_while(|(wanted, found)| wanted == found).count();
            let length = shown.chars().count();
            tracing::warn!(replica, length, wanted = text.chars().count(), "the text differs from character {same} on");
            all = false;
        }
    }
    Ok(all)
}

/// Whether every replica shows the text when it is opened again, without a network.
async fn reopened<S: Script>(
    closed: &fleet::Closed,
    context: ContextId,
    document: DocumentId,
    text: &str,
) -> Result<bool, CliError> {
    let mut shown = true;
    for engine in closed.reopen().await? {
        let doc = engine.context(context).await?.get::<S>(document).await?;
        shown &= all_show(&[doc], text)?;
        engine.close().await?;
    }
    Ok(shown)
}
