//! A security context, as applications use it.

use std::{
    marker::PhantomData,
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use partita_core::{
    ActorSeed, ContextId, CopyError, CrdtError, DocumentId, DocumentType, Key, Limits, LogId, ReplicaId, Store,
    StoreError,
};

use crate::{
    cell::Cell,
    document::Document,
    engine::Engine,
    error::{CheckpointError, DocumentError, EngineError},
    host::{CheckpointOutcome, Command, Reply, SetAside},
    worker::guarded,
};

/// One security context of an engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    pub(crate) engine: Engine,
    pub(crate) id: ContextId,
}

impl Context {
    /// The context's id.
    pub fn id(&self) -> ContextId {
        self.id
    }

    /// Creates an empty document. Once it was asked for it is created: whoever stops waiting, as with a timeout, only does not
    /// hear its id, and finds it among the [`documents`](Self::documents).
    ///
    /// # Errors
    /// [`DocumentError::Append`] when this replica may not write here, or the store has failed; [`DocumentError::Engine`].
    pub async fn create<T: DocumentType>(&self) -> Result<Document<T>, DocumentError> {
        self.import(Vec::new()).await
    }

    /// Creates a document from a history: what the type's own library saved. For automerge that is what `save` gives, for yrs
    /// an update in encoding v1 that has everything (`encode_state_as_update_v1` against an empty state vector). It is another
    /// document than the one that the history came from, with an id of its own, and may hold changes of many actors.
    ///
    /// The history is tried first, on the thread that asks: a document is made of it, which takes as long as loading it does.
    /// After that it is as with [`create`](Self::create): whoever stops waiting takes nothing back.
    ///
    /// # Errors
    /// [`DocumentError::History`] when it is none of this type, or lacks changes that others in it build on: nothing is created
    /// then. [`DocumentError::Append`] when this replica may not write here, the history is larger than
    /// [`NodeConfig::max_payload`](crate::NodeConfig::max_payload), or the store has failed; [`DocumentError::Engine`].
    pub async fn import<T: DocumentType>(&self, history: Vec<u8>) -> Result<Document<T>, DocumentError> {
        if !history.is_empty() {
            try_history::<T>(&history, &self.engine.shared.limits).map_err(DocumentError::History)?;
        }
        let nonce = self.engine.shared.random_bytes();
        let create = |reply| Command::Create {
            context: self.id,
            crdt: Arc::new(T::default()),
            nonce,
            import: history,
            reply: Reply(reply),
        };
        let cell = self.engine.ask(create).await??;
        Ok(Document { cell, kind: PhantomData })
    }

    /// Shares what a document of this context shows as a new document: for whoever may not read the old one, such as a
    /// member of a group who was added with `History::FromNow`. The copy is sealed like any document that is created now,
    /// and its history is one change: nothing of the old one's history, authors or deleted content is in it, but all that
    /// shows. Changes that wait for others ([`Document::pending`]) do not show.
    ///
    /// From then on they are two documents: what is changed in one does not show in the other. The old one is locked
    /// while it is read, as in [`Document::read`].
    ///
    /// # Errors
    /// [`DocumentError::Copy`] when the type cannot copy, or the document holds what cannot be copied;
    /// [`DocumentError::OtherContext`], [`DocumentError::Unreadable`]; and when this replica may not write here. Nothing is
    /// created then.
    pub async fn share_copy<T: DocumentType>(&self, document: &Document<T>) -> Result<Document<T>, DocumentError> {
        let id = document.id();
        if document.context() != self.id {
            return Err(DocumentError::OtherContext(id, document.context()));
        }
        // The copy's one author is a name that nobody has: that of its writer here comes from the id of the new document,
        // and that from the copy.
        let (log, name) = (self.engine.shared.random_bytes(), self.engine.shared.random_bytes());
        let actor = ActorSeed::derive(&LogId::from_bytes(log), &DocumentId::from_bytes(name));
        let limits = self.engine.shared.limits;
        let flatten = |view: &T::View<'_>| partita_core::flatten::<T>(view, actor, &limits);
        let copied = catch_unwind(AssertUnwindSafe(|| document.try_read(flatten)));
        let copied = copied.map_err(|_| CopyError::Failed("it panicked".into()))?;
        self.import(copied.map_err(|error| DocumentError::Unreadable(id, error.to_string()))??).await
    }

