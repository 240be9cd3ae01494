//! People who share a group: founded, joined by an invitation while the one who invited is away, and left by force.

use std::{path::Path, sync::Arc};

use automerge::{AutomergeError, ROOT, ReadDoc as _, transaction::Transactable as _};
use partita::{
    Document, DocumentError, Engine, EngineEvent, FileKeystore, SystemRandom,
    automerge::Automerge,
    core::{ContextId, DocumentId},
    group::{Group, GroupEvent, Invitation, MemberId, MemberInfo, Policy, Role, Terms},
    multi_context::MultiContext,
};
use partita_relay::Relay;

type Error = Box<dyn std::error::Error + Send + Sync>;

async fn found(file: &Path, relay: &str) -> Result<(Engine, ContextId), Error> {
    let keystore = Arc::new(FileKeystore::create(file.with_added_extension("key"))?);
    let group = Group::create(keystore, &mut SystemRandom, "Garden", Policy::default())?;
    let id = group.context(); // keep it: it is what the group is known by
    let engine = Engine::builder(file).strategy(group).connect(relay).open().await?;
    engine.context(id).await?; // it is loaded: only now does the strategy know what is in the store
    Ok((engine, id))
}

async fn invite(engine: &Engine, relay: &str) -> Result<String, Error> {
    let terms = Terms::new(Role::Write);
    let invitation = engine.with_strategy::<Group, _>(move |group, turn| group.invite(turn, terms)).await??;
    engine.acknowledged(None).await?; // the relay can let somebody in from now on, without this device
    Ok(invitation.at(relay).text().to_string())
}

async fn join(file: &Path, text: &str) -> Result<(Engine, ContextId), Error> {
    let invitation: Invitation = text.parse()?;
    let keystore = Arc::new(FileKeystore::create(file.with_added_extension("key"))?);
    let group = Group::join(keystore, &mut SystemRandom, &invitation)?;
    let relay = invitation.relay().ok_or("the invitation names no relay")?;
    let engine = Engine::builder(file).strategy(group).connect(relay).open().await?;
    engine.context(invitation.context()).await?;
    Ok((engine, invitation.context()))
}

/// At every later start.
async fn open(file: &Path, relay: &str, id: ContextId) -> Result<Engine, Error> {
    let keystore = Arc::new(FileKeystore::open(file.with_added_extension("key"))?);
    let group = Group::open(keystore, &id)?;
    let engine = Engine::builder(file).strategy(group).connect(relay).open().await?;
    engine.context(id).await?;
    Ok(engine)
}

/// All groups of a device in one engine.
async fn open_all(file: &Path, relay: &str) -> Result<Engine, Error> {
    let keystore = Arc::new(FileKeystore::open(file.with_added_extension("key"))?);
    let (ids, mut groups) = (Group::all(&*keystore)?, MultiContext::new());
    for id in &ids {
        groups = groups.with(Group::open(keystore.clone(), id)?);
    }
    let engine = Engine::builder(file).strategy(groups).connect(relay).open().await?;
    for id in ids {
        engine.context(id).await?;
    }
    Ok(engine)
}

async fn members(engine: &Engine, id: ContextId) -> Result<Vec<MemberInfo>, Error> {
    let members = engine.with_strategy::<MultiContext, _>(move |groups, turn| {
        groups.with_strategy_of::<Group, _>(&id, turn, |group, _| group.members())
    });
    Ok(members.await??)
}

/// Waits until this device has a role: a newcomer reads at once, and has its whole role when an admin's device confirmed it.
async fn until_role(engine: &Engine, role: Role) -> Result<(), Error> {
    let mut events = engine.events();
    while engine.with_strategy::<Group, _>(|group, _| group.role()).await? < Some(role) {
        events.recv().await?; // EngineEvent::ControlChanged, sooner or later
    }
    Ok(())
}

/// Tells what changes in the group, until somebody is gone.
async fn watch(engine: &Engine) -> Result<MemberId, Error> {
    let mut events = engine.events();
    loop {
        for event in engine.with_strategy::<Group, _>(|group, _| group.take_events()).await? {
            println!("{event:?}");
            if let GroupEvent::Gone { member } = event {
                return Ok(member);
            }
        }
        while !matches!(events.recv().await?, EngineEvent::ControlChanged { .. }) {}
    }
}

async fn remove(engine: &Engine, member: MemberId) -> Result<(), Error> {
    engine.with_strategy::<Group, _>(move |group, turn| group.remove(turn, member)).await??;
    Ok(())
}

/// A document, as soon as it has come.
async fn get(engine: &Engine, group: ContextId, id: DocumentId) -> Result<Document<Automerge>, Error> {
    let (group, mut events) = (engine.context(group).await?, engine.events());
    loop {
        match group.get::<Automerge>(id).await {
            Ok(document) => return Ok(document),
            Err(DocumentError::NotFound(_) | DocumentError::NoKey(_)) => drop(events.recv().await?),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits until a document has this key.
async fn until_there(document: &Document<Automerge>, key: &'static str) -> Result<(), Error> {
    let is_there = move |doc: &automerge::Automerge| doc.get(ROOT, key).map(|found| found.is_some());
    let (there, mut changes) = document.subscribe(is_there)?;
    if !there? {
        while !document.read(is_there)? {
            changes.next().await.ok_or("the engine is open")?;
        }
    }
    Ok(())
}

async fn put(document: &Document<Automerge>, key: &str, value: &str) -> Result<(), Error> {
    document.change(|tx| -> Result<(), AutomergeError> { tx.put(ROOT, key, value) })?.durable().await?;
    Ok(())
}

pub(crate) async fn run() -> Result<(), Error> {
    let folder = tempfile::tempdir()?;
    let (adas, bens) = (folder.path().join("ada.partita"), folder.path().join("ben.partita"));
    let relay = Relay::builder(folder.path().join("relay")).listen("ws://127.0.0.1:0").open().await?;
    let url = relay.url().to_string();

    let (ada, id) = found(&adas, &url).await?;
    let beds = ada.context(id).await?.create::<Automerge>().await?;
    put(&beds, "north", "beans").await?;
    let invitation = invite(&ada, &url).await?;
    ada.close().await?;

    // Nobody but the relay is there: Ben reads, and cannot write yet.
    let (ben, _) = join(&bens, &invitation).await?;
    let beds_of_ben = get(&ben, id, beds.id()).await?;
    until_there(&beds_of_ben, "north").await?;

    // Ada's device is back and confirms him by itself.
    let ada = open(&adas, &url, id).await?;
    until_role(&ben, Role::Write).await?;
    put(&beds_of_ben, "south", "garlic").await?;
    let beds = get(&ada, id, beds.id()).await?;
    until_there(&beds, "south").await?;

    // What is written from here on is closed to Ben.
    let who = MemberId(ben.replica()); // a member is named after its first device
    let (gone, removed) = tokio::join!(watch(&ada), remove(&ada, who));
    removed?;
    assert_eq!(gone?, who);
    put(&beds, "west", "roses").await?;
    ada.acknowledged(None).await?;
    assert!(!beds_of_ben.read(|doc| doc.get(ROOT, "west").map(|found| found.is_some()))?);

    ada.close().await?;
    ben.close().await?;
    let ada = open_all(&adas, &url).await?;
    assert_eq!(members(&ada, id).await?.len(), 1);
    ada.close().await?;
    relay.close().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    run().await
}
