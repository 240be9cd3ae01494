//! Processes die at any moment, again and again, and nothing that was reported durable is lost.
//!
//! A real relay and two real clients on real files, killed with SIGKILL while both clients type. In the first story one of
//! them is in each round; a killed client comes back offline, types on, and is killed again before it meets the others.
//! In the storms any of them are, together and one by one, and again while they are still opening what the kill left.
//! `PARTITA_SEED=n` chooses the same moments again, as far as the scheduler does.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic)] // in the helpers of a test

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use common::{
    Relay,
    dice::Dice,
    replica::{Bell, PATIENCE, Replica},
};
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
    /// Rings at each event of both.
    bell: Arc<Bell>,
    /// Whether it was opened with the relay's address.
    online: bool,
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
        let opening = self.begin_opening(online);
        self.process.answer(opening);
        self.get(documents);
    }

    fn begin_opening(&mut self, online: bool) -> u64 {
        self.process = Replica::start_with(&self.store, self.bell.clone());
        self.online = online;
        let connect = online.then(|| self.url.clone());
        self.process.begin(json!({"do": "open", "connect": connect}))
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
    let (mut clients, documents) = meet(folder.path(), &relay.url, Context::Owner);

    for round in 0..ROUNDS {
        let pause_us = 200 + dice.below(3_000);
        for client in &mut clients {
            client.begin_typing(&documents, WORDS, pause_us);
        }
        // The moment of the kill: anywhere in the typing, or a little after.
        pause(dice.below(WORDS as u64 * (pause_us + 1_000)));
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

    end_alike(clients, relay, &documents, &relay_store);
}

/// What the two clients share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Context {
    Owner,
    Group,
}

#[test]
fn an_owners_devices_survive_ten_rounds_of_a_storm() {
    storm(Context::Owner, 10);
}

#[test]
fn a_group_survives_ten_rounds_of_a_storm() {
    storm(Context::Group, 10);
}

#[test]
#[ignore = "takes a minute: SLOW=1 .ci/run runs it"]
fn an_owners_devices_survive_two_hundred_rounds_of_a_storm() {
    storm(Context::Owner, 200);
}

#[test]
#[ignore = "takes a minute: SLOW=1 .ci/run runs it"]
fn a_group_survives_two_hundred_rounds_of_a_storm() {
    storm(Context::Group, 200);
}

/// Kills whom it likes whenever it likes, and leaves the rest to themselves: after the last round nobody writes anything.
fn storm(context: Context, rounds: usize) {
    let began = Instant::now();
    let mut dice = Dice::thrown();
    let folder = tempfile::tempdir().unwrap();
    let relay_store = folder.path().join("relay");
    let mut relay = Some(Relay::start("127.0.0.1:0", &relay_store));
    let address = relay.as_ref().unwrap().address();
    let (mut clients, documents) = meet(folder.path(), &relay.as_ref().unwrap().url, context);
    let (mut kills, mut of_opening) = (0, 0);

    for round in 0..rounds {
        let pause_us = dice.below(1_500);
        for client in &mut clients {
            client.begin_typing(&documents, 1 + dice.below(10) as usize, pause_us);
        }
        pause(dice.below(12_000));
        // Of seven sets of victims, each with one is as likely as all with more together.
        let victims = [1, 1, 2, 2, 4, 4, 3, 5, 6, 7][dice.below(10) as usize];
        let is_victim = |who: usize| victims & (1 << who) != 0;
        for (_, client) in clients.iter_mut().enumerate().filter(|(who, _)| is_victim(*who)) {
            client.kill();
            kills += 1;
            while dice.below(3) == 0 {
                client.begin_opening(dice.below(2) == 0);
                pause(dice.below(25_000));
                client.kill();
                of_opening += 1;
            }
        }
        if is_victim(2) {
            relay.take().unwrap().kill();
            kills += 1;
            while dice.below(3) == 0 {
                Relay::begin_and_kill(&address, &relay_store, Duration::from_micros(dice.below(25_000)));
                of_opening += 1;
            }
            relay = Some(Relay::start(&address, &relay_store));
        }
        for (who, client) in clients.iter_mut().enumerate() {
            if is_victim(who) {
                client.restart(&documents, dice.below(4) != 0);
                client.check_own(&documents, &format!("after round {round}"));
            } else {
                client.finish_typing(); // with or without a relay
            }
        }
    }

    for client in &mut clients {
        if !client.online {
            client.kill();
            client.restart(&documents, true);
        }
        client.process.ask(json!({"do": "network_is_back"}));
    }
    let took = began.elapsed();
    println!("{context:?}: {kills} kills in {rounds} rounds, and {of_opening} of who was opening, in {took:?}");
    end_alike(clients, relay.unwrap(), &documents, &relay_store);
    println!("all came to the same within {:?}", began.elapsed() - took);
}

