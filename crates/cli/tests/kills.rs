//! Processes die at any moment, again and again, and nothing that was reported durable is lost.
//!
//! A real relay and two real clients on real files. In each round one of the three is killed with SIGKILL while both clients
//! type. A killed client comes back offline, types on, and is killed again or closed before it meets the others.
//! `PARTITA_SEED=n` chooses the same moments again, as far as the scheduler does.

#![cfg(unix)]
#![allow(clippy::unwrap_used)] // in the helpers of a test

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use common::{Relay, dice::Dice, replica::Replica};
use partita_core::{ContextId, Entry, EntryId, Incarnation, Key, LogId, Store as _};
use partita_redb::RedbStore;
use serde_json::{Value, json};

const ROUNDS: usize = 50;
/// How many words each client types in each document in one round.
const WORDS: usize = 25;

/// One client: its process, and what it was promised.
struct Client {
    /// 0 or 1: the part of each document that it types into.
    number: usize,
    store: PathBuf,
    url: String,
    process: Replica,
    typed: usize,
    /// Requests under way: the document, the words, the request.
    typing: Vec<(usize, Vec<String>, u64)>,
    /// The words that were reported durable, by document.
    durable: [Vec<String>; 2],
}

impl Client {
    fn begin_typing(&mut self, documents: &[String; 2], words: usize, pause_us: u64) {
        for (number, document) in documents.iter().enumerate() {
            let words: Vec<String> = (self.typed..self.typed + words).map(|n| format!("{}{n} ", self.name())).collect();
            let list: Vec<Value> = words.iter().map(|text| json!({"part": self.number, "text": text})).collect();
            let ask = json!({"do": "type", "document": document, "words": list, "pause_us": pause_us});
            let id = self.process.begin(ask);
            self.typing.push((number, words, id));
        }
        self.typed += words;
    }

    fn finish_typing(&mut self) {
        for (_, words, id) in &self.typing {
            self.process.answer(*id);
            assert_eq!(self.process.durable(*id), words.len());
        }
        self.collect();
    }

    fn kill(&mut self) {
        self.process.kill();
        self.collect();
    }

    /// Notes what was reported durable. Of a killed process everything is heard by now.
    fn collect(&mut self) {
        for (document, words, id) in std::mem::take(&mut self.typing) {
            let durable = self.process.durable(id);
            self.durable[document].extend(words.into_iter().take(durable));
        }
    }

    fn restart(&mut self, documents: &[String; 2], online: bool) {
        self.process = Replica::start(&self.store);
        let connect = online.then(|| self.url.clone());
        self.process.ask(json!({"do": "open", "connect": connect}));
        self.get(documents);
    }

    fn get(&mut self, documents: &[String; 2]) {
        for (document, crdt) in documents.iter().zip(["automerge", "yrs"]) {
            self.process.ask(json!({"do": "get", "crdt": crdt, "document": document}));
        }
    }

    /// What it was promised is in its documents.
    fn check_own(&mut self, documents: &[String; 2], when: &str) {
        let durable = self.durable.clone();
        self.check(&durable, self.number, documents, when);
    }

    fn check(&mut self, durable: &[Vec<String>; 2], author: usize, documents: &[String; 2], when: &str) {
        for (document, promised) in documents.iter().zip(durable) {
            let parts = self.process.parts(document);
            let present: BTreeSet<&str> = parts[author].split_inclusive(' ').collect();
            let lost: Vec<_> = promised.iter().filter(|word| !present.contains(word.as_str())).collect();
            assert!(lost.is_empty(), "{} lacks durable words of {author}, {when}: {lost:?}", self.name());
            assert_eq!(present.len(), parts[author].matches(' ').count(), "a word is there twice, {when}");
        }
    }

    fn name(&self) -> char {
        ['a', 'b'][self.number]
    }
}

