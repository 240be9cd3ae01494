//! Nothing that is private is in what a program tells of itself: spans, events, observations, metrics, errors.
//!
//! Everything at the level TRACE is caught while two devices of one owner sync through a relay, and searched for what
//! must not be there. The same search finds a canary that is planted. One test, because a process has one subscriber.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is a finding

mod common;
mod web;

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use automerge::{ROOT, transaction::Transactable as _};
use common::{Home, has, patiently, put};
use data_encoding::{BASE32_NOPAD, BASE64, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use partita::{
    Engine, EngineEvent, FileKeystore,
    automerge::Automerge,
    core::{Keystore as _, Observation, Observer},
};
use partita_relay::Relay;
use tracing_subscriber::fmt::format::FmtSpan;
use web::get;

/// Everything that was told.
#[derive(Clone, Default)]
struct Caught(Arc<Mutex<Vec<u8>>>);

impl Caught {
    fn add(&self, bytes: &[u8]) {
        self.0.lock().unwrap().extend_from_slice(bytes);
    }

    fn finds(&self, needle: &[u8]) -> bool {
        self.0.lock().unwrap().windows(needle.len()).any(|window| window == needle)
    }

    /// Which of the secrets are in it, in any of the forms in which bytes are written.
    fn found(&self, secrets: &[(String, Vec<u8>)]) -> Vec<String> {
        let mut found = Vec::new();
        for (name, secret) in secrets {
            let list = format!("{secret:?}");
            let forms: [(&str, Vec<u8>); 8] = [
                ("raw", secret.clone()),
                ("hex", HEXLOWER.encode(secret).into()),
                ("HEX", HEXUPPER.encode(secret).into()),
                ("base64", BASE64.encode(secret).trim_end_matches('=').into()),
                ("base64url", BASE64URL_NOPAD.encode(secret).into()),
                ("base32", BASE32_NOPAD.encode(secret).into()),
                ("numbers", list.trim_matches(['[', ']']).into()),
                ("escaped", secret.escape_ascii().to_string().into()),
            ];
            found
                .extend(forms.iter().filter(|(_, form)| self.finds(form)).map(|(form, _)| format!("{name} as {form}")));
        }
        found
    }
}

impl Write for Caught {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Observer for Caught {
    fn observe(&self, seen: &Observation) {
        self.add(format!("{seen:?}\n").as_bytes());
    }
}

const TITLE: &str = "canary-title-7c1e";
const TEXT: &str = "canary-text-19af-the-diary-of-somebody";

/// The parts of a device's keys, whatever its keystore holds.
fn keys(home: &Home, device: &str, secrets: &mut Vec<(String, Vec<u8>)>) {
    let path = home.path().join(device).with_extension("key");
    let keystore = FileKeystore::open(&path).unwrap();
    let bytes = keystore.get("device").unwrap().unwrap();
    for (part, key) in bytes.as_chunks::<32>().0.iter().enumerate() {
        secrets.push((format!("key {part} of {device}"), key.to_vec()));
    }
}

/// Failure mode 10: neither errors nor anything else that is told contains a part of a secret.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_private_is_told_and_a_planted_canary_is_found() {
    let caught = Caught::default();
    let writer = caught.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();

    let home = Home::new();
    home.enrol("b");
    let mut secrets = vec![("the title".to_owned(), TITLE.into()), ("the text".to_owned(), TEXT.into())];
    keys(&home, "a", &mut secrets);
    keys(&home, "b", &mut secrets);
    let words = home.mnemonic.phrase().to_string();
    let first_words: Vec<&str> = words.split(' ').take(3).collect();
    secrets.push(("the owner's words".to_owned(), first_words.join(" ").into()));
    assert!(secrets.len() == 9, "two canaries, three keys of two devices, the words");

    let relay = Relay::builder(home.path().join("relay"))
        .listen("ws://127.0.0.1:0")
        .observer(caught.clone())
        .metrics("127.0.0.1:0")
        .open()
        .await
        .unwrap();
    let url = relay.url().to_string();
    let open = async |name: &str| {
        let builder: partita::Builder = home.builder(name, false).connect(&url).observer(caught.clone());
        let engine: Engine = builder.open().await.unwrap();
        common::Device::of(engine).await
    };
    let (a, b) = (open("a").await, open("b").await);
    let (mut a_says, mut b_says) = (a.engine.events(), b.engine.events());
    let document = a.notes.create::<Automerge>().await.unwrap();
    put(&document, "title", TITLE).durable().await.unwrap();
    put(&document, TITLE, TEXT).durable().await.unwrap();
    let copy = b.get::<Automerge>(document.id()).await;
    has(&copy, TITLE).await;
    put(&copy, "answer", TEXT).durable().await.unwrap();
    has(&document, "answer").await;
    a.notes.acknowledged().await.unwrap();
    b.notes.acknowledged().await.unwrap();
    // Also what goes wrong is told without them.
    a.revoke(&home, b.replica()).await;
    patiently("the end of b's right", async {
        loop {
            let event = b_says.recv().await.unwrap();
            caught.add(format!("{event:?}\n").as_bytes());
            if matches!(event, EngineEvent::ContextRefused { .. }) {
                return;
            }
        }
    })
    .await;
    if let Err(error) = copy.change(|tx| tx.put(ROOT, TITLE, TEXT)) {
        caught.add(format!("{error} {error:?}\n").as_bytes());
    }
    b.engine.network_is_back();
    while let Ok(event) = a_says.try_recv() {
        caught.add(format!("{event:?}\n").as_bytes());
    }
    for device in [&a, &b] {
        caught.add(format!("{:?}\n", device.engine.status().await.unwrap()).as_bytes());
    }
    b.engine.disconnect(&url).unwrap();
    caught.add(get(relay.metrics_address().unwrap(), "/metrics").await.1.as_bytes());
    caught.add(get(relay.metrics_address().unwrap(), "/readyz").await.1.as_bytes());
    a.engine.close().await.unwrap();
    b.engine.close().await.unwrap();
    relay.close().await;

    for told in [
        "connection{role=\"dialer\" ",
        "connection{role=\"acceptor\" ",
        "context{id=ContextId(",
        "the remote proved who it is",
        "the context is live",
        "Committed { entries: ",
        "SessionBegan { session: ",
        "partita_relay_commit_duration_seconds_count",
    ] {
        assert!(caught.finds(told.as_bytes()), "{told} was not caught: the search would look in vain");
    }
    assert_eq!(caught.found(&secrets), [""; 0]);

    // The search finds what it looks for, in whatever form and wherever it is told.
    tracing::trace!(title = TITLE, "a leak");
    assert_eq!(caught.found(&secrets), ["the title as raw", "the title as escaped"]);
    for (name, secret) in &secrets {
        let before = caught.found(&secrets).len();
        tracing::info_span!("leak", key = HEXLOWER.encode(secret)).in_scope(|| tracing::trace!(key = ?secret));
        let found = caught.found(&secrets);
        assert!(
            found.contains(&format!("{name} as hex")) && found.contains(&format!("{name} as numbers")),
            "{found:?}"
        );
        assert_eq!(found.len(), before + 2);
    }
}