/// Fails, and says who lacks what.
fn explain(clients: &mut [Client; 2], what: &str, relay_store: &Path) -> ! {
    let mut report = format!("{what}\n");
    for client in clients.iter_mut() {
        let status = client.process.ask(json!({"do": "status"}));
        report += &format!("{}: {status}\n", client.name());
    }
    let copy = |path: &Path| {
        let copy = path.with_extension("copy");
        std::fs::copy(path, &copy).unwrap();
        logs(&entries(&copy))
    };
    let [a, b] = [0, 1].map(|who: usize| copy(&clients[who].store));
    let relay = copy(relay_store);
    let all: BTreeSet<_> = a.keys().chain(b.keys()).chain(relay.keys()).collect();
    for log in all {
        let held = [&a, &b, &relay].map(|store| store.get(log).copied().unwrap_or(0));
        if held.iter().any(|seq| *seq != held[0]) {
            report += &format!("{}: a {}, b {}, relay {}\n", log.1, held[0], held[1], held[2]);
        }
    }
    panic!("{report}");
}

/// How far each log goes.
fn logs(entries: &Entries) -> BTreeMap<(ContextId, LogId), u64> {
    let mut last = BTreeMap::new();
    for (context, log, seq) in entries.keys() {
        last.insert((*context, *log), *seq);
    }
    last
}

/// Nothing but to choose the moment of a kill: nothing is waited for.
fn pause(us: u64) {
    std::thread::sleep(Duration::from_micros(us));
}

/// Without another edit all come to show the same and hold the same, and what was reported durable is there.
fn end_alike(mut clients: [Client; 2], relay: Relay, documents: &[String; 2], relay_store: &Path) {
    // The relay takes a log's entry only when it holds the earlier logs of that replica: it has everything then.
    for who in 0..2 {
        let id = clients[who].process.begin(json!({"do": "acknowledged"}));
        if !clients[who].process.is_answered(id, Duration::from_secs(40)) {
            explain(&mut clients, &format!("nobody acknowledges what client {who} wrote"), relay_store);
        }
    }
    if !agree(&mut clients) {
        explain(&mut clients, "the clients' documents differ", relay_store);
    }
    let durable = clients.each_ref().map(|client| client.durable.clone());
    println!("durable words: {:?}", durable.each_ref().map(|words| words.each_ref().map(Vec::len)));
    for client in &mut clients {
        for (author, durable) in durable.iter().enumerate() {
            client.check(durable, author, documents, "at the end");
        }
        let status = client.process.ask(json!({"do": "status"}));
        assert_eq!(status["status"]["set_aside"], 0, "nothing was set aside: {status}");
    }
    let stores = clients.map(|client| {
        client.process.close();
        client.store
    });
    assert_eq!(relay.signal("TERM").code(), Some(0));
    compare([&stores[0], &stores[1], relay_store]);
}

/// Two devices of one owner, or of two members of a group, with two documents, all of it durable on both.
fn meet(folder: &Path, url: &str, context: Context) -> ([Client; 2], [String; 2]) {
    let bell = Arc::<Bell>::default();
    let mut clients = [0, 1].map(|number| {
        let store = folder.join(format!("client{number}"));
        let bell = bell.clone();
        let process = Replica::start_with(&store, bell.clone());
        let (typing, durable) = (Vec::new(), Default::default());
        Client { number, store, url: url.into(), process, typed: 0, typing, bell, online: true, durable }
    });
    let [a, b] = &mut clients;
    let open = |client: &mut Client| client.process.ask(json!({"do": "open", "connect": url}));
    match context {
        Context::Owner => {
            let words = a.process.text(json!({"do": "found"}));
            let request = b.process.text(json!({"do": "request"}));
            let certificate = a.process.text(json!({"do": "certify", "words": words, "request": request}));
            b.process.ask(json!({"do": "accept", "certificate": certificate}));
            open(a);
        }
        Context::Group => {
            a.process.ask(json!({"do": "found_group", "name": "storm"}));
            open(a);
            let invitation = a.process.text(json!({"do": "invite", "role": "write"}));
            b.process.ask(json!({"do": "join", "invitation": invitation}));
        }
    }
    open(b);
    let documents = ["automerge", "yrs"].map(|crdt| a.process.text(json!({"do": "create", "crdt": crdt, "parts": 2})));
    b.get(&documents);
    // A durable change of b's comes after the documents in its store: from here on they are there after any kill.
    b.begin_typing(&documents, 1, 0);
    b.finish_typing();
    (clients, documents)
}

/// Waits until both show the same; false when they do not come to it.
fn agree(clients: &mut [Client; 2]) -> bool {
    let bell = clients[0].bell.clone();
    let until = Instant::now() + PATIENCE;
    loop {
        let rung = bell.rung();
        let [a, b] = clients.each_mut().map(|client| client.process.digests());
        if a == b {
            return true;
        }
        // They differ: at least one of them must change yet, and says so.
        if !bell.wait(rung, until) {
            return false;
        }
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
