//! A CRDT type for tests, whose library panics.

use std::any::Any;

use partita_core::{ActorSeed, Applied, CrdtDocument, CrdtError, CrdtType, CrdtTypeId, Digest, Limits};

/// A type with no boundary of its own: it panics over `b` when something went before it in the same call, and over `c`.
pub(crate) struct Touchy;

#[derive(Default)]
struct TouchyDoc(Vec<u8>);

impl CrdtType for Touchy {
    fn id(&self) -> CrdtTypeId {
        CrdtTypeId(*b"test")
    }
    fn validate(&self, _: &[u8], _: Option<ActorSeed>, _: &Limits) -> Result<(), CrdtError> {
        Ok(())
    }
    fn create(&self, _: ActorSeed) -> Box<dyn CrdtDocument> {
        Box::new(TouchyDoc::default())
    }
    fn load(&self, snapshot: &[u8], _: ActorSeed) -> Result<Box<dyn CrdtDocument>, CrdtError> {
        Ok(Box::new(TouchyDoc(snapshot.to_vec())))
    }
}

impl CrdtDocument for TouchyDoc {
    fn apply(&mut self, payloads: &[&[u8]]) -> Vec<Result<Applied, CrdtError>> {
        for (before, payload) in payloads.iter().enumerate() {
            assert!(*payload != b"c" && !(*payload == b"b" && before > 0), "touched");
            self.0.extend_from_slice(payload);
        }
        vec![Ok(Applied::Done); payloads.len()]
    }
    fn take_local(&mut self, _: &Limits) -> Result<Option<Vec<u8>>, CrdtError> {
        Ok(None)
    }
    fn snapshot(&self) -> Result<Vec<u8>, CrdtError> {
        Ok(self.0.clone())
    }
    fn pending(&self) -> usize {
        0
    }
    fn digest(&self) -> Digest {
        Digest::ZERO
    }
    fn same_history(&self, _: &dyn CrdtDocument) -> bool {
        false
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
