//! How much memory a process takes.

use std::{
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

/// Looks at a process ten times a second.
pub struct Watch {
    stop: Sender<()>,
    watching: JoinHandle<(u64, usize)>,
}

impl Watch {
    pub fn start(process: u32) -> Self {
        let (stop, stopped) = channel();
        let watching = std::thread::spawn(move || watch(process, &stopped));
        Self { stop, watching }
    }

    /// The most that was seen, and how often was looked.
    pub fn most(self) -> (u64, usize) {
        drop(self.stop);
        self.watching.join().unwrap()
    }
}

fn watch(process: u32, stopped: &Receiver<()>) -> (u64, usize) {
    let (mut most, mut samples) = (0, 0);
    loop {
        most = most.max(resident(process).unwrap_or(0));
        samples += 1;
        if stopped.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
            return (most, samples);
        }
    }
}
