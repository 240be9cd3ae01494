//! Years of work in one document: what is left of it once a checkpoint stands for it, and what a new device pays to join.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use automerge::{ObjType, ROOT, ReadDoc as _, transaction::Transactable as _};
use flate2::read::GzDecoder;
use partita::{CheckpointOutcome, Context, Document, Engine, automerge::Automerge};
use serde::{Deserialize, Serialize};

use crate::{
    devices::{Failure, Household, PATIENCE, Traffic, until, wait_for},
    report,
};

/// A paper of 104,852 characters, typed in 259,778 keystrokes.
const TRACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/traces/automerge-paper.json.gz");

const ROUNDS: usize = 3;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The editing history, as JSON in gzip: `{"startContent", "endContent", "txns": [{"patches": [[at, deleted, typed]]}]}`.
    #[arg(long, default_value = TRACE)]
    trace: PathBuf,
    /// Print only the line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Trace {
    start_content: String,
    end_content: String,
    txns: Vec<Transaction>,
}

#[derive(Debug, Deserialize)]
struct Transaction {
    patches: Vec<(usize, isize, String)>,
}

#[derive(Debug, Serialize)]
struct Figures {
    save_bytes: u64,
    wire_bytes: u64,
    store_bytes: u64,
    file_bytes: u64,
    seconds: f64,
    load_seconds: f64,
}

/// What one new device paid.
struct Join {
    took: Duration,
    load: Duration,
    wire_bytes: u64,
    store_bytes: u64,
    file_bytes: u64,
}

pub(crate) fn run(arguments: &Arguments) -> crate::Outcome {
    if !arguments.trace.exists() {
        println!(
            "history: left out, there is no editing history at {}: name one with --trace",
            arguments.trace.display()
        );
        return Ok(());
    }
    let trace: Trace = serde_json::from_reader(GzDecoder::new(std::fs::File::open(&arguments.trace)?))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (save_bytes, typed, checkpointed, mut joins) =
        runtime.block_on(measure(&trace)).map_err(|error| error.to_string())?;
    joins.sort_by_key(|join| join.took);
    let join = joins.swap_remove(ROUNDS / 2);
    let figures = Figures {
        save_bytes,
        wire_bytes: join.wire_bytes,
        store_bytes: join.store_bytes,
        file_bytes: join.file_bytes,
        seconds: join.took.as_secs_f64(),
        load_seconds: join.load.as_secs_f64(),
    };
    let times = |bytes: u64| format!("{bytes}, {:.2} times as many", bytes as f64 / save_bytes as f64);
    let rows = [
        ("keystrokes, each a change", trace.txns.len().to_string()),
        ("typed, and shown at the other device", format!("{:.1} s", typed.as_secs_f64())),
        ("checkpointed, attested, pruned", format!("{:.1} s", checkpointed.as_secs_f64())),
        ("bytes that the library saves", save_bytes.to_string()),
        ("bytes at the new device", times(figures.wire_bytes)),
        ("bytes in its store", times(figures.store_bytes)),
        ("bytes of its file", times(figures.file_bytes)),
        ("from its open until all is read", format!("{:.3} s", figures.seconds)),
        ("of these, loading", format!("{:.3} s", figures.load_seconds)),
    ];
    report::print("history: a new device joins after a paper was typed", &rows, &figures, arguments.json)?;
    let kept = figures.wire_bytes as f64 <= 1.25 * save_bytes as f64
        && figures.store_bytes as f64 <= 2.0 * save_bytes as f64
        && figures.seconds < 1.0;
    if kept { Ok(()) } else { Err("a new device pays more than it should: 1.25, 2 times the bytes, one second".into()) }
}

