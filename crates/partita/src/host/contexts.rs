//! The engine's contexts: opened, closed, awaited.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use partita_core::{ContextId, ContextInfo, EntryId, PeerInfo, ReplicaId, SessionId, Tip};
use tokio::sync::oneshot;

use super::{Context, EngineHost, SetAside, Slot};
use crate::{
    cell::Cell,
    error::{CommitError, EngineError},
    events::EngineEvent,
};

/// Who is told how waiting ended.
pub(super) type Waiter = oneshot::Sender<Result<(), EngineError>>;

/// What the engine knows of a context beyond the node.
#[derive(Default)]
pub(super) struct ContextState {
    /// Whether the node has loaded it.
    ready: bool,
    waiting: Vec<Waiter>,
    waiting_acknowledged: Vec<Awaited>,
    /// Sessions in which everything that the remote held was received. Two devices that dial each other have two.
    caught_up: BTreeSet<SessionId>,
    waiting_caught_up: Vec<Waiter>,
    /// What was set aside since the engine was opened.
    pub(super) set_aside: SetAsideStatus,
    /// How many checkpoints it came to rely upon since.
    pub(super) adopted: u64,
    /// How many entries came since the last of them, or since the engine was opened.
    pub(super) since_checkpoint: u64,
    /// Whether the last one that was made here left something to the next, for which its claim had no room.
    pub(super) more_to_cover: bool,
    /// The last claim that was made here since the engine was opened.
    pub(super) own_claim: Option<EntryId>,
    /// How often the bytes that a claim may have are halved for the next one, since one was too large.
    pub(super) claim_halvings: u32,
}

/// A document that is none of this engine's any more, while the last of what was written of it is on its way to the disk.
pub(super) struct Ended {
    context: ContextId,
    arrival: u64,
    number: u64,
    pub(super) cell: Arc<Cell>,
    /// Why what was not written never will be.
    error: CommitError,
}

/// Somebody waits until a remote holds these entries.
struct Awaited {
    tips: Vec<Tip>,
    /// A certain remote; any without.
    by: Option<ReplicaId>,
    reply: Waiter,
}

/// Who wants to wait until a remote, a certain one or any, holds what was changed in a context.
pub(super) type Asked = (ContextId, Option<ReplicaId>, Waiter);

/// What could not be applied in a context since the engine was opened; [`Context::set_aside`](crate::Context::set_aside)
/// lists all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetAsideStatus {
    /// How many entries are set aside.
    pub entries: u64,
    /// The last one, with its reason.
    pub last: Option<SetAside>,
    /// How often that one was tried.
    pub attempts: u32,
}

/// Adds somebody who waits. Those who gave that up meanwhile, as with a timeout, go: nobody says so.
pub(super) fn push_waiting<T>(waiting: &mut Vec<T>, one: T, has_gone: impl Fn(&T) -> bool) {
    // Not each time: it looks at all of them.
    if waiting.len() == waiting.capacity() {
        waiting.retain(|other| !has_gone(other));
    }
    waiting.push(one);
}

impl EngineHost {
    pub(super) fn open_contexts(&mut self, context: &mut Context<'_>, contexts: Vec<ContextInfo>) {
        for info in contexts {
            let _ = self.open_context(context, info); // it is then no context of this engine, and asking for it says so
        }
    }

    pub(super) fn open_context(&mut self, context: &mut Context<'_>, info: ContextInfo) -> Result<(), EngineError> {
        let (id, kind) = (info.id, info.kind.clone());
        if let Some(error) = context.node.failure().filter(|_| !self.contexts.contains_key(&id)) {
            return Err(EngineError::Store(error.clone())); // nobody knows whether it can still be read
        }
        if !context.node.open_context(context.now, info) {
            return Err(EngineError::NoStrategy(kind));
        }
        self.contexts.entry(id).or_default();
        Ok(())
    }