#[test]
fn nothing_durable_is_lost_whoever_is_killed() {
    let mut dice = Dice::thrown();
    let folder = tempfile::tempdir().unwrap();
    let relay_store = folder.path().join("relay");
    let mut relay = Relay::start("127.0.0.1:0", &relay_store);
    let address = relay.address();
    let (mut clients, documents) = meet(folder.path(), &relay.url);

    for round in 0..ROUNDS {
        let pause_us = 200 + dice.below(3_000);
        for client in &mut clients {
            client.begin_typing(&documents, WORDS, pause_us);
        }
        // The moment of the kill: anywhere in the typing, or a little after.
        std::thread::sleep(Duration::from_micros(dice.below(WORDS as u64 * (pause_us + 1_000))));
        match round % 3 {
            0 => {
                relay.kill();
                for client in &mut clients {
                    client.finish_typing(); // offline: it needs no relay
                }
                relay = Relay::start(&address, &relay_store);
            }
            victim => {
                let (victim, survivor) = if victim == 1 { (0, 1) } else { (1, 0) };
                clients[victim].kill();
                clients[victim].restart(&documents, false);
                clients[victim].check_own(&documents, &format!("after the kill in round {round}"));
                clients[victim].begin_typing(&documents, 5, 0);
                clients[victim].finish_typing();
                clients[survivor].finish_typing();
                clients[victim].kill();
                clients[victim].restart(&documents, true);
                clients[victim].check_own(&documents, &format!("after its offline work in round {round}"));
            }
        }
        for client in &mut clients {
            client.process.ask(json!({"do": "network_is_back"}));
        }
    }

    // The relay takes a log's entry only when it holds the earlier logs of that replica: with an acknowledgement of each
    // client's last words it has everything.
    for client in &mut clients {
        client.begin_typing(&documents, 1, 0);
        client.finish_typing();
        client.process.ask(json!({"do": "acknowledged"}));
    }
    agree(&mut clients);
    let durable = clients.each_ref().map(|client| client.durable.clone());
    println!("durable words: {:?}", durable.each_ref().map(|words| words.each_ref().map(Vec::len)));
    for client in &mut clients {
        for (author, durable) in durable.iter().enumerate() {
            client.check(durable, author, &documents, "at the end");
        }
        let status = client.process.ask(json!({"do": "status"}));
        assert_eq!(status["status"]["set_aside"], 0, "nothing was set aside: {status}");
    }
    let stores = clients.map(|client| {
        client.process.close();
        client.store
    });
    assert_eq!(relay.signal("TERM").code(), Some(0));
    compare([&stores[0], &stores[1], &relay_store]);
}

/// Two devices of one owner with two documents, all of it durable on both.
fn meet(folder: &Path, url: &str) -> ([Client; 2], [String; 2]) {
    let mut clients = [0, 1].map(|number| {
        let store = folder.join(format!("client{number}"));
        let process = Replica::start(&store);
        Client { number, store, url: url.into(), process, typed: 0, typing: Vec::new(), durable: Default::default() }
    });
    let [a, b] = &mut clients;
    let words = a.process.text(json!({"do": "found"}));
    let request = b.process.text(json!({"do": "request"}));
    let certificate = a.process.text(json!({"do": "certify", "words": words, "request": request}));
    b.process.ask(json!({"do": "accept", "certificate": certificate}));
    for client in [&mut *a, &mut *b] {
        client.process.ask(json!({"do": "open", "connect": url}));
    }
    let documents = ["automerge", "yrs"].map(|crdt| a.process.text(json!({"do": "create", "crdt": crdt, "parts": 2})));
    b.get(&documents);
    // A durable change of b's comes after the documents in its store: from here on they are there after any kill.
    b.begin_typing(&documents, 1, 0);
    b.finish_typing();
    (clients, documents)
}

/// Waits until both show the same.
fn agree(clients: &mut [Client; 2]) {
    let [a, b] = clients;
    loop {
        let events = (a.process.events(), b.process.events());
        let digests = (a.process.digests(), b.process.digests());
        if digests.0 == digests.1 {
            return;
        }
        // They differ: at least one of them must change yet, and says so.
        let behind =
            if a.process.events() == events.0 && b.process.events() == events.1 { &b.process } else { continue };
        behind.next_event(events.1);
    }
}

type Entries = BTreeMap<(ContextId, LogId, u64), EntryId>;

/// Each number of each log means the same entry everywhere, and all hold the same entries, without holes.
fn compare(stores: [&Path; 3]) {
    let [a, b, relay] = stores.map(entries);
    for (name, other) in [("the other client", &b), ("the relay", &relay)] {
        for (place, id) in &a {
            let (_, log, seq) = place;
            assert_eq!(other.get(place), Some(id), "({log}, {seq}) at {name}");
        }
        assert_eq!(a.len(), other.len(), "{name} holds others");
    }
    let mut last: BTreeMap<(ContextId, LogId), u64> = BTreeMap::new();
    for (context, log, seq) in a.keys() {
        let last = last.entry((*context, *log)).or_default();
        assert_eq!(*seq, *last + 1, "a hole in {log}");
        *last = *seq;
    }
    println!("{} entries in {} logs, the same in all three stores", a.len(), last.len());
}

fn entries(path: &Path) -> Entries {
    let store = RedbStore::open(path, Incarnation::default()).unwrap();
    let view = store.read().unwrap();
    let mut contexts = Vec::new();
    view.scan(&Key::contexts(), &mut |name, _| {
        contexts.push(ContextId::from_bytes(*name.last_chunk::<32>().unwrap()));
        ControlFlow::Continue(())
    })
    .unwrap();
    let mut found = Entries::new();
    for context in contexts {
        view.arrivals(&context, 0, &mut |stored| {
            let entry = Entry::from_stored(stored.head, stored.payload).unwrap();
            let place = (context, entry.header.log, entry.header.seq);
            assert_eq!(found.insert(place, entry.id), None, "{place:?} is twice in {}", path.display());
            ControlFlow::Continue(())
        })
        .unwrap();
    }
    found
}
