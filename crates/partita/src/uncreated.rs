//! What is written in a document before the entry that creates it is here.
//!
//! Others may have it, or nobody ever wrote it: a hostile member can write in documents that nobody created, and that alone
//! must not keep a context from having checkpoints. So a checkpoint has the payloads as they are, for the day on which it is
//! known of what type the document is.

use std::{any::Any, collections::BTreeSet};

use partita_core::{
    ActorSeed, Applied, CrdtDocument, CrdtError, CrdtType, CrdtTypeId, Digest, DocumentId, Limits, LogId, digest_hasher,
};

/// The type of such documents, as far as snapshots of checkpoints are concerned; no document is created with it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Uncreated(pub(crate) DocumentId);

/// Payloads, each with the log that it is from and its number there.
#[derive(Debug, Clone)]
struct Payloads {
    document: DocumentId,
    written: BTreeSet<Written>,
}

/// One payload.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Written {
    pub(crate) log: LogId,
    pub(crate) seq: u64,
    pub(crate) payload: Vec<u8>,
}

impl Written {
    /// As [`Uncreated`] takes it.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let length = (self.payload.len() as u64).to_be_bytes();
        [self.log.as_bytes(), &self.seq.to_be_bytes()[..], &length, &self.payload].concat()
    }
}

impl Uncreated {
    pub(crate) const ID: CrdtTypeId = CrdtTypeId([0; 4]);

    /// What a snapshot has, each log's payloads in order.
    ///
    /// # Errors
    /// [`CrdtError::Malformed`].
    pub(crate) fn read(mut snapshot: &[u8]) -> Result<BTreeSet<Written>, CrdtError> {
        let malformed = || CrdtError::Malformed("payloads by log and number are expected");
        let mut written = BTreeSet::new();
        while !snapshot.is_empty() {
            let (log, rest) = snapshot.split_first_chunk::<16>().ok_or_else(malformed)?;
            let (seq, rest) = rest.split_first_chunk::<8>().ok_or_else(malformed)?;
            let (length, rest) = rest.split_first_chunk::<8>().ok_or_else(malformed)?;
            let length = usize::try_from(u64::from_be_bytes(*length)).map_err(|_| malformed())?;
            let (payload, rest) = rest.split_at_checked(length).ok_or_else(malformed)?;
            let next =
                Written { log: LogId::from_bytes(*log), seq: u64::from_be_bytes(*seq), payload: payload.to_vec() };
            if written.last().is_some_and(|last| *last >= next) {
                return Err(malformed());
            }
            written.insert(next);
            snapshot = rest;
        }
        Ok(written)
    }
}

impl CrdtType for Uncreated {
    fn id(&self) -> CrdtTypeId {
        Self::ID
    }

    fn validate(&self, payload: &[u8], _: Option<ActorSeed>, _: &Limits) -> Result<(), CrdtError> {
        Self::read(payload).map(drop)
    }

    fn create(&self, _: ActorSeed) -> Box<dyn CrdtDocument> {
        Box::new(Payloads { document: self.0, written: BTreeSet::new() })
    }

    fn load(&self, snapshot: &[u8], _: ActorSeed) -> Result<Box<dyn CrdtDocument>, CrdtError> {
        Ok(Box::new(Payloads { document: self.0, written: Self::read(snapshot)? }))
    }
}

impl CrdtDocument for Payloads {
    fn apply(&mut self, payloads: &[&[u8]]) -> Vec<Result<Applied, CrdtError>> {
        let mut apply = |payload: &[u8]| {
            let before = self.written.len();
            self.written.extend(Uncreated::read(payload)?);
            Ok(if self.written.len() > before { Applied::Done } else { Applied::Known })
        };
        payloads.iter().map(|payload| apply(payload)).collect()
    }

    fn take_local(&mut self, _: &Limits) -> Result<Option<Vec<u8>>, CrdtError> {
        Ok(None)
    }

    fn snapshot(&self) -> Result<Vec<u8>, CrdtError> {
        Ok(self.written.iter().flat_map(Written::encode).collect())
    }

    fn pending(&self) -> usize {
        self.written.len()
    }

    fn digest(&self) -> Digest {
        digest_hasher().finish() // nothing shows
    }

    fn same_history(&self, other: &dyn CrdtDocument) -> bool {
        other.as_any().downcast_ref::<Self>().is_some_and(|other| other.written == self.written)
    }

    fn extends(&self, other: &dyn CrdtDocument, by: &[ActorSeed]) -> bool {
        let Some(other) = other.as_any().downcast_ref::<Self>() else { return false };
        let is_theirs = |one: &Written| by.contains(&ActorSeed::derive(&one.log, &self.document));
        self.written.is_superset(&other.written) && self.written.difference(&other.written).all(is_theirs)
    }

    fn merge(&mut self, snapshot: &[u8]) -> Result<(), CrdtError> {
        self.written.extend(Uncreated::read(snapshot)?);
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failure here is a finding

    use super::*;

    fn written(log: u8, seq: u64) -> Vec<u8> {
        Written { log: LogId::from_bytes([log; 16]), seq, payload: vec![log; usize::from(log)] }.encode()
    }

    #[test]
    fn two_that_hold_the_same_payloads_are_the_same_and_one_that_holds_more_says_whose() {
        let document = DocumentId::from_bytes([1; 32]);
        let actor = |log: u8| ActorSeed::derive(&LogId::from_bytes([log; 16]), &document);
        let (mut one, mut other) = (Uncreated(document).create(actor(9)), Uncreated(document).create(actor(9)));
        assert_eq!(one.apply(&[&written(1, 1), &written(2, 1)]), [Ok(Applied::Done), Ok(Applied::Done)]);
        assert_eq!(other.apply(&[&written(2, 1)]), [Ok(Applied::Done)]);
        assert!(!one.same_history(&*other) && one.extends(&*other, &[actor(1)]));
        assert!(!one.extends(&*other, &[actor(2)]) && !other.extends(&*one, &[actor(1), actor(2)]));
        other.merge(&one.snapshot().unwrap()).unwrap();
        assert!(one.same_history(&*other) && one.extends(&*other, &[]));
        let loaded = Uncreated(document).load(&one.snapshot().unwrap(), actor(9)).unwrap();
        assert!(loaded.same_history(&*one));
    }

    #[test]
    fn what_is_not_in_its_only_order_is_refused() {
        let snapshot = [written(1, 1), written(1, 2)].concat();
        assert_eq!(Uncreated::read(&snapshot).unwrap().len(), 2);
        for bad in [[written(1, 2), written(1, 1)].concat(), [written(1, 1), written(1, 1)].concat()] {
            assert!(Uncreated::read(&bad).is_err());
        }
        let second = written(1, 1).len();
        for cut in (1..snapshot.len()).filter(|cut| *cut != second) {
            assert!(Uncreated::read(&snapshot[..cut]).is_err(), "{cut}");
        }
    }

    /// What checkpoints hold, under the type of four zeros. Another form takes another type (`docs/formats.md`).
    #[test]
    fn the_bytes_of_payloads_without_a_document_stay_what_they_are() {
        // Log, number, length, payload.
        let golden = [&[3; 16][..], &300u64.to_be_bytes(), &3u64.to_be_bytes(), &[3, 3, 3]].concat();
        assert_eq!(written(3, 300), golden, "an encoding changed");
        let read = Uncreated::read(&golden).unwrap();
        assert_eq!(read.iter().flat_map(Written::encode).collect::<Vec<u8>>(), golden);
        assert_eq!(Uncreated::ID.0, [0; 4]);
    }
}
