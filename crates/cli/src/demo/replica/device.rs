//! The device: enrolled as a user would enrol it, or in a group, then an engine with its documents.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use partita::{
    ConnectionState, Context, DocumentError, Engine, EngineEvent, FileKeystore, SystemRandom,
    automerge::Automerge,
    core::DocumentId,
    group::{Group, Invitation, MemberId, Membership, Policy, Role, Terms},
    single_owner::{Certificate, Mnemonic, Request, SingleOwner},
    yrs::Yrs,
};
use tokio::sync::{broadcast::error::RecvError, watch};

use super::{Said, paper::Paper, steady, typing};
use crate::{
    demo::wire::{Answer, Ask, Crdt, Event, Line, Seat, Status},
    error::CliError,
};

/// One replica: what its process holds.
pub(crate) struct Device {
    store: PathBuf,
    said: Said,
    opened: Mutex<Option<Opened>>,
    papers: Mutex<BTreeMap<String, Paper>>,
    /// Counts the requests to rest: what began before one ends with it.
    rests: watch::Sender<u64>,
}

#[derive(Clone)]
struct Opened {
    engine: Engine,
    context: Context,
}

impl Device {
    pub(crate) fn new(store: PathBuf, said: Said) -> Self {
        Self { store, said, opened: Mutex::default(), papers: Mutex::default(), rests: watch::Sender::new(0) }
    }

    pub(crate) async fn obey(&self, id: u64, ask: Ask) -> Result<Answer, CliError> {
        Ok(match ask {
            Ask::Found => {
                let (_, words) = SingleOwner::create(&self.new_keystore()?, &mut SystemRandom)?;
                Answer::Text(words.phrase().to_string())
            }
            Ask::Request => Answer::Text(SingleOwner::request(&self.new_keystore()?, &mut SystemRandom)?.to_string()),
            Ask::Certify { words, request } => {
                let words = Mnemonic::parse(&words).map_err(bad)?;
                let request: Request = request.parse().map_err(bad)?;
                Answer::Text(SingleOwner::certify(&words, &request).to_string())
            }
            Ask::Accept { certificate } => {
                let certificate: Certificate = certificate.parse().map_err(bad)?;
                SingleOwner::accept(&self.keystore()?, &certificate)?;
                Answer::Done
            }
            Ask::FoundGroup { name } => {
                let keystore = Arc::new(self.new_keystore()?);
                let group = Group::create(keystore, &mut SystemRandom, &name, Policy::default())?;
                Answer::Text(group.context().to_string())
            }
            Ask::Join { invitation } => {
                let invitation: Invitation = invitation.parse()?;
                Group::join(Arc::new(self.new_keystore()?), &mut SystemRandom, &invitation)?;
                Answer::Done
            }
            Ask::Invite { role } => {
                let terms = Terms::new(role.parse::<Role>().map_err(bad)?);
                let engine = self.opened()?.engine;
                let invitation =
                    engine.with_strategy::<Group, _>(move |group, turn| group.invite(turn, terms)).await??;
                Answer::Text(invitation.text().to_string())
            }
            Ask::Remove { member } => {
                let member: MemberId = member.parse().map_err(bad)?;
                let engine = self.opened()?.engine;
                engine.with_strategy::<Group, _>(move |group, turn| group.remove(turn, member)).await??;
                Answer::Done
            }
            Ask::Members => Answer::Members(self.members().await?),
            Ask::Open { connect } => Answer::Text(self.open(connect).await?),
            Ask::Create { crdt, parts } => Answer::Text(self.create(crdt, parts).await?),
            Ask::Get { crdt, document } => Answer::Text(self.get(crdt, &document).await?),
            Ask::Type { document, words, pause_us } => {
                let pause = Duration::from_micros(pause_us);
                typing::type_words(&self.paper(&document)?, &words, pause, &self.said, id).await?;
                Answer::Done
            }
            Ask::Edit { document, part, pause_us } => {
                let pause = Duration::from_micros(pause_us);
                Answer::Count(steady::edit(&self.paper(&document)?, part, pause, self.rests.subscribe()).await?)
            }
            Ask::Pour { document, key, bytes, times, pause_us } => {
                let (pause, paper) = (Duration::from_micros(pause_us), self.paper(&document)?);
                Answer::Count(steady::pour(&paper, &key, bytes, times, pause, self.rests.subscribe()).await?)
            }
            Ask::Rest => {
                self.rests.send_modify(|count| *count += 1);
                Answer::Done
            }
            Ask::Tick { document, value } => {
                let at = typing::now();
                self.paper(&document)?.tick(value)?;
                Answer::At(at)
            }
            Ask::Read { document } => Answer::Parts(self.paper(&document)?.parts()?),
            Ask::Look { crdt, document } => self.look(crdt, &document).await?,
            Ask::Digests => Answer::Digests(self.digests()?),
            Ask::Status => Answer::Status(self.status().await?),
            Ask::NetworkIsBack => {
                self.opened()?.engine.network_is_back();
                Answer::Done
            }
            Ask::Acknowledged => {
                self.opened()?.context.acknowledged().await?;
                Answer::Done
            }
            Ask::Close => Answer::Done, // the caller closes, and ends
        })
    }

