//! Many contexts of several kinds over one connection: no one of them holds up the others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is a finding

mod common;

use std::time::{Duration, Instant};

use common::{Home, has, patiently, put};
use partita::{
    Builder, Context, Document, Engine,
    automerge::Automerge,
    core::{ContextId, ContextInfo, ContextKind},
    single_owner::SingleOwner,
};
use partita_relay::Relay;
use partita_testing::strategy::{OPEN_KIND, OpenStrategy};

/// The open contexts beside the owner's sealed and plain ones.
const OPEN: u8 = 198;
const HEAVY_BYTES: usize = 200_000_000;
const CHANGE_BYTES: usize = 500_000;

fn open_context(number: u8) -> ContextInfo {
    let kind = ContextKind::new(OPEN_KIND).unwrap();
    ContextInfo { id: ContextId::derive(&kind, &[number; 32]), kind }
}

fn with_all(builder: Builder) -> Builder {
    let builder = builder.strategy(OpenStrategy::new());
    (0..OPEN).fold(builder, |builder, number| builder.context(open_context(number)))
}

async fn contexts(engine: &Engine) -> Vec<Context> {
    let ids =
        engine.with_strategy::<SingleOwner, _>(|owner, _| [owner.context(), owner.plain_context()]).await.unwrap();
    let mut found = Vec::new();
    for id in ids.into_iter().chain((0..OPEN).map(|number| open_context(number).id)) {
        found.push(engine.context(id).await.unwrap());
    }
    found
}

/// How long a small change of every context takes from one device to the other's screen, the middle one of them.
async fn latency(here: &[Document<Automerge>], there: &[Document<Automerge>], round: &str) -> [Duration; 3] {
    let mut took = Vec::new();
    for (from, to) in here.iter().zip(there) {
        let began = Instant::now();
        drop(put(from, round, "x"));
        has(to, round).await;
        took.push(began.elapsed());
    }
    took.sort_unstable();
    [took[took.len() / 2], took[took.len() * 9 / 10], took[took.len() - 1]]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_that_receives_200_mb_does_not_hold_up_199_others() {
    let home = Home::new();
    home.enrol("b");
    home.enrol("c");
    let relay = Relay::builder(home.path().join("relay")).strategy(OpenStrategy::new()).listen("ws://127.0.0.1:0");
    let relay = relay.open().await.unwrap();
    let url = relay.url().to_string();
    // The heavy context is not open on `b` before it is wanted.
    let heavy = open_context(255);
    let c = home.builder("c", true).strategy(OpenStrategy::new()).context(heavy.clone()).connect(&url);
    let c = c.open().await.unwrap();
    let large = c.context(heavy.id).await.unwrap().create::<Automerge>().await.unwrap();
    let (mut last, noise) = (None, common::noise(CHANGE_BYTES));
    for n in 0..HEAVY_BYTES / CHANGE_BYTES {
        last = Some(put(&large, &format!("{}", n % 10), &format!("{n} {noise}")));
        if n % 16 == 0 {
            last.take().unwrap().durable().await.unwrap();
        }
    }
    last.unwrap().durable().await.unwrap();
    patiently("the heavy context at the relay", c.context(heavy.id).await.unwrap().acknowledged()).await.unwrap();
    let heavy_bytes: u64 = c.status().await.unwrap().contexts.iter().map(|context| context.bytes).max().unwrap();
    assert!(heavy_bytes > HEAVY_BYTES as u64 / 2);
    c.close().await.unwrap();

    let a = with_all(home.builder("a", true)).connect(&url).open().await.unwrap();
    let b = with_all(home.builder("b", true)).connect(&url).open().await.unwrap();
    let (on_a, on_b) = (contexts(&a).await, contexts(&b).await);
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for (on_a, on_b) in on_a.iter().zip(&on_b) {
        let document = on_a.create::<Automerge>().await.unwrap();
        there.push(common::Device { engine: b.clone(), notes: on_b.clone() }.get::<Automerge>(document.id()).await);
        here.push(document);
    }
    latency(&here, &there, "warm").await;
    let alone = latency(&here, &there, "alone").await;
    let began = Instant::now();
    b.open_context(heavy.clone()).await.unwrap();
    let mut beside = Vec::new();
    let heavy_b = b.context(heavy.id).await.unwrap();
    let caught_up = heavy_b.caught_up();
    tokio::pin!(caught_up);
    loop {
        let round = format!("beside {}", beside.len());
        tokio::select! {
            done = &mut caught_up => { done.unwrap(); break }
            took = latency(&here, &there, &round) => beside.push(took),
        }
    }
    println!("alone {alone:?}, beside 200 MB in {:?}: {beside:?}", began.elapsed());
    assert!(beside.len() > 1, "the others were waited for all the while");
    // A round is all 199 contexts; of the rounds the middle one counts.
    let middle = |at: usize| {
        let mut of_rounds: Vec<_> = beside.iter().map(|took| took[at]).collect();
        of_rounds.sort_unstable();
        of_rounds[of_rounds.len() / 2]
    };
    assert!(middle(0) <= alone[0] * 3, "the middle of them: {:?} alone, {:?} beside it", alone[0], middle(0));
    a.close().await.unwrap();
    b.close().await.unwrap();
    relay.close().await;
}
