//! Documents that work offline, never lose a change, and sync with exactly the replicas that may have them.
//!
//! # A device and its owner
//!
//! An [`Engine`] is a store, the partition strategies that decide who gets what, connections, and documents. With the strategy
//! [`single_owner`] everything belongs to one person with many devices. The person is 24 words on paper; a device has
//! keys of its own, in a [`FileKeystore`] beside the store, and a certificate. The engine looks for the keys at the store's path
//! and `.key` (`path.with_added_extension("key")`), unless [`Builder::keystore`] gives it others.
//!
//! ```
//! # use partita::{Engine, FileKeystore, SystemRandom, single_owner::SingleOwner};
//! # async fn run() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! # let folder = tempfile::tempdir()?;
//! # let (store, keys) = (folder.path().join("notes.partita"), folder.path().join("notes.partita.key"));
//! let keystore = FileKeystore::create(&keys)?; // where the engine looks by default: the store's path and `.key`
//! let (owner, words) = SingleOwner::create(&keystore, &mut SystemRandom)?;
//! println!("write this down: {}", *words.phrase());
//!
//! let id = owner.context();
//! let engine = Engine::builder(&store).strategy(owner).open().await?;
//! let notes = engine.context(id).await?;
//! # engine.close().await?;
//!
//! // At every later start:
//! let owner = SingleOwner::open(&FileKeystore::open(&keys)?)?;
//! let engine = Engine::builder(&store).strategy(owner).open().await?;
//! # engine.close().await?;
//! # Ok(()) }
//! # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
//! ```
//!
//! # Documents
//!
//! A [`Document`] belongs to a CRDT library: [`automerge`], [`yrs`], or a type of your own. A change is a closure over the
//! library's own transaction. It is visible when [`Document::change`] returns, on its way to others at once, and safe
//! from a power cut when [`Commit::durable`] resolves. A closure that returns an error or panics leaves nothing behind.
//!
//! ```
//! use automerge::{ROOT, ReadDoc as _, transaction::Transactable as _};
//! use partita::{Context, automerge::Automerge};
//!
//! async fn plan(notes: &Context) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//!     let plan = notes.create::<Automerge>().await?;
//!     let (title, mut changes) = plan.subscribe(|doc| doc.get(ROOT, "title").map(|title| title.is_some()))?;
//!     assert!(!title?);
//!
//!     let commit = plan.change(|tx| tx.put(ROOT, "title", "Plan"))?; // visible, and leaving
//!     changes.next().await; // own changes and those of other devices come the same way
//!     commit.durable().await?; // safe
//!
//!     let again = notes.get::<Automerge>(plan.id()).await?; // by its id, on any device
//!     assert_eq!(again.digest()?, plan.digest()?);
//!     Ok(())
//! }
//! # use partita::{Engine, FileKeystore, SystemRandom, single_owner::SingleOwner};
//! # async fn run() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! #     let folder = tempfile::tempdir()?;
//! #     let keystore = FileKeystore::create(folder.path().join("notes.key"))?;
//! #     let (owner, _) = SingleOwner::create(&keystore, &mut SystemRandom)?;
//! #     let id = owner.context();
//! #     let engine = Engine::builder(folder.path().join("notes")).strategy(owner).open().await?;
//! #     plan(&engine.context(id).await?).await?;
//! #     Ok(engine.close().await?)
//! # }
//! # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
//! ```
//!
//! Handles are cheap to clone and can be used from any thread. Inside a closure use what it was given: the same document
//! again is [`ChangeError::Reentrant`], not a deadlock.
//!
//! # More devices
//!
//! A new device makes a request, whoever has the words answers it with a certificate; both are short texts. Neither step needs a
//! network. Devices meet through a relay, whose URL ends with its id, or directly: any engine can
//! [`listen`](Builder::listen).
//!
//! ```
//! # use partita::{Engine, FileKeystore, SystemRandom, automerge::Automerge, single_owner::{Certificate, Request, SingleOwner}};
//! # async fn run() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! # let folder = tempfile::tempdir()?;
//! # let (laptop, phone) = (folder.path().join("laptop"), folder.path().join("phone"));
//! # let (owner, words) = SingleOwner::create(&FileKeystore::create(laptop.with_added_extension("key"))?, &mut SystemRandom)?;
//! # let id = owner.context();
//! let laptop = Engine::builder(laptop).strategy(owner).listen("ws://127.0.0.1:0").open().await?;
//! let url = format!("{}#{}", laptop.addresses()[0], laptop.replica());
//! # let note = laptop.context(id).await?.create::<Automerge>().await?;
//!
//! // On the phone:
//! let keystore = FileKeystore::create(phone.with_added_extension("key"))?;
//! let request = SingleOwner::request(&keystore, &mut SystemRandom)?.to_string();
//! // Wherever the words are typed:
//! let certificate = SingleOwner::certify(&words, &request.parse::<Request>()?).to_string();
//! // On the phone again:
//! SingleOwner::accept(&keystore, &certificate.parse::<Certificate>()?)?;
//! let owner = SingleOwner::open(&keystore)?;
//! let phone = Engine::builder(phone).strategy(owner).connect(url).open().await?;
//!
//! laptop.context(id).await?.acknowledged().await?; // some other replica holds everything durably
//! # phone.context(id).await?.get::<Automerge>(note.id()).await?;
//! # laptop.close().await?;
//! # phone.close().await?;
//! # Ok(()) }
//! # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
//! ```
//!
//! [`Engine::with_strategy`] reaches your own plugin, also inside one that holds others: to revoke a device that was stolen, or to list them.
//!
//! # What is going on
//!
//! [`Engine::status`] has the state of every connection and context, [`Engine::events`] says what happens. A reader of events
//! that is slow misses some and is told so, which is no failure. What cannot be applied is set aside by itself and listed with
//! its reason ([`Context::set_aside`]); it never holds up the rest. When the store fails, nothing more is written,
//! [`EngineEvent::StoreFailed`] says why, and what was durable is safe: open the engine again. The repository's
//! `docs/guides/keep-it-safe.md` says what to do about each error, how to save a store with its keys, and what to do when a
//! device is lost.
//!
//! # Plugins and features
//!
//! | feature, all on by default | brings |
//! | --- | --- |
//! | `automerge`, `yrs` | the two CRDT libraries |
//! | `group` | people who share a context: [`group`] |
//! | `multi-context` | many strategies in one engine: [`multi_context`] |
//! | `redb` | the store in one file |
//! | `single-owner` | the partition strategy above |
//! | `websocket` | the transport for `ws` and `wss` |
//!
//! The traits for one's own are in [`core`]; the repository's `examples/` has a strategy, a transport and a CRDT type.

