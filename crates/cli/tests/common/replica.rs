//! One replica's process, driven by lines of JSON.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::partita;

/// Long enough for any honest run, short enough to see a hang.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A running replica. Dropping it kills it.
pub struct Replica {
    child: Child,
    input: ChildStdin,
    next: u64,
    heard: Arc<(Mutex<Heard>, Condvar)>,
    listening: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Heard {
    answers: HashMap<u64, Result<Value, String>>,
    durable: HashMap<u64, usize>,
    events: u64,
    ended: bool,
}

/// Is rung at every event of the replicas that share it.
#[derive(Default)]
pub struct Bell(Mutex<u64>, Condvar);

impl Bell {
    fn ring(&self) {
        *self.0.lock().unwrap() += 1;
        self.1.notify_all();
    }

    pub fn rung(&self) -> u64 {
        *self.0.lock().unwrap()
    }

    /// Waits until it has rung more often than this; false at the deadline.
    pub fn wait(&self, rung: u64, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        let count = self.0.lock().unwrap();
        let waited = self.1.wait_timeout_while(count, left, |now| *now <= rung).unwrap();
        !waited.1.timed_out()
    }
}

impl Replica {
    pub fn start(store: &Path) -> Self {
        Self::start_with(store, Arc::default())
    }

    pub fn start_with(store: &Path, bell: Arc<Bell>) -> Self {
        let mut command = partita();
        command.args(["demo-replica", "--store"]).arg(store).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let heard = Arc::<(Mutex<Heard>, Condvar)>::default();
        let ears = heard.clone();
        let listening = std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // The last line of a killed process may be cut off in the middle: then it was not said.
                let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
                ears.0.lock().unwrap().hear(&line);
                ears.1.notify_all();
                if line.get("event").is_some() {
                    bell.ring();
                }
            }
            ears.0.lock().unwrap().ended = true;
            ears.1.notify_all();
        });
        Self { child, input, next: 0, heard, listening: Some(listening) }
    }

    /// Asks without waiting: the request's number.
    pub fn begin(&mut self, mut ask: Value) -> u64 {
        self.next += 1;
        ask["id"] = json!(self.next);
        let _ = writeln!(self.input, "{ask}"); // if it is gone, the missing answer says so
        self.next
    }

    pub fn answer(&self, id: u64) -> Value {
        let answer = self.wait_for(|heard| heard.answers.get(&id).cloned());
        answer.unwrap_or_else(|reason| panic!("request {id} failed: {reason}"))
    }

    pub fn ask(&mut self, ask: Value) -> Value {
        let id = self.begin(ask);
        self.answer(id)
    }

    /// Whether a request was answered within so long.
    pub fn is_answered(&self, id: u64, within: Duration) -> bool {
        let heard = self.heard.0.lock().unwrap();
        let waits = |heard: &mut Heard| !heard.answers.contains_key(&id);
        !self.heard.1.wait_timeout_while(heard, within, waits).unwrap().1.timed_out()
    }

    pub fn text(&mut self, ask: Value) -> String {
        self.ask(ask)["text"].as_str().unwrap().to_owned()
    }

    pub fn digests(&mut self) -> Value {
        self.ask(json!({"do": "digests"}))
    }

    /// The parts of a document's text.
    pub fn parts(&mut self, document: &str) -> Vec<String> {
        let parts = self.ask(json!({"do": "read", "document": document}))["parts"].take();
        serde_json::from_value(parts).unwrap()
    }

    /// How many words of a request to type were reported durable up to now.
    pub fn durable(&self, id: u64) -> usize {
        self.heard.0.lock().unwrap().durable.get(&id).copied().unwrap_or(0)
    }

    /// How many events it told of so far.
    pub fn events(&self) -> u64 {
        self.heard.0.lock().unwrap().events
    }

    /// Waits for the next event after so many.
    pub fn next_event(&self, after: u64) {
        self.wait_for(|heard| (heard.events > after).then_some(()));
    }

    /// Ends the process without warning. When this returns, everything that it had said is heard.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.listening.take().unwrap().join().unwrap();
    }

    pub fn close(mut self) {
        self.ask(json!({"do": "close"}));
        assert!(self.child.wait().unwrap().success());
    }

    fn wait_for<T>(&self, look: impl Fn(&Heard) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        let mut heard = self.heard.0.lock().unwrap();
        loop {
            if let Some(found) = look(&heard) {
                return found;
            }
            assert!(!heard.ended, "the replica's process ended");
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nothing within {} s", PATIENCE.as_secs());
            heard = self.heard.1.wait_timeout(heard, left).unwrap().0;
        }
    }
}

impl Heard {
    fn hear(&mut self, line: &Value) {
        if let Some(event) = line.get("event") {
            self.events += 1;
            if let Some(durable) = event.get("durable") {
                let words = usize::try_from(durable["words"].as_u64().unwrap()).unwrap();
                self.durable.insert(durable["id"].as_u64().unwrap(), words);
            }
        } else if let Some(answer) = line.get("answer") {
            self.answers.insert(answer["id"].as_u64().unwrap(), Ok(answer["answer"].clone()));
        } else if let Some(failure) = line.get("failure") {
            let reason = failure["reason"].as_str().unwrap().to_owned();
            self.answers.insert(failure["id"].as_u64().unwrap(), Err(reason));
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
