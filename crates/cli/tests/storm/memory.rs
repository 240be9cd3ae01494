//! How much memory a relay takes, and how much waits there for whoever reads least.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::Duration,
};

const EVERY: Duration = Duration::from_millis(100);

/// The resident memory of a process in bytes; `None` on systems that have no /proc.
pub fn resident(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// The bytes that wait for the transport which has most to take, as the relay's metrics say it: about once a second they do
/// anew.
fn waiting(metrics: &str) -> Option<u64> {
    let mut stream = TcpStream::connect(metrics).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: relay\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.lines().find_map(|line| line.strip_prefix("partita_relay_outgoing_max_bytes "))?.trim().parse().ok()
}

/// The most of each that was seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Most {
    pub resident: u64,
    /// For one transport; `None` when the relay never said it.
    pub waiting: Option<u64>,
    pub samples: usize,
}

/// Looks at a relay ten times a second.
pub struct Watch {
    stop: Sender<()>,
    watching: JoinHandle<Most>,
}

impl Watch {
    /// `metrics`: the address where it shows them.
    pub fn start(process: u32, metrics: String) -> Self {
        let (stop, stopped) = channel();
        let watching = std::thread::spawn(move || watch(process, &metrics, &stopped));
        Self { stop, watching }
    }

    /// The most that was seen.
    pub fn most(self) -> Most {
        drop(self.stop);
        self.watching.join().unwrap()
    }
}

fn watch(process: u32, metrics: &str, stopped: &Receiver<()>) -> Most {
    let mut most = Most::default();
    loop {
        most.resident = most.resident.max(resident(process).unwrap_or(0));
        most.waiting = most.waiting.max(waiting(metrics));
        most.samples += 1;
        if stopped.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
            return most;
        }
    }
}
