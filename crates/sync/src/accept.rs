//! Accepting connections.

use std::{
    convert::Infallible,
    future::pending,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use partita_core::{Connection, Listener, Observation, TransportError};
use tokio::sync::{Semaphore, watch};

use crate::{
    connection::{Role, serve},
    handle::DriverHandle,
};

/// Serves every connection that a listener accepts, so many at once, until the task is aborted, which cuts them all off. Ends
/// only when the listener breaks.
pub async fn accept_connections<C: Send + 'static>(
    driver: DriverHandle<C>,
    listener: Box<dyn Listener>,
    most: usize,
) -> TransportError {
    let Err(broke) = accept_until(driver, listener, most, pending::<Infallible>()).await;
    broke
}

/// Serves every connection that a listener accepts, so many at once, until `stop` is ready. From then on nobody is listened to, and
/// whoever has not proved who it is is cut off; it ends once all others' connections have ended. A driver ends them when it is
/// stopped: it says goodbye behind what it had to say, and a remote that reads nothing holds that up for a few seconds. Dropping
/// the future cuts everybody off.
///
/// # Errors
/// When the listener breaks. Everybody is cut off then.
pub async fn accept_until<C: Send + 'static, S>(
    driver: DriverHandle<C>,
    mut listener: Box<dyn Listener>,
    most: usize,
    stop: impl Future<Output = S>,
) -> Result<S, TransportError> {
    let room = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
    listener.observer(driver.observer.clone());
    let (listens, listening) = watch::channel(());
    let mut stop = pin!(stop);
    let mut tasks = tokio::task::JoinSet::new();
    let stopped = loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            stopped = &mut stop => break stopped,
            Some(_) = tasks.join_next() => continue,
        };
        let connection = accepted?;
        // Over the limit a connection is dropped at once: its dialer backs off and comes again.
        let Ok(permit) = room.clone().try_acquire_owned() else {
            let address = connection.remote_address().map(tracing::field::display);
            tracing::debug!(address, "a connection was turned away: there are as many as are allowed");
            driver.observer.observe(&Observation::ConnectionTurnedAway);
            continue;
        };
        let (driver, listening) = (driver.clone(), listening.clone());
        tasks.spawn(async move {
            serve_guest(driver, connection, listening).await;
            drop(permit);
        });
    };
    drop(listener);
    drop(listens);
    while tasks.join_next().await.is_some() {}
    Ok(stopped)
}

/// Serves a connection until it ends; one whose remote has not proved who it is, only while somebody listens.
async fn serve_guest<C: Send + 'static>(
    driver: DriverHandle<C>,
    connection: Box<dyn Connection>,
    mut listening: watch::Receiver<()>,
) {
    let proved = AtomicBool::new(false);
    let stranger = async {
        let _ = listening.changed().await; // nothing is ever said but that it is over
        if proved.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
    };
    tokio::select! {
        _ = serve(driver, connection, Role::Accept, |_, _| proved.store(true, Ordering::Relaxed)) => {}
        () = stranger => {}
    }
}
