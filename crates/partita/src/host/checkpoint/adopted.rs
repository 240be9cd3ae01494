//! What follows for documents from a checkpoint that is relied upon.

use partita_core::{ContextId, DocumentId, Key};

use super::super::{Context, EngineHost, Name, commands::Command, records::SetAside};
use crate::events::EngineEvent;

impl EngineHost {
    /// Snapshots stand for what was pruned: documents whose logs went further than was held are loaded again from them.
    pub(in crate::host) fn on_adopted(
        &mut self,
        context: &mut Context<'_>,
        id: ContextId,
        documents: &[DocumentId],
        advanced: bool,
    ) {
        if let Some(state) = self.contexts.get_mut(&id) {
            state.adopted += 1;
            state.since_checkpoint = 0;
            state.claim_halvings = 0;
            // Of several who have more to cover, each goes on from its own.
            let is_own = state.own_claim.is_some_and(|own| context.node.checkpoint(&id).claims().contains(&own));
            if state.more_to_cover && is_own && !self.checkpoints.is_making(&id) {
                self.make_checkpoint(context, id, 1, Vec::new());
            }
        }
        for document in documents {
            // One that was made before this may have been put there since the node deleted it, and would hide the checkpoint's.
            context.node.delete_record(Key::Snapshot(id, *document));
        }
        let known: Vec<Name> = self.slots.keys().filter(|(of, _)| *of == id).copied().collect();
        for name in known {
            let slot = self.slots.get(&name);
            let loaded = slot.and_then(|slot| slot.cell.clone());
            match loaded {
                Some(cell) if advanced => {
                    self.start_reload(context, name, true);
                    cell.say_changed(true, false);
                }
                _ => self.load_afresh(context, name),
            }
        }
        if advanced {
            tell_of_documents(context, id, documents.to_vec());
        }
        self.forget_settled(context, id);
        self.say(EngineEvent::CheckpointAdopted { context: id });
    }

    /// Documents came with a checkpoint, or something of them did.
    pub(in crate::host) fn on_advanced(&self, id: ContextId, created: Vec<DocumentId>, changed: Vec<DocumentId>) {
        for document in created {
            self.say(EngineEvent::DocumentCreated { context: id, document });
        }
        for document in changed {
            self.say(EngineEvent::DocumentChanged { context: id, document });
        }
    }

    /// What was set aside and is covered is settled: it is in no document, and nobody holds it any more.
    fn forget_settled(&self, context: &mut Context<'_>, id: ContextId) {
        let base = context.node.checkpoint(&id);
        context.jobs.push(Box::new(move |store| {
            let mut settled: Vec<Key> = Vec::new();
            let found = store.read().and_then(|view| {
                SetAside::each(&*view, &id, None, |arrival, set_aside| {
                    if set_aside.seq <= base.seq(&set_aside.log) {
                        settled.push(Key::SetAside(id, set_aside.document, arrival));
                    }
                })
            });
            Command::Node(Box::new(move |node, _| {
                if found.is_ok() {
                    settled.into_iter().for_each(|key| node.delete_record(key));
                }
            }))
        }));
    }
}

/// Of a document that was not here before, it is said that it was created. The store knows, until the checkpoint is in it.
fn tell_of_documents(context: &mut Context<'_>, id: ContextId, documents: Vec<DocumentId>) {
    context.jobs_before.push(Box::new(move |store| {
        let view = store.read().ok();
        let is_new = |document: &DocumentId| {
            let found = view.as_ref().map(|view| view.get(&Key::Document(id, *document)));
            matches!(found, Some(Ok(None)))
        };
        let (created, changed) = documents.into_iter().partition(is_new);
        Command::Advanced { context: id, created, changed }
    }));
}