    pub(crate) async fn close(&self) -> Result<(), CliError> {
        lock(&self.papers).clear();
        let opened = lock(&self.opened).take();
        match opened {
            Some(opened) => Ok(opened.engine.close().await?),
            None => Ok(()),
        }
    }

    fn keystore_path(&self) -> PathBuf {
        self.store.with_added_extension("key")
    }

    fn new_keystore(&self) -> Result<FileKeystore, CliError> {
        Ok(FileKeystore::create(self.keystore_path())?)
    }

    fn keystore(&self) -> Result<FileKeystore, CliError> {
        Ok(FileKeystore::open(self.keystore_path())?)
    }

    async fn open(&self, connect: Option<String>) -> Result<String, CliError> {
        let keystore = Arc::new(self.keystore()?);
        let builder = Engine::builder(&self.store);
        let (context, mut builder) = match Group::all(&*keystore)?.first() {
            Some(group) => (*group, builder.strategy(Group::open(keystore, group)?)),
            None => {
                let owner = SingleOwner::open(&*keystore)?;
                (owner.context(), builder.strategy(owner))
            }
        };
        if let Some(url) = connect {
            builder = builder.connect(url);
        }
        let engine = builder.open().await?;
        tokio::spawn(report(engine.events(), self.said.clone()));
        let context = engine.context(context).await?;
        let replica = engine.replica().to_string();
        *lock(&self.opened) = Some(Opened { engine, context });
        Ok(replica)
    }

    async fn create(&self, crdt: Crdt, parts: usize) -> Result<String, CliError> {
        let context = self.opened()?.context;
        let paper = match crdt {
            Crdt::Automerge => Paper::Automerge(context.create::<Automerge>().await?),
            Crdt::Yrs => Paper::Yrs(context.create::<Yrs>().await?),
        };
        paper.rule(parts)?.durable().await?;
        self.keep(paper)
    }

    /// Waits for the document, not for a time: whenever anything happened, it may have come.
    async fn get(&self, crdt: Crdt, document: &str) -> Result<String, CliError> {
        let id = document.parse().map_err(bad)?;
        let Opened { engine, context } = self.opened()?;
        let mut events = engine.events();
        loop {
            match find(&context, crdt, id).await {
                Ok(paper) => {
                    // The text's frame is in an entry of its own, after the one that creates the document. Engine
                    // events come before a change is visible; the document's own changes come after.
                    let mut changes = paper.changes()?;
                    while !paper.is_ruled()? {
                        changes.next().await.ok_or(partita::EngineError::Closed)?;
                    }
                    return self.keep(paper);
                }
                Err(DocumentError::NotFound(_) | DocumentError::NoKey(_)) => {}
                Err(error) => return Err(error.into()),
            }
            if matches!(events.recv().await, Err(RecvError::Closed)) {
                return Err(partita::EngineError::Closed.into());
            }
        }
    }

