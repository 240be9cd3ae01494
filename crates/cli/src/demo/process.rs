//! A replica's process, as the demonstration holds it.

use std::{
    collections::HashMap,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{oneshot, watch},
    task::JoinHandle,
};

use super::wire::{Answer, Ask, Event, Line, Request};
use crate::error::CliError;

/// How long an answer may take before the demonstration gives up. Whatever it waits for takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Rises with every event of any replica: whoever waits for a state looks again.
pub(crate) type News = watch::Sender<u64>;

/// A running replica. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) name: &'static str,
    child: Child,
    input: tokio::sync::Mutex<ChildStdin>,
    heard: Arc<Mutex<Heard>>,
    listening: JoinHandle<()>,
}

/// What the process said.
#[derive(Debug, Default)]
struct Heard {
    next: u64,
    waiting: HashMap<u64, oneshot::Sender<Result<Answer, String>>>,
    durable: HashMap<u64, usize>,
    ticks: HashMap<u64, u64>,
    connected: bool,
    refused: bool,
    ended: bool,
}

/// A question that was asked, and whose answer comes.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Names it in events.
    pub(crate) id: u64,
    name: &'static str,
    /// What was asked, for errors.
    what: String,
    answer: oneshot::Receiver<Result<Answer, String>>,
}

impl Asked {
    pub(crate) async fn answer(self) -> Result<Answer, CliError> {
        let failed = |reason: String| CliError::Replica { name: self.name.into(), reason };
        match tokio::time::timeout(PATIENCE, self.answer).await {
            Ok(Ok(answer)) => answer.map_err(failed),
            Ok(Err(_)) => Err(failed("its process ended; its last words are above".into())),
            Err(_) => Err(failed(format!("no answer to {} within {} s", self.what, PATIENCE.as_secs()))),
        }
    }
}

impl Process {
    /// Starts this very program once more, as a replica.
    pub(crate) fn start(name: &'static str, store: &PathBuf, news: News) -> Result<Self, CliError> {
        let program = std::env::current_exe().map_err(CliError::io("cannot find this program's own file"))?;
        let mut child = Command::new(program)
            .arg("demo-replica")
            .arg("--store")
            .arg(store)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(CliError::io("cannot start a replica's process"))?;
        let pipes = (child.stdin.take(), child.stdout.take());
        let (Some(input), Some(output)) = pipes else {
            return Err(CliError::Replica { name: name.into(), reason: "its process has no pipes".into() });
        };
        let heard = Arc::new(Mutex::new(Heard::default()));
        let listening = tokio::spawn(listen(output, heard.clone(), news));
        Ok(Self { name, child, input: tokio::sync::Mutex::new(input), heard, listening })
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&self, ask: Ask) -> Result<Answer, CliError> {
        self.begin(ask).await?.answer().await
    }

    /// Asks something that is answered with a text.
    pub(crate) async fn text(&self, ask: Ask) -> Result<String, CliError> {
        match self.ask(ask).await? {
            Answer::Text(text) => Ok(text),
            other => Err(self.strange(&other)),
        }
    }

    /// Asks, without waiting for the answer.
    pub(crate) async fn begin(&self, ask: Ask) -> Result<Asked, CliError> {
        let (sender, answer) = oneshot::channel();
        let id = {
            let mut heard = lock(&self.heard);
            heard.next += 1;
            let id = heard.next;
            if !heard.ended {
                heard.waiting.insert(id, sender);
            }
            id
        };
        let request = Request { id, ask };
        let mut line = serde_json::to_vec(&request).map_err(|error| CliError::io("a request")(error.into()))?;
        line.push(b'\n');
        // If the process is gone, the answer says so.
        let _ = self.input.lock().await.write_all(&line).await;
        Ok(Asked { id, name: self.name, what: request.ask.name(), answer })
    }

    /// How many words of a request to type were reported durable.
    pub(crate) fn durable(&self, id: u64) -> usize {
        lock(&self.heard).durable.get(&id).copied().unwrap_or(0)
    }

    /// When the counter was seen to be this.
    pub(crate) fn ticked(&self, value: u64) -> Option<u64> {
        lock(&self.heard).ticks.get(&value).copied()
    }

    pub(crate) fn is_connected(&self) -> bool {
        lock(&self.heard).connected
    }

    /// Whether the relay has refused it its documents.
    pub(crate) fn is_refused(&self) -> bool {
        lock(&self.heard).refused
    }

    /// Ends the process without warning: nothing of it runs any more, not even to tidy up. When this returns, everything
    /// that it had said is heard.
    pub(crate) async fn kill(&mut self) -> Result<(), CliError> {
        self.child.kill().await.map_err(CliError::io("cannot kill a replica's process"))?;
        let _ = (&mut self.listening).await;
        Ok(())
    }

    /// Lets the engine close.
    pub(crate) async fn close(mut self) -> Result<(), CliError> {
        self.ask(Ask::Close).await?;
        self.child.wait().await.map_err(CliError::io("cannot wait for a replica's process"))?;
        Ok(())
    }

    pub(crate) fn strange(&self, answer: &Answer) -> CliError {
        CliError::Replica { name: self.name.into(), reason: format!("a strange answer: {answer:?}") }
    }
}

async fn listen(output: ChildStdout, heard: Arc<Mutex<Heard>>, news: News) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(Line::Event(event)) => {
                lock(&heard).note(event);
                news.send_modify(|count| *count += 1);
            }
            Ok(Line::Answer { id, answer }) => lock(&heard).answered(id, Ok(answer)),
            Ok(Line::Failure { id, reason }) => lock(&heard).answered(id, Err(reason)),
            Err(error) => tracing::warn!(%error, "a replica said something that is no line of the protocol"),
        }
    }
    let mut heard = lock(&heard);
    heard.ended = true;
    heard.waiting.clear();
    news.send_modify(|count| *count += 1);
}

impl Heard {
    fn answered(&mut self, id: u64, result: Result<Answer, String>) {
        if let Some(waiting) = self.waiting.remove(&id) {
            let _ = waiting.send(result);
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Durable { id, words } => drop(self.durable.insert(id, words)),
            Event::Tick { value, at } => drop(self.ticks.insert(value, at)),
            Event::Connected(connected) => self.connected = connected,
            Event::StoreFailed(error) => tracing::error!(%error, "a replica's store failed"),
            Event::Refused(_) => self.refused = true,
            Event::Changed { .. } | Event::Control => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
