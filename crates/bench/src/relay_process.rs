//! A relay in a process of its own, so that what it costs can be told from what its clients cost.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use partita::RelayUrl;
use partita_core::{Observation, Observer};
use partita_relay::Relay;
use serde::{Deserialize, Serialize};

use crate::devices::Failure;

/// What such a process is told when it is started.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The relay's store.
    store: PathBuf,
}

/// What its store committed so far.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Committed {
    pub(crate) commits: u64,
    pub(crate) entries: u64,
    /// What all commits took together.
    pub(crate) seconds: f64,
}

#[derive(Debug, Clone, Default)]
struct Counter(Arc<[AtomicU64; 3]>);

impl Observer for Counter {
    fn observe(&self, seen: &Observation) {
        if let Observation::Committed { entries, took, .. } = seen {
            let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            for (counter, more) in self.0.iter().zip([1, *entries as u64, nanos]) {
                counter.fetch_add(more, Ordering::Relaxed);
            }
        }
    }
}

/// Is the relay: says its URL, then, for every line that it is told, what its store committed. Ends when it is told no more.
pub(crate) fn serve(arguments: &Arguments) -> crate::Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let counter = Counter::default();
    let relay = Relay::builder(&arguments.store).listen("ws://127.0.0.1:0").observer(counter.clone());
    // Those who count connections count their own.
    let relay = runtime.block_on(relay.max_connections(usize::MAX).open())?;
    println!("{}", relay.url());
    for line in std::io::stdin().lines() {
        line?;
        let [commits, entries, nanos] = [0, 1, 2].map(|at: usize| counter.0[at].load(Ordering::Relaxed));
        let committed = Committed { commits, entries, seconds: Duration::from_nanos(nanos).as_secs_f64() };
        println!("{}", serde_json::to_string(&committed)?);
    }
    runtime.block_on(relay.close());
    Ok(())
}

/// A process of this very program that serves others. Dropping it kills it.
pub(crate) struct Server {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Server {
    /// Starts this program with these arguments.
    pub(crate) fn start(arguments: &[&std::ffi::OsStr]) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(input), Some(output)) => Ok(Self { child, input, output: BufReader::new(output) }),
            _ => Err("a process has no pipes".into()),
        }
    }

    /// What it says next.
    pub(crate) fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.is_empty() { Err("a process ended before it was told to".into()) } else { Ok(line.trim_end().into()) }
    }

    /// The time that its threads ran on a processor.
    pub(crate) fn cpu(&self) -> Result<Duration, Failure> {
        let mut nanos = 0;
        for thread in self.proc("task")?.read_dir()? {
            let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            nanos += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// The memory that it has in use.
    pub(crate) fn rss_bytes(&self) -> Result<u64, Failure> {
        rss_bytes(&self.proc("status")?)
    }

    fn proc(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = Path::new("/proc").join(self.child.id().to_string()).join(name);
        if path.exists() { Ok(path) } else { Err("what a process uses is read from /proc, as Linux has it".into()) }
    }
}

/// The resident memory that a process's `/proc/PID/status` names.
pub(crate) fn rss_bytes(status: &Path) -> Result<u64, Failure> {
    let text = std::fs::read_to_string(status)?;
    let line =
        text.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("the system does not say what is resident")?;
    Ok(line.trim().trim_end_matches("kB").trim_end().parse::<u64>()? * 1024)
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, and nobody waits for anything of it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A relay in a process of its own.
pub(crate) struct RelayProcess {
    pub(crate) server: Server,
    pub(crate) url: RelayUrl,
}

impl RelayProcess {
    pub(crate) fn start(store: &Path) -> Result<Self, Failure> {
        let mut server = Server::start(&["serve-relay".as_ref(), store.as_os_str()])?;
        let url = server.line()?.parse()?;
        Ok(Self { server, url })
    }

    /// What its store committed so far.
    pub(crate) fn committed(&mut self) -> Result<Committed, Failure> {
        self.server.input.write_all(b"\n")?;
        Ok(serde_json::from_str(&self.server.line()?)?)
    }
}
