//! Documents, as applications use them.

use std::{
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
};

use partita_core::{Bytes, ContextId, CrdtDocument, Digest, DocumentId, DocumentType, ReplicaId, Transact};
use tokio::sync::watch;

use crate::{
    cell::{Cell, Mark, NotHeld},
    commit::Commit,
    error::{ChangeError, DocumentError, EngineError},
};

/// A loaded document of the CRDT type `T`. Cheap to clone; every handle is the same document.
///
/// Methods are synchronous and immediate. They lock the document for as long as the closure runs. A closure may use another
/// document, and then waits for five seconds at most for it: two threads that lock two documents one inside the other, each
/// in its own order, wait for each other. All of them in the same order, or one after the other, never do.
pub struct Document<T> {
    pub(crate) cell: Arc<Cell>,
    pub(crate) kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Document<T> {
    fn clone(&self) -> Self {
        Self { cell: self.cell.clone(), kind: PhantomData }
    }
}

impl<T> std::fmt::Debug for Document<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Document").field("id", &self.cell.id).finish_non_exhaustive()
    }
}

impl<T: DocumentType> Document<T> {
    /// The document's id: the same on every replica.
    pub fn id(&self) -> DocumentId {
        self.cell.id
    }

    /// The context that it belongs to.
    pub fn context(&self) -> ContextId {
        self.cell.context
    }

