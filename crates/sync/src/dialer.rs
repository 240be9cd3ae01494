//! A connection that is dialled, served, and dialled again.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use partita_core::{Observation, SessionId, Transport, TransportError};
use partita_protocol::{Backoff, CloseReason, Event};
use tokio::{
    sync::{Notify, oneshot, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    SystemRandom,
    address::{RelayUrl, Transports},
    connection::{ConnectionError, Role, serve},
    driver::Input,
    handle::DriverHandle,
    state::{ConnectionEvent, ConnectionHandle, ConnectionState, Retry},
};

/// How long a dial may take.
const DIAL_DEADLINE: Duration = Duration::from_secs(15);
/// When the network is back, a dial or a handshake that began before is given up once it has taken so long: it may be
/// waiting for a network that is no more.
const FRESH: Duration = Duration::from_secs(1);
/// How long the end of a connection may take.
const GOODBYE: Duration = Duration::from_secs(4);

/// A connection that is dialled, served, and dialled again, until this is dropped: it then ends in an orderly way.
#[derive(Debug)]
pub struct Dialer {
    handle: ConnectionHandle,
    wake: Arc<Notify>,
    /// Dropping it ends the task.
    _stop: oneshot::Sender<()>,
}

impl Dialer {
    /// Keeps a connection to this address up. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// When no transport has the address's scheme.
    pub fn start<C: Send + 'static>(
        driver: DriverHandle<C>,
        transports: &Transports,
        url: RelayUrl,
        report: impl Fn(ConnectionEvent) + Send + Sync + 'static,
    ) -> Result<Self, TransportError> {
        let transport = transports.of(&url.address)?.clone();
        let (state, states) = watch::channel(ConnectionState::Connecting);
        let handle = ConnectionHandle { url: url.to_string(), state: states };
        let wake = Arc::new(Notify::new());
        let (stop, stopped) = oneshot::channel();
        let (name, state) = (handle.url.clone(), States(state));
        let line = Line { name, driver, transport, url, state, report, session: AtomicU64::new(0) };
        tokio::spawn(line.keep_up(wake.clone(), stopped));
        Ok(Self { handle, wake, _stop: stop })
    }

    /// Shows the connection's state.
    pub fn handle(&self) -> ConnectionHandle {
        self.handle.clone()
    }

    /// The network is back: dials at once if it was waiting to, or if an attempt from before may hang; a connection
    /// that stands is asked at once whether it still does.
    pub fn retry_now(&self) {
        self.wake.notify_one();
    }
}

struct Line<C, R> {
    name: String,
    driver: DriverHandle<C>,
    transport: Arc<dyn Transport>,
    url: RelayUrl,
    state: States,
    report: R,
    /// The session's number; zero while there is none.
    session: AtomicU64,
}

/// Shows the state. However the task ends, also with its runtime, the connection is closed then.
struct States(watch::Sender<ConnectionState>);

impl Drop for States {
    fn drop(&mut self) {
        self.0.send_if_modified(|state| std::mem::replace(state, ConnectionState::Closed) != ConnectionState::Closed);
    }
}

/// How an attempt ended.
enum End {
    /// With an error, after it had been connected for so long.
    Error(ConnectionError, Duration),
    /// It is abandoned for a new one.
    Abandoned,
    /// The connection is not wanted any more.
    Stopped,
}

impl<C: Send + 'static, R: Fn(ConnectionEvent) + Send + Sync + 'static> Line<C, R> {
    async fn keep_up(self, wake: Arc<Notify>, mut stop: oneshot::Receiver<()>) {
        let mut backoff = Backoff::default();
        loop {
            let (error, lived) = match self.attempt(&mut backoff, &wake, &mut stop).await {
                // The driver has stopped: nobody will ever be connected to it again.
                End::Error(ConnectionError::Closed(CloseReason::Closing), _) => break,
                End::Error(error, lived) => (error, lived),
                End::Abandoned => continue,
                End::Stopped => break,
            };
            let state = self.wait_state(error, lived, &mut backoff);
            let (ConnectionState::BackingOff { retry, .. } | ConnectionState::Refused { retry, .. }) = &state else {
                break; // no other state means waiting
            };
            let after = retry.after;
            self.say(state);
            tokio::select! {
                biased;
                _ = &mut stop => break,
                () = wake.notified() => backoff.reset(),
                () = sleep(after) => {}
            }
        }
        self.say(ConnectionState::Closed);
    }

    fn wait_state(&self, error: ConnectionError, lived: Duration, backoff: &mut Backoff) -> ConnectionState {
        let refused = error.is_refusal();
        let after = if refused { backoff.slowly(&mut SystemRandom) } else { backoff.next(lived, &mut SystemRandom) };
        let retry = Retry::after(backoff.attempts(), after);
        tracing::debug!(%error, attempts = retry.attempts, ?after, "the connection is dialled again later");
        if refused { ConnectionState::Refused { error, retry } } else { ConnectionState::BackingOff { error, retry } }
    }

    /// One attempt, and the connection that may come of it.
    async fn attempt(&self, backoff: &mut Backoff, wake: &Notify, stop: &mut oneshot::Receiver<()>) -> End {
        self.driver.observer.observe(&Observation::Dialling { attempts: backoff.attempts() });
        let began = Instant::now();
        let mut connection = pin!(self.connection());
        let mut give_up = None;
        loop {
            tokio::select! {
                biased;
                _ = &mut *stop => {
                    if let Some(session) = self.session() {
                        let _ = self.driver.sender.leave(Input::HangUp(session));
                        let _ = timeout(GOODBYE, connection).await;
                    }
                    return End::Stopped;
                }
                (error, lived) = &mut connection => return End::Error(error, lived),
                () = wake.notified() => {
                    backoff.reset();
                    match self.session() {
                        Some(session) => {
                            let _ = self.driver.sender.leave(Input::Event(Event::Probe(session)));
                        }
                        None => give_up = Some(began + FRESH),
                    }
                }
                () = until(give_up) => match self.session() {
                    // It came about after the network was back.
                    Some(_) => give_up = None,
                    None => return End::Abandoned,
                },
            }
        }
    }

    async fn connection(&self) -> (ConnectionError, Duration) {
        self.session.store(0, Ordering::Relaxed);
        self.say(ConnectionState::Connecting);
        let connection = match timeout(DIAL_DEADLINE, self.transport.dial(&self.url.address)).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return (error.into(), Duration::ZERO),
            Err(_) => {
                let reason = format!("no answer within {} s", DIAL_DEADLINE.as_secs());
                let url = self.url.address.clone();
                return (TransportError::Unreachable { url, reason }.into(), Duration::ZERO);
            }
        };
        self.say(ConnectionState::Authenticating);
        let mut since = None;
        let error = serve(self.driver.clone(), connection, Role::Dial(self.url.replica), |session, remote| {
            since = Some(Instant::now());
            self.session.store(session.0, Ordering::Relaxed);
            self.say(ConnectionState::Connected(remote));
        })
        .await;
        (error, since.map_or(Duration::ZERO, |since| since.elapsed()))
    }

    fn session(&self) -> Option<SessionId> {
        // Session numbers begin with 1.
        Some(self.session.load(Ordering::Relaxed)).filter(|session| *session > 0).map(SessionId)
    }

    fn say(&self, state: ConnectionState) {
        self.state.0.send_replace(state.clone());
        (self.report)(ConnectionEvent { url: self.name.clone(), state });
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
