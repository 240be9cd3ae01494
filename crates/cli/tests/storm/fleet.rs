//! The clients: devices of one owner, each a process behind its own proxy.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::proxy::Proxy;
use crate::common::replica::{Bell, Replica};

/// How many take part in the storm.
pub const CLIENTS: usize = 5;

/// How long is looked on after a deadline, to say what became of it.
const LATER: Duration = Duration::from_secs(20);

const LOOK_EVERY: Duration = Duration::from_millis(30);

pub struct Document {
    pub id: String,
    pub crdt: &'static str,
}

pub struct Fleet {
    /// The five, and last the one that reads nothing.
    pub clients: Vec<Replica>,
    bell: Arc<Bell>,
    pub texts: Vec<Document>,
    /// One for each client to pour into.
    pub blobs: Vec<Document>,
}

impl Fleet {
    /// Enrols the devices, opens them through their proxies, and gives all of them all documents.
    pub fn meet(folder: &Path, proxies: &[Arc<Proxy>], relay: &str) -> Self {
        let bell = Arc::<Bell>::default();
        let mut clients: Vec<Replica> = (0..proxies.len())
            .map(|number| Replica::start_with(&folder.join(format!("client{number}")), bell.clone()))
            .collect();
        let words = clients[0].text(json!({"do": "found"}));
        for number in 1..clients.len() {
            let request = clients[number].text(json!({"do": "request"}));
            let certificate = clients[0].text(json!({"do": "certify", "words": words, "request": request}));
            clients[number].ask(json!({"do": "accept", "certificate": certificate}));
        }
        for (client, proxy) in clients.iter_mut().zip(proxies) {
            client.ask(json!({"do": "open", "connect": format!("ws://{}#{relay}", proxy.address)}));
        }
        let mut create = |crdt| {
            let id = clients[0].text(json!({"do": "create", "crdt": crdt, "parts": CLIENTS}));
            Document { id, crdt }
        };
        let texts = ["automerge", "yrs", "automerge", "yrs"].map(&mut create).into();
        let blobs: Vec<_> = std::iter::repeat_with(|| create("yrs")).take(CLIENTS).collect();
        let mut fleet = Self { clients, bell, texts, blobs };
        fleet.get_all();
        fleet
    }

    fn get_all(&mut self) {
        for client in &mut self.clients[1..] {
            for document in self.texts.iter().chain(&self.blobs) {
                client.ask(json!({"do": "get", "crdt": document.crdt, "document": document.id}));
            }
        }
    }

    /// Asks all of these clients at once.
    pub fn ask(&mut self, clients: usize, ask: &Value) -> Vec<Value> {
        let asked: Vec<_> = self.clients[..clients].iter_mut().map(|client| client.begin(ask.clone())).collect();
        self.clients.iter().zip(asked).map(|(client, id)| client.answer(id)).collect()
    }

    /// Waits until all of these clients show the same in all documents.
    pub fn agree(&mut self, clients: usize, within: Duration) {
        let until = Instant::now() + within;
        if let Err(digests) = self.same(clients, until) {
            let statuses = self.ask(clients, &json!({"do": "status"}));
            // Late, or never? The one is slow, the other is wrong.
            let late = Instant::now();
            let later = match self.same(clients, late + LATER) {
                Ok(()) => format!("they are {:?} after that", late.elapsed()),
                Err(digests) => format!("they are not {LATER:?} after that either: {}", differences(&digests)),
            };
            let statuses: Vec<_> = statuses.iter().map(|status| format!("{status}\n")).collect();
            let what = differences(&digests);
            panic!("not all digests are equal within {within:?}, {later}:\n{what}\n{}", statuses.concat());
        }
    }

    fn same(&mut self, clients: usize, until: Instant) -> Result<(), Vec<Value>> {
        loop {
            let looked = Instant::now();
            let rung = self.bell.rung();
            let digests = self.ask(clients, &json!({"do": "digests"}));
            if digests.windows(2).all(|pair| pair[0] == pair[1]) {
                return Ok(());
            }
            if !self.bell.wait(rung, until) {
                return Err(digests);
            }
            // To look after every single event would take the processors from those who are looked at.
            std::thread::sleep(LOOK_EVERY.saturating_sub(looked.elapsed()));
        }
    }
}

/// The documents that are not the same everywhere, with the digest of each client.
fn differences(digests: &[Value]) -> String {
    let of = |client: &Value, at: usize| client["digests"][at].to_string().chars().take(90).collect::<String>();
    let count = digests[0]["digests"].as_array().map_or(0, Vec::len);
    let differ = (0..count).filter(|at| digests.iter().any(|client| of(client, *at) != of(&digests[0], *at)));
    differ.map(|at| digests.iter().map(|client| of(client, at) + "\n").collect::<String>()).collect()
}