    /// Changes the document in one transaction of its library. The change is visible at once, leaves for the network at
    /// once, and is safe when [`Commit::durable`] resolves.
    ///
    /// Nothing of a closure that returns `Err` or panics stays.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn change<R>(
        &self,
        f: impl FnOnce(&mut T::Tx<'_>) -> Result<R, T::Error>,
    ) -> Result<Commit<R>, ChangeError<T::Error>> {
        // A type may swallow the panic on its way: it is kept here, and goes on to whoever called.
        let mut panic = None;
        let guarded = |tx: &mut T::Tx<'_>| match catch_unwind(AssertUnwindSafe(|| f(tx))) {
            Ok(result) => result,
            Err(payload) => {
                panic = Some(payload);
                resume_unwind(Box::new("the closure panicked"))
            }
        };
        let result = catch_unwind(AssertUnwindSafe(|| self.change_with(|doc| T::transact(doc, guarded))));
        match (panic, result) {
            (Some(panic), _) | (None, Err(panic)) => resume_unwind(panic),
            (None, Ok(result)) => result,
        }
    }

    /// Like [`change`](Self::change), with the CRDT type's own document: for types that have more ways to edit than a
    /// plain transaction, such as automerge's edits at an older version.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn change_with<R>(
        &self,
        f: impl FnOnce(&mut T::Doc) -> Result<R, Transact<T::Error>>,
    ) -> Result<Commit<R>, ChangeError<T::Error>> {
        let mut held = self.cell.hold().map_err(not_held)?;
        if let Some(reason) = &held.broken {
            return Err(ChangeError::Unusable(reason.clone()));
        }
        let doc = held.doc.as_mut().and_then(|doc| doc.as_any_mut().downcast_mut::<T::Doc>());
        let Some(doc) = doc else { return Err(ChangeError::Unusable("it is of another type".into())) };
        match catch_unwind(AssertUnwindSafe(|| f(doc))) {
            Ok(Ok(value)) => {
                let is_sound = doc.is_sound(); // the closure may have kept what a transaction of its own answered to itself
                let number = self.count(&mut held);
                if is_sound {
                    drop(held);
                } else {
                    self.reload(held);
                }
                self.cell.say_changed(false, false);
                Ok(Commit::new(value, number, self.cell.progress.subscribe()))
            }
            Ok(Err(Transact::Closure(error))) => {
                self.count(&mut held); // an earlier transaction of the closure may have gone well
                self.give_back(held); // or been refused, and the closure answered with an error of its own
                Err(ChangeError::Closure(error))
            }
            Ok(Err(Transact::Reload(error))) => {
                self.reload(held);
                Err(error
                    .map_or_else(|| ChangeError::Unusable("the transaction was undone".into()), ChangeError::Closure))
            }
            Ok(Err(Transact::Refused(error))) => {
                self.count(&mut held); // as above
                self.give_back(held);
                Err(ChangeError::Refused(error))
            }
            Err(panic) => {
                self.reload(held);
                resume_unwind(panic)
            }
        }
    }

    /// There is something for the driver to take. Answers the number of the change.
    fn count(&self, held: &mut crate::cell::Held<'_>) -> u64 {
        held.made += 1;
        self.cell.mark_dirty();
        held.made
    }

    /// Gives back a document in which some transaction failed: it is loaded again if that left it half changed.
    fn give_back(&self, held: crate::cell::Held<'_>) {
        if held.doc.as_ref().is_none_or(|doc| !doc.is_sound()) {
            return self.reload(held);
        }
        drop(held);
        self.cell.say_changed(false, false);
    }

    /// Drops a document that a failed transaction may have left half changed. What was changed before and is not
    /// written yet is kept for the driver.
    fn reload(&self, mut held: crate::cell::Held<'_>) {
        held.take_out();
        drop(held);
        self.cell.ask_reload();
    }

    /// Reads the document. Changes of this document from inside the closure are an error.
    ///
    /// # Panics
    /// When called from inside a closure of the same document: use what the closure was given. When called from inside one of
    /// another document, and this one does not come free. When the document cannot be used any more: its context was closed, or
    /// its engine failed. [`try_read`](Self::try_read) returns these as errors.
    #[allow(clippy::panic, clippy::expect_used)]
    pub fn read<R>(&self, f: impl FnOnce(&T::View<'_>) -> R) -> R {
        self.try_read(f).expect(
            "a document must not be read inside its own closure, nor after its context was closed or its engine failed",
        )
    }

    /// Reads the document.
    ///
    /// # Errors
    /// [`ChangeError::Reentrant`], [`ChangeError::Busy`], [`ChangeError::Unusable`].
    pub fn try_read<R>(&self, f: impl FnOnce(&T::View<'_>) -> R) -> Result<R, ChangeError<T::Error>> {
        self.with_doc(|doc| T::view(doc, f))
    }

    fn with_doc<R>(&self, f: impl FnOnce(&T::Doc) -> R) -> Result<R, ChangeError<T::Error>> {
        let held = self.cell.hold().map_err(not_held)?;
        let unusable = || ChangeError::Unusable(held.broken.clone().unwrap_or_else(|| "it is of another type".into()));
        let doc = held.doc.as_ref().and_then(|doc| doc.as_any().downcast_ref::<T::Doc>()).ok_or_else(unusable)?;
        Ok(f(doc))
    }

    /// A digest of the visible state: equal on two replicas when they show the same.
    ///
    /// # Errors
    /// [`ChangeError::Reentrant`], [`ChangeError::Busy`], [`ChangeError::Unusable`].
    pub fn digest(&self) -> Result<Digest, ChangeError<T::Error>> {
        self.with_doc(CrdtDocument::digest)
    }

    /// How many changes are here but not visible, because what they depend on has not arrived, or was cut off after they were
    /// made and does not count. Those of a broken or hostile program may stay for good: what contradicts itself is understood in
    /// the same way by all, as nothing.
    ///
    /// # Errors
    /// [`ChangeError::Reentrant`], [`ChangeError::Busy`], [`ChangeError::Unusable`].
    pub fn pending(&self) -> Result<usize, ChangeError<T::Error>> {
        self.with_doc(CrdtDocument::pending)
    }

    /// Reads the state now, and subscribes to every change after it, with nothing lost between the two.
    ///
    /// # Errors
    /// [`ChangeError::Reentrant`], [`ChangeError::Busy`], [`ChangeError::Unusable`].
    pub fn subscribe<R>(&self, f: impl FnOnce(&T::View<'_>) -> R) -> Result<(R, Changes), ChangeError<T::Error>> {
        // Marks are sent after the lock is given back, so a change may be told that the state shows already; never one
        // that it does not show and that is not told.
        let mut marks = self.cell.marks.subscribe();
        let seen = *marks.borrow_and_update();
        let changes = Changes { seen, marks, _cell: self.cell.clone() };
        let now = self.try_read(f)?;
        Ok((now, changes))
    }

    /// Says something about the document to whoever has it open now: where the cursor is, that somebody is typing. It is
    /// sealed like a change, never stored, and replaced by what is said next; it is over when this device's connection
    /// is. Empty bytes take it back. What is said faster than twenty times a second is skipped up to the last.
    ///
    /// # Errors
    /// [`DocumentError::Append`] when it has more than 4 KiB, or this replica may not write in the context.
    pub async fn say(&self, bytes: impl Into<Bytes>) -> Result<(), DocumentError> {
        let (context, document, bytes) = (self.cell.context, self.cell.id, bytes.into());
        let said = self.cell.with_node(move |node, now| node.say_ephemeral(now, context, document, bytes));
        Ok(said.await??)
    }

    /// What other replicas say about the document now. [`EngineEvent::Ephemeral`](crate::EngineEvent::Ephemeral) tells
    /// when it changes.
    ///
    /// # Errors
    /// [`EngineError::Closed`].
    pub async fn heard(&self) -> Result<Vec<(ReplicaId, Bytes)>, EngineError> {
        let (context, document) = (self.cell.context, self.cell.id);
        self.cell.with_node(move |node, _| node.ephemeral(&context, &document)).await
    }
}

fn not_held<E: std::error::Error>(why: NotHeld) -> ChangeError<E> {
    match why {
        NotHeld::Already => ChangeError::Reentrant,
        NotHeld::Busy => ChangeError::Busy,
        NotHeld::Loading => ChangeError::Unusable(
            "it is being loaded, and this thread has another document locked: load it before, or change one after the other"
                .into(),
        ),
    }
}

/// What happened to a document since the last look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// Rises with every change.
    pub version: u64,
    /// Whether changes of other replicas are among them.
    pub remote: bool,
    /// Whether the document was rebuilt because changes count no more, or again.
    pub rebuilt: bool,
}

/// A document's changes, as they come. A reader that is slower than the changes gets several as one; it misses none.
#[derive(Debug)]
pub struct Changes {
    seen: Mark,
    marks: watch::Receiver<Mark>,
    /// What somebody watches is not unloaded, though no handle of it is left.
    _cell: Arc<Cell>,
}

impl Changes {
    /// Waits for the next change; `None` once the engine is closed, or the document's context, however often it is called.
    pub async fn next(&mut self) -> Option<Change> {
        // Whoever subscribed after that has seen the mark, and so has whoever was told already: no other one comes.
        let is_over = self.marks.borrow().closed;
        if !is_over {
            self.marks.changed().await.ok()?;
        }
        let mark = *self.marks.borrow_and_update();
        if mark.closed {
            return None;
        }
        let before = std::mem::replace(&mut self.seen, mark);
        Some(Change {
            version: mark.version,
            remote: mark.remote != before.remote,
            rebuilt: mark.rebuilt != before.rebuilt,
        })
    }
}