    /// What was changed is written first; then documents and remotes are told.
    pub(super) fn close_context(&mut self, context: &mut Context<'_>, id: ContextId) -> Result<(), EngineError> {
        if !self.contexts.contains_key(&id) {
            return Err(EngineError::NoContext(id));
        }
        self.take_context(context, id);
        self.contexts.remove(&id);
        for (_, mut slot) in self.slots.extract_if(.., |(of, _), _| *of == id) {
            for reply in slot.loading.iter_mut().flat_map(|loading| loading.replies.drain(..)) {
                reply.answer(Err(EngineError::NoContext(id).into()));
            }
            let Some(cell) = &slot.cell else { continue };
            cell.end("its context was closed");
            self.ended.extend(slot.end(id, CommitError::Closed));
        }
        context.node.close_context(context.now, id);
        self.say(EngineEvent::ContextClosed(id));
        Ok(())
    }

    pub(super) fn on_ready(&mut self, info: ContextInfo) {
        let state = self.contexts.entry(info.id).or_default();
        state.ready = true;
        for reply in state.waiting.drain(..) {
            let _ = reply.send(Ok(()));
        }
        self.say(EngineEvent::ContextReady(info));
    }

    pub(super) fn on_context(&mut self, context: &Context<'_>, id: ContextId, reply: Waiter) {
        let answer = match (self.contexts.get_mut(&id), context.node.failure()) {
            (None, _) => Err(EngineError::NoContext(id)),
            (Some(state), _) if state.ready => Ok(()),
            (_, Some(error)) => Err(error.clone().into()), // nothing is loaded any more
            (Some(state), None) => return push_waiting(&mut state.waiting, reply, Waiter::is_closed),
        };
        let _ = reply.send(answer);
    }

    pub(super) fn on_wait_acknowledged(
        &mut self,
        context: &mut Context<'_>,
        id: ContextId,
        by: Option<ReplicaId>,
        reply: Waiter,
    ) {
        if reply.is_closed() {
            return; // it is asked again in every round while a document is locked
        }
        self.take_all(context);
        let untaken = self.slots.iter().any(|((of, _), slot)| *of == id && slot.has_untaken());
        let Some(state) = self.contexts.get_mut(&id) else {
            let _ = reply.send(Err(EngineError::NoContext(id)));
            return;
        };
        // What it wrote before is not known while the context is being loaded.
        if (untaken || !state.ready) && context.node.failure().is_none() {
            return self.asked_acknowledged.push((id, by, reply));
        }
        let awaited = Awaited { tips: context.node.own_tips(&id), by, reply };
        if awaited.tips.is_empty() || awaited.is_over(context, &id) {
            let _ = awaited.reply.send(Ok(()));
        } else if let Some(error) = context.node.failure() {
            let _ = awaited.reply.send(Err(error.clone().into())); // nothing more reaches anybody
        } else {
            push_waiting(&mut state.waiting_acknowledged, awaited, |awaited| awaited.reply.is_closed());
        }
    }

    /// Who asked while a document was locked whose changes were not taken yet.
    pub(super) fn ask_acknowledged_again(&mut self, context: &mut Context<'_>) {
        for (id, by, reply) in std::mem::take(&mut self.asked_acknowledged) {
            self.on_wait_acknowledged(context, id, by, reply);
        }
    }

    pub(super) fn on_acknowledged(&mut self, context: &Context<'_>, id: ContextId, peer: &PeerInfo) {
        if let Some(state) = self.contexts.get_mut(&id) {
            for awaited in state.waiting_acknowledged.extract_if(.., |awaited| awaited.is_over(context, &id)) {
                let _ = awaited.reply.send(Ok(()));
            }
        }
        self.say(EngineEvent::Acknowledged { context: id, peer: peer.replica });
    }

    pub(super) fn on_live(&self, id: ContextId, peer: &PeerInfo) {
        self.say(EngineEvent::Live { context: id, peer: peer.replica });
    }

    pub(super) fn on_caught_up(&mut self, id: ContextId, peer: &PeerInfo) {
        if let Some(state) = self.contexts.get_mut(&id) {
            state.caught_up.insert(peer.session);
            for reply in state.waiting_caught_up.drain(..) {
                let _ = reply.send(Ok(()));
            }
        }
        self.say(EngineEvent::CaughtUp { context: id, peer: peer.replica });
    }

