//! Accepting connections.

use std::sync::Arc;

use partita_core::{Listener, Observation, TransportError};
use tokio::sync::Semaphore;

use crate::{
    connection::{Role, serve},
    handle::DriverHandle,
};

/// Serves every connection that a listener accepts, so many at once, until the task is aborted. Ends only when the
/// listener breaks.
pub async fn accept_connections<C: Send + 'static>(
    driver: DriverHandle<C>,
    mut listener: Box<dyn Listener>,
    most: usize,
) -> TransportError {
    let room = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = tasks.join_next() => continue,
        };
        let connection = match accepted {
            Ok(connection) => connection,
            Err(error) => return error,
        };
        // Over the limit a connection is dropped at once: its dialer backs off and comes again.
        let Ok(permit) = room.clone().try_acquire_owned() else {
            driver.observer.observe(&Observation::ConnectionTurnedAway);
            continue;
        };
        let driver = driver.clone();
        tasks.spawn(async move {
            serve(driver, connection, Role::Accept, |_, _| {}).await;
            drop(permit);
        });
    }
}
