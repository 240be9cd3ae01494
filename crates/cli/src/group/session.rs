//! One run: the group's engine on the store, what the relay said, and whether it has what was done.

use std::sync::Arc;

use partita::{
    ConnectionState, Context, Engine, EngineError, EngineEvent, FileKeystore, RelayUrl,
    core::{ContextId, Refusal, ReplicaId, Turn},
    group::{Group, GroupError},
};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, timeout_at},
};

use super::Place;
use crate::{error::CliError, progress::Progress};

/// An open group.
pub(crate) struct Session<'p> {
    engine: Engine,
    context: Context,
    relay: Option<RelayUrl>,
    place: &'p Place,
    progress: &'p Progress,
    /// What the relay said when it was asked for what it has.
    heard: Heard,
}

/// What the relay said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nobody was asked.
    Nothing,
    /// What it has is here.
    Everything,
    /// It lets this device in no more.
    Refused(Refusal),
    /// It did not answer in time: why, as far as is known.
    Silence(String),
}

/// The keystore beside the store.
pub(crate) fn keystore(place: &Place) -> Result<Arc<FileKeystore>, CliError> {
    Ok(Arc::new(FileKeystore::open(place.store.with_added_extension("key"))?))
}

/// The keystore beside the store, made if neither is there: a store without its keys is never given new ones.
pub(crate) fn keystore_or_new(place: &Place) -> Result<Arc<FileKeystore>, CliError> {
    let keys = place.store.with_added_extension("key");
    if keys.exists() || place.store.exists() { keystore(place) } else { Ok(Arc::new(FileKeystore::create(keys)?)) }
}

/// The group of this store, if it has one.
pub(crate) fn group_of(keystore: &FileKeystore) -> Result<Option<ContextId>, CliError> {
    Ok(Group::all(keystore)?.first().copied())
}

impl<'p> Session<'p> {
    /// Opens the group that this store belongs to, and hears what the relay has.
    pub(crate) async fn open(place: &'p Place, progress: &'p Progress) -> Result<Self, CliError> {
        let keystore = keystore(place)?;
        let context = group_of(&keystore)?.ok_or_else(|| CliError::NoGroup(place.store.clone()))?;
        let group = Group::open(keystore, &context)?;
        Self::begin(group, place.relay.clone(), place, progress).await
    }

    /// Opens this group, and hears what the relay has.
    pub(crate) async fn begin(
        group: Group,
        relay: Option<RelayUrl>,
        place: &'p Place,
        progress: &'p Progress,
    ) -> Result<Self, CliError> {
        let id = group.context();
        let engine = Engine::builder(&place.store).strategy(group).open().await?;
        let context = engine.context(id).await?;
        let mut session = Self { engine, context, relay, place, progress, heard: Heard::Nothing };
        if let Some(url) = &session.relay {
            let events = session.engine.events(); // before it is dialled: nothing is missed
            session.engine.connect(&url.to_string())?;
            session.heard = session.until(events, session.context.caught_up()).await?;
        }
        Ok(session)
    }

    pub(crate) fn context(&self) -> ContextId {
        self.context.id()
    }

    pub(crate) fn device(&self) -> ReplicaId {
        self.engine.replica()
    }

    pub(crate) fn heard(&self) -> &Heard {
        &self.heard
    }

    pub(crate) fn events(&self) -> Receiver<EngineEvent> {
        self.engine.events()
    }

    /// Asks the group, or has it decide something.
    pub(crate) async fn ask<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Group, &mut Turn<'_>) -> R + Send + 'static,
    ) -> Result<R, CliError> {
        Ok(self.engine.with_strategy::<Group, R>(call).await?)
    }

    /// Has the group decide something.
    pub(crate) async fn decide<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Group, &mut Turn<'_>) -> Result<R, GroupError> + Send + 'static,
    ) -> Result<R, CliError> {
        // The removal itself does not come to whoever it concerns; what it wrote now would count nowhere.
        if self.heard == Heard::Refused(Refusal::Revoked) {
            return Err(GroupError::Removed.into());
        }
        Ok(self.ask(call).await??)
    }

    /// Waits until the relay has everything durably that was ever written here, and closes. What the relay said of it.
    pub(crate) async fn finish(self) -> Result<Heard, CliError> {
        let delivered = match (&self.relay, &self.heard) {
            // Who was not let in, or found nobody, waits for nothing: it is stored.
            (None, heard) | (_, heard @ (Heard::Refused(_) | Heard::Silence(_))) => heard.clone(),
            (Some(url), _) => {
                let relay = url.replica;
                let events = self.engine.events();
                let acknowledged = async {
                    match relay {
                        Some(relay) => self.context.acknowledged_by(relay).await,
                        None => self.context.acknowledged().await,
                    }
                };
                self.until(events, acknowledged).await?
            }
        };
        self.engine.close().await?;
        Ok(delivered)
    }

    /// Waits for something from the relay, but no longer than makes sense.
    async fn until(
        &self,
        mut events: Receiver<EngineEvent>,
        done: impl Future<Output = Result<(), EngineError>>,
    ) -> Result<Heard, CliError> {
        let spinner = self.progress.spinner("waiting for the relay");
        let deadline = Instant::now() + self.place.limit();
        let heard = tokio::select! {
            biased;
            done = done => done.map(|()| Heard::Everything)?,
            why = refusal(&mut events, self.context.id()) => why,
            () = async { timeout_at(deadline, std::future::pending::<()>()).await.unwrap_or_default() } => self.silence(),
        };
        spinner.finish_and_clear();
        Ok(heard)
    }

    /// Why nothing came.
    fn silence(&self) -> Heard {
        let url = self.relay.as_ref().map(ToString::to_string).unwrap_or_default();
        let state = self.engine.connection(&url).map(|connection| connection.state());
        Heard::Silence(match state {
            Some(ConnectionState::BackingOff { error, .. } | ConnectionState::Refused { error, .. }) => {
                error.to_string()
            }
            _ => format!("it did not answer within {} s", self.place.wait),
        })
    }
}

/// Comes back when the relay will not have this device, or somebody else answers in its place.
async fn refusal(events: &mut Receiver<EngineEvent>, group: ContextId) -> Heard {
    loop {
        match events.recv().await {
            Ok(EngineEvent::ContextRefused { context, why, .. }) if context == group => return Heard::Refused(why),
            Ok(EngineEvent::Connection(event)) => {
                if let ConnectionState::Refused { error, .. } = event.state {
                    return Heard::Silence(error.to_string());
                }
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return Heard::Silence("the engine was closed".into()),
        }
    }
}