    pub(super) fn on_wait_caught_up(&mut self, context: &Context<'_>, id: ContextId, reply: Waiter) {
        let answer = match (self.contexts.get_mut(&id), context.node.failure()) {
            (None, _) => Err(EngineError::NoContext(id)),
            (Some(state), _) if !state.caught_up.is_empty() => Ok(()),
            (_, Some(error)) => Err(error.clone().into()),
            (Some(state), None) => return push_waiting(&mut state.waiting_caught_up, reply, Waiter::is_closed),
        };
        let _ = reply.send(answer);
    }

    pub(super) fn on_session_closed(&mut self, peer: &PeerInfo) {
        for state in self.contexts.values_mut() {
            state.caught_up.remove(&peer.session);
        }
    }

    /// Own entries up to an arrival are durable: whoever waits for that in a context that was closed meanwhile is told.
    pub(super) fn settle_ended(&mut self, context: ContextId, arrival: u64) {
        for ended in self.ended.extract_if(.., |ended| ended.context == context && ended.arrival <= arrival) {
            ended.cell.progress.send_modify(|progress| progress.durable = ended.number.max(progress.durable));
            ended.cell.fail(u64::MAX, ended.error);
        }
    }

    /// What was set aside, by context.
    pub(super) fn set_aside_status(&self) -> BTreeMap<ContextId, SetAsideStatus> {
        let some = self.contexts.iter().filter(|(_, state)| state.set_aside.last.is_some());
        some.map(|(id, state)| (*id, state.set_aside.clone())).collect()
    }

    pub(super) fn on_store_failed(&mut self, context: &mut Context<'_>, error: &partita_core::StoreError) {
        self.give_up_checkpoints(context, error);
        for state in self.contexts.values_mut() {
            let for_remotes = state.waiting_acknowledged.drain(..).map(|awaited| awaited.reply);
            for reply in state.waiting.drain(..).chain(for_remotes).chain(state.waiting_caught_up.drain(..)) {
                let _ = reply.send(Err(error.clone().into()));
            }
        }
        for ended in self.ended.drain(..) {
            ended.cell.fail(u64::MAX, CommitError::Store(error.clone()));
        }
        for slot in self.slots.values_mut() {
            if let Some(cell) = &slot.cell {
                cell.fail(u64::MAX, CommitError::Store(error.clone()));
            }
            // What is being loaded goes on: there may be handles that wait for it, and the store can still be read.
            for reply in slot.loading.iter_mut().flat_map(|loading| loading.replies.drain(..)) {
                reply.answer(Err(error.clone().into()));
            }
        }
        self.say(EngineEvent::StoreFailed(error.clone()));
    }
}

impl Slot {
    /// Its document is none of this engine's any more. Whoever waits for a change to be durable is told what becomes of it, if
    /// need be once its entry is in the store.
    pub(super) fn end(self, context: ContextId, error: CommitError) -> Option<Ended> {
        let cell = self.cell?;
        let Some((arrival, number)) = self.in_flight.back().copied() else {
            cell.fail(u64::MAX, error);
            return None;
        };
        Some(Ended { context, arrival, number, cell, error })
    }
}

impl Awaited {
    fn is_over(&self, context: &Context<'_>, id: &ContextId) -> bool {
        let mut holders = context.node.holders(id, &self.tips).into_iter();
        holders.any(|holder| self.by.is_none_or(|by| holder.replica == by))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_gave_up_waiting_do_not_pile_up_and_those_who_wait_stay() {
        let (mut waiting, mut answers) = (Vec::new(), Vec::new());
        for number in 0..10_000 {
            let (reply, answer) = oneshot::channel();
            push_waiting(&mut waiting, reply, Waiter::is_closed);
            if number % 1_000 == 0 {
                answers.push(answer);
            }
        }
        assert!(waiting.len() < 100, "{} wait", waiting.len());
        waiting.into_iter().for_each(|reply| drop(reply.send(Ok(()))));
        assert!(answers.iter_mut().all(|answer| answer.try_recv() == Ok(Ok(()))));
    }
}
