//! A process that runs: an engine, or a relay's node.

use std::{sync::Arc, time::Duration};

use crate::text::{Falsehood, falsify};
use partita::{
    Engine,
    simulation::{SimulatedEngine, Tamper},
};
use partita_core::{ContextId, DocumentId, Now, Store};
use partita_protocol::{Event, Node, Notice, RemoteSession, channel::LocalIdentity};
use partita_sync::{DriverParts, Host, HostContext, Stepped, SteppedEnd, StoreWork};

/// What a relay adds to its node: nothing.
pub(crate) struct Quiet;

impl Host for Quiet {
    type Command = ();

    fn command(&mut self, _context: &mut HostContext<'_, ()>, (): ()) {}

    fn notice(&mut self, _context: &mut HostContext<'_, ()>, _notice: Notice) {}
}

pub(crate) enum Parts {
    Device(Box<SimulatedEngine>),
    Relay(Box<Stepped<Quiet>>),
}

/// A process and who it is.
pub(crate) struct Running {
    pub(crate) identity: LocalIdentity,
    parts: Parts,
}

impl Running {
    pub(crate) fn device(identity: LocalIdentity, engine: SimulatedEngine) -> Self {
        Self { identity, parts: Parts::Device(Box::new(engine)) }
    }

    pub(crate) fn relay(
        identity: LocalIdentity,
        parts: DriverParts<Quiet>,
        clock: impl Fn() -> Now + Send + Sync + 'static,
    ) -> Self {
        let (stepped, _) = Stepped::new(parts, clock);
        Self { identity, parts: Parts::Relay(Box::new(stepped)) }
    }

    pub(crate) fn engine(&self) -> Option<&Engine> {
        match &self.parts {
            Parts::Device(engine) => Some(engine.engine()),
            Parts::Relay(_) => None,
        }
    }

    /// Appends what no application would.
    pub(crate) fn write_raw(&self, context: ContextId, document: DocumentId, bytes: Vec<u8>) {
        if let Parts::Device(engine) = &self.parts {
            engine.write_raw(context, document, bytes);
        }
    }

    /// Its next checkpoint says what is not so.
    pub(crate) fn falsify(&self, how: Falsehood) {
        if let Parts::Device(engine) = &self.parts {
            match how {
                Falsehood::Bad => engine.tamper(Tamper::CallBad),
                _ => engine.tamper(Tamper::Snapshots(Box::new(move |plain| falsify(plain, how)))),
            }
        }
    }

    pub(crate) fn event(&self, event: Event) {
        match &self.parts {
            Parts::Device(engine) => engine.event(event),
            Parts::Relay(stepped) => stepped.event(event),
        }
    }

    pub(crate) fn connected(&self, remote: RemoteSession) -> SteppedEnd {
        match &self.parts {
            Parts::Device(engine) => engine.connected(remote),
            Parts::Relay(stepped) => stepped.connected(remote),
        }
    }

    pub(crate) fn has_input(&self) -> bool {
        match &self.parts {
            Parts::Device(engine) => engine.has_input(),
            Parts::Relay(stepped) => stepped.has_input(),
        }
    }

    pub(crate) fn due(&self) -> Duration {
        match &self.parts {
            Parts::Device(engine) => engine.due(),
            Parts::Relay(stepped) => stepped.due(),
        }
    }

    pub(crate) fn turn(&mut self) {
        match &mut self.parts {
            Parts::Device(engine) => engine.turn(),
            Parts::Relay(stepped) => stepped.turn(),
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        match &self.parts {
            Parts::Device(engine) => engine.has_ended(),
            Parts::Relay(stepped) => stepped.has_ended(),
        }
    }

    pub(crate) fn store_work(&mut self) -> Option<StoreWork> {
        match &mut self.parts {
            Parts::Device(engine) => engine.store_work(),
            Parts::Relay(stepped) => stepped.store_work(),
        }
    }

    pub(crate) fn serve_store(&mut self) {
        match &mut self.parts {
            Parts::Device(engine) => engine.serve_store(),
            Parts::Relay(stepped) => stepped.serve_store(),
        }
    }

    pub(crate) fn worker_waits(&mut self) -> bool {
        match &mut self.parts {
            Parts::Device(engine) => engine.worker_waits(),
            Parts::Relay(_) => false,
        }
    }

    pub(crate) fn serve_worker(&mut self) {
        if let Parts::Device(engine) = &mut self.parts {
            engine.serve_worker();
        }
    }

    pub(crate) fn node(&self) -> &Node {
        match &self.parts {
            Parts::Device(engine) => engine.node(),
            Parts::Relay(stepped) => stepped.node(),
        }
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        match &self.parts {
            Parts::Device(engine) => engine.store(),
            Parts::Relay(stepped) => stepped.store(),
        }
    }

    pub(crate) fn waiting_bytes(&self) -> usize {
        match &self.parts {
            Parts::Device(engine) => engine.waiting_bytes(),
            Parts::Relay(stepped) => stepped.waiting_bytes(),
        }
    }
}