async fn measure(trace: &Trace) -> Result<(u64, Duration, Duration, Vec<Join>), Failure> {
    let (household, a) = Household::found().await?;
    household.enroll("b")?;
    let b = household.open("b", Traffic::default()).await?;
    let (here, there) = (a.context(household.context).await?, b.context(household.context).await?);
    let paper = here.create::<Automerge>().await?;
    let copy = wait_for::<Automerge>(&b, &there, paper.id()).await?;
    let began = Instant::now();
    type_all(&paper, trace).await?;
    until(&copy, |doc| text(doc).len() == trace.end_content.len() && text(doc) == trace.end_content).await?;
    let typed = began.elapsed();
    let save_bytes = paper.read(|doc| doc.save().len()) as u64;

    a.acknowledged(None).await?;
    let began = Instant::now();
    if here.checkpoint().await? != CheckpointOutcome::Claimed {
        return Err("there was nothing to make a checkpoint of".into());
    }
    let everything = covered(&a).await?;
    for device in [&a, &b] {
        wait_until_pruned(device, everything).await?;
    }
    let checkpointed = began.elapsed();
    // What the relay stores after this it stores after it pruned, too.
    let mark = here.create::<Automerge>().await?;
    mark.change(|tx| tx.put(ROOT, "done", true))?.durable().await?;
    a.acknowledged(None).await?;

    let mut joins = Vec::new();
    for round in 0..ROUNDS {
        joins.push(join(&household, &format!("new {round}"), &paper, trace).await?);
    }
    for engine in [a, b] {
        engine.close().await?;
    }
    household.close().await;
    Ok((save_bytes, typed, checkpointed, joins))
}

/// Every keystroke is a change of its own, and leaves at once.
async fn type_all(paper: &Document<Automerge>, trace: &Trace) -> Result<(), Failure> {
    let start = paper.change(|tx| {
        let text = tx.put_object(ROOT, "text", ObjType::Text)?;
        tx.splice_text(&text, 0, 0, &trace.start_content)
    })?;
    start.durable().await?;
    let mut last = None;
    for transaction in &trace.txns {
        last = Some(paper.change(|tx| {
            let Some((_, text)) = tx.get(ROOT, "text")? else { return Ok(()) };
            transaction.patches.iter().try_for_each(|(at, deleted, typed)| tx.splice_text(&text, *at, *deleted, typed))
        })?);
    }
    match last {
        Some(last) => Ok(last.durable().await?),
        None => Ok(()),
    }
}

fn text(doc: &automerge::Automerge) -> String {
    let text = doc.get(ROOT, "text").ok().flatten();
    text.and_then(|(_, text)| doc.text(&text).ok()).unwrap_or_default()
}

/// How many entries of documents a device holds.
async fn covered(engine: &Engine) -> Result<u64, Failure> {
    let context = engine.status().await?.contexts.pop().ok_or("a device has no context")?;
    Ok(context.entries - context.control_entries as u64)
}

async fn wait_until_pruned(engine: &Engine, entries: u64) -> Result<(), Failure> {
    let mut events = engine.events();
    let pruned = async {
        // Snapshots are entries too, one for each document, and are what is left.
        while engine.status().await?.contexts.iter().map(|context| context.pruned).sum::<u64>() + 2 < entries {
            let _ = events.recv().await;
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, pruned).await?
}

async fn join(household: &Household, name: &str, paper: &Document<Automerge>, trace: &Trace) -> Result<Join, Failure> {
    household.enroll(name)?;
    let traffic = Traffic::default();
    let began = Instant::now();
    let new = household.open(name, traffic.clone()).await?;
    let context: Context = new.context(household.context).await?;
    tokio::time::timeout(PATIENCE, context.caught_up()).await??;
    let loading = Instant::now();
    let document = wait_for::<Automerge>(&new, &context, paper.id()).await?;
    let shown = document.read(text);
    let (took, load) = (began.elapsed(), loading.elapsed());
    if shown != trace.end_content {
        return Err("the new device does not show the paper".into());
    }
    let wire_bytes = traffic.bytes();
    new.maintain().await?;
    drop((document, context));
    new.close().await?;
    let (store_bytes, file_bytes) = household.size_of(name)?;
    Ok(Join { took, load, wire_bytes, store_bytes, file_bytes })
}