mod builder;
mod cell;
mod commit;
mod connections;
mod context;
mod document;
mod engine;
mod error;
mod events;
mod handover;
mod host;
mod jobs;
mod rebuild;
#[cfg(feature = "simulation")]
pub mod simulation;
mod sync;
mod sync_types;
#[cfg(test)]
mod touchy;
mod uncreated;
mod worker;

pub use builder::Builder;
pub use commit::Commit;
pub use context::Context;
pub use document::{Change, Changes, Document};
pub use engine::Engine;
pub use error::{ChangeError, CheckpointError, CommitError, ConnectError, DocumentError, EngineError, OpenError};
pub use events::{EngineEvent, Status};
pub use host::{CheckpointOutcome, Reason, SetAside, SetAsideStatus};
pub use sync::SyncManager;

pub use partita_core as core;
pub use partita_crypto as crypto;
pub use partita_protocol::{
    AppendError, ClaimStatus, ContextStatus, NodeConfig, PeerStatus, Progress, SendError, SessionStatus,
};
pub use partita_sync::{
    ConnectionError, ConnectionEvent, ConnectionHandle, ConnectionState, FileKeystore, RelayUrl, Retry, SystemRandom,
};

#[cfg(feature = "automerge")]
pub use partita_automerge as automerge;
#[cfg(feature = "group")]
pub use partita_group as group;
#[cfg(feature = "multi-context")]
pub use partita_multi_context as multi_context;
#[cfg(feature = "redb")]
pub use partita_redb as redb;
#[cfg(feature = "single-owner")]
pub use partita_single_owner as single_owner;
#[cfg(feature = "websocket")]
pub use partita_websocket as websocket;
#[cfg(feature = "yrs")]
pub use partita_yrs as yrs;

/// The programs of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
