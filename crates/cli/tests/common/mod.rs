//! The real program, run as anybody would run it.

#![allow(dead_code, unreachable_pub)] // each test file uses its part
#![allow(clippy::unwrap_used, clippy::panic)] // a test says what went wrong by panicking

pub mod dice;
pub mod replica;

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

pub fn partita() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_partita"));
    command.env_remove("RUST_LOG");
    command
}

/// Runs the program to its end: the exit code and both outputs.
pub fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = partita().args(args).stdin(Stdio::null()).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A running `partita relay`. Dropping it kills it.
pub struct Relay {
    child: Child,
    pub url: String,
}

impl Relay {
    pub fn start(listen: &str, store: &Path) -> Self {
        Self::run(listen, store, &[]).0
    }

    /// Also where its metrics are shown.
    pub fn start_with_metrics(listen: &str, store: &Path) -> (Self, String) {
        let (relay, mut rest) = Self::run(listen, store, &["--metrics", "127.0.0.1:0"]);
        let mut metrics = String::new();
        rest.read_line(&mut metrics).unwrap();
        (relay, metrics.trim_end().to_owned())
    }

    fn run(listen: &str, store: &Path, more: &[&str]) -> (Self, BufReader<ChildStdout>) {
        let mut command = partita();
        command.args(["relay", "--listen", listen, "--store"]).arg(store).args(more);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut url).unwrap();
        assert!(url.ends_with('\n'), "the relay ended before it printed its URL");
        (Self { child, url: url.trim_end().to_owned() }, said)
    }

    /// Starts one and kills it soon, perhaps before it listens.
    pub fn begin_and_kill(listen: &str, store: &Path, after: Duration) {
        let mut command = partita();
        command.args(["relay", "--listen", listen, "--store"]).arg(store).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(after); // the moment of the kill: nothing is waited for
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// The address without scheme and id: to listen on it again.
    pub fn address(&self) -> String {
        self.url["ws://".len()..].split('#').next().unwrap().to_owned()
    }

    /// Its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, as an operator does.
    pub fn signal(mut self, signal: &str) -> ExitStatus {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
        self.child.wait().unwrap()
    }

    /// Ends it without warning.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