    /// What there is to read now: not here, or no key for it, is an answer too.
    async fn look(&self, crdt: Crdt, document: &str) -> Result<Answer, CliError> {
        match find(&self.opened()?.context, crdt, document.parse().map_err(bad)?).await {
            Ok(paper) => Ok(Answer::Parts(paper.parts()?)),
            Err(DocumentError::NotFound(_) | DocumentError::NoKey(_)) => Ok(Answer::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    async fn members(&self) -> Result<Vec<Seat>, CliError> {
        let engine = self.opened()?.engine;
        let members = engine.with_strategy::<Group, _>(|group, _| group.members()).await?;
        let seat = |member: partita::group::MemberInfo| Seat {
            member: member.id.to_string(),
            role: crate::group::role(member.role),
            active: member.membership == Membership::Active,
        };
        Ok(members.into_iter().map(seat).collect())
    }

    fn keep(&self, paper: Paper) -> Result<String, CliError> {
        let id = paper.id();
        tokio::spawn(typing::watch(paper.clone(), paper.changes()?, self.said.clone()));
        lock(&self.papers).insert(id.clone(), paper);
        Ok(id)
    }

    fn digests(&self) -> Result<Vec<(String, String)>, CliError> {
        lock(&self.papers).iter().map(|(id, paper)| Ok((id.clone(), paper.digest()?))).collect()
    }

    async fn status(&self) -> Result<Status, CliError> {
        let Opened { engine, context } = self.opened()?;
        let status = engine.status().await?;
        let contexts = || status.contexts.iter().filter(|found| found.info.id == context.id());
        let sessions = || status.sessions.iter().filter(|found| found.context == context.id());
        let connection = status.connections.first().map(|(_, state)| format!("{state:?}"));
        let file = std::fs::metadata(&self.store).map_err(CliError::io(self.store.display().to_string()))?;
        Ok(Status {
            replica: engine.replica().to_string(),
            documents: context.documents().await?.len(),
            entries: contexts().map(|context| context.entries).sum(),
            entry_bytes: contexts().map(|context| context.bytes).sum(),
            file_bytes: file.len(),
            set_aside: context.set_aside().await?.len(),
            connection: connection.unwrap_or_default(),
            pending: sessions().map(|session| session.pending).sum(),
            sent: sessions().map(|session| session.sent).sum(),
            acknowledged: sessions().map(|session| session.acknowledged).sum(),
        })
    }

    fn opened(&self) -> Result<Opened, CliError> {
        lock(&self.opened).clone().ok_or_else(|| partita::EngineError::Closed.into())
    }

    fn paper(&self, document: &str) -> Result<Paper, CliError> {
        let unknown = || CliError::Change(format!("{document} is not open: get it first"));
        lock(&self.papers).get(document).cloned().ok_or_else(unknown)
    }
}

/// Tells of the connection and of a store that fails.
async fn report(mut events: tokio::sync::broadcast::Receiver<EngineEvent>, said: Said) {
    loop {
        let event = match events.recv().await {
            Ok(EngineEvent::Connection(event)) => match event.state {
                ConnectionState::Connected(_) => Event::Connected(true),
                ConnectionState::BackingOff { .. } | ConnectionState::Refused { .. } => Event::Connected(false),
                _ => continue,
            },
            Ok(EngineEvent::ControlChanged { .. } | EngineEvent::KeysArrived { .. }) => Event::Control,
            Ok(EngineEvent::ContextRefused { why, .. }) => Event::Refused(why.to_string()),
            Ok(EngineEvent::StoreFailed(error)) => Event::StoreFailed(error.to_string()),
            Ok(_) | Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        said.say(Line::Event(event));
    }
}

async fn find(context: &Context, crdt: Crdt, id: DocumentId) -> Result<Paper, DocumentError> {
    match crdt {
        Crdt::Automerge => context.get::<Automerge>(id).await.map(Paper::Automerge),
        Crdt::Yrs => context.get::<Yrs>(id).await.map(Paper::Yrs),
    }
}

fn bad(error: impl std::fmt::Display) -> CliError {
    CliError::Change(error.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