    /// Loads a document, or finds it loaded. Whoever wants many asks for all of them at once: they are read while others are
    /// being made.
    ///
    /// # Errors
    /// - [`DocumentError::NotFound`] while it has not been synced, or when what creates it counts no more.
    /// - [`DocumentError::NoKey`] while the key that opens it is not here: ask again when
    ///   [`EngineEvent::KeysArrived`](crate::EngineEvent::KeysArrived) comes for this context.
    /// - [`DocumentError::Withheld`] when this replica may not read it: asking again helps only once it was
    ///   given the right.
    /// - [`DocumentError::UnknownType`] when this engine has no such CRDT type: register it with
    ///   [`Builder::crdt`](crate::Builder::crdt).
    /// - [`DocumentError::WrongType`] when it is of another type than `T`.
    /// - [`DocumentError::Bad`] when what creates it cannot be read: its author runs broken or hostile software.
    /// - [`DocumentError::Engine`] when the engine was closed, or its store failed.
    pub async fn get<T: DocumentType>(&self, id: DocumentId) -> Result<Document<T>, DocumentError> {
        let cell: Arc<Cell> = self
            .engine
            .ask_here(|reply| Command::Get { context: self.id, document: id, reply: Reply(reply) })
            .await??;
        let (asked, found) = (T::default().id(), cell.crdt.id());
        if asked != found {
            return Err(DocumentError::WrongType { asked, found });
        }
        Ok(Document { cell, kind: PhantomData })
    }

    /// The documents that are here, without loading them.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn documents(&self) -> Result<Vec<DocumentId>, EngineError> {
        let id = self.id;
        let scan = move |store: &dyn Store| {
            let mut found = Vec::new();
            store.read()?.scan(&Key::documents(&id), &mut |key, _| {
                let document = key.last_chunk::<32>().map(|bytes| DocumentId::from_bytes(*bytes));
                found.extend(document);
                ControlFlow::Continue(())
            })?;
            Ok(found)
        };
        self.ask_store(scan).await
    }

    /// The entries that cannot be applied, and why.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn set_aside(&self) -> Result<Vec<SetAside>, EngineError> {
        let id = self.id;
        let scan = move |store: &dyn Store| {
            let mut found = Vec::new();
            SetAside::each(&*store.read()?, &id, None, |_, set_aside| found.push(set_aside))?;
            Ok(found)
        };
        self.ask_store(scan).await
    }

    /// Makes a checkpoint of everything that is here: snapshots of the documents, which stand for the entries that they were
    /// made from once every other writer has compared and attested them. Those are pruned then, here and elsewhere.
    ///
    /// # Errors
    /// [`CheckpointError`]: what waits for a key, or cannot be applied for another reason that may go, is not pruned.
    pub async fn checkpoint(&self) -> Result<CheckpointOutcome, CheckpointError> {
        self.engine.ask(|reply| Command::Checkpoint(self.id, reply)).await?
    }

    /// Waits until some remote holds everything durably that this replica ever wrote here, before this open of the engine
    /// too. What is written while this waits is not waited for.
    ///
    /// It waits without end while nobody who takes the entries is connected: wrap it in a timeout.
    ///
    /// # Errors
    /// [`EngineError::NoContext`]; [`EngineError::Store`] when the store fails before; [`EngineError::Closed`] when the engine,
    /// or this context while this waits, is closed.
    pub async fn acknowledged(&self) -> Result<(), EngineError> {
        self.engine.ask(|reply| Command::Acknowledged(self.id, None, reply)).await?
    }

    /// The same of a certain remote: the relay, by its id.
    ///
    /// # Errors
    /// As [`acknowledged`](Self::acknowledged).
    pub async fn acknowledged_by(&self, remote: ReplicaId) -> Result<(), EngineError> {
        self.engine.ask(|reply| Command::Acknowledged(self.id, Some(remote), reply)).await?
    }

    /// Waits until everything that some connected remote held when it was met is durable here. While nobody is connected it
    /// waits without end: wrap it in a timeout.
    ///
    /// # Errors
    /// As [`acknowledged`](Self::acknowledged).
    pub async fn caught_up(&self) -> Result<(), EngineError> {
        self.engine.ask(|reply| Command::CaughtUp(self.id, reply)).await?
    }

    /// Asks the store, after everything that was appended before is in it.
    async fn ask_store<R: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Store) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, EngineError> {
        let asked = self.engine.ask(|reply| {
            Command::Store(Box::new(move |store| {
                let answer = question(store);
                Command::Node(Box::new(move |_, _| {
                    let _ = reply.send(answer);
                }))
            }))
        });
        Ok(asked.await??)
    }
}

/// What becomes of a history in a document that nobody sees.
fn try_history<T: DocumentType>(history: &[u8], limits: &Limits) -> Result<(), CrdtError> {
    guarded(|| {
        let crdt = T::default();
        crdt.validate(history, None, limits)?;
        let mut document = crdt.create(ActorSeed::derive(&LogId::default(), &DocumentId::default()));
        document.apply(&[history]).into_iter().collect::<Result<Vec<_>, _>>()?;
        match document.pending() {
            0 => Ok(()),
            _ => Err(CrdtError::Malformed("a history that lacks what it builds on")),
        }
    })
}
