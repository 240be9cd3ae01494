//! Can this relay do its work right now?

use std::time::Duration;

use partita_core::StoreError;
use partita_sync::{DriverHandle, Leg, Probe, ProbeError};
use tokio::{
    sync::{Mutex, watch},
    time::{Instant, timeout_at},
};

use crate::host::Command;

/// How long a probe may take through the node's thread, the store's thread and back.
const DEADLINE: Duration = Duration::from_secs(2);

/// Why it cannot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotReady {
    #[error("not ready: {0}")]
    Store(StoreError),
    #[error("not ready: it is draining, and takes no entries any more")]
    Draining,
    #[error("not ready: the listener broke, and nobody can connect; start the relay again")]
    Listener,
    #[error("not ready: {0} (for {seconds} s)", seconds = DEADLINE.as_secs())]
    Late(Leg),
    #[error("not ready: {0}")]
    Probe(ProbeError),
}

/// Looks.
pub(crate) struct Readiness {
    driver: DriverHandle<Command>,
    failure: watch::Receiver<Option<StoreError>>,
    draining: watch::Receiver<bool>,
    listening: watch::Receiver<bool>,
    /// The probe that is on its way, with whoever waits for it: a node that is stuck must not be sent more and more of
    /// them.
    probe: Mutex<Option<Probe>>,
    /// How far the last one that was late had come.
    late: watch::Sender<Leg>,
}

impl Readiness {
    pub(crate) fn new(
        driver: DriverHandle<Command>,
        failure: watch::Receiver<Option<StoreError>>,
        draining: watch::Receiver<bool>,
        listening: watch::Receiver<bool>,
    ) -> Self {
        Self { driver, failure, draining, listening, probe: Mutex::new(None), late: watch::Sender::new(Leg::Node) }
    }

    pub(crate) async fn check(&self) -> Result<(), NotReady> {
        if let Some(error) = &*self.failure.borrow() {
            return Err(NotReady::Store(error.clone()));
        }
        if *self.draining.borrow() {
            return Err(NotReady::Draining);
        }
        if !*self.listening.borrow() {
            return Err(NotReady::Listener);
        }
        let deadline = Instant::now() + DEADLINE;
        // Another request may be waiting with the same question.
        let Ok(mut waiting) = timeout_at(deadline, self.probe.lock()).await else {
            return Err(NotReady::Late(*self.late.borrow()));
        };
        let mut probe = match waiting.take() {
            Some(probe) => probe,
            None => self.driver.probe().map_err(|stopped| NotReady::Probe(stopped.into()))?,
        };
        match timeout_at(deadline, probe.home()).await {
            Ok(home) => home.map_err(NotReady::Probe),
            Err(_) => {
                let leg = probe.waits_for();
                self.late.send_replace(leg);
                *waiting = Some(probe);
                Err(NotReady::Late(leg))
            }
        }
    }
}
